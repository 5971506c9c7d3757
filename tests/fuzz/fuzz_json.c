/* The JSON reader: what it takes is walked, decoded, and written anew, and the writer's text is
 * read back as the same values. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <weir/error.h>
#include <weir/json.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { VALUES = 256, TEXT_BYTES = 4096 };

static void require(int truth)
{
    if (!truth)
        abort();
}

static void write_value(const weir_json_value *values, const weir_json_value *value,
                        const char *name, weir_json_writer *out)
{
    char text[TEXT_BYTES], label[TEXT_BYTES];
    uint64_t number;
    switch (value->kind) {
    case WEIR_JSON_NULL:
        weir_json_text(out, name, NULL);
        return;
    case WEIR_JSON_BOOL:
        weir_json_bool(out, name, value->truth);
        return;
    case WEIR_JSON_NUMBER:
        weir_json_number(out, name, weir_json_to_number(value, &number) == 0 ? number : 0);
        return;
    case WEIR_JSON_TEXT:
        weir_json_text(out, name, weir_json_to_text(value, text, sizeof text) >= 0 ? text : "");
        return;
    default:
        break;
    }
    const weir_json_value *at = weir_json_first(values, value);
    unsigned count = 0;
    bool object = value->kind == WEIR_JSON_OBJECT;
    if (object)
        weir_json_object(out, name);
    else
        weir_json_array(out, name);
    for (; at != NULL; count++) {
        const weir_json_value *inner = object ? &values[at->next] : at;
        require(at > value && inner->next <= value->next);
        require(!object || at->kind == WEIR_JSON_TEXT);
        if (object && weir_json_to_text(at, label, sizeof label) < 0)
            label[0] = '\0';
        write_value(values, inner, object ? label : NULL, out);
        at = weir_json_next(values, value, inner);
    }
    require(count == value->count);
    weir_json_end(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static weir_json_value values[VALUES], again[VALUES];
    /* A copy of its own: a byte too far is seen. */
    char *text = malloc(size + (size == 0));
    require(text != NULL);
    memcpy(text, data, size);
    int count = weir_json_read(text, size, values, VALUES);
    require(count > 0 || count == WEIR_EPROTO || count == WEIR_ETOOBIG);
    if (count > 0) {
        require((int)values[0].next == count);
        weir_json_writer out = {.indent = size % 2 == 0};
        write_value(values, &values[0], NULL, &out);
        require(weir_json_done(&out) == 0);
        require(weir_json_read(out.data, out.size, again, VALUES) == count);
        for (int i = 0; i < count; i++)
            require(values[i].kind == again[i].kind && values[i].next == again[i].next &&
                    values[i].count == again[i].count);
        weir_json_free(&out);
    }
    free(text);
    return 0;
}
