/* compare.h -- are two images the same, byte for byte? But for what counts writes:
 * versions and commits. For tests. */
#ifndef WEIR_IMAGE_COMPARE_H
#define WEIR_IMAGE_COMPARE_H

#include "image/batch.h"
#include "image/fixture.h"
#include "image/router.h"

/* Zeroes the version inside of one value. */
static inline void compare_mask(database_t database, char *data, size_t len)
{
    if (database == DB_RECORDS || database == DB_QUARANTINE)
        memset(data, 0, len < 8 ? len : 8);
    if (database == DB_NAMES && len == 48)
        memset(data + 40, 0, 8);
    if (database != DB_PLANS)
        return;
    record_in_t in = { data, len, false };
    weir_planned_t planned;
    int32_t priority = 0;
    for (const char *start = in.at; next_planned(&in, &planned, &priority); start = in.at)
        memset(data + (start - data) + 20, 0, 8);
}

static inline void compare_dump(fixture_t *f, database_t database, weir_buffer_t *out)
{
    MDB_cursor *cursor = NULL;
    MDB_val key, value;
    weir_buffer_init(out, SIZE_MAX / 2);
    fixture_ok(f, weir_reader_enter(f->reader, &f->err));
    if (mdb_cursor_open(f->reader->txn, f->reader->dbi[database], &cursor) != 0)
        abort();
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
        put_u32(out, (uint32_t)key.mv_size);
        weir_buffer_append(out, val_str(key));
        put_u32(out, (uint32_t)value.mv_size);
        size_t at = out->len;
        weir_buffer_append(out, val_str(value));
        if (value.mv_size > 0)
            compare_mask(database, out->data + at, value.mv_size);
    }
    mdb_cursor_close(cursor);
    weir_reader_leave(f->reader);
}

/* -1, or the first database that differs. */
static inline int compare_images(fixture_t *a, fixture_t *b)
{
    int different = -1;
    for (int d = DB_DOCUMENTS; different < 0 && d < DATABASES; d++) {
        weir_buffer_t x, y;
        compare_dump(a, (database_t)d, &x);
        compare_dump(b, (database_t)d, &y);
        if (!weir_str_equal(weir_buffer_str(&x), weir_buffer_str(&y)))
            different = d;
        weir_buffer_release(&x);
        weir_buffer_release(&y);
    }
    state_t *s = &a->reader->state;
    state_t *t = &b->reader->state;
    if (different < 0 &&
        (memcmp(s->class_entries, t->class_entries, sizeof(s->class_entries)) != 0 ||
         memcmp(s->class_best, t->class_best, sizeof(s->class_best)) != 0 ||
         memcmp(s->scope_plugins, t->scope_plugins, sizeof(s->scope_plugins)) != 0 ||
         s->routes_with_hosts != t->routes_with_hosts ||
         s->routes_with_paths != t->routes_with_paths ||
         s->disabled_services != t->disabled_services || s->entities != t->entities ||
         s->quarantined != t->quarantined || s->told != t->told || s->has_digest != t->has_digest ||
         !weir_digest_equal(&s->digest, &t->digest)))
        different = DB_STATE;
    return different;
}

/* What only one of two values has, for the report of a failure: keys as hexadecimal digits. */
static inline void compare_explain(fixture_t *a, fixture_t *b, database_t database)
{
    weir_buffer_t dumps[2];
    compare_dump(a, database, &dumps[0]);
    compare_dump(b, database, &dumps[1]);
    record_in_t in[2] = { { dumps[0].data, dumps[0].len, false },
                          { dumps[1].data, dumps[1].len, false } };
    for (int shown = 0; shown < 10 && in[0].left > 0 && in[1].left > 0;) {
        record_in_t before[2] = { in[0], in[1] };
        weir_str_t keys[2], values[2];
        for (int i = 0; i < 2; i++) {
            keys[i] = get_str(&in[i]);
            values[i] = get_str(&in[i]);
        }
        if (weir_str_equal(keys[0], keys[1]) && weir_str_equal(values[0], values[1]))
            continue;
        size_t least = keys[0].len < keys[1].len ? keys[0].len : keys[1].len;
        int order = memcmp(keys[0].data, keys[1].data, least);
        for (int i = 0; i < 2; i++) {
            if (i == 0 ? order > 0 : order < 0) {
                in[i] = before[i]; /* the other one has a key less */
                continue;
            }
            printf("  %s ", i == 0 ? "-" : "+");
            for (size_t k = 0; k < keys[i].len; k++)
                printf("%02x", (unsigned)(uint8_t)keys[i].data[k]);
            printf(" (%zu bytes) ", values[i].len);
            for (size_t k = 0; k < values[i].len && k < 400; k++)
                printf(values[i].data[k] >= ' ' && values[i].data[k] < 127 ? "%c" : "\\%02x",
                       (unsigned)(uint8_t)values[i].data[k]);
            printf("\n");
        }
        shown++;
    }
    for (int i = 0; i < 2; i++)
        weir_buffer_release(&dumps[i]);
}

/* -- the same documents another way ------------------------------------------------------- */

typedef struct copying {
    fixture_t *from, *to;
    weir_image_t *stage; /* NULL: one full batch */
    unsigned count;
} copying_t;

static inline int compare_copy_one(void *context, weir_entity_type_t type, const weir_uuid_t *id,
                                   weir_str_t document)
{
    enum { PAGE = 7 };
    copying_t *c = context;
    told_t told;
    entity_key_t key = entity_key(type, id);
    WEIR_AUTO(json) weir_json_t *row = NULL;
    fixture_ok(c->to, weir_json_parse(document, &row, &c->to->err));
    fixture_ok(c->from, told_get(c->from->reader->txn, c->from->reader->dbi[DB_TOLD], 1, &key,
                                 &told, &c->from->err));
    if (c->stage != NULL && ++c->count % PAGE == 0) {
        weir_batch_t *batch = c->to->batch;
        fixture_ok(c->to, weir_batch_commit(batch, FIXTURE_NOW_MS, &c->to->err));
        fixture_ok(c->to, weir_batch_begin(c->stage, false, 1, &c->to->batch, &c->to->err));
    }
    /* A row without an id of its own got it from no one. */
    const weir_schema_t *schema = weir_schema(type);
    weir_uuid_t own;
    bool named = told.has_hash || schema == NULL || weir_entity_id(schema, row, &own) == WEIR_OK;
    weir_batch_row_t put = { .type = told.type,
                             .has_id = named,
                             .id = told.id,
                             .has_hash = told.has_hash,
                             .hash = told.hash,
                             .row = row };
    fixture_ok(c->to, put_row(c->to->batch, &put, &c->to->err));
    return WEIR_OK;
}

static inline void compare_read(copying_t *c)
{
    fixture_t *from = c->from;
    fixture_ok(from, weir_reader_enter(from->reader, &from->err));
    fixture_ok(from, weir_reader_documents(from->reader, compare_copy_one, c, &from->err));
    weir_reader_leave(from->reader);
}

/* Every document of `from`, as one full batch into `to`. */
static inline void compare_copy(fixture_t *from, fixture_t *to)
{
    copying_t c = { .from = from, .to = to };
    if (from->image->digester != NULL)
        fixture_ok(to, weir_image_set_digest_key(to->image, &from->image->key, &to->err));
    fixture_begin(to, true);
    compare_read(&c);
    fixture_commit(to);
}

/* The same through a stage, a few at a time. */
static inline void compare_stage(fixture_t *from, fixture_t *to)
{
    copying_t c = { .from = from, .to = to };
    fixture_ok(to, weir_image_stage_open(to->image, ++to->version, &c.stage, &to->err));
    if (from->image->digester != NULL)
        fixture_ok(to, weir_image_set_digest_key(c.stage, &from->image->key, &to->err));
    fixture_ok(to, weir_batch_begin(c.stage, false, 1, &to->batch, &to->err));
    compare_read(&c);
    weir_batch_t *batch = to->batch;
    to->batch = NULL;
    fixture_ok(to, weir_batch_commit(batch, FIXTURE_NOW_MS, &to->err));
    fixture_ok(to, weir_image_switch(&to->image, c.stage, &to->err));
}

/* Does all follow from the documents? */
static inline bool compare_verified(fixture_t *f)
{
    weir_image_verdict_t verdict;
    fixture_ok(f, weir_image_verify(f->image, NULL, NULL, &verdict, &f->err));
    if (verdict.bad_records > 0 || verdict.bad_buckets > 0)
        fprintf(stderr, "%" PRIu64 " records, %zu buckets are bad\n", verdict.bad_records,
                verdict.bad_buckets);
    return verdict.bad_records == 0 && verdict.bad_buckets == 0 &&
           weir_digest_equal(&verdict.kept, &verdict.computed);
}

#endif
