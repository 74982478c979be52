/* reader.c -- a worker's view: enter, look, leave. */
#include "image/touched.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum {
    REGEXES_MAX = 4096, /* compiled in a process: about 1.3 KiB each */
    READERS_MAX = 512,  /* slots, where a reader is the first to open an environment */
    LOOK_AGAIN_S = 1,
    RESIZES_MAX = 8, /* a map doubles: so often in one moment it never does */
    OPENS_MAX = 8,   /* nor is an image replaced */
};

/* LMDB would make what is not there. */
static int find_data(const char *path, weir_error_t *err)
{
    char file[4096];
    if (snprintf(file, sizeof(file), "%s/data.mdb", path) >= (int)sizeof(file))
        return weir_error_set(err, WEIR_INVALID, "path", "longer than %zu bytes", sizeof(file));
    if (access(file, F_OK) == 0)
        return WEIR_OK;
    return errno == ENOENT ? WEIR_NOT_FOUND
                           : weir_error_errno(err, errno, "cannot look at %s", file);
}

/* Also where dead readers hold all slots, and where the writer has grown the map since
 * the environment was opened. */
static int begin_reading(MDB_env *env, MDB_txn **ret)
{
    int dead = 0;
    int code = mdb_txn_begin(env, NULL, MDB_RDONLY, ret);
    if (code == MDB_READERS_FULL && mdb_reader_check(env, &dead) == 0)
        code = mdb_txn_begin(env, NULL, MDB_RDONLY, ret);
    for (int i = 0; i < RESIZES_MAX && code == MDB_MAP_RESIZED; i++) {
        code = mdb_env_set_mapsize(env, 0);
        if (code == 0)
            code = mdb_txn_begin(env, NULL, MDB_RDONLY, ret);
    }
    return code;
}

static int open_environment(weir_reader_t *reader, weir_error_t *err)
{
    int code = mdb_env_create(&reader->env);
    if (code == 0)
        code = mdb_env_set_maxdbs(reader->env, DATABASES + 2);
    if (code == 0)
        code = mdb_env_set_maxreaders(reader->env, READERS_MAX);
    if (code == 0)
        code =
            mdb_env_open(reader->env, reader->path, MDB_RDONLY | MDB_NOTLS | MDB_NORDAHEAD, 0660);
    MDB_txn *txn = NULL;
    if (code == 0)
        code = begin_reading(reader->env, &txn);
    if (code != 0)
        return lmdb_error(code, err, "open");
    int rc = open_databases(reader->env, txn, 0, reader->dbi, err);
    code = mdb_txn_commit(txn); /* keeps the handles */
    return rc != WEIR_OK || code == 0 ? rc : lmdb_error(code, err, "open");
}

static int open_transaction(weir_reader_t *reader, weir_error_t *err)
{
    int code = begin_reading(reader->env, &reader->txn);
    if (code == 0)
        code = mdb_cursor_open(reader->txn, reader->dbi[DB_ROUTER], &reader->router);
    if (code == 0)
        code = mdb_cursor_open(reader->txn, reader->dbi[DB_BUCKETS], &reader->buckets);
    if (code != 0)
        return lmdb_error(code, err, "begin");
    mdb_txn_reset(reader->txn);
    return WEIR_OK;
}

static int open_reader(const char *path, weir_reader_t **ret, weir_error_t *err)
{
    weir_reader_t *reader = weir_calloc(1, sizeof(*reader));
    if (reader == NULL)
        return weir_error_memory(err);
    reader->path = weir_strdup(weir_str(path));
    reader->regexes = regex_cache_new(REGEXES_MAX);
    reader->followed = followed_new();
    bool ready = reader->path != NULL && reader->regexes != NULL && reader->followed != NULL;
    int rc = ready ? open_environment(reader, err) : weir_error_memory(err);
    if (rc == WEIR_OK)
        rc = open_transaction(reader, err);
    if (rc != WEIR_OK) {
        weir_reader_close(reader);
        return rc;
    }
    *ret = reader;
    return WEIR_OK;
}

/* LMDB opens the data, then the lock file. If the path led to another image in between, the
 * slots are the other one's: nothing would protect what is read, and closing it later would
 * take the process's claim on the slots that it has there by then. */
int weir_reader_open(const char *path, weir_reader_t **ret, weir_error_t *err)
{
    for (int i = 0; i < OPENS_MAX; i++) {
        weir_reader_t *reader = NULL;
        int rc = find_data(path, err);
        if (rc != WEIR_OK)
            return rc;
        if (unsynced_elsewhere(path))
            return WEIR_NOT_FOUND; /* until the agent has put it right */
        rc = open_reader(path, &reader, err);
        if (rc != WEIR_OK)
            return rc;
        if (in_place(reader->env, path)) {
            *ret = reader;
            return WEIR_OK;
        }
        weir_reader_close(reader);
    }
    return WEIR_NOT_FOUND;
}

void weir_reader_close(weir_reader_t *reader)
{
    if (reader == NULL)
        return;
    if (reader->router != NULL)
        mdb_cursor_close(reader->router);
    if (reader->buckets != NULL)
        mdb_cursor_close(reader->buckets);
    if (reader->txn != NULL)
        mdb_txn_abort(reader->txn);
    if (reader->env != NULL)
        mdb_env_close(reader->env);
    regex_cache_free(reader->regexes);
    followed_free(reader->followed);
    weir_free(reader->path);
    weir_free(reader);
}

/* -- enter, leave ------------------------------------------------------------------------- */

/* The agent may have set the image aside and made another one: that one is ours as
 * soon as it is complete. Until then what we have serves. */
static void look_for_replacement(weir_reader_t *reader, time_t now_s)
{
    reader->looked_s = now_s;
    if (in_place(reader->env, reader->path))
        return;
    weir_reader_t *other = NULL;
    if (weir_reader_open(reader->path, &other, NULL) != WEIR_OK || other == NULL)
        return;
    other->looked_s = now_s; /* and does not look for another one in turn */
    if (weir_reader_enter(other, NULL) == WEIR_OK) {
        weir_reader_leave(other);
        if (other->state.complete != 0) {
            weir_reader_t before = *reader;
            *reader = *other;
            *other = before;
            other->followed = reader->followed; /* moments go on: ours stays */
            reader->followed = before.followed;
            follow_nothing(reader);
        }
    }
    weir_reader_close(other);
}

static void follow_replacement(weir_reader_t *reader, bool at_once)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    if (at_once || now.tv_sec - reader->looked_s >= LOOK_AGAIN_S)
        look_for_replacement(reader, now.tv_sec);
}

static int renew(weir_reader_t *reader)
{
    int code = mdb_txn_renew(reader->txn);
    for (int i = 0; i < RESIZES_MAX && code == MDB_MAP_RESIZED; i++) {
        /* The writer has grown the map: follow (engine notes 4). */
        code = mdb_env_set_mapsize(reader->env, 0);
        if (code == 0)
            code = mdb_txn_renew(reader->txn);
    }
    if (code != 0)
        return code;
    reader->inside = true;
    code = mdb_cursor_renew(reader->txn, reader->router);
    return code == 0 ? mdb_cursor_renew(reader->txn, reader->buckets) : code;
}

static int read_state(weir_reader_t *reader, weir_error_t *err)
{
    MDB_val key = val("state", 5);
    MDB_val value;
    int code = mdb_get(reader->txn, reader->dbi[DB_STATE], &key, &value);
    if (code != 0)
        return lmdb_error(code, err, "state");
    uint32_t formats[2] = { 0, 0 }; /* what the state begins with, also another one's */
    if (value.mv_size >= sizeof(formats))
        memcpy(formats, value.mv_data, sizeof(formats));
    if (formats[0] != FORMAT_DOCUMENTS || formats[1] != FORMAT_RECORDS)
        return weir_error_set(err, WEIR_UNSUPPORTED, NULL, "the image has formats %u and %u",
                              formats[0], formats[1]);
    if (value.mv_size != sizeof(reader->state))
        return weir_error_set(err, WEIR_CORRUPT, NULL, "the image's state is damaged");
    memcpy(&reader->state, value.mv_data, sizeof(reader->state));
    return WEIR_OK;
}

static int enter(weir_reader_t *reader, weir_error_t *err)
{
    int code = renew(reader);
    int rc = code == 0 ? read_state(reader, err) : lmdb_error(code, err, "renew");
    reader->txn_id = rc == WEIR_OK ? mdb_txn_id(reader->txn) : 0;
    if (rc == WEIR_OK)
        follow_touched(reader);
    else
        weir_reader_leave(reader);
    return rc;
}

int weir_reader_enter(weir_reader_t *reader, weir_error_t *err)
{
    weir_assert(!reader->inside);
    follow_replacement(reader, false);
    int rc = enter(reader, err);
    if (rc == WEIR_OK && (reader->state.superseded == 0 || reader->left))
        return rc;
    /* Its last transaction says that the next one is in place; or it has become useless,
     * and the next one may be there. Should we fail to go there now, this one serves on,
     * and we try again each second. */
    weir_reader_leave(reader);
    reader->left = true;
    follow_replacement(reader, true);
    return enter(reader, err);
}

void weir_reader_leave(weir_reader_t *reader)
{
    if (!reader->inside)
        return;
    mdb_txn_reset(reader->txn);
    reader->inside = false;
}

int weir_reader_state(weir_reader_t *reader, weir_image_state_t *ret, weir_error_t *err)
{
    (void)err;
    weir_assert(reader->inside);
    state_public(&reader->state, reader->env, ret);
    return WEIR_OK;
}

int reader_look(weir_reader_t *reader, weir_error_t *err)
{
    MDB_envinfo info;
    if (reader->inside)
        return WEIR_OK;
    follow_replacement(reader, false);
    int code = mdb_env_info(reader->env, &info);
    int rc = code == 0 ? WEIR_OK : lmdb_error(code, err, "info");
    if (rc == WEIR_OK && info.me_last_txnid != reader->txn_id) {
        rc = weir_reader_enter(reader, err);
        weir_reader_leave(reader);
    }
    return rc;
}

/* What all of the types have in common is that the number of the latest change is another
 * one after any change: numbers of commits only grow, and images share none. */
int weir_reader_changed(weir_reader_t *reader, uint32_t types, uint64_t *ret, weir_error_t *err)
{
    uint64_t latest = 0;
    int rc = reader_look(reader, err);
    if (rc != WEIR_OK)
        return rc;
    for (; types != 0; types &= types - 1) {
        uint64_t changed = reader->state.changed[__builtin_ctz(types)];
        latest = changed > latest ? changed : latest;
    }
    *ret = reader->state.generation + latest;
    return WEIR_OK;
}

/* -- by id ---------------------------------------------------------------------------- */

int reader_get(weir_reader_t *reader, database_t database, weir_entity_type_t type,
               const weir_uuid_t *id, weir_str_t *ret, weir_error_t *err)
{
    weir_assert(reader->inside);
    entity_key_t key = entity_key(type, id);
    MDB_val k = val_key(&key);
    MDB_val value;
    int code = mdb_get(reader->txn, reader->dbi[database], &k, &value);
    if (code != 0)
        return lmdb_error(code, err, "get");
    *ret = val_str(value);
    return WEIR_OK;
}

int reader_damaged(weir_error_t *err, const char *what)
{
    return weir_error_set(err, WEIR_CORRUPT, NULL, "the record of a %s is damaged", what);
}

int weir_reader_service(weir_reader_t *reader, const weir_uuid_t *id, weir_service_t *ret,
                        weir_error_t *err)
{
    weir_str_t record = { NULL, 0 };
    service_view_t view;
    int rc = reader_get(reader, DB_RECORDS, WEIR_SERVICES, id, &record, err);
    if (rc != WEIR_OK)
        return rc;
    if (!view_service(record, &view))
        return reader_damaged(err, "service");
    *ret = view.service;
    ret->id = *id;
    return WEIR_OK;
}

int weir_reader_consumer(weir_reader_t *reader, const weir_uuid_t *id, weir_consumer_t *ret,
                         weir_error_t *err)
{
    weir_str_t record = { NULL, 0 };
    int rc = reader_get(reader, DB_RECORDS, WEIR_CONSUMERS, id, &record, err);
    if (rc != WEIR_OK)
        return rc;
    if (!view_consumer(record, ret))
        return reader_damaged(err, "consumer");
    ret->id = *id;
    return WEIR_OK;
}

int weir_reader_certificate(weir_reader_t *reader, const weir_uuid_t *id, weir_certificate_t *ret,
                            weir_error_t *err)
{
    weir_str_t record = { NULL, 0 };
    int rc = reader_get(reader, DB_RECORDS, WEIR_CERTIFICATES, id, &record, err);
    if (rc != WEIR_OK)
        return rc;
    if (!view_certificate(record, ret))
        return reader_damaged(err, "certificate");
    ret->id = *id;
    return WEIR_OK;
}

int weir_reader_ca_certificate(weir_reader_t *reader, const weir_uuid_t *id, weir_str_t *ret_pem,
                               uint64_t *ret_version, weir_error_t *err)
{
    weir_str_t record = { NULL, 0 };
    int rc = reader_get(reader, DB_RECORDS, WEIR_CA_CERTIFICATES, id, &record, err);
    if (rc == WEIR_OK && !view_ca_certificate(record, ret_pem, ret_version))
        rc = reader_damaged(err, "CA certificate");
    return rc;
}

int weir_reader_document(weir_reader_t *reader, weir_entity_type_t type, const weir_uuid_t *id,
                         weir_str_t *ret, weir_error_t *err)
{
    return reader_get(reader, DB_DOCUMENTS, type, id, ret, err);
}

typedef struct documents {
    int (*each)(void *context, weir_entity_type_t type, const weir_uuid_t *id, weir_str_t document);
    void *context;
} documents_t;

static int give_document(void *context, MDB_val key, MDB_val value, weir_error_t *err)
{
    documents_t *to = context;
    entity_key_t k;
    (void)err;
    if (key.mv_size != ID_BYTES)
        return WEIR_OK;
    memcpy(k.bytes, key.mv_data, ID_BYTES);
    weir_uuid_t id = entity_key_id(&k);
    return to->each(to->context, (weir_entity_type_t)k.bytes[0], &id, val_str(value));
}

int weir_reader_documents(weir_reader_t *reader,
                          int (*each)(void *context, weir_entity_type_t type, const weir_uuid_t *id,
                                      weir_str_t document),
                          void *context, weir_error_t *err)
{
    documents_t to = { each, context };
    return each_record(reader->txn, reader->dbi[DB_DOCUMENTS], "documents", give_document, &to,
                       err);
}

int weir_reader_capture(weir_reader_t *reader, const weir_uuid_t *route, weir_str_t path,
                        size_t matched, weir_str_t name, weir_str_t *ret, weir_error_t *err)
{
    weir_str_t record = { NULL, 0 };
    route_view_t view;
    int rc = reader_get(reader, DB_RECORDS, WEIR_ROUTES, route, &record, err);
    if (rc != WEIR_OK)
        return rc;
    if (!view_route(record, &view))
        return reader_damaged(err, "route");
    for (unsigned i = 0; i < view.path_count; i++) {
        weir_str_t pattern = route_path(&view, i);
        size_t len = 0;
        if (pattern.len == 0 || pattern.data[0] != '~')
            continue;
        pattern.data++;
        pattern.len--;
        if (regex_group(reader->regexes, route, view.route.version, i, pattern, path, name, &len,
                        ret) &&
            len == matched)
            return WEIR_OK;
    }
    return WEIR_NOT_FOUND;
}

/* -- by name ------------------------------------------------------------------------------- */

int reader_get_name(weir_reader_t *reader, char letter, weir_str_t text, weir_str_t *ret,
                    weir_error_t *err)
{
    weir_assert(reader->inside);
    uint8_t bytes[NAME_KEY_BYTES];
    MDB_val key = val(bytes, name_key(letter, text, bytes));
    MDB_val value;
    int code = mdb_get(reader->txn, reader->dbi[DB_NAMES], &key, &value);
    if (code != 0)
        return lmdb_error(code, err, "names");
    *ret = val_str(value);
    return WEIR_OK;
}

int weir_reader_consumer_named(weir_reader_t *reader, weir_str_t key, weir_consumer_t *ret,
                               weir_error_t *err)
{
    weir_uuid_t id;
    if (weir_uuid_parse(key, &id) == WEIR_OK) {
        int rc = weir_reader_consumer(reader, &id, ret, err);
        if (rc != WEIR_NOT_FOUND)
            return rc;
    }
    weir_str_t value = { NULL, 0 };
    int rc = reader_get_name(reader, NAME_USERNAME, key, &value, err);
    if (rc == WEIR_NOT_FOUND)
        rc = reader_get_name(reader, NAME_CUSTOM_ID, key, &value, err);
    if (rc != WEIR_OK)
        return rc;
    record_in_t in = { value.data, value.len, false };
    id = get_uuid(&in);
    return in.bad ? reader_damaged(err, "consumer's name")
                  : weir_reader_consumer(reader, &id, ret, err);
}

int weir_reader_credential(weir_reader_t *reader, weir_entity_type_t type, weir_str_t key,
                           int64_t now_s, weir_credential_t *ret, weir_error_t *err)
{
    enum { KEY_MAX = 64 * 1024 };
    char small[512];
    if (key.len > KEY_MAX)
        return WEIR_NOT_FOUND;
    WEIR_AUTO(free) char *large = key.len + 1 > sizeof(small) ? weir_malloc(key.len + 1) : NULL;
    char *text = large != NULL ? large : small;
    if (key.len + 1 > sizeof(small) && large == NULL)
        return weir_error_memory(err);
    text[0] = (char)type;
    memcpy(text + 1, key.data, key.len);
    weir_str_t value = { NULL, 0 };
    int rc =
        reader_get_name(reader, NAME_CREDENTIAL, (weir_str_t){ text, key.len + 1 }, &value, err);
    if (rc != WEIR_OK)
        return rc;
    record_in_t in = { value.data, value.len, false };
    ret->id = get_uuid(&in);
    ret->consumer = get_uuid(&in);
    ret->expires_s = (int64_t)get_u64(&in);
    ret->version = get_u64(&in);
    if (in.bad)
        return reader_damaged(err, "credential");
    return ret->expires_s > 0 && ret->expires_s <= now_s ? WEIR_NOT_FOUND : WEIR_OK;
}

static int get_sni(weir_reader_t *reader, weir_str_t name, weir_certificate_t *ret,
                   weir_error_t *err)
{
    weir_str_t value = { NULL, 0 };
    int rc = reader_get_name(reader, NAME_SNI, name, &value, err);
    if (rc != WEIR_OK)
        return rc;
    record_in_t in = { value.data, value.len, false };
    get_uuid(&in); /* of the SNI itself */
    weir_uuid_t certificate = get_uuid(&in);
    return in.bad ? reader_damaged(err, "SNI")
                  : weir_reader_certificate(reader, &certificate, ret, err);
}

/* routing 11: the name, "*.rest" (three labels or more), "left.*", "*". */
int weir_reader_sni(weir_reader_t *reader, weir_str_t server_name, weir_certificate_t *ret,
                    weir_error_t *err)
{
    char text[256];
    if (server_name.len == 0 || server_name.len + 2 > sizeof(text))
        return WEIR_NOT_FOUND;
    int rc = get_sni(reader, server_name, ret, err);
    const char *first = memchr(server_name.data, '.', server_name.len);
    const char *last = memrchr(server_name.data, '.', server_name.len);
    if (rc == WEIR_NOT_FOUND && first != NULL && first != last) {
        size_t rest = server_name.len - (size_t)(first - server_name.data);
        text[0] = '*';
        memcpy(text + 1, first, rest);
        rc = get_sni(reader, (weir_str_t){ text, rest + 1 }, ret, err);
    }
    if (rc == WEIR_NOT_FOUND && last != NULL) {
        size_t left = (size_t)(last - server_name.data) + 1;
        memcpy(text, server_name.data, left);
        text[left] = '*';
        rc = get_sni(reader, (weir_str_t){ text, left + 1 }, ret, err);
    }
    return rc == WEIR_NOT_FOUND ? get_sni(reader, WEIR_STR("*"), ret, err) : rc;
}

/* -- plans --------------------------------------------------------------------------------- */

typedef struct candidate {
    weir_planned_t planned;
    int32_t priority;
} candidate_t;

/* By priority, the larger first; then by name, the later first (plugins.json). */
static bool runs_before(const candidate_t *a, const candidate_t *b)
{
    if (a->priority != b->priority)
        return a->priority > b->priority;
    size_t len = a->planned.plugin.len < b->planned.plugin.len ? a->planned.plugin.len
                                                               : b->planned.plugin.len;
    int order = memcmp(a->planned.plugin.data, b->planned.plugin.data, len);
    return order != 0 ? order > 0 : a->planned.plugin.len > b->planned.plugin.len;
}

static void insert_candidate(candidate_t *list, size_t *count, const candidate_t *one)
{
    for (size_t i = 0; i < *count; i++)
        if (weir_str_equal(list[i].planned.plugin, one->planned.plugin))
            return; /* a more specific one is there already */
    if (*count == WEIR_PLAN_PLUGINS_MAX)
        return;
    size_t at = *count;
    while (at > 0 && runs_before(one, &list[at - 1])) {
        list[at] = list[at - 1];
        at--;
    }
    list[at] = *one;
    ++*count;
}

int weir_reader_plan(weir_reader_t *reader, const weir_uuid_t *route, const weir_uuid_t *service,
                     const weir_uuid_t *consumer, weir_plan_t *ret, weir_error_t *err)
{
    /* From the most to the least specific. */
    static const unsigned order[SCOPES] = {
        SCOPE_CONSUMER | SCOPE_ROUTE | SCOPE_SERVICE,
        SCOPE_CONSUMER | SCOPE_ROUTE,
        SCOPE_CONSUMER | SCOPE_SERVICE,
        SCOPE_ROUTE | SCOPE_SERVICE,
        SCOPE_CONSUMER,
        SCOPE_ROUTE,
        SCOPE_SERVICE,
        0,
    };
    static const weir_uuid_t zero;
    weir_assert(reader->inside);
    candidate_t list[WEIR_PLAN_PLUGINS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < SCOPES; i++) {
        unsigned want = order[i];
        if (reader->state.scope_plugins[want] == 0)
            continue;
        uint8_t bytes[1 + 3 * WEIR_UUID_BYTES];
        unsigned scope = 0;
        MDB_val key = val(bytes, scope_key(want & SCOPE_ROUTE ? route : NULL,
                                           want & SCOPE_SERVICE ? service : NULL,
                                           want & SCOPE_CONSUMER ? consumer : NULL, bytes, &scope));
        MDB_val value;
        if (scope != want)
            continue; /* the request lacks a part of it */
        int code = mdb_get(reader->txn, reader->dbi[DB_PLANS], &key, &value);
        if (code == MDB_NOTFOUND)
            continue;
        if (code != 0)
            return lmdb_error(code, err, "plans");
        record_in_t in = { value.mv_data, value.mv_size, false };
        candidate_t one;
        while (next_planned(&in, &one.planned, &one.priority)) {
            one.planned.refused = one.priority == GUARD_PRIORITY;
            one.planned.route = want & SCOPE_ROUTE ? *route : zero;
            one.planned.service = want & SCOPE_SERVICE ? *service : zero;
            one.planned.consumer = want & SCOPE_CONSUMER ? *consumer : zero;
            insert_candidate(list, &count, &one);
        }
        if (in.bad)
            return reader_damaged(err, "plan");
    }
    ret->count = count;
    for (size_t i = 0; i < count; i++)
        ret->plugins[i] = list[i].planned;
    return WEIR_OK;
}
