//! A tree of files, folders and links that changes at random, and requests that are to see it as it is.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::Site;
use crate::support::Client;

const ASKS: usize = 4000;

/// Numbers that a seed decides (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }

    /// A path of up to four names, the last of them mostly a file's.
    fn path(&mut self) -> String {
        let mut path = String::new();
        for _ in 0..self.below(4) {
            path.push_str(["a/", "b/", "c/"][self.below(3)]);
        }
        path + ["x.txt", "y.txt", "z.txt", "a", "b"][self.below(5)]
    }

    fn folder(&mut self) -> String {
        let depth = 1 + self.below(3);
        let names: Vec<&str> = (0..depth).map(|_| ["a", "b", "c"][self.below(3)]).collect();
        names.join("/")
    }

    /// Changes something, or tries to.
    fn change(&mut self, root: &Path, round: usize) -> io::Result<()> {
        let (path, other) = (root.join(self.path()), root.join(self.path()));
        match self.below(20) {
            0..=5 => {
                fs::create_dir_all(path.parent().unwrap_or(root))?;
                fs::write(path, format!("{round:08}").repeat(1 + 2 * self.below(2)))
            }
            6 => fs::create_dir_all(root.join(self.folder())),
            7 | 8 => fs::rename(path, other),
            9 | 10 => fs::rename(root.join(self.folder()), root.join(self.folder())),
            11 | 12 => {
                let target = self.target(root);
                symlink(target, path)
            }
            13 => {
                let link = root.join(".link");
                let _ = fs::remove_file(&link);
                symlink(self.target(root), &link)?;
                fs::rename(link, path)
            }
            14 | 15 => fs::remove_file(path),
            16 => fs::remove_dir_all(root.join(self.folder())),
            _ => {
                let file = fs::OpenOptions::new().write(true).open(path)?;
                file.set_len(self.below(8) as u64)
            }
        }
    }

    fn target(&mut self, root: &Path) -> PathBuf {
        match self.below(4) {
            0 => self.folder().into(),
            1 => format!("../{}", self.folder()).into(),
            2 => root.join(self.folder()),
            _ => ["x.txt", "y.txt", "../outside.txt"][self.below(3)].into(),
        }
    }
}

/// What is there: status and content; `None` where links lead in a circle.
fn expected(path: &Path) -> Option<(u16, Vec<u8>)> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Some((301, Vec::new())),
        Ok(_) => fs::read(path).ok().map(|content| (200, content)),
        Err(error) => {
            let is_circle = error.raw_os_error() == Some(Errno::LOOP.raw_os_error());
            (!is_circle).then(|| (404, Vec::new()))
        }
    }
}

#[track_caller]
fn run(bounds: &str, seed: u64) {
    let site = Site::start(bounds, "log_not_found off;");
    let root = site.folder.file("html");
    let mut client = Client::connect(site.port);
    let mut numbers = Numbers(seed);
    for round in 0..ASKS {
        for _ in 0..numbers.below(3) {
            // What cannot be done is left.
            let _ = numbers.change(&root, round);
        }
        let path = numbers.path();
        let Some((status, content)) = expected(&root.join(&path)) else {
            continue;
        };
        let response = client.get(&format!("/{path}"));
        let seen = (response.status, response.body);
        assert_eq!(seen.0, status, "/{path}, round {round} of seed {seed}");
        if status == 200 {
            assert_eq!(seen.1, content, "/{path}, round {round} of seed {seed}");
        }
    }
}

#[test]
fn a_tree_that_fits_into_the_cache_is_seen_as_it_is() {
    (1..=3).for_each(|seed| run("", seed));
}

#[test]
fn a_tree_that_does_not_fit_is_seen_as_it_is() {
    (4..=6).for_each(|seed| run("file_cache entries=5 file_bytes=16 descriptors=1;", seed));
}
