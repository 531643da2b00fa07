/* The reduction loses nothing: random small programs come to the same ends
 * as when every order of steps is run.                                    */
#include "model/model_case.h"

enum { OPS = 4, WORDS = 2, ENDS = 1 << 14 };

enum { LOAD_RLX, LOAD_ACQ, STORE_RLX, STORE_REL, CAS, ADD, SWAP, FENCE_ACQ,
       FENCE_REL, FENCE_SC, BARRIER, READ, WRITE, SLEEP, WAKE, ASK, KINDS };

typedef struct operation { uint8_t kind, word, value; } operation;

static struct {
    uint32_t *word[WORDS];
    uint64_t *data;
    uint32_t saw[3][OPS];
} s;

static operation program[3][OPS];
static uint64_t ends[2][ENDS];      /* what an execution came to, by mode   */
static uint32_t end_count[2];
static int mode;

static void
setup(void *state)
{
    (void)state;
    for (int i = 0; i < WORDS; i++) s.word[i] = (uint32_t *)model_alloc(4);
    s.data = (uint64_t *)model_alloc(8);
}

static uint32_t
operate(const operation *o)
{
    uint32_t *w = s.word[o->word];
    uint32_t seen = o->value;

    switch (o->kind) {
    case LOAD_RLX: return shmi_load_rlx_32(w);
    case LOAD_ACQ: return shmi_load_acq_32(w);
    case STORE_RLX: shmi_store_rlx_32(w, o->value); return 0;
    case STORE_REL: shmi_store_rel_32(w, o->value); return 0;
    case CAS: (void)shmi_cas_32(w, &seen, o->value + 1u); return seen;
    case ADD: return shmi_faa_32(w, o->value);
    case SWAP: return shmi_swap_32(w, o->value);
    case FENCE_ACQ: shmi_fence_acq(); return 0;
    case FENCE_REL: shmi_fence_rel(); return 0;
    case FENCE_SC: shmi_fence_sc(); return 0;
    case BARRIER: return (uint32_t)shmi_membarrier();
    case READ: return (uint32_t)model_read_64(s.data);
    case WRITE: model_write_64(s.data, o->value); return 0;
    case SLEEP: return (uint32_t)shmi_wait_32(w, o->value, SHMI_FOREVER);
    case WAKE: shmi_wake_32(w, 1); return 0;
    default: return (uint32_t)model_lock_probe(0, 0);
    }
}

static void
thread(void *state)
{
    const uint32_t self = model_self();

    (void)state;
    for (int i = 0; i < OPS; i++) s.saw[self][i] = operate(&program[self][i]);
}

static void
add_end(uint64_t end)
{
    for (uint32_t i = 0; i < end_count[mode]; i++)
        if (ends[mode][i] == end) return;
    model_require(end_count[mode] < ENDS);
    ends[mode][end_count[mode]++] = end;
}

/* All that was seen and what is left, in one number.                      */
static void
check(void *state)
{
    uint64_t h = 1469598103934665603u;

    (void)state;
    for (int t = 0; t < 3; t++)
        for (int i = 0; i < OPS; i++) h = (h ^ s.saw[t][i]) * 1099511628211u;
    for (int i = 0; i < WORDS; i++)
        h = (h ^ shmi_load_rlx_32(s.word[i])) * 1099511628211u;
    add_end(h);
}

static void
invent(uint64_t *seed, uint32_t kinds)
{
    for (int t = 0; t < 3; t++)
        for (int i = 0; i < OPS; i++) {
            *seed = *seed * 6364136223846793005u + 1442695040888963407u;
            const uint32_t r = (uint32_t)(*seed >> 33);
            /* The third thread does less, or it takes for ever.           */
            const uint32_t kind = t == 2 && i > 1 ? FENCE_REL : r % kinds;
            program[t][i] = (operation){ (uint8_t)kind,
                                         (uint8_t)(r / 64 % WORDS),
                                         (uint8_t)(r / 256 % 2) };
        }
}

/* Run one program to its end in both modes; a failure is an end, too.     */
static bool
compare(uint32_t stop)
{
    model_case c = { .name = "random", .state = &s, .state_bytes = sizeof s,
                     .setup = setup, .thread = { thread, thread, thread },
                     .check = check, .stop = stop };
    bool failed[2], all[2];

    for (mode = 0; mode < 2; mode++) {
        end_count[mode] = 0;
        c.every_order = mode == 1;
        model_begin(&c);
        M.stop_armed = stop != MODEL_NO_STOP;
        M.stop_at = 1;
        all[mode] = model_explore(mode == 0 ? 100000 : 2000000);
        failed[mode] = M.failed;
    }
    if (failed[0] || failed[1]) return failed[0] == failed[1];
    if (!all[0] || !all[1]) return true;    /* too long for a comparison    */
    if (end_count[0] != end_count[1]) return false;
    for (uint32_t i = 0; i < end_count[0]; i++) {
        bool found = false;
        for (uint32_t k = 0; k < end_count[1] && !found; k++)
            found = ends[0][i] == ends[1][k];
        if (!found) return false;
    }
    return true;
}

static void
show(void)
{
    static const char *const names[] = {
        "load_rlx", "load_acq", "store_rlx", "store_rel", "cas", "add", "swap",
        "fence_acq", "fence_rel", "fence_sc", "barrier", "read", "write",
        "sleep", "wake", "ask" };
    for (int t = 0; t < 3; t++, printf("\n"))
        for (int i = 0; i < OPS; i++)
            printf("  %s(%d, %d)", names[program[t][i].kind],
                   program[t][i].word, program[t][i].value);
    printf("  %u ends with the reduction, %u without\n", end_count[0],
           end_count[1]);
}

int
main(void)
{
    /* Without and with plain memory, sleep and death.                     */
    static const uint32_t kinds[] = { FENCE_ACQ, BARRIER, KINDS };
    uint64_t seed = 2, ends_seen = 0;
    const uint64_t rounds = model_setting("SHMC_MODEL_ROUNDS", 60);

    model_prepare();
    for (uint64_t round = 0; round < rounds; round++)
        for (uint32_t k = 0; k < 3; k++) {
            invent(&seed, kinds[k]);
            if (!compare(k == 2 ? MODEL_KILL : MODEL_NO_STOP)) {
                show();
                return 1;
            }
            ends_seen += end_count[0];
        }
    printf("%llu programs, %llu ends\n", (unsigned long long)(3 * rounds),
           (unsigned long long)ends_seen);
    return ends_seen == 0;
}
