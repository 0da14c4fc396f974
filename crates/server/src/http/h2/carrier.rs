//! A connection, as its task and its streams share it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use revolve_http::h2::{Config, Connection as Machine, ConnectionError, ErrorCode};

use super::head::Heads;
use super::pool::Pool;
use crate::http::HttpLoop;
use crate::http::location::Location;
use crate::http::site::Site;
use crate::log::Level;
use crate::runtime::connection::Connection;

/// A header block may come to so many times what its fields may.
const BLOCK_FACTOR: usize = 2;

/// A connection that speaks HTTP/2.
pub(super) struct Carrier<T> {
    pub(super) connection: Rc<Connection>,
    pub(super) http_loop: Rc<HttpLoop>,
    pub(super) pool: Rc<Pool<T>>,
    pub(super) machine: RefCell<Machine<Rc<T>>>,
    pub(super) heads: RefCell<Heads>,
    /// Streams of which something is in what leaves next.
    pub(super) leaving: RefCell<Vec<Rc<T>>>,
    waker: RefCell<Option<Waker>>,
    is_woken: Cell<bool>,
}

/// The level of the server that a connection's client has named in its handshake, or else of the
/// default one.
pub(super) fn level_of<'a>(site: &'a Site, connection: &Connection) -> &'a Location {
    let http = &site.http;
    let named = connection.named_server(http.id);
    let server = named.unwrap_or_else(|| http.hosts_at(connection).default);
    let location = http.servers[server as usize].location;
    &site.locations[location as usize]
}

impl<T> Carrier<T> {
    pub(super) fn new(
        connection: Rc<Connection>,
        http_loop: Rc<HttpLoop>,
        pool: Rc<Pool<T>>,
    ) -> Self {
        let site = http_loop.site();
        let settings = &level_of(&site, &connection).settings;
        let fields_bytes_max = settings.client.head_limits().head_bytes_max;
        let own = &settings.http2;
        let config = Config {
            streams_max: own.streams_max,
            window_bytes: own.preread_bytes,
            fields_bytes_max,
            block_bytes_max: fields_bytes_max.saturating_mul(BLOCK_FACTOR),
        };
        Self {
            connection,
            http_loop,
            pool,
            machine: RefCell::new(Machine::server(config)),
            heads: RefCell::default(),
            leaving: RefCell::default(),
            waker: RefCell::new(None),
            is_woken: Cell::new(false),
        }
    }

    /// A stream has something to send, or takes more.
    pub(super) fn wake(&self) {
        if !self.is_woken.replace(true)
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    /// Whether a stream has called since this was asked last.
    pub(super) fn take_woken(&self) -> bool {
        self.is_woken.take()
    }

    /// Who is woken.
    pub(super) fn note_waiting(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|known| known.will_wake(cx.waker()))
        {
            *waker = Some(cx.waker().clone());
        }
    }

    /// Ends a stream before its time; nobody waits for it any more.
    pub(super) fn reset(&self, id: u32, code: ErrorCode) {
        // It may be the last to hold on to it, so that it is dropped behind the borrow.
        let stream = self.machine.borrow_mut().reset(id, code);
        drop(stream);
        self.wake();
    }

    /// Writes a line about the connection to its server's error log.
    pub(super) fn log(&self, level: Level, message: std::fmt::Arguments<'_>) {
        let mut client = Vec::new();
        self.connection.append_peer(&mut client);
        let client = String::from_utf8_lossy(&client);
        let address = self.connection.listener().address();
        let site = self.http_loop.site();
        let settings = &level_of(&site, &self.connection).settings;
        site.logs.connection(
            &settings.error_log.targets,
            level,
            self.connection.number,
            format_args!(
                "{message} while processing HTTP/2 connection, client: {client}, server: {address}"
            ),
        );
    }

    /// What a client did that ends its connection is worth a line; one that floods us, to everybody.
    pub(super) fn log_error(&self, error: &ConnectionError) {
        let level = match error.is_flood() {
            true => Level::Warn,
            false => Level::Info,
        };
        self.log(level, format_args!("client {error}"));
    }
}
