/* Eight processes race to create or attach, round after round, while some of
 * them are killed at random: no round hangs, tears or leaks.
 *
 * SHMC_ROUNDS in the environment sets the number of rounds.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "core_support.h"

#define RACERS 8

enum { OBJECT_BYTES = 1000, OBJECTS = 3 };

typedef struct race {
    uint32_t round;                 /* that the racers may run              */
    uint32_t flags;                 /* of this round's segment              */
    uint32_t stop;
    uint32_t done[RACERS];          /* the last round that each has run     */
    uint64_t segment[RACERS];       /* which segment it found               */
    uint64_t inits;                 /* all rounds: objects made             */
    uint64_t opens;                 /* all rounds: segments opened          */
} race;

typedef struct racer {
    race *race;
    uint32_t me;
} racer;

static int
fills(void *mem, uint64_t bytes, const void *user)
{
    for (uint64_t i = 0; i < bytes; i++)
        if (((uint8_t *)mem)[i] != 0) return SHMC_ECORRUPT;
    memset(mem, 0x3c, bytes);
    shmi_faa_64(&(*(race *const *)user)->inits, 1);
    return 0;
}

/* Open each object, in an order of our own, and find it whole.            */
static void
race_objects(race *c, uint32_t me, uint32_t round, shmc_segment *s)
{
    static const char *const names[OBJECTS] = { "a", "b/c", "d" };
    shmc_object_desc d = core_object(OBJECT_BYTES);
    shmc_object x;

    d.init = fills;
    d.user = &c;
    d.type_name = "race";
    d.type_hash = shmc_type_hash("race");
    for (uint32_t k = 0; k < OBJECTS; k++) {
        const char *name = names[(k + me + round) % OBJECTS];
        TEST_REQUIRE(shmc_object_open(s, name, &d, &x) == SHMC_OK);
        TEST_REQUIRE(x.bytes == OBJECT_BYTES);
        for (int i = 0; i < OBJECT_BYTES; i++)
            TEST_REQUIRE(((uint8_t *)x.mem)[i] == 0x3c);
        TEST_REQUIRE(shmc_object_close(s, &x) == SHMC_OK);
        if ((me + round) % 5 != 0) continue;
        const int r = shmc_object_remove(s, name);
        TEST_REQUIRE(r == SHMC_OK || r == SHMC_EBUSY || r == SHMC_ENOENT);
    }
}

static int
race_runs(void *arg)
{
    racer *r = arg;
    race *c = r->race;
    const int fds = core_count("/proc/self/fd");

    test_watchdog(240);
    for (uint32_t round = c->done[r->me] + 1; ; round++) {
        core_await(&c->round, round);
        if (shmi_load_acq_32(&c->stop)) break;
        const shmc_segment_desc d = core_desc(c->flags);
        shmc_segment s;
        TEST_REQUIRE(shmc_segment_open(&s, "race", &d) == SHMC_OK);
        shmi_faa_64(&c->opens, 1);
        shmi_store_rel_64(&c->segment[r->me], s.created_ns);
        race_objects(c, r->me, round, &s);
        TEST_REQUIRE(shmc_segment_close(&s) == SHMC_OK);
        core_reach(&c->done[r->me], round);
    }
    return core_count("/proc/self/fd") != fds;
}

/* What the round left: a directory without a trace of those killed.       */
static void
inspect_round(bool may_be_gone)
{
    shmc_segment_info info;
    shmc_object_desc d = core_object(16384);
    shmc_segment s;
    shmc_object x;

    const int r = core_attach(&s, "race", 0);
    if (r == SHMC_ENOENT && may_be_gone) return;
    assert_int_equal(r, SHMC_OK);
    assert_int_equal(shmc_segment_shared(&s), 0);
    assert_int_equal(shmc_segment_info_get(&s, &info), SHMC_OK);
    assert_int_equal(info.participants, 1);
    assert_true(info.objects <= OBJECTS);
    assert_int_equal(info.heap_used_bytes, info.objects * 1024);
    for (uint32_t i = 0; i < s.max_objects; i++) {
        shmc_object_info o;
        const int e = shmc_object_info_get(&s, i, &o);
        assert_true(e == SHMC_OK || e == SHMC_ENOENT);
        if (e != SHMC_OK) continue;
        assert_string_equal(o.type_name, "race");
        assert_int_equal(shmc_object_remove(&s, o.name), SHMC_OK);
    }
    /* With all of them gone the whole heap is free.                       */
    assert_int_equal(shmc_object_open(&s, "all", &d, &x), SHMC_OK);
    shmc_object_close(&s, &x);
    shmc_segment_close(&s);
    if (access(core_path("race"), F_OK) == 0)
        assert_int_equal(core_unlink("race", 0), SHMC_OK);
}

static uint64_t
next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

/* Run one round, and kill one racer in every third.  Returns 1 when one was
 * killed, 2 when it was in the middle of the round.                       */
static int
run_round(race *c, racer *racers, pid_t *pid, uint32_t round, uint64_t random)
{
    const uint32_t victim = random % 3 == 0 ? random / 3 % RACERS : RACERS;
    int killed = 0;

    c->flags = round % 2 ? SHMC_EPHEMERAL : 0;
    memset(c->segment, 0, sizeof c->segment);
    core_reach(&c->round, round);
    if (victim < RACERS) {
        const uint64_t when_ns = shmi_now_ns() + random / 100 % 500000;
        while (shmi_now_ns() < when_ns) shmi_relax();
        test_kill(pid[victim]);
        killed = c->done[victim] < round ? 2 : 1;
    }
    for (uint32_t i = 0; i < RACERS; i++)
        if (i != victim) core_await(&c->done[i], round);
    uint64_t same = 0;
    for (uint32_t i = 0; i < RACERS && c->flags == 0; i++) {
        if (i == victim) continue;  /* all the others found the same one    */
        if (same == 0) same = c->segment[i];
        assert_true(same != 0 && c->segment[i] == same);
    }
    inspect_round(c->flags != 0);
    if (killed) {
        c->done[victim] = round;
        pid[victim] = test_spawn(race_runs, &racers[victim]);
    }
    assert_int_equal(core_count(core_dir), 0);
    return killed;
}

static void
racing_and_dying_processes_leave_every_round_whole(void **state)
{
    const char *given = getenv("SHMC_ROUNDS");
    const uint32_t rounds = given ? (uint32_t)strtoul(given, NULL, 10)
                                  : SHMI_TSAN ? 2000 : 10000;
    race *c = test_shared(sizeof *c);
    racer racers[RACERS];
    pid_t pid[RACERS];
    uint64_t seed = (uint64_t)getpid();
    uint32_t killed = 0, amid = 0;

    (void)state;
    for (uint32_t i = 0; i < RACERS; i++) {
        racers[i].race = c;
        racers[i].me = i;
        pid[i] = test_spawn(race_runs, &racers[i]);
    }
    const uint64_t before = shmi_now_ns();
    for (uint32_t round = 1; round <= rounds; round++) {
        test_watchdog(60);
        const int r = run_round(c, racers, pid, round, next_random(&seed));
        killed += r > 0;
        amid += r > 1;
    }
    const uint64_t after = shmi_now_ns();
    shmi_store_rel_32(&c->stop, 1);
    core_reach(&c->round, rounds + 1);
    for (int i = 0; i < RACERS; i++) assert_int_equal(test_join(pid[i]), 0);
    printf("%u rounds of %d processes, %u killed, %u amid a round, %llu opens, "
           "%llu objects made in %.1f s, seed %d\n", rounds, RACERS, killed, amid,
           (unsigned long long)c->opens, (unsigned long long)c->inits,
           (double)(after - before) / 1e9, (int)getpid());
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_CASE(racing_and_dying_processes_leave_every_round_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
