//! Mistakes in `userid` and its companions.

use super::alike::check_in_http;
use super::mistakes::{Mistake, check_all, same};

const MISTAKES: &[Mistake] = &[
    same(
        "events {}\nhttp { userid x; }\n",
        "invalid value \"x\" in FILE:2",
        "expected off, log, v1 or on",
    ),
    same(
        "events {}\nhttp { userid on; userid on; }\n",
        "\"userid\" directive is duplicate in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { userid_service x; }\n",
        "\"userid_service\" directive invalid number in FILE:2",
        "expected a whole number",
    ),
    same(
        "events {}\nhttp { userid_mark ab; }\n",
        "\"userid_mark\" directive value must be \"off\" or a single letter, digit or \"=\" in FILE:2",
        "expected one of these",
    ),
    same(
        "events {}\nhttp { userid_expires x; }\n",
        "\"userid_expires\" directive invalid value in FILE:2",
        "expected a time like 365d, max or off",
    ),
    same(
        "events {}\nhttp { userid_flags samesite; }\n",
        "invalid value \"samesite\" in FILE:2",
        "expected off, secure, httponly, samesite=strict, samesite=lax or samesite=none",
    ),
    same(
        "events {}\nhttp { userid_name a; userid_name b; }\n",
        "\"userid_name\" directive is duplicate in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { userid_domain a; userid_domain b; }\n",
        "\"userid_domain\" directive is duplicate in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { userid_path a b; }\n",
        "invalid number of arguments in \"userid_path\" directive in FILE:2",
        "expected 1 argument",
    ),
    same(
        "events {}\nhttp { userid_p3p a; userid_p3p b; }\n",
        "\"userid_p3p\" directive is duplicate in FILE:2",
        "",
    ),
];

#[test]
fn mistakes_about_cookies_are_named() {
    check_all(MISTAKES);
}

#[test]
fn odd_cookies_are_taken_or_refused_as_in_nginx() {
    check_in_http(&[
        (
            "userid LOG; userid_mark =; userid_service 4294967296; userid_name \"\";",
            true,
        ),
        ("userid_mark -;", false),
        ("userid_mark \"\";", false),
        ("userid_expires -1;", false),
        ("userid_expires 1y;", true),
        (
            "userid_flags secure SECURE httponly; userid_flags off;",
            true,
        ),
        ("userid_flags secure httponly off samesite=lax;", false),
        ("map $uri $uid_reset { a b; }", true),
        ("map $uri $uid_set { a b; }", false),
    ]);
}
