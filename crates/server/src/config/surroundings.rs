//! Directives of what a worker process runs in: its environment, folder, priority, size of core
//! files. And those that nginx has for its own way of working, which are checked alone.
//!
//! ```nginx
//! env TZ=Europe/Vienna;        # workers inherit no other variable
//! worker_priority -5;
//! worker_rlimit_core 500m; working_directory /var/cores;
//! ```

use std::path::PathBuf;

use revolve_conf::directive::Args;
use revolve_conf::value::{number, offset_of, time_ms_of};
use revolve_conf::{Diagnostic, Directive, Word};

use crate::config::process::{DirectiveRow, ProcessScope};
use crate::config::scope::{MAIN, checked_once, choice, invalid_parameter, set_once};

/// A variable of the environment that workers get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvVariable {
    /// Its name.
    pub name: String,
    /// Its value; `None` for the one that the master has, if it has any.
    pub value: Option<String>,
}

/// What a worker process runs in.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// `env`, in the order of the file. `TZ` is inherited even if it is not named.
    pub env: Vec<EnvVariable>,
    /// `working_directory`: the workers' current folder; the default is the master's.
    pub working_directory: Option<PathBuf>,
    /// `worker_priority`: the workers' nice value, of which -20 is the most favourable.
    pub priority: Option<i32>,
    /// `worker_rlimit_core`: the largest core file of a worker, in bytes.
    pub core_bytes: Option<u64>,
}

/// The directives of this file.
pub(crate) const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "env",
        contexts: MAIN,
        args: Args::ONE,
        set: |scope, d| {
            let (name, value) = match d.args[0].text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (d.args[0].text.as_str(), None),
            };
            let name = name.to_owned();
            let env = &mut scope.process.surroundings.env;
            env.push(EnvVariable { name, value });
            Ok(())
        },
    },
    DirectiveRow {
        name: "working_directory",
        contexts: MAIN,
        args: Args::ONE,
        set: |scope, d| {
            let path = PathBuf::from(&d.args[0].text);
            set_once(&mut scope.process.surroundings.working_directory, path, d)
        },
    },
    DirectiveRow {
        name: "worker_priority",
        contexts: MAIN,
        args: Args::ONE,
        set: |scope, d| {
            let priority = priority(&d.args[0])?;
            set_once(&mut scope.process.surroundings.priority, priority, d)
        },
    },
    DirectiveRow {
        name: "worker_rlimit_core",
        contexts: MAIN,
        args: Args::ONE,
        set: |scope, d| {
            let bytes = offset_of(&d.args[0], &d.name.text)?;
            set_once(&mut scope.process.surroundings.core_bytes, bytes, d)
        },
    },
    DirectiveRow {
        name: "lock_file",
        contexts: MAIN,
        args: Args::ONE,
        set: checked_once,
    },
    DirectiveRow {
        name: "timer_resolution",
        contexts: MAIN,
        args: Args::ONE,
        set: |scope, d| {
            time_ms_of(&d.args[0], &d.name.text)?;
            checked_once(scope, d)
        },
    },
    DirectiveRow {
        name: "debug_points",
        contexts: MAIN,
        args: Args::ONE,
        set: |scope, d| {
            choice(&d.args[0], [("abort", ()), ("stop", ())])?;
            checked_once(scope, d)
        },
    },
    DirectiveRow {
        name: "thread_pool",
        contexts: MAIN,
        args: Args::TWO_OR_THREE,
        set: thread_pool,
    },
];

fn priority(word: &Word) -> Result<i32, Diagnostic> {
    let text = word.text.as_str();
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    match number(digits).and_then(|number| i32::try_from(number).ok()) {
        Some(number) if text.starts_with('-') => Ok(-number),
        Some(number) => Ok(number),
        None => {
            let message = "\"worker_priority\" directive invalid number";
            Err(Diagnostic::new(word.span, message).label("expected a number, usually -20 to 20"))
        }
    }
}

/// `thread_pool NAME threads=NUMBER [max_queue=NUMBER]`.
fn thread_pool(scope: &mut ProcessScope, directive: &Directive) -> Result<(), Diagnostic> {
    let (name, parameters) = directive
        .args
        .split_first()
        .expect("its arguments are counted");
    let (mut threads, mut queued_max) = (None, None);
    for word in parameters {
        let (key, value) = word.text.split_once('=').unwrap_or((&word.text, ""));
        match key {
            "threads" => threads = Some(count(word, key, value, 1)?),
            "max_queue" => queued_max = Some(count(word, key, value, 0)?),
            _ => return Err(invalid_parameter(word, "expected threads= or max_queue=")),
        }
    }
    let Some(threads) = threads else {
        let message = "\"thread_pool\" must have \"threads\" parameter";
        return Err(Diagnostic::new(directive.span, message).label("add threads=32"));
    };
    match scope
        .shared
        .thread_pools
        .add(&name.text, threads, queued_max)
    {
        true => Ok(()),
        false => {
            let message = format!("duplicate thread pool \"{}\"", name.text);
            Err(Diagnostic::new(name.span, message).label("defined above"))
        }
    }
}

fn count(word: &Word, key: &str, value: &str, least: u64) -> Result<usize, Diagnostic> {
    let found = number(value).filter(|found| *found >= least);
    found.map(|found| found as usize).ok_or_else(|| {
        let message = format!("invalid {key} value \"{}\"", word.text);
        Diagnostic::new(word.span, message).label("expected a number")
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use revolve_conf::{Snapshot, SnapshotFiles};

    use super::*;
    use crate::config::Prefix;
    use crate::load;

    fn read(text: &str) -> Result<Surroundings, String> {
        let mut snapshot = Snapshot::default();
        snapshot.insert_file("/x.conf", format!("{text}\nevents {{}}\n").into_bytes());
        let prefix = Prefix {
            prefix: "/".into(),
            error_log: "stderr".into(),
            access_log: None,
        };
        let mut files = SnapshotFiles::new(snapshot);
        let (config, sources, diagnostics) = load(Path::new("/x.conf"), &prefix, None, &mut files);
        let first = |_| {
            let error = diagnostics.iter().next().map(|it| it.headline(&sources));
            error.unwrap_or_default().replace(" in /x.conf:1", "")
        };
        config
            .ok_or(())
            .map(|config| config.process().surroundings.clone())
            .map_err(first)
    }

    #[test]
    fn what_nginx_takes_is_taken() {
        let text = "env A; env B=1=2; env A; worker_priority -5; worker_rlimit_core 2g;\
                    working_directory /tmp; lock_file x; timer_resolution 100ms;\
                    debug_points abort; thread_pool a threads=2; thread_pool b max_queue=0 threads=1;";
        let read = read(text).unwrap();
        assert_eq!((read.priority, read.core_bytes), (Some(-5), Some(2 << 30)));
        assert_eq!(read.working_directory, Some("/tmp".into()));
        let names: Vec<_> = read.env.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["A", "B", "A"]);
        assert_eq!(read.env[1].value.as_deref(), Some("1=2"));
    }

    #[test]
    fn errors_have_the_words_of_nginx() {
        for (text, message) in [
            (
                "worker_priority -5x;",
                "\"worker_priority\" directive invalid number",
            ),
            (
                "lock_file a; lock_file b;",
                "\"lock_file\" directive is duplicate",
            ),
            (
                "timer_resolution x;",
                "\"timer_resolution\" directive invalid value",
            ),
            (
                "worker_rlimit_core x;",
                "\"worker_rlimit_core\" directive invalid value",
            ),
            (
                "thread_pool a max_queue=3;",
                "\"thread_pool\" must have \"threads\" parameter",
            ),
            (
                "thread_pool a threads=0;",
                "invalid threads value \"threads=0\"",
            ),
            (
                "thread_pool a threads=1; thread_pool a threads=2;",
                "duplicate thread pool \"a\"",
            ),
        ] {
            assert_eq!(read(text), Err(message.to_owned()), "{text}");
        }
        assert!(
            read("debug_points x;")
                .unwrap_err()
                .starts_with("invalid value \"x\"")
        );
    }
}
