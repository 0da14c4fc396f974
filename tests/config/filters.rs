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
