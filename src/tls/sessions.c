/* Sessions that outgoing connections go on with: had from a server's tickets, kept for its name and
 * address, bounded, and given away once. They stand with what was loaded, so one never goes on
 * under another configuration, nor beyond a reload: its certificate was verified by the same rules.
 */
#include <openssl/err.h>
#include <string.h>

#include "tls/tls.h"

enum {
    ALL_MAX = 1024,
    KEY_MAX = 256,       /* of one server */
    CONN_MAX = 4,        /* that one connection may bring: a server decides how many it sends */
    TICKET_MAX = 16384,  /* bytes */
    LIFE_S = 24 * 3600,  /* from the whole handshake on, however often it was gone on with */
    LIFE_12_S = 2 * 3600 /* where the server leaves it to us (RFC 5077 section 5.6) */
};

/* FNV-1a: only to find, the whole key decides. */
static uint64_t hash_of(const char *key)
{
    uint64_t hash = 14695981039346656037u;
    for (; *key != '\0'; key++)
        hash = (hash ^ (unsigned char)*key) * 1099511628211u;
    return hash;
}

/* "name address port", or NULL: then there is nothing to go on with. The address may be a proxy's,
 * the port is the one that was asked for. */
static char *key_of(struct tls_state *s)
{
    char key[TLS_HOST_MAX + 1 + WEIR_ADDRESS_TEXT_MAX + 8];
    const char *name = s->loaded->config->server_name;
    weir_address peer;
    const weir_conn conn = {weir_filter_conn(s->at)};
    int size = 0;
    if (name == NULL)
        size = weir_filter_host(s->at, key, TLS_HOST_MAX);
    else
        size = (int)OPENSSL_strlcpy(key, name, TLS_HOST_MAX);
    if (size < 0) /* `insecure`, to nobody who has a name */
        size = 0;
    if (size >= TLS_HOST_MAX || weir_conn_peer(conn, &peer) != 0)
        return NULL;
    key[size++] = ' ';
    if (weir_address_format(&peer, key + size, sizeof key - (size_t)size) < 0)
        return NULL;
    size += (int)strlen(key + size);
    BIO_snprintf(key + size, sizeof key - (size_t)size, " %d", weir_filter_port(s->at));
    return OPENSSL_strdup(key);
}

static void item_drop(struct tls_sessions *all, unsigned at)
{
    OPENSSL_free(all->items[at].key);
    SSL_SESSION_free(all->items[at].session);
    all->items[at] = all->items[--all->count];
}

void tls_sessions_begin(struct tls_sessions *all)
{
    pthread_mutex_init(&all->lock, NULL);
}

void tls_sessions_end(struct tls_sessions *all)
{
    while (all->count != 0)
        item_drop(all, all->count - 1);
    OPENSSL_free(all->items);
    pthread_mutex_destroy(&all->lock);
}

SSL_SESSION *tls_sessions_take(struct tls_sessions *all, const char *key, weir_time *began)
{
    uint64_t hash = hash_of(key);
    weir_time now = weir_now();
    SSL_SESSION *found = NULL;
    pthread_mutex_lock(&all->lock);
    while (found == NULL) {
        unsigned best = all->count;
        for (unsigned i = 0; i < all->count; i++)
            if (all->items[i].hash == hash && strcmp(all->items[i].key, key) == 0 &&
                (best == all->count || all->items[i].number > all->items[best].number))
                best = i;
        if (best == all->count)
            break;
        struct tls_session *item = &all->items[best];
        /* One whose connection has failed since must not be gone on with (RFC 5246, 7.2.2). */
        if ((int64_t)(item->until - now) > 0 && SSL_SESSION_is_resumable(item->session) == 1) {
            found = item->session;
            *began = item->began;
            item->session = NULL;
        }
        item_drop(all, best);
    }
    pthread_mutex_unlock(&all->lock);
    return found;
}

/* The place for a session of that key: an older one's, when there are enough. NULL: no memory. */
static struct tls_session *place_for(struct tls_sessions *all, uint64_t hash, const char *key)
{
    unsigned same = 0, oldest_same = 0, oldest = 0;
    for (unsigned i = 0; i < all->count; i++) {
        const struct tls_session *item = &all->items[i];
        if (item->number < all->items[oldest].number)
            oldest = i;
        if (item->hash != hash || strcmp(item->key, key) != 0)
            continue;
        if (same++ == 0 || item->number < all->items[oldest_same].number)
            oldest_same = i;
    }
    if (same >= KEY_MAX)
        item_drop(all, oldest_same);
    else if (all->count == ALL_MAX)
        item_drop(all, oldest);
    if (all->count == all->room) {
        unsigned room = all->room != 0 ? all->room * 2 : 16;
        struct tls_session *more = OPENSSL_realloc(all->items, room * sizeof *more);
        if (more == NULL)
            return NULL;
        all->items = more;
        all->room = room;
    }
    return &all->items[all->count];
}

bool tls_sessions_put(struct tls_sessions *all, const char *key, SSL_SESSION *session,
                      weir_time began, weir_time until)
{
    uint64_t hash = hash_of(key);
    char *copy = OPENSSL_strdup(key);
    pthread_mutex_lock(&all->lock);
    struct tls_session *item = copy != NULL ? place_for(all, hash, key) : NULL;
    if (item != NULL) {
        *item = (struct tls_session){copy, hash, session, began, until, all->numbers++};
        all->count++;
    }
    pthread_mutex_unlock(&all->lock);
    if (item == NULL)
        OPENSSL_free(copy);
    return item != NULL;
}

/* Seconds for which a session is good; 0: not at all. */
static uint64_t life_of(const struct tls_state *s, const SSL_SESSION *session)
{
    const unsigned char *ticket;
    size_t size;
    uint64_t life = SSL_SESSION_get_ticket_lifetime_hint(session);
    SSL_SESSION_get0_ticket(session, &ticket, &size);
    if (size > TICKET_MAX)
        return 0;
    if (life == 0 && SSL_SESSION_get_protocol_version(session) < TLS1_3_VERSION)
        life = LIFE_12_S; /* 0 is none in TLS 1.3 (RFC 8446 section 4.6.1) */
    if (life > LIFE_S)
        life = LIFE_S;
    X509 *cert = SSL_SESSION_get0_peer((SSL_SESSION *)(uintptr_t)session);
    int days = 0, seconds = 0;
    if (s->loaded->config->insecure || cert == NULL)
        return life;
    if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert)) != 1 || days < 0 ||
        seconds < 0)
        return 0;
    uint64_t valid = (uint64_t)days * 86400 + (uint64_t)seconds;
    return life < valid ? life : valid;
}

/* Takes the reference. */
static bool keep(struct tls_state *s, SSL_SESSION *session)
{
    weir_time now = weir_now();
    weir_time until = now + life_of(s, session) * WEIR_S;
    weir_time last = s->session_began + LIFE_S * WEIR_S;
    if (until > last)
        until = last;
    return (int64_t)(until - now) > 0 && SSL_SESSION_is_resumable(session) == 1 &&
           tls_sessions_put(&s->loaded->sessions, s->session_key, session, s->session_began, until);
}

/* SSL_CTX_sess_set_new_cb(3). TLS 1.3: a ticket has come; 1.2: a whole handshake is over. */
static int session_came(SSL *ssl, SSL_SESSION *session)
{
    struct tls_state *s = SSL_get_app_data(ssl);
    if (s->session_key == NULL || s->failed || s->tickets == CONN_MAX)
        return 0;
    s->tickets++;
    return keep(s, session);
}

void tls_sessions_use(SSL_CTX *context)
{
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, session_came);
}

void tls_session_offer(struct tls_state *s)
{
    if (s->loaded->config->no_sessions)
        return;
    s->session_began = weir_now();
    s->session_key = key_of(s);
    if (s->session_key == NULL)
        return;
    weir_time began = 0;
    SSL_SESSION *session = tls_sessions_take(&s->loaded->sessions, s->session_key, &began);
    if (session == NULL)
        return;
    s->session_offered = SSL_set_session(s->ssl, session) == 1;
    s->session_offered_began = began;
    SSL_SESSION_free(session);
    ERR_clear_error();
}

void tls_session_settled(struct tls_state *s)
{
    if (!s->session_offered || SSL_session_reused(s->ssl) != 1)
        return;
    s->session_began = s->session_offered_began;
    if (SSL_version(s->ssl) >= TLS1_3_VERSION)
        return; /* a ticket is for one use (RFC 8446 appendix C.4); new ones come */
    /* It can go on again, with the ticket that came in its place if one did. */
    SSL_SESSION *session = SSL_get1_session(s->ssl);
    if (session != NULL && !keep(s, session))
        SSL_SESSION_free(session);
}

void tls_session_close(struct tls_state *s)
{
    /* What was not ended by close_notify would not be gone on with, if OpenSSL were not told; since
     * TLS 1.1 that is no reason (RFC 4346 section 7.2.1). A failed one stays lost. */
    if (s->ssl != NULL && s->ready && !s->failed)
        SSL_set_shutdown(s->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    OPENSSL_free(s->session_key);
    s->session_key = NULL;
}
