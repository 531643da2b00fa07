/* shmcomm.h - named, self-describing shared memory for C, without a daemon.
 *
 *     #define SHMCOMM_IMPLEMENTATION            // in exactly one .c file
 *     #include "shmcomm.h"
 *     shmc_segment s;
 *     if (shmc_segment_open(&s, "robot/state", NULL)) return 1;
 *     shmc_object_desc d = { .bytes = 4096, .type_name = "map" };
 *     shmc_object map;                          // map.mem: shared by name
 *     shmc_object_open(&s, "map", &d, &map);
 *     shmc_object_close(&s, &map);
 *     shmc_segment_close(&s);
 *
 * Manual: docs/shmcomm.md, bytes: docs/layout.md, limits: docs/caveats.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_H
#define SHMCOMM_H

#include "shmcomm_segment.h"

#define SHMC_VERSION_STRING "0.1.0"

/* ---- constants --------------------------------------------------------- */

enum {                              /* kinds of directory objects           */
    SHMC_KIND_RAW = 0, SHMC_KIND_COUNTER = 1, SHMC_KIND_SPSC = 2,
    SHMC_KIND_RECQ = 3, SHMC_KIND_MPMC = 4, SHMC_KIND_BCAST = 5,
    SHMC_KIND_LATEST = 6, SHMC_KIND_CALLS = 7,
    SHMC_KIND_SHARES = 8
};

/* ---- descs ------------------------------------------------------------- */

typedef struct shmc_object_desc {
    uint64_t bytes;                 /* size; of what exists: RAW's minimum  */
    uint64_t type_hash;             /* shmc_type_hash(...); 0: not checked  */
    uint32_t kind;                  /* SHMC_KIND_...                        */
    uint32_t version;               /* of the object's layout               */
    uint32_t elem_bytes;            /* 0: not checked                       */
    const char *type_name;          /* for people; at most 63 bytes         */
    int (*init)(void *mem, uint64_t bytes, const void *user);
    const void *user;               /* handed to init, which may return a
                                     * negative code and calls no shmcomm   */
} shmc_object_desc;

/* ---- handles ----------------------------------------------------------- */

typedef struct shmc_object {
    void    *mem;                   /* NULL = closed; 128-byte aligned      */
    uint64_t bytes;
    uint32_t index;                 /* in the directory                     */
    bool     created;               /* by this very call                    */
} shmc_object;

typedef struct shmc_segment_info {
    uint64_t total_bytes, heap_bytes, heap_used_bytes, created_realtime_ns;
    uint32_t max_objects, objects, max_participants, participants;
    uint32_t flags, wake, layout_version;
    int32_t  creator_pid;
    char     name[SHMC_NAME_BYTES];
} shmc_segment_info;

typedef struct shmc_object_info {
    uint64_t offset, bytes, type_hash, created_realtime_ns;
    uint32_t kind, version, elem_bytes, index;
    char     type_name[SHMC_TYPE_NAME_BYTES], name[SHMC_NAME_BYTES];
} shmc_object_info;

#ifdef __cplusplus
extern "C" {
#endif

/* ---- objects in a segment ---------------------------------------------- */

/* Create a named object, or attach to it.  `init` runs once, in one
 * process, on zeroed memory, before anybody else can see the object.  What
 * exists may have other `bytes`, but one of kind RAW not fewer.
 * Safety  any number of processes and threads may race.
 * Cost    blocks on the directory's lock only when it creates.
 * Crash   dying inside frees entry and space at the next creation.
 * Errors  SHMC_ETYPE, SHMC_EVERSION, SHMC_EMISMATCH with both sides' values;
 *         SHMC_ENOSPC heap is full; SHMC_ELIMIT directory is full;
 *         SHMC_ENAME; SHMC_ECORRUPT a damaged entry; SHMC_ETIMEDOUT the
 *         lock's holder is stopped; what init says.                       */
SHMC_API int shmc_object_open(shmc_segment *s, const char *name,
                              const shmc_object_desc *desc,
                              shmc_object *out);

/* The same, only if it exists.  Errors  SHMC_ENOENT and the above.        */
SHMC_API int shmc_object_attach(shmc_segment *s, const char *name,
                                const shmc_object_desc *desc,
                                shmc_object *out);

SHMC_API int shmc_object_close(shmc_segment *s, shmc_object *object);

/* Remove an object and free its space.
 * Errors  SHMC_ENOENT; SHMC_EBUSY a live process (or this handle) has it
 *         open; SHMC_EROFS.                                               */
SHMC_API int shmc_object_remove(shmc_segment *s, const char *name);

/* Describe the object in directory entry i < max_objects.
 * Errors  SHMC_ENOENT the entry is free.                                  */
SHMC_API int shmc_object_info_get(const shmc_segment *s, uint32_t i,
                                  shmc_object_info *out);

/* Describe the segment.  Safety  any thread; disturbs nobody.             */
SHMC_API int shmc_segment_info_get(shmc_segment *s, shmc_segment_info *out);

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_H */

#if defined(SHMCOMM_IMPLEMENTATION) && !defined(SHMCOMM_CORE_IMPLEMENTED)
#define SHMCOMM_CORE_IMPLEMENTED

#include <stdio.h>
#include <string.h>

static shmc_segment_shm *
shmi_segment_head(const shmc_segment *s)
{
    return (void *)s->base;
}

/* >>objects */

/* Give an entry back; the directory lock is held.                         */
static void
shmi_entry_free(shmc_entry_shm *e)
{
    /* R5 -> A5: who sees the new generation sees an entry that is no longer
     * READY, until it is READY again with all its new fields.             */
    shmi_store_rel_32(&e->state, SHMI_DELETING);
    shmi_store_rel_32(&e->generation, shmi_load_rlx_32(&e->generation) + 1);
    shmi_store_rel_32(&e->state, SHMI_FREE);
}

static shmi_mutex *
shmi_memory_mutex(const shmc_segment *s)
{
    return (void *)&shmi_segment_head(s)->memory_lock;
}

/* Lock the directory against threads of this process, then against other
 * processes, and free what a dead holder left half-done (I3).             */
static int
shmi_directory_lock(shmc_segment *s)
{
    if (s->read_only)
        return shmi_fail(SHMC_EROFS, "change the directory of segment '%s': it "
                         "is open read-only", s->name);
    shmi_mutex_lock(&s->mutex);
    const uint64_t deadline = shmi_deadline(SHMC_LOCK_TIMEOUT_NS);
    const int r = s->memory
        ? shmi_mutex_lock_until(shmi_memory_mutex(s), deadline)
        : shmi_lock_wait(s->fd, SHMI_LOCK_DIRECTORY, true, deadline);
    if (r < 0) {
        shmi_mutex_unlock(&s->mutex);
        return shmi_fail_os(r, "lock the directory (is its holder stopped?) of "
                            "segment", s->name, s->dir, s->file);
    }
    for (uint32_t i = 0; i < s->max_objects; i++) {
        shmc_entry_shm *e = &s->entries[i];
        const uint32_t state = shmi_load_acq_32(&e->state);
        if (state == SHMI_FREE || state == SHMI_READY) continue;
        shmi_event(SHMC_LOG_WARN, "segment '%s': freed entry %u, left half-done "
                   "by a process that died", s->name, i);
        shmi_entry_free(e);
    }
    return SHMC_OK;
}

static void
shmi_directory_unlock(shmc_segment *s)
{
    uint32_t *changes = &shmi_segment_head(s)->changes;

    /* R1 -> A1: the change happens before anybody sees the new count.     */
    shmi_store_rel_32(changes, shmi_load_rlx_32(changes) + 1);
    if (s->memory) shmi_mutex_unlock(shmi_memory_mutex(s));
    else shmi_lock_release(s->fd, SHMI_LOCK_DIRECTORY);
    shmi_mutex_unlock(&s->mutex);
}

/* Read entry i; untrusted, so each field is loaded once and checked.
 * Returns SHMC_ENOENT where it is not READY, or changed meanwhile.        */
static int
shmi_entry_read(const shmc_segment *s, uint32_t i, shmc_object_info *out,
                uint32_t *generation)
{
    const shmc_entry_shm *e = &s->entries[i];

    /* The generation first (A5 <- R5).  A3 <- R3: the entry's fields and
     * the object's first bytes happen before it is READY.                 */
    *generation = shmi_load_acq_32(&e->generation);
    if (shmi_load_acq_32(&e->state) != SHMI_READY) return SHMC_ENOENT;
    out->offset = shmi_load_rlx_64(&e->offset);
    out->bytes = shmi_load_rlx_64(&e->bytes);
    out->type_hash = shmi_load_rlx_64(&e->type_hash);
    out->created_realtime_ns = shmi_load_rlx_64(&e->created_realtime_ns);
    out->kind = shmi_load_rlx_32(&e->kind);
    out->version = shmi_load_rlx_32(&e->version);
    out->elem_bytes = shmi_load_rlx_32(&e->elem_bytes);
    out->index = i;
    shmi_copy_out(out->type_name, e->type_name, sizeof out->type_name);
    shmi_copy_out(out->name, e->name, sizeof out->name);
    out->type_name[sizeof out->type_name - 1] = '\0';
    out->name[sizeof out->name - 1] = '\0';
    /* The fields are read before the recheck; F4 in shmi_object_create.   */
    shmi_fence_acq();
    if (shmi_load_rlx_32(&e->state) != SHMI_READY ||
        shmi_load_rlx_32(&e->generation) != *generation) return SHMC_ENOENT;
    if (out->offset % SHMC_LINE != 0 || out->offset < s->heap_at ||
        out->bytes == 0 || out->offset > s->heap_at + s->heap_bytes ||
        out->bytes > s->heap_at + s->heap_bytes - out->offset)
        return SHMC_ECORRUPT;
    return SHMC_OK;
}

SHMC_API int
shmc_object_info_get(const shmc_segment *s, uint32_t i, shmc_object_info *out)
{
    uint32_t generation;

    memset(out, 0, sizeof *out);
    const int r = shmi_segment_usable(s, "look at an object");
    if (r != SHMC_OK) return r;
    if (i >= s->max_objects)
        return shmi_fail(SHMC_EINVAL, "object %u: segment '%s' has %u entries",
                         i, s->name, s->max_objects);
    return shmi_entry_read(s, i, out, &generation);
}

/* Find an object by name.  Lock-free; works read-only.                    */
static int
shmi_entry_find(const shmc_segment *s, const char *name, shmc_object_info *out,
                uint32_t *generation)
{
    for (uint32_t i = 0; i < s->max_objects; i++) {
        const int r = shmi_entry_read(s, i, out, generation);
        if (r == SHMC_ENOENT || strcmp(out->name, name) != 0) continue;
        if (r == SHMC_OK) return r;
        return shmi_fail(r, "object '%s' in segment '%s' lies outside the heap: "
                         "its entry is damaged", name, s->name);
    }
    return SHMC_ENOENT;
}

static int
shmi_object_suits(const shmc_segment *s, const shmc_object_info *o,
                  const shmc_object_desc *d)
{
    const char *is = o->type_name[0] ? o->type_name : "?";
    const char *want = d->type_name ? d->type_name : "?";

    if (o->kind != d->kind)
        return shmi_fail(SHMC_ETYPE, "object '%s' in segment '%s' is of kind %u "
                         "(%s), kind %u (%s) was asked for", o->name, s->name,
                         o->kind, is, d->kind, want);
    if (o->version != d->version)
        return shmi_fail(SHMC_EVERSION, "object '%s' in segment '%s' (%s) has "
                         "version %u, this program %u: rebuild the older side",
                         o->name, s->name, is, o->version, d->version);
    if (d->type_hash != 0 && o->type_hash != d->type_hash)
        return shmi_fail(SHMC_ETYPE, "object '%s' in segment '%s' holds %s "
                         "(hash %016llx), %s (hash %016llx) was asked for",
                         o->name, s->name, is, (unsigned long long)o->type_hash,
                         want, (unsigned long long)d->type_hash);
    if (d->elem_bytes != 0 && o->elem_bytes != d->elem_bytes)
        return shmi_fail(SHMC_ETYPE, "object '%s' in segment '%s' (%s) has "
                         "elements of %u bytes, %u were asked for", o->name,
                         s->name, is, o->elem_bytes, d->elem_bytes);
    if (d->kind == SHMC_KIND_RAW && o->bytes < d->bytes)
        return shmi_fail(SHMC_EMISMATCH, "object '%s' in segment '%s' (%s) has "
                         "%llu bytes, %llu were asked for", o->name, s->name, is,
                         (unsigned long long)o->bytes,
                         (unsigned long long)d->bytes);
    return SHMC_OK;
}

/* Keep remove away from entry i, or no longer.  The caller holds s->mutex,
 * and calls for the first opening and the last closing of this handle.    */
static int
shmi_entry_keep(shmc_segment *s, uint32_t i)
{
    const uint64_t deadline = shmi_deadline(SHMC_LOCK_TIMEOUT_NS);

    if (s->inspect) return 0;
    if (!s->memory)
        return shmi_lock_wait(s->fd, SHMI_LOCK_OBJECTS + i, false, deadline);
    const int r = shmi_mutex_lock_until(shmi_memory_mutex(s), deadline);
    if (r < 0) return r;
    shmi_faa_32(&s->entries[i].opens, 1);
    shmi_mutex_unlock(shmi_memory_mutex(s));
    return 0;
}

static void
shmi_entry_let_go(shmc_segment *s, uint32_t i)
{
    if (s->inspect) return;
    if (!s->memory) shmi_lock_release(s->fd, SHMI_LOCK_OBJECTS + i);
    else shmi_faa_32(&s->entries[i].opens, UINT32_MAX);
}

/* Attach to the object found.  SHMC_ENOENT if it was removed before we had
 * it in our keeping.                                                      */
static int
shmi_object_hold(shmc_segment *s, const shmc_object_info *o,
                 uint32_t generation, shmc_object *out)
{
    uint32_t *opened = &s->opened[o->index];
    shmc_object_info again;
    uint32_t now;
    int r = 0;

    shmi_mutex_lock(&s->mutex);
    if (*opened == 0) r = shmi_entry_keep(s, o->index);
    if (r < 0) {
        r = shmi_fail_os(r, "hold an object of segment", s->name, s->dir,
                         s->file);
    } else if (shmi_entry_read(s, o->index, &again, &now) != SHMC_OK ||
               now != generation) {
        if (*opened == 0) shmi_entry_let_go(s, o->index);
        r = SHMC_ENOENT;
    } else if (*opened == UINT32_MAX) {
        r = shmi_fail(SHMC_ELIMIT, "object '%s' in segment '%s' was opened 2^32 "
                      "times and not closed", o->name, s->name);
    } else {
        ++*opened;
        out->mem = s->base + o->offset;
        out->bytes = o->bytes;
        out->index = o->index;
    }
    shmi_mutex_unlock(&s->mutex);
    return r;
}

/* Find the lowest gap of `bytes` between the extents in use (I4).         */
static int
shmi_heap_place(const shmc_segment *s, uint64_t bytes, uint64_t *offset)
{
    const uint64_t end = s->heap_at + s->heap_bytes;
    uint64_t at = s->heap_at;
    uint32_t moves = 0;

    for (uint32_t i = 0; i < s->max_objects; i++) {
        const shmc_entry_shm *e = &s->entries[i];
        if (shmi_load_acq_32(&e->state) == SHMI_FREE) continue;
        const uint64_t from = shmi_load_rlx_64(&e->offset);
        const uint64_t size = shmi_load_rlx_64(&e->bytes);
        if (from < s->heap_at || from > end || size > end - from)
            return SHMC_ECORRUPT;
        if (from >= at + bytes || from + size <= at) continue;
        /* Each entry is in the way once, unless somebody changes it.       */
        if (++moves > s->max_objects) return SHMC_ECORRUPT;
        at = shmi_round_up(from + size, SHMC_LINE);
        if (at > end || bytes > end - at) return SHMC_ENOSPC;
        i = UINT32_MAX;             /* moved: look at every entry again     */
    }
    *offset = at;
    return bytes > end - at ? SHMC_ENOSPC : SHMC_OK;
}

/* Make the object; the directory lock is held.                            */
static int
shmi_object_create(shmc_segment *s, const char *name,
                   const shmc_object_desc *d)
{
    uint32_t i = 0;
    uint64_t offset = 0;

    while (i < s->max_objects &&
           shmi_load_acq_32(&s->entries[i].state) != SHMI_FREE) i++;
    if (i == s->max_objects)
        return shmi_fail(SHMC_ELIMIT, "create object '%s': the directory of "
                         "segment '%s' has room for %u; create it with a larger "
                         "max_objects", name, s->name, s->max_objects);
    int r = d->bytes > s->heap_bytes ? SHMC_ENOSPC
                                     : shmi_heap_place(s, d->bytes, &offset);
    if (r == SHMC_ENOSPC)
        return shmi_fail(r, "create object '%s' of %llu bytes: the heap of "
                         "segment '%s' (%llu bytes) has no such gap; create it "
                         "with a larger heap_bytes", name,
                         (unsigned long long)d->bytes, s->name,
                         (unsigned long long)s->heap_bytes);
    if (r != SHMC_OK)
        return shmi_fail(r, "create object '%s': the directory of segment '%s' "
                         "is damaged; unlink the segment", name, s->name);
    shmc_entry_shm *e = &s->entries[i];
    /* F4: that the entry was freed (R5) happens before its new fields: who
     * copies one of these finds the generation changed.                   */
    shmi_fence_rel();
    shmi_store_rlx_64(&e->offset, offset);
    shmi_store_rlx_64(&e->bytes, d->bytes);
    shmi_store_rel_32(&e->state, SHMI_BUILDING);
    shmi_store_rlx_64(&e->type_hash, d->type_hash);
    shmi_store_rlx_32(&e->kind, d->kind);
    shmi_store_rlx_32(&e->version, d->version);
    shmi_store_rlx_32(&e->elem_bytes, d->elem_bytes);
    const int32_t pid = shmi_process_id();
    shmi_copy_in(&e->creator_pid, &pid, sizeof pid);
    shmi_store_rlx_64(&e->created_realtime_ns, shmi_realtime_ns());
    char text[SHMC_NAME_BYTES] = "";
    snprintf(text, sizeof e->type_name, "%s", d->type_name ? d->type_name : "");
    shmi_copy_in(e->type_name, text, sizeof e->type_name);
    memset(text, 0, sizeof text);
    snprintf(text, sizeof text, "%s", name);
    shmi_copy_in(e->name, text, sizeof e->name);
    memset(s->base + offset, 0, d->bytes);
    r = d->init != NULL ? d->init(s->base + offset, d->bytes, d->user) : 0;
    if (r < 0) {
        shmi_entry_free(e);
        return r;
    }
    /* R3 -> A3: fields and contents happen before it can be found.        */
    shmi_store_rel_32(&e->state, SHMI_READY);
    return SHMC_OK;
}

/* Check what a caller hands in before anything is locked.                 */
static int
shmi_object_asked(const shmc_segment *s, const char *name,
                  const shmc_object_desc *d, bool create)
{
    int r = shmi_segment_usable(s, create ? "open an object"
                                          : "attach to an object");

    if (r == SHMC_OK) r = shmc_name_check(name);
    if (r != SHMC_OK) return r;
    if (create && d->bytes == 0)
        return shmi_fail(SHMC_EINVAL, "create object '%s': bytes is 0", name);
    if (d->type_name != NULL && strnlen(d->type_name, SHMC_TYPE_NAME_BYTES) ==
                                SHMC_TYPE_NAME_BYTES)
        return shmi_fail(SHMC_EINVAL, "object '%s': type_name '%.70s' has more "
                         "than %d bytes", name, d->type_name,
                         SHMC_TYPE_NAME_BYTES - 1);
    return SHMC_OK;
}

static int
shmi_object_get(shmc_segment *s, const char *name, const shmc_object_desc *desc,
                shmc_object *out, bool create)
{
    static const shmc_object_desc defaults;
    const shmc_object_desc *d = desc != NULL ? desc : &defaults;
    const uint64_t deadline_ns = shmi_deadline(SHMC_LOCK_TIMEOUT_NS);
    shmc_object_info o;
    uint32_t generation = 0, tries = 0;
    bool created = false;

    memset(out, 0, sizeof *out);
    int r = shmi_object_asked(s, name, d, create);
    if (r != SHMC_OK) return r;
    do {
        r = shmi_entry_find(s, name, &o, &generation);
        if (r == SHMC_OK) {
            r = shmi_object_suits(s, &o, d);
            if (r == SHMC_OK) r = shmi_object_hold(s, &o, generation, out);
            out->created = r == SHMC_OK && created;
            if (r != SHMC_ENOENT) return r;
            continue;               /* removed meanwhile                    */
        }
        if (r != SHMC_ENOENT) return r;
        if (!create)
            return shmi_fail(r, "object '%s' is not in segment '%s'", name,
                             s->name);
        if ((r = shmi_directory_lock(s)) != SHMC_OK) return r;
        r = shmi_entry_find(s, name, &o, &generation);
        created = r == SHMC_ENOENT;
        if (created) r = shmi_object_create(s, name, d);
        shmi_directory_unlock(s);
        if (r != SHMC_OK) return r;
    } while (shmi_try_again(&tries, deadline_ns));
    return shmi_fail(SHMC_ETIMEDOUT, "open object '%s' in segment '%s': others "
                     "keep creating and removing it", name, s->name);
}

SHMC_API int
shmc_object_open(shmc_segment *s, const char *name,
                 const shmc_object_desc *desc, shmc_object *out)
{
    return shmi_object_get(s, name, desc, out, true);
}

SHMC_API int
shmc_object_attach(shmc_segment *s, const char *name,
                   const shmc_object_desc *desc, shmc_object *out)
{
    return shmi_object_get(s, name, desc, out, false);
}

SHMC_API int
shmc_object_close(shmc_segment *s, shmc_object *object)
{
    int r = SHMC_OK;

    if (object->mem == NULL)
        return shmi_fail(SHMC_ECLOSED, "close object: it is not open");
    object->mem = NULL;
    if (s->base == NULL || s->epoch != shmi_fork_epoch) return SHMC_OK;
    shmi_mutex_lock(&s->mutex);
    if (object->index >= s->max_objects || s->opened[object->index] == 0)
        r = shmi_fail(SHMC_EINVAL, "close object %u of segment '%s': it is not "
                      "open", object->index, s->name);
    else if (--s->opened[object->index] == 0)
        shmi_entry_let_go(s, object->index);
    shmi_mutex_unlock(&s->mutex);
    return r;
}

/* Free the object found, unless somebody has it; the directory is locked. */
static int
shmi_object_free(shmc_segment *s, uint32_t i)
{
    shmc_entry_shm *e = &s->entries[i];
    const uint64_t lock = SHMI_LOCK_OBJECTS + i;

    if (s->opened[i] != 0) return SHMC_EBUSY;
    if (s->memory) {
        if (shmi_load_acq_32(&e->opens) != 0) return SHMC_EBUSY;
        shmi_entry_free(e);
        return SHMC_OK;
    }
    const int r = shmi_lock_try(s->fd, lock, true);
    if (r == SHMI_OS_EAGAIN) return SHMC_EBUSY;
    if (r < 0) return shmi_fail_os(r, "lock an object of segment", s->name,
                                   s->dir, s->file);
    shmi_entry_free(e);
    shmi_lock_release(s->fd, lock);
    return SHMC_OK;
}

SHMC_API int
shmc_object_remove(shmc_segment *s, const char *name)
{
    shmc_object_info o;
    uint32_t generation;
    int r = shmi_segment_usable(s, "remove an object");

    if (r == SHMC_OK) r = shmc_name_check(name);
    if (r == SHMC_OK) r = shmi_directory_lock(s);
    if (r != SHMC_OK) return r;
    r = shmi_entry_find(s, name, &o, &generation);
    if (r == SHMC_OK) r = shmi_object_free(s, o.index);
    shmi_directory_unlock(s);
    if (r == SHMC_EBUSY)
        return shmi_fail(r, "remove object '%s' from segment '%s': a live "
                         "process has it open", name, s->name);
    if (r == SHMC_ENOENT)
        return shmi_fail(r, "remove object '%s': not in segment '%s'", name,
                         s->name);
    return r;
}

SHMC_API int
shmc_segment_info_get(shmc_segment *s, shmc_segment_info *out)
{
    memset(out, 0, sizeof *out);
    const int r = shmi_segment_usable(s, "look at a segment");
    if (r != SHMC_OK) return r;
    const shmc_segment_shm *h = shmi_segment_head(s);
    out->total_bytes = s->bytes;
    out->heap_bytes = s->heap_bytes;
    out->created_realtime_ns = shmi_load_rlx_64(&h->created_realtime_ns);
    out->max_objects = s->max_objects;
    out->max_participants = s->max_participants;
    out->flags = s->ephemeral ? SHMC_EPHEMERAL : 0;
    out->wake = s->wake;
    out->layout_version = SHMI_SEGMENT_VERSION;
    memcpy(&out->creator_pid, &h->creator_pid, sizeof out->creator_pid);
    shmi_copy_out(out->name, h->name, sizeof out->name);
    out->name[sizeof out->name - 1] = '\0';
    for (uint32_t i = 0; i < s->max_objects; i++) {
        shmc_object_info o;
        if (shmc_object_info_get(s, i, &o) != SHMC_OK) continue;
        out->objects++;
        out->heap_used_bytes += shmi_round_up(o.bytes, SHMC_LINE);
    }
    for (uint32_t i = 0; i < s->max_participants; i++) {
        shmc_participant_info p;
        if (shmc_participant_info_get(s, i, &p) == SHMC_OK && p.alive)
            out->participants++;
    }
    return SHMC_OK;
}

#endif /* SHMCOMM_IMPLEMENTATION */
