//! Who may follow a link: `valid_referers` and `secure_link`; and what `empty_gif` answers.

use super::pair::compare_with;
use super::request::{Case, get, head, post};

const REFERERS: &str = r#"
    server {
        listen 127.0.0.1:PORT;
        server_name referers.example .names.example *.starts.example ends.* ~^(www\d)\.pattern\.example$;
        location /none/ { valid_referers none a.example; return 200 "$invalid_referer|"; }
        location /blocked/ { valid_referers blocked a.example; return 200 "$invalid_referer|"; }
        location /names/ { valid_referers server_names; return 200 "$invalid_referer|"; }
        location /hosts/ {
            valid_referers A.example *.b.example c.* .d.example e.example/path f.example/ *.g.example/x/y;
            valid_referers ~\.google\. ~^h\.example/Deep ~^i\.example:80;
            return 200 "$invalid_referer|";
            location /hosts/inner/ { return 200 "$invalid_referer|"; }
            location /hosts/own/ { valid_referers none z.example; return 200 "$invalid_referer|"; }
        }
        location /nothing/ { return 200 "$invalid_referer|"; }
        location / { return 200 "$invalid_referer|"; }
    }
"#;

#[test]
fn referers_are_valid_as_in_nginx() {
    let long = format!("http://{}.b.example/", "a".repeat(260));
    let referers = [
        "",
        "x",
        "http://",
        "http://a",
        "http://a.example",
        "HTTP://A.EXAMPLE/",
        "https://a.example:8080/x",
        "ftp://a.example/",
        "a.example",
        "http://x.a.example/",
        "http://b.example",
        "http://x.b.example",
        "http://c.anything/",
        "http://d.example/",
        "http://x.d.example/",
        "http://e.example/path/more",
        "http://e.example/pat",
        "http://e.example:80/path",
        "http://e.example",
        "http://f.example",
        "http://f.example/",
        "http://x.g.example/x/y/z",
        "http://x.g.example/x/z",
        "http://www.google.com/",
        "http://www.GOOGLE.com/",
        "http://other.example/?x=.google.",
        "http://h.example/deep",
        "http://i.example:80/",
        "http://i.example/",
        "http://names.example/",
        "http://x.names.example/",
        "http://x.starts.example/",
        "http://starts.example/",
        "http://ends.x/",
        "http://www1.pattern.example/",
        "http://wwwx.pattern.example/",
        "http://referers.example/",
        "http://z.example/",
        "https://[::1]/",
        "http://user@a.example/",
        &long,
    ];
    let mut cases: Vec<Case> = Vec::new();
    for path in [
        "/none/",
        "/blocked/",
        "/names/",
        "/hosts/",
        "/hosts/inner/",
        "/hosts/own/",
        "/nothing/",
        "/",
    ] {
        cases.push(get(path).host("referers.example").into());
        for referer in referers {
            let request = get(path).host("referers.example");
            cases.push(request.line(format!("Referer: {referer}")).into());
        }
    }
    compare_with(REFERERS, |_| cases);
}

const LINKS: &str = r#"
    server {
        listen 127.0.0.1:PORT; server_name links.example;
        secure_link_secret other;
        location /md5/ {
            secure_link $arg_md5,$arg_expires;
            secure_link_md5 "$secure_link_expires$uri secret";
            return 200 "$secure_link|$secure_link_expires|";
        }
        location /before/ { secure_link $arg_md5,$arg_expires; secure_link_md5 x; return 200 "$secure_link_expires|$secure_link|"; }
        location /bare/ { secure_link $arg_md5; secure_link_md5 "$uri secret"; return 200 "$secure_link|$secure_link_expires|"; }
        location /half/ { secure_link $arg_md5; return 200 "$secure_link|"; }
        location /old/ { secure_link_secret word; return 200 "$secure_link|"; location /old/inner/ { return 200 "$secure_link|"; } }
        location / { return 200 "$secure_link|"; }
    }
"#;

/// Links whose hashes are those of `/md5/x`, of `/bare/x`, and of what stands behind the hash.
const TARGETS: &[&str] = &[
    "/md5/x?md5=ZfHFln3opz8ildn-d8sf6w&expires=2147483647",
    "/md5/x?md5=D6dtdokPd-rN_KdEL-EP1w&expires=1",
    "/md5/x?md5=DvLys4xNkegtt8SKAkt1BA&expires=0",
    "/md5/x?md5=L_xnW_zDT6yK7E_Q1qzJDg&expires=x",
    "/md5/x?md5=fq017zDiME4KcjGWo4bMRQ&expires=",
    "/md5/x?md5=I8sU9Vqumio8J-vRFD4hXA&expires=2147483647x",
    "/md5/x?md5=ssYX2qhfRAMyCaHcwyeH4w&expires=99999999999999999999",
    "/md5/x?md5=S_Ae35-Wbn4J9sfLBwzvGA&expires=-1",
    "/md5/x?md5=4rZ1e19IxeIzaj_QHrgDRg&expires=2147483647,1",
    "/md5/x?md5=ZfHFln3opz8ildn-d8sf6w==&expires=2147483647",
    "/md5/x?md5=ZfHFln3opz8ildn-d8sf6w=&expires=2147483647",
    "/md5/x?md5=ZfHFln3opz8ildn-d8sf6wA&expires=2147483647",
    "/md5/x?md5=ZfHFln3opz8ildn-d8sf6&expires=2147483647",
    "/md5/x?md5=&expires=2147483647",
    "/md5/x?md5=ZfHFln3opz8ildn-d8sf6w",
    "/md5/y?md5=ZfHFln3opz8ildn-d8sf6w&expires=2147483647",
    "/md5/x?md5=ZfHFln3opz8ildn-d8sf6x&expires=2147483647",
    "/md5/x?md5=ZfHFln3opz8ildn-d8sf6w==AAAAAA&expires=2147483647",
    "/bare/x?md5=vAHv0FEh-KX_ld_lMqEJ1g",
    "/bare/x?md5=vAHv0FEh-KX_ld_lMqEJ1g&expires=1",
    "/bare/x",
    "/old/29245bdc2d04a9e0e729927ed0f84e26/link",
    "/old/4dc5a31e178917a41b2664a5d217d02d/a/b/c",
    "/old/cb1f070764173921f9339f73a65a0875/x?y=z",
    "/old/beb022f937bf7db4688ac639341f5bc9/a%20b",
    "/old/c47d187067c6cf953245f128b5fde62a/",
    "/old/29245BDC2D04A9E0E729927ED0F84E26/link",
    "/old/29245bdc2d04a9e0e729927ed0f84e2/link",
    "/old/29245bdc2d04a9e0e729927ed0f84e260/link",
    "/old/29245bdc2d04a9e0e729927ed0f84e26/linx",
    "/old/x",
    "/old/",
    "/old//link",
    "/old/inner/29245bdc2d04a9e0e729927ed0f84e26/link",
    "/old/29245bdc2d04a9e0e729927ed0f84e26/link?x",
    "/half/x?md5=AAAAAAAAAAAAAAAAAAAAAA",
    "/x",
];

#[test]
fn links_are_secure_as_in_nginx() {
    let cases = TARGETS
        .iter()
        .map(|target| get(*target).host("links.example"));
    compare_with(LINKS, |_| cases.map(Case::from).collect());
}

#[test]
fn a_picture_of_one_point_is_that_of_nginx() {
    let lines = r#"
        server {
            listen 127.0.0.1:PORT; server_name gif.example; root ROOT/html;
            location = /gif { empty_gif; }
            location /outer/ { empty_gif; expires 1h; location /outer/inner/ { alias ROOT/html/; } }
            location /denied/ { empty_gif; deny all; }
        }
    "#;
    let cases = [
        get("/gif"),
        head("/gif"),
        post("/gif", "x"),
        get("/gif").line("If-Modified-Since: Mon, 28 Sep 1970 06:00:00 GMT"),
        get("/gif").line("Range: bytes=1-2"),
        get("/outer/x"),
        get("/outer/inner/small.txt"),
        get("/denied/x"),
    ];
    let cases = cases.map(|request| Case::from(request.host("gif.example")));
    compare_with(lines, |_| cases.into());
}

#[test]
fn videos_begin_where_they_are_asked_to() {
    let lines = r#"
        server {
            listen 127.0.0.1:PORT; server_name videos.example; root ROOT/html;
            location ~ \.(txt|bin)$ { flv; types { video/x-flv txt bin; } }
            location /a/ { flv; }
        }
    "#;
    let paths = [
        "/small.txt",
        "/small.txt?start=0",
        "/small.txt?start=3",
        "/small.txt?start=9",
        "/small.txt?start=10",
        "/small.txt?start=11",
        "/small.txt?start=x",
        "/small.txt?start=-1",
        "/small.txt?start=3&x=y",
        "/big.bin?start=100000",
        "/none.txt?start=1",
        "/a/",
        "/a/index.html?start=2",
        "/a",
        "/empty.txt?start=1",
    ];
    let cases = paths.iter().flat_map(|path| {
        let get = get(*path).host("videos.example");
        [
            get.clone(),
            get.line("Range: bytes=2-7"),
            head(*path).host("videos.example"),
            post(*path, "x").host("videos.example"),
        ]
    });
    compare_with(lines, |_| cases.map(Case::from).collect());
}
