//! Names and passwords.

use super::error_log::compare_lines;
use super::pair::compare_with;
use super::request::{Case, Request, get, head, post};

const RULES: &str = r#"
    deny 9.0.0.0/8;
    server {
        listen 127.0.0.1:PORT; server_name auth.example; root ROOT/html;
        set_real_ip_from 127.0.0.1;
        auth_basic "the site"; auth_basic_user_file ROOT/users;
        add_header X-User "$remote_user" always;
        location / { }
        location /off/ { auth_basic off; alias ROOT/html/; }
        location /by-name/ { auth_basic "$arg_realm"; alias ROOT/html/; }
        location /by-file/ { auth_basic_user_file ROOT/$arg_file; alias ROOT/html/; }
        location /relative/ { auth_basic_user_file users; alias ROOT/html/; }
        location /folder/ { auth_basic_user_file ROOT/html; alias ROOT/html/; }
        location /any/ { satisfy any; allow 10.0.0.0/8; deny all; alias ROOT/html/; }
        location /all/ { allow 10.0.0.0/8; deny all; alias ROOT/html/; }
        location /page/ { error_page 401 /off/small.txt; alias ROOT/html/; }
        location /limited/ { auth_basic off; alias ROOT/html/;
            limit_except GET { auth_basic "to write"; auth_basic_user_file ROOT/users; } }
        location /late/ { auth_delay 20ms; alias ROOT/html/; }
        location /late-any/ { satisfy any; deny all; auth_delay 20ms; alias ROOT/html/; }
    }
    server { listen 127.0.0.1:PORT; server_name open.example; root ROOT/html;
        location /no-file/ { auth_basic "nobody is asked"; alias ROOT/html/; } }
"#;

/// What clients say: a name, a password, and things that are neither.
const SAID: &[&str] = &[
    "Basic bWU6c2VjcmV0",         // me:secret
    "Basic bWU6d3Jvbmc=",         // me:wrong
    "Basic bWU6",                 // me:
    "Basic b25lOnNlY3JldA==",     // one:secret
    "Basic Zml2ZTpzZWNyZXQ=",     // five:secret
    "Basic c2l4OnNlY3JldA==",     // six:secret
    "Basic c2l4OlNlY3JldA==",     // six:Secret
    "Basic YmxvdzpzZWNyZXQ=",     // blow:secret
    "Basic cGxhaW46c2VjcmV0",     // plain:secret
    "Basic cGxhaW46c2Vjb25k",     // plain:second
    "Basic c2hhOnNlY3JldA==",     // sha:secret
    "Basic c2hhOng=",             // sha:x
    "Basic c3NoYTpzZWNyZXQ=",     // ssha:secret
    "Basic c3NoYTpzZWNyZVQ=",     // ssha:secreT
    "Basic bm9ib2R5OnNlY3JldA==", // nobody:secret
    "Basic IyBjb21tZW50Ong=",     // # comment:x
    "Basic ZW1wdHk6",             // empty:
    "Basic ZW1wdHk6eA==",         // empty:x
    "Basic OnNlY3JldA==",         // :secret
    "Basic bTpzZWNyZXQ=",         // m:secret
    "Basic bWU6c2VjcmV0Og==",     // me:secret:
    "Basic",
    "Basic ",
    "Basic !!!!",
    "Basic bm9jb2xvbg==", // no colon
    "basic bWU6c2VjcmV0",
    "Basic   bWU6c2VjcmV0",
    "Digest bWU6c2VjcmV0",
    "bWU6c2VjcmV0",
];

const PATHS: &[&str] = &[
    "/small.txt",
    "/off/small.txt",
    "/by-name/small.txt?realm=off",
    "/by-name/small.txt?realm=x",
    "/by-name/small.txt",
    "/by-file/small.txt?file=users",
    "/by-file/small.txt?file=none",
    "/by-file/small.txt",
    "/relative/small.txt",
    "/folder/small.txt",
    "/any/small.txt",
    "/all/small.txt",
    "/page/small.txt",
    "/limited/small.txt",
    "/late/small.txt",
    "/late-any/small.txt",
    "/none",
];

fn asks(path: &str, said: &str) -> [Request; 2] {
    let request = get(path).host("auth.example");
    let request = request.line(format!("Authorization: {said}"));
    [request.clone().line("X-Real-IP: 10.0.0.1"), request]
}

#[test]
fn a_name_and_its_password_open_the_door() {
    compare_with(RULES, |_| {
        let mut cases: Vec<Request> = SAID
            .iter()
            .flat_map(|said| asks("/small.txt", said))
            .collect();
        for path in PATHS {
            for said in ["Basic bWU6c2VjcmV0", "Basic bWU6d3Jvbmc="] {
                cases.extend(asks(path, said));
            }
            cases.push(get(*path).host("auth.example"));
            cases.push(head(*path).host("auth.example"));
            cases.push(post(*path, "x").host("auth.example"));
        }
        cases.push(get("/no-file/small.txt").host("open.example"));
        cases.into_iter().map(Case::from).collect()
    });
}

#[test]
fn the_error_log_says_why_it_stays_shut() {
    let said = [
        "Basic bWU6d3Jvbmc=",
        "Basic bm9ib2R5OnNlY3JldA==",
        "Basic cGxhaW46c2Vjb25k",
        "Digest x",
    ];
    let mut cases: Vec<Request> = Vec::new();
    for path in PATHS {
        cases.extend(said.iter().flat_map(|said| asks(path, said)));
        cases.push(get(*path).host("auth.example"));
    }
    compare_lines(RULES, cases.into_iter().map(Case::from).collect());
}
