/* The latest value: whatever the order of steps and however old what is
 * read, a reader gets whole values and never an older one than before; a
 * writer that stops anywhere leaves the value before, and a successor goes on
 * with the next version.                                                  */
#include "model/model_case.h"
#define SHMC_LATEST_TRIES 2u
#include "shmcomm_latest.h"
#include "model/model_owner.h"

enum { HANDLES = 3, VALUES = 8, WORDS = 2, BYTES = 8 * WORDS };

typedef struct latest_state {
    shmc_latest cell[HANDLES];
    shmc_segment segment[HANDLES];
    void    *mem;
    uint64_t bytes, start;
    uint32_t writes, reads;         /* of each thread                       */
    uint32_t written[VALUES];       /* times acknowledged, by version       */
    uint64_t last[HANDLES];         /* version returned last                */
    bool     told;                  /* that the writer died                 */
} latest_state;

static latest_state s;

/* ---- setup ------------------------------------------------------------- */

static void
bind(uint32_t i, uint32_t role)
{
    model_owner(&s.segment[i], i, HANDLES);
    model_require(shmi_latest_bind(&s.cell[i], &s.segment[i], s.mem, s.bytes,
                                   role) == SHMC_OK);
}

/* Version v of writer i, in each of its words.                            */
static uint64_t
word(uint64_t v, uint32_t i)
{
    return (v - s.start) * 16 + i + 1;
}

static void
begin(uint32_t slots, bool waitable, uint64_t start, uint32_t flags)
{
    const shmc_latest_desc d = { .value_bytes = BYTES, .slot_count = slots,
                                 .waitable = waitable };
    const int64_t bytes = shmc_latest_size_for(&d);

    model_require(bytes > 0);
    s.bytes = (uint64_t)bytes;
    s.mem = model_alloc(s.bytes);
    model_require(shmc_latest_format(s.mem, s.bytes, &d) == SHMC_OK);
    shmc_latest_shm *shm = (shmc_latest_shm *)s.mem;
    shm->ring.flags |= flags;
    shm->writer.index = s.start = start;
    bind(0, SHMC_PRODUCER);
    for (uint32_t i = 1; i < HANDLES; i++) bind(i, SHMC_CONSUMER);
    model_name(&shm->writer.index, "index");
    model_name(&shm->writer.owner, "writer");
    model_name(&shm->readable.asleep, "readable.asleep");
    for (uint64_t v = start; v - start < slots; v++)
        model_name(shmi_latest_stamp(&s.cell[0], v), "stamp");
    if (start != 0) {               /* as if written by writer 0            */
        const uint64_t first[WORDS] = { 1, 1 };
        s.cell[0].last = start - 1;
        model_require(shmc_latest_write(&s.cell[0], first, BYTES) == SHMC_OK);
    }
    s.writes = s.reads = 3;
}

static void two_slots(void *state) { (void)state; begin(2, false, 0, 0); }
static void four_slots(void *state) { (void)state; begin(4, false, 0, 0); }

static void
waitable(uint32_t flags)
{
    begin(2, true, 0, flags);
    s.writes = 2;
}

static void wakes(void *state) { (void)state; waitable(0); }
static void
wakes_asymmetric(void *state)
{
    (void)state;
    waitable(SHMI_RING_ASYMMETRIC);
}

static void
beyond_32_bits(void *state)
{
    (void)state;
    begin(2, false, UINT32_MAX, 0);
}

static void
few(void *state)
{
    two_slots(state);
    s.reads = 2;
}

/* ---- writers ------------------------------------------------------------ */

static void
acknowledge(const shmc_latest *c)
{
    const uint64_t n = c->last - s.start;

    model_require(n < VALUES && s.written[n] == 0);
    s.written[n]++;
}

static void
write_some(uint32_t i, uint32_t count)
{
    shmc_latest *c = &s.cell[i];

    for (uint32_t k = 0; k < count; k++) {
        const uint64_t w = word(c->last + 1, i), value[WORDS] = { w, w };
        model_require(shmc_latest_write(c, value, BYTES) == SHMC_OK);
        acknowledge(c);
    }
}

/* The first loan is given back.  Readers may look at any time.            */
static void
loan_some(uint32_t i, uint32_t count)
{
    shmc_latest *c = &s.cell[i];

    for (uint32_t k = 0; k < count; k++) {
        const uint64_t w = k == 0 ? 9999 : word(c->last + 1, i);
        void *slot;
        model_require(shmc_latest_loan(c, &slot) == SHMC_OK);
        for (int j = 0; j < WORDS; j++)
            shmi_store_rlx_64((uint64_t *)slot + j, w);
        if (k == 0) {
            model_require(shmc_latest_abort(c) == SHMC_OK);
        } else {
            model_require(shmc_latest_commit(c) == SHMC_OK);
            acknowledge(c);
        }
    }
}

static void write_0(void *state) { (void)state; write_some(0, s.writes); }
static void loan_0(void *state) { (void)state; loan_some(0, s.writes + 1); }

static void
write_and_close_0(void *state)
{
    (void)state;
    write_some(0, s.writes);
    model_require(shmc_latest_close(&s.cell[0]) == SHMC_OK);
}

static void
write_next_2(void *state)
{
    (void)state;
    if (!model_await_end(0)) return;
    bind(2, SHMC_PRODUCER);
    write_some(2, 2);
}

/* Become the writer once there is none.                                   */
static void
write_when_free_2(void *state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        if (shmi_latest_bind(&s.cell[2], &s.segment[2], s.mem, s.bytes,
                             SHMC_PRODUCER) != SHMC_OK) continue;
        write_some(2, 1);
        return;
    }
}

/* ---- readers ------------------------------------------------------------ */

static void
took(uint32_t i, uint64_t version, const uint64_t *value)
{
    model_require(version >= s.last[i] && version > 0);
    model_require(version - s.start < VALUES);
    model_require(value[0] == value[1]);
    model_require(value[0] == word(version, 0) || value[0] == word(version, 2));
    s.last[i] = version;
}

static void
read_some(uint32_t i)
{
    for (uint32_t k = 0; k < s.reads; k++) {
        uint64_t value[WORDS], version = 0;
        const int r = shmc_latest_read(&s.cell[i], value, BYTES, &version);
        model_require(r == SHMC_OK || r == SHMC_EAGAIN);
        if (r == SHMC_OK) took(i, version, value);
    }
}

static void
borrow_some(uint32_t i)
{
    for (uint32_t k = 0; k < s.reads; k++) {
        uint64_t value[WORDS], version = 0;
        const void *slot;
        int r = shmc_latest_borrow(&s.cell[i], &slot, &version);
        model_require(r == SHMC_OK || r == SHMC_EAGAIN);
        if (r != SHMC_OK) continue;
        for (int j = 0; j < WORDS; j++)
            value[j] = shmi_load_rlx_64((const uint64_t *)slot + j);
        r = shmc_latest_release(&s.cell[i], version);
        model_require(r == SHMC_OK || r == SHMC_ELAPPED);
        if (r == SHMC_OK) took(i, version, value);
    }
}

/* Until the last value comes, or the writer's death is told.              */
static void
wait_some(uint32_t i, int64_t timeout_ns)
{
    uint64_t value[WORDS], version = 0;

    while (version - s.start < s.writes) {
        const int r = shmc_latest_read_wait(&s.cell[i], value, BYTES,
                                            &version, timeout_ns);
        if (r == SHMC_EPEERDEAD) {
            s.told = true;
            return;
        }
        model_require(r == SHMC_OK);
        model_require(version > s.last[i]);
        took(i, version, value);
    }
}

static void read_1(void *state) { (void)state; read_some(1); }
static void borrow_1(void *state) { (void)state; borrow_some(1); }
static void borrow_2(void *state) { (void)state; borrow_some(2); }
static void wait_1(void *state) { (void)state; wait_some(1, -1); }
static void wait_2(void *state) { (void)state; wait_some(2, -1); }

/* Whoever saw a value hands on how new it was: a later read of another is
 * not older.                                                              */
static void
read_after_1_2(void *state)
{
    (void)state;
    if (model_await_end(1)) return;
    s.last[2] = s.last[1];
    read_some(2);
    model_require(s.last[1] == 0 || s.last[2] > 0);
}

/* ---- checks ------------------------------------------------------------- */

/* The newest value is there for who comes now, unless it was being written
 * when its writer stopped; then the one before is.                        */
static void
newest_is_there(void *state)
{
    uint64_t value[WORDS], version = 0, newest = s.start;

    (void)state;
    for (uint32_t n = 1; n < VALUES; n++)
        if (s.written[n] != 0) newest = s.start + n;
    bind(2, SHMC_OBSERVER);
    s.last[2] = 0;
    const int r = shmc_latest_read(&s.cell[2], value, BYTES, &version);
    if (newest == 0 && r == SHMC_EAGAIN) return;
    model_require(r == SHMC_OK);
    took(2, version, value);
    model_require(version == newest ||
                  (version == newest + 1 && !model_ended(0)));
    if (version != s.start)
        model_require(value[0] == word(version, 0) || model_ended(2));
}

static void
all_came(void *state)
{
    newest_is_there(state);
    if (model_ended(0)) model_require(s.last[1] == s.start + s.writes);
    else model_require(s.told || s.last[1] == s.start + s.writes);
}


static const model_case cases[] = {
    { CASE("latest_2", two_slots, write_0, read_1, NULL, newest_is_there) },
    { CASE("latest_4", four_slots, write_0, read_1, NULL, newest_is_there) },
    { CASE("latest_beyond_32_bits", beyond_32_bits, write_0, read_1, NULL,
           newest_is_there) },
    { CASE("latest_loan", two_slots, loan_0, read_1, NULL, newest_is_there) },
    { CASE("latest_borrow", two_slots, write_0, borrow_1, NULL,
           newest_is_there) },
    { CASE("latest_loan_borrow", two_slots, loan_0, borrow_1, NULL,
           newest_is_there) },
    { CASE("latest_two_readers", few, write_0, read_1, borrow_2,
           newest_is_there), .executions = 20000 },
    { CASE("latest_told_by_another", few, write_0, read_1, read_after_1_2,
           newest_is_there) },
    { CASE("latest_wait", wakes, write_0, wait_1, NULL, all_came) },
    { CASE("latest_wait_two", wakes, write_0, wait_1, wait_2, all_came),
      .executions = 20000 },
    { CASE("latest_wait_asymmetric", wakes_asymmetric, write_0, wait_1, NULL,
           all_came) },
    { CASE("latest_wait_writer_dies", wakes, write_0, wait_1, NULL,
           all_came), DIES(0), .timeouts = true },
    { CASE("latest_writer_stops", two_slots, write_0, read_1, NULL,
           newest_is_there), FREEZES(0) },
    { CASE("latest_reader_stops", two_slots, write_0, read_1, NULL,
           newest_is_there), FREEZES(1) },
    { CASE("latest_writer_replaced", few, write_0, read_1, write_next_2,
           newest_is_there), DIES(0), .executions = 2000 },
    { CASE("latest_loaner_replaced", few, loan_0, borrow_1, write_next_2,
           newest_is_there), DIES(0), .executions = 2000 },
    { CASE("latest_writer_hands_over", few, write_and_close_0, read_1,
           write_when_free_2, newest_is_there), .executions = 20000 },
};

int
main(int argc, char **argv)
{
    return MODEL_MAIN(argc, argv, cases);
}
