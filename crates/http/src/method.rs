//! Request methods.

/// A request method, as nginx knows them; the exact name is at [`Head::method_span`](crate::Head::method_span).
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Hash)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
    /// MKCOL
    Mkcol,
    /// COPY
    Copy,
    /// MOVE
    Move,
    /// OPTIONS
    Options,
    /// PROPFIND
    Propfind,
    /// PROPPATCH
    Proppatch,
    /// LOCK
    Lock,
    /// UNLOCK
    Unlock,
    /// PATCH
    Patch,
    /// TRACE, which is answered by [`TraceMethod`](crate::h1::HeadError::TraceMethod).
    Trace,
    /// CONNECT, which is answered by [`ConnectMethod`](crate::h1::HeadError::ConnectMethod) where nobody
    /// makes tunnels.
    Connect,
    /// Any other name of `A`-`Z`, `_` and `-`.
    #[default]
    Other,
}

impl Method {
    pub(crate) fn of_name(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"MKCOL" => Self::Mkcol,
            b"COPY" => Self::Copy,
            b"MOVE" => Self::Move,
            b"OPTIONS" => Self::Options,
            b"PROPFIND" => Self::Propfind,
            b"PROPPATCH" => Self::Proppatch,
            b"LOCK" => Self::Lock,
            b"UNLOCK" => Self::Unlock,
            b"PATCH" => Self::Patch,
            b"TRACE" => Self::Trace,
            b"CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }
}
