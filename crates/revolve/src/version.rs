//! What `-v`, `-V` and `-h` print.

use crate::paths;

/// The program's name in messages, where nginx says `nginx`.
pub(crate) const PROGRAM: &str = "revolve";

/// The program's version.
pub(crate) const NUMBER: &str = env!("CARGO_PKG_VERSION");

/// Program and version, as nginx names itself.
pub(crate) fn name() -> String {
    format!("{PROGRAM}/{NUMBER}")
}

/// `-v`, in the form that tools look for in nginx's.
pub(crate) fn version() -> String {
    format!("{PROGRAM} version: {}\n", name())
}

/// What `-V` adds: what TLS is built with, as certbot looks for it, and the built-in modules as arguments of
/// nginx's `configure`, which is how tools learn what a server can do.
pub(crate) fn build<'a>(modules: impl Iterator<Item = &'a str>) -> String {
    let mut line = format!(
        "built with AWS-LC\nTLS SNI support enabled\nconfigure arguments: --prefix={} --conf-path={} --error-log-path={} --pid-path={}",
        paths::PREFIX,
        paths::CONFIG,
        paths::ERROR_LOG,
        paths::PID,
    );
    for module in modules {
        line.push_str(" --with-");
        line.push_str(module);
    }
    line.push('\n');
    line
}

/// `-h`.
pub(crate) fn help() -> String {
    format!(
        "\
Usage: {PROGRAM} [-?hvVtTq] [-s signal] [-p prefix]
               [-e filename] [-c filename] [-g directives]
       {PROGRAM} [folder] [--listen address | --port number] [--follow-links] [--tls]
       {PROGRAM} upgrade [-q] [-p prefix] [-c filename] [-g directives]
       {PROGRAM} ctl status | connections | workers | certificates | reload

Without a configuration file, serve a folder on this machine:
  folder        : what to serve{default}
  --port number : on 127.0.0.1 (default: {port})
  --listen addr : on address:port, or unix:path
  --follow-links: symbolic links may lead out of the folder
  --tls         : by HTTPS, with a certificate made for it, which no browser trusts

Replace the running binary by the one on disk, no connection lost:
  upgrade       : start the new one, wait until it serves, end the old one;
                  if it does not, the old one stays

Ask the running server ({PROGRAM} ctl -h says more):
  ctl status    : processes, connections, requests, memory
  ctl reload    : as -s reload: read the configuration again, say what changed

Options:
  -?,-h         : this help
  -v            : show version and exit
  -V            : show version and configure options then exit
  -t            : test configuration and exit
  -T            : test configuration, dump it and exit
  -q            : suppress non-error messages during configuration testing
  -s signal     : send signal to a master process: stop, quit, reopen, reload
  -p prefix     : set prefix path (default: {prefix}/)
  -e filename   : set error log file (default: {error_log})
  -c filename   : set configuration file (default: {config})
  -g directives : set global directives out of configuration file

",
        default = if paths::IS_PACKAGED {
            ""
        } else {
            " (default: the site that comes with the sources)"
        },
        port = paths::FOLDER_PORT,
        prefix = paths::PREFIX,
        error_log = paths::ERROR_LOG,
        config = paths::CONFIG,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_reads_like_that_of_nginx() {
        assert_eq!(
            version(),
            format!("revolve version: revolve/{}\n", env!("CARGO_PKG_VERSION"))
        );
    }

    #[test]
    fn modules_are_configure_arguments() {
        let line = build(["http_v2_module", "http_ssl_module"].into_iter());
        assert!(
            line.contains("\nTLS SNI support enabled\nconfigure arguments: --prefix=/"),
            "{line}"
        );
        assert!(
            line.ends_with(" --with-http_v2_module --with-http_ssl_module\n"),
            "{line}"
        );
    }
}
