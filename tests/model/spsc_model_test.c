/* The queue of fixed slots: whatever the order of steps and however old what
 * is read, messages arrive whole, once and in order; neither side needs the
 * other to go on; a successor goes on where the dead one was.             */
#include "model/model_case.h"
#include "shmcomm_ring.h"
#include "model/model_owner.h"

enum { MESSAGES = 3, TRIES = 3 };

typedef struct spsc_state {
    shmc_spsc producer, consumer, successor;
    shmc_segment segment[3];
    void    *mem;
    uint64_t got[8];
    uint32_t count, pushed;
    bool     took_over;
} spsc_state;

static spsc_state s;

/* ---- setup: slots, flags, where the indices start ----------------------- */

static void
begin(uint32_t slots, uint32_t slot_bytes, bool waitable, uint64_t start)
{
    const shmc_spsc_desc d = { .slot_count = slots, .slot_bytes = slot_bytes,
                               .waitable = waitable };
    const int64_t bytes = shmc_spsc_size_for(&d);

    s.mem = model_alloc((size_t)bytes);
    model_require(shmc_spsc_format(s.mem, (uint64_t)bytes, &d) == SHMC_OK);
    shmi_lane_shm *shm = (shmi_lane_shm *)s.mem;
    shm->tail.index = shm->head.index = start;
    model_name(&shm->tail.index, "tail");
    model_name(&shm->head.index, "head");
    model_name(&shm->tail.owner, "producer");
    model_name(&shm->head.owner, "consumer");
    model_name(&shm->readable.asleep, "readable.asleep");
    model_name(&shm->writable.asleep, "writable.asleep");
    for (int i = 0; i < 3; i++) model_owner(&s.segment[i], (uint32_t)i, 3);
    model_require(shmi_spsc_bind(&s.producer, &s.segment[0], s.mem,
                                 (uint64_t)bytes, SHMC_PRODUCER) == SHMC_OK);
    model_require(shmi_spsc_bind(&s.consumer, &s.segment[1], s.mem,
                                 (uint64_t)bytes, SHMC_CONSUMER) == SHMC_OK);
}

static void one_slot(void *state) { (void)state; begin(1, 8, false, 0); }
static void two_slots(void *state) { (void)state; begin(2, 8, false, 0); }
static void four_slots(void *state) { (void)state; begin(4, 8, false, 0); }
static void wide_slots(void *state) { (void)state; begin(2, 16, false, 0); }
static void one_waitable(void *state) { (void)state; begin(1, 8, true, 0); }
static void
wraps(void *state)
{
    (void)state;
    begin(2, 8, false, UINT64_MAX - 1);
}

/* ---- threads ------------------------------------------------------------ */

static void
push_from(shmc_spsc *q, uint64_t first, uint32_t tries)
{
    uint64_t v = first;

    for (uint32_t i = 0; i < tries && v < MESSAGES; i++) {
        const uint64_t msg = 100 + v;
        const int r = shmc_spsc_push(q, &msg, 8);
        model_require(r == SHMC_OK || r == SHMC_EAGAIN);
        if (r == SHMC_OK) s.pushed = (uint32_t)++v;
    }
}

static void
pop_into(shmc_spsc *q, uint32_t tries)
{
    for (uint32_t i = 0; i < tries; i++) {
        uint64_t msg = 0;
        const int r = shmc_spsc_pop(q, &msg, 8);
        model_require(r == SHMC_OK || r == SHMC_EAGAIN);
        if (r == SHMC_OK) s.got[s.count++] = msg;
    }
}

static void producer(void *state) { (void)state; push_from(&s.producer, 0, TRIES + 1); }
static void consumer(void *state) { (void)state; pop_into(&s.consumer, TRIES + 1); }

static void
producer_n(void *state)
{
    const uint64_t msgs[MESSAGES] = { 100, 101, 102 };

    (void)state;
    for (int i = 0; i < TRIES && s.pushed < MESSAGES; i++) {
        const int n = shmc_spsc_push_n(&s.producer, msgs + s.pushed, 8,
                                       MESSAGES - s.pushed);
        model_require(n > 0 || n == SHMC_EAGAIN);
        if (n > 0) s.pushed += (uint32_t)n;
    }
}

static void
consumer_n(void *state)
{
    (void)state;
    for (int i = 0; i < TRIES; i++) {
        const int n = shmc_spsc_pop_n(&s.consumer, s.got + s.count, 8, 2);
        model_require(n > 0 || n == SHMC_EAGAIN);
        if (n > 0) s.count += (uint32_t)n;
    }
}

/* Every other loan is given back first.                                   */
static void
producer_loans(void *state)
{
    void *slots;

    (void)state;
    for (int i = 0; i < TRIES + 1 && s.pushed < MESSAGES; i++) {
        const int n = shmc_spsc_loan(&s.producer, &slots, 2);
        model_require(n > 0 || n == SHMC_EAGAIN);
        if (n <= 0) continue;
        model_write_64(slots, i == 0 ? 999 : 100 + s.pushed);
        if (i == 0) {
            model_require(shmc_spsc_abort(&s.producer) == SHMC_OK);
        } else {
            model_require(shmc_spsc_commit(&s.producer, 1) == SHMC_OK);
            s.pushed++;
        }
    }
}

static void
consumer_borrows(void *state)
{
    const void *slots;

    (void)state;
    for (int i = 0; i < TRIES; i++) {
        const int n = shmc_spsc_borrow(&s.consumer, &slots, 2);
        model_require(n > 0 || n == SHMC_EAGAIN);
        if (n <= 0) continue;
        for (int k = 0; k < n; k++)
            s.got[s.count++] = model_read_64((const uint8_t *)slots + 8 * k);
        model_require(shmc_spsc_release(&s.consumer, (uint32_t)n) == SHMC_OK);
    }
}

/* Both words of a message come from one push.                             */
static void
producer_wide(void *state)
{
    (void)state;
    for (uint64_t v = 0; v < MESSAGES; v++) {
        const uint64_t msg[2] = { 100 + v, 100 + v };
        if (shmc_spsc_push(&s.producer, msg, 16) == SHMC_OK) s.pushed++;
        else break;
    }
}

static void
consumer_wide(void *state)
{
    (void)state;
    for (int i = 0; i < TRIES; i++) {
        uint64_t msg[2] = { 0, 0 };
        if (shmc_spsc_pop(&s.consumer, msg, 16) != SHMC_OK) continue;
        model_require(msg[0] == msg[1]);
        s.got[s.count++] = msg[0];
    }
}

static void
producer_waits(void *state)
{
    (void)state;
    for (uint64_t v = 0; v < 2; v++) {
        const uint64_t msg = 100 + v;
        model_require(shmc_spsc_push_wait(&s.producer, &msg, 8, -1) == SHMC_OK);
        s.pushed++;
    }
}

static void
consumer_waits(void *state)
{
    (void)state;
    for (uint64_t v = 0; v < 2; v++)
        model_require(shmc_spsc_pop_wait(&s.consumer, &s.got[s.count++], 8,
                                         -1) == SHMC_OK);
}

/* ---- successors --------------------------------------------------------- */

static void
take_over(uint32_t role)
{
    const shmc_spsc_desc d = { .slot_count = 2, .slot_bytes = 8 };

    model_require(shmi_spsc_bind(&s.successor, &s.segment[2], s.mem,
                                 (uint64_t)shmc_spsc_size_for(&d),
                                 role) == SHMC_OK);
    s.took_over = true;
}

/* The tail tells what came through of the dead one's messages.            */
static void
next_producer(void *state)
{
    (void)state;
    if (!model_await_end(0)) return;
    take_over(SHMC_PRODUCER);
    push_from(&s.successor, s.successor.lane.mine, TRIES);
}

static void
next_consumer(void *state)
{
    (void)state;
    if (!model_await_end(1)) return;
    take_over(SHMC_CONSUMER);
    /* What the dead one popped but had not given back is seen again.       */
    s.count = (uint32_t)s.successor.lane.mine;
    pop_into(&s.successor, TRIES);
}

/* A role of a live holder is refused; whoever asks the model is told so.  */
static void
refused_while_alive(void *state)
{
    const uint64_t owner = shmi_owner_self(&s.segment[0]);
    bool alive = true;

    (void)state;
    for (int i = 0; i < 2 && alive; i++)
        alive = shmi_owner_alive(&s.segment[2], owner);
    if (!alive) {
        take_over(SHMC_PRODUCER);
        push_from(&s.successor, s.successor.lane.mine, TRIES);
    }
}

/* ---- checks ------------------------------------------------------------- */

static void
in_order(void *state)
{
    (void)state;
    for (uint32_t i = 0; i < s.count; i++)
        model_require(s.got[i] == 100 + i);
}

/* What was pushed and not popped is still there.                          */
static void
nothing_lost(void *state)
{
    const shmi_lane_shm *shm = (const shmi_lane_shm *)s.mem;

    in_order(state);
    if (model_ended(0) && model_ended(1))
        model_require(shmi_load_rlx_64(&shm->tail.index) -
                      shmi_load_rlx_64(&shm->head.index) ==
                      s.pushed - s.count);
}

static void
all_arrived(void *state)
{
    in_order(state);
    model_require(s.count == s.pushed && s.count == 2);
}

/* The producer does not need the consumer, up to the queue's size; nor the
 * consumer the producer, for what was published.                          */
static void
goes_on(void *state)
{
    nothing_lost(state);
    if (!model_ended(1)) model_require(s.pushed >= 2);
    if (!model_ended(0)) model_require(s.count <= 3);
}

static void
handed_over(void *state)
{
    in_order(state);
    if (s.took_over) model_require(s.pushed >= 2 || s.count > 0);
}

#define CASE(n, set, p, c, look)                                              \
    .name = n, .state = &s, .state_bytes = sizeof s, .setup = set,            \
    .thread = { p, c }, .check = look

static const model_case cases[] = {
    { CASE("spsc_1", one_slot, producer, consumer, nothing_lost) },
    { CASE("spsc_2", two_slots, producer, consumer, nothing_lost) },
    { CASE("spsc_4", four_slots, producer, consumer, nothing_lost) },
    { CASE("spsc_index_wraps", wraps, producer, consumer, nothing_lost) },
    { CASE("spsc_wide", wide_slots, producer_wide, consumer_wide,
           nothing_lost) },
    { CASE("spsc_n_1", one_slot, producer_n, consumer_n, nothing_lost) },
    { CASE("spsc_n_2", two_slots, producer_n, consumer_n, nothing_lost) },
    { CASE("spsc_n_4", four_slots, producer_n, consumer_n, nothing_lost) },
    { CASE("spsc_n_wraps", wraps, producer_n, consumer_n, nothing_lost) },
    { CASE("spsc_loan_1", one_slot, producer_loans, consumer_borrows,
           nothing_lost) },
    { CASE("spsc_loan_2", two_slots, producer_loans, consumer_borrows,
           nothing_lost) },
    { CASE("spsc_loan_4", four_slots, producer_loans, consumer_borrows,
           nothing_lost) },
    { CASE("spsc_loan_wraps", wraps, producer_loans, consumer_borrows,
           nothing_lost) },
    { CASE("spsc_push_borrow", two_slots, producer, consumer_borrows,
           nothing_lost) },
    { CASE("spsc_loan_pop_n", two_slots, producer_loans, consumer_n,
           nothing_lost) },
    { CASE("spsc_wait", one_waitable, producer_waits, consumer_waits,
           all_arrived) },
    { CASE("spsc_producer_stops", two_slots, producer, consumer, goes_on),
      .stop = MODEL_FREEZE, .victim = 0 },
    { CASE("spsc_consumer_stops", two_slots, producer, consumer, goes_on),
      .stop = MODEL_FREEZE, .victim = 1 },
    { CASE("spsc_loaner_stops", two_slots, producer_loans, consumer_borrows,
           in_order), .stop = MODEL_FREEZE, .victim = 0 },
    { CASE("spsc_borrower_stops", two_slots, producer_loans,
           consumer_borrows, in_order), .stop = MODEL_FREEZE, .victim = 1 },
    { CASE("spsc_next_producer", two_slots, producer, consumer,
           handed_over), .thread[2] = next_producer,
      .stop = MODEL_KILL, .victim = 0 },
    { CASE("spsc_next_consumer", two_slots, producer, consumer,
           in_order), .thread[2] = next_consumer,
      .stop = MODEL_KILL, .victim = 1 },
    { CASE("spsc_asked_if_alive", two_slots, producer, consumer,
           in_order), .thread[2] = refused_while_alive,
      .stop = MODEL_KILL, .victim = 0 },
};

int
main(int argc, char **argv)
{
    return MODEL_MAIN(argc, argv, cases);
}
