#include "proto/httpfield.h"

#include "proto/httpchar.h"

#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static void advance(struct http_text *text, size_t count)
{
    text->at += count;
    text->length -= count;
}

static void skip_blanks(struct http_text *text)
{
    while (text->length > 0 && is_blank(text->at[0]))
        advance(text, 1);
}

bool http_text_same(struct http_text text, const char *other, size_t length)
{
    if (text.length != length)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (http_char_lower((uint8_t)text.at[i]) != http_char_lower((uint8_t)other[i]))
            return false;
    }
    return true;
}

struct http_text http_text_trim(struct http_text text)
{
    skip_blanks(&text);
    while (text.length > 0 && is_blank(text.at[text.length - 1]))
        text.length--;
    return text;
}

bool http_text_is_token(struct http_text text)
{
    for (size_t i = 0; i < text.length; i++) {
        if (!http_char_is((uint8_t)text.at[i], HTTP_CLASS_TOKEN))
            return false;
    }
    return text.length > 0;
}

bool http_text_number(struct http_text text, uint64_t *number)
{
    uint64_t sum = 0;

    if (text.length == 0)
        return false;
    for (size_t i = 0; i < text.length; i++) {
        unsigned digit = (uint8_t)text.at[i] - (unsigned)'0';

        if (digit > 9 || sum > ((uint64_t)INT64_MAX - digit) / 10)
            return false;
        sum = sum * 10 + digit;
    }
    *number = sum;
    return true;
}

/* Gives the length of the quoted string that the text begins with, quotes included; 0 when it
 * does not end, or has a character that may not stand in it. */
static size_t quoted_length(struct http_text text)
{
    for (size_t i = 1; i < text.length; i++) {
        if (text.at[i] == '"')
            return i + 1;
        if (text.at[i] == '\\' && ++i == text.length)
            return 0;
        if (!http_char_is((uint8_t)text.at[i], HTTP_CLASS_TEXT))
            return 0;
    }
    return 0;
}

int http_list_next(struct http_text *list, struct http_text *element)
{
    while (list->length > 0) {
        size_t length = 0;

        while (length < list->length && list->at[length] != ',') {
            size_t step = 1;

            if (list->at[length] == '"')
                step = quoted_length((struct http_text){list->at + length, list->length - length});
            if (step == 0)
                return -1;
            length += step;
        }
        *element = http_text_trim((struct http_text){list->at, length});
        advance(list, length < list->length ? length + 1 : length);
        if (element->length > 0)
            return 1;
    }
    return 0;
}

int http_token_list_next(struct http_text *list, struct http_text *token)
{
    int rc = http_list_next(list, token);

    return rc == 1 && !http_text_is_token(*token) ? -1 : rc;
}

static size_t token_length(struct http_text text)
{
    size_t length = 0;

    while (length < text.length && http_char_is((uint8_t)text.at[length], HTTP_CLASS_TOKEN))
        length++;
    return length;
}

int http_parameter_next(struct http_text *parameters, struct http_text *name,
                        struct http_text *value, bool *quoted)
{
    struct http_text rest = *parameters;

    *quoted = false;
    do { /* ";;" is an empty parameter, which is let pass (RFC 9110 5.6.6) */
        skip_blanks(&rest);
        if (rest.length == 0)
            return 0;
        if (rest.at[0] != ';')
            return -1;
        advance(&rest, 1);
        skip_blanks(&rest);
        if (rest.length == 0)
            return 0;
    } while (rest.at[0] == ';');
    *name = (struct http_text){rest.at, token_length(rest)};
    if (name->length == 0)
        return -1;
    advance(&rest, name->length);
    *value = (struct http_text){rest.at, 0};
    if (rest.length > 0 && rest.at[0] == '=') {
        advance(&rest, 1);
        *quoted = rest.length > 0 && rest.at[0] == '"';
        *value = (struct http_text){rest.at, *quoted ? quoted_length(rest) : token_length(rest)};
        if (value->length == 0)
            return -1;
        advance(&rest, value->length);
        if (*quoted)
            *value = (struct http_text){value->at + 1, value->length - 2};
    }
    *parameters = rest;
    return 1;
}

/* Reads a weight: "0", "1", with up to three decimals, at most 1 (RFC 9110 12.4.2). */
static bool read_quality(struct http_text text, uint16_t *quality)
{
    unsigned sum, scale = 100;

    if (text.length == 0 || text.length > 5 || (text.at[0] != '0' && text.at[0] != '1'))
        return false;
    sum = text.at[0] == '1' ? 1000 : 0;
    if (text.length > 1 && text.at[1] != '.')
        return false;
    for (size_t i = 2; i < text.length; i++, scale /= 10) {
        unsigned digit = (uint8_t)text.at[i] - (unsigned)'0';

        if (digit > 9)
            return false;
        sum += digit * scale;
    }
    *quality = (uint16_t)sum;
    return sum <= 1000;
}

int http_preference_next(struct http_text *list, struct http_preference *preference)
{
    struct http_text element, rest, name, value;
    const char *semicolon;
    bool quoted;
    int rc = http_list_next(list, &element);

    if (rc != 1)
        return rc;
    semicolon = memchr(element.at, ';', element.length);
    preference->quality = 1000;
    preference->value = element;
    if (semicolon)
        preference->value.length = (size_t)(semicolon - element.at);
    rest = element;
    advance(&rest, preference->value.length);
    preference->value = http_text_trim(preference->value);
    preference->parameters = rest;
    if (preference->value.length == 0)
        return -1;
    for (;;) {
        const char *before = rest.at;

        rc = http_parameter_next(&rest, &name, &value, &quoted);
        if (rc <= 0)
            return rc < 0 ? -1 : 1;
        if (http_text_is(name, "q")) {
            preference->parameters.length = (size_t)(before - preference->parameters.at);
            /* What follows q is an extension that nobody uses and RFC 9110 took out. */
            return !quoted && read_quality(value, &preference->quality) ? 1 : -1;
        }
    }
}

int http_quality_of(struct http_text list, const char *name, size_t length)
{
    struct http_preference preference;
    int named = -1, any = -1, rc;

    while ((rc = http_preference_next(&list, &preference)) == 1) {
        if (named < 0 && http_text_same(preference.value, name, length))
            named = preference.quality;
        else if (any < 0 && http_text_is(preference.value, "*"))
            any = preference.quality;
    }
    if (rc < 0)
        return -1;
    return named >= 0 ? named : any;
}
