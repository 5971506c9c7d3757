/* Histograms for other tools: HdrHistogram's table of percentiles, which its plotter reads. */
#include "cmd/bench/bench.h"

struct hgrm {
    FILE *file;
    uint64_t all, seen, count;
};

static void hgrm_cell(uint64_t value, uint64_t count, void *arg)
{
    struct hgrm *hgrm = arg;
    hgrm->seen += count;
    hgrm->count++;
    double quantile = (double)hgrm->seen / (double)hgrm->all;
    if (hgrm->seen < hgrm->all)
        fprintf(hgrm->file, "%12.6f %2.12f %10llu %14.2f\n", (double)value / 1e6, quantile,
                (unsigned long long)hgrm->seen, 1 / (1 - quantile));
    else
        fprintf(hgrm->file, "%12.6f %2.12f %10llu\n", (double)value / 1e6, quantile,
                (unsigned long long)hgrm->seen);
}

int hgrm_file(const weir_load_result *result, enum weir_load_which which, const char *path)
{
    const weir_load_times *times = which == WEIR_LOAD_RESPONSE    ? &result->response
                                   : which == WEIR_LOAD_HANDSHAKE ? &result->handshake
                                                                  : &result->service;
    struct hgrm hgrm = {.file = fopen(path, "we"), .all = times->count};
    if (hgrm.file == NULL)
        return say(EX_CANTCREAT, "cannot write %s: %m", path);
    fprintf(hgrm.file, "%12s %14s %10s %14s\n\n", "Value", "Percentile", "TotalCount",
            "1/(1-Percentile)");
    weir_load_cells(result, which, hgrm_cell, &hgrm);
    fprintf(hgrm.file, "#[Mean    = %12.6f, StdDeviation   = %12.6f]\n", (double)times->mean / 1e6,
            (double)times->deviation / 1e6);
    fprintf(hgrm.file, "#[Max     = %12.6f, Total count    = %12llu]\n", (double)times->max / 1e6,
            (unsigned long long)times->count);
    fprintf(hgrm.file, "#[Buckets = %12d, SubBuckets     = %12d]\n", 40 - 11 + 1, 2048);
    if (fclose(hgrm.file) != 0)
        return say(EX_IOERR, "cannot write %s: %m", path);
    return EX_OK;
}
