//! Mistakes about TLS.

use super::mistakes::{Mistake, check_all, ours, same};
use crate::support::tls::certificate;
use crate::support::{Folder, Run, revolve};

const TLS: &[Mistake] = &[
    ours(
        "events {}\nhttp {\nacme_issuer a {\n uri https://127.0.0.1/directory; state_path s; ssl_verify off;\n challenge dns-02;\n }\n}\n",
        "unsupported challenge \"dns-02\" in FILE:5",
        "tls-alpn-01",
    ),
    ours(
        "events {}\nhttp {\nacme_issuer a {\n uri https://127.0.0.1/directory; state_path s; ssl_verify off;\n challenge dns-01;\n }\n}\n",
        "challenge \"dns-01\" needs a \"dns_command\" in FILE:5",
        "dns_command /path/to/program",
    ),
    ours(
        "events {}\nhttp {\nacme_issuer a {\n uri https://127.0.0.1/directory; state_path s; ssl_verify off;\n challenge dns-01; dns_command set;\n }\n}\n",
        "\"dns_command\" needs an absolute path, not \"set\" in FILE:5",
        "without a shell",
    ),
    ours(
        "events {}\nhttp {\nacme_issuer a {\n uri https://127.0.0.1/directory; state_path s; ssl_verify off;\n dns_command /bin/true;\n }\n}\n",
        "\"dns_command\" is of no use with challenge \"http-01\" in FILE:5",
        "challenge dns-01",
    ),
    ours(
        "events {}\nhttp {\nacme_issuer a {\n uri https://127.0.0.1/directory; state_path s; ssl_verify off;\n \n }\n server { listen 1;\n acme_certificate a\n b.test *.b.test; }\n}\n",
        "\"*.b.test\" cannot be ordered by challenge \"http-01\" in FILE:9",
        "a challenge by DNS alone",
    ),
    ours(
        "events {}\nhttp {\nacme_issuer a {\n uri https://127.0.0.1/directory; state_path s; ssl_verify off;\n challenge dns; dns_command /bin/true;\n }\n server { listen 1;\n acme_certificate a\n *.b.test 127.0.0.1; }\n}\n",
        "\"127.0.0.1\" cannot be ordered by challenge \"dns-01\" in FILE:9",
        "no record of that kind",
    ),
    same(
        "events {}\nhttp {\n server {\n  listen 1 ssl;\n }\n}\n",
        "no \"ssl_certificate\" is defined for the \"listen ... ssl\" directive in FILE:3",
        "ssl_certificate_key",
    ),
    same(
        "events {}\nhttp {\n server { listen 1 ssl; ssl_reject_handshake on; }\n server {\n  listen 1 ssl;\n }\n}\n",
        "no \"ssl_certificate\" is defined for the \"listen ... ssl\" directive in FILE:4",
        "",
    ),
    ours(
        "events {}\nhttp {\n server {\n  listen 1 ssl;\n  ssl_certificate a.crt;\n }\n}\n",
        "no \"ssl_certificate_key\" is defined for certificate \"FOLDER/a.crt\" in FILE:5",
        "",
    ),
    ours(
        "events {}\nhttp {\n server {\n  listen 1 ssl;\n  ssl_certificate a.crt;\n  ssl_certificate_key a.key;\n }\n}\n",
        "cannot load certificate \"FOLDER/a.crt\": BIO_new_file() failed (2: No such file or directory) in FILE:5",
        "by the master",
    ),
    same(
        "events {}\nhttp {\n ssl_protocols TLSv1.4;\n}\n",
        "invalid value \"TLSv1.4\" in FILE:3",
        "TLSv1.3",
    ),
    ours(
        "events {}\nhttp {\n ssl_protocols TLSv1 TLSv1.1;\n}\n",
        "\"TLSv1.1\" in \"ssl_protocols\" is not to be had in FILE:3",
        "TLSv1.2",
    ),
    same(
        "events {}\nhttp {\n ssl_session_cache on;\n}\n",
        "invalid session cache \"on\" in FILE:3",
        "shared:name:size",
    ),
    same(
        "events {}\nhttp {\n ssl_session_cache shared:a:31k;\n}\n",
        "session cache \"shared:a:31k\" is too small in FILE:3",
        "32k",
    ),
    ours(
        "events {}\nhttp {\n ssl_ciphers DHE-RSA-AES256-SHA;\n}\n",
        "SSL_CTX_set_cipher_list(\"DHE-RSA-AES256-SHA\") failed (no cipher match) in FILE:3",
        "ECDHE",
    ),
    ours(
        "events {}\nhttp {\n ssl_ecdh_curve X448;\n}\n",
        "SSL_CTX_set1_curves_list(\"X448\") failed in FILE:3",
        "X25519",
    ),
    ours(
        "events {}\nhttp {\n ssl_certificate a.crt;\n ssl_certificate_key a.key;\n server {\n  listen 1 ssl;\n  ssl_verify_client on;\n }\n}\n",
        "no ssl_client_certificate or ssl_trusted_certificate for ssl_verify_client",
        "",
    ),
    same(
        "events {}\nhttp {\n ssl_verify_client maybe;\n}\n",
        "invalid value \"maybe\" in FILE:3",
        "optional_no_ca",
    ),
    ours(
        "events {}\nhttp {\n ssl_conf_command Options Everything;\n}\n",
        "SSL_CONF_cmd(\"Options\", \"Everything\") failed in FILE:3",
        "SessionTicket",
    ),
    ours(
        "events {}\nhttp {\n ssl_ocsp_responder https://a.test/;\n}\n",
        "invalid URL prefix in \"https://a.test/\" of \"ssl_ocsp_responder\" in FILE:3",
        "http://host",
    ),
    same(
        "events {}\nhttp {\n ssl_ocsp_cache on;\n}\n",
        "invalid OCSP cache \"on\" in FILE:3",
        "shared:name:size",
    ),
    ours(
        "events {}\nhttp {\n ssl_certificate a.crt;\n ssl_certificate_key a.key;\n server {\n  listen 1 ssl;\n  ssl_verify_client optional_no_ca;\n  ssl_ocsp on;\n }\n}\n",
        "\"ssl_ocsp\" is incompatible with \"ssl_verify_client optional_no_ca\" in FILE:8",
        "",
    ),
    ours(
        "events {}\nhttp {\n acme_issuer a {\n  uri http://a.test/;\n  state_path s;\n }\n}\n",
        "invalid acme_issuer uri \"http://a.test/\" in FILE:4",
        "https://",
    ),
    ours(
        "events {}\nhttp {\n acme_issuer a {\n  state_path s;\n }\n}\n",
        "acme_issuer \"a\" has no \"uri\" in FILE:3",
        "directory",
    ),
    ours(
        "events {}\nhttp {\n acme_issuer a {\n  external_account_key kid data:a+b;\n }\n}\n",
        "invalid key of the external account \"kid\" in FILE:4",
        "base64",
    ),
    ours(
        "events {}\nhttp {\n server {\n  acme_certificate a;\n  server_name b.test;\n }\n}\n",
        "acme_issuer \"a\" is not found in FILE:4",
        "",
    ),
    ours(
        "events {}\nhttp {\n ssl_conf_command Nothing on;\n}\n",
        "SSL_CONF_cmd(\"Nothing\", \"on\") failed in FILE:3",
        "Ciphersuites",
    ),
    ours(
        "events {}\nhttp {\n server {\n  location / {\n   proxy_pass https://127.0.0.1:1;\n   proxy_ssl_verify on;\n  }\n }\n}\n",
        "no proxy_ssl_trusted_certificate for proxy_ssl_verify in FILE:6",
        "ca-certificates.crt",
    ),
    ours(
        "events {}\nhttp {\n server {\n  location / {\n   proxy_pass https://127.0.0.1:1;\n   proxy_ssl_certificate a.crt;\n  }\n }\n}\n",
        "no \"proxy_ssl_certificate_key\" is defined for certificate \"FOLDER/a.crt\" in FILE:6",
        "",
    ),
    ours(
        "events {}\nhttp {\n server {\n  location / {\n   grpc_pass grpcs://127.0.0.1:1;\n   grpc_ssl_verify on;\n  }\n }\n}\n",
        "no grpc_ssl_trusted_certificate for grpc_ssl_verify in FILE:6",
        "ca-certificates.crt",
    ),
    ours(
        "events {}\nhttp {\n ssl_trusted_certificate $ssl_server_name.crt;\n}\n",
        "variables in \"ssl_trusted_certificate\" are not supported in FILE:3",
        "",
    ),
    ours(
        "events {}\nhttp {\n ssl_certificate_cache valid=1m;\n}\n",
        "\"ssl_certificate_cache\" must have the \"max\" parameter in FILE:3",
        "",
    ),
    same(
        "events {}\nhttp {\n ssl_session_cache shared:a:1m;\n server { ssl_session_cache shared:a:2m; }\n}\n",
        "the size 2097152 of shared memory zone \"a\" conflicts with already declared size 1048576 in FILE:4",
        "",
    ),
];

#[test]
fn mistakes_about_tls_are_named() {
    check_all(TLS);
}

/// A certificate whose key a password opens, `secret`: as OpenSSL 3 writes it, and as it was written before.
const LOCKED: [&str; 3] = [
    "-----BEGIN CERTIFICATE-----\n\
     MIIBbzCCARWgAwIBAgIUKEy5t4Q5htrPEgcQS8mX5w/Ct6QwCgYIKoZIzj0EAwIw\n\
     DDEKMAgGA1UEAwwBZTAgFw0yNjEyMDExMjM2MjNaGA8yMTI2MTEwNzEyMzYyM1ow\n\
     DDEKMAgGA1UEAwwBZTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABHJ7Tyy99qJw\n\
     rdk0DvPBtMEACnZFcDuvYhLkxKQNeynRjH+ZHsR/yIqPWxtJ2k6ZOAI8q2B0DUnM\n\
     qA2MA8ypJzGjUzBRMB0GA1UdDgQWBBTnFYe1+E1LfwhS8YpQxs2+EiYvnDAfBgNV\n\
     HSMEGDAWgBTnFYe1+E1LfwhS8YpQxs2+EiYvnDAPBgNVHRMBAf8EBTADAQH/MAoG\n\
     CCqGSM49BAMCA0gAMEUCIBjBhmfWEcNqw+uG7It+zddep84EEJQgior1B+swKs3l\n\
     AiEAho8x77MZMbf624g5vTOejRSOBHrmGwjCgI1BT2Nprko=\n\
     -----END CERTIFICATE-----\n",
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\n\
     MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjqnwcrI66aiQICCAAw\n\
     DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEJQEoP4g3vnpSxgkaZJBTHcEgZCt\n\
     /Glb9kiwpNWA0OxOfqtfV06ZyFuez9E0fjPFNMLqorWWZ+cfOvP7e/rA1PHhV010\n\
     exeAjRL1VFdjjkd4tH8e5hFbCPuXvSKSNJfTCh8NFH4iBOVPffGanIV+1x1KHgNg\n\
     K5WcJyyt/bHAEgbicS45lFJe9zeUs4wNxWU315LJNss/9//X1FqogYBEgF8C5aE=\n\
     -----END ENCRYPTED PRIVATE KEY-----\n",
    "-----BEGIN EC PRIVATE KEY-----\n\
     Proc-Type: 4,ENCRYPTED\n\
     DEK-Info: AES-256-CBC,585BA447321184E8CE023A84EECAD4A2\n\
     \n\
     4xgfmHDH3/6LLnOCS6LXdDvCXLOIcUvkqfByjS1RuCxy//J3nLAbOFycyPOiz88P\n\
     qQlAuekOg4AHiY1Z6BLoreO9YOGbuBL0FQpgZ4xLtaBJ/P34o2VIhGuPiBk+mM0B\n\
     /qHy6GYxEDLVsHDAe1//zVHJ/pwqr2/NIJpemJUJo40=\n\
     -----END EC PRIVATE KEY-----\n",
];

#[test]
fn passwords_open_keys() {
    let folder = Folder::new();
    let [certificate, key, old_key] = LOCKED;
    folder.write("e.crt", certificate);
    folder.write("e8.key", key);
    folder.write("eh.key", old_key);
    folder.write("passwords", "wrong\nsecret\r\n");
    folder.write("wrong", "secre\n\nsecrets");
    for key in ["e8.key", "eh.key"] {
        let run = tested(&folder, "e.crt", key, "ssl_password_file passwords;");
        assert_eq!(run.code, 0, "{key}: {}", run.err);
        for more in ["", "ssl_password_file wrong;"] {
            let run = tested(&folder, "e.crt", key, more);
            assert_eq!(run.code, 1, "{key} {more}");
            assert!(
                run.first_line().contains("the key is encrypted"),
                "{}",
                run.err
            );
            assert!(!run.err.contains("secre"), "{}", run.err);
        }
    }
}

/// What `-t` says of a site with these files and lines.
fn tested(folder: &Folder, certificate: &str, key: &str, more: &str) -> Run {
    let text = format!(
        "error_log stderr;\npid pid;\nevents {{}}\nhttp {{ access_log off;\n{more}\nserver {{ listen 1 ssl;\n\
         ssl_certificate {certificate};\nssl_certificate_key {key};\n}} }}\n"
    );
    folder.write("nginx.conf", text);
    Run::of(revolve(folder).arg("-t"))
}

#[test]
fn files_that_do_not_fit_are_named() {
    let folder = Folder::new();
    certificate(&folder, "a", "a.test");
    certificate(&folder, "b", "b.test");
    let good = tested(&folder, "a.crt", "a.key", "");
    assert_eq!(
        (good.code, good.err.contains("[warn]")),
        (0, false),
        "{}",
        good.err
    );
    folder.write("empty", "");
    folder.write("locked", LOCKED[1]);
    folder.write(
        "broken",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    for (certificate, key, says) in [
        ("a.crt", "b.key", "b.key\") failed (key values mismatch)"),
        ("empty", "a.key", "empty\": it holds no certificate"),
        (
            "broken",
            "a.key",
            "broken\": certificate 1 in it is malformed",
        ),
        ("a.crt", "empty", "empty\": it holds no private key"),
        ("a.crt", "locked", "locked\": the key is encrypted"),
    ] {
        let run = tested(&folder, certificate, key, "");
        assert_eq!(run.code, 1, "{certificate} {key}");
        assert!(run.first_line().contains(says), "{says}: {}", run.err);
    }
}

/// What others also name, of which enough is left.
#[test]
fn what_is_left_out_is_a_warning() {
    let folder = Folder::new();
    certificate(&folder, "a", "a.test");
    folder.write(
        "dh.pem",
        "-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----\n",
    );
    let lines = "ssl_protocols TLSv1 TLSv1.1 TLSv1.2;\nssl_ciphers ECDHE-RSA-AES128-GCM-SHA256:AES128-SHA;\n\
                 ssl_ecdh_curve secp521r1:X25519;\nssl_dhparam dh.pem;\nssl_stapling on;";
    let run = tested(&folder, "a.crt", "a.key", lines);
    assert_eq!(run.code, 0, "{}", run.err);
    for says in [
        "\"TLSv1.1\" in \"ssl_protocols\" is not to be had",
        "left out: AES128-SHA",
        "left out: secp521r1",
        "\"ssl_dhparam\" has no effect",
        "\"ssl_stapling\" ignored, issuer certificate not found for certificate",
    ] {
        assert!(run.err.contains(says), "{says}: {}", run.err);
    }
}
