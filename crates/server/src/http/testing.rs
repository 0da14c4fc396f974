//! A site in memory, for tests of what a request goes through: no socket is read and nothing is sent.

use std::any::Any;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use revolve_conf::{Snapshot, SnapshotFiles};
use revolve_http::h1::{HeadLimits, Progress};
use revolve_reactor::{Address, EventLoop, Lease, Stream};

use crate::Config;
use crate::config::Prefix;
use crate::http::HttpLoop;
use crate::http::h1;
use crate::http::request::Request;
use crate::http::serve::{self, Served};
use crate::http::sink::Sink;
use crate::log::OpenLogs;
use crate::runtime::capacity::Capacity;
use crate::runtime::connection::{Connection, ListenerInfo};
use crate::runtime::loop_state::{Applications, Installed, LoopState, Offered};
use crate::zones::{LoopCounts, Seat, Zones};

/// Serves nothing by itself: the test walks its requests.
struct NoApplications;

impl Applications for NoApplications {
    fn configure(&self, _: &Rc<Installed>) {}

    fn speaks_tls(&self, _: &Connection) -> bool {
        false
    }

    fn serve(&self, _: Rc<Connection>, _: Option<Lease>) {}
}

/// The inside of a `server` block, as a site. One a thread, as there is one loop.
pub(crate) struct TestSite {
    event_loop: EventLoop,
    state: Rc<LoopState>,
    http_loop: Rc<HttpLoop>,
}

impl TestSite {
    pub(crate) fn new(server: &str) -> Self {
        let text = format!("events {{}} http {{ server {{ listen unix:/nowhere; {server} }} }}");
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
        let config = config.unwrap_or_else(|| {
            panic!("{}", diagnostics.render(&sources, "test", false));
        });
        let event_loop = EventLoop::new().unwrap();
        let state = start(&config);
        let http_loop = Rc::new(HttpLoop::default());
        http_loop.configure(config.http.as_ref().unwrap(), &state.installed());
        Self {
            event_loop,
            state,
            http_loop,
        }
    }

    /// What a request is answered with: its status, and its body from the next line on.
    pub(crate) fn ask(&mut self, head: &str) -> (String, Served) {
        let (ours, _theirs) = Stream::pair().unwrap();
        let info = Rc::new(ListenerInfo::new(Address::Unix("/nowhere".into())));
        let peer = Address::UNNAMED;
        let connection = Rc::new(Connection::new(ours.into(), peer, info, self.state.clone()));
        let mut request = Box::new(Request::new(connection, self.http_loop.clone()));
        let head = format!("{head}\r\nHost: x\r\n\r\n");
        let (parser, shared) = request.head_mut();
        shared.bytes.extend_from_slice(head.as_bytes());
        let limits = HeadLimits::default();
        let progress = parser.parse(&mut shared.head, head.as_bytes(), &limits);
        assert!(
            matches!(progress, Ok(Progress::Complete { .. })),
            "{head:?}"
        );
        h1::take_head(&mut request);
        let mut answer = Vec::new();
        let served = self
            .event_loop
            .block_on(async { serve::serve(&mut request, &mut Sink::Memory(&mut answer)).await });
        (String::from_utf8(answer).unwrap(), served)
    }
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
    let none = || -> Box<dyn Applications> { Box::new(NoApplications) };
    LoopState::start(&offered, none, None, capacity, counts)
}
