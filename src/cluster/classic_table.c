/* classic_table.c -- a reconfigure message as rows of the form of kong.sync.v2. */
#include "cluster/classic_table.h"

#include "base/json.h"
#include "cluster/classic_scan.h"

#include <openssl/evp.h>
#include <search.h>
#include <stdio.h>

#define NO_HASH           "00000000000000000000000000000000"
#define DEFAULT_WORKSPACE "0dc6f45b-8f8d-40d2-a504-473544ee190b" /* as every Kong calls it */

/* -- the head ---------------------------------------------------------------------------- */

typedef struct heading {
    weir_classic_head_t *head;
    weir_scan_t *scan;
    EVP_MD_CTX *sum; /* of the rows */
    bool hashed, formatted, table;
} heading_t;

static int refuse(weir_error_t *err, const char *field, const char *why)
{
    return weir_error_set(err, WEIR_INVALID, field, "%s", why);
}

static int set_format(heading_t *h, weir_str_t text, weir_error_t *err)
{
    static const char *const known[] = { "\"1.1\"", "\"2.1\"", "\"3.0\"" };
    static const unsigned formats[] = { 11, 21, 30 };
    for (size_t i = 0; i < WEIR_COUNT(known); i++) {
        if (text.data != NULL && weir_str_is(text, known[i])) {
            h->head->format = formats[i];
            h->formatted = true;
            return WEIR_OK;
        }
    }
    return refuse(err, "_format_version", "expected one of: 1.1, 2.1, 3.0");
}

/* A hash that is no string counts as absent, one with escapes too: none has them. */
static void set_hash(heading_t *h, weir_str_t text)
{
    if (text.data == NULL || text.len < 3 || text.data[0] != '"' ||
        text.len - 2 > WEIR_CLASSIC_HASH_MAX || memchr(text.data, '\\', text.len) != NULL)
        return;
    memcpy(h->head->hash, text.data + 1, text.len - 2);
    h->head->hash[text.len - 2] = '\0';
    h->hashed = true;
}

static int head_value(void *context, bool table, const char *name, weir_str_t text,
                      weir_error_t *err)
{
    heading_t *h = context;
    WEIR_AUTO(json) weir_json_t *value = NULL;
    if (text.data != NULL && weir_json_parse_marked(text, &value, NULL) != WEIR_OK)
        return weir_error_set(err, WEIR_CORRUPT, name, "is no JSON value");
    if (!table) {
        if (strcmp(name, "type") == 0)
            h->head->reconfigure = text.data != NULL && weir_str_is(text, "\"reconfigure\"");
        else if (strcmp(name, "config_hash") == 0)
            set_hash(h, text);
        return WEIR_OK;
    }
    h->table = true;
    if (strcmp(name, "_format_version") == 0)
        return set_format(h, text, err);
    bool empty = text.data != NULL && weir_str_is(text, "{}"); /* a list, too (B.2) */
    if (empty || strcmp(name, "_transform") == 0 || strcmp(name, "_comment") == 0)
        return WEIR_OK;
    return weir_error_set(err, WEIR_INVALID, name, "is no list of entities");
}

static int head_row(void *context, const char *list, weir_str_t text, weir_error_t *err)
{
    heading_t *h = context;
    if (strcmp(list, "_ignore") == 0)
        return WEIR_OK;
    h->table = true;
    h->head->rows++;
    if (strcmp(list, "workspaces") != 0)
        h->head->empty = false;
    return EVP_DigestUpdate(h->sum, list, strlen(list) + 1) == 1 &&
                   EVP_DigestUpdate(h->sum, text.data, text.len) == 1
               ? WEIR_OK
               : weir_error_memory(err);
}

static int head_piece(void *context, weir_str_t bytes, weir_error_t *err)
{
    return weir_scan_feed(((heading_t *)context)->scan, bytes, err);
}

static void own_hash(heading_t *h)
{
    unsigned char digest[EVP_MAX_MD_SIZE] = { 0 };
    (void)EVP_DigestFinal_ex(h->sum, digest, NULL);
    for (size_t i = 0; i < strlen(NO_HASH) / 2; i++)
        snprintf(h->head->hash + 2 * i, 3, "%02x", digest[i]);
}

static int judge_head(heading_t *h, weir_error_t *err)
{
    if (!h->head->reconfigure)
        return WEIR_OK;
    if (!h->formatted)
        return refuse(err, "_format_version", "required field missing");
    if (h->head->empty)
        memcpy(h->head->hash, NO_HASH, sizeof(NO_HASH));
    else if (!h->hashed)
        own_hash(h);
    return WEIR_OK;
}

int weir_classic_read_head(weir_str_t payload, uint64_t inflated_max, weir_classic_head_t *ret,
                           weir_error_t *err)
{
    *ret = (weir_classic_head_t){ .empty = true };
    heading_t h = { .head = ret, .sum = EVP_MD_CTX_new() };
    weir_scan_events_t events = { .value = head_value, .row = head_row, .context = &h };
    int rc = h.sum != NULL && EVP_DigestInit_ex(h.sum, EVP_sha256(), NULL) == 1
                 ? weir_scan_new(&events, &h.scan, err)
                 : weir_error_memory(err);
    if (rc == WEIR_OK)
        rc = weir_scan_inflate(payload, inflated_max, head_piece, &h, err);
    if (rc == WEIR_OK)
        rc = weir_scan_end(h.scan, err);
    if (rc == WEIR_OK)
        rc = judge_head(&h, err);
    weir_scan_free(h.scan);
    EVP_MD_CTX_free(h.sum);
    return rc;
}

/* -- rows ------------------------------------------------------------------------------------ */

typedef int (*row_fn)(void *context, weir_str_t type, const weir_json_t *row, weir_error_t *err);

/* A row whose parent is named: it waits until every name is known. */
typedef struct named_row {
    const weir_schema_t *schema;
    weir_json_t *row;
} named_row_t;

typedef struct reading {
    const weir_classic_head_t *head;
    row_fn row;
    void *context;
    weir_scan_t *scan;
    bool has_default;
    named_row_t *by_name;
    size_t by_name_count, by_name_capacity;
    void *names; /* tree of known_name_t */
} reading_t;

typedef struct known_name {
    weir_entity_type_t type;
    char id[WEIR_UUID_TEXT + 1];
    char name[]; /* value of the endpoint key */
} known_name_t;

/* -- ids (E) ------------------------------------------------------------------------------------
 */

static int make_id(const weir_schema_t *schema, weir_json_t *row, weir_str_t text)
{
    static const char root_text[] = "fd02801f-0957-4a15-a55a-c8d9606f30b5";
    weir_uuid_t root;
    weir_uuid_t space;
    weir_uuid_t id;
    char out[WEIR_UUID_TEXT + 1];
    if (strcmp(schema->primary_key, "id") != 0 || weir_json_get(row, "id") != NULL)
        return WEIR_OK;
    weir_str_t key = { NULL, 0 };
    if (schema->endpoint_key != NULL)
        key = weir_json_get_string(row, schema->endpoint_key, key);
    (void)weir_uuid_parse(WEIR_STR(root_text), &root);
    weir_uuid_named(&root, weir_str(schema->name), &space);
    weir_uuid_named(&space, key.data != NULL ? key : text, &id);
    weir_uuid_format(&id, out);
    return weir_json_set(row, "id", weir_json_new_string(weir_str(out)));
}

/* -- paths of older formats (E) -------------------------------------------------------------------
 */

/* Whether a path of the formats before 3.0 is meant as a regular expression. */
static bool looks_like_regex(weir_str_t path)
{
    for (size_t i = 0; i < path.len; i++) {
        char c = path.data[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     strchr(".-_~/%", c) != NULL;
        if (!plain)
            return true;
    }
    return false;
}

static int mark_regexes(weir_json_t *route)
{
    const weir_json_t *paths = weir_json_get(route, "paths");
    if (weir_json_kind(paths) != WEIR_JSON_ARRAY)
        return WEIR_OK;
    weir_json_t *marked = weir_json_new_array();
    int rc = marked != NULL ? WEIR_OK : WEIR_NO_MEMORY;
    for (const weir_json_t *p = weir_json_first(paths); rc == WEIR_OK && p != NULL;
         p = weir_json_next(p)) {
        weir_str_t path = weir_json_string(p);
        WEIR_AUTO(buffer) weir_buffer_t text;
        weir_buffer_init(&text, path.len + 1);
        if (path.data != NULL && path.len > 0 && path.data[0] != '~' && looks_like_regex(path))
            weir_buffer_byte(&text, '~');
        weir_buffer_append(&text, path);
        rc = text.failed;
        if (rc == WEIR_OK)
            rc = weir_json_append(marked, path.data != NULL
                                              ? weir_json_new_string(weir_buffer_str(&text))
                                              : weir_json_copy(p));
    }
    if (rc == WEIR_OK)
        return weir_json_set(route, "paths", marked);
    weir_json_free(marked);
    return rc;
}

/* -- foreign keys ----------------------------------------------------------------------------- */

static int set_key(weir_json_t *row, const char *field, weir_str_t id)
{
    weir_json_t *key = weir_json_new_object();
    int rc = key != NULL ? weir_json_set(key, "id", weir_json_new_string(id)) : WEIR_NO_MEMORY;
    if (rc == WEIR_OK)
        return weir_json_set(row, field, key);
    weir_json_free(key);
    return rc;
}

/* Ids become objects. *ret_named: there is something else than an id. */
static int raise_keys(const weir_schema_t *schema, weir_json_t *row, bool *ret_named)
{
    int rc = WEIR_OK;
    for (const weir_field_t *f = schema->fields; rc == WEIR_OK && f->name != NULL; f++) {
        weir_uuid_t id;
        weir_str_t text = { NULL, 0 };
        if (f->type == WEIR_TYPE_FOREIGN)
            text = weir_json_get_string(row, f->name, text);
        if (text.data == NULL)
            continue;
        if (weir_uuid_parse(text, &id) == WEIR_OK) {
            char copy[WEIR_UUID_TEXT + 1]; /* `text` goes with what it replaces */
            memcpy(copy, text.data, WEIR_UUID_TEXT + 1);
            rc = set_key(row, f->name, weir_str(copy));
        } else {
            *ret_named = true;
        }
    }
    return rc;
}

static int by_type_and_name(const void *a, const void *b)
{
    const known_name_t *left = a;
    const known_name_t *right = b;
    return left->type != right->type ? (left->type < right->type ? -1 : 1)
                                     : strcmp(left->name, right->name);
}

static known_name_t *new_name(weir_entity_type_t type, weir_str_t name, weir_str_t id)
{
    known_name_t *known = weir_malloc(sizeof(*known) + name.len + 1);
    if (known == NULL)
        return NULL;
    known->type = type;
    memcpy(known->name, name.data, name.len + 1); /* a text of a tree is terminated */
    snprintf(known->id, sizeof(known->id), "%.*s", WEIR_STR_ARG(id));
    return known;
}

/* What is not found stays a text: the model will say that it is no foreign key. */
static int resolve_names(const reading_t *r, const named_row_t *named)
{
    int rc = WEIR_OK;
    for (const weir_field_t *f = named->schema->fields; rc == WEIR_OK && f->name != NULL; f++) {
        weir_str_t text = { NULL, 0 };
        const weir_schema_t *to =
            f->type == WEIR_TYPE_FOREIGN ? weir_schema_named(weir_str(f->to)) : NULL;
        if (to != NULL)
            text = weir_json_get_string(named->row, f->name, text);
        if (text.data == NULL)
            continue;
        known_name_t *wanted = new_name(to->type, text, WEIR_STR(""));
        if (wanted == NULL)
            return WEIR_NO_MEMORY;
        known_name_t *const *found = tfind(wanted, &r->names, by_type_and_name);
        if (found != NULL)
            rc = set_key(named->row, f->name, weir_str((*found)->id));
        weir_free(wanted);
    }
    return rc;
}

static int put_aside(reading_t *r, const weir_schema_t *schema, weir_json_t *row, weir_error_t *err)
{
    if (r->by_name_count == WEIR_CLASSIC_BY_NAME_MAX)
        return weir_error_set(err, WEIR_TOO_LARGE, schema->name,
                              "more than %d rows name their parents", WEIR_CLASSIC_BY_NAME_MAX);
    if (r->by_name_count == r->by_name_capacity) {
        size_t capacity = r->by_name_capacity > 0 ? 2 * r->by_name_capacity : 16;
        named_row_t *grown = weir_realloc(r->by_name, capacity * sizeof(*grown));
        if (grown == NULL)
            return weir_error_memory(err);
        r->by_name = grown;
        r->by_name_capacity = capacity;
    }
    r->by_name[r->by_name_count++] = (named_row_t){ schema, row };
    return WEIR_OK;
}

/* -- one row
 * ------------------------------------------------------------------------------------------------
 */

static void note_workspace(reading_t *r, const weir_schema_t *schema, const weir_json_t *row)
{
    if (schema->type == WEIR_WORKSPACES &&
        weir_str_is(weir_json_get_string(row, "name", WEIR_STR("")), "default"))
        r->has_default = true;
}

static int give_row(reading_t *r, const weir_schema_t *schema, weir_json_t *row, weir_str_t text,
                    bool *ret_kept, weir_error_t *err)
{
    bool named = false;
    weir_json_remove(row, "_comment");
    weir_json_remove(row, "_ignore");
    int rc = make_id(schema, row, text);
    if (rc == WEIR_OK && schema->type == WEIR_ROUTES && r->head->format < 30)
        rc = mark_regexes(row);
    if (rc == WEIR_OK)
        rc = raise_keys(schema, row, &named);
    if (rc != WEIR_OK)
        return weir_error_memory(err);
    note_workspace(r, schema, row);
    if (!named)
        return r->row(r->context, weir_str(schema->name), row, err);
    *ret_kept = true;
    return put_aside(r, schema, row, err);
}

static int parse_row(const char *list, weir_str_t text, weir_json_t **ret, weir_error_t *err)
{
    weir_error_t why = { 0 };
    int rc = weir_json_parse_marked(text, ret, &why);
    if (rc == WEIR_OK && weir_json_kind(*ret) == WEIR_JSON_OBJECT)
        return WEIR_OK;
    if (rc == WEIR_NO_MEMORY)
        return weir_error_memory(err);
    weir_json_free(*ret);
    *ret = NULL;
    return weir_error_set(err, WEIR_CORRUPT, list, "has a row that is no object: %s", why.reason);
}

static int read_row(void *context, const char *list, weir_str_t text, weir_error_t *err)
{
    reading_t *r = context;
    weir_json_t *row = NULL;
    bool kept = false;
    if (strcmp(list, "_ignore") == 0)
        return WEIR_OK;
    int rc = parse_row(list, text, &row, err);
    if (rc != WEIR_OK)
        return rc;
    const weir_schema_t *schema = weir_schema_named(weir_str(list));
    rc = schema != NULL ? give_row(r, schema, row, text, &kept, err)
                        : r->row(r->context, weir_str(list), row, err);
    if (!kept || rc != WEIR_OK)
        weir_json_free(row);
    return rc;
}

/* -- the names, in a reading of their own ----------------------------------------------------- */

static int learn_name(void *context, const char *list, weir_str_t text, weir_error_t *err)
{
    reading_t *r = context;
    const weir_schema_t *schema = weir_schema_named(weir_str(list));
    WEIR_AUTO(json) weir_json_t *row = NULL;
    if (schema == NULL || schema->endpoint_key == NULL)
        return WEIR_OK;
    int rc = parse_row(list, text, &row, err);
    if (rc != WEIR_OK)
        return rc;
    weir_str_t none = { NULL, 0 };
    weir_str_t name = weir_json_get_string(row, schema->endpoint_key, none);
    if (name.data == NULL || make_id(schema, row, text) != WEIR_OK)
        return name.data == NULL ? WEIR_OK : weir_error_memory(err);
    known_name_t *known = new_name(schema->type, name, weir_json_get_string(row, "id", none));
    known_name_t **found = known != NULL ? tsearch(known, &r->names, by_type_and_name) : NULL;
    if (found == NULL || *found != known)
        weir_free(known); /* of equal names the first counts */
    return found != NULL ? WEIR_OK : weir_error_memory(err);
}

static int read_piece(void *context, weir_str_t bytes, weir_error_t *err)
{
    return weir_scan_feed(((reading_t *)context)->scan, bytes, err);
}

static int read_all(reading_t *r, weir_str_t payload, uint64_t inflated_max,
                    int (*row)(void *context, const char *list, weir_str_t text, weir_error_t *err),
                    weir_error_t *err)
{
    weir_scan_events_t events = { .row = row, .context = r };
    int rc = weir_scan_new(&events, &r->scan, err);
    if (rc == WEIR_OK)
        rc = weir_scan_inflate(payload, inflated_max, read_piece, r, err);
    weir_scan_free(r->scan);
    r->scan = NULL;
    return rc;
}

static int give_named(reading_t *r, weir_error_t *err)
{
    int rc = WEIR_OK;
    for (size_t i = 0; rc == WEIR_OK && i < r->by_name_count; i++) {
        named_row_t *named = &r->by_name[i];
        rc = resolve_names(r, named) == WEIR_OK
                 ? r->row(r->context, weir_str(named->schema->name), named->row, err)
                 : weir_error_memory(err);
    }
    return rc;
}

static int give_default_workspace(reading_t *r, weir_error_t *err)
{
    WEIR_AUTO(json) weir_json_t *row = NULL;
    if (r->has_default)
        return WEIR_OK;
    int rc = weir_json_parse(WEIR_STR("{\"id\":\"" DEFAULT_WORKSPACE "\",\"name\":\"default\"}"),
                             &row, err);
    return rc == WEIR_OK ? r->row(r->context, WEIR_STR("workspaces"), row, err) : rc;
}

int weir_classic_read_rows(weir_str_t payload, uint64_t inflated_max,
                           const weir_classic_head_t *head, row_fn row, void *context,
                           weir_error_t *err)
{
    reading_t r = { .head = head, .row = row, .context = context };
    int rc = read_all(&r, payload, inflated_max, read_row, err);
    if (rc == WEIR_OK && r.by_name_count > 0)
        rc = read_all(&r, payload, inflated_max, learn_name, err);
    if (rc == WEIR_OK)
        rc = give_named(&r, err);
    if (rc == WEIR_OK)
        rc = give_default_workspace(&r, err);
    for (size_t i = 0; i < r.by_name_count; i++)
        weir_json_free(r.by_name[i].row);
    weir_free(r.by_name);
    tdestroy(r.names, weir_free);
    return rc;
}
