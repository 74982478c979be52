/* form.c -- the names of form fields, expanded to objects and arrays (admin-api 3.3).
 *
 *   a.b=1  a[]=1  a[1]=1  a[key]=1  a[1].b[x]=1
 *
 * A name is a list of steps; the tree that they make is held as nodes whose
 * children have a text or a number. A node whose children are numbered 1..n is
 * an array in the end, any other an object: holes then fail as "expected an
 * array", as they should. */
#include "admin/internal.h"

#include <stdlib.h>

enum {
    STEPS_MAX = 64,
    INDEX_DIGITS_MAX = 9,
};

typedef struct step {
    weir_str_t name;
    int64_t index; /* 0: by name; -1: append */
} step_t;

typedef struct node node_t;
struct node {
    node_t *next;  /* sibling */
    node_t *child; /* first; NULL for a leaf */
    node_t *child_last;
    weir_str_t name;
    int64_t index; /* 0: has a name */
    bool is_leaf;
    weir_str_t value; /* of a leaf; data NULL: "true" */
};

static weir_str_t part(weir_str_t text, size_t from, size_t to)
{
    return (weir_str_t){ text.data + from, to - from };
}

/* The number that brackets hold; 0 if it is none. */
static int64_t index_of(weir_str_t text)
{
    int64_t index = 0;
    if (text.len == 0 || text.len > INDEX_DIGITS_MAX ||
        weir_parse_int64(text, 1, INT32_MAX, &index) != WEIR_OK)
        return 0;
    return index;
}

/* Splits a name. 0 steps: it is not made of such parts and stands for itself. */
static size_t split(weir_str_t name, step_t steps[STEPS_MAX])
{
    size_t count = 0;
    size_t at = 0;
    while (at < name.len) {
        if (count == STEPS_MAX)
            return 0;
        if (name.data[at] == '[') {
            const char *close = memchr(name.data + at, ']', name.len - at);
            if (close == NULL || count == 0)
                return 0;
            size_t end = (size_t)(close - name.data);
            weir_str_t inside = part(name, at + 1, end);
            /* "a[]" appends at the end of a name; before more of it, as in
             * "a[].b", it is a member without a name, which no schema takes. */
            bool last = end + 1 == name.len;
            int64_t index = inside.len == 0 && last ? -1 : index_of(inside);
            steps[count++] = (step_t){ inside, index };
            at = end + 1;
            if (at < name.len && name.data[at] != '[' && name.data[at] != '.')
                return 0;
            continue;
        }
        if (name.data[at] == '.') {
            if (count == 0 || ++at == name.len)
                return 0;
        }
        size_t end = at;
        while (end < name.len && name.data[end] != '.' && name.data[end] != '[')
            end++;
        if (end == at)
            return 0;
        steps[count++] = (step_t){ part(name, at, end), 0 };
        at = end;
    }
    return count;
}

static node_t *new_child(weir_arena_t *arena, node_t *parent, weir_str_t name, int64_t index)
{
    node_t *node = weir_arena_zalloc(arena, sizeof(*node));
    if (node == NULL)
        return NULL;
    node->name = name;
    node->index = index;
    if (parent->child_last != NULL)
        parent->child_last->next = node;
    else
        parent->child = node;
    parent->child_last = node;
    return node;
}

static int64_t next_index(const node_t *parent)
{
    int64_t index = 0;
    for (const node_t *child = parent->child; child != NULL; child = child->next)
        index = child->index > index ? child->index : index;
    return index + 1;
}

static node_t *find_child(const node_t *parent, weir_str_t name, int64_t index)
{
    for (node_t *child = parent->child; child != NULL; child = child->next)
        if (child->index == index && (index != 0 || weir_str_equal(child->name, name)))
            return child;
    return NULL;
}

/* A leaf gets children: what it held becomes the first of a list if a list
 * follows ("a=1&a[]=2"), and is forgotten otherwise. */
static bool grow(weir_arena_t *arena, node_t *node, bool list)
{
    if (!node->is_leaf)
        return true;
    node->is_leaf = false;
    node_t *first = list ? new_child(arena, node, (weir_str_t){ NULL, 0 }, 1) : NULL;
    if (first != NULL) {
        first->is_leaf = true;
        first->value = node->value;
    }
    return !list || first != NULL;
}

static bool insert(weir_arena_t *arena, node_t *root, const step_t *steps, size_t count,
                   weir_str_t value, bool last_wins)
{
    node_t *node = root;
    for (size_t i = 0; i < count; i++) {
        if (!grow(arena, node, steps[i].index != 0))
            return false;
        int64_t index = steps[i].index;
        if (index < 0)
            index = last_wins ? 1 : next_index(node);
        node_t *child = find_child(node, steps[i].name, index);
        node = child != NULL ? child : new_child(arena, node, steps[i].name, index);
        if (node == NULL)
            return false;
    }
    bool fresh = !node->is_leaf && node->child == NULL;
    if (fresh || (last_wins && node->is_leaf)) {
        node->is_leaf = true;
        node->value = value;
        return true;
    }
    /* A name that comes again makes a list. */
    if (!grow(arena, node, true))
        return false;
    node_t *more = new_child(arena, node, (weir_str_t){ NULL, 0 }, next_index(node));
    if (more == NULL)
        return false;
    more->is_leaf = true;
    more->value = value;
    return true;
}

static int by_index(const void *a, const void *b)
{
    int64_t left = (*(const node_t *const *)a)->index;
    int64_t right = (*(const node_t *const *)b)->index;
    return left < right ? -1 : left > right;
}

static weir_json_t *to_json(weir_arena_t *arena, const node_t *node);

static weir_json_t *to_object(weir_arena_t *arena, const node_t *node)
{
    weir_json_t *object = weir_json_new_object();
    for (const node_t *child = node->child; object != NULL && child != NULL; child = child->next) {
        weir_str_t name = child->index != 0 ? weir_arena_printf(arena, "%" PRId64, child->index)
                                            : weir_arena_copy(arena, child->name);
        if (name.data == NULL ||
            weir_json_set(object, name.data, to_json(arena, child)) != WEIR_OK) {
            weir_json_free(object);
            return NULL;
        }
    }
    return object;
}

/* `*ret` NULL and WEIR_NOT_FOUND: the children are not numbered 1..n. */
static int to_array(weir_arena_t *arena, const node_t *node, weir_json_t **ret)
{
    size_t count = 0;
    for (const node_t *child = node->child; child != NULL; child = child->next, count++)
        if (child->index == 0)
            return WEIR_NOT_FOUND;
    const node_t **sorted = weir_arena_alloc(arena, (count + 1) * sizeof(*sorted));
    if (sorted == NULL)
        return WEIR_NO_MEMORY;
    count = 0;
    for (const node_t *child = node->child; child != NULL; child = child->next)
        sorted[count++] = child;
    qsort(sorted, count, sizeof(*sorted), by_index);
    if (count == 0 || sorted[count - 1]->index != (int64_t)count)
        return WEIR_NOT_FOUND;
    weir_json_t *array = weir_json_new_array();
    for (size_t i = 0; array != NULL && i < count; i++) {
        if (weir_json_append(array, to_json(arena, sorted[i])) != WEIR_OK) {
            weir_json_free(array);
            return WEIR_NO_MEMORY;
        }
    }
    *ret = array;
    return array != NULL ? WEIR_OK : WEIR_NO_MEMORY;
}

static weir_json_t *to_json(weir_arena_t *arena, const node_t *node)
{
    if (node->is_leaf)
        return node->value.data != NULL ? weir_json_new_string(node->value)
                                        : weir_json_new_boolean(true);
    weir_json_t *array = NULL;
    int rc = to_array(arena, node, &array);
    if (rc == WEIR_NOT_FOUND)
        return to_object(arena, node);
    return rc == WEIR_OK ? array : NULL;
}

/* "a%5B%5D" after decoding: brackets that were encoded twice. */
static weir_str_t decode_brackets(weir_arena_t *arena, weir_str_t name)
{
    if (memchr(name.data, '%', name.len) == NULL)
        return name;
    char *out = weir_arena_alloc(arena, name.len + 1);
    if (out == NULL)
        return name;
    size_t len = 0;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        if (c == '%' && i + 2 < name.len && name.data[i + 1] == '5') {
            char kind = (char)(name.data[i + 2] | 0x20);
            if (kind == 'b' || kind == 'd') {
                c = kind == 'b' ? '[' : ']';
                i += 2;
            }
        }
        out[len++] = c;
    }
    out[len] = '\0';
    return (weir_str_t){ out, len };
}

weir_json_t *form_expand(const arguments_t *arguments, bool last_wins)
{
    enum { TREE_BYTES_MAX = 64 * 1024 * 1024 };
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, TREE_BYTES_MAX);
    node_t root = { 0 };
    for (size_t i = 0; i < arguments->count; i++) {
        const argument_t *argument = &arguments->list[i];
        weir_str_t name = decode_brackets(&arena, argument->name);
        step_t steps[STEPS_MAX];
        size_t count = split(name, steps);
        if (count == 0) {
            steps[0] = (step_t){ name, 0 };
            count = 1;
        }
        if (!insert(&arena, &root, steps, count, argument->value, last_wins))
            return NULL;
    }
    return to_object(&arena, &root);
}
