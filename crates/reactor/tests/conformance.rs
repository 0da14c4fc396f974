//! One suite of what an operation promises, run on every driver that the system has.
//!
//! The files under `conformance/` hold the tests, as functions of the kind of driver.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use revolve_reactor::{
    Address, DriverKind, EventLoop, ListenOptions, Listener, Stream, timeout, yield_now,
};

#[path = "conformance/accepting.rs"]
mod accepting;
#[path = "conformance/cancelling.rs"]
mod cancelling;
#[path = "conformance/fairness.rs"]
mod fairness;
#[path = "conformance/receiving.rs"]
mod receiving;
#[path = "conformance/sending.rs"]
mod sending;
#[path = "conformance/waking.rs"]
mod waking;

/// Bytes of a buffer in the tests: small, so that few bytes fill several.
const BUFFER_BYTES: usize = 512;

/// Whether this system has the driver. The default one must be there.
fn exists(kind: DriverKind) -> bool {
    match EventLoop::builder().driver(kind).build() {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::Unsupported, "{error}");
            assert_ne!(kind, DriverKind::default());
            eprintln!("{kind} is not tested: {error}");
            false
        }
    }
}

/// Runs a test's future on a loop of its own; a test that hangs fails.
fn run<T>(kind: DriverKind, test: impl Future<Output = T>) -> T {
    let builder = EventLoop::builder().driver(kind).buffer_bytes(BUFFER_BYTES);
    let mut event_loop = builder.build().expect("a loop");
    event_loop.block_on(async {
        timeout(Duration::from_secs(120), test)
            .await
            .expect("the test hangs")
    })
}

fn any_port() -> Address {
    Address::Inet(([127, 0, 0, 1], 0).into())
}

/// Two ends of a TCP connection, both on this loop.
async fn tcp_pair() -> (Stream, Stream) {
    let fd = Listener::bind(&any_port(), &ListenOptions::default()).expect("bind");
    let listener = Listener::from_fd(fd).expect("register");
    let client = Stream::connect(&listener.local_address().expect("name"))
        .await
        .expect("connect");
    let (fd, peer) = listener.accept().await.expect("accept");
    assert_eq!(peer, client.local_address().expect("name"));
    (client, Stream::from_fd(fd).expect("register"))
}

/// Two ends of a Unix connection, both on this loop.
async fn unix_pair() -> (Stream, Stream) {
    let (one, other) = std::os::unix::net::UnixStream::pair().expect("socketpair");
    one.set_nonblocking(true).expect("non-blocking");
    other.set_nonblocking(true).expect("non-blocking");
    let stream = |socket: std::os::unix::net::UnixStream| Stream::from_fd(socket.into());
    (
        stream(one).expect("register"),
        stream(other).expect("register"),
    )
}

/// Receives until the end of the stream.
async fn recv_all(stream: &Stream) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let received = stream.recv().await.expect("receive");
        if received.is_empty() {
            return all;
        }
        all.extend_from_slice(&received);
    }
}

/// Polls once; `None` if the future is pending.
async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// Lets some turns of the loop pass.
async fn turns(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}

/// Bytes that show if some are lost, doubled or in the wrong order.
fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|index| (index % 251) as u8 ^ (index / 251 % 256) as u8)
        .collect()
}

macro_rules! suite {
    ($driver:ident, $kind:expr; $($file:ident: $($test:ident)+;)+) => {
        mod $driver {
            $(mod $file {
                $(#[test]
                fn $test() {
                    if crate::exists($kind) {
                        crate::$file::$test($kind);
                    }
                })+
            })+
        }
    };
}

macro_rules! suites {
    ($($driver:ident: $kind:expr;)+) => {
        $(suite! { $driver, $kind;
            receiving:
                fragments_come_together
                what_was_sent_before_the_receive_needs_no_new_edge
                bytes_that_fill_buffers_exactly_are_followed_by_the_end
                the_end_behind_bytes_is_not_missed
                the_end_alone_is_an_empty_buffer_again_and_again
                half_closed_streams_still_send
                a_reset_is_an_error
                a_hang_up_is_the_end
                at_most_so_many_bytes_are_received
                a_deadline_passes_and_the_stream_lives_on
                a_deadline_that_moves_does_not_pass
                readable_takes_nothing
                a_second_receive_is_refused;
            sending:
                partial_writes_resume_where_they_stopped
                many_chunks_are_gathered
                every_kind_of_chunk_arrives_in_order
                file_ranges_are_sent_in_portions
                a_file_that_shrank_is_an_error
                sending_to_a_closed_peer_is_an_error
                a_stalled_send_times_out
                a_slow_send_that_moves_does_not_time_out
                an_empty_queue_is_sent_at_once
                the_queue_comes_back_for_use_again;
            accepting:
                every_connection_is_accepted_once
                a_batch_is_bounded_by_its_budget
                cancelling_an_accept_loses_no_connection
                a_listener_nobody_asks_does_not_keep_the_loop_awake
                connecting_succeeds_over_tcp_and_unix
                connecting_is_refused
                connecting_where_nobody_answers_can_be_cancelled
                a_v6_listener_names_its_peer
                a_connection_can_be_turned_away;
            cancelling:
                a_cancelled_receive_loses_no_bytes
                a_receive_cancelled_after_it_completed_loses_no_bytes
                what_was_left_behind_is_given_out_within_the_limit
                a_cancelled_send_leaves_the_stream_usable
                dropping_a_stream_closes_it
                late_events_do_not_reach_a_successor;
            fairness:
                a_flood_is_received_one_buffer_a_turn
                a_flood_does_not_starve_the_others
                a_large_send_is_spread_over_turns
                an_idle_loop_sleeps;
            waking:
                another_thread_runs_functions_in_order
                a_waker_works_from_another_thread
                sleeps_end_in_order_and_never_early
                any_descriptor_can_be_waited_for;
        })+
    };
}

suites! {
    epoll: revolve_reactor::DriverKind::Epoll;
    io_uring: revolve_reactor::DriverKind::IoUring;
    poll: revolve_reactor::DriverKind::Poll;
    select: revolve_reactor::DriverKind::Select;
    portable: revolve_reactor::DriverKind::Portable;
    sim: revolve_reactor::DriverKind::Sim;
}
