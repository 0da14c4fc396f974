//! Lists of media types, as `gzip_types` and its kind take them.

use std::sync::Arc;

use revolve_conf::{Diagnostic, Diagnostics, Directive};
use revolve_http::h1::lines::ContentType;

/// The media types that a filter is for.
#[derive(Debug)]
pub(crate) struct MediaTypes {
    /// `*`: whatever has one.
    any: bool,
    /// In lower case.
    names: Vec<Vec<u8>>,
}

impl MediaTypes {
    /// These types.
    pub(crate) fn of(names: &[&str]) -> Arc<Self> {
        let names = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(Self { any: false, names })
    }

    /// Whether a response of this type is among them. Parameters (`charset=`) do not count.
    ///
    /// Source: nginx's `ngx_http_test_content_type`.
    pub(crate) fn has(&self, content_type: &ContentType) -> bool {
        let text = content_type.text();
        if self.any {
            return !text.is_empty();
        }
        let end = memchr::memchr(b';', text).unwrap_or(text.len());
        let name = text[..end].trim_ascii_end();
        // Written as it is known it is found sooner.
        let is_known = self.names.iter().any(|known| known == name);
        let mut names = self.names.iter();
        is_known || names.any(|known| known.eq_ignore_ascii_case(name))
    }

    /// Adds the arguments of a directive to those of its level, which has `text/html` at any rate.
    ///
    /// Source: nginx's `ngx_http_types_slot`.
    pub(crate) fn add(
        slot: &mut Option<Arc<Self>>,
        directive: &Directive,
        diagnostics: &mut Diagnostics,
    ) -> Result<(), Diagnostic> {
        let list = slot.get_or_insert_with(|| Self::of(&["text/html"]));
        let list = Arc::get_mut(list).expect("nobody shares a level's types while it is read");
        for word in &directive.args {
            let name = word.text.to_ascii_lowercase().into_bytes();
            if name == b"*" {
                list.any = true;
            }
            if list.any {
                break;
            }
            if list.names.contains(&name) {
                let message = format!("duplicate MIME type \"{}\"", word.text.to_ascii_lowercase());
                let warning =
                    Diagnostic::new(word.span, message).label("it is in the list already");
                diagnostics.push(warning.warn());
                continue;
            }
            list.names.push(name);
        }
        Ok(())
    }
}

/// The setter of a directive that takes media types.
macro_rules! types_slot {
    ($group:ident . $field:ident) => {
        |scope: &mut $crate::http::scope::Scope, directive: &::revolve_conf::Directive| {
            $crate::http::modules::media_types::MediaTypes::add(
                &mut scope.level.settings.$group.$field,
                directive,
                &mut scope.shared.diagnostics,
            )
        }
    };
}
pub(crate) use types_slot;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_compared_without_case_and_parameters() {
        let types = MediaTypes::of(&["text/html", "text/css"]);
        for (name, is_among) in [
            ("text/html", true),
            ("Text/CSS", true),
            ("text/html; charset=utf-8", true),
            ("text/html ;x", true),
            ("text/htm", false),
            ("text/html2", false),
            ("", false),
        ] {
            assert_eq!(
                types.has(&ContentType::new(name.as_bytes())),
                is_among,
                "{name}"
            );
        }
        let any = MediaTypes {
            any: true,
            names: Vec::new(),
        };
        assert!(any.has(&ContentType::new(b"x/y")));
        assert!(!any.has(&ContentType::new(b"")));
    }
}
