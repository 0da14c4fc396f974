//! A TCP server on reactors in threads of their own.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::builder::Builder;
use crate::event_loop::{self, EventLoop, LoopHandle};
use crate::net::descriptors::explain;
use crate::net::{Address, ListenOptions, Listener, Stream, socket};
use crate::reactors::{Deal, Lease, Reactors};
use crate::time::sleep;

/// Who accepts connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptMode {
    /// A main reactor, which deals them out.
    MainReactor {
        /// How it chooses.
        deal: Deal,
    },
    /// Every reactor, for itself.
    PerReactor {
        /// `SO_REUSEPORT`: a socket for each reactor, and the kernel chooses by hashing. Otherwise
        /// one socket is shared, one reactor is woken for a connection (`EPOLLEXCLUSIVE`), and it
        /// keeps it unless it has some more than another.
        reuse_port: bool,
    },
}

/// A TCP (or Unix socket) server: addresses, reactors, and who accepts.
///
/// ```no_run
/// use revolve_reactor::{Address, SendQueue, TcpServer};
///
/// # fn main() -> std::io::Result<()> {
/// let address = Address::Inet(([127, 0, 0, 1], 7000).into());
/// let server = TcpServer::builder().bind(address).loops(4).serve(|stream, _peer| async move {
///     while let Ok(received) = stream.recv().await {
///         if received.is_empty() || stream.send(SendQueue::from(received)).await.0.is_err() {
///             break;
///         }
///     }
/// })?;
/// server.join()
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TcpServer {
    addresses: Vec<Address>,
    options: ListenOptions,
    loops: usize,
    accept: AcceptMode,
    event_loop: Builder,
}

impl Default for TcpServer {
    fn default() -> Self {
        TcpServer {
            addresses: Vec::new(),
            options: ListenOptions::default(),
            loops: 1,
            accept: AcceptMode::MainReactor {
                deal: Deal::RoundRobin,
            },
            event_loop: EventLoop::builder(),
        }
    }
}

impl TcpServer {
    /// A server with no address yet, one reactor, and a main reactor that accepts.
    pub fn builder() -> TcpServer {
        TcpServer::default()
    }

    /// Listens on an address; may be called several times.
    #[must_use]
    pub fn bind(mut self, address: impl Into<Address>) -> TcpServer {
        self.addresses.push(address.into());
        self
    }

    /// How to listen. Default: [`ListenOptions::default`].
    #[must_use]
    pub fn options(mut self, options: ListenOptions) -> TcpServer {
        self.options = options;
        self
    }

    /// Reactors that serve connections, each on a thread of its own. Default 1, at least 1. A main
    /// reactor comes on top.
    #[must_use]
    pub fn loops(mut self, count: usize) -> TcpServer {
        self.loops = count.max(1);
        self
    }

    /// Who accepts. Default: a main reactor, which deals round robin.
    #[must_use]
    pub fn accept(mut self, mode: AcceptMode) -> TcpServer {
        self.accept = mode;
        self
    }

    /// How the loops are built. Default: [`Builder::default`].
    #[must_use]
    pub fn event_loop(mut self, builder: Builder) -> TcpServer {
        self.event_loop = builder;
        self
    }

    /// Binds, starts the reactors and serves: `handler` is called for each connection on the
    /// thread of its reactor, and its future runs there. The connection is closed when the
    /// future drops its stream.
    ///
    /// # Errors
    ///
    /// What [`Listener::bind`] (with the address in the message) and [`Reactors::spawn`] say;
    /// `Unsupported` if every reactor is to accept and the thread's loop is simulated.
    pub fn serve<F>(
        self,
        handler: impl Fn(Stream, Address) -> F + Send + Sync + 'static,
    ) -> io::Result<Serving>
    where
        F: Future<Output = ()> + 'static,
    {
        let handler = Arc::new(move |stream, peer, lease| {
            let served = handler(stream, peer);
            event_loop::spawn(async move {
                let _lease: Lease = lease;
                served.await;
            });
        });
        match self.accept {
            AcceptMode::MainReactor { deal } => self.serve_main(deal, handler),
            AcceptMode::PerReactor { .. } if event_loop::network().is_some() => {
                let message = "simulated loops share no listener: choose AcceptMode::MainReactor";
                Err(io::Error::new(io::ErrorKind::Unsupported, message))
            }
            AcceptMode::PerReactor { reuse_port } => self.serve_each(reuse_port, handler),
        }
    }

    fn listen(&self, reuse_port: bool) -> io::Result<Vec<OwnedFd>> {
        let reuse_port = reuse_port || self.options.reuse_port;
        let options = ListenOptions {
            reuse_port,
            ..self.options.clone()
        };
        self.addresses
            .iter()
            .map(|address| {
                Listener::bind(address, &options).map_err(|error| {
                    let error = explain(error);
                    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
                })
            })
            .collect()
    }

    fn serve_main<H>(self, deal: Deal, handler: Arc<H>) -> io::Result<Serving>
    where
        H: Fn(Stream, Address, Lease) + Send + Sync + 'static,
    {
        let listeners = self.listen(false)?;
        let addresses = local_addresses(&listeners)?;
        let subs = Reactors::spawn_with(self.loops, "sub-reactor", self.event_loop.clone(), |_| {});
        let subs = Arc::new(subs?.with_deal(deal));
        let main = Reactors::spawn_with(1, "main-reactor", self.event_loop, |_| {})?;
        for fd in listeners {
            let (subs, handler) = (Arc::clone(&subs), Arc::clone(&handler));
            let accepts = move |fd, peer| {
                let handler = Arc::clone(&handler);
                subs.deal(fd, move |fd, lease| serve_one(fd, peer, lease, &*handler));
            };
            start_accepting(main.seats().get(0).handle(), fd, false, accepts)?;
        }
        Ok(Serving {
            addresses,
            accepting: main,
            subs: Some(subs),
        })
    }

    fn serve_each<H>(self, reuse_port: bool, handler: Arc<H>) -> io::Result<Serving>
    where
        H: Fn(Stream, Address, Lease) + Send + Sync + 'static,
    {
        let mut listeners = self.listen(reuse_port)?;
        let addresses = local_addresses(&listeners)?;
        let reactors = Reactors::spawn_with(self.loops, "reactor", self.event_loop.clone(), |_| {});
        let reactors = reactors?;
        // Addresses with port 0 have got their port by now: the others bind to the same.
        let bound = TcpServer {
            addresses: addresses.clone(),
            ..self
        };
        let seats = Arc::clone(reactors.seats());
        for own in 0..seats.len() {
            if own > 0 && reuse_port {
                listeners = bound.listen(true)?;
            }
            for listener in &listeners {
                let (handler, shared_seats) = (Arc::clone(&handler), Arc::clone(&seats));
                let accepts = move |fd, peer| {
                    let chosen = if reuse_port {
                        own
                    } else {
                        shared_seats.choose_near(own)
                    };
                    if chosen == own {
                        serve_one(fd, peer, shared_seats.get(own).lease(), &*handler);
                    } else {
                        let handler = Arc::clone(&handler);
                        let serve = move |fd, lease| serve_one(fd, peer, lease, &*handler);
                        shared_seats.deal(chosen, fd, Box::new(serve));
                    }
                };
                let fd = listener.try_clone()?;
                start_accepting(seats.get(own).handle(), fd, !reuse_port, accepts)?;
            }
        }
        Ok(Serving {
            addresses,
            accepting: reactors,
            subs: None,
        })
    }
}

fn local_addresses(listeners: &[OwnedFd]) -> io::Result<Vec<Address>> {
    listeners
        .iter()
        .map(|fd| socket::local_address(fd.as_fd()))
        .collect()
}

/// Hands a connection to the handler; one whose registration fails is closed, and so is one whose
/// handler panics before there is a task for it: who accepts goes on.
fn serve_one(fd: OwnedFd, peer: Address, lease: Lease, handler: &impl Fn(Stream, Address, Lease)) {
    if let Ok(stream) = Stream::from_fd(fd) {
        let core = Rc::clone(&stream.handle().core);
        core.guard("a handler", || handler(stream, peer, lease));
    }
}

/// Accepts on a loop until the loop ends. `shared`: other loops accept from the same socket.
fn start_accepting(
    handle: &LoopHandle,
    fd: OwnedFd,
    shared: bool,
    accepts: impl Fn(OwnedFd, Address) + Send + 'static,
) -> io::Result<()> {
    let (registered, registration) = mpsc::channel();
    handle.run_in_loop(move || match Listener::from_fd(fd) {
        Ok(listener) => {
            if !shared {
                listener.set_rotation(0);
            }
            event_loop::spawn(accept_on(listener, accepts));
            let _ = registered.send(Ok(()));
        }
        Err(error) => {
            let _ = registered.send(Err(error));
        }
    });
    registration
        .recv()
        .map_err(|_| io::Error::other("the reactor stopped while it was started"))?
}

async fn accept_on(listener: Listener, accepts: impl Fn(OwnedFd, Address)) {
    loop {
        match listener.accept().await {
            Ok((fd, peer)) => accepts(fd, peer),
            // Out of descriptors or memory: turn one away, and leave the others some time to end.
            Err(_) => {
                let _ = listener.accept_and_close_one(b"");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// How long a listener rests when the process is out of descriptors (nginx: half a second).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A server that runs. Dropping it stops it, with all its connections.
#[derive(Debug)]
pub struct Serving {
    addresses: Vec<Address>,
    /// Before the sub-reactors, so that it stops first.
    accepting: Reactors,
    subs: Option<Arc<Reactors>>,
}

impl Serving {
    /// The addresses listened on, with the ports that the system chose.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Connections that each reactor has.
    pub fn connections(&self) -> Vec<usize> {
        self.subs
            .as_deref()
            .unwrap_or(&self.accepting)
            .connections()
    }

    /// Stops all reactors at the end of their turn. From any thread.
    pub fn stop(&self) {
        self.accepting.stop();
        if let Some(subs) = &self.subs {
            subs.stop();
        }
    }

    /// Waits until the server has been stopped.
    ///
    /// # Errors
    ///
    /// A reactor's thread that panicked, outside of any task.
    pub fn join(self) -> io::Result<()> {
        let result = self.accepting.join();
        drop(self.subs);
        result
    }
}
