/* Shared bytes are untrusted: whatever a peer writes, a call returns, and
 * touches nothing outside the ring (which the sanitizers see, since the ring
 * has exactly the bytes it needs).                                          */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_broadcast.h"

#include "bcast_support.h"

#include <pthread.h>

enum { MAX_BYTES = 500, CALLS = SHMI_TSAN ? 3000 : 20000 };

static uint32_t
random_next(uint32_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 17;
    return *x ^= *x << 5;
}

/* A value that is likely to hurt.                                          */
static uint64_t
nasty(uint32_t *x, uint64_t old)
{
    const uint64_t wide = (uint64_t)random_next(x) << 32 | random_next(x);

    switch (random_next(x) % 8) {
    case 0: return 0;
    case 1: return UINT64_MAX;
    case 2: return wide;
    case 3: return old + random_next(x) % 9 - 4;
    case 4: return old ^ UINT64_C(1) << wide % 64;
    case 5: return old + (UINT64_C(1) << wide % 64);
    case 6: return wide & 0xffff;
    default: return BCAST_DEAD;
    }
}

static void
shape_of(uint32_t seed, shmc_bcast_desc *desc)
{
    memset(desc, 0, sizeof *desc);
    desc->slot_count = 2u << seed % 4;
    desc->max_bytes = MAX_BYTES;
    desc->max_publishers = seed / 4 % 2 ? 3 : 1;
    desc->mode = seed / 8 % 2 ? SHMC_RELIABLE : SHMC_LOSSY;
    desc->max_subscribers = 3;
    desc->arena_bytes = 1280 + 128 * (seed / 16 % 3);
    desc->waitable = 1;
}

/* ---- every call, with whatever there is ------------------------------------ */

static void
publish_somehow(shmc_bcast *h, uint32_t *x)
{
    uint8_t buf[MAX_BYTES] = { 0 };
    const uint32_t bytes = random_next(x) % (MAX_BYTES + 1);
    void *room;
    int r;

    switch (random_next(x) % 8) {
    case 0:
        r = shmc_bcast_loan(h, bytes, &room);
        if (r == SHMC_OK) shmi_copy_in(room, buf, bytes);
        break;
    case 1: r = shmc_bcast_commit(h, bytes); break;
    case 2: r = shmc_bcast_abort(h); break;
    case 3: r = shmc_bcast_send_wait(h, buf, bytes, 20000); break;
    default: r = shmc_bcast_send(h, buf, bytes % 120); break;
    }
    TEST_REQUIRE(r == SHMC_OK || r == SHMC_EAGAIN || r == SHMC_ECORRUPT ||
                 r == SHMC_EBUSY || r == SHMC_EMSGSIZE || r == SHMC_EINVAL ||
                 r == SHMC_ETIMEDOUT);
}

static void
subscribe_somehow(shmc_bcast *h, uint32_t *x)
{
    uint8_t buf[MAX_BYTES];
    const uint32_t cap = random_next(x) % 4 ? MAX_BYTES
                                            : random_next(x) % MAX_BYTES;
    const void *view;
    int r;

    switch (random_next(x) % 8) {
    case 0:
        r = shmc_bcast_borrow(h, &view);
        TEST_REQUIRE(r <= MAX_BYTES);
        if (r > 0) shmi_copy_out(buf, view, (uint32_t)r);
        break;
    case 1: r = shmc_bcast_release(h); break;
    case 2: r = shmc_bcast_next_bytes(h); break;
    case 3: r = shmc_bcast_recv_wait(h, buf, cap, 20000); break;
    default: r = shmc_bcast_recv(h, buf, cap); break;
    }
    TEST_REQUIRE(r <= MAX_BYTES);
    TEST_REQUIRE(r >= 0 || r == SHMC_EAGAIN || r == SHMC_ECORRUPT ||
                 r == SHMC_EBUSY || r == SHMC_EMSGSIZE || r == SHMC_EINVAL ||
                 r == SHMC_ETIMEDOUT || r == SHMC_ELAPPED);
}

/* ---- bytes damaged between calls -------------------------------------------- */

static void
damaged_bytes_are_survived_by_every_call(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 48; seed++) {
        shmc_bcast_desc desc;
        shmc_bcast pub[2], sub[2], observer;
        shmc_bcast_stats stats;
        uint32_t x = seed * 2654435761u;

        shape_of(seed, &desc);
        bcast_ring ring = bcast_ring_make(&desc);
        uint64_t *words = ring.mem;
        const int pubs = desc.max_publishers > 1 ? 2 : 1;
        for (int i = 0; i < pubs; i++) bcast_at(&ring, &pub[i], SHMC_PRODUCER);
        bcast_at(&ring, &sub[0], SHMC_CONSUMER);
        bcast_at(&ring, &sub[1], SHMC_WATCHER);
        bcast_at(&ring, &observer, SHMC_OBSERVER);
        for (int call = 0; call < CALLS / 8; call++) {
            if (random_next(&x) % 4 == 0) {
                const uint64_t i = random_next(&x) % (ring.bytes / 8);
                words[i] = nasty(&x, words[i]);
            }
            publish_somehow(&pub[call % pubs], &x);
            subscribe_somehow(&sub[call % 2], &x);
            if (call % 64 == 0)
                assert_int_equal(shmc_bcast_stats_get(&observer, &stats), SHMC_OK);
        }
        for (int i = 0; i < pubs; i++) shmc_bcast_close(&pub[i]);
        for (int i = 0; i < 2; i++) shmc_bcast_close(&sub[i]);
        bcast_ring_free(&ring);
    }
}

/* ---- bytes damaged before a ring is opened ----------------------------------- */

static void
open_and_use(const bcast_ring *ring, uint32_t role, uint32_t *x)
{
    shmc_bcast h;
    const int32_t history = (int32_t)(random_next(x) % 20) - 2;

    if (shmc_bcast_map(&h, ring->mem, ring->bytes, role, history) != SHMC_OK)
        return;
    for (int i = 0; i < 20; i++) {
        if (role == SHMC_PRODUCER) {
            uint8_t buf[120] = { 0 };
            (void)shmc_bcast_send(&h, buf, random_next(x) % sizeof buf);
        } else {
            uint8_t buf[MAX_BYTES];
            (void)shmc_bcast_recv(&h, buf, sizeof buf);
        }
    }
    shmc_bcast_close(&h);
}

static void
a_ring_with_any_bytes_is_refused_or_can_be_used(void **state)
{
    (void)state;
    uint32_t x = 7, opened = 0;

    for (uint32_t seed = 0; seed < CALLS; seed++) {
        shmc_bcast_desc desc;
        shmc_bcast h;

        shape_of(seed, &desc);
        bcast_ring ring = bcast_ring_make(&desc);
        uint64_t *words = ring.mem;
        /* Some in the first line, some anywhere.                          */
        for (uint32_t n = random_next(&x) % 3; n > 0; n--) {
            const uint32_t i = random_next(&x) % (SHMC_LINE / 8);
            words[i] = nasty(&x, words[i]);
        }
        for (uint32_t n = random_next(&x) % 20; n > 0; n--) {
            const uint64_t i = 16 + random_next(&x) % (ring.bytes / 8 - 16);
            words[i] = nasty(&x, words[i]);
        }
        if (shmc_bcast_map(&h, ring.mem, ring.bytes, SHMC_OBSERVER, 0) == SHMC_OK) {
            opened++;
            shmc_bcast_close(&h);
        }
        open_and_use(&ring, SHMC_PRODUCER, &x);
        open_and_use(&ring, SHMC_CONSUMER, &x);
        open_and_use(&ring, SHMC_WATCHER, &x);
        bcast_ring_free(&ring);
    }
    assert_true(opened > CALLS / 4 && opened < CALLS);
}

/* It would be followed for as long as somebody stamps ahead.              */
static void
a_tail_with_a_ring_of_messages_beyond_it_is_damage(void **state)
{
    const shmc_bcast_desc desc = { .slot_count = 8, .max_publishers = 1 };
    bcast_ring ring = bcast_ring_make(&desc);
    shmc_bcast h;

    (void)state;
    bcast_at(&ring, &h, SHMC_PRODUCER);
    for (uint64_t i = 0; i < 8; i++)
        assert_int_equal(shmc_bcast_send(&h, &i, sizeof i), SHMC_OK);
    shmi_bcast_shm *shm = h.shm;
    assert_int_equal(shmc_bcast_close(&h), SHMC_OK);
    shm->tail = 0;
    assert_int_equal(shmc_bcast_map(&h, ring.mem, ring.bytes, SHMC_PRODUCER, 0),
                     SHMC_ECORRUPT);
    /* One short of it, and the seat is free: the ring can be used.        */
    shm->tail = 1;
    bcast_at(&ring, &h, SHMC_PRODUCER);
    assert_int_equal(shm->tail, 8);
    assert_int_equal(shmc_bcast_close(&h), SHMC_OK);
    bcast_ring_free(&ring);
}

/* ---- bytes damaged meanwhile ------------------------------------------------- */

typedef struct fray {
    shmc_segment segment;
    const char *name;
    bcast_ring ring;                /* mem NULL: in the segment             */
    shmc_bcast_desc desc;
    uint32_t seed, over;
} fray;

static void
fray_open(fray *f, shmc_bcast *h, uint32_t role)
{
    const int r = f->ring.mem != NULL
        ? shmc_bcast_map(h, f->ring.mem, f->ring.bytes, role, 0)
        : shmc_bcast_open(h, &f->segment, "r", &f->desc, role);
    TEST_REQUIRE(r == SHMC_OK);
}

typedef struct fighter {
    pthread_t thread;
    fray *f;
    shmc_bcast h;
    uint32_t role, seed;
} fighter;

static void *
fight(void *arg)
{
    fighter *me = arg;
    uint32_t x = me->seed;

    for (int i = 0; i < CALLS / 4; i++) {
        if (me->role == SHMC_PRODUCER) publish_somehow(&me->h, &x);
        else subscribe_somehow(&me->h, &x);
    }
    TEST_REQUIRE(shmc_bcast_close(&me->h) == SHMC_OK);
    return NULL;
}

/* Write nasty values all over the ring, without a pause.                   */
static void
scribble(void *mem, uint64_t bytes, uint32_t seed, const uint32_t *over)
{
    uint64_t *words = mem;
    uint32_t x = seed;

    while (shmi_load_acq_32(over) == 0) {
        const uint64_t i = random_next(&x) % 8 == 0
                         ? random_next(&x) % 80 + 16    /* tail, bells, seats */
                         : random_next(&x) % (bytes / 8);
        shmi_store_rlx_64(&words[i], nasty(&x, shmi_load_rlx_64(&words[i])));
        if (random_next(&x) % 64 == 0) shmi_yield();
    }
}

static void *
scribble_thread(void *arg)
{
    fray *f = arg;

    scribble(f->ring.mem, f->ring.bytes, f->seed, &f->over);
    return NULL;
}

static void
all_fight(fray *f)
{
    static const uint32_t roles[] = { SHMC_PRODUCER, SHMC_PRODUCER, SHMC_CONSUMER,
                                      SHMC_WATCHER };
    fighter men[4];

    const uint32_t from = f->desc.max_publishers == 1;
    for (uint32_t i = from; i < 4; i++) {
        men[i].f = f;
        men[i].role = roles[i];
        men[i].seed = f->seed * 7919u + i + 1;
        fray_open(f, &men[i].h, roles[i]);
    }
    pthread_t scribbler;
    if (f->ring.mem != NULL)
        assert_int_equal(pthread_create(&scribbler, NULL, scribble_thread, f), 0);
    for (uint32_t i = from; i < 4; i++)
        assert_int_equal(pthread_create(&men[i].thread, NULL, fight, &men[i]), 0);
    for (uint32_t i = from; i < 4; i++)
        assert_int_equal(pthread_join(men[i].thread, NULL), 0);
    shmi_store_rel_32(&f->over, 1);
    if (f->ring.mem != NULL) assert_int_equal(pthread_join(scribbler, NULL), 0);
}

static void
a_scribbling_thread_makes_no_call_hang_or_stray(void **state)
{
    (void)state;
    if (SHMI_TSAN) skip();          /* it would see the scribbler's races   */
    for (uint32_t seed = 1; seed <= 16; seed++) {
        fray f = { .seed = seed };
        shape_of(seed, &f.desc);
        f.ring = bcast_ring_make(&f.desc);
        all_fight(&f);
        bcast_ring_free(&f.ring);
    }
}

typedef struct vandal {
    char name[64];
    uint32_t seed, over, there;
} vandal;

static int
scribble_process(void *arg)
{
    vandal *v = arg;
    shmc_segment s;
    shmc_object_info info;

    TEST_REQUIRE(shmc_segment_attach(&s, v->name, NULL) == SHMC_OK);
    TEST_REQUIRE(shmc_object_info_get(&s, 0, &info) == SHMC_OK);
    shmi_store_rel_32(&v->there, 1);
    scribble(s.base + info.offset, info.bytes, v->seed, &v->over);
    TEST_REQUIRE(shmc_segment_close(&s) == SHMC_OK);
    return 0;
}

static void
a_scribbling_process_makes_no_call_hang_or_stray(void **state)
{
    (void)state;
    const shmc_segment_desc desc = { .flags = SHMC_EPHEMERAL };
    vandal *v = test_shared(sizeof *v);

    for (uint32_t seed = 1; seed <= 16; seed++) {
        fray f = { .seed = seed };
        shmc_bcast first;

        shape_of(seed, &f.desc);
        *v = (vandal){ .seed = seed };
        assert_int_equal(shmc_segment_open(&f.segment, test_name(v->name,
                         sizeof v->name, "vandal"), &desc), SHMC_OK);
        fray_open(&f, &first, SHMC_CONSUMER);
        assert_int_equal(shmc_bcast_close(&first), SHMC_OK);
        const pid_t pid = test_spawn(scribble_process, v);
        while (shmi_load_acq_32(&v->there) == 0) test_sleep_ms(1);
        /* Open before, or after, the worst has happened.                  */
        uint32_t tries = 0;
        for (; tries < 100; tries++) {
            shmc_bcast h;
            const int r = shmc_bcast_open(&h, &f.segment, "r", NULL, SHMC_CONSUMER);
            if (r == SHMC_OK) subscribe_somehow(&h, &f.seed);
            if (r == SHMC_OK) assert_int_equal(shmc_bcast_close(&h), SHMC_OK);
        }
        shmi_store_rel_32(&v->over, 1);
        assert_int_equal(test_join(pid), 0);
        assert_int_equal(shmc_segment_close(&f.segment), SHMC_OK);
    }
    assert_int_equal(shmi_unmap(v, sizeof *v), 0);
}

static void
a_scribbling_process_does_not_stop_those_at_work(void **state)
{
    (void)state;
    const shmc_segment_desc desc = { .flags = SHMC_EPHEMERAL };
    vandal *v = test_shared(sizeof *v);

    for (uint32_t seed = 1; seed <= 16; seed++) {
        fray f = { .seed = seed };
        shmc_bcast keep[4];
        static const uint32_t roles[] = { SHMC_PRODUCER, SHMC_PRODUCER,
                                          SHMC_CONSUMER, SHMC_WATCHER };
        uint32_t x = seed;

        shape_of(seed, &f.desc);
        f.desc.max_publishers = 3;
        *v = (vandal){ .seed = seed };
        assert_int_equal(shmc_segment_open(&f.segment, test_name(v->name,
                         sizeof v->name, "work"), &desc), SHMC_OK);
        for (int i = 0; i < 4; i++) fray_open(&f, &keep[i], roles[i]);
        const pid_t pid = test_spawn(scribble_process, v);
        while (shmi_load_acq_32(&v->there) == 0) test_sleep_ms(1);
        for (int i = 0; i < CALLS / 2; i++) {
            if (i % 4 < 2) publish_somehow(&keep[i % 4], &x);
            else subscribe_somehow(&keep[i % 4], &x);
        }
        shmi_store_rel_32(&v->over, 1);
        assert_int_equal(test_join(pid), 0);
        for (int i = 0; i < 4; i++)
            assert_int_equal(shmc_bcast_close(&keep[i]), SHMC_OK);
        assert_int_equal(shmc_segment_close(&f.segment), SHMC_OK);
    }
    assert_int_equal(shmi_unmap(v, sizeof *v), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_CASE(damaged_bytes_are_survived_by_every_call),
        TEST_CASE(a_ring_with_any_bytes_is_refused_or_can_be_used),
        TEST_CASE(a_tail_with_a_ring_of_messages_beyond_it_is_damage),
        TEST_CASE(a_scribbling_thread_makes_no_call_hang_or_stray),
        TEST_CASE(a_scribbling_process_makes_no_call_hang_or_stray),
        TEST_CASE(a_scribbling_process_does_not_stop_those_at_work),
    };

    shmc_log_set(NULL, NULL, 0);
    return cmocka_run_group_tests_name("bcast_hostile", tests, NULL, NULL);
}
