//! The command line: nginx's options with nginx's meanings, and a folder to serve.
//!
//! Source: nginx's documentation, "Command-line parameters".

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use lexopt::{Arg, Parser};

use crate::paths;
use crate::version::PROGRAM;

/// What a command line may begin with, in place of options.
const COMMANDS: [&str; 2] = ["ctl", "upgrade"];

/// What `-s` asks of the running master.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum SignalName {
    /// Shut down at once.
    Stop,
    /// Shut down when the requests at hand are answered.
    Quit,
    /// Open the log files again.
    Reopen,
    /// Read the configuration again.
    Reload,
}

/// The command line, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// `-h`, `-?`
    pub(crate) help: bool,
    /// `-v`; `-h` and `-V` set it too, as in nginx.
    pub(crate) version: bool,
    /// `-V`
    pub(crate) build: bool,
    /// `-t`; `-T` sets it too.
    pub(crate) test: bool,
    /// `-T`
    pub(crate) dump: bool,
    /// `-q`
    pub(crate) quiet: bool,
    /// `-s`
    pub(crate) signal: Option<SignalName>,
    /// `-p`
    pub(crate) prefix: Option<PathBuf>,
    /// `-e`
    pub(crate) error_log: Option<PathBuf>,
    /// `-c`
    pub(crate) config: Option<PathBuf>,
    /// `-g`; several are joined.
    pub(crate) globals: Option<String>,
    /// `upgrade`, as the first word.
    pub(crate) upgrade: bool,
    /// The folder to serve without a configuration file.
    pub(crate) folder: Option<PathBuf>,
    /// Where the folder is served: `--listen`, or `--port` on this machine alone.
    pub(crate) listen: Option<String>,
    /// `--follow-links`: symbolic links may lead out of the folder.
    pub(crate) follow_links: bool,
    /// `--tls`: by HTTPS, with a certificate made by itself.
    pub(crate) tls: bool,
}

impl Options {
    /// Whether a folder is to be served with the built-in configuration: one was named, or
    /// nothing was asked at all.
    pub(crate) fn serves_folder(&self) -> bool {
        let asks_nginx = self.config.is_some()
            || self.prefix.is_some()
            || self.globals.is_some()
            || self.error_log.is_some()
            || self.signal.is_some()
            || self.upgrade
            || self.test;
        self.folder.is_some() || !(asks_nginx || paths::IS_PACKAGED)
    }

    /// Whether this word, which stands behind these options, is no folder but a command that they
    /// belong to.
    fn is_meant_for_command(&self, word: &OsStr) -> bool {
        let names_server = self.config.is_some()
            || self.prefix.is_some()
            || self.globals.is_some()
            || self.error_log.is_some()
            || self.quiet;
        names_server && !self.upgrade && COMMANDS.iter().any(|command| word == *command)
    }

    /// Whether a server with a configuration file is to be started.
    pub(crate) fn is_master(&self) -> bool {
        let asks = self.version || self.test || self.upgrade || self.signal.is_some();
        !asks && !self.serves_folder()
    }
}

/// A command line that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// nginx's `invalid option: "x"`.
    InvalidOption(String),
    /// nginx's `option "-c" requires file name`.
    Requires(char, &'static str),
    /// The same for our own long options.
    RequiresLong(&'static str, &'static str),
    /// A value that cannot be one.
    InvalidValue(&'static str, String),
    /// A second folder.
    SecondFolder(String),
    /// Options that exclude each other.
    Together(&'static str),
    /// A command that stands behind options, and the line that was meant.
    CommandFirst(String, String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::InvalidOption(option) => write!(f, "invalid option: \"{option}\""),
            Error::Requires(option, what) => write!(f, "option \"-{option}\" requires {what}"),
            Error::RequiresLong(option, what) => write!(f, "option \"{option}\" requires {what}"),
            Error::InvalidValue(option, value) => {
                write!(f, "invalid value \"{value}\" of option \"{option}\"")
            }
            Error::SecondFolder(name) => {
                write!(
                    f,
                    "only one folder can be served, \"{name}\" is a second one"
                )
            }
            Error::Together(what) => f.write_str(what),
            Error::CommandFirst(word, meant) => write!(
                f,
                "\"{word}\" is a command as the first word alone: {PROGRAM} {meant} (a folder of \
                 that name is ./{word})"
            ),
        }
    }
}

/// Reads the arguments after the program's name.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Options, Error> {
    let words: Vec<OsString> = args.into_iter().collect();
    let mut args = words.iter().cloned().peekable();
    let mut options = Options {
        upgrade: args.next_if(|word| word == "upgrade").is_some(),
        ..Options::default()
    };
    let mut parser = Parser::from_args(args);
    loop {
        match parser.next() {
            Ok(Some(Arg::Short(letter))) => short(letter, &mut options, &mut parser)?,
            Ok(Some(Arg::Long(name))) => {
                let name = name.to_owned();
                long(&name, &mut options, &mut parser)?;
            }
            Ok(Some(Arg::Value(word))) if options.is_meant_for_command(&word) => {
                return Err(command_first(lossy(word), &words));
            }
            Ok(Some(Arg::Value(folder))) => {
                if options.folder.is_some() {
                    return Err(Error::SecondFolder(lossy(folder)));
                }
                options.folder = Some(folder.into());
            }
            Ok(None) => break,
            Err(lexopt::Error::UnexpectedValue { option, .. }) => {
                return Err(Error::InvalidOption(option));
            }
            Err(error) => return Err(Error::InvalidOption(error.to_string())),
        }
    }
    check(options)
}

fn command_first(command: String, words: &[OsString]) -> Error {
    let at = words.iter().rposition(|word| *word == *command);
    let others = words.iter().enumerate();
    let others = others.filter(|(place, _)| Some(*place) != at);
    let mut meant = command.clone();
    for (_, word) in others {
        let word = lossy(word.clone());
        meant.push(' ');
        if word.contains([' ', ';', '\'', '"', '$']) {
            meant.push_str(&format!("'{}'", word.replace('\'', "'\\''")));
        } else {
            meant.push_str(&word);
        }
    }
    Error::CommandFirst(command, meant)
}

fn check(options: Options) -> Result<Options, Error> {
    if options.folder.is_some() && options.config.is_some() {
        return Err(Error::Together(
            "a folder and option \"-c\" exclude each other",
        ));
    }
    if options.folder.is_some() && options.signal.is_some() {
        return Err(Error::Together(
            "a folder and option \"-s\" exclude each other",
        ));
    }
    let is_more = options.folder.is_some()
        || options.listen.is_some()
        || options.signal.is_some()
        || options.test;
    if options.upgrade && is_more {
        return Err(Error::Together(
            "\"upgrade\" takes options \"-c\", \"-p\", \"-e\", \"-g\" and \"-q\" alone",
        ));
    }
    if options.listen.is_some() && !options.serves_folder() {
        let what = "options \"--listen\" and \"--port\" are for serving a folder; \
                    a configuration file has \"listen\"";
        return Err(Error::Together(what));
    }
    if options.tls && !options.serves_folder() {
        let what = "option \"--tls\" is for serving a folder; \
                    a configuration file has \"listen ... ssl\"";
        return Err(Error::Together(what));
    }
    if options.follow_links && !options.serves_folder() {
        let what = "option \"--follow-links\" is for serving a folder; \
                    a configuration file has \"files_within\"";
        return Err(Error::Together(what));
    }
    Ok(options)
}

fn short(letter: char, options: &mut Options, parser: &mut Parser) -> Result<(), Error> {
    match letter {
        '?' | 'h' => {
            options.version = true;
            options.help = true;
        }
        'v' => options.version = true,
        'V' => {
            options.version = true;
            options.build = true;
        }
        't' => options.test = true,
        'T' => {
            options.test = true;
            options.dump = true;
        }
        'q' => options.quiet = true,
        'p' => options.prefix = Some(value(letter, "directory name", parser)?.into()),
        'e' => options.error_log = Some(value(letter, "file name", parser)?.into()),
        'c' => options.config = Some(value(letter, "file name", parser)?.into()),
        'g' => {
            let text = lossy(value(letter, "parameter", parser)?);
            let globals = options.globals.get_or_insert_default();
            globals.push_str(&text);
        }
        's' => {
            let name = lossy(value(letter, "parameter", parser)?);
            options.signal = Some(match name.as_str() {
                "stop" => SignalName::Stop,
                "quit" => SignalName::Quit,
                "reopen" => SignalName::Reopen,
                "reload" => SignalName::Reload,
                _ => return Err(Error::InvalidOption(format!("-s {name}"))),
            });
        }
        other => return Err(Error::InvalidOption(other.to_string())),
    }
    Ok(())
}

fn long(name: &str, options: &mut Options, parser: &mut Parser) -> Result<(), Error> {
    match name {
        "help" => {
            options.version = true;
            options.help = true;
        }
        "version" => options.version = true,
        "listen" => {
            let what = Error::RequiresLong("--listen", "address");
            options.listen = Some(lossy(parser.value().map_err(|_| what)?));
        }
        "follow-links" => options.follow_links = true,
        "tls" => options.tls = true,
        "port" => {
            let what = Error::RequiresLong("--port", "number");
            let text = lossy(parser.value().map_err(|_| what)?);
            let port: u16 = match text.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(Error::InvalidValue("--port", text)),
            };
            options.listen = Some(format!("127.0.0.1:{port}"));
        }
        other => return Err(Error::InvalidOption(format!("--{other}"))),
    }
    Ok(())
}

/// The value of a short option: the rest of the word, or the next word whatever it looks like,
/// as in nginx.
fn value(letter: char, what: &'static str, parser: &mut Parser) -> Result<OsString, Error> {
    let value = match parser.optional_value() {
        Some(value) => value,
        None => match parser.raw_args().map(|mut args| args.next()) {
            Ok(Some(value)) => value,
            _ => return Err(Error::Requires(letter, what)),
        },
    };
    if value.is_empty() {
        Err(Error::Requires(letter, what))
    } else {
        Ok(value)
    }
}

fn lossy(value: OsString) -> String {
    value.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, String> {
        parse(line.split_whitespace().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn options_stand_alone_together_and_with_their_values_attached() {
        let tested = Options {
            test: true,
            config: Some("x".into()),
            ..Options::default()
        };
        assert_eq!(read("-t -c x"), Ok(tested.clone()));
        assert_eq!(read("-tcx"), Ok(tested.clone()));
        assert_eq!(read("-tc x"), Ok(tested.clone()));
        assert_eq!(
            read("-tqc x"),
            Ok(Options {
                quiet: true,
                ..tested
            })
        );
        let line = ["-g", "daemon off;", "-gpid x;"].map(OsString::from);
        assert_eq!(parse(line).unwrap().globals.unwrap(), "daemon off;pid x;");
        assert_eq!(read("-sreload").unwrap().signal, Some(SignalName::Reload));
        let dumped = read("-T").unwrap();
        assert!(dumped.test && dumped.dump);
        let built = read("-V").unwrap();
        assert!(built.version && built.build && !built.help);
        assert!(read("-?").unwrap().help && read("-h").unwrap().version);
        assert_eq!(read("-p -c").unwrap().prefix, Some("-c".into()));
    }

    #[test]
    fn errors_have_the_words_of_nginx() {
        for (line, message) in [
            ("-x", "invalid option: \"x\""),
            ("-tx", "invalid option: \"x\""),
            ("--nothing", "invalid option: \"--nothing\""),
            ("-s bogus", "invalid option: \"-s bogus\""),
            ("-s", "option \"-s\" requires parameter"),
            ("-c", "option \"-c\" requires file name"),
            ("-e", "option \"-e\" requires file name"),
            ("-p", "option \"-p\" requires directory name"),
            ("-g", "option \"-g\" requires parameter"),
            ("--port", "option \"--port\" requires number"),
            (
                "--port 70000",
                "invalid value \"70000\" of option \"--port\"",
            ),
            ("--help=x", "invalid option: \"--help\""),
            (
                "a b",
                "only one folder can be served, \"b\" is a second one",
            ),
            (
                "upgrade -t",
                "\"upgrade\" takes options \"-c\", \"-p\", \"-e\", \"-g\" and \"-q\" alone",
            ),
            (
                "-p x upgrade",
                "\"upgrade\" is a command as the first word alone: revolve upgrade -p x (a folder \
                 of that name is ./upgrade)",
            ),
            (
                "-c x ctl status --json",
                "\"ctl\" is a command as the first word alone: revolve ctl -c x status --json (a \
                 folder of that name is ./ctl)",
            ),
            ("a -c b", "a folder and option \"-c\" exclude each other"),
            ("a -s stop", "a folder and option \"-s\" exclude each other"),
        ] {
            assert_eq!(read(line), Err(message.to_owned()), "{line}");
        }
        assert!(
            read("-c x --port 80")
                .unwrap_err()
                .contains("has \"listen\"")
        );
    }

    #[test]
    fn upgrade_is_the_first_word_or_a_folder() {
        let options = read("upgrade -c x").unwrap();
        assert!(options.upgrade && options.folder.is_none() && !options.serves_folder());
        assert!(!read("upgrade").unwrap().serves_folder());
        for line in ["./upgrade", "--port 81 upgrade", "-p x ./upgrade", "ctl"] {
            let options = read(line).unwrap();
            assert!(!options.upgrade && options.folder.is_some(), "{line}");
        }
        let line = ["-g", "daemon off;", "upgrade"].map(OsString::from);
        let message = parse(line).unwrap_err().to_string();
        assert!(
            message.contains("revolve upgrade -g 'daemon off;' ("),
            "{message}"
        );
    }

    #[test]
    fn a_folder_is_served_when_nothing_else_is_asked() {
        assert!(read("").unwrap().serves_folder());
        assert!(read("--port 81").unwrap().serves_folder());
        let options = read("site --listen [::1]:80").unwrap();
        assert!(options.serves_folder());
        assert_eq!(
            (options.folder, options.listen),
            (Some("site".into()), Some("[::1]:80".into()))
        );
        assert_eq!(read("--port 81").unwrap().listen.unwrap(), "127.0.0.1:81");
        assert!(read("-c x").unwrap().is_master() && !read(".").unwrap().is_master());
        assert!(!read("-V -c x").unwrap().is_master() && !read("upgrade").unwrap().is_master());
        for line in ["-t", "-c x", "-s stop", "-p x", "-g x;", "-e x"] {
            assert!(!read(line).unwrap().serves_folder(), "{line}");
        }
    }
}
