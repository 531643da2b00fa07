/* The shared bytes are those of docs/layout.md: its tables agree with the
 * headers, the bytes that a few operations leave are frozen, and the locks
 * on a segment's file lie where it says.
 *
 * A test of frozen bytes that fails shows the bytes as they are, in the form
 * in which they stand here.  If they were meant to change: another version
 * of that layout, its table in the docs, an entry in CHANGELOG.md.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_counter.h"
#include "shmcomm_ring.h"
#include "shmcomm_recq.h"
#include "shmcomm_latest.h"
#include "shmcomm_mpmc.h"
#include "shmcomm_pushpull.h"
#include "shmcomm_broadcast.h"
#include "shmcomm_topic.h"
#include "shmcomm_reqrep.h"
#include "test_support.h"

enum { SHMI_LOCK_PARTICIPANTS = 0 };    /* what the docs call byte i        */

/* ---- the tables -------------------------------------------------------- */

#define FIELDS(X)                                                             \
    X(shmc_segment_shm, magic) X(shmc_segment_shm, version)                   \
    X(shmc_segment_shm, byte_order) X(shmc_segment_shm, total_bytes)          \
    X(shmc_segment_shm, line_bytes) X(shmc_segment_shm, max_participants)     \
    X(shmc_segment_shm, max_objects) X(shmc_segment_shm, flags)               \
    X(shmc_segment_shm, wake) X(shmc_segment_shm, creator_pid)                \
    X(shmc_segment_shm, participants_at) X(shmc_segment_shm, directory_at)    \
    X(shmc_segment_shm, heap_at) X(shmc_segment_shm, heap_bytes)              \
    X(shmc_segment_shm, created_ns) X(shmc_segment_shm, created_realtime_ns)  \
    X(shmc_segment_shm, pad0) X(shmc_segment_shm, name)                       \
    X(shmc_segment_shm, changes) X(shmc_segment_shm, memory_lock)             \
    X(shmc_segment_shm, pad1) X(shmc_segment_shm, reserved)                   \
    X(shmc_participant_shm, generation) X(shmc_participant_shm, start)        \
    X(shmc_participant_shm, attached_realtime_ns)                             \
    X(shmc_participant_shm, pid) X(shmc_participant_shm, pad0)                \
    X(shmc_participant_shm, label) X(shmc_participant_shm, pad1)              \
    X(shmc_entry_shm, state) X(shmc_entry_shm, generation)                    \
    X(shmc_entry_shm, offset) X(shmc_entry_shm, bytes)                        \
    X(shmc_entry_shm, type_hash) X(shmc_entry_shm, kind)                      \
    X(shmc_entry_shm, version) X(shmc_entry_shm, elem_bytes)                  \
    X(shmc_entry_shm, creator_pid) X(shmc_entry_shm, created_realtime_ns)     \
    X(shmc_entry_shm, opens) X(shmc_entry_shm, reserved)                      \
    X(shmc_entry_shm, type_name) X(shmc_entry_shm, name)                      \
    X(shmc_counter_shm, value) X(shmc_counter_shm, owner)                     \
    X(shmc_counter_shm, pad)                                                  \
    X(shmi_seat_shm, owner) X(shmi_seat_shm, intent) X(shmi_seat_shm, word)   \
    X(shmi_bell_shm, seq) X(shmi_bell_shm, asleep) X(shmi_bell_shm, pad)      \
    X(shmi_ring_head_shm, magic) X(shmi_ring_head_shm, version)               \
    X(shmi_ring_head_shm, total_bytes) X(shmi_ring_head_shm, slot_bytes)      \
    X(shmi_ring_head_shm, slot_count) X(shmi_ring_head_shm, stride_bytes)     \
    X(shmi_ring_head_shm, flags) X(shmi_ring_head_shm, seats)                 \
    X(shmi_ring_head_shm, mode) X(shmi_ring_head_shm, aux)                    \
    X(shmi_end_shm, index) X(shmi_end_shm, owner) X(shmi_end_shm, note_of)    \
    X(shmi_end_shm, note) X(shmi_end_shm, notes) X(shmi_end_shm, pad)         \
    X(shmi_lane_shm, ring) X(shmi_lane_shm, tail) X(shmi_lane_shm, head)      \
    X(shmi_lane_shm, readable) X(shmi_lane_shm, writable)                     \
    X(shmi_lane_shm, long_note) X(shmi_lane_shm, pad)                         \
    X(shmc_latest_shm, ring) X(shmc_latest_shm, writer)                       \
    X(shmc_latest_shm, readable)                                              \
    X(shmc_mpmc_shm, ring) X(shmc_mpmc_shm, tail) X(shmc_mpmc_shm, pad0)      \
    X(shmc_mpmc_shm, head) X(shmc_mpmc_shm, pad1)                             \
    X(shmc_mpmc_shm, readable) X(shmc_mpmc_shm, writable)                     \
    X(shmc_mpmc_shm, tombs) X(shmc_mpmc_shm, skipped)                         \
    X(shmc_mpmc_shm, redelivered) X(shmc_mpmc_shm, dropped)                   \
    X(shmc_mpmc_shm, poisoned) X(shmc_mpmc_shm, pad2)                         \
    X(shmc_mpmc_shm, orphans)                                                 \
    X(shmi_bcast_shm, head) X(shmi_bcast_shm, tail) X(shmi_bcast_shm, pad0)   \
    X(shmi_bcast_shm, readable) X(shmi_bcast_shm, writable)                   \
    X(shmi_bcast_shm, voids) X(shmi_bcast_shm, dropped)                       \
    X(shmi_bcast_shm, seats) X(shmi_bcast_shm, user) X(shmi_bcast_shm, pad1)  \
    X(shmi_bcast_cell_shm, stamp) X(shmi_bcast_cell_shm, bytes)               \
    X(shmi_bcast_cell_shm, seat) X(shmi_bcast_cell_shm, at)                   \
    X(shmi_bcast_cell_shm, reserved) X(shmi_bcast_cell_shm, data)             \
    X(shmi_bcast_arena_shm, low) X(shmi_bcast_arena_shm, pad)                 \
    X(shmi_bcast_record_shm, position) X(shmi_bcast_record_shm, span)         \
    X(shmi_bcast_record_shm, pad)                                             \
    X(shmi_meta_shm, sent_ns) X(shmi_meta_shm, publisher)                     \
    X(shmi_meta_shm, type_hash) X(shmi_meta_shm, pid)                         \
    X(shmi_meta_shm, user_bytes) X(shmi_meta_shm, user)                       \
    X(shmi_shares_shm, head) X(shmi_shares_shm, room)                         \
    X(shmi_calls_shm, head) X(shmi_calls_shm, arrivals)                       \
    X(shmi_call_shm, request) X(shmi_call_shm, reply)                         \
    X(shmi_call_shm, state) X(shmi_call_shm, pad)                             \
    X(shmi_request_shm, word) X(shmi_request_shm, ack)                        \
    X(shmi_request_shm, bytes) X(shmi_request_shm, pad)                       \
    X(shmi_request_shm, data)                                                 \
    X(shmi_reply_shm, word) X(shmi_reply_shm, bytes) X(shmi_reply_shm, pad)   \
    X(shmi_reply_shm, data)

#define VALUES(X)                                                             \
    X(SHMC_KIND_RAW) X(SHMC_KIND_COUNTER) X(SHMC_KIND_SPSC)                   \
    X(SHMC_KIND_RECQ) X(SHMC_KIND_MPMC) X(SHMC_KIND_BCAST)                    \
    X(SHMC_KIND_LATEST) X(SHMI_SEGMENT_VERSION) X(SHMI_BYTE_ORDER)            \
    X(SHMI_FREE) X(SHMI_BUILDING) X(SHMI_READY) X(SHMI_DELETING)              \
    X(SHMC_EPHEMERAL) X(SHMC_WAKE_FENCE) X(SHMC_WAKE_ASYMMETRIC)              \
    X(SHMI_LOCK_PARTICIPANTS) X(SHMI_LOCK_DIRECTORY)                          \
    X(SHMI_LOCK_PRESENCE) X(SHMI_LOCK_OBJECTS)                                \
    X(SHMI_SPSC_MAGIC) X(SHMI_RECQ_MAGIC) X(SHMI_MPMC_MAGIC)                  \
    X(SHMI_LATEST_MAGIC) X(SHMI_BCAST_MAGIC) X(SHMI_SPSC_VERSION)             \
    X(SHMI_RECQ_VERSION) X(SHMI_MPMC_VERSION) X(SHMI_LATEST_VERSION)          \
    X(SHMI_BCAST_VERSION) X(SHMI_RING_WAITABLE) X(SHMI_RING_ASYMMETRIC)       \
    X(SHMI_RECQ_DATA) X(SHMI_RECQ_PAD) X(SHMI_MPMC_FREE) X(SHMI_MPMC_FULL)    \
    X(SHMI_MPMC_TOMB) X(SHMI_MPMC_POSITION) X(SHMI_MPMC_AGAIN)                \
    X(SHMI_MPMC_ENQ) X(SHMI_MPMC_DEQ) X(SHMI_MPMC_COUNT)                      \
    X(SHMI_WORK_HERE) X(SHMI_WORK_BESIDE) X(SHMI_WORK_INLINE_BYTES)           \
    X(SHMI_WORK_ROLE) X(SHMC_KIND_SHARES) X(SHMI_SHARES_MAGIC)                \
    X(SHMI_SHARES_VERSION)                                                    \
    X(SHMI_MPMC_ORPHANS) X(SHMI_BUSY) X(SHMI_DONE) X(SHMI_VOID)               \
    X(SHMC_META) X(SHMI_TOPIC_RESTARTS) X(SHMI_TOPIC_RESTART_AT)              \
    X(SHMI_TOPIC_HEIR)                                                        \
    X(SHMI_TOPIC_SETTLED)                                                     \
    X(SHMC_KIND_CALLS) X(SHMI_CALLS_MAGIC) X(SHMI_CALLS_VERSION)              \
    X(SHMI_CALL_OVER) X(SHMI_CALL_TAKEN) X(SHMI_CALL_LAST)                    \
    X(SHMI_CALL_PART) X(SHMI_CALL_DROPPED) X(SHMI_CALL_ACK)                   \
    X(SHMI_CALL_CANCEL) X(SHMI_CALL_AREA) X(SHMI_CALL_ONE_WAY)                \
    X(SHMI_CALL_PUSHED) X(SHMI_CALL_AGAIN)

typedef struct field {
    const char *type, *name;
    uint64_t offset, size, type_size;
    int seen;
} field;

typedef struct value {
    const char *name;
    uint64_t is;
    int seen;
} value;

#define FIELD_ROW(type, name)                                                 \
    { #type, #name, offsetof(type, name), sizeof(((type *)0)->name),          \
      sizeof(type), 0 },
#define VALUE_ROW(name) { #name, (uint64_t)(name), 0 },

static field fields[] = { FIELDS(FIELD_ROW) };
static value values[] = { VALUES(VALUE_ROW) };

enum { FIELD_COUNT = sizeof fields / sizeof fields[0],
       VALUE_COUNT = sizeof values / sizeof values[0] };

/* ---- reading the page -------------------------------------------------- */

/* Copy the n-th cell of a table row, without blanks and backquotes.       */
static const char *
cell_of(const char *line, int n, char *out, size_t bytes)
{
    size_t k = 0;

    for (; *line != '\0' && n >= 0; line++) {
        if (*line == '|') n--;
        else if (n == 0 && *line != ' ' && *line != '`' && *line != '\n' &&
                 k + 1 < bytes)
            out[k++] = *line;
    }
    out[k] = '\0';
    return out;
}

static FILE *
page_open(void)
{
    FILE *page = fopen("docs/layout.md", "r");

    if (page == NULL) fail_msg("docs/layout.md: run this in the top folder");
    return page;
}

/* Check one row of the table of `type`; *end is where the row before ended. */
static void
check_field_row(const char *type, const char *line, uint64_t *end)
{
    char offset[32], size[32], name[64];

    cell_of(line, 1, offset, sizeof offset);
    cell_of(line, 2, size, sizeof size);
    cell_of(line, 3, name, sizeof name);
    for (int i = 0; i < FIELD_COUNT; i++) {
        field *f = &fields[i];
        if (strcmp(f->type, type) != 0 || strcmp(f->name, name) != 0) continue;
        if (f->offset != strtoull(offset, NULL, 0) || f->offset != *end ||
            f->size != strtoull(size, NULL, 0))
            fail_msg("%s.%s is at %llu with %llu bytes; docs/layout.md: %s, %s,"
                     " after a row that ends at %llu", type, name,
                     (unsigned long long)f->offset,
                     (unsigned long long)f->size, offset, size,
                     (unsigned long long)*end);
        *end += f->size;
        f->seen++;
        return;
    }
    fail_msg("docs/layout.md has %s.%s, which this test does not list", type,
             name);
}

static void
check_type_end(const char *type, uint64_t end)
{
    for (int i = 0; i < FIELD_COUNT; i++)
        if (strcmp(fields[i].type, type) == 0 && fields[i].type_size != end)
            fail_msg("%s has %llu bytes; its rows in docs/layout.md end at %llu",
                     type, (unsigned long long)fields[i].type_size,
                     (unsigned long long)end);
}

static void
every_field_lies_where_the_docs_say(void **state)
{
    char line[1024], type[64] = "";
    bool inside = false;
    uint64_t end = 0;
    FILE *page = page_open();

    (void)state;
    while (fgets(line, sizeof line, page) != NULL) {
        if (strncmp(line, "### ", 4) == 0) {
            snprintf(type, sizeof type, "%.*s", (int)strcspn(line + 4, " \n"),
                     line + 4);
        } else if (strncmp(line, "| offset | size | field | writer", 32) == 0) {
            inside = true;
            end = 0;
        } else if (inside && line[0] != '|') {
            inside = false;
            check_type_end(type, end);
        } else if (inside && strncmp(line, "|---", 4) != 0) {
            check_field_row(type, line, &end);
        }
    }
    fclose(page);
    for (int i = 0; i < FIELD_COUNT; i++)
        if (fields[i].seen != 1)
            fail_msg("%s.%s stands in docs/layout.md %d times", fields[i].type,
                     fields[i].name, fields[i].seen);
}

static void
check_value_row(const char *line)
{
    char number[64], name[64];

    cell_of(line, 1, number, sizeof number);
    cell_of(line, 2, name, sizeof name);
    for (int i = 0; i < VALUE_COUNT; i++) {
        if (strcmp(values[i].name, name) != 0) continue;
        if (values[i].is != strtoull(number, NULL, 0))
            fail_msg("%s is 0x%llx; docs/layout.md: %s", name,
                     (unsigned long long)values[i].is, number);
        values[i].seen++;
        return;
    }
    fail_msg("docs/layout.md has %s, which this test does not list", name);
}

static void
every_value_is_what_the_docs_say(void **state)
{
    char line[1024];
    bool inside = false;
    FILE *page = page_open();

    (void)state;
    while (fgets(line, sizeof line, page) != NULL) {
        if (strncmp(line, "| value | name |", 16) == 0) inside = true;
        else if (line[0] != '|') inside = false;
        else if (inside && strncmp(line, "|---", 4) != 0) check_value_row(line);
    }
    fclose(page);
    for (int i = 0; i < VALUE_COUNT; i++)
        if (values[i].seen != 1)
            fail_msg("%s stands in docs/layout.md %d times", values[i].name,
                     values[i].seen);
}

/* ---- frozen bytes ------------------------------------------------------ */

enum { IMAGE_BYTES = 16384, TEXT_BYTES = 16384 };

static uint64_t image_words[IMAGE_BYTES / 8 + 16];
static uint8_t *image;              /* 128-byte aligned                      */

static void
image_clear(void)
{
    memset(image_words, 0, sizeof image_words);
    image = (uint8_t *)(((uintptr_t)image_words + 127) & ~(uintptr_t)127);
}

/* Overwrite what differs from run to run.                                 */
static void
image_mask(size_t offset, size_t bytes)
{
    memset(image + offset, 0xee, bytes);
}

/* Write the rows of 16 bytes that are not zero: offset, then the bytes.   */
static void
image_text(const uint8_t *mem, size_t bytes, char *out)
{
    static const uint8_t zeros[16];
    size_t k = 0;

    out[0] = '\0';
    for (size_t at = 0; at < bytes; at += 16) {
        const size_t n = bytes - at < 16 ? bytes - at : 16;
        if (memcmp(mem + at, zeros, n) == 0) continue;
        k += (size_t)snprintf(out + k, TEXT_BYTES - k, "%05zu ", at);
        for (size_t i = 0; i < n; i++)
            k += (size_t)snprintf(out + k, TEXT_BYTES - k, "%s%02x",
                                  i == 8 ? " " : "", mem[at + i]);
        k += (size_t)snprintf(out + k, TEXT_BYTES - k, "\n");
        assert_true(k + 64 < TEXT_BYTES);
    }
}

/* Compare with the frozen rows; show all rows if they differ.             */
static void
image_is(const char *what, const uint8_t *mem, size_t bytes,
         const char *frozen)
{
    static char text[TEXT_BYTES];

    image_text(mem, bytes, text);
    if (strcmp(text, frozen) == 0) return;
    fprintf(stderr, "%s, %zu bytes, is now:\n", what, bytes);
    for (char *at = text; *at != '\0'; at++) {
        char *end = at + strcspn(at, "\n");
        *end = '\0';
        fprintf(stderr, "        \"%s\\n\"%s\n", at,
                strstr(frozen, at) != NULL ? "" : "       /* new */");
        at = end;
    }
    fail_msg("the shared bytes of %s changed", what);
}

#define OK(call) assert_int_equal((call), SHMC_OK)

static void
a_spsc_queue_has_the_frozen_bytes(void **state)
{
    static const char frozen[] =
        "00000 5353505103000000 8003000000000000\n"
        "00016 0c00000004000000 1000000001000000\n"
        "00128 0400000000000000 ffffffffffffffff\n"
        "00144 ffffffffffffff7f 0000000000000000\n"
        "00256 0100000000000000 0000000000000000\n"
        "00768 6d65737361676520 6f6e652e00000000\n"
        "00784 6d65737361676520 74776f2e00000000\n"
        "00800 7468697264202020 2020202000000000\n"
        "00816 666f757274682020 2020202000000000\n";
    const shmc_spsc_desc d = { .slot_bytes = 12, .slot_count = 4,
                               .waitable = 1 };
    char got[12];
    shmc_spsc p, c;

    (void)state;
    image_clear();
    const int64_t bytes = shmc_spsc_size_for(&d);
    assert_int_equal(bytes, 896);
    OK(shmc_spsc_format(image, (uint64_t)bytes, &d));
    OK(shmc_spsc_map(&p, image, (uint64_t)bytes, SHMC_PRODUCER));
    OK(shmc_spsc_map(&c, image, (uint64_t)bytes, SHMC_CONSUMER));
    OK(shmc_spsc_push(&p, "message one.", 12));
    OK(shmc_spsc_push(&p, "message two.", 12));
    OK(shmc_spsc_pop(&c, got, 12));
    assert_int_equal(shmc_spsc_push_n(&p, "third       fourth      five  ....", 12,
                                      2), 2);
    OK(shmc_spsc_close(&c));
    image_is("an SPSC queue", image, (size_t)bytes, frozen);
}

static void
a_record_queue_has_the_frozen_bytes(void **state)
{
    static const char frozen[] =
        "00000 5245435102000000 0004000000000000\n"
        "00016 0800000020000000 0800000000000000\n"
        "00128 2801000000000000 ffffffffffffffff\n"
        "00256 8000000000000000 ffffffffffffffff\n"
        "00768 1a00000001000000 646f6573206e6f74\n"
        "00784 2066697420696e74 6f2074686520656e\n"
        "00800 642e787878787878 7878787878787878\n"
        "00816 7878787878787878 7878787878787878\n"
        "00832 7878787878787878 7878787878787878\n"
        "00848 7878787878787878 7878787878787878\n"
        "00864 7878787878787878 7878787878787878\n"
        "00880 7878787878787878 7878787878000000\n"
        "00896 5000000001000000 7878787878787878\n"
        "00912 7878787878787878 7878787878787878\n"
        "00928 7878787878787878 7878787878787878\n"
        "00944 7878787878787878 7878787878787878\n"
        "00960 7878787878787878 7878787878787878\n"
        "00976 7878787878787878 0000000001000000\n"
        "00992 1800000002000000 0000000000000000\n";
    const shmc_recq_desc d = { .capacity_bytes = 256 };
    char got[120];
    shmc_recq p, c;

    (void)state;
    image_clear();
    const int64_t bytes = shmc_recq_size_for(&d);
    assert_int_equal(bytes, 1024);
    OK(shmc_recq_format(image, (uint64_t)bytes, &d));
    OK(shmc_recq_map(&p, image, (uint64_t)bytes, SHMC_PRODUCER));
    OK(shmc_recq_map(&c, image, (uint64_t)bytes, SHMC_CONSUMER));
    memset(got, 'x', sizeof got);
    OK(shmc_recq_push(&p, got, 117));
    OK(shmc_recq_push(&p, got, 80));
    assert_int_equal(shmc_recq_pop(&c, got, sizeof got), 117);
    OK(shmc_recq_push(&p, "", 0));
    OK(shmc_recq_push(&p, "does not fit into the end.", 26));
    image_is("a queue of records", image, (size_t)bytes, frozen);
}

static void
a_latest_value_has_the_frozen_bytes(void **state)
{
    static const char frozen[] =
        "00000 4c54535401000000 8002000000000000\n"
        "00016 0c00000002000000 8000000000000000\n"
        "00128 0200000000000000 ffffffffffffffff\n"
        "00384 746865207365636f 6e642e2e00000000\n"
        "00400 0200000000000000 0000000000000000\n"
        "00512 6669727374207661 6c75652e00000000\n"
        "00528 0300000000000000 0000000000000000\n";
    const shmc_latest_desc d = { .value_bytes = 12, .slot_count = 2 };
    shmc_latest w;
    void *loan;

    (void)state;
    image_clear();
    const int64_t bytes = shmc_latest_size_for(&d);
    assert_int_equal(bytes, 640);
    OK(shmc_latest_format(image, (uint64_t)bytes, &d));
    OK(shmc_latest_map(&w, image, (uint64_t)bytes, SHMC_PRODUCER));
    OK(shmc_latest_write(&w, "first value.", 12));
    OK(shmc_latest_write(&w, "the second..", 12));
    OK(shmc_latest_loan(&w, &loan));
    image_is("a latest value", image, (size_t)bytes, frozen);
}

static void
an_mpmc_queue_has_the_frozen_bytes(void **state)
{
    static const char frozen[] =
        "00000 4d504d4301000000 4007000000000000\n"
        "00016 0c00000008000000 1800000001000000\n"
        "00032 0300000001000000 0000000000000000\n"
        "00128 0500000000000000 0000000000000000\n"
        "00256 0300000000000000 0000000000000000\n"
        "00640 0100000000000000 0100000000000000\n"
        "01280 ffffffffffffffff 0400000000000140\n"
        "01408 ffffffffffffffff 0000000000000000\n"
        "01424 0200000000000180 0000000000000000\n"
        "01664 0000080000000000 0000000000000000\n"
        "01680 0000000000000000 0000090000000000\n"
        "01696 736f6d65206d6573 7361676500000000\n"
        "01712 0100020000000000 736f6d65206d6573\n"
        "01728 7361676500000000 0100030000000000\n"
        "01744 736f6d65206d6573 7361676500000000\n"
        "01760 0000040000000000 0000000000000000\n"
        "01776 0000000000000000 0000050000000000\n"
        "01808 0000060000000000 0000000000000000\n"
        "01824 0000000000000000 0000070000000000\n";
    const shmc_mpmc_desc d = { .slot_bytes = 12, .slot_count = 8,
                               .max_handles = 3, .on_consumer_death = SHMC_DROP,
                               .waitable = 1 };
    const void *view;
    shmc_mpmc p, c;
    char got[12];
    void *loan;

    (void)state;
    image_clear();
    const int64_t bytes = shmc_mpmc_size_for(&d);
    assert_int_equal(bytes, 1280 + 3 * 128 + 8 * 24);
    OK(shmc_mpmc_format(image, (uint64_t)bytes, &d));
    OK(shmc_mpmc_map(&p, image, (uint64_t)bytes, SHMC_PRODUCER));
    OK(shmc_mpmc_map(&c, image, (uint64_t)bytes, SHMC_CONSUMER));
    OK(shmc_mpmc_loan(&p, &loan));
    OK(shmc_mpmc_abort(&p));
    for (int i = 0; i < 3; i++) OK(shmc_mpmc_push(&p, "some message", 12));
    OK(shmc_mpmc_pop(&c, got, 12));         /* behind the tomb              */
    OK(shmc_mpmc_borrow(&c, &view));
    OK(shmc_mpmc_loan(&p, &loan));
    image_is("an MPMC queue", image, (size_t)bytes, frozen);
}

/* A short message lies in its cell, a long one in the room beside it.      */
static void
pushed_messages_lie_where_the_docs_say(void **state)
{
    const shmc_push_desc d = { .depth = 2, .max_bytes = 300, .max_handles = 1 };
    static const uint8_t text[300] = "a message";
    char queue[64];
    shmc_push push;

    (void)state;
    OK(shmc_push_open(&push, test_name(queue, sizeof queue, "work"), &d));
    OK(shmc_push_send(&push, text, 112, 0));
    OK(shmc_push_send(&push, text, 300, 0));
    const uint8_t *at = (const uint8_t *)push.work.ring.shm;
    const uint64_t *cell = (const uint64_t *)(const void *)(at + 1280 + 128);
    assert_int_equal(cell[0], 1);
    assert_int_equal(cell[1], 112);
    assert_memory_equal(cell + 2, text, 112);
    assert_int_equal(cell[16], 0x10001);
    assert_int_equal(cell[17], UINT64_C(1) << 32 | 300);
    assert_memory_equal(at + 1280 + 128 + 2 * 128 + 384, text, 300);
    assert_int_equal(((const shmi_seat_shm *)(const void *)(at + 1280))->word[1],
                     1);
    assert_int_equal(shmc_push_close(&push), SHMC_OK);
    OK(shmc_segment_unlink(queue, NULL));
}

/* A borrowed message of a dead consumer whose seat another one took.      */
static void
an_orphan_has_the_frozen_bytes(void **state)
{
    static const char frozen[] =
        "00000 4d504d4301000000 c005000000000000\n"
        "00016 0800000004000000 1000000000000000\n"
        "00032 0100000000000000 0000000000000000\n"
        "00128 0100000000000000 0000000000000000\n"
        "00256 0100000000000000 0000000000000000\n"
        "00768 0000000000000180 0000000000000000\n"
        "01280 0200010000000000 0000000000000000\n"
        "01408 0100000000000000 4142434445464748\n"
        "01424 0000010000000000 0000000000000000\n"
        "01440 0000020000000000 0000000000000000\n"
        "01456 0000030000000000 0000000000000000\n";
    const shmc_segment_desc sd = { .heap_bytes = 4096, .max_objects = 1,
                                   .max_participants = 2 };
    const shmc_mpmc_desc d = { .slot_bytes = 8, .slot_count = 4,
                               .max_handles = 1 };
    const uint64_t message = 0x4847464544434241;
    shmc_segment dead, live;
    const void *view;
    shmc_mpmc q, r;

    (void)state;
    image_clear();
    OK(shmc_segment_format(image, IMAGE_BYTES, &sd));
    OK(shmc_segment_map(&dead, image, IMAGE_BYTES));
    OK(shmc_segment_map(&live, image, IMAGE_BYTES));
    OK(shmc_mpmc_open(&q, &dead, "q", &d, SHMC_PRODUCER | SHMC_CONSUMER));
    OK(shmc_mpmc_push(&q, &message, 8));
    OK(shmc_mpmc_borrow(&q, &view));
    OK(shmc_segment_close(&dead));          /* in memory, that is its death */
    OK(shmc_mpmc_open(&r, &live, "q", NULL, SHMC_CONSUMER));
    image_is("an MPMC queue with an orphan", r.object.mem,
             1280 + 128 + 4 * 16, frozen);
    OK(shmc_mpmc_close(&r));
    OK(shmc_segment_close(&live));
}

/* Two calls of one client: one answered in part, one posted.              */
static void
a_table_of_calls_has_the_frozen_bytes(void **state)
{
    static const char frozen[] =
        "00000 43414c4c01000000 0008000000000000\n"
        "00016 8001000001000000 8001000001000000\n"
        "00032 0100000000000000 0800000000000000\n"
        "00048 8200000000000000 0100000000000000\n"
        "00064 0200000000000000 0000000000000000\n"
        "00256 0100010000000000 0000000000000000\n"
        "00384 0100010000000000 0000000000000000\n"
        "00768 0000000100000000 0100000100000000\n"
        "00784 0700000000000000 7265717565737400\n"
        "00896 0601000100000000 8200000000000000\n"
        "00912 6120706172740000 0000000000000000\n"
        "01024 0100000100000000 0000000000000000\n"
        "01152 1800000100000000 0000000000000000\n"
        "01168 0600000000000000 706f737465640000\n"
        "01536 2a2a2a2a2a2a2a2a 2a2a2a2a2a2a2a2a\n"
        "01552 2a2a2a2a2a2a2a2a 2a2a2a2a2a2a2a2a\n"
        "01568 2a2a2a2a2a2a2a2a 2a2a2a2a2a2a2a2a\n"
        "01584 2a2a2a2a2a2a2a2a 2a2a2a2a2a2a2a2a\n"
        "01600 2a2a2a2a2a2a2a2a 2a2a2a2a2a2a2a2a\n"
        "01616 2a2a2a2a2a2a2a2a 2a2a2a2a2a2a2a2a\n"
        "01632 2a2a2a2a2a2a2a2a 2a2a2a2a2a2a2a2a\n"
        "01648 2a2a2a2a2a2a2a2a 2a2a2a2a2a2a2a2a\n"
        "01664 2a2a000000000000 0000000000000000\n";
    const shmc_segment_desc sd = { .heap_bytes = 8192, .max_objects = 2,
                                   .max_participants = 2 };
    const shmi_calls_desc d = { .max_request = 8, .max_reply = 130,
                                .clients = 1, .each = 2, .servers = 1 };
    shmc_segment s;
    static shmc_rep rep;
    static shmc_req req;
    char got[8], large[130];

    (void)state;
    image_clear();
    OK(shmc_segment_format(image, IMAGE_BYTES, &sd));
    OK(shmc_segment_map(&s, image, IMAGE_BYTES));
    OK(shmi_calls_open(&rep.calls, &s, &d, SHMC_CONSUMER));
    OK(shmi_calls_open(&req.calls, &s, NULL, SHMC_PRODUCER));
    req.open = true;
    req.loan = req.view = -1;
    req.wait.epoch = shmi_fork_epoch;
    shmi_req_enter(&req);
    const int call = shmc_req_send(&req, "request", 7, 0);
    assert_int_equal(shmc_rep_recv(&rep, got, sizeof got, 0), 7);
    OK(shmc_rep_send_more(&rep, "a part", 6, 0));
    assert_int_equal(shmc_req_recv(&req, call, got, sizeof got, 0), 6);
    memset(large, 0x2a, sizeof large);
    OK(shmc_rep_send_more(&rep, large, sizeof large, 0));
    OK(shmc_req_post(&req, "posted", 6, 0));
    image_is("a table of calls", rep.calls.object.mem,
             rep.calls.object.bytes, frozen);
    shmi_calls_close(&req.calls);
    shmi_calls_close(&rep.calls);
    OK(shmc_segment_close(&s));
}

static void
a_broadcast_ring_has_the_frozen_bytes(void **state)
{
    static const char frozen[] =
        "00000 4243535404000000 800b000000000000\n"
        "00016 8000000004000000 8000000001000000\n"
        "00032 0200000002000000 6400000000000000\n"
        "00048 0002000000000000 0100000000000000\n"
        "00064 0000000000000000 0100000000000000\n"
        "00128 0400000000000000 0000000000000000\n"
        "00528 0100000000000000 0000000000000000\n"
        "00640 ffffffffffffffff 0000000000000000\n"
        "00768 ffffffffffffffff 0000000000000000\n"
        "00784 c002000000000000 0000000000000000\n"
        "01024 c000000000000000 0000000000000000\n"
        "01152 ffffffffffffffff 0000000000000000\n"
        "01168 0300000000000000 ffffffffffffffff\n"
        "01280 ffffffffffffffff 0000000000000000\n"
        "01296 0100000000000000 0000000000000000\n"
        "01312 0100000000000000 0000000000000000\n"
        "01408 0600000000000000 6100000001000000\n"
        "01536 0a00000000000000 6100000001000000\n"
        "01552 c000000000000000 0000000000000000\n"
        "01664 0e00000000000000 6100000001000000\n"
        "01680 0002000000000000 0000000000000000\n"
        "01792 1200000000000000 0d00000000000000\n"
        "01824 736d616c6c206d65 7373616765000000\n"
        "02432 0200000000000000 c000000000000000\n"
        "02496 6c61726765206d65 7373616765000000\n"
        "02624 0100000000000000 c000000000000000\n"
        "02688 6c61726765206d65 7373616765000000\n"
        "02816 fdffffffffffffff 8000000000000000\n";
    const shmc_bcast_desc d = { .slot_count = 4, .max_bytes = 100,
                                .max_publishers = 2, .max_subscribers = 1,
                                .arena_bytes = 512, .mode = SHMC_RELIABLE,
                                .waitable = 1 };
    char large[100] = "large message", got[100];
    shmc_bcast p, q, s, guest;

    (void)state;
    image_clear();
    const int64_t bytes = shmc_bcast_size_for(&d);
    assert_int_equal(bytes, 640 + 2 * 256 + 128 + 128 + 4 * 128 + 2 * 512);
    OK(shmc_bcast_format(image, (uint64_t)bytes, &d));
    OK(shmc_bcast_map(&p, image, (uint64_t)bytes, SHMC_PRODUCER, 0));
    OK(shmc_bcast_map(&q, image, (uint64_t)bytes, SHMC_PRODUCER, 0));
    OK(shmc_bcast_map(&s, image, (uint64_t)bytes, SHMC_CONSUMER, 0));
    OK(shmc_bcast_map(&guest, image, (uint64_t)bytes, SHMC_WATCHER, 0));
    for (int i = 0; i < 3; i++) {           /* the third makes a filler     */
        OK(shmc_bcast_send(&q, large, 97));
        assert_int_equal(shmc_bcast_recv(&s, got, sizeof got), 97);
    }
    OK(shmc_bcast_send(&p, "small message", 13));
    assert_int_equal(shmc_bcast_recv(&guest, got, sizeof got), SHMC_ELAPPED);
    image_is("a broadcast ring", image, (size_t)bytes, frozen);
}

static void
a_segment_has_the_frozen_bytes(void **state)
{
    static const char frozen[] =
        "00000 53484d434f4d4d00 0100000004030201\n"
        "00016 0020000000000000 8000000002000000\n"
        "00032 0200000000000000 00000000eeeeeeee\n"
        "00048 0002000000000000 0003000000000000\n"
        "00064 0010000000000000 0010000000000000\n"
        "00080 eeeeeeeeeeeeeeee eeeeeeeeeeeeeeee\n"
        "00128 286d656d6f727929 0000000000000000\n"
        "00256 0200000000000000 0000000000000000\n"
        "00512 0100000000000000 0100000000000000\n"
        "00528 eeeeeeeeeeeeeeee eeeeeeee00000000\n"
        "00544 eeeeeeeeeeeeeeee eeeeeeeeeeeeeeee\n"
        "00560 eeeeeeeeeeeeeeee eeeeeeeeeeeeeeee\n"
        "00768 0200000000000000 0010000000000000\n"
        "00784 c800000000000000 8877665544332211\n"
        "00800 0000000003000000 32000000eeeeeeee\n"
        "00816 eeeeeeeeeeeeeeee 0100000000000000\n"
        "00832 7468696e67000000 0000000000000000\n"
        "00896 612f7468696e6700 0000000000000000\n"
        "01024 0200000000000000 0011000000000000\n"
        "01040 8000000000000000 0000000000000000\n"
        "01056 0100000001000000 08000000eeeeeeee\n"
        "01072 eeeeeeeeeeeeeeee 0100000000000000\n"
        "01088 636f756e74657200 0000000000000000\n"
        "01152 7469636b73000000 0000000000000000\n"
        "04096 6974732062797465 7300000000000000\n"
        "04352 0700000000000000 0100010000000000\n";
    const shmc_segment_desc sd = { .heap_bytes = 4096, .max_objects = 2,
                                   .max_participants = 2 };
    const shmc_object_desc od = { .bytes = 200, .type_hash = 0x1122334455667788,
                                  .version = 3, .elem_bytes = 50,
                                  .type_name = "thing" };
    const uint64_t page = 4096;
    shmc_segment s;
    shmc_object object;
    shmc_counter counter;

    (void)state;
    if (shmi_page_bytes() != page)
        skip();                     /* the heap begins at a page of another */
    image_clear();
    OK(shmc_segment_format(image, IMAGE_BYTES, &sd));
    OK(shmc_segment_map(&s, image, IMAGE_BYTES));
    OK(shmc_object_open(&s, "a/thing", &od, &object));
    memcpy(object.mem, "its bytes", 9);
    OK(shmc_counter_open(&counter, &s, "ticks", true));
    OK(shmc_counter_add(&counter, 7));
    image_mask(offsetof(shmc_segment_shm, creator_pid), 4);
    image_mask(offsetof(shmc_segment_shm, created_ns), 16);
    image_mask(512 + offsetof(shmc_participant_shm, attached_realtime_ns), 12);
    image_mask(512 + offsetof(shmc_participant_shm, label), 32);
    for (size_t i = 0; i < 2; i++)
        image_mask(768 + 256 * i + offsetof(shmc_entry_shm, creator_pid), 12);
    image_is("a segment", image, IMAGE_BYTES, frozen);
    OK(shmc_counter_close(&counter));
    OK(shmc_object_close(&s, &object));
    OK(shmc_segment_close(&s));
}

/* ---- locks ------------------------------------------------------------- */

/* Is byte `offset` of the file locked by anybody?                         */
static int
locked(const char *dir, const char *file, uint64_t offset)
{
    const int dirfd = shmi_dir_open(dir);
    const int fd = shmi_file_open(dirfd, file, true);

    assert_true(dirfd >= 0 && fd >= 0);
    const int r = shmi_lock_probe(fd, offset);
    shmi_close(fd);
    shmi_close(dirfd);
    return r;
}

static void
the_locks_lie_where_the_docs_say(void **state)
{
    char dir[64], file[SHMC_NAME_BYTES + SHMC_PREFIX_BYTES];
    const shmc_object_desc od = { .bytes = 8 };
    shmc_object one, two;
    shmc_segment s, reader;

    (void)state;
    test_dir_make(dir);
    const shmc_segment_desc sd = { .dir = dir, .heap_bytes = 4096 };
    const shmc_segment_desc rd = { .dir = dir, .flags = SHMC_READ_ONLY };
    OK(shmc_name_to_file(NULL, "locks", file, sizeof file));
    OK(shmc_segment_create(&s, "locks", &sd));
    assert_int_equal(locked(dir, file, 0), 1);
    assert_int_equal(locked(dir, file, 1), 0);
    OK(shmc_object_open(&s, "one", &od, &one));
    OK(shmc_object_open(&s, "two", &od, &two));
    OK(shmc_object_close(&s, &one));
    assert_int_equal(locked(dir, file, SHMI_LOCK_OBJECTS), 0);
    assert_int_equal(locked(dir, file, SHMI_LOCK_OBJECTS + 1), 1);
    assert_int_equal(locked(dir, file, SHMI_LOCK_DIRECTORY), 0);
    OK(shmc_segment_attach(&reader, "locks", &rd));
    assert_int_equal(locked(dir, file, 1), 0);
    OK(shmc_segment_close(&s));
    assert_int_equal(locked(dir, file, SHMI_LOCK_PARTICIPANTS), 0);
    assert_int_equal(locked(dir, file, SHMI_LOCK_PRESENCE), 1);
    OK(shmc_segment_close(&reader));
    assert_int_equal(locked(dir, file, SHMI_LOCK_PRESENCE), 0);
    test_dir_remove(dir);
}

/* The frozen bytes are those of a little-endian machine: say so, in place of
 * many failures that nobody can read.                                     */
static void
this_machine_is_little_endian(void **state)
{
    const uint32_t one = 1;
    uint8_t first;

    (void)state;
    memcpy(&first, &one, 1);
    if (first != 1)
        fail_msg("the frozen bytes of this test are little-endian ones, this"
                 " machine is big-endian: freeze its own beside them");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_CASE(this_machine_is_little_endian),
        TEST_CASE(every_field_lies_where_the_docs_say),
        TEST_CASE(every_value_is_what_the_docs_say),
        TEST_CASE(a_segment_has_the_frozen_bytes),
        TEST_CASE(a_spsc_queue_has_the_frozen_bytes),
        TEST_CASE(a_record_queue_has_the_frozen_bytes),
        TEST_CASE(a_latest_value_has_the_frozen_bytes),
        TEST_CASE(an_mpmc_queue_has_the_frozen_bytes),
        TEST_CASE(a_table_of_calls_has_the_frozen_bytes),
        TEST_CASE(an_orphan_has_the_frozen_bytes),
        TEST_CASE(pushed_messages_lie_where_the_docs_say),
        TEST_CASE(a_broadcast_ring_has_the_frozen_bytes),
        TEST_CASE(the_locks_lie_where_the_docs_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
