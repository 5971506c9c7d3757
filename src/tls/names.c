/* Which certificate is for which host. */
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "tls/tls.h"

enum { NAME_MAX_BYTES = 253 }; /* of a host (RFC 1035 section 2.3.4) */

struct tls_name {
    char *text; /* in lower case; "*.rest" */
    unsigned context, order;
};

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* In lower case and without the dot of the root; 0: empty or longer than a name is. */
static size_t canonical(const char *text, size_t size, char *out)
{
    if (size != 0 && text[size - 1] == '.')
        size--;
    if (size == 0 || size > NAME_MAX_BYTES || memchr(text, '\0', size) != NULL)
        return 0;
    for (size_t i = 0; i < size; i++)
        out[i] = lower(text[i]);
    out[size] = '\0';
    return size;
}

static bool add(struct tls_names *names, const char *text, size_t size, unsigned context)
{
    char name[NAME_MAX_BYTES + 1];
    size_t length = canonical(text, size, name);
    if (length == 0)
        return true; /* nobody can ask for it */
    if (names->count == names->room) {
        size_t room = names->room != 0 ? 2 * names->room : 16;
        struct tls_name *grown = OPENSSL_realloc(names->items, room * sizeof *grown);
        if (grown == NULL)
            return false;
        names->items = grown;
        names->room = room;
    }
    char *copy = OPENSSL_strdup(name);
    if (copy == NULL)
        return false;
    names->items[names->count] = (struct tls_name){copy, context, (unsigned)names->count};
    names->count++;
    return true;
}

/* The common name counts only where there are no others (RFC 9525 section 6.3 has it no more, but
 * the client chooses whether to accept it, not we). */
static bool add_common(struct tls_names *names, X509 *cert, unsigned context)
{
    X509_NAME *subject = X509_get_subject_name(cert);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0)
        return true;
    unsigned char *text;
    int size =
        ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    if (size < 0)
        return true;
    bool fine = add(names, (const char *)text, (size_t)size, context);
    OPENSSL_free(text);
    return fine;
}

bool tls_names_add(struct tls_names *names, X509 *cert, unsigned context)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    if (all == NULL)
        return add_common(names, cert, context);
    bool fine = true;
    for (int i = 0; i < sk_GENERAL_NAME_num(all) && fine; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(all, i);
        if (name->type == GEN_DNS)
            fine = add(names, (const char *)ASN1_STRING_get0_data(name->d.dNSName),
                       (size_t)ASN1_STRING_length(name->d.dNSName), context);
    }
    GENERAL_NAMES_free(all);
    return fine;
}

static int by_text(const void *left, const void *right)
{
    const struct tls_name *a = left, *b = right;
    int order = strcmp(a->text, b->text);
    return order != 0 ? order : (a->order > b->order) - (a->order < b->order);
}

void tls_names_sort(struct tls_names *names)
{
    if (names->count != 0)
        qsort(names->items, names->count, sizeof *names->items, by_text);
}

static int find(const struct tls_names *names, const char *text)
{
    size_t from = 0, to = names->count; /* the first of equal ones */
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (strcmp(names->items[middle].text, text) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from < names->count && strcmp(names->items[from].text, text) == 0
               ? (int)names->items[from].context
               : -1;
}

int tls_names_find(const struct tls_names *names, const char *host)
{
    char name[NAME_MAX_BYTES + 1];
    if (canonical(host, strlen(host), name) == 0 || name[0] == '*')
        return -1;
    int found = find(names, name);
    char *dot = strchr(name, '.');
    if (found >= 0 || dot == NULL || dot == name)
        return found;
    dot[-1] = '*'; /* which stands for the first label, whole (RFC 9525 section 6.3) */
    return find(names, dot - 1);
}

void tls_names_free(struct tls_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        OPENSSL_free(names->items[i].text);
    OPENSSL_free(names->items);
    *names = (struct tls_names){0};
}
