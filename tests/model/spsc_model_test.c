/* The queue of fixed slots: whatever the order of steps and however old what
 * is read, messages arrive whole, once and in order; neither side needs the
 * other to go on; a successor goes on where the dead one was.             */
#include "model/model_case.h"
#include "shmcomm_ring.h"
#include "model/model_owner.h"

enum { MESSAGES = 3, TRIES = 3, WORDS = 9 };
enum { FIRST = 100, SECOND = 200 }; /* message 0 of the first producer, and of
                                       its successor                       */

enum {                              /* how the queue begins; bits           */
    WAITABLE = 1,
    ASYMMETRIC = 2,
    NOTES = 4,                      /* the consumer gets notes              */
    ASKS = 8                        /* it asks at its next fruitless look   */
};

typedef struct spsc_state {
    shmc_spsc producer, consumer, successor;
    shmc_segment segment[3];
    void    *mem;
    uint64_t bytes, start;
    uint32_t msg_bytes;
    uint64_t got[8];
    uint32_t count, pushed;         /* pops and pushes that returned        */
    uint32_t from;                  /* first message of the successor       */
    bool     new_producer, new_consumer, told;
} spsc_state;

static spsc_state s;

/* ---- setup: slots, flags, where the indices start ----------------------- */

/* Words of 4 bytes are made known before a memset takes them for longer.  */
static void
name_words(shmi_lane_shm *shm)
{
    shmi_ring_head_shm *h = &shm->ring;

    model_name(&shm->tail.index, "tail");
    model_name(&shm->head.index, "head");
    model_name(&shm->tail.owner, "producer");
    model_name(&shm->head.owner, "consumer");
    model_name(&shm->tail.note_of, "note_of");
    model_name(&shm->tail.note[0], "note");
    model_name(&shm->long_note[0], "long note");
    model_name(&shm->head.notes, "notes");
    model_name(&shm->tail.notes, "unused");
    model_name(&shm->readable.asleep, "readable.asleep");
    model_name(&shm->writable.asleep, "writable.asleep");
    model_name(&shm->readable.seq, "readable.seq");
    model_name(&shm->writable.seq, "writable.seq");
    model_name(&h->magic, "magic");
    model_name(&h->version, "version");
    model_name(&h->slot_bytes, "slot_bytes");
    model_name(&h->slot_count, "slot_count");
    model_name(&h->stride_bytes, "stride_bytes");
    model_name(&h->flags, "flags");
    model_name(&h->seats, "seats");
    model_name(&h->mode, "mode");
}

static int
bind(shmc_spsc *q, uint32_t thread, uint32_t role)
{
    return shmi_spsc_bind(q, &s.segment[thread], s.mem, s.bytes, role);
}

static void
begin(uint32_t slots, uint32_t slot_bytes, uint32_t how, uint64_t start)
{
    const shmc_spsc_desc d = { .slot_count = slots, .slot_bytes = slot_bytes,
                               .waitable = how & WAITABLE };

    s.bytes = (uint64_t)shmc_spsc_size_for(&d);
    s.mem = model_alloc(s.bytes);
    s.msg_bytes = slot_bytes;
    s.start = start;
    model_require(shmc_spsc_format(s.mem, s.bytes, &d) == SHMC_OK);
    shmi_lane_shm *shm = (shmi_lane_shm *)s.mem;
    shm->tail.index = shm->head.index = start;
    if (how & ASYMMETRIC) shm->ring.flags |= SHMI_RING_ASYMMETRIC;
    name_words(shm);
    for (int i = 0; i < 3; i++) model_owner(&s.segment[i], (uint32_t)i, 3);
    model_require(bind(&s.producer, 0, SHMC_PRODUCER) == SHMC_OK);
    model_require(bind(&s.consumer, 1, SHMC_CONSUMER) == SHMC_OK);
    if (how & NOTES) {
        shm->head.notes = 1;
        s.consumer.lane.idle = SHMI_LANE_IDLE;
    }
    if (how & ASKS) s.consumer.lane.idle = SHMI_LANE_IDLE - 1;
}

#define SETUP(name, slots, bytes, how, start)                                 \
    static void name(void *state) { (void)state; begin(slots, bytes, how, start); }
SETUP(one_slot, 1, 8, 0, 0)
SETUP(two_slots, 2, 8, 0, 0)
SETUP(four_slots, 4, 8, 0, 0)
SETUP(wide_slots, 2, 16, 0, 0)
SETUP(odd_slots, 2, 12, NOTES, 0)
SETUP(waitable, 1, 8, WAITABLE, 0)
SETUP(asymmetric, 1, 8, WAITABLE | ASYMMETRIC, 0)
SETUP(noted_waitable, 1, 8, WAITABLE | NOTES, 0)
SETUP(wraps, 2, 8, 0, UINT64_MAX - 1)
SETUP(noted_1, 1, 8, NOTES, 0)
SETUP(noted_2, 2, 8, NOTES, 0)
SETUP(noted_4, 4, 8, NOTES, 0)
SETUP(noted_wide, 4, 16, NOTES, 0)
SETUP(noted_widest, 2, 40, NOTES, 0)
SETUP(noted_long, 2, 48, NOTES, 0)
SETUP(noted_longest, 2, 64, NOTES, 0)
SETUP(too_wide, 2, 72, NOTES, 0)
SETUP(noted_wraps, 2, 8, NOTES, UINT64_MAX - 1)
SETUP(asks, 2, 8, ASKS, 0)
SETUP(asks_4, 4, 8, ASKS, 0)

/* ---- threads ------------------------------------------------------------ */

/* All words of a message are the same.                                    */
static int
push_one(shmc_spsc *q, uint64_t msg)
{
    uint64_t words[WORDS];

    for (int k = 0; k < WORDS; k++) words[k] = msg;
    const int r = shmc_spsc_push(q, words, s.msg_bytes);
    model_require(r == SHMC_OK || r == SHMC_EAGAIN);
    if (r == SHMC_OK) s.pushed++;
    return r;
}

static void
push_from(shmc_spsc *q, uint64_t base, uint32_t tries)
{
    for (uint32_t i = 0; i < tries && s.pushed < MESSAGES; i++)
        (void)push_one(q, base + s.pushed);
}

static void
pop_into(shmc_spsc *q, uint32_t tries)
{
    for (uint32_t i = 0; i < tries; i++) {
        uint64_t msg[WORDS] = { 0 };
        const int r = shmc_spsc_pop(q, msg, s.msg_bytes);
        model_require(r == SHMC_OK || r == SHMC_EAGAIN);
        if (r != SHMC_OK) continue;
        for (uint32_t k = 1; k < s.msg_bytes / 8; k++)
            model_require(msg[k] == msg[0]);
        s.got[s.count++] = msg[0];
    }
}

static void
push_n_from(shmc_spsc *q, uint64_t base, uint32_t tries)
{
    for (uint32_t i = 0; i < tries && s.pushed < MESSAGES; i++) {
        uint64_t msgs[MESSAGES];
        for (uint32_t k = 0; k < MESSAGES; k++) msgs[k] = base + s.pushed + k;
        const int n = shmc_spsc_push_n(q, msgs, 8, MESSAGES - s.pushed);
        model_require(n > 0 || n == SHMC_EAGAIN);
        if (n > 0) s.pushed += (uint32_t)n;
    }
}

/* The first loan is given back.                                           */
static void
loan_from(shmc_spsc *q, uint64_t base, uint32_t tries)
{
    void *slots;

    for (uint32_t i = 0; i < tries && s.pushed < MESSAGES; i++) {
        const int n = shmc_spsc_loan(q, &slots, 2);
        model_require(n > 0 || n == SHMC_EAGAIN);
        if (n <= 0) continue;
        model_write_64(slots, i == 0 ? 999 : base + s.pushed);
        if (i == 0) {
            model_require(shmc_spsc_abort(q) == SHMC_OK);
        } else {
            model_require(shmc_spsc_commit(q, 1) == SHMC_OK);
            s.pushed++;
        }
    }
}

static void
producer(void *state)
{
    (void)state;
    push_from(&s.producer, FIRST, TRIES + 1);
}

static void
consumer(void *state)
{
    (void)state;
    pop_into(&s.consumer, TRIES + 1);
}

static void
producer_n(void *state)
{
    (void)state;
    push_n_from(&s.producer, FIRST, TRIES);
}

static void
producer_loans(void *state)
{
    (void)state;
    loan_from(&s.producer, FIRST, TRIES + 1);
}

static void
producer_mixes(void *state)
{
    (void)state;
    push_from(&s.producer, FIRST, 1);
    loan_from(&s.producer, FIRST, 2);
    push_n_from(&s.producer, FIRST, 1);
    push_from(&s.producer, FIRST, 1);
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

static void
consumer_borrows(void *state)
{
    const void *slots;

    (void)state;
    for (int i = 0; i < TRIES; i++) {
        const int n = shmc_spsc_borrow(&s.consumer, &slots, 2);
        model_require(n > 0 || n == SHMC_EAGAIN);
        if (n <= 0) continue;
        for (uint32_t k = 0; k < (uint32_t)n; k++)
            s.got[s.count + k] = model_read_64((const uint8_t *)slots + 8 * k);
        model_require(shmc_spsc_release(&s.consumer, (uint32_t)n) == SHMC_OK);
        s.count += (uint32_t)n;
    }
}

static void
consumer_mixes(void *state)
{
    const void *slot;

    pop_into(&s.consumer, 2);
    if (shmc_spsc_borrow(&s.consumer, &slot, 1) == 1) {
        s.got[s.count] = model_read_64(slot);
        model_require(shmc_spsc_release(&s.consumer, 1) == SHMC_OK);
        s.count++;
    }
    consumer_n(state);
}

static void
producer_waits(void *state)
{
    (void)state;
    for (uint64_t v = 0; v < 2; v++) {
        const uint64_t msg = FIRST + v;
        model_require(shmc_spsc_push_wait(&s.producer, &msg, 8, -1) == SHMC_OK);
        s.pushed++;
    }
}

static void
consumer_waits(void *state)
{
    (void)state;
    for (; s.count < 2; s.count++)
        model_require(shmc_spsc_pop_wait(&s.consumer, &s.got[s.count], 8,
                                         -1) == SHMC_OK);
}

/* Until all is there, or until it is told of the producer's death.        */
static void
consumer_waits_or_is_told(void *state)
{
    (void)state;
    while (s.count < 2 && !s.told) {
        uint64_t msg = 0;
        const int r = shmc_spsc_pop_wait(&s.consumer, &msg, 8, -1);
        model_require(r == SHMC_OK || r == SHMC_EPEERDEAD);
        if (r == SHMC_OK) s.got[s.count++] = msg;
        else s.told = true;
    }
}

/* The producer, who fills the queue, is told of the consumer's.           */
static void
producer_waits_or_is_told(void *state)
{
    (void)state;
    while (s.pushed < 2 && !s.told) {
        const uint64_t msg = FIRST + s.pushed;
        const int r = shmc_spsc_push_wait(&s.producer, &msg, 8, -1);
        model_require(r == SHMC_OK || r == SHMC_EPEERDEAD);
        if (r == SHMC_OK) s.pushed++;
        else s.told = true;
    }
}

/* ---- successors --------------------------------------------------------- */

/* At most `more` that the dead one did not live to count.                 */
static bool
take_producer(uint32_t more)
{
    const int r = bind(&s.successor, 2, SHMC_PRODUCER);

    model_require(r == SHMC_OK || r == SHMC_EBUSY);
    if (r != SHMC_OK) return false;
    s.new_producer = true;
    s.from = (uint32_t)(s.successor.lane.mine - s.start);
    model_require(s.from >= s.pushed && s.from <= s.pushed + more);
    s.pushed = s.from;
    return true;
}

static bool
take_consumer(void)
{
    const int r = bind(&s.successor, 2, SHMC_CONSUMER);

    model_require(r == SHMC_OK || r == SHMC_EBUSY);
    if (r != SHMC_OK) return false;
    s.new_consumer = true;
    model_require(s.successor.lane.mine - s.start == s.count);
    return true;
}

static void
next_producer(void *state)
{
    (void)state;
    if (!model_await_end(0)) return;
    model_require(take_producer(0));
    push_from(&s.successor, SECOND, TRIES);
}

/* Without notes of its own: what it pushes is not what the note says.     */
static void
next_producer_n(void *state)
{
    (void)state;
    if (!model_await_end(0)) return;
    model_require(take_producer(MESSAGES));
    push_n_from(&s.successor, SECOND, TRIES);
}

static void
next_producer_loans(void *state)
{
    (void)state;
    if (!model_await_end(0)) return;
    model_require(take_producer(0));
    loan_from(&s.successor, SECOND, TRIES);
}

static void
next_consumer(void *state)
{
    (void)state;
    if (!model_await_end(1)) return;
    model_require(take_consumer());
    pop_into(&s.successor, TRIES);
}

static void
next_consumer_asks(void *state)
{
    (void)state;
    if (!model_await_end(1)) return;
    model_require(take_consumer());
    s.successor.lane.idle = SHMI_LANE_IDLE - 1;
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
    if (!alive && take_producer(0)) push_from(&s.successor, SECOND, TRIES);
}

/* ---- close and reopen --------------------------------------------------- */

/* What is on loan when it closes was written by it and by nobody else.    */
static void
producer_closes(void *state)
{
    void *slot;

    (void)state;
    push_from(&s.producer, FIRST, 1);
    if (shmc_spsc_loan(&s.producer, &slot, 1) == 1) model_write_64(slot, 999);
    model_require(shmc_spsc_close(&s.producer) == SHMC_OK);
}

static void
reopens_producer(void *state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        if (!take_producer(0)) continue;
        push_from(&s.successor, SECOND, 2);
        return;
    }
}

/* What is borrowed when it closes is read again by the next one.          */
static void
consumer_closes(void *state)
{
    const void *slot;

    (void)state;
    pop_into(&s.consumer, 1);
    if (shmc_spsc_borrow(&s.consumer, &slot, 1) == 1)
        model_require(model_read_64(slot) == FIRST + s.count);
    model_require(shmc_spsc_close(&s.consumer) == SHMC_OK);
}

static void
reopens_consumer(void *state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        if (!take_consumer()) continue;
        pop_into(&s.successor, 2);
        return;
    }
}

/* ---- attaching while another formats ------------------------------------ */

static void
unformatted(void *state)
{
    const shmc_spsc_desc d = { .slot_count = 1, .slot_bytes = 8 };

    (void)state;
    s.bytes = (uint64_t)shmc_spsc_size_for(&d);
    s.mem = model_alloc(s.bytes);
    s.msg_bytes = 8;
    name_words((shmi_lane_shm *)s.mem);
    for (int i = 0; i < 3; i++) model_owner(&s.segment[i], (uint32_t)i, 3);
}

static void
formats(void *state)
{
    const shmc_spsc_desc d = { .slot_count = 1, .slot_bytes = 8 };

    (void)state;
    model_require(shmc_spsc_format(s.mem, s.bytes, &d) == SHMC_OK);
    model_require(bind(&s.producer, 0, SHMC_PRODUCER) == SHMC_OK);
    push_from(&s.producer, FIRST, 1);
}

static void
attaches(void *state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        const int r = bind(&s.consumer, 1, SHMC_CONSUMER);
        model_require(r == SHMC_OK || r == SHMC_ETYPE);
        if (r != SHMC_OK) continue;
        model_require(s.consumer.lane.limit == 1);
        s.told = true;
        pop_into(&s.consumer, 1);
        return;
    }
}

/* ---- checks ------------------------------------------------------------- */

static void
in_order(void *state)
{
    (void)state;
    for (uint32_t i = 0; i < s.count; i++)
        model_require(s.got[i] == (s.new_producer && i >= s.from ? SECOND
                                                                 : FIRST) + i);
}

static uint64_t
in_queue(void)
{
    const shmi_lane_shm *shm = (const shmi_lane_shm *)s.mem;
    return shmi_load_rlx_64(&shm->tail.index) -
           shmi_load_rlx_64(&shm->head.index);
}

/* What was pushed and not popped is still there, and is what was pushed.  */
static void
nothing_lost(void *state)
{
    in_order(state);
    if (!model_ended(0) && !s.new_producer) return;
    if (!model_ended(1) && !s.new_consumer) return;
    model_require(in_queue() == s.pushed - s.count);
    if (in_queue() == 0) return;
    shmc_spsc *q = s.new_consumer ? &s.successor : &s.consumer;
    if (q->lane.shm == NULL) return;
    pop_into(q, 4);
    model_require(s.count == s.pushed);
    in_order(state);
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

/* The successor had room for two at least, or for what the first left.    */
static void
handed_over(void *state)
{
    nothing_lost(state);
    model_require(model_ended(0) || s.pushed >= 2);
}

/* Who is told of a death has had all that came before.                    */
static void
told_or_done(void *state)
{
    in_order(state);
    if (s.told) model_require(!model_ended(0) && in_queue() == 0);
    else model_require(s.count == 2);
}

static void
told_or_pushed(void *state)
{
    in_order(state);
    if (s.told) model_require(!model_ended(1) && in_queue() == 1);
    else model_require(s.pushed == 2);
}

static void
attached(void *state)
{
    in_order(state);
    model_outcome(s.count ? 2 : s.told ? 1 : 0);
}


static const model_case cases[] = {
    { PAIR("spsc_1", one_slot, producer, consumer, nothing_lost) },
    { PAIR("spsc_2", two_slots, producer, consumer, nothing_lost) },
    { PAIR("spsc_4", four_slots, producer, consumer, nothing_lost) },
    { PAIR("spsc_index_wraps", wraps, producer, consumer, nothing_lost) },
    { PAIR("spsc_wide", wide_slots, producer, consumer, nothing_lost) },
    { PAIR("spsc_n_1", one_slot, producer_n, consumer_n, nothing_lost) },
    { PAIR("spsc_n_2", two_slots, producer_n, consumer_n, nothing_lost) },
    { PAIR("spsc_n_4", four_slots, producer_n, consumer_n, nothing_lost) },
    { PAIR("spsc_n_wraps", wraps, producer_n, consumer_n, nothing_lost) },
    { PAIR("spsc_loan_1", one_slot, producer_loans, consumer_borrows,
           nothing_lost) },
    { PAIR("spsc_loan_2", two_slots, producer_loans, consumer_borrows,
           nothing_lost) },
    { PAIR("spsc_loan_4", four_slots, producer_loans, consumer_borrows,
           nothing_lost) },
    { PAIR("spsc_loan_wraps", wraps, producer_loans, consumer_borrows,
           nothing_lost) },
    { PAIR("spsc_push_borrow", two_slots, producer, consumer_borrows,
           nothing_lost) },
    { PAIR("spsc_push_pop_n", two_slots, producer, consumer_n,
           nothing_lost) },
    { PAIR("spsc_loan_pop", two_slots, producer_loans, consumer,
           nothing_lost) },
    { PAIR("spsc_loan_pop_n", two_slots, producer_loans, consumer_n,
           nothing_lost) },
    { PAIR("spsc_n_pop", two_slots, producer_n, consumer, nothing_lost) },
    { PAIR("spsc_n_borrow", two_slots, producer_n, consumer_borrows,
           nothing_lost) },
    { PAIR("spsc_mixed", two_slots, producer_mixes, consumer_mixes,
           nothing_lost) },
    { PAIR("spsc_wait", waitable, producer_waits, consumer_waits,
           all_arrived) },
    { PAIR("spsc_wait_asymmetric", asymmetric, producer_waits,
           consumer_waits, all_arrived), .executions = 20000 },

    { PAIR("spsc_note_1", noted_1, producer, consumer, nothing_lost) },
    { PAIR("spsc_note_2", noted_2, producer, consumer, nothing_lost) },
    { PAIR("spsc_note_4", noted_4, producer, consumer, nothing_lost) },
    { PAIR("spsc_note_wide", noted_wide, producer, consumer, nothing_lost) },
    { PAIR("spsc_note_widest", noted_widest, producer, consumer,
           nothing_lost) },
    { PAIR("spsc_note_long", noted_long, producer, consumer, nothing_lost) },
    { PAIR("spsc_note_longest", noted_longest, producer, consumer,
           nothing_lost) },
    { PAIR("spsc_note_too_wide", too_wide, producer, consumer,
           nothing_lost) },
    { PAIR("spsc_note_odd", odd_slots, producer, consumer, nothing_lost) },
    { PAIR("spsc_note_wraps", noted_wraps, producer, consumer,
           nothing_lost) },
    { PAIR("spsc_note_asked", asks, producer, consumer, nothing_lost) },
    { PAIR("spsc_note_asked_4", asks_4, producer, consumer, nothing_lost) },
    { PAIR("spsc_note_mixed", noted_2, producer_mixes, consumer_mixes,
           nothing_lost) },
    { PAIR("spsc_note_of_older", noted_4, producer_mixes, consumer,
           nothing_lost) },
    { PAIR("spsc_note_wait", noted_waitable, producer_waits, consumer_waits,
           all_arrived) },

    { PAIR("spsc_producer_stops", two_slots, producer, consumer, goes_on),
      FREEZES(0) },
    { PAIR("spsc_consumer_stops", two_slots, producer, consumer, goes_on),
      FREEZES(1) },
    { PAIR("spsc_noter_stops", noted_wide, producer, consumer, goes_on),
      FREEZES(0) },
    { PAIR("spsc_note_reader_stops", noted_2, producer, consumer, goes_on),
      FREEZES(1) },
    { PAIR("spsc_loaner_stops", two_slots, producer_loans, consumer_borrows,
           in_order), FREEZES(0) },
    { PAIR("spsc_borrower_stops", two_slots, producer_loans,
           consumer_borrows, in_order), FREEZES(1) },

    { PAIR("spsc_next_producer", two_slots, producer, consumer,
           handed_over), .thread[2] = next_producer, DIES(0) },
    { PAIR("spsc_next_producer_wraps", wraps, producer, consumer,
           handed_over), .thread[2] = next_producer, DIES(0) },
    { PAIR("spsc_next_after_loan", two_slots, producer_loans, consumer,
           handed_over), .thread[2] = next_producer, DIES(0) },
    { PAIR("spsc_next_after_n", two_slots, producer_n, consumer_n,
           handed_over), .thread[2] = next_producer_n, DIES(0) },
    { PAIR("spsc_next_noter", noted_2, producer, consumer, handed_over),
      .thread[2] = next_producer, DIES(0) },
    { PAIR("spsc_next_noter_wide", noted_wide, producer, consumer,
           handed_over), .thread[2] = next_producer, DIES(0) },
    { PAIR("spsc_next_noter_wraps", noted_wraps, producer, consumer,
           handed_over), .thread[2] = next_producer, DIES(0) },
    { PAIR("spsc_next_without_note", noted_2, producer, consumer,
           handed_over), .thread[2] = next_producer_n, DIES(0) },
    { PAIR("spsc_next_loans_unnoted", noted_2, producer, consumer,
           handed_over), .thread[2] = next_producer_loans, DIES(0) },
    { PAIR("spsc_next_consumer", two_slots, producer, consumer,
           nothing_lost), .thread[2] = next_consumer, DIES(1) },
    { PAIR("spsc_next_borrower", two_slots, producer, consumer_borrows,
           nothing_lost), .thread[2] = next_consumer, DIES(1) },
    { PAIR("spsc_next_note_reader", noted_2, producer, consumer,
           nothing_lost), .thread[2] = next_consumer_asks, DIES(1) },
    { PAIR("spsc_asked_if_alive", two_slots, producer, consumer,
           nothing_lost), .thread[2] = refused_while_alive, DIES(0) },

    { PAIR("spsc_producer_reopens", two_slots, producer_closes, consumer,
           nothing_lost), .thread[2] = reopens_producer },
    { PAIR("spsc_consumer_reopens", two_slots, producer, consumer_closes,
           nothing_lost), .thread[2] = reopens_consumer },
    { PAIR("spsc_closer_dies", two_slots, producer_closes, consumer,
           nothing_lost), .thread[2] = reopens_producer, DIES(0) },
    { PAIR("spsc_closing_reader_dies", two_slots, producer, consumer_closes,
           nothing_lost), .thread[2] = reopens_consumer, DIES(1) },
    { PAIR("spsc_attach", unformatted, formats, attaches, attached),
      .outcomes = 7 },

    { PAIR("spsc_told_of_producer", waitable, producer_waits,
           consumer_waits_or_is_told, told_or_done), .timeouts = true,
      .executions = 3000, DIES(0) },
    { PAIR("spsc_told_of_consumer", waitable, producer_waits_or_is_told,
           consumer_waits, told_or_pushed), .timeouts = true,
      .executions = 3000, DIES(1) },
    { PAIR("spsc_told_asymmetric", asymmetric, producer_waits,
           consumer_waits_or_is_told, told_or_done), .timeouts = true,
      .executions = 3000, DIES(0) },
    { PAIR("spsc_told_without_looking", waitable, producer_waits,
           consumer_waits_or_is_told, told_or_done),
      .fails_with = "lost wake-up: thread 1", DIES(0) },
};

int
main(int argc, char **argv)
{
    shmc_log_set(NULL, NULL, 0);      /* it is refused on purpose             */
    return MODEL_MAIN(argc, argv, cases);
}
