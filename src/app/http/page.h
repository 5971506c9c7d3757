/* The frame that weir's own HTML pages share: one plain style, light and dark, no script, nothing
 * fetched from anywhere. */
#ifndef WEIR_APP_HTTP_PAGE_H
#define WEIR_APP_HTTP_PAGE_H

#include "app/http/textout.h"

#define PAGE_TYPE "text/html; charset=utf-8"

/* Content-Security-Policy for these pages: their own style, and nothing else. */
#define PAGE_POLICY                                                                        \
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; " \
    "frame-ancestors 'none'"

/* Writes everything up to the page's content; the title is `title` and then `subject`, foreign text
 * that is escaped here. */
void weir__page_begin(struct textout *out, const char *title, struct http_text subject);

/* Closes the page. */
void weir__page_end(struct textout *out);

#endif
