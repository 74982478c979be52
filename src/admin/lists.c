/* lists.c -- pages: size, offset, tags, next (admin-api 5).
 *
 * An offset is the base64 of a JSON array of the key of the page's last row; the
 * next page begins after it, whether that row still exists or not. */
#include "admin/internal.h"

#include "model/checks.h"

#include <math.h>
#include <openssl/evp.h>
#include <stdlib.h>

enum { TAGS_FILTER_MAX = 5, OFFSET_BYTES_MAX = 4096 };

/* -- size ------------------------------------------------------------------------------ */

static bool number_of(weir_str_t text, double *ret)
{
    char copy[64];
    if (text.len == 0 || text.len >= sizeof(copy) || memchr(text.data, '\0', text.len) != NULL)
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    if (strpbrk(copy, "nNiI") != NULL)
        return false;
    char *end = NULL;
    *ret = strtod(copy, &end);
    while (*end == ' ' || *end == '\t')
        end++;
    return end != copy && *end == '\0';
}

static int answer_bad_size(call_t *call, const char *text)
{
    weir_problem_t problem;
    weir_problem_init(&problem);
    int rc = weir_problem_set(&problem, 9, "invalid size", NULL, "%s", text);
    return answer_refusal(call, rc, &problem);
}

static int parse_size(call_t *call, page_t *ret)
{
    const argument_t *size = arguments_find(&call->query, "size");
    ret->size = PAGE_SIZE_DEFAULT;
    if (size == NULL)
        return WEIR_OK;
    double number = 0;
    if (arguments_count(&call->query, "size") > 1 || !number_of(size->value, &number))
        return answer_bad_size(call, "size must be a number");
    if (ret->cap_size && number > PAGE_SIZE_MAX)
        number = PAGE_SIZE_MAX;
    if (floor(number) != number || number < (ret->cap_size ? 0 : 1) || number > PAGE_SIZE_MAX)
        return answer_bad_size(call, "size must be an integer between 1 and 1000");
    ret->size = (size_t)number;
    ret->size_text = size->value;
    return WEIR_OK;
}

/* -- tags -------------------------------------------------------------------------------- */

static int answer_bad_tags(call_t *call, const char *text)
{
    weir_problem_t problem;
    weir_problem_init(&problem);
    weir_json_t *options = weir_json_new_object();
    int rc = WEIR_NO_MEMORY;
    if (set_text(options, "tags", weir_str(text)) == WEIR_OK)
        rc = weir_problem_set(&problem, 11, "invalid options", options, "invalid option (tags: %s)",
                              text);
    else
        weir_json_free(options);
    return answer_refusal(call, rc, &problem);
}

/* "a,b" is all of them, "a/b" any of them. A separator at the end adds "". */
static int parse_tags(call_t *call, page_t *ret)
{
    const argument_t *argument = arguments_find(&call->query, "tags");
    if (argument == NULL)
        return WEIR_OK;
    weir_str_t text = argument->value;
    if (text.len == 0)
        return answer_bad_tags(call, "cannot be null");
    ret->tags_text = text;
    ret->tags_any = memchr(text.data, '/', text.len) != NULL;
    char separator = ret->tags_any ? '/' : ',';
    if (ret->tags_any && memchr(text.data, ',', text.len) != NULL)
        return answer_bad_tags(call, "invalid filter syntax");
    ret->tags = weir_arena_alloc(call->arena, TAGS_FILTER_MAX * sizeof(*ret->tags));
    if (ret->tags == NULL)
        return weir_error_memory(call->err);
    size_t count = 0;
    for (size_t at = 0; at <= text.len; count++) {
        const char *end = at < text.len ? memchr(text.data + at, separator, text.len - at) : NULL;
        weir_str_t tag = { text.data + at,
                           end != NULL ? (size_t)(end - text.data) - at : text.len - at };
        bool at_end = at == text.len;
        at += tag.len + 1;
        if ((tag.len == 0 && !at_end) || (tag.len > 0 && weir_check_tag(tag, NULL) != WEIR_OK))
            return answer_bad_tags(call, "invalid filter syntax");
        if (count < TAGS_FILTER_MAX)
            ret->tags[count] = tag;
    }
    if (count > TAGS_FILTER_MAX)
        return answer_bad_tags(call, "cannot query more than 5 tags");
    ret->tag_count = count;
    return WEIR_OK;
}

/* -- offsets ------------------------------------------------------------------------------ */

int answer_bad_offset(call_t *call, weir_str_t offset, const char *why)
{
    weir_problem_t problem;
    weir_problem_init(&problem);
    int rc = weir_problem_set(&problem, 7, "invalid offset", NULL,
                              "'%.*s' is not a valid offset: %s", WEIR_STR_ARG(offset), why);
    return answer_refusal(call, rc, &problem);
}

void offset_encode(weir_buffer_t *out, weir_str_t json)
{
    unsigned char text[OFFSET_BYTES_MAX];
    weir_assert(json.len < sizeof(text) / 2);
    int len = EVP_EncodeBlock(text, (const unsigned char *)json.data, (int)json.len);
    while (len > 0 && text[len - 1] == '=')
        len--;
    weir_buffer_append(out, (weir_str_t){ (const char *)text, (size_t)len });
}

/* Standard alphabet, with or without padding. False: it is none. */
static bool base64_decode(weir_str_t text, char *out, size_t out_bytes, size_t *ret_len)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t padding = 0;
    while (text.len > 0 && text.data[text.len - 1] == '=' && padding++ < 2)
        text.len--;
    if (text.len % 4 == 1)
        return false;
    uint32_t bits = 0;
    unsigned held = 0;
    *ret_len = 0;
    for (size_t i = 0; i < text.len; i++) {
        const char *letter = text.data[i] != '\0' ? strchr(alphabet, text.data[i]) : NULL;
        if (letter == NULL || *ret_len == out_bytes)
            return false;
        bits = bits << 6 | (uint32_t)(letter - alphabet);
        held += 6;
        if (held >= 8) {
            held -= 8;
            out[(*ret_len)++] = (char)(bits >> held & 0xff);
        }
    }
    return true;
}

int offset_decode(call_t *call, weir_str_t offset, weir_json_t **ret)
{
    char text[OFFSET_BYTES_MAX];
    size_t len = 0;
    if (!base64_decode(offset, text, sizeof(text), &len))
        return answer_bad_offset(call, offset, "bad base64 encoding");
    int rc = weir_json_parse((weir_str_t){ text, len }, ret, NULL);
    if (rc == WEIR_NO_MEMORY)
        return weir_error_memory(call->err);
    return rc == WEIR_OK ? WEIR_OK : answer_bad_offset(call, offset, "bad json encoding");
}

/* The id that the first element of an offset holds. One without elements comes
 * after everything: that is what comparing with nothing gives the incumbent. */
static int offset_id(call_t *call, weir_str_t offset, weir_uuid_t *ret, double *ret_second)
{
    memset(ret->bytes, 0xff, sizeof(ret->bytes));
    WEIR_AUTO(json) weir_json_t *key = NULL;
    int rc = offset_decode(call, offset, &key);
    if (rc != WEIR_OK)
        return rc;
    const weir_json_t *first = weir_json_first(key);
    bool is_container =
        weir_json_kind(key) == WEIR_JSON_ARRAY || weir_json_kind(key) == WEIR_JSON_OBJECT;
    if (is_container && first == NULL)
        return WEIR_OK;
    if (weir_json_kind(key) != WEIR_JSON_ARRAY ||
        weir_uuid_parse(weir_json_string(first), ret) != WEIR_OK)
        return answer_bad_offset(call, offset, "bad json encoding");
    if (ret_second != NULL)
        *ret_second = weir_json_number(weir_json_next(first));
    return WEIR_OK;
}

static int parse_offset(call_t *call, page_t *ret)
{
    const argument_t *offset = arguments_find(&call->query, "offset");
    if (offset == NULL)
        return WEIR_OK;
    ret->offset = offset->value.data != NULL ? offset->value : WEIR_STR("");
    if (arguments_count(&call->query, "offset") > 1)
        return answer_bad_offset(call, ret->offset, "given more than once");
    return WEIR_OK;
}

int page_parse(call_t *call, bool tags, page_t *ret)
{
    int rc = parse_size(call, ret);
    if (rc == WEIR_OK && tags)
        rc = parse_tags(call, ret);
    return rc == WEIR_OK ? parse_offset(call, ret) : rc;
}

/* -- pages ---------------------------------------------------------------------------------- */

/* `"next":...` and `"offset":...` behind the rows; ends the object. `path` is what
 * stands before "?offset=". */
static void end_page(call_t *call, const page_t *page, weir_str_t key, weir_str_t path,
                     bool with_arguments)
{
    weir_buffer_t *out = &call->response->body;
    if (key.data == NULL) {
        weir_buffer_append(out, WEIR_STR("],\"next\":null}"));
        return;
    }
    WEIR_AUTO(buffer) weir_buffer_t offset;
    WEIR_AUTO(buffer) weir_buffer_t next;
    weir_buffer_init(&offset, OFFSET_BYTES_MAX);
    weir_buffer_init(&next, 1024 * 1024);
    offset_encode(&offset, key);
    weir_buffer_append(&next, path);
    weir_buffer_append(&next, WEIR_STR("?offset="));
    encode(&next, weir_buffer_str(&offset));
    if (with_arguments && page->tags_text.data != NULL) {
        weir_buffer_append(&next, WEIR_STR("&tags="));
        encode(&next, page->tags_text);
    }
    if (with_arguments && page->size_text.data != NULL) {
        weir_buffer_append(&next, WEIR_STR("&size="));
        encode(&next, page->size_text);
    }
    weir_buffer_append(out, WEIR_STR("],\"next\":"));
    weir_json_print_string(weir_buffer_str(&next), out);
    weir_buffer_append(out, WEIR_STR(",\"offset\":"));
    weir_json_print_string(weir_buffer_str(&offset), out);
    weir_buffer_byte(out, '}');
    if (out->failed == WEIR_OK && (next.failed != WEIR_OK || offset.failed != WEIR_OK))
        out->failed = WEIR_NO_MEMORY;
}

static int finished(call_t *call)
{
    int failed = call->response->body.failed;
    return failed == WEIR_OK
               ? ANSWERED
               : weir_error_set(call->err, failed, NULL, "a page of %zu bytes and more",
                                call->response->body.len);
}

/* What "next" begins with. The parent stands there as the client wrote it, a
 * certificate by its id. */
static weir_str_t list_path(call_t *call, const weir_schema_t *schema, const located_t *parent)
{
    const char *nested = schema->nested_name != NULL ? schema->nested_name : schema->admin_name;
    if (parent == NULL)
        return weir_arena_printf(call->arena, "/%s", schema->admin_name);
    char id[WEIR_UUID_TEXT + 1];
    weir_uuid_format(&parent->id, id);
    weir_str_t name = parent->schema->type == WEIR_CERTIFICATES ? weir_str(id) : call->raw[0];
    return weir_arena_printf(call->arena, "/%s/%.*s/%s", parent->schema->admin_name,
                             WEIR_STR_ARG(name), nested);
}

int list_rows(call_t *call, const weir_schema_t *schema, const located_t *parent,
              const char *parent_field, const page_t *page, weir_str_t path)
{
    weir_store_query_t query = { .type = schema->type, .limit = page->size };
    if (parent != NULL) {
        query.parent_field = parent_field;
        query.parent = parent->id;
    } else {
        query.tags = page->tags;
        query.tag_count = page->tag_count;
        query.tags_any = page->tags_any;
    }
    int rc = WEIR_OK;
    if (page->offset.data != NULL) {
        query.has_after = true;
        rc = offset_id(call, page->offset, &query.after, NULL);
    }
    weir_rows_t rows;
    if (rc == WEIR_OK)
        rc = weir_store_list(call->admin->options.store, &query, call->arena, &rows, call->err);
    if (rc != WEIR_OK)
        return rc;
    weir_buffer_t *out = answer_json(call, 200);
    weir_buffer_append(out, WEIR_STR("{\"data\":["));
    for (size_t i = 0; i < rows.count; i++) {
        if (i > 0)
            weir_buffer_byte(out, ',');
        rc = show_document(call, schema, &rows.rows[i].id, rows.rows[i].document, out);
        if (rc != WEIR_OK)
            return weir_error_set(call->err, rc, NULL, "row %zu of a page: %s", i,
                                  weir_code_name(rc));
    }
    weir_str_t key = { NULL, 0 };
    if (rows.more && rows.count > 0) {
        char id[WEIR_UUID_TEXT + 1];
        weir_uuid_format(&rows.rows[rows.count - 1].id, id);
        key = weir_arena_printf(call->arena, "[\"%s\"]", id);
        if (key.data == NULL)
            return weir_error_memory(call->err);
    }
    end_page(call, page, key, path, parent == NULL);
    return finished(call);
}

int list_entities(call_t *call, const weir_schema_t *schema, const located_t *parent)
{
    page_t page = { 0 };
    int rc = page_parse(call, weir_schema_field(schema, WEIR_STR("tags")) != NULL, &page);
    if (rc != WEIR_OK)
        return rc;
    weir_str_t path = list_path(call, schema, parent);
    if (path.data == NULL)
        return weir_error_memory(call->err);
    return list_rows(call, schema, parent, parent != NULL ? call->path->field->name : NULL, &page,
                     path);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(weir_json_get_string(*(const weir_json_t *const *)a, "id", WEIR_STR("")).data,
                  weir_json_get_string(*(const weir_json_t *const *)b, "id", WEIR_STR("")).data);
}

int list_values(call_t *call, const weir_json_t *list, const page_t *page, weir_str_t path)
{
    size_t count = weir_json_count(list);
    const weir_json_t **rows = weir_arena_alloc(call->arena, (count + 1) * sizeof(*rows));
    if (rows == NULL)
        return weir_error_memory(call->err);
    count = 0;
    for (const weir_json_t *one = weir_json_first(list); one != NULL; one = weir_json_next(one))
        rows[count++] = one;
    qsort(rows, count, sizeof(*rows), by_id);
    weir_uuid_t after = { { 0 } };
    int rc = page->offset.data != NULL ? offset_id(call, page->offset, &after, NULL) : WEIR_OK;
    if (rc != WEIR_OK)
        return rc;
    char last[WEIR_UUID_TEXT + 1] = "";
    if (page->offset.data != NULL)
        weir_uuid_format(&after, last);
    weir_buffer_t *out = answer_json(call, 200);
    weir_buffer_append(out, WEIR_STR("{\"data\":["));
    weir_str_t key = { NULL, 0 };
    size_t shown = 0;
    for (size_t i = 0; i < count; i++) {
        weir_str_t id = weir_json_get_string(rows[i], "id", WEIR_STR(""));
        if (strcmp(id.data, last) <= 0 && page->offset.data != NULL)
            continue;
        if (shown == page->size) {
            weir_str_t before = weir_json_get_string(rows[i - 1], "id", WEIR_STR(""));
            key = weir_arena_printf(call->arena, "[\"%.*s\"]", WEIR_STR_ARG(before));
            break;
        }
        weir_buffer_append(out, shown++ > 0 ? WEIR_STR(",") : WEIR_STR(""));
        weir_json_print(rows[i], out);
    }
    end_page(call, page, key, path, true);
    return finished(call);
}

/* -- tags as entities ------------------------------------------------------------------------ */

/* The incumbent shows the name of the table, which is another one of vaults. */
static const char *table_name(const weir_schema_t *schema)
{
    return schema == NULL ? "" : schema->type == WEIR_VAULTS ? "sm_vaults" : schema->name;
}

static int list_tags(call_t *call, weir_str_t tag, weir_str_t path)
{
    page_t page = { 0 };
    int rc = page_parse(call, false, &page);
    weir_uuid_t after;
    double ordinal = 0;
    if (rc == WEIR_OK && page.offset.data != NULL)
        rc = offset_id(call, page.offset, &after, &ordinal);
    if (rc != WEIR_OK)
        return rc;
    if (ordinal < 0 || ordinal > INT32_MAX)
        ordinal = 0;
    weir_tag_row_t *rows = NULL;
    int *ordinals = NULL;
    size_t count = 0;
    bool more = false;
    rc = weir_store_tags(call->admin->options.store, tag, page.offset.data != NULL ? &after : NULL,
                         (int)ordinal, page.size, call->arena, &rows, &ordinals, &count, &more,
                         call->err);
    if (rc != WEIR_OK)
        return rc;
    weir_buffer_t *out = answer_json(call, 200);
    weir_buffer_append(out, WEIR_STR("{\"data\":["));
    char id[WEIR_UUID_TEXT + 1];
    for (size_t i = 0; i < count; i++) {
        const weir_schema_t *schema = weir_schema(rows[i].type);
        weir_uuid_format(&rows[i].id, id);
        weir_buffer_append(out, i > 0 ? WEIR_STR(",{\"tag\":") : WEIR_STR("{\"tag\":"));
        weir_json_print_string(rows[i].tag, out);
        weir_buffer_printf(out, ",\"entity_name\":\"%s\",\"entity_id\":\"%s\"}", table_name(schema),
                           id);
    }
    weir_str_t key = { NULL, 0 };
    if (more && count > 0) {
        key = weir_arena_printf(call->arena, "[\"%s\",%d]", id, ordinals[count - 1]);
        if (key.data == NULL)
            return weir_error_memory(call->err);
    }
    end_page(call, &page, key, path, tag.data == NULL);
    return finished(call);
}

int handle_tags(call_t *call)
{
    if (call->method == METHOD_POST)
        return answer_violation(call, "tags",
                                "does not support insert/upsert/update/delete operations");
    return list_tags(call, (weir_str_t){ NULL, 0 }, WEIR_STR("/tags"));
}

int handle_tag(call_t *call)
{
    if (call->method != METHOD_GET)
        return answer_message(call, 405, "Method not allowed");
    weir_error_t why = { 0 };
    weir_str_t tag = call->parameters[0];
    if (weir_check_tag(tag, &why) != WEIR_OK) {
        weir_problem_t problem;
        weir_problem_init(&problem);
        const char *value = strchr(why.reason, WEIR_VALUE[0]);
        int rc = value == NULL
                     ? weir_problem_set(&problem, 10, "invalid unique tag", NULL, "%s", why.reason)
                     : weir_problem_set(&problem, 10, "invalid unique tag", NULL, "%.*s%.*s%s",
                                        (int)(value - why.reason), why.reason, WEIR_STR_ARG(tag),
                                        value + 1);
        return answer_refusal(call, rc, &problem);
    }
    weir_str_t path = weir_arena_printf(call->arena, "/tags/%.*s", WEIR_STR_ARG(call->raw[0]));
    return path.data != NULL ? list_tags(call, tag, path) : weir_error_memory(call->err);
}
