//! Mistakes in `map`, `geo` and `split_clients`.

use super::alike::check_in_http;
use super::mistakes::{Mistake, check_all, ours, same};

const MAP: &[Mistake] = &[
    same(
        "events {}\nhttp { map $uri x { a b; } }\n",
        "invalid variable name \"x\" in FILE:2",
        "expected $ and a name",
    ),
    same(
        "events {}\nhttp { map $uri $ { a b; } }\n",
        "invalid variable name \"$\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { map $uri $uri { a b; } }\n",
        "the duplicate \"uri\" variable in FILE:2",
        "cannot be defined",
    ),
    same(
        "events {}\nhttp { map $uri $x {\n a; } }\n",
        "invalid number of the map parameters in FILE:3",
        "expected a key and its value, hostnames or volatile",
    ),
    same(
        "events {}\nhttp { map $uri $x { a b c; } }\n",
        "invalid number of the map parameters in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { map $uri $x { a b; A c; } }\n",
        "conflicting parameter \"a\" in FILE:2",
        "stands above",
    ),
    same(
        "events {}\nhttp { map $uri $x { hostnames; a b; .A c; } }\n",
        "conflicting parameter \".a\" in FILE:2",
        "stands above",
    ),
    same(
        "events {}\nhttp { map $uri $x { default b; default c; } }\n",
        "duplicate default map parameter in FILE:2",
        "one value for the rest",
    ),
    same(
        "events {}\nhttp { map $uri $x { hostnames; *a b; } }\n",
        "invalid hostname or wildcard \"*a\" in FILE:2",
        "expected a host name, *.name, .name or name.*",
    ),
    same(
        "events {}\nhttp { map $uri $x { a {} } }\n",
        "unexpected \"{\" in FILE:2",
        "ends with ;",
    ),
    same(
        "events {}\nhttp { map $uri $x { a $; } }\n",
        "invalid variable name in FILE:2",
        "expected a name",
    ),
    same(
        "events {}\nhttp { map $uri $x { a $nope; } }\n",
        "unknown \"nope\" variable",
        "$nope",
    ),
    same(
        "events {}\nhttp { map $uri $x { ~(?<uri>.) b; } }\n",
        "the duplicate \"uri\" variable in FILE:2",
        "",
    ),
    ours(
        "events {}\nhttp { map $uri $x { ~*( b; } }\n",
        "invalid regular expression \"(\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { map_hash_max_size x; }\n",
        "\"map_hash_max_size\" directive invalid number in FILE:2",
        "expected",
    ),
    same(
        "events {}\nhttp { map_hash_bucket_size 64; map_hash_bucket_size 64; }\n",
        "\"map_hash_bucket_size\" directive is duplicate in FILE:2",
        "",
    ),
];

const GEO: &[Mistake] = &[
    same(
        "events {}\nhttp { geo x { default 1; } }\n",
        "invalid variable name \"x\" in FILE:2",
        "expected $ and a name",
    ),
    same(
        "events {}\nhttp { geo x $y { default 1; } }\n",
        "invalid variable name \"x\" in FILE:2",
        "expected one variable",
    ),
    same(
        "events {}\nhttp { geo $ $y { default 1; } }\n",
        "invalid variable name \"$\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { geo $nope $y { default 1; } }\n",
        "unknown \"nope\" variable",
        "",
    ),
    same(
        "events {}\nhttp { geo $uri { default 1; } }\n",
        "the duplicate \"uri\" variable in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { geo $x {\n 10.0.0.0/33 a; } }\n",
        "invalid network \"10.0.0.0/33\" in FILE:3",
        "expected an address or a network like 10.0.0.0/8",
    ),
    same(
        "events {}\nhttp { geo $x { proxy unix:; } }\n",
        "invalid network \"unix:\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { geo $x { 10.0.0.0; } }\n",
        "invalid number of the geo parameters in FILE:2",
        "expected an address and its value",
    ),
    same(
        "events {}\nhttp { geo $x { default 1; ranges; } }\n",
        "the \"ranges\" directive must be the first directive inside \"geo\" block in FILE:2",
        "networks stand above",
    ),
    same(
        "events {}\nhttp { geo $x { ranges; 10.0.0.2-10.0.0.1 a; } }\n",
        "invalid range \"10.0.0.2-10.0.0.1\" in FILE:2",
        "expected two IPv4 addresses",
    ),
    same(
        "events {}\nhttp { geo $x { ranges; 10.0.0.0-10.0.0.5 a; 10.0.0.5-10.0.0.6 b; } }\n",
        "range \"10.0.0.5-10.0.0.6\" overlaps \"10.0.0.0-10.0.0.5\" in FILE:2",
        "not beyond it",
    ),
    same(
        "events {}\nhttp { geo $x { default {} } }\n",
        "unexpected \"{\" in FILE:2",
        "",
    ),
];

const SPLIT_CLIENTS: &[Mistake] = &[
    same(
        "events {}\nhttp { split_clients $uri x { * a; } }\n",
        "invalid variable name \"x\" in FILE:2",
        "expected $ and a name",
    ),
    same(
        "events {}\nhttp { split_clients $uri $x { 1.234% a; } }\n",
        "invalid percent value \"1.234%\" in FILE:2",
        "expected a percentage like 20%",
    ),
    same(
        "events {}\nhttp { split_clients $uri $x { 0% a; } }\n",
        "invalid percent value \"0%\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { split_clients $uri $x { 50% a; 51% b; } }\n",
        "percent total is greater than 100% in FILE:2",
        "nothing may follow *",
    ),
    same(
        "events {}\nhttp { split_clients $uri $x { * a; 1% b; } }\n",
        "percent total is greater than 100% in FILE:2",
        "",
    ),
    ours(
        "events {}\nhttp { split_clients $uri $x { 1%; } }\n",
        "invalid number of the split_clients parameters in FILE:2",
        "expected a percentage and its value",
    ),
    same(
        "events {}\nhttp { split_clients $uri $x { 1% {} } }\n",
        "unexpected \"{\" in FILE:2",
        "",
    ),
];

#[test]
fn mistakes_in_maps_are_named() {
    check_all(MAP);
    check_all(GEO);
    check_all(SPLIT_CLIENTS);
}

#[test]
fn odd_tables_are_taken_and_warned_of_as_in_nginx() {
    check_in_http(&[
        ("map $uri $args { a b; } map $uri $http_foo { a b; }", true),
        ("map $uri $http_host { a b; }", false),
        ("map $uri $x { a b; } map $args $x { a b; }", true),
        (
            "map $uri $x { volatile; volatile; hostnames; hostnames; }",
            true,
        ),
        ("map $uri $x { volatile a; hostnames b; }", true),
        ("map $uri $x { hostnames; .a b; a c; }", false),
        ("map $uri $x { hostnames; *.a b; .a c; }", false),
        ("map $uri $x { hostnames; a..b c; }", false),
        ("map $uri $x { ~ b; ~* c; }", true),
        ("map $uri $x { include nothing*; }", true),
        ("geo $x { 1.2.3.0/24 a; 1.2.3.4/24 b; }", true),
        ("geo $x { 1.2.3.4 a; 01.02.03.004/32 b; .2.3.4 c; }", true),
        ("geo $x { 1.2.0.0 a; 1.2.0.0/16 b; 1.2.0.0/16 c; }", true),
        ("geo $x { delete 1.2.3.4; delete ::1; }", true),
        ("geo $x { ranges; ranges; default a; default b; }", true),
        (
            "geo $x { ranges; 1.2.0.0-1.2.255.255 a; 1.2.0.0-1.3.255.255 b; }",
            true,
        ),
        (
            "geo $x { ranges; 1.2.0.0-1.2.255.255 a; delete 1.2.0.0-1.2.0.1; }",
            true,
        ),
        ("geo $x { ranges; 1.2.3.4-255.255.255.255 a; }", false),
        (
            "geo $x { proxy 1.2.3.4/8; proxy_recursive; proxy_recursive; }",
            true,
        ),
        (
            "split_clients $uri $x { .5% a; 1.% b; } split_clients $uri $x {}",
            true,
        ),
    ]);
}
