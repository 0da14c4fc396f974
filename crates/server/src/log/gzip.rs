//! Compressed logs: each block is a gzip member of its own (RFC 1952, 2.2), so that the file can
//! be read with `zcat` at any time. Source: nginx's `ngx_http_log_gzip`.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

/// The least level of the library. Its level 1 makes logs a quarter larger than zlib's does, its
/// level 2 a little smaller.
const LEVEL_MIN: u8 = 2;

/// Appends `block` to `out`, compressed.
pub(crate) fn compress(block: &[u8], level: u8, out: &mut Vec<u8>) {
    let level = Compression::new(level.max(LEVEL_MIN).into());
    let mut encoder = GzEncoder::new(out, level);
    let written = encoder.write_all(block).and_then(|()| encoder.try_finish());
    written.expect("memory takes whatever is written to it");
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn blocks_one_behind_the_other_are_one_file() {
        let mut file = Vec::new();
        let blocks: [&[u8]; 3] = [b"one\n", &[b'x'; 100_000], b""];
        for (block, level) in blocks.iter().zip([1, 9, 5]) {
            compress(block, level, &mut file);
        }
        let mut text = Vec::new();
        let mut decoder = flate2::read::MultiGzDecoder::new(file.as_slice());
        decoder.read_to_end(&mut text).unwrap();
        assert_eq!(text, blocks.concat());
        assert!(file.len() < 2_000, "{}", file.len());
    }
}
