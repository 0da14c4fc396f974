//! What is called at the end of each turn, and what hears of a panic.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::rc::Rc;

use slab::Slab;

use crate::event_loop;
use crate::unwind::guard;

type TurnHook = Box<dyn FnMut()>;
type PanicHook = Rc<dyn Fn(&str)>;

/// The hooks of one loop.
#[derive(Default)]
pub(crate) struct Hooks {
    /// A hook is taken out while it runs, so that it may add and remove hooks.
    turn_end: RefCell<Slab<(u64, Option<TurnHook>)>>,
    next_id: Cell<u64>,
    panic: RefCell<Option<PanicHook>>,
}

impl Hooks {
    fn add(&self, hook: TurnHook) -> (usize, u64) {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        (self.turn_end.borrow_mut().insert((id, Some(hook))), id)
    }

    /// Gives the hook to be dropped where code of the user may run.
    fn remove(&self, index: usize, id: u64) -> Option<TurnHook> {
        let mut hooks = self.turn_end.borrow_mut();
        let found = hooks.get(index).is_some_and(|hook| hook.0 == id);
        if found { hooks.remove(index).1 } else { None }
    }

    /// Calls the hooks. One that panics stays, and is called again in the next turn.
    pub(crate) fn end_turn(&self, on_panic: impl Fn(&str)) {
        let count = self.turn_end.borrow().capacity();
        for index in 0..count {
            let taken = match self.turn_end.borrow_mut().get_mut(index) {
                Some((id, hook)) => hook.take().map(|hook| (*id, hook)),
                None => None,
            };
            if let Some((id, mut hook)) = taken {
                guard(&on_panic, &mut hook);
                if let Some((now_id, place)) = self.turn_end.borrow_mut().get_mut(index)
                    && *now_id == id
                {
                    *place = Some(hook);
                }
            }
        }
    }

    /// Says what has panicked, with which message. Where saying so panics too, standard error hears
    /// of both.
    pub(crate) fn report_panic(&self, what: &str, message: &str) {
        let hook = self.panic.borrow().clone();
        let Some(hook) = hook else {
            return say(what, message);
        };
        let failed = |worse: &str| {
            say(what, message);
            say("the hook for panics", worse);
        };
        match what {
            "a task" => guard(failed, || hook(message)),
            _ => guard(failed, || hook(&format!("{what}: {message}"))),
        }
    }

    /// Drops all hooks, for a loop that ends.
    pub(crate) fn clear(&self) {
        let hooks = self.turn_end.take();
        let panic = self.panic.take();
        drop((hooks, panic));
    }
}

fn say(what: &str, message: &str) {
    eprintln!("revolve-reactor: {what} panicked: {message}");
}

/// A hook that is called at the end of each turn until this is dropped.
#[must_use = "dropping it removes the hook"]
#[derive(Debug)]
pub struct TurnEnd {
    index: usize,
    id: u64,
    local: PhantomData<*const ()>,
}

impl Drop for TurnEnd {
    fn drop(&mut self) {
        drop(event_loop::try_with_core(|core| {
            core.hooks.remove(self.index, self.id)
        }));
    }
}

/// Calls `f` at the end of each turn of this thread's loop, after its tasks: what many tasks of
/// the turn produced can go out at once.
///
/// # Panics
///
/// If there is no loop on this thread.
pub fn on_turn_end(f: impl FnMut() + 'static) -> TurnEnd {
    let (index, id) = event_loop::with_core(|core| core.hooks.add(Box::new(f)));
    TurnEnd {
        index,
        id,
        local: PhantomData,
    }
}

/// Calls `f` with the message when a task of this thread's loop panics. The panic has cost that
/// task alone. Default: a line on standard error.
///
/// What else the loop calls is caught and told likewise, with what it was in front of the message: a
/// posted function, a hook at a turn's end (which stays), a waker, the destructor of what was sent, a
/// server's handler before it has made its future.
///
/// # Panics
///
/// If there is no loop on this thread.
pub fn on_task_panic(f: impl Fn(&str) + 'static) {
    let former = event_loop::with_core(|core| core.hooks.panic.replace(Some(Rc::new(f))));
    drop(former);
}
