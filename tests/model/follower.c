/* follower.c -- deltas of a store into an image. */
#include "follower.h"

#include "base/clock.h"
#include "plugins/record.h"

#include <signal.h>
#include <sys/wait.h>

static void open_follower(follower_t *f)
{
    weir_image_options_t options = fixture_options(&f->image);
    options.map_bytes = f->map_bytes;
    options.documented_order = f->documented_order;
    options.compile_plugin = weir_plugin_compile;
    fixture_ok(&f->image, weir_image_open(&options, &f->image.image, &f->image.err));
}

bool follower_grown(follower_t *f, weir_image_t *image, int rc)
{
    if (rc != WEIR_FULL || strcmp(f->image.err.field, "map") != 0)
        return false;
    fixture_ok(&f->image, weir_image_grow(image, &f->image.err));
    f->grown++;
    return true;
}

void follower_open(follower_t *f, const world_t *w, bool documented_order, uint64_t map_bytes)
{
    *f = (follower_t){ .documented_order = documented_order, .map_bytes = map_bytes };
    fixture_directory(&f->image);
    open_follower(f);
    fixture_open_reader(&f->image);
    fixture_ok(&f->image,
               weir_image_set_digest_key(f->image.image, weir_store_digest_key(w->store.store),
                                         &f->image.err));
}

void follower_close(follower_t *f)
{
    char stage[sizeof(f->image.path) + 8]; /* one that was left may be there still */
    snprintf(stage, sizeof(stage), "%s.stage", f->image.path);
    fixture_close(&f->image);
    fixture_remove(stage);
}

/* -- what is to be applied, in memory: a child that dies must not touch the store ---------- */

typedef struct rows {
    struct {
        const char *type;
        weir_json_t *row; /* NULL: deleted */
        weir_json_t *key;
    } * list;
    size_t count, capacity;
    uint64_t version;
} rows_t;

static void rows_release(rows_t *rows)
{
    for (size_t i = 0; i < rows->count; i++) {
        weir_json_free(rows->list[i].row);
        weir_json_free(rows->list[i].key);
    }
    free(rows->list);
    *rows = (rows_t){ 0 };
}

/* Takes both. */
static void rows_add(rows_t *rows, const char *type, weir_json_t *row, weir_json_t *key)
{
    if (rows->count == rows->capacity) {
        rows->capacity = 2 * rows->capacity + 64;
        rows->list = realloc(rows->list, rows->capacity * sizeof(*rows->list));
        assert_non_null(rows->list);
    }
    rows->list[rows->count].type = type;
    rows->list[rows->count].row = row;
    rows->list[rows->count++].key = key;
}

static weir_json_t *key_of(weir_str_t id)
{
    weir_json_t *key = weir_json_new_object();
    assert_int_equal(weir_json_set(key, "id", weir_json_new_string(id)), WEIR_OK);
    return key;
}

static int add_delta(void *context, const weir_delta_t *delta)
{
    rows_t *rows = context;
    char id[WEIR_UUID_TEXT + 1];
    weir_uuid_format(&delta->id, id);
    weir_json_t *row = NULL;
    if (delta->document.data != NULL)
        assert_int_equal(weir_json_parse(delta->document, &row, NULL), WEIR_OK);
    rows_add(rows, weir_schema(delta->type)->name, row, key_of(weir_str(id)));
    rows->version = delta->version;
    return WEIR_OK;
}

weir_uuid_t stranger_id(unsigned number)
{
    /* In a bucket where no other row is. */
    weir_uuid_t id = { { 0xab, 0xcd, 0, 0, 0, 0, 0x40, 0, 0x80 } };
    id.bytes[15] = (uint8_t)number;
    return id;
}

static void add_stranger(follower_t *f, rows_t *rows, unsigned number)
{
    char text[128];
    char id[WEIR_UUID_TEXT + 1];
    weir_json_t *row = NULL;
    weir_uuid_t uuid = stranger_id(number);
    weir_uuid_format(&uuid, id);
    snprintf(text, sizeof(text), "{\"id\":\"%s\",\"says\":%d}", id, f->strangers[number]);
    if (f->strangers[number] != 0)
        assert_int_equal(weir_json_parse(weir_str(text), &row, NULL), WEIR_OK);
    rows_add(rows, STRANGER_TYPE, row, key_of(weir_str(id)));
}

void follower_copy_strangers(follower_t *f, const follower_t *from)
{
    memcpy(f->strangers, from->strangers, sizeof(f->strangers));
}

/* -- applying -------------------------------------------------------------------------------- */

static int put_rows(follower_t *f, const rows_t *rows, size_t count)
{
    int rc = WEIR_OK;
    for (size_t i = 0; rc == WEIR_OK && i < count; i++) {
        weir_str_t type = weir_str(rows->list[i].type);
        rc = rows->list[i].row != NULL
                 ? weir_batch_put(f->image.batch, type, rows->list[i].row, &f->image.err)
                 : weir_batch_delete(f->image.batch, type, rows->list[i].key, &f->image.err);
    }
    return rc;
}

static int apply_once(follower_t *f, const rows_t *rows, bool full)
{
    int rc = weir_batch_begin(f->image.image, full, rows->version, &f->image.batch, &f->image.err);
    if (rc != WEIR_OK)
        return rc;
    rc = put_rows(f, rows, rows->count);
    weir_batch_t *batch = f->image.batch;
    f->image.batch = NULL;
    if (rc == WEIR_OK)
        return weir_batch_commit(batch, weir_clock_ms(), &f->image.err);
    weir_batch_abort(batch);
    return rc;
}

static void apply(follower_t *f, const rows_t *rows, bool full)
{
    int rc = apply_once(f, rows, full);
    while (follower_grown(f, f->image.image, rc))
        rc = apply_once(f, rows, full);
    fixture_ok(&f->image, rc);
    f->image.version = rows->version;
    f->batches++;
    f->fulls += full;
}

/* Everything; the strangers as they are. */
static void take_all(follower_t *f, world_t *w, rows_t *ret)
{
    weir_error_t err = { 0 };
    uint64_t version = 0;
    if (weir_store_snapshot(w->store.store, add_delta, ret, &version, &err) != WEIR_OK)
        fail_msg("snapshot: %s", err.reason);
    ret->version = version;
    for (unsigned i = 0; i < STRANGERS; i++)
        if (f->strangers[i] != 0)
            add_stranger(f, ret, i);
}

/* What a control plane would answer; *ret_full: it has to be everything. */
static void take(follower_t *f, world_t *w, uint64_t versions, rows_t *ret, bool *ret_full)
{
    weir_error_t err = { 0 };
    weir_store_t *store = w->store.store;
    uint64_t newest = weir_store_version(store);
    uint64_t up_to = newest - f->image.version > versions ? f->image.version + versions : newest;
    *ret_full = f->image.version < weir_store_log_floor(store) || f->image.version == 0;
    if (*ret_full) {
        take_all(f, w, ret);
        return;
    }
    ret->version = f->image.version;
    int rc = weir_store_deltas(store, f->image.version, up_to, add_delta, ret, &err);
    if (rc != WEIR_OK)
        fail_msg("deltas: %s %s", weir_code_name(rc), err.reason);
    assert_int_equal(ret->version, up_to);
    for (unsigned i = 0; i < STRANGERS; i++)
        if (world_percent(w, 3)) {
            f->strangers[i] = (int)world_below(w, 4);
            add_stranger(f, ret, i);
        }
}

void follower_apply(follower_t *f, world_t *w, uint64_t versions)
{
    rows_t rows = { 0 };
    bool full = false;
    take(f, w, versions, &rows, &full);
    apply(f, &rows, full);
    rows_release(&rows);
}

void follower_apply_all(follower_t *f, world_t *w)
{
    rows_t rows = { 0 };
    take_all(f, w, &rows);
    apply(f, &rows, true);
    rows_release(&rows);
}

/* -- what happens on the way --------------------------------------------------------------------
 */

void follower_abort(follower_t *f, world_t *w)
{
    rows_t rows = { 0 };
    int before[STRANGERS];
    memcpy(before, f->strangers, sizeof(before));
    bool full = false;
    take(f, w, 1 + world_below(w, 50), &rows, &full);
    full = full || world_percent(w, 20);
    size_t count = rows.count > 0 ? world_below(w, (unsigned)rows.count + 1) : 0;
    fixture_ok(&f->image, weir_batch_begin(f->image.image, full, rows.version, &f->image.batch,
                                           &f->image.err));
    int rc = put_rows(f, &rows, count);
    assert_true(rc == WEIR_OK || rc == WEIR_FULL);
    weir_batch_abort(f->image.batch);
    f->image.batch = NULL;
    memcpy(f->strangers, before, sizeof(before));
    rows_release(&rows);
    f->aborted++;
}

static void close_image(follower_t *f)
{
    weir_reader_close(f->image.reader);
    weir_image_close(f->image.image);
    f->image.reader = NULL;
    f->image.image = NULL;
}

static uint64_t held_version(follower_t *f)
{
    weir_image_state_t state;
    fixture_ok(&f->image, weir_image_state(f->image.image, &state, &f->image.err));
    return state.version;
}

void follower_reopen(follower_t *f, bool reorder, uint64_t map_bytes)
{
    close_image(f);
    f->map_bytes = map_bytes;
    f->documented_order ^= reorder;
    f->reordered += reorder;
    f->reopened++;
    open_follower(f);
    fixture_open_reader(&f->image);
    assert_int_equal(held_version(f), f->image.version);
}

void follower_die(follower_t *f, world_t *w, uint64_t versions, bool committed)
{
    rows_t rows = { 0 };
    int before[STRANGERS];
    memcpy(before, f->strangers, sizeof(before));
    bool full = false;
    take(f, w, versions, &rows, &full);
    close_image(f); /* LMDB must not be open across a fork */
    pid_t child = fork();
    if (child == 0) {
        open_follower(f);
        if (committed)
            apply(f, &rows, full);
        else if (weir_batch_begin(f->image.image, full, rows.version, &f->image.batch,
                                  &f->image.err) == WEIR_OK)
            put_rows(f, &rows, rows.count);
        raise(SIGKILL);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    if (committed)
        f->image.version = rows.version;
    else
        memcpy(f->strangers, before, sizeof(before));
    rows_release(&rows);
    open_follower(f);
    fixture_open_reader(&f->image);
    assert_int_equal(held_version(f), f->image.version);
    f->killed++;
}

void follower_expire(follower_t *f, int64_t now_ms)
{
    size_t count = 0;
    int64_t next_ms = 0;
    do {
        fixture_ok(&f->image,
                   weir_image_expire(f->image.image, now_ms, &count, &next_ms, &f->image.err));
        f->expired += count;
    } while (next_ms != 0 && next_ms <= now_ms);
}
