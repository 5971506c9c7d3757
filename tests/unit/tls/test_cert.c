/* What is said about certificates and keys that cannot be used: the file, the line, the cause. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tls/certs.h"
#include "tls/tls.h"

static char said[4096];
static enum weir_log_level worst;

static void note_line(const weir_log_line *line, void *arg)
{
    size_t size = strlen(said);
    snprintf(said + size, sizeof said - size, "%s\n", line->text);
    worst = line->level < worst ? line->level : worst;
}

static weir_tls *server_of(const char *cert, const char *key)
{
    weir_tls_cert files = {.cert_file = cert, .key_file = key};
    said[0] = '\0';
    worst = WEIR_LOG_OFF;
    return weir_tls_server_new(&(weir_tls_server_options){.certs = &files, .cert_count = 1});
}

static void refused(const char *cert, const char *key, const char *place, const char *cause)
{
    weir_tls *tls = server_of(cert, key);
    assert_null(tls);
    if (strstr(said, place) == NULL || strstr(said, cause) == NULL || worst != WEIR_LOG_ERROR)
        fail_msg("said \"%s\", not \"%s\" and \"%s\"", said, place, cause);
}

static void warned(const char *cert, const char *key, const char *place, const char *cause)
{
    weir_tls *tls = server_of(cert, key);
    assert_non_null(tls);
    weir_tls_free(tls);
    if (cause == NULL ? said[0] != '\0'
                      : strstr(said, place) == NULL || strstr(said, cause) == NULL)
        fail_msg("said \"%s\", not \"%s\"", said, cause != NULL ? cause : "nothing");
}

static char *text_of(const char *path)
{
    static char texts[8][16384];
    static unsigned used;
    char *out = texts[used++ % 8];
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    out[fread(out, 1, sizeof texts[0] - 1, file)] = '\0';
    fclose(file);
    return out;
}

static int set_up(void **state)
{
    weir_log_set(note_line, NULL, WEIR_LOG_WARN);
    certs_usual();
    cert_make("between", (struct cert_want){.issuer = "ca", .ca = true});
    cert_make("below", (struct cert_want){.issuer = "between", .alt = "DNS:x.example"});
    return 0;
}

static void files_that_are_none(void **state)
{
    const char *pem = cert_path("server", ".pem"), *key = cert_path("server", ".key");
    refused(cert_path("nothing", ".pem"), key, "nothing.pem: ", "No such file");
    refused(pem, cert_path("nothing", ".key"), "nothing.key: ", "No such file");
    refused("/", key, "/: ", "directory");
    refused(key, pem, "server.key: ", "exchanged");
    refused(pem, pem, "server.pem: ", "no key in it");
    const char *empty = cert_write("empty.pem", (const char *const[]){"", NULL});
    refused(empty, key, "empty.pem: ", "no certificate");
}

static void damaged_files(void **state)
{
    char *pem = text_of(cert_path("server", ".pem")), *key = text_of(cert_path("server", ".key"));
    const char *good = cert_path("server", ".key");
    /* A certificate behind a comment, with a letter that base64 has not. */
    char *damaged = text_of(cert_path("server", ".pem"));
    damaged[80] = '!';
    refused(cert_write("bad.pem", (const char *const[]){"of the server\n\n", damaged, NULL}), good,
            "bad.pem, line 3: ", "cannot be read");
    damaged[strlen(damaged) - 40] = '\0';
    refused(cert_write("cut.pem", (const char *const[]){pem, damaged, NULL}), good, "cut.pem, line",
            "has no end");
    const char *bad = cert_write(
        "bad.key", (const char *const[]){"\n-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE "
                                         "KEY-----\n",
                                         NULL});
    refused(cert_path("server", ".pem"), bad, "bad.key, line 2: ", "cannot be read");
    /* Carriage returns, text before and behind, the key in the same file: all of that is fine. */
    const char *both = cert_write(
        "both.pem", (const char *const[]){"subject=x\r\n", pem, "\r\nmore\n", key, "end", NULL});
    warned(both, NULL, "both.pem", "incomplete");
}

static void keys_that_do_not_fit(void **state)
{
    refused(cert_path("server", ".pem"), cert_path("ca", ".key"),
            "ca.key, line 1: ", "does not match");
    refused(cert_path("server", ".pem"), cert_path("ca", ".key"), "server.pem, line 1", "match");
    const char *encrypted = cert_write(
        "locked.key",
        (const char *const[]){"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
                              "MIGjMF8GCSqGSIb3DQEFDTBSMDEGCSqGSIb3DQEFDDAkBBAUffLBwlKqAfV7Sv5L\n"
                              "0CB8AgIIADAMBggqhkiG9w0CCQUAMB0GCWCGSAFlAwQBKgQQ6YfYOqQvjwpPzHGu\n"
                              "4cHtZgRAJhVCeQCEB3O3bXZ0mpcTR9AIrq2wyY0RhzBAhEn+0kcfS5JTbZxYzxXK\n"
                              "kDPgJ0WbEWnYOyBqgxZCbGXk4wZ7gQ==\n"
                              "-----END ENCRYPTED PRIVATE KEY-----\n",
                              NULL});
    refused(cert_path("server", ".pem"), encrypted, "locked.key, line 1: ", "is encrypted");
}

static void what_is_worth_a_warning(void **state)
{
    cert_make("old", (struct cert_want){.from_days = -9, .to_days = -1});
    cert_make("new", (struct cert_want){.from_days = 2, .to_days = 9});
    cert_make("open", (struct cert_want){.readable = true});
    cert_make("alone", (struct cert_want){.alt = "DNS:x.example"});
    const char *below = text_of(cert_path("below", ".pem"));
    const char *between = text_of(cert_path("between", ".pem"));
    const char *ca = text_of(cert_path("ca", ".pem"));
    const char *key = cert_path("below", ".key");
    warned(cert_path("old", ".pem"), cert_path("old", ".key"), "old.pem, line 1: ", "expired");
    warned(cert_path("new", ".pem"), cert_path("new", ".key"),
           "new.pem, line 1: ", "not valid yet");
    warned(cert_path("open", ".pem"), cert_path("open", ".key"), "open.key: ", "chmod 600");
    warned(cert_path("alone", ".pem"), cert_path("alone", ".key"), "", NULL);
    warned(cert_path("below", ".pem"), key, "below.pem, line 1: ", "chain is incomplete");
    warned(cert_write("chain.pem", (const char *const[]){below, between, ca, NULL}), key, "", NULL);
    warned(cert_write("gap.pem", (const char *const[]){below, ca, NULL}), key, "gap.pem, line ",
           "out of order or incomplete");
}

static void options_that_are_wrong(void **state)
{
    weir_tls_cert cert = cert_files("server");
    static const char *const empty[] = {"", NULL};
    const weir_tls_server_options wrong[] = {
        {.cert_count = 1},
        {.certs = &cert},
        {.certs = &(weir_tls_cert){0}, .cert_count = 1},
        {.certs = &cert, .cert_count = 1, .alpn = empty},
        {.certs = &cert, .cert_count = 1, .limits = {.ciphers = "nothing"}},
        {.certs = &cert, .cert_count = 1, .limits = {.groups = "nothing"}},
        {.certs = &cert, .cert_count = 1, .limits = {.version_min = (enum weir_tls_version)0x0302}},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        said[0] = '\0';
        assert_null(weir_tls_server_new(&wrong[i]));
        assert_true(said[0] != '\0');
    }
    said[0] = '\0';
    assert_null(weir_tls_client_new(&(weir_tls_client_options){.server_name = ""}));
    assert_null(weir_tls_client_new(&(weir_tls_client_options){.ca_file = "/nonexistent/ca.pem"}));
    assert_non_null(strstr(said, "/nonexistent/ca.pem"));
    assert_null(
        weir_tls_client_new(&(weir_tls_client_options){.ca_file = cert_path("server", ".key")}));
    weir_tls *tls = weir_tls_client_new(NULL); /* the system's */
    assert_non_null(tls);
    weir_tls_free(tls);
    weir_tls_free(NULL);
    assert_null(weir_tls_layer(NULL));
}

static void names_find_certificates(void **state)
{
    struct tls_names names = {0};
    static const char *const alts[] = {"DNS:a.example,DNS:*.b.example", "DNS:x.b.example",
                                       "DNS:A.EXAMPLE,DNS:*.example", "IP:127.0.0.1"};
    for (unsigned i = 0; i < 4; i++) {
        cert_make("named", (struct cert_want){.alt = alts[i]});
        FILE *file = fopen(cert_path("named", ".pem"), "re");
        X509 *cert = PEM_read_X509(file, NULL, NULL, NULL);
        fclose(file);
        assert_true(tls_names_add(&names, cert, i));
        X509_free(cert);
    }
    tls_names_sort(&names);
    static const struct {
        const char *host;
        int found;
    } cases[] = {{"a.example", 0},
                 {"A.Example.", 0},
                 {"y.b.example", 0},
                 {"x.b.example", 1},
                 {"c.example", 2},
                 {"b.example", 2},
                 {"z.y.b.example", -1},
                 {"example", -1},
                 {"", -1},
                 {".", -1},
                 {".example", -1},
                 {"*.example", -1},
                 {"*.b.example", -1},
                 {"127.0.0.1", -1},
                 {"named", -1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (tls_names_find(&names, cases[i].host) != cases[i].found)
            fail_msg("%s is for %d", cases[i].host, tls_names_find(&names, cases[i].host));
    char lengthy[400];
    memset(lengthy, 'a', sizeof lengthy - 1);
    lengthy[sizeof lengthy - 1] = '\0';
    assert_int_equal(tls_names_find(&names, lengthy), -1);
    tls_names_free(&names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_that_are_none),    cmocka_unit_test(damaged_files),
        cmocka_unit_test(keys_that_do_not_fit),   cmocka_unit_test(what_is_worth_a_warning),
        cmocka_unit_test(options_that_are_wrong), cmocka_unit_test(names_find_certificates)};
    return cmocka_run_group_tests(tests, set_up, NULL);
}
