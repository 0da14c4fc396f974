//! What the configuration says of zones.

use std::collections::HashMap;

use revolve_conf::value::size;
use revolve_conf::{Diagnostic, Diagnostics, Span, Word};

use crate::zones::counts::{LoopRows, WorkerRows};
use crate::zones::kind::{ZoneKind, ZoneSpec};
use crate::zones::secrets::SecretZone;

/// nginx's `8 * ngx_pagesize`: a zone is no smaller.
const BYTES_MIN: u64 = 8 * 4096;

/// A zone's place among those of its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ZoneId(usize);

impl ZoneId {
    /// The zone that was named as the first, the second and so on: behind those without a name.
    pub(crate) fn named(at: usize) -> Self {
        Self(UNNAMED + at)
    }

    /// Its element of a list that goes by the zones of its configuration.
    pub(crate) fn of<T>(self, list: &[T]) -> &T {
        &list[self.0]
    }
}

/// The counts of the workers: in every configuration.
pub(super) const WORKER_COUNTS: ZoneId = ZoneId(0);
/// The counts of their loops: in every configuration.
pub(super) const LOOP_COUNTS: ZoneId = ZoneId(1);
/// Secrets of the workers: in every configuration.
pub(super) const SECRETS: ZoneId = ZoneId(2);
/// So many are there without a name.
const UNNAMED: usize = 3;

/// The columns that a zone with one a worker may have.
const COLUMNS: [usize; 5] = [8, 32, 128, 512, 2048];

/// The columns that so many workers need: as many again end while their successors serve.
pub(crate) fn columns_for(workers: usize) -> usize {
    let wanted = 2 * workers;
    let fits = COLUMNS.into_iter().find(|columns| *columns >= wanted);
    fits.unwrap_or(COLUMNS[COLUMNS.len() - 1])
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
    declared: Option<(u64, Box<dyn ZoneKind>)>,
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
        Ok(ZoneId::named(at))
    }

    /// Declares a zone; `word` is the parameter that names it and gives its size.
    pub(crate) fn declare(
        &mut self,
        (name, bytes): (&str, u64),
        declaration: impl ZoneKind,
        word: &Word,
    ) -> Result<ZoneId, Diagnostic> {
        let id = self.mention(name, declaration.directive(), word)?;
        let known = &mut self.zones[id.0 - UNNAMED];
        match &known.declared {
            None => known.declared = Some((bytes, Box::new(declaration))),
            Some((before, _)) if *before != bytes => {
                let message = format!(
                    "the size {bytes} of shared memory zone \"{name}\" conflicts with already \
                     declared size {before}"
                );
                return Err(Diagnostic::new(word.span, message)
                    .label("declared a second time, with another size")
                    .note(known.span, "here"));
            }
            Some((_, before)) => {
                let (kind, key_text) = (declaration.directive(), before.key_text());
                let message = format!("{kind} \"{name}\" is already bound to key \"{key_text}\"");
                return Err(Diagnostic::new(word.span, message)
                    .label("declared a second time")
                    .note(known.span, "here"));
            }
        }
        // What comes later points here.
        known.span = word.span;
        Ok(id)
    }

    /// Declares a zone that several may declare, with one size, such as the one of several groups.
    pub(crate) fn declare_shared(
        &mut self,
        (name, bytes): (&str, u64),
        declaration: impl ZoneKind,
        word: &Word,
    ) -> Result<ZoneId, Diagnostic> {
        let id = self.mention(name, declaration.directive(), word)?;
        let known = &self.zones[id.0 - UNNAMED].declared;
        match known {
            Some((before, _)) if *before == bytes => Ok(id),
            _ => self.declare((name, bytes), declaration, word),
        }
    }

    /// All zones, those without a name first, for so many workers. One that was used and never
    /// declared is an error.
    pub(crate) fn finish(self, workers: usize, diagnostics: &mut Diagnostics) -> Vec<ZoneSpec> {
        let unnamed: [Box<dyn ZoneKind>; UNNAMED] = [
            Box::new(WorkerRows),
            Box::new(LoopRows),
            Box::new(SecretZone),
        ];
        let mut specs = Vec::from(unnamed.map(|kind| ZoneSpec {
            name: kind.directive().into(),
            bytes: 0,
            layout: 0,
            kind,
        }));
        for mention in self.zones {
            let Mention {
                name,
                kind,
                span,
                is_contended,
                ..
            } = mention;
            match mention.declared {
                Some((bytes, kind)) => specs.push(ZoneSpec {
                    name,
                    bytes,
                    layout: kind.layout(workers),
                    kind,
                }),
                None if is_contended => {}
                None => diagnostics.push(
                    Diagnostic::new(span, format!("zero size shared memory zone \"{name}\""))
                        .label("used here and declared nowhere")
                        .help(match kind {
                            "zone" => {
                                format!("say its size where a group uses it: zone {name} 64k;")
                            }
                            _ => format!("declare it in `http`: {kind} KEY zone={name}:10m …;"),
                        }),
                ),
            }
        }
        specs
    }
}

/// The size of a zone, which is no smaller than nginx's.
pub(crate) fn zone_bytes(word: &Word, name: &str) -> Result<u64, Diagnostic> {
    let bytes = size(&word.text).ok_or_else(|| {
        Diagnostic::new(word.span, format!("invalid zone size \"{}\"", word.text))
            .label("expected a size such as 64k")
    })?;
    match bytes >= BYTES_MIN {
        true => Ok(bytes),
        false => Err(
            Diagnostic::new(word.span, format!("zone \"{name}\" is too small"))
                .label("expected 32k at least"),
        ),
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
