//! Files are cached, and what was changed is seen by the very next request.

use std::fs;
use std::os::unix::fs::symlink;

use super::Site;
use crate::support::{Client, proc};

/// Rounds of each kind of change.
const ROUNDS: usize = 900;

fn body(client: &mut Client, path: &str) -> (u16, String) {
    let response = client.get(path);
    (response.status, response.text())
}

fn expect(client: &mut Client, path: &str, content: &str, round: usize) {
    let answer = body(client, path);
    assert_eq!(
        answer,
        (200, content.to_owned()),
        "{path}, round {round}: a stale answer"
    );
}

#[test]
fn overwriting_and_renaming_are_seen_at_once() {
    let site = Site::start("", "");
    let mut client = Client::connect(site.port);
    for round in 0..ROUNDS {
        // The same length and, mostly, the same second: neither size nor time gives it away.
        let content = format!("{round:08}");
        site.folder.write("html/a.txt", &content);
        expect(&mut client, "/a.txt", &content, round);
        expect(&mut client, "/a.txt", &content, round);
        let content = format!("{round:07}b");
        site.folder.write("html/.new", &content);
        fs::rename(
            site.folder.file("html/.new"),
            site.folder.file("html/a.txt"),
        )
        .expect("rename");
        expect(&mut client, "/a.txt", &content, round);
    }
}

#[test]
fn deleting_and_creating_are_seen_at_once() {
    let site = Site::start("", "");
    let mut client = Client::connect(site.port);
    for round in 0..ROUNDS {
        let content = format!("{round}");
        site.folder.write("html/deep/er/a.txt", &content);
        expect(&mut client, "/deep/er/a.txt", &content, round);
        fs::remove_file(site.folder.file("html/deep/er/a.txt")).expect("unlink");
        assert_eq!(client.get("/deep/er/a.txt").status, 404, "round {round}");
        if round % 10 == 0 {
            fs::remove_dir_all(site.folder.file("html/deep")).expect("rmdir");
            assert_eq!(client.get("/deep/er/a.txt").status, 404, "round {round}");
        }
    }
}

#[test]
fn truncating_and_appending_are_seen_at_once() {
    let site = Site::start("", "");
    let mut client = Client::connect(site.port);
    for round in 0..ROUNDS {
        let content = format!("{round} and more");
        site.folder.write("html/a.txt", &content);
        expect(&mut client, "/a.txt", &content, round);
        let file = fs::OpenOptions::new()
            .append(true)
            .open(site.folder.file("html/a.txt"));
        let mut file = file.expect("the file");
        file.set_len(3).expect("truncate");
        expect(&mut client, "/a.txt", &content[..3], round);
        std::io::Write::write_all(&mut file, b"+").expect("append");
        expect(&mut client, "/a.txt", &format!("{}+", &content[..3]), round);
    }
}

#[test]
fn a_swapped_link_on_the_way_is_seen_at_once() {
    let site = Site::start("", "");
    for version in 0..2 {
        site.folder.write(
            &format!("releases/{version}/app/page.txt"),
            format!("version {version}"),
        );
    }
    let current = site.folder.file("html/current");
    let next = site.folder.file("html/.next");
    symlink(site.folder.file("releases/0"), &current).expect("a link");
    let mut client = Client::connect(site.port);
    for round in 0..ROUNDS {
        let version = round % 2;
        symlink(format!("../releases/{version}"), &next).expect("a link");
        fs::rename(&next, &current).expect("rename");
        let content = format!("version {version}");
        expect(&mut client, "/current/app/page.txt", &content, round);
        expect(&mut client, "/current/app/page.txt", &content, round);
    }
}

#[test]
fn a_folder_renamed_on_the_way_is_seen_at_once() {
    let site = Site::start("", "");
    site.folder.write("html/a/x/page.txt", "first");
    site.folder.write("html/b/x/page.txt", "second");
    let mut client = Client::connect(site.port);
    let rename = |from: &str, to: &str| {
        fs::rename(site.folder.file(from), site.folder.file(to)).expect("rename");
    };
    for round in 0..ROUNDS / 2 {
        let (now, then) = if round % 2 == 0 {
            ("first", "second")
        } else {
            ("second", "first")
        };
        expect(&mut client, "/a/x/page.txt", now, round);
        rename("html/a", "html/c");
        assert_eq!(client.get("/a/x/page.txt").status, 404, "round {round}");
        rename("html/b", "html/a");
        rename("html/c", "html/b");
        expect(&mut client, "/a/x/page.txt", then, round);
    }
}

#[test]
fn a_changed_mode_is_seen_at_once() {
    if !proc::is_root() {
        crate::support::left_out("only root starts workers that may not read what the test wrote");
        return;
    }
    let site = Site::start("", "");
    site.folder.write("html/a.txt", "text");
    let mut client = Client::connect(site.port);
    for round in 0..ROUNDS / 3 {
        expect(&mut client, "/a.txt", "text", round);
        site.folder.set_mode("html/a.txt", 0o600);
        assert_eq!(client.get("/a.txt").status, 403, "round {round}");
        site.folder.set_mode("html/a.txt", 0o644);
    }
}

#[test]
fn a_change_between_pipelined_requests_of_many_clients_is_seen() {
    let site = Site::start("", "");
    let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(site.port)).collect();
    for round in 0..100 {
        let content = format!("{round:06}");
        site.folder.write("html/a.txt", &content);
        for client in &mut clients {
            client.send("GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n".repeat(3));
        }
        for client in &mut clients {
            for _ in 0..3 {
                assert_eq!(client.response().text(), content, "round {round}");
            }
        }
    }
}

/// More files than the cache holds, some of them too large for its memory: what may not enter is asked of
/// the disk, each time.
#[test]
fn what_does_not_fit_into_the_cache_is_never_stale_either() {
    let bounds = "file_cache entries=6 file_bytes=16 descriptors=1;";
    let site = Site::start(bounds, "try_files $uri $uri/ =404;");
    let mut client = Client::connect(site.port);
    let mut ask = |number: usize, expected: Option<&str>, round: usize| {
        client.send(format!("GET /{number}.txt HTTP/1.1\r\nHost: x\r\n\r\n").repeat(2));
        for _ in 0..2 {
            let response = client.response();
            match expected {
                Some(content) => assert_eq!(response.text(), content, "{number}, round {round}"),
                None => assert_eq!(response.status, 404, "{number}, round {round}"),
            }
        }
    };
    for round in 0..ROUNDS / 10 {
        let content = |number: usize| format!("{round:06}-{number:02}").repeat(1 + number % 3);
        let is_gone = |number: usize| (round + number).is_multiple_of(4);
        for number in 0..12 {
            let file = format!("html/{number}.txt");
            let content = content(number);
            site.folder.write(&file, &content);
            ask(number, Some(&content), round);
            if is_gone(number) {
                fs::remove_file(site.folder.file(&file)).expect("unlink");
                ask(number, None, round);
            }
        }
        // Those that entered, and those that did not.
        for number in 0..12 {
            let content = content(number);
            let expected = (!is_gone(number)).then_some(content.as_str());
            ask(number, expected, round);
        }
    }
}

/// The folder is known from one file when another is asked for that was not.
#[test]
fn a_link_in_the_place_of_a_folder_is_seen_at_once() {
    let site = Site::start("", "");
    for version in 0..2 {
        for number in 0..ROUNDS / 10 {
            let file = format!("releases/{version}/sub/{number}.txt");
            site.folder.write(&file, format!("version {version}"));
        }
    }
    let mut client = Client::connect(site.port);
    let (place, aside) = (site.folder.file("html/v"), site.folder.file("html/aside"));
    let (folder, link) = (
        site.folder.file("releases/0"),
        site.folder.file("html/.link"),
    );
    symlink(site.folder.file("releases/1"), &link).expect("a link");
    fs::rename(&folder, &place).expect("rename");
    for number in 0..ROUNDS / 10 {
        let path = format!("/v/sub/{number}.txt");
        expect(&mut client, "/v/sub/0.txt", "version 0", number);
        fs::rename(&place, &aside).expect("rename");
        fs::rename(&link, &place).expect("rename");
        expect(&mut client, &path, "version 1", number);
        expect(&mut client, "/v/sub/0.txt", "version 1", number);
        fs::rename(&place, &link).expect("rename");
        fs::rename(&aside, &place).expect("rename");
        expect(&mut client, &path, "version 0", number);
    }
}

#[test]
fn a_file_behind_a_link_that_is_overwritten_is_seen_at_once() {
    let site = Site::start("", "");
    site.folder.write("data/a.txt", "first");
    symlink("../data/a.txt", site.folder.file("html/a.txt")).expect("a link");
    let mut client = Client::connect(site.port);
    for round in 0..ROUNDS / 3 {
        let content = format!("{round:05}");
        site.folder.write("data/a.txt", &content);
        expect(&mut client, "/a.txt", &content, round);
    }
}
