//! Socket addresses as the kernel writes them.
#![allow(unsafe_code)]

use rustix::net::SocketAddrAny;

/// The bytes of an address that a call has brought: a `sockaddr` of any family.
pub(crate) fn bytes(raw: &SocketAddrAny) -> &[u8] {
    let len = raw.addr_len() as usize;
    // SAFETY: as many bytes as it says it is long are initialized, which is an invariant of the type,
    // and they live as long as it does.
    unsafe { std::slice::from_raw_parts(raw.as_ptr().cast(), len) }
}
