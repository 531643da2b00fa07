/* Publishers and subscribers of one broadcast ring at work all at once, as
 * threads and as processes, running freely or stopped and continued at
 * random.  Each subscriber checks each message; together they check that all
 * saw one order, and that what came and what is counted is all there was.  */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_broadcast.h"

#include "bcast_support.h"

#include <pthread.h>

enum { MOST = 4, MAX_BYTES = 2048, POSITIONS = 1 << 20 };

typedef struct run {
    uint32_t publishers, subscribers, mode, bytes, slots, messages;
    bool processes, stop, tight;
    char name[64];
    shmc_segment *segment;          /* threads share it                     */
    uint32_t ready, done;
    uint64_t order[POSITIONS];      /* which message is at which position   */
    uint64_t positions[MOST], received[MOST], lost[MOST], passed[MOST];
} run;

typedef struct worker {
    run *r;
    uint32_t index;
    bool publishes;
    pthread_t thread;
    pid_t pid;
} worker;

static shmc_bcast_desc
ring_of(const run *r)
{
    const shmc_bcast_desc desc = {
        .slot_count = r->slots, .max_bytes = MAX_BYTES,
        .max_publishers = r->publishers, .mode = r->mode,
        .arena_bytes = 16384, .waitable = 1
    };
    return desc;
}

/* ---- one publisher ------------------------------------------------------ */

static int
publish_one(shmc_bcast *h, const uint64_t *words, uint32_t bytes, bool loan)
{
    void *room = NULL;
    int r;

    if (!loan) return shmc_bcast_send_wait(h, words, bytes, -1);
    do r = shmc_bcast_loan(h, bytes, &room); while (r == SHMC_EAGAIN);
    if (r != SHMC_OK) return r;
    shmi_copy_in(room, words, bytes);
    for (uint32_t i = 0; ; i++) {
        r = shmc_bcast_commit(h, bytes);
        if (r != SHMC_EAGAIN) return r;
        if (i % 64 == 63) shmi_yield();
    }
}

static void
publish(run *r, shmc_segment *s, uint32_t index)
{
    const shmc_bcast_desc desc = ring_of(r);
    uint64_t words[MAX_BYTES / 8];
    shmc_bcast h;

    TEST_REQUIRE(shmc_bcast_open(&h, s, "ring", &desc, SHMC_PRODUCER) == SHMC_OK);
    while (shmi_load_acq_32(&r->ready) != r->subscribers) shmi_yield();
    for (uint32_t n = 1; n <= r->messages; n++) {
        /* Half of them small, the rest up to r->bytes.                    */
        const uint32_t bytes = r->tight ? 96
                             : n % 2 ? 8 + n % 11 * 8
                                     : 8 + (n * 264u) % r->bytes / 8 * 8;
        bcast_seal(words, index, n, bytes);
        TEST_REQUIRE(publish_one(&h, words, bytes, n % 3 == 0) == SHMC_OK);
        /* On one CPU a lossy publisher would be alone in its time slice.  */
        if (r->mode == SHMC_LOSSY && n % 64 == 0 && !r->tight) shmi_yield();
    }
    TEST_REQUIRE(shmc_bcast_close(&h) == SHMC_OK);
    (void)shmi_faa_32(&r->done, 1);
}

/* ---- one subscriber ----------------------------------------------------- */

static void
check(run *r, uint64_t position, const uint64_t *words, uint32_t bytes,
      uint64_t *last)
{
    const uint64_t publisher = words[0] >> 48;
    const uint64_t number = words[0] & 0xffffffffu;
    uint64_t nobody = 0;

    TEST_REQUIRE(bytes >= 8 && bytes % 8 == 0 && bytes <= MAX_BYTES);
    TEST_REQUIRE(bcast_sealed(words, bytes));
    TEST_REQUIRE(publisher < r->publishers && number <= r->messages);
    TEST_REQUIRE(number > last[publisher]);
    if (r->mode == SHMC_RELIABLE) TEST_REQUIRE(number == last[publisher] + 1);
    last[publisher] = number;
    TEST_REQUIRE(position < POSITIONS);
    if (!shmi_cas_64(&r->order[position], &nobody, words[0] + 1))
        TEST_REQUIRE(nobody == words[0] + 1);
}

/* Receive one in one of four ways.                                        */
static int
receive_one(shmc_bcast *h, uint64_t *words, uint32_t way)
{
    const void *view = NULL;

    switch (way % 4) {
    case 0: return shmc_bcast_recv(h, words, MAX_BYTES);
    case 1: return shmc_bcast_recv_wait(h, words, MAX_BYTES, 20000000);
    case 2: break;
    default: {
        const int bytes = shmc_bcast_next_bytes(h);
        return bytes < 0 ? bytes : shmc_bcast_recv(h, words, (uint32_t)bytes);
    }
    }
    const int bytes = shmc_bcast_borrow_wait(h, &view, 20000000);
    if (bytes < 0) return bytes;
    shmi_copy_out(words, view, (size_t)bytes);
    const int r = shmc_bcast_release(h);
    return r == SHMC_OK ? bytes : r;
}

static void
subscribe(run *r, shmc_segment *s, uint32_t index)
{
    const shmc_bcast_desc desc = ring_of(r);
    uint64_t words[MAX_BYTES / 8], last[MOST] = { 0 }, received = 0;
    shmc_bcast h;

    TEST_REQUIRE(shmc_bcast_open(&h, s, "ring", &desc, SHMC_CONSUMER) == SHMC_OK);
    (void)shmi_faa_32(&r->ready, 1);
    for (uint32_t way = index; ; way += received % 1000 == 999) {
        const bool over = shmi_load_acq_32(&r->done) == r->publishers;
        const int got = receive_one(&h, words, way);
        if (got >= 0) {
            check(r, h.next - 1, words, (uint32_t)got, last);
            received++;
            continue;
        }
        if (got == SHMC_ELAPPED) {
            TEST_REQUIRE(r->mode == SHMC_LOSSY && shmc_bcast_gap(&h) > 0);
            continue;
        }
        TEST_REQUIRE(got == SHMC_EAGAIN || got == SHMC_ETIMEDOUT);
        if (over && h.next == shmi_load_acq_64(&h.shm->tail)) break;
        shmi_yield();
    }
    r->positions[index] = h.next;
    r->received[index] = received;
    r->lost[index] = shmc_bcast_lost(&h);
    r->passed[index] = h.passed;
    TEST_REQUIRE(shmc_bcast_close(&h) == SHMC_OK);
}

/* ---- all of them -------------------------------------------------------- */

static int
work_process(void *arg)
{
    worker *w = arg;
    shmc_segment s;

    TEST_REQUIRE(shmc_segment_attach(&s, w->r->name, NULL) == SHMC_OK);
    if (w->publishes) publish(w->r, &s, w->index);
    else subscribe(w->r, &s, w->index);
    TEST_REQUIRE(shmc_segment_close(&s) == SHMC_OK);
    return 0;
}

static void *
work_thread(void *arg)
{
    worker *w = arg;

    if (w->publishes) publish(w->r, w->r->segment, w->index);
    else subscribe(w->r, w->r->segment, w->index);
    return NULL;
}

/* Stop processes at random moments, until all publishers are done.        */
static void
disturb(run *r, worker *workers, uint32_t count)
{
    uint32_t random = 12345;

    while (shmi_load_acq_32(&r->done) != r->publishers) {
        random = random * 1664525u + 1013904223u;
        const pid_t pid = workers[(random >> 16) % count].pid;
        kill(pid, SIGSTOP);
        test_sleep_ms((random >> 8) % 4);
        kill(pid, SIGCONT);
        shmi_sleep_until(shmi_now_ns() + (random >> 4) % 2000000);
    }
}

static void
run_it(run *r, const char *noun)
{
    const shmc_segment_desc desc = { .flags = SHMC_EPHEMERAL };
    worker workers[2 * MOST];
    shmc_segment s;
    shmc_bcast keep;
    const shmc_bcast_desc ring = ring_of(r);
    const uint32_t count = r->publishers + r->subscribers;

    test_watchdog(60);
    memset(r->order, 0, sizeof r->order);
    r->ready = r->done = 0;
    assert_int_equal(shmc_segment_open(&s, test_name(r->name, sizeof r->name, noun),
                                       &desc), SHMC_OK);
    assert_int_equal(shmc_bcast_open(&keep, &s, "ring", &ring, SHMC_OBSERVER),
                     SHMC_ENOENT);
    r->segment = &s;
    for (uint32_t i = 0; i < count; i++) {
        worker *w = &workers[i];
        w->r = r;
        w->publishes = i < r->publishers;
        w->index = w->publishes ? i : i - r->publishers;
        if (r->processes) w->pid = test_spawn(work_process, w);
        else assert_int_equal(pthread_create(&w->thread, NULL, work_thread, w), 0);
    }
    if (r->stop) disturb(r, workers, count);
    for (uint32_t i = 0; i < count; i++)
        if (r->processes) assert_int_equal(test_join(workers[i].pid), 0);
        else assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    const uint64_t sent = (uint64_t)r->publishers * r->messages;
    for (uint32_t i = 0; i < r->subscribers; i++) {
        assert_int_equal(r->received[i] + r->lost[i] + r->passed[i],
                         r->positions[i]);
        assert_int_equal(r->positions[i], r->positions[0]);
        assert_true(r->positions[i] >= sent);
        if (r->publishers == 1) assert_int_equal(r->positions[i], sent);
        if (r->mode == SHMC_RELIABLE) assert_int_equal(r->received[i], sent);
    }
    assert_int_equal(shmc_segment_close(&s), SHMC_OK);
}

static void
run_sizes(uint32_t mode, bool processes, bool stop, const char *noun)
{
    run *r = test_shared(sizeof *r);

    for (uint32_t publishers = 1; publishers <= MOST; publishers *= 2) {
        for (uint32_t subscribers = 1; subscribers <= MOST; subscribers *= 2) {
            r->mode = mode;
            r->processes = processes;
            r->stop = stop;
            r->publishers = publishers;
            r->subscribers = subscribers;
            r->messages = (SHMI_TSAN ? 2000 : stop ? 3000 : 6000) / publishers;
            r->bytes = publishers == 2 ? 96 : MAX_BYTES;
            r->slots = publishers * subscribers == 4 ? 8 : 64;
            run_it(r, noun);
        }
    }
    assert_int_equal(shmi_unmap(r, sizeof *r), 0);
}

static void
threads_lose_nothing_uncounted_in_a_lossy_ring(void **state)
{
    (void)state;
    run_sizes(SHMC_LOSSY, false, false, "lossy-threads");
}

/* Two cells, written all the time: a reader that believes what it copied
 * while it was written would show.                                         */
static void
a_reader_of_a_ring_of_two_cells_never_takes_torn_bytes(void **state)
{
    (void)state;
    run *r = test_shared(sizeof *r);

    for (uint32_t publishers = 1; publishers <= 2; publishers++) {
        r->mode = SHMC_LOSSY;
        r->publishers = publishers;
        r->subscribers = 1;
        r->slots = 2;
        r->bytes = 96;
        r->tight = true;
        r->messages = (SHMI_TSAN ? 20000 : 400000) / publishers;
        run_it(r, "two-cells");
    }
    assert_int_equal(shmi_unmap(r, sizeof *r), 0);
}

static void
threads_lose_nothing_in_a_reliable_ring(void **state)
{
    (void)state;
    run_sizes(SHMC_RELIABLE, false, false, "reliable-threads");
}

static void
processes_lose_nothing_uncounted_in_a_lossy_ring(void **state)
{
    (void)state;
    run_sizes(SHMC_LOSSY, true, false, "lossy-processes");
}

static void
processes_lose_nothing_in_a_reliable_ring(void **state)
{
    (void)state;
    run_sizes(SHMC_RELIABLE, true, false, "reliable-processes");
}

static void
processes_stopped_at_random_lose_nothing_uncounted(void **state)
{
    (void)state;
    run_sizes(SHMC_LOSSY, true, true, "lossy-stopped");
}

static void
processes_stopped_at_random_lose_nothing_in_a_reliable_ring(void **state)
{
    (void)state;
    run_sizes(SHMC_RELIABLE, true, true, "reliable-stopped");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_CASE(threads_lose_nothing_uncounted_in_a_lossy_ring),
        TEST_CASE(a_reader_of_a_ring_of_two_cells_never_takes_torn_bytes),
        TEST_CASE(threads_lose_nothing_in_a_reliable_ring),
        TEST_CASE(processes_lose_nothing_uncounted_in_a_lossy_ring),
        TEST_CASE(processes_lose_nothing_in_a_reliable_ring),
        TEST_CASE(processes_stopped_at_random_lose_nothing_uncounted),
        TEST_CASE(processes_stopped_at_random_lose_nothing_in_a_reliable_ring),
    };

    shmc_log_set(NULL, NULL, 0);
    return cmocka_run_group_tests_name("bcast_stress", tests, NULL, NULL);
}
