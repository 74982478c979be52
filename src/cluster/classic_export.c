/* classic_export.c -- the whole set as one frame (sync-protocol D.2, D.3).
 *
 * Rows go from the store through the filter and the compressor as they come: memory
 * is that of the compressed frame and of the ids that are left out.
 *
 * Hashes are the first half of SHA-256 over the rows as they are stored, a sum for
 * each section. The original's are MD5 over a form without brackets, in which two
 * different sets can look the same; a data plane only compares what it is given (D.2,
 * [V]), so nothing needs that form. Rows that are left out do not count, and what is
 * changed for older data planes does not either. */
#include "cluster/classic_internal.h"

#include "base/json.h"
#include "cluster/compat.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <zlib.h>

enum {
    KEPT = 16,              /* levels whose newest frame stays */
    COMPRESSION = 4,        /* half the time of zlib's default for some percent more bytes */
    WINDOW_GZIP = 15 + 16,  /* of deflateInit2(): with the gzip header */
    OUT_BYTES = 64 * 1024,  /* room for the compressor's next output */
    ROW_BYTES_MAX = 1 << 30 /* of a printed row: the store has limits of its own */
};

/* What has a sum of its own, in the order in which they make the whole one. */
enum { SECTIONS = 6, SECTION_REST = 5 };
static const char *const section_names[SECTIONS] = { "routes",    "services", "plugins",
                                                     "upstreams", "targets",  "rest" };

struct weir_classic_frame {
    _Atomic unsigned references;
    int64_t level;
    uint64_t version;
    char hash[WEIR_CLASSIC_HASH + 1];
    weir_buffer_t payload;
    char **plugins; /* sorted */
    size_t plugin_count;
};

struct weir_classic_exporter {
    weir_classic_exporter_options_t options;
    pthread_mutex_t lock;
    weir_classic_frame_t *kept[KEPT];
    uint64_t made, reused;
    pthread_mutex_t make_lock; /* one is made at a time: the others reuse it */
    /* Under make_lock: what does not fit is not tried again for each session. */
    int64_t too_large_level;
    uint64_t too_large_version;
    weir_error_t too_large;
};

int weir_classic_exporter_new(const weir_classic_exporter_options_t *options,
                              weir_classic_exporter_t **ret, weir_error_t *err)
{
    weir_classic_exporter_t *exporter = weir_calloc(1, sizeof(*exporter));
    if (exporter == NULL)
        return weir_error_memory(err);
    exporter->options = *options;
    pthread_mutex_init(&exporter->lock, NULL);
    pthread_mutex_init(&exporter->make_lock, NULL);
    *ret = exporter;
    return WEIR_OK;
}

void weir_classic_exporter_free(weir_classic_exporter_t *exporter)
{
    if (exporter == NULL)
        return;
    for (size_t i = 0; i < KEPT; i++)
        weir_classic_frame_release(exporter->kept[i]);
    pthread_mutex_destroy(&exporter->lock);
    pthread_mutex_destroy(&exporter->make_lock);
    weir_free(exporter);
}

void weir_classic_exporter_count(weir_classic_exporter_t *exporter, uint64_t *ret_made,
                                 uint64_t *ret_reused)
{
    pthread_mutex_lock(&exporter->lock);
    *ret_made = exporter->made;
    *ret_reused = exporter->reused;
    pthread_mutex_unlock(&exporter->lock);
}

/* -- a frame ---------------------------------------------------------------------------- */

weir_classic_frame_t *weir_classic_frame_keep(weir_classic_frame_t *frame)
{
    frame->references++;
    return frame;
}

void weir_classic_frame_release(weir_classic_frame_t *frame)
{
    if (frame == NULL || --frame->references > 0)
        return;
    for (size_t i = 0; i < frame->plugin_count; i++)
        weir_free(frame->plugins[i]);
    weir_free(frame->plugins);
    weir_buffer_release(&frame->payload);
    weir_free(frame);
}

weir_str_t weir_classic_frame_payload(const weir_classic_frame_t *frame)
{
    return weir_buffer_str(&frame->payload);
}

uint64_t weir_classic_frame_version(const weir_classic_frame_t *frame)
{
    return frame->version;
}

const char *weir_classic_frame_hash(const weir_classic_frame_t *frame)
{
    return frame->hash;
}

const char *weir_classic_frame_plugin(const weir_classic_frame_t *frame, size_t index)
{
    return index < frame->plugin_count ? frame->plugins[index] : NULL;
}

/* Keeps the list sorted; it is as long as there are plugins, not plugin entities. */
static int add_plugin(weir_classic_frame_t *frame, weir_str_t name)
{
    size_t at = 0;
    int order = -1;
    for (; at < frame->plugin_count; at++) {
        order = strcmp(frame->plugins[at], name.data);
        if (order >= 0)
            break;
    }
    if (at < frame->plugin_count && order == 0)
        return WEIR_OK;
    char **grown = weir_realloc(frame->plugins, (frame->plugin_count + 1) * sizeof(*grown));
    if (grown == NULL)
        return WEIR_NO_MEMORY;
    frame->plugins = grown;
    char *copy = weir_strdup(name);
    if (copy == NULL)
        return WEIR_NO_MEMORY;
    memmove(grown + at + 1, grown + at, (frame->plugin_count - at) * sizeof(*grown));
    grown[at] = copy;
    frame->plugin_count++;
    return WEIR_OK;
}

/* -- the compressor ---------------------------------------------------------------------- */

typedef struct exporting {
    weir_classic_frame_t *frame;
    z_stream gzip;
    bool gzip_open;
    EVP_MD_CTX *sums[SECTIONS];
    bool used[SECTIONS];     /* the section has a row */
    weir_entity_type_t type; /* whose array is open */
    classic_dropped_t dropped;
    weir_buffer_t text; /* of one row */
} exporting_t;

static int squeeze(exporting_t *e, weir_str_t text, int flush)
{
    weir_buffer_t *out = &e->frame->payload;
    e->gzip.next_in = (Bytef *)(uintptr_t)text.data;
    e->gzip.avail_in = (uInt)text.len;
    int rc = Z_OK;
    do {
        char *room = weir_buffer_reserve(out, OUT_BYTES);
        if (room == NULL)
            return out->failed;
        e->gzip.next_out = (Bytef *)room;
        e->gzip.avail_out = OUT_BYTES;
        rc = deflate(&e->gzip, flush);
        out->len += OUT_BYTES - e->gzip.avail_out;
    } while (rc == Z_OK && (e->gzip.avail_out == 0 || (flush == Z_FINISH)));
    return rc == Z_OK || rc == Z_STREAM_END || rc == Z_BUF_ERROR ? WEIR_OK : WEIR_NO_MEMORY;
}

static int write_text(exporting_t *e, weir_str_t text)
{
    enum { PIECE_MAX = 1 << 30 }; /* zlib counts in 32 bits */
    int rc = WEIR_OK;
    while (rc == WEIR_OK && text.len > 0) {
        size_t len = text.len < PIECE_MAX ? text.len : PIECE_MAX;
        rc = squeeze(e, (weir_str_t){ text.data, len }, Z_NO_FLUSH);
        text = (weir_str_t){ text.data + len, text.len - len };
    }
    return rc;
}

static int write_format(exporting_t *e, const char *format, ...) WEIR_PRINTF(2, 3);
static int write_format(exporting_t *e, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    weir_str_t all = weir_str_format(text, sizeof(text), format, arguments);
    va_end(arguments);
    return write_text(e, all);
}

/* -- rows ----------------------------------------------------------------------------------- */

static size_t section_of(const char *type)
{
    for (size_t i = 0; i < SECTION_REST; i++)
        if (strcmp(section_names[i], type) == 0)
            return i;
    return SECTION_REST;
}

/* Lengths go in as well, so that no two lists of rows look the same. */
static int add_sum(exporting_t *e, const char *type, weir_str_t document)
{
    char head[96];
    size_t section = section_of(type);
    int len = snprintf(head, sizeof(head), "%s %zu\n", type, document.len);
    e->used[section] = true;
    return EVP_DigestUpdate(e->sums[section], head, (size_t)len) == 1 &&
                   EVP_DigestUpdate(e->sums[section], document.data, document.len) == 1
               ? WEIR_OK
               : WEIR_NO_MEMORY;
}

static int write_row(exporting_t *e, const weir_schema_t *schema, weir_str_t text)
{
    int rc =
        e->type == schema->type
            ? write_text(e, WEIR_STR(","))
            : write_format(e, "%s,\"%s\":[", e->type != WEIR_ENTITY_NONE ? "]" : "", schema->name);
    e->type = schema->type;
    return rc == WEIR_OK ? write_text(e, text) : rc;
}

/* Foreign keys are bare ids here (D.2). */
static int flatten_keys(const weir_schema_t *schema, weir_json_t *row)
{
    int rc = WEIR_OK;
    for (const weir_field_t *f = schema->fields; rc == WEIR_OK && f->name != NULL; f++) {
        const weir_json_t *key = weir_json_get(row, f->name);
        if (f->type != WEIR_TYPE_FOREIGN || weir_json_kind(key) != WEIR_JSON_OBJECT)
            continue;
        weir_str_t id = weir_json_get_string(key, "id", WEIR_STR(""));
        rc = weir_json_set(row, f->name, weir_json_new_string(id));
    }
    return rc;
}

static int write_changed(exporting_t *e, const weir_schema_t *schema, weir_json_t *row)
{
    bool changed = false;
    int rc = weir_compat_adapt(schema->type, row, e->frame->level, &changed, NULL);
    if (rc == WEIR_OK)
        rc = flatten_keys(schema, row);
    weir_buffer_clear(&e->text);
    if (rc == WEIR_OK)
        rc = weir_json_print(row, &e->text);
    return rc == WEIR_OK ? write_row(e, schema, weir_buffer_str(&e->text)) : rc;
}

/* Whether rows of this type can go out as they are stored. */
static bool is_plain(const exporting_t *e, const weir_schema_t *schema)
{
    if (e->frame->level < weir_compat_newest() || weir_schema_field(schema, WEIR_STR("enabled")))
        return false;
    for (const weir_field_t *f = schema->fields; f->name != NULL; f++)
        if (f->type == WEIR_TYPE_FOREIGN)
            return false;
    return true;
}

static int export_row(void *context, const weir_delta_t *delta)
{
    exporting_t *e = context;
    const weir_schema_t *schema = weir_schema(delta->type);
    if (schema == NULL)
        return WEIR_CORRUPT;
    if (is_plain(e, schema)) {
        int rc = add_sum(e, schema->name, delta->document);
        return rc == WEIR_OK ? write_row(e, schema, delta->document) : rc;
    }
    WEIR_AUTO(json) weir_json_t *row = NULL;
    int rc = weir_json_parse(delta->document, &row, NULL);
    bool dropped = false;
    if (rc == WEIR_OK)
        rc = classic_drops(&e->dropped, schema, &delta->id, row, &dropped);
    if (rc != WEIR_OK || dropped)
        return rc == WEIR_INVALID ? WEIR_CORRUPT : rc;
    rc = add_sum(e, schema->name, delta->document);
    if (rc == WEIR_OK && delta->type == WEIR_PLUGINS)
        rc = add_plugin(e->frame, weir_json_get_string(row, "name", WEIR_STR("")));
    return rc == WEIR_OK ? write_changed(e, schema, row) : rc;
}

/* -- hashes ----------------------------------------------------------------------------------- */

static int finish_sum(EVP_MD_CTX *sum, char ret[WEIR_CLASSIC_HASH + 1])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (EVP_DigestFinal_ex(sum, digest, &len) != 1)
        return WEIR_NO_MEMORY;
    for (size_t i = 0; i < WEIR_CLASSIC_HASH / 2; i++)
        snprintf(ret + 2 * i, 3, "%02x", digest[i]);
    return WEIR_OK;
}

static int write_hashes(exporting_t *e)
{
    char all[SECTIONS][WEIR_CLASSIC_HASH + 1];
    int rc = WEIR_OK;
    for (size_t i = 0; rc == WEIR_OK && i < SECTIONS; i++) {
        rc = finish_sum(e->sums[i], all[i]);
        if (!e->used[i]) /* absent: zeros (D.3), by which a data plane sees that it is empty */
            memcpy(all[i], WEIR_CLASSIC_NO_HASH, sizeof(all[i]));
    }
    if (rc == WEIR_OK && (EVP_DigestInit_ex(e->sums[0], EVP_sha256(), NULL) != 1 ||
                          EVP_DigestUpdate(e->sums[0], all, sizeof(all)) != 1))
        rc = WEIR_NO_MEMORY;
    if (rc == WEIR_OK)
        rc = finish_sum(e->sums[0], e->frame->hash);
    if (rc == WEIR_OK)
        rc = write_format(e, "%s},\"config_hash\":\"%s\",\"hashes\":{\"config\":\"%s\"",
                          e->type != WEIR_ENTITY_NONE ? "]" : "", e->frame->hash, e->frame->hash);
    for (size_t i = 0; rc == WEIR_OK && i < SECTION_REST; i++)
        rc = write_format(e, ",\"%s\":\"%s\"", section_names[i], all[i]);
    return rc == WEIR_OK ? write_text(e, WEIR_STR("}}")) : rc;
}

/* -- the whole -----------------------------------------------------------------------------------
 */

static int begin(exporting_t *e, int64_t now_ms)
{
    for (size_t i = 0; i < SECTIONS; i++) {
        e->sums[i] = EVP_MD_CTX_new();
        if (e->sums[i] == NULL || EVP_DigestInit_ex(e->sums[i], EVP_sha256(), NULL) != 1)
            return WEIR_NO_MEMORY;
    }
    if (deflateInit2(&e->gzip, COMPRESSION, Z_DEFLATED, WINDOW_GZIP, MAX_MEM_LEVEL,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        return WEIR_NO_MEMORY;
    e->gzip_open = true;
    weir_buffer_init(&e->text, ROW_BYTES_MAX);
    return write_format(e,
                        "{\"type\":\"reconfigure\",\"timestamp\":%" PRId64 ".%03" PRId64
                        ",\"config_table\":{\"_format_version\":\"3.0\",\"_transform\":false",
                        now_ms / 1000, now_ms % 1000);
}

static void end(exporting_t *e)
{
    for (size_t i = 0; i < SECTIONS; i++)
        EVP_MD_CTX_free(e->sums[i]);
    if (e->gzip_open)
        deflateEnd(&e->gzip);
    weir_buffer_release(&e->text);
    classic_dropped_release(&e->dropped);
}

static int make(weir_classic_exporter_t *exporter, weir_classic_frame_t *frame, int64_t now_ms,
                weir_error_t *err)
{
    exporting_t e = { .frame = frame };
    int rc = begin(&e, now_ms);
    if (rc == WEIR_OK)
        rc = weir_store_snapshot(exporter->options.store, export_row, &e, &frame->version, err);
    if (rc == WEIR_OK)
        rc = write_hashes(&e);
    if (rc == WEIR_OK)
        rc = squeeze(&e, (weir_str_t){ "", 0 }, Z_FINISH);
    end(&e);
    if (rc == WEIR_NO_MEMORY)
        return weir_error_memory(err);
    if (rc == WEIR_TOO_LARGE)
        return weir_error_set(err, rc, "cluster_max_payload",
                              "the whole configuration does not fit into one frame of %zu bytes: "
                              "raise cluster_max_payload on both planes",
                              exporter->options.payload_max);
    return rc;
}

/* -- keeping and finding ---------------------------------------------------------------------- */

weir_classic_frame_t *weir_classic_ready(weir_classic_exporter_t *exporter, int64_t level,
                                         uint64_t version)
{
    weir_classic_frame_t *found = NULL;
    pthread_mutex_lock(&exporter->lock);
    for (size_t i = 0; found == NULL && i < KEPT; i++) {
        weir_classic_frame_t *f = exporter->kept[i];
        if (f != NULL && f->level == level && f->version >= version)
            found = weir_classic_frame_keep(f);
    }
    exporter->reused += found != NULL;
    pthread_mutex_unlock(&exporter->lock);
    return found;
}

/* Older frames go: each is as large as the configuration. */
static void keep(weir_classic_exporter_t *exporter, weir_classic_frame_t *frame)
{
    size_t place = 0;
    pthread_mutex_lock(&exporter->lock);
    for (size_t i = 0; i < KEPT; i++) {
        weir_classic_frame_t *f = exporter->kept[i];
        if (f != NULL && (f->version < frame->version || f->level == frame->level)) {
            weir_classic_frame_release(f);
            exporter->kept[i] = NULL;
        }
        if (exporter->kept[i] == NULL)
            place = i;
    }
    weir_classic_frame_release(exporter->kept[place]);
    exporter->kept[place] = weir_classic_frame_keep(frame);
    exporter->made++;
    pthread_mutex_unlock(&exporter->lock);
}

static int make_frame(weir_classic_exporter_t *exporter, int64_t level, int64_t now_ms,
                      weir_classic_frame_t **ret, weir_error_t *err)
{
    weir_classic_frame_t *frame = weir_calloc(1, sizeof(*frame));
    if (frame == NULL)
        return weir_error_memory(err);
    frame->references = 1;
    frame->level = level;
    weir_buffer_init(&frame->payload, exporter->options.payload_max + OUT_BYTES);
    int rc = make(exporter, frame, now_ms, err);
    if (rc == WEIR_OK && frame->payload.len > exporter->options.payload_max)
        rc = weir_error_set(err, WEIR_TOO_LARGE, "cluster_max_payload",
                            "the whole configuration has %zu bytes, more than %zu: raise "
                            "cluster_max_payload on both planes",
                            frame->payload.len, exporter->options.payload_max);
    if (rc != WEIR_OK) {
        weir_classic_frame_release(frame);
        return rc;
    }
    keep(exporter, frame);
    *ret = frame;
    return WEIR_OK;
}

static int make_unless_known(weir_classic_exporter_t *exporter, int64_t level, uint64_t version,
                             int64_t now_ms, weir_classic_frame_t **ret, weir_error_t *err)
{
    if (exporter->too_large.code != WEIR_OK && exporter->too_large_level == level &&
        version <= exporter->too_large_version) {
        *err = exporter->too_large;
        return err->code;
    }
    int rc = make_frame(exporter, level, now_ms, ret, err);
    if (rc == WEIR_TOO_LARGE) {
        exporter->too_large = *err;
        exporter->too_large_level = level;
        exporter->too_large_version = version;
    }
    return rc;
}

int weir_classic_export(weir_classic_exporter_t *exporter, int64_t level, uint64_t version,
                        int64_t now_ms, weir_classic_frame_t **ret, weir_error_t *err)
{
    pthread_mutex_lock(&exporter->make_lock);
    int rc = WEIR_OK;
    weir_error_t why = { 0 };
    *ret = weir_classic_ready(exporter, level, version);
    if (*ret == NULL)
        rc = make_unless_known(exporter, level, version, now_ms, ret, &why);
    if (rc != WEIR_OK && err != NULL)
        *err = why;
    pthread_mutex_unlock(&exporter->make_lock);
    return rc;
}
