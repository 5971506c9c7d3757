/* A producer that keeps to a rate, and consumers that are sometimes slower: between them a bounded
 * channel, which makes the producer wait instead of the queue grow. A burst makes up for some of
 * what it has missed meanwhile, never for all.
 *
 *     ./rated [ITEMS [RATE [WORK]]]    default 100 items, 200 a second, 10ms of work for each
 */
#include <inttypes.h>
#include <stdio.h>

#include <weir/units.h>
#include <weir/weir.h>

enum { CONSUMERS = 3, QUEUE = 8, BURST = 10 };

static uint64_t items = 100, rate = 200, work_ns = 10 * WEIR_MS;
static uint64_t count, sum; /* of what was consumed */
static weir_chan *queue;

static int produce(void *arg)
{
    uint64_t interval = WEIR_S / rate;
    weir_time due = weir_now();
    int result = 0;
    for (uint64_t item = 1; item <= items && result == 0; item++) {
        if (due + BURST * interval < weir_now())
            due = weir_now() - BURST * interval;
        result = weir_sleep(due); /* returns at once when that was long ago */
        due += interval;          /* from the time that was due: being late adds up to nothing */
        if (result == 0)
            result = weir_chan_send(queue, &item, weir_after(5 * WEIR_S));
    }
    weir_chan_close(queue); /* the consumers get what is left, and return */
    return result;          /* an error cancels them */
}

static int consume(void *arg)
{
    uint64_t item;
    int result;
    while ((result = weir_chan_recv(queue, &item, WEIR_NEVER)) == 1) {
        count++;
        sum += item;
        if ((result = weir_sleep(weir_after(work_ns))) < 0)
            break;
    }
    return result;
}

static int run(void)
{
    weir_scope scope;
    int result = weir_chan_new(&queue, sizeof(uint64_t), QUEUE);
    if (result < 0 || (result = weir_scope_open(&scope, NULL)) < 0)
        return result;
    result = weir_scope_spawn(&scope, produce, NULL);
    for (unsigned i = 0; i < CONSUMERS && result == 0; i++)
        result = weir_scope_spawn(&scope, consume, NULL);
    if (result < 0)
        weir_scope_cancel(&scope);
    int ended = weir_scope_leave(&scope, weir_after(60 * WEIR_S));
    weir_chan_free(queue);
    return result < 0 ? result : ended;
}

static void measure(void *arg)
{
    int *result = arg;
    weir_time began = weir_now();
    *result = run();
    printf("%" PRIu64 " items, sum %" PRIu64 ", %" PRIu64 " ms: %s\n", count, sum,
           (uint64_t)((weir_now() - began) / WEIR_MS),
           *result < 0 ? weir_error_text(*result) : "done");
    weir_loop_stop(weir_loop_current());
}

int main(int argc, char **argv)
{
    weir_loop *loop;
    int result = 1;
    if ((argc > 1 && weir_number_parse(argv[1], 1, 1000000, &items, NULL, 0) < 0) ||
        (argc > 2 && weir_number_parse(argv[2], 1, 100000, &rate, NULL, 0) < 0) ||
        (argc > 3 && weir_duration_parse(argv[3], &work_ns, NULL, 0) < 0) ||
        weir_loop_new(&loop, NULL) < 0)
        return 2;
    weir_loop_enter(loop);
    if (weir_spawn(measure, &result) == 0)
        weir_loop_run(loop);
    weir_loop_free(loop);
    return result != 0;
}
