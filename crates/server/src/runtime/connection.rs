//! A client's connection: what stays while it idles, and its one task.

use std::cell::{Cell, OnceCell};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use revolve_reactor::Address;
use revolve_tls::TlsStream;

use crate::net::proxied::Proxied;
use crate::net::{SocketId, Transport};
use crate::runtime::loop_state::LoopState;
use crate::runtime::report::{ConnectionReport, ConnectionState};

/// A socket that connections come from.
#[derive(Debug)]
pub(crate) struct ListenerInfo {
    id: SocketId,
    /// Its place in the ports of the configuration of that number.
    place: Cell<(u64, usize)>,
}

impl ListenerInfo {
    /// The listener of a socket.
    pub(crate) fn new(id: SocketId) -> Self {
        Self {
            id,
            place: Cell::new((u64::MAX, 0)),
        }
    }

    /// Which socket it is.
    pub(crate) fn id(&self) -> &SocketId {
        &self.id
    }

    /// The address as it was bound.
    pub(crate) fn address(&self) -> &Address {
        &self.id.address
    }

    /// Its place in a list of the configuration of that number, as `find` gives it; one that the
    /// configuration does not have any more counts as the first, whose connections are about to be
    /// closed.
    pub(crate) fn place(
        &self,
        config: u64,
        find: impl FnOnce(&SocketId) -> Option<usize>,
    ) -> usize {
        let (known, place) = self.place.get();
        if known == config {
            return place;
        }
        let place = find(&self.id).unwrap_or(0);
        self.place.set((config, place));
        place
    }
}

/// What a connection has behind it that another binary has served.
#[derive(Debug, Clone, Copy)]
pub(crate) struct History {
    pub(crate) requests: u32,
    pub(crate) age_ms: u64,
    pub(crate) idle_ms: u64,
}

/// In place of a time: the connection does not idle.
const BUSY: u64 = u64::MAX;

/// A connection.
pub(crate) struct Connection {
    /// What carries its bytes.
    pub(crate) stream: Transport,
    /// The state of its loop.
    pub(crate) state: Rc<LoopState>,
    /// The client.
    pub peer: Address,
    /// Its number in logs (`*1`).
    pub number: u64,
    listener: Rc<ListenerInfo>,
    local: OnceCell<Option<Box<Address>>>,
    /// The server that the client has named in its handshake, in the configuration of that number.
    named_server: Cell<(u64, u32)>,
    proxied: OnceCell<Box<Proxied>>,
    /// By the loop's clock, as all times here; what lies before its beginning has wrapped around.
    started_ms: Cell<u64>,
    requests: Cell<u32>,
    /// Since when it waits for a request; [`BUSY`] while one is read or answered.
    idle_since_ms: Cell<u64>,
    /// For so long it is not closed while it idles.
    idle_min_ms: Cell<u32>,
    pipelined: Cell<bool>,
    /// Whether reading was ended by us.
    read_shut: Cell<bool>,
    /// Whether it counts as one whose request is under way.
    pub(crate) is_busy: Cell<bool>,
    pub(crate) key: Cell<usize>,
}

impl Connection {
    pub(crate) fn new(
        stream: Transport,
        peer: Address,
        listener: Rc<ListenerInfo>,
        state: Rc<LoopState>,
    ) -> Self {
        let number = state.next_connection_number();
        Self {
            stream,
            state,
            peer,
            number,
            listener,
            local: OnceCell::new(),
            named_server: Cell::new((u64::MAX, 0)),
            proxied: OnceCell::new(),
            started_ms: Cell::new(revolve_reactor::now_ms()),
            requests: Cell::new(0),
            idle_since_ms: Cell::new(revolve_reactor::now_ms()),
            idle_min_ms: Cell::new(0),
            pipelined: Cell::new(false),
            read_shut: Cell::new(false),
            is_busy: Cell::new(false),
            key: Cell::new(usize::MAX),
        }
    }

    /// The same connection, which is to begin with a handshake.
    pub(crate) fn into_tls(self) -> Self {
        Self {
            stream: self.stream.into_tls(),
            ..self
        }
    }

    /// Goes on where another binary has left off.
    pub(crate) fn resume(&self, history: History) {
        let now_ms = revolve_reactor::now_ms();
        let ago = |ms| Some(now_ms.wrapping_sub(ms)).filter(|ms| *ms != BUSY);
        self.requests.set(history.requests);
        self.started_ms.set(now_ms.wrapping_sub(history.age_ms));
        self.idle_since_ms
            .set(ago(history.idle_ms).unwrap_or(now_ms));
    }

    /// What another binary is to go on with.
    pub(crate) fn history(&self) -> History {
        let idle = self.idle_for().unwrap_or_default();
        History {
            requests: self.requests.get(),
            age_ms: self.age_ms(),
            idle_ms: u64::try_from(idle.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The server that the client has named in its handshake, by its number in that configuration.
    #[inline]
    pub(crate) fn named_server(&self, config: u64) -> Option<u32> {
        let (of, server) = self.named_server.get();
        (of == config).then_some(server)
    }

    /// Takes note of the server that the client has named in its handshake.
    pub(crate) fn set_named_server(&self, config: u64, server: u32) {
        self.named_server.set((config, server));
    }

    /// Whom a proxy has said that it speaks for.
    #[inline]
    pub(crate) fn proxied(&self) -> Option<&Proxied> {
        self.proxied.get().map(|proxied| &**proxied)
    }

    /// Takes note of whom a proxy speaks for.
    pub(crate) fn set_proxied(&self, proxied: Proxied) {
        let _ = self.proxied.set(Box::new(proxied));
    }

    /// Whether requests and answers go by TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.stream.tls().is_some_and(TlsStream::is_secure)
    }

    /// Whether it came where TLS is spoken and does not speak it.
    pub(crate) fn lacks_tls(&self) -> bool {
        self.stream.tls().is_some_and(|tls| !tls.is_secure())
    }

    /// Whether it waits for a request: nothing is lost when it is closed then.
    pub(crate) fn is_idle(&self) -> bool {
        self.idle_since_ms.get() != BUSY
    }

    /// How long it has waited for a request; `None` while one is read or answered.
    pub(crate) fn idle_for(&self) -> Option<Duration> {
        let idle_ms = revolve_reactor::now_ms().wrapping_sub(self.idle_since_ms.get());
        self.is_idle().then(|| Duration::from_millis(idle_ms))
    }

    /// It begins to wait for a request.
    pub(crate) fn begin_idle(&self) {
        self.idle_since_ms.set(revolve_reactor::now_ms());
    }

    /// Whether it may be closed to make way: it has idled for at least so long, and for as long as its
    /// last request wants it to stay.
    pub(crate) fn has_idled_for(&self, at_least: Duration) -> bool {
        let min = Duration::from_millis(u64::from(self.idle_min_ms.get()));
        self.idle_for()
            .is_some_and(|idle| idle >= at_least.max(min))
    }

    /// For so long it is not to be closed while it idles.
    pub(crate) fn set_idle_min_ms(&self, ms: u64) {
        self.idle_min_ms.set(u32::try_from(ms).unwrap_or(u32::MAX));
    }

    /// A request has begun to come in.
    pub(crate) fn end_idle(&self) {
        self.idle_since_ms.set(BUSY);
    }

    /// Requests that it has begun.
    pub(crate) fn requests(&self) -> u32 {
        self.requests.get()
    }

    /// What is left of a wait that began when it began to idle.
    pub(crate) fn left_of(&self, wait: Duration) -> Duration {
        match revolve_reactor::now_ms().wrapping_sub(self.idle_since_ms.get()) {
            0 => wait,
            idle_ms => wait.saturating_sub(Duration::from_millis(idle_ms)),
        }
    }

    /// How long it has lived, in milliseconds.
    pub(crate) fn age_ms(&self) -> u64 {
        revolve_reactor::now_ms().wrapping_sub(self.started_ms.get())
    }

    /// The address that the client reached; asked of the kernel once, when somebody wants it.
    pub(crate) fn local(&self) -> Option<&Address> {
        let local = self
            .local
            .get_or_init(|| self.stream.local_address().ok().map(Box::new));
        local.as_deref()
    }

    /// What there is to be told of it.
    pub(crate) fn report(&self) -> ConnectionReport {
        let requests = self.requests.get();
        let state = match (self.is_idle(), requests) {
            (true, 0) => ConnectionState::New,
            (true, _) => ConnectionState::Idle,
            (false, _) => ConnectionState::Active,
        };
        let kernel = self.stream.tcp_info();
        ConnectionReport {
            number: self.number,
            peer: self.peer.clone(),
            listener: self.listener.address().clone(),
            state,
            age: Duration::from_millis(self.age_ms()),
            idle: self.idle_for(),
            requests,
            received_bytes: kernel.and_then(|info| info.received_bytes),
            sent_bytes: kernel.and_then(|info| info.acked_bytes),
        }
    }

    pub(crate) fn listener_rc(&self) -> &Rc<ListenerInfo> {
        &self.listener
    }

    /// The listener that it came by.
    pub(crate) fn listener(&self) -> &ListenerInfo {
        &self.listener
    }

    /// Whether the request at hand came while the one before was being answered.
    pub(crate) fn pipelined(&self) -> bool {
        self.pipelined.get()
    }

    pub(crate) fn set_pipelined(&self, pipelined: bool) {
        self.pipelined.set(pipelined);
    }

    pub(crate) fn next_sequence(&self) -> u64 {
        self.requests.set(self.requests.get().saturating_add(1));
        u64::from(self.requests.get())
    }

    /// The last number was taken for what is no request.
    pub(crate) fn take_back_sequence(&self) {
        self.requests.set(self.requests.get().saturating_sub(1));
    }

    /// Appends the client's address as logs show it: without port; `unix:` for Unix sockets.
    pub(crate) fn append_peer(&self, out: &mut Vec<u8>) {
        append_address(&self.peer, out);
    }

    /// Whether the wait for a next request was ended by us.
    pub(crate) fn is_read_shut(&self) -> bool {
        self.read_shut.get()
    }

    /// Ends the wait for a next request: what the client has sent by now is still answered.
    pub(crate) fn close_idle(&self) {
        // Reading ends; the task sees the end of the stream and closes.
        self.read_shut.set(true);
        let _ = rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Read);
    }
}

/// Appends a client's address as logs show it: without port; `unix:` for Unix sockets.
pub(crate) fn append_address(address: &Address, out: &mut Vec<u8>) {
    match address {
        Address::Inet(SocketAddr::V4(address)) => append_ipv4(*address.ip(), out),
        Address::Inet(SocketAddr::V6(address)) => {
            let _ = write!(out, "{}", address.ip());
        }
        Address::Unix(_) => out.extend_from_slice(b"unix:"),
    }
}

/// Each line of an access log has one, and `Display` of the standard library takes its time.
fn append_ipv4(ip: Ipv4Addr, out: &mut Vec<u8>) {
    let [first, rest @ ..] = ip.octets();
    out.extend_from_slice(itoa::Buffer::new().format(first).as_bytes());
    for octet in rest {
        out.push(b'.');
        out.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
    }
}

/// Removes a connection from the loop's list however its task ends.
pub(crate) struct Registered(pub(crate) Rc<Connection>);

impl Drop for Registered {
    fn drop(&mut self) {
        self.0.state.remove(&self.0);
    }
}
