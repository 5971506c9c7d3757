/* A view: borrowed bytes. Pointer, length and owner in 16 bytes, passed in registers. */
#ifndef WEIR_VIEW_H
#define WEIR_VIEW_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <weir/export.h>

/* Who owns a view's bytes: the top 3 bits of `owner`; the rest is the owner's own number. */
enum weir_owner {
    WEIR_OWNER_CALLER = 0, /* copied by whoever keeps them beyond the call */
    WEIR_OWNER_STATIC = 1, /* never change and never go away */
    WEIR_OWNER_BLOCK = 2,  /* a receive block of the loop; valid until the handler returns */
    WEIR_OWNER_LENT = 3,   /* lent with a release callback: see weir_own */
    WEIR_OWNER_KEPT = 4,   /* retained by weir_retain; given back by weir_release */
    WEIR_OWNER_NONE = 7    /* no view: making it failed; sending it is an error */
};
#define WEIR_OWNER_SHIFT 29

typedef struct weir_view {
    const void *data;
    uint32_t size; /* bytes */
    uint32_t owner;
} weir_view;

/* Called when bytes lent by weir_own are needed no more: on the loop's thread, never inside a verb,
 * exactly once, also when the connection failed; it may come after on_close. */
typedef void weir_release_fn(const void *data, size_t size, void *arg);

WEIR_BEGIN

/* Bytes that are copied when they are sent. Valid as long as the caller's memory is. */
static inline weir_view weir_bytes(const void *data, size_t size)
{
    weir_view view = {data, (uint32_t)size, (uint32_t)WEIR_OWNER_CALLER << WEIR_OWNER_SHIFT};
    if (size > UINT32_MAX)
        view.owner = (uint32_t)WEIR_OWNER_NONE << WEIR_OWNER_SHIFT;
    return view;
}

/* A string without its NUL; copied when it is sent. */
static inline weir_view weir_str(const char *text)
{
    return weir_bytes(text, strlen(text));
}

/* Bytes that never change and live as long as the program (at most 4 GiB - 1): not copied, and not
 * counted against a connection's output limits, but for pieces of less than 256 bytes, which cost
 * less to copy than to refer to. */
static inline weir_view weir_static(const void *data, size_t size)
{
    weir_view view = {data, (uint32_t)size, (uint32_t)WEIR_OWNER_STATIC << WEIR_OWNER_SHIFT};
    if (size > UINT32_MAX)
        view.owner = (uint32_t)WEIR_OWNER_NONE << WEIR_OWNER_SHIFT;
    return view;
}

/* Lends bytes to the current loop until it calls release(data, size, arg). Never copied; counted
 * against the soft mark only. Send the view once. When there is no place to note it, release is
 * called at once and sending the view gives WEIR_ENOMEM. Loop's thread only. */
WEIR_API weir_view weir_own(const void *data, size_t size, weir_release_fn *release, void *arg);

/* Keeps a view beyond its handler. Returns a view that may be a copy at another address (small ones
 * and everything from a shared receive block are copied); owner is WEIR_OWNER_NONE when memory or
 * the loop's budget is short. Give it back with weir_release. Loop's thread only. */
WEIR_API weir_view weir_retain(weir_view view);

/* Gives back what weir_retain returned; other views are left alone. Loop's thread only. */
WEIR_API void weir_release(weir_view view);

/* The part of a view from `offset` on, at most `size` bytes; cut to what is there. */
static inline weir_view weir_slice(weir_view view, size_t offset, size_t size)
{
    if (offset > view.size)
        offset = view.size;
    if (size > view.size - offset)
        size = view.size - offset;
    view.data = (const char *)view.data + offset;
    view.size = (uint32_t)size;
    return view;
}

WEIR_END
#endif
