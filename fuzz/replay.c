/* Runs a libFuzzer target without libFuzzer: every file of the folders named
 * on the command line, then made-up inputs from a fixed seed: 2,000, or as
 * many as there is time for in two seconds.
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_BYTES_MAX = 1 << 16, MADE_UP_COUNT = 2000, MADE_UP_BYTES = 512,
       MADE_UP_SECONDS = 2 };

static uint8_t input[INPUT_BYTES_MAX];

static int
replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) return 0;
    const size_t size = fread(input, 1, sizeof input, file);
    const int bad = ferror(file);
    fclose(file);
    if (bad) return 0;
    LLVMFuzzerTestOneInput(input, size);
    return 1;
}

static int
replay_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    if (dir == NULL) return 0;
    int count = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[4096];
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        count += replay_file(path);
    }
    closedir(dir);
    return count;
}

static uint64_t
next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

int
main(int argc, char **argv)
{
    int count = 0;
    for (int i = 1; i < argc; i++) count += replay_folder(argv[i]);

    uint64_t state = 0x9e3779b97f4a7c15u;
    const time_t end = time(NULL) + MADE_UP_SECONDS;
    int made_up = 0;
    for (; made_up < MADE_UP_COUNT && time(NULL) <= end; made_up++) {
        const size_t size = (size_t)(next_random(&state) % (MADE_UP_BYTES + 1));
        for (size_t j = 0; j < size; j++) {
            input[j] = (uint8_t)(next_random(&state) >> 32);
        }
        LLVMFuzzerTestOneInput(input, size);
    }
    printf("%d files and %d made-up inputs replayed\n", count, made_up);
    return EXIT_SUCCESS;
}
