//! What an operator says of a server of a group: `upstream NAME server ADDRESS down`.

pub(super) use revolve_server::Order as Change;
use revolve_server::upstreams::UpstreamOrder;

/// The words that stand behind the server.
pub(super) const EXPECTED: &str =
    "expected upstream NAME server ADDRESS down, up, drain or weight N";

/// One order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(super) group: String,
    pub(super) server: String,
    pub(super) change: Change,
}

impl Order {
    /// The order that words give, behind `upstream`.
    pub(super) fn parse(words: &[&str]) -> Result<Order, String> {
        let [group, "server", server, change @ ..] = words else {
            return Err(EXPECTED.into());
        };
        let change = match change {
            ["up"] => Change::Up,
            ["down"] => Change::Down,
            ["drain"] => Change::Drain,
            ["weight", weight] => {
                let weight = weight.parse().ok().filter(|weight| *weight > 0);
                Change::Weight(weight.ok_or("invalid weight, expected a number from 1")?)
            }
            _ => return Err(EXPECTED.into()),
        };
        Ok(Order {
            group: (*group).to_owned(),
            server: (*server).to_owned(),
            change,
        })
    }

    /// The line that gives it.
    pub(super) fn line(&self) -> String {
        let change = match self.change {
            Change::Up => "up".into(),
            Change::Down => "down".into(),
            Change::Drain => "drain".into(),
            Change::Weight(weight) => format!("weight {weight}"),
        };
        format!("upstream {} server {} {change}", self.group, self.server)
    }

    /// As the server takes it.
    pub(super) fn for_server(self) -> UpstreamOrder {
        UpstreamOrder {
            group: self.group,
            server: self.server,
            change: self.change,
        }
    }
}
