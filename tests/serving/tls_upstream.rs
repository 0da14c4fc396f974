//! Requests passed on by HTTPS.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use crate::support::tls::{Authority, Identity};
use crate::support::{Client, Folder, Server, ports, until};

struct Site {
    folder: Folder,
    port: u16,
    _running: Server,
}

/// A server that passes requests on to another of its own, by HTTPS: `one.test`, which asks clients who they
/// are, and `two.test`, which tells what it sees.
fn start(locations: &str) -> Site {
    let folder = Folder::new();
    let authority = Authority::new(&folder, "ca");
    Authority::new(&folder, "others");
    authority.issue(&folder, "one", "one.test", 1);
    authority.issue(&folder, "two", "two.test", 2);
    authority.issue(&folder, "client", "client.test", 3);
    let (port, secure) = (ports::free(), ports::free());
    let here = folder.path().display();
    let locations = locations.replace("SECURE", &format!("127.0.0.1:{secure}"));
    let show = "\"$ssl_server_name|$ssl_protocol|$ssl_cipher|$ssl_session_reused|$ssl_client_verify|$http_host|$connection\"";
    let text = format!(
        "daemon off;\npid {here}/pid;\nerror_log {here}/logs/error.log info;\nevents {{}}\nhttp {{ access_log off;\n\
         server {{ listen 127.0.0.1:{secure} ssl; server_name two.test; ssl_certificate two.crt; ssl_certificate_key two.key;\n\
         return 200 {show}; }}\n\
         server {{ listen 127.0.0.1:{secure} ssl; server_name one.test; ssl_certificate one.crt; ssl_certificate_key one.key;\n\
         ssl_verify_client on; ssl_client_certificate ca.crt; return 200 {show}; }}\n\
         server {{ listen 127.0.0.1:{port};\n{locations}\n}} }}\n"
    );
    let running = Server::start(&folder, &text, &[port, secure]);
    Site {
        folder,
        port,
        _running: running,
    }
}

impl Site {
    #[track_caller]
    fn get(&self, path: &str) -> (u16, String) {
        let response = Client::connect(self.port).get(path);
        (response.status, response.text())
    }

    #[track_caller]
    fn logs(&self, what: &str) {
        until(what, || self.folder.read("logs/error.log").contains(what));
    }
}

#[test]
fn a_request_goes_by_https_and_nothing_is_asked_of_the_server() {
    let site = start(
        "location /a/ { proxy_pass https://SECURE/; }\n\
         location /named/ { proxy_pass https://SECURE/; proxy_ssl_server_name on; proxy_ssl_name two.test; }\n\
         location /old/ { proxy_pass https://SECURE/; proxy_ssl_protocols TLSv1.2;\n\
           proxy_ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256; }\n\
         location /made/ { set $up https://SECURE; proxy_pass $up; }",
    );
    let (status, shown) = site.get("/a/");
    assert_eq!(status, 200, "{shown}");
    assert!(
        shown.starts_with("|TLSv1.3|TLS_AES_256_GCM_SHA384|.|NONE|127.0.0.1:"),
        "{shown}"
    );
    assert!(site.get("/named/").1.starts_with("two.test|TLSv1.3|"));
    assert!(
        site.get("/old/")
            .1
            .starts_with("|TLSv1.2|ECDHE-ECDSA-AES128-GCM-SHA256|")
    );
    assert!(site.get("/made/").1.starts_with("|TLSv1.3|"));
}

#[test]
fn a_server_is_taken_for_whom_it_ought_to_be_or_not_at_all() {
    let site = start(
        "proxy_ssl_verify on; proxy_ssl_trusted_certificate ca.crt; proxy_ssl_name two.test;\n\
         location /good/ { proxy_pass https://SECURE/; }\n\
         location /listed/ { proxy_pass https://SECURE/; proxy_ssl_crl ca.crl; }\n\
         location /name/ { proxy_pass https://SECURE/; proxy_ssl_name three.test; }\n\
         location /address/ { proxy_pass https://SECURE/; proxy_ssl_name $proxy_host; }\n\
         location /strange/ { proxy_pass https://SECURE/; proxy_ssl_trusted_certificate others.crt; }\n\
         location /unlisted/ { proxy_pass https://SECURE/; proxy_ssl_crl others.crl; }",
    );
    // The first one has a session, which no other may take for its own.
    for _ in 0..2 {
        for path in ["/good/", "/listed/"] {
            assert_eq!(site.get(path).0, 200, "{path}");
        }
        for path in ["/name/", "/address/", "/strange/", "/unlisted/"] {
            assert_eq!(site.get(path).0, 502, "{path}");
        }
    }
    site.logs(
        "upstream SSL certificate does not match \"three.test\" while SSL handshaking to upstream",
    );
    site.logs("upstream SSL certificate does not match \"127.0.0.1\"");
    site.logs("upstream SSL certificate verify error: (21:unable to verify the first certificate) while SSL handshaking");
    site.logs("upstream SSL certificate verify error: (3:unable to get certificate CRL)");
    site.logs("upstream: \"https://127.0.0.1:");
}

#[test]
fn we_show_who_we_are() {
    let site = start(
        "proxy_ssl_server_name on; proxy_ssl_name one.test; proxy_set_header Host one.test;\n\
         location /nobody/ { proxy_pass https://SECURE/; }\n\
         location /somebody/ { proxy_pass https://SECURE/;\n\
           proxy_ssl_certificate client.crt; proxy_ssl_certificate_key client.key; }",
    );
    assert!(
        site.get("/somebody/")
            .1
            .starts_with("one.test|TLSv1.3|TLS_AES_256_GCM_SHA384|.|SUCCESS|one.test|")
    );
    // The connection that was kept is not one for who shows nothing.
    let (status, text) = site.get("/nobody/");
    assert_eq!(status, 400, "{text}");
    assert!(
        text.contains("No required SSL certificate was sent"),
        "{text}"
    );
    assert_eq!(site.get("/somebody/").0, 200);
}

#[test]
fn a_request_may_name_who_we_are() {
    let site = start(
        "proxy_ssl_server_name on; proxy_ssl_name one.test; proxy_set_header Host one.test;\n\
         proxy_ssl_certificate $arg_who.crt; proxy_ssl_certificate_key $arg_who.key;\n\
         location / { proxy_pass https://SECURE/; }",
    );
    for _ in 0..2 {
        assert!(site.get("/?who=client").1.contains("|SUCCESS|"));
        assert!(site.get("/?who=two").1.contains("|SUCCESS|"));
        assert_eq!(site.get("/?who=nobody").0, 500);
    }
    site.logs("nobody.crt\": BIO_new_file() failed (2: No such file or directory)");
}

#[test]
fn connections_are_kept_and_sessions_resumed() {
    let site = start(
        "location /kept/ { proxy_pass https://SECURE/; }\n\
         location /new/ { proxy_pass https://SECURE/; proxy_http_version 1.0; }\n\
         location /full/ { proxy_pass https://SECURE/; proxy_http_version 1.0; proxy_ssl_session_reuse off; }",
    );
    let field = |text: &str, at: usize| text.split('|').nth(at).unwrap_or("").to_owned();
    let connection = field(&site.get("/kept/").1, 6);
    assert_eq!(field(&site.get("/kept/").1, 6), connection);
    site.get("/new/");
    assert_eq!(field(&site.get("/new/").1, 3), "r");
    site.get("/full/");
    assert_eq!(field(&site.get("/full/").1, 3), ".");
}

/// A server that speaks TLS and says `answer` to each request, and then ends: with a word, or without.
fn speaking(identity: &Identity, answer: &'static str, says_so: bool) -> u16 {
    answering(identity, move |_| answer.to_owned(), says_so)
}

/// The same, by what it was asked.
fn answering(
    identity: &Identity,
    answer: impl Fn(&[u8]) -> String + Send + 'static,
    says_so: bool,
) -> u16 {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(identity.key.clone()).into();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(identity.chain.clone(), key)
        .expect("a pair");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("a bound socket").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let connection = rustls::ServerConnection::new(config.clone()).expect("a server");
            let mut tls = rustls::StreamOwned::new(connection, stream);
            let mut memory = [0; 4096];
            let read = tls.read(&mut memory).unwrap_or(0);
            let _ = tls.write_all(answer(&memory[..read]).as_bytes());
            if says_so {
                tls.conn.send_close_notify();
            }
            let _ = tls.flush();
        }
    });
    port
}

/// Where nothing says how long a body is, the end has to be said.
#[test]
fn a_body_that_was_cut_off_is_not_taken_for_whole() {
    let folder = Folder::new();
    let authority = Authority::new(&folder, "ca");
    let identity = authority.issue(&folder, "one", "one.test", 1);
    let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it";
    let (said, cut) = (
        speaking(&identity, answer, true),
        speaking(&identity, answer, false),
    );
    let site = start(&format!(
        "location /said/ {{ proxy_pass https://127.0.0.1:{said}/; }} location /cut/ {{ proxy_pass https://127.0.0.1:{cut}/; }}"
    ));
    assert_eq!(site.get("/said/"), (200, "all of it".to_owned()));
    let mut client = Client::connect(site.port);
    client.send("GET /cut/ HTTP/1.1\r\nHost: a\r\n\r\n");
    let (bytes, _) = client.rest(std::time::Duration::from_secs(10));
    // The last chunk is missing.
    assert!(
        !bytes.ends_with(b"0\r\n\r\n"),
        "{}",
        String::from_utf8_lossy(&bytes)
    );
    site.logs("upstream prematurely closed connection");
}

#[test]
fn an_application_behind_uwsgi_is_spoken_with_by_tls() {
    let folder = Folder::new();
    let authority = Authority::new(&folder, "ca");
    let identity = authority.issue(&folder, "one", "one.test", 1);
    // What was asked, but for the head of four bytes and the lengths within.
    let show = |asked: &[u8]| {
        let asked = asked.get(4..).unwrap_or_default();
        let text: String = asked
            .iter()
            .map(|byte| {
                if byte.is_ascii_graphic() {
                    char::from(*byte)
                } else {
                    '.'
                }
            })
            .collect();
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{text}")
    };
    let port = answering(&identity, show, true);
    let trusted = folder.path().join("ca.crt").display().to_string();
    let site = start(&format!(
        "uwsgi_param A b; uwsgi_pass_request_headers off; uwsgi_ssl_name one.test;\n\
         location /plain/ {{ uwsgi_pass suwsgi://127.0.0.1:{port}; }}\n\
         location /known/ {{ uwsgi_pass suwsgi://127.0.0.1:{port}; uwsgi_ssl_verify on;\n\
           uwsgi_ssl_trusted_certificate {trusted}; }}\n\
         location /made/ {{ set $up suwsgi://127.0.0.1:{port}; uwsgi_pass $up; }}\n\
         location /strange/ {{ uwsgi_pass suwsgi://127.0.0.1:{port}; uwsgi_ssl_verify on;\n\
           uwsgi_ssl_trusted_certificate others.crt; }}"
    ));
    for path in ["/plain/", "/known/", "/made/"] {
        assert_eq!(site.get(path), (200, "..A..b".to_owned()), "{path}");
    }
    assert_eq!(site.get("/strange/").0, 502);
    site.logs("upstream SSL certificate verify error: (21:unable to verify the first certificate) while SSL handshaking");
    site.logs("upstream: \"suwsgi://127.0.0.1:");
}

#[test]
fn who_does_not_speak_tls_is_a_bad_gateway() {
    let plain = crate::support::Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent_at = silent.local_addr().expect("a bound socket");
    let site = start(&format!(
        "location /plain/ {{ proxy_pass https://{}/; }}\n\
         location /silent/ {{ proxy_connect_timeout 300ms; proxy_pass https://{silent_at}/; }}",
        plain.address
    ));
    assert_eq!(site.get("/silent/").0, 504);
    site.logs("upstream timed out (110: Connection timed out) while SSL handshaking to upstream");
    drop(silent);
    assert_eq!(site.get("/silent/").0, 502);
}
