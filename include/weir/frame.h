/* Framing: where in a stream of bytes a message ends. A weir_frame describes it, as a plain
 * constant; a service takes one in .frame and then gets whole frames. The functions below are the
 * codec by itself: they know no socket and keep no state. docs/guide/framing.md has examples in
 * bytes.
 *
 *     static const weir_service s = {.frame = weir_frame_line(4096), .on_frame = on_line, ...};
 *
 * A frame is what is cut out of the stream; its payload is the part that on_frame gets. `max`
 * counts the whole frame, head and end included: nobody ever has to hold more bytes than that. */
#ifndef WEIR_FRAME_H
#define WEIR_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include <weir/export.h>

enum weir_frame_kind {
    WEIR_FRAME_NONE,       /* no framing: bytes as they come */
    WEIR_FRAME_FIXED,      /* every frame has `max` bytes */
    WEIR_FRAME_LINE,       /* ended by LF or CRLF */
    WEIR_FRAME_DELIMITER,  /* ended by the bytes in `end` */
    WEIR_FRAME_DELIMITERS, /* ended by one of `ends`: the earliest, and there the longest */
    WEIR_FRAME_LENGTH      /* has a field that tells its length */
};

enum weir_frame_flags {
    WEIR_FRAME_KEEP_END = 1, /* line, delimiter: the payload includes what ended it */
    WEIR_FRAME_CRLF = 2,     /* line: CRLF alone ends one, a CR or an LF by itself is refused; and
                                CRLF is what is written, else LF */
    WEIR_FRAME_LITTLE = 4,   /* length: least significant byte first */
    WEIR_FRAME_PADDED = 8    /* length, varint: longer than necessary is not refused */
};

/* Values of `width` and `strip`. */
#define WEIR_FRAME_VARINT     0xff   /* unsigned LEB128, as protobuf writes it: 1 to 10 bytes */
#define WEIR_FRAME_STRIP_HEAD 0xffff /* everything up to the end of the length field */

/* Limits of the library's own. */
#define WEIR_FRAME_ENDS_MAX  8   /* delimiters of one weir_frame */
#define WEIR_FRAME_END_BYTES 128 /* length of a delimiter */
#define WEIR_FRAME_HEAD_MAX  16  /* room for what an encoder puts before a payload */

typedef struct weir_delimiter {
    const char *bytes;
    uint32_t size;
} weir_delimiter;

/* A delimiter from a string literal, which may contain NUL: WEIR_DELIMITER("\r\n.\r\n"). */
#define WEIR_DELIMITER(literal)         \
    {                                   \
        "" literal, sizeof(literal) - 1 \
    }

/* Made by the macros below, or by hand: {.kind = WEIR_FRAME_LINE, .max = 4096} is the same as
 * weir_frame_line(4096). What a kind does not use must be zero. */
typedef struct weir_frame {
    uint32_t max;               /* largest frame, bytes */
    uint8_t kind;               /* enum weir_frame_kind */
    uint8_t flags;              /* enum weir_frame_flags */
    uint8_t offset;             /* length: bytes before the length field */
    uint8_t width;              /* length: of the field: 1, 2, 3, 4, 8 bytes or WEIR_FRAME_VARINT */
    int32_t adjust;             /* length: a frame has offset + width + value + adjust bytes */
    uint16_t strip;             /* length: bytes at the front of the frame that are not payload */
    uint16_t ends_count;        /* delimiters: how many, 1 to WEIR_FRAME_ENDS_MAX */
    weir_delimiter end;         /* delimiter */
    const weir_delimiter *ends; /* delimiters; the first is written */
    uint64_t reserved;          /* 0 */
} weir_frame;

/* The macros are expressions, and constant enough for a static object: gcc and clang take them in
 * one, gcc with -Wpedantic warns. A maximum out of range becomes 0, which is refused later. */
#ifdef __cplusplus
#define WEIR_FRAME_OF weir_frame
#else
#define WEIR_FRAME_OF (weir_frame)
#endif
#define WEIR_FRAME_U32(value) \
    ((unsigned long long)(value) > 0xffffffffULL ? (uint32_t)0 : (uint32_t)(value))

/* Frames of `size` bytes, all of it payload. */
#define weir_frame_fixed(size)                                                 \
    WEIR_FRAME_OF                                                              \
    {                                                                          \
        WEIR_FRAME_U32(size), WEIR_FRAME_FIXED, 0, 0, 0, 0, 0, 0, {0, 0}, 0, 0 \
    }

/* Lines ended by LF or CRLF; the end is stripped and counts towards max. */
#define weir_frame_line(max) weir_frame_line_with(max, 0)

/* The same with flags: WEIR_FRAME_KEEP_END, WEIR_FRAME_CRLF. */
#define weir_frame_line_with(max, flags)                                           \
    WEIR_FRAME_OF                                                                  \
    {                                                                              \
        WEIR_FRAME_U32(max), WEIR_FRAME_LINE, (flags), 0, 0, 0, 0, 0, {0, 0}, 0, 0 \
    }

/* Frames ended by a string literal, which may contain NUL; it is stripped and counts. */
#define weir_frame_delimiter(max, literal)                                                         \
    WEIR_FRAME_OF                                                                                  \
    {                                                                                              \
        WEIR_FRAME_U32(max), WEIR_FRAME_DELIMITER, 0, 0, 0, 0, 0, 0, WEIR_DELIMITER(literal), 0, 0 \
    }

/* Frames ended by any of `count` delimiters in a static array of weir_delimiter. The one that
 * matches earliest counts, and of those that begin at the same place the longest: after a CR a
 * reader of {"\r\n", "\r"} waits for one byte more. The first is the one that is written, so no
 * other may begin with it. */
#define weir_frame_delimiters(max, ends, count)                                               \
    WEIR_FRAME_OF                                                                             \
    {                                                                                         \
        WEIR_FRAME_U32(max), WEIR_FRAME_DELIMITERS, 0, 0, 0, 0, 0, (count), {0, 0}, (ends), 0 \
    }

/* A length of `width` bytes, most significant byte first, then as many bytes of payload. */
#define weir_frame_length(max, width) \
    weir_frame_length_field(max, 0, width, 0, 0, WEIR_FRAME_STRIP_HEAD)

/* The same, least significant byte first. */
#define weir_frame_length_little(max, width) \
    weir_frame_length_field(max, 0, width, WEIR_FRAME_LITTLE, 0, WEIR_FRAME_STRIP_HEAD)

/* A length as a varint, then as many bytes of payload: protobuf's delimited messages. */
#define weir_frame_varint(max) \
    weir_frame_length_field(max, 0, WEIR_FRAME_VARINT, 0, 0, WEIR_FRAME_STRIP_HEAD)

/* Any other: see the fields of weir_frame. */
#define weir_frame_length_field(max, offset, width, flags, adjust, strip)                         \
    WEIR_FRAME_OF                                                                                 \
    {                                                                                             \
        WEIR_FRAME_U32(max), WEIR_FRAME_LENGTH, (flags), (offset), (width), (adjust), (strip), 0, \
            {0, 0}, 0, 0                                                                          \
    }

/* A frame that was found; all in bytes, counted from the frame's first. */
typedef struct weir_frame_found {
    size_t size;           /* of the frame. When more is needed: the least that it will have */
    size_t payload_offset; /* only when found */
    size_t payload_size;
} weir_frame_found;

/* What goes around a payload: head, payload, tail, in this order. */
typedef struct weir_frame_wrap {
    uint8_t head[WEIR_FRAME_HEAD_MAX];
    size_t head_size;
    const void *tail; /* static, or the weir_frame's own; NULL when there is none */
    size_t tail_size;
} weir_frame_wrap;

WEIR_BEGIN

/* Looks for contradictions: WEIR_EINVALID or 0. Call it once for a weir_frame; the functions below
 * take only what passed. Any thread, like all of them. */
WEIR_API int weir_frame_check(const weir_frame *frame);

/* Finds the frame that begins at `data`. 1: it is there, see *found (the payload lies in `data`,
 * nothing is copied); 0: the `size` bytes are not all of it; WEIR_ETOOBIG: it has more than max
 * bytes; WEIR_EPROTO: its length is impossible or its end malformed. After an error the stream
 * cannot be understood any further.
 *
 * *scanned must be 0 for a new frame. When more is needed it says how much need not be looked at
 * again: call again with it, and with the same bytes and more of them. So bytes that arrive one by
 * one cost no more than all at once. A frame found sets it to 0. What is returned for a stream does
 * not depend on how it was cut, except that an error may be seen earlier. */
WEIR_API int weir_frame_next(const weir_frame *frame, const void *data, size_t size,
                             size_t *scanned, weir_frame_found *found);

/* Tells what to send around a payload of `size` bytes. The payload is everything after the length
 * field; bytes before it (.offset) are the caller's to send first. WEIR_ETOOBIG: the frame would be
 * larger than max, or its length does not fit the field; WEIR_EINVALID: it is not the fixed size,
 * or smaller than .adjust allows. */
WEIR_API int weir_frame_encode(const weir_frame *frame, size_t size, weir_frame_wrap *wrap);

/* Whether a payload would arrive as it is: 0, or WEIR_EINVALID when it holds what ends a frame
 * (line and delimiter; alone or together with the end that follows it). To be called with text that
 * comes from elsewhere. The end itself must not be in it, whether or not KEEP_END is set. */
WEIR_API int weir_frame_payload_check(const weir_frame *frame, const void *data, size_t size);

WEIR_END
#endif
