//! Whether a task is to let the others of its loop run. The models in `tests/loom.rs`, which have no loop,
//! put theirs in its place.

use std::task::Context;

use crate::event_loop;

/// True if a task of this thread's loop has had its share of what it need not wait for, and gives way.
pub(crate) fn gives_way(cx: &Context<'_>) -> bool {
    event_loop::try_with_core(|core| core.gives_way(cx.waker())) == Some(true)
}
