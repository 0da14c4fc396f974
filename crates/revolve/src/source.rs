//! Where the configuration comes from, and reading it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use revolve_conf::{
    Diagnostic, Diagnostics, DiskFiles, Files, Recorded, Snapshot, SnapshotFiles, Sources,
};
use revolve_server::{Config, Prefix};

use crate::cli::Options;
use crate::paths::{self, Paths};
use crate::privilege;

/// What is read again at each reload.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Where files are.
    pub(crate) paths: Paths,
    /// The error log where the configuration names none.
    pub(crate) error_log: PathBuf,
    /// The access log where the configuration names none; `None` for no log.
    pub(crate) access_log: Option<PathBuf>,
    /// The text of `-g`.
    pub(crate) globals: Option<String>,
    /// The built-in configuration, where a folder is served; it has no file on disk.
    pub(crate) built_in: Option<Snapshot>,
}

/// What is wrong with `user`, where somebody wrote it and it can take effect.
fn wrong_user(config: &Config) -> Option<Diagnostic> {
    let process = config.process();
    let span = process.user_span?;
    let error = privilege::identity(process).err()?;
    Some(Diagnostic::new(span, error).label("this system does not know it"))
}

/// A configuration that was read, or what is wrong with it.
pub(crate) struct Loaded {
    /// The configuration, if it can be used.
    pub(crate) config: Option<Arc<Config>>,
    /// The texts that it was read from.
    pub(crate) sources: Sources,
    /// Errors and warnings.
    pub(crate) diagnostics: Diagnostics,
    /// Every file that was read: what a worker needs to read the same.
    pub(crate) snapshot: Snapshot,
}

impl Source {
    /// The configuration file that the command line asks for.
    pub(crate) fn from_options(options: &Options) -> Source {
        Source {
            paths: Paths::new(options.prefix.as_deref(), options.config.as_deref()),
            error_log: options
                .error_log
                .clone()
                .unwrap_or_else(|| paths::ERROR_LOG.into()),
            access_log: paths::access_log(),
            globals: options.globals.clone(),
            built_in: None,
        }
    }

    /// Reads the configuration as it is now.
    pub(crate) fn load(&self) -> Loaded {
        let mut disk = DiskFiles;
        let mut built_in = self.built_in.clone().map(SnapshotFiles::new);
        let files: &mut dyn Files = match &mut built_in {
            Some(files) => files,
            None => &mut disk,
        };
        let mut recorded = Recorded::new(files);
        let (mut config, sources, mut diagnostics) = self.load_from(&mut recorded);
        if let Some(error) = config.as_deref().and_then(wrong_user) {
            diagnostics.push(error);
            config = None;
        }
        Loaded {
            config,
            sources,
            diagnostics,
            snapshot: recorded.into_snapshot(),
        }
    }

    /// The pid file that the configuration names, however wrong the rest of it may be: the server
    /// that is to be found serves an older one.
    ///
    /// Errors: the file cannot be read.
    pub(crate) fn pid_path(&self) -> io::Result<PathBuf> {
        std::fs::File::open(&self.paths.config)?;
        let globals = self.globals.as_deref();
        let (document, _) = revolve_conf::parse(&self.paths.config, globals, &mut DiskFiles);
        let named = document.directives.iter().find_map(|directive| {
            let path = directive.args.first()?;
            (directive.name.text == "pid").then(|| self.paths.prefix.join(&path.text))
        });
        Ok(named.unwrap_or_else(|| paths::PID.into()))
    }

    /// Reads the configuration from these files.
    pub(crate) fn load_from(
        &self,
        files: &mut dyn Files,
    ) -> (Option<Arc<Config>>, Sources, Diagnostics) {
        let prefix = Prefix {
            prefix: self.paths.prefix.clone(),
            error_log: self.error_log.clone(),
            access_log: self.access_log.clone(),
        };
        revolve_server::load(&self.paths.config, &prefix, self.globals.as_deref(), files)
    }
}
