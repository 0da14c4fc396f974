//! A program of somebody else's that runs beside the server under test, and ends with the test.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::proc;

pub(crate) struct Program(Child);

impl Program {
    /// Starts it, without input or output.
    #[track_caller]
    pub(crate) fn start(path: &Path, arguments: &[&str]) -> Program {
        let child = Command::new(path)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it was found");
        Program(child)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // uWSGI ends by INT, and takes TERM for something else.
        if proc::try_signal(self.0.id(), Signal::INT) {
            let _ = self.0.wait();
        }
    }
}
