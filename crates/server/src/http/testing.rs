//! A site in memory, for tests of what a request goes through: no socket is read and nothing is sent.

use std::any::Any;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

#[cfg(test)]
use bytes::Bytes;
use revolve_conf::{Directive, Snapshot, SnapshotFiles};
use revolve_http::h1::{HeadLimits, Progress};
use revolve_reactor::{Address, EventLoop, Lease, Stream};

use crate::Config;
use crate::config::Prefix;
use crate::http::HttpLoop;
use crate::http::body::{Broken, Piece};
use crate::http::filter::{BodyFilter, Chain};
use crate::http::h1;
use crate::http::h2;
use crate::http::request::Request;
use crate::http::serve::{self, Served};
use crate::http::sink::Sink;
use crate::log::OpenLogs;
use crate::net::SocketId;
use crate::runtime::capacity::Capacity;
use crate::runtime::connection::{Connection, ListenerInfo};
use crate::runtime::loop_state::{Applications, Installed, LoopState, Offered};
use crate::upstream::report::{UpstreamOrder, UpstreamReport};
use crate::zones::{LoopCounts, Seat, Zones};

/// Serves connections that a test hands to the loop; other tests walk their requests themselves.
struct Connections {
    http_loop: Rc<HttpLoop>,
    serve: h1::Serve,
}

impl Connections {
    fn boxed() -> Box<dyn Applications> {
        let http_loop = Rc::new(HttpLoop::default());
        let serve = h1::serve(http_loop.clone(), h2::serve(http_loop.clone()));
        Box::new(Self { http_loop, serve })
    }
}

impl Applications for Connections {
    fn configure(&self, installed: &Rc<Installed>) {
        let config = Arc::clone(&installed.whole).downcast::<Config>().unwrap();
        self.http_loop
            .configure(config.http.as_ref().unwrap(), installed);
    }

    fn serve(&self, connection: Rc<Connection>, lease: Option<Lease>) {
        (self.serve)(connection, lease);
    }

    fn upstreams(&self, _: Option<&UpstreamOrder>) -> Vec<UpstreamReport> {
        Vec::new()
    }

    fn speaks_tls(&self, _: &Connection) -> bool {
        false
    }
}

/// The inside of a `server` block, as a site. One a thread, as there is one loop.
pub(crate) struct TestSite {
    /// Away while something runs on it.
    event_loop: Option<EventLoop>,
    state: Rc<LoopState>,
    http_loop: Rc<HttpLoop>,
}

impl TestSite {
    #[cfg(test)]
    pub(crate) fn new(server: &str) -> Self {
        Self::new_with("", server)
    }

    /// Errors: what is wrong with the configuration.
    pub(crate) fn try_new(server: &str) -> Result<Self, String> {
        Self::try_new_with("", server)
    }

    /// The same with more lines in the `http` block.
    ///
    /// Errors: as of [`TestSite::try_new`].
    pub(crate) fn try_new_with(http: &str, server: &str) -> Result<Self, String> {
        Ok(Self::on(
            EventLoop::new().unwrap(),
            &try_load(http, server)?,
        ))
    }

    /// The same with more lines in the `http` block.
    #[cfg(test)]
    pub(crate) fn new_with(http: &str, server: &str) -> Self {
        Self::on(EventLoop::new().unwrap(), &load(http, server))
    }

    /// A site of this configuration on this loop.
    pub(crate) fn on(event_loop: EventLoop, config: &Arc<Config>) -> Self {
        let state = start(config);
        let http_loop = Rc::new(HttpLoop::default());
        http_loop.configure(config.http.as_ref().unwrap(), &state.installed());
        Self {
            event_loop: Some(event_loop),
            state,
            http_loop,
        }
    }

    /// Serves a connection that came in.
    pub(crate) fn admit(&self, fd: OwnedFd, peer: Address) {
        let info = Rc::new(ListenerInfo::new(SocketId::stream(Address::Unix(
            "/nowhere".into(),
        ))));
        self.state.admit(fd, peer, &info, None);
    }

    /// How many connections are open.
    pub(crate) fn connection_count(&self) -> usize {
        self.state.connection_count()
    }

    /// How many connections to servers behind it are in use.
    #[cfg(test)]
    pub(crate) fn upstream_connections(&self) -> u64 {
        let groups = self.http_loop.groups();
        let peers = groups.iter().flat_map(|group| &group.peers);
        peers.map(|peer| peer.connections()).sum()
    }

    /// Runs something on the site's loop.
    pub(crate) fn block_on(&mut self, run: impl AsyncFnOnce(&TestSite)) {
        let event_loop = self.event_loop.take();
        let mut event_loop = event_loop.expect("one thing runs at a time");
        event_loop.block_on(run(self));
        self.event_loop = Some(event_loop);
    }

    /// What a request is answered with: its status, and its body from the next line on.
    #[cfg(test)]
    pub(crate) fn ask(&mut self, head: &str) -> (String, Served) {
        let answered = self.try_ask(head);
        let (answer, served) = answered.unwrap_or_else(|| panic!("{head:?} is no head"));
        (String::from_utf8(answer).unwrap(), served)
    }

    /// The same; `None` where the head is not sound.
    pub(crate) fn try_ask(&mut self, head: &str) -> Option<(Vec<u8>, Served)> {
        let mut request = self.try_request(head)?;
        let mut answer = Vec::new();
        let event_loop = self.event_loop.as_mut().expect("nothing else runs");
        let served = event_loop
            .block_on(async { serve::serve(&mut request, &mut Sink::Memory(&mut answer)).await });
        Some((answer, served))
    }

    /// The same in bytes, and the request as it is then: its response has the head alone.
    #[cfg(test)]
    pub(crate) fn exchange(&mut self, head: &str) -> (Vec<u8>, Served, Box<Request>) {
        let mut request = self.request(head);
        let mut answer = Vec::new();
        let event_loop = self.event_loop.as_mut().expect("nothing else runs");
        let served = event_loop
            .block_on(async { serve::serve(&mut request, &mut Sink::Memory(&mut answer)).await });
        (answer, served, request)
    }

    /// A request of which the head has been read, on a connection of its own.
    pub(crate) fn request(&self, head: &str) -> Box<Request> {
        self.try_request(head)
            .unwrap_or_else(|| panic!("{head:?} is no head"))
    }

    fn try_request(&self, head: &str) -> Option<Box<Request>> {
        let (ours, _theirs) = Stream::pair().unwrap();
        let info = Rc::new(ListenerInfo::new(SocketId::stream(Address::Unix(
            "/nowhere".into(),
        ))));
        let peer = Address::UNNAMED;
        let connection = Rc::new(Connection::new(ours.into(), peer, info, self.state.clone()));
        let mut request = Box::new(Request::new(connection, self.http_loop.clone()));
        let head = format!("{head}\r\nHost: x\r\n\r\n");
        let (parser, shared) = request.head_mut();
        shared.bytes.extend_from_slice(head.as_bytes());
        let limits = HeadLimits::default();
        let progress = parser.parse(&mut shared.head, head.as_bytes(), &limits);
        let Ok(Progress::Complete { .. }) = progress else {
            return None;
        };
        h1::take_head(&mut request);
        Some(request)
    }
}

/// A configuration with more lines in the `http` block and the inside of a `server` block.
#[cfg(test)]
pub(crate) fn load(http: &str, server: &str) -> Arc<Config> {
    try_load(http, server).unwrap_or_else(|shown| panic!("{shown}"))
}

fn try_load(http: &str, server: &str) -> Result<Arc<Config>, String> {
    let text = format!("events {{}} http {{ {http} server {{ listen unix:/nowhere; {server} }} }}");
    let mut snapshot = Snapshot::default();
    snapshot.insert_file("/x.conf", text.into_bytes());
    let prefix = Prefix {
        prefix: "/".into(),
        error_log: "stderr".into(),
        access_log: None,
    };
    let mut files = SnapshotFiles::new(snapshot);
    let (config, sources, diagnostics) =
        crate::load(Path::new("/x.conf"), &prefix, None, &mut files);
    config.ok_or_else(|| diagnostics.render(&sources, "test", false))
}

/// What a script may be made of that waits for nobody and writes nothing.
const SCRIPT_DIRECTIVES: [&str; 13] = [
    "rewrite",
    "if",
    "set",
    "break",
    "return",
    "location",
    "error_page",
    "try_files",
    "internal",
    "add_header",
    "expires",
    "rewrite_log",
    "uninitialized_variable_warn",
];

/// Any bytes as the inside of a `server` up to an empty line, and as targets in the lines behind it: who
/// asks is answered, or the connection is closed.
#[cfg_attr(test, allow(unreachable_pub, reason = "a fuzz target calls it"))]
pub fn check_script(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (server, targets) = text.split_once("\n\n").unwrap_or((text, "/"));
    let (server, targets) = (server.to_owned(), targets.to_owned());
    // One server a thread.
    let checked = std::thread::spawn(move || answer_script(&server, &targets)).join();
    checked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn answer_script(server: &str, targets: &str) {
    let mut snapshot = Snapshot::default();
    snapshot.insert_file("/x", server.into());
    let mut files = SnapshotFiles::new(snapshot);
    let (document, _) = revolve_conf::parse(Path::new("/x"), None, &mut files);
    if !document.directives.iter().all(is_script) {
        return;
    }
    let Ok(mut site) = TestSite::try_new(server) else {
        return;
    };
    for target in targets.lines().take(8) {
        let Some((answer, served)) = site.try_ask(&format!("GET {target} HTTP/1.1")) else {
            continue;
        };
        match served {
            Served::Answered => assert_eq!(answer.get(3), Some(&b'\n'), "{target}"),
            Served::Close => assert!(answer.is_empty(), "{target}"),
            other => panic!("{other:?} of {target}"),
        }
    }
}

fn is_script(directive: &Directive) -> bool {
    let is_known = SCRIPT_DIRECTIVES.contains(&directive.name.text.as_str());
    // Whoever is slow is waited for.
    let is_fast = directive.args.iter().all(|word| word.text != "$limit_rate");
    let within = directive.block.as_deref().unwrap_or_default();
    is_known && is_fast && within.iter().all(is_script)
}

/// A body in pieces, and whether nothing more is there for now behind each.
#[cfg(test)]
pub(crate) type Fragments<'a> = Vec<(&'a [u8], bool)>;

/// What a filter makes of a body.
#[cfg(test)]
pub(crate) fn filtered(
    filter: impl BodyFilter + 'static,
    fragments: &[(&[u8], bool)],
) -> Result<Vec<u8>, Broken> {
    let mut chain = Chain::new(vec![Box::new(filter)]);
    let mut out = Vec::new();
    let mut take = |chain: &mut Chain| {
        while let Some(piece) = chain.pop()? {
            match piece {
                Piece::Bytes(bytes) if !bytes.is_empty() => out.extend_from_slice(&bytes),
                other => panic!("{other:?}"),
            }
        }
        Ok(())
    };
    for (bytes, is_last_for_now) in fragments {
        chain.push(Bytes::copy_from_slice(bytes));
        take(&mut chain)?;
        if *is_last_for_now {
            chain.flush();
            take(&mut chain)?;
        }
    }
    chain.end();
    take(&mut chain)?;
    assert!(chain.has_ended());
    Ok(out)
}

/// Cuts a body at these places, which are taken by its length.
#[cfg(test)]
pub(crate) fn fragments<'a>(mut body: &'a [u8], cuts: &[(usize, bool)]) -> Fragments<'a> {
    let mut fragments = Vec::new();
    for (len, flush) in cuts {
        let (first, rest) = body.split_at((*len).min(body.len()));
        fragments.push((first, *flush));
        body = rest;
    }
    fragments.push((body, false));
    fragments
}

fn start(config: &Arc<Config>) -> Rc<LoopState> {
    let zones = Arc::new(Zones::open(config.zones(), Vec::new()).unwrap());
    let counts = LoopCounts::take(&zones).unwrap();
    let whole: Arc<dyn Any + Send + Sync> = config.clone();
    let offered = Offered {
        base: config.base.clone(),
        whole,
        logs: OpenLogs::from_descriptors(Vec::new()),
        seat: Arc::new(Seat::take(&zones).unwrap()),
        zones,
    };
    let capacity = Capacity::new(Arc::new(AtomicBool::new(false)), revolve_reactor::current());
    LoopState::start(&offered, Connections::boxed, None, capacity, counts)
}

/// What fuzzing has found of one target.
#[cfg(test)]
pub(crate) fn corpus(target: &str) -> Vec<Vec<u8>> {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let entries = std::fs::read_dir(corpora.join(target)).unwrap();
    entries
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What fuzzing has found, so that `cargo test` alone keeps it found.
    #[test]
    fn scripts_of_the_corpus_are_answered() {
        let corpus = corpus("script");
        assert!(corpus.len() > 5);
        corpus.iter().for_each(|data| check_script(data));
    }
}
