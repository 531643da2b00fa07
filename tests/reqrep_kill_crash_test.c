/* A client or a server dies, or stops, after each instruction of each call on
 * a REQ/REP socket.  A server, a client and newcomers in the dead one's seat
 * go on: each request is answered once, by its own answer, or its client is
 * told; what was acknowledged is there.  Nobody that is stopped is told dead. */
#define SHMC_SPIN_TRIES 4u
#define SHMC_YIELD_TRIES 2u
#define SHMC_RECHECK_NS 1000000u
#define SHMC_PEER_CHECK_NS 1000000u
#define SHMC_SERVER_CHECK_NS 1000000u
#define SHMC_REPLY_CHECK_NS 1000u
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_reqrep.h"
#include "crash_harness.h"

enum { SWEEP_NS = 20000000, EACH = 2, BYTES = 200, TRIES = 20000000 };

/* Whose message it is: the first byte of each.                             */
enum { OF_CHILD = 'c', OF_SURVIVOR = 's', OF_NEWCOMER = 'n', BY_CHILD = 'C',
       BY_SURVIVOR = 'S', BY_NEWCOMER = 'N', PART = 'p' };

typedef struct operation {
    const char *name;
    bool     server;                /* the child's side                     */
    void   (*before)(void);         /* test: when its own sockets are open  */
    void   (*enter)(void);          /* child                                */
    void   (*ready)(void);          /* test: when the child has entered     */
    int    (*act)(void);            /* child: what is swept                 */
    void   (*check)(void);          /* test: before the newcomers come      */
} operation;

typedef struct ledger {
    volatile uint32_t acked, returned;
    uint8_t out[BYTES];
} ledger;

static const operation *op;
static ledger *book;
static uint32_t bytes;              /* of each message: inline, or not      */
static uint32_t retries;
static shmc_rep rep, his_rep;       /* the test's; the child's              */
static shmc_req req, his_req;
static int call, his_call;
static uint32_t childs_seen;        /* its requests that the test received  */

/* ---- messages -------------------------------------------------------------- */

static const void *
message(uint8_t of)
{
    static uint8_t m[BYTES];

    memset(m, of, sizeof m);
    return m;
}

static bool
is_message(const void *data, int r, uint8_t of)
{
    return r == (int)bytes && memcmp(data, message(of), bytes) == 0;
}

/* ---- the test's own sockets ------------------------------------------------- */

static const shmc_rep_desc *
shape(void)
{
    static shmc_rep_desc d = { .max_bytes = BYTES, .max_clients = 2,
                               .max_outstanding = EACH, .max_servers = 2 };

    d.dir = crash.dir;
    return &d;
}

static int
open_rep(shmc_rep *r) { return shmc_rep_open(r, "s", shape()); }

static int
open_req(shmc_req *r)
{
    const shmc_req_desc d = { .retries = retries, .dir = crash.dir };

    return shmc_req_open(r, "s", &d);
}

/* The test's server takes and answers what there is; true if there was.    */
static bool
serve(shmc_rep *server, uint8_t by)
{
    uint8_t in[BYTES];
    const int r = shmc_rep_recv(server, in, sizeof in, 0);

    if (r == SHMC_EAGAIN) return false;
    CRASH_EQUAL(r, bytes);
    CRASH_CHECK(in[0] == OF_CHILD || in[0] == OF_SURVIVOR ||
                in[0] == OF_NEWCOMER);
    CRASH_CHECK(is_message(in, r, in[0]));
    childs_seen += in[0] == OF_CHILD;
    const int sent = shmc_rep_send(server, message(by), bytes, 0);
    CRASH_CHECK(sent == SHMC_OK || (sent == SHMC_EPEERDEAD && in[0] == OF_CHILD));
    return true;
}

/* Until the test's own call is answered, or lost.  What it was.            */
static int
resolve(bool serving)
{
    uint8_t in[BYTES];

    for (uint32_t i = 0; i < TRIES; i++) {
        const int r = shmc_req_recv(&req, call, in, sizeof in, 0);
        if (r == SHMC_EPEERDEAD) return r;
        if (r != SHMC_EAGAIN) {
            CRASH_CHECK(is_message(in, r, in[0]));
            return in[0];
        }
        if (serving) (void)serve(&rep, BY_SURVIVOR);
    }
    CRASH_CHECK(false);
    return 0;
}

/* All that the dead left in the queue.                                      */
static void
drain(void)
{
    for (uint32_t i = 0; i < 3 * SHMI_MPMC_RESCUE_TRIES; i++)
        (void)serve(&rep, BY_SURVIVOR);
}

/* Two calls at once from each client, through each server.                  */
static void
exchange(shmc_req *client, uint8_t of, shmc_rep *server, uint8_t by)
{
    uint8_t in[BYTES];

    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < EACH; i++)
            CRASH_CHECK(shmc_req_send(client, message(of), bytes,
                                      SHMC_FOREVER) > 0);
        for (int i = 0; i < EACH; i++) {
            for (uint32_t k = 0;; k++) {
                const int r = shmc_req_recv(client, SHMC_ANY_CALL, in,
                                            sizeof in, 0);
                if (r != SHMC_EAGAIN) {
                    CRASH_CHECK(is_message(in, r, by));
                    break;
                }
                CRASH_CHECK(k < TRIES);
                (void)serve(server, by);
            }
        }
    }
}

/* ---- what the child does, and what must be so ------------------------------ */

static void nothing(void) { }

static void
ask(void)
{
    call = shmc_req_send(&req, message(OF_SURVIVOR), bytes, SHMC_FOREVER);
    CRASH_CHECK(call > 0);
}

/* Behind a withdrawn one.                                                    */
static void
ask_again(void)
{
    ask();
    CRASH_EQUAL(shmc_req_cancel(&req, call), 1);
    ask();
}

static void
enter_client(void) { TEST_REQUIRE(open_req(&his_req) == SHMC_OK); }

static void
enter_server(void) { TEST_REQUIRE(open_rep(&his_rep) == SHMC_OK); }

static int
act_send(void)
{
    return shmc_req_send(&his_req, message(OF_CHILD), bytes, 0) > 0 ? 1 : -1;
}

static int
act_loan_commit(void)
{
    void *room;

    if (shmc_req_loan(&his_req, bytes, &room, 0) != SHMC_OK) return -1;
    memcpy(room, message(OF_CHILD), bytes);
    return shmc_req_commit(&his_req, bytes, 0) > 0 ? 1 : -1;
}

static int
act_loan_abort(void)
{
    void *room;

    if (shmc_req_loan(&his_req, bytes, &room, 0) != SHMC_OK) return -1;
    memcpy(room, message(OF_CHILD), bytes);
    return shmc_req_abort(&his_req);
}

static int
act_post(void)
{
    return shmc_req_post(&his_req, message(OF_CHILD), bytes, 0) == SHMC_OK
           ? 1 : -1;
}

/* Once if it was acknowledged, and at most once if not.                     */
static void
check_asked(void)
{
    drain();
    CRASH_CHECK(childs_seen <= 1);
    if (book->returned) CRASH_EQUAL(childs_seen, book->acked);
}

/* The same, but whoever has its seat is there first.                        */
static void
check_posted(void)
{
    shmc_req heir;

    if (crash.now->frozen == NULL) {
        CRASH_EQUAL(open_req(&heir), SHMC_OK);
        check_asked();
        CRASH_EQUAL(shmc_req_close(&heir), SHMC_OK);
    }
    check_asked();
}

/* Its request is in the queue, or answered, or answered in part.            */
static void
enter_asked(void)
{
    enter_client();
    his_call = shmc_req_send(&his_req, message(OF_CHILD), bytes, 0);
    TEST_REQUIRE(his_call > 0);
}

static void
answer_it(void) { CRASH_CHECK(serve(&rep, BY_SURVIVOR)); }

static void
answer_in_part(void)
{
    uint8_t in[BYTES];

    CRASH_EQUAL(shmc_rep_recv(&rep, in, sizeof in, 0), bytes);
    CRASH_EQUAL(shmc_rep_send_more(&rep, message(PART), bytes, 0), SHMC_OK);
}

static int
act_recv(void)
{
    const int r = shmc_req_recv(&his_req, his_call, book->out, BYTES, 0);

    return is_message(book->out, r, BY_SURVIVOR) ||
           is_message(book->out, r, PART) ? 1 : -1;
}

static int
act_borrow_release(void)
{
    const void *view;
    const int r = shmc_req_borrow(&his_req, his_call, &view, 0);

    if (r != (int)bytes) return -1;
    memcpy(book->out, view, bytes);
    return shmc_req_release(&his_req) == SHMC_OK ? 1 : -1;
}

static int
act_cancel(void) { return shmc_req_cancel(&his_req, his_call) >= 0 ? 1 : -1; }

static int
act_close_client(void) { return shmc_req_close(&his_req) == SHMC_OK ? 1 : -1; }

static int
act_open_client(void) { return open_req(&his_req) == SHMC_OK ? 1 : -1; }

/* A withdrawn request comes to nobody, once that was acknowledged.           */
static void
check_cancelled(void)
{
    drain();
    CRASH_CHECK(childs_seen <= 1);
    if (book->returned) CRASH_EQUAL(childs_seen, 0);
}

/* The server in the middle of an answer gets on: the part was read, or its
 * client is dead, or gave up.                                                */
static void
check_part(void)
{
    int r = SHMC_EAGAIN;

    for (uint32_t i = 0; r == SHMC_EAGAIN && i < TRIES; i++)
        r = shmc_rep_send(&rep, message(BY_SURVIVOR), bytes, 0);
    CRASH_CHECK(r == SHMC_OK || r == SHMC_EPEERDEAD);
}

/* ---- servers --------------------------------------------------------------- */

static void
enter_took(void)
{
    uint8_t in[BYTES];

    enter_server();
    TEST_REQUIRE(shmc_rep_recv(&his_rep, in, sizeof in, 0) == (int)bytes);
}

static void
enter_sent_part(void)
{
    enter_took();
    TEST_REQUIRE(shmc_rep_send_more(&his_rep, message(PART), bytes, 0) ==
                 SHMC_OK);
}

static void
read_part(void)
{
    uint8_t in[BYTES];

    CRASH_CHECK(is_message(in, shmc_req_recv(&req, call, in, sizeof in, 0),
                           PART));
    CRASH_CHECK(shmc_req_more(&req));
}

static int
act_look(void) { return shmc_rep_ready(&his_rep) == 1 ? 1 : -1; }

static int
act_take(void)
{
    const int r = shmc_rep_recv(&his_rep, book->out, BYTES, 0);

    return is_message(book->out, r, OF_SURVIVOR) ? 1 : -1;
}

static int
act_take_in_place(void)
{
    const void *view;
    const int r = shmc_rep_borrow(&his_rep, &view, 0);

    if (!is_message(view, r, OF_SURVIVOR)) return -1;
    return shmc_rep_release(&his_rep) == SHMC_OK ? 1 : -1;
}

static int
act_answer(void)
{
    return shmc_rep_send(&his_rep, message(BY_CHILD), bytes, 0) == SHMC_OK
           ? 1 : -1;
}

static int
act_answer_in_place(void)
{
    void *room;

    if (shmc_rep_loan(&his_rep, bytes, &room, 0) != SHMC_OK) return -1;
    memcpy(room, message(BY_CHILD), bytes);
    return shmc_rep_commit(&his_rep, bytes) == SHMC_OK ? 1 : -1;
}

static int
act_part(void)
{
    return shmc_rep_send_more(&his_rep, message(PART), bytes, 0) == SHMC_OK
           ? 1 : -1;
}

static int
act_drop(void) { return shmc_rep_drop(&his_rep) == SHMC_OK ? 1 : -1; }

static int
act_close_server(void) { return shmc_rep_close(&his_rep) == SHMC_OK ? 1 : -1; }

static int
act_open_server(void) { return open_rep(&his_rep) == SHMC_OK ? 1 : -1; }

/* Who only looks withholds nothing.                                          */
static void
check_looked(void) { CRASH_EQUAL(resolve(true), BY_SURVIVOR); }

/* It had the request, or another server gets it; with `retries` one always
 * does.                                                                      */
static void
check_taken(void)
{
    const int r = resolve(true);

    if (retries > 0) CRASH_EQUAL(r, BY_SURVIVOR);
    else if (book->returned) CRASH_EQUAL(r, SHMC_EPEERDEAD);
    else CRASH_CHECK(r == SHMC_EPEERDEAD || r == BY_SURVIVOR);
}

/* The answer is there if it was acknowledged.                                */
static void
check_answered(void)
{
    const int r = resolve(true);

    if (book->returned) CRASH_EQUAL(r, BY_CHILD);
    else CRASH_CHECK(r == BY_CHILD ||
                     r == (retries ? BY_SURVIVOR : SHMC_EPEERDEAD));
}

/* The last part of an answer: never from another server.                     */
static void
check_rest(void)
{
    const int r = resolve(true);

    if (book->returned) CRASH_EQUAL(r, BY_CHILD);
    else CRASH_CHECK(r == BY_CHILD || r == SHMC_EPEERDEAD);
}

/* A part, and then that no more comes; or (unless acknowledged) not even it. */
static void
check_one_part(void)
{
    int r = resolve(true);

    if (book->returned || retries == 0)
        CRASH_CHECK(r == PART || (r == SHMC_EPEERDEAD && !book->returned));
    else
        CRASH_CHECK(r == PART || r == BY_SURVIVOR);
    if (r != PART) return;
    CRASH_CHECK(shmc_req_more(&req));
    r = resolve(true);
    CRASH_EQUAL(r, SHMC_EPEERDEAD);
}

static void
check_dropped(void)
{
    CRASH_EQUAL(resolve(true), retries ? BY_SURVIVOR : SHMC_EPEERDEAD);
}

static const operation operations[] = {
    { "send", false, nothing, enter_client, nothing, act_send, check_asked },
    { "loan, commit", false, nothing, enter_client, nothing, act_loan_commit,
      check_asked },
    { "loan, abort", false, nothing, enter_client, nothing, act_loan_abort,
      check_asked },
    { "post", false, nothing, enter_client, nothing, act_post, check_posted },
    { "recv", false, nothing, enter_asked, answer_it, act_recv, nothing },
    { "borrow, release", false, nothing, enter_asked, answer_it,
      act_borrow_release, nothing },
    { "recv of a part", false, nothing, enter_asked, answer_in_part, act_recv,
      check_part },
    { "borrow, release of a part", false, nothing, enter_asked, answer_in_part,
      act_borrow_release, check_part },
    { "cancel in the queue", false, nothing, enter_asked, nothing, act_cancel,
      check_cancelled },
    { "cancel in an answer", false, nothing, enter_asked, answer_in_part,
      act_cancel, check_part },
    { "client's close", false, nothing, enter_asked, nothing, act_close_client,
      check_cancelled },
    { "client's open", false, nothing, nothing, nothing, act_open_client,
      nothing },
    { "look", true, ask_again, enter_server, nothing, act_look, check_looked },
    { "take", true, ask, enter_server, nothing, act_take, check_taken },
    { "take in place", true, ask, enter_server, nothing, act_take_in_place,
      check_taken },
    { "answer", true, ask, enter_took, nothing, act_answer, check_answered },
    { "answer in place", true, ask, enter_took, nothing, act_answer_in_place,
      check_answered },
    { "part", true, ask, enter_took, nothing, act_part, check_one_part },
    { "last part", true, ask, enter_sent_part, read_part, act_answer,
      check_rest },
    { "drop", true, ask, enter_took, nothing, act_drop, check_dropped },
    { "server's close", true, ask, enter_took, nothing, act_close_server,
      check_dropped },
    { "server's open", true, nothing, nothing, nothing, act_open_server,
      nothing },
};

/* ---- a world --------------------------------------------------------------- */

static void
before(void)
{
    memset(book, 0, sizeof *book);
    childs_seen = 0;
    call = 0;
    CRASH_EQUAL(open_rep(&rep), SHMC_OK);
    CRASH_EQUAL(open_req(&req), SHMC_OK);
    CRASH_EQUAL(shmc_req_served(&req), 1);
    crash_watch(rep.segment.base, rep.segment.bytes);
    op->before();
}

static void enter(void) { op->enter(); }
static void ready(void) { op->ready(); }

static void
act(void)
{
    crash_acknowledge(op->act(), &book->acked, &book->returned);
}

/* The dead one's seat, and all else, is as good as new.                       */
static void
check(void)
{
    shmc_rep new_rep;
    shmc_req new_req;

    op->check();
    crash_recovered();
    CRASH_EQUAL(open_rep(&new_rep), SHMC_OK);
    CRASH_EQUAL(open_req(&new_req), SHMC_OK);
    drain();
    exchange(&req, OF_SURVIVOR, &rep, BY_SURVIVOR);
    exchange(&req, OF_SURVIVOR, &new_rep, BY_NEWCOMER);
    exchange(&new_req, OF_NEWCOMER, &rep, BY_SURVIVOR);
    exchange(&new_req, OF_NEWCOMER, &new_rep, BY_NEWCOMER);
    CRASH_EQUAL(shmc_req_close(&new_req), SHMC_OK);
    CRASH_EQUAL(shmc_rep_close(&new_rep), SHMC_OK);
}

/* The child is alive and stopped: its seat is not given away, and nobody says
 * that it died; others go on unless it is in the middle of the queue.         */
static void
frozen(void)
{
    uint8_t in[BYTES];
    shmc_rep more_rep;
    shmc_req more_req;

    if (op->enter != nothing && op->act != act_close_server &&
        op->act != act_close_client) {
        if (op->server) CRASH_EQUAL(open_rep(&more_rep), SHMC_ELIMIT);
        else CRASH_EQUAL(open_req(&more_req), SHMC_ELIMIT);
    }
    for (int i = 0; i < 200; i++) {
        /* What a stopped server is about to take stays for it.             */
        const int r = op->server ? 0 : shmc_rep_ready(&rep);
        CRASH_CHECK(r == 0 || r == 1 ||
                    (r == SHMC_EBUSY && op->ready == answer_in_part));
        if (call > 0) CRASH_CHECK(shmc_req_ready(&req) >= 0);
    }
    if (call > 0 && op->act != act_drop && op->act != act_close_server) {
        const int r = shmc_req_recv(&req, call, in, sizeof in, 3000000);
        /* What it said, it said before the stop.                           */
        CRASH_CHECK(r == SHMC_ETIMEDOUT || is_message(in, r, BY_CHILD) ||
                    is_message(in, r, PART));
    }
}

/* After it went on and died: all that was open is decided.                     */
static void
check_after_stop(void)
{
    if (op->ready == answer_in_part) check_part();
    drain();
    if (call > 0) {
        const uint64_t named = shmi_req_named(&req, call);
        if (named != 0) {
            const int r = resolve(true);
            CRASH_CHECK(r == BY_CHILD || r == BY_SURVIVOR || r == PART ||
                        r == SHMC_EPEERDEAD);
            if (shmi_req_named(&req, call) != 0) (void)resolve(true);
        }
    }
    CRASH_CHECK(childs_seen <= 1);
    void (*const once)(void) = op->check;
    operation rest = *op;
    rest.check = once == check_posted || once == check_asked ? once : nothing;
    const operation *whole = op;
    op = &rest;
    check();
    op = whole;
}

static void
after(void)
{
    if (req.open) (void)shmc_req_close(&req);
    if (rep.calls.shm != NULL) (void)shmc_rep_close(&rep);
    test_dir_remove(crash.dir);
    test_dir_make(crash.dir);
}

/* ---- the sweeps ------------------------------------------------------------ */

static void
sweep(bool server, uint32_t size, uint32_t again)
{
    static const crash_case killed = { before, enter, ready, act, NULL, check,
                                       after };
    static const crash_case stopped = { before, enter, ready, act, frozen,
                                        check_after_stop, after };
    char noun[64];

    if (book == NULL) book = test_shared(sizeof *book);
    bytes = size;
    retries = again;
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        op = &operations[i];
        if (op->server != server) continue;
        /* Coming and going is the same whatever is said.                   */
        if (op->check == nothing && op->enter == nothing &&
            (size != 64 || again)) continue;
        snprintf(noun, sizeof noun, "%s of %u bytes%s", server ? "rep" : "req",
                 bytes, again ? ", retried" : "");
        crash_sweep_row(noun, op->name, 2, &killed, SWEEP_NS);
        snprintf(noun, sizeof noun, "%s of %u bytes%s, stopped",
                 server ? "rep" : "req", bytes, again ? ", retried" : "");
        if (again == 0) crash_sweep_row(noun, op->name, 2, &stopped, SWEEP_NS);
    }
}

static void
a_client_dies_or_stops_anywhere(void **state)
{
    (void)state;
    sweep(false, 64, 0);
}

static void
a_client_with_large_messages_dies_or_stops_anywhere(void **state)
{
    (void)state;
    sweep(false, BYTES, 0);
}

static void
a_server_dies_or_stops_anywhere(void **state)
{
    (void)state;
    sweep(true, 64, 0);
}

static void
a_server_with_large_messages_dies_or_stops_anywhere(void **state)
{
    (void)state;
    sweep(true, BYTES, 0);
}

static void
a_server_dies_anywhere_and_its_request_goes_to_another(void **state)
{
    (void)state;
    sweep(true, 64, 3);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CRASH_TEST(a_client_dies_or_stops_anywhere),
        CRASH_TEST(a_client_with_large_messages_dies_or_stops_anywhere),
        CRASH_TEST(a_server_dies_or_stops_anywhere),
        CRASH_TEST(a_server_with_large_messages_dies_or_stops_anywhere),
        CRASH_TEST(a_server_dies_anywhere_and_its_request_goes_to_another),
    };

    (void)argc;
    crash_bind_now(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
