//! Whether this is still the process in which something was made.
//!
//! A child after fork(2) has copies of the loop's memory, and shares what the kernel keeps for it: an
//! epoll instance, a ring. What it takes out of those is taken from its parent.
#![allow(unsafe_code)]

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many forks lie between the first process and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);

extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// The process in which something was made. A child that was made past the C library is not told apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Birthplace(u32);

impl Birthplace {
    pub(crate) fn here() -> Birthplace {
        static WATCHING: Once = Once::new();
        WATCHING.call_once(|| {
            // SAFETY: the function only adds to an atomic, which is allowed in a child of a program
            // with threads. Should there be no memory for it, children are not told apart.
            unsafe {
                libc::pthread_atfork(None, None, Some(in_child));
            }
        });
        Birthplace(FORKS.load(Ordering::Relaxed))
    }

    /// True in a child of the process in which this was made.
    pub(crate) fn is_elsewhere(self) -> bool {
        FORKS.load(Ordering::Relaxed) != self.0
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpStream;
    use std::time::Duration;

    use crate::{
        Address, DriverKind, EventLoop, ListenOptions, Listener, Reactors, Readable, Semaphore,
        Stream, ThreadPool, spawn, timeout, yield_now,
    };

    /// Ends a child without what a process does at its end: that is the parent's.
    fn end_child(code: i32) -> ! {
        // SAFETY: has no conditions.
        unsafe { libc::_exit(code) }
    }

    /// Has a child do something, and gives its exit code.
    fn in_child(f: impl FnOnce()) -> i32 {
        // SAFETY: the child does nothing but `f`, which allocates; the C library's allocator takes care
        // of that. It ends without returning, whatever `f` does.
        let child = unsafe { libc::fork() };
        assert!(child >= 0, "fork");
        if child == 0 {
            let fine = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_ok();
            end_child(i32::from(!fine));
        }
        let mut status = 0;
        // SAFETY: the child is this function's, and the status lives across the call.
        let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(ended, child, "waitpid");
        if libc::WIFEXITED(status) {
            libc::WEXITSTATUS(status)
        } else {
            128 + libc::WTERMSIG(status)
        }
    }

    /// A child drops the loop and all that it was given; the parent's is as it was.
    #[test]
    fn a_child_that_drops_a_loop_takes_nothing_from_its_parent() {
        for kind in [
            DriverKind::Epoll,
            DriverKind::IoUring,
            DriverKind::Poll,
            DriverKind::Select,
            DriverKind::Portable,
        ] {
            let Ok(mut event_loop) = EventLoop::builder().driver(kind).build() else {
                continue;
            };
            let (pipe, mut writer) = std::io::pipe().expect("a pipe");
            let (listener, stream, source, waiting) = event_loop.block_on(async {
                let any = Address::Inet(([127, 0, 0, 1], 0).into());
                let fd = Listener::bind(&any, &ListenOptions::default()).expect("bind");
                let listener = std::rc::Rc::new(Listener::from_fd(fd).expect("register"));
                let (stream, other) = Stream::pair().expect("a pair");
                let waiting = spawn(async move { other.recv().await.map(|got| got.to_vec()) });
                let source = Readable::new(pipe.into()).expect("register");
                for _ in 0..3 {
                    yield_now().await;
                }
                (listener, stream, source, waiting)
            });
            let mut parts = Some((event_loop, listener, stream, source, waiting));
            // Both are dropped in the child; the parent goes on with its own.
            let code = in_child(|| drop(parts.take()));
            assert_eq!(code, 0, "{kind}: the child");
            let (mut event_loop, listener, stream, source, waiting) = parts.expect("the parent's");
            event_loop.block_on(async {
                let patience = Duration::from_secs(60);
                let address = listener.local_address().expect("name").as_inet();
                let accepting = {
                    let listener = std::rc::Rc::clone(&listener);
                    spawn(async move { listener.accept().await.map(drop) })
                };
                let _client = TcpStream::connect(address.expect("TCP")).expect("connect");
                let accepted = timeout(patience, accepting).await;
                accepted
                    .unwrap_or_else(|_| panic!("{kind}: the listener is deaf"))
                    .expect("the task")
                    .expect("accept");
                stream.send_all(&b"!"[..]).await.expect("send");
                let received = timeout(patience, waiting).await;
                let received = received.unwrap_or_else(|_| panic!("{kind}: the stream is deaf"));
                assert_eq!(received.expect("the task").expect("receive"), b"!");
                writer.write_all(b"!").expect("write");
                let ready = timeout(patience, source.ready()).await;
                ready
                    .unwrap_or_else(|_| panic!("{kind}: the source is deaf"))
                    .expect("ready");
                // Another thread can still wake the loop.
                let handle = crate::current();
                let woken = Semaphore::new(0);
                let wakes = woken.clone();
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(20));
                    handle.run_in_loop(move || wakes.add_permits(1));
                });
                let woken = timeout(patience, woken.acquire()).await;
                let permit = woken.unwrap_or_else(|_| panic!("{kind}: nobody can wake it"));
                permit.expect("open").forget();
            });
        }
    }

    /// Threads do not come along: a child that waited for them would wait for ever.
    #[test]
    fn a_child_that_drops_a_pool_or_reactors_waits_for_nobody() {
        let pool = ThreadPool::new(2).expect("a pool");
        let reactors = Reactors::spawn(2, "reactor", |_| {}).expect("reactors");
        let mut parts = Some((pool, reactors));
        assert_eq!(in_child(|| drop(parts.take())), 0, "the child");
        let (pool, reactors) = parts.expect("the parent's");
        let sum = EventLoop::new()
            .expect("a loop")
            .block_on(pool.run(|| 1 + 1));
        assert_eq!(sum, Ok(2));
        let (said, hears) = std::sync::mpsc::channel();
        for handle in reactors.handles() {
            let said = said.clone();
            handle.run_in_loop(move || said.send(()).expect("the test hears"));
        }
        for _ in 0..2 {
            hears
                .recv_timeout(Duration::from_secs(60))
                .expect("a loop that turns");
        }
    }
}
