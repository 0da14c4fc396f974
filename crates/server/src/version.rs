//! What the server calls itself.

/// The server's name, as `Server` shows it with `server_tokens off`.
pub const SERVER_NAME: &str = "revolve";

/// The server's name and version.
pub const SERVER_VERSION: &str = concat!("revolve/", env!("CARGO_PKG_VERSION"));
