//! Scripts: `rewrite`, `if`, `set`, `break` and `return`.

use super::error_log::compare_lines;
use super::pair::compare_with;
use super::request::{Case, get, head, post};

/// A level of scripts in locations.
const LOCATIONS: &str = r#"
    map $arg_m $mapped { default d; ~^x(?<named>.*)$ got$1; }
    server {
        listen 127.0.0.1:PORT; server_name rewrite.example; root ROOT/html; rewrite_log on;
        location /q/ { rewrite ^/q/(.*)$ /show?x=$1&y=$uri last; }
        location /red/ { rewrite ^/red/(.*)$ http://o.example/$1?z=$1 redirect; }
        location /red2/ { rewrite ^/red2/(.*)$ /$1 permanent; }
        location /red3/ { rewrite ^/red3/(.*)$ /x$arg_a/$1? redirect; }
        location /set/ { if ($uri ~ ^/set/(.*)$) { set $x $1; } return 200 "x=$x|$1\n"; }
        location /set2/ { rewrite ^/set2/(.*)$ /y/$1; set $x $1; return 200 "x=$x|$1|$uri|$args\n"; }
        location /set3/ { rewrite ^/set3/(.*)$ /y/?$1; set $x $1; return 200 "x=$x|$1|$uri|$args\n"; }
        location /set4/ { rewrite ^/nomatch/(.*)$ /y/?$1; set $x $1; return 200 "x=$x|$1|$uri|$args\n"; }
        location ~ ^/set5/(.*)$ { set $x "$1"; return 200 "x=$x|$1\n"; }
        location ~ ^/set6/(.*)$ { rewrite ^/set6/. /z; set $x "$1"; return 200 "x=$x|$1\n"; }
        location /show { return 200 "uri=$uri args=$args is=$is_args\n"; }
        location /drop { rewrite ^ /show? last; }
        location /amp { rewrite ^ /show?; return 200 "args=$args|is=$is_args|$uri\n"; }
        location /amp2 { rewrite ^ /show?a=1; return 200 "args=$args|is=$is_args|$uri\n"; }
        location /setargs { set $args "a=$arg_b"; return 200 "$args|$is_args|$arg_a|$query_string\n"; }
        location /loop { rewrite ^ /loop last; }
        location /empty { rewrite ^/empty(.*)$ $1 last; }
        location /tf { try_files /nope /small.txt; if ($arg_a) { add_header X yes; } }
        location /unset { if ($arg_a) { set $u 1; } return 200 "u=$u,$u\n"; }
        location /mapset { if ($arg_s) { set $mapped S$arg_s; } return 200 "m=$mapped n=$named 1=$1\n"; }
        location /ifs { if ($arg_a) { add_header A a; } if ($arg_b) { add_header B b; } }
        location /ifs/small.txt { alias ROOT/html/small.txt; if ($arg_a) { add_header A a; } if ($arg_b) { add_header B b; } }
        location /brk { rewrite ^/brk(.*)$ $1; break; return 200 no; }
        location /brk2 { rewrite ^/brk2(.*)$ $1 break; return 200 no; }
        location /mid { rewrite ^/mid(.*)$ /show$1; rewrite ^/show(.*)$ /show/two$1 last; }
        location /notslash { rewrite ^ foo last; }
        location /h { set $http_foo "v$http_foo"; return 200 "$http_foo|$http_bar\n"; }
        location /lr { set $limit_rate 10k; return 200 "$limit_rate\n"; }
        location /e403 { error_page 403 /show?e=1; if ($arg_a) { return 403; } return 403 ; }
        location /e302 { error_page 302 /show?e=302; rewrite ^ /x redirect; }
        location /fop { set $p "$document_root$arg_f"; set $r ""; if (-f $p) { set $r "${r}f"; } if (-d $p) { set $r "${r}d"; } if (-e $p) { set $r "${r}e"; } if (-x $p) { set $r "${r}x"; } if (!-f $p) { set $r "$r!f"; } if (!-d $p) { set $r "$r!d"; } if (!-e $p) { set $r "$r!e"; } if (!-x $p) { set $r "$r!x"; } return 200 "$r\n"; }
        location /cond { set $r ""; if ($arg_a) { set $r "${r}T"; } if ($arg_a = b) { set $r "${r}="; } if ($arg_a != b) { set $r "${r}!="; } if ($arg_a ~ ^b) { set $r "${r}~"; } if ($arg_a ~* ^b) { set $r "${r}~*"; } if ($arg_a !~ ^b) { set $r "${r}!~"; } if ($arg_a !~* ^b) { set $r "${r}!~*"; } return 200 "$r\n"; }
        location /retif { if ($arg_a) { return 201 "a\n"; } if ($arg_b) { return 404; } return 202 "no\n"; }
        location /rootif { if ($arg_a) { root ROOT/html/a; } return 200 "$document_root\n"; }
        location /dup { rewrite ^/dup/(.*)/(.*)$ /show?a=$1&b=$1&c=$2 last; }
        location /hdr { rewrite ^ http://x.example$arg_u redirect; }
        location /hdru { rewrite ^/hdru/(.*)$ http://x.example/$1 redirect; }
        location /hdrv { rewrite ^ http://x.example$uri redirect; }
        location /schem { rewrite ^ $scheme://other.example/y last; }
        location /hbrk { rewrite ^ http://other.example/y break; }
        location /neg { if ($uri !~ ^/neg/(a.*)$) { return 200 "neg $1\n"; } return 200 "pos $1\n"; }
        location /caps { rewrite ^/caps/(?<nm>.*)$ /show?n=$nm&o=$1 last; }
        location ~ ^/loc/(?<lm>.*)$ { if ($arg_a ~ "^(q)") { return 200 "if $1 $lm\n"; } return 200 "no [$1] $lm\n"; }
    }
"#;

const PATHS: &[&str] = &[
    "/q/a%20b?z=1",
    "/q/ab%3Fc+d?z=1",
    "/q/ab",
    "/red/a%20b%3Fq?k=1",
    "/red/a%41%2541+b",
    "/red/plain?k=1",
    "/red2/a%20b",
    "/red2/a%3Cb%3E%22c?z",
    "/red3/a%26?a=%20x",
    "/set/a%20b",
    "/set/ab",
    "/set2/a%20b?z",
    "/set3/a%20b?z",
    "/set4/a%20b",
    "/set5/a%20b",
    "/set6/a%20b",
    "/drop?x",
    "/amp?x",
    "/amp2?x",
    "/amp2",
    "/setargs?b=3",
    "/loop",
    "/empty",
    "/tf",
    "/tf?a=1",
    "/unset",
    "/unset?a=1",
    "/mapset",
    "/mapset?m=xyz",
    "/mapset?m=xyz&s=1",
    "/ifs?a=1&b=1",
    "/ifs/small.txt?a=1&b=1",
    "/ifs/small.txt?a=1",
    "/ifs/small.txt",
    "/brk/small.txt",
    "/brk2/small.txt",
    "/mid/x",
    "/notslash",
    "/h",
    "/lr",
    "/e403",
    "/e403?a=1",
    "/e302",
    "/fop?f=/small.txt",
    "/fop?f=/a",
    "/fop?f=/a/",
    "/fop?f=/small.txt/",
    "/fop?f=/none",
    "/cond?a=b",
    "/cond?a=B",
    "/cond?a=bb",
    "/cond?a=0",
    "/cond?a=00",
    "/cond?a=",
    "/cond",
    "/retif?a=1",
    "/retif?b=1",
    "/retif",
    "/rootif?a=1",
    "/rootif",
    "/dup/a%20b/c+d?x",
    "/hdr?u=/a%0d%0aSet-Cookie:x",
    "/hdr?u=/a%25%0d%00z%zz%4",
    "/hdru/a%0d%0aSet-Cookie:x",
    "/hdrv/%0d%0aSet-Cookie:x",
    "/schem?a",
    "/hbrk?a",
    "/neg/abc",
    "/neg/bbc",
    "/caps/a%20b",
    "/loc/xx?a=q",
    "/loc/xx?a=z",
    "/red/%c3%a4%7f%21%27%28%29%2a%3b%5b%5c%5d%5e%60%7b%7c%7d%7e",
];

/// A script in a server, and what conditions, variables and flags come to.
const SERVER: &str = r#"
    server {
        listen 127.0.0.1:PORT; server_name script.example; root ROOT/html; rewrite_log on;
        if ($arg_m405 = 1) { return 405; }
        if ($request_uri ~ "^/srv/(.*)$") { set $srv "s-$1"; rewrite ^/srv/(.*)$ /echo/$1?srv=1 break; }
        set $seen "$seen+$uri";
        rewrite ^/twice/(.*)$ /once/$1;
        rewrite ^/once/(.*)$ /echo/once-$1;
        rewrite ^/srvredir /to permanent;
        error_page 405 @named;
        location @named { set $n named; rewrite ^ /echo/named?$n last; return 200 "not here\n"; }
        location @n2 { if ($arg_a) { return 200 "n2 a $uri\n"; } return 200 "n2 $uri\n"; }
        location /n2 { error_page 404 = @n2; }
        location /echo/ { return 200 "uri=$uri args=$args srv=$srv seen=$seen ru=$request_uri\n"; }
        location = /exact { rewrite ^ /exact/small.txt; }
        location /exact/ { rewrite ^/exact(/.*)$ $1 break; }
        location /int/ { internal; return 200 "int $uri\n"; }
        location /toint { rewrite ^/toint(.*)$ /int$1 last; }
        location /ifint { if ($arg_a) { rewrite ^/ifint(.*)$ /int$1 last; } return 403; }
        location /ifbrk { set $v 1; if ($arg_a) { set $v 2; break; } set $v 3; if ($arg_b) { add_header V $v always; } return 200 "v=$v\n"; }
        location /ifbrk2 { set $v 1; if ($arg_a) { set $v 2; add_header V $v always; break; } set $v 3; add_header V3 $v always; }
        location /ifroot/ { if ($arg_a) { root ROOT/html/a; } root ROOT/html; }
        location /ifep { error_page 404 /echo/outer; if ($arg_a) { error_page 404 /echo/inner; } if ($arg_b) { add_header B b always; } }
        location /ifret { if ($arg_a) { error_page 410 /echo/gone; return 410; } if ($arg_b) { return 302 /x$arg_b; } if ($arg_c) { return https://c.example$request_uri; } return 200 "end\n"; }
        location ~ ^/re/(\w+)/(?<rest>.*)$ { if ($rest ~ ^a(.*)$) { return 200 "[$1|$2|$rest]\n"; } if ($rest) { return 200 "<$1|$2|$rest>\n"; } return 200 "($1|$2|$rest)\n"; }
        location /named { rewrite ^/named/(?<aa>\w+)/(?<bb>.*)$ /echo/$bb/$aa?$aa=$bb last; return 200 "no\n"; }
        location /nocap { rewrite ^/nocap /echo/$1/x last; }
        location /q1 { rewrite ^/q1(.*)$ /echo/$1?a=b?c=d last; }
        location /q2 { rewrite ^/q2(.*)$ /echo/$1??? last; }
        location /q3 { rewrite ^/q3(.*)$ /echo/$arg_x$1 last; }
        location /q4 { rewrite ^/q4(.*)$ /echo/?$args last; }
        location /q5 { rewrite ^/q5(.*)$ "/echo/ a?b c" last; }
        location /q6 { rewrite ^/q6(.*)$ /echo/?; rewrite ^/echo/(.*)$ /echo/2$1 last; }
        location /q7 { rewrite (?i)^/Q7(.*)$ /echo/ci$1 last; }
        location /r1 { rewrite ^/r1(.*)$ http://x.example/?q=1 permanent; }
        location /r2 { rewrite ^/r2(.*)$ http://x.example/?q=1? permanent; }
        location /r3 { rewrite ^/r3(.*)$ https://x.example$1 last; }
        location /r4 { rewrite ^/r4(.*)$ //evil.example$1 redirect; }
        location /r5 { rewrite ^/r5(.*)$ foo$1 redirect; }
        location /r6 { rewrite ^/r6(.*)$ $1 redirect; }
        location /r7 { rewrite ^/r7/(.*)$ $scheme://$host/$1 permanent; }
        location /r8 { rewrite ^/r8/(.*)$ /é/$1 permanent; }
        location /r9 { absolute_redirect off; rewrite ^/r9/(.*)$ /$1 permanent; }
        location /s1 { set $a "$arg_x"; set $a "$a$a"; set $b ${a}b; return 200 "$a $b\n"; }
        location /s2 { set $a $arg_none; if ($a) { return 200 set; } if ($a = "") { return 200 "empty\n"; } return 200 "other\n"; }
        location /s3 { set $args ""; return 200 "[$args]$is_args\n"; }
        location /s4 { set $args "x=1"; rewrite ^ /echo/s4 last; }
        location /s5 { set $args "x=1"; rewrite ^ /s5x?y redirect; }
        location /s6 { set $arg_a 7; return 200 "$arg_a $args\n"; }
        location /s7 { set $cookie_x "c$cookie_x"; set $limit_rate bad; return 200 "$cookie_x $limit_rate\n"; }
        location /c1 { if ($http_foo = foo) { set $o a; } if ( $http_foo = "foo" ) { set $o "${o}b"; } if ($http_foo != 'foo') { set $o "${o}c"; } if ($http_foo ~ "^(f)(o+)$" ) { set $o "$o$2"; } return 200 "$o\n"; }
        location /c2 { if ($uri = $arg_u) { return 200 "same\n"; } return 200 "other\n"; }
        location /c3 { if ($uri ~ $arg_u) { return 200 "same\n"; } return 200 "other\n"; }
        location /c4 { if (!-e $request_filename) { rewrite ^/c4/(.*)$ /echo/$1 last; } }
        location /c5 { if (-f $document_root/small.txt) { return 200 "file\n"; } }
        location /c6 { if (-d ROOT/html/) { set $d 1; } if (-f ROOT/html/) { set $d "${d}2"; } if (-f "") { set $d "${d}3"; } if (!-f "") { set $d "${d}4"; } return 200 "$d\n"; }
        location /c7 { if ($uri ~* "/C7/(.*)\.PHP$") { return 200 "php $1\n"; } return 200 "no $1\n"; }
        location /loop2 { rewrite ^/loop2(.*)$ /loop3$1 last; }
        location /loop3 { if ($arg_x) { rewrite ^/loop3(.*)$ /loop2$1 last; } return 200 "l3\n"; }
        location /loop4 { error_page 500 /echo/500; rewrite ^ /loop4 last; }
        location /ten { rewrite ^/ten/(a*)$ /ten/a$1 last; rewrite ^/ten/(aaaaaaaaaa)$ /echo/$1 last; }
        location /ten9 { if ($uri = /ten9/aaaaaaaaa) { return 200 "$uri\n"; } rewrite ^/ten9/(a*)$ /ten9/a$1 last; }
        location /ten10 { if ($uri = /ten10/aaaaaaaaaa) { return 200 "$uri\n"; } rewrite ^/ten10/(a*)$ /ten10/a$1 last; }
        location /ten11 { if ($uri = /ten11/aaaaaaaaaaa) { return 200 "$uri\n"; } rewrite ^/ten11/(a*)$ /ten11/a$1 last; }
        location /al/ { alias ROOT/html/; if ($arg_a) { add_header A a always; } }
        location ~ ^/alre/(.*)$ { alias ROOT/html/$1; if ($arg_a) { add_header A a always; } }
        location /albrk/ { alias ROOT/html/; rewrite ^/albrk/x/(.*)$ /albrk/$1 break; }
        location /exp { expires 1h; add_header X-O o always; if ($arg_a) { expires -1; } if ($arg_b) { add_header X-B b always; } try_files /small.txt =404; }
        location /esc1 { if ($request_uri ~ "^/esc1/(.*)$") { return 200 "$1\n"; } }
        location /esc2 { if ($arg_y = $1) { return 200 "eq\n"; } rewrite ^/esc2/(.*)$ /esc2/$1 break; if ($arg_x = $1) { return 200 "no\n"; } }
        location /esc3 { if ($uri ~ ^/esc3/(.*)$) { set $e $1; } if ($e = $arg_x) { return 200 "eq $e\n"; } return 200 "ne $e\n"; }
        location /esc4 { if ($uri ~ ^/esc4/(.*)$) { rewrite ^ /echo/?e=$1 last; } }
        location /esc5 { rewrite ^/esc5/(.*)$ /esc5b/$1?x=$1; rewrite ^/esc5b/(.*)$ /echo/$1?y=$1 last; }
    }
"#;

const SERVER_PATHS: &[&str] = &[
    "/x?m405=1",
    "/srv/abc",
    "/srv/a%20b?z",
    "/twice/a",
    "/once/b?q",
    "/srvredir?x",
    "/n2/x",
    "/n2/x?a=1",
    "/exact",
    "/exact?x",
    "/int/x",
    "/toint/x",
    "/ifint/y",
    "/ifint/y?a=1",
    "/ifbrk",
    "/ifbrk?a=1",
    "/ifbrk?b=1",
    "/ifbrk2",
    "/ifbrk2?a=1",
    "/ifroot/x",
    "/ifroot/x?a=1",
    "/ifep",
    "/ifep?a=1",
    "/ifep?b=1",
    "/ifep?a=1&b=1",
    "/ifret",
    "/ifret?a=1",
    "/ifret?b=1",
    "/ifret?c=1",
    "/re/w/abc",
    "/re/w/xyz",
    "/re/w/",
    "/re/w/0",
    "/named/x/y/z",
    "/named/x",
    "/nocap",
    "/q1/z?k",
    "/q2/z?k",
    "/q3/z?x=%41",
    "/q4?a=b",
    "/q5?z",
    "/q6?z",
    "/q7/A",
    "/r1?a",
    "/r2?a",
    "/r3/b?c",
    "/r4/b",
    "/r5/b",
    "/r6/b",
    "/r6b",
    "/r6",
    "/r7/x%20y?z",
    "/r8/x",
    "/r9/x?y",
    "/s1?x=q",
    "/s2",
    "/s3?a",
    "/s4?z",
    "/s5?z",
    "/s6?a=1",
    "/s6",
    "/s7",
    "/c1",
    "/c2?u=/c2",
    "/c2?u=x",
    "/c3?u=/c3",
    "/c4/file",
    "/small.txt",
    "/c5",
    "/c6",
    "/c7/x.php",
    "/c7/x.html",
    "/loop2?x=1",
    "/loop2",
    "/loop4",
    "/ten/",
    "/ten9/",
    "/ten10/",
    "/ten11/",
    "/al/small.txt?a=1",
    "/al/small.txt",
    "/alre/small.txt?a=1",
    "/albrk/x/small.txt",
    "/exp",
    "/exp?a=1",
    "/exp?b=1",
    "/esc1/a%20b",
    "/esc2/a%20b?x=a+b",
    "/esc2/ab?y=",
    "/esc3/a%20b?x=a%20b",
    "/esc3/a%26b?x=a%26b",
    "/esc4/a%20b",
    "/esc5/a%20b%3fc",
    "/",
    "/dir",
    "/none",
];

/// An alias is not for a path whose location was not looked up again.
const ALIASES: &str = r#"
    server {
        listen 127.0.0.1:PORT; server_name alias.example; root ROOT/html; rewrite_log on;
        rewrite ^/sv/(.*)$ /al/$1 break;
        rewrite ^/sv2/(.*)$ /al/$1;
        rewrite ^/sv3/(.*)$ /al/$1 last;
        location /al/ { alias ROOT/html/; error_page 404 /al/small.txt; }
        location /albrk/ { alias ROOT/html/; rewrite ^/albrk/x/(.*)$ /albrk/$1 break; rewrite ^/albrk/y/(.*)$ /albrk/$1; rewrite ^/albrk/z/(.*)$ /albrk/$1; break; }
        location /albrk3/ { alias ROOT/html/; rewrite ^/albrk3/x/(.*)$ /albrk3/$1 break; error_page 500 /al/small.txt; }
        location /albrk4/ { alias ROOT/html/; rewrite ^/albrk4/x/(.*)$ /albrk4/$1 break; error_page 500 @a; }
        location @a { root ROOT/html; return 200 "$request_filename|$uri\n"; }
        location /albrk5/ { alias ROOT/html/; rewrite ^/albrk5/x/(.*)$ /albrk5/$1 break; try_files $uri =404; }
        location /albrk6/ { alias ROOT/html/; break; }
        location /albrk7/ { alias ROOT/html/; break; rewrite ^/(.*)$ /al/$1; }
        location ~ ^/alre/(.*)$ { alias ROOT/html/$1; rewrite ^/alre/x(.*)$ /alre/$1 break;  }
        location /rf { alias ROOT/html/; rewrite ^/rf/x/(.*)$ /rf/$1 break; add_header F "$request_filename" always; }
    }
"#;

const ALIAS_PATHS: &[&str] = &[
    "/sv/small.txt",
    "/sv/",
    "/sv/none",
    "/sv2/small.txt",
    "/sv3/small.txt",
    "/albrk/x/small.txt",
    "/albrk/x/",
    "/albrk/x/none",
    "/albrk/y/small.txt",
    "/albrk/z/small.txt",
    "/albrk/z/small.txt?",
    "/albrk3/x/small.txt",
    "/albrk4/x/small.txt",
    "/albrk5/x/small.txt",
    "/albrk6/small.txt",
    "/albrk7/small.txt",
    "/alre/small.txt",
    "/alre/xsmall.txt",
    "/rf/small.txt",
    "/rf/x/small.txt",
];

/// What is passed on after a rewrite: each server is its own upstream.
const PROXY: &str = r#"
    server {
        listen 127.0.0.1:PORT; server_name echo.example;
        location / { return 200 "$request_method $request_uri|$http_x_a\n"; }
    }
    server {
        listen 127.0.0.1:PORT; server_name proxy.example; root ROOT/html;
        proxy_set_header Host echo.example;
        rewrite ^/server/(.*)$ /uri/$1 break;
        location /plain/ { proxy_pass http://127.0.0.1:PORT; rewrite ^/plain/x/(.*)$ /y/$1 break; }
        location /uri/ { proxy_pass http://127.0.0.1:PORT/up/; rewrite ^/uri/x/(.*)$ /y/$1 break; }
        location /last/ { rewrite ^/last/(.*)$ /uri/$1?a=$1 last; }
        location /args/ { set $args "a=1"; proxy_pass http://127.0.0.1:PORT; }
        location /var/ { set $to 127.0.0.1:PORT; proxy_pass http://$to; rewrite ^/var/x /z break; }
        location /if/ {
            proxy_pass http://127.0.0.1:PORT/up/;
            if ($arg_a) { set $a 1; }
            if ($arg_b) { proxy_pass http://127.0.0.1:PORT; }
            if ($arg_c) { return 403; }
        }
        location /only/ {
            if ($arg_a) { proxy_pass http://127.0.0.1:PORT; }
        }
        location /except/ {
            proxy_pass http://127.0.0.1:PORT/up/;
            limit_except GET { allow 127.0.0.1; deny all; }
        }
        location /except2/ {
            return 200 "get\n";
            limit_except GET { proxy_pass http://127.0.0.1:PORT; }
        }
    }
"#;

const PROXY_PATHS: &[&str] = &[
    "/plain/a%20b?q",
    "/plain/x/a%20b?q",
    "/uri/a%20b?q",
    "/uri/x/a%20b?q",
    "/uri/x/ab",
    "/server/ab?q",
    "/last/a%20b?q",
    "/args/a%2fb?q",
    "/var/a%2fb?q",
    "/var/x/y?q",
    "/if/a?q",
    "/if/a%20b?a=1",
    "/if/a%20b?b=1",
    "/if/a?c=1",
    "/if/a?a=1&b=1",
    "/only/a",
    "/only/a%20b?a=1",
    "/except/a%20b?q",
    "/except2/a",
];

#[test]
fn what_was_rewritten_is_passed_on_as_by_nginx() {
    compare_with(PROXY, |_| {
        let each = |path: &&str| {
            let both = [get(*path), post(*path, "body")];
            both.map(|request| Case::from(request.host("proxy.example")))
        };
        PROXY_PATHS.iter().flat_map(each).collect()
    });
}

/// The paths with their hosts.
fn requests() -> impl Iterator<Item = super::request::Request> {
    let groups = [
        ("rewrite.example", PATHS),
        ("script.example", SERVER_PATHS),
        ("alias.example", ALIAS_PATHS),
    ];
    groups.into_iter().flat_map(|(host, paths)| {
        let line = "Foo: foo";
        paths
            .iter()
            .map(move |path| get(*path).host(host).line(line))
    })
}

fn lines() -> String {
    [LOCATIONS, SERVER, ALIASES].concat()
}

#[test]
fn scripts_do_what_those_of_nginx_do() {
    compare_with(&lines(), |_| {
        let mut cases: Vec<Case> = requests().map(Case::from).collect();
        for path in [
            "/red/x?y",
            "/brk/small.txt",
            "/e302",
            "/ifret?b=1",
            "/retif?b=1",
            "/loop",
        ] {
            for host in ["rewrite.example", "script.example"] {
                let others = [
                    head(path).host(host),
                    post(path, "body").host(host),
                    post(path, "body").host(host).line("Expect: 100-continue"),
                    get(path).host(host).stay(),
                    get(path).host(host).http_10(),
                ];
                cases.extend(others.map(Case::from));
            }
        }
        cases
    });
}

/// What a script does is told as nginx tells it, at the same level.
#[test]
fn scripts_log_what_those_of_nginx_log() {
    let plain = |path: &str| !path.contains('%');
    let groups = [
        ("rewrite.example", PATHS),
        ("script.example", SERVER_PATHS),
        ("alias.example", ALIAS_PATHS),
    ];
    let cases = groups.into_iter().flat_map(|(host, paths)| {
        let paths = paths.iter().filter(move |path| plain(path));
        paths.map(move |path| get(*path).host(host).into())
    });
    compare_lines(&lines(), cases.collect());
}
