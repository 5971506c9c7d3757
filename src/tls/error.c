#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

#include "tls/tls.h"

const char *tls_error_text(char out[static TLS_TEXT])
{
    const char *data = "";
    int flags = 0;
    /* The first of the queue is the cause, those behind it say who was told. */
    unsigned long code = ERR_get_error_all(NULL, NULL, NULL, &data, &flags);
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    if (code != 0 && ERR_SYSTEM_ERROR(code))
        reason = weir_error_text(-ERR_GET_REASON(code));
    snprintf(out, TLS_TEXT, "%s%s%s", reason != NULL ? reason : "no reason was given",
             (flags & ERR_TXT_STRING) != 0 && data[0] != '\0' ? ": " : "",
             (flags & ERR_TXT_STRING) != 0 ? data : "");
    ERR_clear_error();
    return out;
}
