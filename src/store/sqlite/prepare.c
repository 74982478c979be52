/* prepare.c -- what can be done of a write before its turn comes, on the thread
 * of its caller: the document printed and hashed, and what it is found by taken
 * out of it. */
#include "store/sqlite/internal.h"

#include "base/json.h"

#include <openssl/evp.h>
#include <pthread.h>

static int collect_key(void *context, const char *name, weir_str_t value)
{
    indexed_t *to = context;
    weir_assert(to->key_count < KEYS_MAX);
    weir_str_t copy = weir_arena_copy(to->arena, value);
    if (copy.data == NULL)
        return WEIR_NO_MEMORY;
    to->keys[to->key_count++] = (index_key_t){ name, copy };
    return WEIR_OK;
}

static int add_reference(indexed_t *to, const index_reference_t *reference)
{
    for (size_t i = 0; i < to->reference_count; i++)
        if (to->references[i].field == reference->field &&
            weir_uuid_equal(&to->references[i].id, &reference->id))
            return WEIR_OK;
    if (to->reference_count == REFERENCES_MAX)
        return WEIR_TOO_LARGE;
    if (to->references == NULL) {
        to->references = weir_arena_alloc(to->arena, REFERENCES_MAX * sizeof(*to->references));
        if (to->references == NULL)
            return WEIR_NO_MEMORY;
    }
    to->references[to->reference_count++] = *reference;
    return WEIR_OK;
}

/* A certificate takes its SNIs with it (entity-schemas, "on_delete"). */
int weir_sqlite_on_delete(weir_entity_type_t type, const weir_field_t *field)
{
    bool sni = type == WEIR_SNIS && strcmp(field->name, "certificate") == 0;
    return sni ? WEIR_ON_DELETE_CASCADE : (int)field->on_delete;
}

typedef struct referring {
    indexed_t *indexed;
    weir_entity_type_t type; /* of the entity that refers */
} referring_t;

static int collect_reference(void *context, const weir_field_t *field, const weir_schema_t *to,
                             const weir_uuid_t *id)
{
    referring_t *from = context;
    return add_reference(from->indexed,
                         &(index_reference_t){ field->name, to->type, *id,
                                               weir_sqlite_on_delete(from->type, field), true });
}

/* services.ca_certificates: ids that need not exist, but hold what does
 * (admin-api 9.5). */
static int collect_ca_certificates(indexed_t *indexed, const weir_json_t *entity)
{
    int rc = WEIR_OK;
    for (const weir_json_t *item = weir_json_first(weir_json_get(entity, "ca_certificates"));
         rc == WEIR_OK && item != NULL; item = weir_json_next(item)) {
        index_reference_t reference = { .field = "ca_certificates",
                                        .to = WEIR_CA_CERTIFICATES,
                                        .on_delete = WEIR_ON_DELETE_RESTRICT };
        if (weir_uuid_parse(weir_json_string(item), &reference.id) == WEIR_OK)
            rc = add_reference(indexed, &reference);
    }
    return rc;
}

static int collect_tags(indexed_t *indexed, const weir_json_t *entity)
{
    const weir_json_t *tags = weir_json_get(entity, "tags");
    size_t count = weir_json_count(tags);
    if (count == 0)
        return WEIR_OK;
    if (count > TAGS_MAX)
        return WEIR_TOO_LARGE;
    indexed->tags = weir_arena_alloc(indexed->arena, count * sizeof(*indexed->tags));
    if (indexed->tags == NULL)
        return WEIR_NO_MEMORY;
    for (const weir_json_t *tag = weir_json_first(tags); tag != NULL; tag = weir_json_next(tag)) {
        weir_str_t copy = weir_arena_copy(indexed->arena, weir_json_string(tag));
        if (copy.data == NULL)
            return WEIR_NO_MEMORY;
        indexed->tags[indexed->tag_count++] = copy;
    }
    return WEIR_OK;
}

int weir_sqlite_index(const weir_schema_t *schema, const weir_json_t *entity, weir_arena_t *arena,
                      indexed_t *ret, weir_error_t *err)
{
    *ret = (indexed_t){ .arena = arena };
    referring_t from = { ret, schema->type };
    int rc = weir_model_keys(schema, entity, collect_key, ret);
    if (rc == WEIR_OK)
        rc = weir_model_references(schema, entity, collect_reference, &from);
    if (rc == WEIR_OK && schema->type == WEIR_SERVICES)
        rc = collect_ca_certificates(ret, entity);
    if (rc == WEIR_OK)
        rc = collect_tags(ret, entity);
    if (rc == WEIR_OK && schema->type == WEIR_PLUGINS) {
        ret->plugin_name =
            weir_arena_copy(arena, weir_json_get_string(entity, "name", WEIR_STR("")));
        rc = ret->plugin_name.data != NULL ? WEIR_OK : WEIR_NO_MEMORY;
    }
    if (rc == WEIR_TOO_LARGE)
        return weir_error_set(err, rc, NULL,
                              "an entity may have %d tags and refer to %d others at the most",
                              TAGS_MAX, REFERENCES_MAX);
    return rc == WEIR_OK ? WEIR_OK : weir_error_memory(err);
}

static bool is_timestamp(const char *name)
{
    return strcmp(name, "created_at") == 0 || strcmp(name, "updated_at") == 0;
}

static const EVP_MD *sha256;

static void fetch_sha256(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (sha256 == NULL)
        sha256 = EVP_sha256(); /* which looks for it each time */
}

/* Prints the entity, and hashes the members that are not timestamps: those
 * alone make no change. */
static int print_and_hash(const weir_json_t *entity, EVP_MD_CTX *hash, weir_buffer_t *out)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    bool fine =
        pthread_once(&once, fetch_sha256) == 0 && EVP_DigestInit_ex(hash, sha256, NULL) == 1;
    weir_buffer_byte(out, '{');
    for (const weir_json_t *m = weir_json_first(entity); m != NULL; m = weir_json_next(m)) {
        if (m != weir_json_first(entity))
            weir_buffer_byte(out, ',');
        size_t start = out->len;
        weir_json_print_string(weir_str(weir_json_name(m)), out);
        weir_buffer_byte(out, ':');
        weir_json_print(m, out);
        if (fine && out->failed == WEIR_OK && !is_timestamp(weir_json_name(m)))
            fine = EVP_DigestUpdate(hash, out->data + start, out->len - start) == 1;
    }
    weir_buffer_byte(out, '}');
    return fine ? out->failed : WEIR_NO_MEMORY;
}

static int print_document(const weir_json_t *entity, weir_arena_t *arena, prepared_op_t *ret,
                          weir_error_t *err)
{
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, OP_BYTES_MAX / 2);
    weir_buffer_reserve(&text, 1024); /* most fit; a failure sticks */
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    unsigned char digest[EVP_MAX_MD_SIZE];
    int rc = hash != NULL ? print_and_hash(entity, hash, &text) : WEIR_NO_MEMORY;
    if (rc == WEIR_OK && EVP_DigestFinal_ex(hash, digest, NULL) != 1)
        rc = WEIR_NO_MEMORY;
    EVP_MD_CTX_free(hash);
    if (rc == WEIR_TOO_LARGE)
        return weir_error_set(err, rc, NULL, "an entity may have %d bytes at the most",
                              OP_BYTES_MAX / 2);
    if (rc != WEIR_OK)
        return weir_error_memory(err);
    memcpy(ret->content, digest, sizeof(ret->content));
    ret->document = weir_arena_copy(arena, weir_buffer_str(&text));
    return ret->document.data != NULL ? WEIR_OK : weir_error_memory(err);
}

int weir_sqlite_prepare(const weir_store_op_t *op, weir_arena_t *arena, prepared_op_t *ret,
                        weir_error_t *err)
{
    *ret = (prepared_op_t){ .op = op };
    if (op->kind == WEIR_STORE_DELETE)
        return WEIR_OK;
    const weir_schema_t *schema = weir_schema(op->type);
    weir_assert(schema != NULL && weir_json_kind(op->entity) == WEIR_JSON_OBJECT);
    int rc = print_document(op->entity, arena, ret, err);
    if (rc != WEIR_OK)
        return rc;
    ret->created_at = weir_json_get_number(op->entity, "created_at", 0);
    ret->updated_at = weir_json_get_number(op->entity, "updated_at", 0);
    if (schema->ttl)
        ret->expires_ms = (int64_t)(weir_json_get_number(op->entity, "ttl", 0) * 1000);
    return weir_sqlite_index(schema, op->entity, arena, &ret->indexed, err);
}
