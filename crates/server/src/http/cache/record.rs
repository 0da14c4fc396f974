//! What stands before the body in the file of an answer.
//!
//! All numbers are little-endian. Whatever does not read as it was written is as good as not there: its
//! sum of check tells, and no length in it is believed beyond the bytes that are there.

/// What such a file begins with; the last byte is the version of what follows.
const MAGIC: [u8; 8] = *b"RvlvAns\x01";
/// Magic, bytes of the whole record, sum of check.
pub(crate) const PREFIX_BYTES: usize = 16;
/// The numbers behind the prefix.
const FIXED_BYTES: usize = 1 + 1 + 2 + 8 + 4 + 4 + 8 + 8 + 3 * 4;
/// No record is longer.
pub(crate) const RECORD_BYTES_MAX: usize = 1024 * 1024;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An answer.
    Answer,
    /// The head of an answer alone: to HEAD, or to what gets a page of ours.
    HeadAnswer,
    /// It tells by which headers of a request its answers differ; they have files of their own.
    Variants,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Answer, Kind::HeadAnswer, Kind::Variants];
}

/// What is known of an answer besides its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) status: u16,
    /// Until when it is fresh, in seconds of Unix time.
    pub(crate) valid_until: i64,
    /// For how long after that it may be served while it is renewed.
    pub(crate) updating_s: u32,
    /// For how long after that it may be served where it cannot be renewed.
    pub(crate) error_s: u32,
    /// Which generation of variants this one begins.
    pub(crate) generation: u64,
    pub(crate) body_bytes: u64,
    /// The names of headers, of [`Kind::Variants`].
    pub(crate) vary: Vec<u8>,
    pub(crate) key: Vec<u8>,
    /// The head as it came.
    pub(crate) head: Vec<u8>,
}

impl Record {
    /// Its bytes. Two records with texts of the same lengths have as many.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let texts = [&self.vary, &self.key, &self.head];
        let len = PREFIX_BYTES + FIXED_BYTES + texts.iter().map(|it| it.len()).sum::<usize>();
        let mut out = Vec::with_capacity(len);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&(len as u32).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        let kind = Kind::ALL.iter().position(|it| *it == self.kind);
        out.push(kind.expect("all are listed") as u8);
        out.push(0);
        out.extend_from_slice(&self.status.to_le_bytes());
        out.extend_from_slice(&self.valid_until.to_le_bytes());
        out.extend_from_slice(&self.updating_s.to_le_bytes());
        out.extend_from_slice(&self.error_s.to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.body_bytes.to_le_bytes());
        for text in texts {
            out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        }
        for text in texts {
            out.extend_from_slice(text);
        }
        let sum = crc32fast::hash(&out[PREFIX_BYTES..]);
        out[12..PREFIX_BYTES].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// How long the record is that begins so; `None` where it is none.
    pub(crate) fn len_of(bytes: &[u8]) -> Option<usize> {
        let prefix = bytes.get(..PREFIX_BYTES)?;
        let len = u32::from_le_bytes(prefix[8..12].try_into().ok()?) as usize;
        let is_sound =
            prefix[..8] == MAGIC && (PREFIX_BYTES + FIXED_BYTES..=RECORD_BYTES_MAX).contains(&len);
        is_sound.then_some(len)
    }

    /// The record that these bytes begin with; `None` where they do not.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..Self::len_of(bytes)?)?;
        let (prefix, rest) = bytes.split_at(PREFIX_BYTES);
        let sum = u32::from_le_bytes(prefix[12..].try_into().ok()?);
        if crc32fast::hash(rest) != sum {
            return None;
        }
        let mut reader = Reader(rest);
        let kind = *Kind::ALL.get(usize::from(reader.number::<1>()? as u8))?;
        if reader.number::<1>()? != 0 {
            return None;
        }
        let status = reader.number::<2>()? as u16;
        let valid_until = reader.number::<8>()? as i64;
        let updating_s = reader.number::<4>()? as u32;
        let error_s = reader.number::<4>()? as u32;
        let generation = reader.number::<8>()?;
        let body_bytes = reader.number::<8>()?;
        let mut lengths = [0; 3];
        for length in &mut lengths {
            *length = reader.number::<4>()? as usize;
        }
        let [vary, key, head] = lengths.map(|length| reader.take(length).map(<[u8]>::to_vec));
        let record = Self {
            kind,
            status,
            valid_until,
            updating_s,
            error_s,
            generation,
            body_bytes,
            vary: vary?,
            key: key?,
            head: head?,
        };
        reader.0.is_empty().then_some(record)
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn number<const BYTES: usize>(&mut self) -> Option<u64> {
        let mut number = [0; 8];
        number[..BYTES].copy_from_slice(self.take(BYTES)?);
        Some(u64::from_le_bytes(number))
    }
}

/// Whatever is read of bytes is written as the same bytes; with a prefix that makes them a record as far as
/// can be.
#[cfg(any(test, fuzzing))]
#[cfg_attr(not(fuzzing), expect(unreachable_pub, reason = "fuzz targets call it"))]
pub fn check(bytes: &[u8]) {
    let mut whole = vec![0; PREFIX_BYTES];
    whole.extend_from_slice(bytes);
    whole[..8].copy_from_slice(&MAGIC);
    let len = whole.len() as u32;
    whole[8..12].copy_from_slice(&len.to_le_bytes());
    let sum = crc32fast::hash(bytes);
    whole[12..PREFIX_BYTES].copy_from_slice(&sum.to_le_bytes());
    for bytes in [bytes, &whole] {
        if let Some(record) = Record::decode(bytes) {
            let written = record.encode();
            assert_eq!(written, bytes[..written.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::testing::corpus;

    /// What fuzzing has found, so that `cargo test` alone keeps it found.
    #[test]
    fn records_of_the_corpus_are_written_as_they_were_read() {
        let corpus = corpus("cache_record");
        assert!(corpus.len() > 3);
        corpus.iter().for_each(|data| check(data));
    }

    prop_compose! {
        fn records()(
            kind in prop::sample::select(Kind::ALL.to_vec()),
            (status, valid_until, updating_s, error_s) in any::<(u16, i64, u32, u32)>(),
            (generation, body_bytes) in any::<(u64, u64)>(),
            vary in prop::collection::vec(any::<u8>(), 0..20),
            key in prop::collection::vec(any::<u8>(), 0..200),
            head in prop::collection::vec(any::<u8>(), 0..2000),
        ) -> Record {
            Record {
                kind, status, valid_until, updating_s, error_s, generation, body_bytes, vary, key, head,
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(record in records(), behind in prop::collection::vec(any::<u8>(), 0..9)) {
            let mut bytes = record.encode();
            let len = bytes.len();
            prop_assert_eq!(Record::len_of(&bytes), Some(len));
            bytes.extend_from_slice(&behind);
            prop_assert_eq!(Record::decode(&bytes), Some(record));
        }

        #[test]
        fn what_was_changed_or_cut_is_not(record in records(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
            let mut bytes = record.encode();
            prop_assert_eq!(Record::decode(&bytes[..at.index(bytes.len())]), None);
            let place = at.index(bytes.len());
            bytes[place] ^= 1 << bit;
            prop_assert_eq!(Record::decode(&bytes), None);
        }

        #[test]
        fn no_bytes_are_believed_more_than_they_say(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(Record::decode(&bytes), None);
            check(&bytes);
        }
    }
}
