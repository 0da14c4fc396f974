//! The master's title in process lists, as of nginx's: `revolve: master process /usr/sbin/revolve -c x`.
//!
//! The title is the name that the program is executed by, so its arguments follow in it by
//! themselves. Changing it in place would take unsafe code.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::role::EXECUTABLE;

const TITLE: &[u8] = b"revolve: master process ";

/// The name by which this program was called, before it had a title.
pub(crate) fn name() -> Option<OsString> {
    let name = std::env::args_os().next()?;
    Some(untitled(&name).to_owned())
}

fn untitled(name: &OsStr) -> &OsStr {
    let bytes = name.as_bytes();
    OsStr::from_bytes(bytes.strip_prefix(TITLE).unwrap_or(bytes))
}

/// The title of a master that was called by this name.
pub(crate) fn of(name: &OsStr) -> OsString {
    OsString::from_vec([TITLE, name.as_bytes()].concat())
}

/// Executes this program once more, under its title, if it does not have it. Where that fails it
/// goes on without.
pub(crate) fn assume() {
    let mut arguments = std::env::args_os();
    let Some(name) = arguments.next() else {
        return;
    };
    if untitled(&name) == name {
        let mut command = Command::new(EXECUTABLE);
        // Where it comes back, it has not happened.
        let _ = command.arg0(of(&name)).args(arguments).exec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_keeps_the_name() {
        let name = OsStr::from_bytes(b"/opt/x\xff y/revolve");
        assert_eq!(untitled(&of(name)), name);
        assert_eq!(untitled(name), name);
    }
}
