/* Stands in for libFuzzer in ordinary builds: feeds a fuzz target every file of the folders named
 * on the command line, whole and then cut short at every byte (at most 4096 cuts a file), so that
 * an input that once broke something stays tested by every compiler and sanitizer. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST_CUTS 4096

/* The input lies in memory of exactly its size, so that address sanitizer sees the first byte read
 * past it. */
static void feed(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);

    if (copy == NULL)
        abort();
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static int replay_file(const char *path)
{
    static uint8_t data[1 << 20];
    FILE *file = fopen(path, "rb");
    size_t size, step;

    if (file == NULL)
        return -1;
    size = fread(data, 1, sizeof data, file);
    fclose(file);
    step = size / MOST_CUTS + 1;
    for (size_t cut = 0; cut < size; cut += step)
        feed(data, cut);
    feed(data, size);
    return 0;
}

static int replay_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    char path[4096];
    int files = 0;

    if (dir == NULL)
        return 0;
    while ((entry = readdir(dir)) != NULL) {
        int length = snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);

        if (entry->d_name[0] == '.' || length < 0 || (size_t)length >= sizeof path)
            continue;
        if (replay_file(path) < 0) {
            perror(path);
            exit(1);
        }
        files++;
    }
    closedir(dir);
    return files;
}

int main(int argc, char **argv)
{
    int files = 0;

    for (int i = 1; i < argc; i++)
        files += replay_folder(argv[i]);
    if (files == 0) {
        puts("skip: no inputs in the corpus");
        return 77;
    }
    printf("%d inputs replayed\n", files);
    return 0;
}
