/* Routes: a tree of path segments. A literal segment beats a parameter, which beats a rest. */
#include <stdio.h>
#include <string.h>

#include "app/http/server.h"
#include "base/alloc.h"
#include "proto/httpuri.h"

enum { ROUTE_METHODS_OTHER = 8, ROUTE_DEPTH_MAX = 64 };

struct method_route {
    char *name; /* of a method without a number */
    struct route route;
};

struct route_node {
    struct route_node *next;     /* sibling */
    struct route_node *children; /* literal segments */
    struct route_node *param, *rest;
    char *text; /* the segment, or the parameter's name */
    size_t size;
    struct route methods[HTTP_METHODS];
    struct method_route others[ROUTE_METHODS_OTHER];
    unsigned others_count;
};

struct route_node *route_tree_new(void)
{
    return weir__zalloc(sizeof(struct route_node));
}

void route_tree_free(struct route_node *node)
{
    if (node == NULL)
        return;
    struct route_node *child = node->children;
    while (child != NULL) {
        struct route_node *next = child->next;
        route_tree_free(child);
        child = next;
    }
    route_tree_free(node->param);
    route_tree_free(node->rest);
    for (unsigned i = 0; i < node->others_count; i++)
        weir__free(node->others[i].name);
    weir__free(node->text);
    weir__free(node);
}

static struct route_node *node_new(const char *text, size_t size)
{
    struct route_node *node = weir__zalloc(sizeof *node);
    char *copy = weir__alloc(size + 1);
    if (node == NULL || copy == NULL) {
        weir__free(node);
        weir__free(copy);
        return NULL;
    }
    memcpy(copy, text, size);
    copy[size] = 0;
    node->text = copy;
    node->size = size;
    return node;
}

/* A parameter's name is that of the route that came first: two routes that differ in names alone
 * are refused, for one of them would get another's. */
static struct route_node *wild(struct route_node **place, const char *name, size_t size)
{
    if (*place == NULL)
        *place = node_new(name, size);
    else if ((*place)->size != size || memcmp((*place)->text, name, size) != 0)
        return NULL;
    return *place;
}

static struct route_node *literal(struct route_node *node, const char *text, size_t size)
{
    for (struct route_node *child = node->children; child != NULL; child = child->next) {
        if (child->size == size && memcmp(child->text, text, size) == 0)
            return child;
    }
    struct route_node *child = node_new(text, size);
    if (child == NULL)
        return NULL;
    child->next = node->children;
    node->children = child;
    return child;
}

/* One segment of a pattern. NULL: malformed, in conflict, or out of memory. */
static struct route_node *descend(struct route_node *node, const char *at, size_t size, bool last)
{
    if (size == 0 || at[0] != '{') {
        if (memchr(at, '{', size) != NULL || memchr(at, '}', size) != NULL)
            return NULL;
        return literal(node, at, size);
    }
    if (at[size - 1] != '}' || size < 3)
        return NULL;
    at++;
    size -= 2;
    if (size > 3 && memcmp(at + size - 3, "...", 3) == 0)
        return last ? wild(&node->rest, at, size - 3) : NULL;
    return wild(&node->param, at, size);
}

static int method_set(struct route_node *node, const char *name, struct route route)
{
    enum http_method method = http_method_find(name, strlen(name));
    if (method != HTTP_METHOD_OTHER) {
        if (node->methods[method].fn != NULL)
            return WEIR_EINVALID;
        node->methods[method] = route;
        return 0;
    }
    if (node->others_count == ROUTE_METHODS_OTHER)
        return WEIR_EFULL;
    char *copy = weir__strdup(name);
    if (copy == NULL)
        return WEIR_ENOMEM;
    node->others[node->others_count++] = (struct method_route){copy, route};
    return 0;
}

int route_add(struct route_node *tree, const char *method, const char *pattern, struct route route)
{
    struct route_node *node = tree;
    unsigned params = 0;
    if (pattern[0] != '/' || method[0] == 0)
        return WEIR_EINVALID;
    const char *at = pattern + 1;
    for (;;) {
        size_t size = strcspn(at, "/");
        bool last = at[size] == 0;
        params += size != 0 && at[0] == '{';
        node = descend(node, at, size, last);
        if (node == NULL || params > HTTP_PARAMS_MAX)
            return WEIR_EINVALID;
        if (last)
            return method_set(node, method, route);
        at += size + 1;
    }
}

/* A decoded copy of a piece of the path, ending in NUL, in the exchange's arena. A slash stands
 * before it: who maps a rest of the path to files wants one, and copies nothing. 0, or the status:
 * 414 when there is no room, 400 for a bad escape or a NUL. */
static int decode(struct exchange *x, struct http_text raw, const char **text)
{
    char *copy = exchange_alloc(x, raw.length + 2);
    if (copy == NULL)
        return 414;
    *copy++ = '/';
    ssize_t size = http_path_decode(raw, copy, raw.length, NULL);
    if (size < 0)
        return 400;
    copy[size] = 0;
    *text = copy;
    return 0;
}

static bool has_routes(const struct route_node *node)
{
    for (unsigned i = 0; i < HTTP_METHODS; i++) {
        if (node->methods[i].fn != NULL)
            return true;
    }
    return node->others_count != 0;
}

static bool segment_is(const struct route_node *node, struct http_text raw)
{
    if (memchr(raw.at, '%', raw.length) == NULL)
        return node->size == raw.length && memcmp(node->text, raw.at, raw.length) == 0;
    char copy[256];
    ssize_t size = http_path_decode(raw, copy, sizeof copy, NULL);
    return size >= 0 && (size_t)size == node->size && memcmp(node->text, copy, node->size) == 0;
}

struct search {
    struct http_text raw[HTTP_PARAMS_MAX]; /* of the parameters on the way */
    const struct route_node *at[HTTP_PARAMS_MAX];
    unsigned count, steps;
};

/* Depth first: literal, parameter, rest. Bounded by steps, for patterns are the program's but paths
 * are the client's. */
static const struct route_node *search(const struct route_node *node, const char *at,
                                       const char *end, struct search *found)
{
    enum { STEPS_MAX = 4096 };
    if (++found->steps > STEPS_MAX)
        return NULL;
    const char *slash = memchr(at, '/', (size_t)(end - at));
    struct http_text raw = {at, (size_t)((slash != NULL ? slash : end) - at)};
    unsigned count = found->count;
    for (const struct route_node *child = node->children; child != NULL; child = child->next) {
        if (!segment_is(child, raw))
            continue;
        const struct route_node *hit = slash != NULL       ? search(child, slash + 1, end, found)
                                       : has_routes(child) ? child
                                                           : NULL;
        if (hit != NULL)
            return hit;
        found->count = count;
    }
    if (node->param != NULL && raw.length != 0 && count < HTTP_PARAMS_MAX) {
        found->raw[count] = raw;
        found->at[count] = node->param;
        found->count = count + 1;
        const struct route_node *hit = slash != NULL ? search(node->param, slash + 1, end, found)
                                       : has_routes(node->param) ? node->param
                                                                 : NULL;
        if (hit != NULL)
            return hit;
        found->count = count;
    }
    if (node->rest != NULL && count < HTTP_PARAMS_MAX) {
        found->raw[count] = (struct http_text){at, (size_t)(end - at)};
        found->at[count] = node->rest;
        found->count = count + 1;
        return node->rest;
    }
    return NULL;
}

static int params_take(struct exchange *x, const struct search *found)
{
    for (unsigned i = 0; i < found->count; i++) {
        x->room->params[i].name = found->at[i]->text;
        int status = decode(x, found->raw[i], &x->room->params[i].value);
        if (status != 0)
            return status;
    }
    x->param_count = (uint8_t)found->count;
    return 0;
}

static void allowed_add(char *out, size_t size, const char *name)
{
    size_t used = strlen(out);
    snprintf(out + used, size - used, "%s%s", used != 0 ? ", " : "", name);
}

static void allowed_write(const struct route_node *node, char *out, size_t size)
{
    out[0] = 0;
    for (unsigned i = 1; i < HTTP_METHODS; i++) {
        if (node->methods[i].fn != NULL || (i == HTTP_HEAD && node->methods[HTTP_GET].fn != NULL))
            allowed_add(out, size, http_method_text((enum http_method)i));
    }
    for (unsigned i = 0; i < node->others_count; i++)
        allowed_add(out, size, node->others[i].name);
    if (node->methods[HTTP_OPTIONS].fn == NULL)
        allowed_add(out, size, "OPTIONS");
}

static const struct route *method_of(const struct route_node *node, const struct exchange *x)
{
    unsigned method = x->request.method;
    if (method == HTTP_METHOD_OTHER) {
        struct http_text name = http1_text(&x->request.fields, x->request.method_name);
        for (unsigned i = 0; i < node->others_count; i++) {
            if (strlen(node->others[i].name) == name.length &&
                memcmp(node->others[i].name, name.at, name.length) == 0)
                return &node->others[i].route;
        }
        return NULL;
    }
    if (method == HTTP_HEAD && node->methods[HTTP_HEAD].fn == NULL)
        method = HTTP_GET;
    return node->methods[method].fn != NULL ? &node->methods[method] : NULL;
}

int route_find(struct route_node *tree, struct exchange *x, char *allowed, size_t allowed_size)
{
    const struct http1_request *request = &x->request;
    if (request->form == HTTP1_FORM_ASTERISK) { /* OPTIONS *: about the server as a whole */
        snprintf(allowed, allowed_size, "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH");
        return 204;
    }
    if (request->method == HTTP_CONNECT || request->method == HTTP_TRACE)
        return 501;
    struct http_text path = http1_text(&request->fields, request->path);
    const char *at = path.length != 0 ? path.at + 1 : "";
    const char *end = path.length != 0 ? path.at + path.length : at;
    struct search found; /* its arrays are filled as far as count says */
    found.count = found.steps = 0;
    const struct route_node *node = search(tree, at, end, &found);
    if (node == NULL)
        return request->method == HTTP_METHOD_OTHER ? 501 : 404;
    const struct route *route = method_of(node, x);
    if (route == NULL) {
        allowed_write(node, allowed, allowed_size);
        if (request->method == HTTP_METHOD_OTHER)
            return 501;
        return request->method == HTTP_OPTIONS ? 204 : 405;
    }
    x->route = *route;
    return params_take(x, &found);
}
