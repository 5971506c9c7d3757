#include "base/utf8.h"

unsigned utf8_next(const char *text, size_t size, uint32_t *code)
{
    const unsigned char *bytes = (const unsigned char *)text;
    if (size == 0)
        return 0;
    unsigned char first = bytes[0];
    if (first < 0x80) {
        *code = first;
        return 1;
    }
    unsigned length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (first < 0xc2 || first > 0xf4 || size < length)
        return 0;
    uint32_t number = first & (0x7fu >> length);
    for (unsigned i = 1; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
        number = number << 6 | (bytes[i] & 0x3f);
    }
    if (number < smallest[length] || number > 0x10ffff || (number >= 0xd800 && number <= 0xdfff))
        return 0;
    *code = number;
    return length;
}
