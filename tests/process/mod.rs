//! Master and workers: starting, signals, reload, death.

mod ctl;
mod dealing;
mod disks;
mod ending;
mod event_types;
mod folder;
mod health;
mod held_logs;
mod life;
mod log_failures;
mod logs;
mod peer_names;
mod pid_file;
mod reload;
mod starting;
mod surroundings;
mod systemd;
mod under_load;
mod upgrade;
mod upstreams;
mod workers;
mod zones;

use crate::support::{Folder, Server, ports, until};

/// A site with one small page and a configuration that can be varied.
struct Site {
    folder: Folder,
    port: u16,
}

impl Site {
    fn new() -> Site {
        let folder = Folder::new();
        folder.write("html/index.html", "home\n");
        let port = ports::free();
        Site { folder, port }
    }

    /// A configuration with lines of its own at the top and in the server.
    fn config(&self, top: &str, server: &str) -> String {
        let here = self.folder.path().display();
        let port = self.port;
        format!(
            "{top}\npid {here}/pid;\nerror_log {here}/logs/error.log info;\nevents {{}}\nhttp {{\n\
             access_log {here}/logs/access.log;\nserver {{\nlisten 127.0.0.1:{port};\n\
             root {here}/html;\n{server}\n}}\n}}\n"
        )
    }

    /// Starts the server in the foreground.
    #[track_caller]
    fn start(&self, top: &str, server: &str) -> Server {
        let config = self.config(&format!("daemon off; {top}"), server);
        Server::start(&self.folder, &config, &[self.port])
    }

    /// Waits until the master has all that it keeps open, and so many workers serve: a server listens
    /// before that.
    #[track_caller]
    fn settle(&self, workers: usize) {
        until("all workers serve", || {
            let log = self.log();
            log.matches("serves configuration 1\n").count() == workers
        });
        until("the master has its files", || {
            ["pid", "pid.ctl"]
                .iter()
                .all(|name| self.folder.file(name).exists())
        });
    }

    fn log(&self) -> String {
        self.folder.read("logs/error.log")
    }
}
