/* The poller: what it finds ready, how long it waits, timers, silences, and
 * which errors it tells.                                                   */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_latest.h"
#include "shmcomm_mpmc.h"
#include "shmcomm_patterns.h"
#include "shmcomm_poll.h"
#include "shmcomm_pushpull.h"
#include "shmcomm_recq.h"
#include "shmcomm_reqrep.h"

#include "folder_support.h"

#include <sys/mman.h>

#define MS 1000000

static void
say(shmc_pub *pub, uint64_t number)
{
    assert_int_equal(shmc_pub_send(pub, &number, sizeof number, 0), SHMC_OK);
}

static void
hear(shmc_sub *sub, uint64_t number)
{
    uint64_t got = 0;

    assert_int_equal(shmc_sub_recv(sub, &got, sizeof got, 0), sizeof got);
    assert_int_equal(got, number);
}

static shmc_poll_item
item_of(shmc_pollable of, uint32_t events)
{
    shmc_poll_item item;

    memset(&item, 0, sizeof item);
    item.of = of;
    item.events = events;
    return item;
}

/* ---- sockets ------------------------------------------------------------- */

static void
a_subscriber_is_ready_while_a_message_is_there(void **state)
{
    shmc_pub pub;
    shmc_sub sub;

    (void)state;
    assert_int_equal(shmc_pub_open(&pub, "a", NULL), SHMC_OK);
    assert_int_equal(shmc_sub_open(&sub, "a", NULL), SHMC_OK);
    shmc_poll_item item = item_of(shmc_sub_pollable(&sub), SHMC_POLLIN);
    assert_int_equal(shmc_poll(&item, 1, 0), 0);
    assert_int_equal(shmc_poll(&item, 1, 3 * MS), 0);
    assert_int_equal(item.revents, 0);
    say(&pub, 1);
    say(&pub, 2);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(shmc_poll(&item, 1, i == 0 ? 0 : SHMC_FOREVER), 1);
        assert_int_equal(item.revents, SHMC_POLLIN);
    }
    hear(&sub, 1);
    assert_int_equal(shmc_poll(&item, 1, SHMC_FOREVER), 1);
    hear(&sub, 2);
    assert_int_equal(shmc_poll(&item, 1, 0), 0);
    assert_int_equal(shmc_pub_close(&pub), SHMC_OK);
    assert_int_equal(shmc_sub_close(&sub), SHMC_OK);
}

static void
no_ready_item_starves_another(void **state)
{
    enum { SUBS = 5 };
    shmc_pub pub[SUBS];
    shmc_sub sub[SUBS];
    shmc_poll_item item[SUBS];
    char name[16];

    (void)state;
    for (int i = 0; i < SUBS; i++) {
        snprintf(name, sizeof name, "n%d", i);
        assert_int_equal(shmc_pub_open(&pub[i], name, NULL), SHMC_OK);
        assert_int_equal(shmc_sub_open(&sub[i], name, NULL), SHMC_OK);
        item[i] = item_of(shmc_sub_pollable(&sub[i]), SHMC_POLLIN);
        say(&pub[i], (uint64_t)i);
    }
    assert_int_equal(shmc_poll(item, SUBS, SHMC_FOREVER), SUBS);
    for (int i = 0; i < SUBS; i++)
        assert_int_equal(item[i].revents, SHMC_POLLIN);
    hear(&sub[3], 3);
    item[1].of.look = NULL;
    assert_int_equal(shmc_poll(item, SUBS, 0), SUBS - 2);
    assert_int_equal(item[1].revents | item[3].revents, 0);
    for (int i = 0; i < SUBS; i++) {
        shmc_pub_close(&pub[i]);
        shmc_sub_close(&sub[i]);
    }
}

static void
a_subscriber_becomes_ready_when_its_topic_appears(void **state)
{
    shmc_pub pub;
    shmc_sub sub;

    (void)state;
    assert_int_equal(shmc_sub_open(&sub, "late", NULL), SHMC_OK);
    shmc_poll_item item = item_of(shmc_sub_pollable(&sub), SHMC_POLLIN);
    assert_int_equal(shmc_poll(&item, 1, 5 * MS), 0);
    assert_int_equal(shmc_pub_open(&pub, "late", NULL), SHMC_OK);
    assert_int_equal(shmc_poll(&item, 1, 5 * MS), 0);
    say(&pub, 7);
    assert_int_equal(shmc_poll(&item, 1, SHMC_FOREVER), 1);
    hear(&sub, 7);
    shmc_pub_close(&pub);
    shmc_sub_close(&sub);
}

static void
a_gap_is_ready_and_still_told_by_receive(void **state)
{
    const shmc_topic_desc topic = { .depth = 4, .max_bytes = 8 };
    const shmc_sub_desc told = { .report_loss = true };
    shmc_pub pub;
    shmc_sub sub;
    uint64_t got;

    (void)state;
    assert_int_equal(shmc_pub_open(&pub, "gap", &topic), SHMC_OK);
    assert_int_equal(shmc_sub_open(&sub, "gap", &told), SHMC_OK);
    shmc_poll_item item = item_of(shmc_sub_pollable(&sub), SHMC_POLLIN);
    for (uint64_t i = 0; i < 11; i++) say(&pub, i);
    for (int i = 0; i < 3; i++)
        assert_int_equal(shmc_poll(&item, 1, 0), 1);
    assert_int_equal(shmc_sub_lost(&sub), 0);
    assert_int_equal(shmc_sub_recv(&sub, &got, sizeof got, 0), SHMC_ELAPPED);
    assert_int_equal(shmc_sub_recv(&sub, &got, sizeof got, 0), sizeof got);
    assert_int_equal(got, shmc_sub_lost(&sub));
    shmc_pub_close(&pub);
    shmc_sub_close(&sub);
}

static void
a_reliable_publisher_is_ready_when_there_is_room(void **state)
{
    const shmc_topic_desc topic = { .depth = 4, .max_bytes = 8,
                                    .mode = SHMC_RELIABLE };
    shmc_pub pub;
    shmc_sub sub;

    (void)state;
    assert_int_equal(shmc_pub_open(&pub, "room", &topic), SHMC_OK);
    assert_int_equal(shmc_sub_open(&sub, "room", NULL), SHMC_OK);
    shmc_poll_item item = item_of(shmc_pub_pollable(&pub), SHMC_POLLOUT);
    for (uint64_t i = 0; i < 4; i++) {
        assert_int_equal(shmc_poll(&item, 1, 0), 1);
        assert_int_equal(item.revents, SHMC_POLLOUT);
        say(&pub, i);
    }
    assert_int_equal(shmc_poll(&item, 1, 0), 0);
    assert_int_equal(shmc_poll(&item, 1, 3 * MS), 0);
    hear(&sub, 0);
    assert_int_equal(shmc_poll(&item, 1, SHMC_FOREVER), 1);
    say(&pub, 4);
    shmc_pub_close(&pub);
    shmc_sub_close(&sub);
}

static void
a_large_message_finds_the_room_that_was_promised(void **state)
{
    enum { BYTES = 4000 };
    const shmc_topic_desc topic = { .depth = 64, .max_bytes = BYTES,
                                    .arena_bytes = 8192, .mode = SHMC_RELIABLE };
    static uint8_t text[BYTES];
    uint32_t sent = 0;
    shmc_pub pub;
    shmc_sub sub;

    (void)state;
    assert_int_equal(shmc_pub_open(&pub, "large", &topic), SHMC_OK);
    assert_int_equal(shmc_sub_open(&sub, "large", NULL), SHMC_OK);
    shmc_poll_item item = item_of(shmc_pub_pollable(&pub), SHMC_POLLOUT);
    for (int round = 0; round < 50; round++) {
        while (shmc_poll(&item, 1, 0) == 1) {
            assert_int_equal(shmc_pub_send(&pub, text, BYTES, 0), SHMC_OK);
            sent++;
        }
        assert_int_equal(shmc_sub_recv(&sub, text, BYTES, 0), BYTES);
    }
    assert_true(sent >= 50);
    shmc_pub_close(&pub);
    shmc_sub_close(&sub);
}

static void
a_lossy_publisher_is_always_ready(void **state)
{
    shmc_pub pub;

    (void)state;
    assert_int_equal(shmc_pub_open(&pub, "p", NULL), SHMC_OK);
    shmc_poll_item item = item_of(shmc_pub_pollable(&pub), SHMC_POLLOUT);
    assert_int_equal(shmc_poll(&item, 1, SHMC_FOREVER), 1);
    item.events = 0;
    assert_int_equal(shmc_poll(&item, 1, 0), 0);
    shmc_pub_close(&pub);
}

static void
nothing_is_ready_while_a_message_is_borrowed(void **state)
{
    const void *view;
    shmc_pub pub;
    shmc_sub sub;

    (void)state;
    assert_int_equal(shmc_pub_open(&pub, "b", NULL), SHMC_OK);
    assert_int_equal(shmc_sub_open(&sub, "b", NULL), SHMC_OK);
    shmc_poll_item item = item_of(shmc_sub_pollable(&sub), SHMC_POLLIN);
    say(&pub, 1);
    say(&pub, 2);
    assert_int_equal(shmc_sub_borrow(&sub, &view, 0), 8);
    assert_int_equal(shmc_poll(&item, 1, 0), 0);
    assert_int_equal(shmc_sub_release(&sub), SHMC_OK);
    assert_int_equal(shmc_poll(&item, 1, 0), 1);
    hear(&sub, 2);
    shmc_pub_close(&pub);
    shmc_sub_close(&sub);
}

static void
a_worker_is_ready_when_there_is_work(void **state)
{
    shmc_push push;
    shmc_pull pull[2];
    uint64_t job = 6, got = 0;

    (void)state;
    assert_int_equal(shmc_pull_open(&pull[0], "jobs", NULL), SHMC_OK);
    assert_int_equal(shmc_pull_open(&pull[1], "jobs", NULL), SHMC_OK);
    shmc_poll_item item[3] = {
        item_of(shmc_pull_pollable(&pull[0]), SHMC_POLLIN),
        item_of(shmc_pull_pollable(&pull[1]), SHMC_POLLIN) };
    assert_int_equal(shmc_poll(item, 2, 3 * MS), 0);
    assert_int_equal(shmc_push_open(&push, "jobs", NULL), SHMC_OK);
    item[2] = item_of(shmc_push_pollable(&push), SHMC_POLLOUT);
    assert_int_equal(shmc_poll(&item[2], 1, SHMC_FOREVER), 1);
    assert_int_equal(shmc_push_send(&push, &job, sizeof job, 0), SHMC_OK);
    do test_sleep_ms(2); while (shmc_poll(item, 2, SHMC_FOREVER) != 2);
    assert_int_equal(shmc_pull_recv(&pull[1], &got, sizeof got, 0), sizeof got);
    assert_int_equal(got, 6);
    assert_int_equal(shmc_poll(item, 2, 0), 0);
    assert_int_equal(shmc_push_close(&push), SHMC_OK);
    assert_int_equal(shmc_pull_close(&pull[0]), SHMC_OK);
    assert_int_equal(shmc_pull_close(&pull[1]), SHMC_OK);
}

static void
a_request_and_its_answer_are_ready(void **state)
{
    shmc_rep rep;
    shmc_req req;
    uint64_t m = 5, got = 0;

    (void)state;
    assert_int_equal(shmc_rep_open(&rep, "service", NULL), SHMC_OK);
    assert_int_equal(shmc_req_open(&req, "service", NULL), SHMC_OK);
    shmc_poll_item item[2] = { item_of(shmc_rep_pollable(&rep), SHMC_POLLIN),
                               item_of(shmc_req_pollable(&req), SHMC_POLLIN) };
    assert_int_equal(shmc_poll(item, 2, 3 * MS), 0);
    for (int i = 0; i < 3; i++) {
        const int call = shmc_req_send(&req, &m, sizeof m, SHMC_FOREVER);
        assert_true(call >= 0);
        assert_int_equal(shmc_poll(item, 2, SHMC_FOREVER), 1);
        assert_int_equal(item[0].revents, SHMC_POLLIN);
        assert_int_equal(shmc_rep_recv(&rep, &got, sizeof got, 0), sizeof got);
        assert_int_equal(shmc_rep_send(&rep, &got, sizeof got, 0), SHMC_OK);
        assert_int_equal(shmc_poll(item, 2, SHMC_FOREVER), 1);
        assert_int_equal(item[1].revents, SHMC_POLLIN);
        assert_int_equal(shmc_req_recv(&req, call, &got, sizeof got, 0),
                         sizeof got);
        assert_int_equal(shmc_poll(item, 2, 0), 0);
    }
    assert_int_equal(shmc_req_close(&req), SHMC_OK);
    assert_int_equal(shmc_rep_close(&rep), SHMC_OK);
}

/* ---- rings --------------------------------------------------------------- */

static void
queues_are_ready_for_their_side(void **state)
{
    const shmc_spsc_desc one = { .slot_bytes = 8, .slot_count = 2, .waitable = 1 };
    const shmc_recq_desc records = { .capacity_bytes = 256, .waitable = 1 };
    shmc_spsc from, to;
    shmc_recq rfrom, rto;
    shmc_segment s;
    uint64_t m = 5;
    uint8_t longest[120] = { 0 };

    (void)state;
    assert_int_equal(shmc_segment_open(&s, "q", NULL), SHMC_OK);
    assert_int_equal(shmc_spsc_open(&from, &s, "s", &one, SHMC_PRODUCER), SHMC_OK);
    assert_int_equal(shmc_spsc_open(&to, &s, "s", &one, SHMC_CONSUMER), SHMC_OK);
    assert_int_equal(shmc_recq_open(&rfrom, &s, "r", &records, SHMC_PRODUCER), 0);
    assert_int_equal(shmc_recq_open(&rto, &s, "r", &records, SHMC_CONSUMER), 0);
    shmc_poll_item item[4] = {
        item_of(shmc_spsc_pollable(&from), SHMC_POLLOUT),
        item_of(shmc_spsc_pollable(&to), SHMC_POLLIN),
        item_of(shmc_recq_pollable(&rfrom), SHMC_POLLOUT),
        item_of(shmc_recq_pollable(&rto), SHMC_POLLIN) };
    assert_int_equal(shmc_poll(item, 4, 0), 2);
    assert_int_equal(item[0].revents, SHMC_POLLOUT);
    assert_int_equal(item[2].revents, SHMC_POLLOUT);
    while (shmc_poll(&item[0], 1, 0) == 1)
        assert_int_equal(shmc_spsc_push(&from, &m, 8), SHMC_OK);
    assert_int_equal(shmc_spsc_push(&from, &m, 8), SHMC_EAGAIN);
    for (int i = 0; i < 40; i++) {
        while (shmc_poll(&item[2], 1, 0) == 1)
            assert_int_equal(shmc_recq_push(&rfrom, longest, sizeof longest), 0);
        assert_int_equal(shmc_poll(item, 4, 0), 2);
        assert_int_equal(item[1].revents, SHMC_POLLIN);
        assert_int_equal(item[3].revents, SHMC_POLLIN);
        assert_int_equal(shmc_recq_pop(&rto, longest, sizeof longest), 120);
    }
    while (shmc_poll(&item[1], 1, 0) == 1)
        assert_int_equal(shmc_spsc_pop(&to, &m, 8), SHMC_OK);
    assert_int_equal(shmc_spsc_pop(&to, &m, 8), SHMC_EAGAIN);
    shmc_recq_close(&rto);
    shmc_recq_close(&rfrom);
    shmc_spsc_close(&to);
    shmc_spsc_close(&from);
    shmc_segment_close(&s);
    assert_int_equal(shmc_segment_unlink("q", NULL), SHMC_OK);
}

static void
one_item_may_ask_for_both_ends_of_a_queue(void **state)
{
    const shmc_mpmc_desc d = { .slot_bytes = 8, .slot_count = 4, .waitable = 1 };
    shmc_segment s;
    shmc_mpmc q;
    uint64_t m = 1;

    (void)state;
    assert_int_equal(shmc_segment_open(&s, "m", NULL), SHMC_OK);
    assert_int_equal(shmc_mpmc_open(&q, &s, "q", &d, SHMC_PRODUCER |
                                    SHMC_CONSUMER), SHMC_OK);
    shmc_poll_item item = item_of(shmc_mpmc_pollable(&q),
                                  SHMC_POLLIN | SHMC_POLLOUT);
    assert_int_equal(shmc_poll(&item, 1, SHMC_FOREVER), 1);
    assert_int_equal(item.revents, SHMC_POLLOUT);
    assert_int_equal(shmc_mpmc_push(&q, &m, 8), SHMC_OK);
    assert_int_equal(shmc_poll(&item, 1, 0), 1);
    assert_int_equal(item.revents, SHMC_POLLIN | SHMC_POLLOUT);
    for (int i = 0; i < 3; i++) assert_int_equal(shmc_mpmc_push(&q, &m, 8), 0);
    assert_int_equal(shmc_poll(&item, 1, 0), 1);
    assert_int_equal(item.revents, SHMC_POLLIN);
    item.events = SHMC_POLLOUT;
    assert_int_equal(shmc_poll(&item, 1, 3 * MS), 0);
    shmc_mpmc_close(&q);
    shmc_segment_close(&s);
    assert_int_equal(shmc_segment_unlink("m", NULL), SHMC_OK);
}

static void
a_newer_value_makes_a_cell_ready(void **state)
{
    const shmc_latest_desc d = { .value_bytes = 8, .waitable = 1 };
    const shmc_segment_desc look = { .flags = SHMC_READ_ONLY };
    shmc_latest writer, reader, deaf;
    shmc_segment s, ro;
    uint64_t v = 3, version;

    (void)state;
    assert_int_equal(shmc_segment_open(&s, "l", NULL), SHMC_OK);
    assert_int_equal(shmc_latest_open(&writer, &s, "c", &d, SHMC_PRODUCER), 0);
    assert_int_equal(shmc_latest_open(&reader, &s, "c", &d, SHMC_CONSUMER), 0);
    assert_int_equal(shmc_segment_attach(&ro, "l", &look), SHMC_OK);
    assert_int_equal(shmc_latest_open(&deaf, &ro, "c", NULL, SHMC_CONSUMER), 0);
    shmc_poll_item item[2] = {
        item_of(shmc_latest_pollable(&reader), SHMC_POLLIN),
        item_of(shmc_latest_pollable(&deaf), SHMC_POLLIN) };
    assert_int_equal(shmc_poll(item, 2, 3 * MS), 0);
    assert_int_equal(shmc_latest_write(&writer, &v, 8), SHMC_OK);
    assert_int_equal(shmc_poll(item, 2, SHMC_FOREVER), 2);
    assert_int_equal(shmc_latest_read(&reader, &v, 8, &version), SHMC_OK);
    assert_int_equal(shmc_poll(item, 2, 0), 1);
    assert_int_equal(shmc_latest_read(&deaf, &v, 8, &version), SHMC_OK);
    assert_int_equal(shmc_poll(item, 2, 3 * MS), 0);
    shmc_latest_close(&deaf);
    shmc_segment_close(&ro);
    shmc_latest_close(&reader);
    shmc_latest_close(&writer);
    shmc_segment_close(&s);
    assert_int_equal(shmc_segment_unlink("l", NULL), SHMC_OK);
}

/* ---- timers, words, silences ---------------------------------------------- */

static void
a_timer_counts_missed_periods_and_does_not_drift(void **state)
{
    shmc_timer t, once;
    shmc_poll_item item[2] = { item_of(shmc_timer_pollable(&t), SHMC_POLLIN),
                               item_of(shmc_timer_pollable(&once), SHMC_POLLIN) };
    int expired = 0;

    (void)state;
    memset(&t, 0, sizeof t);
    memset(&once, 0, sizeof once);
    assert_int_equal(shmc_poll(item, 2, 2 * MS), 0);
    assert_int_equal(shmc_timer_read(&t), SHMC_EAGAIN);
    assert_int_equal(shmc_timer_start(&t, 1 * MS, 2 * MS), SHMC_OK);
    const uint64_t first = t.next_ns;
    assert_int_equal(shmc_timer_start(&once, 3 * MS, 0), SHMC_OK);
    assert_int_equal(shmc_poll(item, 2, 0), 0);
    while (expired < 10) {
        assert_true(shmc_poll(item, 1, SHMC_FOREVER) == 1);
        assert_true(shmi_now_ns() >= first + (uint64_t)expired * 2 * MS);
        if (expired > 4) test_sleep_ms(7);
        const int n = shmc_timer_read(&t);
        assert_true(n >= 1);
        expired += n;
    }
    assert_true(t.missed >= 3);
    assert_int_equal(t.next_ns, first + (uint64_t)expired * 2 * MS);
    assert_int_equal(shmc_poll(&item[1], 1, SHMC_FOREVER), 1);
    assert_int_equal(shmc_poll(&item[1], 1, 0), 1);
    assert_int_equal(shmc_timer_read(&once), 1);
    assert_int_equal(shmc_poll(&item[1], 1, 3 * MS), 0);
    shmc_timer_stop(&t);
    assert_int_equal(shmc_poll(item, 2, 3 * MS), 0);
    assert_int_equal(shmc_timer_start(&t, UINT64_C(1) << 62, 0), SHMC_EINVAL);
    assert_int_equal(shmc_timer_start(&t, 0, UINT64_C(1) << 63), SHMC_EINVAL);
    assert_int_equal(shmc_timer_start(&t, 0, 0), SHMC_OK);
    assert_int_equal(shmc_poll(item, 1, 0), 1);
}

static int
change_word(void *arg)
{
    uint32_t *word = arg;

    test_sleep_ms(20);
    shmi_store_rel_32(word, 8);
    shmc_word_wake(word);
    return 0;
}

static void
a_word_is_ready_when_another_process_changes_it(void **state)
{
    void *mem;

    (void)state;
    assert_int_equal(shmi_memory_map(4096, &mem), 0);
    uint32_t *at = mem;
    *at = 7;
    shmc_word word = { at, 7 };
    shmc_poll_item item = item_of(shmc_word_pollable(&word), SHMC_POLLIN);
    assert_int_equal(shmc_poll(&item, 1, 2 * MS), 0);
    const pid_t child = test_spawn(change_word, at);
    assert_int_equal(shmc_poll(&item, 1, SHMC_FOREVER), 1);
    assert_int_equal(*at, 8);
    word.expected = 8;
    assert_int_equal(shmc_poll(&item, 1, 0), 0);
    assert_int_equal(test_join(child), 0);
    shmi_unmap(mem, 4096);
}

static void
a_silence_is_told_once(void **state)
{
    shmc_pub pub;
    shmc_sub sub;

    (void)state;
    assert_int_equal(shmc_sub_open(&sub, "still", NULL), SHMC_OK);
    shmc_poll_item item = item_of(shmc_sub_pollable(&sub), SHMC_POLLIN);
    item.silence_ns = 10 * MS;
    const uint64_t from = shmi_now_ns();
    assert_int_equal(shmc_poll(&item, 1, SHMC_FOREVER), 1);
    assert_int_equal(item.revents, SHMC_POLLDEADLINE);
    assert_true(shmi_now_ns() - from >= 10 * MS);
    assert_int_equal(shmc_poll(&item, 1, 30 * MS), 0);
    assert_int_equal(shmc_pub_open(&pub, "still", NULL), SHMC_OK);
    for (int i = 0; i < 3; i++) {
        say(&pub, 1);
        assert_int_equal(shmc_poll(&item, 1, SHMC_FOREVER), 1);
        assert_int_equal(item.revents, SHMC_POLLIN);
        hear(&sub, 1);
        const uint64_t last = item.heard_ns;
        assert_int_equal(shmc_poll(&item, 1, SHMC_FOREVER), 1);
        assert_int_equal(item.revents, SHMC_POLLDEADLINE);
        assert_true(shmi_now_ns() - last >= 10 * MS);
        assert_int_equal(shmc_poll(&item, 1, 15 * MS), 0);
    }
    /* Heard by a receive of its own, not by the poller.                    */
    say(&pub, 2);
    hear(&sub, 2);
    assert_int_equal(shmc_poll(&item, 1, 0), 0);
    assert_int_equal(shmc_poll(&item, 1, SHMC_FOREVER), 1);
    assert_int_equal(item.revents, SHMC_POLLDEADLINE);
    shmc_pub_close(&pub);
    shmc_sub_close(&sub);
}

/* ---- errors --------------------------------------------------------------- */

static void
an_item_says_what_is_wrong_with_it(void **state)
{
    const shmc_spsc_desc silent = { .slot_bytes = 8 };
    shmc_poll_item item[3];
    shmc_segment s;
    shmc_spsc q;
    shmc_sub sub;

    (void)state;
    assert_int_equal(shmc_segment_open(&s, "e", NULL), SHMC_OK);
    assert_int_equal(shmc_spsc_open(&q, &s, "q", &silent, SHMC_CONSUMER), 0);
    assert_int_equal(shmc_sub_open(&sub, "e2", NULL), SHMC_OK);
    item[0] = item_of(shmc_spsc_pollable(&q), SHMC_POLLIN);
    item[1] = item_of(shmc_spsc_pollable(&q), SHMC_POLLOUT);
    item[2] = item_of(shmc_sub_pollable(&sub), SHMC_POLLIN);
    assert_int_equal(shmc_poll(item, 3, SHMC_FOREVER), 2);
    assert_int_equal(item[0].revents, SHMC_POLLERR);
    assert_int_equal(item[0].error, SHMC_ENOTSUP);
    assert_int_equal(item[1].revents, SHMC_POLLERR);
    assert_int_equal(item[1].error, SHMC_EINVAL);
    assert_int_equal(item[2].revents | (uint32_t)item[2].error, 0);
    shmc_sub_close(&sub);
    shmc_spsc_close(&q);
    assert_int_equal(shmc_poll(item, 3, 0), 3);
    assert_int_equal(item[0].error, SHMC_ECLOSED);
    assert_int_equal(item[2].error, SHMC_ECLOSED);
    shmc_segment_close(&s);
    assert_int_equal(shmc_segment_unlink("e", NULL), SHMC_OK);
}

static void
bad_calls_are_refused(void **state)
{
    shmc_poll_item item;
    uint32_t w = 0;
    shmc_word word = { &w, 0 };

    (void)state;
    memset(&item, 0, sizeof item);
    assert_int_equal(shmc_poll(NULL, 1, 0), SHMC_EINVAL);
    assert_int_equal(shmc_poll(&item, 1, SHMC_FOREVER), SHMC_EINVAL);
    assert_int_equal(shmc_poll(NULL, 0, SHMC_FOREVER), SHMC_EINVAL);
    assert_int_equal(shmc_poll(NULL, 0, 0), 0);
    assert_int_equal(shmc_poll(NULL, 0, MS), 0);
    assert_int_equal(shmc_poll(&item, 1, MS), 0);
    item = item_of(shmc_word_pollable(&word), SHMC_POLLERR);
    assert_int_equal(shmc_poll(&item, 1, 0), SHMC_EINVAL);
    assert_non_null(strstr(shmc_last_error(), "events 0x4"));
}

static int
poll_inherited(void *arg)
{
    shmc_poll_item *item = arg;

    TEST_REQUIRE(shmc_poll(item, 1, SHMC_FOREVER) == 1);
    TEST_REQUIRE(item->revents == SHMC_POLLERR);
    TEST_REQUIRE(item->error == SHMC_EFORKED);
    return 0;
}

static void
a_forked_child_is_told_so(void **state)
{
    const shmc_mpmc_desc md = { .slot_bytes = 8, .waitable = 1 };
    const shmc_spsc_desc sd = { .slot_bytes = 8, .waitable = 1 };
    const shmc_latest_desc ld = { .value_bytes = 8, .waitable = 1 };
    shmc_pub pub;
    shmc_sub sub, none;
    shmc_segment s;
    shmc_mpmc m;
    shmc_spsc q;
    shmc_latest c;

    (void)state;
    assert_int_equal(shmc_pub_open(&pub, "f", NULL), SHMC_OK);
    assert_int_equal(shmc_sub_open(&sub, "f", NULL), SHMC_OK);
    assert_int_equal(shmc_sub_open(&none, "g", NULL), SHMC_OK);
    assert_int_equal(shmc_segment_open(&s, "fs", NULL), SHMC_OK);
    assert_int_equal(shmc_mpmc_open(&m, &s, "m", &md, SHMC_CONSUMER), SHMC_OK);
    assert_int_equal(shmc_spsc_open(&q, &s, "q", &sd, SHMC_CONSUMER), SHMC_OK);
    assert_int_equal(shmc_latest_open(&c, &s, "c", &ld, SHMC_CONSUMER), SHMC_OK);
    shmc_pollable of[] = { shmc_sub_pollable(&sub), shmc_sub_pollable(&none),
                           shmc_pub_pollable(&pub), shmc_mpmc_pollable(&m),
                           shmc_spsc_pollable(&q), shmc_latest_pollable(&c) };
    for (size_t i = 0; i < sizeof of / sizeof of[0]; i++) {
        shmc_poll_item item = item_of(of[i], 0);
        assert_int_equal(test_join(test_spawn(poll_inherited, &item)), 0);
    }
    shmc_latest_close(&c);
    shmc_spsc_close(&q);
    shmc_mpmc_close(&m);
    shmc_segment_close(&s);
    assert_int_equal(shmc_segment_unlink("fs", NULL), SHMC_OK);
    shmc_sub_close(&none);
    shmc_sub_close(&sub);
    shmc_pub_close(&pub);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        FOLDER_CASE(a_subscriber_is_ready_while_a_message_is_there),
        FOLDER_CASE(no_ready_item_starves_another),
        FOLDER_CASE(a_subscriber_becomes_ready_when_its_topic_appears),
        FOLDER_CASE(a_gap_is_ready_and_still_told_by_receive),
        FOLDER_CASE(a_reliable_publisher_is_ready_when_there_is_room),
        FOLDER_CASE(a_large_message_finds_the_room_that_was_promised),
        FOLDER_CASE(a_lossy_publisher_is_always_ready),
        FOLDER_CASE(nothing_is_ready_while_a_message_is_borrowed),
        FOLDER_CASE(a_worker_is_ready_when_there_is_work),
        FOLDER_CASE(a_request_and_its_answer_are_ready),
        FOLDER_CASE(queues_are_ready_for_their_side),
        FOLDER_CASE(one_item_may_ask_for_both_ends_of_a_queue),
        FOLDER_CASE(a_newer_value_makes_a_cell_ready),
        FOLDER_CASE(a_timer_counts_missed_periods_and_does_not_drift),
        FOLDER_CASE(a_word_is_ready_when_another_process_changes_it),
        FOLDER_CASE(a_silence_is_told_once),
        FOLDER_CASE(an_item_says_what_is_wrong_with_it),
        FOLDER_CASE(bad_calls_are_refused),
        FOLDER_CASE(a_forked_child_is_told_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
