//! Mistakes about zones and limits.

use super::mistakes::{Mistake, check_all, ours, same};

const ZONES: &[Mistake] = &[
    same(
        "events {}\nhttp {\n limit_conn_zone $uri zone=one;\n}\n",
        "invalid zone size \"zone=one\" in FILE:3",
        "zone=NAME:SIZE",
    ),
    same(
        "events {}\nhttp {\n limit_conn_zone $uri zone=one:x;\n}\n",
        "invalid zone size \"zone=one:x\" in FILE:3",
        "",
    ),
    same(
        "events {}\nhttp {\n limit_conn_zone $uri zone=one:31k;\n}\n",
        "zone \"zone=one:31k\" is too small in FILE:3",
        "32k",
    ),
    same(
        "events {}\nhttp {\n limit_conn_zone $uri size=10m;\n}\n",
        "invalid parameter \"size=10m\" in FILE:3",
        "",
    ),
    same(
        "events {}\nhttp {\n limit_conn_zone $uri zone=:1m;\n}\n",
        "\"limit_conn_zone\" must have \"zone\" parameter in FILE:3",
        "",
    ),
    same(
        "events {}\nhttp {\n limit_conn_zone $uri zone=a:1m;\n limit_conn_zone $host zone=a:1m;\n}\n",
        "limit_conn_zone \"a\" is already bound to key \"$uri\" in FILE:4",
        "declared a second time",
    ),
    same(
        "events {}\nhttp {\n limit_conn_zone $uri zone=a:1m;\n limit_conn_zone $uri zone=a:2m;\n}\n",
        "the size 2097152 of shared memory zone \"a\" conflicts with already declared size 1048576 in FILE:4",
        "",
    ),
    same(
        "events {}\nhttp {\n limit_conn_zone $uri zone=a:1m;\n limit_req_zone $uri zone=a:1m rate=1r/s;\n}\n",
        "the shared memory zone \"a\" is already declared for a different use in FILE:4",
        "a zone of limit_conn_zone here",
    ),
    same(
        "events {}\nhttp {\n limit_req zone=a;\n limit_conn_zone $uri zone=a:1m;\n}\n",
        "the shared memory zone \"a\" is already declared for a different use in FILE:4",
        "",
    ),
    ours(
        "events {}\nhttp {\n limit_conn a 1;\n}\n",
        "zero size shared memory zone \"a\" in FILE:3",
        "limit_conn_zone KEY zone=a:10m",
    ),
    ours(
        "events {}\nhttp {\n limit_req zone=a;\n}\n",
        "zero size shared memory zone \"a\" in FILE:3",
        "limit_req_zone KEY zone=a:10m",
    ),
    same(
        "events {}\nhttp {\n limit_conn_zone $no_such zone=a:1m;\n}\n",
        "unknown \"no_such\" variable",
        "",
    ),
];

const LIMITS: &[Mistake] = &[
    same(
        "events {}\nhttp {\n limit_conn_zone $uri zone=a:1m;\n limit_conn a 0;\n}\n",
        "invalid number of connections \"0\" in FILE:4",
        "from 1 to 65535",
    ),
    same(
        "events {}\nhttp {\n limit_conn_zone $uri zone=a:1m;\n limit_conn a 65536;\n}\n",
        "connection limit must be less 65536 in FILE:4",
        "",
    ),
    same(
        "events {}\nhttp {\n limit_conn_zone $uri zone=a:1m;\n limit_conn a 1;\n limit_conn a 2;\n}\n",
        "\"limit_conn\" directive is duplicate in FILE:5",
        "",
    ),
    same(
        "events {}\nhttp {\n limit_conn_status 399;\n}\n",
        "value must be between 400 and 599 in FILE:3",
        "",
    ),
    same(
        "events {}\nhttp {\n limit_req_status 600;\n}\n",
        "value must be between 400 and 599 in FILE:3",
        "",
    ),
    same(
        "events {}\nhttp {\n limit_conn_log_level crit;\n}\n",
        "invalid value \"crit\" in FILE:3",
        "info, notice, warn or error",
    ),
    same(
        "events {}\nhttp {\n limit_conn_dry_run maybe;\n}\n",
        "invalid value \"maybe\" in \"limit_conn_dry_run\" directive, it must be \"on\" or \"off\" in FILE:3",
        "",
    ),
    same(
        "events {}\nhttp {\n limit_req_zone $uri zone=a:1m rate=0r/s;\n}\n",
        "invalid rate \"rate=0r/s\" in FILE:3",
        "rate=30r/m",
    ),
    same(
        "events {}\nhttp {\n limit_req_zone $uri zone=a:1m rate=1r/h;\n}\n",
        "invalid rate \"rate=1r/h\" in FILE:3",
        "",
    ),
    same(
        "events {}\nhttp {\n limit_req_zone $uri rate=1r/s rate=1r/s;\n}\n",
        "\"limit_req_zone\" must have \"zone\" parameter in FILE:3",
        "",
    ),
    same(
        "events {}\nhttp {\n limit_req_zone $uri zone=a:1m burst=1;\n}\n",
        "invalid parameter \"burst=1\" in FILE:3",
        "",
    ),
    same(
        "events {}\nhttp {\n limit_req_zone $uri zone=a:1m rate=1r/s;\n limit_req zone=a burst=0;\n}\n",
        "invalid burst value \"burst=0\" in FILE:4",
        "",
    ),
    same(
        "events {}\nhttp {\n limit_req_zone $uri zone=a:1m rate=1r/s;\n limit_req zone=a delay=x;\n}\n",
        "invalid delay value \"delay=x\" in FILE:4",
        "",
    ),
    same(
        "events {}\nhttp {\n limit_req_zone $uri zone=a:1m rate=1r/s;\n limit_req zone=a later;\n}\n",
        "invalid parameter \"later\" in FILE:4",
        "nodelay",
    ),
    same(
        "events {}\nhttp {\n limit_req burst=5;\n}\n",
        "\"limit_req\" must have \"zone\" parameter in FILE:3",
        "",
    ),
    same(
        "events {}\nhttp {\n limit_req_zone $uri zone=a:1m rate=1r/s;\n limit_req zone=a;\n limit_req zone=a burst=2;\n}\n",
        "\"limit_req\" directive is duplicate in FILE:5",
        "",
    ),
    same(
        "events {}\nhttp {\n stub_status;\n}\n",
        "\"stub_status\" directive is not allowed here in FILE:3",
        "",
    ),
];

#[test]
fn mistakes_about_zones_are_named() {
    check_all(ZONES);
}

#[test]
fn mistakes_about_limits_are_named() {
    check_all(LIMITS);
}
