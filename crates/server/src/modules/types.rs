//! Media types by the extension of the file's name.
//!
//! ```nginx
//! include mime.types;
//! default_type application/octet-stream;
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive};

use crate::config::scope::{DirectiveRow, HTTP, LOCATION, SERVER, Scope, accept_number, set_once};
use crate::config::setting::settings;
use crate::request::Request;

/// Types by extension, which is in lower case.
pub type TypeMap = HashMap<Vec<u8>, Vec<u8>, foldhash::fast::RandomState>;

settings! {
    /// Media types.
    pub struct TypeSettings / RawTypes {
        inherit {
            /// `types`; default html, gif and jpg.
            types: Arc<TypeMap> = Arc::new(default_types()),
            /// `default_type`, default `text/plain`.
            default_type: String = "text/plain".to_owned(),
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

pub(crate) const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "types",
        contexts: ANY,
        args: Args::BLOCK,
        set: types,
    },
    DirectiveRow {
        name: "default_type",
        contexts: ANY,
        args: Args::ONE,
        set: |scope, d| {
            set_once(
                &mut scope.level.settings.types.default_type,
                d.args[0].text.clone(),
                d,
            )
        },
    },
    DirectiveRow {
        name: "types_hash_max_size",
        contexts: ANY,
        args: Args::ONE,
        set: accept_number,
    },
    DirectiveRow {
        name: "types_hash_bucket_size",
        contexts: ANY,
        args: Args::ONE,
        set: accept_number,
    },
];

fn default_types() -> TypeMap {
    [
        ("html", "text/html"),
        ("gif", "image/gif"),
        ("jpg", "image/jpeg"),
    ]
    .into_iter()
    .map(|(extension, name)| (extension.as_bytes().to_vec(), name.as_bytes().to_vec()))
    .collect()
}

/// A second `types` block of a level adds to the first, as in nginx.
fn types(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let slot = &mut scope.level.settings.types.types;
    let mut map = slot.take().map(|map| (*map).clone()).unwrap_or_default();
    for row in directive.block.as_deref().unwrap_or_default() {
        if row.block.is_some() {
            scope.diagnostics.push(
                Diagnostic::new(
                    row.name.span,
                    format!("unexpected block in \"types\" after \"{}\"", row.name.text),
                )
                .label("expected a type and its extensions: text/html html htm;"),
            );
            continue;
        }
        if row.args.is_empty() {
            let message = format!(
                "invalid number of arguments in \"{}\" directive",
                row.name.text
            );
            scope.diagnostics.push(
                Diagnostic::new(row.name.span, message).label("expected extensions after the type"),
            );
            continue;
        }
        for word in &row.args {
            let extension = word.text.to_ascii_lowercase().into_bytes();
            let name = row.name.text.as_bytes().to_vec();
            if let Some(other) = map.insert(extension, name.clone())
                && other != name
            {
                let message = format!(
                    "duplicate extension \"{}\", content type: \"{}\", previous content type: \"{}\"",
                    word.text,
                    row.name.text,
                    String::from_utf8_lossy(&other)
                );
                scope
                    .diagnostics
                    .push(Diagnostic::new(word.span, message).warn());
            }
        }
    }
    scope.level.settings.types.types = Some(Arc::new(map));
    Ok(())
}

/// Sets `Content-Type` after the extension of the request's path.
pub(crate) fn set_content_type(request: &mut Request) {
    let settings = &request.site.locations[request.location as usize]
        .settings
        .types;
    let extension = extension_of(&request.path);
    let known = if extension.is_empty() {
        None
    } else if extension.iter().any(u8::is_ascii_uppercase) {
        settings.types.get(&extension.to_ascii_lowercase())
    } else {
        settings.types.get(extension)
    };
    let name = known.map_or(settings.default_type.as_bytes(), Vec::as_slice);
    request.response.content_type.clear();
    request.response.content_type.extend_from_slice(name);
}

/// The bytes after the last dot of the last segment of a path; empty without one.
fn extension_of(path: &[u8]) -> &[u8] {
    // From the end: an extension is a few bytes, the path before it is not.
    for (at, byte) in path.iter().enumerate().rev() {
        match byte {
            b'.' => return &path[at + 1..],
            b'/' => break,
            _ => {}
        }
    }
    b""
}
