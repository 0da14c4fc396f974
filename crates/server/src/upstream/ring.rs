//! A ring of points, by which keys find their peers: the same as nginx's, and as Cache::Memcached::Fast's.

/// Points of a server for each unit of its weight.
const POINTS: u32 = 160;

/// The points in their order, each with its server.
pub(super) struct Ring {
    points: Vec<(u32, usize)>,
    servers: Vec<String>,
}

impl Ring {
    /// Of servers as they were written, with their weights.
    ///
    /// Source: nginx's `ngx_http_upstream_update_chash`.
    pub(super) fn new(servers: impl Iterator<Item = (String, u32)>) -> Self {
        let mut points = Vec::new();
        let mut names = Vec::new();
        for (name, weight) in servers {
            let (host, port) = split(&name);
            let mut base = crc32fast::Hasher::new();
            base.update(host.as_bytes());
            base.update(b"\0");
            base.update(port.as_bytes());
            let mut before = 0_u32;
            for _ in 0..weight.saturating_mul(POINTS) {
                let mut hasher = base.clone();
                hasher.update(&before.to_le_bytes());
                before = hasher.finalize();
                points.push((before, names.len()));
            }
            names.push(name);
        }
        points.sort_by_key(|(hash, _)| *hash);
        points.dedup_by_key(|(hash, _)| *hash);
        Self {
            points,
            servers: names,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    /// The place of the first point that is not before a hash.
    pub(super) fn at(&self, hash: u32) -> usize {
        self.points.partition_point(|(point, _)| *point < hash)
    }

    /// The server of a point; behind the last comes the first.
    pub(super) fn server(&self, at: usize) -> &str {
        &self.servers[self.points[at % self.points.len()].1]
    }
}

/// Host and port; what is no port belongs to the host.
fn split(name: &str) -> (&str, &str) {
    if let Some(path) = name.strip_prefix("unix:") {
        return (path, "");
    }
    match name.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port),
        _ => (name, ""),
    }
}
