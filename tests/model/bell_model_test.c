/* Sleeping and waking: whoever publishes and rings wakes all who sleep for
 * it, in every order; and who takes a role or a seat after another, by a
 * clean drop or by a death, comes after all that the other did.           */
#include "model/model_case.h"
#include "shmcomm_segment.h"
#include "shmcomm_bell.h"
#include "model/model_owner.h"

enum { WORDS = 2, THREADS = 4, ROUNDS = 2 };

typedef struct bell_shm {
    shmi_bell_shm bell;
    uint64_t published[WORDS];      /* what each ringer published           */
} bell_shm;

typedef struct bell_state {
    bell_shm *shm;
    bool     asymmetric;
    int64_t  timeout_ns;
    uint64_t want[THREADS][WORDS];  /* of each sleeper                      */
    uint32_t calls[THREADS];        /* its looks                            */
    int      result[THREADS];
} bell_state;

static bell_state s;

/* ---- bells: setup ------------------------------------------------------- */

static void
begin(bool asymmetric, uint32_t seq)
{
    s.shm = (bell_shm *)model_alloc(sizeof *s.shm);
    s.shm->bell.seq = seq;
    s.asymmetric = asymmetric;
    s.timeout_ns = -1;
    model_name(&s.shm->bell.seq, "seq");
    model_name(&s.shm->bell.asleep, "asleep");
    model_name(&s.shm->published[0], "published_0");
    model_name(&s.shm->published[1], "published_1");
}

static void fence(void *state) { (void)state; begin(false, 0); }
static void asymmetric(void *state) { (void)state; begin(true, 0); }
static void wraps(void *state) { (void)state; begin(false, UINT32_MAX); }

static void
patient(void *state)
{
    (void)state;
    begin(false, 0);
    s.timeout_ns = 2 * (int64_t)SHMC_RECHECK_NS;
}

static void
patient_asymmetric(void *state)
{
    patient(state);
    s.asymmetric = true;
}

/* ---- bells: threads ----------------------------------------------------- */

static void
publish(uint32_t word, uint64_t value)
{
    shmi_store_rlx_64(&s.shm->published[word], value);
    shmi_bell_ring(&s.shm->bell, s.asymmetric);
}

static int
look(void *ctx)
{
    const uint64_t *want = (const uint64_t *)ctx;

    s.calls[model_self()]++;
    for (int w = 0; w < WORDS; w++)
        if (shmi_load_rlx_64(&s.shm->published[w]) < want[w])
            return SHMC_EAGAIN;
    return SHMC_OK;
}

static void
sleep_for(uint64_t first, uint64_t second)
{
    const uint32_t i = model_self();

    s.want[i][0] = first;
    s.want[i][1] = second;
    s.result[i] = 1;
    s.result[i] = shmi_bell_wait(&s.shm->bell, s.asymmetric, look, s.want[i],
                                 s.timeout_ns, SHMC_RECHECK_NS);
    model_require(s.result[i] == SHMC_OK ||
                  (s.timeout_ns > 0 && s.result[i] == SHMC_ETIMEDOUT));
}

static void ring_0(void *state) { (void)state; publish(0, 1); }
static void ring_1(void *state) { (void)state; publish(1, 1); }
static void sleep_0(void *state) { (void)state; sleep_for(1, 0); }
static void sleep_1(void *state) { (void)state; sleep_for(0, 1); }
static void sleep_both(void *state) { (void)state; sleep_for(1, 1); }

static void
ring_often(void *state)
{
    (void)state;
    for (uint64_t i = 1; i <= ROUNDS; i++) publish(0, i);
}

static void
sleep_often(void *state)
{
    (void)state;
    for (uint64_t i = 1; i <= ROUNDS; i++) sleep_for(i, 0);
}

/* Each sleeps for the other's word by turns.                              */
static void
ping(void *state)
{
    (void)state;
    publish(0, 1);
    sleep_for(0, 1);
    publish(0, 2);
}

static void
pong(void *state)
{
    (void)state;
    sleep_for(1, 0);
    publish(1, 1);
    sleep_for(2, 0);
}

/* What was stored is seen in the end: a fence in everybody, as the model has
 * no "in the end".                                                        */
static void
settle_down(void *state)
{
    (void)state;
    if (model_await_end(0)) (void)shmi_membarrier();
}

/* Publishes and rings for a ringer that died before it published.         */
static void
ring_instead(void *state)
{
    settle_down(state);
    if (shmi_load_rlx_64(&s.shm->published[0]) == 0) publish(0, 1);
}

/* ---- bells: checks ------------------------------------------------------ */

/* Nobody sleeps, so that a left mark costs one wake and is gone.          */
static void
one_mark_at_most(void *state)
{
    const uint32_t before = shmi_load_rlx_32(&s.shm->bell.seq);

    (void)state;
    for (int i = 0; i < 3; i++) shmi_bell_ring(&s.shm->bell, s.asymmetric);
    model_require(shmi_load_rlx_32(&s.shm->bell.seq) - before <= 1);
    model_require(shmi_load_rlx_32(&s.shm->bell.asleep) == 0);
}

/* Who waited for what was published has it; the others waited in vain.    */
static void
found_out(void *state)
{
    const uint64_t done = shmi_load_rlx_64(&s.shm->published[0]);

    one_mark_at_most(state);
    model_require(s.result[1] == (done ? SHMC_OK : SHMC_ETIMEDOUT));
}

static void
found(void *state)
{
    one_mark_at_most(state);
    model_require(s.result[1] == SHMC_OK);
}

/* ---- roles and seats ---------------------------------------------------- */

typedef struct place_shm {
    uint64_t role;
    uint64_t pad[15];
    shmi_seat_shm seats[2];
    uint64_t guarded;               /* plain; the holder's alone            */
    uint64_t settled[THREADS];      /* plain; what each newcomer settled    */
} place_shm;

typedef struct place_state {
    place_shm *shm;
    shmc_segment segment[THREADS];
    uint32_t inside, held[THREADS];
    int      seat[THREADS];
    uint32_t seats;
    bool     died;
} place_state;

static place_state p;

static void
places(uint32_t seats)
{
    p.shm = (place_shm *)model_alloc(sizeof *p.shm);
    p.seats = seats;
    model_name(&p.shm->role, "role");
    model_name(&p.shm->guarded, "guarded");
    for (int i = 0; i < 2; i++) {
        model_name(&p.shm->seats[i].owner, "seat");
        model_name(&p.shm->seats[i].intent, "intent");
        model_name(&p.shm->seats[i].word[0], "word");
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        model_owner(&p.segment[i], i, THREADS);
        p.seat[i] = -1;
    }
}

static void
role_free(void *state)
{
    (void)state;
    places(1);
}

/* Thread 0 holds it.                                                      */
static void
role_taken(void *state)
{
    (void)state;
    places(1);
    model_require(shmi_role_claim(&p.segment[0], &p.shm->role, "x") == SHMC_OK);
}

/* What only the holder may do: nobody else is inside.                     */
static void
be_inside(uint32_t i)
{
    if (p.inside != 0) model_require(!model_lock_probe(0, p.inside - 1));
    p.inside = i + 1;
    p.held[i]++;
    model_write_64(&p.shm->guarded, model_read_64(&p.shm->guarded) + 1);
    shmi_store_rlx_64(&p.shm->seats[0].word[0],
                      shmi_load_rlx_64(&p.shm->seats[0].word[0]) + 1);
    p.inside = 0;
}

static void
role_use(uint32_t tries)
{
    const uint32_t i = model_self();

    for (uint32_t k = 0; k < tries; k++) {
        const int r = shmi_role_claim(&p.segment[i], &p.shm->role, "x");
        model_require(r == SHMC_OK || r == SHMC_EBUSY);
        if (r != SHMC_OK) continue;
        be_inside(i);
        shmi_role_drop(&p.segment[i], &p.shm->role);
    }
}

/* Takes it for good.                                                      */
static void
role_take(void *state)
{
    const uint32_t i = model_self();

    (void)state;
    if (shmi_role_claim(&p.segment[i], &p.shm->role, "x") == SHMC_OK)
        be_inside(i);
}

static void role_once(void *state) { (void)state; role_use(1); }
static void role_twice(void *state) { (void)state; role_use(2); }

static void
role_leave(void *state)
{
    (void)state;
    be_inside(0);
    shmi_role_drop(&p.segment[0], &p.shm->role);
}

static void
role_after(void *state)
{
    (void)state;
    p.died = model_await_end(0);
    role_take(state);
}

/* As often as somebody was inside, the plain word was raised.             */
static void
counted(void *state)
{
    uint64_t all = 0;

    (void)state;
    for (int i = 0; i < THREADS; i++) {
        if (!model_ended((uint32_t)i) && p.held[i] != 0) return;
        all += p.held[i];
    }
    model_require(model_read_64(&p.shm->guarded) == all);
    model_require(shmi_load_rlx_64(&p.shm->seats[0].word[0]) == all);
}

/* Of two newcomers one got the dead one's role.                           */
static void
one_heir(void *state)
{
    counted(state);
    model_require(p.held[1] + p.held[2] <= 1);
    model_require(p.held[1] + p.held[2] == 1 || !p.died);
}

/* ---- seats -------------------------------------------------------------- */

static void
seat_taken(uint32_t seats)
{
    places(seats);
    p.seat[0] = shmi_seat_claim(&p.segment[0], p.shm->seats, seats, NULL, NULL);
    model_require(p.seat[0] == 0);
}

static void one_seat(void *state) { (void)state; seat_taken(1); }
static void two_seats(void *state) { (void)state; seat_taken(2); }

static void
seat_with_intent(void *state)
{
    (void)state;
    seat_taken(1);
    p.shm->seats[0].intent = 1;
}

static void
free_seat(void *state)
{
    (void)state;
    places(1);
}

/* The owner's intent, who may have come since: whoever sees it sees what he
 * did before.                                                             */
static int
settle(void *ctx, uint32_t seat)
{
    shmi_seat_shm *at = &p.shm->seats[seat];
    const uint64_t intent = shmi_load_acq_64(&at->intent);

    (void)ctx;
    model_require(shmi_load_rlx_64(&at->word[0]) >= intent);
    return 0;
}

static void
seat_work(uint32_t i)
{
    shmi_seat_shm *at = &p.shm->seats[p.seat[i]];

    model_require(shmi_load_rlx_64(&at->intent) == 0);
    if (p.seat[i] == 0) be_inside(i);
    else shmi_store_rlx_64(&at->word[0], 1);
    shmi_store_rel_64(&at->intent, 1);
    shmi_store_rel_64(&at->intent, 0);
}

static bool
seat_take(uint32_t i)
{
    p.seat[i] = shmi_seat_claim(&p.segment[i], p.shm->seats, p.seats, settle,
                                NULL);
    model_require(p.seat[i] >= 0 || p.seat[i] == SHMC_ELIMIT);
    return p.seat[i] >= 0;
}

static void
seat_die(void *state)
{
    (void)state;
    seat_work(0);
}

static void
seat_leave(void *state)
{
    (void)state;
    seat_work(0);
    shmi_seat_drop(&p.shm->seats[0]);
}

static void
seat_come(void *state)
{
    const uint32_t i = model_self();

    (void)state;
    if (seat_take(i)) seat_work(i);
}

static void
seat_come_and_go(void *state)
{
    const uint32_t i = model_self();

    (void)state;
    for (int k = 0; k < 2; k++) {
        if (!seat_take(i)) continue;
        seat_work(i);
        shmi_seat_drop(&p.shm->seats[p.seat[i]]);
    }
}

static void
seat_after(void *state)
{
    (void)state;
    p.died = model_await_end(0);
    seat_come(state);
}

/* The word is the holder's last; its intent stays, as after a push.       */
static void
seat_last_word(void *state)
{
    (void)state;
    shmi_store_rlx_64(&p.shm->seats[0].word[0], 1);
    shmi_seat_drop(&p.shm->seats[0]);
}

static void
seat_last_word_and_die(void *state)
{
    (void)state;
    shmi_store_rlx_64(&p.shm->seats[0].word[0], 1);
    shmi_store_rlx_64(&p.shm->seats[0].word[1], 1);
}

static void
seat_come_in(void *state)
{
    (void)state;
    (void)seat_take(1);
}

/* Who sees the newcomer sees what the former holder did: by the intent that
 * is 0 again, and by the owner.                                           */
static void
seat_look(void *state)
{
    shmi_seat_shm *at = &p.shm->seats[0];

    (void)state;
    if (shmi_load_acq_64(&at->intent) == 0)
        model_require(shmi_load_rlx_64(&at->word[0]) == 1);
}

static void
seat_look_at_owner(void *state)
{
    shmi_seat_shm *at = &p.shm->seats[0];

    (void)state;
    if (shmi_load_acq_64(&at->owner) == shmi_owner_self(&p.segment[1]))
        model_require(shmi_load_rlx_64(&at->word[0]) == 1);
}

/* Only what the dead one really did.                                      */
static void
seat_look_after(void *state)
{
    shmi_seat_shm *at = &p.shm->seats[0];

    (void)state;
    if (shmi_load_acq_64(&at->owner) == shmi_owner_self(&p.segment[1]))
        p.died = shmi_load_rlx_64(&at->word[0]) == 0;
}

static void
was_not_missed(void *state)
{
    (void)state;
    if (p.died) model_require(shmi_load_rlx_64(&p.shm->seats[0].word[0]) == 0);
}

/* No two sit on one seat; who came after the death found one.             */
static void
seated(void *state)
{
    counted(state);
    if (model_ended(1) && model_ended(2) && p.seat[1] >= 0 && p.seat[2] >= 0)
        model_require(p.seat[1] != p.seat[2]);
    if (p.died && p.seats == 1)
        model_require((p.seat[1] == 0) != (p.seat[2] == 0));
    if (p.died && p.seats == 2)
        model_require(p.seat[1] >= 0 && p.seat[2] >= 0);
}

#define PLACE(n, set, a, b, c, look)                                          \
    .name = n, .state = &p, .state_bytes = sizeof p, .setup = set,            \
    .thread = { a, b, c }, .check = look

static const model_case cases[] = {
    { FOUR("bell_once", fence, ring_0, sleep_0, NULL, NULL,
           one_mark_at_most) },
    { FOUR("bell_once_asymmetric", asymmetric, ring_0, sleep_0, NULL, NULL,
           one_mark_at_most) },
    { FOUR("bell_often", fence, ring_often, sleep_often, NULL, NULL,
           one_mark_at_most) },
    { FOUR("bell_often_asymmetric", asymmetric, ring_often, sleep_often,
           NULL, NULL, one_mark_at_most), .executions = 20000 },
    { FOUR("bell_seq_wraps", wraps, ring_often, sleep_often, NULL, NULL,
           one_mark_at_most) },
    { FOUR("bell_by_turns", fence, ping, pong, NULL, NULL,
           one_mark_at_most), .executions = 20000 },
    { FOUR("bell_by_turns_asymmetric", asymmetric, ping, pong, NULL, NULL,
           one_mark_at_most), .executions = 20000 },
    { FOUR("bell_two_sleepers", fence, ring_0, sleep_0, sleep_0, NULL,
           one_mark_at_most), .executions = 20000 },
    { FOUR("bell_two_ringers", fence, ring_0, ring_1, sleep_both, NULL,
           one_mark_at_most), .executions = 20000 },
    { FOUR("bell_two_and_two", fence, ring_0, ring_1, sleep_0, sleep_1,
           one_mark_at_most), .executions = 20000 },
    { FOUR("bell_two_for_both", asymmetric, ring_0, ring_1, sleep_both,
           sleep_both, one_mark_at_most), .executions = 20000 },
    { FOUR("bell_sleeper_dies", fence, ring_often, sleep_often, NULL, NULL,
           one_mark_at_most), .executions = 2000, DIES(1) },
    { FOUR("bell_one_of_two_dies", fence, ring_0, sleep_0, sleep_0, NULL,
           one_mark_at_most), .executions = 2000, DIES(1) },
    { FOUR("bell_dies_asymmetric", asymmetric, ring_0, sleep_0, sleep_0,
           NULL, one_mark_at_most), .executions = 2000, DIES(1) },
    { FOUR("bell_ringer_dies", patient, ring_0, sleep_0, settle_down, NULL,
           found_out), .timeouts = true, DIES(0) },
    { FOUR("bell_ringer_dies_asymmetric", patient_asymmetric, ring_0,
           sleep_0, settle_down, NULL, found_out), .timeouts = true, DIES(0) },
    /* Published but not rung for: only a look of its own tells a sleeper. */
    { FOUR("bell_ringer_dies_no_look", patient, ring_0, sleep_0,
           ring_instead, NULL, one_mark_at_most),
      .fails_with = "lost wake-up: thread 1", DIES(0) },
    { FOUR("bell_ringer_dies_look", patient, ring_0, sleep_0, ring_instead,
           NULL, found), .timeouts = true, DIES(0) },

    { PLACE("role_race", role_free, role_twice, role_twice, NULL, counted) },
    { PLACE("role_race_of_three", role_free, role_once, role_once,
            role_once, counted), .executions = 20000 },
    { PLACE("role_handed_over", role_taken, role_leave, role_take,
            role_take, counted), .executions = 20000 },
    { PLACE("role_holder_dies", role_taken, role_leave, role_twice,
            role_take, counted), .executions = 2000, DIES(0) },
    { PLACE("role_heirs", role_taken, role_leave, role_after, role_after,
            one_heir), .executions = 20000, DIES(0) },
    { PLACE("seat_race", free_seat, seat_come_and_go, seat_come_and_go,
            NULL, counted), .executions = 20000 },
    { PLACE("seat_seen_by_intent", seat_with_intent, seat_last_word,
            seat_come_in, seat_look, NULL) },
    { PLACE("seat_seen_by_owner", one_seat, seat_last_word, seat_come_in,
            seat_look_at_owner, NULL) },
    { PLACE("seat_seen_after_death", one_seat, seat_last_word_and_die,
            seat_come_in, seat_look_after, was_not_missed), DIES(0) },
    { PLACE("seat_handed_over", one_seat, seat_leave, seat_come, NULL,
            seated) },
    { PLACE("seat_holder_dies", one_seat, seat_leave, seat_come_and_go,
            NULL, counted), .executions = 5000, DIES(0) },
    { PLACE("seat_heirs", one_seat, seat_die, seat_after, seat_after,
            seated), .executions = 5000, DIES(0) },
    { PLACE("seat_heirs_of_two", two_seats, seat_die, seat_after,
            seat_after, seated), .executions = 5000, DIES(0) },
};

int
main(int argc, char **argv)
{
    shmc_log_set(NULL, NULL, 0);      /* it is refused on purpose             */
    return MODEL_MAIN(argc, argv, cases);
}
