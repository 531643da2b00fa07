/* shmcomm_segment.h - a named mapping that describes itself, who takes part
 * in it, and who of them is alive.
 *
 *     shmc_segment s;
 *     if (shmc_segment_open(&s, "robot/state", NULL) < 0) return 1;
 *     puts(shmc_segment_shared(&s) ? "somebody is here" : "alone");
 *     shmc_segment_close(&s);
 *
 * What lies in a segment, and how it is found by name, is shmcomm.h's.
 * Manual: docs/shmcomm.md, bytes: docs/layout.md, limits: docs/caveats.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_SEGMENT_H
#define SHMCOMM_SEGMENT_H

#include "shmcomm_bell.h"

/* ---- configuration: none of these changes a shared byte ---------------- */

#ifndef SHMC_LOCK_TIMEOUT_NS        /* wait for a directory's lock          */
#define SHMC_LOCK_TIMEOUT_NS 10000000000
#endif

/* ---- constants --------------------------------------------------------- */

enum {
    SHMC_TYPE_NAME_BYTES = 64,
    SHMC_MAX_PARTICIPANTS = 4096,
    SHMC_MAX_OBJECTS = 4096
};

/* Flags of a segment.  EPHEMERAL is kept in the segment, the rest is this
 * process's own choice.                                                   */
enum {
    SHMC_READ_ONLY = 1,             /* map read-only, be no participant     */
    SHMC_INSPECT   = 2,             /* read-only and unseen by everybody    */
    SHMC_EPHEMERAL = 4,             /* the last one to close removes it     */
    SHMC_PREFAULT  = 8,             /* touch every page at open             */
    SHMC_MLOCK     = 16,            /* keep every page in memory            */
    SHMC_HUGEPAGES = 32,            /* ask for transparent huge pages       */
    SHMC_SET_GID   = 64,            /* desc.gid counts                      */
    SHMC_FORCE     = 128            /* unlink: although somebody uses it    */
};

/* ---- descs ------------------------------------------------------------- */

typedef struct shmc_segment_desc {  /* zero selects the default             */
    uint64_t heap_bytes;            /* room for objects [1 MiB]             */
    uint32_t max_objects;           /* 1..4096 [64]                         */
    uint32_t max_participants;      /* 1..4096 [64]                         */
    uint32_t mode;                  /* permission bits, umask ignored [0600]*/
    uint32_t gid;                   /* group, with SHMC_SET_GID             */
    uint32_t flags;                 /* SHMC_READ_ONLY ...                   */
    uint32_t wake;                  /* SHMC_WAKE_... [SHMC_WAKE_FENCE]      */
    const char *dir;                /* [$SHMCOMM_DIR, else /dev/shm]        */
    const char *prefix;             /* [$SHMCOMM_PREFIX, else shmc]         */
    const char *label;              /* this participant, <= 31 bytes [comm] */
} shmc_segment_desc;

/* ---- shared layout, version 1 ------------------------------------------
 * file: segment | participants | directory | heap, each 128-byte aligned.
 * I1: every field of line 0 and 1 is constant once the file has its name.
 * I2: participant i is alive with generation g  <=>  slot[i].generation == g
 *     and somebody holds the lock on byte i of the file.  (Whoever takes the
 *     lock stores the next generation at once; for that moment a dead one
 *     passes for alive.)
 * I3: an entry is BUILDING or DELETING only while its maker holds the
 *     directory lock; whoever gets the lock next frees such an entry.
 * I4: the extents of all entries that are not FREE are disjoint, 128-byte
 *     aligned and inside the heap.
 * W = only writer, R = reader, (..) = ordering edge named in the code.     */

#define SHMI_SEGMENT_MAGIC "SHMCOMM"
enum { SHMI_SEGMENT_VERSION = 1, SHMI_BYTE_ORDER = 0x01020304 };

typedef struct shmc_segment_shm {
    char     magic[8];              /* W creator        R attacher          */
    uint32_t version;               /* W creator; constant                  */
    uint32_t byte_order;            /* W creator; constant                  */
    uint64_t total_bytes;           /* W creator; constant                  */
    uint32_t line_bytes;            /* W creator; 128                       */
    uint32_t max_participants;      /* W creator; constant                  */
    uint32_t max_objects;           /* W creator; constant                  */
    uint32_t flags;                 /* W creator; SHMC_EPHEMERAL or 0       */
    uint32_t wake;                  /* W creator; SHMC_WAKE_...             */
    int32_t  creator_pid;           /* W creator; for people                */
    uint64_t participants_at;       /* W creator; constant                  */
    uint64_t directory_at;          /* W creator; constant                  */
    uint64_t heap_at;               /* W creator; constant                  */
    uint64_t heap_bytes;            /* W creator; constant                  */
    uint64_t created_ns;            /* W creator; CLOCK_MONOTONIC           */
    uint64_t created_realtime_ns;   /* W creator; for people                */
    uint8_t  pad0[SHMC_LINE - 96];
    char     name[SHMC_NAME_BYTES]; /* W creator; constant                  */
    uint32_t changes;               /* W lock holder (R1)  R anybody (A1)   */
    uint32_t memory_lock;           /* W threads, when there is no file     */
    uint8_t  pad1[SHMC_LINE - 8];
    uint8_t  reserved[SHMC_LINE];
} shmc_segment_shm;
SHMC_LAYOUT_AT(shmc_segment_shm, version, 8);
SHMC_LAYOUT_AT(shmc_segment_shm, total_bytes, 16);
SHMC_LAYOUT_AT(shmc_segment_shm, max_participants, 28);
SHMC_LAYOUT_AT(shmc_segment_shm, wake, 40);
SHMC_LAYOUT_AT(shmc_segment_shm, participants_at, 48);
SHMC_LAYOUT_AT(shmc_segment_shm, heap_bytes, 72);
SHMC_LAYOUT_AT(shmc_segment_shm, created_realtime_ns, 88);
SHMC_LAYOUT_AT(shmc_segment_shm, name, 128);
SHMC_LAYOUT_AT(shmc_segment_shm, changes, 256);
SHMC_LAYOUT_SIZE(shmc_segment_shm, 512);

typedef struct shmc_participant_shm {
    uint64_t generation;            /* W lock holder of byte i (R2) R (A2)  */
    uint64_t start;                 /* W the same; process start ticks      */
    uint64_t attached_realtime_ns;  /* W the same; for people               */
    uint32_t pid;                   /* W the same; 0 = detached             */
    uint8_t  pad0[4];
    char     label[32];             /* W the same; for people               */
    uint8_t  pad1[SHMC_LINE - 64];
} shmc_participant_shm;
SHMC_LAYOUT_AT(shmc_participant_shm, pid, 24);
SHMC_LAYOUT_AT(shmc_participant_shm, label, 32);
SHMC_LAYOUT_SIZE(shmc_participant_shm, SHMC_LINE);

enum { SHMI_FREE = 0, SHMI_BUILDING = 1, SHMI_READY = 2, SHMI_DELETING = 3 };

typedef struct shmc_entry_shm {
    uint32_t state;                 /* W lock holder (R3)  R lookup (A3)    */
    uint32_t generation;            /* W lock holder (R5) R lookup (A5); +1
                                     * each time freed                      */
    uint64_t offset;                /* W lock holder before R3              */
    uint64_t bytes;                 /* W lock holder before R3              */
    uint64_t type_hash;             /* W lock holder before R3              */
    uint32_t kind;                  /* W lock holder before R3              */
    uint32_t version;               /* W lock holder before R3              */
    uint32_t elem_bytes;            /* W lock holder before R3              */
    int32_t  creator_pid;           /* W lock holder; for people            */
    uint64_t created_realtime_ns;   /* W lock holder; for people            */
    uint32_t opens;                 /* W lock holder; no file: handles that
                                     * have it, in place of a lock          */
    uint32_t reserved;
    char     type_name[SHMC_TYPE_NAME_BYTES];
    char     name[SHMC_NAME_BYTES];
} shmc_entry_shm;
SHMC_LAYOUT_AT(shmc_entry_shm, offset, 8);
SHMC_LAYOUT_AT(shmc_entry_shm, kind, 32);
SHMC_LAYOUT_AT(shmc_entry_shm, created_realtime_ns, 48);
SHMC_LAYOUT_AT(shmc_entry_shm, opens, 56);
SHMC_LAYOUT_AT(shmc_entry_shm, type_name, 64);
SHMC_LAYOUT_AT(shmc_entry_shm, name, 128);
SHMC_LAYOUT_SIZE(shmc_entry_shm, 2 * SHMC_LINE);

/* One seat of an object: who sits there and what he is in the middle of.
 * I5: a seat changes hands only after its intents are settled.            */
typedef struct shmi_seat_shm {
    uint64_t owner;                 /* W claimant by CAS   R anybody (A4)   */
    uint64_t intent;                /* W owner (release)   R recoverer      */
    uint64_t word[14];              /* W owner; meaning is the object's     */
} shmi_seat_shm;
SHMC_LAYOUT_AT(shmi_seat_shm, intent, 8);
SHMC_LAYOUT_SIZE(shmi_seat_shm, SHMC_LINE);

/* ---- handles ----------------------------------------------------------- */

/* This process's view of a segment.  Its address must not change while it
 * is open.  Private: read nothing in it but through the functions below.  */
typedef struct shmc_segment {
    uint8_t *base;                  /* NULL = closed                        */
    uint64_t bytes, heap_at, heap_bytes, created_ns, generation;
    shmc_participant_shm *participants;
    shmc_entry_shm *entries;
    uint32_t *opened;               /* how often this handle has object i   */
    uint32_t max_participants, max_objects, participant, epoch, wake;
    int32_t  fd, dirfd;
    bool     read_only, inspect, ephemeral, memory, presence, listed;
    bool     heirs;                 /* leave it to who waits for its name   */
    bool   (*keep)(const struct shmc_segment *s);   /* of the last one out:
                                       must the name stay?  NULL: no        */
    shmi_mutex mutex;               /* threads of this process              */
    struct shmc_segment *prev, *next;   /* open segments, for fork          */
    char     name[SHMC_NAME_BYTES];
    char     file[SHMC_PREFIX_BYTES + SHMC_NAME_BYTES];
    char     dir[SHMC_DIR_BYTES];
} shmc_segment;

typedef struct shmc_participant_info {
    uint64_t generation, attached_realtime_ns;
    int32_t  pid;
    bool     alive;
    char     label[32];
} shmc_participant_info;

#ifdef __cplusplus
extern "C" {
#endif

/* How often this process is the child of a fork; handles remember it.     */
extern uint32_t shmi_fork_epoch;

/* ---- segments ---------------------------------------------------------- */

/* Tell how many bytes a segment with this desc takes, or why it cannot be.
 * Units   bytes, a multiple of the page size.
 * Errors  SHMC_EINVAL.                                                    */
SHMC_API int64_t shmc_segment_size_for(const shmc_segment_desc *desc);

/* Create a new segment; the name appears in one step, complete.
 * Owner   the file outlives its users, unless SHMC_EPHEMERAL.
 * Safety  any number of processes and threads may race.
 * Crash   dying before the name appears leaves nothing.
 * Errors  SHMC_EEXIST; SHMC_ENOSPC (checked here, so that no access can
 *         raise SIGBUS later); SHMC_EACCES; SHMC_ENAME; SHMC_EINVAL; ...  */
SHMC_API int shmc_segment_create(shmc_segment *s, const char *name,
                                 const shmc_segment_desc *desc);

/* Attach to a segment that exists.  Sizes in `desc` that are not zero are
 * minima, a `wake` that is not zero must agree, mode and gid are not looked
 * at.  SHMC_READ_ONLY maps read-only; SHMC_INSPECT also stays unseen.
 * Errors  SHMC_ENOENT; SHMC_EACCES; SHMC_ECORRUPT not a segment, truncated;
 *         SHMC_EVERSION; SHMC_EBYTEORDER; SHMC_EMISMATCH; SHMC_ELIMIT all
 *         participant slots are held by live processes.                   */
SHMC_API int shmc_segment_attach(shmc_segment *s, const char *name,
                                 const shmc_segment_desc *desc);

/* Attach, or create where the name is free (never read-only: ENOENT then).
 * A live segment is never clobbered.  Errors  as above, but for EEXIST;
 * SHMC_ETIMEDOUT others created and removed it all the time.              */
SHMC_API int shmc_segment_open(shmc_segment *s, const char *name,
                               const shmc_segment_desc *desc);

/* Detach.  Everything opened through the handle must be closed before.
 * Safety  a forked child keeps the memory mapped, but every call with the
 *         inherited handle returns SHMC_EFORKED; there, this only unmaps. */
SHMC_API int shmc_segment_close(shmc_segment *s);

/* Remove a segment's name, unless a live process has it open.  With
 * SHMC_FORCE also then: they keep their memory, newcomers get a new one;
 * and whatever else the name stands for, but a folder.
 * Errors  SHMC_ENOENT; SHMC_EBUSY; SHMC_EACCES; SHMC_ECORRUPT the file is
 *         no segment (never removed without SHMC_FORCE).                  */
SHMC_API int shmc_segment_unlink(const char *name,
                                 const shmc_segment_desc *desc);

/* Lay a segment out in memory of the caller, for the threads of one
 * process (or a carve-out): 128-byte aligned, >= shmc_segment_size_for.   */
SHMC_API int shmc_segment_format(void *mem, uint64_t bytes,
                                 const shmc_segment_desc *desc);

/* Open a handle on such memory.  Owner  the memory stays the caller's.
 * Crash   no liveness there: every participant counts as alive.           */
SHMC_API int shmc_segment_map(shmc_segment *s, void *mem, uint64_t bytes);

/* Call `fn` for each segment's name in desc's directory and prefix; stop
 * when it returns non-zero.  Returns that, 0, or a negative error.        */
SHMC_API int shmc_segment_each(const shmc_segment_desc *desc,
                               int (*fn)(void *user, const char *name),
                               void *user);

/* Tell whether the segment still has its name (0 or 1).                   */
SHMC_API int shmc_segment_linked(const shmc_segment *s);

/* Tell how many other open handles, in any process, the segment has: 0, or
 * 1 for "at least one".                                                   */
SHMC_API int shmc_segment_shared(const shmc_segment *s);

/* Describe participant i.  Errors  SHMC_ENOENT the slot was never used.   */
SHMC_API int shmc_participant_info_get(const shmc_segment *s, uint32_t i,
                                       shmc_participant_info *out);

/* ---- private: for the other headers ------------------------------------ */

#define SHMI_OWNER_LOCAL UINT64_MAX     /* no segment: taken for alive      */

/* Whether to try once more what others keep undoing: until the deadline, but
 * a few times in any event; who was stopped meanwhile has hardly tried.   */
SHMC_API bool shmi_try_again(uint32_t *tries, uint64_t deadline_ns);

SHMC_API uint64_t shmi_owner_self(const shmc_segment *s);
SHMC_API bool     shmi_owner_alive(const shmc_segment *s, uint64_t owner);
SHMC_API int32_t  shmi_owner_pid(const shmc_segment *s, uint64_t owner);

/* Take an exclusive role: 0 or a dead owner's word becomes ours.
 * Errors  SHMC_EBUSY, naming the live holder.                             */
SHMC_API int  shmi_role_claim(const shmc_segment *s, uint64_t *word,
                              const char *what);
SHMC_API void shmi_role_drop(const shmc_segment *s, uint64_t *word);

/* Take a seat.  `settle` brings whatever a dead owner's seat intended to an
 * end; it must be idempotent: several processes may run it at once, and one
 * that was stopped runs on when the seat is already somebody else's.  It
 * returns 0, or a negative code if the seat must stay as it is for now.
 * Returns the seat's index, or SHMC_ELIMIT, of which _try says nothing.    */
typedef int (*shmi_settle_fn)(void *ctx, uint32_t seat);
SHMC_API int  shmi_seat_try(const shmc_segment *s, shmi_seat_shm *seats,
                            uint32_t count, shmi_settle_fn settle, void *ctx);
SHMC_API int  shmi_seat_claim(const shmc_segment *s, shmi_seat_shm *seats,
                              uint32_t count, shmi_settle_fn settle,
                              void *ctx);
SHMC_API void shmi_seat_drop(shmi_seat_shm *seat);

/* Say, by a lock that the kernel drops when we die, that we wait for a name
 * that does not exist yet: a segment whose handle has `heirs` set is not
 * removed by its last user while somebody waits.  `room` is a handle for
 * this alone; end it whatever await returned.                             */
SHMC_API int  shmi_name_await(shmc_segment *room, const char *name,
                              const shmc_segment_desc *desc);
SHMC_API void shmi_name_await_end(shmc_segment *room);
SHMC_API bool shmi_name_awaited(const shmc_segment *s);

/* Say as well that whoever fills what comes by that name has to wait for us;
 * the same await_end ends it.                                             */
SHMC_API int  shmi_name_await_firmly(shmc_segment *room);
SHMC_API bool shmi_name_awaited_firmly(const shmc_segment *s);

/* The same for all names under `under`, "a/b" for a/b/..., or "" for all.  */
SHMC_API int  shmi_name_await_under(shmc_segment *room, const char *under,
                                    const shmc_segment_desc *desc);
SHMC_API bool shmi_name_above_awaited(const shmc_segment *s);

/* Give up a name if nobody else has the segment open, and `keep` of the
 * handle does not say no, then close.  Returns 1 when the name is gone, or 0. */
SHMC_API int shmi_segment_close_and_remove(shmc_segment *s);

/* As shmc_segment_create, with a `fill` that is called with the open segment
 * before it gets its name, so that nobody ever sees it without what fill
 * puts there.  What fill opened is void if this fails.                     */
typedef int (*shmi_fill_fn)(void *ctx, shmc_segment *s);
SHMC_API int shmi_segment_create_filled(shmc_segment *s, const char *name,
                                        const shmc_segment_desc *desc,
                                        shmi_fill_fn fill, void *ctx);

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_SEGMENT_H */

#if defined(SHMCOMM_IMPLEMENTATION) && !defined(SHMCOMM_SEGMENT_IMPLEMENTED)
#define SHMCOMM_SEGMENT_IMPLEMENTED
#ifdef __cplusplus
#error "compile SHMCOMM_IMPLEMENTATION in a C file; C++ may include the rest"
#endif

#include <stdio.h>
#include <string.h>

/* >>fork */

uint32_t shmi_fork_epoch;

/* The mutex is held over every fork, and around every opening and closing of
 * a descriptor that a handle keeps: a child finds all of them here.       */
static struct {
    shmi_mutex mutex;
    shmc_segment *first;            /* every handle with a file             */
    bool hooked;
} shmi_open_list;

static void
shmi_fork_prepare(void)
{
    shmi_mutex_lock(&shmi_open_list.mutex);
}

static void
shmi_fork_parent(void)
{
    shmi_mutex_unlock(&shmi_open_list.mutex);
}

/* The child shares our open file descriptions, and so our locks.  It closes
 * its descriptors (an unlock would free the parent's), and every handle
 * that it inherited is told apart by the epoch.                           */
static void
shmi_fork_child(void)
{
    /* Below 2^31 - 1, so that e + 1 and ~e are never 0 and never the same. */
    shmi_fork_epoch = (shmi_fork_epoch + 1) % INT32_MAX;
    for (shmc_segment *s = shmi_open_list.first; s != NULL; s = s->next) {
        if (s->fd >= 0) shmi_close(s->fd);
        if (s->dirfd >= 0) shmi_close(s->dirfd);
        s->fd = s->dirfd = -1;
        s->listed = false;
    }
    shmi_open_list.first = NULL;
    shmi_mutex_unlock(&shmi_open_list.mutex);
}

/* Have forks counted; the caller holds the list's mutex.                  */
static void
shmi_fork_watch(void)
{
    if (!shmi_open_list.hooked)
        shmi_open_list.hooked = shmi_on_fork(shmi_fork_prepare, shmi_fork_parent,
                                             shmi_fork_child) == 0;
}

/* Begin with an empty handle that forked children know of.                */
static void
shmi_open_list_add(shmc_segment *s)
{
    shmi_mutex_lock(&shmi_open_list.mutex);
    shmi_fork_watch();
    s->prev = NULL;
    s->next = shmi_open_list.first;
    if (s->next != NULL) s->next->prev = s;
    shmi_open_list.first = s;
    s->listed = true;
    shmi_mutex_unlock(&shmi_open_list.mutex);
}

static void
shmi_open_list_remove(shmc_segment *s)
{
    shmi_mutex_lock(&shmi_open_list.mutex);
    if (s->listed) {
        if (s->prev != NULL) s->prev->next = s->next;
        else shmi_open_list.first = s->next;
        if (s->next != NULL) s->next->prev = s->prev;
    }
    s->listed = false;
    shmi_mutex_unlock(&shmi_open_list.mutex);
}

/* Close a descriptor of a handle.                                         */
static void
shmi_segment_close_fd(int32_t *fd)
{
    shmi_mutex_lock(&shmi_open_list.mutex);
    if (*fd >= 0) shmi_close(*fd);
    *fd = -1;
    shmi_mutex_unlock(&shmi_open_list.mutex);
}

/* >>segments: geometry */

/* Locks on the segment's file, far beyond its end but for participants.   */
#define SHMI_LOCK_DIRECTORY (UINT64_C(1) << 40)
#define SHMI_LOCK_PRESENCE  ((UINT64_C(1) << 40) + 1)
#define SHMI_LOCK_OBJECTS   (UINT64_C(1) << 41)
#define SHMI_HEAP_LIMIT     (UINT64_C(1) << 46)

#define SHMI_SEGMENT_FLAGS                                                    \
    ((uint32_t)(SHMC_READ_ONLY | SHMC_INSPECT | SHMC_EPHEMERAL |              \
                SHMC_PREFAULT | SHMC_MLOCK | SHMC_HUGEPAGES | SHMC_SET_GID |  \
                SHMC_FORCE))

enum { SHMI_LABEL_BYTES = sizeof ((shmc_participant_shm *)0)->label };

typedef struct shmi_geometry {
    uint64_t participants_at, directory_at, heap_at, heap_bytes, total_bytes;
    uint32_t max_participants, max_objects;
} shmi_geometry;

/* Check a desc and work out where everything goes.                        */
static int
shmi_geometry_of(const shmc_segment_desc *desc, shmi_geometry *g)
{
    static const shmc_segment_desc defaults;
    const shmc_segment_desc *d = desc != NULL ? desc : &defaults;

    if ((d->flags & ~SHMI_SEGMENT_FLAGS) != 0)
        return shmi_fail(SHMC_EINVAL, "segment flags 0x%x: unknown bits 0x%x",
                         d->flags, d->flags & ~SHMI_SEGMENT_FLAGS);
    if (d->wake > SHMC_WAKE_ASYMMETRIC)
        return shmi_fail(SHMC_EINVAL, "segment wake %u: give SHMC_WAKE_FENCE or "
                         "SHMC_WAKE_ASYMMETRIC", d->wake);
    if ((d->mode & ~0777u) != 0)
        return shmi_fail(SHMC_EINVAL, "segment mode 0%o: give permission bits "
                         "only, such as 0660", d->mode);
    if (d->max_participants > SHMC_MAX_PARTICIPANTS)
        return shmi_fail(SHMC_EINVAL, "max_participants %u: at most %d",
                         d->max_participants, SHMC_MAX_PARTICIPANTS);
    if (d->max_objects > SHMC_MAX_OBJECTS)
        return shmi_fail(SHMC_EINVAL, "max_objects %u: at most %d",
                         d->max_objects, SHMC_MAX_OBJECTS);
    if (d->heap_bytes > SHMI_HEAP_LIMIT)
        return shmi_fail(SHMC_EINVAL, "heap_bytes %llu: at most 2^46",
                         (unsigned long long)d->heap_bytes);
    if (d->label != NULL && strnlen(d->label, SHMI_LABEL_BYTES) ==
                            SHMI_LABEL_BYTES)
        return shmi_fail(SHMC_EINVAL, "segment label '%.40s': at most %d bytes",
                         d->label, SHMI_LABEL_BYTES - 1);
    if (d->flags & SHMC_SET_GID ? d->gid == UINT32_MAX : d->gid != 0)
        return shmi_fail(SHMC_EINVAL, "segment gid %u: set SHMC_SET_GID in flags "
                         "and give a group's number", d->gid);
    const uint64_t page = shmi_page_bytes();
    g->max_participants = d->max_participants ? d->max_participants : 64;
    g->max_objects = d->max_objects ? d->max_objects : 64;
    g->heap_bytes = shmi_round_up(d->heap_bytes ? d->heap_bytes : 1u << 20,
                                  page);
    g->participants_at = sizeof(shmc_segment_shm);
    g->directory_at = g->participants_at +
        (uint64_t)g->max_participants * sizeof(shmc_participant_shm);
    g->heap_at = shmi_round_up(g->directory_at +
        (uint64_t)g->max_objects * sizeof(shmc_entry_shm), page);
    g->total_bytes = g->heap_at + g->heap_bytes;
    return SHMC_OK;
}

SHMC_API int64_t
shmc_segment_size_for(const shmc_segment_desc *desc)
{
    shmi_geometry g;
    const int r = shmi_geometry_of(desc, &g);

    return r == SHMC_OK ? (int64_t)g.total_bytes : r;
}

/* Fill the constant lines of a segment in zeroed memory.                  */
static void
shmi_segment_init(void *mem, const shmi_geometry *g, const char *name,
                  uint32_t flags, uint32_t wake)
{
    shmc_segment_shm *shm = mem;

    memcpy(shm->magic, SHMI_SEGMENT_MAGIC, sizeof shm->magic);
    shm->version = SHMI_SEGMENT_VERSION;
    shm->byte_order = SHMI_BYTE_ORDER;
    shm->total_bytes = g->total_bytes;
    shm->line_bytes = SHMC_LINE;
    shm->max_participants = g->max_participants;
    shm->max_objects = g->max_objects;
    shm->flags = flags & SHMC_EPHEMERAL;
    shm->wake = wake;
    shm->creator_pid = shmi_process_id();
    shm->participants_at = g->participants_at;
    shm->directory_at = g->directory_at;
    shm->heap_at = g->heap_at;
    shm->heap_bytes = g->heap_bytes;
    shm->created_ns = shmi_now_ns();
    shm->created_realtime_ns = shmi_realtime_ns();
    snprintf(shm->name, sizeof shm->name, "%s", name);
}

static int
shmi_segment_too_short(const shmc_segment *s, uint64_t bytes)
{
    return shmi_fail(SHMC_ECORRUPT, "segment '%s' has %llu bytes, a header has "
                     "%zu: truncated or not a segment", s->name,
                     (unsigned long long)bytes, sizeof(shmc_segment_shm));
}

/* Check the constant lines, which are untrusted, and copy them out.  There
 * are `bytes` of them, and more than a header.                            */
static int
shmi_segment_check(shmc_segment *s, const void *mem, uint64_t bytes)
{
    shmc_segment_shm h;             /* each field is loaded once, then used */
    const char *n = s->name;

    memcpy(&h, mem, sizeof h);
    if (memcmp(h.magic, SHMI_SEGMENT_MAGIC, sizeof h.magic) != 0)
        return shmi_fail(SHMC_ECORRUPT, "segment '%s' does not begin with %s: "
                         "another program's file?", n, SHMI_SEGMENT_MAGIC);
    if (h.byte_order != SHMI_BYTE_ORDER)
        return shmi_fail(SHMC_EBYTEORDER, "segment '%s' has byte order mark "
                         "0x%08x, this machine has 0x%08x", n, h.byte_order,
                         (unsigned)SHMI_BYTE_ORDER);
    if (h.version != SHMI_SEGMENT_VERSION || h.line_bytes != SHMC_LINE)
        return shmi_fail(SHMC_EVERSION, "segment '%s' has layout %u with lines "
                         "of %u, this library has %d with %u: rebuild the older "
                         "side", n, h.version, h.line_bytes,
                         SHMI_SEGMENT_VERSION, SHMC_LINE);
    const uint64_t people = (uint64_t)h.max_participants *
                            sizeof(shmc_participant_shm);
    const uint64_t entries = (uint64_t)h.max_objects * sizeof(shmc_entry_shm);
    if (h.total_bytes > bytes)
        return shmi_fail(SHMC_ECORRUPT, "segment '%s' is truncated: %llu bytes "
                         "of %llu", n, (unsigned long long)bytes,
                         (unsigned long long)h.total_bytes);
    if (h.max_participants == 0 || h.max_participants > SHMC_MAX_PARTICIPANTS ||
        h.max_objects == 0 || h.max_objects > SHMC_MAX_OBJECTS ||
        h.wake > SHMC_WAKE_ASYMMETRIC || h.heap_bytes > SHMI_HEAP_LIMIT ||
        h.participants_at != sizeof h ||
        h.directory_at != h.participants_at + people ||
        h.heap_at % SHMC_LINE != 0 || h.heap_at > h.total_bytes ||
        h.heap_at < h.directory_at + entries ||
        h.total_bytes - h.heap_at != h.heap_bytes)
        return shmi_fail(SHMC_ECORRUPT, "segment '%s' has a header whose sizes "
                         "contradict each other: damaged", n);
    s->bytes = h.total_bytes;
    s->heap_at = h.heap_at;
    s->heap_bytes = h.heap_bytes;
    s->created_ns = h.created_ns;
    s->max_participants = h.max_participants;
    s->max_objects = h.max_objects;
    s->wake = h.wake;
    s->ephemeral = (h.flags & SHMC_EPHEMERAL) != 0;
    return SHMC_OK;
}

static void
shmi_segment_point(shmc_segment *s, void *mem)
{
    s->base = mem;
    s->participants = (void *)(s->base + sizeof(shmc_segment_shm));
    s->entries = (void *)(s->participants + s->max_participants);
    s->epoch = shmi_fork_epoch;
}

/* Tell whether the handle is open, and this process's own.                */
static int
shmi_segment_usable(const shmc_segment *s, const char *doing)
{
    if (s->base == NULL)
        return shmi_fail(SHMC_ECLOSED, "%s: the segment is not open", doing);
    if (s->epoch != shmi_fork_epoch)
        return shmi_fail(SHMC_EFORKED, "%s in segment '%s': the handle is the "
                         "parent process's; open the segment again", doing,
                         s->name);
    return SHMC_OK;
}

/* >>participants */

/* Store who we are in slot i, which is ours.                              */
static void
shmi_participant_fill(shmc_segment *s, uint32_t i, const char *given)
{
    shmc_participant_shm *slot = &s->participants[i];
    char label[SHMI_LABEL_BYTES] = "";

    s->participant = i;
    s->generation = (shmi_load_rlx_64(&slot->generation) + 1) &
                    ((UINT64_C(1) << 47) - 1);
    if (s->generation == 0) s->generation = 1;
    /* Nobody, until the texts below are ours too.                         */
    shmi_store_rel_32(&slot->pid, 0);
    /* R2 -> A2: the lock on byte i happens before anybody takes this
     * generation for alive or dead.  It comes first: while the last one's
     * stands here, our lock makes a dead owner look alive (I2).           */
    shmi_store_rel_64(&slot->generation, s->generation);
    if (given != NULL) snprintf(label, sizeof label, "%s", given);
    else shmi_process_name(label, sizeof label);
    if (!s->memory)
        shmi_store_rlx_64(&slot->start, shmi_process_start(shmi_process_id()));
    shmi_store_rlx_64(&slot->attached_realtime_ns, shmi_realtime_ns());
    shmi_copy_in(slot->label, label, sizeof label);
    shmi_store_rel_32(&slot->pid, (uint32_t)shmi_process_id());
}

/* Take the first slot that no live process holds.  The lock is the claim. */
static int
shmi_participant_join(shmc_segment *s, const char *label)
{
    for (uint32_t i = 0; i < s->max_participants; i++) {
        const int r = shmi_lock_try(s->fd, i, true);
        if (r == SHMI_OS_EAGAIN) continue;
        if (r < 0) return shmi_fail_os(r, "lock a slot of segment", s->name,
                                       s->dir, s->file);
        shmi_participant_fill(s, i, label);
        return SHMC_OK;
    }
    return shmi_fail(SHMC_ELIMIT, "segment '%s': all %u participant slots are "
                     "held by live processes; create it with a larger "
                     "max_participants", s->name, s->max_participants);
}

SHMC_API uint64_t
shmi_owner_self(const shmc_segment *s)
{
    if (s == NULL) return SHMI_OWNER_LOCAL;
    return s->generation << 16 | (s->participant + 1);
}

SHMC_API bool
shmi_owner_alive(const shmc_segment *s, uint64_t owner)
{
    if (owner == 0) return false;
    if (s == NULL || owner == SHMI_OWNER_LOCAL) return true;
    const bool part = !s->read_only;
    if (part && owner == shmi_owner_self(s)) return true;
    const uint32_t i = (uint32_t)(owner & 0xffff) - 1;
    if (i >= s->max_participants) return false;     /* scribbled: nobody    */
    const shmc_participant_shm *slot = &s->participants[i];
    /* A2 <- R2: the owner's lock was taken before its generation showed.  */
    if (shmi_load_acq_64(&slot->generation) != owner >> 16) return false;
    if (s->memory) return shmi_load_acq_32(&slot->pid) != 0;
    /* Our slot with a generation that is not ours: scribbled.             */
    if (part && i == s->participant) return false;
    if (shmi_lock_probe(s->fd, i) != 0) return true;
    /* Nobody holds byte i.  A newcomer with a new generation may have come
     * and gone in between, but the owner itself is gone for certain.      */
    return false;
}

SHMC_API int32_t
shmi_owner_pid(const shmc_segment *s, uint64_t owner)
{
    if (s == NULL || owner == 0 || owner == SHMI_OWNER_LOCAL)
        return shmi_process_id();
    const uint32_t i = (uint32_t)(owner & 0xffff) - 1;
    if (i >= s->max_participants) return 0;
    return (int32_t)shmi_load_rlx_32(&s->participants[i].pid);
}

SHMC_API int
shmi_role_claim(const shmc_segment *s, uint64_t *word, const char *what)
{
    const uint64_t self = shmi_owner_self(s);
    /* Relaxed: a guess for the CAS.                                       */
    uint64_t seen = shmi_load_rlx_64(word);

    if (s != NULL && s->read_only)
        return shmi_fail(SHMC_EROFS, "become %s: segment '%s' is open read-only",
                         what, s->name);
    /* In caller-supplied memory the caller keeps roles apart.  Each round
     * that fails was lost to somebody else, so that a few are enough.     */
    for (int i = 0; i < SHMC_MAX_PARTICIPANTS; i++) {
        if (s != NULL && seen != 0 && shmi_owner_alive(s, seen)) break;
        if (shmi_cas_acq_64(word, &seen, self)) return SHMC_OK;
    }
    return shmi_fail(SHMC_EBUSY, "become %s in segment '%s': process %d is, and "
                     "is alive", what, s ? s->name : "(memory)",
                     (int)shmi_owner_pid(s, seen));
}

SHMC_API void
shmi_role_drop(const shmc_segment *s, uint64_t *word)
{
    uint64_t self = shmi_owner_self(s);

    (void)shmi_cas_rel_64(word, &self, 0);
}

SHMC_API int
shmi_seat_try(const shmc_segment *s, shmi_seat_shm *seats, uint32_t count,
              shmi_settle_fn settle, void *ctx)
{
    const uint64_t self = shmi_owner_self(s);

    for (uint32_t i = 0; i < count; i++) {
        /* Relaxed: a guess for the CAS; the last words of a dead holder are
         * visible to whoever the kernel told of its death.                */
        uint64_t seen = shmi_load_rlx_64(&seats[i].owner);
        if (seen != 0) {
            if (shmi_owner_alive(s, seen)) continue;
            if (settle != NULL && settle(ctx, i) < 0) continue;
        }
        /* R4 -> A4, and A4 <- R4 of a drop: who sees us here, or our intent,
         * sees all that the former holder did.                            */
        if (!shmi_cas_64(&seats[i].owner, &seen, self)) continue;
        /* I5: settled before the CAS; nobody else writes it now.  R4.     */
        shmi_store_rel_64(&seats[i].intent, 0);
        return (int)i;
    }
    return SHMC_ELIMIT;
}

SHMC_API int
shmi_seat_claim(const shmc_segment *s, shmi_seat_shm *seats, uint32_t count,
                shmi_settle_fn settle, void *ctx)
{
    const int r = shmi_seat_try(s, seats, count, settle, ctx);

    if (r != SHMC_ELIMIT) return r;
    return shmi_fail(SHMC_ELIMIT, "segment '%s': all %u seats of the object are "
                     "taken; create it with more", s ? s->name : "(memory)",
                     count);
}

SHMC_API void
shmi_seat_drop(shmi_seat_shm *seat)
{
    /* R4 -> A4: our last words happen before the next holder's first.     */
    shmi_store_rel_64(&seat->owner, 0);
}

SHMC_API int
shmc_participant_info_get(const shmc_segment *s, uint32_t i,
                          shmc_participant_info *out)
{
    memset(out, 0, sizeof *out);
    const int r = shmi_segment_usable(s, "look at a participant");
    if (r != SHMC_OK) return r;
    if (i >= s->max_participants)
        return shmi_fail(SHMC_EINVAL, "participant %u: segment '%s' has %u", i,
                         s->name, s->max_participants);
    const shmc_participant_shm *slot = &s->participants[i];
    out->generation = shmi_load_acq_64(&slot->generation);  /* A2 <- R2     */
    if (out->generation == 0) return SHMC_ENOENT;
    out->pid = (int32_t)shmi_load_acq_32(&slot->pid);
    out->attached_realtime_ns = shmi_load_rlx_64(&slot->attached_realtime_ns);
    shmi_copy_out(out->label, slot->label, sizeof out->label);
    out->label[sizeof out->label - 1] = '\0';
    out->alive = out->pid != 0 &&
                 shmi_owner_alive(s, out->generation << 16 | (i + 1));
    return SHMC_OK;
}

/* >>segments: create, attach, close */

enum { SHMI_TRIES = 8 };

SHMC_API bool
shmi_try_again(uint32_t *tries, uint64_t deadline_ns)
{
    return ++*tries < SHMI_TRIES || shmi_now_ns() < deadline_ns;
}

/* Begin a handle with directory and file name; no file is touched yet.
 * Whatever comes of it, shmi_segment_release ends it.                     */
static int
shmi_segment_name(shmc_segment *s, const char *name,
                  const shmc_segment_desc *d)
{
    const char *dir = NULL;

    int r = shmi_directory(d->dir, &dir);
    if (r == SHMC_OK)
        r = shmc_name_to_file(d->prefix, name, s->file, sizeof s->file);
    if (r != SHMC_OK) return r;
    snprintf(s->dir, sizeof s->dir, "%s", dir);
    snprintf(s->name, sizeof s->name, "%s", name);
    shmi_open_list_add(s);
    shmi_mutex_lock(&shmi_open_list.mutex);
    r = s->dirfd = shmi_dir_open(s->dir);
    shmi_mutex_unlock(&shmi_open_list.mutex);
    if (r >= 0) return SHMC_OK;
    return shmi_fail_os(r, "open the folder of segment", name, s->dir, "");
}

/* Open the file by name as the handle's own.                              */
static int
shmi_segment_file(shmc_segment *s, bool read_only)
{
    shmi_mutex_lock(&shmi_open_list.mutex);
    const int r = s->fd = shmi_file_open(s->dirfd, s->file, read_only);
    shmi_mutex_unlock(&shmi_open_list.mutex);
    return r < 0 ? r : 0;
}

/* Tell whether the name still stands for the file behind `fd`.            */
static bool
shmi_segment_named(const shmc_segment *s, int fd)
{
    shmi_file_info mine, named;

    return shmi_file_info_get(fd, &mine) == 0 &&
           shmi_name_info(s->dirfd, s->file, &named) == 0 &&
           mine.inode == named.inode && mine.device == named.device;
}

/* Remove the name if it is still this file's and nobody else is present.  */
static int
shmi_segment_remove_if_alone(shmc_segment *s)
{
    if (s->fd < 0 || !s->presence) return 0;
    /* Let go first: of two that leave at once, one then gets the lock.    */
    shmi_lock_release(s->fd, SHMI_LOCK_PRESENCE);
    s->presence = false;
    /* After letting go: an heir that waits no more by now is present, and
     * finds nobody else when it leaves in its turn.                       */
    if (s->heirs && (shmi_name_awaited(s) || shmi_name_above_awaited(s)))
        return 0;
    if (shmi_lock_try(s->fd, SHMI_LOCK_PRESENCE, true) < 0) return 0;
    /* While we hold it nobody else comes, or removes the name, but by
     * SHMC_FORCE.                                                         */
    if (s->keep != NULL && s->base != NULL && s->keep(s)) return 0;
    return shmi_segment_named(s, s->fd) &&
           shmi_file_unlink(s->dirfd, s->file) == 0;
}

/* Let go of the file, and of its name if that is asked for and we are the
 * last.  Returns 1 when the name is gone.                                 */
static int
shmi_segment_leave(shmc_segment *s, bool remove)
{
    int removed = 0;

    if (s->generation != 0)
        shmi_store_rel_32(&s->participants[s->participant].pid, 0);
    if (remove) removed = shmi_segment_remove_if_alone(s);
    if (s->base != NULL) shmi_unmap(s->base, s->bytes);
    shmi_segment_close_fd(&s->fd);
    shmi_free(s->opened);
    s->base = NULL;
    s->opened = NULL;
    s->generation = 0;
    s->presence = s->ephemeral = false;
    return removed;
}

/* Let go of the rest; also half-way through an open.                      */
static void
shmi_segment_release(shmc_segment *s)
{
    shmi_segment_close_fd(&s->dirfd);
    shmi_open_list_remove(s);
}

/* The byte of the folder that stands for a file's name, or for all names
 * that begin so.  Two on one byte keep each other's files a little longer, no
 * more.                                                                   */
static uint64_t
shmi_name_byte(const char *file)
{
    return shmc_type_hash(file) >> 2;
}

static int
shmi_name_lock(shmc_segment *room)
{
    shmi_mutex_lock(&shmi_open_list.mutex);
    int r = room->fd = shmi_dir_open_locks(room->dir);
    shmi_mutex_unlock(&shmi_open_list.mutex);
    if (r >= 0) r = shmi_lock_try(room->fd, shmi_name_byte(room->file), false);
    return r < 0 ? shmi_fail_os(r, "wait for the name", room->name, room->dir,
                                room->file) : SHMC_OK;
}

SHMC_API int
shmi_name_await(shmc_segment *room, const char *name,
                const shmc_segment_desc *desc)
{
    memset(room, 0, sizeof *room);
    room->fd = room->dirfd = -1;
    const int r = shmi_segment_name(room, name, desc);
    return r == SHMC_OK ? shmi_name_lock(room) : r;
}

SHMC_API int
shmi_name_await_under(shmc_segment *room, const char *under,
                      const shmc_segment_desc *desc)
{
    memset(room, 0, sizeof *room);
    room->fd = room->dirfd = -1;
    const int r = shmi_segment_name(room, under[0] ? under : "x", desc);
    if (r != SHMC_OK) return r;
    /* "prefix.a+" of prefix.a+b; "prefix." of all.                        */
    const size_t n = strlen(room->file);
    if (under[0] == '\0') room->file[n - 1] = '\0';
    else snprintf(room->file + n, sizeof room->file - n, "+");
    return shmi_name_lock(room);
}

SHMC_API void
shmi_name_await_end(shmc_segment *room)
{
    if (room->file[0] == '\0') return;
    shmi_segment_close_fd(&room->fd);
    shmi_segment_release(room);
    room->file[0] = '\0';
}

/* Is the byte locked by anybody?                                          */
static bool
shmi_name_byte_locked(const shmc_segment *s, uint64_t byte)
{
    const int fd = shmi_dir_open_locks(s->dir);

    if (fd < 0) return false;
    const bool locked = shmi_lock_probe(fd, byte) > 0;
    shmi_close(fd);
    return locked;
}

SHMC_API bool
shmi_name_awaited(const shmc_segment *s)
{
    return shmi_name_byte_locked(s, shmi_name_byte(s->file));
}

/* No name has a '='.                                                      */
static uint64_t
shmi_name_firm_byte(const shmc_segment *s)
{
    char firm[sizeof s->file + 1];

    snprintf(firm, sizeof firm, "%s=", s->file);
    return shmi_name_byte(firm);
}

SHMC_API int
shmi_name_await_firmly(shmc_segment *room)
{
    const int r = shmi_lock_try(room->fd, shmi_name_firm_byte(room), false);

    return r < 0 ? shmi_fail_os(r, "wait for the name", room->name, room->dir,
                                room->file) : SHMC_OK;
}

SHMC_API bool
shmi_name_awaited_firmly(const shmc_segment *s)
{
    return shmi_name_byte_locked(s, shmi_name_firm_byte(s));
}

SHMC_API bool
shmi_name_above_awaited(const shmc_segment *s)
{
    const int fd = shmi_dir_open_locks(s->dir);
    char above[sizeof s->file];
    bool awaited = false, inside = false;

    if (fd < 0) return false;
    for (size_t i = 0; s->file[i] != '\0' && !awaited; i++) {
        above[i] = s->file[i];
        above[i + 1] = '\0';
        /* Behind the prefix, which has no dot, and each part of the name.  */
        if (above[i] == '+' || (above[i] == '.' && !inside)) {
            inside = true;
            awaited = shmi_lock_probe(fd, shmi_name_byte(above)) > 0;
        }
    }
    shmi_close(fd);
    return awaited;
}

/* Treat the pages as the desc asks for.                                   */
static int
shmi_segment_advise(const shmc_segment *s, const shmc_segment_desc *d)
{
    uint32_t how = 0;

    if (d->flags & SHMC_PREFAULT) how |= SHMI_MAP_PREFAULT;
    if (d->flags & SHMC_MLOCK) how |= SHMI_MAP_LOCK;
    if (d->flags & SHMC_HUGEPAGES) how |= SHMI_MAP_HUGE;
    if (how == 0) return SHMC_OK;
    const int r = shmi_map_advise(s->base, s->bytes, s->read_only, how);
    if (r == SHMI_OS_EINVAL && (how & SHMI_MAP_HUGE))
        return shmi_fail(SHMC_ENOTSUP, "segment '%s': this kernel has no huge "
                         "pages for it; open it without SHMC_HUGEPAGES",
                         s->name);
    if (r == SHMI_OS_EPERM || r == SHMI_OS_EAGAIN || r == SHMI_OS_ENOMEM)
        return shmi_fail(SHMC_ENOMEM, "lock segment '%s' (%llu bytes) in memory: "
                         "raise the limit (ulimit -l) or ask for less", s->name,
                         (unsigned long long)s->bytes);
    return r == 0 ? SHMC_OK
                  : shmi_fail_os(r, "prefault, lock or enlarge the pages of "
                                 "segment", s->name, s->dir, s->file);
}

/* Map the file behind `map_fd`, check it, and become a participant.
 * s->fd is another description of the same file: a mapping keeps its own
 * description open, in a forked child too, and would so keep our locks.   */
static int
shmi_segment_enter(shmc_segment *s, const shmc_segment_desc *d, int map_fd,
                   uint64_t bytes)
{
    void *mem = NULL;

    if (bytes < sizeof(shmc_segment_shm))
        return shmi_segment_too_short(s, bytes);
    int r = shmi_map(map_fd, bytes, s->read_only, 0, &mem);
    if (r < 0) return shmi_fail_os(r, "map segment", s->name, s->dir, s->file);
    r = shmi_segment_check(s, mem, bytes);
    if (r != SHMC_OK) {
        shmi_unmap(mem, bytes);
        return r;
    }
    s->bytes = bytes;               /* what is mapped, and unmapped later   */
    shmi_segment_point(s, mem);
    r = shmi_segment_advise(s, d);
    if (r == SHMC_OK && !s->read_only) r = shmi_participant_join(s, d->label);
    if (r != SHMC_OK) return r;
    if (s->wake == SHMC_WAKE_ASYMMETRIC && !s->read_only &&
        (shmi_membarrier_register() < 0 || shmi_membarrier() < 0))
        return shmi_fail(SHMC_ENOTSUP, "segment '%s' wakes by membarrier, which "
                         "this process may not call (seccomp?); create it with "
                         "SHMC_WAKE_FENCE", s->name);
    s->opened = shmi_alloc(s->max_objects * sizeof *s->opened);
    if (s->opened == NULL)
        return shmi_fail(SHMC_ENOMEM, "open segment '%s': no memory for %u "
                         "words", s->name, s->max_objects);
    return SHMC_OK;
}

/* Refuse a segment smaller than what was asked for.                       */
static int
shmi_segment_suits(const shmc_segment *s, const shmc_segment_desc *d,
                   const shmi_geometry *g)
{
    if (d->heap_bytes != 0 && s->heap_bytes < g->heap_bytes)
        return shmi_fail(SHMC_EMISMATCH, "segment '%s' has a heap of %llu bytes, "
                         "%llu were asked for", s->name,
                         (unsigned long long)s->heap_bytes,
                         (unsigned long long)g->heap_bytes);
    if (s->max_objects < d->max_objects ||
        s->max_participants < d->max_participants)
        return shmi_fail(SHMC_EMISMATCH, "segment '%s' has room for %u objects "
                         "and %u participants, %u and %u were asked for",
                         s->name, s->max_objects, s->max_participants,
                         d->max_objects, d->max_participants);
    if (d->wake != SHMC_WAKE_FENCE && d->wake != s->wake)
        return shmi_fail(SHMC_EMISMATCH, "segment '%s' has wake %u, %u was asked "
                         "for", s->name, s->wake, d->wake);
    return SHMC_OK;
}

/* Open the file by name and say "present".  Returns SHMC_EAGAIN, without a
 * sentence, when the file lost its name meanwhile; and with `quiet`
 * SHMC_ENOENT so too.                                                     */
static int
shmi_segment_find(shmc_segment *s, bool quiet, uint64_t deadline_ns)
{
    /* A read-only user keeps a writable descriptor if it may have one: the
     * last to close an ephemeral segment must be able to lock it.         */
    int r = shmi_segment_file(s, s->inspect);

    if (s->read_only && (r == SHMI_OS_EACCES || r == SHMI_OS_EROFS))
        r = shmi_segment_file(s, true);
    if (r == SHMI_OS_ENOENT && quiet) return SHMC_ENOENT;
    if (r < 0) return shmi_fail_os(r, "attach to segment", s->name, s->dir,
                                   s->file);
    if (s->inspect) return SHMC_OK;
    r = shmi_lock_wait(s->fd, SHMI_LOCK_PRESENCE, false, deadline_ns);
    if (r < 0) return shmi_fail_os(r, "be present in segment", s->name, s->dir,
                                   s->file);
    s->presence = true;
    /* Its last user may have removed it between our open and our lock.    */
    return shmi_segment_named(s, s->fd) ? SHMC_OK : SHMC_EAGAIN;
}

static int
shmi_segment_attach_file(shmc_segment *s, const shmc_segment_desc *d,
                         const shmi_geometry *g, bool quiet, uint64_t deadline_ns)
{
    shmi_file_info own, again;
    int r = shmi_segment_find(s, quiet, deadline_ns);

    if (r != SHMC_OK) return r;
    r = shmi_file_open(s->dirfd, s->file, s->read_only);
    if (r == SHMI_OS_ENOENT) return SHMC_EAGAIN;
    if (r < 0) return shmi_fail_os(r, "map segment", s->name, s->dir, s->file);
    const int fd = r;
    if (shmi_file_info_get(s->fd, &own) < 0 ||
        shmi_file_info_get(fd, &again) < 0 || own.inode != again.inode ||
        own.device != again.device)
        r = SHMC_EAGAIN;            /* lost its name, if only by SHMC_FORCE */
    else
        r = shmi_segment_enter(s, d, fd, again.bytes);
    shmi_close(fd);
    return r == SHMC_OK ? shmi_segment_suits(s, d, g) : r;
}

/* Fill the file behind `fd`, open it as the handle's own, and enter it.   */
static int
shmi_segment_build(shmc_segment *s, const shmc_segment_desc *d,
                   const shmi_geometry *g, int fd)
{
    void *mem = NULL;
    int r = shmi_file_reserve(fd, g->total_bytes);

    if (r < 0) return shmi_fail_os(r, "reserve the pages of segment", s->name,
                                   s->dir, s->file);
    r = shmi_map(fd, g->total_bytes, false, 0, &mem);
    if (r < 0) return shmi_fail_os(r, "map new segment", s->name, s->dir,
                                   s->file);
    shmi_segment_init(mem, g, s->name, d->flags, d->wake);
    shmi_unmap(mem, g->total_bytes);
    shmi_mutex_lock(&shmi_open_list.mutex);
    r = s->fd = shmi_file_again(fd, false);
    shmi_mutex_unlock(&shmi_open_list.mutex);
    if (r >= 0) r = shmi_file_mode(fd, d->mode ? d->mode : 0600);
    /* Nobody else knows the file yet: this cannot wait.                   */
    if (r >= 0) r = shmi_lock_try(s->fd, SHMI_LOCK_PRESENCE, false);
    if (r < 0) return shmi_fail_os(r, "open new segment (is /proc mounted?)",
                                   s->name, s->dir, s->file);
    s->presence = true;
    return shmi_segment_enter(s, d, fd, g->total_bytes);
}

/* What a new segment is filled with before it is named.                   */
typedef struct shmi_filling {
    shmi_fill_fn fn;
    void *ctx;
} shmi_filling;

/* Build the segment in a file without a name, then name it.  With `quiet`
 * a taken name is SHMC_EAGAIN, without a sentence.                        */
static int
shmi_segment_create_file(shmc_segment *s, const shmc_segment_desc *d,
                         const shmi_geometry *g, const shmi_filling *filling,
                         bool quiet)
{
    if (s->read_only)
        return shmi_fail(SHMC_EINVAL, "create segment '%s': read-only is for "
                         "attaching", s->name);
    const int fd = shmi_file_unnamed(s->dir, 0600, d->flags & SHMC_SET_GID
                                                   ? (int64_t)d->gid : -1);
    if (fd < 0) return shmi_fail_os(fd, "create segment", s->name, s->dir,
                                    s->file);
    int r = shmi_segment_build(s, d, g, fd);
    shmi_close(fd);
    if (r == SHMC_OK && filling != NULL) r = filling->fn(filling->ctx, s);
    if (r != SHMC_OK) return r;
    r = shmi_file_publish(s->fd, s->dirfd, s->file);
    if (r == SHMI_OS_EEXIST && quiet) return SHMC_EAGAIN;
    return r == 0 ? SHMC_OK
                  : shmi_fail_os(r, "name segment", s->name, s->dir, s->file);
}

enum { SHMI_CREATE = 1, SHMI_ATTACH = 2 };

static void
shmi_segment_clear(shmc_segment *s)
{
    memset(s, 0, sizeof *s);
    s->fd = s->dirfd = -1;
}

static int
shmi_segment_begin(shmc_segment *s, const char *name,
                   const shmc_segment_desc *desc, int ways,
                   const shmi_filling *filling)
{
    static const shmc_segment_desc defaults;
    const shmc_segment_desc *d = desc != NULL ? desc : &defaults;
    const uint64_t deadline_ns = shmi_deadline(SHMC_LOCK_TIMEOUT_NS);
    uint32_t tries = 0;
    shmi_geometry g;

    shmi_segment_clear(s);
    s->inspect = (d->flags & SHMC_INSPECT) != 0;
    s->read_only = s->inspect || (d->flags & SHMC_READ_ONLY) != 0;
    const bool both = ways == (SHMI_CREATE | SHMI_ATTACH) && !s->read_only;
    int r = shmi_geometry_of(d, &g);    /* a bad desc before any effect     */
    if (r == SHMC_OK) r = shmi_segment_name(s, name, d);
    if (r != SHMC_OK) {
        shmi_segment_release(s);
        return r;
    }
    for (;;) {
        if (ways & SHMI_ATTACH)
            r = shmi_segment_attach_file(s, d, &g, both, deadline_ns);
        if (ways == SHMI_CREATE || (r == SHMC_ENOENT && both))
            r = shmi_segment_create_file(s, d, &g, filling, both);
        if (r == SHMC_OK) return r;
        shmi_segment_leave(s, s->ephemeral);
        /* The name came or went between two looks: look again.            */
        if (r != SHMC_EAGAIN || !shmi_try_again(&tries, deadline_ns)) break;
    }
    if (r == SHMC_EAGAIN)
        r = shmi_fail(SHMC_ETIMEDOUT, "open segment '%s': others keep creating "
                      "and removing it", name);
    shmi_segment_release(s);
    return r;
}

SHMC_API int
shmc_segment_create(shmc_segment *s, const char *name,
                    const shmc_segment_desc *desc)
{
    return shmi_segment_begin(s, name, desc, SHMI_CREATE, NULL);
}

SHMC_API int
shmi_segment_create_filled(shmc_segment *s, const char *name,
                           const shmc_segment_desc *desc, shmi_fill_fn fill,
                           void *ctx)
{
    const shmi_filling filling = { fill, ctx };

    return shmi_segment_begin(s, name, desc, SHMI_CREATE, &filling);
}

SHMC_API int
shmc_segment_attach(shmc_segment *s, const char *name,
                    const shmc_segment_desc *desc)
{
    return shmi_segment_begin(s, name, desc, SHMI_ATTACH, NULL);
}

SHMC_API int
shmc_segment_open(shmc_segment *s, const char *name,
                  const shmc_segment_desc *desc)
{
    return shmi_segment_begin(s, name, desc, SHMI_CREATE | SHMI_ATTACH, NULL);
}

/* Let go of a slot that has no lock, and of the handle.                    */
static void
shmi_memory_leave(shmc_segment *s)
{
    shmc_participant_shm *slot = &s->participants[s->participant];

    if (s->generation != 0 && s->epoch == shmi_fork_epoch) {
        shmi_store_rel_32(&slot->pid, 0);
        shmi_store_rel_64(&slot->start, 0);
    }
    shmi_free(s->opened);
    shmi_segment_clear(s);
}

static int
shmi_segment_end(shmc_segment *s, bool remove)
{
    int removed;

    if (s->base == NULL)
        return shmi_fail(SHMC_ECLOSED, "close segment: it is not open");
    if (s->memory) {
        shmi_memory_leave(s);
        return 0;
    }
    /* In a forked child: nothing in the segment is ours to change.        */
    const bool ours = s->epoch == shmi_fork_epoch;
    if (!ours) s->generation = 0;
    removed = shmi_segment_leave(s, remove && ours);
    shmi_segment_release(s);
    return removed;
}

SHMC_API int
shmc_segment_close(shmc_segment *s)
{
    const int r = shmi_segment_end(s, s->ephemeral);

    return r < 0 ? r : SHMC_OK;
}

SHMC_API int
shmi_segment_close_and_remove(shmc_segment *s)
{
    return shmi_segment_end(s, true);
}

/* Tell whether the file behind fd begins like a segment.                  */
static bool
shmi_file_is_segment(int fd)
{
    const uint64_t bytes = sizeof(shmc_segment_shm);
    void *mem = NULL;

    if (shmi_map(fd, bytes, true, 0, &mem) < 0) return false;   /* shorter  */
    const bool is = memcmp(mem, SHMI_SEGMENT_MAGIC, 8) == 0;
    shmi_unmap(mem, bytes);
    return is;
}

/* Remove the name unless somebody is present.  SHMC_EAGAIN: it has become
 * another file's meanwhile.                                               */
static int
shmi_segment_unlink_unused(shmc_segment *s)
{
    int r = shmi_segment_file(s, false);

    if (r == 0 && !shmi_file_is_segment(s->fd))
        return shmi_fail(SHMC_ECORRUPT, "remove '%s': %s/%s is not a segment; "
                         "left alone without SHMC_FORCE", s->name, s->dir,
                         s->file);
    if (r == 0) r = shmi_lock_try(s->fd, SHMI_LOCK_PRESENCE, true);
    if (r == SHMI_OS_EAGAIN)
        return shmi_fail(SHMC_EBUSY, "remove segment '%s': a live process has "
                         "it open", s->name);
    /* From here on nobody else removes this name, but by SHMC_FORCE.      */
    if (r == 0 && !shmi_segment_named(s, s->fd)) return SHMC_EAGAIN;
    if (r == 0) r = shmi_file_unlink(s->dirfd, s->file);
    return r == 0 ? SHMC_OK : shmi_fail_os(r, "remove segment", s->name, s->dir,
                                           s->file);
}

SHMC_API int
shmc_segment_unlink(const char *name, const shmc_segment_desc *desc)
{
    static const shmc_segment_desc defaults;
    const shmc_segment_desc *d = desc != NULL ? desc : &defaults;
    const uint64_t deadline_ns = shmi_deadline(SHMC_LOCK_TIMEOUT_NS);
    uint32_t tries = 0;
    shmi_geometry g;
    shmc_segment s;

    shmi_segment_clear(&s);
    int r = shmi_geometry_of(d, &g);
    if (r == SHMC_OK) r = shmi_segment_name(&s, name, d);
    if (r == SHMC_OK && (d->flags & SHMC_FORCE)) {
        r = shmi_file_unlink(s.dirfd, s.file);
        if (r < 0) r = shmi_fail_os(r, "remove segment", name, s.dir, s.file);
    } else if (r == SHMC_OK) {
        do {
            r = shmi_segment_unlink_unused(&s);
            shmi_segment_close_fd(&s.fd);
        } while (r == SHMC_EAGAIN && shmi_try_again(&tries, deadline_ns));
        if (r == SHMC_EAGAIN)
            r = shmi_fail(SHMC_EBUSY, "remove segment '%s': others keep "
                          "creating and removing it", name);
    }
    shmi_segment_release(&s);
    return r;
}

/* >>segments in memory */

SHMC_API int
shmc_segment_format(void *mem, uint64_t bytes, const shmc_segment_desc *desc)
{
    shmi_geometry g;
    const int r = shmi_geometry_of(desc, &g);

    if (r != SHMC_OK) return r;
    if (mem == NULL || (uintptr_t)mem % SHMC_LINE != 0)
        return shmi_fail(SHMC_EINVAL, "format a segment at %p: give memory "
                         "aligned to %u bytes", mem, SHMC_LINE);
    if (bytes < g.total_bytes)
        return shmi_fail(SHMC_ENOSPC, "format a segment: it takes %llu bytes, "
                         "%llu were given", (unsigned long long)g.total_bytes,
                         (unsigned long long)bytes);
    /* The heap may stay garbage: each object is cleared when it is made.   */
    memset(mem, 0, g.heap_at);
    shmi_segment_init(mem, &g, "(memory)", 0, desc ? desc->wake : 0);
    return SHMC_OK;
}

/* Without locks, `start` is the claim of a slot.                          */
static int
shmi_memory_join(shmc_segment *s)
{
    for (uint32_t i = 0; i < s->max_participants; i++) {
        uint64_t nobody = 0;
        if (!shmi_cas_64(&s->participants[i].start, &nobody, 1)) continue;
        shmi_participant_fill(s, i, NULL);
        return SHMC_OK;
    }
    return shmi_fail(SHMC_ELIMIT, "map a segment: all %u participant slots are "
                     "taken", s->max_participants);
}

SHMC_API int
shmc_segment_map(shmc_segment *s, void *mem, uint64_t bytes)
{
    shmi_segment_clear(s);
    s->memory = true;
    snprintf(s->name, sizeof s->name, "(memory)");
    if (mem == NULL || (uintptr_t)mem % SHMC_LINE != 0)
        return shmi_fail(SHMC_EINVAL, "map a segment at %p: give memory aligned "
                         "to %u bytes", mem, SHMC_LINE);
    int r = bytes < sizeof(shmc_segment_shm) ? shmi_segment_too_short(s, bytes)
                                             : shmi_segment_check(s, mem, bytes);
    if (r != SHMC_OK) return r;
    shmi_mutex_lock(&shmi_open_list.mutex);
    shmi_fork_watch();
    shmi_mutex_unlock(&shmi_open_list.mutex);
    shmi_segment_point(s, mem);
    s->opened = shmi_alloc(s->max_objects * sizeof *s->opened);
    r = s->opened != NULL ? shmi_memory_join(s)
      : shmi_fail(SHMC_ENOMEM, "map a segment: no memory for %u words",
                  s->max_objects);
    if (r != SHMC_OK) shmi_memory_leave(s);
    return r;
}

/* >>segments: looking around */

typedef struct shmi_each {
    const char *prefix;
    int (*fn)(void *user, const char *name);
    void *user;
    int answer;                     /* what fn returned to stop             */
} shmi_each;

static int
shmi_each_file(void *user, const char *file)
{
    shmi_each *each = user;
    const size_t n = strlen(each->prefix);
    char name[SHMC_NAME_BYTES];
    size_t at;

    if (strncmp(file, each->prefix, n) != 0 || file[n] != '.') return 0;
    if (strnlen(file + n + 1, sizeof name) == sizeof name) return 0;
    snprintf(name, sizeof name, "%s", file + n + 1);
    for (char *c = name; *c != '\0'; c++)
        if (*c == '+') *c = '/';
    if (!shmi_name_good(name, &at)) return 0;   /* somebody else's file     */
    each->answer = each->fn(each->user, name);
    return each->answer != 0;
}

SHMC_API int
shmc_segment_each(const shmc_segment_desc *desc,
                  int (*fn)(void *user, const char *name), void *user)
{
    shmi_each each = { NULL, fn, user, 0 };
    const char *dir = NULL;
    int r = shmi_prefix(desc ? desc->prefix : NULL, &each.prefix);

    if (r == SHMC_OK) r = shmi_directory(desc ? desc->dir : NULL, &dir);
    if (r != SHMC_OK) return r;
    r = shmi_dir_each(dir, shmi_each_file, &each);
    return r >= 0 ? each.answer
                  : shmi_fail_os(r, "list the folder of prefix", each.prefix,
                                 dir, "");
}

SHMC_API int
shmc_segment_linked(const shmc_segment *s)
{
    shmi_file_info info = { 0 };

    if (s->fd < 0) return 0;
    return shmi_file_info_get(s->fd, &info) == 0 && info.links > 0;
}

SHMC_API int
shmc_segment_shared(const shmc_segment *s)
{
    if (s->fd < 0) return 0;
    return shmi_lock_probe(s->fd, SHMI_LOCK_PRESENCE) > 0;
}

#endif /* SHMCOMM_IMPLEMENTATION */
