//! Names and passwords while their file changes, and those that no thread may be given.

use super::Site;
use crate::support::{Client, until};

const LOCATION: &str = "auth_basic x; auth_basic_user_file users;";

/// `me:secret`, and `me:other`.
const SECRET: &str = "Basic bWU6c2VjcmV0";
const OTHER: &str = "Basic bWU6b3RoZXI=";

const SECRET_HASH: &str = "me:$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0\n";

fn status(site: &Site, said: &str) -> u16 {
    let mut client = Client::connect(site.port);
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: {said}\r\nConnection: close\r\n\r\n"
    ));
    client.response().status
}

#[test]
fn a_changed_file_holds_for_the_next_request() {
    let site = Site::start("", LOCATION);
    assert_eq!(status(&site, SECRET), 403, "there is no file");
    site.folder.write("users", SECRET_HASH);
    for _ in 0..2 {
        assert_eq!(status(&site, SECRET), 200);
        assert_eq!(status(&site, OTHER), 401);
    }
    // One that is remembered is forgotten with its line.
    site.folder.write("users", "me:{PLAIN}other\n");
    assert_eq!(status(&site, SECRET), 401);
    assert_eq!(status(&site, OTHER), 200);
    site.folder.write("users", "you:{PLAIN}secret\n");
    assert_eq!(status(&site, SECRET), 401);
}

#[test]
fn a_hash_of_no_known_form_lets_nobody_in_and_says_so() {
    let site = Site::start("", LOCATION);
    site.folder.write("users", "me:rqXexS6ZhobKA\n");
    assert_eq!(status(&site, SECRET), 500);
    until("the log says what to do", || {
        let log = site.folder.read("logs/error.log");
        log.contains("user \"me\": the password's hash in") && log.contains("htpasswd -B")
    });
}

#[test]
fn many_who_ask_with_one_pair_at_once_are_all_let_in() {
    let site = Site::start("", LOCATION);
    site.folder.write("users", SECRET_HASH);
    let ask = format!("GET / HTTP/1.1\r\nHost: x\r\nAuthorization: {SECRET}\r\n\r\n");
    let mut clients: Vec<Client> = (0..40).map(|_| Client::connect(site.port)).collect();
    for client in &mut clients {
        client.send(&ask);
    }
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
}
