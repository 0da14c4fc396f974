//! How many descriptors a process may have, and what to say when there are none left.

use std::fmt;
use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many descriptors this process may have (`RLIMIT_NOFILE` of getrlimit(2)): each connection
/// is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorLimit {
    /// So many for now; `None` for no limit.
    pub soft: Option<u64>,
    /// So many at most: the process may raise its soft limit to it. `None` for no limit.
    pub hard: Option<u64>,
}

impl DescriptorLimit {
    /// The limit of this process. From any thread.
    pub fn current() -> DescriptorLimit {
        let limit = getrlimit(Resource::Nofile);
        DescriptorLimit {
            soft: limit.current,
            hard: limit.maximum,
        }
    }

    /// Raises the soft limit of this process to the hard one, and says what it is now. From any
    /// thread. [`DriverKind::Select`](crate::DriverKind::Select) has no use for more than 1,024.
    ///
    /// # Errors
    ///
    /// As setrlimit(2): some systems have a limit below the hard one.
    pub fn raise() -> io::Result<DescriptorLimit> {
        let hard = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit {
            current: hard,
            maximum: hard,
        };
        setrlimit(Resource::Nofile, limit)?;
        Ok(DescriptorLimit::current())
    }
}

/// The limit in words, and how to raise it.
impl fmt::Display for DescriptorLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(soft) = self.soft else {
            return f.write_str("the process may have any number of descriptors");
        };
        write!(f, "the process may have {soft} descriptors")?;
        match self.hard {
            Some(hard) if hard <= soft => {
                write!(f, "; `ulimit -Hn`, or LimitNOFILE= of systemd, allows more")
            }
            hard => {
                write!(f, "; `ulimit -n`, or DescriptorLimit::raise(), raises that")?;
                hard.map_or(Ok(()), |hard| write!(f, " to up to {hard}"))
            }
        }
    }
}

/// Says what to do about an error that comes of too few descriptors.
pub(crate) fn explain(error: io::Error) -> io::Error {
    let remedy = match Errno::from_io_error(&error) {
        Some(Errno::MFILE) => DescriptorLimit::current().to_string(),
        Some(Errno::NFILE) => "the system has no more: see fs.file-max of sysctl(8)".to_owned(),
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{error}: {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_says_how_to_raise_it() {
        let text = |soft, hard| DescriptorLimit { soft, hard }.to_string();
        assert_eq!(
            text(Some(10), Some(20)),
            "the process may have 10 descriptors; `ulimit -n`, or DescriptorLimit::raise(), raises \
             that to up to 20"
        );
        assert!(text(Some(20), Some(20)).contains("LimitNOFILE="));
        assert!(text(Some(20), None).ends_with("raises that"));
        assert!(text(None, None).ends_with("any number of descriptors"));
    }

    #[test]
    fn running_out_is_explained_and_other_errors_stay() {
        let limit = explain(Errno::MFILE.into()).to_string();
        assert!(
            limit.contains("os error 24") && limit.contains("ulimit"),
            "{limit}"
        );
        let other = explain(Errno::ADDRINUSE.into());
        assert_eq!(Errno::from_io_error(&other), Some(Errno::ADDRINUSE));
    }
}
