//! Mistakes in the directives of filters, and what is said of each.

use super::mistakes::{Mistake, check_all, ours, same};

const GZIP: &[Mistake] = &[
    same(
        "events {}\nhttp { gzip yes; }\n",
        "invalid value \"yes\" in \"gzip\" directive, it must be \"on\" or \"off\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { gzip on; gzip off; }\n",
        "\"gzip\" directive is duplicate in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { gzip_comp_level 0; }\n",
        "value must be between 1 and 9 in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { gzip_comp_level 10; }\n",
        "value must be between 1 and 9 in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { gzip_comp_level best; }\n",
        "\"gzip_comp_level\" directive invalid number in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { gzip_window 1000; }\n",
        "\"gzip_window\" directive must be 512, 1k, 2k, 4k, 8k, 16k, or 32k in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { gzip_window 64k; }\n",
        "\"gzip_window\" directive must be 512, 1k, 2k, 4k, 8k, 16k, or 32k in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { gzip_hash 256; }\n",
        "\"gzip_hash\" directive must be 512, 1k, 2k, 4k, 8k, 16k, 32k, 64k, or 128k in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { gzip_window x; }\n",
        "\"gzip_window\" directive invalid value in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { gzip_buffers 0 4k; }\n",
        "\"gzip_buffers\" directive invalid value in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { gzip_buffers 4 0; }\n",
        "\"gzip_buffers\" directive invalid value in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { gzip_buffers 4; }\n",
        "invalid number of arguments in \"gzip_buffers\" directive in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { gzip_min_length -1; }\n",
        "\"gzip_min_length\" directive invalid value in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { gzip_http_version 2; }\n",
        "invalid value \"2\" in FILE:2",
        "1.0 or 1.1",
    ),
    same(
        "events {}\nhttp { gzip_proxied some; }\n",
        "invalid value \"some\" in FILE:2",
        "",
    ),
    ours(
        "events {}\nhttp { gzip_disable \"(\"; }\n",
        "invalid regular expression \"(\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { postpone_gzipping x; }\n",
        "\"postpone_gzipping\" directive invalid value in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { gzip_no_buffer 1; }\n",
        "invalid value \"1\" in \"gzip_no_buffer\" directive, it must be \"on\" or \"off\" in FILE:2",
        "",
    ),
];

#[test]
fn mistakes_with_gzip_are_named() {
    check_all(GZIP);
}

const OTHERS: &[Mistake] = &[
    same(
        "events {}\nhttp { gzip_static yes; }\n",
        "invalid value \"yes\" in FILE:2",
        "off, on or always",
    ),
    same(
        "events {}\nhttp { gunzip 1; }\n",
        "invalid value \"1\" in \"gunzip\" directive, it must be \"on\" or \"off\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { gunzip_buffers 0 4k; }\n",
        "\"gunzip_buffers\" directive invalid value in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { autoindex_format text; }\n",
        "invalid value \"text\" in FILE:2",
        "html, json, jsonp or xml",
    ),
    same(
        "events {}\nhttp { autoindex_exact_size off; autoindex_exact_size on; }\n",
        "\"autoindex_exact_size\" directive is duplicate in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { autoindex_localtime 1; }\n",
        "invalid value \"1\" in \"autoindex_localtime\" directive, it must be \"on\" or \"off\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { random_index on; } }\n",
        "\"random_index\" directive is not allowed here in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { sub_filter '' x; }\n",
        "empty search pattern in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { sub_filter x; }\n",
        "invalid number of arguments in \"sub_filter\" directive in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { sub_filter x $nothing_at_all; }\n",
        "unknown \"nothing_at_all\" variable",
        "",
    ),
    same(
        "events {}\nhttp { sub_filter_once maybe; }\n",
        "invalid value \"maybe\" in \"sub_filter_once\" directive, it must be \"on\" or \"off\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { charset a; charset b; }\n",
        "\"charset\" directive is duplicate in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { charset_map a A {} }\n",
        "\"charset_map\" between the same charsets \"a\" and \"A\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { charset_map a b {}\n charset_map B a {} }\n",
        "duplicate \"charset_map\" between \"B\" and \"a\" in FILE:3",
        "",
    ),
    same(
        "events {}\nhttp { charset_map a b {\n 80 80 80;\n} }\n",
        "invalid parameters number in FILE:3",
        "",
    ),
    same(
        "events {}\nhttp { charset_map a b {\n 100 80;\n} }\n",
        "invalid value \"100\" in FILE:3",
        "",
    ),
    same(
        "events {}\nhttp { charset_map a b {\n 80 xx;\n} }\n",
        "invalid value \"xx\" in FILE:3",
        "",
    ),
    same(
        "events {}\nhttp { charset_map a utf-8 {\n 80 F09F9880;\n} }\n",
        "invalid value \"F09F9880\" in FILE:3",
        "",
    ),
    same(
        "events {}\nhttp { charset_map a utf-8 {\n 80 ZZ;\n} }\n",
        "invalid value \"ZZ\" in FILE:3",
        "",
    ),
    same(
        "events {}\nhttp { server { charset a; source_charset b; } }\n",
        "no \"charset_map\" between the charsets \"b\" and \"a\"",
        "",
    ),
    same(
        "events {}\nhttp { server { charset_map a b {} } }\n",
        "\"charset_map\" directive is not allowed here in FILE:2",
        "",
    ),
];

#[test]
fn mistakes_with_other_filters_and_lists_are_named() {
    check_all(OTHERS);
}
