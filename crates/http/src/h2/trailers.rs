//! From the fields of a header block to trailers.

use super::error::StreamError;
use crate::hpack::{Fields, NameKind};
use crate::trailers::Trailers;

/// The trailers that the fields of a header block behind a body are.
///
/// # Errors
///
/// Fields that no message may have, pseudo-headers among them.
pub fn read(fields: &Fields) -> Result<Trailers, StreamError> {
    let mut trailers = Trailers::default();
    for field in &fields.list {
        let value = field.value.of(&fields.bytes);
        match field.looked_at.kind {
            NameKind::Plain | NameKind::Underscore | NameKind::Odd => {}
            NameKind::Invalid => {
                return Err(StreamError::protocol("sent a trailer with an invalid name"));
            }
            _ => return Err(StreamError::protocol("sent a pseudo-header in trailers")),
        }
        if memchr::memchr3(b'\n', b'\r', 0, value).is_some() {
            return Err(StreamError::protocol(
                "sent a trailer with an invalid value",
            ));
        }
        trailers.push_line(field.name.of(&fields.bytes), value);
    }
    Ok(trailers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpack::{Decoder, Encoder};

    fn fields(lines: &[(&'static str, &str)]) -> Fields {
        let (mut encoder, mut block) = (Encoder::new(), Vec::new());
        for (name, value) in lines {
            match name.starts_with(':') {
                true => encoder.pseudo(name.as_bytes(), value.as_bytes(), &mut block),
                false => encoder.field(name.as_bytes(), value.as_bytes(), &mut block),
            }
        }
        let mut fields = Fields::new(4096);
        Decoder::new(4096).decode(&block, &mut fields).unwrap();
        fields
    }

    #[test]
    fn trailers_are_lines_without_what_belongs_before_a_body() {
        let lines = [
            ("grpc-status", "0"),
            ("content-length", "1"),
            ("grpc-message", "ok then"),
        ];
        let trailers = read(&fields(&lines)).unwrap();
        let kept: Vec<_> = trailers
            .lines()
            .map(|line| {
                let text = |span: crate::Span| {
                    String::from_utf8_lossy(span.of(trailers.bytes())).into_owned()
                };
                (text(line.name), text(line.value))
            })
            .collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            kept,
            [pair("grpc-status", "0"), pair("grpc-message", "ok then")]
        );
        assert!(read(&fields(&[(":status", "200")])).is_err());
        assert!(read(&fields(&[("a b", "200")])).is_err());
        assert!(read(&fields(&[("a", "2\r")])).is_err());
    }
}
