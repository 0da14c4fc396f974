//! `disable_symlinks`: which links may lie on the way to a file.

use std::os::unix::fs::{lchown, symlink};

use super::pair::{Pair, compare_with};
use super::request::{Case, get};
use crate::support::left_out;

const LINES: &str = r#"
    server {
        listen 127.0.0.1:PORT; server_name links.example; root ROOT/html;
        location / { }
        location /on/ { disable_symlinks on; alias ROOT/html/; }
        location /owner/ { disable_symlinks if_not_owner; alias ROOT/html/; }
        location /from/ { disable_symlinks on from=$document_root; alias ROOT/html/; }
        location /from-link/ { disable_symlinks on from=ROOT/html/folder-link; alias ROOT/html/; }
        location /from-part/ { disable_symlinks on from=ROOT/ht; alias ROOT/html/; }
        location /through/ { disable_symlinks on from=ROOT/through; alias ROOT/through/; }
        location /off/ { disable_symlinks on; alias ROOT/html/;
            location /off/in/ { disable_symlinks off; alias ROOT/html/; } }
        location /tried/ { disable_symlinks on; root ROOT/html; try_files /file-link /small.txt; }
    }
"#;

fn links(pair: &Pair) {
    let root = pair.folder.path();
    let link = |to: &str, from: &str| symlink(to, root.join(from)).expect("a link");
    link("small.txt", "html/file-link");
    link("a", "html/folder-link");
    link("none", "html/dangling");
    link("html", "through");
}

fn cases() -> Vec<Case> {
    let places = [
        "",
        "on/",
        "owner/",
        "from/",
        "from-link/",
        "from-part/",
        "through/",
        "off/",
        "off/in/",
    ];
    let paths = [
        "small.txt",
        "file-link",
        "folder-link/index.html",
        "folder-link/",
        "folder-link",
        "a/",
        "dangling",
        "none",
    ];
    let all = places
        .iter()
        .flat_map(|place| paths.map(|path| format!("/{place}{path}")));
    let all = all.chain(["/tried/".to_owned()]);
    all.map(|path| get(path).host("links.example").into())
        .collect()
}

#[test]
fn links_are_refused_as_by_nginx() {
    compare_with(LINES, |pair| {
        links(pair);
        cases()
    });
}

#[test]
fn links_of_others_are_refused_as_by_nginx() {
    if !rustix::process::geteuid().is_root() {
        return left_out("only root can make links of others");
    }
    compare_with(LINES, |pair| {
        links(pair);
        for name in ["file-link", "folder-link"] {
            let path = pair.folder.path().join("html").join(name);
            lchown(path, Some(12345), None).expect("another owner");
        }
        cases()
    });
}
