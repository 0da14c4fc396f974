//! Descriptors that are watched for readiness alone: the ring's poll, by each trigger.

use std::os::fd::AsFd;

use libc::{EPOLLEXCLUSIVE, POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, POLLRDHUP};
use rustix::io::Errno;

use super::{Uring, bits};
use crate::channel::{Channel, ChannelState, Flags, Kind, Work};
use crate::op::ReadOutcome;
use crate::trigger::Trigger;

const READS: u32 = (POLLIN | POLLRDHUP) as u32;
const BROKEN: u32 = (POLLHUP | POLLERR | POLLNVAL) as u32;

fn facts(events: u32) -> Flags {
    let mut flags = Flags::NONE;
    if events & (READS | BROKEN) != 0 {
        flags.insert(Flags::READABLE);
    }
    if events & (POLLOUT as u32 | BROKEN) != 0 {
        flags.insert(Flags::WRITABLE);
    }
    if events & (POLLRDHUP as u32 | BROKEN) != 0 {
        flags.insert(Flags::PEER_CLOSED);
    }
    flags
}

impl Uring {
    /// Has the kernel tell of a descriptor: at every edge, or once, which is told at once if it is ready
    /// already.
    pub(super) fn watch(&mut self, channel: &Channel, state: &mut ChannelState) {
        let Kind::Watched(interest, trigger) = channel.kind() else {
            return;
        };
        let mut events = 0;
        if interest.reads() {
            events |= READS;
        }
        if interest.writes() {
            events |= POLLOUT as u32;
        }
        if trigger == Trigger::Exclusive {
            events |= EPOLLEXCLUSIVE as u32;
        }
        state.in_flight |= bits::READ_POLL;
        let edges = trigger == Trigger::Edge;
        self.ring
            .watch(channel.token(), channel.as_fd(), events, edges);
    }

    /// What the kernel tells of a watched descriptor. A level that nobody asks for is asked anew when
    /// somebody does.
    pub(super) fn told(
        &mut self,
        channel: &Channel,
        state: &mut ChannelState,
        more: bool,
        result: Result<u32, Errno>,
        work: &mut Work<'_>,
    ) {
        if !more {
            state.in_flight &= !bits::READ_POLL;
        }
        let waits = state.read.is_pending();
        match result {
            Err(Errno::CANCELED) => return,
            Ok(_) if channel.kind().is_level() && !waits => {}
            Ok(events) => {
                state.flags.insert(facts(events));
                if waits {
                    work.woken.wake(state.read.complete(ReadOutcome::Ready));
                }
            }
            Err(error) if waits => {
                let failed = ReadOutcome::Failed(error.into());
                work.woken.wake(state.read.complete(failed));
            }
            Err(_) => {}
        }
        // An edge goes on being told, unless it was refused.
        let is_edge = matches!(channel.kind(), Kind::Watched(_, Trigger::Edge));
        if is_edge && !more && result.is_ok() {
            self.watch(channel, state);
        }
    }
}
