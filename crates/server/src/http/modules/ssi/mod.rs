//! Server-side includes: commands in comments of a page.
//!
//! ```nginx
//! location / {
//!     ssi on;
//!     ssi_types text/html text/plain;
//!     ssi_silent_errors on;
//! }
//! ```
//!
//! ```html
//! <!--#include virtual="/head.html" -->
//! <!--#if expr="$arg_name = /^(.+)\$/" --> Hello <!--#echo var="1" --> <!--#endif -->
//! ```

mod expression;
mod page;
mod parser;
mod text;

pub(crate) use text::target as safe_target;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use revolve_conf::directive::Args;

use self::page::Page;
use crate::config::regex::Groups;
use crate::config::scope::{HTTP, LOCATION, SERVER};
use crate::config::setting::settings;
use crate::http::body::Outgoing;
use crate::http::modules::media_types::{MediaTypes, types_slot};
use crate::http::modules::{Module, RequestState, Settings};
use crate::http::phase::Outcome;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, slot};
use crate::http::variables::Builtin;

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_ssi_module",
    directives: DIRECTIVES,
    variables: VARIABLES,
    header_filters: &[(applies, filter)],
    ..Module::EMPTY
};

settings! {
    /// Server-side includes.
    pub struct SsiSettings / RawSsi {
        inherit {
            /// `ssi`, default off.
            enabled: bool = false,
            /// `ssi_silent_errors`, default off.
            silent_errors: bool = false,
            /// `ssi_last_modified`, default off.
            last_modified: bool = false,
            /// `ssi_types`, default `text/html`.
            types: Arc<MediaTypes> = MediaTypes::of(&["text/html"]),
            /// `ssi_value_length`, bytes, default 256.
            value_bytes_max: u64 = 256,
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "ssi",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag ssi.enabled),
    },
    DirectiveRow {
        name: "ssi_silent_errors",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag ssi.silent_errors),
    },
    DirectiveRow {
        name: "ssi_last_modified",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag ssi.last_modified),
    },
    DirectiveRow {
        name: "ssi_types",
        contexts: ANY,
        args: Args::ONE_MORE,
        set: types_slot!(ssi.types),
    },
    DirectiveRow {
        name: "ssi_value_length",
        contexts: ANY,
        args: Args::ONE,
        set: slot!(size ssi.value_bytes_max),
    },
    DirectiveRow {
        name: "ssi_min_file_chunk",
        contexts: ANY,
        args: Args::ONE,
        // Text is given on as it lies in memory, where it is in any case.
        set: |_, d| revolve_conf::value::size_of(&d.args[0], &d.name.text).map(|_| ()),
    },
];

/// The module's variables.
const VARIABLES: &[Builtin] = &[
    Builtin {
        name: "date_local",
        get: |request, out| date(request, false, out),
    },
    Builtin {
        name: "date_gmt",
        get: |request, out| date(request, true, out),
    },
];

/// How dates are shown where no `config` says otherwise.
const TIME_FORMAT: &[u8] = b"%A, %d-%b-%Y %H:%M:%S %Z";

/// Source: nginx's `ngx_http_ssi_date_gmt_local_variable`.
fn date(request: &Request, is_gmt: bool, out: &mut Vec<u8>) -> bool {
    let format = request.state.ssi.time_format.as_deref();
    let format = format.unwrap_or(TIME_FORMAT);
    let clock = request.site.logs.clock();
    if format == b"%s" {
        out.extend_from_slice(itoa::Buffer::new().format(clock.unix_s()).as_bytes());
        return true;
    }
    clock.formatted(&String::from_utf8_lossy(format), is_gmt, out)
}

/// What pages and those that they include share.
#[derive(Default)]
struct Shared {
    /// Names and values.
    variables: RefCell<Vec<(Vec<u8>, Vec<u8>)>>,
    /// Names and texts.
    blocks: RefCell<Vec<(Vec<u8>, Vec<u8>)>>,
    /// What the pattern that matched last has captured, and in which text.
    captures: RefCell<(Groups, Vec<u8>)>,
}

/// The most bytes that variables and blocks of a request may have, each.
const SHARED_BYTES_MAX: usize = 1 << 20;

/// What is kept of a request.
#[derive(Default)]
pub(crate) struct SsiState {
    shared: Option<Rc<Shared>>,
    time_format: Option<Vec<u8>>,
}

impl RequestState for SsiState {
    fn for_subrequest(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            time_format: None,
        }
    }
}

/// Whether the level has anything to do with this.
pub(crate) fn applies(settings: &Settings) -> bool {
    settings.ssi.enabled
}

/// Header filter: has the body's commands done on its way.
///
/// Source: nginx's `ngx_http_ssi_header_filter`.
pub(crate) fn filter(request: &mut Request) -> Outcome {
    let settings = &request.settings().ssi;
    let length = request.response.content_length;
    if length.is_some_and(|length| length.bytes == 0)
        || !settings.types.has(&request.response.content_type)
    {
        return Outcome::Next;
    }
    let keeps_validators = settings.last_modified;
    if !request.current.is_subrequest {
        if keeps_validators {
            request.response.weaken_etag();
        } else {
            request.response.clear_validators();
        }
    }
    request.response.clear_length();
    request.state.ssi.shared.get_or_insert_default();
    let body = Outgoing::new(request);
    request.response.source = Some(Box::new(Page::new(request, body)));
    Outcome::Next
}

#[cfg(test)]
mod tests {
    use crate::http::testing::TestSite;

    /// A site whose pages are what stands in these texts.
    fn site(pages: &[(&str, &str)]) -> TestSite {
        let mut text = "ssi on; default_type text/html;".to_owned();
        for (path, page) in pages {
            let page = page
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('$', "${dollar}");
            text += &format!("location = {path} {{ return 200 \"{page}\"; }}\n");
        }
        TestSite::new_with("geo $dollar { default $; }", &text)
    }

    /// Pages, and what comes of them.
    const COMMANDS: &[(&str, &str)] = &[
        ("a<!--#echo var=\"arg_x\" -->b", "a1&gt;b"),
        (
            "<!--#echo var='none' default='' --><!--#echo var='nothing' -->",
            "(none)",
        ),
        (
            "<!--#echo var='none' default='<d>' --><!--#echo var='none' default='<d>' encoding='none' --><!--#echo var='none' default='<d>' -->",
            "&lt;d&gt;<d><d>",
        ),
        (
            "<!--#echo var='none' default='a b/?\"' encoding='url' -->",
            "a%20b/?%22",
        ),
        (
            "<!--#set var='x' value='[$arg_x]' --><!--#echo var='X' encoding='none' -->",
            "[1>]",
        ),
        (
            "<!--#set var='x' value='\\$arg_x\\\\\\a' --><!--#echo var='x' -->",
            "$arg_x\\\\a",
        ),
        (
            "<!--#if expr='$arg_x' -->yes<!--#else -->no<!--#endif -->!",
            "yes!",
        ),
        (
            "<!--#if expr='$arg_y' -->yes<!--#else -->no<!--#endif -->!",
            "no!",
        ),
        (
            "<!--#if expr='$arg_y' -->1<!--#elif expr='$arg_x = 1>' -->2<!--#elif expr='$arg_x' -->3<!--#else -->4<!--#endif -->!",
            "2!",
        ),
        (
            "<!--#if expr='$arg_x != 2' -->1<!--#echo var='arg_x' --><!--#endif -->",
            "11&gt;",
        ),
        (
            "<!--#if expr='$arg_x = /^(.)(?P<rest>.*)\\$/' --><!--#echo var='1' -->|<!--#echo var='rest' --><!--#endif -->",
            "1|&gt;",
        ),
        (
            "<!--#if expr='$arg_y' --><!--#echo var='arg_x' --><!--#bad --><!--#endif -->.",
            ".",
        ),
        (
            "<!--#bad -->",
            "[an error occurred while processing the directive]",
        ),
        (
            "<!--#config errmsg='E' --><!--#bad --><!--#else --><!--#echo --><!--#echo var='a' var='b' --><!--#echo x='y' -->",
            "EEEEE",
        ),
        (
            "<!--#config errmsg='E' --><!--#if expr='a b' --><!--#set var='x' value='$' --><!--#include virtual='/../x' --><!--#include -->",
            "EEEE",
        ),
        (
            "<!--#config timefmt='%Y' --><!--#if expr='$date_gmt = /^[0-9]{4}\\$/' -->ok<!--#endif -->",
            "ok",
        ),
    ];

    #[test]
    fn commands_are_done() {
        let paths: Vec<String> = (0..COMMANDS.len()).map(|at| format!("/{at}")).collect();
        let pages = paths.iter().zip(COMMANDS);
        let pages: Vec<(&str, &str)> = pages
            .map(|(path, (page, _))| (path.as_str(), *page))
            .collect();
        let mut site = site(&pages);
        for (path, (page, expected)) in paths.iter().zip(COMMANDS) {
            let answer = site.ask(&format!("GET {path}?x=1> HTTP/1.1")).0;
            assert_eq!(answer, format!("200\n{expected}"), "{page}");
        }
    }

    #[test]
    fn includes_stand_in_their_order() {
        let mut site = site(&[
            (
                "/d/",
                "<!--#include virtual='a' -->-<!--#include virtual='/d/b?k=v' -->-<!--#include file='c' -->.",
            ),
            (
                "/d/a",
                "<!--#set var='v' value='A' -->(a<!--#include virtual='c' -->)",
            ),
            (
                "/d/b",
                "(b <!--#echo var='arg_k' --> <!--#echo var='uri' --> <!--#echo var='request_uri' -->)",
            ),
            ("/d/c", "(c)"),
            (
                "/set",
                "<!--#include virtual='/d/c' set='x' --><<!--#echo var='x' -->>",
            ),
            (
                "/wait",
                "<!--#include virtual='/d/a' wait='yes' --><!--#echo var='v' -->",
            ),
            (
                "/stub",
                "<!--#block name='s' -->[<!--#echo var='uri' -->]<!--#endblock --><!--#include virtual='/none' stub='s' --><!--#include virtual='/empty' stub='s' --><!--#include virtual='/d/c' stub='s' -->",
            ),
            ("/empty", ""),
            ("/self", "x<!--#include virtual='/self' -->"),
        ]);
        for (path, expected) in [
            ("/d/", "(a(c))-(b v /d/b /d/)-(c)."),
            ("/set", "<(c)>"),
            ("/wait", "(a(c))A"),
            ("/stub", "[/none][<!--#echo var=\"uri\" -->](c)"),
        ] {
            let answer = site.ask(&format!("GET {path} HTTP/1.1")).0;
            assert_eq!(answer, format!("200\n{expected}"), "{path}");
        }
        let answer = site.ask("GET /self HTTP/1.1").0;
        let expected = "x".repeat(52) + "[an error occurred while processing the directive]";
        assert_eq!(answer, format!("200\n{expected}"));
    }

    #[test]
    fn a_page_that_includes_itself_twice_ends() {
        let page = "<!--#include virtual='/' --><!--#include virtual='/' -->";
        let mut site = TestSite::new_with(
            "",
            &format!(
                "error_log /dev/null; ssi on; ssi_silent_errors on; default_type text/html; location = / {{ return 200 \"{page}\"; }}"
            ),
        );
        assert_eq!(site.ask("GET / HTTP/1.1").0, "200\n");
    }

    #[test]
    fn what_is_too_large_for_a_variable_breaks_the_page() {
        let mut site = TestSite::new_with(
            "",
            "ssi on; default_type text/html; subrequest_output_buffer_size 4;
             location = / { return 200 \"<!--#include virtual='/4' set='x' -->ok<!--#include virtual='/5' set='x' -->\"; }
             location = /4 { return 200 1234; } location = /5 { return 200 12345; }",
        );
        let (answer, served) = site.ask("GET / HTTP/1.1");
        assert_eq!(answer, "200\nok");
        assert!(matches!(served, crate::http::serve::Served::Broken));
    }
}
