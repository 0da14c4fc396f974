//! The ways to choose among the peers of a group.

/// How a group chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Balance {
    /// In turn, smoothly by weight.
    RoundRobin,
    /// Who has the fewest connections for its weight (`least_conn`).
    LeastConnections,
    /// Who has answered fastest (`least_time`).
    LeastTime(Time),
    /// By the client's address (`ip_hash`).
    IpHash,
    /// By a key (`hash`).
    Hash,
    /// By a key, so that few go elsewhere where peers come and go (`hash … consistent`).
    Consistent,
    /// By chance (`random`), or the better one of two by chance.
    Random(Option<Better>),
}

/// What times are compared by `least_time`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time {
    /// Those to the head, or to the end.
    pub(crate) of_heads: bool,
    /// `inflight`: requests under way count.
    pub(crate) inflight: bool,
}

/// Which one of two is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    Connections,
    Time(Time),
}

impl Balance {
    /// Whether it chooses by a key.
    pub(crate) fn has_key(self) -> bool {
        matches!(self, Balance::IpHash | Balance::Hash | Balance::Consistent)
    }

    /// Whether it chooses by how long answers take.
    pub(crate) fn compares_times(self) -> bool {
        matches!(
            self,
            Balance::LeastTime(_) | Balance::Random(Some(Better::Time(_)))
        )
    }
}

/// The peers that were asked for one request already.
#[derive(Debug, Default)]
pub(crate) struct Tried(Vec<usize>);

impl Tried {
    pub(super) fn note(&mut self, place: usize) {
        self.0.push(place);
    }

    /// How many were asked.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn has(&self, place: usize) -> bool {
        self.0.contains(&place)
    }
}
