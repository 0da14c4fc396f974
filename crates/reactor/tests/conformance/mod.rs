//! What an operation promises: tests as functions of what a loop runs on.
#![allow(dead_code, reason = "a simulation runs those that hold under faults")]

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;

use revolve_reactor::{Address, Builder, DriverKind, EventLoop, Simulation, Stream, yield_now};
use tempfile::TempDir;

use crate::common::{PATIENCE, any_port, listen, pattern, recv_all, run_on, tcp_pair};

pub(crate) mod accepting;
pub(crate) mod cancelling;
pub(crate) mod datagrams;
pub(crate) mod fairness;
pub(crate) mod receiving;
pub(crate) mod sending;
pub(crate) mod triggers;
pub(crate) mod waking;

/// Gives a macro, behind its arguments, the names of all tests: first those that hold whatever a seed
/// decides, then those that count turns or wait for so many of them, that let other threads or
/// descriptors of the kernel's join in, or that measure the system's time.
macro_rules! with_all_tests {
    ($run:ident! $($arguments:tt)*) => {
        $run! { $($arguments)*
            under_faults {
                receiving:
                    fragments_come_together
                    what_was_sent_before_the_receive_needs_no_new_edge
                    streams_that_want_more_buffers_than_there_are_take_turns
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
                    the_queue_comes_back_for_use_again
                    a_chunk_is_on_its_way_before_its_future_is_polled
                    a_chunk_that_is_given_up_arrives_up_to_somewhere;
                accepting:
                    every_connection_is_accepted_once
                    a_batch_is_bounded_by_its_budget
                    cancelling_an_accept_loses_no_connection
                    connecting_succeeds_over_tcp_and_unix
                    connecting_is_refused
                    connecting_where_nobody_answers_can_be_cancelled
                    a_v6_listener_names_its_peer
                    a_connection_can_be_turned_away;
                cancelling:
                    a_cancelled_receive_loses_no_bytes
                    an_interrupted_receive_loses_no_bytes
                    a_receive_cancelled_after_it_completed_loses_no_bytes
                    what_was_left_behind_is_given_out_within_the_limit
                    a_cancelled_send_leaves_the_stream_usable
                    dropping_a_stream_closes_it;
                datagrams:
                    datagrams_keep_their_bounds_and_their_sender
                    a_datagram_longer_than_a_buffer_says_so
                    batches_arrive_in_order_with_their_senders
                    a_connected_socket_hears_its_peer_alone_and_that_nobody_is_there
                    a_flood_of_datagrams_does_not_keep_the_loop
                    a_receive_that_is_given_up_loses_nothing
                    sockets_share_an_address_when_bound_so
                    a_unix_sender_waits_while_the_queue_is_full
                    unix_datagrams_name_their_sender;
                waking:
                    sleeps_end_in_order_and_never_early;
            }
            without_faults {
                triggers:
                    a_trigger_that_a_driver_has_not_is_refused
                    an_edge_is_told_once
                    a_level_is_told_as_long_as_it_lasts
                    a_one_shot_is_told_when_it_is_armed
                    a_write_side_is_told_when_there_is_room
                    the_other_end_that_closes_is_told
                    a_second_who_asks_is_refused
                    an_exclusive_wakes_one_of_several_loops;
                sending:
                    a_peer_that_is_gone_raises_no_signal
                    a_blocking_socket_does_not_stop_the_loop;
                accepting:
                    a_listener_nobody_asks_does_not_keep_the_loop_awake
                    peers_may_have_any_name;
                cancelling:
                    a_stream_that_is_handed_over_keeps_its_bytes
                    late_events_do_not_reach_a_successor;
                fairness:
                    a_flood_is_received_one_buffer_a_turn
                    a_flood_does_not_starve_the_others
                    a_large_send_is_spread_over_turns
                    an_idle_loop_sleeps;
                datagrams:
                    multicast_groups_are_joined_once_and_left_once;
                waking:
                    another_thread_runs_functions_in_order
                    a_waker_works_from_another_thread
                    a_sleep_is_not_longer_for_what_is_done_meanwhile
                    a_deadline_counts_from_when_it_is_asked_for
                    a_stalled_send_counts_from_when_it_is_asked_for
                    any_descriptor_can_be_waited_for
                    a_source_is_told_before_what_was_sent_after_it;
            }
        }
    };
}

/// Bytes of a buffer in the tests: small, so that few bytes fill several.
const BUFFER_BYTES: usize = 512;

/// What a loop runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct On {
    pub(crate) kind: DriverKind,
    pub(crate) simulation: Option<Simulation>,
}

impl From<DriverKind> for On {
    fn from(kind: DriverKind) -> On {
        On {
            kind,
            simulation: None,
        }
    }
}

impl From<Simulation> for On {
    fn from(simulation: Simulation) -> On {
        On {
            kind: DriverKind::Sim,
            simulation: Some(simulation),
        }
    }
}

impl On {
    fn builder(self) -> Builder {
        let builder = EventLoop::builder().driver(self.kind);
        match self.simulation {
            Some(simulation) => builder.simulation(simulation),
            None => builder,
        }
    }

    /// True if sockets exist in memory: what the kernel does with them is not to be seen then.
    fn is_in_memory(self) -> bool {
        self.simulation
            .is_some_and(|simulation| simulation.in_memory)
    }

    /// So many in memory, where thousands of seeds make up for it, or else of the kernel's.
    fn many(self, in_memory: usize, of_the_kernel: usize) -> usize {
        if self.is_in_memory() {
            in_memory
        } else {
            of_the_kernel
        }
    }

    /// More bytes than any socket takes at once.
    fn much(self) -> usize {
        self.many(100_000, 16 << 20)
    }
}

/// Whether this system has the driver. The default one must be there.
pub(crate) fn exists(on: On) -> bool {
    let kind = on.kind;
    match on.builder().build() {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::Unsupported, "{error}");
            assert_ne!(kind, DriverKind::default());
            eprintln!("{kind} is not tested: {error}");
            false
        }
    }
}

fn run<T>(on: On, test: impl Future<Output = T>) -> T {
    run_on(on.builder().buffer_bytes(BUFFER_BYTES), test)
}

/// Where Unix sockets have their names. In memory, no file has them.
struct Folder(Option<TempDir>);

impl Folder {
    fn new(on: On) -> Folder {
        Folder((!on.is_in_memory()).then(|| tempfile::tempdir().expect("a folder")))
    }

    fn address(&self, name: &str) -> Address {
        let path = self
            .0
            .as_ref()
            .map_or(Path::new("/in/memory"), TempDir::path);
        Address::Unix(path.join(name))
    }
}

/// Two ends of a Unix connection, both on this loop.
async fn unix_pair() -> (Stream, Stream) {
    Stream::pair().expect("a pair")
}

/// Receives exactly so many bytes, in however many pieces they come.
async fn recv_exactly(stream: &Stream, count: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < count {
        let received = stream.recv().max(count - all.len()).await.expect("receive");
        assert!(!received.is_empty(), "the end after {} bytes", all.len());
        all.extend_from_slice(&received);
    }
    all
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
