/* Calls between a client and servers: whatever the order of steps and however
 * old what is read, a request is admitted at most once, and never once it was
 * withdrawn; an answer is of its own request, and whole; and when all is over
 * every call can be used again, whoever died or stopped.                   */
#include "model/model_case.h"
#include "shmcomm_reqrep.h"
#include "model/model_owner.h"

enum { PEOPLE = 4, FIRST = 100, ROUNDS = 3, ITEMS = 2 * ROUNDS };

typedef struct calls_state {
    shmc_segment segment[PEOPLE];
    shmc_req req[2];                /* the client; who comes after it       */
    shmc_rep rep[2];
    void    *table, *queue;
    shmi_calls_geometry g;
    shmc_mpmc_desc q;
    uint32_t rounds, tries, each;
    bool     parts, posts;
    uint32_t next;
    uint32_t admitted[ITEMS], withdrawn[ITEMS], answered[ITEMS], posted[ITEMS];
} calls_state;

static calls_state s;

/* ---- setup ------------------------------------------------------------- */

static void
attach(shmi_calls *c, uint32_t who, uint32_t role)
{
    shmi_calls_geometry g;
    shmc_mpmc_desc is;

    memset(c, 0, sizeof *c);
    model_owner(&s.segment[who], who, PEOPLE);
    model_require(shmi_calls_point(c, s.table, s.g.total, &g) == SHMC_OK);
    c->segment = &s.segment[who];
    model_require(shmi_mpmc_point(&c->queue, s.queue,
                                  (uint64_t)shmc_mpmc_size_for(&s.q), &is) ==
                  SHMC_OK);
    c->queue.segment = c->segment;
    model_require(shmi_mpmc_sit(&c->queue, role) == SHMC_OK);
    c->queue.patrol_pos += SHMI_MPMC_PATROL;
    const bool serves = role == SHMC_CONSUMER;
    const int r = serves ? shmi_seat_claim(c->segment, c->servers,
                                           c->server_count,
                                           shmi_calls_settle_server, c)
                         : shmi_seat_claim(c->segment, c->clients,
                                           c->client_count,
                                           shmi_calls_settle_client, c);
    model_require(r >= 0);
    c->seat = (uint32_t)r;
    c->seated = serves ? &c->servers[r] : &c->clients[r];
    if (serves) c->queue.waitable = false;
}

static void
come(uint32_t i, uint32_t who)
{
    shmc_req *req = &s.req[i];

    attach(&req->calls, who, SHMC_PRODUCER);
    req->open = true;
    req->loan = req->view = -1;
    req->first = req->calls.seat * req->calls.each;
    shmi_req_enter(req);
}

static void
service(uint32_t each, uint32_t servers)
{
    const shmi_calls_desc d = { .max_request = 8, .max_reply = 8,
                                .clients = 1, .each = each, .servers = 2 };

    model_require(shmi_calls_geometry_of(&d, &s.g) == SHMC_OK);
    s.table = model_alloc(s.g.total);
    model_require(shmi_calls_init(s.table, s.g.total, &s.g) == SHMC_OK);
    s.q = shmi_calls_queue(&s.g);
    s.queue = model_alloc((size_t)shmc_mpmc_size_for(&s.q));
    model_require(shmc_mpmc_format(s.queue, (uint64_t)shmc_mpmc_size_for(&s.q),
                                   &s.q) == SHMC_OK);
    come(0, 0);
    for (uint32_t i = 0; i < servers; i++)
        attach(&s.rep[i].calls, i + 1, SHMC_CONSUMER);
    for (uint32_t i = 0; i < each; i++) {
        shmi_call_shm *call = &s.req[0].calls.calls[i];
        model_name(&call->state, "state");
        model_name(&call->request.word, "request");
        model_name(&call->request.ack, "ack");
        model_name(&call->reply.word, "reply");
    }
    s.each = each;
    s.rounds = 2;
    s.tries = 2;
}

static void one_server(void *state) { (void)state; service(1, 1); }
static void two_servers(void *state) { (void)state; service(1, 2); }

static void
two_calls(void *state)
{
    (void)state;
    service(2, 2);
}

static void
in_parts(void *state)
{
    (void)state;
    service(1, 1);
    s.parts = true;
    s.tries = 3;
    s.rounds = 1;
}

static void
impatient(void *state)
{
    (void)state;
    service(1, 2);
    s.tries = 1;
    s.rounds = 3;
}

static void
posting(void *state)
{
    (void)state;
    service(2, 1);
    s.posts = true;
}

/* ---- what threads do --------------------------------------------------- */

static uint64_t answer_of(uint64_t item) { return item * 1000; }

/* Look for the dead at each try.                                          */
static void
alert(shmc_req *req)
{
    req->look_ns = 0;
    req->polls = SHMI_CALL_POLLS - 1;
}

/* True if the answer, or what stands for it, came.                         */
static bool
receive(shmc_req *req, uint32_t n, int call)
{
    uint64_t got = 0;

    alert(req);
    const int r = shmc_req_recv(req, call, &got, sizeof got, 0);
    if (r == SHMC_EAGAIN) return false;
    if (r == SHMC_EPEERDEAD) return true;
    model_require(r == 8);
    model_require(got == answer_of(FIRST + n) + shmc_req_more(req));
    if (shmc_req_more(req)) return false;
    s.answered[n] = 1;
    return true;
}

static void
ask(shmc_req *req)
{
    for (uint32_t k = 0; k < s.rounds; k++) {
        const uint32_t n = s.next++;
        const uint64_t item = FIRST + n;
        if (s.posts) {
            const int r = shmc_req_post(req, &item, sizeof item, 0);
            model_require(r == SHMC_OK || r == SHMC_EAGAIN);
            s.posted[n] = r == SHMC_OK;
            continue;
        }
        const int call = shmc_req_send(req, &item, sizeof item, 0);
        model_require(call > 0 || call == SHMC_EAGAIN);
        bool over = call < 0;
        for (uint32_t i = 0; i < s.tries && !over; i++)
            over = receive(req, n, call);
        if (over) continue;
        const int r = shmc_req_cancel(req, call);
        model_require(r >= 0);
        s.withdrawn[n] = r == 1;
    }
}

static void
serve_one(shmc_rep *rep)
{
    uint64_t item = 0;
    int r = shmc_rep_recv(rep, &item, sizeof item, 0);

    if (r == SHMC_EAGAIN) return;
    model_require(r == 8);
    model_require(item >= FIRST && item < FIRST + ITEMS);
    s.admitted[item - FIRST]++;
    rep->look_ns = UINT64_MAX;
    uint64_t out = answer_of(item) + 1;
    if (s.parts && shmc_rep_send_more(rep, &out, sizeof out, 0) != SHMC_OK)
        return;
    out--;
    r = SHMC_EAGAIN;
    for (uint32_t i = 0; i < s.tries && r == SHMC_EAGAIN; i++) {
        rep->tries = SHMI_CALL_POLLS - 1;
        r = shmc_rep_send(rep, &out, sizeof out, 0);
    }
    model_require(r == SHMC_OK || r == SHMC_EPEERDEAD || r == SHMC_EAGAIN);
    if (r == SHMC_EAGAIN) model_require(shmc_rep_drop(rep) == SHMC_OK);
}

static void
serve_some(shmc_rep *rep)
{
    for (uint32_t i = 0; i < s.rounds; i++) {
        rep->calls.queue.look = true;
        serve_one(rep);
    }
}

static void ask_0(void *state) { (void)state; ask(&s.req[0]); }
static void serve_1(void *state) { (void)state; serve_some(&s.rep[0]); }
static void serve_2(void *state) { (void)state; serve_some(&s.rep[1]); }

/* Who takes the dead client's seat.                                        */
static void
come_after_0(void *state)
{
    (void)state;
    if (!model_await_end(0)) return;
    come(1, 3);
    s.next = ROUNDS;
    ask(&s.req[1]);
}

/* Who takes the dead server's seat.                                        */
static void
serve_after_1(void *state)
{
    (void)state;
    if (!model_await_end(1)) return;
    memset(&s.rep[1], 0, sizeof s.rep[1]);
    attach(&s.rep[1].calls, 3, SHMC_CONSUMER);
    serve_some(&s.rep[1]);
}

/* ---- what must be so afterwards ------------------------------------------ */

/* Nothing twice, nothing that was withdrawn, no answer to what nobody had.  */
static void
once(void *state)
{
    (void)state;
    for (uint32_t n = 0; n < ITEMS; n++) {
        model_require(s.admitted[n] <= 1);
        if (s.withdrawn[n]) model_require(s.admitted[n] == 0);
        if (s.answered[n]) model_require(s.admitted[n] == 1);
    }
}

/* The same; and once the queue is empty each call is its client's again.    */
static void
none_is_lost(uint32_t client, uint32_t server)
{
    shmc_req *req = &s.req[client];
    shmc_rep *rep = &s.rep[server];

    for (uint32_t i = 0; i < 2 * ROUNDS; i++) {
        rep->calls.queue.look = true;
        rep->calls.queue.idle_tries = SHMI_MPMC_RESCUE_TRIES - 1;
        serve_one(rep);
    }
    if (rep->held) (void)shmc_rep_drop(rep);
    shmi_req_reclaim_all(req, true);
    model_require(req->sent == 0 && req->gone == 0);
    model_require(req->free == shmi_req_bit(s.each) - 1);
    for (uint32_t n = 0; n < ITEMS; n++)
        if (s.posted[n]) model_require(s.admitted[n] == 1);
    once(NULL);
}

static void all_is_well(void *state) { (void)state; none_is_lost(0, 0); }
static void others_are_well(void *state) { (void)state; none_is_lost(0, 1); }

static void
heir_is_well(void *state)
{
    if (model_ended(0)) all_is_well(state);
    else none_is_lost(1, 0);
}

static void
new_server_is_well(void *state)
{
    if (model_ended(1)) all_is_well(state);
    else others_are_well(state);
}

/* ---- cases ------------------------------------------------------------------ */

#define CASE(label, from, a, b, c, then)                                      \
    .name = label, .state = &s, .state_bytes = sizeof s, .setup = from,       \
    .thread = { a, b, c }, .check = then, .step_limit = 8000
#define STOPS(how, who) .stop = how, .victim = who, .executions = 60

static const model_case cases[] = {
    { CASE("calls_answered", one_server, ask_0, serve_1, NULL, all_is_well),
      .executions = 20000 },
    { CASE("calls_two_servers", two_servers, ask_0, serve_1, serve_2,
           all_is_well), .executions = 10000 },
    { CASE("calls_two_at_once", two_calls, ask_0, serve_1, serve_2,
           all_is_well), .executions = 5000 },
    { CASE("calls_impatient", impatient, ask_0, serve_1, serve_2,
           all_is_well), .executions = 10000 },
    { CASE("calls_in_parts", in_parts, ask_0, serve_1, NULL, all_is_well),
      .executions = 20000 },
    { CASE("calls_posted", posting, ask_0, serve_1, NULL, all_is_well),
      .executions = 10000 },
    { CASE("calls_server_stops", two_servers, ask_0, serve_1, serve_2, once),
      STOPS(MODEL_FREEZE, 1) },
    { CASE("calls_client_stops", two_servers, ask_0, serve_1, serve_2, once),
      STOPS(MODEL_FREEZE, 0) },
    { CASE("calls_server_dies", two_servers, ask_0, serve_1, serve_2,
           others_are_well), STOPS(MODEL_KILL, 1) },
    { CASE("calls_server_replaced", one_server, ask_0, serve_1, serve_after_1,
           new_server_is_well), STOPS(MODEL_KILL, 1) },
    { CASE("calls_client_replaced", one_server, ask_0, serve_1, come_after_0,
           heir_is_well), STOPS(MODEL_KILL, 0) },
    { CASE("calls_poster_replaced", posting, ask_0, serve_1, come_after_0,
           heir_is_well), STOPS(MODEL_KILL, 0) },
};

int
main(int argc, char **argv)
{
    return MODEL_MAIN(argc, argv, cases);
}
