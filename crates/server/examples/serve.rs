//! A web server inside a program of one's own: one process, one thread, one `nginx.conf`.
//!
//! ```sh
//! cargo run --release -p revolve-server --example serve -- /path/to/nginx.conf
//! ```

use std::error::Error;
use std::path::PathBuf;

use revolve_reactor::{EventLoop, Listener};
use revolve_server::{Descriptors, Prefix, Worker, load, log};

fn main() -> Result<(), Box<dyn Error>> {
    let main = PathBuf::from(std::env::args().nth(1).ok_or("usage: serve nginx.conf")?);
    let prefix = Prefix {
        prefix: std::env::current_dir()?,
        error_log: log::file::STDERR.into(),
        access_log: None,
    };
    let (config, sources, diagnostics) = load(&main, &prefix, None, &mut revolve_conf::DiskFiles);
    eprint!("{}", diagnostics.render(&sources, "serve", false));
    let config = config.ok_or("the configuration has errors")?;

    let mut descriptors = Descriptors::default();
    for spec in config.listens() {
        let socket = Listener::bind(&spec.id.address, &spec.options)?;
        descriptors.listeners.push((spec.id.clone(), socket));
        println!("listening on {}", spec.id);
    }
    for path in config.log_paths() {
        descriptors
            .logs
            .push((path.clone(), log::file::open(path)?.into()));
    }
    let mut event_loop = EventLoop::new()?;
    let _worker = event_loop.block_on(async { Worker::start(config, descriptors) })?;
    event_loop.run();
    Ok(())
}
