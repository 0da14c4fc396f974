//! Mistakes in `modern_browser` and `ancient_browser`.

use super::alike::check_in_http;
use super::mistakes::{Mistake, check_all, ours, same};

const MISTAKES: &[Mistake] = &[
    same(
        "events {}\nhttp { modern_browser msie x; }\n",
        "invalid browser version \"x\" in FILE:2",
        "expected numbers with dots between them",
    ),
    same(
        "events {}\nhttp { modern_browser netscape4 1; }\n",
        "unknown browser name \"netscape4\" in FILE:2",
        "expected opera, msie, gecko, safari or konqueror with a version, or unlisted",
    ),
    ours(
        "events {}\nhttp { modern_browser msie; }\n",
        "unknown browser name \"msie\" in FILE:2",
        "with a version",
    ),
    same(
        "events {}\nhttp { ancient_browser; }\n",
        "invalid number of arguments in \"ancient_browser\" directive in FILE:2",
        "expected at least 1 argument",
    ),
    same(
        "events {}\nhttp { modern_browser_value a b; }\n",
        "invalid number of arguments in \"modern_browser_value\" directive in FILE:2",
        "expected 1 argument",
    ),
    same(
        "events {}\nhttp { ancient_browser_value; }\n",
        "invalid number of arguments in \"ancient_browser_value\" directive in FILE:2",
        "expected 1 argument",
    ),
];

#[test]
fn mistakes_about_browsers_are_named() {
    check_all(MISTAKES);
}

#[test]
fn odd_browsers_are_taken_as_in_nginx() {
    check_in_http(&[
        (
            "modern_browser msie 1.2.3.4.5; modern_browser msie \"\"; modern_browser gecko 1..;",
            true,
        ),
        ("modern_browser unlisted; modern_browser unlisted;", true),
        (
            "modern_browser_value x; modern_browser_value y; ancient_browser a a;",
            true,
        ),
        ("modern_browser foo;", false),
    ]);
}
