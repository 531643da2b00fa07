/* Fuzzes what a hostile peer can do: the input scribbles on the shared bytes
 * of every kind of ring, and of a segment, or is itself these bytes, before
 * somebody attaches and between any two calls.
 * SPDX-License-Identifier: MIT                                            */
#include "hostile.h"

/* ---- scribbling -------------------------------------------------------- */

/* What a number becomes.                                                  */
static uint64_t
changed(uint64_t v, uint8_t how, fuzz_input *in)
{
    switch (how & 7) {
    case 0:  return 0;
    case 1:  return UINT64_MAX;
    case 2:  return v * 2;
    case 3:  return v + fuzz_u8(in);
    case 4:  return v - fuzz_u8(in);
    case 5:  return v ^ UINT64_C(1) << (fuzz_u8(in) & 63);
    case 6:  return fuzz_start(in);
    default: return fuzz_u8(in);
    }
}

/* Change a number of 1, 4 or 8 bytes, at its natural place in a line.     */
static void
scribble(world *w, fuzz_input *in)
{
    const uint8_t how = fuzz_u8(in), line = fuzz_u8(in), place = fuzz_u8(in);
    const uint64_t width = (how >> 3 & 3) == 0 ? 1 : how >> 3 & 2 ? 8 : 4;
    /* Half of them in the first line, which has most to say.              */
    const uint64_t at = (line & 128 ? 0 : line) * SHMC_LINE % w->bytes +
                        place * width % SHMC_LINE;
    uint64_t v = 0;

    if (at + width > w->bytes) return;
    memcpy(&v, w->mem + at, (size_t)width);
    v = changed(v, how, in);
    memcpy(w->mem + at, &v, (size_t)width);
}

static void
step(world *w, fuzz_input *in)
{
    const uint8_t what = fuzz_u8(in), op = fuzz_u8(in), arg = fuzz_u8(in);
    handle *h = &w->h[what >> 4 & (HANDLES - 1)];

    switch (what & 7) {
    case 0: case 1:
        scribble(w, in);
        break;
    case 2:
        step_handle(w, h, op, arg);
        break;
    case 3:
        if (w->kind == KINDS) use_segment(w, &w->s[what >> 3 & 1], op, arg);
        break;
    default:
        use(w, h, op, arg);
        break;
    }
}

/* No ring and no segment, but the input's bytes.                          */
static void
create_raw(world *w, fuzz_input *in)
{
    const uint64_t lines = fuzz_u8(in);
    uint64_t n = fuzz_u16(in);

    w->bytes = (1 + lines) * SHMC_LINE;
    w->mem = fuzz_room(w->bytes, w->shape >> 5 & 1);
    memset(w->mem, 0, (size_t)w->bytes);
    if (n > w->bytes) n = w->bytes;
    if (n > in->size) n = in->size;
    memcpy(w->mem, in->data, (size_t)n);
    in->data += n;
    in->size -= n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int kinds[] = { SPSC, RECQ, MPMC, LATEST, BCAST,
                                 KINDS, KINDS, KINDS };
    static world w;
    fuzz_input in = { data, size };

    memset(&w, 0, sizeof w);
    shmc_log_set(NULL, NULL, 0);
    const uint8_t kind = fuzz_u8(&in);
    w.kind = kinds[kind & 7];
    w.shape = fuzz_u8(&in);
    if ((kind & 0xf8) == 0xf8) create_raw(&w, &in);
    else create(&w);
    for (int i = 0; i < 400 && fuzz_more(&in); i++) step(&w, &in);
    end(&w);
    return 0;
}
