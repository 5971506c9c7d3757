/* Everything here comes from the network. Each number is checked before it is used as a length, and
 * the work is bounded: a message is passed over once for each alias and once for its records. */
#include "dns/answer.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include <weir/error.h>
#include <weir/module.h>

enum { HEAD_BYTES = 12, TYPE_CNAME = 5, TYPE_SOA = 6, CLASS_IN = 1 };
enum { RCODE_OK = 0, RCODE_NXDOMAIN = 3 };

struct message {
    const uint8_t *data;
    size_t size;
    unsigned flags, questions, answers, authorities;
    size_t answers_at;
};

struct raw_record {
    struct dns_name owner;
    unsigned type, class;
    uint32_t ttl_s;
    size_t at, size; /* of the data */
};

/* Two passes fill one allocation: the first counts, the second writes. */
struct filling {
    struct record_set *set; /* NULL: counting */
    uint32_t count;
    size_t text_bytes;
    char *text;
    uint32_t ttl_s;
};

static unsigned get16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)get16(at) << 16 | get16(at + 2);
}

/* A time to live with the highest bit set is none (RFC 2181 section 8). */
static uint32_t get_ttl(const uint8_t *at)
{
    uint32_t ttl_s = get32(at);
    return ttl_s > INT32_MAX ? 0 : ttl_s;
}

static int record_read(const struct message *m, size_t *at, struct raw_record *out)
{
    int result = name_from_message(&out->owner, m->data, m->size, at);
    if (result < 0)
        return result;
    if (m->size - *at < 10)
        return WEIR_EPROTO;
    const uint8_t *head = m->data + *at;
    out->type = get16(head);
    out->class = get16(head + 2);
    out->ttl_s = get_ttl(head + 4);
    out->size = get16(head + 8);
    out->at = *at + 10;
    if (m->size - out->at < out->size)
        return WEIR_EPROTO;
    *at = out->at + out->size;
    return 0;
}

static int message_open(struct message *m, const struct dns_name *question, unsigned type)
{
    struct dns_name name;
    size_t at = HEAD_BYTES;

    if (m->size < HEAD_BYTES)
        return WEIR_EPROTO;
    m->flags = get16(m->data + 2);
    m->questions = get16(m->data + 4);
    m->answers = get16(m->data + 6);
    m->authorities = get16(m->data + 8);
    if ((m->flags & 0x8000) == 0 || m->questions != 1)
        return WEIR_EPROTO; /* it is a question itself, or does not say what it answers */
    if (m->answers + m->authorities > ANSWER_RECORDS_MAX + ANSWER_ALIASES_MAX)
        return WEIR_ETOOBIG;
    int result = name_from_message(&name, m->data, m->size, &at);
    if (result < 0)
        return result;
    if (m->size - at < 4 || !name_equal(&name, question) || get16(m->data + at) != type ||
        get16(m->data + at + 2) != CLASS_IN)
        return WEIR_EPROTO;
    m->answers_at = at + 4;
    return 0;
}

/* Follows the aliases from `name` to the last one. They may stand in any order; one that leads back
 * ends the message's credit. */
static int aliases_follow(const struct message *m, struct dns_name *name, uint32_t *ttl_s)
{
    for (unsigned hops = 0; hops <= ANSWER_ALIASES_MAX; hops++) {
        struct raw_record record;
        bool found = false;
        size_t at = m->answers_at;
        for (unsigned i = 0; i < m->answers && !found; i++) {
            int result = record_read(m, &at, &record);
            if (result < 0)
                return result;
            found = record.type == TYPE_CNAME && record.class == CLASS_IN &&
                    name_equal(&record.owner, name);
        }
        if (!found)
            return 0;
        size_t target = record.at;
        int result = name_from_message(name, m->data, m->size, &target);
        if (result < 0 || target != record.at + record.size)
            return WEIR_EPROTO;
        if (record.ttl_s < *ttl_s)
            *ttl_s = record.ttl_s;
    }
    return WEIR_EPROTO;
}

/* --- data of each type: the text that it needs, or -1 when it is malformed -------------------- */

static int fill_address(struct filling *f, weir_record *out, const struct message *m,
                        const struct raw_record *in)
{
    struct sockaddr_in in4 = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

    if (in->size != (in->type == WEIR_RECORD_A ? 4u : 16u))
        return WEIR_EPROTO;
    if (out == NULL)
        return 0;
    if (in->type == WEIR_RECORD_A) {
        memcpy(&in4.sin_addr, m->data + in->at, 4);
        return weir_address_from_sockaddr((struct sockaddr *)&in4, sizeof in4, WEIR_TRANSPORT_TCP,
                                          &out->address);
    }
    memcpy(&in6.sin6_addr, m->data + in->at, 16);
    return weir_address_from_sockaddr((struct sockaddr *)&in6, sizeof in6, WEIR_TRANSPORT_TCP,
                                      &out->address);
}

/* A name as the whole rest of the data, `skip` bytes behind its beginning. */
static int fill_name(struct filling *f, weir_record *out, const struct message *m,
                     const struct raw_record *in, size_t skip)
{
    struct dns_name name;
    char text[NAME_TEXT_MAX];
    size_t at = in->at + skip;

    if (in->size <= skip || name_from_message(&name, m->data, m->size, &at) < 0 ||
        at != in->at + in->size)
        return WEIR_EPROTO;
    size_t length = name_to_text(&name, text) + 1;
    f->text_bytes += length;
    if (out == NULL)
        return 0;
    memcpy(f->text, text, length);
    out->name = f->text;
    f->text += length;
    return 0;
}

static int fill_text(struct filling *f, weir_record *out, const struct message *m,
                     const struct raw_record *in)
{
    const uint8_t *at = m->data + in->at, *end = at + in->size;
    size_t total = 0;

    if (at == end)
        return WEIR_EPROTO; /* at least one string, if an empty one: RFC 1035 section 3.3.14 */
    if (out != NULL)
        out->text = f->text;
    while (at < end) {
        size_t length = *at++;
        if ((size_t)(end - at) < length)
            return WEIR_EPROTO;
        if (out != NULL) {
            memcpy(f->text, at, length);
            f->text += length;
        }
        total += length;
        at += length;
    }
    f->text_bytes += total;
    if (out != NULL)
        out->text_size = (uint32_t)total;
    return 0;
}

static int fill_record(struct filling *f, const struct message *m, const struct raw_record *in)
{
    weir_record *out = f->set != NULL ? &f->set->records[f->count] : NULL;

    if (out != NULL) {
        out->type = in->type;
        out->ttl_s = in->ttl_s;
    }
    f->count++;
    switch (in->type) {
    case WEIR_RECORD_A:
    case WEIR_RECORD_AAAA:
        return fill_address(f, out, m, in);
    case WEIR_RECORD_PTR:
        return fill_name(f, out, m, in, 0);
    case WEIR_RECORD_TXT:
        return fill_text(f, out, m, in);
    default: /* SRV */
        if (out != NULL && in->size >= 6) {
            out->priority = (uint16_t)get16(m->data + in->at);
            out->weight = (uint16_t)get16(m->data + in->at + 2);
            out->port = (uint16_t)get16(m->data + in->at + 4);
        }
        return fill_name(f, out, m, in, 6);
    }
}

static int fill_pass(struct filling *f, const struct message *m, const struct dns_name *name,
                     unsigned type)
{
    size_t at = m->answers_at;

    f->count = 0;
    for (unsigned i = 0; i < m->answers; i++) {
        struct raw_record record;
        int result = record_read(m, &at, &record);
        if (result < 0)
            return result;
        if (record.type != type || record.class != CLASS_IN || !name_equal(&record.owner, name))
            continue;
        if (f->count == ANSWER_RECORDS_MAX)
            return WEIR_ETOOBIG;
        result = fill_record(f, m, &record);
        if (result < 0)
            return result;
        if (record.ttl_s < f->ttl_s)
            f->ttl_s = record.ttl_s;
    }
    return 0;
}

/* How long a "no" may be kept: RFC 2308 section 5. */
static int no_ttl(const struct message *m, uint32_t *ttl_s)
{
    struct raw_record record;
    size_t at = m->answers_at;

    *ttl_s = 0;
    for (unsigned i = 0; i < m->answers + m->authorities; i++) {
        int result = record_read(m, &at, &record);
        if (result < 0)
            return result;
        if (i < m->answers || record.type != TYPE_SOA || record.class != CLASS_IN)
            continue;
        if (record.size < 22)
            return WEIR_EPROTO;
        uint32_t minimum_s = get_ttl(m->data + record.at + record.size - 4);
        *ttl_s = record.ttl_s < minimum_s ? record.ttl_s : minimum_s;
        return 0;
    }
    return 0;
}

static int by_number(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

/* By priority; equals stay in their order. Numbers are sorted, and each of the large records is
 * moved once: round the circles that the new order makes of the old one. */
static void sort_services(struct record_set *set)
{
    uint32_t order[ANSWER_RECORDS_MAX]; /* priority, and where the record is */

    for (uint32_t i = 0; i < set->count; i++)
        order[i] = (uint32_t)set->records[i].priority << 16 | i;
    qsort(order, set->count, sizeof order[0], by_number);
    for (uint32_t i = 0; i < set->count; i++)
        order[i] &= 0xffff;
    for (uint32_t i = 0; i < set->count; i++) {
        weir_record first = set->records[i];
        uint32_t at = i;
        while (order[at] != i) {
            uint32_t from = order[at];
            set->records[at] = set->records[from];
            order[at] = at;
            at = from;
        }
        if (at != i)
            set->records[at] = first;
        order[at] = at;
    }
}

static struct record_set *set_new(uint32_t count, size_t text_bytes, const char *name, char **text)
{
    size_t name_bytes = strlen(name) + 1;
    size_t size = sizeof(struct record_set) + count * sizeof(weir_record) + name_bytes + text_bytes;
    struct record_set *set = weir__zalloc(size);

    if (set == NULL)
        return NULL;
    set->refs = 1;
    set->count = count;
    set->bytes = (uint32_t)size;
    char *behind = (char *)&set->records[count];
    memcpy(behind, name, name_bytes);
    set->name = behind;
    *text = behind + name_bytes;
    return set;
}

int answer_read(struct answer *out, const struct dns_name *question, enum weir_record_type type,
                const uint8_t *data, size_t size)
{
    struct message m = {.data = data, .size = size};
    struct dns_name name = *question;
    struct filling f = {.ttl_s = UINT32_MAX};
    char text[NAME_TEXT_MAX];

    *out = (struct answer){0};
    int result = message_open(&m, question, type);
    if (result < 0)
        return result;
    unsigned rcode = m.flags & 15;
    if (rcode != RCODE_OK && rcode != RCODE_NXDOMAIN) {
        out->error = WEIR_ENAMESERVER;
        return 0;
    }
    result = aliases_follow(&m, &name, &f.ttl_s);
    if (result == 0 && rcode == RCODE_OK)
        result = fill_pass(&f, &m, &name, type);
    if (result < 0)
        return result;
    if (f.count == 0) {
        out->error = rcode == RCODE_NXDOMAIN ? WEIR_ENONAME : WEIR_ENODATA;
        return no_ttl(&m, &out->ttl_s);
    }
    name_to_text(&name, text);
    f.set = set_new(f.count, f.text_bytes, text, &f.text);
    if (f.set == NULL)
        return WEIR_ENOMEM;
    fill_pass(&f, &m, &name, type); /* it went well before */
    f.set->ttl_s = out->ttl_s = f.ttl_s;
    if (type == WEIR_RECORD_SRV)
        sort_services(f.set);
    out->set = f.set;
    return 0;
}

struct record_set *record_set_of_addresses(const char *name, const weir_address *addresses,
                                           unsigned count)
{
    char *text;
    struct record_set *set = set_new(count, 0, name, &text);

    for (unsigned i = 0; set != NULL && i < count; i++) {
        set->records[i].type =
            addresses[i].socket.ss_family == AF_INET ? WEIR_RECORD_A : WEIR_RECORD_AAAA;
        set->records[i].address = addresses[i];
    }
    return set;
}

struct record_set *record_set_of_names(const char *name, const char *const *names, unsigned count)
{
    size_t text_bytes = 0;
    char *text;

    for (unsigned i = 0; i < count; i++)
        text_bytes += strlen(names[i]) + 1;
    struct record_set *set = set_new(count, text_bytes, name, &text);
    for (unsigned i = 0; set != NULL && i < count; i++) {
        size_t length = strlen(names[i]) + 1;
        memcpy(text, names[i], length);
        set->records[i].type = WEIR_RECORD_PTR;
        set->records[i].name = text;
        text += length;
    }
    return set;
}

void record_set_unref(struct record_set *set)
{
    if (set != NULL && --set->refs == 0)
        weir__free(set);
}
