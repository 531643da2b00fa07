/* Fuzzes what a hostile peer can do while others work: the input is a row of
 * calls on a ring of any kind, or on a segment, which is made again and again
 * while another process scribbles on the shared bytes, most of the time on a
 * few numbers that the input names.  Who runs when is chance, so that an input
 * does not always find what it found once.
 * SPDX-License-Identifier: MIT                                            */
#include "hostile.h"
#include "scribbler.h"

enum { CALLS = 24, ROUNDS = 4, WRITES = 300 };

typedef struct step { uint8_t what, op, arg; } step;

static void
choose_places(const world *w, fuzz_input *in, scribbler_plan *plan)
{
    plan->from = (uint64_t)(w->mem - fuzz_room_base());
    plan->bytes = w->bytes / 8 * 8;
    plan->seed = fuzz_u16(in) + 1u;
    const uint32_t places = fuzz_u8(in) % (SCRIBBLER_PLACES + 1);
    for (uint32_t i = 0; i < places; i++) {
        const uint8_t how = fuzz_u8(in), line = fuzz_u8(in), at = fuzz_u8(in);
        const uint32_t width = how >> 6 == 0 ? 1 : how >> 6 == 1 ? 4 : 8;
        plan->place[i].how = how;
        plan->place[i].width = width;
        plan->place[i].at = ((uint64_t)line * SHMC_LINE + at * width % SHMC_LINE)
                            % plan->bytes;
        plan->places = i + 1;
    }
}

static void
take_step(world *w, const step *s)
{
    handle *h = &w->h[s->what >> 4 & (HANDLES - 1)];

    switch (s->what & 7) {
    case 0:
        step_handle(w, h, s->op, s->arg);
        break;
    case 1: case 2:
        if (w->kind == KINDS)
            use_segment(w, &w->s[s->what >> 3 & 1], s->op, s->arg);
        else
            use(w, h, s->op, s->arg);
        break;
    default:
        use(w, h, s->op, s->arg);
        break;
    }
}

/* Handles of both sides, so that there is something to lose.              */
static void
begin(world *w, uint32_t kind)
{
    const bool segment = w->kind == KINDS;

    for (uint32_t i = 0; segment && i < SEGMENTS; i++)
        use_segment(w, &w->s[i], 0, 0);
    for (uint32_t i = 0; i < HANDLES; i++)
        step_handle(w, &w->h[i], (uint8_t)(kind % KINDS * 2 + (i & 1)),
                    (uint8_t)(1 + (i & 1)));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int kinds[] = { SPSC, RECQ, MPMC, LATEST, BCAST,
                                 KINDS, KINDS, KINDS };
    static world w;
    fuzz_input in = { data, size };
    scribbler_plan plan = { 0 };
    step steps[CALLS];
    uint32_t n = 0;

    memset(&w, 0, sizeof w);
    shmc_log_set(NULL, NULL, 0);
    w.kind = kinds[fuzz_u8(&in) & 7];
    w.shape = fuzz_u8(&in);
    create(&w);
    const uint32_t kind = fuzz_u8(&in);     /* of the rings in a segment    */
    choose_places(&w, &in, &plan);
    for (; n < CALLS && fuzz_more(&in); n++) {
        steps[n].what = fuzz_u8(&in);
        steps[n].op = fuzz_u8(&in);
        steps[n].arg = fuzz_u8(&in);
    }
    if (n == 0) return 0;
    begin(&w, kind);
    scribbler_start(&plan);
    for (int i = 0; i < ROUNDS && scribbler_writes() < WRITES; i++)
        for (uint32_t k = 0; k < n; k++) take_step(&w, &steps[k]);
    end(&w);
    scribbler_stop();
    return 0;
}
