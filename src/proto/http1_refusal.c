#include "proto/http1.h"

static const struct http1_refusal_row rows[HTTP1_REFUSALS] = {
    [HTTP1_ACCEPTED] = {"accepted", "nothing is wrong", 200, false},
#define X(identifier, name, status, close, text) [HTTP1_##identifier] = {name, text, status, close},
    HTTP1_REFUSAL_TABLE(X)
#undef X
};

const struct http1_refusal_row *http1_refusal_row(ssize_t refusal)
{
    if (refusal < 0)
        refusal = -refusal;
    if (refusal >= HTTP1_REFUSALS)
        refusal = HTTP1_BAD_REQUEST_LINE;
    return &rows[refusal];
}
