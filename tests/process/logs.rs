//! USR1: log files that were moved away are opened anew.

use std::fs;

use rustix::process::Signal;

use super::Site;
use crate::support::{Run, get, proc, revolve, until};

#[test]
fn logs_are_reopened_after_they_were_moved() {
    let site = Site::new();
    // Where the test is root the workers are somebody else, who may not write here.
    site.folder.set_mode("logs", 0o700);
    let server = site.start("worker_processes 2;", "");
    let workers = server.workers_once(2);
    for by_signal in [true, false] {
        get(site.port, "/before");
        until("it is logged", || {
            site.folder.count("logs/access.log", "/before") == 1
        });
        for log in ["access", "error"] {
            let (now, then) = (format!("logs/{log}.log"), format!("logs/{log}.1"));
            fs::rename(site.folder.file(&now), site.folder.file(&then)).expect("a log");
        }
        // Who still has the old file open writes there.
        get(site.port, "/between");
        until("it is in the old file", || {
            site.folder.count("logs/access.1", "/between") == 1
        });
        assert!(!site.folder.file("logs/access.log").exists());
        if by_signal {
            server.signal(Signal::USR1);
        } else {
            let run = Run::of(revolve(&site.folder).arg("-s").arg("reopen"));
            assert_eq!((run.err.as_str(), run.code), ("", 0));
        }
        until("the new files are there", || {
            ["access", "error"]
                .iter()
                .all(|log| site.folder.file(&format!("logs/{log}.log")).exists())
        });
        until("all workers write to the new file", || {
            get(site.port, "/probe");
            let opened = |pid: &u32| holds(*pid, &site.folder.file("logs/access.log"));
            workers.iter().all(opened)
        });
        get(site.port, "/after");
        until("it is in the new file", || {
            site.folder.count("logs/access.log", "/after") == 1
        });
        until("errors are in the new file", || {
            site.log().contains("/after\" failed (2: ")
        });
        assert_eq!(site.folder.count("logs/access.1", "/after"), 0);
        for log in ["access", "error"] {
            fs::remove_file(site.folder.file(&format!("logs/{log}.1"))).expect("a log");
        }
        fs::write(site.folder.file("logs/access.log"), "").expect("a log");
    }
    assert_eq!(server.workers(), workers);
    assert!(proc::is_alive(server.pid()));
}

/// Whether a process has this file open, and not one that had its name before.
fn holds(pid: u32, path: &std::path::Path) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    entries
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .any(|target| target == path)
}

#[test]
fn a_log_that_cannot_be_reopened_is_named_and_the_old_one_goes_on() {
    let site = Site::new();
    let server = site.start("", "");
    get(site.port, "/one");
    until("it is logged", || {
        site.folder.count("logs/access.log", "/one") == 1
    });
    let moved = site.folder.file("moved.log");
    fs::rename(site.folder.file("logs/access.log"), &moved).expect("a log");
    site.folder.make("logs/access.log");
    server.signal(Signal::USR1);
    let line = format!(
        "open() \"{}\" failed (21: Is a directory)",
        site.folder.file("logs/access.log").display()
    );
    until("the error log has it", || site.log().contains(&line));
    get(site.port, "/two");
    until("the old file goes on", || {
        site.folder.count("moved.log", "/two") == 1
    });
}

/// The system calls of a process with one thread are cheaper.
#[test]
fn the_thread_that_writes_logs_ends_when_there_is_nothing_to_write() {
    let site = Site::new();
    let server = site.start("", "");
    let worker = server.workers_once(1)[0];
    let threads = || fs::read_dir(format!("/proc/{worker}/task")).map_or(0, Iterator::count);
    for path in ["/first", "/second"] {
        get(site.port, path);
        until("it is logged", || {
            site.folder.count("logs/access.log", path) == 1
        });
        until("the worker is alone again", || threads() == 1);
    }
}
