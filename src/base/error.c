#include <weir/error.h>

#include <string.h>

#define ERROR_TEXT(name, number, text) \
    case number:                       \
        return text;
#define ERROR_NAME(name, number, text) \
    case number:                       \
        return "WEIR_E" #name;

const char *weir_error_text(int error)
{
    switch (error) {
        WEIR_ERRORS(ERROR_TEXT)
    default:
        break;
    }
    if (error < 0 && error > -4096) {
        const char *text = strerrordesc_np(-error);
        if (text != NULL)
            return text;
    }
    return error >= 0 ? "success" : "unknown error";
}

const char *weir_error_name(int error)
{
    switch (error) {
        WEIR_ERRORS(ERROR_NAME)
    default:
        break;
    }
    if (error < 0 && error > -4096) {
        const char *name = strerrorname_np(-error);
        if (name != NULL)
            return name;
    }
    return error >= 0 ? "OK" : "unknown";
}
