/* Producers and consumers of one MPMC queue are killed at random moments and
 * replaced, over and over.  Nothing that a push acknowledged is lost, nothing
 * comes twice, and the survivors go on.                                    */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_mpmc.h"
#include "test_support.h"

enum { SIDES = 2, KILLS = 60, MAX_ITEMS = 2000000, BATCH = 8, POLLS = 6000 };
enum way { COPY, MANY, IN_PLACE, WAITING };

/* Large, so that most deaths come in the middle of a push or a pop; and all
 * words are the item's number, so that a torn one shows.                   */
typedef struct message { uint64_t word[200]; } message;

typedef struct ledger {
    uint64_t next;                  /* item to push next, all producers     */
    uint64_t gotten;                /* pops that returned                   */
    uint32_t stop;
    uint8_t acked[MAX_ITEMS];       /* push returned                        */
    uint32_t got[MAX_ITEMS];        /* how often it was popped              */
} ledger;

static char name[64];
static ledger *book;

static void
fill(message *m, uint64_t item)
{
    for (size_t i = 0; i < sizeof m->word / sizeof m->word[0]; i++)
        m->word[i] = item;
}

static void
note(const message *m)
{
    const uint64_t item = m->word[0];
    TEST_REQUIRE(item < MAX_ITEMS);
    for (size_t i = 0; i < sizeof m->word / sizeof m->word[0]; i++)
        TEST_REQUIRE(m->word[i] == item);
    (void)shmi_faa_32(&book->got[item], 1);
}

static void
pause_a_little(int r)
{
    if (r == SHMC_EAGAIN) shmi_yield();
    else TEST_REQUIRE(r >= 0 || r == SHMC_ETIMEDOUT);
}

static void
produce(shmc_mpmc *q, enum way way)
{
    while (!shmi_load_acq_32(&book->stop)) {
        const uint32_t n = way == MANY ? BATCH : 1;
        const uint64_t first = shmi_faa_64(&book->next, n);
        message v[BATCH];
        if (first + BATCH > MAX_ITEMS) {    /* the ledger is full           */
            test_sleep_ms(1);
            continue;
        }
        for (uint32_t i = 0; i < n; i++) fill(&v[i], first + i);
        for (uint32_t done = 0; done < n;) {
            int r;
            void *slot;
            if (way == MANY) {
                r = shmc_mpmc_push_n(q, &v[done], sizeof v[0], n - done);
            } else if (way == WAITING) {
                r = shmc_mpmc_push_wait(q, v, sizeof v[0], 50000000);
            } else if (way == IN_PLACE) {
                r = shmc_mpmc_loan(q, &slot);
                if (r == SHMC_OK) {
                    fill(slot, first);
                    r = shmc_mpmc_commit(q);
                }
            } else {
                r = shmc_mpmc_push(q, v, sizeof v[0]);
            }
            pause_a_little(r);
            for (uint32_t k = r == SHMC_OK ? 1 : r > 0 ? (uint32_t)r : 0; k; k--)
                book->acked[first + done++] = 1;
            if (shmi_load_acq_32(&book->stop) && r < 0) return;
        }
    }
}

static int
take(shmc_mpmc *q, enum way way, bool sleep)
{
    message v[BATCH];
    const void *msg;
    int r;
    if (way == IN_PLACE) {
        r = shmc_mpmc_borrow(q, &msg);
        if (r != SHMC_OK) return r;
        note(msg);
        return shmc_mpmc_release(q);
    }
    r = way == MANY ? shmc_mpmc_pop_n(q, v, sizeof v[0], BATCH)
      : sleep ? shmc_mpmc_pop_wait(q, v, sizeof v[0], 50000000)
      : shmc_mpmc_pop(q, v, sizeof v[0]);
    for (int i = 0; i < (r == SHMC_OK ? 1 : r); i++) note(&v[i]);
    return r;
}

static void
consume(shmc_mpmc *q, enum way way)
{
    while (!shmi_load_acq_32(&book->stop)) {
        const int r = take(q, way, way == WAITING);
        pause_a_little(r);
        if (r >= 0) (void)shmi_faa_64(&book->gotten, 1);
    }
}

typedef struct part { uint32_t role; enum way way; } part;

static int
play(void *arg)
{
    const part *p = arg;
    static shmc_segment s;
    shmc_mpmc q;
    TEST_REQUIRE(shmc_segment_attach(&s, name, NULL) == SHMC_OK);
    TEST_REQUIRE(shmc_mpmc_open(&q, &s, "q", NULL, p->role) == SHMC_OK);
    (p->role == SHMC_PRODUCER ? produce : consume)(&q, p->way);
    TEST_REQUIRE(shmc_mpmc_close(&q) == SHMC_OK);
    return 0;
}

static pid_t
spawn(bool producer, enum way way)
{
    part p = { producer ? SHMC_PRODUCER : SHMC_CONSUMER, way };
    return test_spawn(play, &p);
}

/* Kill and replace, then stop; returns how many consumers were killed.     */
static uint32_t
massacre(enum way way, uint32_t kills)
{
    pid_t child[2 * SIDES];
    uint32_t consumers = 0;
    for (int i = 0; i < 2 * SIDES; i++) child[i] = spawn(i < SIDES, way);
    for (uint32_t k = 0; k < kills; k++) {
        usleep((unsigned)(rand() % 1500));
        const int i = rand() % (2 * SIDES);
        kill(child[i], SIGKILL);
        assert_int_equal(1000 + SIGKILL, test_join(child[i]));
        consumers += i >= SIDES;
        /* The others go on: the queue moves without the dead one.          */
        const uint64_t before = shmi_load_acq_64(&book->gotten);
        if (k % 4 == 0)
            while (shmi_load_acq_64(&book->gotten) < before + 100 &&
                   shmi_load_acq_64(&book->next) + BATCH < MAX_ITEMS)
                usleep(100);
        child[i] = spawn(i < SIDES, way);
    }
    shmi_store_rel_32(&book->stop, 1);
    for (int i = 0; i < 2 * SIDES; i++) assert_int_equal(0, test_join(child[i]));
    return consumers;
}

static void
run(enum way way, uint32_t slots, uint32_t on_death)
{
    const shmc_segment_desc sd = { .heap_bytes = 1 << 19 };
    const shmc_mpmc_desc d = { .slot_bytes = sizeof(message),
                               .slot_count = slots, .max_handles = 6,
                               .on_consumer_death = on_death,
                               .waitable = way == WAITING };
    static shmc_segment s;
    shmc_mpmc_stats st;
    shmc_mpmc q;
    book = test_shared(sizeof *book);
    test_name(name, sizeof name, "mpmc-death");
    assert_int_equal(SHMC_OK, shmc_segment_create(&s, name, &sd));
    assert_int_equal(SHMC_OK, shmc_mpmc_open(&q, &s, "q", &d, 3));
    const uint32_t killed = massacre(way, KILLS);
    for (int idle = 0; idle < POLLS; idle++)
        if (take(&q, way, false) >= 0) idle = 0;
    assert_int_equal(SHMC_OK, shmc_mpmc_stats_get(&q, &st));

    uint64_t lost = 0, again = 0;
    const uint64_t items = book->next < MAX_ITEMS ? book->next : MAX_ITEMS;
    for (uint64_t i = 0; i < items; i++) {
        if (book->acked[i] && book->got[i] == 0) lost++;
        if (book->got[i] > 1) again += book->got[i] - 1;
    }
    for (uint64_t i = items; i < MAX_ITEMS; i += 97)
        assert_int_equal(0, book->got[i]);
    print_message("way %d, %u slots, %s: %llu items, %u consumers killed, "
                  "%llu lost with them, %llu again, %llu tombs, "
                  "%llu redelivered, %llu dropped\n", (int)way, slots,
                  on_death ? "drop" : "redeliver", (unsigned long long)items,
                  killed, (unsigned long long)lost, (unsigned long long)again,
                  (unsigned long long)st.tombs,
                  (unsigned long long)st.redelivered,
                  (unsigned long long)st.dropped);
    /* A message may be lost only with a consumer that it was handed to, or
     * by the option; it may come again only if it was borrowed.            */
    const uint32_t each = way == MANY ? BATCH : 1;
    assert_true(again <= (way == IN_PLACE ? killed : 0));
    assert_true(lost <= (way == IN_PLACE && on_death == SHMC_REDELIVER
                         ? 0 : (uint64_t)killed * each));
    /* And the queue is as good as new.                                     */
    assert_int_equal(0, st.used);
    message m;
    for (uint64_t i = 0; i < slots; i++) {
        fill(&m, i);
        assert_int_equal(SHMC_OK, shmc_mpmc_push(&q, &m, sizeof m));
    }
    for (uint64_t i = 0; i < slots; i++) {
        assert_int_equal(SHMC_OK, shmc_mpmc_pop(&q, &m, sizeof m));
        assert_int_equal(i, m.word[0]);
    }
    assert_int_equal(SHMC_OK, shmc_mpmc_close(&q));
    assert_int_equal(SHMC_OK, shmc_segment_close(&s));
    assert_int_equal(SHMC_OK, shmc_segment_unlink(name, NULL));
    assert_int_equal(0, shmi_unmap(book, sizeof *book));
}

static void
copied_messages_survive_deaths(void **state)
{
    (void)state;
    run(COPY, 2, SHMC_REDELIVER);
    run(COPY, 256, SHMC_REDELIVER);
}

static void
batches_survive_deaths(void **state)
{
    (void)state;
    run(MANY, 16, SHMC_REDELIVER);
}

static void
borrowed_messages_come_at_least_once(void **state)
{
    (void)state;
    run(IN_PLACE, 8, SHMC_REDELIVER);
}

static void
dropping_queue_survives_deaths(void **state)
{
    (void)state;
    run(COPY, 8, SHMC_DROP);
    run(MANY, 64, SHMC_DROP);
}

static void
waiting_sides_survive_deaths(void **state)
{
    (void)state;
    run(WAITING, 4, SHMC_REDELIVER);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_CASE(copied_messages_survive_deaths),
        TEST_CASE(batches_survive_deaths),
        TEST_CASE(borrowed_messages_come_at_least_once),
        TEST_CASE(dropping_queue_survives_deaths),
        TEST_CASE(waiting_sides_survive_deaths),
    };
    srand((unsigned)getpid());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
