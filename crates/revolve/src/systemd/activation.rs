//! Listening sockets that systemd opened for us.
//!
//! Source: sd_listen_fds(3), systemd.socket(5).

use std::os::fd::{AsFd, OwnedFd};

use listenfd::ListenFd;
use revolve_server::{Config, SocketId};
use rustix::net::sockopt;

use crate::handover::{Owner, Socket};

/// More descriptors than this are a mistake in the environment.
const SOCKETS_MAX: usize = 4096;

/// What was handed to this very process.
#[derive(Default)]
pub(crate) struct Activated {
    pub(crate) sockets: Vec<Socket<OwnedFd>>,
    /// What there is to warn of.
    pub(crate) said: Vec<String>,
}

impl Activated {
    /// Takes the sockets. To be called before anything else is opened: they are the descriptors
    /// from 3 on.
    pub(crate) fn take() -> Activated {
        let mut activated = Activated::default();
        let number = |name: &str| std::env::var(name).ok()?.parse::<usize>().ok();
        let is_ours = number("LISTEN_PID") == Some(std::process::id() as usize);
        if !is_ours || number("LISTEN_FDS").is_none_or(|count| count > SOCKETS_MAX) {
            return activated;
        }
        let mut handed = ListenFd::from_env();
        for place in 0..handed.len() {
            let tcp = handed.take_tcp_listener(place).ok().flatten();
            let fd = tcp.map(OwnedFd::from).or_else(|| {
                let unix = handed.take_unix_listener(place).ok().flatten();
                unix.map(OwnedFd::from)
            });
            match fd.and_then(listening) {
                Some(socket) => activated.sockets.push(socket),
                None => activated.said.push(format!(
                    "descriptor {} of LISTEN_FDS is not a stream socket that listens, it is ignored",
                    place + 3
                )),
            }
        }
        activated
    }
}

fn listening(fd: OwnedFd) -> Option<Socket<OwnedFd>> {
    if !sockopt::socket_acceptconn(fd.as_fd()).ok()? {
        return None;
    }
    rustix::io::ioctl_fionbio(fd.as_fd(), true).ok()?;
    Some(Socket {
        id: SocketId::of(fd.as_fd()).ok()?,
        is_reuseport: sockopt::socket_reuseport(fd.as_fd()).unwrap_or(false),
        owner: Owner::Manager,
        fd,
    })
}

/// Keeps those that the configuration listens on. The others are closed, because they would be in
/// the way, and said.
pub(crate) fn keep_wanted(
    sockets: Vec<Socket<OwnedFd>>,
    config: &Config,
    said: &mut Vec<String>,
) -> Vec<Socket<OwnedFd>> {
    let is_wanted = |socket: &Socket<OwnedFd>| {
        config
            .listens()
            .any(|spec| spec.id == socket.id && spec.options.reuse_port == socket.is_reuseport)
    };
    let (wanted, others): (Vec<_>, Vec<_>) = sockets.into_iter().partition(is_wanted);
    for other in others {
        let (socket, reuse) = (&other.id, other.is_reuseport);
        let reuse = if reuse { ", with reuseport," } else { "" };
        said.push(format!(
            "systemd listens on {socket}{reuse} for us, and no \"listen\" in the configuration is \
             the same; it is closed here"
        ));
    }
    wanted
}
