/* Datagrams of a load, as anybody may send them: what is read is within its bounds, and written and
 * read again it is the same. And their order: what is counted of those that arrive must be what a
 * plain list of all numbers says. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <weir/load.h>
#include <weir/load_datagram.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NUMBERS = 1 << 20, STEPS_MAX = 4096 };

static void require(int truth)
{
    if (!truth)
        abort();
}

static void messages(const uint8_t *data, size_t size)
{
    uint8_t bytes[WEIR_LOAD_REPORT_BYTES];
    weir_load_head head, head_again;
    weir_load_begin begin, begin_again;
    weir_load_report report, report_again;

    if (!weir_load_head_read(data, size, &head))
        return;
    require(size >= WEIR_LOAD_HEAD_BYTES);
    require(head.message >= WEIR_LOAD_MESSAGE_ASK && head.message <= WEIR_LOAD_MESSAGE_REPORT);
    weir_load_head_write(&head, bytes);
    require(weir_load_head_read(bytes, WEIR_LOAD_HEAD_BYTES, &head_again));
    require(head.load == head_again.load && head.number == head_again.number &&
            head.mark == head_again.mark && head.counts == head_again.counts);
    if (weir_load_begin_read(data, size, &begin)) {
        require(begin.ask >= WEIR_LOAD_ASK_ANSWER && begin.ask <= WEIR_LOAD_ASK_BOTH);
        require(begin.bytes >= WEIR_LOAD_HEAD_BYTES && begin.bytes <= WEIR_LOAD_DATAGRAM_MAX);
        require(begin.answer_bytes >= WEIR_LOAD_HEAD_BYTES &&
                begin.answer_bytes <= WEIR_LOAD_DATAGRAM_MAX);
        weir_load_begin_write(&head, &begin, bytes);
        require(weir_load_begin_read(bytes, WEIR_LOAD_BEGIN_BYTES, &begin_again));
        require(begin.cookie == begin_again.cookie && begin.socket == begin_again.socket &&
                begin.ask == begin_again.ask && begin.bytes == begin_again.bytes &&
                begin.answer_bytes == begin_again.answer_bytes &&
                begin.rate_bytes_s == begin_again.rate_bytes_s &&
                begin.stream_bytes == begin_again.stream_bytes);
    }
    if (weir_load_report_read(data, size, &report)) {
        weir_load_report_write(&head, &report, bytes);
        require(weir_load_report_read(bytes, sizeof bytes, &report_again));
        require(memcmp(&report, &report_again, sizeof report) == 0);
    }
}

/* The number that the next bytes of the input stand for, near the highest so far. */
static uint64_t number_of(const uint8_t **at, const uint8_t *end, uint64_t highest)
{
    uint8_t what = *(*at)++, far = *at < end ? **at : 0;
    if (what < 128)
        return highest + 1 + what % 8;
    if (what < 240)
        return highest >= what - 128u ? highest - (what - 128u) : 0;
    *at += *at < end;
    if (what < 248)
        return highest >= far * 8u ? highest - far * 8u : 0;
    return highest + far * 8u;
}

static void arrivals(const uint8_t *data, size_t size)
{
    static uint8_t came[NUMBERS];
    weir_load_arrivals a = {0};
    uint64_t highest = 0, from = 0, datagrams = 0, reordered = 0, duplicates = 0;
    const uint8_t *at = data, *end = data + size;

    memset(came, 0, sizeof came);
    for (unsigned i = 0; i < STEPS_MAX && at < end && highest + 4096 < NUMBERS; i++) {
        if (*at == 239) { /* in place of the farthest short step back */
            at++;
            weir_load_arrivals_restart(&a);
            from = highest;
            datagrams = reordered = duplicates = 0;
            continue;
        }
        uint64_t number = number_of(&at, end, highest);
        bool older = number <= highest, old = older && highest - number >= WEIR_LOAD_WINDOW;
        bool counts = number > from, again = counts && older && !old && came[number];
        require(weir_load_arrive(&a, number, 1, i, 2 * i) == (counts && !again));
        duplicates += again;
        if (!counts || again)
            continue;
        came[number] = 1;
        reordered += older;
        datagrams++;
        highest = number > highest ? number : highest;
        require(a.datagrams == datagrams && a.bytes == datagrams && a.highest == highest);
        require(a.reordered == reordered && a.duplicates == duplicates);
        uint64_t lost = highest - from > datagrams ? highest - from - datagrams : 0;
        require(weir_load_arrivals_lost(&a, 0) == lost);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    messages(data, size);
    arrivals(data, size);
    return 0;
}
