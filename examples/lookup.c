/* Looks names up, all at once: lookup NAME... prints the addresses of each as they come; an address
 * gives its names. Link with -lweir-dns. */
#include <stdio.h>
#include <stdlib.h>

#include <weir/resolve.h>
#include <weir/weir.h>

struct job {
    weir_lookup lookup;
    const char *name;
    weir_loop *loop;
    int *left, *failed;
};

static void on_answer(weir_lookup *lookup, const weir_answer *answer, void *arg)
{
    struct job *job = arg;
    char text[WEIR_ADDRESS_TEXT_MAX];

    if (answer->error != 0) {
        fprintf(stderr, "%s: %s\n", job->name, weir_error_text(answer->error));
        ++*job->failed;
    }
    for (unsigned i = 0; i < answer->count; i++) {
        if (answer->records[i].type == WEIR_RECORD_PTR)
            puts(answer->records[i].name);
        else if (weir_address_format(&answer->records[i].address, text, sizeof text) >= 0)
            puts(text);
    }
    if (--*job->left == 0)
        weir_loop_stop(job->loop);
}

static int begin(weir_resolver *resolver, struct job *job)
{
    char url[128];
    weir_address address;
    weir_time deadline = weir_after(10 * WEIR_S);

    snprintf(url, sizeof url, "tcp://%s:0", job->name);
    if (weir_address_parse(url, &address, NULL) == 0 && address.flags == 0)
        return weir_resolve_address(resolver, &job->lookup, &address, deadline, on_answer, job);
    return weir_resolve(resolver, &job->lookup, job->name, WEIR_RECORD_HOST, 0, deadline, on_answer,
                        job);
}

int main(int argc, char **argv)
{
    weir_loop *loop;
    weir_resolver *resolver;
    int left = 0, failed = 0;
    struct job *jobs = calloc((size_t)argc, sizeof *jobs);

    if (argc < 2 || jobs == NULL || weir_loop_new(&loop, NULL) < 0)
        return 2;
    weir_loop_enter(loop);
    if (weir_resolver_new(&resolver, NULL) < 0)
        return 1;
    for (int i = 1; i < argc; i++) {
        jobs[i] = (struct job){.name = argv[i], .loop = loop, .left = &left, .failed = &failed};
        int result = begin(resolver, &jobs[i]);
        left += result == 0;
        failed += result < 0;
        if (result < 0)
            fprintf(stderr, "%s: %s\n", argv[i], weir_error_text(result));
    }
    if (left > 0)
        weir_loop_run(loop);
    weir_resolver_free(resolver);
    weir_loop_free(loop);
    free(jobs);
    return failed > 0;
}
