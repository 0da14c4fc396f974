//! Where files are when nobody says otherwise, and how `-p` and `-c` change it.
//!
//! Whoever builds a package sets other paths when it is compiled, as by nginx's `configure`:
//! `REVOLVE_PREFIX`, `REVOLVE_CONF_PATH` and `REVOLVE_PID_PATH` in the environment. `-V` shows them.

use std::path::{Path, PathBuf};

/// The folder of relative paths. As the default configuration file, it is that of Debian's nginx
/// package, so that the same file means the same here.
pub(crate) const PREFIX: &str = or(option_env!("REVOLVE_PREFIX"), "/usr/share/nginx");
/// The configuration file.
pub(crate) const CONFIG: &str = or(option_env!("REVOLVE_CONF_PATH"), "/etc/nginx/nginx.conf");
/// Whether this build has a configuration file of its own: then that is what it starts with when
/// nothing is asked, and not the site that comes with the sources.
pub(crate) const IS_PACKAGED: bool = option_env!("REVOLVE_CONF_PATH").is_some();
/// The error log until the configuration names one.
pub(crate) const ERROR_LOG: &str = "stderr";
/// The access log until the configuration names one, where the folder is there: packages make it.
const ACCESS_LOG: &str = "/var/log/revolve/access.log";
/// The master's process id. Not nginx's: both may run on one machine.
pub(crate) const PID: &str = or(option_env!("REVOLVE_PID_PATH"), "/run/revolve.pid");
/// The port on which a folder is served.
pub(crate) const FOLDER_PORT: u16 = 8080;

const fn or(built_with: Option<&'static str>, default: &'static str) -> &'static str {
    match built_with {
        Some(path) => path,
        None => default,
    }
}

/// The default access log, if there is one.
pub(crate) fn access_log() -> Option<PathBuf> {
    let path = Path::new(ACCESS_LOG);
    path.parent()
        .is_some_and(Path::is_dir)
        .then(|| path.to_owned())
}

/// Where this run's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Paths {
    /// The configuration file.
    pub(crate) config: PathBuf,
    /// The folder of relative paths in directives; those of `include` are relative to the folder
    /// of the configuration file.
    pub(crate) prefix: PathBuf,
}

impl Paths {
    /// The paths that the command line asks for, by `-p` and `-c`.
    ///
    /// A relative `-c` is relative to the prefix, as in nginx; where no such file exists and no
    /// `-p` was given it is relative to the current folder, as one would expect.
    pub(crate) fn new(prefix: Option<&Path>, config: Option<&Path>) -> Paths {
        let is_given = prefix.is_some();
        let prefix = prefix.unwrap_or(Path::new(PREFIX)).to_owned();
        let config = match config {
            None => PathBuf::from(CONFIG),
            Some(named) => {
                let in_prefix = prefix.join(named);
                let is_elsewhere = !is_given && !in_prefix.exists();
                match std::path::absolute(named) {
                    Ok(in_current) if is_elsewhere && in_current.exists() => in_current,
                    _ => in_prefix,
                }
            }
        };
        Paths { config, prefix }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(prefix: Option<&str>, config: Option<&str>) -> String {
        let paths = Paths::new(prefix.map(Path::new), config.map(Path::new));
        paths.config.display().to_string()
    }

    #[test]
    fn the_configuration_file_is_found_as_nginx_finds_it() {
        assert_eq!(config(None, None), CONFIG);
        assert_eq!(config(None, Some("/x/y.conf")), "/x/y.conf");
        assert_eq!(
            config(Some("/srv"), Some("conf/y.conf")),
            "/srv/conf/y.conf"
        );
        assert_eq!(config(Some("/srv"), None), CONFIG);
        assert_eq!(
            config(None, Some("no-such.conf")),
            format!("{PREFIX}/no-such.conf")
        );
    }

    #[test]
    fn a_file_in_the_current_folder_is_found_too() {
        // Tests run in the crate's folder.
        let here = std::env::current_dir().unwrap();
        let found = config(None, Some("Cargo.toml"));
        assert_eq!(found, here.join("Cargo.toml").display().to_string());
    }
}
