//! `gzip_static` and `gunzip`: what lies compressed, as it is and unpacked.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::filtered::Site;
use super::request::{Case, get, head, post};
use crate::support::Folder;

fn packed(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(text.as_bytes()).expect("memory");
    encoder.finish().expect("memory")
}

fn write(folder: &Folder) {
    let text = "abc def ghi\n".repeat(5000);
    folder.write("html/both.html", "plain");
    folder.write("html/both.html.gz", packed("packed"));
    folder.write("html/only.html.gz", packed(&text));
    folder.write(
        "html/two.html.gz",
        [packed("one\n"), packed("two\n")].concat(),
    );
    folder.write("html/plain.txt", "plain text");
    folder.write("html/folder.txt", "beside a folder");
    folder.make("html/folder.txt.gz");
    folder.make("html/sub");
    folder.write("html/sub.gz", packed("x"));
}

const SITE: Site = Site {
    http: "gzip_http_version 1.0;",
    server: "
        gzip_static on;
        location /vary/ { gzip_vary on; alias ROOT/html/; }
        location /always/ { gzip_static always; gzip_vary on; alias ROOT/html/; }
        location /off/ { gzip_static off; alias ROOT/html/; }
        location /un/ { gzip_static always; gunzip on; alias ROOT/html/; }
        location /unvary/ { gzip_static always; gunzip on; gzip_vary on; gunzip_buffers 2 4k; alias ROOT/html/; }
        location /un/gz { gzip_static always; gunzip on; gzip on; gzip_types *; alias ROOT/html/; }
        location /noetag/ { gzip_static always; gunzip on; etag off; alias ROOT/html/; }
        location /proxied/ { gzip_proxied any; alias ROOT/html/; }
    ",
    write,
};

#[test]
fn what_lies_compressed_is_sent_as_it_is_or_unpacked() {
    let mut cases: Vec<Case> = Vec::new();
    let accept = "Accept-Encoding: gzip";
    for folder in [
        "", "vary/", "always/", "off/", "un/", "unvary/", "un/gz", "noetag/", "proxied/",
    ] {
        for name in [
            "both.html",
            "only.html",
            "two.html",
            "plain.txt",
            "folder.txt",
            "sub",
            "none",
            "sub/",
        ] {
            let path = format!("/{folder}{name}");
            cases.push(get(path.as_str()).into());
            cases.push(get(path.as_str()).line(accept).into());
            if name == "sub" {
                continue;
            }
            cases.push(head(path.as_str()).into());
            cases.push(head(path.as_str()).line(accept).into());
            cases.push(get(path.as_str()).line(accept).line("Via: x").into());
            cases.push(get(path.as_str()).line("Range: bytes=0-2").into());
            cases.push(
                get(path.as_str())
                    .line(accept)
                    .line("Range: bytes=0-2")
                    .into(),
            );
            cases.push(
                get(path.as_str())
                    .line(accept)
                    .line("If-None-Match: *")
                    .into(),
            );
            cases.push(get(path.as_str()).http_10().into());
        }
    }
    cases.push(post("/both.html", "x").line(accept).into());
    SITE.compare(&cases);
}
