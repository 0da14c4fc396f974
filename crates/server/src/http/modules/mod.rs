//! The modules: one file each, and the one list that names them all.
//!
//! A module holds, in this order: an example of its configuration, its directives, its merged
//! settings, its variables, its handler or filter, its tests.

pub mod access_log;
pub mod client;
pub mod core;
pub mod core_variables;
pub mod error_log;
pub mod error_page;
pub mod file_cache;
pub mod headers;
pub mod index;
pub mod keepalive;
pub mod limit_conn;
pub mod limit_req;
pub mod limits;
pub mod listen;
pub mod location;
pub mod log_format;
pub mod not_modified;
pub mod output;
pub mod range;
pub mod rewrite;
pub mod server;
pub mod server_name;
pub mod static_files;
pub mod stub_status;
pub mod try_files;
pub mod types;

use crate::config::setting::compose;
use crate::http::phase::{Handler, Phase, Steps};
use crate::http::scope::DirectiveRow;
use crate::http::variables::Builtin;

compose! {
    /// What all modules were told at one level.
    pub struct Settings / RawSettings {
        /// Where content lies.
        core: core::CoreSettings => core::RawCore,
        /// What clients may send.
        client: client::ClientSettings => client::RawClient,
        /// How long connections live.
        keepalive: keepalive::KeepaliveSettings => keepalive::RawKeepalive,
        /// How responses go out.
        output: output::OutputSettings => output::RawOutput,
        /// Media types.
        types: types::TypeSettings => types::RawTypes,
        /// The file cache.
        file_cache: file_cache::FileCacheSettings => file_cache::RawFileCache,
        /// `return`.
        rewrite: rewrite::RewriteSettings => rewrite::RawRewrite,
        /// `try_files`.
        try_files: try_files::TryFilesSettings => try_files::RawTryFiles,
        /// `index`.
        index: index::IndexSettings => index::RawIndex,
        /// `error_page`.
        error_page: error_page::ErrorPageSettings => error_page::RawErrorPage,
        /// `limit_req`.
        limit_req: limit_req::LimitReqSettings => limit_req::RawLimitReq,
        /// `limit_req_status` and its like.
        limit_req_refusals: limits::RefusalSettings => limits::RawRefusals,
        /// `limit_conn`.
        limit_conn: limit_conn::LimitConnSettings => limit_conn::RawLimitConn,
        /// `limit_conn_status` and its like.
        limit_conn_refusals: limits::RefusalSettings => limits::RawRefusals,
        /// `stub_status`.
        stub_status: stub_status::StubStatusSettings => stub_status::RawStubStatus,
        /// Validators.
        not_modified: not_modified::NotModifiedSettings => not_modified::RawNotModified,
        /// `add_header` and `expires`.
        headers: headers::HeaderSettings => headers::RawHeaders,
        /// Byte ranges.
        range: range::RangeSettings => range::RawRange,
        /// Access logs.
        access_log: access_log::AccessLogSettings => access_log::RawAccessLog,
        /// Error logs.
        error_log: error_log::ErrorLogSettings => error_log::RawErrorLog,
    }
}

const TABLES: &[&[DirectiveRow]] = &[
    server::DIRECTIVES,
    location::DIRECTIVES,
    listen::DIRECTIVES,
    server_name::DIRECTIVES,
    core::DIRECTIVES,
    client::DIRECTIVES,
    keepalive::DIRECTIVES,
    output::DIRECTIVES,
    types::DIRECTIVES,
    file_cache::DIRECTIVES,
    rewrite::DIRECTIVES,
    try_files::DIRECTIVES,
    index::DIRECTIVES,
    error_page::DIRECTIVES,
    limit_req::DIRECTIVES,
    limit_conn::DIRECTIVES,
    stub_status::DIRECTIVES,
    not_modified::DIRECTIVES,
    headers::DIRECTIVES,
    range::DIRECTIVES,
    log_format::DIRECTIVES,
    access_log::DIRECTIVES,
    error_log::DIRECTIVES,
];

const VARIABLES: &[&[Builtin]] = &[
    core_variables::VARIABLES,
    limit_req::VARIABLES,
    limit_conn::VARIABLES,
    stub_status::VARIABLES,
];

/// Every directive of every module.
pub(crate) fn rows() -> impl Iterator<Item = &'static DirectiveRow> {
    TABLES.iter().flat_map(|table| table.iter())
}

/// Every variable of every module.
pub(crate) fn variables() -> impl Iterator<Item = &'static Builtin> {
    VARIABLES.iter().flat_map(|table| table.iter())
}

/// The names of the variables that there are without a configuration, without their `$`; those
/// made of the name of a header, an argument or a cookie (`$http_name`) are not among them.
pub fn variable_names() -> impl Iterator<Item = &'static str> {
    variables().map(|variable| variable.name)
}

/// Whether a module has anything to do at a level.
type Applies = fn(&Settings) -> bool;

const ALWAYS: Applies = |_| true;

/// Who is asked in which phase, in this order.
const HANDLERS: &[(Phase, Applies, Handler)] = &[
    (Phase::ServerRewrite, rewrite::applies, rewrite::handle),
    (Phase::FindLocation, |it| it.core.internal, core::internal),
    (Phase::FindLocation, client::limits_body, client::body_size),
    (Phase::Rewrite, rewrite::applies, rewrite::handle),
    (Phase::PreAccess, limit_req::applies, limit_req::handle),
    (Phase::PreAccess, limit_conn::applies, limit_conn::handle),
    (Phase::PreContent, try_files::applies, try_files::handle),
    (Phase::Content, stub_status::applies, stub_status::handle),
    (Phase::Content, ALWAYS, index::handle),
    (Phase::Content, ALWAYS, static_files::handle),
];

/// The header filters, in the order in which a response passes them.
const HEADER_FILTERS: &[(Applies, Handler)] = &[
    (ALWAYS, not_modified::filter),
    (headers::applies, headers::filter),
    (ALWAYS, range::filter),
];

/// Those of the handlers that have anything to do at a level.
pub(crate) fn steps(settings: &Settings) -> Steps {
    let applying = HANDLERS.iter().filter(|(_, applies, _)| applies(settings));
    Steps::new(applying.map(|&(phase, _, handler)| (phase, handler)))
}

/// Those of the header filters that have anything to do at a level.
pub(crate) fn header_filters(settings: &Settings) -> Box<[Handler]> {
    let applying = HEADER_FILTERS
        .iter()
        .filter(|(applies, _)| applies(settings));
    applying.map(|&(_, filter)| filter).collect()
}

/// The modules by the names that nginx gives them, for `-V`.
pub const NAMES: &[&str] = &[
    "http_core_module",
    "http_index_module",
    "http_limit_conn_module",
    "http_limit_req_module",
    "http_log_module",
    "http_rewrite_module",
    "http_static_module",
    "http_stub_status_module",
    "http_try_files_module",
    "http_headers_filter_module",
    "http_not_modified_filter_module",
    "http_range_filter_module",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_directive_is_in_two_tables_for_one_context() {
        let rows: Vec<_> = rows().collect();
        for (index, row) in rows.iter().enumerate() {
            for other in &rows[index + 1..] {
                assert!(
                    row.name != other.name || row.contexts & other.contexts == 0,
                    "{}",
                    row.name
                );
            }
        }
    }

    #[test]
    fn handlers_stand_in_the_order_of_the_phases() {
        assert!(HANDLERS.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    }
}
