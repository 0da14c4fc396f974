//! Mistakes in `rewrite`, `if`, `set`, `break` and `return`.

use super::alike::check_in_http;
use super::mistakes::{Mistake, check_all, ours, same};

const MISTAKES: &[Mistake] = &[
    same(
        "events {}\nhttp { server { rewrite a; } }\n",
        "invalid number of arguments in \"rewrite\" directive in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { rewrite a b c d; } }\n",
        "invalid number of arguments in \"rewrite\" directive in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { rewrite a \"\"; } }\n",
        "empty replacement in FILE:2",
        "expected a path or a URL",
    ),
    same(
        "events {}\nhttp { server { rewrite a b lust; } }\n",
        "invalid parameter \"lust\" in FILE:2",
        "expected last, break, redirect or permanent",
    ),
    same(
        "events {}\nhttp { server { rewrite a b$; } }\n",
        "invalid variable name in FILE:2",
        "expected a name",
    ),
    same(
        "events {}\nhttp { server { rewrite a /$nope; } }\n",
        "unknown \"nope\" variable",
        "$nope",
    ),
    same(
        "events {}\nhttp { server { rewrite (?<uri>a) b; } }\n",
        "the duplicate \"uri\" variable in FILE:2",
        "",
    ),
    ours(
        "events {}\nhttp { server { rewrite ( b; } }\n",
        "invalid regular expression \"(\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { rewrite a b; }\n",
        "\"rewrite\" directive is not allowed here in FILE:2",
        "`server`, `location`, `if` in `server` or `if` in `location`",
    ),
    same(
        "events {}\nhttp { server { set x y; } }\n",
        "invalid variable name \"x\" in FILE:2",
        "expected $ and a name",
    ),
    same(
        "events {}\nhttp { server { set $ y; } }\n",
        "invalid variable name \"$\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { set $x; } }\n",
        "invalid number of arguments in \"set\" directive in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { set $uri y; } }\n",
        "the duplicate \"uri\" variable in FILE:2",
        "cannot be defined",
    ),
    same(
        "events {}\nhttp { server { set $x $nope; } }\n",
        "unknown \"nope\" variable",
        "",
    ),
    same(
        "events {}\nhttp { server { break x; } }\n",
        "invalid number of arguments in \"break\" directive in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { return 1000; } }\n",
        "invalid return code \"1000\" in FILE:2",
        "expected a status",
    ),
    same(
        "events {}\nhttp { server { return /x; } }\n",
        "invalid return code \"/x\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { location / { if ($uri { } } } }\n",
        "invalid condition \"$uri\" in FILE:2",
        "in brackets",
    ),
    same(
        "events {}\nhttp { server { location / { if $uri { } } } }\n",
        "invalid condition \"$uri\" in FILE:2",
        "in brackets",
    ),
    same(
        "events {}\nhttp { server { location / { if ($uri x) { } } } }\n",
        "invalid condition \"$uri\" in FILE:2",
        "expected ($variable)",
    ),
    same(
        "events {}\nhttp { server { location / { if ($uri x y) { } } } }\n",
        "unexpected \"x\" in condition in FILE:2",
        "expected =, !=, ~, ~*, !~ or !~*",
    ),
    same(
        "events {}\nhttp { server { location / { if ($uri = x y) { } } } }\n",
        "invalid condition \"$uri\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { location / { if (-f) { } } } }\n",
        "invalid condition \"-f\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { location / { if (-q /x) { } } } }\n",
        "invalid condition \"-q\" in FILE:2",
        "(-f path)",
    ),
    same(
        "events {}\nhttp { server { location / { if (!x /x) { } } } }\n",
        "invalid condition \"!x\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { location / { if (x) { } } } }\n",
        "invalid condition \"x\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { location / { if ($) { } } } }\n",
        "invalid condition \"$\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { location / { if ($1) { } } } }\n",
        "unknown \"1\" variable",
        "",
    ),
    same(
        "events {}\nhttp { server { location / { if ($nope = x) { } } } }\n",
        "unknown \"nope\" variable",
        "",
    ),
    same(
        "events {}\nhttp { server { location / { if ($uri = $nope) { } } } }\n",
        "unknown \"nope\" variable",
        "",
    ),
    same(
        "events {}\nhttp { server { location / { if { } } } }\n",
        "invalid number of arguments in \"if\" directive in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { location / { if ($uri) { if ($args) { } } } } }\n",
        "\"if\" directive is not allowed here in FILE:2",
        "expected inside `server` or `location`",
    ),
    same(
        "events {}\nhttp { server { location / { if ($uri) { try_files a b; } } } }\n",
        "\"try_files\" directive is not allowed here in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { location / { if ($uri) { location /x { } } } } }\n",
        "\"location\" directive is not allowed here in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { if ($uri) { add_header a b; } } }\n",
        "\"add_header\" directive is not allowed here in FILE:2",
        "`if` in `location`",
    ),
    same(
        "events {}\nhttp { server { if ($uri) { root /; } } }\n",
        "\"root\" directive is not allowed here in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { if ($uri) { } }\n",
        "\"if\" directive is not allowed here in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { location / { rewrite_log maybe; } } }\n",
        "invalid value \"maybe\" in \"rewrite_log\" directive, it must be \"on\" or \"off\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { location / { uninitialized_variable_warn on; uninitialized_variable_warn on; } } }\n",
        "\"uninitialized_variable_warn\" directive is duplicate in FILE:2",
        "",
    ),
];

#[test]
fn each_mistake_is_named_as_nginx_names_it() {
    check_all(MISTAKES);
}

#[test]
fn what_nginx_takes_is_taken() {
    check_in_http(&[
        (
            r#"server { rewrite a b; rewrite a b? last; rewrite a $scheme://x break; }"#,
            true,
        ),
        (
            r#"server { if ($uri) { set $a b; } if ($a) { return 403; } }"#,
            true,
        ),
        (
            r#"server { location / { if ($uri = "") { return 404; } if ( $uri ) { break; } } }"#,
            true,
        ),
        (
            r#"server { location / { if ($uri ~ "a{1,2}") { root /; } if ($uri) { root /; expires 1h; add_header a b; add_trailer a b; } } }"#,
            true,
        ),
        (
            r#"server { location / { if ($uri) { error_page 404 /x; sendfile on; limit_rate 1; limit_rate_after 1; access_log off; rewrite_log on; } } }"#,
            true,
        ),
        (
            r#"server { if ($uri) { rewrite_log on; uninitialized_variable_warn off; set $args 1; set $limit_rate 5; } }"#,
            true,
        ),
        (
            r#"server { set $a-b 1; set $http_x 2; set $arg_y 3; set $1 4; return 200 $http_x; }"#,
            true,
        ),
        (
            r#"server { location ~ (?<a>.) { set $a 1; } set $a 2; rewrite (?<a>.) /b; }"#,
            true,
        ),
        (
            r#"server { return 0; return 999 x; return $scheme://x; return 301; }"#,
            true,
        ),
    ]);
}
