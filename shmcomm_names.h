/* shmcomm_names.h - which names there are, what they stand for, and waiting
 * for one that does not exist yet.  No registry: the files and their locks.
 *
 *     shmc_name_info info;
 *     if (shmc_wait_for("robot/pose", NULL, 1000000000) == SHMC_OK &&
 *         shmc_name_look("robot/pose", NULL, &info) == SHMC_OK)
 *         printf("%s: %u take part\n", info.name, info.participants);
 *
 * Manual: docs/shmcomm_names.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_NAMES_H
#define SHMCOMM_NAMES_H

#include "shmcomm.h"

/* ---- constants --------------------------------------------------------- */

enum { SHMC_ATTRIBUTES_BYTES = 1024 };  /* with the terminating zero        */

#ifndef SHMC_NAME_POLL_NS           /* how often who waits for a name looks */
#define SHMC_NAME_POLL_NS 1000000u
#endif

/* ---- what there is ----------------------------------------------------- */

typedef struct shmc_name_info {
    char     name[SHMC_NAME_BYTES];
    int32_t  code;                  /* SHMC_OK, or why it cannot be looked
                                       at; then only `name` is filled in    */
    bool     live;                  /* somebody has it open                 */
    bool     ephemeral;             /* the last one to leave removes it     */
    uint32_t participants;          /* alive now                            */
    uint32_t max_participants, objects;
    int32_t  creator_pid;
    uint64_t total_bytes, created_realtime_ns;
    uint32_t main_kind;             /* SHMC_KIND_... of its first object    */
    char     main_object[SHMC_NAME_BYTES];  /* and its name: "topic" ...    */
    char     attributes[SHMC_ATTRIBUTES_BYTES];     /* or ""                */
} shmc_name_info;

/* ---- handles ----------------------------------------------------------- */

typedef struct shmc_name_watch {    /* private; nothing to close            */
    uint64_t look_ns;
    int32_t  found;                 /* what the last look gave              */
    bool     open;
    char     name[SHMC_NAME_BYTES], dir[SHMC_DIR_BYTES];
    char     prefix[SHMC_PREFIX_BYTES];
} shmc_name_watch;

#ifdef __cplusplus
extern "C" {
#endif

/* ---- API: names -------------------------------------------------------- */

/* Of `desc`, in all of these, only dir and prefix count; NULL: defaults.   */

/* Look at one name, unseen by its users.
 * Cost    maps the file for a moment; a system call for each participant.
 * Errors  SHMC_ENOENT; SHMC_EACCES; SHMC_ECORRUPT no segment; SHMC_EVERSION;
 *         SHMC_ENAME.                                                     */
SHMC_API int shmc_name_look(const char *name, const shmc_segment_desc *desc,
                            shmc_name_info *out);

/* Call fn for each name of the directory and prefix, in no order, also for
 * those that cannot be looked at (info->code says why), until it returns
 * other than 0; return that, 0, or a negative error.  What comes or goes
 * meanwhile may or may not be met.                                        */
SHMC_API int shmc_name_each(const shmc_segment_desc *desc,
                            int (*fn)(void *user, const shmc_name_info *info),
                            void *user);

/* Wait until the name exists: a segment that somebody has open, or that
 * stays without users.  It looks every SHMC_NAME_POLL_NS; what came and went
 * in between was not there.
 * Errors  SHMC_EAGAIN (timeout 0) or SHMC_ETIMEDOUT there is none; those of
 *         shmc_name_look.                                                 */
SHMC_API int shmc_wait_for(const char *name, const shmc_segment_desc *desc,
                           int64_t timeout_ns);

/* The same for shmc_poll: SHMC_POLLIN while the name exists, as of the last
 * look, SHMC_NAME_POLL_NS ago at most.  Errors  SHMC_ENAME.                */
SHMC_API int shmc_name_watch_open(shmc_name_watch *w, const char *name,
                                  const shmc_segment_desc *desc);
SHMC_API shmc_pollable shmc_name_watch_pollable(shmc_name_watch *w);

/* ---- API: attributes --------------------------------------------------- */

/* Say what a segment is for, once and for all: lines "key=value", of at most
 * SHMC_ATTRIBUTES_BYTES with the zero; a key has A-Z a-z 0-9 . _ -, a value
 * no control characters.  They take an object's room in the heap.
 * Errors  SHMC_EINVAL which line; SHMC_EEXIST others were set (the same
 *         again is no error); those of shmc_object_open.                  */
SHMC_API int shmc_attributes_set(shmc_segment *s, const char *text);

/* Copy them out.  Errors  SHMC_ENOENT none were set; SHMC_EMSGSIZE `bytes` is
 * too small; those of shmc_object_attach.                                 */
SHMC_API int shmc_attributes_get(shmc_segment *s, char *out, size_t bytes);

/* Find a key's value in such a text; it is copied out with a zero.  Returns
 * its length.  Errors  SHMC_ENOENT; SHMC_EMSGSIZE.                        */
SHMC_API int shmc_attribute_find(const char *text, const char *key, char *out,
                                 size_t bytes);

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_NAMES_H */

#if defined(SHMCOMM_IMPLEMENTATION) && !defined(SHMCOMM_NAMES_IMPLEMENTED)
#define SHMCOMM_NAMES_IMPLEMENTED

#include <stdio.h>
#include <string.h>

/* >>attributes */

#define SHMI_ATTRIBUTES "attributes"

static shmc_object_desc
shmi_attributes_desc(void)
{
    shmc_object_desc d;

    memset(&d, 0, sizeof d);
    d.kind = SHMC_KIND_RAW;
    d.bytes = SHMC_ATTRIBUTES_BYTES;
    d.version = 1;
    d.type_name = "shmcomm.attributes.1";
    d.type_hash = shmc_type_hash(d.type_name);
    return d;
}

static int
shmi_attributes_init(void *mem, uint64_t bytes, const void *text)
{
    (void)bytes;
    memcpy(mem, text, strlen((const char *)text) + 1);
    return SHMC_OK;
}

/* The number of the first line that is none, or 0.                        */
static uint32_t
shmi_attributes_bad(const char *text)
{
    uint32_t line = 1;

    while (*text != '\0') {
        const char *at = text;
        while (shmi_name_char(*at)) at++;
        if (at == text || *at != '=') return line;
        while (*at != '\0' && *at != '\n') {
            if ((unsigned char)*at < ' ' || *at == 0x7f) return line;
            at++;
        }
        text = *at == '\n' ? at + 1 : at;
        line++;
    }
    return 0;
}

/* The object's text; it is never changed, but may be scribbled over.      */
static int
shmi_attributes_copy(const shmc_object *o, char *out, size_t bytes)
{
    char text[SHMC_ATTRIBUTES_BYTES];

    shmi_copy_out(text, o->mem, sizeof text);
    text[sizeof text - 1] = '\0';
    const size_t n = strlen(text) + 1;
    if (n > bytes) return SHMC_EMSGSIZE;
    memcpy(out, text, n);
    return SHMC_OK;
}

SHMC_API int
shmc_attributes_set(shmc_segment *s, const char *text)
{
    shmc_object_desc d = shmi_attributes_desc();
    char is[SHMC_ATTRIBUTES_BYTES];
    shmc_object o;

    if (text == NULL || strnlen(text, sizeof is) == sizeof is)
        return shmi_fail(SHMC_EINVAL, "attributes of segment '%s': give a text "
                         "of less than %d bytes", s->name,
                         SHMC_ATTRIBUTES_BYTES);
    const uint32_t line = shmi_attributes_bad(text);
    if (line != 0)
        return shmi_fail(SHMC_EINVAL, "attributes of segment '%s': line %u is "
                         "not key=value, the key of A-Z a-z 0-9 . _ -", s->name,
                         line);
    d.init = shmi_attributes_init;
    d.user = text;
    int r = shmc_object_open(s, SHMI_ATTRIBUTES, &d, &o);
    if (r != SHMC_OK) return r;
    if (!o.created && (shmi_attributes_copy(&o, is, sizeof is) != SHMC_OK ||
                       strcmp(is, text) != 0))
        r = shmi_fail(SHMC_EEXIST, "attributes of segment '%s' are set, and "
                      "others; they cannot be changed", s->name);
    (void)shmc_object_close(s, &o);
    return r;
}

SHMC_API int
shmc_attributes_get(shmc_segment *s, char *out, size_t bytes)
{
    const shmc_object_desc d = shmi_attributes_desc();
    shmc_object o;

    if (bytes != 0) out[0] = '\0';
    int r = shmc_object_attach(s, SHMI_ATTRIBUTES, &d, &o);
    if (r != SHMC_OK) return r;
    r = shmi_attributes_copy(&o, out, bytes);
    (void)shmc_object_close(s, &o);
    return r;
}

SHMC_API int
shmc_attribute_find(const char *text, const char *key, char *out,
                    size_t bytes)
{
    const size_t n = strlen(key);

    while (*text != '\0') {
        const size_t line = strcspn(text, "\n");
        if (line > n && strncmp(text, key, n) == 0 && text[n] == '=') {
            const size_t value = line - n - 1;
            if (value >= bytes) return SHMC_EMSGSIZE;
            memcpy(out, text + n + 1, value);
            out[value] = '\0';
            return (int)value;
        }
        text += line;
        if (*text == '\n') text++;
    }
    return SHMC_ENOENT;
}

/* >>names */

/* A desc of folder and prefix alone, to look unseen.                      */
static shmc_segment_desc
shmi_name_desc(const shmc_segment_desc *desc)
{
    shmc_segment_desc d;

    memset(&d, 0, sizeof d);
    d.flags = SHMC_INSPECT;
    if (desc != NULL) {
        d.dir = desc->dir;
        d.prefix = desc->prefix;
    }
    return d;
}

/* Its first object that is not its attributes.                            */
static void
shmi_name_main(const shmc_segment *s, shmc_name_info *out)
{
    shmc_object_info o;

    for (uint32_t i = 0; i < s->max_objects; i++) {
        if (shmc_object_info_get(s, i, &o) != SHMC_OK ||
            strcmp(o.name, SHMI_ATTRIBUTES) == 0) continue;
        out->main_kind = o.kind;
        memcpy(out->main_object, o.name, sizeof out->main_object);
        return;
    }
}

SHMC_API int
shmc_name_look(const char *name, const shmc_segment_desc *desc,
               shmc_name_info *out)
{
    const shmc_segment_desc d = shmi_name_desc(desc);
    shmc_segment_info info;
    shmc_segment s;

    memset(out, 0, sizeof *out);
    if (name != NULL) snprintf(out->name, sizeof out->name, "%s", name);
    out->code = shmc_segment_attach(&s, name, &d);
    if (out->code != SHMC_OK) return out->code;
    (void)shmc_segment_info_get(&s, &info);
    out->live = info.participants != 0 || shmc_segment_shared(&s) != 0;
    out->ephemeral = s.ephemeral;
    out->participants = info.participants;
    out->max_participants = info.max_participants;
    out->objects = info.objects;
    out->creator_pid = info.creator_pid;
    out->total_bytes = info.total_bytes;
    out->created_realtime_ns = info.created_realtime_ns;
    shmi_name_main(&s, out);
    (void)shmc_attributes_get(&s, out->attributes, sizeof out->attributes);
    (void)shmc_segment_close(&s);
    return SHMC_OK;
}

typedef struct shmi_name_visit {
    const shmc_segment_desc *desc;
    int (*fn)(void *user, const shmc_name_info *info);
    void *user;
} shmi_name_visit;

static int
shmi_name_visit_one(void *ctx, const char *name)
{
    const shmi_name_visit *v = (const shmi_name_visit *)ctx;
    shmc_name_info info;

    /* Gone since the folder was read.                                     */
    if (shmc_name_look(name, v->desc, &info) == SHMC_ENOENT) return 0;
    return v->fn(v->user, &info);
}

SHMC_API int
shmc_name_each(const shmc_segment_desc *desc,
               int (*fn)(void *user, const shmc_name_info *info), void *user)
{
    shmi_name_visit v = { desc, fn, user };

    return shmc_segment_each(desc, shmi_name_visit_one, &v);
}

/* Is it there, and not only what dead users left?  1, 0 or an error.      */
static int
shmi_name_there(const char *name, const shmc_segment_desc *desc)
{
    const shmc_segment_desc d = shmi_name_desc(desc);
    shmc_segment s;

    const int r = shmc_segment_attach(&s, name, &d);
    if (r == SHMC_ENOENT) return 0;
    if (r != SHMC_OK) return r;
    const bool there = !s.ephemeral || shmc_segment_shared(&s) != 0;
    (void)shmc_segment_close(&s);
    return there;
}

SHMC_API int
shmc_wait_for(const char *name, const shmc_segment_desc *desc,
              int64_t timeout_ns)
{
    const uint64_t deadline = shmi_deadline(timeout_ns);

    for (;;) {
        const int r = shmi_name_there(name, desc);
        if (r != 0) return r < 0 ? r : SHMC_OK;
        if (timeout_ns == 0) return SHMC_EAGAIN;
        const uint64_t now = shmi_now_ns();
        if (now >= deadline) return SHMC_ETIMEDOUT;
        const uint64_t next = now + SHMC_NAME_POLL_NS;
        shmi_sleep_until(next < deadline ? next : deadline);
    }
}

SHMC_API int
shmc_name_watch_open(shmc_name_watch *w, const char *name,
                     const shmc_segment_desc *desc)
{
    const char *dir = "", *prefix = "";

    memset(w, 0, sizeof *w);
    int r = shmc_name_check(name);
    if (r == SHMC_OK) r = shmi_directory(desc ? desc->dir : NULL, &dir);
    if (r == SHMC_OK) r = shmi_prefix(desc ? desc->prefix : NULL, &prefix);
    if (r != SHMC_OK) return r;
    snprintf(w->name, sizeof w->name, "%s", name);
    snprintf(w->dir, sizeof w->dir, "%s", dir);
    snprintf(w->prefix, sizeof w->prefix, "%s", prefix);
    w->open = true;
    return SHMC_OK;
}

static int
shmi_name_watch_poll(void *watch, uint32_t events, bool thorough,
                     shmi_poll_spot *spot)
{
    shmc_name_watch *w = (shmc_name_watch *)watch;
    const uint64_t now = shmi_now_ns();
    shmc_segment_desc d;

    (void)thorough;
    if (!w->open) return SHMC_ECLOSED;
    if (now >= w->look_ns) {
        memset(&d, 0, sizeof d);
        d.dir = w->dir;
        d.prefix = w->prefix;
        w->found = shmi_name_there(w->name, &d);
        w->look_ns = now + SHMC_NAME_POLL_NS;
    }
    spot->slice_ns = SHMC_NAME_POLL_NS;
    return w->found <= 0 ? w->found : (int)(events & SHMC_POLLIN);
}

SHMC_API shmc_pollable
shmc_name_watch_pollable(shmc_name_watch *w)
{
    return (shmc_pollable){ shmi_name_watch_poll, w };
}

#endif /* SHMCOMM_IMPLEMENTATION */
