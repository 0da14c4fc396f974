//! The examples of the RFC, and blocks of our own against another implementation.

use httlib_hpack::{Decoder as OtherDecoder, Encoder as OtherEncoder};
use proptest::prelude::*;

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| *byte != b' ').collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn shown(fields: &Fields) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let lines = fields
        .iter()
        .map(|(name, value)| format!("{}={}", text(name), text(value)));
    lines.collect::<Vec<_>>().join("|")
}

#[test]
fn requests_of_appendix_c() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let huffman = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for blocks in [plain, huffman] {
        let mut decoder = Decoder::new(4096);
        let mut fields = Fields::new(1000);
        let said = blocks.map(|block| {
            decoder.decode(&bytes(block), &mut fields).unwrap();
            shown(&fields)
        });
        assert_eq!(
            said,
            [
                ":method=GET|:scheme=http|:path=/|:authority=www.example.com",
                ":method=GET|:scheme=http|:path=/|:authority=www.example.com|cache-control=no-cache",
                ":method=GET|:scheme=https|:path=/index.html|:authority=www.example.com|custom-key=custom-value",
            ]
        );
    }
}

#[test]
fn responses_of_appendix_c_with_a_small_table() {
    let blocks = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e \
         919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 \
         821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed \
         4ee5 b106 3d50 07",
    ];
    let mut decoder = Decoder::new(256);
    let mut fields = Fields::new(1000);
    let said = blocks.map(|block| {
        decoder.decode(&bytes(block), &mut fields).unwrap();
        shown(&fields)
    });
    let date = "date=Mon, 21 Oct 2013 20:13:21 GMT|location=https://www.example.com";
    assert_eq!(said[0], format!(":status=302|cache-control=private|{date}"));
    assert_eq!(said[1], format!(":status=307|cache-control=private|{date}"));
    assert_eq!(
        said[2],
        ":status=200|cache-control=private|date=Mon, 21 Oct 2013 20:13:22 GMT|\
         location=https://www.example.com|content-encoding=gzip|\
         set-cookie=foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"
    );
}

#[test]
fn what_is_not_sound_is_an_error() {
    let cases = [
        ("80", DecodeError::Index),
        ("be", DecodeError::Index),
        ("40", DecodeError::Truncated),
        ("4001", DecodeError::Truncated),
        ("400161", DecodeError::Truncated),
        ("40016105", DecodeError::Truncated),
        ("ffffffffff7f", DecodeError::IntegerTooLarge),
        ("408161 00", DecodeError::Huffman),
        ("3fe21f", DecodeError::TableSize),
        ("82 20", DecodeError::TableSize),
    ];
    for (block, error) in cases {
        let mut decoder = Decoder::new(4096);
        let decoded = decoder.decode(&bytes(block), &mut Fields::new(1000));
        assert_eq!(decoded, Err(error), "{block}");
    }
}

/// A field that was said once may be said ten thousand times in as many bytes.
#[test]
fn a_bomb_is_bounded() {
    let mut decoder = Decoder::new(4096);
    let mut fields = Fields::new(16 * 1024);
    let mut block = vec![0x40, 1, b'a', 0x7f, 0xa1, 0x1e];
    block.extend_from_slice(&[b'x'; 4000]);
    decoder.decode(&block, &mut fields).unwrap();
    assert!(!fields.are_too_large());
    // At the limit, one past it, and far past it.
    let size = 4001 + 32;
    let fits = |bytes: usize| bytes / size;
    let limit = 16 * 1024;
    for (count, is_large) in [
        (fits(limit), false),
        (fits(limit) + 1, true),
        (fits(4 * limit), true),
    ] {
        decoder.decode(&vec![0xbe; count], &mut fields).unwrap();
        assert_eq!(fields.are_too_large(), is_large, "{count}");
        assert!(fields.bytes.len() <= 16 * 1024);
    }
    let far = decoder.decode(&vec![0xbe; fits(4 * limit) + 1], &mut fields);
    assert_eq!(far, Err(DecodeError::TooLarge));
}

#[test]
fn what_is_said_again_is_a_number() {
    let mut encoder = Encoder::new();
    let mut decoder = Decoder::new(4096);
    let mut fields = Fields::new(10_000);
    let head = [
        (&b"Server"[..], &b"revolve"[..]),
        (b"Date", b"Tue, 01 Dec 2026 12:00:00 GMT"),
        (b"Content-Type", b"text/html"),
        (b"Content-Length", b"1024"),
        (b"Last-Modified", b"Tue, 01 Dec 2026 11:00:00 GMT"),
        (b"ETag", b"\"692d8a10-400\""),
        (b"Accept-Ranges", b"bytes"),
    ];
    let mut lens = Vec::new();
    for _ in 0..3 {
        let mut out = Vec::new();
        encoder.begin(&mut out);
        encoder.status(200, &mut out);
        for (name, value) in head {
            encoder.field(name, value, &mut out);
        }
        decoder.decode(&out, &mut fields).unwrap();
        assert_eq!(fields.list.len(), 8);
        assert!(shown(&fields).ends_with("etag=\"692d8a10-400\"|accept-ranges=bytes"));
        lens.push(out.len());
    }
    assert!(lens[0] < 100 && lens[2] == 8, "{lens:?}");
}

#[test]
fn secrets_are_marked_and_never_kept() {
    let mut encoder = Encoder::new();
    for _ in 0..3 {
        let mut out = Vec::new();
        encoder.field(b"Set-Cookie", b"a=b", &mut out);
        assert_eq!(out[0] & 0xf0, 0x10);
        assert_eq!(encoder.generation(), 0);
    }
}

#[test]
fn the_other_side_may_take_the_table_away() {
    let mut encoder = Encoder::new();
    let mut decoder = Decoder::new(4096);
    let mut fields = Fields::new(10_000);
    let mut say = |encoder: &mut Encoder| {
        let mut out = Vec::new();
        encoder.begin(&mut out);
        encoder.field(b"server", b"revolve", &mut out);
        decoder.decode(&out, &mut fields).unwrap();
        assert_eq!(shown(&fields), "server=revolve");
        out.len()
    };
    let first = say(&mut encoder);
    assert_eq!(say(&mut encoder), 1);
    encoder.set_table_bytes_max(0);
    encoder.set_table_bytes_max(100_000);
    assert!(say(&mut encoder) > first);
    assert_eq!(say(&mut encoder), 1);
    encoder.set_table_bytes_max(0);
    assert!(say(&mut encoder) >= first);
    assert!(say(&mut encoder) >= first);
}

fn any_field() -> impl Strategy<Value = (String, Vec<u8>)> {
    let name = prop_oneof![
        Just("content-type".to_owned()),
        Just("etag".to_owned()),
        Just("set-cookie".to_owned()),
        "[a-z][a-z0-9-]{0,20}",
    ];
    let value = prop_oneof![
        "[ -~]{0,40}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..40),
        Just(b"gzip".to_vec()),
    ];
    (name, value)
}

proptest! {
    #[test]
    fn another_decoder_reads_what_we_write(
        blocks in proptest::collection::vec(proptest::collection::vec(any_field(), 0..12), 1..20),
        sizes in proptest::collection::vec(proptest::option::of(0usize..5000), 20),
    ) {
        let (mut ours, mut other) = (Encoder::new(), OtherDecoder::default());
        let (mut decoder, mut fields) = (Decoder::new(4096), Fields::new(1 << 20));
        for (block, size) in blocks.iter().zip(sizes) {
            if let Some(size) = size {
                ours.set_table_bytes_max(size);
            }
            let mut out = Vec::new();
            ours.begin(&mut out);
            for (name, value) in block {
                ours.field(name.as_bytes(), value, &mut out);
            }
            decoder.decode(&out, &mut fields).unwrap();
            let mut read = Vec::new();
            other.decode(&mut out, &mut read).unwrap();
            let expected: Vec<_> = block.iter().map(|(name, value)| (name.as_bytes(), &value[..])).collect();
            prop_assert_eq!(fields.iter().collect::<Vec<_>>(), expected.clone());
            let read: Vec<_> = read.iter().map(|(name, value, _)| (&name[..], &value[..])).collect();
            prop_assert_eq!(read, expected);
        }
    }

    #[test]
    fn we_read_what_another_encoder_writes(
        blocks in proptest::collection::vec(proptest::collection::vec((any_field(), 0u8..8), 0..12), 1..20),
    ) {
        let mut other = OtherEncoder::with_dynamic_size(4096);
        let (mut decoder, mut fields) = (Decoder::new(4096), Fields::new(1 << 20));
        for block in &blocks {
            let mut out = Vec::new();
            for ((name, value), flags) in block {
                let flags = match flags % 4 {
                    0 => OtherEncoder::WITH_INDEXING,
                    1 => OtherEncoder::NEVER_INDEXED,
                    2 => OtherEncoder::WITH_INDEXING | OtherEncoder::HUFFMAN_VALUE,
                    _ => OtherEncoder::BEST_FORMAT,
                };
                let field = (name.clone().into_bytes(), value.clone(), flags);
                other.encode(field, &mut out).unwrap();
            }
            decoder.decode(&out, &mut fields).unwrap();
            let expected: Vec<_> = block.iter().map(|((name, value), _)| (name.as_bytes(), &value[..])).collect();
            prop_assert_eq!(fields.iter().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..5)) {
        let (mut decoder, mut fields) = (Decoder::new(4096), Fields::new(4096));
        for block in blocks {
            if decoder.decode(&block, &mut fields).is_err() {
                break;
            }
            prop_assert!(fields.bytes.len() <= 4096);
        }
    }
}
