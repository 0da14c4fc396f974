//! Examples that run.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::sources;
use crate::support::server::REVOLVE;
use crate::support::{Client, Run, get, left_out, ports, proc, until};

/// A script that ends what it has started.
struct Script(Child);

impl Drop for Script {
    fn drop(&mut self) {
        if proc::try_signal(self.0.id(), Signal::TERM) {
            let _ = self.0.wait();
        }
    }
}

#[test]
fn two_applications_with_health_checks() {
    let has_python = Command::new("python3").arg("-c").arg("").status();
    if !has_python.is_ok_and(|status| status.success()) {
        left_out("python3 is not installed");
        return;
    }
    let [port, first, second] = [(); 3].map(|()| ports::free());
    let mut command = Command::new(sources().join("examples/upstreams/run"));
    command.args([port, first, second].map(|port| port.to_string()));
    command.env("REVOLVE", REVOLVE).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut script = Script(command.spawn().expect("a script"));
    let mut lines = BufReader::new(script.0.stdout.take().expect("it is piped")).lines();
    let mut word = || {
        let line = lines.next().expect("a line").expect("text");
        line.rsplit(' ').next().expect("a word").to_owned()
    };
    let application = word().parse::<u32>().expect("a process");
    let (_, folder) = (word(), word());
    until("it listens", || ports::is_listening(port));
    let answers = |path| {
        let mut client = Client::connect(port);
        let mut all: Vec<String> = (0..6).map(|_| client.get(path).text()).collect();
        all.sort();
        all.dedup();
        all
    };
    let mut both = vec![format!("port {first}\n"), format!("port {second}\n")];
    both.sort();
    until("both answer", || {
        get(port, "/").status == 200 && answers("/") == both
    });
    proc::signal(application, Signal::KILL);
    let socket = format!("{folder}/revolve.ctl");
    until("one is found away", || {
        let run = Run::of(Command::new(REVOLVE).args(["ctl", "upstreams", "-s", &socket]));
        run.out.contains(" unhealthy ")
    });
    assert_eq!(answers("/"), [format!("port {second}\n")]);
}
