//! One suite for every store: the embedded one, and NATS JetStream as a real server process.
//!
//! Without `nats-server` on PATH its half is skipped, and says so; with `REQUIRE_NATS` set it fails.

mod faults;
mod suite;
mod support;

use suite::{buses, elections, leases, records, watches};
use support::{Embedded, Nats};

macro_rules! conforms {
    ($($part:ident :: $test:ident,)*) => {
        mod embedded {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let Some(place) = Embedded::begin().await else { return };
                $part::$test(&place).await;
            })*
        }

        mod nats {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let Some(place) = Nats::begin().await else { return };
                $part::$test(&place).await;
            })*
        }
    };
}

conforms! {
    records::a_record_is_created_read_replaced_and_removed,
    records::what_is_not_there_is_not_replaced_and_is_removed_without_complaint,
    records::a_removed_record_is_created_again_at_a_later_revision,
    records::racing_increments_lose_none,
    records::of_racing_creations_one_succeeds,
    records::strange_keys_are_records_of_their_own,
    records::the_longest_key_is_taken,
    records::a_prefix_lists_its_own,
    records::a_value_may_be_as_large_as_the_limit_and_no_larger,
    watches::a_watch_begins_with_what_there_is,
    watches::a_watch_tells_every_change_in_order,
    watches::keys_written_at_once_are_all_told_in_order,
    watches::a_watch_of_one_key_tells_that_key_only,
    watches::mirrors_that_begin_amid_writes_end_up_alike,
    watches::a_dropped_watch_disturbs_nobody,
    leases::a_lease_has_one_holder,
    leases::of_racing_candidates_one_gets_the_lease,
    leases::a_lease_that_is_not_renewed_goes_to_another_with_a_greater_epoch,
    leases::a_renewed_lease_outlives_its_first_time_and_keeps_its_epoch,
    leases::a_renewal_whose_answer_was_lost_does_not_lose_the_lease,
    leases::a_released_lease_is_free_at_once,
    leases::a_lease_that_ran_out_is_seen_by_nobody,
    elections::one_of_several_candidates_leads_and_goes_on_leading,
    elections::a_leader_that_stops_hands_over_at_once,
    elections::a_leader_that_is_dropped_hands_over_too,
    elections::a_leader_cut_off_steps_down_before_another_leads,
    buses::messages_come_in_order_to_all_who_listen_and_to_nobody_else,
    buses::a_question_is_answered_by_whoever_listens,
    buses::too_large_messages_and_unwanted_answers_are_refused,
}
