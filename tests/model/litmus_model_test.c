/* The model checker itself: shapes whose outcomes are known.              */
#include "model/model_case.h"

typedef struct litmus {
    uint32_t *x, *y, *z;
    uint64_t *data;
    uint32_t r[4];
} litmus;

static litmus s;

static void
setup(void *state)
{
    (void)state;
    s.x = (uint32_t *)model_alloc(4);
    s.y = (uint32_t *)model_alloc(4);
    s.z = (uint32_t *)model_alloc(4);
    s.data = (uint64_t *)model_alloc(8);
    model_name(s.x, "x");
    model_name(s.y, "y");
    model_name(s.z, "z");
    model_name(s.data, "data");
}

static void
two_results(void *state)
{
    (void)state;
    model_outcome(s.r[0] + 2 * s.r[1]);
}

#define THREAD(name) static void name(void *state)
#define USED (void)state

/* ---- store buffering --------------------------------------------------- */

THREAD(sb_0) { USED; shmi_store_rel_32(s.x, 1); s.r[0] = shmi_load_acq_32(s.y); }
THREAD(sb_1) { USED; shmi_store_rel_32(s.y, 1); s.r[1] = shmi_load_acq_32(s.x); }
THREAD(sb_fence_0)
{
    USED;
    shmi_store_rlx_32(s.x, 1);
    shmi_fence_sc();
    s.r[0] = shmi_load_rlx_32(s.y);
}
THREAD(sb_fence_1)
{
    USED;
    shmi_store_rlx_32(s.y, 1);
    shmi_fence_sc();
    s.r[1] = shmi_load_rlx_32(s.x);
}
THREAD(sb_barrier_0)
{
    USED;
    shmi_store_rlx_32(s.x, 1);
    (void)shmi_membarrier();
    s.r[0] = shmi_load_rlx_32(s.y);
}
THREAD(sb_plain_1)
{
    USED;
    shmi_store_rlx_32(s.y, 1);
    s.r[1] = shmi_load_rlx_32(s.x);
}

/* ---- message passing --------------------------------------------------- */

THREAD(mp_rel) { USED; shmi_store_rlx_32(s.x, 1); shmi_store_rel_32(s.y, 1); }
THREAD(mp_rlx) { USED; shmi_store_rlx_32(s.x, 1); shmi_store_rlx_32(s.y, 1); }
THREAD(mp_fence_rel)
{
    USED;
    shmi_store_rlx_32(s.x, 1);
    shmi_fence_rel();
    shmi_store_rlx_32(s.y, 1);
}
THREAD(mp_read_acq)
{
    USED;
    s.r[0] = shmi_load_acq_32(s.y);
    s.r[1] = shmi_load_rlx_32(s.x);
}
THREAD(mp_read_rlx)
{
    USED;
    s.r[0] = shmi_load_rlx_32(s.y);
    s.r[1] = shmi_load_rlx_32(s.x);
}
THREAD(mp_read_fence)
{
    USED;
    s.r[0] = shmi_load_rlx_32(s.y);
    shmi_fence_acq();
    s.r[1] = shmi_load_rlx_32(s.x);
}

/* ---- coherence, IRIW, 2+2W, load buffering ------------------------------ */

THREAD(write_x) { USED; shmi_store_rlx_32(s.x, 1); }
THREAD(write_x_rel) { USED; shmi_store_rel_32(s.x, 1); }
THREAD(write_y_rel) { USED; shmi_store_rel_32(s.y, 1); }
THREAD(corr)
{
    USED;
    s.r[0] = shmi_load_rlx_32(s.x);
    s.r[1] = shmi_load_rlx_32(s.x);
}
THREAD(iriw_0)
{
    USED;
    s.r[0] = shmi_load_acq_32(s.x);
    s.r[1] = shmi_load_acq_32(s.y);
}
THREAD(iriw_1)
{
    USED;
    s.r[2] = shmi_load_acq_32(s.y);
    s.r[3] = shmi_load_acq_32(s.x);
}
THREAD(iriw_fence_0)
{
    USED;
    s.r[0] = shmi_load_rlx_32(s.x);
    shmi_fence_sc();
    s.r[1] = shmi_load_rlx_32(s.y);
}
THREAD(iriw_fence_1)
{
    USED;
    s.r[2] = shmi_load_rlx_32(s.y);
    shmi_fence_sc();
    s.r[3] = shmi_load_rlx_32(s.x);
}
static void
four_results(void *state)
{
    (void)state;
    model_outcome(s.r[0] + 2 * s.r[1] + 4 * s.r[2] + 8 * s.r[3]);
}
THREAD(w22_0) { USED; shmi_store_rlx_32(s.x, 1); shmi_store_rlx_32(s.y, 2); }
THREAD(w22_1) { USED; shmi_store_rlx_32(s.y, 1); shmi_store_rlx_32(s.x, 2); }
THREAD(w22_fence_0)
{
    USED;
    shmi_store_rlx_32(s.x, 1);
    shmi_fence_sc();
    shmi_store_rlx_32(s.y, 2);
}
THREAD(w22_fence_1)
{
    USED;
    shmi_store_rlx_32(s.y, 1);
    shmi_fence_sc();
    shmi_store_rlx_32(s.x, 2);
}
static void
w22_result(void *state)
{
    (void)state;
    model_outcome((shmi_load_rlx_32(s.x) - 1) +
                  2 * (shmi_load_rlx_32(s.y) - 1));
}
THREAD(lb_0) { USED; s.r[0] = shmi_load_rlx_32(s.x); shmi_store_rlx_32(s.y, 1); }
THREAD(lb_1) { USED; s.r[1] = shmi_load_rlx_32(s.y); shmi_store_rlx_32(s.x, 1); }

/* ---- read-modify-write -------------------------------------------------- */

THREAD(add_x) { USED; (void)shmi_faa_32(s.x, 1); }
THREAD(cas_x)
{
    uint32_t seen = 0;
    USED;
    s.r[model_self()] = shmi_cas_32(s.x, &seen, 1);
}
THREAD(lock_x) { USED; s.r[model_self()] = shmi_swap_32(s.x, 1); }
static void
sum_is_three(void *state)
{
    (void)state;
    model_require(shmi_load_rlx_32(s.x) == 3);
}
static void
one_of_two_won(void *state)
{
    (void)state;
    model_require(s.r[0] + s.r[1] == 1);
}
/* A failed CAS may say an older value than the newest, as a load may.     */
THREAD(twice_x) { USED; shmi_store_rlx_32(s.x, 1); shmi_store_rlx_32(s.x, 2); }
THREAD(cas_fails)
{
    uint32_t seen = 7;
    USED;
    (void)shmi_cas_32(s.x, &seen, 9);
    s.r[0] = seen;
}
static void
one_result(void *state)
{
    (void)state;
    model_outcome(s.r[0]);
}

/* Who sees y and then takes x from 0 to 2 comes before the store of 1, if
 * nothing orders the two stores; after it, and fails, if they are ordered.  */
THREAD(take_x_acq)
{
    uint32_t seen = 0;
    USED;
    s.r[0] = shmi_load_acq_32(s.y);
    s.r[1] = s.r[0] && shmi_cas_32(s.x, &seen, 2);
}
/* Adders read one after the other, so that no store gets between.         */
THREAD(store_8) { USED; shmi_store_rlx_32(s.x, 8); }
static void
added_result(void *state)
{
    (void)state;
    model_outcome(shmi_load_rlx_32(s.x));
}

/* Release sequence: the RMW of another thread carries the release on; a
 * relaxed store of another thread does not.                               */
THREAD(rs_head) { USED; model_write_64(s.data, 7); shmi_store_rel_32(s.y, 1); }
THREAD(rs_rmw)
{
    uint32_t seen = 1;
    USED;
    (void)shmi_cas_32(s.y, &seen, 2);
}
THREAD(rs_store)
{
    USED;
    if (shmi_load_rlx_32(s.y) == 1) shmi_store_rlx_32(s.y, 2);
}
THREAD(rs_read)
{
    USED;
    if (shmi_load_acq_32(s.y) == 2) model_require(model_read_64(s.data) == 7);
}

/* ---- data races --------------------------------------------------------- */

THREAD(race_write) { USED; model_write_64(s.data, 1); shmi_store_rlx_32(s.y, 1); }
THREAD(race_read)
{
    USED;
    if (shmi_load_acq_32(s.y)) (void)model_read_64(s.data);
}
/* Read first, write after: what a ring's R2 -> A2 is there for.           */
THREAD(reuse_read)
{
    USED;
    (void)model_read_64(s.data);
    shmi_store_rlx_32(s.y, 1);
}
THREAD(reuse_read_rel)
{
    USED;
    (void)model_read_64(s.data);
    shmi_store_rel_32(s.y, 1);
}
THREAD(reuse_write)
{
    USED;
    if (shmi_load_acq_32(s.y)) model_write_64(s.data, 1);
}
THREAD(poke) { USED; *(volatile uint32_t *)s.x = 1; }
THREAD(wide) { USED; (void)shmi_load_rlx_64((uint64_t *)(void *)s.x); }

/* ---- waits -------------------------------------------------------------- */

THREAD(wait_x)
{
    USED;
    while (shmi_load_acq_32(s.x) == 0) (void)shmi_wait_32(s.x, 0, SHMI_FOREVER);
}
THREAD(wake_x) { USED; shmi_store_rel_32(s.x, 1); shmi_wake_32(s.x, INT_MAX); }
THREAD(no_wake_x) { USED; shmi_store_rel_32(s.x, 1); }
THREAD(early_wake_x) { USED; shmi_wake_32(s.x, 1); shmi_store_rel_32(s.x, 1); }

/* A bell: y is `asleep`, x the news, z the count; without a fence the
 * sleeper's mark and the ringer's news pass each other.                   */
static void
bell_ring(bool fence)
{
    shmi_store_rel_32(s.x, 1);
    if (fence) shmi_fence_sc();
    if (shmi_load_rlx_32(s.y) == 0) return;
    (void)shmi_faa_32(s.z, 1);
    shmi_wake_32(s.z, INT_MAX);
}
static void
bell_sleep(bool fence)
{
    const uint32_t seq = shmi_load_acq_32(s.z);
    shmi_store_rlx_32(s.y, 1);
    if (fence) shmi_fence_sc();
    if (shmi_load_acq_32(s.x) == 0) (void)shmi_wait_32(s.z, seq, SHMI_FOREVER);
}
THREAD(ring) { USED; bell_ring(true); }
THREAD(ring_bare) { USED; bell_ring(false); }
THREAD(sleep_on) { USED; bell_sleep(true); }
THREAD(sleep_bare) { USED; bell_sleep(false); }

/* ---- death -------------------------------------------------------------- */

THREAD(dies) { USED; model_write_64(s.data, 1); shmi_store_rel_32(s.x, 1); }
THREAD(heir)
{
    USED;
    s.r[0] = model_await_end(0);
    s.r[1] = shmi_load_rlx_32(s.x);
    s.r[2] = (uint32_t)model_read_64(s.data);
}
THREAD(asks)
{
    USED;
    s.r[0] = (uint32_t)model_lock_probe(0, 0);
    if (!s.r[0]) s.r[1] = shmi_load_rlx_32(s.x);
}
static void
asks_result(void *state)
{
    (void)state;
    model_outcome(s.r[0] + 2 * s.r[1]);
}
static void
heir_result(void *state)
{
    (void)state;
    model_require(s.r[1] <= s.r[2]);
    model_outcome(s.r[0] + 2 * s.r[1] + 4 * s.r[2]);
}

#define BIT(n) (UINT64_C(1) << (n))
#define TEST(n) .name = n, .state = &s, .state_bytes = sizeof s, .setup = setup

static const model_case cases[] = {
    { TEST("sb"), .thread = { sb_0, sb_1 }, .check = two_results,
      .outcomes = 0xf },
    { TEST("sb_fence"), .thread = { sb_fence_0, sb_fence_1 },
      .check = two_results, .outcomes = 0xe },
    { TEST("sb_one_fence"), .thread = { sb_fence_0, sb_plain_1 },
      .check = two_results, .outcomes = 0xf },
    { TEST("sb_membarrier"), .thread = { sb_barrier_0, sb_plain_1 },
      .check = two_results, .outcomes = 0xe },
    { TEST("mp"), .thread = { mp_rel, mp_read_acq }, .check = two_results,
      .outcomes = BIT(0) | BIT(2) | BIT(3) },
    { TEST("mp_fences"), .thread = { mp_fence_rel, mp_read_fence },
      .check = two_results, .outcomes = BIT(0) | BIT(2) | BIT(3) },
    { TEST("mp_fence_and_store"), .thread = { mp_rel, mp_read_fence },
      .check = two_results, .outcomes = BIT(0) | BIT(2) | BIT(3) },
    { TEST("mp_no_release"), .thread = { mp_rlx, mp_read_acq },
      .check = two_results, .outcomes = 0xf },
    { TEST("mp_no_acquire"), .thread = { mp_rel, mp_read_rlx },
      .check = two_results, .outcomes = 0xf },
    { TEST("corr"), .thread = { write_x, corr }, .check = two_results,
      .outcomes = BIT(0) | BIT(2) | BIT(3) },
    { TEST("iriw"), .thread = { write_x_rel, write_y_rel, iriw_0, iriw_1 },
      .check = four_results, .outcomes = 0xffff },
    { TEST("iriw_fences"),
      .thread = { write_x_rel, write_y_rel, iriw_fence_0, iriw_fence_1 },
      .check = four_results, .outcomes = 0xffff & ~BIT(1 + 4) },
    { TEST("2+2w"), .thread = { w22_0, w22_1 }, .check = w22_result,
      .outcomes = 0xf },
    { TEST("2+2w_fences"), .thread = { w22_fence_0, w22_fence_1 },
      .check = w22_result, .outcomes = 0xe },
    { TEST("mp_cas"), .thread = { mp_rel, take_x_acq }, .check = two_results,
      .outcomes = BIT(0) | BIT(1) },
    { TEST("mp_cas_no_release"), .thread = { mp_rlx, take_x_acq },
      .check = two_results, .outcomes = BIT(0) | BIT(1) | BIT(3) },
    { TEST("add_and_store"), .thread = { add_x, add_x, store_8 },
      .check = added_result, .outcomes = BIT(8) | BIT(9) | BIT(10) },
    { TEST("lb"), .thread = { lb_0, lb_1 }, .check = two_results,
      .outcomes = BIT(0) | BIT(1) | BIT(2) },
    { TEST("rmw_sum"), .thread = { add_x, add_x, add_x },
      .check = sum_is_three },
    { TEST("cas_one_wins"), .thread = { cas_x, cas_x },
      .check = one_of_two_won },
    { TEST("swap_one_wins"), .thread = { lock_x, lock_x },
      .check = one_of_two_won },
    { TEST("cas_fails_with_old"), .thread = { twice_x, cas_fails },
      .check = one_result, .outcomes = 0x7 },
    { TEST("release_sequence"), .thread = { rs_head, rs_rmw, rs_read } },
    { TEST("release_sequence_cut"), .thread = { rs_head, rs_store, rs_read },
      .fails_with = "data race" },
    { TEST("race"), .thread = { race_write, race_read },
      .fails_with = "data race on data" },
    { TEST("race_reuse"), .thread = { reuse_read, reuse_write },
      .fails_with = "plain read of thread 0, plain write of thread 1" },
    { TEST("no_race_reuse"), .thread = { reuse_read_rel, reuse_write } },
    { TEST("sizes"), .thread = { write_x, wide },
      .fails_with = "with 4 and with 8 bytes" },
    { TEST("wait"), .thread = { wait_x, wake_x } },
    { TEST("wait_two"), .thread = { wait_x, wait_x, wake_x } },
    { TEST("wait_no_wake"), .thread = { wait_x, no_wake_x },
      .fails_with = "lost wake-up" },
    { TEST("wait_early_wake"), .thread = { wait_x, early_wake_x },
      .fails_with = "lost wake-up" },
    { TEST("bell"), .thread = { ring, sleep_on } },
    { TEST("bell_ring_bare"), .thread = { ring_bare, sleep_on },
      .fails_with = "lost wake-up" },
    { TEST("bell_sleep_bare"), .thread = { ring, sleep_bare },
      .fails_with = "lost wake-up" },
    { TEST("heir"), .thread = { dies, heir }, .check = heir_result,
      .stop = MODEL_KILL, .outcomes = BIT(1) | BIT(5) | BIT(6) },
    { TEST("asks"), .thread = { dies, asks }, .check = asks_result,
      .stop = MODEL_KILL, .outcomes = BIT(0) | BIT(1) },
    { TEST("frozen"), .thread = { mp_rel, mp_read_acq },
      .check = two_results, .stop = MODEL_FREEZE,
      .outcomes = BIT(0) | BIT(2) | BIT(3) },
};

int
main(int argc, char **argv)
{
    (void)poke;
    return MODEL_MAIN(argc, argv, cases);
}
