/* Certificates that weir makes: they say what was wanted, are accepted by OpenSSL, and their keys
 * are for nobody else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <glob.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <weir/cert.h>
#include <weir/log.h>

#include "tls/certs.h"

static char said[1024];

static void note_line(const weir_log_line *line, void *arg)
{
    snprintf(said, sizeof said, "%s", line->text);
}

static int set_up(void **state)
{
    weir_log_set(note_line, NULL, WEIR_LOG_WARN);
    static const char *const local[] = {"localhost", "127.0.0.1", "::1", NULL};
    const weir_cert_want ca = {.cert_file = cert_path("root", ".pem"),
                               .key_file = cert_path("root", ".key"),
                               .common_name = "A root, \"for\" tests",
                               .names = local,
                               .ca = true};
    return weir_cert_make(&ca);
}

static int issue(const char *name, const char *const *names, uint32_t days)
{
    const weir_cert_want want = {.cert_file = cert_path(name, ".pem"),
                                 .key_file = cert_path(name, ".key"),
                                 .issuer_cert_file = cert_path("root", ".pem"),
                                 .issuer_key_file = cert_path("root", ".key"),
                                 .names = names,
                                 .days = days};
    return weir_cert_make(&want);
}

static X509 *read_cert(const char *name)
{
    FILE *file = fopen(cert_path(name, ".pem"), "re");
    X509 *cert = file != NULL ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
    assert_non_null(cert);
    fclose(file);
    return cert;
}

/* As a client that trusts the root would look at it. */
static int verified(const char *name, const char *host)
{
    X509 *cert = read_cert(name), *root = read_cert("root");
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    X509_STORE_add_cert(store, root);
    X509_STORE_CTX_init(context, store, cert, NULL);
    X509_STORE_CTX_set_purpose(context, X509_PURPOSE_SSL_SERVER);
    X509_VERIFY_PARAM_set1_host(X509_STORE_CTX_get0_param(context), host, 0);
    int error = X509_verify_cert(context) == 1 ? 0 : X509_STORE_CTX_get_error(context);
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
    X509_free(cert);
    X509_free(root);
    return error;
}

static void made_as_wanted(void **state)
{
    static const char *const names[] = {"localhost", "127.0.0.1", "::1", NULL};
    weir_cert_info info;
    struct stat status;
    assert_int_equal(issue("leaf", names, 30), 0);
    assert_int_equal(stat(cert_path("leaf", ".key"), &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_int_equal(weir_cert_look(cert_path("leaf", ".pem"), &info), 0);
    assert_string_equal(info.subject, "CN=localhost");
    assert_string_equal(info.names, "localhost 127.0.0.1 ::1");
    assert_false(info.ca || info.self_signed);
    int64_t left_s = info.until_s - (int64_t)time(NULL);
    assert_true(left_s > 29 * 86400 && left_s <= 30 * 86400 && info.from_s < time(NULL));
    assert_int_equal(strlen(info.fingerprint), 95);
    assert_int_equal(verified("leaf", "localhost"), 0);
    assert_int_equal(verified("leaf", "other.example"), X509_V_ERR_HOSTNAME_MISMATCH);
    assert_int_equal(weir_cert_look(cert_path("root", ".pem"), &info), 0);
    assert_true(info.ca && info.self_signed);
    /* It serves without a warning: its issuer stands behind it. */
    said[0] = '\0';
    weir_tls_cert files = cert_files("leaf");
    weir_tls *tls =
        weir_tls_server_new(&(weir_tls_server_options){.certs = &files, .cert_count = 1});
    assert_non_null(tls);
    assert_string_equal(said, "");
    weir_tls_free(tls);
}

/* A root for localhost that is stolen is of no use for anybody else's names. */
static void a_root_is_for_its_names(void **state)
{
    static const char *const others[] = {"bank.example", NULL};
    assert_int_equal(issue("other", others, 30), 0);
    assert_int_equal(verified("other", "bank.example"), X509_V_ERR_PERMITTED_VIOLATION);
}

static void what_is_not_made(void **state)
{
    static const char *const good[] = {"localhost", NULL};
    static const char *const bad[] = {"a,DNS:bank.example", "a b", "", "*.", "a*b", "\n", NULL};
    for (int i = 0; bad[i] != NULL; i++) {
        const char *const names[] = {bad[i], NULL};
        assert_true(issue("bad", names, 30) < 0);
    }
    assert_true(issue("bad", NULL, 30) < 0);
    assert_true(issue("bad", good, 40000) < 0);
    weir_cert_want want = {.cert_file = cert_path("bad", ".pem"),
                           .key_file = cert_path("bad", ".key"),
                           .issuer_cert_file = cert_path("root", ".pem"),
                           .issuer_key_file = cert_path("leaf", ".key"),
                           .names = good};
    assert_true(weir_cert_make(&want) < 0);
    assert_non_null(strstr(said, "does not match"));
    want.issuer_cert_file = cert_path("leaf", ".pem");
    assert_true(weir_cert_make(&want) < 0);
    assert_non_null(strstr(said, "may not issue"));
    want.issuer_key_file = NULL;
    assert_true(weir_cert_make(&want) < 0);
    want.issuer_cert_file = NULL;
    want.key_file = "/proc/nothing/key";
    assert_true(weir_cert_make(&want) < 0);
    weir_cert_info info;
    assert_true(weir_cert_look("/proc/nothing/cert", &info) < 0);
    assert_true(weir_cert_look(cert_path("root", ".key"), &info) < 0);
}

/* When the certificate cannot be written the former key stays, which is that of the former one. */
static void both_or_none(void **state)
{
    static const char *const names[] = {"localhost", NULL};
    assert_int_equal(issue("both", names, 30), 0);
    assert_int_equal(weir_cert_pair(cert_path("both", ".pem"), cert_path("both", ".key")), 0);
    weir_cert_want want = {
        .cert_file = "/proc/nothing/cert", .key_file = cert_path("both", ".key"), .names = names};
    assert_true(weir_cert_make(&want) < 0);
    assert_int_equal(weir_cert_pair(cert_path("both", ".pem"), cert_path("both", ".key")), 0);
    assert_true(weir_cert_pair(cert_path("both", ".pem"), cert_path("root", ".key")) < 0);
    assert_non_null(strstr(said, "does not match"));
    assert_true(weir_cert_pair(cert_path("both", ".key"), cert_path("both", ".key")) < 0);
    assert_true(weir_cert_pair(cert_path("both", ".pem"), "/proc/nothing/key") < 0);
    assert_true(weir_cert_pair(NULL, NULL) < 0);
    glob_t found; /* what was written beside them is gone */
    assert_int_equal(glob(cert_path("both", ".*"), 0, NULL, &found), 0);
    assert_int_equal(found.gl_pathc, 2);
    globfree(&found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(made_as_wanted), cmocka_unit_test(a_root_is_for_its_names),
        cmocka_unit_test(what_is_not_made), cmocka_unit_test(both_or_none)};
    return cmocka_run_group_tests(tests, set_up, NULL);
}
