/* REQ/REP sockets in one process: what each call answers, who comes first or
 * last, and what a service's shape is.                                     */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_reqrep.h"
#include "shmcomm_poll.h"

#include "reqrep_support.h"

#include <pthread.h>

static const char service[] = "robot/plan";

static void
rep_open(shmc_rep *rep, const shmc_rep_desc *desc)
{
    const int r = shmc_rep_open(rep, service, desc);

    if (r != SHMC_OK) fprintf(stderr, "%s\n", shmc_last_error());
    assert_int_equal(r, SHMC_OK);
}

static void
req_open(shmc_req *req, const shmc_req_desc *desc)
{
    assert_int_equal(shmc_req_open(req, service, desc), SHMC_OK);
}

static int
ask(shmc_req *req, const char *text)
{
    const int call = shmc_req_send(req, text, (uint32_t)strlen(text) + 1, 0);

    assert_true(call > 0);
    return call;
}

/* The server finds this request.                                           */
static void
hear(shmc_rep *rep, const char *text)
{
    char buf[256] = "";
    const int r = shmc_rep_recv(rep, buf, sizeof buf, 0);

    assert_int_equal(r, strlen(text) + 1);
    assert_string_equal(buf, text);
}

static void
answer(shmc_rep *rep, const char *text)
{
    assert_int_equal(shmc_rep_send(rep, text, (uint32_t)strlen(text) + 1, 0),
                     SHMC_OK);
}

/* The client finds this answer.                                            */
static void
learn(shmc_req *req, int call, const char *text)
{
    char buf[256] = "";
    const int r = shmc_req_recv(req, call, buf, sizeof buf, 0);

    assert_int_equal(r, strlen(text) + 1);
    assert_string_equal(buf, text);
}

static int
req_recv(shmc_req *req, int call)
{
    char buf[256];

    return shmc_req_recv(req, call, buf, sizeof buf, 0);
}

static int
rep_recv(shmc_rep *rep)
{
    char buf[256];

    return shmc_rep_recv(rep, buf, sizeof buf, 0);
}

static void
pair_close(shmc_rep *rep, shmc_req *req)
{
    assert_int_equal(shmc_req_close(req), SHMC_OK);
    assert_int_equal(shmc_rep_close(rep), SHMC_OK);
}

/* ---- asking and answering ------------------------------------------------ */

static void
hello_world(void **state)
{
    (void)state;
    shmc_rep rep;
    shmc_req req;

    rep_open(&rep, NULL);
    req_open(&req, NULL);
    assert_int_equal(rep_recv(&rep), SHMC_EAGAIN);
    /* The fortieth exchange works like the first.                          */
    for (int i = 0; i < 40; i++) {
        const int call = ask(&req, "hello");
        assert_int_equal(req_recv(&req, call), SHMC_EAGAIN);
        hear(&rep, "hello");
        assert_int_equal(rep_recv(&rep), SHMC_EBUSY);
        answer(&rep, "world");
        learn(&req, call, "world");
        assert_int_equal(shmc_req_from(&req), call);
        assert_false(shmc_req_more(&req));
        assert_int_equal(req_recv(&req, call), SHMC_EINVAL);
        assert_int_equal(shmc_rep_send(&rep, "", 0, 0), SHMC_EINVAL);
    }
    pair_close(&rep, &req);
}

static void
messages_of_every_size_travel_whole(void **state)
{
    (void)state;
    static uint8_t out[5000], in[5000];
    const uint32_t sizes[] = { 0, 1, 40, 41, 47, 48, 49, 64, 103, 104, 105, 111,
                               112, 113, 128, 1000, 4095, 4096 };
    const uint32_t count = sizeof sizes / sizeof sizes[0];
    shmc_rep rep;
    shmc_req req;

    rep_open(&rep, NULL);
    req_open(&req, NULL);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t bytes = sizes[i], back = sizes[count - 1 - i];
        service_fill(out, i, bytes);
        const int call = shmc_req_send(&req, out, bytes, 0);
        assert_true(call > 0);
        assert_int_equal(shmc_rep_recv(&rep, in, sizeof in, 0), bytes);
        assert_true(service_filled(in, i, bytes));
        service_fill(out, i + 1000, back);
        assert_int_equal(shmc_rep_send(&rep, out, back, 0), SHMC_OK);
        assert_int_equal(shmc_req_recv(&req, call, in, sizeof in, 0), back);
        assert_true(service_filled(in, i + 1000, back));
    }
    assert_int_equal(shmc_req_send(&req, out, 4097, 0), SHMC_EMSGSIZE);
    (void)ask(&req, "x");
    hear(&rep, "x");
    assert_int_equal(shmc_rep_send(&rep, out, 4097, 0), SHMC_EMSGSIZE);
    answer(&rep, "y");
    learn(&req, SHMC_ANY_CALL, "y");
    pair_close(&rep, &req);
}

static void
small_shapes_have_no_areas(void **state)
{
    (void)state;
    shmc_rep rep;
    shmc_req req;
    void *room;
    const shmc_rep_desc d = { .max_bytes = 8, .max_reply_bytes = 100,
                              .max_clients = 1, .max_outstanding = 1,
                              .max_servers = 1 };

    rep_open(&rep, &d);
    req_open(&req, NULL);
    assert_int_equal(shmc_req_send(&req, "123456789", 9, 0), SHMC_EMSGSIZE);
    assert_int_equal(shmc_req_loan(&req, 9, &room, 0), SHMC_EMSGSIZE);
    for (int i = 0; i < 5; i++) {
        const int call = ask(&req, "1234567");
        assert_int_equal(shmc_req_send(&req, "", 0, 0), SHMC_ELIMIT);
        hear(&rep, "1234567");
        assert_int_equal(shmc_rep_loan(&rep, 101, &room, 0), SHMC_EMSGSIZE);
        answer(&rep, "ok");
        learn(&req, call, "ok");
    }
    pair_close(&rep, &req);
}

static void
a_message_that_does_not_fit_stays(void **state)
{
    (void)state;
    char buf[4];
    shmc_rep rep;
    shmc_req req;

    rep_open(&rep, NULL);
    req_open(&req, NULL);
    const int call = ask(&req, "a long one");
    assert_int_equal(shmc_rep_recv(&rep, buf, sizeof buf, 0), SHMC_EMSGSIZE);
    assert_int_equal(shmc_rep_send(&rep, "", 0, 0), SHMC_EINVAL);
    hear(&rep, "a long one");
    answer(&rep, "another long one");
    assert_int_equal(shmc_req_recv(&req, call, buf, sizeof buf, 0),
                     SHMC_EMSGSIZE);
    learn(&req, call, "another long one");
    pair_close(&rep, &req);
}

static void
many_calls_are_answered_in_any_order(void **state)
{
    (void)state;
    enum { EACH = 64, SERVERS = 3 };
    const shmc_rep_desc d = { .max_outstanding = EACH };
    shmc_rep rep[SERVERS];
    shmc_req req;
    int calls[EACH];
    uint32_t n, numbers[SERVERS];

    for (int i = 0; i < SERVERS; i++) rep_open(&rep[i], &d);
    req_open(&req, NULL);
    for (uint32_t round = 0; round < 3; round++) {
        for (n = 0; n < EACH; n++) {
            calls[n] = shmc_req_send(&req, &n, sizeof n, 0);
            assert_true(calls[n] > 0);
            for (uint32_t k = 0; k < n; k++)
                assert_int_not_equal(calls[k], calls[n]);
        }
        assert_int_equal(shmc_req_send(&req, &n, sizeof n, 1000000),
                         SHMC_ELIMIT);
        for (n = 0; n + SERVERS <= EACH; n += SERVERS) {
            for (int i = 0; i < SERVERS; i++)
                assert_int_equal(shmc_rep_recv(&rep[i], &numbers[i], 4, 0), 4);
            for (int i = SERVERS - 1; i >= 0; i--)
                assert_int_equal(shmc_rep_send(&rep[i], &numbers[i], 4, 0),
                                 SHMC_OK);
        }
        for (; n < EACH; n++) {
            assert_int_equal(shmc_rep_recv(&rep[0], &numbers[0], 4, 0), 4);
            assert_int_equal(shmc_rep_send(&rep[0], &numbers[0], 4, 0), SHMC_OK);
        }
        /* Some by their number, the rest as they come.                     */
        for (n = 10; n < 20; n++) {
            uint32_t got = 0;
            assert_int_equal(shmc_req_recv(&req, calls[n], &got, 4, 0), 4);
            assert_int_equal(got, n);
        }
        for (n = 10; n < EACH; n++) {
            uint32_t got = 0;
            assert_int_equal(shmc_req_recv(&req, SHMC_ANY_CALL, &got, 4, 0), 4);
            assert_true(got < EACH && calls[got] == shmc_req_from(&req));
        }
        assert_int_equal(req_recv(&req, SHMC_ANY_CALL), SHMC_EINVAL);
    }
    assert_int_equal(shmc_req_close(&req), SHMC_OK);
    for (int i = 0; i < SERVERS; i++)
        assert_int_equal(shmc_rep_close(&rep[i]), SHMC_OK);
}

static void
clients_do_not_get_each_others_answers(void **state)
{
    (void)state;
    shmc_rep rep;
    shmc_req a, b;

    rep_open(&rep, NULL);
    req_open(&a, NULL);
    req_open(&b, NULL);
    const int from_a = ask(&a, "a"), from_b = ask(&b, "b");
    hear(&rep, "a");
    answer(&rep, "to a");
    assert_int_equal(req_recv(&b, SHMC_ANY_CALL), SHMC_EAGAIN);
    hear(&rep, "b");
    answer(&rep, "to b");
    learn(&b, from_b, "to b");
    learn(&a, from_a, "to a");
    assert_int_equal(shmc_req_close(&b), SHMC_OK);
    pair_close(&rep, &a);
}

/* ---- in place ------------------------------------------------------------ */

static void
both_sides_write_and_read_in_place(void **state)
{
    (void)state;
    static const uint32_t sizes[] = { 0, 24, 104, 112, 105, 3000, 4096 };
    shmc_rep rep;
    shmc_req req;
    void *room;
    const void *view;

    rep_open(&rep, NULL);
    req_open(&req, NULL);
    for (uint32_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const uint32_t bytes = sizes[i];
        assert_int_equal(shmc_req_loan(&req, 4096, &room, 0), SHMC_OK);
        assert_int_equal((uintptr_t)room % 8, 0);
        assert_int_equal(shmc_req_loan(&req, 1, &room, 0), SHMC_EBUSY);
        assert_null(room);
        assert_int_equal(shmc_req_send(&req, "", 0, 0), SHMC_EBUSY);
        assert_int_equal(shmc_req_abort(&req), SHMC_OK);
        assert_int_equal(shmc_req_abort(&req), SHMC_EINVAL);
        assert_int_equal(shmc_req_loan(&req, bytes, &room, 0), SHMC_OK);
        service_fill(room, i, bytes);
        assert_int_equal(shmc_req_commit(&req, bytes + 1, 0), SHMC_EMSGSIZE);
        const int call = shmc_req_commit(&req, bytes, 0);
        assert_true(call > 0);
        assert_int_equal(shmc_req_commit(&req, bytes, 0), SHMC_EINVAL);
        assert_int_equal(shmc_rep_borrow(&rep, &view, 0), bytes);
        assert_true(service_filled(view, i, bytes));
        assert_int_equal(shmc_rep_release(&rep), SHMC_OK);
        assert_int_equal(shmc_rep_release(&rep), SHMC_EINVAL);
        assert_int_equal(shmc_rep_commit(&rep, 0), SHMC_EINVAL);
        assert_int_equal(shmc_rep_loan(&rep, 4096, &room, 0), SHMC_OK);
        assert_int_equal(shmc_rep_send(&rep, "", 0, 0), SHMC_EBUSY);
        assert_int_equal(shmc_rep_abort(&rep), SHMC_OK);
        assert_int_equal(shmc_rep_abort(&rep), SHMC_EINVAL);
        assert_int_equal(shmc_rep_loan(&rep, bytes, &room, 0), SHMC_OK);
        service_fill(room, i + 50, bytes);
        assert_int_equal(shmc_rep_commit(&rep, bytes + 1), SHMC_EMSGSIZE);
        assert_int_equal(shmc_rep_commit(&rep, bytes), SHMC_OK);
        assert_int_equal(shmc_req_borrow(&req, call, &view, 0), bytes);
        assert_true(service_filled(view, i + 50, bytes));
        assert_int_equal(req_recv(&req, call), SHMC_EBUSY);
        assert_int_equal(shmc_req_ready(&req), SHMC_EBUSY);
        assert_int_equal(shmc_req_release(&req), SHMC_OK);
        assert_int_equal(shmc_req_release(&req), SHMC_EINVAL);
    }
    pair_close(&rep, &req);
}

/* Less than was lent comes from where it was lent.                         */
static void
a_loan_may_be_committed_in_part(void **state)
{
    (void)state;
    char buf[16] = "";
    shmc_rep rep;
    shmc_req req;
    void *room;

    rep_open(&rep, NULL);
    req_open(&req, NULL);
    assert_int_equal(shmc_req_loan(&req, 4000, &room, 0), SHMC_OK);
    memcpy(room, "short", 6);
    const int call = shmc_req_commit(&req, 6, 0);
    hear(&rep, "short");
    assert_int_equal(shmc_rep_loan(&rep, 4000, &room, 0), SHMC_OK);
    memcpy(room, "brief", 6);
    assert_int_equal(shmc_rep_commit(&rep, 6), SHMC_OK);
    assert_int_equal(shmc_req_recv(&req, call, buf, sizeof buf, 0), 6);
    assert_string_equal(buf, "brief");
    pair_close(&rep, &req);
}

/* ---- giving up ----------------------------------------------------------- */

static void
a_withdrawn_request_reaches_nobody(void **state)
{
    (void)state;
    shmc_rep rep;
    shmc_req req;

    rep_open(&rep, NULL);
    req_open(&req, NULL);
    for (int i = 0; i < 100; i++) {
        const int call = ask(&req, "never mind");
        assert_int_equal(shmc_req_cancel(&req, call), 1);
        assert_int_equal(shmc_req_cancel(&req, call), SHMC_EINVAL);
        assert_int_equal(req_recv(&req, call), SHMC_EINVAL);
    }
    const int call = ask(&req, "this one");
    hear(&rep, "this one");
    assert_int_equal(rep.passed, 100);
    answer(&rep, "yes");
    learn(&req, call, "yes");
    pair_close(&rep, &req);
}

static void
a_late_answer_is_refused_and_answers_nothing_else(void **state)
{
    (void)state;
    shmc_rep rep, other;
    shmc_req req;

    rep_open(&rep, NULL);
    rep_open(&other, NULL);
    req_open(&req, NULL);
    const int first = ask(&req, "first");
    hear(&rep, "first");
    assert_int_equal(shmc_rep_wanted(&rep), 1);
    assert_int_equal(shmc_req_cancel(&req, first), 0);
    assert_int_equal(shmc_rep_wanted(&rep), 0);
    const int second = ask(&req, "second");
    hear(&other, "second");
    assert_int_equal(shmc_rep_send(&rep, "late", 5, 0), SHMC_EPEERDEAD);
    assert_int_equal(req_recv(&req, SHMC_ANY_CALL), SHMC_EAGAIN);
    answer(&other, "in time");
    learn(&req, SHMC_ANY_CALL, "in time");
    assert_int_equal(shmc_req_from(&req), second);
    /* The server is none the worse for it.                                 */
    (void)ask(&req, "third");
    hear(&rep, "third");
    answer(&rep, "fine");
    learn(&req, SHMC_ANY_CALL, "fine");
    assert_int_equal(shmc_rep_close(&other), SHMC_OK);
    pair_close(&rep, &req);
}

/* All calls are in the hands of a slow server: the client is told, and goes
 * on when they are done.                                                   */
static void
abandoned_calls_come_back_when_their_server_is_done(void **state)
{
    (void)state;
    enum { EACH = 4 };
    const shmc_rep_desc d = { .max_outstanding = EACH, .max_servers = EACH };
    shmc_rep rep[EACH];
    shmc_req req;

    for (int i = 0; i < EACH; i++) rep_open(&rep[i], &d);
    req_open(&req, NULL);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < EACH; i++) {
            const int call = ask(&req, "slow");
            hear(&rep[i], "slow");
            assert_int_equal(shmc_req_cancel(&req, call), 0);
        }
        assert_int_equal(shmc_req_send(&req, "", 0, 0), SHMC_EAGAIN);
        assert_int_equal(shmc_req_send(&req, "", 0, 2000000), SHMC_ETIMEDOUT);
        assert_int_equal(shmc_rep_send(&rep[2], "", 0, 0), SHMC_EPEERDEAD);
        const int call = ask(&req, "quick");
        hear(&rep[2], "quick");
        answer(&rep[2], "done");
        learn(&req, call, "done");
        for (int i = 0; i < EACH; i++)
            if (i != 2)
                assert_int_equal(shmc_rep_send(&rep[i], "", 0, 0),
                                 SHMC_EPEERDEAD);
    }
    assert_int_equal(shmc_req_close(&req), SHMC_OK);
    for (int i = 0; i < EACH; i++)
        assert_int_equal(shmc_rep_close(&rep[i]), SHMC_OK);
}

static void
a_call_that_times_out_is_given_up(void **state)
{
    (void)state;
    char buf[16];
    shmc_rep rep;
    shmc_req req;

    rep_open(&rep, NULL);
    req_open(&req, NULL);
    assert_int_equal(shmc_req_call(&req, "a", 2, buf, sizeof buf, 2000000),
                     SHMC_ETIMEDOUT);
    const int call = ask(&req, "b");
    assert_int_equal(shmc_req_recv(&req, call, buf, sizeof buf, 2000000),
                     SHMC_ETIMEDOUT);
    /* The first is nowhere; the second goes on.                            */
    hear(&rep, "b");
    answer(&rep, "c");
    learn(&req, call, "c");
    assert_int_equal(shmc_rep_recv(&rep, buf, sizeof buf, 2000000),
                     SHMC_ETIMEDOUT);
    pair_close(&rep, &req);
}

static void
a_dropped_request_is_told(void **state)
{
    (void)state;
    shmc_rep rep;
    shmc_req req;

    rep_open(&rep, NULL);
    req_open(&req, NULL);
    assert_int_equal(shmc_rep_drop(&rep), SHMC_EINVAL);
    const int call = ask(&req, "x");
    hear(&rep, "x");
    assert_int_equal(shmc_rep_drop(&rep), SHMC_OK);
    assert_int_equal(shmc_req_ready(&req), 1);
    assert_int_equal(shmc_req_ready(&req), 1);
    assert_int_equal(req_recv(&req, SHMC_ANY_CALL), SHMC_EPEERDEAD);
    assert_int_equal(shmc_req_from(&req), call);
    assert_int_equal(req_recv(&req, call), SHMC_EINVAL);
    pair_close(&rep, &req);
}

static void
a_dropped_request_goes_to_another_server_if_asked_for(void **state)
{
    (void)state;
    const shmc_req_desc again = { .retries = 2 };
    shmc_rep rep;
    shmc_req req;

    rep_open(&rep, NULL);
    req_open(&req, &again);
    const int call = ask(&req, "x");
    hear(&rep, "x");
    assert_false(shmc_rep_retried(&rep));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(shmc_rep_drop(&rep), SHMC_OK);
        assert_int_equal(req_recv(&req, call), SHMC_EAGAIN);
        hear(&rep, "x");
        assert_true(shmc_rep_retried(&rep));
    }
    answer(&rep, "y");
    learn(&req, call, "y");
    const int other = ask(&req, "z");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(req_recv(&req, other), SHMC_EAGAIN);
        hear(&rep, "z");
        assert_int_equal(shmc_rep_drop(&rep), SHMC_OK);
    }
    assert_int_equal(req_recv(&req, other), SHMC_EPEERDEAD);
    pair_close(&rep, &req);
}

/* ---- posting -------------------------------------------------------------- */

static void
a_post_wants_no_answer(void **state)
{
    (void)state;
    char buf[16];
    const void *view;
    shmc_rep rep;
    shmc_req req;

    rep_open(&rep, NULL);
    req_open(&req, NULL);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(shmc_req_post(&req, "one", 4, 0), SHMC_OK);
        assert_int_equal(shmc_req_post(&req, "two", 4, 0), SHMC_OK);
        assert_int_equal(shmc_req_post(&req, "three", 6, 0), SHMC_OK);
        assert_int_equal(req_recv(&req, SHMC_ANY_CALL), SHMC_EINVAL);
        /* Who does not answer, who answers all alike, who looks in place.  */
        hear(&rep, "one");
        assert_int_equal(shmc_rep_wanted(&rep), 0);
        hear(&rep, "two");
        answer(&rep, "nobody hears this");
        assert_int_equal(shmc_rep_borrow(&rep, &view, 0), 6);
        assert_string_equal(view, "three");
        assert_int_equal(shmc_rep_release(&rep), SHMC_OK);
        assert_int_equal(shmc_rep_wanted(&rep), SHMC_EINVAL);
    }
    assert_int_equal(shmc_rep_recv(&rep, buf, sizeof buf, 0), SHMC_EAGAIN);
    pair_close(&rep, &req);
}

static void
posts_beyond_the_limit_wait_for_the_server(void **state)
{
    (void)state;
    const shmc_rep_desc d = { .max_outstanding = 2 };
    shmc_rep rep;
    shmc_req req;
    void *room;

    rep_open(&rep, &d);
    req_open(&req, NULL);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(shmc_req_post(&req, "1", 2, 0), SHMC_OK);
        assert_int_equal(shmc_req_loan(&req, 200, &room, 0), SHMC_OK);
        memcpy(room, "2", 2);
        assert_int_equal(shmc_req_commit_post(&req, 2, 0), SHMC_OK);
        assert_int_equal(shmc_req_post(&req, "3", 2, 0), SHMC_EAGAIN);
        assert_int_equal(shmc_req_post(&req, "3", 2, 2000000), SHMC_ETIMEDOUT);
        hear(&rep, "1");
        hear(&rep, "2");            /* which ends the first                 */
        assert_int_equal(shmc_req_post(&req, "3", 2, 0), SHMC_OK);
        hear(&rep, "3");
        answer(&rep, "");
    }
    pair_close(&rep, &req);
}

/* What was posted is done, whoever sits in its client's seat by then.      */
/* Looked at, answered, and only released when the next one is there.       */
static void
a_late_release_ends_no_other_request(void **state)
{
    (void)state;
    const void *data;
    shmc_rep rep;
    shmc_req req;

    rep_open(&rep, NULL);
    req_open(&req, NULL);
    const int call = ask(&req, "first");
    assert_true(shmc_rep_borrow(&rep, &data, 0) > 0);
    answer(&rep, "done");
    assert_int_equal(shmc_req_post(&req, "second", 7, 0), SHMC_OK);
    assert_int_equal(shmc_rep_ready(&rep), 1);
    assert_int_equal(shmc_rep_release(&rep), SHMC_OK);
    hear(&rep, "second");
    learn(&req, call, "done");
    pair_close(&rep, &req);
}

static void
a_post_outlives_its_client(void **state)
{
    (void)state;
    const shmc_rep_desc d = { .max_clients = 1, .max_outstanding = 2 };
    shmc_rep rep;
    shmc_req req;

    rep_open(&rep, &d);
    req_open(&req, NULL);
    (void)ask(&req, "withdrawn");
    assert_int_equal(shmc_req_post(&req, "posted", 7, 0), SHMC_OK);
    assert_int_equal(shmc_req_close(&req), SHMC_OK);
    req_open(&req, NULL);
    const int call = ask(&req, "next");
    assert_int_equal(shmc_req_send(&req, "", 0, 0), SHMC_EAGAIN);
    hear(&rep, "posted");
    hear(&rep, "next");
    assert_int_equal(shmc_req_post(&req, "", 0, 0), SHMC_OK);
    answer(&rep, "ok");
    learn(&req, call, "ok");
    pair_close(&rep, &req);
}

/* ---- answers of several parts --------------------------------------------- */

static void
parts_come_one_by_one(void **state)
{
    (void)state;
    static uint8_t out[4096], in[4096];
    shmc_rep rep;
    shmc_req req;

    rep_open(&rep, NULL);
    req_open(&req, NULL);
    for (uint32_t parts = 1; parts < 40; parts += 9) {
        const int call = ask(&req, "all of it");
        hear(&rep, "all of it");
        for (uint32_t i = 0; i < parts; i++) {
            const uint32_t bytes = i * 131 % 4097;
            const bool last = i + 1 == parts;
            service_fill(out, i, bytes);
            assert_int_equal(last ? shmc_rep_send(&rep, out, bytes, 0)
                                  : shmc_rep_send_more(&rep, out, bytes, 0),
                             SHMC_OK);
            if (!last) {
                assert_int_equal(shmc_rep_send(&rep, out, 1, 0), SHMC_EAGAIN);
                assert_int_equal(shmc_rep_send_more(&rep, out, 1, 1000000),
                                 SHMC_ETIMEDOUT);
            }
            assert_int_equal(shmc_req_recv(&req, call, in, sizeof in, 0), bytes);
            assert_true(service_filled(in, i, bytes));
            assert_int_equal(shmc_req_more(&req), !last);
            assert_int_equal(req_recv(&req, call),
                             last ? SHMC_EINVAL : SHMC_EAGAIN);
        }
    }
    pair_close(&rep, &req);
}

static void
parts_in_place_stay_until_released(void **state)
{
    (void)state;
    shmc_rep rep;
    shmc_req req;
    void *room;
    const void *view;

    rep_open(&rep, NULL);
    req_open(&req, NULL);
    const int call = ask(&req, "x");
    hear(&rep, "x");
    assert_int_equal(shmc_rep_loan(&rep, 1000, &room, 0), SHMC_OK);
    service_fill(room, 1, 1000);
    assert_int_equal(shmc_rep_commit_more(&rep, 1000), SHMC_OK);
    assert_int_equal(shmc_req_borrow(&req, call, &view, 0), 1000);
    assert_int_equal(shmc_rep_loan(&rep, 1000, &room, 0), SHMC_EAGAIN);
    assert_null(room);
    assert_true(service_filled(view, 1, 1000));
    assert_int_equal(shmc_req_release(&req), SHMC_OK);
    assert_int_equal(shmc_rep_loan(&rep, 1000, &room, 0), SHMC_OK);
    service_fill(room, 2, 1000);
    assert_int_equal(shmc_rep_commit(&rep, 1000), SHMC_OK);
    assert_int_equal(shmc_req_borrow(&req, call, &view, 0), 1000);
    assert_true(service_filled(view, 2, 1000));
    assert_int_equal(shmc_req_release(&req), SHMC_OK);
    pair_close(&rep, &req);
}

static void
a_client_may_give_up_between_parts(void **state)
{
    (void)state;
    shmc_rep rep;
    shmc_req req;

    rep_open(&rep, NULL);
    req_open(&req, NULL);
    for (int i = 0; i < 3; i++) {
        const int call = ask(&req, "x");
        hear(&rep, "x");
        assert_int_equal(shmc_rep_send_more(&rep, "1", 2, 0), SHMC_OK);
        learn(&req, call, "1");
        assert_int_equal(shmc_rep_send_more(&rep, "2", 2, 0), SHMC_OK);
        assert_int_equal(shmc_req_cancel(&req, call), 0);
        assert_int_equal(shmc_rep_send_more(&rep, "3", 2, 0), SHMC_EPEERDEAD);
        assert_int_equal(shmc_rep_send(&rep, "4", 2, 0), SHMC_EINVAL);
        assert_int_equal(rep_recv(&rep), SHMC_EAGAIN);
    }
    pair_close(&rep, &req);
}

/* A part that was read is no answer: after a drop the rest does not come, and
 * nobody else begins anew.                                                 */
static void
an_answer_that_breaks_off_is_told(void **state)
{
    (void)state;
    const shmc_req_desc again = { .retries = 5 };
    const void *view;
    shmc_rep rep;
    shmc_req req;

    rep_open(&rep, NULL);
    req_open(&req, &again);
    const int call = ask(&req, "x");
    hear(&rep, "x");
    assert_int_equal(shmc_rep_send_more(&rep, "1", 2, 0), SHMC_OK);
    assert_int_equal(shmc_req_borrow(&req, call, &view, 0), 2);
    assert_int_equal(shmc_rep_drop(&rep), SHMC_OK);
    assert_string_equal(view, "1");
    assert_true(shmc_req_more(&req));
    assert_int_equal(shmc_req_release(&req), SHMC_OK);
    assert_int_equal(req_recv(&req, call), SHMC_EPEERDEAD);
    assert_int_equal(rep_recv(&rep), SHMC_EAGAIN);
    pair_close(&rep, &req);
}

/* ---- comings and goings --------------------------------------------------- */

static void
a_client_may_come_first(void **state)
{
    (void)state;
    shmc_rep rep;
    shmc_req req;

    req_open(&req, NULL);
    assert_int_equal(shmc_req_served(&req), 0);
    assert_int_equal(shmc_req_send(&req, "x", 2, 0), SHMC_EAGAIN);
    assert_int_equal(shmc_req_send(&req, "x", 2, 3000000), SHMC_ETIMEDOUT);
    rep_open(&rep, NULL);
    const int call = shmc_req_send(&req, "x", 2, SHMC_FOREVER);
    assert_true(call > 0);
    assert_int_equal(shmc_req_served(&req), 1);
    hear(&rep, "x");
    answer(&rep, "y");
    learn(&req, call, "y");
    pair_close(&rep, &req);
}

/* The server leaves its file to who waits for it, and who may have not even
 * looked by then.                                                          */
static void
a_client_that_never_saw_its_service_leaves_nothing(void **state)
{
    (void)state;
    shmc_rep rep;
    shmc_req req;

    req_open(&req, NULL);
    rep_open(&rep, NULL);
    assert_int_equal(shmc_rep_close(&rep), SHMC_OK);
    assert_int_equal(shmc_req_close(&req), SHMC_OK);
    assert_int_equal(service_files(), 0);
    /* Nor where the server stays longer than it.                           */
    req_open(&req, NULL);
    rep_open(&rep, NULL);
    assert_int_equal(shmc_req_close(&req), SHMC_OK);
    assert_int_equal(shmc_rep_close(&rep), SHMC_OK);
    assert_int_equal(service_files(), 0);
}

static void
no_server_is_told_at_once_if_asked_for(void **state)
{
    (void)state;
    const shmc_req_desc needs = { .need_server = true };
    shmc_rep rep;
    shmc_req req;

    req_open(&req, &needs);
    assert_int_equal(shmc_req_send(&req, "x", 2, SHMC_FOREVER), SHMC_ENOENT);
    rep_open(&rep, NULL);
    test_sleep_ms(2);
    const int taken = ask(&req, "taken"), queued = ask(&req, "queued");
    hear(&rep, "taken");
    answer(&rep, "done");
    assert_int_equal(shmc_rep_close(&rep), SHMC_OK);
    char buf[8];
    assert_int_equal(shmc_req_recv(&req, queued, buf, sizeof buf, SHMC_FOREVER),
                     SHMC_EPEERDEAD);
    learn(&req, taken, "done");
    assert_int_equal(shmc_req_post(&req, "x", 2, SHMC_FOREVER), SHMC_ENOENT);
    assert_int_equal(shmc_req_call(&req, "x", 2, buf, sizeof buf, SHMC_FOREVER),
                     SHMC_ENOENT);
    rep_open(&rep, NULL);
    (void)ask(&req, "again");
    hear(&rep, "again");
    assert_int_equal(rep.passed, 1);
    pair_close(&rep, &req);
}

static void
a_queued_request_waits_for_the_next_server(void **state)
{
    (void)state;
    char buf[8];
    shmc_rep rep;
    shmc_req req;

    rep_open(&rep, NULL);
    req_open(&req, NULL);
    const int call = ask(&req, "x");
    assert_int_equal(shmc_rep_close(&rep), SHMC_OK);
    assert_int_equal(shmc_req_recv(&req, call, buf, sizeof buf, 10000000),
                     SHMC_ETIMEDOUT);
    /* Now it is known that nobody serves: no more goes into the queue.     */
    assert_int_equal(shmc_req_send(&req, "y", 2, 0), SHMC_EAGAIN);
    assert_int_equal(shmc_req_send(&req, "y", 2, 2000000), SHMC_ETIMEDOUT);
    rep_open(&rep, NULL);
    hear(&rep, "x");
    answer(&rep, "z");
    learn(&req, call, "z");
    assert_int_equal(rep_recv(&rep), SHMC_EAGAIN);
    pair_close(&rep, &req);
}

static void
a_server_that_closes_drops_what_it_had(void **state)
{
    (void)state;
    shmc_rep rep;
    shmc_req req;

    rep_open(&rep, NULL);
    req_open(&req, NULL);
    const int call = ask(&req, "x");
    hear(&rep, "x");
    assert_int_equal(shmc_rep_close(&rep), SHMC_OK);
    assert_int_equal(req_recv(&req, call), SHMC_EPEERDEAD);
    assert_int_equal(shmc_req_close(&req), SHMC_OK);
    assert_int_equal(shmc_req_close(&req), SHMC_ECLOSED);
    assert_int_equal(shmc_rep_close(&rep), SHMC_ECLOSED);
    assert_int_equal(rep_recv(&rep), SHMC_ECLOSED);
    assert_int_equal(req_recv(&req, call), SHMC_ECLOSED);
    assert_int_equal(shmc_req_send(&req, "", 0, 0), SHMC_ECLOSED);
}

/* A server that answers after its client has left, and somebody else sits
 * there, does nothing to that one's calls.                                 */
static void
a_seat_is_safe_from_answers_to_its_last_holder(void **state)
{
    (void)state;
    const shmc_rep_desc d = { .max_clients = 1, .max_outstanding = 2 };
    shmc_rep slow, rep;
    shmc_req req;

    rep_open(&slow, &d);
    rep_open(&rep, &d);
    for (int i = 0; i < 4; i++) {
        req_open(&req, NULL);
        (void)ask(&req, "old");
        hear(&slow, "old");
        assert_int_equal(shmc_req_close(&req), SHMC_OK);
        assert_int_equal(shmc_rep_wanted(&slow), 0);
        req_open(&req, NULL);
        assert_int_equal(shmc_rep_wanted(&slow), 0);
        const int call = ask(&req, "new");
        assert_int_equal(shmc_req_send(&req, "", 0, 0), SHMC_EAGAIN);
        hear(&rep, "new");
        assert_int_equal(shmc_rep_send(&slow, "wrong", 6, 0), SHMC_EPEERDEAD);
        assert_int_equal(req_recv(&req, SHMC_ANY_CALL), SHMC_EAGAIN);
        answer(&rep, "right");
        learn(&req, call, "right");
        assert_int_equal(shmc_req_close(&req), SHMC_OK);
    }
    assert_int_equal(shmc_rep_close(&slow), SHMC_OK);
    assert_int_equal(shmc_rep_close(&rep), SHMC_OK);
}

static void
a_thousand_comings_and_goings_leave_nothing(void **state)
{
    (void)state;
    const shmc_rep_desc d = { .max_bytes = 64, .max_clients = 2,
                              .max_outstanding = 2, .max_servers = 2 };
    shmc_rep rep;
    shmc_req req;

    for (int i = 0; i < 1000; i++) {
        if (i % 2) req_open(&req, NULL);
        rep_open(&rep, &d);
        if (i % 2 == 0) req_open(&req, NULL);
        const int call = shmc_req_send(&req, "x", 2, SHMC_FOREVER);
        hear(&rep, "x");
        if (i % 3) answer(&rep, "y");
        if (i % 3 == 2) learn(&req, call, "y");
        if (i % 5) {
            pair_close(&rep, &req);
        } else {
            assert_int_equal(shmc_rep_close(&rep), SHMC_OK);
            assert_int_equal(shmc_req_close(&req), SHMC_OK);
        }
        assert_int_equal(service_files(), 0);
    }
}

/* ---- shapes and errors ---------------------------------------------------- */

static void
another_shape_is_told(void **state)
{
    (void)state;
    const shmc_rep_desc d = { .max_bytes = 100, .max_reply_bytes = 200,
                              .max_clients = 3, .max_outstanding = 2,
                              .max_servers = 2 };
    shmc_rep_desc other[] = {
        { .max_bytes = 101 }, { .max_reply_bytes = 100 }, { .max_clients = 2 },
        { .max_outstanding = 3 }, { .max_servers = 1 },
        { .wake = SHMC_WAKE_ASYMMETRIC },
    };
    shmc_rep rep, second;
    shmc_req req[4];

    rep_open(&rep, &d);
    for (uint32_t i = 0; i < sizeof other / sizeof other[0]; i++) {
        assert_int_equal(shmc_rep_open(&second, service, &other[i]),
                         SHMC_EMISMATCH);
        assert_non_null(strstr(shmc_last_error(), "robot/plan"));
    }
    rep_open(&second, NULL);
    shmc_rep third;
    assert_int_equal(shmc_rep_open(&third, service, NULL), SHMC_ELIMIT);
    for (int i = 0; i < 3; i++) req_open(&req[i], NULL);
    assert_int_equal(shmc_req_open(&req[3], service, NULL), SHMC_ELIMIT);
    for (int i = 0; i < 3; i++)
        assert_int_equal(shmc_req_close(&req[i]), SHMC_OK);
    assert_int_equal(shmc_rep_close(&second), SHMC_OK);
    assert_int_equal(shmc_rep_close(&rep), SHMC_OK);
    /* Once all are gone, any shape will do.                                */
    rep_open(&rep, &other[0]);
    assert_int_equal(shmc_rep_close(&rep), SHMC_OK);
}

static void
bad_values_are_refused(void **state)
{
    (void)state;
    const shmc_rep_desc bad[] = {
        { .max_bytes = (1u << 30) + 1 }, { .max_reply_bytes = UINT32_MAX },
        { .max_clients = 1025 }, { .max_outstanding = 65 },
        { .max_servers = 1025 }, { .wake = 2 }, { .flags = SHMC_READ_ONLY },
        { .access = 01000 }, { .gid = 7 },
    };
    const shmc_req_desc flags = { .flags = SHMC_READ_ONLY };
    shmc_rep rep;
    shmc_req req;

    for (uint32_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(shmc_rep_open(&rep, service, &bad[i]), SHMC_EINVAL);
    assert_int_equal(shmc_req_open(&req, service, &flags), SHMC_EINVAL);
    assert_int_equal(shmc_rep_open(&rep, "a//b", NULL), SHMC_ENAME);
    assert_int_equal(shmc_req_open(&req, "", NULL), SHMC_ENAME);
    assert_int_equal(shmc_rep_open(&rep, NULL, NULL), SHMC_ENAME);
    assert_int_equal(shmc_req_open(&req, NULL, NULL), SHMC_ENAME);
}

static void
another_kinds_name_is_refused(void **state)
{
    (void)state;
    shmc_segment s;
    shmc_object object;
    const shmc_object_desc d = { .bytes = 64 };
    shmc_rep rep;
    shmc_req req;

    assert_int_equal(shmc_segment_create(&s, service, NULL), SHMC_OK);
    assert_int_equal(shmc_object_open(&s, "map", &d, &object), SHMC_OK);
    assert_int_equal(shmc_rep_open(&rep, service, NULL), SHMC_ETYPE);
    assert_int_equal(shmc_req_open(&req, service, NULL), SHMC_ETYPE);
    assert_int_equal(shmc_object_close(&s, &object), SHMC_OK);
    assert_int_equal(shmc_segment_close(&s), SHMC_OK);
    assert_int_equal(shmc_segment_unlink(service, NULL), SHMC_OK);
}

static void
numbers_that_name_no_call_are_refused(void **state)
{
    (void)state;
    shmc_rep rep;
    shmc_req req;

    rep_open(&rep, NULL);
    req_open(&req, NULL);
    const int numbers[] = { SHMC_ANY_CALL, -1, 1, 63, 64, 65, INT32_MAX,
                            INT32_MIN };
    for (uint32_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        assert_int_equal(req_recv(&req, numbers[i]), SHMC_EINVAL);
        assert_int_equal(shmc_req_cancel(&req, numbers[i]), SHMC_EINVAL);
    }
    /* Numbers begin anew after 2^25 calls.                                 */
    req.numbers = SHMI_CALL_NUMBERS - 1;
    for (int i = 0; i < 3; i++) {
        const int call = ask(&req, "x");
        hear(&rep, "x");
        answer(&rep, "y");
        learn(&req, call, "y");
    }
    pair_close(&rep, &req);
}

/* Generations begin anew after 2^40 calls.                                 */
static void
generations_wrap(void **state)
{
    (void)state;
    const shmc_rep_desc d = { .max_clients = 1, .max_outstanding = 1 };
    shmc_rep rep;
    shmc_req req;

    rep_open(&rep, &d);
    const uint64_t gen = SHMI_CALL_GENERATION - 2;
    rep.calls.calls[0].state = shmi_call_word(gen, 0, SHMI_CALL_OVER);
    rep.calls.calls[0].request.word = gen << 24;
    req_open(&req, NULL);
    for (int i = 0; i < 6; i++) {
        const int call = ask(&req, "x");
        hear(&rep, "x");
        answer(&rep, "y");
        learn(&req, call, "y");
        const int gone = ask(&req, "z");
        assert_int_equal(shmc_req_cancel(&req, gone), 1);
        assert_int_equal(rep_recv(&rep), SHMC_EAGAIN);
    }
    pair_close(&rep, &req);
}

static int
forked_calls(void *arg)
{
    void **both = arg, *room;
    const void *view;
    shmc_rep *rep = both[0];
    shmc_req *req = both[1];
    char buf[8];

    TEST_REQUIRE(shmc_rep_recv(rep, buf, sizeof buf, 0) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_rep_borrow(rep, &view, 0) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_rep_release(rep) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_rep_ready(rep) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_rep_send(rep, "", 0, 0) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_rep_send_more(rep, "", 0, 0) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_rep_loan(rep, 1, &room, 0) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_rep_commit(rep, 0) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_rep_abort(rep) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_rep_drop(rep) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_rep_wanted(rep) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_req_send(req, "", 0, 0) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_req_post(req, "", 0, 0) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_req_call(req, "", 0, buf, sizeof buf, 0) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_req_loan(req, 1, &room, 0) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_req_commit(req, 0, 0) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_req_commit_post(req, 0, 0) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_req_abort(req) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_req_recv(req, 0, buf, sizeof buf, 0) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_req_borrow(req, 0, &view, 0) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_req_release(req) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_req_ready(req) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_req_cancel(req, 64) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_req_served(req) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_rep_close(rep) == SHMC_OK);
    TEST_REQUIRE(shmc_req_close(req) == SHMC_OK);
    return 0;
}

static void
a_forked_child_cannot_use_its_parents_handles(void **state)
{
    (void)state;
    shmc_rep rep;
    shmc_req req;
    void *both[2] = { &rep, &req };

    rep_open(&rep, NULL);
    req_open(&req, NULL);
    const int call = ask(&req, "x");
    hear(&rep, "x");
    assert_int_equal(test_join(test_spawn(forked_calls, both)), 0);
    /* What the child closed was its own.                                   */
    answer(&rep, "y");
    learn(&req, call, "y");
    pair_close(&rep, &req);
}

/* ---- waiting and polling --------------------------------------------------- */

static void *
serve_some(void *arg)
{
    const int64_t count = *(const int64_t *)arg;
    char buf[64];
    shmc_rep rep;

    TEST_REQUIRE(shmc_rep_open(&rep, service, NULL) == SHMC_OK);
    for (int64_t i = 0; i < count; i++) {
        const int r = shmc_rep_recv(&rep, buf, sizeof buf, SHMC_FOREVER);
        TEST_REQUIRE(r >= 0);
        if (i % 16 == 0) test_sleep_ms(3);      /* the client falls asleep  */
        TEST_REQUIRE(shmc_rep_send_more(&rep, buf, (uint32_t)r,
                                        SHMC_FOREVER) == SHMC_OK);
        TEST_REQUIRE(shmc_rep_send(&rep, buf, (uint32_t)r, SHMC_FOREVER) ==
                     SHMC_OK);
    }
    TEST_REQUIRE(shmc_rep_close(&rep) == SHMC_OK);
    return NULL;
}

static void
both_sides_sleep_and_are_woken(void **state)
{
    (void)state;
    int64_t count = 100;
    char buf[64];
    pthread_t server;
    shmc_req req;

    req_open(&req, NULL);
    assert_int_equal(pthread_create(&server, NULL, serve_some, &count), 0);
    for (int64_t i = 0; i < count; i++) {
        if (i % 16 == 8) test_sleep_ms(3);      /* the server falls asleep  */
        assert_int_equal(shmc_req_call(&req, &i, 8, buf, sizeof buf,
                                       SHMC_FOREVER), 8);
        assert_true(shmc_req_more(&req));
        assert_memory_equal(buf, &i, 8);
        if (i % 16 == 4) test_sleep_ms(3);      /* it waits for us to read  */
        assert_int_equal(shmc_req_recv(&req, shmc_req_from(&req), buf,
                                       sizeof buf, SHMC_FOREVER), 8);
        assert_false(shmc_req_more(&req));
    }
    assert_int_equal(pthread_join(server, NULL), 0);
    assert_int_equal(shmc_req_close(&req), SHMC_OK);
}

static int
look(shmc_pollable p, uint32_t events)
{
    shmi_poll_spot spot;

    memset(&spot, 0, sizeof spot);
    const int quick = p.look(p.object, events, false, &spot);
    memset(&spot, 0, sizeof spot);
    const int r = p.look(p.object, events, true, &spot);
    /* What a quick look sees, a thorough one does.                         */
    assert_true(quick == 0 || quick == r);
    return r;
}

static void
a_poller_sees_what_can_be_done(void **state)
{
    (void)state;
    const shmc_rep_desc d = { .max_outstanding = 1 };
    shmc_rep rep;
    shmc_req req;

    req_open(&req, NULL);
    const shmc_pollable q = shmc_req_pollable(&req);
    assert_int_equal(look(q, SHMC_POLLIN | SHMC_POLLOUT), 0);
    rep_open(&rep, &d);
    const shmc_pollable p = shmc_rep_pollable(&rep);
    assert_int_equal(look(p, SHMC_POLLOUT), SHMC_EINVAL);
    assert_int_equal(look(q, SHMC_POLLIN | SHMC_POLLERR), SHMC_EINVAL);
    assert_int_equal(look(p, SHMC_POLLIN), 0);
    test_sleep_ms(2);
    assert_int_equal(look(q, SHMC_POLLIN | SHMC_POLLOUT), SHMC_POLLOUT);
    const int call = ask(&req, "x");
    assert_int_equal(look(q, SHMC_POLLIN | SHMC_POLLOUT), 0);
    assert_int_equal(look(p, SHMC_POLLIN), SHMC_POLLIN);
    assert_int_equal(look(p, SHMC_POLLIN), SHMC_POLLIN);
    hear(&rep, "x");
    assert_int_equal(look(p, SHMC_POLLIN), 0);
    answer(&rep, "y");
    assert_int_equal(look(p, SHMC_POLLIN), 0);
    assert_int_equal(look(q, SHMC_POLLIN | SHMC_POLLOUT), SHMC_POLLIN);
    learn(&req, call, "y");
    assert_int_equal(look(q, SHMC_POLLIN | SHMC_POLLOUT), SHMC_POLLOUT);
    (void)ask(&req, "z");
    hear(&rep, "z");
    assert_int_equal(shmc_rep_drop(&rep), SHMC_OK);
    assert_int_equal(look(q, SHMC_POLLIN), SHMC_POLLIN);
    assert_int_equal(req_recv(&req, SHMC_ANY_CALL), SHMC_EPEERDEAD);
    pair_close(&rep, &req);
    assert_int_equal(look(p, SHMC_POLLIN), SHMC_ECLOSED);
    assert_int_equal(look(q, SHMC_POLLIN), SHMC_ECLOSED);
}

/* As a server that polls and then turns to something else.                 */
static void
a_server_that_only_looks_takes_nothing(void **state)
{
    (void)state;
    shmc_rep a, b;
    shmc_req req;

    rep_open(&a, NULL);
    rep_open(&b, NULL);
    req_open(&req, NULL);
    const int call = ask(&req, "x");
    assert_int_equal(look(shmc_rep_pollable(&a), SHMC_POLLIN), SHMC_POLLIN);
    assert_int_equal(shmc_rep_ready(&a), 1);
    hear(&b, "x");
    for (int i = 0; i < 3 * SHMI_CALL_POLLS; i++)
        assert_int_equal(shmc_rep_ready(&a), 0);
    assert_int_equal(look(shmc_rep_pollable(&a), SHMC_POLLIN), 0);
    answer(&b, "y");
    learn(&req, call, "y");
    /* Nor does it end one that wants no answer, which the caller may read. */
    assert_int_equal(shmc_req_post(&req, "p", 2, 0), SHMC_OK);
    hear(&a, "p");
    (void)ask(&req, "z");
    assert_int_equal(shmc_rep_ready(&a), 1);
    assert_true(a.held && a.fetched);
    hear(&a, "z");
    answer(&a, "y");
    assert_int_equal(shmc_rep_close(&b), SHMC_OK);
    pair_close(&a, &req);
}

static void
withdrawn_requests_are_no_reason_to_receive(void **state)
{
    (void)state;
    shmc_rep rep;
    shmc_req req;

    rep_open(&rep, NULL);
    req_open(&req, NULL);
    for (int live = 0; live < 2; live++) {
        for (int i = 0; i < 5; i++)
            assert_int_equal(shmc_req_cancel(&req, ask(&req, "x")), 1);
        if (live) (void)ask(&req, "y");
        assert_int_equal(shmc_rep_ready(&rep), live);
        assert_int_equal(look(shmc_rep_pollable(&rep), SHMC_POLLIN),
                         live ? SHMC_POLLIN : 0);
    }
    assert_int_equal(rep.passed, 10);
    assert_int_equal(shmc_mpmc_used(&rep.calls.queue), 1);
    hear(&rep, "y");
    answer(&rep, "z");
    pair_close(&rep, &req);
}

static void *
serve_by_poll(void *arg)
{
    char buf[64];
    shmc_rep rep;

    TEST_REQUIRE(shmc_rep_open(&rep, service, NULL) == SHMC_OK);
    shmc_poll_item item = { .of = shmc_rep_pollable(&rep),
                            .events = SHMC_POLLIN };
    for (int64_t i = 0; i < *(int64_t *)arg; i++) {
        TEST_REQUIRE(shmc_poll(&item, 1, SHMC_FOREVER) == 1);
        const int r = shmc_rep_recv(&rep, buf, sizeof buf, 0);
        TEST_REQUIRE(r >= 0);
        if (i % 16 == 0) test_sleep_ms(3);
        TEST_REQUIRE(shmc_rep_send(&rep, buf, (uint32_t)r, 0) == SHMC_OK);
    }
    TEST_REQUIRE(shmc_rep_close(&rep) == SHMC_OK);
    return NULL;
}

static void
both_sides_sleep_in_a_poller(void **state)
{
    (void)state;
    int64_t count = 100, got;
    pthread_t server;
    shmc_req req;

    req_open(&req, NULL);
    assert_int_equal(pthread_create(&server, NULL, serve_by_poll, &count), 0);
    shmc_poll_item item = { .of = shmc_req_pollable(&req) };
    for (int64_t i = 0; i < count; i++) {
        item.events = SHMC_POLLOUT;
        assert_int_equal(shmc_poll(&item, 1, SHMC_FOREVER), 1);
        if (i % 16 == 8) test_sleep_ms(3);
        assert_true(shmc_req_send(&req, &i, sizeof i, 0) > 0);
        item.events = SHMC_POLLIN;
        assert_int_equal(shmc_poll(&item, 1, SHMC_FOREVER), 1);
        assert_int_equal(shmc_req_recv(&req, SHMC_ANY_CALL, &got, sizeof got, 0),
                         sizeof got);
        assert_int_equal(got, i);
    }
    assert_int_equal(pthread_join(server, NULL), 0);
    assert_int_equal(shmc_req_close(&req), SHMC_OK);
}

static void
sixty_four_mebibytes_travel_in_place(void **state)
{
    (void)state;
    enum { BYTES = (SHMI_TSAN ? 1 : 64) << 20 };
    const shmc_rep_desc d = { .max_bytes = BYTES, .max_clients = 1,
                              .max_outstanding = 1, .max_servers = 1 };
    shmc_rep rep;
    shmc_req req;
    void *room;
    const void *view;

    rep_open(&rep, &d);
    req_open(&req, NULL);
    assert_int_equal(shmc_req_loan(&req, BYTES, &room, 0), SHMC_OK);
    memset(room, 0x5a, BYTES);
    const int call = shmc_req_commit(&req, BYTES, 0);
    assert_int_equal(shmc_rep_borrow(&rep, &view, 0), BYTES);
    const uint8_t *in = view;
    assert_true(in[0] == 0x5a && memcmp(in, in + 1, BYTES - 1) == 0);
    assert_int_equal(shmc_rep_loan(&rep, BYTES, &room, 0), SHMC_OK);
    memset(room, 0xa5, BYTES);
    assert_int_equal(shmc_rep_commit(&rep, BYTES), SHMC_OK);
    assert_int_equal(shmc_req_borrow(&req, call, &view, 0), BYTES);
    in = view;
    assert_true(in[0] == 0xa5 && memcmp(in, in + 1, BYTES - 1) == 0);
    assert_int_equal(shmc_req_release(&req), SHMC_OK);
    pair_close(&rep, &req);
}

static void
the_asymmetric_wake_works_too(void **state)
{
    (void)state;
    const shmc_rep_desc d = { .wake = SHMC_WAKE_ASYMMETRIC };
    shmc_rep rep;
    shmc_req req;

    TEST_EMULATOR_LACKS(shmi_membarrier_supported(), "membarrier");
    rep_open(&rep, &d);
    req_open(&req, NULL);
    assert_true(rep.calls.asymmetric && req.calls.asymmetric);
    const int call = ask(&req, "x");
    hear(&rep, "x");
    answer(&rep, "y");
    learn(&req, call, "y");
    pair_close(&rep, &req);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SERVICE_CASE(hello_world),
        SERVICE_CASE(messages_of_every_size_travel_whole),
        SERVICE_CASE(small_shapes_have_no_areas),
        SERVICE_CASE(a_message_that_does_not_fit_stays),
        SERVICE_CASE(many_calls_are_answered_in_any_order),
        SERVICE_CASE(clients_do_not_get_each_others_answers),
        SERVICE_CASE(both_sides_write_and_read_in_place),
        SERVICE_CASE(a_loan_may_be_committed_in_part),
        SERVICE_CASE(a_withdrawn_request_reaches_nobody),
        SERVICE_CASE(a_late_answer_is_refused_and_answers_nothing_else),
        SERVICE_CASE(abandoned_calls_come_back_when_their_server_is_done),
        SERVICE_CASE(a_call_that_times_out_is_given_up),
        SERVICE_CASE(a_dropped_request_is_told),
        SERVICE_CASE(a_dropped_request_goes_to_another_server_if_asked_for),
        SERVICE_CASE(a_post_wants_no_answer),
        SERVICE_CASE(posts_beyond_the_limit_wait_for_the_server),
        SERVICE_CASE(a_late_release_ends_no_other_request),
        SERVICE_CASE(a_post_outlives_its_client),
        SERVICE_CASE(parts_come_one_by_one),
        SERVICE_CASE(parts_in_place_stay_until_released),
        SERVICE_CASE(a_client_may_give_up_between_parts),
        SERVICE_CASE(an_answer_that_breaks_off_is_told),
        SERVICE_CASE(a_client_may_come_first),
        SERVICE_CASE(a_client_that_never_saw_its_service_leaves_nothing),
        SERVICE_CASE(no_server_is_told_at_once_if_asked_for),
        SERVICE_CASE(a_queued_request_waits_for_the_next_server),
        SERVICE_CASE(a_server_that_closes_drops_what_it_had),
        SERVICE_CASE(a_seat_is_safe_from_answers_to_its_last_holder),
        SERVICE_CASE(a_thousand_comings_and_goings_leave_nothing),
        SERVICE_CASE(another_shape_is_told),
        SERVICE_CASE(bad_values_are_refused),
        SERVICE_CASE(another_kinds_name_is_refused),
        SERVICE_CASE(numbers_that_name_no_call_are_refused),
        SERVICE_CASE(generations_wrap),
        SERVICE_CASE(a_forked_child_cannot_use_its_parents_handles),
        SERVICE_CASE(both_sides_sleep_and_are_woken),
        SERVICE_CASE(a_poller_sees_what_can_be_done),
        SERVICE_CASE(a_server_that_only_looks_takes_nothing),
        SERVICE_CASE(withdrawn_requests_are_no_reason_to_receive),
        SERVICE_CASE(both_sides_sleep_in_a_poller),
        SERVICE_CASE(sixty_four_mebibytes_travel_in_place),
        SERVICE_CASE(the_asymmetric_wake_works_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
