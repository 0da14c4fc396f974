//! `autoindex` and `random_index`: folders as nginx lists them.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use super::filtered::Site;
use super::request::{Case, get, head, post};
use crate::support::Folder;

fn write(folder: &Folder) {
    let long = "x".repeat(60);
    let names = [
        "a.txt",
        "B.txt",
        "sp ace",
        "<&\">",
        "per%cent",
        "a:b",
        "q?u#e",
        "\u{e4}\u{20ac}.txt",
        "'single'",
        "back\\slash",
        "new\nline",
        "tab\t",
        "bell\u{7}",
        ".hidden",
        long.as_str(),
        &long[..50],
        &long[..51],
        &long[..49],
    ];
    for name in names {
        folder.write(&format!("html/list/{name}"), name);
    }
    let wide = "\u{e4}".repeat(60);
    folder.write(&format!("html/list/{wide}"), "");
    folder.write(&format!("html/list/{}", &wide[..100]), "");
    let mixed = format!("<{}>", "\u{e4}".repeat(48));
    folder.write(&format!("html/list/{mixed}"), "");
    for (number, bytes) in [
        0,
        9_999,
        10_000,
        10_751,
        10_752,
        1 << 20,
        3 << 19,
        (1 << 30) - 1,
        1 << 30,
    ]
    .into_iter()
    .enumerate()
    {
        let file = File::create(folder.file(&format!("html/list/size{number}"))).expect("a file");
        file.set_len(bytes).expect("a sparse file");
        let time =
            SystemTime::UNIX_EPOCH + Duration::from_secs(86_400 * 400 * (number as u64 + 1) + 4711);
        file.set_modified(time).expect("a time");
    }
    folder.make("html/list/folder");
    folder.make("html/list/z <folder>");
    folder.make(&format!("html/list/{}y", &long[..49]));
    folder.make("html/empty");
    symlink("nowhere", folder.file("html/list/dangling")).expect("a link");
    symlink("folder", folder.file("html/list/linked")).expect("a link");
    folder.write("html/one/only.txt", "the only one");
    folder.make("html/<b>");
}

const SITE: Site = Site {
    http: "",
    server: "
        autoindex on;
        location /off/ { autoindex off; alias ROOT/html/list/; }
        location /sizes/ { autoindex_exact_size off; alias ROOT/html/list/; }
        location /local/ { autoindex_localtime on; alias ROOT/html/list/; }
        location /utf8/ { charset utf-8; alias ROOT/html/list/; }
        location /json/ { autoindex_format json; alias ROOT/html/list/; }
        location /jsonp/ { autoindex_format jsonp; alias ROOT/html/list/; }
        location /xml/ { autoindex_format xml; alias ROOT/html/list/; }
        location /emptyjson/ { autoindex_format json; alias ROOT/html/empty/; }
        location /emptyxml/ { autoindex_format xml; alias ROOT/html/empty/; }
        location /packed/ { gzip on; gzip_types *; alias ROOT/html/list/; }
        location /random/ { random_index on; autoindex off; alias ROOT/html/one/; }
        location /randomnone/ { random_index on; alias ROOT/html/empty/; }
    ",
    write,
};

#[test]
fn folders_are_listed() {
    let mut cases: Vec<Case> = Vec::new();
    for path in [
        "/",
        "/list/",
        "/list",
        "/empty/",
        "/none/",
        "/off/",
        "/sizes/",
        "/local/",
        "/utf8/",
        "/json/",
        "/jsonp/",
        "/xml/",
        "/jsonp/?callback=f",
        "/jsonp/?callback=",
        "/jsonp/?callback=a.b_c1",
        "/jsonp/?callback=a-b",
        "/emptyjson/",
        "/emptyxml/",
        "/packed/",
        "/random/",
        "/randomnone/",
        "/random/none/",
        "/%3Cb%3E/",
        "/list/a.txt/",
    ] {
        cases.push(get(path).into());
        cases.push(get(path).line("Accept-Encoding: gzip").into());
        cases.push(get(path).http_10().into());
        cases.push(head(path).into());
        cases.push(post(path, "x").into());
    }
    SITE.compare(&cases);
}
