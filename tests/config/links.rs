//! Mistakes in `valid_referers`, `secure_link` and `empty_gif`.

use super::alike::check_in_http;
use super::mistakes::{Mistake, check_all, ours, same};

const MISTAKES: &[Mistake] = &[
    same(
        "events {}\nhttp { valid_referers a; }\n",
        "\"valid_referers\" directive is not allowed here in FILE:2",
        "expected inside `server` or `location`",
    ),
    same(
        "events {}\nhttp { server { valid_referers none ~x; } }\n",
        "the \"none\" or \"blocked\" referers are specified in the \"valid_referers\" directive without any valid referer",
        "expected a host among them",
    ),
    same(
        "events {}\nhttp { server { valid_referers \"\"; } }\n",
        "invalid referer \"\" in FILE:2",
        "expected none, blocked, server_names, a host",
    ),
    same(
        "events {}\nhttp { server { valid_referers ~; } }\n",
        "empty regex in \"~\" in FILE:2",
        "expected a regular expression",
    ),
    ours(
        "events {}\nhttp { server { valid_referers ~(; } }\n",
        "invalid regular expression \"(\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { valid_referers *a*; } }\n",
        "invalid hostname or wildcard \"*a*\" in FILE:2",
        "expected a host name, *.name",
    ),
    same(
        "events {}\nhttp { server { valid_referers a.b/x A.b/y; } }\n",
        "conflicting parameter \"a.b\" in FILE:2",
        "there already",
    ),
    same(
        "events {}\nhttp { server { server_name a; valid_referers a server_names; } }\n",
        "conflicting parameter \"a\" in FILE:2",
        "there already",
    ),
    same(
        "events {}\nhttp { server { referer_hash_max_size x; } }\n",
        "\"referer_hash_max_size\" directive invalid number in FILE:2",
        "expected a whole number",
    ),
    ours(
        "events {}\nhttp { server { secure_link a;\nsecure_link_secret a; } }\n",
        "\"secure_link_secret\" cannot be mixed with \"secure_link\" and \"secure_link_md5\" in FILE:3",
        "the other form is set in this block",
    ),
    same(
        "events {}\nhttp { server { secure_link a; secure_link b; } }\n",
        "\"secure_link\" directive is duplicate in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { secure_link_md5 $; }\n",
        "invalid variable name in FILE:2",
        "expected a name",
    ),
    same(
        "events {}\nhttp { secure_link_secret a b; }\n",
        "invalid number of arguments in \"secure_link_secret\" directive in FILE:2",
        "expected 1 argument",
    ),
    same(
        "events {}\nhttp { server { empty_gif; } }\n",
        "\"empty_gif\" directive is not allowed here in FILE:2",
        "expected inside `location`",
    ),
    same(
        "events {}\nhttp { server { location / { empty_gif on; } } }\n",
        "invalid number of arguments in \"empty_gif\" directive in FILE:2",
        "expected no argument",
    ),
];

#[test]
fn mistakes_about_links_are_named() {
    check_all(MISTAKES);
}

#[test]
fn odd_links_are_taken_or_refused_as_in_nginx() {
    check_in_http(&[
        (
            "server { valid_referers none; location / { valid_referers a; } }",
            false,
        ),
        ("server { valid_referers none server_names; }", true),
        (
            "server { server_name ~^x$; valid_referers none server_names; }",
            false,
        ),
        (
            "server { server_name a a; location / { valid_referers server_names; } }",
            false,
        ),
        (
            "server { server_name a; location / { valid_referers .a server_names; } }",
            false,
        ),
        (
            "server { valid_referers a.b/c d.e/ *.x/y .z/y; valid_referers f; }",
            true,
        ),
        ("server { valid_referers a..b; }", false),
        ("server { secure_link_md5 a; secure_link_secret a; }", false),
        (
            "server { secure_link_secret a; location / { secure_link a; } }",
            true,
        ),
        ("secure_link_secret \"\";", true),
        ("server { location / { empty_gif; empty_gif; } }", true),
        ("map $uri $invalid_referer { a b; }", true),
        ("map $uri $secure_link { a b; }", false),
    ]);
}
