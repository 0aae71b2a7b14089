/* What a mailbox promises, as one table of cases for whoever offers a mailbox: the engine itself,
 * and a mount. A driver is the way to one mailbox; each case gets a new and empty one. */
#ifndef IPCFS_TESTS_CONTRACT_H
#define IPCFS_TESTS_CONTRACT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "core/mailbox/mbox.h"

/* A send or receive that was started and may wait. */
struct call;

/* Sizes are in bytes; a negative result is a negative errno. */
struct driver {
    void *(*make)(void);
    /* Ends the mailbox, messages or not, and all that make() made. */
    void (*destroy)(void *box);

    int (*configure)(void *box, const char *text);
    int (*stat)(void *box, struct mbox_stat *ret_stat);
    /* As rmdir. */
    int (*remove)(void *box);
    /* Return: MBOX_READABLE | MBOX_WRITABLE | MBOX_REMOVED, as a sender and a receiver see it. */
    unsigned int (*poll)(void *box);

    /* Starts a send of @size bytes at priority @prio, or a receive of one whole message. With
     * @nonblock it does not wait. Returns once the call has ended or waits. */
    struct call *(*start_send)(void *box, const void *data, size_t size, unsigned int prio,
                               bool nonblock);
    struct call *(*start_recv)(void *box, size_t max_bytes, bool nonblock);
    bool (*has_ended)(struct call *call);
    /* As a signal does that the caller handles. */
    void (*interrupt)(struct call *call);
    /* Waits for the end, not for ever. Return: bytes sent or received; a negative errno.
     * @data: MBOX_MESSAGE_BYTES_MAX bytes for what was received; or NULL. Frees @call. */
    ssize_t (*finish)(struct call *call, void *data);
};

#define CONTRACT_CASES(X)                                                                          \
    X(a_message_arrives_byte_for_byte)                                                             \
    X(messages_arrive_in_the_order_sent)                                                           \
    X(the_higher_priority_overtakes)                                                               \
    X(an_empty_box_does_not_wait_when_told_so)                                                     \
    X(a_receiver_waits_for_a_message)                                                              \
    X(receivers_are_served_in_the_order_they_came)                                                 \
    X(an_interrupted_receiver_takes_nothing)                                                       \
    X(a_full_box_makes_senders_wait_in_order)                                                      \
    X(a_full_box_does_not_wait_when_told_so)                                                       \
    X(an_interrupted_sender_leaves_nothing)                                                        \
    X(a_small_message_does_not_overtake_a_waiting_large_one)                                       \
    X(an_interrupted_large_sender_lets_the_small_one_in)                                           \
    X(an_urgent_sender_is_let_in_first)                                                            \
    X(a_message_over_message_bytes_is_refused)                                                     \
    X(a_message_over_bytes_is_refused)                                                             \
    X(the_largest_message_of_all_arrives)                                                          \
    X(a_buffer_too_small_leaves_the_message)                                                       \
    X(a_waiting_receiver_with_a_small_buffer_leaves_the_message)                                   \
    X(bytes_bound_the_queue)                                                                       \
    X(messages_max_is_no_bound)                                                                    \
    X(reject_refuses_what_finds_no_room)                                                           \
    X(drop_oldest_drops_the_oldest_of_the_lowest_priority)                                         \
    X(drop_oldest_makes_room_for_a_large_message)                                                  \
    X(drop_oldest_drops_a_newcomer_that_is_less_urgent_than_all)                                   \
    X(a_rendezvous_sender_waits_for_its_receiver)                                                  \
    X(a_rendezvous_receiver_waits_for_its_sender)                                                  \
    X(a_rendezvous_without_a_partner_does_not_wait_when_told_so)                                   \
    X(a_rendezvous_meets_a_sender_that_does_not_wait)                                              \
    X(a_rendezvous_takes_the_most_urgent_sender)                                                   \
    X(an_interrupted_rendezvous_sends_nothing)                                                     \
    X(a_rejecting_rendezvous_refuses_without_a_receiver)                                           \
    X(bad_settings_change_nothing)                                                                 \
    X(settings_may_come_together_or_one_by_one)                                                    \
    X(more_capacity_lets_waiting_senders_in)                                                       \
    X(less_capacity_keeps_what_is_there)                                                           \
    X(a_new_policy_judges_waiting_senders)                                                         \
    X(counters_count)                                                                              \
    X(poll_tells_what_would_not_wait)                                                              \
    X(a_box_with_messages_is_not_removed)                                                          \
    X(removal_ends_waiting_receivers)                                                              \
    X(removal_ends_waiting_rendezvous_senders)                                                     \
    X(a_removed_box_refuses_all)

#define CONTRACT_DECLARE(name) void contract_##name(const struct driver *driver);
CONTRACT_CASES(CONTRACT_DECLARE)

/* Runs every case as a Criterion test of @suite with @driver. */
#define CONTRACT_TEST(suite, driver, name)                                                         \
    Test(suite, name)                                                                              \
    {                                                                                              \
        contract_##name(driver);                                                                   \
    }

#endif
