/* One run, several, or a search for a rate; and what is told of them. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <weir/error.h>

#include "cmd/bench/secure.h"

static volatile sig_atomic_t interrupted;

/* The first one ends the load with what it has; the second one ends the program. */
static void on_signal(int number)
{
    interrupted = 1;
    weir_load_stop();
    signal(number, SIG_DFL);
}

static void on_interval(const weir_load_progress *progress, void *user)
{
    struct bench *bench = user;
    live_show(bench, progress);
    if (bench->stream != NULL)
        json_stream(bench, progress);
}

int bench_once(struct bench *bench, weir_load_result **out)
{
    char why[512];
    bench->load.on_interval = on_interval;
    bench->load.user = bench;
    live_begin(bench);
    int error = weir_load_run(&bench->load, out, why, sizeof why);
    live_end(bench);
    if (error == 0)
        return EX_OK;
    weir_plan plan;
    if (weir_plan_probe(bench->backend, bench->features, &plan) != 0)
        return say(exit_code_of(error) == EX_OSERR ? EX_UNAVAILABLE : exit_code_of(error),
                   "bench: back end %s cannot be used: %s", plan.backend, plan.why);
    switch (error) {
    case -ECONNREFUSED:
    case -EHOSTUNREACH:
    case -ETIMEDOUT:
    case -EADDRNOTAVAIL:
    case -ECONNABORTED:
        return say(EX_UNAVAILABLE, "bench: %s", why);
    case -EMFILE:
        return say(EX_OSERR, "bench: %s", why);
    case WEIR_ENOTSUP:
        return say(EX_UNAVAILABLE, "bench: %s", why);
    default:
        return say(exit_code_of(error), "bench: %s", why);
    }
}

static int by_rate(const void *left, const void *right)
{
    const weir_load_result *a = *(weir_load_result *const *)left,
                           *b = *(weir_load_result *const *)right;
    double x = per_second(a->counts.requests, a), y = per_second(b->counts.requests, b);
    return x < y ? -1 : x > y;
}

/* The run of the median rate. */
static unsigned choose(const struct bench *bench)
{
    weir_load_result *sorted[BENCH_RUNS_MAX];
    memcpy(sorted, bench->runs, bench->run_count * sizeof *sorted);
    qsort(sorted, bench->run_count, sizeof *sorted, by_rate);
    for (unsigned i = 0; i < bench->run_count; i++)
        if (bench->runs[i] == sorted[bench->run_count / 2])
            return i;
    return 0;
}

static int run_all(struct bench *bench)
{
    unsigned count = bench->repeat > 1 ? bench->repeat : 1;
    for (unsigned i = 0; i < count && interrupted == 0; i++) {
        bench->run = count > 1 ? (int)i + 1 : 0;
        int code = bench_once(bench, &bench->runs[bench->run_count]);
        if (code != EX_OK)
            return code;
        bench->run_count++;
    }
    bench->chosen = choose(bench);
    return EX_OK;
}

/* ---- the highest rate that holds ---- */

enum { TRIES_MAX = 24 };

/* Whether a try at a rate fulfils the goal, and the server kept up with the rate. */
static bool holds(const struct bench *bench, const weir_load_result *result)
{
    if (result->counts.lost != 0 && !condition_is_of_loss(&bench->goal))
        return false;
    return condition_holds(&bench->goal, result) && weir_load_errors(&result->counts) == 0 &&
           per_second(result->counts.requests, result) > 0.97 * result->rate;
}

/* One try. `out` is kept when it holds. */
static int try_rate(struct bench *bench, double rate, bool *held)
{
    weir_load_result *result = NULL;
    char value[32];
    bench->load.rate = rate;
    bench->run++;
    int code = bench_once(bench, &result);
    if (code != EX_OK)
        return code;
    *held = holds(bench, result);
    condition_value(&bench->goal, result, value, sizeof value);
    printf("try %2d   %12.0f/s asked   %12.0f/s answered   %s: %-10s %s%s\n", bench->run, rate,
           per_second(result->counts.requests, result), bench->goal.text, value,
           *held ? "holds" : "does not hold", result->invalid != 0 ? " (INVALID)" : "");
    fflush(stdout);
    if (*held) {
        weir_load_free(bench->runs[0]);
        bench->runs[0] = result;
        bench->run_count = 1;
    } else {
        weir_load_free(result);
    }
    return EX_OK;
}

/* The rate of a closed loop is where the search begins, unless one was given. */
static int first_rate(struct bench *bench, double *rate)
{
    weir_load_result *result = NULL;
    *rate = bench->load.rate;
    if (*rate > 0)
        return EX_OK;
    int code = bench_once(bench, &result);
    if (code != EX_OK)
        return code;
    *rate = per_second(result->counts.requests, result);
    printf("closed   %12.0f/s: the search begins at three quarters of it\n", *rate);
    weir_load_free(result);
    *rate = *rate > 4 ? *rate * 0.75 : 1;
    return EX_OK;
}

int find_rate(struct bench *bench)
{
    double rate, good = 0, bad = 0;
    if (bench->duration == NULL)
        bench->load.duration_ns = 3 * WEIR_S;
    int code = first_rate(bench, &rate);
    for (int i = 0; code == EX_OK && i < TRIES_MAX && interrupted == 0; i++) {
        bool held = false;
        /* Once more when it does not: a moment in which the machine did something else must not
         * decide. */
        for (int again = 0; code == EX_OK && again < 2 && !held && interrupted == 0; again++)
            code = try_rate(bench, rate, &held);
        if (held)
            good = rate;
        else
            bad = rate;
        if (good > 0 && bad > 0 && (bad - good) / good < 0.02)
            break;
        if (rate < 1)
            break;
        rate = bad == 0 ? good * 1.5 : good == 0 ? bad / 2 : (good + bad) / 2;
    }
    if (code != EX_OK)
        return code;
    if (bench->run_count == 0)
        return say(BENCH_FAILED, "bench: at no rate did %s hold", bench->goal.text);
    printf("\n%s holds up to %.0f requests a second%s\n\n", bench->goal.text, good,
           bad == 0 ? " (and more: the search was ended)" : "");
    return EX_OK;
}

/* ---- telling ---- */

static int tell(struct bench *bench)
{
    const weir_load_result *result = bench->runs[bench->chosen];
    bool json_only = bench->json != NULL && strcmp(bench->json, "-") == 0;
    int code = EX_OK;
    if (!json_only && bench->stream != stdout) {
        table_print(bench, result);
        if (bench->run_count > 1)
            table_runs(bench);
    }
    if (bench->json != NULL)
        code = json_file(bench, bench->json);
    if (code == EX_OK && bench->hgrm != NULL)
        code = hgrm_file(result, bench_which(result), bench->hgrm);
    if (code == EX_OK && bench->hgrm_handshake != NULL)
        code = hgrm_file(result, WEIR_LOAD_HANDSHAKE, bench->hgrm_handshake);
    if (code == EX_OK && bench->svg != NULL)
        code = svg_files(result, bench->svg, bench->shown);
    if (bench->stream != NULL && bench->stream != stdout && fclose(bench->stream) != 0)
        code = say(EX_IOERR, "cannot write %s: %m", bench->json_stream);
    return code;
}

/* Of streams of datagrams: none arrived at either end. */
static bool nothing_succeeded(const weir_load_result *result)
{
    const weir_load_counts *counts = &result->counts;
    return counts->requests + result->up.received + result->down.received == 0 &&
           weir_load_errors(counts) + counts->lost != 0;
}

static int judge(const struct bench *bench)
{
    const weir_load_result *result = bench->runs[bench->chosen];
    char value[32];
    int code = EX_OK;
    for (unsigned i = 0; i < bench->condition_count; i++) {
        const struct condition *condition = &bench->conditions[i];
        if (!condition_holds(condition, result))
            continue;
        condition_value(condition, result, value, sizeof value);
        code = say(BENCH_FAILED, "bench: failed by --fail-if %s: it is %s", condition->text, value);
    }
    if (result->invalid != 0 && bench->strict)
        return say(EX_TEMPFAIL, "bench: the result is INVALID: %s", result->reasons[0]);
    if (code == EX_OK && nothing_succeeded(result))
        return say(EX_UNAVAILABLE, "bench: no request succeeded");
    return code;
}

/* Each connection is a descriptor: the soft limit is for programs that use select. */
static void descriptors_raise(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int bench_perform(struct bench *bench)
{
    struct sigaction action = {.sa_handler = on_signal};
    descriptors_raise();
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    int code = bench->find != NULL ? find_rate(bench) : run_all(bench);
    if (code == EX_OK)
        code = tell(bench);
    if (code == EX_OK)
        code = judge(bench);
    for (unsigned i = 0; i < bench->run_count; i++)
        weir_load_free(bench->runs[i]);
    free(bench->live);
    bench_secure_end(bench);
    return code;
}
