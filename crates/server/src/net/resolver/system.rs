//! What the machine says of names: `/etc/resolv.conf` and `/etc/hosts`.
//!
//! Both are read again when they have changed, which is asked once a second at most.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

const PORT: u16 = 53;
/// How often the files are asked whether they have changed.
const LOOK_EACH: Duration = Duration::from_secs(1);
/// What resolv.conf(5) allows at most.
const NDOTS_MAX: usize = 15;
const TIMEOUT_S_MAX: u64 = 30;
const SERVERS_MAX: usize = 3;
/// Longer files are read so far.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What `/etc/resolv.conf` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResolvConf {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) search: Vec<String>,
    /// A name with fewer dots is looked for below the `search` domains first.
    pub(super) ndots: usize,
    /// How long a server is waited for at first.
    pub(super) timeout: Duration,
    pub(super) rotate: bool,
}

impl ResolvConf {
    fn parse(text: &str) -> Self {
        let mut conf = Self {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            rotate: false,
        };
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address: Option<IpAddr> = words.next().and_then(|word| word.parse().ok());
                    let room = conf.servers.len() < SERVERS_MAX;
                    let server = address.filter(|_| room).map(|ip| SocketAddr::new(ip, PORT));
                    conf.servers.extend(server);
                }
                Some("search") => conf.search = words.map(str::to_owned).collect(),
                Some("domain") => conf.search = words.take(1).map(str::to_owned).collect(),
                Some("options") => words.for_each(|word| conf.option(word)),
                _ => {}
            }
        }
        if conf.servers.is_empty() {
            conf.servers.push((Ipv4Addr::LOCALHOST, PORT).into());
        }
        conf
    }

    fn option(&mut self, word: &str) {
        if let Some(dots) = word
            .strip_prefix("ndots:")
            .and_then(|it| it.parse::<usize>().ok())
        {
            self.ndots = dots.min(NDOTS_MAX);
        } else if let Some(seconds) = word.strip_prefix("timeout:").and_then(|it| it.parse().ok()) {
            self.timeout = Duration::from_secs(TIMEOUT_S_MAX.min(seconds).max(1));
        } else if word == "rotate" {
            self.rotate = true;
        }
    }

    /// The names to be tried for one, in order (resolv.conf(5)).
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let mut names: Vec<String> = Vec::with_capacity(self.search.len() + 1);
        let below = self
            .search
            .iter()
            .map(|domain| format!("{name}.{}", domain.trim_matches('.')));
        names.extend(below);
        let dots = name.bytes().filter(|byte| *byte == b'.').count();
        let at = if dots >= self.ndots { 0 } else { names.len() };
        names.insert(at, name.to_owned());
        names
    }
}

/// What `/etc/hosts` says: the addresses of each name, in lower case.
type Hosts = HashMap<String, Vec<IpAddr>>;

fn parse_hosts(text: &str) -> Hosts {
    let mut hosts = Hosts::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else {
            continue;
        };
        for name in words {
            let addresses = hosts.entry(name.to_ascii_lowercase()).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    hosts
}

/// By what a file that was changed is known.
#[derive(PartialEq, Eq)]
struct Stamp(u64, u64, i64, i64);

impl Stamp {
    fn of(data: &Metadata) -> Self {
        Self(data.ino(), data.size(), data.mtime(), data.mtime_nsec())
    }
}

/// A file that is read again when it has changed.
struct Watched<T> {
    path: PathBuf,
    stamp: Option<Stamp>,
    content: Rc<T>,
    parse: fn(&str) -> T,
}

impl<T> Watched<T> {
    fn new(path: PathBuf, parse: fn(&str) -> T) -> Self {
        let content = Rc::new(parse(""));
        let mut file = Self {
            path,
            stamp: None,
            content,
            parse,
        };
        file.look();
        file
    }

    fn look(&mut self) {
        use std::io::Read;
        let stamp = fs::metadata(&self.path).ok().map(|data| Stamp::of(&data));
        if stamp == self.stamp {
            return;
        }
        let mut bytes = Vec::new();
        let read = fs::File::open(&self.path)
            .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
        if read.is_ok() || stamp.is_none() {
            self.content = Rc::new((self.parse)(&String::from_utf8_lossy(&bytes)));
        }
        self.stamp = stamp;
    }
}

struct Files {
    looked_at: Instant,
    conf: Watched<ResolvConf>,
    hosts: Watched<Hosts>,
}

/// The machine's files, as they are now.
pub(super) struct System {
    files: RefCell<Files>,
}

impl System {
    pub(super) fn new(resolv_conf: PathBuf, hosts: PathBuf) -> Self {
        let files = Files {
            looked_at: revolve_reactor::now(),
            conf: Watched::new(resolv_conf, ResolvConf::parse),
            hosts: Watched::new(hosts, parse_hosts),
        };
        Self {
            files: RefCell::new(files),
        }
    }

    fn look(&self) {
        let files = &mut *self.files.borrow_mut();
        let now = revolve_reactor::now();
        if now.saturating_duration_since(files.looked_at) >= LOOK_EACH {
            files.looked_at = now;
            files.conf.look();
            files.hosts.look();
        }
    }

    /// What `/etc/resolv.conf` says.
    pub(super) fn conf(&self) -> Rc<ResolvConf> {
        self.look();
        self.files.borrow().conf.content.clone()
    }

    /// The addresses that `/etc/hosts` has of a name; `localhost` is known without it (RFC 6761, 6.3).
    pub(super) fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        self.look();
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let hosts = self.files.borrow().hosts.content.clone();
        if let Some(addresses) = hosts.get(&name) {
            return Some(addresses.clone());
        }
        let is_local = name == "localhost" || name.ends_with(".localhost");
        is_local.then(|| vec![Ipv4Addr::LOCALHOST.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_read_as_its_manual_says() {
        let conf = ResolvConf::parse(
            "# a comment\nnameserver 10.0.0.1\nnameserver ::1\nnameserver nobody\n\
             domain a.example\nsearch b.example c.example.\noptions ndots:2 timeout:99 rotate x\n",
        );
        let servers: Vec<String> = conf.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.1:53", "[::1]:53"]);
        assert_eq!((conf.ndots, conf.rotate), (2, true));
        assert_eq!(conf.timeout, Duration::from_secs(30));
        assert_eq!(
            conf.candidates("x.y"),
            ["x.y.b.example", "x.y.c.example", "x.y"]
        );
        assert_eq!(
            conf.candidates("x.y.z"),
            ["x.y.z", "x.y.z.b.example", "x.y.z.c.example"]
        );
        assert_eq!(conf.candidates("x."), ["x."]);
        let empty = ResolvConf::parse("");
        assert_eq!(empty.servers, ["127.0.0.1:53".parse().unwrap()]);
    }

    #[test]
    fn hosts_have_several_names_and_addresses() {
        let hosts = parse_hosts("127.0.0.1 one Two # three\n::1 one\nnonsense four\n");
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(hosts["one"], [address("127.0.0.1"), address("::1")]);
        assert_eq!(hosts["two"], [address("127.0.0.1")]);
        assert_eq!(hosts.len(), 2);
    }
}
