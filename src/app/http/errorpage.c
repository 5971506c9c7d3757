#include "app/http/errorpage.h"

#include <stdio.h>
#include <string.h>

#include "proto/httpstatus.h"

enum { WORDS_MAX = 400 };

struct page {
    short status;
    const char *cause, *fix;
};

/* Sorted by status. The words are for the one who sent the request: what the operator should know
 * goes to the log. */
static const struct page pages[] = {
    {301, "this directory is asked for with a slash at the end",
     "follow the Location (curl -L does)"},
    {302, NULL, "follow the Location (curl -L does)"},
    {303, NULL, "follow the Location with GET"},
    {307, NULL, "follow the Location with the same method"},
    {308, NULL, "follow the Location with the same method"},
    {400, "the request is not well-formed HTTP",
     "check the request line, the header fields and the percent-encoding of the path"},
    {401, "this needs a user name and password, or a token",
     "send an Authorization field (curl -u USER)"},
    {403, "the server may not read this file, or its rules refuse it",
     "ask the operator to check the file's permissions"},
    {404, "there is nothing under this path",
     "check the path; names that begin with a dot are not served unless the operator allows it"},
    {405, "this resource does not know the method", "use one of the methods in the Allow field"},
    {406, "no form of this resource is one that the request accepts",
     "allow identity in Accept-Encoding, or more types in Accept"},
    {408, "the request did not arrive in time",
     "send it at once; the operator sets the limits on header and body time"},
    {409, "the request does not fit the present state of the resource",
     "fetch it again, then repeat the change"},
    {410, "the resource was removed for good", "remove the link to it"},
    {411, "the length of the body is not known",
     "send Content-Length, or Transfer-Encoding: chunked"},
    {412, "the resource is not the one that the request describes",
     "fetch it again, and use its ETag or Last-Modified"},
    {413, "the body is larger than the limit",
     "send less, or ask the operator to raise the limit on bodies"},
    {414, "the request line is longer than the limit",
     "shorten the path or the query, or send data in the body"},
    {415, "the resource does not take this type of body",
     "check Content-Type and Content-Encoding"},
    {416, "the range lies beyond the end of the file",
     "see Content-Range for its length; without Range the whole file is sent"},
    {417, "the only expectation known is 100-continue", "leave the Expect field out"},
    {421, "this server does not answer for that host", "check the Host field and the address"},
    {422, "the body is well formed but makes no sense here", NULL},
    {425, "the request came in early data, which could be replayed",
     "repeat it after the handshake"},
    {426, "this resource speaks another protocol", "see the Upgrade field for which"},
    {428, "a change must say what it is based on",
     "send If-Match with the ETag of what was fetched"},
    {429, "requests come faster than allowed", "wait for the time in Retry-After"},
    {431, "the header fields are larger than the limit",
     "send fewer and shorter ones; cookies are the usual cause"},
    {500, "the server failed; the reason is in its log",
     "try again later, and tell the operator if it stays"},
    {501, "the server does not know the method or the transfer coding",
     "use another method, and no transfer coding but chunked"},
    {502, "the server behind this one gave no valid answer",
     "try again later, and tell the operator if it stays"},
    {503, "the server is at a limit, or is about to stop",
     "try again after the time in Retry-After"},
    {504, "the server behind this one did not answer in time",
     "try again later, and tell the operator if it stays"},
    {505, "the server speaks HTTP/1.0 and HTTP/1.1 here", "use one of those (curl --http1.1)"},
};

static const struct page *find(int status)
{
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
        if (pages[i].status == status)
            return &pages[i];
    return NULL;
}

static char *put_words(char *at, const char *label, const char *words)
{
    size_t length;

    if (!words)
        return at;
    at = stpcpy(at, label);
    length = strnlen(words, WORDS_MAX + 1);
    for (size_t i = 0; i < length && i < WORDS_MAX; i++) {
        unsigned char byte = (unsigned char)words[i];
        *at++ = byte < 0x20 || byte == 0x7F ? ' ' : words[i];
    }
    if (length > WORDS_MAX)
        at = stpcpy(at, "...");
    *at++ = '\n';
    return at;
}

size_t weir__errorpage_write(int status, const char *cause, const char *fix,
                             char out[ERRORPAGE_MAX])
{
    const struct page *page = find(status);
    struct http_text reason = http_status_text((unsigned)status);
    char *at = out;

    at += sprintf(at, "%d", status);
    if (reason.length > 0) {
        *at++ = ' ';
        at = mempcpy(at, reason.at, reason.length);
    }
    *at++ = '\n';
    if (page && !cause)
        cause = page->cause;
    if (page && !fix)
        fix = page->fix;
    at = put_words(at, "cause: ", cause);
    at = put_words(at, "fix: ", fix);
    *at = '\0';
    return (size_t)(at - out);
}
