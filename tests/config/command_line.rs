//! The command line: nginx's options, with nginx's meanings, outputs and exit codes.

use std::process::Command;

use crate::support::server::REVOLVE;
use crate::support::{Folder, Run, nginx, ports, revolve};

fn run(arguments: &[&str]) -> Run {
    Run::of(Command::new(REVOLVE).args(arguments))
}

fn good(folder: &Folder) -> String {
    let here = folder.path().display();
    let port = ports::free();
    let text = format!(
        "daemon off;\npid {here}/pid;\nerror_log {here}/logs/e.log;\nevents {{}}\nhttp {{\n  access_log off;\n  include more.conf;\n  server {{ listen 127.0.0.1:{port}; }}\n}}\n"
    );
    folder.write("nginx.conf", &text);
    folder.write("more.conf", "sendfile on;\n");
    text
}

#[test]
fn the_version_is_printed_in_nginxs_form() {
    let version = format!("revolve version: revolve/{}\n", env!("CARGO_PKG_VERSION"));
    let small = run(&["-v"]);
    assert_eq!(
        (small.err.as_str(), small.out.as_str(), small.code),
        (version.as_str(), "", 0)
    );
    let large = run(&["-V"]);
    assert!(large.err.starts_with(&version), "{}", large.err);
    let line = large
        .err
        .lines()
        .find(|line| line.starts_with("configure arguments: "));
    let whole = "--with-http_rewrite_module";
    assert!(large.err.contains(whole), "{}", large.err);
    assert!(!large.err.contains("--with- "), "{}", large.err);
    // certbot looks for the first, and takes the version out of the second.
    for line in ["TLS SNI support enabled", "built with AWS-LC"] {
        assert!(large.err.lines().any(|it| it == line), "{}", large.err);
    }
    let line = line.expect("the arguments of configure");
    for word in [
        " --conf-path=/etc/nginx/nginx.conf",
        " --with-http",
        " --with-http_ssl_module",
        " --prefix=",
    ] {
        assert!(line.contains(word), "{word}: {line}");
    }
    assert_eq!(large.code, 0);
}

#[test]
fn help_names_every_option() {
    for option in ["-h", "-?"] {
        let help = run(&[option]);
        assert_eq!(help.code, 0);
        for option in [
            "-v ",
            "-V ",
            "-t ",
            "-T ",
            "-q ",
            "-s signal",
            "-p prefix",
            "-e filename",
            "-c filename",
            "-g directives",
        ] {
            assert!(help.err.contains(option), "{option}\n{}", help.err);
        }
    }
}

#[test]
fn wrong_options_are_refused_with_the_words_of_nginx() {
    let wrong: [(&[&str], &str); 9] = [
        (&["-x"], "invalid option: \"x\""),
        (&["-c"], "option \"-c\" requires file name"),
        (&["-p"], "option \"-p\" requires directory name"),
        (&["-g"], "option \"-g\" requires parameter"),
        (&["-s"], "option \"-s\" requires parameter"),
        (&["-e"], "option \"-e\" requires file name"),
        (&["-s", "dance"], "invalid option: \"-s dance\""),
        (&["-tx"], "invalid option: \"x\""),
        (&["--frob"], "invalid option: \"--frob\""),
    ];
    for (arguments, says) in wrong {
        let ours = run(arguments);
        assert_eq!(ours.err, format!("revolve: {says}\n"), "{arguments:?}");
        assert_eq!(ours.code, 1, "{arguments:?}");
        // nginx knows no long options, and complains of the first letter of this one.
        if nginx::is_here() && !arguments[0].starts_with("--") {
            let theirs = Run::of(Command::new("/usr/sbin/nginx").args(arguments));
            assert_eq!(
                (theirs.err, theirs.code),
                (format!("nginx: {says}\n"), 1),
                "{arguments:?}"
            );
        }
    }
}

#[test]
fn a_good_configuration_is_said_to_be_good() {
    let folder = Folder::new();
    let text = good(&folder);
    let file = folder.file("nginx.conf");
    let ok = format!(
        "revolve: the configuration file {0} syntax is ok\nrevolve: configuration file {0} test is successful\n",
        file.display()
    );
    let test = Run::of(revolve(&folder).arg("-t"));
    assert_eq!(
        (test.err.as_str(), test.out.as_str(), test.code),
        (ok.as_str(), "", 0)
    );
    let quiet = Run::of(revolve(&folder).arg("-tq"));
    assert_eq!(
        (quiet.err.as_str(), quiet.out.as_str(), quiet.code),
        ("", "", 0)
    );
    let dump = Run::of(revolve(&folder).arg("-T"));
    assert_eq!((dump.err.as_str(), dump.code), (ok.as_str(), 0));
    let more = folder.file("more.conf");
    let expected = format!(
        "# configuration file {}:\n{text}\n# configuration file {}:\nsendfile on;\n\n",
        file.display(),
        more.display()
    );
    assert_eq!(dump.out, expected);
    assert!(!folder.file("pid").exists(), "a test leaves no pid file");
    if nginx::is_here() {
        let theirs = Run::of(nginx::command(&folder, "nginx.conf").arg("-T"));
        assert_eq!(theirs.out, dump.out);
        assert_eq!(theirs.err.replace("nginx: ", "revolve: "), ok);
    }
}

#[test]
fn globals_come_before_the_file() {
    let folder = Folder::new();
    good(&folder);
    let test = |globals: &str| Run::of(revolve(&folder).arg("-t").arg("-g").arg(globals));
    assert_eq!(test("worker_processes 2;").code, 0);
    let twice = test("pid /x;");
    let place = folder.file("nginx.conf");
    assert_eq!(
        twice.first_line(),
        format!(
            "revolve: [emerg] \"pid\" directive is duplicate in {}:2",
            place.display()
        )
    );
    assert_eq!(twice.code, 1);
    for (globals, says) in [
        ("frob on;", "unknown directive \"frob\" in command line"),
        (
            "worker_processes",
            "unexpected end of parameter, expecting \";\" in command line",
        ),
        (
            "daemon x;",
            "invalid value \"x\" in \"daemon\" directive, it must be \"on\" or \"off\" in command line",
        ),
    ] {
        let wrong = test(globals);
        assert_eq!(wrong.first_line(), format!("revolve: [emerg] {says}"));
        assert_eq!(wrong.code, 1);
        if nginx::is_here() {
            let theirs = Run::of(
                nginx::command(&folder, "nginx.conf")
                    .arg("-t")
                    .arg("-g")
                    .arg(globals),
            );
            assert!(
                theirs.err.contains(&format!("nginx: [emerg] {says}\n")),
                "{}",
                theirs.err
            );
        }
    }
}

#[test]
fn files_are_found_by_prefix_and_name() {
    let folder = Folder::new();
    good(&folder);
    folder.make("elsewhere");
    let at = |arguments: &[&str], from: &str| {
        let mut command = Command::new(REVOLVE);
        Run::of(
            command
                .args(arguments)
                .arg("-t")
                .current_dir(folder.file(from)),
        )
    };
    let here = folder.path().to_str().expect("a path in UTF-8");
    let file = format!("{here}/nginx.conf");
    assert_eq!(at(&["-c", &file], "elsewhere").code, 0);
    assert_eq!(at(&["-p", here, "-c", "nginx.conf"], "elsewhere").code, 0);
    assert_eq!(at(&["-p", here, "-cnginx.conf"], "elsewhere").code, 0);
    let missing = at(&["-p", here, "-c", "other.conf"], "elsewhere");
    let says = format!(
        "revolve: [emerg] open() \"{here}/other.conf\" failed (2: No such file or directory)"
    );
    assert_eq!(missing.first_line(), says);
    assert_eq!(missing.code, 1);
}

#[test]
fn signals_need_a_running_master() {
    let folder = Folder::new();
    good(&folder);
    let pid = folder.file("pid");
    for signal in ["stop", "quit", "reopen", "reload"] {
        let sent = Run::of(revolve(&folder).arg("-s").arg(signal));
        let says = format!(
            "open() \"{}\" failed (2: No such file or directory)",
            pid.display()
        );
        assert_eq!(sent.err, format!("revolve: [error] {says}\n"));
        assert_eq!(sent.code, 1);
    }
    folder.write("pid", "no number\n");
    let sent = Run::of(revolve(&folder).arg("-s").arg("stop"));
    let says = format!("invalid PID number \"no number\" in \"{}\"", pid.display());
    assert_eq!(
        (sent.err, sent.code),
        (format!("revolve: [error] {says}\n"), 1)
    );
    // Beyond the largest process id that Linux gives.
    folder.write("pid", "4194305\n");
    let sent = Run::of(revolve(&folder).arg("-s").arg("reload"));
    let says = "revolve: [alert] kill(4194305, 1) failed (3: No such process)\n";
    assert_eq!((sent.err.as_str(), sent.code), (says, 1));
    assert!(folder.file("pid").exists(), "somebody else's file stays");
}

#[test]
fn the_error_log_of_the_command_line_is_the_default() {
    let folder = Folder::new();
    folder.write("nginx.conf", "events {}\nhttp {}\n");
    let log = folder.file("logs/by-option.log");
    let run = Run::of(revolve(&folder).arg("-t").arg("-e").arg(&log));
    // `pid` is the only other file that it wants, and that may be out of reach.
    assert!(run.err.contains("syntax is ok"), "{}", run.err);
    assert!(log.exists());
}
