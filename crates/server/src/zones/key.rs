//! Keys of one size out of keys of any.

/// A key in a table: as it is where it is short, a hash under the zone's own secret where it is not.
///
/// Two long keys may have the same hash, by a chance of 2 to the power of minus 120, which nobody
/// can improve who does not know the secret.
pub(crate) type Key = [u8; 16];

/// Marks a hash; no length is as large.
const HASHED: u8 = u8::MAX;

/// The key of these bytes.
pub(crate) fn key_of(bytes: &[u8], hash: impl FnOnce(&[u8]) -> u128) -> Key {
    let mut key = Key::default();
    if let Some(space) = key[1..].get_mut(..bytes.len()) {
        space.copy_from_slice(bytes);
        key[0] = bytes.len() as u8;
    } else {
        key = hash(bytes).to_le_bytes();
        key[0] = HASHED;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::key_of;

    #[test]
    fn short_keys_are_themselves_and_long_ones_are_hashed() {
        let never = |_: &[u8]| unreachable!("short");
        let keys =
            [&b""[..], b"\0", b"\0\0", b"a", b"aaaaaaaaaaaaaaa"].map(|key| key_of(key, never));
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[at + 1..].contains(key));
        }
        let long = key_of(&[7; 16], |bytes| {
            assert_eq!(bytes, [7; 16]);
            0x0102
        });
        assert_eq!((long[0], long[1]), (255, 1));
    }
}
