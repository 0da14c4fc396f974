//! HTTP/2: the same site over it, what it adds, and what clients may not do.

mod floods;
mod rules;
mod same;
mod streams;
mod upstreams;

use super::Site;
use crate::support::Folder;

/// A site that speaks it, with some files.
#[track_caller]
fn site(server: &str) -> Site {
    site_with("", server)
}

#[track_caller]
fn site_with(http: &str, server: &str) -> Site {
    let folder = Folder::new();
    folder.write("html/index.html", "home\n");
    folder.write("html/1k", "x".repeat(1024));
    folder.write("html/100k.html", "0123456789".repeat(10_000));
    let big: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    folder.write("html/big", big);
    Site::serve(folder, &format!("{http}\nhttp2 on;"), server)
}
