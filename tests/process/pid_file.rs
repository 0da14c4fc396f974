//! The pid file: whose it is, who may write it, and who is signalled by it.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use rustix::process::Signal;

use super::Site;
use crate::support::{Run, get, proc, revolve, until};

/// A process that is none of ours, which ends with the test.
struct Other(Child);

impl Other {
    fn start(name: &str) -> Other {
        let mut command = Command::new("sleep");
        command.arg0(name).arg("600").stdin(Stdio::null());
        Other(command.spawn().expect("sleep can be run"))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    #[track_caller]
    fn lives(&mut self) {
        let status = self.0.try_wait().expect("our child");
        assert_eq!(status, None, "it got the signal");
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn that_of_another_living_process_is_left_alone() {
    let site = Site::new();
    let mut other = Other::start("nginx: master process /usr/sbin/nginx");
    let text = format!("{}\n", other.pid());
    site.folder.write("pid", &text);
    site.folder.write("nginx.conf", site.config("", ""));
    let here = site.folder.path().display();
    let names = format!(
        "\"{here}/pid\" is the pid file of process {} (nginx: master process /usr/sbin/nginx 600), \
         which is no Revolve",
        other.pid()
    );
    for top in ["", "daemon off;", "daemon off; master_process off;"] {
        site.folder.write("nginx.conf", site.config(top, ""));
        let run = Run::of(&mut revolve(&site.folder));
        assert_eq!(run.code, 1, "{top}: {}", run.err);
        let first = run.first_line();
        assert!(
            first.starts_with(&format!("revolve: [emerg] {names}")),
            "{first}"
        );
        assert!(
            first.contains("name another one, such as \"pid /"),
            "{first}"
        );
        assert_eq!(run.err.lines().count(), 1, "{}", run.err);
        assert_eq!(site.folder.read("pid"), text);
    }
    let run = Run::of(revolve(&site.folder).arg("-t"));
    assert!(
        run.code == 0 && run.err.contains(&format!("[warn] {names}")),
        "{}",
        run.err
    );
    for name in ["stop", "quit", "reload", "reopen"] {
        let run = Run::of(revolve(&site.folder).args(["-s", name]));
        assert_eq!(run.code, 1, "{name}");
        let refusal = format!("process {} (nginx: master process", other.pid());
        assert!(
            run.err.contains(&refusal) && run.err.contains("no master process of Revolve"),
            "{name}: {}",
            run.err
        );
    }
    let run = Run::of(revolve(&site.folder).arg("upgrade").arg("-q"));
    assert_eq!(run.code, 1, "{}", run.err);
    other.lives();
    assert_eq!(site.folder.read("pid"), text);
}

#[test]
fn a_number_that_was_given_away_is_no_hindrance() {
    let site = Site::new();
    let mut other = Other::start("sleep");
    site.folder.write("pid", format!("{}\n", other.pid()));
    // Written before that process began, so by another one.
    let path = site.folder.file("pid");
    let file = std::fs::File::options()
        .write(true)
        .open(path)
        .expect("the pid file");
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    file.set_modified(long_ago).expect("another time");
    let server = site.start("", "");
    site.settle(1);
    assert_eq!(site.folder.read("pid"), format!("{}\n", server.pid()));
    other.lives();
}

#[test]
fn a_second_start_says_first_that_there_is_one() {
    let site = Site::new();
    let server = site.start("", "");
    site.settle(1);
    let again = || Run::of(&mut revolve(&site.folder));
    let run = again();
    let running = format!("revolve: [emerg] already running (pid {})", server.pid());
    assert_eq!(run.code, 1);
    assert!(run.first_line().starts_with(&running), "{}", run.err);
    assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    // Also where one of the two signs is missing.
    std::fs::remove_file(site.folder.file("pid.ctl")).expect("a control socket");
    assert!(again().first_line().starts_with(&running));
    assert_eq!(site.folder.read("pid"), format!("{}\n", server.pid()));
    assert_eq!(get(site.port, "/").text(), "home\n");
}

#[test]
fn the_control_socket_says_who_the_master_is() {
    let site = Site::new();
    let mut other = Other::start("sleep");
    let mut server = site.start("", "");
    site.settle(1);
    // Another server that was told the same file.
    let text = format!("{}\n", other.pid());
    site.folder.write("pid", &text);
    let run = Run::of(&mut revolve(&site.folder));
    let running = format!("revolve: [emerg] already running (pid {})", server.pid());
    assert!(run.first_line().starts_with(&running), "{}", run.err);
    let run = Run::of(revolve(&site.folder).args(["-s", "quit"]));
    assert_eq!((run.err.as_str(), run.code), ("", 0));
    assert!(server.wait().success());
    other.lives();
    assert_eq!(site.folder.read("pid"), text, "it is that server's now");
    assert!(
        site.log().contains("by now, and is left as it is"),
        "{}",
        site.log()
    );
}

#[test]
fn a_reload_does_not_take_it_from_another() {
    let site = Site::new();
    let server = site.start("", "return 200 one;");
    site.settle(1);
    let other = Other::start("sleep");
    let text = format!("{}\n", other.pid());
    site.folder.write("pid2", &text);
    let config = site.config("daemon off;", "return 200 two;");
    site.folder
        .write("nginx.conf", config.replace("/pid;", "/pid2;"));
    server.signal(Signal::HUP);
    until("it is refused", || {
        site.log().contains("was not taken, nothing changed")
    });
    assert!(site.log().contains("which is no Revolve"), "{}", site.log());
    assert_eq!(get(site.port, "/").text(), "one");
    assert_eq!(site.folder.read("pid2"), text);
    assert_eq!(site.folder.read("pid"), format!("{}\n", server.pid()));
}

#[test]
fn a_worker_is_no_master() {
    let site = Site::new();
    let server = site.start("", "");
    site.settle(1);
    let worker = server.workers_once(1)[0];
    std::fs::remove_file(site.folder.file("pid.ctl")).expect("a control socket");
    site.folder.write("pid", format!("{worker}\n"));
    let run = Run::of(revolve(&site.folder).args(["-s", "stop"]));
    assert_eq!(run.code, 1);
    assert!(
        run.err.contains("is no master process of Revolve"),
        "{}",
        run.err
    );
    assert!(proc::is_alive(worker));
}
