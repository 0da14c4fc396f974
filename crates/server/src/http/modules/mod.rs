//! The modules: one file each, and the one list that names them all.
//!
//! A module holds, in this order: an example of its configuration, its constant `Module`, its
//! directives, its settings, its variables, its handler or filter, its tests.

use crate::config::setting::compose;
use crate::http::phase::{Handler, Phase, Steps};
use crate::http::scope::DirectiveRow;
use crate::http::variables::Builtin;

/// Whether a module has anything to do at a level.
pub(crate) type Applies = fn(&Settings) -> bool;

/// It has at each.
pub(crate) const ALWAYS: Applies = |_| true;

/// What a module brings to the server.
pub(crate) struct Module {
    /// The module of nginx's that has its directives, for `-V`; empty where that has more.
    pub(crate) name: &'static str,
    pub(crate) directives: &'static [DirectiveRow],
    pub(crate) variables: &'static [Builtin],
    /// Who is asked in which phase; of one phase in the order of the list of modules.
    pub(crate) handlers: &'static [(Phase, Applies, Handler)],
    /// What a response's head passes, in the order of the list of modules.
    pub(crate) header_filters: &'static [(Applies, Handler)],
}

impl Module {
    /// One that brings nothing.
    pub(crate) const EMPTY: Module = Module {
        name: "",
        directives: &[],
        variables: &[],
        handlers: &[],
        header_filters: &[],
    };
}

/// What a module keeps of a request while that is under way.
pub(crate) trait RequestState: Default {
    /// Forgets the request before. Memory may be kept.
    fn reset(&mut self) {
        *self = Self::default();
    }

    /// What a subrequest begins with.
    fn for_subrequest(&self) -> Self {
        Self::default()
    }
}

/// Lists the modules: `name { settings }`, and behind a semicolon what it keeps of a request.
macro_rules! modules {
    (
        $( $module:ident {
            $( $field:ident : $settings:ident / $raw:ident ),* $(; $state:ident)?
        } )*
    ) => {
        /// Every module.
        const MODULES: &[Module] = &[ $( $module::MODULE ),* ];

        compose! {
            /// What all modules were told at one level.
            pub struct Settings / RawSettings {
                $( $( $field: $module::$settings => $module::$raw, )* )*
            }
        }

        /// What the modules keep of a request.
        #[derive(Default)]
        pub(crate) struct State {
            $( $( pub(crate) $module: $module::$state, )? )*
        }

        impl State {
            /// Forgets the request before.
            #[inline]
            pub(crate) fn reset(&mut self) {
                $( $( <$module::$state as RequestState>::reset(&mut self.$module); )? )*
            }

            /// What a subrequest begins with.
            pub(crate) fn for_subrequest(&self) -> Self {
                Self {
                    $( $( $module: <$module::$state as RequestState>::for_subrequest(&self.$module), )? )*
                }
            }
        }
    };
}

// A `mod` for each, outside of the macro, where formatters and editors find it.
pub(crate) mod access;
pub(crate) mod access_log;
pub(crate) mod acme;
pub(crate) mod addition;
pub(crate) mod auth_basic;
pub(crate) mod auth_request;
pub(crate) mod autoindex;
pub(crate) mod browser;
pub(crate) mod cache;
pub(crate) mod charset;
pub(crate) mod client;
pub(crate) mod core;
pub(crate) mod core_variables;
pub(crate) mod dav;
pub(crate) mod disable_symlinks;
pub(crate) mod disk;
pub(crate) mod early_hints;
pub(crate) mod empty_gif;
pub(crate) mod error_log;
pub(crate) mod error_page;
pub(crate) mod fastcgi;
pub(crate) mod file_cache;
pub(crate) mod flv;
pub(crate) mod geo;
pub(crate) mod grpc;
pub(crate) mod grpc_ssl;
pub(crate) mod gunzip;
pub(crate) mod gzip;
pub(crate) mod gzip_accept;
pub(crate) mod gzip_static;
pub(crate) mod headers;
pub(crate) mod health_check;
pub(crate) mod http2;
pub(crate) mod index;
pub(crate) mod keepalive;
pub(crate) mod limit_conn;
pub(crate) mod limit_req;
pub(crate) mod listen;
pub(crate) mod location;
pub(crate) mod log_format;
pub(crate) mod map;
pub(crate) mod memcached;
pub(crate) mod memory;
pub(crate) mod mirror;
pub(crate) mod mp4;
pub(crate) mod not_modified;
pub(crate) mod output;
pub(crate) mod post_action;
pub(crate) mod proxy;
pub(crate) mod proxy_cookie;
pub(crate) mod proxy_protocol;
pub(crate) mod proxy_ssl;
pub(crate) mod random_index;
pub(crate) mod range;
pub(crate) mod realip;
pub(crate) mod referer;
pub(crate) mod resolver;
pub(crate) mod rewrite;
pub(crate) mod scgi;
pub(crate) mod secure_link;
pub(crate) mod server;
pub(crate) mod server_name;
pub(crate) mod slice;
pub(crate) mod split_clients;
pub(crate) mod ssi;
pub(crate) mod ssl;
pub(crate) mod ssl_client;
pub(crate) mod ssl_ocsp;
pub(crate) mod static_files;
pub(crate) mod sticky;
pub(crate) mod stub_status;
pub(crate) mod sub_filter;
pub(crate) mod try_files;
pub(crate) mod tunnel;
pub(crate) mod types;
pub(crate) mod upstream;
pub(crate) mod userid;
pub(crate) mod uwsgi;
pub(crate) mod uwsgi_ssl;

// In the order in which those of one phase are asked, and in which a response passes the filters.
modules! {
    core { core: CoreSettings / RawCore; CoreState }
    core_variables { ; VariableState }
    map {}
    geo {}
    split_clients {}
    server {}
    location {}
    listen {}
    ssl { ssl: SslSettings / RawSsl }
    ssl_client { ssl_client: SslClientSettings / RawSslClient }
    acme { acme: AcmeSettings / RawAcme }
    ssl_ocsp { ssl_ocsp: SslOcspSettings / RawSslOcsp }
    http2 { http2: Http2Settings / RawHttp2 }
    server_name {}
    post_action { post_action: PostActionSettings / RawPostAction }
    client { client: ClientSettings / RawClient }
    keepalive { keepalive: KeepaliveSettings / RawKeepalive }
    output { output: OutputSettings / RawOutput; OutputState }
    types { types: TypeSettings / RawTypes }
    resolver { resolver: ResolverSettings / RawResolver }
    file_cache { file_cache: FileCacheSettings / RawFileCache }
    disk { disk: DiskSettings / RawDisk }
    memory {}
    rewrite { rewrite: RewriteSettings / RawRewrite }
    proxy_protocol {}
    realip { realip: RealIpSettings / RawRealIp; RealIpState }
    limit_req {
        limit_req: LimitReqSettings / RawLimitReq,
        limit_req_refusals: RefusalSettings / RawRefusals;
        LimitReqState
    }
    limit_conn {
        limit_conn: LimitConnSettings / RawLimitConn,
        limit_conn_refusals: RefusalSettings / RawRefusals;
        LimitConnState
    }
    browser { browser: BrowserSettings / RawBrowser }
    referer { referer: RefererSettings / RawReferer }
    secure_link { secure_link: SecureLinkSettings / RawSecureLink; SecureLinkState }
    access { access: AccessSettings / RawAccess }
    auth_basic { auth_basic: AuthBasicSettings / RawAuthBasic }
    auth_request { auth_request: AuthRequestSettings / RawAuthRequest }
    disable_symlinks { symlinks: SymlinkSettings / RawSymlinks }
    try_files { try_files: TryFilesSettings / RawTryFiles }
    upstream {}
    sticky {}
    health_check { health_check: HealthSettings / RawHealth }
    proxy { proxy: ProxySettings / RawProxy, proxy_passing: PassSettings / RawPass; ProxyState }
    proxy_ssl { proxy_ssl: PassSslSettings / RawPassSsl }
    grpc { grpc: GrpcSettings / RawGrpc, grpc_passing: PassSettings / RawPass }
    grpc_ssl { grpc_ssl: PassSslSettings / RawPassSsl }
    fastcgi {
        fastcgi: FastCgiSettings / RawFastCgi,
        fastcgi_cgi: CgiSettings / RawCgi,
        fastcgi_passing: PassSettings / RawPass
    }
    uwsgi {
        uwsgi: UwsgiSettings / RawUwsgi,
        uwsgi_cgi: CgiSettings / RawCgi,
        uwsgi_passing: PassSettings / RawPass
    }
    uwsgi_ssl { uwsgi_ssl: PassSslSettings / RawPassSsl }
    scgi { scgi_cgi: CgiSettings / RawCgi, scgi_passing: PassSettings / RawPass }
    memcached { memcached: MemcachedSettings / RawMemcached, memcached_passing: PassSettings / RawPass }
    tunnel { tunnel: TunnelSettings / RawTunnel, tunnel_passing: PassSettings / RawPass }
    cache {
        proxy_cache: CacheSettings / RawCache,
        fastcgi_cache: CacheSettings / RawCache,
        uwsgi_cache: CacheSettings / RawCache,
        scgi_cache: CacheSettings / RawCache
    }
    proxy_cookie { proxy_cookie: CookieSettings / RawCookies }
    early_hints { early_hints: EarlyHintSettings / RawEarlyHints }
    mirror { mirror: MirrorSettings / RawMirror }
    stub_status { stub_status: StubStatusSettings / RawStubStatus }
    random_index { random_index: RandomIndexSettings / RawRandomIndex }
    flv { flv: FlvSettings / RawFlv }
    mp4 { mp4: Mp4Settings / RawMp4 }
    empty_gif { empty_gif: EmptyGifSettings / RawEmptyGif }
    index { index: IndexSettings / RawIndex }
    autoindex { autoindex: AutoindexSettings / RawAutoindex }
    dav { dav: DavSettings / RawDav }
    gzip_static { gzip_static: GzipStaticSettings / RawGzipStatic }
    static_files {}
    slice { slice: SliceSettings / RawSlice; SliceState }
    not_modified { not_modified: NotModifiedSettings / RawNotModified }
    headers { headers: HeaderSettings / RawHeaders }
    userid { userid: UserIdSettings / RawUserId; UserIdState }
    gunzip { gunzip: GunzipSettings / RawGunzip }
    addition { addition: AdditionSettings / RawAddition }
    sub_filter { sub_filter: SubFilterSettings / RawSubFilter }
    charset { charset: CharsetSettings / RawCharset }
    ssi { ssi: SsiSettings / RawSsi; SsiState }
    gzip_accept { gzip_accept: GzipAcceptSettings / RawGzipAccept; GzipAcceptState }
    gzip { gzip: GzipSettings / RawGzip; GzipState }
    range { range: RangeSettings / RawRange }
    error_page { error_page: ErrorPageSettings / RawErrorPage }
    log_format {}
    access_log { access_log: AccessLogSettings / RawAccessLog }
    error_log { error_log: ErrorLogSettings / RawErrorLog }
}

/// And of those of them that tell an application of a request as CGI does.
pub(crate) mod cgi;
/// What the limits have in common; no module by itself.
mod limits;
/// The same of those that pass requests on.
pub(crate) mod passing;
/// The same of their TLS.
pub(crate) mod passing_ssl;

/// What the modules that look into folders have in common; no module by itself.
mod folder;

/// What the filters that are for certain media types have in common; no module by itself.
mod media_types;

/// Every directive of every module.
pub(crate) fn rows() -> impl Iterator<Item = &'static DirectiveRow> {
    MODULES.iter().flat_map(|module| module.directives)
}

/// Every variable of every module.
pub(crate) fn variables() -> impl Iterator<Item = &'static Builtin> {
    MODULES.iter().flat_map(|module| module.variables)
}

/// The names of the variables that there are without a configuration, without their `$`; those
/// made of the name of a header, an argument or a cookie (`$http_name`) are not among them.
pub fn variable_names() -> impl Iterator<Item = &'static str> {
    variables().map(|variable| variable.name)
}

/// Those of the handlers that have anything to do at a level.
pub(crate) fn steps(settings: &Settings) -> Steps {
    let handlers = MODULES.iter().flat_map(|module| module.handlers);
    let applying = handlers.filter(|(_, applies, _)| applies(settings));
    let mut steps: Vec<_> = applying
        .map(|&(phase, _, handler)| (phase, handler))
        .collect();
    steps.sort_by_key(|(phase, _)| *phase);
    Steps::new(steps.into_iter())
}

/// Those of the header filters that have anything to do at a level.
pub(crate) fn header_filters(settings: &Settings) -> Box<[Handler]> {
    let filters = MODULES.iter().flat_map(|module| module.header_filters);
    let applying = filters.filter(|(applies, _)| applies(settings));
    applying.map(|&(_, filter)| filter).collect()
}

/// The modules by the names that nginx gives them, for `-V`: those that are there as a whole, as tools take
/// it.
pub fn names() -> impl Iterator<Item = &'static str> {
    let all = MODULES.iter().map(|module| module.name);
    all.enumerate().filter_map(|(at, name)| {
        let before = &MODULES[..at];
        let is_new = !before.iter().any(|module| module.name == name);
        (is_new && !name.is_empty()).then_some(name)
    })
}

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
}
