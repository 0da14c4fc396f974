//! Where we differ from nginx, and mean to.

use super::request::{Case, raw};

/// One difference.
pub(super) struct Known {
    /// The bytes of the request.
    pub(super) case: Case,
    /// How our answer begins instead.
    pub(super) ours: &'static str,
    /// Why.
    pub(super) why: &'static str,
}

const BAD_REQUEST: &str = "HTTP/1.1 400 Bad Request\r\n";

/// All of them.
pub(super) fn table() -> Vec<Known> {
    let mut table = Vec::new();
    let mut add = |case: Case, ours, why| table.push(Known { case, ours, why });
    let _ = &mut add;
    table
}
