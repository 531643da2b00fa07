/* shmcomm_recfile.h - files of recorded messages: write, read, repair.
 *
 *     rec_writer w;
 *     rec_begin(&w, file, start_ns, start_realtime_ns);
 *     uint32_t id = rec_add_topic(&w, &topic, ns);
 *     rec_message(&w, id, ns, sequence, data, bytes);
 *     rec_end(&w, ns);
 *
 * The format is in docs/recordings.md.  A reader believes nothing: each
 * length is checked against the file before it is used.
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_RECFILE_H
#define SHMCOMM_RECFILE_H

#include "shmcomm_base.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REC_MAGIC "SHMCREC\n"

enum {
    REC_VERSION = 1, REC_ORDER = 0x01020304, REC_MARK = 0x4352,
    REC_HEADER_BYTES = 64, REC_HEAD_BYTES = 32, REC_SHAPE_BYTES = 56,
    REC_ROW_BYTES = 48, REC_INDEX_MARK_BYTES = 16, REC_END_BYTES = 16,
    REC_MOST_TOPICS = 1024, REC_MOST_MARKS = 4096,
    REC_MOST_BYTES = 1 << 30        /* of a message                         */
};

enum {                              /* kinds of records                     */
    REC_TOPIC = 'T', REC_MESSAGE = 'M', REC_LOSS = 'L', REC_INDEX = 'I',
    REC_END = 'E'
};

typedef struct rec_head {           /* of a record, taken apart             */
    uint64_t at;                    /* where it begins in the file          */
    uint32_t kind, bytes, topic;
    uint64_t ns, sequence;          /* CLOCK_MONOTONIC; in its topic        */
} rec_head;

typedef struct rec_topic {
    char name[SHMC_NAME_BYTES], type[64];
    uint32_t depth, max_bytes, max_publishers, max_subscribers, mode, wake;
    uint32_t meta;                  /* 1: messages had metadata             */
    uint64_t arena_bytes, type_hash;
    uint64_t at;                    /* its record                           */
    uint64_t messages, bytes, lost, first_ns, last_ns;
} rec_topic;

typedef struct rec_mark { uint64_t at, ns; } rec_mark;

/* What the end of a file sums up: bounded, however long the file is.      */
typedef struct rec_table {
    rec_topic *topics;
    uint32_t count, mark_count;
    uint64_t stride, next_mark;     /* bytes between marks; where the next  */
    rec_mark marks[REC_MOST_MARKS];
} rec_table;

typedef struct rec_writer {
    FILE *file;
    uint64_t at;
    bool failed;
    int  error;                     /* the errno that says why              */
    rec_table table;
} rec_writer;

/* Copy bytes [at, at + bytes) of the file; they are inside it.  0 or -1.  */
typedef int (*rec_read_fn)(void *ctx, uint64_t at, void *to, size_t bytes);

typedef struct rec_reader {
    rec_read_fn read;
    void *ctx;
    uint64_t file_bytes;
    uint64_t end;                   /* behind the last record of messages   */
    uint64_t start_ns, start_realtime_ns;
    bool scanned;                   /* no index at its end: it was cut short */
    const char *why;                /* rec_open failed: the reason          */
    rec_table table;
} rec_reader;

/* >>bytes: lowest first, on every machine */

static inline void
rec_put(uint8_t *to, uint64_t n, int bytes)
{
    for (int i = 0; i < bytes; i++) to[i] = (uint8_t)(n >> (8 * i));
}

static inline uint64_t
rec_get(const uint8_t *from, int bytes)
{
    uint64_t n = 0;

    for (int i = 0; i < bytes; i++) n |= (uint64_t)from[i] << (8 * i);
    return n;
}

static inline uint32_t rec_get_32(const uint8_t *p) { return (uint32_t)rec_get(p, 4); }
static inline uint64_t rec_get_64(const uint8_t *p) { return rec_get(p, 8); }

static inline uint64_t
rec_padded(uint64_t bytes) { return (bytes + 7) & ~UINT64_C(7); }

/* CRC-32 of IEEE 802.3, four bits at a time.  Begin with 0.               */
static inline uint32_t
rec_crc(uint32_t crc, const void *data, size_t bytes)
{
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c
    };
    const uint8_t *p = (const uint8_t *)data;

    crc = ~crc;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

/* >>the table */

static inline void
rec_table_begin(rec_table *t)
{
    memset(t, 0, sizeof *t);
    t->stride = UINT64_C(1) << 20;
    t->next_mark = REC_HEADER_BYTES;
}

static inline void
rec_table_free(rec_table *t)
{
    free(t->topics);
    memset(t, 0, sizeof *t);
}

/* Take a topic in.  Returns its id, or -1: too many, or no memory.        */
static inline int64_t
rec_table_add(rec_table *t, const rec_topic *topic)
{
    if (t->count == REC_MOST_TOPICS) return -1;
    if ((t->count & (t->count - 1)) == 0) {     /* room for 1, 2, 4, ...    */
        const size_t room = t->count != 0 ? 2 * (size_t)t->count : 1;
        rec_topic *more = (rec_topic *)realloc(t->topics, room * sizeof *more);
        if (more == NULL) return -1;
        t->topics = more;
    }
    t->topics[t->count] = *topic;
    return t->count++;
}

/* Count a message or a loss; now and then mark where it lies.  When there is
 * no room for another mark, every second one goes.                        */
static inline void
rec_table_note(rec_table *t, const rec_head *h, uint64_t lost)
{
    rec_topic *topic = &t->topics[h->topic];

    if (h->kind == REC_LOSS) {
        topic->lost += lost;
        return;
    }
    if (topic->messages++ == 0) topic->first_ns = h->ns;
    topic->bytes += h->bytes;
    topic->last_ns = h->ns;
    if (h->at < t->next_mark) return;
    if (t->mark_count == REC_MOST_MARKS) {
        for (uint32_t i = 0; i < REC_MOST_MARKS / 2; i++)
            t->marks[i] = t->marks[2 * i];
        t->mark_count = REC_MOST_MARKS / 2;
        t->stride *= 2;
    }
    t->marks[t->mark_count].at = h->at;
    t->marks[t->mark_count++].ns = h->ns;
    t->next_mark = h->at + t->stride;
}

/* >>writing */

static inline void
rec_fail(rec_writer *w)
{
    if (!w->failed) w->error = errno;
    w->failed = true;
}

/* Hand what was written to the kernel.                                    */
static inline void
rec_flush(rec_writer *w)
{
    if (fflush(w->file) != 0) rec_fail(w);
}

static inline void
rec_out(rec_writer *w, const void *data, size_t bytes)
{
    if (bytes == 0 || w->failed) return;
    if (fwrite(data, 1, bytes, w->file) == bytes) w->at += bytes;
    else rec_fail(w);
}

/* Write a record: its head, its bytes, and zeroes up to a multiple of 8.  */
static inline void
rec_put_record(rec_writer *w, const rec_head *h, const void *data)
{
    static const uint8_t zeroes[8];
    uint8_t head[REC_HEAD_BYTES] = { 0 };

    rec_put(head, REC_MARK, 2);
    rec_put(head + 2, h->kind, 2);
    rec_put(head + 4, h->bytes, 4);
    rec_put(head + 8, h->topic, 4);
    rec_put(head + 16, h->ns, 8);
    rec_put(head + 24, h->sequence, 8);
    uint32_t crc = rec_crc(0, head, sizeof head);
    if (h->kind != REC_MESSAGE) crc = rec_crc(crc, data, h->bytes);
    rec_put(head + 12, crc, 4);
    rec_out(w, head, sizeof head);
    rec_out(w, data, h->bytes);
    rec_out(w, zeroes, (size_t)(rec_padded(h->bytes) - h->bytes));
}

static inline void
rec_begin(rec_writer *w, FILE *file, uint64_t ns, uint64_t realtime_ns)
{
    uint8_t header[REC_HEADER_BYTES] = { 0 };

    memset(w, 0, sizeof *w);
    w->file = file;
    rec_table_begin(&w->table);
    memcpy(header, REC_MAGIC, 8);
    rec_put(header + 8, REC_VERSION, 4);
    rec_put(header + 12, REC_ORDER, 4);
    rec_put(header + 16, REC_HEADER_BYTES, 4);
    rec_put(header + 24, ns, 8);
    rec_put(header + 32, realtime_ns, 8);
    rec_put(header + 60, rec_crc(0, header, 60), 4);
    rec_out(w, header, sizeof header);
}

/* Returns the topic's id, or -1: too many, or no memory.                  */
static inline int64_t
rec_add_topic(rec_writer *w, const rec_topic *topic, uint64_t ns)
{
    uint8_t data[REC_SHAPE_BYTES + SHMC_NAME_BYTES + 64];
    rec_topic copy = *topic;
    const size_t name = strlen(topic->name), type = strlen(topic->type);

    copy.at = w->at;
    copy.messages = copy.bytes = copy.lost = copy.first_ns = copy.last_ns = 0;
    const int64_t id = rec_table_add(&w->table, &copy);
    if (id < 0) return id;
    const rec_head h = { w->at, REC_TOPIC,
                         (uint32_t)(REC_SHAPE_BYTES + name + type), (uint32_t)id,
                         ns, 0 };
    rec_put(data, topic->depth, 4);
    rec_put(data + 4, topic->max_bytes, 4);
    rec_put(data + 8, topic->max_publishers, 4);
    rec_put(data + 12, topic->max_subscribers, 4);
    rec_put(data + 16, topic->arena_bytes, 8);
    rec_put(data + 24, topic->mode, 4);
    rec_put(data + 28, topic->wake, 4);
    rec_put(data + 32, topic->type_hash, 8);
    rec_put(data + 40, name, 4);
    rec_put(data + 44, type, 4);
    rec_put(data + 48, topic->meta, 8);
    memcpy(data + REC_SHAPE_BYTES, topic->name, name);
    memcpy(data + REC_SHAPE_BYTES + name, topic->type, type);
    rec_put_record(w, &h, data);
    return id;
}

static inline void
rec_message(rec_writer *w, uint32_t topic, uint64_t ns, uint64_t sequence,
            const void *data, uint32_t bytes)
{
    const rec_head h = { w->at, REC_MESSAGE, bytes, topic, ns, sequence };

    rec_put_record(w, &h, data);
    if (!w->failed) rec_table_note(&w->table, &h, 0);
}

/* Say that `lost` messages are missing before the one of that sequence.   */
static inline void
rec_loss(rec_writer *w, uint32_t topic, uint64_t ns, uint64_t sequence,
         uint64_t lost)
{
    const rec_head h = { w->at, REC_LOSS, 8, topic, ns, sequence };
    uint8_t data[8];

    rec_put(data, lost, 8);
    rec_put_record(w, &h, data);
    if (!w->failed) rec_table_note(&w->table, &h, lost);
}

/* Write the index and the end.  The file is the caller's to close.        */
static inline void
rec_end(rec_writer *w, uint64_t ns)
{
    const rec_table *t = &w->table;
    const size_t bytes = 8 + (size_t)t->count * REC_ROW_BYTES +
                         (size_t)t->mark_count * REC_INDEX_MARK_BYTES;
    const rec_head index = { w->at, REC_INDEX, (uint32_t)bytes, 0, ns, 0 };
    uint8_t *data = (uint8_t *)calloc(1, bytes), *to = data + 8;
    uint8_t last[REC_END_BYTES];

    if (data == NULL) {
        rec_fail(w);
        return;
    }
    rec_put(data, t->count, 4);
    rec_put(data + 4, t->mark_count, 4);
    for (uint32_t i = 0; i < t->count; i++, to += REC_ROW_BYTES) {
        const rec_topic *topic = &t->topics[i];
        const uint64_t row[] = { topic->at, topic->messages, topic->bytes,
                                 topic->lost, topic->first_ns, topic->last_ns };
        for (int k = 0; k < 6; k++) rec_put(to + 8 * k, row[k], 8);
    }
    for (uint32_t i = 0; i < t->mark_count; i++, to += REC_INDEX_MARK_BYTES) {
        rec_put(to, t->marks[i].at, 8);
        rec_put(to + 8, t->marks[i].ns, 8);
    }
    rec_put_record(w, &index, data);
    free(data);
    const rec_head end = { w->at, REC_END, REC_END_BYTES, 0, ns, 0 };
    rec_put(last, index.at, 8);
    rec_put(last + 8, w->at + REC_HEAD_BYTES + REC_END_BYTES, 8);
    rec_put_record(w, &end, last);
    rec_flush(w);
}

/* >>reading */

/* Read the head of the record at `at`, and check that all of the record is in
 * the file.  Returns 1, or 0: there is no whole record.                   */
static inline int
rec_head_at(rec_reader *r, uint64_t at, rec_head *h)
{
    uint8_t head[REC_HEAD_BYTES];
    uint8_t small[256];

    if (at % 8 != 0 || at < REC_HEADER_BYTES || at > r->file_bytes ||
        r->file_bytes - at < REC_HEAD_BYTES) return 0;
    if (r->read(r->ctx, at, head, sizeof head) != 0) return 0;
    if (rec_get(head, 2) != REC_MARK) return 0;
    h->at = at;
    h->kind = (uint32_t)rec_get(head + 2, 2);
    h->bytes = rec_get_32(head + 4);
    h->topic = rec_get_32(head + 8);
    h->ns = rec_get_64(head + 16);
    h->sequence = rec_get_64(head + 24);
    if (h->bytes > REC_MOST_BYTES ||
        rec_padded(h->bytes) > r->file_bytes - at - REC_HEAD_BYTES) return 0;
    const uint32_t crc = rec_get_32(head + 12);
    rec_put(head + 12, 0, 4);
    uint32_t is = rec_crc(0, head, sizeof head);
    for (uint64_t i = 0; h->kind != REC_MESSAGE && i < h->bytes; ) {
        const size_t n = h->bytes - i < sizeof small ? (size_t)(h->bytes - i)
                                                     : sizeof small;
        if (r->read(r->ctx, at + REC_HEAD_BYTES + i, small, n) != 0) return 0;
        is = rec_crc(is, small, n);
        i += n;
    }
    return is == crc;
}

/* Where the next record begins.                                           */
static inline uint64_t
rec_behind(const rec_head *h)
{
    return h->at + REC_HEAD_BYTES + rec_padded(h->bytes);
}

/* Copy a record's bytes; `to` has room for h->bytes.  0 or -1.            */
static inline int
rec_data(rec_reader *r, const rec_head *h, void *to)
{
    return h->bytes == 0 ? 0
         : r->read(r->ctx, h->at + REC_HEAD_BYTES, to, h->bytes);
}

/* Take apart what a topic's record says.  Returns whether it can be.      */
static inline bool
rec_topic_in(rec_reader *r, const rec_head *h, rec_topic *topic)
{
    uint8_t data[REC_SHAPE_BYTES + SHMC_NAME_BYTES + 64];

    memset(topic, 0, sizeof *topic);
    if (h->kind != REC_TOPIC || h->bytes < REC_SHAPE_BYTES ||
        h->bytes > sizeof data || rec_data(r, h, data) != 0) return false;
    const uint32_t name = rec_get_32(data + 40), type = rec_get_32(data + 44);
    if (name == 0 || name >= sizeof topic->name || type >= sizeof topic->type ||
        h->bytes != REC_SHAPE_BYTES + name + type) return false;
    topic->depth = rec_get_32(data);
    topic->max_bytes = rec_get_32(data + 4);
    topic->max_publishers = rec_get_32(data + 8);
    topic->max_subscribers = rec_get_32(data + 12);
    topic->arena_bytes = rec_get_64(data + 16);
    topic->mode = rec_get_32(data + 24);
    topic->wake = rec_get_32(data + 28);
    topic->type_hash = rec_get_64(data + 32);
    topic->meta = rec_get_32(data + 48);
    memcpy(topic->name, data + REC_SHAPE_BYTES, name);
    memcpy(topic->type, data + REC_SHAPE_BYTES + name, type);
    topic->at = h->at;
    return strlen(topic->name) == name && strlen(topic->type) == type;
}

/* Read the record at *at, if it is one of messages, and step behind it.
 * Returns 1, or 0 at the end of what can be read.                         */
static inline int
rec_next(rec_reader *r, uint64_t *at, rec_head *h)
{
    if (*at >= r->end || !rec_head_at(r, *at, h)) return 0;
    *at = rec_behind(h);
    if (h->kind == REC_TOPIC) return h->topic < r->table.count;
    if (h->kind != REC_MESSAGE && h->kind != REC_LOSS) return 0;
    if (h->topic >= r->table.count) return 0;
    return h->kind == REC_MESSAGE || h->bytes == 8;
}

/* Tell how many messages a record of a loss says are missing.             */
static inline uint64_t
rec_lost(rec_reader *r, const rec_head *h)
{
    uint8_t data[8];

    return h->kind == REC_LOSS && h->bytes == 8 && rec_data(r, h, data) == 0
         ? rec_get_64(data) : 0;
}

/* Read all records from the first on, as far as they are whole.           */
static inline void
rec_scan(rec_reader *r)
{
    uint64_t at = REC_HEADER_BYTES;
    rec_topic topic;
    rec_head h;

    rec_table_free(&r->table);
    rec_table_begin(&r->table);
    r->scanned = true;
    while (rec_head_at(r, at, &h)) {
        if (h.kind == REC_TOPIC) {
            if (h.topic != r->table.count || !rec_topic_in(r, &h, &topic) ||
                rec_table_add(&r->table, &topic) < 0) break;
        } else if (h.topic < r->table.count &&
                   (h.kind == REC_MESSAGE ||
                    (h.kind == REC_LOSS && h.bytes == 8))) {
            rec_table_note(&r->table, &h, rec_lost(r, &h));
        } else {
            break;
        }
        at = rec_behind(&h);
    }
    r->end = at;
}

/* Take the table from the index that the last record points to.  Returns
 * whether there is one and nothing in it contradicts the file.            */
static inline bool
rec_index_in(rec_reader *r, const rec_head *index, const uint8_t *data)
{
    const uint8_t *from = data + 8;
    rec_topic topic;
    rec_head h;

    if (index->bytes < 8) return false;
    const uint32_t topics = rec_get_32(data), marks = rec_get_32(data + 4);
    if (topics > REC_MOST_TOPICS || marks > REC_MOST_MARKS ||
        index->bytes != 8 + (uint64_t)topics * REC_ROW_BYTES +
                        (uint64_t)marks * REC_INDEX_MARK_BYTES) return false;
    for (uint32_t i = 0; i < topics; i++, from += REC_ROW_BYTES) {
        if (rec_get_64(from) >= index->at || !rec_head_at(r, rec_get_64(from), &h) ||
            h.topic != i || !rec_topic_in(r, &h, &topic)) return false;
        topic.messages = rec_get_64(from + 8);
        topic.bytes = rec_get_64(from + 16);
        topic.lost = rec_get_64(from + 24);
        topic.first_ns = rec_get_64(from + 32);
        topic.last_ns = rec_get_64(from + 40);
        if (rec_table_add(&r->table, &topic) < 0) return false;
    }
    for (uint32_t i = 0; i < marks; i++, from += REC_INDEX_MARK_BYTES) {
        rec_mark *mark = &r->table.marks[i];
        mark->at = rec_get_64(from);
        mark->ns = rec_get_64(from + 8);
        if (mark->at >= index->at || mark->at < REC_HEADER_BYTES ||
            (i != 0 && mark->at <= mark[-1].at)) return false;
    }
    r->table.mark_count = marks;
    r->end = index->at;
    return true;
}

static inline bool
rec_index_read(rec_reader *r)
{
    const uint64_t tail = REC_HEAD_BYTES + REC_END_BYTES;
    uint8_t last[REC_END_BYTES];
    rec_head end, index;

    rec_table_begin(&r->table);
    if (r->file_bytes < REC_HEADER_BYTES + tail ||
        !rec_head_at(r, r->file_bytes - tail, &end) || end.kind != REC_END ||
        end.bytes != REC_END_BYTES || rec_data(r, &end, last) != 0) return false;
    if (rec_get_64(last + 8) != r->file_bytes ||
        !rec_head_at(r, rec_get_64(last), &index) || index.kind != REC_INDEX ||
        rec_behind(&index) != end.at) return false;
    /* Not larger than the file, and than the most that an index can hold. */
    if (index.bytes > 8 + REC_MOST_TOPICS * REC_ROW_BYTES +
                      REC_MOST_MARKS * REC_INDEX_MARK_BYTES) return false;
    uint8_t *data = (uint8_t *)malloc((size_t)index.bytes + 1);
    if (data == NULL) return false;
    const bool good = rec_data(r, &index, data) == 0 &&
                      rec_index_in(r, &index, data);
    free(data);
    return good;
}

/* Begin to read.  Returns 0, or -1 with `why`.  Owner  rec_close.         */
static inline int
rec_open(rec_reader *r, rec_read_fn read, void *ctx, uint64_t file_bytes)
{
    uint8_t header[REC_HEADER_BYTES];

    memset(r, 0, sizeof *r);
    r->read = read;
    r->ctx = ctx;
    r->file_bytes = file_bytes;
    if (file_bytes < sizeof header || read(ctx, 0, header, sizeof header) != 0 ||
        memcmp(header, REC_MAGIC, 8) != 0) {
        r->why = "it is no recording: it does not begin with SHMCREC";
    } else if (rec_get_32(header + 12) != REC_ORDER) {
        r->why = "its bytes are in another order: a program broke the format";
    } else if (rec_get_32(header + 8) != REC_VERSION) {
        r->why = "it has another version of the format; use a newer shmcomm";
    } else if (rec_get_32(header + 16) != REC_HEADER_BYTES ||
               rec_crc(0, header, 60) != rec_get_32(header + 60)) {
        r->why = "its first 64 bytes are damaged";
    }
    if (r->why != NULL) return -1;
    r->start_ns = rec_get_64(header + 24);
    r->start_realtime_ns = rec_get_64(header + 32);
    if (!rec_index_read(r)) rec_scan(r);
    return 0;
}

static inline void
rec_close(rec_reader *r)
{
    rec_table_free(&r->table);
}

/* Where to begin reading for messages from that time on.                  */
static inline uint64_t
rec_seek(const rec_reader *r, uint64_t ns)
{
    uint32_t low = 0, high = r->table.mark_count;

    while (low < high) {            /* marks before `low` are too early     */
        const uint32_t middle = low + (high - low) / 2;
        if (r->table.marks[middle].ns < ns) low = middle + 1;
        else high = middle;
    }
    return low == 0 ? REC_HEADER_BYTES : r->table.marks[low - 1].at;
}

#endif /* SHMCOMM_RECFILE_H */
