//! The conformance suite in memory: what operations promise holds whatever a seed decides.
//!
//! Left out are the tests that count turns or wait for so many of them, that let other threads or
//! descriptors of the kernel's join in, and that measure the system's time.

use revolve_reactor::Simulation;

use super::suite::{self, On};
use super::{SEEDS_CONFORMANCE, seeds_or};

macro_rules! under_seeds {
    ($($file:ident: $($test:ident)+;)+) => {
        $($(#[test]
        fn $test() {
            for seed in seeds_or(SEEDS_CONFORMANCE) {
                suite::$file::$test(On::from(Simulation::seeded(seed)));
            }
        })+)+
    };
}

under_seeds! {
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
    waking:
        sleeps_end_in_order_and_never_early;
}
