/* DNS messages, read and written record by record. */
#include "proto/packet/dns_name.h"

enum { HEADER_BYTES = 12, NAMES_MOST = 16, POINTER_MOST = 0x3fff };

static int reader_fail(weir_dns_reader *reader)
{
    reader->error = WEIR_EPROTO;
    return WEIR_EPROTO;
}

int weir_dns_read(weir_dns_reader *reader, const void *message, size_t size)
{
    const uint8_t *at = message;

    *reader = (weir_dns_reader){0};
    if (size < HEADER_BYTES || size > WEIR_DNS_MESSAGE_MAX)
        return reader_fail(reader);
    reader->message = at;
    reader->size = (uint32_t)size;
    reader->at = HEADER_BYTES;
    reader->header.id = wire_get16(at);
    reader->header.flags = wire_get16(at + 2);
    for (size_t i = 0; i < 4; i++)
        reader->header.count[i] = wire_get16(at + 4 + 2 * i);
    return 0;
}

/* The section of the record that comes next, or 4. */
static unsigned section_of(const weir_dns_reader *reader)
{
    uint32_t left = reader->done;
    unsigned section = 0;

    while (section < 4 && left >= reader->header.count[section])
        left -= reader->header.count[section++];
    return section;
}

int weir_dns_next(weir_dns_reader *reader, weir_dns_record *out)
{
    unsigned section = section_of(reader);

    *out = (weir_dns_record){0};
    if (reader->error < 0)
        return reader->error;
    if (section == 4)
        return 0;
    int name = dns_name_read(reader->message, reader->size, reader->at, &out->name);
    size_t fixed = section == WEIR_DNS_QUESTION ? 4 : 10;
    if (name < 0 || reader->at + (uint32_t)name + fixed > reader->size) {
        *out = (weir_dns_record){0};
        return reader_fail(reader);
    }
    const uint8_t *at = reader->message + reader->at + name;
    size_t data = section == WEIR_DNS_QUESTION ? 0 : wire_get16(at + 8);
    if (reader->at + (uint32_t)name + fixed + data > reader->size) {
        *out = (weir_dns_record){0};
        return reader_fail(reader);
    }
    out->section = (uint8_t)section;
    out->type = wire_get16(at);
    out->klass = wire_get16(at + 2);
    if (section != WEIR_DNS_QUESTION) {
        out->ttl_s = wire_get32(at + 4);
        out->data = (weir_packet_bytes){at + fixed, (uint32_t)data};
    }
    reader->at += (uint32_t)name + (uint32_t)(fixed + data);
    reader->done++;
    return 1;
}

int weir_dns_name_at(const weir_dns_reader *reader, const weir_dns_record *record, size_t offset,
                     weir_dns_name *out)
{
    out->size = 0;
    if (record->data.data == NULL || offset >= record->data.size)
        return WEIR_EPROTO;
    size_t at = (size_t)(record->data.data - reader->message) + offset;
    size_t end = (size_t)(record->data.data - reader->message) + record->data.size;
    /* Labels stay inside of the record, pointers go before it. */
    return dns_name_read(reader->message, end, at, out);
}

void weir_dns_write(weir_dns_writer *writer, const weir_dns_header *header, void *message,
                    size_t size)
{
    *writer = (weir_dns_writer){.message = message};
    writer->size = (uint32_t)(size < WEIR_DNS_MESSAGE_MAX ? size : WEIR_DNS_MESSAGE_MAX);
    if (size < HEADER_BYTES) {
        writer->error = WEIR_ETOOBIG;
        return;
    }
    memset(message, 0, HEADER_BYTES);
    wire_put16(writer->message, header->id);
    wire_put16(writer->message + 2, header->flags);
    writer->used = HEADER_BYTES;
}

/* Whether the name that stands at `at` in the message is this end of a name, byte by byte. */
static bool stands_at(const weir_dns_writer *writer, uint32_t at, const uint8_t *end,
                      size_t end_bytes)
{
    weir_dns_name there;

    return dns_name_read(writer->message, writer->used, at, &there) > 0 &&
           there.size == end_bytes && memcmp(there.data, end, end_bytes) == 0;
}

/* A pointer to where the end of a name stands already, or 0. */
static uint32_t find_end(const weir_dns_writer *writer, const uint8_t *end, size_t end_bytes)
{
    for (unsigned i = 0; i < writer->name_count; i++)
        if (stands_at(writer, writer->names[i], end, end_bytes))
            return writer->names[i];
    return 0;
}

/* Writes a name at `at` with a pointer to what of it stands in front: bytes, or WEIR_ETOOBIG. */
static int put_name(weir_dns_writer *writer, const weir_dns_name *name)
{
    uint32_t used = writer->used;
    size_t at = 0;

    while (name->data[at] != 0) {
        uint32_t target = find_end(writer, name->data + at, name->size - at);
        if (target != 0) {
            if (used + 2 > writer->size)
                return WEIR_ETOOBIG;
            wire_put16(writer->message + used, 0xc000 | target);
            return (int)(used + 2 - writer->used);
        }
        uint32_t label = name->data[at] + 1u;
        if (used + label > writer->size)
            return WEIR_ETOOBIG;
        memcpy(writer->message + used, name->data + at, label);
        used += label;
        at += label;
    }
    if (used + 1 > writer->size)
        return WEIR_ETOOBIG;
    writer->message[used++] = 0;
    return (int)(used - writer->used);
}

/* Remembers where the labels of a name that was written stand. */
static void note_name(weir_dns_writer *writer, uint32_t at)
{
    while (writer->message[at] != 0 && writer->message[at] < 0xc0 && at <= POINTER_MOST &&
           writer->name_count < NAMES_MOST) {
        writer->names[writer->name_count++] = (uint16_t)at;
        at += writer->message[at] + 1u;
    }
}

static int writer_fail(weir_dns_writer *writer, int error)
{
    writer->error = error;
    return error;
}

int weir_dns_add(weir_dns_writer *writer, const weir_dns_record *record)
{
    if (writer->error < 0)
        return writer->error;
    bool question = record->section == WEIR_DNS_QUESTION;
    if (!dns_name_is(&record->name) || record->section > WEIR_DNS_ADDITIONAL ||
        record->section < writer->section || writer->count[record->section] == UINT16_MAX ||
        record->data.size > UINT16_MAX || (question && record->data.size != 0))
        return writer_fail(writer, WEIR_EINVALID);
    uint32_t fixed = question ? 4 : 10;
    int name = put_name(writer, &record->name);
    if (name < 0 || writer->used + (uint32_t)name + fixed + record->data.size > writer->size)
        return writer_fail(writer, WEIR_ETOOBIG);
    uint32_t start = writer->used;
    uint8_t *at = writer->message + start + name;
    wire_put16(at, record->type);
    wire_put16(at + 2, record->klass);
    if (!question) {
        wire_put32(at + 4, record->ttl_s);
        wire_put16(at + 8, record->data.size);
        if (record->data.size != 0)
            memcpy(at + 10, record->data.data, record->data.size);
    }
    writer->used += (uint32_t)name + fixed + record->data.size;
    writer->section = record->section;
    writer->count[record->section]++;
    note_name(writer, start);
    return 0;
}

int weir_dns_write_end(weir_dns_writer *writer)
{
    if (writer->error < 0)
        return writer->error;
    for (size_t i = 0; i < 4; i++)
        wire_put16(writer->message + 4 + 2 * i, writer->count[i]);
    return (int)writer->used;
}
