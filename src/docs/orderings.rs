//! Every pairing of atomic operations that something hangs on, and the model test that fails
//! when it is weakened. `.ci/run weakenings` weakens them one at a time, in a copy, to see that it
//! does; what it changes stands in `loom-tests/weakenings.toml`.
//!
//! Models are in `loom-tests`, run with up to three preemptions.
//!
//! | site | weakened to | model that failed |
//! |---|---|---|
//! | `Link::load` acquire | relaxed | `insert_publishes_its_value` and most others |
//! | `Link::replace` acquire-release | relaxed | the same |
//! | `Buckets::mask` acquire | relaxed | `growth_hides_no_entry` (follows a null segment) |
//! | `Buckets::double`, the CAS of `mask` | relaxed | the same |
//! | `WriteBuffer::push`, store of `first`, release | relaxed | `what_comes_out_was_published` |
//! | `WriteBuffer::pop`, load of `first`, acquire | relaxed | the same |
//! | `WriteBuffer::pop`, store of `head`, release | relaxed | `slots_are_used_again_only_once_empty` |
//! | `WriteBuffer::push`, load of `head`, acquire | relaxed | `two_writers_and_a_drainer_lose_nothing` |
//! | `Reader::enter`, store of the mark, release | relaxed | `a_reader_that_comes_back_is_told_from_one_that_stayed` |
//! | `Reader::leave`, store of `word`, release | relaxed | `a_value_is_freed_only_when_its_reader_has_left` |
//! | `Phases::step`, load of `word`, acquire | relaxed | the same |
//! | `barrier::light` | nothing | the same |
//! | `barrier::heavy` | nothing | the same |
//! | `Deadline::settle`, acquire-release | relaxed, or a load | `no_miss_is_reported_of_a_key_that_was_replaced_while_valid` |
//! | `Deadline::expire_if_past`, acquire-release | relaxed | the same |
//! | `Upkeep::set_moved`, `take_moved`, acquire-release | either relaxed | `report_that_is_left_out_is_not_needed` |
//! | `EntryPtr::set_limit_ns`, store of the limit, release | relaxed | `limit_is_not_taken_for_the_time_of_writing` |
//! | `EntryPtr::told_ns`, load of the time of writing, acquire | relaxed | the same |
//! | `BroughtForward::note`, release | relaxed | `deadline_that_was_kept_is_none_too_late_while_none_was_brought_forward` |
//! | `BroughtForward::times`, acquire | relaxed | the same |
//! | `Tags::invalidate`, the swap | a store | `no_miss_is_reported_of_a_key_that_was_replaced_while_valid` (tags) |
//! | `TagSet::settle`, acquire-release | relaxed, or a load | the same |
//! | `TagSet::is_dead`, acquire | relaxed | `a_reader_who_is_told_of_the_mark_sees_what_came_before_it` |
//! | `Tickets::take`, acquire-release read-modify-write | a load | `a_ticket_that_another_thread_closes_covers_what_was_taken_out_before` |
//! | `Tickets::completed`, acquire | relaxed | `a_value_is_freed_by_a_ticket_that_its_reader_completes` |
//! | `Cache::drop`, the count of handles, acquire-release | relaxed | `the_last_handle_frees_what_no_other_reads_any_more` |
//! | `Visit::leave`, acquire-release | relaxed | `a_job_of_an_executor_and_the_maintenance_thread_leave_one_end` |
//! | `Life::close`, acquire-release | relaxed | `the_last_drop_waits_for_visitors_and_all_was_dropped_then` |
//! | `Life::close`, the load that waits, acquire | relaxed | the same |
//! | `Life::note_ended`, release | relaxed | the same |
//! | `OpenFill::drop`, release | relaxed | `a_fill_that_began_before_a_change_is_never_seen_after_it` |
//! | `WriteBuffer::push`, the CAS of `state`, before the look at the thread's state | not ordered | `an_event_that_comes_as_the_thread_lies_down_wakes_it` |
//! | `Mark::is_awaited_again`, what it says, before the look at the cache | not ordered | the same |
//!
//! Checks that were dropped, likewise:
//!
//! | check | model that failed |
//! |---|---|
//! | a lookup looks at the mask again before it reports a miss | `growth_hides_no_entry` |
//! | a lookup goes on behind an entry of its key that is being replaced | `a_key_being_replaced_is_never_absent` |
//! | `find` does so before it ends at a head | `insert_during_growth_is_found_by_all` |
//! | a removal searches again when its unlinking failed | `removals_of_neighbours_leave_neither_linked` |
//! | a claimed head is pending until it is linked | `a_head_being_linked_hides_no_entry` |
//! | an iteration decides and goes on by one load | `iteration_sees_what_stays_exactly_once` |
//! | a claimed slot precedes the removal that it is for | `what_leaves_first_is_told_first` |
//! | a full write buffer refuses | `a_full_buffer_refuses_and_loses_nothing` |
//! | a step waits for readers of an earlier phase | `a_value_is_freed_only_when_its_reader_has_left` |
//! | a grace period takes two steps while somebody is inside | the same |
//! | a miss of an expired entry stands only while that is linked | `no_miss_is_reported_of_a_key_that_was_replaced_while_valid` |
//! | a hit moves only the deadline that it saw | `hit_and_expiry_agree` |
//! | a hit asks whether the time of writing has become a limit | `hit_keeps_to_the_limit_that_belongs_to_the_deadline` |
//! | a computed deadline looks at the limit once more when it is set | `computed_deadline_keeps_to_a_limit_whose_deadline_is_the_one_before` |
//! | who takes an entry out knows whether he was first | `timer_and_replacement_take_an_entry_out_once` |
//! | a gate lets one in | `replacements_are_told_in_order` and three more |
//! | maintenance looks within the gate whether its victim is still linked | `victim_that_left_before_is_not_told_again` |
//! | a tag's generation is marked dead before the next one can be given | `what_lives_beside_an_older_generation_dies_with_it` |
//! | a generation that ends takes out of the map only itself | `a_generation_that_ends_takes_no_other_along` |
//! | a guard is held while a value is read | `a_value_is_freed_only_when_its_guard_is_dropped` |
//! | an entry that is gone when maintenance hears of it gets no node | `a_replacement_that_is_removed_at_once_leaves_no_node` |
//! | a node is not handed to an entry that is gone | the same |
//! | a removal takes the node out | the same |
//! | maintenance counts as evicted only what it was first to take out | most of `loom-tests/tests/cache.rs` |
//! | the thread looks once more at a cache that it has called idle | `an_event_that_comes_as_the_thread_lies_down_wakes_it` |
//! | a cache that comes is on the thread's list | `a_cache_that_comes_during_a_look_is_not_slept_over` |
//! | the thread says that it sleeps | `events_of_two_writers_are_never_slept_over` |
//! | a closed cache is visited no more | `a_job_of_an_executor_and_the_maintenance_thread_leave_one_end` |
//! | the drop of a last handle waits for visitors | `the_last_drop_waits_for_visitors_and_all_was_dropped_then` |
//! | a thread that is inside of a listener does not | `a_listener_that_drops_the_last_handle_does_not_wait_for_itself` |
//! | a stale fill is refused, marks come before the change, and an entry is visible once it is confirmed | `a_fill_that_began_before_a_change_is_never_seen_after_it` |
//!
//! Loom takes `SeqCst` accesses for less than they are; where two of them have to be ordered,
//! a `SeqCst` fence stands between them under loom alone (`sync::model_seq_cst`), and that fence
//! is what was dropped.
//!
//! Not told apart by any model: the acquire and the release of `Phases::current`, which the full
//! fences that stand for an asymmetric pair under loom make superfluous there; and the governor's
//! own read-modify-write, the release of `Tickets::epoch_completed` and the release of
//! `Tickets::completed`, which have fences of crossbeam-epoch between them and what they publish.
//! All are argued for in their modules.
