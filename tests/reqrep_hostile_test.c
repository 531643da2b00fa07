/* Shared bytes are untrusted: whatever a peer writes into a table of calls and
 * its queue, a call returns, and touches nothing outside them (which the
 * sanitizers see).                                                          */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_reqrep.h"

#include "reqrep_support.h"

#include <pthread.h>

enum { BYTES = 300, SEEDS = 24, CALLS = SHMI_TSAN ? 2000 : 12000, GUARD = 256 };

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
    case 5: return old + (UINT64_C(1) << 24);
    case 6: return wide & 0xffff;
    default: return old ^ (wide & 0xffffff);
    }
}

/* A service in memory of our own, exactly as large as it must be.          */
typedef struct world {
    uint8_t *room, *mem;
    uint64_t bytes;
    shmc_segment s;
    shmc_rep rep[2];
    shmc_req req[2];
} world;

static void
world_make(world *w, uint32_t seed)
{
    const shmi_calls_desc d = { .max_request = seed % 2 ? BYTES : 60,
                                .max_reply = seed % 3 ? BYTES : 60,
                                .clients = 2, .each = 1 + seed % 3,
                                .servers = 2 };
    shmc_segment_desc sd;

    memset(w, 0, sizeof *w);
    memset(&sd, 0, sizeof sd);
    sd.heap_bytes = (uint64_t)shmi_calls_size_for(&d);
    sd.max_objects = 2;
    sd.max_participants = 4;
    w->bytes = (uint64_t)shmc_segment_size_for(&sd);
    w->room = malloc(w->bytes + SHMC_LINE + GUARD);
    assert_non_null(w->room);
    w->mem = (uint8_t *)shmi_round_up((uintptr_t)w->room, SHMC_LINE);
    memset(w->mem + w->bytes, 0xa5, GUARD);
    assert_int_equal(shmc_segment_format(w->mem, w->bytes, &sd), SHMC_OK);
    assert_int_equal(shmc_segment_map(&w->s, w->mem, w->bytes), SHMC_OK);
    for (int i = 0; i < 2; i++) {
        shmc_rep *rep = &w->rep[i];
        shmc_req *req = &w->req[i];
        assert_int_equal(shmi_calls_open(&rep->calls, &w->s, &d,
                                         SHMC_CONSUMER), SHMC_OK);
        assert_int_equal(shmi_calls_open(&req->calls, &w->s, NULL,
                                         SHMC_PRODUCER), SHMC_OK);
        req->open = true;
        req->loan = req->view = -1;
        req->wait.epoch = shmi_fork_epoch;
        req->desc.retries = seed / 4 % 3;
        req->desc.need_server = seed / 2 % 2;
        req->first = req->calls.seat * req->calls.each;
        shmi_req_enter(req);
    }
}

static void
world_end(world *w)
{
    for (int i = 0; i < GUARD; i++)
        assert_int_equal(w->mem[w->bytes + (uint64_t)i], 0xa5);
    for (int i = 0; i < 2; i++) {
        shmi_calls_close(&w->rep[i].calls);
        shmi_calls_close(&w->req[i].calls);
    }
    (void)shmc_segment_close(&w->s);
    free(w->room);
}

/* What a call may answer, whatever there is.                                */
static void
sane(int r)
{
    if (r >= 0 || r == SHMC_EAGAIN || r == SHMC_ECORRUPT || r == SHMC_EBUSY ||
        r == SHMC_EMSGSIZE || r == SHMC_EINVAL || r == SHMC_ETIMEDOUT ||
        r == SHMC_EPEERDEAD || r == SHMC_ELIMIT || r == SHMC_ENOENT) return;
    fprintf(stderr, "a call answered %d\n", r);
    TEST_REQUIRE(false);
}

static void
ask_somehow(shmc_req *req, uint32_t *x)
{
    uint8_t buf[BYTES] = { 0 };
    const uint32_t bytes = random_next(x) % (BYTES + 1);
    const void *view;
    void *room;
    int r;

    switch (random_next(x) % 12) {
    case 0:
        r = shmc_req_loan(req, bytes, &room, 0);
        if (r == SHMC_OK) shmi_copy_in(room, buf, bytes);
        break;
    case 1: r = shmc_req_commit(req, bytes, 0); break;
    case 2: r = shmc_req_commit_post(req, bytes, 0); break;
    case 3: r = shmc_req_abort(req); break;
    case 4: r = shmc_req_post(req, buf, bytes, 0); break;
    case 5:
        r = shmc_req_borrow(req, SHMC_ANY_CALL, &view, 0);
        TEST_REQUIRE(r <= BYTES);
        if (r > 0) shmi_copy_out(buf, view, (uint32_t)r);
        break;
    case 6: r = shmc_req_release(req); break;
    case 7:
        r = shmc_req_recv(req, SHMC_ANY_CALL, buf, BYTES, 30000);
        TEST_REQUIRE(r <= BYTES);
        break;
    case 8:
        r = shmc_req_cancel(req, req->call[random_next(x) %
                                           req->calls.each].number);
        break;
    case 9: r = shmc_req_ready(req); break;
    case 10:
        r = shmc_req_call(req, buf, bytes, buf, BYTES, 20000);
        TEST_REQUIRE(r <= BYTES);
        break;
    default: r = shmc_req_send(req, buf, bytes, 0); break;
    }
    sane(r);
}

static void
serve_somehow(shmc_rep *rep, uint32_t *x)
{
    uint8_t buf[BYTES] = { 0 };
    const uint32_t bytes = random_next(x) % (BYTES + 1);
    const void *view;
    void *room;
    int r;

    switch (random_next(x) % 10) {
    case 0:
        r = shmc_rep_loan(rep, bytes, &room, 0);
        if (r == SHMC_OK) shmi_copy_in(room, buf, bytes);
        break;
    case 1: r = shmc_rep_commit(rep, bytes); break;
    case 2: r = shmc_rep_commit_more(rep, bytes); break;
    case 3: r = shmc_rep_abort(rep); break;
    case 4:
        r = shmc_rep_borrow(rep, &view, 0);
        TEST_REQUIRE(r <= BYTES);
        if (r > 0) shmi_copy_out(buf, view, (uint32_t)r);
        break;
    case 5: r = shmc_rep_drop(rep); break;
    case 6: r = shmc_rep_send_more(rep, buf, bytes, 20000); break;
    case 7: r = shmc_rep_wanted(rep); break;
    case 8: r = shmc_rep_send(rep, buf, bytes, 0); break;
    default:
        r = shmc_rep_recv(rep, buf, BYTES, 20000);
        TEST_REQUIRE(r <= BYTES);
        break;
    }
    sane(r);
}

static void
damaged_bytes_are_survived_by_every_call(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= SEEDS; seed++) {
        world w;
        uint32_t x = seed * 2654435761u;

        world_make(&w, seed);
        shmi_calls *c = &w.rep[0].calls;
        uint64_t *words = c->object.mem, *cells = c->queue.object.mem;
        for (int i = 0; i < CALLS / SEEDS; i++) {
            const uint32_t dice = random_next(&x) % 8;
            if (dice == 0) {
                uint64_t *word = &words[random_next(&x) % (c->object.bytes / 8)];
                *word = nasty(&x, *word);
            } else if (dice == 1) {
                uint64_t *word = &cells[random_next(&x) %
                                        (c->queue.object.bytes / 8)];
                *word = nasty(&x, *word);
            }
            ask_somehow(&w.req[random_next(&x) % 2], &x);
            serve_somehow(&w.rep[random_next(&x) % 2], &x);
        }
        world_end(&w);
    }
}

/* ---- bytes damaged during calls ---------------------------------------------- */

typedef struct scribbler {
    world *w;
    uint32_t seed, stop;
} scribbler;

static void *
scribble(void *arg)
{
    scribbler *s = arg;
    const shmi_calls *c = &s->w->rep[0].calls;
    uint64_t *words = c->object.mem, *cells = c->queue.object.mem;
    uint32_t x = s->seed * 747796405u + 1;

    while (shmi_load_acq_32(&s->stop) == 0) {
        /* A queue's messages are copied as such, which ThreadSanitizer takes
         * for a race with us.                                              */
        uint64_t *word = SHMI_TSAN || random_next(&x) % 4
                       ? &words[random_next(&x) % (c->object.bytes / 8)]
                       : &cells[random_next(&x) % (c->queue.object.bytes / 8)];
        shmi_store_rlx_64(word, nasty(&x, shmi_load_rlx_64(word)));
        if (random_next(&x) % 16 == 0) shmi_yield();
    }
    return NULL;
}

static void
a_peer_that_scribbles_meanwhile_is_survived(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 6; seed++) {
        world w;
        scribbler s = { &w, seed, 0 };
        pthread_t thread;
        uint32_t x = seed * 40503u + 7;

        world_make(&w, seed);
        assert_int_equal(pthread_create(&thread, NULL, scribble, &s), 0);
        for (int i = 0; i < CALLS / 12; i++) {
            ask_somehow(&w.req[i % 2], &x);
            serve_somehow(&w.rep[i % 2], &x);
        }
        shmi_store_rel_32(&s.stop, 1);
        assert_int_equal(pthread_join(thread, NULL), 0);
        world_end(&w);
    }
}

/* ---- a damaged first line ------------------------------------------------------ */

static void
a_first_line_that_contradicts_itself_is_refused(void **state)
{
    (void)state;
    world w;
    shmi_calls other;
    const uint64_t bad[] = { 0, 1u << 31, UINT64_MAX, UINT64_C(1) << 32, 1025 };

    world_make(&w, 1);
    shmi_ring_head_shm *h = &w.rep[0].calls.shm->head;
    shmi_calls_close(&w.rep[1].calls);
    for (int field = 0; field < 4; field++) {
        const uint64_t is = h->aux[field];
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            h->aux[field] = bad[i];
            assert_int_equal(shmi_calls_open(&other, &w.s, NULL, SHMC_CONSUMER),
                             SHMC_ECORRUPT);
            assert_null(other.shm);
        }
        h->aux[field] = is;
    }
    const uint32_t seats = h->seats;
    h->seats = 0;
    assert_int_equal(shmi_calls_open(&other, &w.s, NULL, SHMC_CONSUMER),
                     SHMC_ECORRUPT);
    h->seats = seats;
    h->version++;
    assert_int_equal(shmi_calls_open(&other, &w.s, NULL, SHMC_CONSUMER),
                     SHMC_EVERSION);
    h->version--;
    h->magic++;
    assert_int_equal(shmi_calls_open(&other, &w.s, NULL, SHMC_CONSUMER),
                     SHMC_ETYPE);
    h->magic--;
    assert_int_equal(shmi_calls_open(&other, &w.s, NULL, SHMC_CONSUMER), SHMC_OK);
    shmi_calls_close(&other);
    world_end(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SERVICE_CASE(damaged_bytes_are_survived_by_every_call),
        SERVICE_CASE(a_peer_that_scribbles_meanwhile_is_survived),
        SERVICE_CASE(a_first_line_that_contradicts_itself_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
