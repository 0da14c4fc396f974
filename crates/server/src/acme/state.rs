//! What is kept on the disk: certificates with their keys, and the account's key.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use revolve_tls::rustls::pki_types::CertificateDer;
use rustix::fs::{FlockOperation, flock};

use super::spec::Wanted;

/// Who holds it orders. Dropped, or its process ended, another may.
pub(super) struct Lock(#[allow(dead_code, reason = "it is held")] File);

impl Lock {
    /// Takes the lock of a folder, which is made if it is not there; `None` where another holds it.
    pub(super) fn take(folder: &Path) -> io::Result<Option<Self>> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(folder.join("lock"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Writes a file as a whole, which nobody but its owner may read: it is the old one, or the new one.
pub(super) fn write(path: &Path, content: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&beside)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

/// The key of the account with an issuer, which is made if it is not there.
pub(super) fn account_key(folder: &Path) -> Result<KeyPair, String> {
    let path = folder.join("account.key");
    match std::fs::read_to_string(&path) {
        Ok(text) => KeyPair::from_pem(&text).map_err(|error| {
            let path = path.display();
            format!("\"{path}\" holds no key that can be used ({error})")
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = KeyPair::generate().map_err(|error| error.to_string())?;
            write(&path, &key.serialize_pem()).map_err(|error| error.to_string())?;
            Ok(key)
        }
        Err(error) => Err(error.to_string()),
    }
}

/// How it stands with a certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// There is none, or it is none of an authority's, or it is for others.
    Missing,
    /// It was issued.
    Issued {
        /// From and to when it is valid, in seconds since 1970.
        life_s: (i64, i64),
        /// What its authority knows it by.
        id: Option<String>,
    },
}

/// Looks how it stands with a certificate. Where there is none at all, one that nobody vouches for takes its
/// place, so that handshakes do not fail.
pub(super) fn standing(wanted: &Wanted) -> Result<Standing, String> {
    let text = match std::fs::read(&wanted.path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let pem = self_made(&wanted.names)?;
            let written = write(&wanted.path, &pem);
            written.map_err(|error| {
                let (path, error) = (wanted.path.display(), revolve_conf::os_error_text(&error));
                format!("\"{path}\" cannot be written {error}")
            })?;
            return Ok(Standing::Missing);
        }
        Err(error) => {
            let (path, error) = (wanted.path.display(), revolve_conf::os_error_text(&error));
            return Err(format!("\"{path}\" cannot be read {error}"));
        }
    };
    Ok(standing_of(&text, &wanted.names).unwrap_or(Standing::Missing))
}

fn standing_of(text: &[u8], names: &[String]) -> Option<Standing> {
    let chain = revolve_tls::certificates(text).ok()?;
    let facts = revolve_tls::facts(&chain[0]).ok()?;
    let is_for_all = names.iter().all(|name| is_for(&chain[0], name));
    (facts.subject != facts.issuer && is_for_all).then(|| Standing::Issued {
        life_s: (facts.not_before_s, facts.not_after_s),
        id: super::renewal::certificate_id(&chain[0]),
    })
}

/// Whether a certificate is for a name, which may be a wildcard.
pub(super) fn is_for(certificate: &CertificateDer<'_>, name: &str) -> bool {
    if !name.starts_with('*') {
        return revolve_tls::is_for_host(certificate, name);
    }
    let facts = revolve_tls::facts(certificate);
    facts.is_ok_and(|facts| facts.names.iter().any(|it| it.eq_ignore_ascii_case(name)))
}

/// What names are as an authority or a certificate takes them.
pub(super) fn params(names: &[String]) -> Result<CertificateParams, String> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for name in names {
        params.subject_alt_names.push(match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => {
                let text = name.as_str().try_into();
                SanType::DnsName(text.map_err(|_| format!("\"{name}\" is no name"))?)
            }
        });
    }
    Ok(params)
}

fn self_made(names: &[String]) -> Result<String, String> {
    let mut params = params(names)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "until an authority has issued one");
    let key = KeyPair::generate().map_err(|error| error.to_string())?;
    let made = params
        .self_signed(&key)
        .map_err(|error| error.to_string())?;
    Ok(made.pem() + &key.serialize_pem())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_alone_holds_a_lock_until_it_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("a/b");
        let lock = Lock::take(&folder).unwrap().expect("nobody has it");
        assert!(Lock::take(&folder).unwrap().is_none());
        drop(lock);
        assert!(Lock::take(&folder).unwrap().is_some());
    }

    #[test]
    fn what_is_missing_or_made_by_ourselves_is_due() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = Wanted {
            issuer: 0,
            names: vec!["a.test".into(), "127.0.0.1".into()],
            path: folder.path().join("a.test.pem"),
        };
        for _ in 0..2 {
            assert_eq!(standing(&wanted), Ok(Standing::Missing));
            let text = std::fs::read(&wanted.path).unwrap();
            let chain = revolve_tls::certificates(&text).unwrap();
            assert!(revolve_tls::is_for_host(&chain[0], "127.0.0.1"));
            assert!(revolve_tls::key_pair(chain, &text, &[]).is_ok());
        }
        let authority = KeyPair::generate().unwrap();
        let issuer = rcgen::Issuer::new(CertificateParams::default(), authority);
        let key = KeyPair::generate().unwrap();
        let mut params = params(&wanted.names).unwrap();
        params.not_before = rcgen::date_time_ymd(2030, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 4, 1);
        params.serial_number = Some(vec![0x87, 0x65].into());
        params.use_authority_key_identifier_extension = true;
        let issued = params.signed_by(&key, &issuer).unwrap();
        write(&wanted.path, &(issued.pem() + &key.serialize_pem())).unwrap();
        let begins_s = 1_893_456_000;
        let Ok(Standing::Issued { life_s, id }) = standing(&wanted) else {
            panic!("it was issued");
        };
        assert_eq!(life_s, (begins_s, begins_s + 90 * 86_400));
        // A serial number that begins with a one bit has a zero before it in DER.
        assert!(id.expect("it names the key").ends_with(".AIdl"));
        let more = Wanted {
            names: vec!["a.test".into(), "b.test".into()],
            ..wanted
        };
        assert_eq!(standing(&more), Ok(Standing::Missing));
    }

    #[test]
    fn a_wildcard_is_met_by_the_same_alone() {
        let is_met = |names: &[&str], by: &str| {
            let names: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
            let key = KeyPair::generate().unwrap();
            let made = params(&names).unwrap().self_signed(&key).unwrap();
            is_for(made.der(), by)
        };
        assert!(is_met(&["*.a.test"], "*.a.test"));
        assert!(is_met(&["*.a.test"], "b.a.test"));
        assert!(!is_met(&["b.a.test", "a.test"], "*.a.test"));
    }
}
