/* One process dies, or stops, after each instruction of each operation of a
 * latest-value cell and of a counter: both have one writer, and tell how
 * often it wrote.  Readers go on at once, whoever died or stopped, with the
 * value before or the new one, whole; a successor of the writer goes on from
 * it.  A writer that is stopped is not held for dead.                      */
#define SHMC_SPIN_TRIES 4u
#define SHMC_YIELD_TRIES 2u
#define SHMC_RECHECK_NS 1000000u
#define SHMC_PEER_CHECK_NS 1000000u
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_latest.h"
#include "shmcomm_counter.h"
#include "crash_harness.h"

enum { WORDS = 3, BEFORE = 3, WAIT_NS = 300000, SWEEP_NS = 25000000 };
enum { OLD, NEW, THIRD, HEIR, CHILD, PEOPLE };

typedef union value {
    shmc_latest latest;
    shmc_counter counter;
} value;

typedef struct person {
    shmc_segment seg;
    value v[2];                     /* to write, to read                    */
    bool open[2];
} person;

/* What the stepped process and the test tell each other.                  */
typedef struct ledger {
    volatile uint32_t acked;        /* the call's values, if it returned    */
    volatile uint32_t returned;
    volatile uint32_t refused;      /* an open found another writer         */
    volatile uint32_t go;           /* who waits may wait again             */
    uint64_t version;               /* that it read                         */
    uint64_t out[WORDS];
} ledger;

enum { OPENS = 1, CREATES = 2, CLOSES = 4, TAKES = 8 };
enum { WRITER, READER };

typedef struct operation {
    const char *name;
    int side;
    uint32_t puts, flags;
    int (*act)(value *v);           /* child; how many it wrote             */
} operation;

typedef struct noun {
    const char *name;
    int (*open)(value *v, shmc_segment *s, int side);
    int (*close)(value *v);
    int (*put)(value *v, uint64_t n);
    int (*get)(value *v, uint64_t *n);      /* a whole one, and which       */
    const operation *ops;
} noun;

static const noun *the;
static const operation *op;
static uint32_t survivors;
static ledger *book;
static person who[PEOPLE];
static bool inherited;              /* the role, while the child stopped    */

/* ---- latest ------------------------------------------------------------ */

static int
latest_open(value *v, shmc_segment *s, int side)
{
    const shmc_latest_desc d = { .value_bytes = 8 * WORDS, .slot_count = 2,
                                 .waitable = 1 };
    return shmc_latest_open(&v->latest, s, "v", &d,
                            side == WRITER ? SHMC_PRODUCER : SHMC_CONSUMER);
}

static int latest_close(value *v) { return shmc_latest_close(&v->latest); }

static int
latest_put(value *v, uint64_t n)
{
    const uint64_t w[WORDS] = { n, n, n };

    return shmc_latest_write(&v->latest, w, sizeof w);
}

static bool
is_whole(const uint64_t *w, uint64_t n)
{
    return w[0] == n && w[1] == n && w[2] == n;
}

static int
latest_get(value *v, uint64_t *n)
{
    uint64_t w[WORDS];
    const int r = shmc_latest_read(&v->latest, w, sizeof w, n);

    return r != SHMC_OK || is_whole(w, *n) ? r : SHMC_ECORRUPT;
}

static int
latest_write(value *v)
{
    const int r = latest_put(v, BEFORE + 1);

    return r == SHMC_OK ? 1 : r;
}

static int
latest_loan(value *v)
{
    const uint64_t w[WORDS] = { BEFORE + 1, BEFORE + 1, BEFORE + 1 };
    void *slot;
    const int r = shmc_latest_loan(&v->latest, &slot);

    if (r == SHMC_OK) memcpy(slot, w, sizeof w);
    return r;
}

static int
latest_commit(value *v)
{
    int r = latest_loan(v);

    if (r == SHMC_OK) r = shmc_latest_commit(&v->latest);
    return r == SHMC_OK ? 1 : r;
}

static int
latest_abort(value *v)
{
    const int r = latest_loan(v);

    return r == SHMC_OK ? shmc_latest_abort(&v->latest) : r;
}

static int
latest_read(value *v)
{
    return shmc_latest_read(&v->latest, book->out, sizeof book->out,
                            &book->version);
}

static int
latest_borrow(value *v)
{
    const void *at;
    uint64_t version;
    int r = shmc_latest_borrow(&v->latest, &at, &version);

    if (r != SHMC_OK) return r;
    memcpy(book->out, at, sizeof book->out);
    r = shmc_latest_release(&v->latest, version);
    if (r == SHMC_OK) book->version = version;
    return r == SHMC_ELAPPED ? SHMC_OK : r;
}

/* It has read the last one, and nothing comes unless the test writes.     */
static int
latest_wait(value *v)
{
    int r;

    do r = shmc_latest_read_wait(&v->latest, book->out, sizeof book->out,
                                 &book->version, WAIT_NS);
    while (r == SHMC_ETIMEDOUT && book->go);
    return r == SHMC_ETIMEDOUT ? SHMC_OK : r;
}

/* ---- counter ----------------------------------------------------------- */

static int
counter_open(value *v, shmc_segment *s, int side)
{
    return shmc_counter_open(&v->counter, s, "v", side == WRITER);
}

static int counter_close(value *v) { return shmc_counter_close(&v->counter); }

static int
counter_put(value *v, uint64_t n)
{
    (void)n;
    return shmc_counter_add(&v->counter, 1);
}

static int
counter_get(value *v, uint64_t *n)
{
    *n = shmc_counter_get(&v->counter);
    return SHMC_OK;
}

static int
counter_add(value *v)
{
    const int r = shmc_counter_add(&v->counter, 1);

    return r == SHMC_OK ? 1 : r;
}

static int
counter_read(value *v)
{
    book->version = shmc_counter_get(&v->counter);
    book->out[0] = book->out[1] = book->out[2] = book->version;
    return SHMC_OK;
}

/* ---- the tables -------------------------------------------------------- */

static int
act_open(value *v)
{
    const int r = the->open(v, &who[CHILD].seg, op->side);

    if (r == SHMC_EBUSY) book->refused = 1;
    return r == SHMC_EBUSY ? SHMC_OK : r;
}

static int act_close(value *v) { return the->close(v); }

#define OPEN_AND_CLOSE                                                        \
    { "open to write", WRITER, 0, OPENS, act_open },                          \
    { "create to write", WRITER, 0, OPENS | CREATES, act_open },              \
    { "close, writing", WRITER, 0, CLOSES, act_close },                       \
    { "open to read", READER, 0, OPENS, act_open },                           \
    { "close, reading", READER, 0, CLOSES, act_close },                       \
    { NULL, 0, 0, 0, NULL }

static const operation latest_ops[] = {
    { "write", WRITER, 1, 0, latest_write },
    { "loan, commit", WRITER, 1, 0, latest_commit },
    { "loan, abort", WRITER, 0, 0, latest_abort },
    { "read", READER, 0, TAKES, latest_read },
    { "borrow, release", READER, 0, TAKES, latest_borrow },
    { "read_wait", READER, 0, TAKES, latest_wait },
    OPEN_AND_CLOSE
};
static const operation counter_ops[] = {
    { "add", WRITER, 1, 0, counter_add },
    { "get", READER, 0, TAKES, counter_read },
    OPEN_AND_CLOSE
};
static const noun latest_noun = { "latest", latest_open, latest_close, latest_put,
                                  latest_get, latest_ops };
static const noun counter_noun = { "counter", counter_open, counter_close,
                                   counter_put, counter_get, counter_ops };

/* ---- the world --------------------------------------------------------- */

static bool
join_as(person *p, int side)
{
    if (p->seg.base == NULL) CRASH_EQUAL(crash_attach(&p->seg), SHMC_OK);
    const int r = the->open(&p->v[side], &p->seg, side);
    p->open[side] = r == SHMC_OK;
    if (r != SHMC_OK) CRASH_EQUAL(r, SHMC_EBUSY);
    return r == SHMC_OK;
}

static void
put_by(person *p, uint64_t n)
{
    CRASH_EQUAL(the->put(&p->v[WRITER], n), SHMC_OK);
    crash_tried(1);
}

/* Everybody reads at once, and the same.                                  */
static uint64_t
all_read(void)
{
    uint64_t version = 0, first = 0;

    for (int i = 0; i < PEOPLE; i++) {
        if (!who[i].open[READER]) continue;
        CRASH_EQUAL(the->get(&who[i].v[READER], &version), SHMC_OK);
        if (first == 0) first = version;
        CRASH_EQUAL(version, first);
    }
    return first;
}

static void
before(void)
{
    if (book == NULL) book = test_shared(sizeof *book);
    memset(book, 0, sizeof *book);
    crash_world(&who[OLD].seg, 16384);
    if (op->flags & CREATES) return;
    const bool writes = op->side == READER || op->flags & OPENS;
    if (writes) {
        CRASH_CHECK(join_as(&who[OLD], WRITER));
        for (uint64_t n = 1; n <= BEFORE; n++) put_by(&who[OLD], n);
    }
    if (op->side == WRITER && writes) {
        CRASH_EQUAL(the->close(&who[OLD].v[WRITER]), SHMC_OK);
        who[OLD].open[WRITER] = false;
    }
    CRASH_CHECK(join_as(&who[OLD], READER));
    if (survivors == 3) CRASH_CHECK(join_as(&who[THIRD], READER));
}

static void
enter(void)
{
    value *v = &who[CHILD].v[op->side];
    uint64_t n = 0;

    crash_join(&who[CHILD].seg);
    if (op->flags & OPENS) return;
    TEST_REQUIRE(the->open(v, &who[CHILD].seg, op->side) == SHMC_OK);
    if (op->side == READER) TEST_REQUIRE(the->get(v, &n) == SHMC_OK);
    for (; op->side == WRITER && n < BEFORE; n++)
        TEST_REQUIRE(the->put(v, n + 1) == SHMC_OK);
}

/* The next write goes through a wake-up, too.                             */
static void
ready(void)
{
    if (the == &latest_noun && !(op->flags & CREATES))
        who[OLD].v[READER].latest.shm->readable.asleep = 1;
}

static void
act(void)
{
    const int r = op->act(&who[CHILD].v[op->side]);

    crash_acknowledge(r, &book->acked, &book->returned);
}

static void
after(void)
{
    for (int i = 0; i < PEOPLE; i++) {
        for (int k = 0; k < 2; k++)
            if (who[i].open[k]) (void)the->close(&who[i].v[k]);
        who[i].open[0] = who[i].open[1] = false;
        if (i != OLD && who[i].seg.base != NULL)
            (void)shmc_segment_close(&who[i].seg);
    }
    crash_leave(&who[OLD].seg);
}

/* ---- what must hold ---------------------------------------------------- */

static void
newcomers(void)
{
    if (survivors >= 2 || op->flags & CREATES)
        CRASH_CHECK(join_as(&who[NEW], READER));
}

/* Whoever may write does, and everybody reads it, each time at once.      */
static void
all_go_on(void)
{
    uint64_t n = op->flags & CREATES ? 0 : all_read();
    person *writer = who[HEIR].open[WRITER] ? &who[HEIR] : &who[OLD];

    for (int i = 0; i < 5; i++) {
        put_by(writer, ++n);
        CRASH_EQUAL(all_read(), n);
    }
}

static void
killed_check(void)
{
    newcomers();
    if (op->side == WRITER) CRASH_CHECK(join_as(&who[HEIR], WRITER));
    if (!(op->flags & CREATES)) {
        const uint64_t n = all_read();
        CRASH_CHECK(n >= BEFORE + book->acked && n <= BEFORE + op->puts);
    }
    put_by(op->side == WRITER ? &who[HEIR] : &who[OLD],
           op->flags & CREATES ? 1 : all_read() + 1);
    (void)all_read();
    crash_recovered();
    if (op->flags & CREATES) CRASH_EQUAL(all_read(), 1);
    else if (op->flags & TAKES && book->returned && book->version != 0)
        CRASH_CHECK(is_whole(book->out, book->version));
    if (!(op->flags & CREATES)) all_go_on();
}

/* Others read what there is.  Nobody else may write, but if it opens, or
 * has closed.  If it reads, the writer laps it.                           */
static void
others_meanwhile(void)
{
    newcomers();
    if (op->side == WRITER) {
        inherited = join_as(&who[HEIR], WRITER);
        CRASH_CHECK(!inherited || op->flags & (OPENS | CLOSES));
        const uint64_t n = all_read();
        CRASH_CHECK(n >= BEFORE && n <= BEFORE + op->puts);
        CRASH_EQUAL(all_read(), n);
    } else {
        all_go_on();
    }
    book->go = 1;
}

static void
stopped_check(void)
{
    CRASH_EQUAL(book->returned, 1);
    if (op->side == WRITER && op->flags & OPENS)
        CRASH_EQUAL(book->refused, inherited);
    if (op->side == WRITER) CRASH_EQUAL(all_read(), BEFORE + op->puts);
    if (op->flags & TAKES && book->version != 0) {
        CRASH_CHECK(is_whole(book->out, book->version));
        CRASH_CHECK(book->version >= BEFORE && book->version <= all_read());
    }
    if (op->side == WRITER && !who[HEIR].open[WRITER])
        CRASH_CHECK(join_as(&who[HEIR], WRITER));
    all_go_on();
}

/* ---- sweeping ---------------------------------------------------------- */

static const crash_case killed_case = {
    before, enter, ready, act, NULL, killed_check, after
};
static const crash_case stopped_case = {
    before, enter, ready, act, others_meanwhile, stopped_check, after
};

static void
sweep_all(const noun *n, const crash_case *c)
{
    the = n;
    for (op = n->ops; op->name != NULL; op++) {
        if (c->frozen != NULL && op->flags & CREATES) continue;
        for (survivors = 1; survivors <= 3; survivors++) {
            if (op->flags & CREATES && survivors != 1) continue;
            crash_sweep_row(n->name, op->name, survivors, c, SWEEP_NS);
        }
    }
}

static void
latest_goes_on_after_a_death_in_any_operation(void **state)
{
    (void)state;
    sweep_all(&latest_noun, &killed_case);
}

static void
latest_is_whole_after_a_stop_in_any_operation(void **state)
{
    (void)state;
    sweep_all(&latest_noun, &stopped_case);
}

static void
counter_goes_on_after_a_death_in_any_operation(void **state)
{
    (void)state;
    sweep_all(&counter_noun, &killed_case);
}

static void
counter_is_whole_after_a_stop_in_any_operation(void **state)
{
    (void)state;
    sweep_all(&counter_noun, &stopped_case);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CRASH_TEST(latest_goes_on_after_a_death_in_any_operation),
        CRASH_TEST(latest_is_whole_after_a_stop_in_any_operation),
        CRASH_TEST(counter_goes_on_after_a_death_in_any_operation),
        CRASH_TEST(counter_is_whole_after_a_stop_in_any_operation),
    };
    (void)argc;
    crash_bind_now(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
