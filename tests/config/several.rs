//! All mistakes of a configuration at once, each with its place.

use crate::support::{Folder, Run, ports, revolve};

const WRONG: &str = "\
worker_processes many;
events {}
http {
  sendfile yes;
  include part.conf;
  server {
    lisen 80;
    root a b;
    location ~ ( {}
    return 200 $no_such_variable;
    client_max_body_size 1q;
    location / { perl a::b; }
  }
}
";

#[test]
fn every_mistake_is_said_in_one_run() {
    let folder = Folder::new();
    folder.write("nginx.conf", WRONG);
    folder.write("part.conf", "\n\nindex;\n");
    let run = Run::of(revolve(&folder).arg("-t"));
    let here = folder.path().display();
    let places = [1, 4, 7, 8, 9, 10, 11, 12].map(|line| format!("in {here}/nginx.conf:{line}"));
    for place in places.into_iter().chain([format!("in {here}/part.conf:3")]) {
        let found = run.err.lines().filter(|line| line.ends_with(&place));
        let found: Vec<&str> = found.collect();
        assert_eq!(found.len(), 1, "{place} should be named once:\n{}", run.err);
        assert!(found[0].starts_with("revolve: [emerg] "), "{}", found[0]);
    }
    assert_eq!(run.code, 1);
    assert_eq!(run.out, "");
    // The offending words are shown and underlined.
    for words in [
        "sendfile yes;",
        "^^^",
        "lisen 80;",
        "did you mean `listen`?",
    ] {
        assert!(run.err.contains(words), "{words}\n{}", run.err);
    }
}

#[test]
fn nothing_is_started_with_a_mistake_in_it() {
    let folder = Folder::new();
    let port = ports::free();
    let text = format!(
        "pid {0}/pid;\nevents {{}}\nhttp {{\n  access_log {0}/logs/a.log;\n  server {{ listen {port}; rot x; }}\n}}\n",
        folder.path().display()
    );
    folder.write("nginx.conf", text);
    for daemon in ["on", "off"] {
        let run = Run::of(revolve(&folder).arg("-g").arg(format!("daemon {daemon};")));
        let place = folder.file("nginx.conf");
        let first = format!(
            "revolve: [emerg] unknown directive \"rot\" in {}:5",
            place.display()
        );
        assert_eq!(run.first_line(), first);
        assert_eq!(run.code, 1);
        assert!(!ports::is_listening(port));
        assert!(!folder.file("pid").exists());
        assert!(!folder.file("logs/a.log").exists());
    }
}

#[test]
fn bytes_that_are_no_text_and_escapes_do_no_harm() {
    let folder = Folder::new();
    let bytes: [&[u8]; 4] = [
        b"\xff\xfe\0",
        b"events {}\n\x1b[31mred on;\n",
        b"a\0b;\n",
        b"\"\n\n\"\n;",
    ];
    for text in bytes {
        folder.write("nginx.conf", text);
        let run = Run::of(revolve(&folder).arg("-t"));
        assert_eq!(run.code, 1, "{}", run.err);
        assert!(
            run.first_line().starts_with("revolve: [emerg] "),
            "{}",
            run.err
        );
        assert!(!run.err.contains('\x1b'), "{:?}", run.err);
        assert!(!run.err.contains("panicked"), "{}", run.err);
    }
}
