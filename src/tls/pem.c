/* PEM files, read part by part so that what is wrong can be told with its line; the parts
 * themselves are decoded by OpenSSL (RFC 7468). */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

#include "tls/tls.h"

bool tls_pem_open(struct tls_pem *pem, const char *file)
{
    *pem = (struct tls_pem){.file = file, .line = 1};
    pem->whole = (struct tls_file){.name = file, .most = TLS_PEM_MAX, .level = WEIR_LOG_ERROR};
    if (!tls_file_read(&pem->whole, "certificates or keys"))
        return false;
    pem->data = (const char *)pem->whole.data;
    pem->size = pem->whole.size;
    return true;
}

void tls_pem_close(struct tls_pem *pem)
{
    tls_file_close(&pem->whole);
    pem->data = NULL;
}

/* The next line, without its end; false: there is none. */
static bool line_next(struct tls_pem *pem, const char **line, size_t *size)
{
    if (pem->at >= pem->size)
        return false;
    *line = pem->data + pem->at;
    const char *end = memchr(*line, '\n', pem->size - pem->at);
    size_t whole = end != NULL ? (size_t)(end - *line) + 1 : pem->size - pem->at;
    pem->at += whole;
    pem->line++;
    while (whole > 0 &&
           ((*line)[whole - 1] == '\n' || (*line)[whole - 1] == '\r' || (*line)[whole - 1] == ' '))
        whole--;
    *size = whole;
    return true;
}

/* Whether a line is "-----BEGIN LABEL-----"; the label. */
static bool boundary(const char *line, size_t size, const char *word, char *label, size_t room)
{
    size_t head = 5 + strlen(word) + 1;
    if (size < head + 6 || memcmp(line, "-----", 5) != 0 || memcmp(line + 5, word, head - 6) != 0 ||
        line[head - 1] != ' ' || memcmp(line + size - 5, "-----", 5) != 0)
        return false;
    size_t length = size - head - 5;
    if (length >= room)
        return false;
    memcpy(label, line + head, length);
    label[length] = '\0';
    return true;
}

int tls_pem_next(struct tls_pem *pem)
{
    const char *line;
    char end[sizeof pem->label];
    size_t size;
    do {
        pem->block_line = pem->line;
        if (!line_next(pem, &line, &size))
            return 0;
    } while (!boundary(line, size, "BEGIN", pem->label, sizeof pem->label));
    pem->block = line;
    while (line_next(pem, &line, &size)) {
        if (!boundary(line, size, "END", end, sizeof end))
            continue;
        if (strcmp(end, pem->label) != 0)
            break;
        pem->block_size = (size_t)(pem->data + pem->at - pem->block);
        return 1;
    }
    weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0,
              "%s, line %u: what begins here (%s) has no end: the file was cut, or is damaged",
              pem->file, pem->block_line, pem->label);
    return -1;
}

bool tls_pem_is_cert(const struct tls_pem *pem)
{
    return strcmp(pem->label, "CERTIFICATE") == 0 || strcmp(pem->label, "X509 CERTIFICATE") == 0 ||
           strcmp(pem->label, "TRUSTED CERTIFICATE") == 0;
}

bool tls_pem_is_key(const struct tls_pem *pem)
{
    size_t size = strlen(pem->label), tail = strlen("PRIVATE KEY");
    return size >= tail && strcmp(pem->label + size - tail, "PRIVATE KEY") == 0;
}

static bool undecoded(const struct tls_pem *pem, const char *what)
{
    char text[TLS_TEXT];
    weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0, "%s, line %u: this %s cannot be read: %s",
              pem->file, pem->block_line, what, tls_error_text(text));
    return false;
}

X509 *tls_pem_cert(const struct tls_pem *pem)
{
    ERR_clear_error();
    BIO *bio = BIO_new_mem_buf(pem->block, (int)pem->block_size);
    X509 *cert = bio != NULL ? PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    if (cert == NULL)
        undecoded(pem, "certificate");
    return cert;
}

/* OpenSSL would ask at the terminal. */
static int no_password(char *out, int size, int writing, void *arg)
{
    *(bool *)arg = true;
    return -1;
}

EVP_PKEY *tls_pem_key(const struct tls_pem *pem)
{
    bool encrypted = false;
    ERR_clear_error();
    BIO *bio = BIO_new_mem_buf(pem->block, (int)pem->block_size);
    EVP_PKEY *key =
        bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, no_password, &encrypted) : NULL;
    BIO_free(bio);
    if (key == NULL && encrypted) {
        ERR_clear_error();
        weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0,
                  "%s, line %u: this key is encrypted, and nobody is here to be asked for its "
                  "password: write it without one (openssl pkey -in %s -out NEW)",
                  pem->file, pem->block_line, pem->file);
    } else if (key == NULL) {
        undecoded(pem, "key");
    }
    return key;
}
