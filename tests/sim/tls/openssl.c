/* OpenSSL in a simulated world. It is the real one, of the system: only its chance, its time and
 * its memory come from here, and each simulated thread has its queue of errors. What it makes once
 * and keeps (methods that it has looked up, tables of names) is made before the first run, by the
 * program's setup, in the process that every run is forked from: so each begins alike, and a host
 * must have freed what was allocated on it. */
#define OPENSSL_SUPPRESS_DEPRECATED /* a source of chance for all its parts has no other door */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include "core.h"

static struct random chance_of_openssl;

/* --- chance ----------------------------------------------------------------------------------- */

static int bytes_draw(unsigned char *out, int size)
{
    for (int at = 0; at < size; at += (int)sizeof(uint64_t)) {
        uint64_t word = random_next(&chance_of_openssl);
        size_t part = size - at < (int)sizeof(word) ? (size_t)(size - at) : sizeof(word);
        memcpy(out + at, &word, part);
    }
    return 1;
}

static int status_fine(void)
{
    return 1;
}

void sim_openssl_seed(uint64_t seed)
{
    random_seed(&chance_of_openssl, seed);
}

/* --- time: the executable's functions stand before those of the C library --------------------- */

static int64_t wall_us(void)
{
    enum { US_NS = 1000 };
    return (int64_t)(SIM_WALL_BASE_NS + world.now_ns) / US_NS + world.wall_offset_ns / US_NS;
}

__attribute__((visibility("default"))) time_t time(time_t *out)
{
    enum { S_US = 1000000 };
    time_t now = (time_t)(wall_us() / S_US);
    if (out != NULL)
        *out = now;
    return now;
}

__attribute__((visibility("default"))) int gettimeofday(struct timeval *restrict out,
                                                        void *restrict zone)
{
    enum { S_US = 1000000 };
    out->tv_sec = (time_t)(wall_us() / S_US);
    out->tv_usec = (suseconds_t)(wall_us() % S_US);
    return 0;
}

/* --- memory ----------------------------------------------------------------------------------- */

struct piece {
    size_t size;
    sim_host *host; /* NULL: from before the runs, everybody's */
    struct piece *next, **at;
    const char *file;
    int line;
};
_Static_assert(sizeof(struct piece) % _Alignof(max_align_t) == 0, "what follows is aligned");

static struct piece *pieces;

static void linked(struct piece *piece)
{
    piece->next = pieces;
    piece->at = &pieces;
    if (pieces != NULL)
        pieces->at = &piece->next;
    pieces = piece;
}

static void unlinked(struct piece *piece)
{
    *piece->at = piece->next;
    if (piece->next != NULL)
        piece->next->at = piece->at;
}

static void counted(const struct piece *piece, int64_t bytes)
{
    if (piece->host != NULL)
        piece->host->bytes_live += (uint64_t)bytes;
}

static void *memory_alloc(size_t size, const char *file, int line)
{
    enum { FRESH = 0xa5 };
    struct piece *piece;
    if (size == 0)
        return NULL;
    piece = malloc(sizeof(*piece) + size);
    if (piece == NULL)
        return NULL;
    *piece = (struct piece){.size = size, .host = world.host_now, .file = file, .line = line};
    linked(piece);
    counted(piece, (int64_t)size);
    memset(piece + 1, FRESH, size);
    return piece + 1;
}

static void memory_free(void *memory, const char *file, int line)
{
    enum { GONE = 0xdd };
    if (memory == NULL)
        return;
    struct piece *piece = (struct piece *)memory - 1;
    sim_check(piece->host == NULL || piece->host == world.host_now,
              "OpenSSL's memory of one host is freed by another (%s:%d)", piece->file, piece->line);
    counted(piece, -(int64_t)piece->size);
    unlinked(piece);
    memset(memory, GONE, piece->size);
    free(piece);
}

/* What grows stays whose it was. */
static void *memory_realloc(void *memory, size_t size, const char *file, int line)
{
    if (memory == NULL)
        return memory_alloc(size, file, line);
    const struct piece *former = (const struct piece *)memory - 1;
    if (size == 0) {
        memory_free(memory, file, line);
        return NULL;
    }
    struct piece *piece = malloc(sizeof(*piece) + size);
    if (piece == NULL)
        return NULL;
    *piece = (struct piece){.size = size, .host = former->host, .file = file, .line = line};
    linked(piece);
    counted(piece, (int64_t)size);
    memcpy(piece + 1, memory, former->size < size ? former->size : size);
    memory_free(memory, file, line);
    return piece + 1;
}

void sim_openssl_left(const sim_host *host, char *text, size_t size)
{
    unsigned told = 0;
    size_t at = strlen(text);
    for (const struct piece *piece = pieces; piece != NULL && told < 8; piece = piece->next)
        if (piece->host == host && at < size) {
            told++;
            at += (size_t)snprintf(text + at, size - at, "\n  %zu bytes of %s:%d", piece->size,
                                   piece->file, piece->line);
        }
}

/* --- the errors of a thread ------------------------------------------------------------------- */

/* All actors share a real thread, and one can be preempted in a callback of OpenSSL. The texts in
 * the queue are not OpenSSL's to free in another actor's place, so the whole queue moves. */
void sim_openssl_switch(void **kept, bool enters)
{
    ERR_STATE *queue = ERR_get_state();
    if (enters) {
        if (*kept != NULL)
            memcpy(queue, *kept, sizeof(*queue));
        free(*kept);
        *kept = NULL;
        return;
    }
    bool empty = queue->top == queue->bottom;
    for (int i = 0; i < ERR_NUM_ERRORS && empty; i++)
        empty = queue->err_data[i] == NULL;
    if (!empty) {
        *kept = malloc(sizeof(*queue));
        if (*kept == NULL)
            abort();
        memcpy(*kept, queue, sizeof(*queue));
        memset(queue, 0, sizeof(*queue));
    }
}

/* The texts of errors are kept for the next ones, until a thread ends. */
void sim_openssl_thread_ends(void)
{
    ERR_STATE *queue = ERR_get_state();
    for (int i = 0; i < ERR_NUM_ERRORS; i++)
        if ((queue->err_data_flags[i] & ERR_TXT_MALLOCED) != 0)
            OPENSSL_free(queue->err_data[i]);
    memset(queue, 0, sizeof(*queue));
}

void sim_openssl_begin(void)
{
    static const RAND_METHOD method = {
        .bytes = bytes_draw, .pseudorand = bytes_draw, .status = status_fine};
    enum { SETUP_SEED = 7 };
    sim_openssl_seed(SETUP_SEED);
    if (CRYPTO_set_mem_functions(memory_alloc, memory_realloc, memory_free) != 1 ||
        OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1 ||
        OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1 ||
        RAND_set_rand_method(&method) != 1)
        abort();
}
