//! What a zone is: what is kept in it, and what it is known by.

use std::any::Any;
use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};

use revolve_shm::ZoneError;

/// What is kept in a zone: made by whoever has something to keep.
pub trait ZoneKind: Any + fmt::Debug + Send + Sync {
    /// The directive that declares such a zone; a zone is known by it and its name.
    fn directive(&self) -> &'static str;

    /// The key of its states as it was written, where there is one.
    fn key_text(&self) -> &str {
        ""
    }

    /// What else the layout depends on, where so many workers count in it. A layout for more is as good
    /// as one for fewer.
    fn layout(&self, _workers: usize) -> u64 {
        0
    }

    /// Makes the zone.
    ///
    /// Errors: memory that cannot be had.
    fn create(&self, spec: &ZoneSpec) -> Result<Box<dyn ZoneState>, ZoneError>;

    /// Opens one that was made before, by this process or another.
    ///
    /// Errors: a file that is no such zone.
    fn open(&self, file: OwnedFd, layout: u64) -> Result<Box<dyn ZoneState>, ZoneError>;
}

/// A zone that is open. Any thread may use it.
pub trait ZoneState: Any + fmt::Debug + Send + Sync {
    /// Its memory file.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// Takes back what a worker held that has died, by its number among the workers.
    fn take_back(&self, _worker: usize) {}
}

/// One zone.
#[derive(Debug)]
pub struct ZoneSpec {
    /// Its name.
    pub name: String,
    /// Its size as the configuration gives it, in bytes.
    pub bytes: u64,
    /// What its layout depends on, as its kind says.
    pub layout: u64,
    /// What is kept in it.
    pub kind: Box<dyn ZoneKind>,
}

impl ZoneSpec {
    /// What the configuration says of the zone besides its name and size, by whoever declared it.
    pub(crate) fn kind<K: ZoneKind>(&self) -> &K {
        let kind: &dyn Any = &*self.kind;
        kind.downcast_ref()
            .expect("a zone was mentioned as one of its kind")
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
        ZoneLabel {
            kind: self.kind.directive().into(),
            name: self.name.clone(),
            bytes: self.bytes,
            layout: self.layout,
            key: self.kind.key_text().into(),
        }
    }
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
