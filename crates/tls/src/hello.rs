//! What a client says first: read before anything is decided, because the name that it asks for decides
//! which certificate and which rules it gets.

/// Bytes of a ClientHello that are waited for, with its records' headers. Real ones have a few hundred to
/// two thousand.
const HELLO_BYTES_MAX: usize = 32 * 1024;

/// The type of a record with a handshake message, and of the message itself. Source: RFC 8446, 5.1 and 4.
const RECORD_HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// Extensions. Source: RFC 8446, 4.2; RFC 7301; RFC 6066.
const SERVER_NAME: u16 = 0;
const SUPPORTED_GROUPS: u16 = 10;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;

/// A ClientHello: what of it a server may want to know before it answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The name of the server that it asks for (SNI), in lower case and without a final dot.
    pub server_name: Option<Box<str>>,
    /// Cipher suites by their numbers, in its order.
    pub cipher_suites: Vec<u16>,
    /// Groups for the key exchange by their numbers, in its order.
    pub groups: Vec<u16>,
    /// Signature schemes by their numbers, in its order.
    pub signature_schemes: Vec<u16>,
    /// Versions of the protocol that it speaks, in its order (0x0304 is TLS 1.3); those before 1.3 name
    /// the highest alone.
    pub versions: Vec<u16>,
    /// Protocols above TLS (ALPN), in its order.
    pub protocols: Vec<Vec<u8>>,
}

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Greeting {
    /// The beginning of a ClientHello: more is needed.
    Partial,
    /// A ClientHello.
    Hello(ClientHello),
    /// Something that wants to be TLS and is not sound.
    Malformed,
    /// Something else.
    NotTls,
}

/// Reads the first bytes of a connection. Any bytes may be given; the answer depends on their
/// concatenation alone.
pub fn read(received: &[u8]) -> Greeting {
    match received.first() {
        None => return Greeting::Partial,
        Some(&RECORD_HANDSHAKE) => {}
        // SSLv2 began so, and nginx takes it for an attempt at TLS.
        Some(first) if first & 0x80 != 0 => return Greeting::Malformed,
        Some(_) => return Greeting::NotTls,
    }
    let mut message = Vec::new();
    let mut rest = received;
    loop {
        match message_len(&message) {
            Some(Err(())) => return Greeting::Malformed,
            Some(Ok(len)) if message.len() >= len => {
                let hello = parse(&message[4..len]);
                return hello.map_or(Greeting::Malformed, Greeting::Hello);
            }
            _ => {}
        }
        let Some((header, after)) = rest.split_first_chunk::<5>() else {
            return partial(received);
        };
        let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if header[0] != RECORD_HANDSHAKE || header[1] != 3 || len == 0 || len > 16384 {
            return Greeting::Malformed;
        }
        let available = after.len().min(len);
        message.extend_from_slice(&after[..available]);
        rest = &after[available..];
    }
}

fn partial(received: &[u8]) -> Greeting {
    match received.len() > HELLO_BYTES_MAX {
        true => Greeting::Malformed,
        false => Greeting::Partial,
    }
}

/// The length of the message, its header included, once that has come.
fn message_len(message: &[u8]) -> Option<Result<usize, ()>> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Some(Err(()));
    }
    let header = message.first_chunk::<4>()?;
    let len = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
    Some(match len > HELLO_BYTES_MAX {
        true => Err(()),
        false => Ok(4 + len),
    })
}

fn parse(body: &[u8]) -> Option<ClientHello> {
    let mut reader = Reader(body);
    let version = reader.u16()?;
    reader.take(32)?;
    reader.vector8()?;
    let mut hello = ClientHello {
        cipher_suites: numbers(reader.vector16()?)?,
        ..ClientHello::default()
    };
    reader.vector8()?;
    if !reader.0.is_empty() {
        let mut extensions = Reader(reader.vector16()?);
        while !extensions.0.is_empty() {
            let kind = extensions.u16()?;
            extension(&mut hello, kind, extensions.vector16()?)?;
        }
    }
    if hello.versions.is_empty() {
        hello.versions.push(version);
    }
    Some(hello)
}

fn extension(hello: &mut ClientHello, kind: u16, data: &[u8]) -> Option<()> {
    let mut reader = Reader(data);
    match kind {
        SERVER_NAME => {
            let mut names = Reader(reader.vector16()?);
            while !names.0.is_empty() {
                let kind = names.u8()?;
                let name = names.vector16()?;
                if kind == 0 && hello.server_name.is_none() {
                    hello.server_name = server_name(name);
                }
            }
        }
        SUPPORTED_GROUPS => hello.groups = numbers(reader.vector16()?)?,
        SIGNATURE_ALGORITHMS => hello.signature_schemes = numbers(reader.vector16()?)?,
        SUPPORTED_VERSIONS => hello.versions = numbers(reader.vector8()?)?,
        ALPN => {
            let mut protocols = Reader(reader.vector16()?);
            while !protocols.0.is_empty() {
                hello.protocols.push(protocols.vector8()?.to_vec());
            }
        }
        _ => {}
    }
    Some(())
}

/// A name as hosts are compared; one with bytes that no host has is none.
fn server_name(name: &[u8]) -> Option<Box<str>> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let is_sound = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
    if name.is_empty() || name.len() > 255 || !name.iter().all(is_sound) {
        return None;
    }
    let name = std::str::from_utf8(name).ok()?;
    Some(name.to_ascii_lowercase().into_boxed_str())
}

fn numbers(list: &[u8]) -> Option<Vec<u16>> {
    let (pairs, []) = list.as_chunks::<2>() else {
        return None;
    };
    Some(pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn vector8(&mut self) -> Option<&'a [u8]> {
        let len = self.u8()?;
        self.take(len.into())
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(len.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A ClientHello with these extensions, as one message.
    fn message(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend_from_slice(&[9; 32]);
        body.extend_from_slice(&[0, 0, 4, 0x13, 1, 0xc0, 0x2b, 1, 0]);
        body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
        body.extend_from_slice(extensions);
        let len = (body.len() as u32).to_be_bytes();
        [&[CLIENT_HELLO], &len[1..], &body].concat()
    }

    fn records(message: &[u8], len_max: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in message.chunks(len_max) {
            out.extend_from_slice(&[RECORD_HANDSHAKE, 3, 1]);
            out.extend_from_slice(&(piece.len() as u16).to_be_bytes());
            out.extend_from_slice(piece);
        }
        out
    }

    fn named() -> Vec<u8> {
        let mut extensions = vec![0, 0, 0, 10, 0, 8, 0, 0, 5];
        extensions.extend_from_slice(b"A.eX.");
        extensions.extend_from_slice(&[0, 43, 0, 5, 4, 3, 4, 3, 3]);
        extensions.extend_from_slice(&[0, 10, 0, 4, 0, 2, 0, 29]);
        extensions.extend_from_slice(&[0, 13, 0, 6, 0, 4, 4, 3, 8, 4]);
        extensions.extend_from_slice(&[0, 16, 0, 5, 0, 3, 2, b'h', b'2']);
        message(&extensions)
    }

    #[test]
    fn what_a_client_wants_is_read_in_any_fragmentation() {
        let expected = ClientHello {
            server_name: Some("a.ex".into()),
            cipher_suites: vec![0x1301, 0xc02b],
            groups: vec![29],
            signature_schemes: vec![0x403, 0x804],
            versions: vec![0x304, 0x303],
            protocols: vec![b"h2".to_vec()],
        };
        for len_max in [1, 2, 3, 50, 16384] {
            let received = records(&named(), len_max);
            for end in 0..received.len() {
                assert_eq!(read(&received[..end]), Greeting::Partial, "{len_max} {end}");
            }
            assert_eq!(read(&received), Greeting::Hello(expected.clone()));
        }
    }

    #[test]
    fn what_is_not_sound_is_never_waited_for() {
        assert_eq!(read(b"GET"), Greeting::NotTls);
        assert_eq!(read(&[0x80, 1]), Greeting::Malformed);
        let cases: [&[u8]; 5] = [
            &[22, 2, 0, 0, 1],
            &[22, 3, 1, 0, 0],
            &[22, 3, 1, 0x40, 1],
            &[22, 3, 1, 0, 1, 2],
            &[22, 3, 1, 0, 4, 1, 0xff, 0, 0],
        ];
        for case in cases {
            assert_eq!(read(case), Greeting::Malformed, "{case:?}");
        }
        let mut named = named();
        let at = named.len() - 1;
        named.truncate(at);
        named[3] -= 1;
        assert_eq!(read(&records(&named, 100)), Greeting::Malformed);
        let endless = records(&[&[1, 0, 0x70, 0][..], &vec![0; 40_000]].concat(), 1);
        assert_ne!(read(&endless), Greeting::Partial);
    }

    #[test]
    fn names_that_no_host_has_are_none() {
        for name in [
            &b""[..],
            b".",
            b"a b",
            b"a\0b",
            "\u{e4}.ex".as_bytes(),
            &[b'a'; 256],
        ] {
            assert_eq!(server_name(name), None, "{name:?}");
        }
        assert_eq!(server_name(b"A_b-1.EX").as_deref(), Some("a_b-1.ex"));
    }

    proptest! {
        #[test]
        fn any_bytes_may_come(bytes in prop::collection::vec(any::<u8>(), 0..300), changes in prop::collection::vec((any::<usize>(), any::<u8>()), 0..4)) {
            read(&bytes);
            let mut received = records(&named(), 40);
            for (at, byte) in changes {
                let len = received.len();
                received[at % len] = byte;
            }
            read(&received);
        }
    }
}
