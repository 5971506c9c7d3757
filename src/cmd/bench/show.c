/* Numbers as people read them. */
#include "cmd/bench/bench.h"

const char *show_time(uint64_t ns, char out[16])
{
    double us = (double)ns / 1000;
    if (ns == 0)
        snprintf(out, 16, "0");
    else if (us < 1000)
        snprintf(out, 16, us < 10 ? "%.2fus" : us < 100 ? "%.1fus" : "%.0fus", us);
    else if (us < 1e6)
        snprintf(out, 16, us < 1e4 ? "%.2fms" : us < 1e5 ? "%.1fms" : "%.0fms", us / 1e3);
    else
        snprintf(out, 16, us < 1e7 ? "%.2fs" : "%.1fs", us / 1e6);
    return out;
}

const char *show_size(double bytes, char out[16])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    unsigned unit = 0;
    while (bytes >= 1000 && unit < 5) {
        bytes /= 1024;
        unit++;
    }
    snprintf(out, 16,
             unit == 0    ? "%.0f %s"
             : bytes < 10 ? "%.2f %s"
                          : "%.1f %s",
             bytes, units[unit]);
    return out;
}

const char *show_version(unsigned version)
{
    return version == 0x0304 ? "1.3" : version == 0x0303 ? "1.2" : "?";
}

double per_second(uint64_t count, const weir_load_result *result)
{
    return result->measured_ns != 0 ? (double)count * 1e9 / (double)result->measured_ns : 0;
}

enum weir_load_which bench_which(const weir_load_result *result)
{
    return result->rate > 0 ? WEIR_LOAD_RESPONSE : WEIR_LOAD_SERVICE;
}
