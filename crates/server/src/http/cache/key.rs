//! The keys of answers, and the files that they lead to.

use std::path::{Path, PathBuf};

use md5::{Digest, Md5};

/// What an answer is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    /// As the configuration makes it of a request.
    pub(crate) text: Vec<u8>,
    hash: [u8; 16],
}

/// Whatever else lies in the folder is none of ours.
pub(crate) const SUFFIX: &str = ".answer";

impl Key {
    pub(crate) fn of(text: Vec<u8>) -> Self {
        let hash = Md5::digest(&text).into();
        Self { text, hash }
    }

    /// The key of one of the answers that there are for different requests, by what of a request chooses
    /// among them. Those of another generation have other keys.
    pub(crate) fn variant(&self, generation: u64, chooses: &[u8]) -> Self {
        let mut hash = Md5::new();
        hash.update(self.hash);
        hash.update(generation.to_le_bytes());
        hash.update(chooses);
        Self {
            text: self.text.clone(),
            hash: hash.finalize().into(),
        }
    }

    pub(crate) fn hash(&self) -> [u8; 16] {
        self.hash
    }

    /// `folder/c/29/b7f54b2df7773722d382f4809d65029c` and the suffix for levels 1 and 2, as nginx spreads
    /// its files.
    pub(crate) fn path(&self, folder: &Path, levels: &[usize]) -> PathBuf {
        let mut name = String::with_capacity(32 + SUFFIX.len());
        for byte in self.hash {
            for digit in [byte >> 4, byte & 15] {
                name.push(char::from_digit(u32::from(digit), 16).expect("below 16"));
            }
        }
        let mut path = folder.to_owned();
        let mut end = name.len();
        for level in levels {
            let begin = end.saturating_sub(*level);
            path.push(&name[begin..end]);
            end = begin;
        }
        name.push_str(SUFFIX);
        path.push(name);
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_spread_by_the_end_of_their_hash() {
        let key = Key::of(b"x".to_vec());
        let hash = "9dd4e461268c8034f5c8564e155c67a6";
        let path = |levels: &[usize]| key.path(Path::new("/c"), levels).display().to_string();
        assert_eq!(path(&[]), format!("/c/{hash}.answer"));
        assert_eq!(path(&[1, 2]), format!("/c/6/7a/{hash}.answer"));
        assert_eq!(path(&[2, 2, 2]), format!("/c/a6/67/5c/{hash}.answer"));
    }

    #[test]
    fn variants_differ_by_generation_and_by_what_chooses() {
        let key = Key::of(b"x".to_vec());
        let variants = [(1, "a"), (1, "b"), (2, "a")].map(|(g, v)| key.variant(g, v.as_bytes()));
        for (at, one) in variants.iter().enumerate() {
            assert_eq!(one.text, key.text);
            assert_ne!(one.hash(), key.hash());
            assert!(!variants[at + 1..].contains(one));
        }
        assert_eq!(variants[0], key.variant(1, b"a"));
    }
}
