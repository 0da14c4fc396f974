//! Disks that stand still, as one does that is frozen for a snapshot or whose network is gone, and disks
//! that are full.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::Site;
use crate::support::{Client, Run, Server, proc, revolve, until};

/// For how long the disk stands still at most, whatever becomes of the test.
const FROZEN_MAX_S: u64 = 60;

/// A file system in a file, mounted for the server alone, which has its logs there.
struct Disk {
    server: Server,
    /// The folder that it is mounted on, open, so that it has a name out here.
    root: File,
    thaw: Option<Child>,
}

impl Disk {
    /// Starts the server with `http` as lines for its `http` block, where `DISK` stands for the file
    /// system; nothing where no file system can be mounted.
    fn start(site: &Site, http: &str) -> Option<Disk> {
        let (disk, image) = (site.folder.file("disk"), site.folder.file("image"));
        site.folder.make("disk");
        let script = "truncate -s 32M \"$1\" && mkfs.ext4 -q \"$1\" && \
                      mount -o loop \"$1\" \"$2\" && chmod 777 \"$2\"";
        let mut probe = Command::new("unshare");
        probe.args(["--mount", "sh", "-c", script, "sh"]);
        if !proc::is_root() || Run::of(probe.arg(&image).arg(&disk)).code != 0 {
            crate::support::left_out("a file system that could be frozen cannot be mounted here");
            return None;
        }
        let http = format!(
            "http {{ {}",
            http.replace("DISK", &disk.display().to_string())
        );
        let config = site.config("daemon off; worker_processes 1;", "return 200 here;");
        let config = config.replace("http {", &http);
        site.folder.write("nginx.conf", config);
        let mut command = Command::new("unshare");
        let script = "mount -o loop \"$1\" \"$2\" && chmod 777 \"$2\" && shift 2 && exec \"$@\"";
        command.args(["--mount", "sh", "-c", script, "sh"]);
        command.arg(&image).arg(&disk);
        let server = revolve(&site.folder);
        command.arg(server.get_program()).args(server.get_args());
        command.current_dir(site.folder.path());
        let stderr = site.folder.file("stderr.txt");
        let server = Server::run(&mut command, stderr, &[site.port]);
        let root = format!("/proc/{}/root{}", server.pid(), disk.display());
        Some(Disk {
            root: File::open(root).expect("the mounted folder"),
            server,
            thaw: None,
        })
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.root.as_raw_fd())
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(format!("{}/{name}", self.path())).unwrap_or_default()
    }

    /// Ends the server, and waits for its end.
    fn quit(&mut self) {
        self.server.signal(Signal::QUIT);
        assert!(self.server.wait().success());
    }

    fn freeze(&mut self) {
        // Though this process be killed: who writes to a frozen disk cannot be.
        let script = format!("sleep {FROZEN_MAX_S}; fsfreeze -u \"$1\"");
        let mut thaw = Command::new("sh");
        thaw.args(["-c", &script, "sh"]).stderr(Stdio::null());
        let mounted = format!("/proc/{}/cwd/disk", self.server.pid());
        self.thaw = Some(thaw.arg(mounted).spawn().expect("a shell"));
        let frozen = Run::of(Command::new("fsfreeze").arg("-f").arg(self.path()));
        assert_eq!(frozen.code, 0, "{}", frozen.err);
    }

    #[track_caller]
    fn thaw(&mut self) {
        let thawed = self.try_thaw();
        assert_eq!(thawed, Some(0), "it has not stood still until now");
    }

    /// The exit code of fsfreeze, if the disk was frozen.
    fn try_thaw(&mut self) -> Option<i32> {
        let mut child = self.thaw.take()?;
        let thawed = Run::of(Command::new("fsfreeze").arg("-u").arg(self.path()));
        let _ = child.kill();
        let _ = child.wait();
        Some(thawed.code)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A test that has failed already says what it has to say.
        self.try_thaw();
    }
}

/// Whether a thread of the process waits for a disk and cannot be interrupted.
fn is_stuck(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
    threads.flatten().any(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('D'))
    })
}

#[test]
fn a_disk_that_stands_still_stops_no_request_and_no_line_is_lost() {
    let site = Site::new();
    let logs = "access_log DISK/listed.log; access_log DISK/held.log.gz combined gzip buffer=1k; \
                access_log DISK/by-$request_method.log; error_log DISK/error.log info;";
    let Some(mut disk) = Disk::start(&site, logs) else {
        return;
    };
    let worker = disk.server.workers_once(1)[0];
    let mut client = Client::connect(site.port);
    assert_eq!(client.get("/before").text(), "here");
    until("it is written", || {
        disk.read("listed.log").contains("/before")
    });
    disk.freeze();
    assert_eq!(client.get("/first").text(), "here");
    until("a write waits", || is_stuck(worker));
    let begin = Instant::now();
    const REQUESTS: usize = 900;
    for _ in 0..REQUESTS {
        assert_eq!(client.get("/frozen").text(), "here");
    }
    let mut bad = Client::connect(site.port);
    bad.send("nonsense\r\n\r\n");
    assert_eq!(bad.response().status, 400);
    let took = begin.elapsed();
    assert!(
        is_stuck(worker),
        "the disk has stood still for all that time"
    );
    assert_eq!(disk.read("listed.log").matches("/frozen").count(), 0);
    disk.thaw();
    assert!(took < Duration::from_secs(FROZEN_MAX_S), "{took:?}");
    for log in ["listed.log", "by-GET.log"] {
        until("all lines are written", || {
            disk.read(log).matches("/frozen").count() == REQUESTS
        });
    }
    until("errors too", || {
        disk.read("error.log").contains("client sent invalid")
    });
    assert!(!site.log().contains("lost"), "{}", site.log());
}

#[test]
fn a_worker_is_replaced_though_the_disk_of_the_error_log_stands_still() {
    let site = Site::new();
    let Some(mut disk) = Disk::start(&site, "access_log off;") else {
        return;
    };
    let config = site.folder.read("nginx.conf");
    // The worker itself has nothing to say at this level: Linux does not let go of a process one of
    // whose threads waits for such a disk.
    let elsewhere = format!("{}/error.log warn", site.folder.file("disk").display());
    let ours = format!("{} info", site.folder.file("logs/error.log").display());
    assert!(config.contains(&ours), "{config}");
    site.folder
        .write("nginx.conf", config.replace(&ours, &elsewhere));
    let reload = Run::of(revolve(&site.folder).arg("-s").arg("reload"));
    assert_eq!((reload.err.as_str(), reload.code), ("", 0));
    let worker = disk.server.workers_once(1)[0];
    disk.freeze();
    proc::kill(worker, Signal::KILL);
    until("another serves", || {
        let workers = disk.server.workers();
        workers.first().is_some_and(|&pid| pid != worker)
    });
    assert_eq!(Client::connect(site.port).get("/").text(), "here");
    assert!(is_stuck(disk.server.pid()));
    disk.thaw();
    let line = format!("worker process {worker} exited on signal 9");
    until("the log has it", || disk.read("error.log").contains(&line));
}

#[test]
fn what_a_disk_that_stands_still_makes_too_much_is_lost_and_said() {
    let site = Site::new();
    let text = "x".repeat(4000);
    let logs = format!("log_format long '$request {text}'; access_log DISK/long.log long;");
    let Some(mut disk) = Disk::start(&site, &logs) else {
        return;
    };
    let worker = disk.server.workers_once(1)[0];
    disk.freeze();
    const REQUESTS: usize = 900;
    let mut client = Client::connect(site.port);
    for _ in 0..REQUESTS {
        assert_eq!(client.get("/").text(), "here");
    }
    let memory = proc::memory_bytes(worker);
    let said = || {
        let log = site.log();
        let line = log.lines().find(|line| line.ends_with(" lost"));
        line.map(str::to_owned)
    };
    until("it is said", || {
        said().is_some_and(|it| it.contains("/long.log\" failed (11: "))
    });
    assert!(is_stuck(worker));
    disk.thaw();
    // At the end it is known of each line what became of it.
    disk.quit();
    let written = disk.read("long.log").lines().count();
    assert_eq!(written + super::log_failures::lost(&site), REQUESTS);
    assert!(written > 300 && written < 700, "{written}");
    assert!(memory < 32 << 20, "{memory}");
}

#[test]
fn a_full_disk_stops_no_request_and_each_line_that_it_does_not_take_is_counted() {
    let site = Site::new();
    let text = "x".repeat(100);
    let logs = format!("log_format own '$request {text}'; access_log DISK/own.log own;");
    let Some(mut disk) = Disk::start(&site, &logs) else {
        return;
    };
    let ask = |client: &mut Client, count| {
        for _ in 0..count {
            assert_eq!(client.get("/").text(), "here");
        }
    };
    let mut client = Client::connect(site.port);
    ask(&mut client, 100);
    let filler = format!("{}/filler", disk.path());
    let filled = std::fs::write(&filler, vec![0; 64 << 20]).expect_err("there is no room for it");
    assert_eq!(filled.raw_os_error(), Some(28));
    ask(&mut client, 400);
    until("it is said", || {
        site.log().contains("/own.log\" failed (28: ")
    });
    std::fs::remove_file(filler).expect("a file");
    ask(&mut client, 100);
    disk.quit();
    let written = disk.read("own.log");
    let line = format!("GET / HTTP/1.1 {text}");
    assert!(written.lines().all(|written| written == line), "{written}");
    let written = written.lines().count();
    let lost = super::log_failures::lost(&site);
    assert_eq!(written + lost, 600, "{}", site.log());
    assert!((200..600).contains(&written), "{written}");
}
