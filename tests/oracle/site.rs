//! The site that both servers serve.

use crate::support::Folder;

/// Its files.
pub(super) fn write(folder: &Folder) {
    let files: [(&str, &[u8]); 16] = [
        ("users", USERS.as_bytes()),
        ("html/index.html", b"index\n"),
        ("html/small.txt", b"0123456789"),
        ("html/empty.txt", b""),
        ("html/noext", b"x"),
        ("html/UP.HTM", b"up"),
        ("html/sp ace.txt", b"space"),
        ("html/404.html", b"custom 404\n"),
        ("html/50x.html", b"custom 50x\n"),
        ("html/a/index.html", b"a index"),
        ("html/b/other.html", b"no index here"),
        ("html/.hid/index.html", b"hidden"),
        ("html/page.css", b"body {}\n"),
        ("html/.css", b"hidden"),
        ("html/data.tar.gz", b"\x1f\x8b"),
        ("html/ü.html", b"umlaut"),
    ];
    for (name, content) in files {
        folder.write(name, content);
    }
    folder.make("html/emptydir");
    let big: Vec<u8> = (0..300 * 1024).map(|at: u32| (at % 251) as u8).collect();
    folder.write("html/big.bin", big);
}

/// Names and passwords in all forms that both know: each password is `secret`.
const USERS: &str = "# comment:{PLAIN}x
me:$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0
one:$1$saltsalt$9xy1btjgzLYfb7hivXtC//:its comment
five:$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA
six:$6$rounds=1000$ab$3tLFZOSDxcyiDWcYSrieU1uloXMcbPJQRTcotZNqEJiB1iizwjzbn2jECOCvw6wslPpiTPzli2jppqTUXUq9N0
blow:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW
plain:{PLAIN}secret
sha:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
ssha:{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0
plain:{PLAIN}second
empty:{PLAIN}
";

/// The configuration, with `ROOT`, `PORT`, `NAME` of the server and `NGINX_ONLY` to be filled in.
pub(super) const CONFIG: &str = r#"
daemon off;
worker_processes 1;
pid ROOT/NAME.pid;
error_log ROOT/logs/NAME-error.log info;
events {}
http {
  NGINX_ONLY
  types {
    text/html html htm shtml;
    text/css css;
    text/plain txt;
    application/gzip gz;
  }
  default_type application/octet-stream;
  LOGS
  client_header_timeout 700ms;
  client_body_timeout 700ms;
  lingering_timeout 300ms;

  server {
    listen 127.0.0.1:PORT;
    server_name first.example;
    root ROOT/html;
    location = /exact { return 200 "exact\n"; }
    location /pre/ { return 200 "pre $uri|$args|$is_args|$request_uri|$host|$request_method\n"; }
    location ^~ /noregex/ { return 200 "noregex"; }
    location ~ \.php$ { return 403; }
    location ~* ^/ci/(?<rest>[a-z]+)/(\d+)$ { return 200 "$1-$2-$rest\n"; }
    location /r301 { return 301 /elsewhere; }
    location /r302 { return 302 http://example.org/x?a=$arg_a; }
    location /r303 { return 303 /x; }
    location /r307 { return 307 https://example.org/; }
    location /r308 { return 308 /y; }
    location /r301e { return 301; }
    location /r302arg { return 302 $arg_to; }
    location /epurl/ { error_page 301 http://example.org/moved; error_page 302 = @named; return 301 /x; }
    location /epgone/ { error_page 302 /no-such-page.html; return 302 /x; }
    location /url { return https://example.com$request_uri; }
    location /r204 { return 204; }
    location /r404 { return 404; }
    location /r404t { return 404 "nope\n"; }
    location /r500 { return 500; }
    location /r418 { return 418; }
    location /r418t { return 418 "teapot"; }
    location /r408 { return 408; }
    location /r408t { return 408 "late"; }
    location /r494 { return 494; }
    location /r495 { return 495; }
    location /r496 { return 496; }
    location /r497 { return 497; }
    location /r498 { return 498; }
    location /r499 { return 499; }
    location /r444t { return 444 "text"; }
    location /tf444/ { try_files /nope =444; }
    location /r444 { return 444; }
    location /r200e { return 200; }
    location /r599 { return 599; }
    location /int { internal; return 200 "internal"; }
    location /ep/ { error_page 404 /404.html; }
    location /ep200/ { error_page 404 =200 /404.html; }
    location /epe/ { error_page 404 = /404.html; }
    location /epx/ { error_page 404 = @named; }
    location /ep412/ { alias ROOT/html/; error_page 412 =200 /exact; }
    location /ep416/ { alias ROOT/html/; error_page 416 @named; }
    location /ep416x/ { alias ROOT/html/; error_page 416 /closes; }
    location = /closes { return 444; }
    location /tfslash/ { try_files $uri / =404; }
    location /split { add_header X-First "second
X-Split: line"; return 200 ok; }
    location /splitloc { return 301 "http://second
X-Split: line"; }
    location /epn/ { error_page 404 @named; }
    location /epu/ { error_page 404 http://example.org/404; }
    location /epu301/ { error_page 404 =301 http://example.org/404; }
    location /ep403/ { error_page 403 /int; return 403; }
    location /ep5/ { error_page 500 502 503 504 /50x.html; return 503; }
    location /eploop/ { error_page 404 /eploop/still-not-there; }
    location /eprec/ { recursive_error_pages on; error_page 404 /eprec2/x; }
    location /eprec2/ { error_page 404 /404.html; }
    location /epnest/ { error_page 404 =200 /r404; }
    location /epnest3/ { error_page 404 =302 /nowhere; }
    location /epredir/ { error_page 503 @redir; return 503; }
    location /epmaint/ { error_page 503 =200 @status; return 503; }
    location /epforever/ { recursive_error_pages on; error_page 404 /epforever/x; }
    location /ep304/ { error_page 404 =200 /small.txt; }
    location /ep204/ { error_page 404 =204 /404.html; }
    location /epstatus/ { error_page 404 /own-status; }
    location /epfolder/ { error_page 301 =200 @named; alias ROOT/html/; }
    location /epnoname/ { error_page 500 /50x.html; try_files /nope @no-such-name; }
    location /epnonames/ { recursive_error_pages on; error_page 404 500 @no-such-name; }
    location /epclose/ { error_page 404 = @close; }
    location = /own-status { return 200 "status $status\n"; }
    location @redir { return 302 /moved; }
    location @status { return 200 "status $status\n"; }
    location @close { return 444; }
    location /epmiss/ { error_page 404 /no-such-page.html; }
    location /epcycle/ { recursive_error_pages on; error_page 404 /epcycle/again; }
    location /epmoved/ { error_page 301 http://example.org/; return 301 /x; }
    location /epmiss302/ { error_page 404 =302 /no-such-page.html; }
    location /epnowhere/ { error_page 404 @nowhere; }
    location /epvar/ { error_page 404 /vars/?from=$uri; }
    location @named { return 202 "named $uri"; }
    location @named { return 503; }
    location /alias/ { alias ROOT/html/a/; }
    location /aliasf { alias ROOT/html/small.txt; }
    location ~ ^/ralias/(.*)$ { alias ROOT/html/$1; }
    location /aliasin/ {
      alias ROOT/html/;
      location ~ \.txt$ { add_header X-In txt; }
      location ~ \.html$ { try_files $uri =404; }
      location ~ ^/aliasin/a/(.*) { alias ROOT/html/b/$1; }
    }
    location /tf/ { try_files $uri /small.txt; }
    location /tf404/ { try_files $uri $uri/ =404; }
    location /tfn/ { try_files $uri @named; }
    location /tfa/ { try_files /nope.txt /pre/x?y=$arg_y; }
    location /tfx/ { try_files $uri $uri.html /a/index.html =500; }
    location /tfal/ { alias ROOT/html/; try_files $uri $uri/ small.txt =404; }
    location /tfaln/ { alias ROOT/html/; try_files /tfaln/page.css $arg_f a/index.html; }
    location ~ ^/tfre/(.*)$ { alias ROOT/html/; try_files $1 $1/index.html $1/ =404; }
    location ~ ^/tfr/(.*)$ { alias ROOT/html/; try_files $1 $1/ =404; }
    location /tfalb/ { alias ROOT/html/; try_files $uri $uri/ /small.txt =404; }
    location /tfla/ { alias ROOT/html/; try_files /tfla/small.txt /a =410; }
    location /nest/ {
      alias ROOT/html/;
      location ~ \.css$ { default_type text/x-nested; types {} }
      location /nest/a/ { try_files $uri $uri/ =404; }
    }
    location /namedfolder/ { error_page 403 @folder; return 403; }
    location @folder { root ROOT/html/b; }
    location /hdno/ { add_header Last-Modified ""; add_header ETag ""; alias ROOT/html/; }
    location /hdlmv/ { add_header Last-Modified "$arg_d"; alias ROOT/html/; }
    location /hdnoe/ { add_header ETag $arg_e; alias ROOT/html/; }
    location /hd/ { add_header X-A "v $uri"; add_header X-B b always; alias ROOT/html/; }
    location /hdr/ { add_header X-A a; add_header X-B b always; return 302 /x; }
    location /ex/ { expires 1h; alias ROOT/html/; }
    location /exm/ { expires max; alias ROOT/html/; }
    location /exe/ { expires epoch; alias ROOT/html/; }
    location /exn/ { expires -1; alias ROOT/html/; }
    location /exo/ { expires off; alias ROOT/html/; }
    location /exmod0/ { expires modified 0; alias ROOT/html/; }
    location /exmodn/ { expires modified -1d; alias ROOT/html/; }
    location /exmodv/ { expires modified $arg_e; alias ROOT/html/; }
    location /exmod/ { expires modified +24h; alias ROOT/html/; }
    location /exmodret/ { expires modified +1h; return 200 "x"; }
    location /hdlm/ { add_header Last-Modified "Thu, 01 Jan 1970 00:00:01 GMT"; add_header X-A a; alias ROOT/html/; }
    location /hdlmno/ { add_header Last-Modified ""; add_header ETag ""; alias ROOT/html/; }
    location /hdlmodd/ { add_header Last-Modified never; expires 1h; add_header ETag '"own"'; alias ROOT/html/; }
    location /noetag/ { etag off; alias ROOT/html/; }
    location /imsb/ { if_modified_since before; alias ROOT/html/; }
    location /imso/ { if_modified_since off; alias ROOT/html/; }
    location /mr0/ { max_ranges 0; alias ROOT/html/; }
    location /mr1/ { max_ranges 1; alias ROOT/html/; }
    location /small/ { client_max_body_size 10; return 200 "ok"; }
    location /smallep/ { client_max_body_size 10; error_page 413 =200 /smallfile/small.txt; }
    location /smallfile/ { client_max_body_size 10; alias ROOT/html/; }
    location /norel/ { absolute_redirect off; return 301 /x; }
    location /noreldir/ { absolute_redirect off; alias ROOT/html/; }
    location /noport/ { port_in_redirect off; return 301 /x; }
    location /snr/ { server_name_in_redirect on; return 301 /x; }
    location /ka0/ { keepalive_timeout 0; return 200 "x"; }
    location /kah/ {
      keepalive_timeout 10s 9s;
      location /kah/in/ { keepalive_timeout 8s; return 200 "x"; }
      location /kah/off/ { keepalive_timeout 8s 0; return 200 "x"; }
      location /kah/one { keepalive_timeout 8s; return 200 "x"; }
      location /kah/none { keepalive_timeout 8s 0; return 200 "x"; }
      return 200 "x";
    }
    location /kr1/ { keepalive_requests 1; return 200 "x"; }
    location /kd/ { keepalive_disable safari; return 200 "x"; }
    location ~ ^/re/dot.\.x$ { return 200 "dot"; }
    location ~ ^/re/w\w$ { return 200 "w"; }
    location ~ ^/re/not[^a]$ { return 200 "not"; }
    location ~ ^/re/set[a&&b]$ { return 200 "set"; }
    location ~ ^/re/(?!no).*\.y$ { return 200 "behind"; }
    location ~* ^/re/É$ { return 200 "umlaut"; }
    location /n1/ {
      location /n1/n2/ { return 200 "n2"; }
      location ~ \.x$ { return 200 "n1x"; }
      return 200 "n1";
    }
    location /st/ { server_tokens off; return 404; }
    location /lit/ { default_type "text/x-lit"; return 200 "a"; }
    location /types/ { types { text/x-own txt; } default_type text/x-default; alias ROOT/html/; }
    location /notypes/ { types {} alias ROOT/html/; }
    location /idx/ { alias ROOT/html/; index nothere.html small.txt; }
    location /idxabs/ { alias ROOT/html/; index nothere.html /exact; }
    location /idxhtm/ { alias ROOT/html/; index index.htm; }
    location ~ ^/bytes/(.)$ { return 200 "one byte: $1"; }
    location /idxvar/ { alias ROOT/html/; index $arg_i index.html; }
    location /rootvar/ { root ROOT/$arg_r; }
    location /vars/ {
      return 200 "$scheme|$server_name|$server_protocol|$request|$http_user_agent|$http_x_foo|$cookie_c|$arg_q|$content_length|$content_type|$remote_addr|$https|$document_root|$request_filename|$document_uri|$query_string|$request_length|$sent_http_content_type|$remote_user|$http_cookie|\n";
    }
    location /vars2/ {
      return 200 "$args|$is_args|$arg_a|$arg_A|$arg_none|$hostname|$http_host|$http_connection|$http_range|$uri|$request_completion|$server_addr|$status|$pipe|$http_referer|$realpath_root|\n";
    }
    location /cap/ { location ~ ^/cap/(?<n>.)(.)$ { return 200 "$n $2"; } }
    location /satisfy/ { satisfy any; alias ROOT/html/; }
    location /sendfile/ { sendfile on; sendfile_max_chunk 64k; tcp_nopush on; alias ROOT/html/; }
    location /ofc/ { open_file_cache max=10 inactive=5s; open_file_cache_errors on; alias ROOT/html/; }
  }
  server {
    listen 127.0.0.1:PORT;
    server_name second.example *.wild.example wt.*;
    location / { return 200 "second $server_name $host"; }
  }
  server {
    listen 127.0.0.1:PORT;
    server_name ~^(?<who>\w+)\.re\.example$;
    location / { return 200 "re $who $1"; }
  }
  server {
    listen 127.0.0.1:PORT;
    server_name .dot.example;
    location /name/ { return 200 "$server_name"; }
    location /sname/ { server_name_in_redirect on; return 301 /x; }
    underscores_in_headers on;
    ignore_invalid_headers off;
    merge_slashes off;
    location / { return 200 "dot $uri $http_a_b"; }
  }
  server {
    listen 127.0.0.1:PORT;
    server_name redirect.example www.redirect.example;
    server_name_in_redirect on;
    add_header X-Refused yes always;
    error_page 404 /gone;
    error_page 494 /large;
    location = /large { return 200 "large: $status $request_method $http_x_a\n"; }
    location = /gone { return 410 "gone\n"; }
    location / { root ROOT/html; }
  }
  server {
    listen 127.0.0.1:PORT;
    server_name .apex.example;
    location = /where { return 200 "$server_name|$document_root|$request_filename|$realpath_root"; }
    server_name rootless.example $hostname;
    large_client_header_buffers 4 16k;
  }
  server {
    listen 127.0.0.1:PORT;
    server_name taken.example *.other.example;
    location / { return 200 "taken $server_name $host"; }
  }
  server {
    listen 127.0.0.1:PORT;
    server_name conflict.example .taken.example .other.example;
    location / { return 200 "conflict $server_name $host"; }
  }
  server {
    listen 127.0.0.1:PORT;
    server_name $hostname machine.example;
    location / { return 200 "$server_name $hostname"; }
  }
  server {
    listen 127.0.0.1:PORT;
    server_name large.example;
    large_client_header_buffers 8 16k;
    underscores_in_headers on;
    location / { return 200 "$request_length $http_a_b"; }
  }
  server {
    listen 127.0.0.1:PORT;
    server_name "";
    location = /nameless { return 200 "no name"; }
    location / { return 404; }
  }
  server {
    listen 127.0.0.1:PORT;
    server_name bare.example;
    server_tokens off;
    return 404;
  }
}
"#;
