"""An application on a Unix socket: says who asks, takes uploads, and streams events."""

import os
import socketserver
import sys
import time
from http.server import BaseHTTPRequestHandler

path = sys.argv[1]


class Application(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/events":
            return self.stream()
        told = {name: self.headers.get(name, "-") for name in ("Host", "X-Forwarded-For", "X-Forwarded-Proto")}
        self.answer(f"{self.path} {' '.join(told.values())}\n".encode())

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(f"{len(body)} bytes\n".encode())

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for number in range(3):
            self.wfile.write(f"data: {number}\n\n".encode())
            self.wfile.flush()
            time.sleep(0.2)

    def address_string(self):
        return "-"

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


with Server(path, Application) as server:
    os.chmod(path, 0o666)
    server.serve_forever()
