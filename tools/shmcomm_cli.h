/* shmcomm_cli.h - what the verbs of the program `shmcomm` share.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_CLI_H
#define SHMCOMM_CLI_H

#include "shmcomm_patterns.h"

#include <cjson/cJSON.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>

/* ---- verbs ------------------------------------------------------------- */

typedef struct cli cli;

enum cli_argument {                 /* what a verb's own argument is        */
    CLI_NOTHING, CLI_NAME, CLI_TOPIC, CLI_FILE, CLI_WORD
};

typedef struct cli_verb {
    const char *name, *summary, *help;
    int (*run)(cli *c, int argc, char **argv);
    const struct option *options;   /* those that all verbs have among them */
    enum cli_argument argument;
    const char *words;              /* of CLI_WORD: what it may be          */
} cli_verb;

struct cli {
    const cli_verb *verb;
    const char *dir, *prefix;       /* NULL: the environment's, the default */
    bool json;
};

extern const cli_verb verb_ls, verb_info, verb_gc;
extern const cli_verb verb_echo, verb_pub, verb_hz;
extern const cli_verb verb_top, verb_lag, verb_stat, verb_doctor;
extern const cli_verb verb_record, verb_replay, verb_bench;
extern const cli_verb verb_push, verb_pull, verb_req, verb_rep;
extern const cli_verb verb_completion;

extern const cli_verb *const cli_verbs[];
extern const size_t cli_verb_count;

void cli_help(FILE *to);            /* of the whole program                 */

/* ---- options ----------------------------------------------------------- */

enum { CLI_HELP = 'h', CLI_DIR = 256, CLI_PREFIX, CLI_JSON, CLI_OWN };

#define CLI_OPTIONS                                                           \
    { "help", no_argument, NULL, CLI_HELP },                                  \
    { "dir", required_argument, NULL, CLI_DIR },                              \
    { "prefix", required_argument, NULL, CLI_PREFIX },                        \
    { "json", no_argument, NULL, CLI_JSON },                                  \
    { NULL, 0, NULL, 0 }

/* Return the verb's next own option, or -1.  Takes those that every verb
 * has; --help and mistakes end the program (0 and 2).                     */
int cli_next(cli *c, int argc, char **argv, const struct option *options);

/* Say what is wrong with the arguments and end with status 2.             */
_Noreturn void cli_usage(const cli *c, const char *fmt, ...) SHMI_PRINTF(2, 3);

/* The same, for the option that getopt_long has just refused.             */
_Noreturn void cli_bad_option(const cli *c, char **argv,
                              const struct option *options);

/* The nearest of some words to one that is none of them.                  */
typedef struct cli_near {
    const char *word;
    char best[SHMC_NAME_BYTES];     /* empty: none is near                  */
    size_t distance;
} cli_near;

void cli_near_begin(cli_near *n, const char *word);
void cli_near_try(cli_near *n, const char *candidate);

/* Take exactly one argument that is no option, or none.                   */
const char *cli_argument(const cli *c, int argc, char **argv, const char *what);
void cli_no_argument(const cli *c, int argc, char **argv);

/* Read an option's value; anything out of range is a mistake.             */
uint64_t cli_count(const cli *c, const char *option, const char *text,
                   uint64_t least, uint64_t most);
double cli_number(const cli *c, const char *option, const char *text,
                  double least, double most);

/* ---- failures and the end ---------------------------------------------- */

/* Say "shmcomm: ..." on stderr.  Returns the exit status 1.               */
int cli_fail(const char *fmt, ...) SHMI_PRINTF(1, 2);
_Noreturn void cli_no_memory(void);

/* The same with shmc_last_error(), and with the name that was meant, if it
 * is a name that was not found.                                           */
int cli_fail_name(const cli *c, const char *name);

/* "; did you mean 'robot/pose'?", or nothing.                             */
typedef struct cli_hint { char s[SHMC_NAME_BYTES + 32]; } cli_hint;
cli_hint cli_name_hint(const cli *c, const char *name);

/* Note SIGINT, SIGTERM and SIGHUP in cli_stopped; the second one kills.   */
extern volatile sig_atomic_t cli_stopped;
void cli_catch_signals(void);

/* Flush stdout.  Returns `status`, or 1 if it could not be written.       */
int cli_flush(int status);

/* ---- time -------------------------------------------------------------- */

uint64_t cli_now_ns(void);          /* CLOCK_MONOTONIC                      */
uint64_t cli_realtime_ns(void);
void cli_sleep_until(uint64_t monotonic_ns);    /* a signal ends it         */

/* ---- text -------------------------------------------------------------- */

typedef struct cli_text { char s[48]; } cli_text;

cli_text cli_bytes(double bytes);               /* "4.3 MiB"                */
cli_text cli_age(uint64_t realtime_ns);         /* "12 s"                   */
cli_text cli_u64(uint64_t n);

/* Copy what came from shared memory so that a terminal can show it.       */
void cli_clean(char *to, size_t bytes, const char *from);

/* Tell the bytes of the UTF-8 character at p, 0 if it is none.            */
size_t cli_utf8(const uint8_t *p, size_t bytes);

/* The file of a name, also of one that is no valid name.                  */
void cli_path(const cli *c, const char *name, char *path, size_t bytes);

/* Rows of cells, printed with aligned columns.                            */
typedef struct cli_table {
    size_t columns, cells, room;
    uint32_t right;                 /* bit i: column i is aligned right     */
    const char *indent;
    char **cell;
} cli_table;

void cli_table_add(cli_table *t, const char *cell);
void cli_table_print(cli_table *t); /* and empty it                         */

/* ---- JSON -------------------------------------------------------------- */

cJSON *json_object(void);
cJSON *json_array(void);
void json_u64(cJSON *object, const char *key, uint64_t n);
void json_i64(cJSON *object, const char *key, int64_t n);
void json_real(cJSON *object, const char *key, double n);   /* 6 digits     */
void json_bool(cJSON *object, const char *key, bool b);
void json_text(cJSON *object, const char *key, const char *text);
void json_add(cJSON *object, const char *key, cJSON *item);
void json_push(cJSON *array, cJSON *item);

/* Print in one line, and free.                                            */
void json_print(cJSON *item);

/* ---- segments ---------------------------------------------------------- */

#define CLI_TOPIC_OBJECT "topic"    /* the object that makes it a topic     */

/* What a file with the prefix is, looked at without being seen.           */
typedef struct cli_look {
    char name[SHMC_NAME_BYTES];
    int code;                       /* why it is no segment; or SHMC_OK     */
    char error[512];                /* the sentence for that                */
    uint64_t file_bytes;
    shmc_segment_info info;
    bool topic, live;
    const char *kind;               /* cli_kind                             */
} cli_look;

/* Attach unseen.  Returns what shmc_segment_attach returns.               */
int cli_inspect(const cli *c, shmc_segment *s, const char *name);
void cli_look_at(const cli *c, const char *name, cli_look *out);

/* Look at all, sorted by name; those that went away meanwhile left out.
 * Returns how many, or a negative code.  Owner  free(*out).               */
int cli_look_all(const cli *c, cli_look **out);

/* Say in a few words why a file is no segment.                            */
const char *cli_reason(int code);

/* What it is: "topic", "service", "queue"; else what all of its objects are,
 * such as "spsc"; else "segment".                                         */
const char *cli_kind(const cli_look *l);

/* What an object of SHMC_KIND_... is: "spsc", "latest"; NULL: unknown.    */
const char *cli_object_kind(uint32_t number);

/* All that `info` tells about a segment, as JSON.                         */
cJSON *cli_describe(const cli *c, shmc_segment *s, const cli_look *l);

#endif /* SHMCOMM_CLI_H */
