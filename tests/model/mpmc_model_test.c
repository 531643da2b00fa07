/* The queue of many producers and consumers: whatever the order of steps and
 * however old what is read, no message is lost, torn, or delivered twice;
 * what a dead participant was in the middle of is finished or undone by
 * others, and what a stopped one is in the middle of stays its own.       */
#include "model/model_case.h"
#include "shmcomm_mpmc.h"
#include "model/model_owner.h"

enum {
    HANDLES = 3, PER_THREAD = 4, FIRST = 100, /* message of handle 0 */
    DRAINER = HANDLES,              /* the one that looks afterwards        */
    GHOST, OTHER_GHOST, SEATS       /* dead from the beginning              */
};

typedef struct mpmc_state {
    shmc_mpmc q[SEATS];
    shmc_segment segment[SEATS];
    void    *mem;
    uint64_t bytes;
    uint32_t messages, tries;       /* of each thread                       */
    bool     look;                  /* inspect at each obstacle, at once    */
    uint32_t next[HANDLES];         /* number of its next message           */
    uint32_t acked;                 /* bits: push said SHMC_OK              */
    uint32_t got[HANDLES * PER_THREAD];         /* times delivered          */
    uint64_t last[HANDLES];         /* by producer, at one consumer         */
    uint32_t popping[HANDLES];      /* at most so many in this call         */
} mpmc_state;

static mpmc_state s;

/* ---- setup ------------------------------------------------------------- */

static void
format(shmc_mpmc_desc d, uint64_t start, uint32_t flags)
{
    d.max_handles = SEATS;
    const int64_t bytes = shmc_mpmc_size_for(&d);

    model_require(bytes > 0);
    s.bytes = (uint64_t)bytes;
    s.mem = model_alloc(s.bytes);
    model_require(shmc_mpmc_format(s.mem, s.bytes, &d) == SHMC_OK);
    shmc_mpmc_shm *shm = (shmc_mpmc_shm *)s.mem;
    shm->ring.flags |= flags;
    shm->head = shm->tail = start;
    model_name(&shm->head, "head");
    model_name(&shm->tail, "tail");
    model_name(&shm->readable.asleep, "readable.asleep");
    model_name(&shm->writable.asleep, "writable.asleep");
    shmc_mpmc q;
    model_require(shmc_mpmc_map(&q, s.mem, s.bytes, SHMC_OBSERVER) == SHMC_OK);
    for (uint64_t p = start; p - start < d.slot_count; p++) {
        uint64_t *cell = shmi_mpmc_at(&q, p);
        *cell = shmi_mpmc_word(p, SHMI_MPMC_FREE);
        model_name(cell, "cell");
    }
    s.messages = 2;
    s.tries = 2;
}

/* Sit down as participant `i` of a segment, so that its death can be told. */
static void
sit(uint32_t i, uint32_t role)
{
    shmc_mpmc *q = &s.q[i];
    shmc_mpmc_desc is;

    memset(q, 0, sizeof *q);
    model_owner(&s.segment[i], i, SEATS);
    model_require(shmi_mpmc_point(q, s.mem, s.bytes, &is) == SHMC_OK);
    q->segment = &s.segment[i];
    model_require(shmi_mpmc_sit(q, role) == SHMC_OK);
    q->patrol_pos += SHMI_MPMC_PATROL;
    q->look = s.look;
    model_name(&q->seat->intent, "pushes");
    model_name(&q->seat->word[0], "pops");
}

static void
sit_all(void)
{
    for (uint32_t i = 0; i < HANDLES; i++)
        sit(i, SHMC_PRODUCER | SHMC_CONSUMER);
}

static void
slots(uint32_t count, uint64_t start)
{
    const shmc_mpmc_desc d = { .slot_count = count };

    format(d, start, 0);
    sit_all();
}

static void one_slot(void *state) { (void)state; slots(1, 0); }
static void two_slots(void *state) { (void)state; slots(2, 0); }
static void four_slots(void *state) { (void)state; slots(4, 0); }

static void
few(void *state)
{
    two_slots(state);
    s.messages = s.tries = 1;
}

static void
few_in_one(void *state)
{
    one_slot(state);
    s.messages = s.tries = 1;
}

static void
words_wrap(void *state)
{
    (void)state;
    slots(2, (UINT64_C(1) << 48) - 1);
}

static void
indices_wrap(void *state)
{
    (void)state;
    slots(1, UINT64_MAX);
}

static void
wide(void *state)
{
    const shmc_mpmc_desc d = { .slot_count = 2, .slot_bytes = 16 };

    (void)state;
    format(d, 0, 0);
    sit_all();
    s.messages = s.tries = 1;
}

static void
waitable(uint32_t flags)
{
    const shmc_mpmc_desc d = { .slot_count = 1, .waitable = 1 };

    format(d, 0, flags);
    /* Without a segment: nobody asks who is alive.                        */
    for (uint32_t i = 0; i < HANDLES; i++)
        model_require(!shmc_mpmc_map(&s.q[i], s.mem, s.bytes,
                                     SHMC_PRODUCER | SHMC_CONSUMER));
}

static void wakes(void *state) { (void)state; waitable(0); }
static void
wakes_asymmetric(void *state)
{
    (void)state;
    waitable(SHMI_RING_ASYMMETRIC);
}

/* For deaths: everybody inspects an obstacle at the first try.  `full` of
 * the messages of handle 0 are there from the beginning.                  */
static void
mortal(uint32_t count, uint32_t full, uint32_t on_death)
{
    const shmc_mpmc_desc d = { .slot_count = count,
                               .on_consumer_death = on_death };

    format(d, 0, 0);
    s.look = true;
    sit_all();
    for (uint32_t i = 0; i < full; i++) {
        const uint64_t msg = FIRST + i;
        model_require(shmc_mpmc_push(&s.q[0], &msg, 8) == SHMC_OK);
        s.acked |= 1u << i;
    }
    s.next[0] = full;
    s.messages = s.tries = 1;
}

static void mortal_1(void *state) { (void)state; mortal(1, 0, SHMC_REDELIVER); }
static void mortal_2(void *state) { (void)state; mortal(2, 0, SHMC_REDELIVER); }
static void full_1(void *state) { (void)state; mortal(1, 1, SHMC_REDELIVER); }
static void half_2(void *state) { (void)state; mortal(2, 1, SHMC_REDELIVER); }
static void full_2(void *state) { (void)state; mortal(2, 2, SHMC_REDELIVER); }
static void drops_1(void *state) { (void)state; mortal(1, 1, SHMC_DROP); }

/* As mortal, with everybody alive: whoever inspects must find nothing to do
 * for others, however old what he sees.                                   */
static void
inspected_4(void *state)
{
    (void)state;
    mortal(4, 0, SHMC_REDELIVER);
    s.messages = 2;
    s.tries = 3;
}

static void
inspected_full_1(void *state)
{
    full_1(state);
    s.tries = 2;
}

static void
lapped(void *state)
{
    one_slot(state);
    s.messages = s.tries = 1;
}

/* A ghost that was about to pop the first `lost` of two messages when it
 * died, and another that had claimed `held` of them.  Who pops next looks
 * for their messages first.                                               */
static void
haunted(uint32_t held, uint32_t lost)
{
    uint64_t pos;

    mortal(4, 2, SHMC_REDELIVER);
    for (uint32_t i = GHOST; i <= OTHER_GHOST; i++) {
        sit(i, SHMC_CONSUMER);
        model_dead(i);
    }
    if (held != 0)
        model_require(shmi_mpmc_claim_head(&s.q[GHOST], 16, held, &pos) ==
                      (int)held);
    shmi_mpmc_intend(&s.q[OTHER_GHOST].seat->word[0],
                     shmi_mpmc_intent(SHMI_MPMC_DEQ, 0, held + lost));
    for (uint32_t i = 0; i < HANDLES; i++) s.q[i].patrol_pos = 0;
    s.tries = 2;
}

/* A tomb is in the only cell.                                             */
static void
lapped_tomb(void *state)
{
    void *slot;

    lapped(state);
    model_require(shmc_mpmc_loan(&s.q[2], &slot) == SHMC_OK);
    model_require(shmc_mpmc_abort(&s.q[2]) == SHMC_OK);
}

static void lost_race(void *state) { (void)state; haunted(0, 2); }
static void held_one(void *state) { (void)state; haunted(1, 1); }
static void held_two(void *state) { (void)state; haunted(2, 0); }

static void
held_first(void *state)
{
    (void)state;
    haunted(1, 0);
    s.q[0].patrol_pos = SHMI_MPMC_PATROL;
    s.tries = 1;
}

/* The only message may be taken over once.  A ghost held it when it died,
 * and, if `twice`, another one after it, so that it is poison.            */
static void
limited(bool twice)
{
    const shmc_mpmc_desc d = { .slot_count = 1, .max_redeliveries = 1 };
    const uint64_t msg = FIRST;
    uint64_t pos;

    format(d, 0, 0);
    s.look = true;
    sit_all();
    model_require(shmc_mpmc_push(&s.q[0], &msg, 8) == SHMC_OK);
    for (uint32_t i = GHOST; i <= OTHER_GHOST; i++) sit(i, SHMC_CONSUMER);
    model_require(shmi_mpmc_claim_head(&s.q[GHOST], 16, 1, &pos) == 1);
    model_dead(GHOST);
    if (twice)
        model_require(shmi_mpmc_adopt(&s.q[OTHER_GHOST], 0) ==
                      SHMI_MPMC_ADOPTED);
    model_dead(OTHER_GHOST);
    s.acked = !twice;
    s.next[0] = 1;
    s.messages = 1;
    s.tries = 2;
}

static void last_delivery(void *state) { (void)state; limited(false); }
static void poison(void *state) { (void)state; limited(true); }

/* ---- what threads do --------------------------------------------------- */

static void
ready(shmc_mpmc *q)
{
    if (s.look) q->look = true;
}

static void
push_some(uint32_t i)
{
    for (uint32_t k = 0; k < s.messages; k++) {
        const uint32_t n = i * PER_THREAD + s.next[i]++;
        const uint64_t msg = FIRST + n;
        ready(&s.q[i]);
        const int r = shmc_mpmc_push(&s.q[i], &msg, 8);
        model_require(r == SHMC_OK || r == SHMC_EAGAIN);
        if (r == SHMC_OK) s.acked |= 1u << n;
    }
}

static void
deliver(uint64_t msg)
{
    model_require(msg >= FIRST && msg < FIRST + HANDLES * PER_THREAD);
    s.got[msg - FIRST]++;
}

static void
pop_some(uint32_t i)
{
    for (uint32_t k = 0; k < s.tries; k++) {
        uint64_t msg = 0;
        ready(&s.q[i]);
        s.popping[i] = 1;
        const int r = shmc_mpmc_pop(&s.q[i], &msg, 8);
        model_require(r == SHMC_OK || r == SHMC_EAGAIN);
        if (r == SHMC_OK) deliver(msg);
        s.popping[i] = 0;
    }
}

static void push_0(void *state) { (void)state; push_some(0); }
static void push_1(void *state) { (void)state; push_some(1); }
static void push_2(void *state) { (void)state; push_some(2); }
static void pop_0(void *state) { (void)state; pop_some(0); }
static void pop_1(void *state) { (void)state; pop_some(1); }
static void pop_2(void *state) { (void)state; pop_some(2); }

static void
push_pop_1(void *state)
{
    push_1(state);
    pop_1(state);
}

static void
pop_push_1(void *state)
{
    pop_1(state);
    push_1(state);
}

static void
pop_push_pop_0(void *state)
{
    pop_0(state);
    push_0(state);
    pop_0(state);
}

static void
push_pop_twice_1(void *state)
{
    push_pop_1(state);
    push_pop_1(state);
}

static void
push_n_some(uint32_t i)
{
    const uint32_t n = i * PER_THREAD + s.next[i];
    const uint64_t msgs[2] = { FIRST + n, FIRST + n + 1 };

    ready(&s.q[i]);
    const int r = shmc_mpmc_push_n(&s.q[i], msgs, 8, 2);
    model_require(r > 0 || r == SHMC_EAGAIN);
    s.next[i] += 2;
    for (int k = 0; k < r; k++) s.acked |= 1u << (n + (uint32_t)k);
}

static void
pop_n_some(uint32_t i)
{
    for (uint32_t k = 0; k < s.tries; k++) {
        uint64_t msgs[2] = { 0, 0 };
        ready(&s.q[i]);
        s.popping[i] = 2;
        const int n = shmc_mpmc_pop_n(&s.q[i], msgs, 8, 2);
        model_require(n > 0 || n == SHMC_EAGAIN);
        for (int j = 0; j < n; j++) deliver(msgs[j]);
        s.popping[i] = 0;
    }
}

static void push_n_0(void *state) { (void)state; push_n_some(0); }
static void push_n_1(void *state) { (void)state; push_n_some(1); }
static void pop_n_0(void *state) { (void)state; pop_n_some(0); }
static void pop_n_1(void *state) { (void)state; pop_n_some(1); }
static void
push_n_push_0(void *state)
{
    push_n_0(state);
    push_0(state);
}
static void pop_n_2(void *state) { (void)state; pop_n_some(2); }

/* The first loan is given up, and leaves a tomb.                          */
static void
loan_some(uint32_t i)
{
    for (uint32_t k = 0; k < s.messages + 1; k++) {
        const uint32_t n = i * PER_THREAD + k;
        void *slot;
        ready(&s.q[i]);
        const int r = shmc_mpmc_loan(&s.q[i], &slot);
        model_require(r == SHMC_OK || r == SHMC_EAGAIN);
        if (r != SHMC_OK) continue;
        model_write_64(slot, FIRST + n);
        if (k == 0) {
            model_require(shmc_mpmc_abort(&s.q[i]) == SHMC_OK);
        } else {
            model_require(shmc_mpmc_commit(&s.q[i]) == SHMC_OK);
            s.acked |= 1u << n;
        }
    }
}

static void
borrow_some(uint32_t i)
{
    for (uint32_t k = 0; k < s.tries; k++) {
        const void *slot;
        ready(&s.q[i]);
        s.popping[i] = 1;
        const int r = shmc_mpmc_borrow(&s.q[i], &slot);
        model_require(r == SHMC_OK || r == SHMC_EAGAIN);
        if (r == SHMC_OK) {
            const uint64_t msg = model_read_64(slot);
            model_require(shmc_mpmc_release(&s.q[i]) == SHMC_OK);
            deliver(msg);
        }
        s.popping[i] = 0;
    }
}

static void loan_0(void *state) { (void)state; loan_some(0); }
static void loan_1(void *state) { (void)state; loan_some(1); }
static void borrow_1(void *state) { (void)state; borrow_some(1); }
static void borrow_2(void *state) { (void)state; borrow_some(2); }

/* Who looks reads a message before it is known whether it becomes his, so it
 * is written as one word.                                                 */
static void
push_word_some(uint32_t i)
{
    for (uint32_t k = 0; k < s.messages; k++) {
        const uint32_t n = i * PER_THREAD + s.next[i];
        void *slot;
        ready(&s.q[i]);
        const int r = shmc_mpmc_loan(&s.q[i], &slot);
        model_require(r == SHMC_OK || r == SHMC_EAGAIN);
        if (r != SHMC_OK) continue;
        s.next[i]++;
        shmi_store_rlx_64((uint64_t *)slot, FIRST + n);
        model_require(shmc_mpmc_commit(&s.q[i]) == SHMC_OK);
        s.acked |= 1u << n;
    }
}

static void push_word_0(void *state) { (void)state; push_word_some(0); }

static void
laps_of_words_1(void *state)
{
    push_word_some(1);
    pop_1(state);
    push_word_some(1);
    pop_1(state);
}

/* As a server does that throws away what nobody waits for.                */
static void
look_some(uint32_t i)
{
    shmc_mpmc *q = &s.q[i];
    uint64_t pos;

    for (uint32_t k = 0; k < s.tries; k++) {
        const int r = shmi_mpmc_readable(q, s.look);
        model_require(r == 1 || r == SHMC_EAGAIN);
        const uint64_t *cell = r == 1 ? shmi_mpmc_peek(q, &pos) : NULL;
        if (cell == NULL) continue;
        const uint64_t msg = shmi_load_rlx_64(cell + 1);
        s.popping[i] = 1;
        if (shmi_mpmc_discard(q, pos)) deliver(msg);
        s.popping[i] = 0;
    }
}

static void look_0(void *state) { (void)state; look_some(0); }
static void look_1(void *state) { (void)state; look_some(1); }
static void look_2(void *state) { (void)state; look_some(2); }

/* A producer that is told of room, and has no other beside it, finds it.  */
static void
push_told(uint32_t i, bool alone)
{
    for (uint32_t k = 0; k < s.messages; k++) {
        const int room = shmi_mpmc_writable(&s.q[i], s.look);
        model_require(room == 1 || room == SHMC_EAGAIN);
        if (room != 1) continue;
        const uint32_t n = i * PER_THREAD + s.next[i]++;
        const uint64_t msg = FIRST + n;
        const int r = shmc_mpmc_push(&s.q[i], &msg, 8);
        model_require(r == SHMC_OK || (!alone && r == SHMC_EAGAIN));
        if (r == SHMC_OK) s.acked |= 1u << n;
    }
}

static void push_told_alone_0(void *state) { (void)state; push_told(0, true); }
static void push_told_0(void *state) { (void)state; push_told(0, false); }
static void push_told_1(void *state) { (void)state; push_told(1, false); }

static void
push_wide_0(void *state)
{
    const uint64_t msg[2] = { FIRST, FIRST };

    (void)state;
    if (shmc_mpmc_push(&s.q[0], msg, 16) == SHMC_OK) s.acked |= 1;
}

static void
pop_wide(uint32_t i)
{
    uint64_t msg[2] = { 0, 0 };

    if (shmc_mpmc_pop(&s.q[i], msg, 16) != SHMC_OK) return;
    model_require(msg[0] == msg[1]);
    deliver(msg[0]);
}

static void pop_wide_1(void *state) { (void)state; pop_wide(1); }
static void pop_wide_2(void *state) { (void)state; pop_wide(2); }

static void
push_wait(uint32_t i, uint32_t count)
{
    for (uint32_t k = 0; k < count; k++) {
        const uint64_t msg = FIRST + i * PER_THREAD + k;
        model_require(shmc_mpmc_push_wait(&s.q[i], &msg, 8, -1) == SHMC_OK);
        s.acked |= 1u << (msg - FIRST);
    }
}

static void
pop_wait(uint32_t i, uint32_t count)
{
    for (uint32_t k = 0; k < count; k++) {
        uint64_t msg = 0;
        model_require(shmc_mpmc_pop_wait(&s.q[i], &msg, 8, -1) == SHMC_OK);
        deliver(msg);
    }
}

static void push_wait_0(void *state) { (void)state; push_wait(0, 1); }
static void push_wait_1(void *state) { (void)state; push_wait(1, 1); }
static void pop_wait_1(void *state) { (void)state; pop_wait(1, 1); }
static void pop_wait_2(void *state) { (void)state; pop_wait(2, 1); }
static void push_wait_two(void *state) { (void)state; push_wait(0, 2); }
static void pop_wait_two(void *state) { (void)state; pop_wait(2, 2); }

/* A newcomer, who may get a dead one's seat.                              */
static void
come_and_pop_2(void *state)
{
    shmi_seat_drop(s.q[2].seat);
    sit(2, SHMC_CONSUMER);
    pop_2(state);
}

/* One message was popped, and the seat is left, or taken again.           */
static void
pop_and_leave_0(void *state)
{
    pop_0(state);
    shmi_seat_drop(s.q[0].seat);
}

static void
pop_and_come_back_0(void *state)
{
    pop_and_leave_0(state);
    sit(0, SHMC_CONSUMER);
}

/* Comes when handle 0 is dead, and gets its seat or a ghost's.            */
static void
come_after_0_1(void *state)
{
    (void)state;
    if (model_await_end(0)) sit(1, SHMC_PRODUCER);
}

static void
come_for_ghost_2(void *state)
{
    (void)state;
    sit(2, SHMC_PRODUCER);
}

static void
laps_1(void *state)
{
    pop_1(state);
    push_pop_twice_1(state);
}

/* One message at most was ever there.                                     */
static void
count_2(void *state)
{
    (void)state;
    model_require(shmc_mpmc_used(&s.q[2]) <= 1);
}

/* A newcomer who takes the ghost's seat, as all others are taken.         */
static void
come_for_ghost_0(void *state)
{
    sit(0, SHMC_PRODUCER);
    push_0(state);
}

static void
come_and_push_2(void *state)
{
    shmi_seat_drop(s.q[2].seat);
    sit(2, SHMC_PRODUCER);
    push_2(state);
}

/* ---- checks ------------------------------------------------------------ */

/* Nothing came twice, nor what nobody sent.                               */
static void
once(void *state)
{
    (void)state;
    for (uint32_t n = 0; n < HANDLES * PER_THREAD; n++)
        model_require(s.got[n] <= 1);
}

/* All is delivered or still there, and then the queue is as good as new.
 * Who died inside a pop may have taken what that call popped with it.     */
static void
nothing_lost(void *state)
{
    shmc_mpmc *q = &s.q[DRAINER];
    uint32_t missing = 0, may_miss = 0, room = 0;
    uint64_t msg;

    s.look = true;
    sit(DRAINER, SHMC_PRODUCER | SHMC_CONSUMER);
    for (uint32_t i = 0; i < 4 * PER_THREAD; i++) {
        ready(q);
        const int r = shmc_mpmc_pop(q, &msg, 8);
        model_require(r == SHMC_OK || r == SHMC_EAGAIN);
        if (r == SHMC_OK) deliver(msg);
    }
    once(state);
    for (uint64_t p = 0; p <= q->mask; p++)
        model_require((shmi_load_rlx_64(shmi_mpmc_at(q, p)) & 3) !=
                      SHMI_MPMC_FULL);
    for (uint32_t n = 0; n < HANDLES * PER_THREAD; n++)
        missing += (s.acked >> n & 1) && s.got[n] == 0;
    for (uint32_t i = 0; i < HANDLES; i++)
        if (!model_ended(i)) may_miss += s.popping[i];
    model_require(missing <= may_miss);
    msg = FIRST;
    while (room <= q->mask + 1) {
        ready(q);
        if (shmc_mpmc_push(q, &msg, 8) != SHMC_OK) break;
        room++;
    }
    model_require(room == q->mask + 1);
}

static void
all_arrived(void *state)
{
    once(state);
    for (uint32_t n = 0; n < HANDLES * PER_THREAD; n++)
        model_require(s.got[n] == (s.acked >> n & 1));
}

/* Poison is dropped, once, and delivered to nobody.  Who died in between
 * may not have counted it.                                                */
static void
poison_is_gone(void *state)
{
    const shmc_mpmc_shm *shm = (const shmc_mpmc_shm *)s.mem;

    nothing_lost(state);
    model_require(s.got[0] == 0);
    const uint64_t counted = shmi_load_rlx_64(&shm->poisoned);
    model_require(counted <= 1 && counted + !model_ended(0) >= 1);
}

/* Who takes it over for the last time has it, if he lives.                */
static void
last_is_delivered(void *state)
{
    const shmc_mpmc_shm *shm = (const shmc_mpmc_shm *)s.mem;

    nothing_lost(state);
    if (model_ended(0)) model_require(shmi_load_rlx_64(&shm->poisoned) == 0);
}

/* A stopped producer holds nobody up who has room besides its cell.       */
static void
others_pushed(void *state)
{
    once(state);
    model_require(s.acked >> PER_THREAD & 1);
}

/* A stopped consumer of one message leaves the other to others.           */
static void
others_popped(void *state)
{
    once(state);
    model_require(s.got[0] + s.got[1] >= 1);
}


static const model_case cases[] = {
    { CASE("mpmc_1_slot", one_slot, push_0, pop_1, NULL, nothing_lost) },
    { CASE("mpmc_2_slots", two_slots, push_0, pop_1, NULL, nothing_lost) },
    { CASE("mpmc_words_wrap", words_wrap, push_0, pop_1, NULL,
           nothing_lost) },
    { CASE("mpmc_indices_wrap", indices_wrap, push_0, pop_1, NULL,
           nothing_lost) },
    { CASE("mpmc_both_do_both", few_in_one, push_0, push_pop_1, pop_2,
           nothing_lost) },
    { CASE("mpmc_producers", few, push_0, push_1, pop_2, nothing_lost) },
    { CASE("mpmc_producers_race_for_one", few_in_one, push_0, push_1, pop_2,
           nothing_lost) },
    { CASE("mpmc_consumers", few, push_0, pop_1, pop_2, nothing_lost) },
    { CASE("mpmc_wide", wide, push_wide_0, pop_wide_1, pop_wide_2, once) },
    { CASE("mpmc_batches", two_slots, push_n_0, pop_n_1, NULL,
           nothing_lost) },
    { CASE("mpmc_batches_4", four_slots, push_n_0, push_n_1, pop_n_2,
           nothing_lost), .executions = 20000 },
    { CASE("mpmc_batch_and_single", few, push_n_0, pop_1, pop_n_2,
           nothing_lost) },
    { CASE("mpmc_loans", few, loan_0, borrow_1, NULL, nothing_lost) },
    { CASE("mpmc_loans_of_two", few, loan_0, loan_1, borrow_2, nothing_lost),
      .executions = 20000 },
    { CASE("mpmc_push_borrow", few_in_one, push_0, borrow_1, borrow_2,
           nothing_lost) },
    { CASE("mpmc_wait", wakes, push_wait_two, pop_wait_two, NULL,
           all_arrived) },
    { CASE("mpmc_wait_producers", wakes, push_wait_0, push_wait_1,
           pop_wait_two, all_arrived), .executions = 20000 },
    { CASE("mpmc_wait_consumers", wakes, push_wait_two, pop_wait_1,
           pop_wait_2, all_arrived), .executions = 20000 },
    { CASE("mpmc_wait_asymmetric", wakes_asymmetric, push_wait_two,
           pop_wait_two, NULL, all_arrived), .executions = 20000 },

    { CASE("mpmc_look", two_slots, push_word_0, look_1, NULL, nothing_lost) },
    { CASE("mpmc_look_in_one", one_slot, push_word_0, look_1, NULL,
           nothing_lost) },
    { CASE("mpmc_look_and_pop", few_in_one, push_word_0, look_1, pop_2,
           nothing_lost) },
    { CASE("mpmc_lookers", inspected_full_1, push_word_0, look_1, look_2,
           nothing_lost), .executions = 20000 },
    { CASE("mpmc_look_lapped", lapped, look_0, laps_of_words_1, NULL,
           once) },
    { CASE("mpmc_told_of_room", one_slot, push_told_alone_0, pop_1, NULL,
           nothing_lost) },
    { CASE("mpmc_told_of_room_inspects", inspected_full_1, push_told_alone_0,
           pop_1, pop_2, nothing_lost), .executions = 20000 },
    { CASE("mpmc_both_told_of_room", few_in_one, push_told_0, push_told_1,
           pop_2, nothing_lost) },

    { CASE("mpmc_lapped_push", lapped, push_0, push_pop_twice_1, NULL,
           once) },
    { CASE("mpmc_lapped_pop", lapped, pop_0, push_pop_twice_1, NULL, once) },
    { CASE("mpmc_lapped_push_n", lapped, push_n_0, push_pop_twice_1, NULL,
           once) },
    { CASE("mpmc_lapped_tomb", lapped_tomb, pop_0, laps_1, NULL, once) },
    { CASE("mpmc_used", few, push_0, pop_1, count_2, once) },
    { CASE("mpmc_inspected_leave", inspected_full_1, pop_and_leave_0, pop_1,
           NULL, nothing_lost) },
    { CASE("mpmc_inspected_return", inspected_full_1, pop_and_come_back_0,
           pop_1, NULL, nothing_lost) },
    { CASE("mpmc_inspected_push", inspected_4, push_0, pop_1, NULL,
           nothing_lost) },
    { CASE("mpmc_inspected_push_n", inspected_4, push_n_push_0, pop_1, NULL,
           nothing_lost) },
    { CASE("mpmc_inspected_pop", inspected_full_1, pop_0, pop_1, NULL,
           nothing_lost) },
    { CASE("mpmc_inspected_pop_n", inspected_full_1, pop_n_0, pop_n_1, NULL,
           nothing_lost) },
    { CASE("mpmc_inspected_pop_push", full_1, pop_push_pop_0, pop_1, NULL,
           nothing_lost) },
    { CASE("mpmc_ghost_lost_race", lost_race, pop_0, pop_1, NULL,
           nothing_lost) },
    { CASE("mpmc_ghost_held_one", held_one, pop_0, pop_1, NULL,
           nothing_lost) },
    { CASE("mpmc_ghost_held_two", held_two, pop_0, pop_1, NULL,
           nothing_lost), .executions = 10000 },

    { CASE("mpmc_orphans", held_two, come_for_ghost_0, pop_1, NULL,
           nothing_lost) },
    { CASE("mpmc_orphans_of_two", held_two, come_for_ghost_0, pop_1, pop_2,
           nothing_lost), .executions = 2000 },

    { CASE("mpmc_producer_stops", mortal_2, push_0, push_1, pop_2,
           others_pushed), FREEZES(0), .executions = 200 },
    { CASE("mpmc_batch_stops", mortal_2, push_n_0, pop_1, pop_2, once),
      FREEZES(0), .executions = 200 },
    { CASE("mpmc_consumer_stops", full_2, pop_0, pop_1, push_2,
           others_popped), FREEZES(0), .executions = 200 },
    { CASE("mpmc_consumer_stops_in_one", full_1, pop_0, pop_push_1, pop_2,
           once), FREEZES(0), .executions = 200 },

    { CASE("mpmc_producer_dies", mortal_2, push_0, push_1, pop_2,
           nothing_lost), DIES(0), .executions = 200 },
    { CASE("mpmc_producer_dies_in_one", mortal_1, push_0, push_pop_1, pop_2,
           nothing_lost), DIES(0), .executions = 200 },
    { CASE("mpmc_batch_dies", mortal_2, push_n_0, pop_1, pop_2,
           nothing_lost), DIES(0), .executions = 200 },
    { CASE("mpmc_loan_dies", mortal_2, loan_0, push_1, pop_2,
           nothing_lost), DIES(0), .executions = 300 },
    { CASE("mpmc_producer_replaced", mortal_1, push_0, pop_1,
           come_and_push_2, nothing_lost), DIES(0),
      .executions = 300 },
    { CASE("mpmc_consumer_dies", half_2, pop_0, push_1, pop_2,
           nothing_lost), DIES(0), .executions = 200 },
    { CASE("mpmc_consumer_dies_in_one", full_1, pop_0, pop_push_1, pop_2,
           nothing_lost), DIES(0), .executions = 200 },
    { CASE("mpmc_consumers_adopt", full_2, pop_n_0, pop_1, pop_2,
           nothing_lost), DIES(0), .executions = 200 },
    { CASE("mpmc_borrower_dies", full_2, pop_0, borrow_1, pop_2,
           nothing_lost), DIES(1), .executions = 200 },
    { CASE("mpmc_looker_dies", full_2, look_0, look_1, pop_2,
           nothing_lost), DIES(0), .executions = 200 },
    { CASE("mpmc_producer_dies_looked_at", mortal_2, push_word_0, look_1, pop_2,
           nothing_lost), DIES(0), .executions = 200 },
    { CASE("mpmc_consumer_dies_before_room", full_1, pop_0, push_told_1,
           pop_2, nothing_lost), DIES(0), .executions = 200 },
    { CASE("mpmc_consumer_dropped", drops_1, pop_0, push_1, pop_2,
           nothing_lost), DIES(0), .executions = 200 },
    { CASE("mpmc_poison", poison, pop_0, push_1, pop_2, poison_is_gone),
      .executions = 10000 },
    { CASE("mpmc_poison_dropped_by_the_dead", poison, pop_0, push_1, pop_2,
           poison_is_gone), DIES(0), .executions = 200 },
    { CASE("mpmc_last_delivery", last_delivery, pop_0, push_1, pop_2,
           last_is_delivered), .executions = 10000 },
    { CASE("mpmc_last_delivery_dies", last_delivery, pop_0, push_1, pop_2,
           last_is_delivered), DIES(0), .executions = 200 },
    { CASE("mpmc_orphans_of_both", held_first, pop_0, come_after_0_1,
           come_for_ghost_2, nothing_lost), DIES(0),
      .executions = 200 },
    { CASE("mpmc_consumer_replaced", full_1, pop_0, pop_1, come_and_pop_2,
           nothing_lost), DIES(0), .executions = 300 },
};

int
main(int argc, char **argv)
{
    return MODEL_MAIN(argc, argv, cases);
}
