//! Drivers by name, and which of them this system has.

use std::fmt;
use std::io;
use std::str::FromStr;

use crate::sys::DriverKind;

/// The environment variable that names the driver of loops that were not told one.
const VARIABLE: &str = "REVOLVE_DRIVER";

/// Every driver and its name.
const NAMES: &[(&str, DriverKind)] = &[
    ("epoll", DriverKind::Epoll),
    ("io_uring", DriverKind::IoUring),
    ("poll", DriverKind::Poll),
    ("select", DriverKind::Select),
    ("portable", DriverKind::Portable),
    ("sim", DriverKind::Sim),
];

/// The event types that this system has, by nginx's names, and the driver for each.
const EVENT_TYPES: &[(&str, DriverKind)] = &[
    #[cfg(target_os = "linux")]
    ("epoll", DriverKind::Epoll),
    // Not one of nginx's: it has none that works by completion.
    #[cfg(target_os = "linux")]
    ("io_uring", DriverKind::IoUring),
    #[cfg(any(
        target_vendor = "apple",
        target_os = "freebsd",
        target_os = "dragonfly",
        target_os = "netbsd",
        target_os = "openbsd"
    ))]
    ("kqueue", DriverKind::Portable),
    ("poll", DriverKind::Poll),
    ("select", DriverKind::Select),
];

impl DriverKind {
    /// The name, as `REVOLVE_DRIVER` and [`DriverKind::from_str`] take it.
    pub fn name(self) -> &'static str {
        let row = NAMES.iter().find(|(_, kind)| *kind == self);
        row.map_or("unnamed", |(name, _)| name)
    }

    /// The driver for an event type of nginx (directive `use`); `None` if there is no such type,
    /// or not on this system: `epoll` is Linux's, `kqueue` that of macOS and the BSDs.
    pub fn from_event_type(name: &str) -> Option<DriverKind> {
        let row = EVENT_TYPES.iter().find(|(own, _)| *own == name);
        row.map(|(_, kind)| *kind)
    }

    /// The names that [`from_event_type`](DriverKind::from_event_type) knows on this system.
    pub fn event_types() -> impl Iterator<Item = &'static str> {
        EVENT_TYPES.iter().map(|(name, _)| *name)
    }

    /// What the environment variable `REVOLVE_DRIVER` names; the default where it is not set, or
    /// empty.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a name that is none.
    pub fn from_env() -> io::Result<DriverKind> {
        let value = std::env::var_os(VARIABLE).unwrap_or_default();
        if value.is_empty() {
            return Ok(DriverKind::default());
        }
        value.to_string_lossy().parse().map_err(|error| {
            let message = format!("{VARIABLE}: {error}");
            io::Error::new(io::ErrorKind::InvalidInput, message)
        })
    }
}

/// On Linux epoll, elsewhere what the `polling` crate finds.
impl Default for DriverKind {
    fn default() -> DriverKind {
        if cfg!(target_os = "linux") {
            DriverKind::Epoll
        } else {
            DriverKind::Portable
        }
    }
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DriverKind {
    type Err = UnknownDriver;

    fn from_str(name: &str) -> Result<DriverKind, UnknownDriver> {
        let row = NAMES.iter().find(|(own, _)| *own == name);
        row.map(|(_, kind)| *kind)
            .ok_or_else(|| UnknownDriver { name: name.into() })
    }
}

/// A name that no driver has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownDriver {
    name: String,
}

impl fmt::Display for UnknownDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown driver \"{}\", expected one of", self.name)?;
        for (index, (name, _)) in NAMES.iter().enumerate() {
            write!(f, "{} {name}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownDriver {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_being_parsed_and_others_are_refused_with_the_choice() {
        for (name, kind) in NAMES {
            assert_eq!((kind.name(), name.parse()), (*name, Ok(*kind)));
        }
        let error = "epol".parse::<DriverKind>().expect_err("no such driver");
        let text = error.to_string();
        assert!(
            text.starts_with("unknown driver \"epol\", expected one of epoll, io_uring, poll"),
            "{text}"
        );
    }

    #[test]
    fn event_types_are_those_of_nginx() {
        assert_eq!(DriverKind::from_event_type("poll"), Some(DriverKind::Poll));
        for none in ["sim", "portable", "rtsig", ""] {
            assert_eq!(DriverKind::from_event_type(none), None);
        }
    }
}
