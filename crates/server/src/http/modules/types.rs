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

use crate::config::scope::{HTTP, LOCATION, SERVER, accept_number, set_once};
use crate::config::setting::settings;
use crate::http::modules::Module;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope};
use revolve_http::h1::lines::ContentType;

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_core_module",
    directives: DIRECTIVES,
    ..Module::EMPTY
};

/// Types by extension, which is in lower case.
#[derive(Debug, Clone, Default)]
pub(crate) struct TypeMap {
    /// By [`packed`] extensions.
    short: HashMap<u64, ContentType, foldhash::fast::RandomState>,
    /// By those that are longer.
    long: HashMap<Vec<u8>, ContentType, foldhash::fast::RandomState>,
}

/// Extensions are looked up as a number if they have at most so many bytes.
const SHORT_BYTES_MAX: usize = 7;

impl TypeMap {
    /// Sets the type of an extension, and gives the one that it had.
    fn insert(&mut self, extension: &str, name: &str) -> Option<ContentType> {
        let extension = extension.to_ascii_lowercase().into_bytes();
        let name = ContentType::new(name.as_bytes());
        if extension.len() > SHORT_BYTES_MAX {
            return self.long.insert(extension, name);
        }
        self.short.insert(packed(&extension), name)
    }

    /// The type of a path, if the last of its segments has an extension that is known.
    fn of_path(&self, path: &[u8]) -> Option<&ContentType> {
        let end = path.len().saturating_sub(SHORT_BYTES_MAX + 1);
        let tail = to_lower(packed(&path[end..]));
        let after_dot = match bytes_after_last(b'.', tail) {
            Some(0) => return None,
            Some(count) => count,
            None => return self.of_long_extension(path),
        };
        if is_hidden(path, path.len() - 1 - after_dot as usize) {
            return None;
        }
        let extension = tail & (u64::MAX >> (64 - 8 * after_dot));
        if bytes_after_last(b'/', extension).is_some() {
            return None;
        }
        self.short.get(&extension)
    }

    fn of_long_extension(&self, path: &[u8]) -> Option<&ContentType> {
        if self.long.is_empty() {
            return None;
        }
        let at = memchr::memrchr2(b'.', b'/', path)?;
        let (b'.', extension) = (path[at], &path[at + 1..]) else {
            return None;
        };
        if is_hidden(path, at) {
            return None;
        }
        match extension.iter().any(u8::is_ascii_uppercase) {
            true => self.long.get(&extension.to_ascii_lowercase()),
            false => self.long.get(extension),
        }
    }
}

/// Whether the dot at this place begins the name of a file: then no extension follows it.
#[inline]
fn is_hidden(path: &[u8], dot: usize) -> bool {
    dot.checked_sub(1).is_none_or(|before| path[before] == b'/')
}

/// Up to eight bytes as a number, the last in its lowest bits.
#[inline]
fn packed(bytes: &[u8]) -> u64 {
    let mut padded = [0; 8];
    let bytes = match bytes.first_chunk::<8>() {
        Some(bytes) => bytes,
        None => {
            padded[8 - bytes.len()..].copy_from_slice(bytes);
            &padded
        }
    };
    u64::from_be_bytes(*bytes)
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGH_BITS: u64 = ONES << 7;

/// How many of packed bytes follow the last of this one.
#[inline]
fn bytes_after_last(byte: u8, packed: u64) -> Option<u32> {
    let zero_where_it_is = packed ^ (ONES * u64::from(byte));
    // The lowest bit set is that of the last one; those above it mean nothing.
    let found = zero_where_it_is.wrapping_sub(ONES) & !zero_where_it_is & HIGH_BITS;
    (found != 0).then(|| found.trailing_zeros() / 8)
}

/// Packed bytes with their letters in lower case.
#[inline]
fn to_lower(packed: u64) -> u64 {
    let low_bits = packed & !HIGH_BITS;
    let from_a = low_bits + ONES * u64::from(0x80 - b'A');
    let past_z = low_bits + ONES * u64::from(0x80 - b'Z' - 1);
    let upper = from_a & !past_z & !packed & HIGH_BITS;
    packed | upper >> 2
}

settings! {
    /// Media types.
    pub struct TypeSettings / RawTypes {
        inherit {
            /// `types`; default html, gif and jpg.
            types: Arc<TypeMap> = Arc::new(default_types()),
            /// `default_type`, default `text/plain`.
            default_type: ContentType = ContentType::new(b"text/plain"),
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
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
                ContentType::new(d.args[0].text.as_bytes()),
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
    let mut types = TypeMap::default();
    for (extension, name) in [
        ("html", "text/html"),
        ("gif", "image/gif"),
        ("jpg", "image/jpeg"),
    ] {
        types.insert(extension, name);
    }
    types
}

/// A second `types` block of a level adds to the first, as in nginx.
fn types(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let slot = &mut scope.level.settings.types.types;
    let mut map = slot.take().map(|map| (*map).clone()).unwrap_or_default();
    for row in directive.block.as_deref().unwrap_or_default() {
        if row.block.is_some() {
            scope.shared.diagnostics.push(
                Diagnostic::new(
                    row.name.span,
                    format!("unexpected block in \"types\" after \"{}\"", row.name.text),
                )
                .label("expected a type and its extensions: text/html html htm;"),
            );
            continue;
        }
        for word in &row.args {
            let name = &row.name.text;
            if let Some(other) = map.insert(&word.text, name) {
                let message = format!(
                    "duplicate extension \"{}\", content type: \"{}\", previous content type: \"{}\"",
                    word.text,
                    name,
                    String::from_utf8_lossy(other.text())
                );
                scope
                    .shared
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
    let settings = &request.site.locations[request.current.location as usize]
        .settings
        .types;
    let known = settings.types.of_path(&request.path);
    let content_type = known.unwrap_or(&settings.default_type);
    request.response.content_type.set(content_type);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_is_what_follows_the_last_dot_of_the_last_segment() {
        let mut types = TypeMap::default();
        let known = [
            "c",
            "gz",
            "html",
            "abcdefg",
            "abcdefgh",
            "a-very-long-one",
            "b/c",
            "",
        ];
        for extension in known {
            types.insert(extension, &format!("type/{extension}"));
        }
        for (path, extension) in [
            ("/a.c", Some("c")),
            ("/a.tar.gz", Some("gz")),
            ("/some/where/index.html", Some("html")),
            ("/.html", None),
            ("/a/.html", None),
            ("/.a-very-long-one", None),
            ("/.a.html", Some("html")),
            ("/a.HtMl", Some("html")),
            ("/a.abcdefg", Some("abcdefg")),
            ("/a.ABCDEFGH", Some("abcdefgh")),
            ("/a.a-very-LONG-one", Some("a-very-long-one")),
            ("/a.abcdefghi", None),
            ("/a.b/c", None),
            ("/a.b/abcdefghijk", None),
            ("/a.html/", None),
            ("/a.", None),
            ("/a", None),
            ("/", None),
            ("/a.zc", None),
            ("/a.h\u{f4}ml", None),
            ("/a.\u{e3}", None),
            ("/no-extension-at-all", None),
        ] {
            let expected = extension.map(|extension| format!("type/{extension}"));
            let found = types.of_path(path.as_bytes());
            let found = found.map(|found| std::str::from_utf8(found.text()).unwrap());
            assert_eq!(found, expected.as_deref(), "{path}");
        }
    }

    #[test]
    fn letters_and_no_other_bytes_are_lowered() {
        for byte in 0..=u8::MAX {
            let bytes = [byte, b'Z', byte, b'[', b'@', byte, b'a', byte];
            let lowered = bytes.map(|byte| byte.to_ascii_lowercase());
            assert_eq!(to_lower(packed(&bytes)), packed(&lowered), "{byte}");
        }
    }
}
