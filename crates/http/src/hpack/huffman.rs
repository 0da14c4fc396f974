//! The Huffman code of HPACK and QPACK (RFC 7541, section 5.2 and appendix B).
//!
//! The code is canonical, so that the lengths alone say all of it: what follows is computed from them
//! when this is compiled. Codes of up to ten bits, which all text is made of, are found by one look into
//! a table of 2 KiB; the others by their length.

/// Bits that are looked up at once.
const LOOK_BITS: u32 = 10;

/// The longest code.
const LEN_MAX: usize = 30;

/// The symbol that ends a string, and may not stand in one.
const EOS: u16 = 256;

/// The length of each symbol's code in bits. Source: RFC 7541, appendix B.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

struct Code {
    /// The code of each symbol.
    codes: [u32; 257],
    /// The symbols in the order of their codes.
    order: [u16; 257],
    /// Of each length: the first code, and where its symbol stands in `order`.
    first: [(u32, u16); LEN_MAX + 2],
}

static CODE: Code = build();

const fn build() -> Code {
    let mut code = Code {
        codes: [0; 257],
        order: [0; 257],
        first: [(0, 0); LEN_MAX + 2],
    };
    let (mut next, mut place, mut len) = (0u32, 0usize, 1usize);
    while len <= LEN_MAX {
        next <<= 1;
        code.first[len] = (next, place as u16);
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == len {
                code.codes[symbol] = next;
                code.order[place] = symbol as u16;
                next += 1;
                place += 1;
            }
            symbol += 1;
        }
        len += 1;
    }
    code.first[LEN_MAX + 1] = (0, place as u16);
    code
}

/// What the next ten bits begin with: a symbol and the length of its code; 0 for a longer one.
static LOOK: [(u8, u8); 1 << LOOK_BITS] = {
    let code = build();
    let mut table = [(0, 0); 1 << LOOK_BITS];
    let mut symbol = 0;
    while symbol < 256 {
        let len = LENGTHS[symbol] as u32;
        if len <= LOOK_BITS {
            let begin = code.codes[symbol] << (LOOK_BITS - len);
            let mut at = begin;
            while at < begin + (1 << (LOOK_BITS - len)) {
                table[at as usize] = (symbol as u8, len as u8);
                at += 1;
            }
        }
        symbol += 1;
    }
    table
};

/// What was to be a string is none: it holds the symbol that ends one, or is not padded with the
/// beginning of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidHuffman;

/// Appends what a string in the code says. It is at most 8/5 as long.
///
/// # Errors
///
/// See [`InvalidHuffman`]; `out` then holds what was read before.
pub fn decode(input: &[u8], out: &mut Vec<u8>) -> Result<(), InvalidHuffman> {
    out.reserve(input.len() * 8 / 5 + 1);
    let mut bits = Bits {
        acc: 0,
        count: 0,
        rest: input,
    };
    loop {
        bits.refill();
        while bits.count >= 30 {
            let (symbol, len) = bits.next()?;
            bits.count -= len;
            out.push(symbol);
        }
        if bits.rest.is_empty() {
            break;
        }
    }
    while !bits.is_padding() {
        let (symbol, len) = bits.next()?;
        bits.count = bits.count.checked_sub(len).ok_or(InvalidHuffman)?;
        out.push(symbol);
    }
    Ok(())
}

/// The bits that are read next: the lowest `count` of `acc`, then those of `rest`.
struct Bits<'a> {
    acc: u64,
    count: u32,
    rest: &'a [u8],
}

impl Bits<'_> {
    #[inline(always)]
    fn refill(&mut self) {
        while self.count <= 56 {
            let Some((byte, rest)) = self.rest.split_first() else {
                return;
            };
            self.acc = self.acc << 8 | u64::from(*byte);
            self.count += 8;
            self.rest = rest;
        }
    }

    /// The next `len` bits, with ones behind the last.
    #[inline(always)]
    fn peek(&self, len: u32) -> u32 {
        let value = match self.count >= len {
            true => self.acc >> (self.count - len),
            false => {
                let missing = len - self.count;
                self.acc << missing | ((1 << missing) - 1)
            }
        };
        value as u32 & ((1 << len) - 1)
    }

    #[inline(always)]
    fn next(&self) -> Result<(u8, u32), InvalidHuffman> {
        let (symbol, len) = LOOK[self.peek(LOOK_BITS) as usize];
        match len {
            0 => self.next_long(),
            len => Ok((symbol, u32::from(len))),
        }
    }

    fn next_long(&self) -> Result<(u8, u32), InvalidHuffman> {
        let all = self.peek(LEN_MAX as u32);
        for len in LOOK_BITS as usize + 1..=LEN_MAX {
            let code = all >> (LEN_MAX - len);
            let ((first, place), (_, next_place)) = (CODE.first[len], CODE.first[len + 1]);
            let of_len = u32::from(next_place - place);
            if let Some(at) = code.checked_sub(first).filter(|at| *at < of_len) {
                let symbol = CODE.order[usize::from(place) + at as usize];
                return match symbol {
                    EOS => Err(InvalidHuffman),
                    symbol => Ok((symbol as u8, len as u32)),
                };
            }
        }
        Err(InvalidHuffman)
    }

    /// Whether what is left is what may stand behind the last symbol: fewer than eight ones.
    fn is_padding(&self) -> bool {
        let ones = (1u64 << (self.count & 7)) - 1;
        self.count < 8 && self.acc & ones == ones
    }
}

/// How many bytes a string takes in the code.
#[must_use]
pub fn encoded_len(text: &[u8]) -> usize {
    let bits = text.iter().map(|byte| usize::from(LENGTHS[*byte as usize]));
    bits.sum::<usize>().div_ceil(8)
}

/// Appends a string in the code.
pub fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut acc, mut count) = (0u64, 0u32);
    for byte in text {
        let len = u32::from(LENGTHS[*byte as usize]);
        acc = acc << len | u64::from(CODE.codes[*byte as usize]);
        count += len;
        while count >= 8 {
            count -= 8;
            out.push((acc >> count) as u8);
        }
    }
    if count > 0 {
        let missing = 8 - count;
        out.push((acc << missing | ((1 << missing) - 1)) as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(input: &[u8]) -> Result<Vec<u8>, InvalidHuffman> {
        let mut out = Vec::new();
        decode(input, &mut out).map(|()| out)
    }

    #[test]
    fn every_byte_comes_back() {
        for len in 1..6 {
            for byte in 0..=255u8 {
                let text = vec![byte; len];
                let mut out = Vec::new();
                encode(&text, &mut out);
                assert_eq!(out.len(), encoded_len(&text));
                assert_eq!(decoded(&out).as_deref(), Ok(&text[..]), "{byte} {len}");
            }
        }
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        let mut out = Vec::new();
        encode(&all, &mut out);
        assert_eq!(decoded(&out), Ok(all));
    }

    #[test]
    fn the_code_is_that_of_the_rfc() {
        // Appendix B: some of each length, and the last.
        let known = [
            (b'0' as usize, 0x0, 5),
            (b' ' as usize, 0x14, 6),
            (b'&' as usize, 0xf8, 8),
            (b'?' as usize, 0x3fc, 10),
            (b'\'' as usize, 0x7fa, 11),
            (b'\\' as usize, 0x7fff0, 19),
            (10, 0x3fff_fffc, 30),
            (256, 0x3fff_ffff, 30),
        ];
        for (symbol, code, len) in known {
            assert_eq!((CODE.codes[symbol], LENGTHS[symbol]), (code, len));
        }
    }

    #[test]
    fn padding_is_the_beginning_of_the_end_and_shorter_than_a_byte() {
        assert_eq!(decoded(&[]), Ok(vec![]));
        // '0' is five zeros: three ones may follow.
        assert_eq!(decoded(&[0b0000_0111]), Ok(b"0".to_vec()));
        assert_eq!(decoded(&[0b0000_0110]), Err(InvalidHuffman));
        assert_eq!(decoded(&[0b0000_0011]), Err(InvalidHuffman));
        assert_eq!(decoded(&[0xff]), Err(InvalidHuffman));
        assert_eq!(decoded(&[0b0000_0111, 0xff]), Err(InvalidHuffman));
        // The symbol that ends a string, alone and behind others.
        assert_eq!(decoded(&[0xff; 4]), Err(InvalidHuffman));
        assert_eq!(
            decoded(&[0x00, 0xff, 0xff, 0xff, 0xff]),
            Err(InvalidHuffman)
        );
    }
}
