/* prepare.c -- what can be said of a row without the image: which entity it is, its
 * document and that one's hash, what the model makes of it, its record. So it can be
 * said ahead of the transaction (ahead.c). */
#include "image/batch.h"

#include "base/clock.h"
#include "base/json.h"

/* -- which one ----------------------------------------------------------------------- */

/* Key of a row whose type, or whose id, is unknown here; `id` and `row` as far as they
 * are known. Its first bytes are those of the id: it lies in the id's bucket. */
static entity_key_t odd_key(weir_entity_type_t type, weir_str_t type_name, const weir_uuid_t *id,
                            const weir_json_t *row, weir_uuid_t *ret_id)
{
    static const weir_uuid_t space = { { 0x51, 0x0b, 0x5e, 0x11, 0x9d, 0x4a, 0x4c, 0x7e, 0x8b, 0x02,
                                         0x43, 0xfa, 0x68, 0x11, 0x0c, 0x3d } };
    char id_text[WEIR_UUID_TEXT + 1];
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, DOCUMENT_BYTES_MAX);
    weir_buffer_append(&text, type_name);
    weir_buffer_byte(&text, ':');
    weir_str_t own = weir_json_get_string(row, "id", (weir_str_t){ NULL, 0 });
    bool known = id != NULL || weir_uuid_parse(own, ret_id) == WEIR_OK;
    if (id != NULL)
        *ret_id = *id;
    if (known)
        weir_uuid_format(ret_id, id_text);
    if (known || own.data != NULL)
        weir_buffer_append(&text, known ? weir_str(id_text) : own);
    else
        weir_json_print(row, &text);
    weir_uuid_t named;
    weir_uuid_named(&space, weir_buffer_str(&text), &named);
    if (known)
        memcpy(named.bytes, ret_id->bytes, 2);
    else
        *ret_id = named;
    return entity_key(type, &named);
}

entity_key_t identify(const weir_schema_t *schema, weir_str_t type, const weir_uuid_t *id,
                      const weir_json_t *row, told_t *told)
{
    entity_key_t key;
    weir_uuid_t own;
    told->type = schema != NULL ? weir_str(schema->name) : type;
    if (schema == NULL)
        return odd_key(WEIR_ENTITY_NONE, type, id, row, &told->id);
    if (id != NULL)
        key = entity_key(schema->type, id);
    else if (weir_entity_id(schema, row, &own) == WEIR_OK)
        key = entity_key(schema->type, &own);
    else
        key = odd_key(schema->type, type, NULL, row, &told->id);
    told->id = entity_key_id(&key);
    return key;
}

/* -- the document ------------------------------------------------------------------------ */

enum { KEPT_BYTES_MAX = 64 * 1024 }; /* of a buffer, from one row to the next */

void prepared_init(prepared_t *p)
{
    *p = (prepared_t){ .row = NULL };
    weir_buffer_init(&p->text, DOCUMENT_BYTES_MAX);
    weir_buffer_init(&p->record, RECORD_BYTES_MAX);
    weir_arena_init(&p->memory, SIZE_MAX / 2);
}

static void clear_buffer(weir_buffer_t *buffer, size_t bytes_max)
{
    if (buffer->capacity > KEPT_BYTES_MAX) {
        weir_buffer_release(buffer);
        weir_buffer_init(buffer, bytes_max);
    }
    weir_buffer_clear(buffer);
}

void prepared_clear(prepared_t *p)
{
    clear_buffer(&p->text, DOCUMENT_BYTES_MAX);
    clear_buffer(&p->record, RECORD_BYTES_MAX);
    weir_arena_clear(&p->memory, KEPT_BYTES_MAX);
    *p = (prepared_t){ .text = p->text, .record = p->record, .memory = p->memory };
}

void prepared_release(prepared_t *p)
{
    weir_buffer_release(&p->text);
    weir_buffer_release(&p->record);
    weir_arena_release(&p->memory);
}

int prepare_document(const weir_batch_row_t *row, prepared_t *p, weir_error_t *err)
{
    p->schema = weir_schema_named(row->type);
    p->row = row->row;
    p->told = (told_t){ .has_hash = row->has_hash, .hash = row->hash };
    p->key = identify(p->schema, row->type, row->has_id ? &row->id : NULL, row->row, &p->told);
    if (weir_json_print(row->row, &p->text) != WEIR_OK)
        return weir_error_set(err, p->text.failed, NULL, "a document does not fit into %d bytes",
                              DOCUMENT_BYTES_MAX);
    return WEIR_OK;
}

int prepare_hash(weir_digester_t *digester, prepared_t *p, weir_error_t *err)
{
    int rc = p->hashed ? WEIR_OK
                       : told_hash(digester, &p->told, weir_buffer_str(&p->text), &p->hash, err);
    p->hashed = rc == WEIR_OK;
    return rc;
}

/* -- what the model makes of it ------------------------------------------------------------ */

/* The first field and text of the errors that the model found. */
static void first_problem(const weir_problem_t *problem, weir_error_t *ret)
{
    const weir_json_t *first = weir_json_first(problem->fields);
    const char *field = first != NULL && weir_json_name(first) != NULL ? weir_json_name(first) : "";
    weir_error_set(ret, WEIR_INVALID, field, "%.*s",
                   WEIR_STR_ARG(weir_buffer_str(&problem->message)));
}

int accept_row(const weir_schema_t *schema, const entity_key_t *key, const weir_json_t *row,
               weir_json_t **ret, weir_error_t *why)
{
    weir_uuid_t id;
    weir_uuid_t named = entity_key_id(key);
    if (weir_json_kind(row) != WEIR_JSON_OBJECT || weir_entity_id(schema, row, &id) != WEIR_OK ||
        !weir_uuid_equal(&id, &named))
        return weir_error_set(why, WEIR_INVALID, schema->primary_key,
                              "missing, not valid, or not the one that it came with");
    weir_problem_t problem;
    weir_problem_init(&problem);
    int rc = weir_model_accept(schema, row, (double)weir_clock_ms() / 1000, ret, &problem);
    if (rc == WEIR_INVALID)
        first_problem(&problem, why);
    weir_problem_release(&problem);
    return rc == WEIR_OK || rc == WEIR_INVALID ? rc : weir_error_memory(why);
}

int prepare_entity(prepared_t *p, weir_error_t *err)
{
    if (!p->judged) {
        p->judged = true;
        weir_arena_t *before = weir_json_place(&p->memory);
        p->verdict = accept_row(p->schema, &p->key, p->row, &p->entity, &p->why);
        weir_json_place(before);
    }
    if (p->verdict != WEIR_OK)
        return p->verdict == WEIR_INVALID ? WEIR_INVALID : weir_error_memory(err);
    int rc = p->linked ? WEIR_OK : links_of(p->schema, p->entity, &p->links, err);
    p->linked = rc == WEIR_OK;
    return rc;
}

int prepare_record(const weir_image_options_t *options, uint64_t version, prepared_t *p)
{
    if (!p->compiled) {
        p->compiled = true;
        p->verdict =
            compile_record(options, p->schema->type, p->entity, version, &p->record, &p->why);
    }
    return p->verdict;
}
