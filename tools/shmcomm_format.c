/* shmcomm_format.c - how a message is shown.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#include "shmcomm_format.h"

#include <stdlib.h>
#include <string.h>

/* Text, which a terminal can show; a string's final zero may be there.    */
static bool
is_text(const uint8_t *p, size_t bytes)
{
    if (bytes > 1 && p[bytes - 1] == '\0') bytes--;
    for (size_t i = 0; i < bytes; ) {
        const size_t step = cli_utf8(p + i, bytes - i);
        const bool control = p[i] < ' ' && strchr("\t\n\r", p[i]) == NULL;
        const bool c1 = step == 2 && p[i] == 0xc2 && p[i + 1] < 0xa0;
        if (step == 0 || p[i] == 0 || control || c1 || p[i] == 0x7f)
            return false;
        i += step;
    }
    return true;
}

static void
print_hex(uint64_t number, const uint8_t *p, size_t bytes)
{
    printf("message %llu, %zu bytes\n", (unsigned long long)number, bytes);
    for (size_t at = 0; at < bytes; at += 16) {
        const size_t n = bytes - at < 16 ? bytes - at : 16;
        printf("%08zx ", at);
        for (size_t i = 0; i < 16; i++) {
            if (i % 8 == 0) putchar(' ');
            if (i < n) printf("%02x ", p[at + i]);
            else fputs("   ", stdout);
        }
        fputs(" |", stdout);
        for (size_t i = 0; i < n; i++)
            putchar(p[at + i] >= ' ' && p[at + i] <= '~' ? p[at + i] : '.');
        puts("|");
    }
}

static void
print_json(const char *name, uint64_t gap, uint64_t number, const buffer *b)
{
    cJSON *o = json_object();
    bool utf8 = true;

    for (size_t i = 0, step; utf8 && i < b->bytes; i += step) {
        step = cli_utf8(b->data + i, b->bytes - i);
        utf8 = step != 0 && b->data[i] != 0;
    }
    char *text = malloc(2 * b->bytes + 1);
    if (text == NULL) cli_no_memory();
    for (size_t i = 0; i < b->bytes; i++) {
        if (utf8) text[i] = (char)b->data[i];
        else snprintf(text + 2 * i, 3, "%02x", b->data[i]);
    }
    text[utf8 ? b->bytes : 2 * b->bytes] = '\0';
    json_text(o, "topic", name);
    json_u64(o, "message", number);
    json_u64(o, "received_realtime_ns", cli_realtime_ns());
    json_u64(o, "lost_before", gap);
    json_u64(o, "bytes", b->bytes);
    json_text(o, utf8 ? "text" : "hex", text);
    free(text);
    json_print(o);
}

static void
print_length(size_t bytes)
{
    for (int shift = 0; shift < 32; shift += 8)
        putchar((int)(bytes >> shift & 0xff));
}

void
print_message(const char *name, uint64_t gap, format how, uint64_t number,
              const buffer *b)
{
    size_t bytes = b->bytes;

    if (how == FORMAT_AUTO && is_text(b->data, bytes)) {
        if (bytes > 1 && b->data[bytes - 1] == '\0') bytes--;
        how = FORMAT_TEXT;
    }
    if (gap != 0)
        fprintf(stderr, "lost %llu messages here\n", (unsigned long long)gap);
    if (how == FORMAT_JSON) {
        print_json(name, gap, number, b);
    } else if (how == FORMAT_TEXT || how == FORMAT_LENGTHS) {
        if (how == FORMAT_LENGTHS) print_length(bytes);
        if (bytes != 0) fwrite(b->data, 1, bytes, stdout);
        if (how == FORMAT_TEXT) putchar('\n');
    } else {
        print_hex(number, b->data, bytes);
    }
}

format
format_of(const cli *c, const char *text)
{
    if (strcmp(text, "hex") == 0) return FORMAT_HEX;
    if (strcmp(text, "text") == 0) return FORMAT_TEXT;
    if (strcmp(text, "json") == 0) return FORMAT_JSON;
    cli_usage(c, "--format '%s' is not hex, text or json", text);
}
