//! What the configuration says of zones.

use std::collections::HashMap;

use revolve_conf::value::size;
use revolve_conf::{Diagnostic, Diagnostics, Span, Word};

use crate::config::variable::Value;
use crate::zones::Holds;

/// nginx's `8 * ngx_pagesize`: a zone is no smaller.
const BYTES_MIN: u64 = 8 * 4096;

/// A zone's place among those of its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZoneId(usize);

impl ZoneId {
    /// Its element of a list that goes by the zones of its configuration.
    pub(crate) fn of<T>(self, list: &[T]) -> &T {
        &list[self.0]
    }
}

/// The counts of the workers: in every configuration.
pub(super) const WORKER_COUNTS: ZoneId = ZoneId(0);
/// The counts of their loops: in every configuration.
pub(super) const LOOP_COUNTS: ZoneId = ZoneId(1);

/// One zone.
#[derive(Debug)]
pub struct ZoneSpec {
    /// Its name.
    pub name: String,
    /// Its size as the configuration gives it, in bytes.
    pub bytes: u64,
    /// What is kept in it.
    pub purpose: ZoneUse,
}

/// What is kept in a zone, and what for.
#[derive(Debug)]
pub enum ZoneUse {
    /// Connections of each worker.
    WorkerCounts,
    /// Requests of each loop.
    LoopCounts,
    /// `limit_conn_zone`: connections by a key.
    LimitConn {
        /// The key.
        key: Value,
        /// The key as it was written.
        key_text: String,
        /// How many workers, old ones that end among them, can count in it.
        workers_max: usize,
    },
    /// `limit_req_zone`: requests by a key.
    LimitReq {
        /// The key.
        key: Value,
        /// The key as it was written.
        key_text: String,
        /// Thousandths of a request a second.
        rate: u64,
    },
}

impl ZoneUse {
    /// The directive that declares such a zone.
    pub fn kind(&self) -> &'static str {
        match self {
            ZoneUse::WorkerCounts => "worker counts",
            ZoneUse::LoopCounts => "loop counts",
            ZoneUse::LimitConn { .. } => "limit_conn_zone",
            ZoneUse::LimitReq { .. } => "limit_req_zone",
        }
    }
}

/// What a zone is known by where its descriptor goes from one process to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneLabel {
    /// The directive that declares it.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its size as the configuration gives it, in bytes.
    pub bytes: u64,
    /// What else its layout depends on.
    pub layout: u64,
    /// The key of its states, as it was written.
    pub key: String,
}

impl ZoneLabel {
    /// Whether it is the zone of another label, though maybe in another shape.
    pub(super) fn is_of(&self, other: &ZoneLabel) -> bool {
        self.kind == other.kind && self.name == other.name
    }
}

impl ZoneLabel {
    /// The label as bytes. The form is kept between versions.
    pub fn encode(&self) -> Vec<u8> {
        let ZoneLabel {
            kind,
            name,
            bytes,
            layout,
            key,
        } = self;
        let name_bytes = name.len();
        format!("{kind}\n{bytes}\n{layout}\n{name_bytes}\n{name}{key}").into_bytes()
    }

    /// The label that [`ZoneLabel::encode`] made these bytes of.
    pub fn decode(encoded: &[u8]) -> Option<ZoneLabel> {
        let mut parts = std::str::from_utf8(encoded).ok()?.splitn(5, '\n');
        let kind = parts.next()?.to_owned();
        let mut number = || parts.next()?.parse::<u64>().ok();
        let (bytes, layout, name_bytes) = (number()?, number()?, number()?);
        let name_bytes = usize::try_from(name_bytes).ok()?;
        let (name, key) = parts.next()?.split_at_checked(name_bytes)?;
        Some(ZoneLabel {
            kind,
            name: name.to_owned(),
            bytes,
            layout,
            key: key.to_owned(),
        })
    }
}

impl ZoneSpec {
    /// What it is known by.
    pub fn label(&self) -> ZoneLabel {
        let (layout, key) = match &self.purpose {
            ZoneUse::WorkerCounts | ZoneUse::LoopCounts => (0, ""),
            ZoneUse::LimitConn {
                workers_max,
                key_text,
                ..
            } => (*workers_max as u64, key_text.as_str()),
            ZoneUse::LimitReq { key_text, .. } => (0, key_text.as_str()),
        };
        ZoneLabel {
            kind: self.purpose.kind().into(),
            name: self.name.clone(),
            bytes: self.bytes,
            layout,
            key: key.into(),
        }
    }
}

/// The zones met while the configuration is read.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    ids: HashMap<String, usize>,
    zones: Vec<Mention>,
}

/// A zone that was named; its declaration may come later in the file.
#[derive(Debug)]
struct Mention {
    name: String,
    kind: &'static str,
    span: Span,
    declared: Option<(u64, ZoneUse)>,
    /// Another use of it was refused, which is said already.
    is_contended: bool,
}

impl Declared {
    /// The zone that a directive names, of which others may be said to declare it.
    pub(crate) fn mention(
        &mut self,
        name: &str,
        kind: &'static str,
        word: &Word,
    ) -> Result<ZoneId, Diagnostic> {
        let at = *self.ids.entry(name.to_owned()).or_insert_with(|| {
            self.zones.push(Mention {
                name: name.to_owned(),
                kind,
                span: word.span,
                declared: None,
                is_contended: false,
            });
            self.zones.len() - 1
        });
        let known = &mut self.zones[at];
        if known.kind != kind {
            known.is_contended = true;
            let message = format!(
                "the shared memory zone \"{name}\" is already declared for a different use"
            );
            return Err(Diagnostic::new(word.span, message)
                .label(format!("expected a zone of {kind}"))
                .note(known.span, format!("a zone of {} here", known.kind)));
        }
        Ok(ZoneId(LOOP_COUNTS.0 + 1 + at))
    }

    /// Declares a zone; `word` is the parameter that names it and gives its size.
    pub(crate) fn declare(
        &mut self,
        (name, bytes): (&str, u64),
        purpose: ZoneUse,
        word: &Word,
    ) -> Result<ZoneId, Diagnostic> {
        let id = self.mention(name, purpose.kind(), word)?;
        let known = &mut self.zones[id.0 - LOOP_COUNTS.0 - 1];
        match &known.declared {
            None => known.declared = Some((bytes, purpose)),
            Some((before, _)) if *before != bytes => {
                let message = format!(
                    "the size {bytes} of shared memory zone \"{name}\" conflicts with already \
                     declared size {before}"
                );
                return Err(Diagnostic::new(word.span, message)
                    .label("declared a second time, with another size")
                    .note(known.span, "here"));
            }
            Some((_, ZoneUse::LimitConn { key_text, .. } | ZoneUse::LimitReq { key_text, .. })) => {
                let kind = purpose.kind();
                let message = format!("{kind} \"{name}\" is already bound to key \"{key_text}\"");
                return Err(Diagnostic::new(word.span, message)
                    .label("declared a second time")
                    .note(known.span, "here"));
            }
            Some(_) => unreachable!("a zone without a key is not declared by a file"),
        }
        // What comes later points here.
        known.span = word.span;
        Ok(id)
    }

    /// All zones, those without a name first, for so many workers. One that was used and never
    /// declared is an error.
    pub(crate) fn finish(self, workers: usize, diagnostics: &mut Diagnostics) -> Vec<ZoneSpec> {
        let unnamed = [ZoneUse::WorkerCounts, ZoneUse::LoopCounts].map(|purpose| ZoneSpec {
            name: purpose.kind().into(),
            bytes: 0,
            purpose,
        });
        let mut specs = Vec::from(unnamed);
        for mention in self.zones {
            let Mention {
                name,
                kind,
                span,
                is_contended,
                ..
            } = mention;
            match mention.declared {
                Some((bytes, mut purpose)) => {
                    if let ZoneUse::LimitConn { workers_max, .. } = &mut purpose {
                        *workers_max = Holds::columns_for(workers);
                    }
                    specs.push(ZoneSpec {
                        name,
                        bytes,
                        purpose,
                    });
                }
                None if is_contended => {}
                None => diagnostics.push(
                    Diagnostic::new(span, format!("zero size shared memory zone \"{name}\""))
                        .label("used here and declared nowhere")
                        .help(format!(
                            "declare it in `http`: {kind} KEY zone={name}:10m …;"
                        )),
                ),
            }
        }
        specs
    }
}

/// Reads `NAME:SIZE` of the parameter `zone=NAME:SIZE`.
pub(crate) fn name_and_size<'a>(text: &'a str, word: &Word) -> Result<(&'a str, u64), Diagnostic> {
    let parsed = text.split_once(':').and_then(|(name, bytes)| {
        let bytes = size(bytes)?;
        Some((name, bytes))
    });
    let Some((name, bytes)) = parsed else {
        return Err(
            Diagnostic::new(word.span, format!("invalid zone size \"{}\"", word.text))
                .label("expected zone=NAME:SIZE, such as zone=one:10m"),
        );
    };
    if bytes < BYTES_MIN {
        return Err(
            Diagnostic::new(word.span, format!("zone \"{}\" is too small", word.text))
                .label("expected 32k at least"),
        );
    }
    Ok((name, bytes))
}

#[cfg(test)]
mod tests {
    use super::ZoneLabel;

    #[test]
    fn a_label_survives_its_bytes() {
        for (name, key) in [("one", "$uri"), ("", ""), ("a\nb", "\n\n$x"), ("ü", "é")] {
            let label = ZoneLabel {
                kind: "limit_conn_zone".into(),
                name: name.into(),
                bytes: u64::MAX,
                layout: 8,
                key: key.into(),
            };
            let encoded = label.encode();
            assert_eq!(ZoneLabel::decode(&encoded), Some(label));
            let kind_and_numbers = encoded.len() - name.len() - key.len();
            for end in 0..kind_and_numbers {
                assert_eq!(ZoneLabel::decode(&encoded[..end]), None);
            }
        }
        assert_eq!(ZoneLabel::decode(b"a\n1\n2\n3\n\xff\xff\xff"), None);
        assert_eq!(ZoneLabel::decode(b"a\n1\n2\n1\n\xc3\xbc"), None);
    }
}
