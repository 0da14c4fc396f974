//! Files, folders, and paths that are not what they seem.

use super::pair::compare_requests;
use super::request::{get, head};

const PATHS: &[&str] = &[
    "/",
    "/small.txt",
    "/big.bin",
    "/noext",
    "/UP.HTM",
    "/empty.txt",
    "/sp%20ace.txt",
    "/page.css",
    "/data.tar.gz",
    "/%c3%bc.html",
    "/%C3%BC.html",
    "/ü.html",
    "/a",
    "/a/",
    "/a?x=1",
    "/b/",
    "/b",
    "/emptydir/",
    "/emptydir",
    "/nope",
    "/nope/",
    "/small.txt/",
    "/small.txt/x",
    "/a/index.html?",
    "/small.txt?",
    "/small.txt?x=y&z",
    "/small.txt??",
    "/.hid/",
    "/.hid",
    "/a;b",
    // Types, index files and what stands for them.
    "/types/small.txt",
    "/types/page.css",
    "/notypes/small.txt",
    "/idx/",
    "/idxabs/",
    "/idxhtm/",
    "/idxhtm/a/",
    "/idxvar/",
    "/idxvar/?i=small.txt",
    "/idxvar/?i=nope",
    "/rootvar/small.txt?r=html",
    "/rootvar/x?r=html",
    "/satisfy/small.txt",
    "/sendfile/small.txt",
    "/sendfile/big.bin",
    "/sendfile/nope",
    "/ofc/small.txt",
    "/ofc/nope",
    "/ofc/a",
    "/ofc/a/",
    // Headers that a location adds.
    "/hd/small.txt",
    "/hdno/small.txt",
    "/hdlmv/small.txt?d=Tue,",
    "/exmodv/small.txt?e=1h",
    "/exmodv/a?e=1h",
    "/exmod0/small.txt",
    "/exmod0/a",
    "/exmodn/small.txt",
    "/exmodn/a",
    "/exmodv/small.txt?e=-1h",
    "/exmodv/small.txt?e=max",
    "/exmodv/small.txt",
    "/hdnoe/small.txt",
    "/hdnoe/small.txt?e=x",
    "/hd/none",
    "/hd/a",
    "/hdr/x",
    "/ex/small.txt",
    "/ex/none",
    "/exm/small.txt",
    "/exe/small.txt",
    "/exn/small.txt",
    "/exo/small.txt",
    "/exmod/small.txt",
    "/exmodret/",
    "/hdlm/small.txt",
    "/hdlm/nope",
    "/hdlmno/small.txt",
    "/hdlmodd/small.txt",
    "/noetag/small.txt",
    "/bytes/%ff",
    "/bytes/%c3%bc",
];

const ODD_PATHS: &[&str] = &[
    "/..",
    "/../etc/passwd",
    "/%2e%2e/etc/passwd",
    "/a/%2e%2e/small.txt",
    "/a/..%2fsmall.txt",
    "/a/..%2Fsmall.txt",
    "/a%2findex.html",
    "/%00",
    "/a%00b",
    "/small.txt%00",
    "/%zz",
    "/%2",
    "/%",
    "/small.txt%3fx",
    "/small.txt%23x",
    "/..%5c..%5cetc",
    "/a\\..\\small.txt",
    "/%252e%252e/x",
    "/a/%252e%252e/small.txt",
    "//small.txt",
    "///",
    "/a//index.html",
    "/small.txt#frag",
    "/a/#frag",
    "/small.txt?x#frag",
    "/a/.",
    "/a/./",
    "/a/..",
    "/a/../",
    "/a/...",
    "/./small.txt",
    "/.",
    "/./",
    "/../",
    "/a/../../small.txt",
    "/a/b/../../small.txt",
    "/%2e/small.txt",
    "/%2E%2E/small.txt",
    "/a/.%2e/small.txt",
    "/a/%2e./small.txt",
    "/%41",
    "/%61/",
    "/%61",
    "*",
    "/*",
    "/ü",
    "/+",
    "/a+b",
    "/a&b=c",
    "/~",
    "/\"",
    "/<script>",
    "/'",
    "/|",
    "/{a}",
    "/[a]",
    "/^",
    "/`",
    "/a,b",
    "/a:b",
    "/@",
    "/a@b",
    "/!",
    "/$",
    "/$uri",
    "/%24uri",
    "/a%20",
    "/%20",
    "/a/?/../",
    "/?/../x",
    "/a%3fb",
    "/%e2%82%ac",
    "/%ff%fe",
    "/a%0ab",
    "/a%0d%0aX: y",
];

#[test]
fn files_and_folders_are_served_as_by_nginx() {
    let both = |path: &&str| [get(*path), head(*path)];
    compare_requests(PATHS.iter().flat_map(both));
}

#[test]
fn odd_paths_lead_where_nginx_has_them_lead() {
    let both = |path: &&str| [get(*path), head(*path)];
    compare_requests(ODD_PATHS.iter().flat_map(both));
}

#[test]
fn versions_and_connections_are_kept_as_by_nginx() {
    let paths = [
        "/",
        "/small.txt",
        "/nope",
        "/a",
        "/r302?a=5",
        "/vars/",
        "/exact",
        "/big.bin",
    ];
    let each = |path: &str| {
        [
            get(path).http_10(),
            get(path).http_10().no_host(),
            get(path).stay(),
            get(path).stay().line("Connection: keep-alive").http_10(),
            get(path).stay().http_10(),
            get(path).stay().line("Connection: Keep-Alive"),
            get(path).stay().line("Connection: CLOSE"),
            get(path).stay().line("Connection: close, TE"),
            get(path)
                .stay()
                .line("Connection: upgrade")
                .line("Upgrade: h2c"),
            head(path).stay(),
            head(path).http_10(),
        ]
    };
    compare_requests(paths.into_iter().flat_map(each));
}

#[test]
fn keep_alive_is_limited_as_by_nginx() {
    let safari = "User-Agent: Mozilla/5.0 (Macintosh) AppleWebKit Safari/534.30";
    compare_requests([
        get("/ka0/").stay(),
        get("/kah/").stay(),
        get("/kah/in/").stay(),
        get("/kah/off/").stay(),
        get("/kah/one").stay(),
        get("/kah/none").stay(),
        get("/kah/"),
        get("/kr1/").stay(),
        get("/kd/").stay(),
        get("/kd/").stay().line(safari),
        get("/exact").stay().line(safari),
        get("/exact")
            .stay()
            .line("User-Agent: Mozilla/4.0 (compatible; MSIE 6.0)"),
        get("/nope")
            .stay()
            .line("User-Agent: Mozilla/4.0 (compatible; MSIE 6.0)"),
        get("/nope").line("User-Agent: Mozilla/5.0 Chrome/99"),
    ]);
}
