<?php
header('Content-Type: text/plain');
echo $_SERVER['REQUEST_METHOD'], ' ', $_SERVER['REQUEST_URI'], ' q=', $_GET['q'] ?? '-', ' body=',
    strlen(file_get_contents('php://input')), "\n";
