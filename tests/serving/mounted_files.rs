//! Files that are mounted by themselves, as containers do. Nothing is heard of their changes.

use std::process::Command;

use super::Site;
use crate::support::{Client, Folder};

/// A mount of one file over another, until it is dropped.
struct Mount(std::path::PathBuf);

impl Mount {
    /// `None` where this is not allowed.
    fn bind(folder: &Folder, from: &str, to: &str) -> Option<Mount> {
        let (from, to) = (folder.file(from), folder.file(to));
        let status = Command::new("mount")
            .arg("--bind")
            .arg(from)
            .arg(&to)
            .status();
        status
            .is_ok_and(|status| status.success())
            .then_some(Mount(to))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a server may still hold the file open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_file_that_is_mounted_by_itself_is_never_stale() {
    let folder = Folder::new();
    for name in [
        "outside/small.txt",
        "outside/large.bin",
        "html/small.txt",
        "html/large.bin",
    ] {
        folder.write(name, "first");
    }
    let mounts = ["small.txt", "large.bin"]
        .map(|name| Mount::bind(&folder, &format!("outside/{name}"), &format!("html/{name}")));
    if mounts.iter().any(Option::is_none) {
        println!("skipped: this user may not mount");
        return;
    }
    let site = Site::serve(folder, "file_cache file_bytes=1k;", "");
    let mut client = Client::connect(site.port);
    let mut get = |name: &str| {
        client.send(format!("GET /{name} HTTP/1.1\r\nHost: x\r\n\r\n"));
        client.response().text()
    };
    for round in 0..50 {
        let small = format!("round {round}");
        // It grows and shrinks, and is too large to be held in memory.
        let large = format!("{round} ").repeat(1000 + 500 * (round % 3));
        for (name, text) in [("small.txt", &small), ("large.bin", &large)] {
            std::fs::write(site.folder.file("outside").join(name), text).expect("a file");
            assert_eq!(&get(name), text, "{name}");
        }
    }
}
