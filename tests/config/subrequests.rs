//! Mistakes in what asks for subrequests.

use super::mistakes::{Mistake, check_all, same};

const MISTAKES: &[Mistake] = &[
    same(
        "events {}\nhttp { auth_request /a /b; }\n",
        "invalid number of arguments in \"auth_request\" directive in FILE:2",
        "expected 1 argument",
    ),
    same(
        "events {}\nhttp { auth_request /a; auth_request off; }\n",
        "\"auth_request\" directive is duplicate in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { auth_request_set x y; }\n",
        "invalid variable name \"x\" in FILE:2",
        "expected $ and a name",
    ),
    same(
        "events {}\nhttp { auth_request_set $uri y; }\n",
        "the duplicate \"uri\" variable in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { auth_request_set $x $y; }\n",
        "unknown \"y\" variable",
        "",
    ),
    same(
        "events {}\nhttp { mirror off; mirror /x; }\n",
        "\"mirror\" directive is duplicate in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { mirror /x; mirror off; }\n",
        "\"mirror\" directive is duplicate in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { mirror; } }\n",
        "invalid number of arguments in \"mirror\" directive in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { add_before_body /x; add_before_body /y; }\n",
        "\"add_before_body\" directive is duplicate in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { add_after_body; }\n",
        "invalid number of arguments in \"add_after_body\" directive in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { addition_types; }\n",
        "invalid number of arguments in \"addition_types\" directive in FILE:2",
        "",
    ),
];

#[test]
fn mistakes_in_subrequests_are_named_as_nginx_names_them() {
    check_all(MISTAKES);
}
