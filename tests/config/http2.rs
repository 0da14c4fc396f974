//! Mistakes about HTTP/2 and gRPC, and directives that nginx took away.

use super::mistakes::{Mistake, check_all, ours, same};
use crate::support::{Folder, Run, revolve};

const HTTP2: &[Mistake] = &[
    same(
        "events {}\nhttp {\n http2_chunk_size 0;\n}\n",
        "the http2 chunk size cannot be zero in FILE:3",
        "",
    ),
    same(
        "events {}\nhttp {\n http2_pool_size 10;\n}\n",
        "the pool size must be no less than 112 in FILE:3",
        "",
    ),
    same(
        "events {}\nhttp {\n http2_streams_index_size 7;\n}\n",
        "\"http2_streams_index_size\" directive must be a power of two in FILE:3",
        "",
    ),
    same(
        "events {}\nhttp {\n http2_recv_buffer_size 1;\n}\n",
        "\"http2_recv_buffer_size\" directive value is too small in FILE:3",
        "",
    ),
    same(
        "events {}\nhttp {\n http2_max_concurrent_streams x;\n}\n",
        "\"http2_max_concurrent_streams\" directive invalid number in FILE:3",
        "",
    ),
    same(
        "events {}\nhttp {\n http2_body_preread_size 4096m;\n}\n",
        "the maximum body preread buffer size is 2147483647 in FILE:3",
        "",
    ),
    same(
        "events {}\nhttp { server { location / { grpc_pass 127.0.0.1:1; grpc_pass 127.0.0.1:2; } } }\n",
        "\"grpc_pass\" directive is duplicate in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { location / { grpc_pass grpcs://127.0.0.1; } } }\n",
        "no port in upstream \"127.0.0.1\" in FILE:2",
        "expected one, or the name of an `upstream`",
    ),
    same(
        "events {}\nhttp { server { grpc_pass a:1; } }\n",
        "\"grpc_pass\" directive is not allowed here in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { proxy_http_version 3; }\n",
        "invalid value \"3\" in FILE:2",
        "",
    ),
    ours(
        "events {}\nhttp {\n upstream up { server 127.0.0.1:1; }\n server {\n  location / {\n   proxy_pass http://up;\n   proxy_http_version 2;\n   health_check;\n  }\n }\n}\n",
        "\"health_check\" asks by HTTP/1.1, and \"proxy_http_version\" is 2 here in FILE:8",
        "a location of its own",
    ),
];

#[test]
fn mistakes_about_http2_are_named() {
    check_all(HTTP2);
}

/// In nginx's words, each once.
#[test]
fn what_nginx_took_away_is_a_warning() {
    let folder = Folder::new();
    let lines = "http2_recv_timeout 30s; http2_idle_timeout 3m; http2_max_requests 9; http2_max_field_size 4k;
        http2_max_header_size 16k; http2_max_concurrent_pushes 10; http2_push /x; http2_push_preload on;
        http2_recv_buffer_size 256k; http2_pool_size 4k; http2_streams_index_size 32; http2_chunk_size 16k;";
    folder.write(
        "nginx.conf",
        format!("error_log stderr;\npid pid;\nevents {{}}\nhttp {{ access_log off; {lines} server {{ listen 1 http2; }} }}\n"),
    );
    let run = Run::of(revolve(&folder).arg("-t"));
    assert_eq!(run.code, 0, "{}", run.err);
    let warnings = [
        "the \"http2_recv_timeout\" directive is obsolete, use the \"client_header_timeout\" directive instead",
        "the \"http2_idle_timeout\" directive is obsolete, use the \"keepalive_timeout\" directive instead",
        "the \"http2_max_requests\" directive is obsolete, use the \"keepalive_requests\" directive instead",
        "the \"http2_max_field_size\" directive is obsolete, use the \"large_client_header_buffers\" directive instead",
        "the \"http2_max_header_size\" directive is obsolete, use the \"large_client_header_buffers\" directive instead",
        "the \"http2_max_concurrent_pushes\" directive is obsolete, ignored",
        "the \"http2_push\" directive is obsolete, ignored",
        "the \"http2_push_preload\" directive is obsolete, ignored",
        "the \"listen ... http2\" directive is deprecated, use the \"http2\" directive instead",
    ];
    for warning in warnings {
        assert!(
            run.err.contains(&format!("[warn] {warning}")),
            "{warning}: {}",
            run.err
        );
    }
    assert_eq!(
        run.err.matches("[warn]").count(),
        warnings.len(),
        "{}",
        run.err
    );
}
