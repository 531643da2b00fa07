/* Nobody sleeps: then a send makes no system call, and no fence where the
 * segment chose the asymmetric way.  A child is single-stepped through the
 * call, and each instruction that it comes to is looked at.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"
#include "shmcomm_latest.h"
#include "shmcomm_mpmc.h"
#include "shmcomm_recq.h"
#include "crash_harness.h"

enum { SILENT, FENCE, ASYMMETRIC, MODES };
enum { ASLEEP = 1 };

/* One call, in the child, on what its open function opened there.         */
typedef struct call {
    const char *name;
    void (*open)(uint32_t role);
    void (*act)(void);
    uint32_t role, publishers;
    int locked[MODES];              /* locked instructions expected         */
} call;

static const call *the;
static int mode, asleep;
static shmc_segment segment;
static shmc_spsc spsc;
static shmc_recq recq;
static shmc_mpmc mpmc;
static shmc_bcast bcast;
static shmc_latest latest;
static shmc_pub pub;
static shmi_bell_shm *bell;
static uint64_t message[2];
static char name[64];               /* of this walk's segment, or topic     */

static void
open_spsc(uint32_t role)
{
    const shmc_spsc_desc d = { .slot_bytes = 16, .waitable = mode != SILENT };

    TEST_REQUIRE(shmc_spsc_open(&spsc, &segment, "q", &d, role) == SHMC_OK);
    bell = &spsc.lane.shm->readable;
}

static void
open_recq(uint32_t role)
{
    const shmc_recq_desc d = { .waitable = mode != SILENT };

    TEST_REQUIRE(shmc_recq_open(&recq, &segment, "r", &d, role) == SHMC_OK);
    bell = &recq.lane.shm->readable;
}

static void
open_mpmc(uint32_t role)
{
    const shmc_mpmc_desc d = { .slot_bytes = 16, .waitable = mode != SILENT };

    TEST_REQUIRE(shmc_mpmc_open(&mpmc, &segment, "m", &d, role) == SHMC_OK);
    bell = &mpmc.shm->readable;
}

static void
open_bcast(uint32_t role)
{
    const shmc_bcast_desc d = { .max_publishers = the->publishers,
        .max_bytes = 16, .waitable = mode != SILENT };

    TEST_REQUIRE(shmc_bcast_open(&bcast, &segment, "b", &d, role) == SHMC_OK);
    bell = &bcast.shm->readable;
}

static void
open_latest(uint32_t role)
{
    const shmc_latest_desc d = { .value_bytes = 16, .waitable = mode != SILENT };

    TEST_REQUIRE(shmc_latest_open(&latest, &segment, "l", &d, role) == SHMC_OK);
    bell = &latest.shm->readable;
}

/* A topic has a segment of its own, and its ring can always be waited on. */
static void
open_topic(uint32_t role)
{
    const shmc_topic_desc d = { .max_publishers = the->publishers,
        .max_bytes = 16, .dir = crash.dir,
        .wake = mode == ASYMMETRIC ? SHMC_WAKE_ASYMMETRIC : SHMC_WAKE_FENCE };

    (void)role;
    TEST_REQUIRE(shmc_pub_open(&pub, name, &d) == SHMC_OK);
    bell = &pub.ring.shm->readable;
}

static void act_nothing(void) { shmi_fence_compiler(); }
static void act_push(void) { (void)shmc_spsc_push(&spsc, message, 16); }
static void act_write(void) { (void)shmc_recq_push(&recq, message, 16); }
static void act_enqueue(void) { (void)shmc_mpmc_push(&mpmc, message, 16); }
static void act_send(void) { (void)shmc_bcast_send(&bcast, message, 16); }
static void act_latest(void) { (void)shmc_latest_write(&latest, message, 16); }
static void act_pub(void) { (void)shmc_pub_send(&pub, message, 16, 0); }

static const call calls[] = {
    { "spsc push", open_spsc, act_push, SHMC_PRODUCER, 0, { 0, 1, 0 } },
    { "recq push", open_recq, act_write, SHMC_PRODUCER, 0, { 0, 1, 0 } },
    { "mpmc push", open_mpmc, act_enqueue, SHMC_PRODUCER, 0, { 1, 2, 1 } },
    { "bcast send, 1 publisher", open_bcast, act_send, SHMC_PRODUCER, 1,
      { 0, 1, 0 } },
    { "bcast send, 16 publishers", open_bcast, act_send, SHMC_PRODUCER, 16,
      { 1, 2, 1 } },
    { "latest write", open_latest, act_latest, SHMC_PRODUCER, 0, { 0, 1, 0 } },
    { "pub send, 1 publisher", open_topic, act_pub, 0, 1, { 1, 1, 0 } },
    { "pub send, 16 publishers", open_topic, act_pub, 0, 16, { 2, 2, 1 } },
};
static const call nothing = { "nothing", open_spsc, act_nothing, SHMC_PRODUCER,
                              0, { 0, 0, 0 } };

static void
enter(void)
{
    const shmc_segment_desc d = { .flags = SHMC_EPHEMERAL, .dir = crash.dir,
        .wake = mode == ASYMMETRIC ? SHMC_WAKE_ASYMMETRIC : SHMC_WAKE_FENCE };

    TEST_REQUIRE(shmc_segment_open(&segment, name, &d) == SHMC_OK);
    the->open(the->role);
    for (int i = 0; i < 3; i++) the->act();     /* what is linked late      */
    shmi_store_rlx_32(&bell->asleep, (uint32_t)asleep);
}

static void act(void) { the->act(); }

/* Is the next instruction a fence, or one that is also a fence?           */
static bool
is_locked(const uint8_t *pc)
{
#if defined(__x86_64__)
    static const char prefixes[] = "\x66\xf2\xf3\x2e\x36\x3e\x26\x64\x65";

    while (*pc != 0 && strchr(prefixes, *pc) != NULL) pc++;
    if (*pc == 0xf0) return true;                           /* lock         */
    if ((*pc & 0xf0) == 0x40) pc++;                         /* REX          */
    if (*pc == 0x86 || *pc == 0x87) return pc[1] < 0xc0;    /* xchg, memory */
    return pc[0] == 0x0f && pc[1] == 0xae && pc[2] == 0xf0; /* mfence       */
#else
    static const uint8_t dmb_ish[4] = { 0xbf, 0x3b, 0x03, 0xd5 };

    return memcmp(pc, dmb_ish, sizeof dmb_ish) == 0;
#endif
}

typedef struct seen { int instructions, locked, calls; } seen;

/* Take a child through one call.                                          */
static seen
walk(const call *c)
{
    static const crash_case stepped = { .enter = enter, .act = act };
    static int walks;
    seen s = { 0, 0, 0 };

    the = c;
    crash.what = c->name;
    snprintf(name, sizeof name, "s%d", walks++);
    snprintf(crash.where, sizeof crash.where, "%s, mode %d\n", c->name, mode);
    crash_watchdog();
    const pid_t pid = crash_begin(&stepped);
    while (!*crash.over) {
        const uintptr_t pc = crash_pc(pid);
        s.locked += is_locked((const uint8_t *)pc);
        s.calls += crash_at_call(pc);
        s.instructions++;
        crash_resume(PTRACE_SINGLESTEP, pid);
    }
    crash_end(&stepped, pid);
    return s;
}

static void
a_send_to_nobody_asleep_is_quiet(void **state)
{
    (void)state;
    asleep = 0;
    for (mode = SILENT; mode < MODES; mode++) {
        const seen base = walk(&nothing);
        for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
            const seen s = walk(&calls[i]);
            print_message("%-26s mode %d: %3d instructions, %d locked\n",
                          calls[i].name, mode,
                          s.instructions - base.instructions, s.locked);
            CRASH_EQUAL(s.calls, 0);
            assert_true(s.instructions > base.instructions);
#if defined(__x86_64__)
            CRASH_EQUAL(s.locked, calls[i].locked[mode]);
#endif
        }
    }
}

static void
a_send_to_a_sleeper_makes_one_system_call(void **state)
{
    (void)state;
    asleep = ASLEEP;
    for (mode = FENCE; mode < MODES; mode++)
        for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
            CRASH_EQUAL(walk(&calls[i]).calls, 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CRASH_TEST(a_send_to_nobody_asleep_is_quiet),
        CRASH_TEST(a_send_to_a_sleeper_makes_one_system_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
