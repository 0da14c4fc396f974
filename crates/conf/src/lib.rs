//! The grammar of `nginx.conf`, with spans and diagnostics.
//!
//! The crate turns configuration files into a tree of [`Directive`]s in which every word knows
//! where it stands, and says what is wrong with a file the way a compiler does: all errors at
//! once, the offending words underlined, what was expected, and a likely meaning. What a
//! directive *means* is not known here: a user of the crate gives tables of
//! [`Row`](directive::Row)s.
//!
//! ```
//! use std::path::Path;
//! use revolve_conf::{Snapshot, SnapshotFiles, parse};
//!
//! let mut snapshot = Snapshot::default();
//! snapshot.insert_file("/etc/nginx/nginx.conf", b"worker_processes 2;\n".to_vec());
//! let mut files = SnapshotFiles::new(snapshot);
//! let (document, diagnostics) = parse(Path::new("/etc/nginx/nginx.conf"), None, &mut files);
//! assert!(!diagnostics.has_errors());
//! assert_eq!(document.directives[0].name.text, "worker_processes");
//! assert_eq!(document.directives[0].args[0].text, "2");
//! ```
//!
//! Every function here may be called from any thread: nothing is shared and nothing is global.
//!
//! Source: nginx's documentation, "Configuration file measurement units" and
//! "Beginner's guide", and the behaviour of nginx itself where the documentation is silent.

#![forbid(unsafe_code)]

mod diagnostic;
pub mod directive;
mod files;
mod glob;
mod lexer;
mod parser;
mod secrets;
pub mod shown;
mod span;
pub mod value;
mod word;

pub use diagnostic::{
    DIAGNOSTICS_SHOWN_MAX, Diagnostic, Diagnostics, Level, error_text, os_error_text,
};
pub use directive::Directive;
pub use files::{DecodeError, DiskFiles, Files, HostNames, Recorded, Snapshot, SnapshotFiles};
pub use parser::{Document, parse};
pub use secrets::Secrets;
pub use shown::{Shown, ShownLine};
pub use span::{FileId, Source, Sources, Span};
pub use word::Word;
