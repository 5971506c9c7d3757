#include "app_test.h"

#include "app/http/encoding.h"

/* The order as letters: b, g, i. */
static void check(const char *field, const char *expected)
{
    struct coding_order order = weir__encoding_order(text_of(field));
    char text[CODINGS + 1] = "";

    for (unsigned i = 0; i < order.count; i++)
        text[i] = "igb"[order.coding[i]];
    if (strcmp(text, expected) != 0)
        print_error("%s\n", field);
    assert_string_equal(text, expected);
}

static void orders(void **state)
{
    static const struct {
        const char *field, *order;
    } cases[] = {
        {NULL, "i"},
        {"", "i"},
        {" , ,", "i"},
        {"gzip", "gi"},
        {"br", "bi"},
        {"gzip, deflate, br, zstd", "bgi"},
        {"gzip, deflate", "gi"},
        {"deflate", "i"},
        {"GZip", "gi"},
        {"x-gzip", "gi"},
        {"gzip;q=0", "i"},
        {"gzip;q=0.000", "i"},
        {"gzip;q=0.001", "gi"},
        {"gzip; q=0.5 , br; q=0.4", "gbi"},
        {"gzip;q=1.0, br;q=0.999", "gbi"},
        {"gzip;Q=0.5", "gi"},
        /* RFC 9110 section 12.5.3. */
        {"compress, gzip", "gi"},
        {"*", "bgi"},
        {"compress;q=0.5, gzip;q=1.0", "gi"},
        {"gzip;q=1.0, identity; q=0.5, *;q=0", "gi"},
        /* identity is acceptable, though last, unless it is refused or preferred. */
        {"identity", "i"},
        {"identity;q=0.5, gzip;q=0.2", "ig"},
        {"identity, gzip, br", "bgi"},
        {"identity;q=0", ""},
        {"*;q=0", ""},
        {"*;q=0, identity", "i"},
        {"*;q=0, br", "b"},
        {"identity;q=0, gzip", "g"},
        {"gzip, *;q=0", "g"},
        {"gzip;q=0, *", "bi"},
        {"gzip;q=0.3, *;q=0.7", "big"},
        {"br;q=0, *;q=0.1", "gi"},
        {"*;q=0.5, identity;q=0.1", "bgi"},
        /* The first of two counts. */
        {"gzip;q=0, gzip;q=1", "i"},
        /* Malformed: as if it were not there. */
        {"gzip;q=2", "i"},
        {"gzip;q=", "i"},
        {"gzip;q=a", "i"},
        {"gzip;q=0.1234", "i"},
        {"br, gzip;q=-1", "i"},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        check(cases[i].field, cases[i].order);
}

static void choice(void **state)
{
    const unsigned all =
        CODING_BIT(CODING_IDENTITY) | CODING_BIT(CODING_GZIP) | CODING_BIT(CODING_BR);
    struct coding_order order = weir__encoding_order(T("gzip, br"));

    assert_int_equal(weir__encoding_choose(&order, all), CODING_BR);
    assert_int_equal(weir__encoding_choose(&order, all & ~CODING_BIT(CODING_BR)), CODING_GZIP);
    assert_int_equal(weir__encoding_choose(&order, CODING_BIT(CODING_IDENTITY)), CODING_IDENTITY);
    order = weir__encoding_order(T("gzip, identity;q=0"));
    assert_int_equal(weir__encoding_choose(&order, all), CODING_GZIP);
    assert_int_equal(weir__encoding_choose(&order, CODING_BIT(CODING_IDENTITY)), -1);
    assert_string_equal(weir__coding_suffix(CODING_IDENTITY), "");
    assert_string_equal(weir__coding_suffix(CODING_GZIP), ".gz");
    assert_string_equal(weir__coding_suffix(CODING_BR), ".br");
    assert_null(weir__coding_name(CODING_IDENTITY));
    assert_string_equal(weir__coding_name(CODING_GZIP), "gzip");
    assert_string_equal(weir__coding_name(CODING_BR), "br");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(orders),
        cmocka_unit_test(choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
