/* Checked sequences through both queues and the cell: between threads, and
 * between processes that are killed and replaced.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_latest.h"
#include "shmcomm_recq.h"
#include "test_support.h"

#include <pthread.h>

enum { SCALE = SHMI_TSAN ? 10 : 1, MESSAGES = 40000 / SCALE, WORDS = 5 };

typedef struct message { uint64_t word[WORDS]; } message;

static message
message_of(uint64_t seq)
{
    message m;
    for (uint64_t i = 0; i < WORDS; i++) m.word[i] = seq * (i + 1) + i;
    return m;
}

static void
message_check(const message *m, uint64_t seq)
{
    for (uint64_t i = 0; i < WORDS; i++)
        TEST_REQUIRE(m->word[i] == seq * (i + 1) + i);
}

/* ---- spsc: every pairing of ways to send and ways to receive ----------- */

enum { COPY, BATCH, PLACE, WAIT, WAYS };

typedef struct side { shmc_spsc *q; int way; } side;

/* Send at least one, from `seq`.  Returns how many, or SHMC_EAGAIN.       */
static int
send_some(shmc_spsc *q, int way, uint64_t seq)
{
    message m[8];
    void *slots = NULL;
    uint32_t n = 1 + (uint32_t)seq % 8;
    if (n > MESSAGES - seq) n = (uint32_t)(MESSAGES - seq);
    for (uint32_t i = 0; i < n; i++) m[i] = message_of(seq + i);
    int rc = 0;
    switch (way) {
    case COPY:
        rc = shmc_spsc_push(q, m, sizeof m[0]);
        return rc == SHMC_OK ? 1 : rc;
    case WAIT:
        rc = shmc_spsc_push_wait(q, m, sizeof m[0], -1);
        return rc == SHMC_OK ? 1 : rc;
    case BATCH:
        return shmc_spsc_push_n(q, m, sizeof m[0], n);
    default:
        rc = shmc_spsc_loan(q, &slots, n);
        if (rc < 0) return rc;
        memcpy(slots, m, (size_t)rc * sizeof m[0]);
        n = (uint32_t)rc - (seq % 3 == 0 && rc > 1);    /* not all of them */
        TEST_REQUIRE(shmc_spsc_commit(q, n) == SHMC_OK);
        return (int)n;
    }
}

/* Receive and check at least one.  Returns how many, or SHMC_EAGAIN.      */
static int
receive_some(shmc_spsc *q, int way, uint64_t seq)
{
    message m[8];
    const void *slots = NULL;
    const message *got = m;
    const uint32_t n = 1 + (uint32_t)seq % 7;
    int rc = 0;
    switch (way) {
    case COPY:
        rc = shmc_spsc_pop(q, m, sizeof m[0]);
        if (rc == SHMC_OK) rc = 1;
        break;
    case WAIT:
        rc = shmc_spsc_pop_wait(q, m, sizeof m[0], -1);
        if (rc == SHMC_OK) rc = 1;
        break;
    case BATCH:
        rc = shmc_spsc_pop_n(q, m, sizeof m[0], n);
        break;
    default:
        rc = shmc_spsc_borrow(q, &slots, n);
        got = (const message *)slots;
        break;
    }
    for (int i = 0; i < rc; i++) message_check(&got[i], seq + (uint64_t)i);
    if (slots) TEST_REQUIRE(shmc_spsc_release(q, (uint32_t)rc) == SHMC_OK);
    return rc;
}

static void *
send_all(void *ctx)
{
    const side *s = (const side *)ctx;
    for (uint64_t seq = 0; seq < MESSAGES;) {
        const int n = send_some(s->q, s->way, seq);
        if (n == SHMC_EAGAIN) { shmi_yield(); continue; }
        TEST_REQUIRE(n > 0);
        seq += (uint64_t)n;
    }
    return NULL;
}

static void
receive_all(shmc_spsc *q, int way)
{
    for (uint64_t seq = 0; seq < MESSAGES;) {
        const int n = receive_some(q, way, seq);
        if (n == SHMC_EAGAIN) { shmi_yield(); continue; }
        TEST_REQUIRE(n > 0);
        seq += (uint64_t)n;
    }
}

static void
threads_exchange_every_message_in_order(void **state)
{
    (void)state;
    for (int pairing = 0; pairing < WAYS * WAYS; pairing++) {
        const uint32_t counts[] = { 1, 2, 64 };
        const shmc_spsc_desc d = { sizeof(message), counts[pairing % 3], 1,
                                   NULL };
        const uint64_t bytes = (uint64_t)shmc_spsc_size_for(&d);
        void *mem = aligned_alloc(128, bytes);
        shmc_spsc p, c;
        pthread_t thread;
        assert_int_equal(shmc_spsc_format(mem, bytes, &d), SHMC_OK);
        shmi_lane_shm *shm = (shmi_lane_shm *)mem;
        shm->head.index = shm->tail.index = UINT64_MAX - MESSAGES / 2;
        assert_int_equal(shmc_spsc_map(&p, mem, bytes, SHMC_PRODUCER), 0);
        assert_int_equal(shmc_spsc_map(&c, mem, bytes, SHMC_CONSUMER), 0);
        side s = { &p, pairing / WAYS };
        assert_int_equal(pthread_create(&thread, NULL, send_all, &s), 0);
        receive_all(&c, pairing % WAYS);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(shmc_spsc_used(&c), 0);
        assert_int_equal(shmc_spsc_close(&p), SHMC_OK);
        assert_int_equal(shmc_spsc_close(&c), SHMC_OK);
        free(mem);
    }
}

/* ---- processes that are killed and replaced ---------------------------- */

/* What a side has finished, in shared memory: it survives the process.    */
typedef struct progress {
    const char *name;
    uint64_t sent;                  /* messages whose push has returned     */
    uint64_t received;              /* messages whose pop has returned      */
    uint64_t value;                 /* versions whose write has returned    */
} progress;

/* Push the sequence from where it stands: by the queue itself, as a killed
 * push may have published without having returned.                        */
static int
producer_life(void *arg)
{
    progress *g = (progress *)arg;
    shmc_segment s;
    shmc_spsc q;
    shmc_recq r;
    TEST_REQUIRE(shmc_segment_attach(&s, g->name, NULL) == SHMC_OK);
    TEST_REQUIRE(shmc_spsc_open(&q, &s, "q", NULL, SHMC_PRODUCER) == SHMC_OK);
    TEST_REQUIRE(shmc_recq_open(&r, &s, "r", NULL, SHMC_PRODUCER) == SHMC_OK);
    const uint64_t acknowledged = shmi_load_acq_64(&g->sent);
    uint64_t seq = q.lane.mine;
    TEST_REQUIRE(seq == acknowledged || seq == acknowledged + 1);
    for (;; seq++) {
        const message m = message_of(seq);
        const uint32_t bytes = (uint32_t)(8 + seq * 7 % 33);
        while (shmc_spsc_push(&q, &m, sizeof m) == SHMC_EAGAIN) shmi_yield();
        shmi_store_rel_64(&g->sent, seq + 1);
        while (shmc_recq_push(&r, &m, bytes) == SHMC_EAGAIN) shmi_yield();
    }
    return 0;
}

static int
consumer_life(void *arg)
{
    progress *g = (progress *)arg;
    shmc_segment s;
    shmc_spsc q;
    shmc_recq r;
    message m;
    uint64_t last = 0;
    TEST_REQUIRE(shmc_segment_attach(&s, g->name, NULL) == SHMC_OK);
    TEST_REQUIRE(shmc_spsc_open(&q, &s, "q", NULL, SHMC_CONSUMER) == SHMC_OK);
    TEST_REQUIRE(shmc_recq_open(&r, &s, "r", NULL, SHMC_CONSUMER) == SHMC_OK);
    uint64_t seq = q.lane.mine;
    const uint64_t done = shmi_load_acq_64(&g->received);
    TEST_REQUIRE(seq == done || seq == done + 1);
    for (;;) {
        int rc = shmc_spsc_pop(&q, &m, sizeof m);
        if (rc == SHMC_OK) {
            message_check(&m, seq++);
            shmi_store_rel_64(&g->received, seq);
        } else {
            TEST_REQUIRE(rc == SHMC_EAGAIN);
            shmi_yield();
        }
        rc = shmc_recq_pop(&r, &m, sizeof m);
        if (rc == SHMC_EAGAIN) continue;
        /* Word 0 is the sequence; a producer killed between the two queues
         * leaves a gap of its own making, never a step back.              */
        TEST_REQUIRE(rc == (int)(8 + m.word[0] * 7 % 33));
        TEST_REQUIRE(last == 0 || m.word[0] > last);
        last = m.word[0];
    }
    return 0;
}

static void
killed_sides_lose_nothing_that_was_acknowledged(void **state)
{
    (void)state;
    char name[64];
    shmc_segment s;
    shmc_spsc q;
    shmc_recq r;
    const shmc_spsc_desc qd = { sizeof(message), 16, 0, NULL };
    const shmc_recq_desc rd = { 512, 0, NULL };
    progress *g = (progress *)test_shared(sizeof *g);
    g->name = test_name(name, sizeof name, "lives");
    assert_int_equal(shmc_segment_create(&s, name, NULL), SHMC_OK);
    assert_int_equal(shmc_spsc_open(&q, &s, "q", &qd, SHMC_PRODUCER), 0);
    assert_int_equal(shmc_recq_open(&r, &s, "r", &rd, SHMC_PRODUCER), 0);
    assert_int_equal(shmc_spsc_close(&q), SHMC_OK);
    assert_int_equal(shmc_recq_close(&r), SHMC_OK);
    pid_t producer = test_spawn(producer_life, g);
    pid_t consumer = test_spawn(consumer_life, g);
    for (int life = 0; life < 60 / SCALE; life++) {
        const uint64_t before = shmi_load_acq_64(&g->received);
        while (shmi_load_acq_64(&g->received) < before + 500) test_sleep_ms(1);
        if (life % 2) {
            test_kill(producer);
            producer = test_spawn(producer_life, g);
        } else {
            test_kill(consumer);
            consumer = test_spawn(consumer_life, g);
        }
    }
    test_kill(producer);
    test_kill(consumer);
    assert_true(g->received <= g->sent + 1);
    assert_int_equal(shmc_segment_close(&s), SHMC_OK);
    assert_int_equal(shmc_segment_unlink(name, NULL), SHMC_OK);
}

/* ---- the cell ---------------------------------------------------------- */

static int
writer_life(void *arg)
{
    progress *g = (progress *)arg;
    shmc_segment s;
    shmc_latest c;
    TEST_REQUIRE(shmc_segment_attach(&s, g->name, NULL) == SHMC_OK);
    TEST_REQUIRE(shmc_latest_open(&c, &s, "c", NULL, SHMC_PRODUCER) == 0);
    TEST_REQUIRE(c.last == shmi_load_acq_64(&g->value) ||
                 c.last == shmi_load_acq_64(&g->value) + 1);
    for (;;) {
        const message m = message_of(c.last + 1);
        TEST_REQUIRE(shmc_latest_write(&c, &m, sizeof m) == SHMC_OK);
        shmi_store_rel_64(&g->value, c.last);
        if (c.last % 64 == 0) shmi_yield();
    }
    return 0;
}

static void
readers_see_whole_values_while_writers_are_killed(void **state)
{
    (void)state;
    char name[64];
    shmc_segment s;
    shmc_latest r;
    const shmc_latest_desc d = { sizeof(message), 4, 0, NULL };
    progress *g = (progress *)test_shared(sizeof *g);
    uint64_t last = 0;
    g->name = test_name(name, sizeof name, "writers");
    assert_int_equal(shmc_segment_create(&s, name, NULL), SHMC_OK);
    assert_int_equal(shmc_latest_open(&r, &s, "c", &d, SHMC_CONSUMER), 0);
    for (int life = 0; life < 40 / SCALE; life++) {
        const pid_t writer = test_spawn(writer_life, g);
        const uint64_t enough = last + 1000;
        while (last < enough) {
            message m;
            uint64_t version = 0;
            const uint64_t written = shmi_load_acq_64(&g->value);
            const int rc = shmc_latest_read(&r, &m, sizeof m, &version);
            if (rc == SHMC_EAGAIN) { shmi_yield(); continue; }
            assert_int_equal(rc, SHMC_OK);
            message_check(&m, version);
            assert_true(version >= last && version >= written);
            last = version;
        }
        test_kill(writer);
    }
    assert_int_equal(shmc_latest_close(&r), SHMC_OK);
    assert_int_equal(shmc_segment_close(&s), SHMC_OK);
    assert_int_equal(shmc_segment_unlink(name, NULL), SHMC_OK);
}

/* ---- recq between threads ---------------------------------------------- */

static void *
send_records(void *ctx)
{
    shmc_recq *q = (shmc_recq *)ctx;
    uint8_t b[128];
    for (uint32_t seq = 0; seq < MESSAGES;) {
        const uint32_t bytes = seq * 31 % 121;
        void *data = b;
        int rc = SHMC_OK;
        if (seq % 3 == 0) rc = shmc_recq_loan(q, bytes, &data);
        if (rc == SHMC_OK) memset(data, (int)(seq & 255), bytes);
        if (rc == SHMC_OK) rc = seq % 3 == 0 ? shmc_recq_commit(q, bytes)
                              : seq % 3 == 1 ? shmc_recq_push(q, b, bytes)
                              : shmc_recq_push_wait(q, b, bytes, -1);
        if (rc == SHMC_EAGAIN) { shmi_yield(); continue; }
        TEST_REQUIRE(rc == SHMC_OK);
        seq++;
    }
    return NULL;
}

static void
threads_exchange_every_record_in_order(void **state)
{
    (void)state;
    const shmc_recq_desc d = { 256, 1, NULL };
    const uint64_t bytes = (uint64_t)shmc_recq_size_for(&d);
    void *mem = aligned_alloc(128, bytes);
    shmc_recq p, c;
    pthread_t thread;
    assert_int_equal(shmc_recq_format(mem, bytes, &d), SHMC_OK);
    assert_int_equal(shmc_recq_map(&p, mem, bytes, SHMC_PRODUCER), SHMC_OK);
    assert_int_equal(shmc_recq_map(&c, mem, bytes, SHMC_CONSUMER), SHMC_OK);
    assert_int_equal(pthread_create(&thread, NULL, send_records, &p), 0);
    for (uint32_t seq = 0; seq < MESSAGES;) {
        uint8_t b[128];
        const void *data = b;
        const int rc = seq % 3 == 0 ? shmc_recq_borrow(&c, &data)
                     : seq % 3 == 1 ? shmc_recq_pop(&c, b, sizeof b)
                     : shmc_recq_pop_wait(&c, b, sizeof b, -1);
        if (rc == SHMC_EAGAIN) { shmi_yield(); continue; }
        TEST_REQUIRE(rc == (int)(seq * 31 % 121));
        for (int i = 0; i < rc; i++)
            TEST_REQUIRE(((const uint8_t *)data)[i] == (seq & 255));
        if (seq % 3 == 0) TEST_REQUIRE(shmc_recq_release(&c) == SHMC_OK);
        seq++;
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(shmc_recq_close(&p), SHMC_OK);
    assert_int_equal(shmc_recq_close(&c), SHMC_OK);
    free(mem);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_CASE(threads_exchange_every_message_in_order),
        TEST_CASE(threads_exchange_every_record_in_order),
        TEST_CASE(killed_sides_lose_nothing_that_was_acknowledged),
        TEST_CASE(readers_see_whole_values_while_writers_are_killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
