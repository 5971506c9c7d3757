/* Two plots in one SVG: latency by percentile, and requests a second over time. */
#include <string.h>

#include "cmd/bench/bench.h"

enum { WIDTH = 760, HEIGHT = 300, LEFT = 80, RIGHT = 20, TOP = 40, BOTTOM = 40 };

/* One plot: where its values lie. */
struct plot {
    FILE *file;
    double top;  /* of the whole SVG */
    double most; /* the value at the upper edge */
};

static double plot_x(double part)
{
    return LEFT + part * (WIDTH - LEFT - RIGHT);
}

static double plot_y(const struct plot *plot, double value)
{
    double part = plot->most > 0 ? value / plot->most : 0;
    return plot->top + HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM);
}

static void text(const struct plot *plot, double x, double y, const char *anchor, const char *what)
{
    fprintf(plot->file, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    for (; *what != '\0'; what++) {
        if (*what == '&')
            fputs("&amp;", plot->file);
        else if (*what == '<')
            fputs("&lt;", plot->file);
        else if ((unsigned char)*what >= ' ')
            fputc(*what, plot->file);
    }
    fputs("</text>\n", plot->file);
}

static void frame(const struct plot *plot, const char *title, bool time)
{
    char label[16];
    text(plot, LEFT, plot->top + TOP - 14, "start", title);
    for (int i = 0; i <= 4; i++) {
        double value = plot->most * i / 4, y = plot_y(plot, value);
        fprintf(plot->file, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>\n", LEFT,
                WIDTH - RIGHT, y, y);
        if (time)
            show_time((uint64_t)value, label);
        else
            snprintf(label, sizeof label, "%.4g", value);
        text(plot, LEFT - 8, y + 4, "end", label);
    }
}

static void latency(struct plot *plot, const weir_load_result *result, const char *title)
{
    /* Nines: 0 %, 90 %, 99 %, ... are equally far apart, as HdrHistogram's plotter shows it. */
    static const struct {
        double quantile;
        const char *name;
    } marks[] = {{0.0, "0 %"},      {0.9, "90 %"},       {0.99, "99 %"},
                 {0.999, "99.9 %"}, {0.9999, "99.99 %"}, {0.99999, "99.999 %"}};
    enum { MARKS = sizeof marks / sizeof *marks, STEPS = 20 };
    enum weir_load_which which = bench_which(result);
    plot->most = (double)weir_load_quantile(result, which, marks[MARKS - 1].quantile) * 1.05;
    frame(plot, title, true);
    fputs("<polyline points=\"", plot->file);
    for (int i = 0; i < MARKS - 1; i++)
        for (int k = 0; k < STEPS; k++) {
            /* Between two marks in equal parts of what is left: 0.9 is 1 - 10^-1. */
            double a = 1 - marks[i].quantile, b = 1 - marks[i + 1].quantile;
            double quantile = 1 - (a + (b - a) * k / STEPS);
            fprintf(plot->file, "%.1f,%.1f ", plot_x((i + (double)k / STEPS) / (MARKS - 1)),
                    plot_y(plot, (double)weir_load_quantile(result, which, quantile)));
        }
    fprintf(plot->file, "%.1f,%.1f\"/>\n", plot_x(1),
            plot_y(plot, (double)weir_load_quantile(result, which, marks[MARKS - 1].quantile)));
    for (int i = 0; i < MARKS; i++)
        text(plot, plot_x((double)i / (MARKS - 1)), plot->top + HEIGHT - 16,
             i == 0           ? "start"
             : i == MARKS - 1 ? "end"
                              : "middle",
             marks[i].name);
}

static double rate_of(const weir_load_progress *progress)
{
    return (double)progress->counts.requests * 1e9 /
           (double)(progress->end_ns - progress->begin_ns);
}

static void throughput(struct plot *plot, const weir_load_result *result)
{
    unsigned count = result->interval_count;
    char label[32];
    plot->most = 0;
    for (unsigned i = 0; i < count; i++)
        plot->most = rate_of(&result->intervals[i]) > plot->most ? rate_of(&result->intervals[i])
                                                                 : plot->most;
    plot->most *= 1.05;
    frame(plot, "requests a second", false);
    fputs("<polyline points=\"", plot->file);
    for (unsigned i = 0; i < count; i++)
        fprintf(plot->file, "%.1f,%.1f ", plot_x(count > 1 ? (double)i / (count - 1) : 0),
                plot_y(plot, rate_of(&result->intervals[i])));
    fputs("\"/>\n", plot->file);
    snprintf(label, sizeof label, "%.1f s", (double)result->measured_ns / 1e9);
    text(plot, plot_x(0), plot->top + HEIGHT - 16, "start", "0 s");
    text(plot, plot_x(1), plot->top + HEIGHT - 16, "end", label);
}

int svg_files(const weir_load_result *result, const char *path, const char *title)
{
    struct plot plot = {.file = fopen(path, "we")};
    if (plot.file == NULL)
        return say(EX_CANTCREAT, "cannot write %s: %m", path);
    fprintf(plot.file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\""
            "sans-serif\" font-size=\"12\">\n<style>line{stroke:#ccc}polyline{fill:none;stroke:"
            "#06c;stroke-width:2}</style>\n<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n",
            WIDTH, 2 * HEIGHT, WIDTH, 2 * HEIGHT);
    latency(&plot, result, title);
    plot.top = HEIGHT;
    throughput(&plot, result);
    fputs("</svg>\n", plot.file);
    if (fclose(plot.file) != 0)
        return say(EX_IOERR, "cannot write %s: %m", path);
    return EX_OK;
}
