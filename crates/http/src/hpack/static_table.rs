//! The static table of HPACK (RFC 7541, appendix A).

use super::name::{Name, NameKind};
use crate::header::HeaderId;

/// A field that both sides know from the beginning.
pub(super) struct StaticField {
    pub(super) text: &'static str,
    pub(super) value: &'static str,
    pub(super) name: Name,
}

const fn field(text: &'static str, value: &'static str, kind: NameKind) -> StaticField {
    let id = HeaderId::Other;
    StaticField {
        text,
        value,
        name: Name { kind, id },
    }
}

const fn known(text: &'static str, value: &'static str, id: HeaderId) -> StaticField {
    let kind = NameKind::Plain;
    StaticField {
        text,
        value,
        name: Name { kind, id },
    }
}

/// The fields; the first has the index 1.
pub(super) static STATIC: [StaticField; 61] = [
    field(":authority", "", NameKind::Authority),
    field(":method", "GET", NameKind::Method),
    field(":method", "POST", NameKind::Method),
    field(":path", "/", NameKind::Path),
    field(":path", "/index.html", NameKind::Path),
    field(":scheme", "http", NameKind::Scheme),
    field(":scheme", "https", NameKind::Scheme),
    field(":status", "200", NameKind::Status),
    field(":status", "204", NameKind::Status),
    field(":status", "206", NameKind::Status),
    field(":status", "304", NameKind::Status),
    field(":status", "400", NameKind::Status),
    field(":status", "404", NameKind::Status),
    field(":status", "500", NameKind::Status),
    field("accept-charset", "", NameKind::Plain),
    known("accept-encoding", "gzip, deflate", HeaderId::AcceptEncoding),
    known("accept-language", "", HeaderId::AcceptLanguage),
    known("accept-ranges", "", HeaderId::AcceptRanges),
    known("accept", "", HeaderId::Accept),
    field("access-control-allow-origin", "", NameKind::Plain),
    known("age", "", HeaderId::Age),
    field("allow", "", NameKind::Plain),
    known("authorization", "", HeaderId::Authorization),
    known("cache-control", "", HeaderId::CacheControl),
    known("content-disposition", "", HeaderId::ContentDisposition),
    known("content-encoding", "", HeaderId::ContentEncoding),
    field("content-language", "", NameKind::Plain),
    known("content-length", "", HeaderId::ContentLength),
    field("content-location", "", NameKind::Plain),
    known("content-range", "", HeaderId::ContentRange),
    known("content-type", "", HeaderId::ContentType),
    known("cookie", "", HeaderId::Cookie),
    known("date", "", HeaderId::Date),
    known("etag", "", HeaderId::Etag),
    known("expect", "", HeaderId::Expect),
    known("expires", "", HeaderId::Expires),
    field("from", "", NameKind::Plain),
    known("host", "", HeaderId::Host),
    known("if-match", "", HeaderId::IfMatch),
    known("if-modified-since", "", HeaderId::IfModifiedSince),
    known("if-none-match", "", HeaderId::IfNoneMatch),
    known("if-range", "", HeaderId::IfRange),
    known("if-unmodified-since", "", HeaderId::IfUnmodifiedSince),
    known("last-modified", "", HeaderId::LastModified),
    known("link", "", HeaderId::Link),
    known("location", "", HeaderId::Location),
    field("max-forwards", "", NameKind::Plain),
    field("proxy-authenticate", "", NameKind::Plain),
    known("proxy-authorization", "", HeaderId::ProxyAuthorization),
    known("range", "", HeaderId::Range),
    known("referer", "", HeaderId::Referer),
    known("refresh", "", HeaderId::Refresh),
    field("retry-after", "", NameKind::Plain),
    known("server", "", HeaderId::Server),
    known("set-cookie", "", HeaderId::SetCookie),
    field("strict-transport-security", "", NameKind::Plain),
    known("transfer-encoding", "", HeaderId::TransferEncoding),
    known("user-agent", "", HeaderId::UserAgent),
    known("vary", "", HeaderId::Vary),
    known("via", "", HeaderId::Via),
    known("www-authenticate", "", HeaderId::WwwAuthenticate),
];

/// The index of the first field of each known name; 0 for none.
pub(super) static INDEX_OF_ID: [u8; HeaderId::Other as usize + 1] = {
    let mut table = [0; HeaderId::Other as usize + 1];
    let mut at = STATIC_IDS.len();
    while at > 0 {
        at -= 1;
        if !matches!(STATIC_IDS[at], HeaderId::Other) {
            table[STATIC_IDS[at] as usize] = at as u8 + 1;
        }
    }
    table
};

const STATIC_IDS: [HeaderId; 61] = [
    HeaderId::Other,
    HeaderId::Other,
    HeaderId::Other,
    HeaderId::Other,
    HeaderId::Other,
    HeaderId::Other,
    HeaderId::Other,
    HeaderId::Other,
    HeaderId::Other,
    HeaderId::Other,
    HeaderId::Other,
    HeaderId::Other,
    HeaderId::Other,
    HeaderId::Other,
    HeaderId::Other,
    HeaderId::AcceptEncoding,
    HeaderId::AcceptLanguage,
    HeaderId::AcceptRanges,
    HeaderId::Accept,
    HeaderId::Other,
    HeaderId::Age,
    HeaderId::Other,
    HeaderId::Authorization,
    HeaderId::CacheControl,
    HeaderId::ContentDisposition,
    HeaderId::ContentEncoding,
    HeaderId::Other,
    HeaderId::ContentLength,
    HeaderId::Other,
    HeaderId::ContentRange,
    HeaderId::ContentType,
    HeaderId::Cookie,
    HeaderId::Date,
    HeaderId::Etag,
    HeaderId::Expect,
    HeaderId::Expires,
    HeaderId::Other,
    HeaderId::Host,
    HeaderId::IfMatch,
    HeaderId::IfModifiedSince,
    HeaderId::IfNoneMatch,
    HeaderId::IfRange,
    HeaderId::IfUnmodifiedSince,
    HeaderId::LastModified,
    HeaderId::Link,
    HeaderId::Location,
    HeaderId::Other,
    HeaderId::Other,
    HeaderId::ProxyAuthorization,
    HeaderId::Range,
    HeaderId::Referer,
    HeaderId::Refresh,
    HeaderId::Other,
    HeaderId::Server,
    HeaderId::SetCookie,
    HeaderId::Other,
    HeaderId::TransferEncoding,
    HeaderId::UserAgent,
    HeaderId::Vary,
    HeaderId::Via,
    HeaderId::WwwAuthenticate,
];

/// The index of a name that is none of the known ones, in lower case; 0 for none.
pub(super) fn index_of_other(name: &[u8]) -> usize {
    match name {
        b"accept-charset" => 15,
        b"access-control-allow-origin" => 20,
        b"allow" => 22,
        b"content-language" => 27,
        b"content-location" => 29,
        b"from" => 37,
        b"max-forwards" => 47,
        b"proxy-authenticate" => 48,
        b"retry-after" => 53,
        b"strict-transport-security" => 56,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_they_are_said_to_be() {
        for (at, field) in STATIC.iter().enumerate() {
            assert_eq!(
                field.name,
                Name::of(field.text.as_bytes()),
                "{}",
                field.text
            );
            assert_eq!(field.name.id, STATIC_IDS[at]);
            if field.name.kind == NameKind::Plain && field.name.id == HeaderId::Other {
                assert_eq!(index_of_other(field.text.as_bytes()), at + 1);
            }
        }
        assert_eq!(INDEX_OF_ID[HeaderId::Etag as usize], 34);
        assert_eq!(INDEX_OF_ID[HeaderId::Other as usize], 0);
        assert_eq!(index_of_other(b"x"), 0);
    }
}
