/* Routes: a tree of path segments. A literal segment beats a parameter, which beats a rest; but
 * only routes of the request's method are considered, as long as there is one. Paths without
 * parameters lie in one more table, by the whole of them: they beat all others. */
#include <stdio.h>
#include <string.h>

#include "app/http/server.h"
#include "base/alloc.h"
#include "proto/httpuri.h"

enum {
    ROUTE_DEPTH_MAX = 64,    /* segments of a pattern: what search calls itself through */
    ROUTE_SEGMENT_MAX = 255, /* bytes of a literal segment */
    ROUTE_METHOD_MAX = 32,   /* bytes of a method's name */
    ROUTE_STEPS_MAX = 4096,  /* nodes looked at for one path */
    ROUTE_ALLOW_MAX = 1024,  /* bytes of an Allow field */
};

/* What one method of a pattern leads to. */
struct leaf {
    struct leaf *next; /* of another method */
    struct route route;
    uint8_t method; /* enum http_method */
    uint8_t name_count;
    const char *name;    /* of the method */
    const char *names[]; /* of the parameters on the way, in order; their text is behind them */
};

struct route_node {
    struct route_node *
        *table;          /* children that are literal segments, by hash; NULL: an empty place */
    uint32_t table_size; /* a power of two, at least twice the count; 0: none */
    uint32_t count;
    struct route_node *param, *rest;
    struct route_node *whole;  /* of the root: its children are the paths without parameters … */
    struct route_node *target; /* … and these are where in the tree they lead; not owned */
    struct leaf *leaves;
    size_t size;
    char text[]; /* the segment */
};

static struct route_node *node_new(const char *text, size_t size)
{
    struct route_node *node = weir__zalloc(sizeof *node + size);
    if (node == NULL)
        return NULL;
    memcpy(node->text, text, size);
    node->size = size;
    return node;
}

struct route_node *route_tree_new(void)
{
    struct route_node *tree = node_new("", 0);
    if (tree == NULL || (tree->whole = node_new("", 0)) != NULL)
        return tree;
    weir__free(tree);
    return NULL;
}

void route_tree_free(struct route_node *node)
{
    if (node == NULL)
        return;
    for (uint32_t i = 0; i < node->table_size; i++)
        route_tree_free(node->table[i]);
    route_tree_free(node->param);
    route_tree_free(node->rest);
    route_tree_free(node->whole);
    while (node->leaves != NULL) {
        struct leaf *next = node->leaves->next;
        weir__free(node->leaves);
        node->leaves = next;
    }
    weir__free(node->table);
    weir__free(node);
}

/* ---- children by hash ---- */

/* The keys are the program's; a client's path is compared with at most those that lie side by side.
 */
static uint32_t hash(const char *text, size_t size)
{
    uint64_t head = 0, tail = 0;
    if (size >= 8) {
        memcpy(&head, text, 8);
        memcpy(&tail, text + size - 8, 8);
    } else {
        for (size_t i = 0; i < size; i++)
            head = head << 8 | (uint8_t)text[i];
    }
    return (uint32_t)(((head ^ tail << 1 ^ size) * 0x9e3779b97f4a7c15ull) >> 32);
}

static struct route_node *child_find(const struct route_node *node, const char *text, size_t size)
{
    if (node->table_size == 0)
        return NULL;
    uint32_t mask = node->table_size - 1;
    for (uint32_t at = hash(text, size) & mask;; at = (at + 1) & mask) {
        struct route_node *child = node->table[at];
        if (child == NULL || (child->size == size && memcmp(child->text, text, size) == 0))
            return child;
    }
}

static void table_put(struct route_node **table, uint32_t size, struct route_node *child)
{
    uint32_t at = hash(child->text, child->size) & (size - 1);
    while (table[at] != NULL)
        at = (at + 1) & (size - 1);
    table[at] = child;
}

static int child_add(struct route_node *node, struct route_node *child)
{
    if ((node->count + 1) * 2 > node->table_size) {
        uint32_t size = node->table_size != 0 ? node->table_size * 2 : 4;
        struct route_node **table = weir__zalloc(size * sizeof *table);
        if (table == NULL)
            return WEIR_ENOMEM;
        for (uint32_t i = 0; i < node->table_size; i++) {
            if (node->table[i] != NULL)
                table_put(table, size, node->table[i]);
        }
        weir__free(node->table);
        node->table = table;
        node->table_size = size;
    }
    table_put(node->table, node->table_size, child);
    node->count++;
    return 0;
}

/* ---- patterns ---- */

enum part_kind { PART_LITERAL, PART_PARAM, PART_REST };

struct pattern {
    struct part {
        enum part_kind kind;
        const char *text; /* the segment, or the parameter's name */
        size_t size;
    } parts[ROUTE_DEPTH_MAX];
    unsigned count, params;
    size_t names_size; /* of the parameters' names, each with its NUL */
};

static bool hex(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* Literals are compared with what a path says once it is decoded: an escape in one, or a query
 * behind it, is a mistake that would never match. */
static bool literal_parse(const char *at, size_t size, struct part *part)
{
    for (size_t i = 0; i < size; i++) {
        if (strchr("{}?#", at[i]) != NULL || (uint8_t)at[i] < ' ' || at[i] == 0x7f ||
            (at[i] == '%' && size - i >= 3 && hex(at[i + 1]) && hex(at[i + 2])))
            return false;
    }
    *part = (struct part){PART_LITERAL, at, size};
    return size <= ROUTE_SEGMENT_MAX;
}

static bool part_parse(const char *at, size_t size, bool last, struct part *part)
{
    if (size == 0 || at[0] != '{')
        return literal_parse(at, size, part);
    if (at[size - 1] != '}')
        return false;
    at++;
    size -= 2;
    bool rest = size >= 3 && memcmp(at + size - 3, "...", 3) == 0;
    if (rest)
        size -= 3;
    for (size_t i = 0; i < size; i++) {
        bool letter = (at[i] | 0x20) >= 'a' && (at[i] | 0x20) <= 'z';
        if (!letter && at[i] != '_' && at[i] != '-' && (at[i] < '0' || at[i] > '9'))
            return false;
    }
    *part = (struct part){rest ? PART_REST : PART_PARAM, at, size};
    return size != 0 && (!rest || last);
}

static bool name_taken(const struct pattern *pattern, const struct part *part)
{
    for (unsigned i = 0; i < pattern->count; i++) {
        const struct part *other = &pattern->parts[i];
        if (other->kind != PART_LITERAL && other->size == part->size &&
            memcmp(other->text, part->text, part->size) == 0)
            return true;
    }
    return false;
}

static bool pattern_parse(const char *text, struct pattern *pattern)
{
    pattern->count = pattern->params = 0;
    pattern->names_size = 0;
    if (text[0] != '/')
        return false;
    for (const char *at = text + 1;; at++) {
        size_t size = strcspn(at, "/");
        bool last = at[size] == 0;
        struct part *part = &pattern->parts[pattern->count];
        if (pattern->count == ROUTE_DEPTH_MAX || !part_parse(at, size, last, part))
            return false;
        if (part->kind != PART_LITERAL) {
            if (name_taken(pattern, part) || ++pattern->params > HTTP_PARAMS_MAX)
                return false;
            pattern->names_size += part->size + 1;
        }
        pattern->count++;
        if (last)
            return true;
        at += size;
    }
}

/* ---- adding ---- */

static struct route_node *wild(struct route_node **place)
{
    if (*place == NULL)
        *place = node_new("", 0);
    return *place;
}

static struct route_node *literal(struct route_node *node, const char *text, size_t size)
{
    struct route_node *child = child_find(node, text, size);
    if (child != NULL)
        return child;
    child = node_new(text, size);
    if (child != NULL && child_add(node, child) < 0) {
        weir__free(child);
        return NULL;
    }
    return child;
}

static struct leaf *leaf_new(const char *method, const struct pattern *pattern, struct route route)
{
    size_t method_size = strlen(method) + 1;
    size_t size = sizeof(struct leaf) + pattern->params * sizeof(char *);
    struct leaf *leaf = weir__zalloc(size + pattern->names_size + method_size);
    if (leaf == NULL)
        return NULL;
    char *text = (char *)leaf + size;
    leaf->route = route;
    leaf->method = (uint8_t)http_method_find(method, method_size - 1);
    leaf->name = memcpy(text, method, method_size);
    text += method_size;
    for (unsigned i = 0; i < pattern->count; i++) {
        const struct part *part = &pattern->parts[i];
        if (part->kind == PART_LITERAL)
            continue;
        leaf->names[leaf->name_count++] = memcpy(text, part->text, part->size);
        text += part->size + 1; /* zeroed */
    }
    return leaf;
}

/* A token (RFC 9110 section 5.6.2). CONNECT and TRACE are no methods for handlers: the one has no
 * path, the other would give a browser's secrets back to its scripts. */
static bool method_valid(const char *method)
{
    size_t size = strlen(method);
    for (size_t i = 0; i < size; i++) {
        bool letter = (method[i] | 0x20) >= 'a' && (method[i] | 0x20) <= 'z';
        bool digit = method[i] >= '0' && method[i] <= '9';
        if (!letter && !digit && strchr("!#$%&'*+-.^_`|~", method[i]) == NULL)
            return false;
    }
    return size != 0 && size <= ROUTE_METHOD_MAX && strcmp(method, "CONNECT") != 0 &&
           strcmp(method, "TRACE") != 0;
}

int route_add(struct route_node *tree, const char *method, const char *text, struct route route)
{
    struct pattern pattern;
    if (!method_valid(method) || !pattern_parse(text, &pattern))
        return WEIR_EINVALID;
    struct route_node *node = tree;
    for (unsigned i = 0; i < pattern.count; i++) {
        const struct part *part = &pattern.parts[i];
        node = part->kind == PART_LITERAL ? literal(node, part->text, part->size)
               : part->kind == PART_PARAM ? wild(&node->param)
                                          : wild(&node->rest);
        if (node == NULL)
            return WEIR_ENOMEM;
    }
    if (pattern.params == 0 && strchr(text, '%') == NULL) { /* that has to come as an escape */
        struct route_node *whole = literal(tree->whole, text + 1, strlen(text + 1));
        if (whole == NULL)
            return WEIR_ENOMEM;
        whole->target = node;
    }
    struct leaf **place = &node->leaves;
    for (; *place != NULL; place = &(*place)->next) {
        if (strcmp((*place)->name, method) == 0)
            return WEIR_EINVALID;
    }
    *place = leaf_new(method, &pattern, route);
    return *place != NULL ? 0 : WEIR_ENOMEM;
}

/* ---- finding ---- */

struct search {
    const struct http1_request *request;
    const char *end;
    bool escaped; /* the path has percent escapes */
    bool any;     /* of whatever method: for Allow */
    unsigned count, steps;
    struct http_text raw[HTTP_PARAMS_MAX]; /* what the parameters on the way match */
    char *allow;                           /* with `any`: the methods of all that match */
};

static bool leaf_answers(const struct leaf *leaf, const struct http1_request *request)
{
    if (request->method != HTTP_METHOD_OTHER)
        return leaf->method == request->method;
    struct http_text name = http1_text(&request->fields, request->method_name);
    return leaf->method == HTTP_METHOD_OTHER && strlen(leaf->name) == name.length &&
           memcmp(leaf->name, name.at, name.length) == 0;
}

static bool allow_has(const char *allow, const char *name)
{
    size_t size = strlen(name);
    for (const char *at = allow; *at != 0; at += strcspn(at, ",")) {
        at += strspn(at, ", ");
        if (strcspn(at, ",") == size && memcmp(at, name, size) == 0)
            return true;
    }
    return false;
}

static void allow_add(char *allow, const char *name)
{
    size_t used = strlen(allow), size = strlen(name);
    if (allow_has(allow, name) || used + size + 3 > ROUTE_ALLOW_MAX)
        return;
    snprintf(allow + used, ROUTE_ALLOW_MAX - used, "%s%s", used != 0 ? ", " : "", name);
}

/* The leaf of the request's method; HEAD is answered by GET's where it has none of its own. */
static const struct leaf *leaf_of(const struct route_node *node, const struct search *search)
{
    const struct leaf *get = NULL;
    for (const struct leaf *leaf = node->leaves; leaf != NULL; leaf = leaf->next) {
        if (search->any) {
            allow_add(search->allow, leaf->name);
            if (leaf->method == HTTP_GET)
                allow_add(search->allow, "HEAD");
        } else if (leaf_answers(leaf, search->request)) {
            return leaf;
        }
        if (leaf->method == HTTP_GET)
            get = leaf;
    }
    return !search->any && search->request->method == HTTP_HEAD ? get : NULL;
}

static const struct route_node *literal_of(const struct route_node *node, struct http_text raw,
                                           bool escaped)
{
    char copy[ROUTE_SEGMENT_MAX];
    if (!escaped)
        return child_find(node, raw.at, raw.length);
    ssize_t size = http_path_decode(raw, copy, sizeof copy, NULL);
    return size >= 0 ? child_find(node, copy, (size_t)size) : NULL;
}

static const struct leaf *find(const struct route_node *node, const char *at,
                               struct search *search);

static const struct leaf *find_below(const struct route_node *child, const char *slash,
                                     struct search *search)
{
    return slash != NULL ? find(child, slash + 1, search) : leaf_of(child, search);
}

/* Depth first: literal, parameter, rest. Bounded by steps, for patterns are the program's but paths
 * are the client's. */
static const struct leaf *find(const struct route_node *node, const char *at, struct search *search)
{
    if (++search->steps > ROUTE_STEPS_MAX)
        return NULL;
    const char *slash = memchr(at, '/', (size_t)(search->end - at));
    struct http_text raw = {at, (size_t)((slash != NULL ? slash : search->end) - at)};
    const struct route_node *child = literal_of(node, raw, search->escaped);
    const struct leaf *found = child != NULL ? find_below(child, slash, search) : NULL;
    if (found != NULL)
        return found;
    unsigned count = search->count;
    if (node->param != NULL && raw.length != 0) {
        search->raw[count] = raw;
        search->count = count + 1;
        found = find_below(node->param, slash, search);
        if (found != NULL)
            return found;
        search->count = count;
    }
    if (node->rest != NULL) {
        search->raw[count] = (struct http_text){at, (size_t)(search->end - at)};
        search->count = count + 1;
        found = leaf_of(node->rest, search);
        if (found == NULL)
            search->count = count;
    }
    return found;
}

/* ---- what was found ---- */

/* A decoded copy, ending in NUL. A slash stands before it: who maps a rest of the path to files
 * wants one, and copies nothing. */
static const char *decoded(struct exchange *x, struct http_text raw, bool escaped)
{
    char *copy = exchange_alloc(x, raw.length + 2);
    if (copy == NULL)
        return NULL;
    *copy++ = '/';
    ssize_t size = (ssize_t)raw.length;
    if (escaped)
        size = http_path_decode(raw, copy, raw.length, NULL);
    else
        memcpy(copy, raw.at, raw.length);
    copy[size] = 0; /* not negative: the escapes were looked at before */
    return copy;
}

static int params_take(struct exchange *x, const struct leaf *leaf, const struct search *search)
{
    for (unsigned i = 0; i < leaf->name_count; i++) {
        const char *value = decoded(x, search->raw[i], search->escaped);
        if (value == NULL)
            return 503;
        x->room->params[i] = (struct http_param){leaf->names[i], value};
    }
    x->param_count = leaf->name_count;
    return 0;
}

/* No bad escape, no NUL. */
static bool escapes_valid(const char *at, const char *end)
{
    while ((at = memchr(at, '%', (size_t)(end - at))) != NULL) {
        char c;
        if (end - at < 3 || http_path_decode((struct http_text){at, 3}, &c, 1, NULL) < 0)
            return false;
        at += 3;
    }
    return true;
}

/* Of the methods that this path has, or the server as a whole; 405, or the answer to OPTIONS. */
static int allow_answer(struct exchange *x, const char *allow)
{
    if (answer_field(x, "Allow", (struct http_text){allow, strlen(allow)}) < 0)
        return 503;
    return x->request.method == HTTP_OPTIONS ? 204 : 405;
}

static int nothing_found(const struct route_node *tree, struct exchange *x, const char *at,
                         struct search *search)
{
    char allow[ROUTE_ALLOW_MAX] = "";
    search->any = true;
    search->allow = allow;
    search->count = search->steps = 0;
    if (at != NULL)
        find(tree, at, search);
    if (x->request.method == HTTP_METHOD_OTHER)
        return 501;
    if (allow[0] == 0)
        return 404;
    allow_add(allow, "OPTIONS");
    return allow_answer(x, allow);
}

/* A path that is none of a tree's pattern, letter by letter, has an escape or parameters in it, or
 * is not there: that is seen on the long way. */
static const struct leaf *whole_find(const struct route_node *tree, const char *at,
                                     struct search *search)
{
    const struct route_node *child = child_find(tree->whole, at, (size_t)(search->end - at));
    search->any = false;
    return child != NULL ? leaf_of(child->target, search) : NULL;
}

int route_find(struct route_node *tree, struct exchange *x)
{
    const struct http1_request *request = &x->request;
    if (request->form == HTTP1_FORM_ASTERISK) /* OPTIONS *: about the server as a whole */
        return allow_answer(x, "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH");
    if (request->method == HTTP_CONNECT || request->method == HTTP_TRACE)
        return 501;
    struct http_text path = http1_text(&request->fields, request->path);
    const char *at = path.length != 0 ? path.at + 1 : ""; /* of the absolute form it may be empty */
    struct search search; /* its array is filled as far as count says */
    search.request = request;
    search.end = path.length != 0 ? path.at + path.length : at;
    const struct leaf *leaf = whole_find(tree, at, &search);
    if (leaf != NULL) {
        x->route = leaf->route;
        return 0;
    }
    search.escaped = memchr(at, '%', (size_t)(search.end - at)) != NULL;
    search.allow = NULL;
    search.count = search.steps = 0;
    if (search.escaped && !escapes_valid(at, search.end))
        return 400;
    leaf = find(tree, at, &search);
    if (leaf == NULL)
        return nothing_found(tree, x, at, &search);
    x->route = leaf->route;
    return leaf->name_count != 0 ? params_take(x, leaf, &search) : 0;
}
