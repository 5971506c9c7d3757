/* Options, copied and checked. */
#include <string.h>

#include "tls/tls.h"

static bool out_of_memory(void)
{
    weir__log(WEIR_LOG_ERROR, WEIR_ENOMEM, 0, "TLS: %s", weir_error_text(WEIR_ENOMEM));
    return false;
}

static bool wrong(const char *what)
{
    weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0, "TLS: %s", what);
    return false;
}

static bool copy_text(char **out, const char *text)
{
    if (text == NULL)
        return true;
    *out = OPENSSL_strdup(text);
    return *out != NULL || out_of_memory();
}

static bool copy_alpn(struct tls_config *config, const char *const *alpn)
{
    size_t count = 0, bytes = 0;
    for (; alpn != NULL && alpn[count] != NULL; count++) {
        size_t size = strlen(alpn[count]);
        if (size == 0 || size > TLS_ALPN_MAX)
            return wrong("a protocol's name in .alpn has 1 to 255 bytes");
        bytes += 1 + size;
    }
    if (count == 0)
        return true;
    if (bytes > UINT16_MAX)
        return wrong(".alpn has too many protocols");
    config->alpn = OPENSSL_zalloc((count + 1) * sizeof *config->alpn);
    config->alpn_wire = OPENSSL_malloc(bytes);
    if (config->alpn == NULL || config->alpn_wire == NULL)
        return out_of_memory();
    for (size_t i = 0; i < count; i++) {
        size_t size = strlen(alpn[i]);
        if (!copy_text(&config->alpn[i], alpn[i]))
            return false;
        config->alpn_wire[config->alpn_wire_size++] = (unsigned char)size;
        memcpy(config->alpn_wire + config->alpn_wire_size, alpn[i], size);
        config->alpn_wire_size += (unsigned)size;
    }
    return true;
}

static bool copy_name(struct tls_config *config, const char *name)
{
    if (!copy_text(&config->server_name, name) || name == NULL)
        return name == NULL;
    return tls_name_take(config->server_name) ||
           wrong(".server_name is no host's name: it is empty, begins with a dot, or has a star, a "
                 "blank or a control character in it");
}

static bool copy_limits(struct tls_config *config, const weir_tls_limits *limits)
{
    unsigned least = (unsigned)limits->version_min;
    if (least != WEIR_TLS_VERSION_DEFAULT && least != WEIR_TLS_1_2 && least != WEIR_TLS_1_3)
        return wrong(".version_min is neither TLS 1.2 nor 1.3");
    unsigned most = (unsigned)limits->version_max;
    if (most != WEIR_TLS_VERSION_DEFAULT && most != WEIR_TLS_1_2 && most != WEIR_TLS_1_3)
        return wrong(".version_max is neither TLS 1.2 nor 1.3");
    if (most != 0 && least > most)
        return wrong(".version_max is below .version_min");
    config->version_min = least != 0 ? (int)least : TLS1_2_VERSION;
    config->version_max = (int)most;
    config->handshake_max_bytes = limits->handshake_max_bytes != 0 ? limits->handshake_max_bytes
                                  : config->client                 ? TLS_HANDSHAKE_CLIENT
                                                                   : TLS_HANDSHAKE_SERVER;
    return copy_text(&config->ciphers, limits->ciphers) &&
           copy_text(&config->groups, limits->groups);
}

static bool copy_certs(struct tls_config *config, const weir_tls_cert *certs, unsigned count)
{
    config->certs = OPENSSL_zalloc(count * sizeof *config->certs);
    if (config->certs == NULL)
        return out_of_memory();
    config->cert_count = count;
    for (unsigned i = 0; i < count; i++) {
        char *cert = NULL, *key = NULL, *ocsp = NULL;
        if (certs[i].cert_file == NULL)
            return wrong("a certificate without .cert_file");
        bool fine =
            copy_text(&cert, certs[i].cert_file) &&
            copy_text(&key, certs[i].key_file != NULL ? certs[i].key_file : certs[i].cert_file) &&
            copy_text(&ocsp, certs[i].ocsp_file);
        config->certs[i] = (weir_tls_cert){.cert_file = cert, .key_file = key, .ocsp_file = ocsp};
        if (!fine)
            return false;
    }
    return true;
}

bool tls_config_server(struct tls_config *out, const weir_tls_server_options *options)
{
    if (options->certs == NULL || options->cert_count == 0)
        return wrong("a server needs a certificate");
    if (options->cert_count > TLS_CERTS_MAX)
        return wrong("more than 1024 certificates");
    bool asks = options->peer_certs != WEIR_TLS_PEER_CERTS_NONE;
    if ((unsigned)options->peer_certs > WEIR_TLS_PEER_CERTS_REQUIRE)
        return wrong(".peer_certs has no such value");
    if (asks != (options->peer_ca_file != NULL))
        return wrong(".peer_certs and .peer_ca_file are of no use without each other");
    out->peer_certs = options->peer_certs;
    out->handshake_rate = options->handshake_rate;
    out->on_pool = options->handshake_on_pool;
    if (out->handshake_rate > TLS_RATE_MAX)
        return wrong("more than a million .handshake_rate");
    return copy_certs(out, options->certs, options->cert_count) &&
           copy_text(&out->ca_file, options->peer_ca_file) &&
           copy_text(&out->ticket_key_file, options->ticket_key_file) &&
           copy_limits(out, &options->limits) && copy_alpn(out, options->alpn);
}

static bool copy_pins(struct tls_config *config, const char *const *pins)
{
    unsigned count = 0;
    while (pins != NULL && pins[count] != NULL && count <= TLS_PINS_MAX)
        count++;
    if (count > TLS_PINS_MAX)
        return wrong("more than 256 .pins");
    if (count == 0)
        return true;
    config->pins = OPENSSL_zalloc(count * sizeof *config->pins);
    if (config->pins == NULL)
        return out_of_memory();
    for (; config->pin_count < count; config->pin_count++)
        if (!tls_pin_read(pins[config->pin_count], config->pins[config->pin_count]))
            return wrong("one of .pins is not \"sha256//\" and the base64 of 32 bytes");
    return true;
}

bool tls_config_client(struct tls_config *out, const weir_tls_client_options *options)
{
    out->client = true;
    out->insecure = options->insecure;
    out->no_sessions = options->no_sessions;
    if (options->cert.cert_file != NULL && !copy_certs(out, &options->cert, 1))
        return false;
    return copy_text(&out->ca_file, options->ca_file) && copy_name(out, options->server_name) &&
           copy_limits(out, &options->limits) && copy_alpn(out, options->alpn) &&
           copy_pins(out, options->pins);
}

void tls_config_free(struct tls_config *config)
{
    for (unsigned i = 0; i < config->cert_count; i++) {
        OPENSSL_free((char *)(uintptr_t)config->certs[i].cert_file);
        OPENSSL_free((char *)(uintptr_t)config->certs[i].key_file);
        OPENSSL_free((char *)(uintptr_t)config->certs[i].ocsp_file);
    }
    for (size_t i = 0; config->alpn != NULL && config->alpn[i] != NULL; i++)
        OPENSSL_free(config->alpn[i]);
    OPENSSL_free(config->certs);
    OPENSSL_free(config->alpn);
    OPENSSL_free(config->alpn_wire);
    OPENSSL_free(config->ca_file);
    OPENSSL_free(config->server_name);
    OPENSSL_free(config->ciphers);
    OPENSSL_free(config->groups);
    OPENSSL_free(config->pins);
    OPENSSL_free(config->ticket_key_file);
    *config = (struct tls_config){0};
}

const char *tls_alpn_text(const struct tls_config *config, const unsigned char *name, unsigned size)
{
    for (size_t i = 0; config->alpn != NULL && config->alpn[i] != NULL; i++)
        if (strlen(config->alpn[i]) == size && memcmp(config->alpn[i], name, size) == 0)
            return config->alpn[i];
    return "";
}
