//! All differences from nginx that are meant: what the tests of this folder and of others hold, and
//! what `docs/differences.md` says.

use std::fmt::Write as _;
use std::path::Path;

/// One difference, in four short texts of Markdown.
pub(super) struct Row {
    /// What it is about.
    pub(super) what: &'static str,
    /// What nginx does.
    pub(super) nginx: &'static str,
    /// What Revolve does.
    pub(super) ours: &'static str,
    /// Why; empty where the difference says it.
    pub(super) because: &'static str,
}

const fn row(
    what: &'static str,
    nginx: &'static str,
    ours: &'static str,
    because: &'static str,
) -> Row {
    Row {
        what,
        nginx,
        ours,
        because,
    }
}

/// All of them.
pub(super) const ROWS: &[Row] = &[
    row(
        "`Host` and the authority of a target",
        "lets `[]` pass",
        "400",
        "redirects are built of it (RFC 9110, 7.2), and it is no address",
    ),
    row(
        "a host that begins with a dot",
        "`.a.example` matches `*.a.example`",
        "it does not",
        "an empty label is no name",
    ),
    row(
        "a header line without a colon",
        "an empty header",
        "400",
        "it is none (RFC 9112, 5.1)",
    ),
    row(
        "CR that does not end a line",
        "dropped at a line's end and before a request",
        "400",
        "others may read it differently (RFC 9112, 2.2)",
    ),
    row(
        "a tab before a value",
        "a part of it",
        "white space",
        "RFC 9110, 5.5; so `Transfer-Encoding:<tab>chunked` is what it says",
    ),
    row(
        "chunked framing with spaces behind a size, extensions that are none, bad trailers",
        "taken",
        "400",
        "RFC 9112, 7.1",
    ),
    row(
        "`Transfer-Encoding` that is empty, is no list of codings, or does not end in `chunked`",
        "501",
        "400",
        "RFC 9112, 6.3",
    ),
    row(
        "a method as long as a line may be",
        "414",
        "400",
        "there is no target yet that could be too long",
    ),
    row("`OPTIONS *`", "400", "200, with `Allow`", "RFC 9110, 9.3.7"),
    row(
        "`If-Unmodified-Since` that is no date, or where the content has none",
        "412",
        "ignored",
        "RFC 9110, 13.1.4",
    ),
    row(
        "`Connection: close` and `keep-alive` both",
        "the last line wins",
        "`close` wins",
        "RFC 9112, 9.3",
    ),
    row(
        "HTTP/0.9 with another method than GET",
        "closes in silence",
        "400",
        "one can see why",
    ),
    row(
        "412",
        "says `keep-alive` and closes",
        "says it and keeps it",
        "",
    ),
    row(
        "`add_header` and `expires` with a 416",
        "their lines, and those with `always` twice",
        "those with `always`, once",
        "it is none of the statuses that the others are for",
    ),
    row(
        "`$http_name` of a repeated header",
        "the first (all, since 1.23)",
        "all",
        "",
    ),
    row(
        "`$1` before a variable whose `map` has a pattern, in one text",
        "the map's group, or no answer where that is longer",
        "the group of before",
        "what stands first is put first",
    ),
    row(
        "what a client sent, in the error log",
        "as it came",
        "what is not seen, quotes, `, ` and `client:` escaped",
        "nobody forges a part of a line",
    ),
    row(
        "`try_files` with `=200`",
        "no answer",
        "an empty 200",
        "whoever asks gets an answer",
    ),
    row(
        "`$request_length`",
        "leaves out a body that is not read for anything",
        "counts it",
        "its documentation",
    ),
    row(
        "`sendfile off`",
        "reads the file and writes it",
        "`sendfile(2)` all the same",
        "the other way only copies more",
    ),
    row(
        "`open_file_cache`",
        "answers may be stale",
        "checked only",
        "our own cache is never stale",
    ),
    row(
        "`error_log` where none is set",
        "a file below the prefix",
        "standard error",
        "nothing is written where nobody looks",
    ),
    row(
        "`access_log stderr`",
        "a file of that name",
        "standard error",
        "as for `error_log`",
    ),
    row(
        "a log that cannot be written",
        "a line for each failure",
        "how many lines were lost, once a minute",
        "the disk is full already",
    ),
    row(
        "a log on a disk that stands still",
        "its workers stand still with it",
        "no request waits, 2 MiB of lines do",
        "a snapshot freezes disks for seconds",
    ),
    row(
        "a named pipe as a log",
        "waits for a reader",
        "does not",
        "a server that cannot start for want of a reader",
    ),
    row(
        "reopening logs",
        "the files are given to the workers' user",
        "the master opens them and hands them over",
        "a folder of logs may be root's",
    ),
    row(
        "`error_log memory:`",
        "a ring in memory",
        "refused",
        "a file in `/dev/shm` does it",
    ),
    row(
        "a killed worker",
        "its counts stay in `limit_conn` and `stub_status`",
        "they are taken back",
        "",
    ),
    row(
        "`limit_conn_zone`",
        "as large as its size",
        "holds as many keys; with many workers it takes more memory",
        "the counts of each worker can be taken back",
    ),
    row(
        "`access_log` where none is set",
        "a file below the prefix",
        "`/var/log/revolve/access.log` if the folder is there",
        "",
    ),
    row(
        "reload",
        "new workers, old ones end",
        "the same workers",
        "see above",
    ),
    row(
        "`-s reload`",
        "returns at once",
        "returns when the workers serve, and says what changed",
        "",
    ),
    row(
        "QUIT and idle connections",
        "closed at once",
        "have a second, and are told with their next response; at an upgrade they go to the new workers",
        "a request may be on its way",
    ),
    row(
        "the pid file of a new binary",
        "written at once",
        "when it serves",
        "it means a server",
    ),
    row(
        "a worker that exits with code 2",
        "never replaced",
        "replaced, with growing pauses",
        "",
    ),
    row(
        "regular expressions",
        "PCRE",
        "Rust's `regex`; look-around and back-references by a second engine; sets of what is not ASCII have characters in them, and a few rare constructs are refused",
        "time that grows with the path alone, but for patterns that need the second",
    ),
    row(
        "two locations `@x`",
        "the first answers",
        "so it does, with a warning",
        "the second is never reached",
    ),
    row(
        "a prefix inside a location with a regular expression",
        "must begin with the text of the expression",
        "any",
        "that text is no path",
    ),
    row(
        "the last word of `try_files` below an alias",
        "loses the beginning that the alias stands for",
        "is taken as it is written, unless it has that twice",
        "nginx's ticket 97",
    ),
    row(
        "`x*` in `server_name`",
        "refused where several servers share an address",
        "refused",
        "it would match nothing",
    ),
    row(
        "`worker_processes 0`",
        "a master without workers",
        "refused",
        "it serves nothing",
    ),
    row(
        "a configuration that is not UTF-8",
        "taken",
        "refused, but for comments",
        "the place can be shown",
    ),
    row(
        "a directive of several lines",
        "its last line is named",
        "its first line",
        "that is where one looks",
    ),
    row(
        "configuration errors",
        "the first",
        "the first 30, with their places, and how many more",
        "",
    ),
    row(
        "a line break in `Location` or `add_header`",
        "as it is: another header line",
        "a space",
        "nobody splits a response",
    ),
    row(
        "a text of more than a megabyte in `rewrite`, `set` or `if`",
        "made, if there is memory for it",
        "500",
        "what doubles itself has no end",
    ),
    row(
        "`try_files $uri / =404` where nothing is found",
        "301 without a path in its log",
        "the folder `/` itself, with its index",
        "a slash is the folder of that name",
    ),
    row(
        "`error_page 412 =200 /x`",
        "412, with its own page",
        "200, with the page that is named",
        "as with every other status",
    ),
    row(
        "`error_page 416 @x`",
        "keeps the `ETag` of what was asked for",
        "drops it",
        "it is of another content",
    ),
    row(
        "a byte order mark at the start of a file",
        "a part of the first word",
        "skipped",
        "editors write it, and nobody sees it",
    ),
    row(
        "a host of a server that judges clients (`ssl_verify_client`)",
        "421 where the handshake named another name",
        "421 where it named a server that judges otherwise",
        "names of one server are one",
    ),
    row(
        "a kept connection or a session to an upstream with TLS",
        "may serve a location that verifies or shows a certificate although it was made by one that does not",
        "serves those alone who secure theirs alike",
        "who verifies wants it verified",
    ),
    row(
        "a body from an upstream with TLS that ends with the connection",
        "whole, whether or not TLS was ended",
        "cut off, unless TLS was ended",
        "anybody on the way can end a connection",
    ),
    row(
        "`proxy_ssl_name` that is an address",
        "compared with the names of hosts",
        "with the addresses of the certificate",
        "RFC 9525, 6.5",
    ),
    row(
        "`ssl_stapling` without `ssl_stapling_verify`",
        "staples what nobody has verified",
        "verifies always",
        "it would only break the client's handshake",
    ),
    row(
        "`gzip` of a file that lies in the cache",
        "chunks, compressed each time",
        "with `Content-Length`, compressed once",
        "",
    ),
    row(
        "`Content-Encoding` set by `add_header`",
        "the body is compressed a second time",
        "it is taken for what it says",
        "",
    ),
    row(
        "a type with parameters (`default_type 'text/html; charset=x'`) and `gzip_types`, `charset_types`, `sub_filter_types`",
        "is not among them",
        "counts without them",
        "",
    ),
    row(
        "`charset`: bytes that are no character of what is read",
        "some pass as they are, some take the byte behind them with them",
        "`?`",
        "what is written is what it says to be",
    ),
    row(
        "`sub_filter`: a text that ends the body, and begins a longer one that stands before it",
        "is not replaced",
        "is replaced",
        "",
    ),
    row(
        "`empty_gif` or `stub_status` in a location whose `limit_except` holds",
        "does not answer: the files below the root are sent",
        "answers",
        "who may ask says nothing of what is answered",
    ),
    row(
        "PUT where `client_body_temp_path` is not set, and COPY",
        "writes where the file lies, and through a link",
        "writes beside it and renames",
        "whoever reads sees the old file or the new one",
    ),
    row(
        "DELETE of a link to a folder, with a slash behind it",
        "deletes what lies in that folder",
        "409",
        "no link is followed",
    ),
    row(
        "PUT, DELETE, COPY and MOVE below links, with `disable_symlinks`",
        "follows them",
        "403",
        "what is not read is not written either",
    ),
    row(
        "an answer that is refused as a slice, with `proxy_cache`",
        "is not kept",
        "is kept as what it is",
        "who keeps does not wait for who reads",
    ),
    row(
        "a slice that is refused behind others",
        "takes those with it that nginx still holds back",
        "ends the connection behind them",
        "what is ready leaves",
    ),
    row(
        "`stub_status json`",
        "takes any word, of no meaning",
        "an object",
        "",
    ),
    row(
        "`gzip_no_buffer on`",
        "breaks what is compressed",
        "checked only",
        "what can leave leaves anyway",
    ),
    row(
        "headers that `Connection` lists, when a request or an answer is passed on",
        "passes them",
        "takes them away",
        "RFC 9110, 7.6.1; `Proxy-Connection` too",
    ),
    row(
        "an answer of an upstream with a status line that is none, two lengths, or chunks in HTTP/1.0",
        "takes some of them, as HTTP/0.9 too",
        "502",
        "two readers could cut it at different places",
    ),
    row(
        "`100 Continue` of an upstream",
        "passes it on as if it were the answer",
        "waits for the answer",
        "RFC 9110, 15.2",
    ),
    row(
        "chunks of an upstream with bare LF or spaces behind a size",
        "taken",
        "the answer breaks off",
        "RFC 9112, 7.1",
    ),
    row(
        "the reason phrase of an upstream",
        "passes it on",
        "its own",
        "nobody reads it, and HTTP/2 has none",
    ),
    row(
        "`proxy_buffering` and its companions",
        "hold an answer back in memory and files",
        "checked only",
        "an answer leaves in the turn in which it came",
    ),
    row(
        "a tunnel (`tunnel_pass` with variables) to an address that is not public",
        "made",
        "403, unless `tunnel_allow_private` names its network",
        "whoever may use the tunnel would be behind the firewall",
    ),
    row(
        "CONNECT over HTTP/2",
        "400",
        "a tunnel where `tunnel_pass` is, else 405",
        "RFC 9113, 8.5",
    ),
    row(
        "a group whose servers have all failed",
        "`no live upstreams` for `fail_timeout`",
        "half of them are asked on",
        "a few bad answers of all do not end in 502 for everybody",
    ),
    row(
        "what is known of servers without `zone`",
        "each worker's own",
        "all workers'",
        "they need not each find out",
    ),
    row(
        "a name in `server` or `proxy_pass` that is not found at the start",
        "the server does not start",
        "a warning, and 502 until it is found",
        "one name does not keep all sites away",
    ),
    row(
        "`server … resolve`, `sticky`, `queue`, `slow_start`, `health_check`",
        "some in NGINX Plus alone, some ask for `zone`",
        "there",
        "",
    ),
    row(
        "`proxy_bind … transparent`",
        "keeps a right for workers",
        "refused",
        "workers give up all rights",
    ),
    row(
        "`keys_zone=` of a cache",
        "an index in shared memory, loaded at the start",
        "names the cache; the files are looked at themselves",
        "no index to load, to lose or to be full",
    ),
    row(
        "`proxy_cache_min_uses`",
        "counts in all workers",
        "counts in each loop",
        "there is no index; what is asked for often is kept all the same",
    ),
    row(
        "a range of a cached answer",
        "where it came with `Accept-Ranges`",
        "always",
        "its length is known",
    ),
    row(
        "a cached answer that came in chunks",
        "in chunks again",
        "with `Content-Length`",
        "its length is known",
    ),
    row(
        "`stale-if-error` and the status 500, 502, 503 or 504",
        "passes it on",
        "the stale answer",
        "RFC 5861, 4",
    ),
    row("`Vary: Accept, *`", "kept", "not kept", "RFC 9111, 4.1"),
    row(
        "a client that leaves before the head of an answer that is to be kept",
        "the request is given up where nothing has come",
        "it is kept",
        "the next one need not wait anew",
    ),
    row(
        "HEAD to an application behind FastCGI, uwsgi or SCGI",
        "kept as the answer to GET, where the key says so",
        "not kept",
        "GET would have no body",
    ),
    row(
        "files of a cache",
        "`HASH`",
        "`HASH.answer`, in a form of our own",
        "neither reads the other's",
    ),
    row(
        "`proxy_cache_purge`",
        "in NGINX Plus alone; keys with `*`",
        "there, one key at a time",
        "",
    ),
    row(
        "`proxy_store`",
        "writes in `proxy_temp_path` and renames or copies",
        "writes beside the file's own place",
        "a rename is enough",
    ),
];

const HEAD: &str = "\
# Differences from nginx

nginx 1.31, and Debian's 1.22 for the modules that its package lacks, is asked the same questions side by
side in the tests; where the answers differ on purpose, it stands here. What is not there yet stands in the [README](../README.md). The table is written
by `REVOLVE_WRITE=1 cargo test -p revolve --test black_box differences`, from what the tests know.

| what | nginx | Revolve | because |
|---|---|---|---|
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for Row {
        what,
        nginx,
        ours,
        because,
    } in ROWS
    {
        let cells = [what, nginx, ours, because].map(|it| it.replace('|', "\\|"));
        writeln!(page, "| {} |", cells.join(" | ")).expect("writing to memory");
    }
    page
}

#[test]
fn differences_are_written_down() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/differences.md");
    if std::env::var_os("REVOLVE_WRITE").is_some() {
        std::fs::write(&path, page()).expect("the page can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page(),
        "docs/differences.md is not what the tests know"
    );
}

#[test]
fn every_difference_that_is_met_stands_in_the_table() {
    for known in super::known::table() {
        let is_it = |row: &Row| row.what == known.row;
        assert!(ROWS.iter().any(is_it), "{}", known.row);
    }
}
