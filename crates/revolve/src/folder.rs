//! Serving a folder without a configuration file.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Group, Uid, User};
use revolve_conf::Snapshot;

use crate::cli::Options;
use crate::paths::{self, Paths};
use crate::privilege;
use crate::self_made::{self, SelfMade};
use crate::source::Source;

/// The built-in configuration; what stands in braces there is filled in.
const CONFIG: &str = include_str!("folder.conf");

/// The types of files.
const TYPES: &str = include_str!("mime.types");

/// Where the built-in configuration pretends to be: messages about it name this path.
const CONFIG_PATH: &str = "/built-in/revolve.conf";
const TYPES_PATH: &str = "/built-in/mime.types";

const CERTIFICATE_PATH: &str = "/built-in/site.crt";
const KEY_PATH: &str = "/built-in/site.key";
const TLS: &str = "ssl_certificate site.crt; ssl_certificate_key site.key;";

/// The port of an address that names none.
const DEFAULT_PORT: u16 = 80;

/// The site that comes with the sources.
const EXAMPLE: &str = "examples/site";

/// A folder to be served.
#[derive(Debug)]
pub(crate) struct Folder {
    /// What is served, as an absolute path.
    pub(crate) path: PathBuf,
    /// `127.0.0.1:8080`, or whatever was asked for.
    pub(crate) listen: String,
    /// The addresses that a host name in it stands for; none where it has no name.
    addresses: Vec<SocketAddr>,
    /// By what it is served over HTTPS, where it is.
    tls: Option<SelfMade>,
    /// User and group of the workers, where the one who started us is root and they are not `nobody`.
    user: Option<(String, String)>,
}

impl Folder {
    /// The folder that the command line asks for; the example site if it names none.
    pub(crate) fn new(options: &Options) -> Result<Folder, String> {
        let path = match &options.folder {
            Some(path) => path.clone(),
            None => example().ok_or_else(|| {
                format!(
                    "the example site is not here; name a folder (revolve DIR) or a \
                     configuration file (revolve -c {})",
                    paths::CONFIG
                )
            })?,
        };
        let failed = |error: &std::io::Error| {
            let reason = revolve_conf::os_error_text(error);
            format!("cannot serve \"{}\" {reason}", path.display())
        };
        let absolute = path.canonicalize().map_err(|error| failed(&error))?;
        if absolute.as_os_str().as_encoded_bytes().contains(&b'$') {
            let shown = absolute.display();
            return Err(format!(
                "cannot serve \"{shown}\": \"$\" in a path begins a variable"
            ));
        }
        // Reading it now gives a clear message in place of a 403 for every request.
        std::fs::read_dir(&absolute).map_err(|error| failed(&error))?;
        let default = || format!("127.0.0.1:{}", paths::FOLDER_PORT);
        let listen = options.listen.clone().unwrap_or_else(default);
        let tls = match options.tls {
            true => Some(self_made::make(host_of(&listen))?),
            false => None,
        };
        Ok(Folder {
            tls,
            user: owner(&absolute),
            path: absolute,
            addresses: resolve(&listen)?,
            listen,
        })
    }

    /// The configuration that serves it.
    pub(crate) fn source(&self, options: &Options) -> Source {
        let has_error_page = self.path.join("404.html").is_file();
        let error_page = if has_error_page {
            "error_page 404 /404.html;"
        } else {
            ""
        };
        let within = if options.follow_links {
            ""
        } else {
            "files_within .;"
        };
        let config = CONFIG
            .replace("{listen}", &self.listen_directives())
            .replace("{tls}", self.tls.as_ref().map_or("", |_| TLS))
            .replace("{user}", &self.user_directive())
            .replace("{within}", within)
            .replace("{error_page}", error_page);
        let mut snapshot = Snapshot::default();
        snapshot.insert_file(CONFIG_PATH, config.into_bytes());
        if let Some(tls) = &self.tls {
            snapshot.insert_secret(CERTIFICATE_PATH, tls.certificate.clone().into_bytes());
            snapshot.insert_secret(KEY_PATH, tls.key.clone().into_bytes());
        }
        snapshot.insert_file(TYPES_PATH, with_charset(TYPES).into_bytes());
        Source {
            // The folder is the prefix and the root is ".": so its name may hold quotes and the
            // like.
            paths: Paths {
                config: CONFIG_PATH.into(),
                prefix: self.path.clone(),
            },
            error_log: options
                .error_log
                .clone()
                .unwrap_or_else(|| paths::ERROR_LOG.into()),
            access_log: None,
            globals: options.globals.clone(),
            built_in: Some(snapshot),
        }
    }

    fn listen_directives(&self) -> String {
        let ssl = if self.tls.is_some() { " ssl" } else { "" };
        if self.addresses.is_empty() {
            return format!("listen {}{ssl};", quoted(&self.listen));
        }
        let lines = self.addresses.iter().map(|it| format!("listen {it}{ssl};"));
        lines.collect::<Vec<_>>().join(" ")
    }

    fn user_directive(&self) -> String {
        let line =
            |(user, group): &(String, String)| format!("user {} {};", quoted(user), quoted(group));
        self.user.as_ref().map(line).unwrap_or_default()
    }

    /// Whom the workers run as, and what is wrong with that: for whoever started us as root.
    pub(crate) fn workers(&self) -> Option<String> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let name = self.user.as_ref().map_or(privilege::USER, |(user, _)| user);
        let mut said = format!("the worker processes run as user {name}");
        let user = User::from_name(name).ok().flatten();
        if let Some(user) = user
            && let Some(closed) = self.path.ancestors().find(|it| !may_enter(&user, it))
        {
            said.push_str(&format!(
                ", who may not enter \"{}\": change its mode, or the owner of the folder that is served",
                closed.display()
            ));
        }
        Some(said)
    }

    /// Where it is served, as printed: what a browser takes, and which addresses that are where they are
    /// all of the machine's.
    pub(crate) fn place(&self) -> String {
        let url = self.url();
        let is_open = self.listen.parse::<u16>().is_ok() || self.listen.starts_with("*:");
        if is_open {
            format!("{url} and every other IPv4 address of this machine")
        } else {
            url
        }
    }

    /// Where a browser finds it.
    pub(crate) fn url(&self) -> String {
        match self.listen.strip_prefix("unix:") {
            Some(path) => format!("unix:{path}"),
            None => {
                let all = self.listen.parse::<u16>().is_ok();
                let listen = if all {
                    format!("*:{}", self.listen)
                } else {
                    self.listen.clone()
                };
                let listen = listen.replacen("*:", "localhost:", 1);
                let (scheme, port) = match self.tls {
                    Some(_) => ("https", ":443"),
                    None => ("http", ":80"),
                };
                format!(
                    "{scheme}://{}/",
                    listen.strip_suffix(port).unwrap_or(&listen)
                )
            }
        }
    }

    /// What to do if the address is in use.
    pub(crate) fn in_use_help(&self) -> String {
        let port = self
            .listen
            .rsplit(':')
            .next()
            .and_then(|port| port.parse::<u16>().ok());
        let other = port
            .and_then(|port| port.checked_add(1))
            .unwrap_or(paths::FOLDER_PORT + 1);
        format!(
            "another program listens on {}; choose another port: revolve {} --port {other}",
            self.listen,
            self.path.display(),
        )
    }
}

/// The host that is listened on, if that is one.
fn host_of(listen: &str) -> Option<&str> {
    let (host, _) = listen.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!listen.starts_with("unix:") && host != "*").then_some(host)
}

/// The example site: below the current folder, or beside the sources that we were built from.
fn example() -> Option<PathBuf> {
    let beside_sources = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(EXAMPLE);
    [PathBuf::from(EXAMPLE), beside_sources]
        .into_iter()
        .find(|path| path.is_dir())
}

/// The addresses of a host name in `listen`, as far as this machine has them; none where there is no name.
fn resolve(listen: &str) -> Result<Vec<SocketAddr>, String> {
    let (host, port) = match listen.rsplit_once(':') {
        Some((host, port)) => (host, port.parse::<u16>()),
        None => (listen, Ok(DEFAULT_PORT)),
    };
    let is_number = listen.parse::<u16>().is_ok() || host.parse::<Ipv4Addr>().is_ok();
    let is_other = listen.starts_with("unix:") || host.starts_with(['[', '*']) || host.is_empty();
    let Ok(port) = port else {
        return Ok(Vec::new());
    };
    if is_number || is_other {
        return Ok(Vec::new());
    }
    let found = (host, port).to_socket_addrs().map_err(|error| {
        format!("cannot listen on \"{listen}\": the host \"{host}\" is not known ({error})")
    })?;
    let mut addresses = Vec::new();
    for address in found {
        let is_here = || TcpListener::bind((address.ip(), 0)).is_ok();
        if !addresses.contains(&address) && is_here() {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        let reason = "is no address of this machine";
        return Err(format!(
            "cannot listen on \"{listen}\": \"{host}\" {reason}"
        ));
    }
    Ok(addresses)
}

/// User and group of a folder's owner, who may read it better than `nobody`. `None` where that is root,
/// or unknown by name, or where we cannot choose.
fn owner(path: &Path) -> Option<(String, String)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let uid = std::fs::metadata(path).ok()?.uid();
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    let user = user.filter(|user| !user.uid.is_root())?;
    let group = Group::from_gid(user.gid).ok().flatten()?;
    Some((user.name, group.name))
}

/// Whether the mode of a folder lets a user pass.
fn may_enter(user: &User, path: &Path) -> bool {
    let Ok(metadata) = std::fs::metadata(path) else {
        return true;
    };
    let shift = if metadata.uid() == user.uid.as_raw() {
        6
    } else if metadata.gid() == user.gid.as_raw() {
        3
    } else {
        0
    };
    metadata.mode() >> shift & 1 == 1
}

/// The types of text with the charset that nearly all text has today: a browser would guess another one.
fn with_charset(types: &str) -> String {
    let mut out = String::with_capacity(types.len());
    for line in types.lines() {
        let kind = line.split_whitespace().next().unwrap_or_default();
        if kind.starts_with("text/") && kind != "text/xml" {
            let line = line.replacen(kind, &format!("\"{kind}; charset=utf-8\""), 1);
            out.push_str(&line);
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}

fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(listen: &str) -> Folder {
        Folder {
            path: "/srv/x".into(),
            listen: listen.into(),
            addresses: resolve(listen).unwrap(),
            tls: None,
            user: None,
        }
    }

    #[test]
    fn the_address_is_one_for_browsers() {
        assert_eq!(folder("127.0.0.1:8080").url(), "http://127.0.0.1:8080/");
        assert_eq!(folder("[::1]:80").url(), "http://[::1]/");
        assert_eq!(folder("8000").url(), "http://localhost:8000/");
        assert_eq!(folder("*:81").url(), "http://localhost:81/");
        assert_eq!(folder("unix:/run/x").url(), "unix:/run/x");
    }

    #[test]
    fn what_is_printed_is_what_is_bound() {
        assert_eq!(folder("127.0.0.1:81").place(), "http://127.0.0.1:81/");
        assert_eq!(folder("localhost:81").place(), "http://localhost:81/");
        for all in ["8133", "*:8133"] {
            let expected = "http://localhost:8133/ and every other IPv4 address of this machine";
            assert_eq!(folder(all).place(), expected);
        }
        assert_eq!(folder("0.0.0.0:8133").place(), "http://0.0.0.0:8133/");
    }

    #[test]
    fn a_name_stands_for_its_addresses_here() {
        let text = folder("localhost:81").listen_directives();
        assert!(
            text.contains("127.0.0.1:81;") || text.contains("[::1]:81;"),
            "{text}"
        );
        assert_eq!(
            folder("localhost")
                .listen_directives()
                .matches(":80;")
                .count(),
            folder("localhost").addresses.len()
        );
        for plain in ["127.0.0.1:81", "[::1]:81", "*:81", "81", "unix:/run/x:y"] {
            assert_eq!(
                folder(plain).listen_directives(),
                format!("listen \"{plain}\";")
            );
        }
        let error = resolve("no-such-host.invalid:81").unwrap_err();
        assert!(
            error.starts_with("cannot listen on \"no-such-host.invalid:81\": "),
            "{error}"
        );
    }

    #[test]
    fn text_has_a_charset_and_nothing_else_has() {
        let types = with_charset(TYPES);
        assert!(
            types.contains("    \"text/html; charset=utf-8\""),
            "{types}"
        );
        assert!(types.contains("    text/xml ") && types.contains("    application/json "));
    }

    #[test]
    fn modes_say_who_may_pass() {
        let nobody = User::from_name("nobody").unwrap().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let set = |mode| {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set(0o755);
        assert!(may_enter(&nobody, folder.path()));
        set(0o700);
        let is_ours = rustix::process::geteuid().as_raw() == nobody.uid.as_raw();
        assert_eq!(may_enter(&nobody, folder.path()), is_ours);
    }

    #[test]
    fn another_port_is_proposed() {
        let help = folder("127.0.0.1:8080").in_use_help();
        assert!(help.ends_with("revolve /srv/x --port 8081"), "{help}");
        assert!(folder("unix:/x").in_use_help().ends_with("--port 8081"));
    }

    #[test]
    fn a_folder_that_cannot_be_read_is_said() {
        let options = Options {
            folder: Some("/no/such".into()),
            ..Options::default()
        };
        let error = Folder::new(&options).unwrap_err();
        assert_eq!(
            error,
            "cannot serve \"/no/such\" (2: No such file or directory)"
        );
        let options = Options {
            folder: Some("Cargo.toml".into()),
            ..Options::default()
        };
        let error = Folder::new(&options).unwrap_err();
        assert_eq!(error, "cannot serve \"Cargo.toml\" (20: Not a directory)");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a$b");
        std::fs::create_dir(&path).unwrap();
        let options = Options {
            folder: Some(path),
            ..Options::default()
        };
        let error = Folder::new(&options).unwrap_err();
        assert!(
            error.ends_with("\"$\" in a path begins a variable"),
            "{error}"
        );
    }

    #[test]
    fn the_built_in_configuration_parses() {
        let source = folder("127.0.0.1:1").source(&Options::default());
        let mut files = revolve_conf::SnapshotFiles::new(source.built_in.unwrap());
        let (document, diagnostics) = revolve_conf::parse(&source.paths.config, None, &mut files);
        assert!(
            diagnostics.is_empty(),
            "{}",
            diagnostics.render(&document.sources, "x", false)
        );
        let names: Vec<_> = document
            .directives
            .iter()
            .map(|it| it.name.text.as_str())
            .collect();
        assert!(
            names.contains(&"http") && names.contains(&"events"),
            "{names:?}"
        );
    }
}
