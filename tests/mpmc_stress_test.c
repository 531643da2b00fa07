/* The MPMC queue under load: threads and processes, more of them than CPUs;
 * each message arrives exactly once, in order for each producer.           */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_mpmc.h"
#include "test_support.h"

#include <pthread.h>

enum { ITEMS = 10000, MAX_SIDES = 4, BATCH = 7 };
enum way { ONE, MANY, IN_PLACE, WAITING };

/* What all sides share: how often each message came, and who goes on.      */
typedef struct ledger {
    uint8_t seen[MAX_SIDES][ITEMS];
    uint32_t left;                  /* messages that nobody has got         */
    uint32_t wrong;                 /* messages out of turn                 */
} ledger;

typedef struct side {
    shmc_mpmc q;
    ledger *book;
    enum way way;
    uint32_t me;
    pthread_t thread;
} side;

static void
give(side *s, uint64_t from, uint32_t n)
{
    uint64_t v[BATCH];
    shmi_backoff b = SHMI_BACKOFF_INIT;
    for (uint32_t i = 0; i < n; i++) v[i] = (uint64_t)s->me << 32 | (from + i);
    for (uint32_t done = 0; done < n;) {
        int r;
        if (s->way == IN_PLACE) {
            void *slot;
            r = shmc_mpmc_loan(&s->q, &slot);
            if (r == SHMC_OK) {
                memcpy(slot, &v[done], 8);
                /* Some are given up, and tried again.                      */
                if ((from + done) % 5 == 0) {
                    (void)shmc_mpmc_abort(&s->q);
                    r = shmc_mpmc_push(&s->q, &v[done], 8);
                } else {
                    r = shmc_mpmc_commit(&s->q);
                }
            }
        } else if (s->way == MANY) {
            r = shmc_mpmc_push_n(&s->q, &v[done], 8, n - done);
        } else if (s->way == WAITING) {
            r = shmc_mpmc_push_wait(&s->q, &v[done], 8, -1);
        } else {
            r = shmc_mpmc_push(&s->q, &v[done], 8);
        }
        TEST_REQUIRE(r >= 0 || r == SHMC_EAGAIN);
        if (r == SHMC_EAGAIN) shmi_backoff_spin(&b);
        else done += r > 0 ? (uint32_t)r : 1;
    }
}

static void *
produce(void *arg)
{
    side *s = arg;
    for (uint32_t i = 0; i < ITEMS; i += BATCH)
        give(s, i, ITEMS - i < BATCH ? ITEMS - i : BATCH);
    return NULL;
}

static int
take(side *s, uint64_t *v)
{
    const void *msg;
    int r;
    switch (s->way) {
    case MANY:
        return shmc_mpmc_pop_n(&s->q, v, 8, BATCH);
    case IN_PLACE:
        r = shmc_mpmc_borrow(&s->q, &msg);
        if (r != SHMC_OK) return r;
        memcpy(v, msg, 8);
        r = shmc_mpmc_release(&s->q);
        break;
    case WAITING:
        r = shmc_mpmc_pop_wait(&s->q, v, 8, 10000000);
        if (r == SHMC_ETIMEDOUT) r = SHMC_EAGAIN;
        break;
    default:
        r = shmc_mpmc_pop(&s->q, v, 8);
    }
    return r == SHMC_OK ? 1 : r;
}

static void *
consume(void *arg)
{
    side *s = arg;
    uint64_t v[BATCH], next[MAX_SIDES] = { 0 };
    shmi_backoff b = SHMI_BACKOFF_INIT;
    while (shmi_load_acq_32(&s->book->left) != 0) {
        const int n = take(s, v);
        if (n == SHMC_EAGAIN) {
            shmi_backoff_spin(&b);
            continue;
        }
        TEST_REQUIRE(n > 0);
        for (int i = 0; i < n; i++) {
            const uint64_t from = v[i] >> 32, item = v[i] & UINT32_MAX;
            TEST_REQUIRE(from < MAX_SIDES && item < ITEMS);
            if (item < next[from]) (void)shmi_faa_32(&s->book->wrong, 1);
            next[from] = item + 1;
            /* A plain increment: two who got it would race.                */
            s->book->seen[from][item]++;
        }
        (void)shmi_faa_32(&s->book->left, (uint32_t)-n);
        b = (shmi_backoff)SHMI_BACKOFF_INIT;
    }
    return NULL;
}

static ledger *
ledger_new(uint32_t sides)
{
    ledger *book = test_shared(sizeof(ledger));
    book->left = sides * ITEMS;
    return book;
}

static void
ledger_check(ledger *book, uint32_t sides, const shmc_mpmc *q)
{
    shmc_mpmc_stats st;
    assert_int_equal(0, book->left);
    assert_int_equal(0, book->wrong);
    for (uint32_t p = 0; p < sides; p++)
        for (uint32_t i = 0; i < ITEMS; i++)
            assert_int_equal(1, book->seen[p][i]);
    assert_int_equal(SHMC_OK, shmc_mpmc_stats_get(q, &st));
    assert_int_equal(sides * ITEMS, st.pushed);
    assert_int_equal(sides * ITEMS, st.popped);
    assert_int_equal(0, st.redelivered + st.dropped);
    assert_int_equal(0, shmi_unmap(book, sizeof *book));
}

static void
by_threads(uint32_t sides, uint32_t slots, enum way way)
{
    const shmc_mpmc_desc d = { .slot_count = slots, .waitable = way == WAITING };
    const uint64_t bytes = (uint64_t)shmc_mpmc_size_for(&d);
    ledger *book = ledger_new(sides);
    static side all[2 * MAX_SIDES];
    shmc_mpmc q;
    void *mem;
    assert_int_equal(0, shmi_memory_map(bytes, &mem));
    assert_int_equal(SHMC_OK, shmc_mpmc_format(mem, bytes, &d));
    assert_int_equal(SHMC_OK, shmc_mpmc_map(&q, mem, bytes, SHMC_OBSERVER));
    for (uint32_t i = 0; i < 2 * sides; i++) {
        side *s = &all[i];
        s->book = book;
        s->way = way;
        s->me = i % sides;
        assert_int_equal(SHMC_OK,
                         shmc_mpmc_map(&s->q, mem, bytes,
                                       i < sides ? SHMC_PRODUCER
                                                 : SHMC_CONSUMER));
        assert_int_equal(0, pthread_create(&s->thread, NULL,
                                           i < sides ? produce : consume, s));
    }
    for (uint32_t i = 0; i < 2 * sides; i++) {
        assert_int_equal(0, pthread_join(all[i].thread, NULL));
        assert_int_equal(SHMC_OK, shmc_mpmc_close(&all[i].q));
    }
    ledger_check(book, sides, &q);
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&q));
    assert_int_equal(0, shmi_unmap(mem, bytes));
}

typedef struct part {
    const char *segment;
    uint32_t role;
    side side;
} part;

static int
play(void *arg)
{
    static shmc_segment mine;
    part *p = arg;
    TEST_REQUIRE(shmc_segment_attach(&mine, p->segment, NULL) == SHMC_OK);
    TEST_REQUIRE(shmc_mpmc_open(&p->side.q, &mine, "q", NULL, p->role) ==
                 SHMC_OK);
    (void)(p->role == SHMC_PRODUCER ? produce : consume)(&p->side);
    TEST_REQUIRE(shmc_mpmc_close(&p->side.q) == SHMC_OK);
    return 0;
}

static void
by_processes(uint32_t sides, uint32_t slots, enum way way, uint32_t wake)
{
    const shmc_segment_desc sd = { .wake = wake, .heap_bytes = 1 << 18 };
    const shmc_mpmc_desc d = { .slot_count = slots, .waitable = way == WAITING };
    ledger *book = ledger_new(sides);
    static shmc_segment s;
    char name[64];
    pid_t child[2 * MAX_SIDES];
    shmc_mpmc q;
    test_name(name, sizeof name, "mpmc-stress");
    assert_int_equal(SHMC_OK, shmc_segment_create(&s, name, &sd));
    assert_int_equal(SHMC_OK, shmc_mpmc_open(&q, &s, "q", &d, SHMC_CONSUMER));
    for (uint32_t i = 0; i < 2 * sides; i++) {
        part p;
        memset(&p, 0, sizeof p);
        p.segment = name;
        p.role = i < sides ? SHMC_PRODUCER : SHMC_CONSUMER;
        p.side.book = book;
        p.side.way = way;
        p.side.me = i % sides;
        child[i] = test_spawn(play, &p);
    }
    for (uint32_t i = 0; i < 2 * sides; i++)
        assert_int_equal(0, test_join(child[i]));
    ledger_check(book, sides, &q);
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&q));
    assert_int_equal(SHMC_OK, shmc_segment_close(&s));
    assert_int_equal(SHMC_OK, shmc_segment_unlink(name, NULL));
}

static void
threads_get_each_message_once_in_order(void **state)
{
    (void)state;
    for (uint32_t slots = 1; slots <= 1024; slots *= 32)
        for (uint32_t sides = 1; sides <= 4; sides *= 2)
            by_threads(sides, slots, ONE);
}

static void
threads_batch(void **state)
{
    (void)state;
    by_threads(2, 4, MANY);
    by_threads(4, 256, MANY);
}

static void
threads_write_and_read_in_place(void **state)
{
    (void)state;
    by_threads(2, 2, IN_PLACE);
    by_threads(4, 64, IN_PLACE);
}

static void
threads_wait(void **state)
{
    (void)state;
    by_threads(2, 2, WAITING);
    by_threads(4, 64, WAITING);
}

static void
processes_get_each_message_once_in_order(void **state)
{
    (void)state;
    by_processes(2, 64, ONE, SHMC_WAKE_FENCE);
    by_processes(4, 8, ONE, SHMC_WAKE_FENCE);
}

static void
processes_batch(void **state)
{
    (void)state;
    by_processes(4, 32, MANY, SHMC_WAKE_FENCE);
}

static void
processes_write_and_read_in_place(void **state)
{
    (void)state;
    by_processes(4, 32, IN_PLACE, SHMC_WAKE_FENCE);
}

static void
processes_wait(void **state)
{
    (void)state;
    by_processes(2, 16, WAITING, SHMC_WAKE_FENCE);
    by_processes(2, 16, WAITING, SHMC_WAKE_ASYMMETRIC);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_CASE(threads_get_each_message_once_in_order),
        TEST_CASE(threads_batch),
        TEST_CASE(threads_write_and_read_in_place),
        TEST_CASE(threads_wait),
        TEST_CASE(processes_get_each_message_once_in_order),
        TEST_CASE(processes_batch),
        TEST_CASE(processes_write_and_read_in_place),
        TEST_CASE(processes_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
