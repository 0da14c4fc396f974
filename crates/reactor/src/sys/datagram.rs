//! Many datagrams in one system call, where the kernel has one for it: recvmmsg(2), which `rustix`
//! does not have, and sendmmsg(2). Elsewhere one call a datagram.
#![cfg_attr(target_os = "linux", allow(unsafe_code))]

use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, ReturnFlags, SocketAddrAny};

use crate::buffer::Buffer;
use crate::net::Address;
use crate::sys::platform::NO_SIGNAL;

/// Datagrams in one call at most.
pub(crate) const BATCH_MAX: usize = 16;

/// What came with a datagram.
#[derive(Debug)]
pub(crate) struct Meta {
    pub(crate) from: Address,
    pub(crate) truncated: bool,
}

/// Receives one datagram into an empty buffer.
pub(crate) fn receive(fd: BorrowedFd<'_>, buffer: &mut Buffer) -> Result<Meta, Errno> {
    let mut slices = [std::io::IoSliceMut::new(buffer.spare_mut())];
    let mut control = RecvAncillaryBuffer::default();
    let flags = RecvFlags::empty();
    let received = rustix::net::recvmsg(fd, &mut slices, &mut control, flags)?;
    buffer.extend(received.bytes);
    Ok(Meta {
        from: received.address.map_or(Address::UNNAMED, Address::from),
        truncated: received.flags.contains(ReturnFlags::TRUNC),
    })
}

/// Sends one datagram, to the peer that the socket is connected to if no other is named.
pub(crate) fn send(
    fd: BorrowedFd<'_>,
    bytes: &[u8],
    to: Option<&SocketAddrAny>,
) -> Result<usize, Errno> {
    match to {
        Some(to) => rustix::net::sendto(fd, bytes, NO_SIGNAL, to),
        None => rustix::net::send(fd, bytes, NO_SIGNAL),
    }
}

#[cfg(target_os = "linux")]
pub(crate) use linux::{receive_batch, send_batch};

#[cfg(target_os = "linux")]
mod linux {
    use std::mem::MaybeUninit;
    use std::os::fd::AsRawFd;

    use rustix::net::{MMsgHdr, SendAncillaryBuffer};

    use super::*;
    use crate::net::parse_address;

    /// Receives datagrams of an internet socket into empty buffers, one each, and says how many;
    /// `take` is told of each.
    pub(crate) fn receive_batch(
        fd: BorrowedFd<'_>,
        buffers: &mut [Buffer],
        mut take: impl FnMut(Meta),
    ) -> Result<usize, Errno> {
        let count = buffers.len().min(BATCH_MAX);
        let mut names = [MaybeUninit::<libc::sockaddr_storage>::zeroed(); BATCH_MAX];
        let mut slices = [const { MaybeUninit::<libc::iovec>::zeroed() }; BATCH_MAX];
        let mut messages = [const { MaybeUninit::<libc::mmsghdr>::zeroed() }; BATCH_MAX];
        for (index, buffer) in buffers.iter_mut().enumerate().take(count) {
            let room = buffer.spare_mut();
            let slice = slices[index].write(libc::iovec {
                iov_base: room.as_mut_ptr().cast(),
                iov_len: room.len(),
            });
            // SAFETY: the structure holds integers and pointers, for which zeroes are valid.
            let message = unsafe { messages[index].assume_init_mut() };
            message.msg_hdr.msg_name = names[index].as_mut_ptr().cast();
            message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            message.msg_hdr.msg_iov = slice;
            message.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: the first `count` headers point to names, slices and buffers that live until
        // the call returns and that nobody else touches meanwhile, with their true lengths.
        let received = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                messages.as_mut_ptr().cast(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let Ok(received) = usize::try_from(received) else {
            let error = std::io::Error::last_os_error();
            return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
        };
        for index in 0..received {
            // SAFETY: written above, and by the kernel.
            let message = unsafe { messages[index].assume_init_ref() };
            let name = names[index].as_ptr().cast::<u8>();
            let name_len = (message.msg_hdr.msg_namelen as usize).min(size_of_val(&names[index]));
            // SAFETY: zeroed before the kernel wrote there, and no longer than the storage is.
            let name = unsafe { std::slice::from_raw_parts(name, name_len) };
            buffers[index].extend(message.msg_len as usize);
            take(Meta {
                from: parse_address(name),
                truncated: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            });
        }
        Ok(received)
    }

    /// Sends up to [`BATCH_MAX`] datagrams, and says how many went.
    pub(crate) fn send_batch(
        fd: BorrowedFd<'_>,
        datagrams: &[(&[u8], SocketAddrAny)],
    ) -> Result<usize, Errno> {
        let datagrams = &datagrams[..datagrams.len().min(BATCH_MAX)];
        let mut slices = [[std::io::IoSlice::new(&[])]; BATCH_MAX];
        for (slice, (bytes, _)) in slices.iter_mut().zip(datagrams) {
            slice[0] = std::io::IoSlice::new(bytes);
        }
        let mut controls: [SendAncillaryBuffer<'_, '_, '_>; BATCH_MAX] = Default::default();
        let messages = slices.iter().zip(&mut controls).zip(datagrams);
        let mut messages: Vec<MMsgHdr<'_>> = messages
            .map(|((slice, control), (_, to))| MMsgHdr::new_with_addr(to, slice, control))
            .collect();
        rustix::net::sendmmsg(fd, &mut messages, NO_SIGNAL)
    }
}

/// Receives datagrams into empty buffers, one each, and says how many; `take` is told of each.
#[cfg(not(target_os = "linux"))]
pub(crate) fn receive_batch(
    fd: BorrowedFd<'_>,
    buffers: &mut [Buffer],
    mut take: impl FnMut(Meta),
) -> Result<usize, Errno> {
    let mut received = 0;
    for buffer in buffers {
        match receive(fd, buffer) {
            Ok(meta) => take(meta),
            Err(error) if received == 0 => return Err(error),
            Err(_) => break,
        }
        received += 1;
    }
    Ok(received)
}

/// Sends datagrams, and says how many went.
#[cfg(not(target_os = "linux"))]
pub(crate) fn send_batch(
    fd: BorrowedFd<'_>,
    datagrams: &[(&[u8], SocketAddrAny)],
) -> Result<usize, Errno> {
    let mut sent = 0;
    for (bytes, to) in datagrams {
        match send(fd, bytes, Some(to)) {
            Ok(_) => sent += 1,
            Err(error) if sent == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(sent)
}
