//! Answers that other answers decide on or stand in: `auth_request`, `addition`, `mirror`.

use std::time::Duration;

use super::error_log::compare_lines;
use super::filtered::Site;
use super::pair::{Side, ask, start};
use super::request::{Case, get, head, method, post};
use crate::support::Folder;
use crate::support::wait::comes;

fn write(folder: &Folder) {
    folder.write("html/page.html", "<p>page</p>\n");
    folder.write("html/head.html", "<head>\n");
    folder.write("html/foot.html", "<foot>\n");
    folder.write("html/plain.txt", "text\n");
    folder.write("html/empty.html", "");
    folder.write("html/large.html", "0123456789abcdef".repeat(40_000));
    folder.write("html/d/index.html", "<index>\n");
}

const AUTH: Site = Site {
    http: "",
    server: r#"
        location = /yes { internal; return 204; }
        location = /ok { return 200 ok; }
        location = /created { return 201 x; }
        location = /no { return 403; }
        location = /who { add_header WWW-Authenticate 'Basic realm="x"' always; return 401; }
        location = /moved { return 301 /x; }
        location = /lost { return 404; }
        location = /broken { return 500; }
        location = /shut { return 444; }
        location = /paged { error_page 404 =200 /head.html; return 404; }
        location = /paged403 { error_page 404 =403 /head.html; return 404; }
        location = /tried { try_files /none @named; }
        location @named { return 204; }
        location = /by-arg { if_modified_since off; deny all; try_files /none =403; }
        location = /seen { auth_request off; root ROOT/html; try_files /page.html =404; }
        location /a1/ { auth_request /yes; alias ROOT/html/; }
        location /a2/ { auth_request /ok; alias ROOT/html/; }
        location /a3/ { auth_request /created; alias ROOT/html/; }
        location /a4/ { auth_request /no; alias ROOT/html/; }
        location /a5/ { auth_request /who; alias ROOT/html/; }
        location /a6/ { auth_request /moved; alias ROOT/html/; }
        location /a7/ { auth_request /lost; alias ROOT/html/; }
        location /a8/ { auth_request /broken; alias ROOT/html/; }
        location /a9/ { auth_request /shut; alias ROOT/html/; }
        location /b1/ { auth_request /paged; alias ROOT/html/; }
        location /b2/ { auth_request /paged403; alias ROOT/html/; }
        location /b3/ { auth_request /tried; alias ROOT/html/; }
        location /b4/ { auth_request /by-arg; alias ROOT/html/; }
        location /b5/ { auth_request /page.html; alias ROOT/html/; }
        location /b6/ { auth_request /none.html; alias ROOT/html/; }
        location /b7/ { auth_request /d; alias ROOT/html/; }
        location /b8/ { auth_request /d/; alias ROOT/html/; }
        location /b9/ { auth_request /b9/page.html; alias ROOT/html/; }
        location /c1/ { satisfy any; deny all; auth_request /yes; alias ROOT/html/; }
        location /c2/ { satisfy any; allow all; auth_request /no; alias ROOT/html/; }
        location /c3/ { satisfy any; deny all; auth_request /who; alias ROOT/html/; }
        location /c4/ { deny all; auth_request /yes; alias ROOT/html/; }
        location /c5/ { auth_request /a4/page.html; alias ROOT/html/; }
        location /c6/ { auth_request /no; error_page 403 /page.html; alias ROOT/html/; }
        location /c7/ { auth_request /no; return 200 "before access"; }
        location /v1/ { auth_request /ok; auth_request_set $said "$status|$sent_http_content_type|$uri|$request_uri|$args|$request_method";
            add_header X-Said $said; alias ROOT/html/; }
        location /v2/ { auth_request /no; auth_request_set $said $status; error_page 403 = @said; }
        location /v3/ { auth_request /page.html; auth_request_set $said "$sent_http_content_length|$sent_http_last_modified|$content_type";
            add_header X-Said $said; alias ROOT/html/; }
        location /v4/ { add_header X-Said "[$said]"; alias ROOT/html/; }
        location /u1/ { auth_request /up; auth_request_set $user $upstream_http_x_user; auth_request_set $how $upstream_status;
            add_header X-Said $user-$how; alias ROOT/html/; }
        location /u2/ { auth_request /up-who; alias ROOT/html/; }
        location /u3/ { auth_request /up-gone; alias ROOT/html/; }
        location /u4/ { auth_request /up-large; alias ROOT/html/; }
        location = /up { internal; proxy_pass http://127.0.0.1:PORT/up-said; proxy_pass_request_body off;
            proxy_set_header Content-Length ""; }
        location = /up-who { internal; proxy_pass http://127.0.0.1:PORT/who; proxy_pass_request_body off;
            proxy_set_header Content-Length ""; }
        location = /up-gone { internal; proxy_pass http://127.0.0.1:1/; }
        location = /up-large { internal; proxy_pass http://127.0.0.1:PORT/large.html; proxy_pass_request_body off;
            proxy_set_header Content-Length ""; proxy_set_header Range ""; proxy_set_header If-None-Match ""; }
        location = /up-said { add_header X-User $request_method; return 200 x; }
        location @said { return 200 "said $said"; }
    "#,
    write,
};

fn auth_paths() -> Vec<String> {
    let names = [
        "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9", "b1", "b2", "b3", "b4", "b5", "b6",
        "b7", "b8", "b9", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "v1", "v2", "v3", "v4", "u1",
        "u2", "u3", "u4",
    ];
    let path = |name: &&str| format!("/{name}/page.html?x=y");
    names.iter().map(path).collect()
}

fn each(paths: &[String]) -> Vec<Case> {
    let each = |path: &String| -> Vec<Case> {
        vec![
            get(path).into(),
            head(path).into(),
            get(path).http_10().into(),
            post(path, "body").into(),
            method("PUT", path).line("Content-Length: 0").into(),
            get(path).line("Range: bytes=0-1").into(),
            get(path).line("If-None-Match: *").into(),
        ]
    };
    paths.iter().flat_map(each).collect()
}

#[test]
fn subrequests_give_leave_as_nginx_has_them() {
    AUTH.compare(&each(&auth_paths()));
}

const ADDITION: Site = Site {
    http: "",
    server: r#"
        location /both/ { add_before_body /head.html; add_after_body /foot.html; alias ROOT/html/; }
        location /before/ { add_before_body /head.html; alias ROOT/html/; }
        location /after/ { add_after_body /foot.html; alias ROOT/html/; }
        location /types/ { add_after_body /foot.html; addition_types text/plain; alias ROOT/html/; }
        location /any/ { add_after_body /foot.html; addition_types *; alias ROOT/html/; }
        location /lost/ { add_before_body /none.html; add_after_body /none.html; alias ROOT/html/; }
        location /large/ { add_before_body /large.html; add_after_body /large.html; alias ROOT/html/; }
        location /returned/ { add_before_body /said?x; default_type text/html; return 200 "text"; }
        location /moved/ { add_before_body /go; alias ROOT/html/; }
        location /error/ { add_before_body /head.html; return 404; }
        location /folder/ { add_before_body /d; add_after_body /d/; alias ROOT/html/; }
        location /paged/ { add_before_body /head.html; error_page 404 /page.html; root ROOT/none; }
        location /nested/ { add_before_body /both/page.html; alias ROOT/html/; }
        location /headers/ { add_before_body /marked; add_header X-A a; alias ROOT/html/; }
        location /denied/ { add_before_body /closed; alias ROOT/html/; }
        location = /marked { add_header X-B b; return 200 marked; }
        location = /closed { deny all; try_files /foot.html =404; }
        location = /go { return 302 /x; }
        location /none/sub/ { add_before_body /head.html; add_after_body ""; alias ROOT/html/; }
    "#,
    write,
};

#[test]
fn bodies_stand_between_their_additions() {
    let folders = [
        "both", "before", "after", "types", "any", "lost", "large", "returned", "moved", "error",
        "folder", "paged", "nested", "headers", "denied", "none/sub",
    ];
    let files = ["page.html", "plain.txt", "empty.html", "large.html", "d/"];
    let paths = folders.iter().flat_map(|folder| {
        let path = move |file: &&str| format!("/{folder}/{file}");
        files.iter().map(path).collect::<Vec<_>>()
    });
    ADDITION.compare(&each(&paths.collect::<Vec<_>>()));
}

const LINES: &str = r#"
    server {
        listen 127.0.0.1:PORT; server_name sub.example; root ROOT/html;
        location = /no { return 403; }
        location = /lost { return 404; }
        location /a1/ { auth_request /lost; }
        location /a2/ { auth_request /none.html; }
        location /a3/ { auth_request /no; }
        location /a4/ { auth_request /cycle; }
        location = /cycle { try_files /none /cycle; }
        location /b1/ { add_before_body /none.html; return 200 x; default_type text/html; }
        location /m1/ { mirror /none.html; mirror /a2/; }
    }
"#;

#[test]
fn errors_in_subrequests_are_logged_alike() {
    let paths = ["/a1/", "/a2/", "/a3/", "/a4/", "/b1/"];
    let case = |path: &str| Case::from(get(path).host("sub.example").line("Referer: x"));
    compare_lines(LINES, paths.map(case).to_vec());
}

const SUBREQUEST_LOGS: &str = r#"
    log_format sub '$request_method $uri $args $status $request_uri $content_length';
    server {
        listen 127.0.0.1:PORT; server_name sub.example; root ROOT/html;
        access_log ROOT/logs/NAME-sub.log sub; log_subrequest on;
        location / { auth_request /yes; }
        location /quiet/ { auth_request /silent; alias ROOT/html/; }
        location = /yes { auth_request off; return 204; }
        location = /silent { log_subrequest off; return 204; }
        location /copied/ { mirror /mirrored; mirror /mirrored/too; alias ROOT/html/; }
        location /copied/off/ { mirror off; alias ROOT/html/; }
        location /sent/ { mirror /up; alias ROOT/html/; }
        location = /up { auth_request off; proxy_pass http://127.0.0.1:PORT/mirrored-up; proxy_set_header Host sub.example; }
        location /mirrored { auth_request off; return 204; }
    }
"#;

#[test]
fn subrequests_have_lines_where_they_are_to_have_them() {
    let paths = [
        "/small.txt?a",
        "/quiet/small.txt",
        "/copied/small.txt?x=y",
        "/copied/none",
        "/copied/off/small.txt",
        "/sent/small.txt",
    ];
    let requests = paths.iter().flat_map(|path| {
        [get(*path), head(*path), post(*path, "1")].map(|request| request.host("sub.example"))
    });
    let cases: Vec<Case> = requests.map(Case::from).collect();
    let Some(pair) = start(&format!("access_log off; {SUBREQUEST_LOGS}")) else {
        return;
    };
    for (number, case) in cases.iter().enumerate() {
        for side in [&pair.nginx, &pair.ours] {
            ask(side, case, Duration::from_secs(4));
        }
        // Copies come to their end whenever they do.
        let lines = |side: &Side| {
            let text = pair.folder.read(&format!("logs/{}-sub.log", side.name));
            let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
            lines.sort();
            lines
        };
        let is_same = comes(|| {
            let (theirs, ours) = (lines(&pair.nginx), lines(&pair.ours));
            theirs == ours && ours.len() > number
        });
        assert!(
            is_same,
            "{case}\n{:#?}\n{:#?}",
            lines(&pair.nginx),
            lines(&pair.ours)
        );
    }
}
