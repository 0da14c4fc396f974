//! What a certificate says, in the forms that nginx's variables have.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::{Any, Tag};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::{ASN1Time, FromDer};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// The short names of attributes. Source: OpenSSL's `objects.txt`.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.16", "postalAddress"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.20", "telephoneNumber"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.44", "generationQualifier"),
    ("2.5.4.45", "x500UniqueIdentifier"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.65", "pseudonym"),
    ("2.5.4.72", "role"),
    ("2.5.4.97", "organizationIdentifier"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.3", "mail"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("1.2.840.113549.1.9.2", "unstructuredName"),
    ("1.2.840.113549.1.9.8", "unstructuredAddress"),
    ("1.3.6.1.4.1.311.60.2.1.1", "jurisdictionL"),
    ("1.3.6.1.4.1.311.60.2.1.2", "jurisdictionST"),
    ("1.3.6.1.4.1.311.60.2.1.3", "jurisdictionC"),
];

/// A certificate, of which the texts are made when they are asked for.
#[derive(Debug)]
pub struct CertificateText<'a>(X509Certificate<'a>);

impl<'a> CertificateText<'a> {
    /// `None` for what is not a certificate.
    pub fn new(certificate: &'a CertificateDer<'_>) -> Option<Self> {
        X509Certificate::from_der(certificate)
            .ok()
            .map(|(_, it)| Self(it))
    }

    /// The subject by RFC 2253: last attribute first, commas between.
    pub fn subject(&self) -> String {
        by_rfc_2253(self.0.subject())
    }

    /// The issuer by RFC 2253.
    pub fn issuer(&self) -> String {
        by_rfc_2253(self.0.issuer())
    }

    /// The subject as OpenSSL's `X509_NAME_oneline` has it, `/C=DE/CN=name`.
    pub fn subject_on_one_line(&self) -> String {
        on_one_line(self.0.subject())
    }

    /// The issuer as OpenSSL's `X509_NAME_oneline` has it.
    pub fn issuer_on_one_line(&self) -> String {
        on_one_line(self.0.issuer())
    }

    /// The serial number, in capital hexadecimal digits.
    pub fn serial(&self) -> String {
        let raw = self.0.raw_serial();
        let raw = match raw {
            [0, rest @ ..] if !rest.is_empty() => rest,
            all => all,
        };
        hexadecimal(raw, true)
    }

    /// From when it is valid, as OpenSSL writes it: `Dec  1 12:00:00 2026 GMT`.
    pub fn not_before(&self) -> String {
        time(self.0.validity().not_before)
    }

    /// Until when.
    pub fn not_after(&self) -> String {
        time(self.0.validity().not_after)
    }

    /// The days that it is still valid at a time in seconds since 1970.
    pub fn days_left(&self, now_s: i64) -> u64 {
        let left = self.0.validity().not_after.timestamp() - now_s;
        u64::try_from(left).unwrap_or(0) / 86400
    }

    /// The names that it is for: of hosts, and addresses; where there are none, the common name.
    pub fn hosts(&self) -> Vec<String> {
        use x509_parser::extensions::GeneralName;
        let names = self.0.subject_alternative_name().ok().flatten();
        let names = names.map(|it| it.value.general_names.as_slice());
        let mut hosts: Vec<String> = names
            .unwrap_or_default()
            .iter()
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                GeneralName::IPAddress(bytes) => address(bytes),
                _ => None,
            })
            .collect();
        if hosts.is_empty() {
            let common = self.0.subject().iter_common_name();
            hosts.extend(common.filter_map(|name| name.as_str().ok().map(str::to_owned)));
        }
        hosts
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    let ip = <[u8; 4]>::try_from(bytes).map(std::net::IpAddr::from);
    let ip = ip.or_else(|_| <[u8; 16]>::try_from(bytes).map(std::net::IpAddr::from));
    ip.ok().map(|ip| ip.to_string())
}

/// SHA-1 of a certificate, in small hexadecimal digits.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, certificate);
    hexadecimal(hash.as_ref(), false)
}

/// A certificate as PEM, with a newline behind each line.
pub fn pem(certificate: &CertificateDer<'_>) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    // A line of 64 characters is 48 bytes.
    for line in certificate.chunks(48) {
        for group in line.chunks(3) {
            let mut bits = [0; 3];
            bits[..group.len()].copy_from_slice(group);
            let bits = u32::from_be_bytes([0, bits[0], bits[1], bits[2]]);
            for at in 0..4 {
                let digit = ALPHABET[(bits >> (18 - 6 * at) & 63) as usize];
                text.push(if at > group.len() {
                    '='
                } else {
                    char::from(digit)
                });
            }
        }
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

fn hexadecimal(bytes: &[u8], is_upper: bool) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = match is_upper {
            true => write!(text, "{byte:02X}"),
            false => write!(text, "{byte:02x}"),
        };
    }
    text
}

fn time(time: ASN1Time) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let at = time.to_datetime();
    let month = MONTHS[usize::from(u8::from(at.month()) - 1)];
    let (hour, minute, second) = at.to_hms();
    format!(
        "{month} {:2} {hour:02}:{minute:02}:{second:02} {} GMT",
        at.day(),
        at.year()
    )
}

fn short_name(attribute: &AttributeTypeAndValue<'_>) -> Option<&'static str> {
    let oid = attribute.attr_type().to_id_string();
    let found = SHORT_NAMES.iter().find(|(id, _)| *id == oid);
    found.map(|(_, name)| *name)
}

/// The characters of a value; `None` where it is no text.
fn characters(value: &Any<'_>) -> Option<String> {
    let bytes = value.data;
    match value.tag() {
        Tag::Utf8String => std::str::from_utf8(bytes).ok().map(str::to_owned),
        Tag::PrintableString
        | Tag::Ia5String
        | Tag::T61String
        | Tag::NumericString
        | Tag::VisibleString => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
        Tag::BmpString => {
            let units = bytes.chunks_exact(2);
            let units: Vec<u16> = units.map(|it| u16::from_be_bytes([it[0], it[1]])).collect();
            String::from_utf16(&units).ok()
        }
        Tag::UniversalString => {
            let units = bytes.chunks_exact(4);
            units
                .map(|it| char::from_u32(u32::from_be_bytes([it[0], it[1], it[2], it[3]])))
                .collect()
        }
        _ => None,
    }
}

/// Source: OpenSSL's `X509_NAME_print_ex` with `XN_FLAG_RFC2253`.
fn by_rfc_2253(name: &X509Name<'_>) -> String {
    let mut out = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for (place, part) in parts.iter().rev().enumerate() {
        let attributes: Vec<_> = part.iter().collect();
        for (at, attribute) in attributes.iter().rev().enumerate() {
            if at > 0 {
                out.push('+');
            } else if place > 0 {
                out.push(',');
            }
            write_attribute(attribute, &mut out);
        }
    }
    out
}

fn write_attribute(attribute: &AttributeTypeAndValue<'_>, out: &mut String) {
    let value = attribute.attr_value();
    let name = short_name(attribute);
    match name {
        Some(name) => out.push_str(name),
        None => out.push_str(&attribute.attr_type().to_id_string()),
    }
    out.push('=');
    match characters(value).filter(|_| name.is_some()) {
        Some(text) => escape_by_rfc_2253(&text, out),
        None => {
            out.push('#');
            out.push_str(&hexadecimal(&whole(value), true));
        }
    }
}

/// The DER of a value: its tag, its length and what it has.
fn whole(value: &Any<'_>) -> Vec<u8> {
    use x509_parser::asn1_rs::ToDer;
    value.to_der_vec().unwrap_or_default()
}

fn escape_by_rfc_2253(text: &str, out: &mut String) {
    let last = text.len().saturating_sub(1);
    for (at, byte) in text.bytes().enumerate() {
        let is_special = matches!(byte, b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';')
            || at == 0 && matches!(byte, b' ' | b'#')
            || at == last && byte == b' ';
        if is_special {
            out.push('\\');
        }
        match byte {
            b' '..=b'~' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "\\{byte:02X}");
            }
        }
    }
}

/// Source: OpenSSL's `X509_NAME_oneline`.
fn on_one_line(name: &X509Name<'_>) -> String {
    let mut out = String::new();
    let all = name.iter_rdn().flat_map(|part| part.iter().enumerate());
    for (at, attribute) in all {
        out.push(if at == 0 { '/' } else { '+' });
        match short_name(attribute) {
            Some(name) => out.push_str(name),
            None => out.push_str(&attribute.attr_type().to_id_string()),
        }
        out.push('=');
        for byte in attribute.attr_value().data {
            match byte {
                b' '..=b'~' => out.push(char::from(*byte)),
                _ => {
                    let _ = write!(out, "\\x{byte:02X}");
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_read_otherwise_is_escaped() {
        for (text, expected) in [
            ("plain", "plain"),
            ("a,b+c", "a\\,b\\+c"),
            ("#a", "\\#a"),
            (" a ", "\\ a\\ "),
            ("a\nb", "a\\0Ab"),
            ("\u{fc}", "\\C3\\BC"),
            ("", ""),
        ] {
            let mut out = String::new();
            escape_by_rfc_2253(text, &mut out);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn a_certificate_is_written_as_it_was_read() {
        for len in [0, 1, 2, 3, 47, 48, 49, 700] {
            let der = CertificateDer::from((0..len).map(|at| at as u8).collect::<Vec<_>>());
            use rustls::pki_types::pem::PemObject;
            let read = CertificateDer::from_pem_slice(pem(&der).as_bytes()).expect("PEM");
            assert_eq!(read, der);
        }
    }
}
