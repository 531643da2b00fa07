/* Fuzzes recordings: whatever bytes a file has, reading it stays inside it,
 * ends, and counts what it gives; what a writer wrote is read back as it was,
 * and of a file that was cut short, every record that is whole.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_base.h"
#include "tools/shmcomm_recfile.h"
#include "fuzz_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 64 };                 /* messages that a writer writes        */

typedef struct file {
    const uint8_t *data;
    size_t size;
} file;

static int
file_read(void *ctx, uint64_t at, void *to, size_t bytes)
{
    const file *f = ctx;

    FUZZ_REQUIRE(at <= f->size && bytes <= f->size - at);
    memcpy(to, f->data + at, bytes);
    return 0;
}

/* Read all of it, as replay does.  Returns how many messages.             */
static uint64_t
read_all(rec_reader *r, uint64_t from)
{
    uint64_t messages = 0, at = from;
    rec_head h;

    while (rec_next(r, &at, &h)) {
        FUZZ_REQUIRE(at > h.at && at <= r->end && h.topic < r->table.count);
        if (h.kind != REC_MESSAGE) continue;
        uint8_t *copy = malloc((size_t)h.bytes + 1);
        FUZZ_REQUIRE(copy != NULL);
        FUZZ_REQUIRE(rec_data(r, &h, copy) == 0);
        free(copy);
        messages++;
    }
    return messages;
}

/* A file of any bytes.                                                    */
static void
fuzz_file(const uint8_t *data, size_t size)
{
    static rec_reader r;
    file f = { data, size };
    uint64_t counted = 0;

    if (rec_open(&r, file_read, &f, size) != 0) {
        FUZZ_REQUIRE(r.why != NULL);
        rec_close(&r);
        return;
    }
    FUZZ_REQUIRE(r.end <= size && r.table.count <= REC_MOST_TOPICS);
    for (uint32_t i = 0; i < r.table.count; i++) {
        const rec_topic *t = &r.table.topics[i];
        FUZZ_REQUIRE(strlen(t->name) < sizeof t->name);
        FUZZ_REQUIRE(strlen(t->type) < sizeof t->type);
        counted += t->messages;
    }
    const uint64_t messages = read_all(&r, REC_HEADER_BYTES);
    if (r.scanned) FUZZ_EQUAL(messages, counted);
    for (uint32_t i = 0; i < r.table.mark_count && i < 4; i++)
        (void)read_all(&r, rec_seek(&r, r.table.marks[i].ns));
    (void)read_all(&r, rec_seek(&r, UINT64_MAX));
    rec_close(&r);
}

/* The same with a true header and true sums, so that more is looked at: each
 * eight bytes of input are a record's kind, topic, length and time.       */
static size_t
make_file(const uint8_t *data, size_t size, uint8_t **out, uint64_t *messages,
          uint64_t *ends)
{
    static rec_writer w;
    fuzz_input in = { data, size };
    char *bytes = NULL;
    size_t length = 0;
    uint64_t ns = 1000;

    FILE *f = open_memstream(&bytes, &length);
    FUZZ_REQUIRE(f != NULL);
    rec_begin(&w, f, ns, 1);
    w.table.stride = 64;
    *messages = 0;
    while (fuzz_more(&in) && *messages < MOST) {
        const uint8_t what = fuzz_u8(&in), n = fuzz_u8(&in);
        uint8_t message[256];
        ns += what;
        if (what % 4 == 0 || w.table.count == 0) {
            rec_topic t;
            memset(&t, 0, sizeof t);
            snprintf(t.name, sizeof t.name, "topic/%u", n);
            snprintf(t.type, sizeof t.type, "%.*s", n % 60,
                     "0123456789012345678901234567890123456789012345678901234567890");
            t.depth = n;
            FUZZ_REQUIRE(rec_add_topic(&w, &t, ns) >= 0);
        } else if (what % 4 == 1) {
            rec_loss(&w, n % w.table.count, ns, *messages, n);
        } else {
            fuzz_write(message, n, *messages);
            rec_message(&w, n % w.table.count, ns, *messages, message, n);
            ends[(*messages)++] = w.at;
        }
    }
    rec_end(&w, ns);
    FUZZ_REQUIRE(!w.failed);
    rec_table_free(&w.table);
    FUZZ_REQUIRE(fclose(f) == 0);
    *out = (uint8_t *)bytes;
    return length;
}

/* Read what was made; if it is whole, each message must be as it was.     */
static void
check_made(const uint8_t *data, size_t size, bool whole, uint64_t messages)
{
    static rec_reader r;
    file f = { data, size };
    uint8_t copy[256];
    uint64_t seen = 0, at = REC_HEADER_BYTES;
    rec_head h;

    if (rec_open(&r, file_read, &f, size) != 0) {
        FUZZ_REQUIRE(size < REC_HEADER_BYTES);
        return;
    }
    FUZZ_EQUAL(r.scanned, !whole);
    while (rec_next(&r, &at, &h)) {
        if (h.kind != REC_MESSAGE) continue;
        FUZZ_REQUIRE(h.bytes < sizeof copy && rec_data(&r, &h, copy) == 0);
        FUZZ_EQUAL(h.sequence, seen);
        FUZZ_REQUIRE(fuzz_reads(copy, h.bytes, seen));
        seen++;
    }
    FUZZ_EQUAL(seen, messages);
    FUZZ_EQUAL(at, r.end);
    for (uint64_t ns = 900; ns < 4000; ns += 997) { /* a seek skips nothing     */
        uint64_t from = rec_seek(&r, ns), before = 0, later = 0;
        for (at = REC_HEADER_BYTES; rec_next(&r, &at, &h); )
            before += h.kind == REC_MESSAGE && h.ns >= ns;
        while (rec_next(&r, &from, &h))
            later += h.kind == REC_MESSAGE && h.ns >= ns;
        FUZZ_EQUAL(later, before);
    }
    rec_close(&r);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t ends[MOST], messages, left = 0;
    uint8_t *made = NULL;

    fuzz_file(data, size);
    if (size < 4) return 0;
    const size_t length = make_file(data + 4, size - 4, &made, &messages, ends);
    check_made(made, length, true, messages);
    const size_t cut = ((size_t)data[0] | (size_t)data[1] << 8) % length;
    while (left < messages && ends[left] <= cut) left++;
    check_made(made, cut, false, left);
    made[cut] ^= data[2];           /* and one byte another                 */
    fuzz_file(made, length);
    free(made);
    return 0;
}
