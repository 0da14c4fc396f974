//! Serving a folder without a configuration file.

use std::path::{Path, PathBuf};

use revolve_conf::Snapshot;

use crate::cli::Options;
use crate::paths::{self, Paths};
use crate::source::Source;

/// The built-in configuration; `{listen}` and `{error_page}` are filled in.
const CONFIG: &str = include_str!("folder.conf");

/// The types of files.
const TYPES: &str = include_str!("mime.types");

/// Where the built-in configuration pretends to be: messages about it name this path.
const CONFIG_PATH: &str = "/built-in/revolve.conf";
const TYPES_PATH: &str = "/built-in/mime.types";

/// The site that comes with the sources.
const EXAMPLE: &str = "examples/site";

/// A folder to be served.
#[derive(Debug)]
pub(crate) struct Folder {
    /// What is served, as an absolute path.
    pub(crate) path: PathBuf,
    /// `127.0.0.1:8080`, or whatever was asked for.
    pub(crate) listen: String,
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
        Ok(Folder {
            path: absolute,
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
        let config = CONFIG
            .replace("{listen}", &quoted(&self.listen))
            .replace(
                "{user}",
                if rustix::process::geteuid().is_root() {
                    "user root;"
                } else {
                    ""
                },
            )
            .replace("{error_page}", error_page);
        let mut snapshot = Snapshot::default();
        snapshot.insert_file(CONFIG_PATH, config.into_bytes());
        snapshot.insert_file(TYPES_PATH, TYPES.as_bytes().to_vec());
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
                format!("http://{}/", listen.strip_suffix(":80").unwrap_or(&listen))
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

/// The example site: below the current folder, or beside the sources that we were built from.
fn example() -> Option<PathBuf> {
    let beside_sources = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(EXAMPLE);
    [PathBuf::from(EXAMPLE), beside_sources]
        .into_iter()
        .find(|path| path.is_dir())
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
