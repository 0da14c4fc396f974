//! SCGI: the head of a request (<https://python.ca/scgi/protocol.txt>, 2008-06-23).
//!
//! The body follows it as it is. What comes back is a head that may have a status line
//! ([`StatusLine::Optional`](crate::h1::StatusLine::Optional)), and a body until the connection
//! closes.

/// Appends the head of a request whose body has so many bytes: a netstring of the parameters, of which
/// `CONTENT_LENGTH` comes first and `SCGI` second, as the protocol demands.
///
/// Parameters of these two names, and those without a name, are left out. A NUL would end a name or a
/// value early and let whoever supplied it write parameters of their own; each is written as a space.
pub fn request_head<'a>(
    out: &mut Vec<u8>,
    content_length: u64,
    params: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
) {
    let mut length = itoa::Buffer::new();
    let start = out.len();
    param(
        out,
        b"CONTENT_LENGTH",
        length.format(content_length).as_bytes(),
    );
    param(out, b"SCGI", b"1");
    for (name, value) in params {
        if !name.is_empty() && name != b"CONTENT_LENGTH" && name != b"SCGI" {
            param(out, name, value);
        }
    }
    // How long it is stands before it, and is known only now.
    let bytes = (out.len() - start) as u64;
    out.extend_from_slice(length.format(bytes).as_bytes());
    out.push(b':');
    let prefix_bytes = out.len() - start - bytes as usize;
    out[start..].rotate_right(prefix_bytes);
    out.push(b',');
}

fn param(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for text in [name, value] {
        let start = out.len();
        out.extend_from_slice(text);
        for byte in &mut out[start..] {
            if *byte == 0 {
                *byte = b' ';
            }
        }
        out.push(0);
    }
}
