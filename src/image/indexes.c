/* indexes.c -- what follows from a record: names, plans, expiry (routes: entries.c). */
#include "image/touched.h"

#include <openssl/evp.h>

size_t name_key(char letter, weir_str_t text, uint8_t out[NAME_KEY_BYTES])
{
    out[0] = (uint8_t)letter;
    if (text.len < NAME_KEY_BYTES - 2) {
        out[1] = 0;
        memcpy(out + 2, text.data, text.len);
        return text.len + 2;
    }
    out[1] = 1; /* a text too long for a key is known by its hash */
    unsigned len = 0;
    if (EVP_Digest(text.data, text.len, out + 2, &len, EVP_sha256(), NULL) != 1)
        len = 0;
    return len + 2;
}

/* -- names -------------------------------------------------------------------------------- */

/* Names of the record that another takes the place of. Most stay, so they go only when it is
 * known what the other has: LMDB copies a page for whatever is deleted or put, the same again, too.
 */
enum { LEAVING_MAX = 2, NAME_VALUE_MAX = 64 };

typedef struct name {
    size_t key_len, value_len;
    uint8_t key[NAME_KEY_BYTES], value[NAME_VALUE_MAX];
} name_t;

struct leaving {
    size_t count;
    name_t list[LEAVING_MAX];
};

/* False: it does not fit, and goes at once. */
static bool leave_later(leaving_t *leaving, MDB_val key, MDB_val value)
{
    if (leaving == NULL || leaving->count == LEAVING_MAX || value.mv_size > NAME_VALUE_MAX)
        return false;
    name_t *name = &leaving->list[leaving->count++];
    name->key_len = key.mv_size;
    name->value_len = value.mv_size;
    memcpy(name->key, key.mv_data, key.mv_size);
    memcpy(name->value, value.mv_data, value.mv_size);
    return true;
}

/* True: it was leaving, so it is there. */
static bool stays(leaving_t *leaving, MDB_val key, MDB_val value)
{
    for (size_t i = 0; leaving != NULL && i < leaving->count; i++) {
        name_t *name = &leaving->list[i];
        if (name->key_len == key.mv_size && name->value_len == value.mv_size &&
            memcmp(name->key, key.mv_data, key.mv_size) == 0 &&
            memcmp(name->value, value.mv_data, value.mv_size) == 0) {
            *name = leaving->list[--leaving->count];
            return true;
        }
    }
    return false;
}

static int change_name(writer_t *w, MDB_val key, MDB_val value, bool add, weir_error_t *err)
{
    int code = add ? mdb_put(w->txn, w->dbi[DB_NAMES], &key, &value, MDB_NODUPDATA)
                   : mdb_del(w->txn, w->dbi[DB_NAMES], &key, &value);
    return code == 0 || code == (add ? MDB_KEYEXIST : MDB_NOTFOUND)
               ? WEIR_OK
               : lmdb_error(code, err, "names");
}

/* Values begin with the id of who has the name. A control plane keeps names unique,
 * but within a batch, and with another's control plane, two may have one: then the
 * smaller id is found, and nobody's departure takes the name from the other. */
int index_name(writer_t *w, char letter, weir_str_t text, weir_str_t value, bool add,
               weir_error_t *err)
{
    if (text.data == NULL)
        return WEIR_OK;
    uint8_t bytes[NAME_KEY_BYTES];
    MDB_val key = val(bytes, name_key(letter, text, bytes));
    MDB_val data = val(value.data, value.len);
    if (w->check != NULL)
        return w->check->entry(w->check->context, DB_NAMES, key, data);
    if (add ? stays(w->leaving, key, data) : leave_later(w->leaving, key, data))
        return WEIR_OK;
    return change_name(w, key, data, add, err);
}

static weir_str_t id_str(const weir_uuid_t *id)
{
    return (weir_str_t){ (const char *)id->bytes, WEIR_UUID_BYTES };
}

static int index_consumer(writer_t *w, const weir_uuid_t *id, weir_str_t record, bool add,
                          weir_error_t *err)
{
    weir_consumer_t consumer;
    if (!view_consumer(record, &consumer))
        return weir_error_set(err, WEIR_CORRUPT, NULL, "the record of a consumer is damaged");
    int rc = index_name(w, NAME_USERNAME, consumer.username, id_str(id), add, err);
    return rc == WEIR_OK ? index_name(w, NAME_CUSTOM_ID, consumer.custom_id, id_str(id), add, err)
                         : rc;
}

static int index_credential(writer_t *w, weir_entity_type_t type, const weir_uuid_t *id,
                            weir_str_t record, bool add, weir_error_t *err)
{
    credential_view_t view;
    if (!view_credential(record, &view))
        return weir_error_set(err, WEIR_CORRUPT, NULL, "the record of a credential is damaged");
    WEIR_AUTO(buffer) weir_buffer_t value;
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&value, 256);
    weir_buffer_init(&text, RECORD_BYTES_MAX);
    put_uuid(&value, id);
    put_uuid(&value, &view.consumer);
    put_u64(&value, (uint64_t)view.expires_s);
    put_u64(&value, view.version);
    put_u8(&text, (uint8_t)type);
    weir_buffer_append(&text, view.key);
    if (value.failed != WEIR_OK || text.failed != WEIR_OK)
        return weir_error_memory(err);
    if (view.key.data == NULL)
        return WEIR_OK;
    return index_name(w, NAME_CREDENTIAL, weir_buffer_str(&text), weir_buffer_str(&value), add,
                      err);
}

static int index_expiry(writer_t *w, weir_entity_type_t type, const weir_uuid_t *id,
                        weir_str_t record, bool add, weir_error_t *err)
{
    credential_view_t view;
    if (!view_credential(record, &view) || view.expires_s <= 0)
        return WEIR_OK;
    uint8_t bytes[8 + ID_BYTES];
    for (size_t i = 0; i < 8; i++)
        bytes[i] = (uint8_t)((uint64_t)view.expires_s >> 8 * (7 - i));
    entity_key_t entity = entity_key(type, id);
    memcpy(bytes + 8, entity.bytes, ID_BYTES);
    MDB_val key = val(bytes, sizeof(bytes));
    MDB_val nothing = val("", 0);
    if (w->check != NULL)
        return w->check->entry(w->check->context, DB_EXPIRY, key, nothing);
    int code = add ? mdb_put(w->txn, w->dbi[DB_EXPIRY], &key, &nothing, 0)
                   : mdb_del(w->txn, w->dbi[DB_EXPIRY], &key, NULL);
    return code == 0 || code == MDB_NOTFOUND ? WEIR_OK : lmdb_error(code, err, "expiry");
}

/* -- plans -------------------------------------------------------------------------------- */

size_t scope_key(const weir_uuid_t *route, const weir_uuid_t *service, const weir_uuid_t *consumer,
                 uint8_t out[1 + 3 * WEIR_UUID_BYTES], unsigned *ret_scope)
{
    const weir_uuid_t *ids[] = { route, service, consumer };
    size_t len = 1;
    out[0] = 0;
    for (unsigned i = 0; i < WEIR_COUNT(ids); i++) {
        if (ids[i] == NULL || weir_uuid_is_zero(ids[i]))
            continue;
        out[0] = (uint8_t)(out[0] | 1u << i);
        memcpy(out + len, ids[i]->bytes, WEIR_UUID_BYTES);
        len += WEIR_UUID_BYTES;
    }
    *ret_scope = out[0];
    return len;
}

bool next_planned(record_in_t *list, weir_planned_t *ret, int32_t *ret_priority)
{
    if (list->left == 0)
        return false;
    *ret = (weir_planned_t){ 0 };
    ret->id = get_uuid(list);
    *ret_priority = (int32_t)get_u32(list);
    ret->version = get_u64(list);
    ret->plugin = get_str(list);
    ret->record = get_str(list);
    return !list->bad && ret->plugin.data != NULL;
}

static void put_planned(weir_buffer_t *out, const weir_uuid_t *id, const plugin_view_t *view)
{
    put_uuid(out, id);
    put_u32(out, (uint32_t)view->priority);
    put_u64(out, view->version);
    put_str(out, view->name);
    put_str(out, view->record);
}

/* The list `before` without the plugin `id`, then with it, ordered by id. A scope
 * has each plugin once, so lists are a few entries long. */
static void change_list(MDB_val before, const weir_uuid_t *id, const plugin_view_t *view, bool add,
                        weir_buffer_t *out)
{
    record_in_t in = { before.mv_data, before.mv_size, false };
    weir_planned_t planned;
    int32_t priority = 0;
    for (const char *start = in.at; next_planned(&in, &planned, &priority); start = in.at) {
        int order = memcmp(planned.id.bytes, id->bytes, WEIR_UUID_BYTES);
        if (add && order > 0) {
            put_planned(out, id, view);
            add = false;
        }
        if (order != 0)
            weir_buffer_append(out, (weir_str_t){ start, (size_t)(in.at - start) });
    }
    if (add)
        put_planned(out, id, view);
}

static int check_plugin(const writer_t *w, MDB_val key, const weir_uuid_t *id,
                        const plugin_view_t *view, weir_error_t *err)
{
    WEIR_AUTO(buffer) weir_buffer_t one;
    weir_buffer_init(&one, RECORD_BYTES_MAX);
    put_planned(&one, id, view);
    if (one.failed != WEIR_OK)
        return weir_error_memory(err);
    return w->check->entry(w->check->context, DB_PLANS, key, val(one.data, one.len));
}

/* Plans of requests without a consumer are remembered with their route. */
static int touch_plans(writer_t *w, const plugin_view_t *view, unsigned scope, weir_error_t *err)
{
    if (scope & SCOPE_CONSUMER)
        return WEIR_OK;
    if (scope & SCOPE_ROUTE)
        return touch_entity(w, WEIR_ROUTES, &view->route, err);
    if (scope & SCOPE_SERVICE)
        return touch_entity(w, WEIR_SERVICES, &view->service, err);
    touch_everything(w);
    return WEIR_OK;
}

static int index_plugin(writer_t *w, const weir_uuid_t *id, weir_str_t record, bool add,
                        weir_error_t *err)
{
    plugin_view_t view;
    if (!view_plugin(record, &view))
        return weir_error_set(err, WEIR_CORRUPT, NULL, "the record of a plugin is damaged");
    if (!view.enabled)
        return WEIR_OK;
    uint8_t bytes[1 + 3 * WEIR_UUID_BYTES];
    unsigned scope = 0;
    MDB_val key = val(bytes, scope_key(&view.route, &view.service, &view.consumer, bytes, &scope));
    MDB_val before = { 0, NULL };
    if (w->check != NULL) {
        w->state->scope_plugins[scope]++;
        return check_plugin(w, key, id, &view, err);
    }
    int rc = touch_plans(w, &view, scope, err);
    if (rc != WEIR_OK)
        return rc;
    int code = mdb_get(w->txn, w->dbi[DB_PLANS], &key, &before);
    if (code != 0 && code != MDB_NOTFOUND)
        return lmdb_error(code, err, "plans");
    WEIR_AUTO(buffer) weir_buffer_t list;
    weir_buffer_init(&list, RECORD_BYTES_MAX);
    change_list(before, id, &view, add, &list);
    w->state->scope_plugins[scope] += add ? 1 : (uint64_t)-1;
    if (list.failed == WEIR_TOO_LARGE)
        return weir_error_set(err, WEIR_TOO_LARGE, NULL,
                              "the plugins of a scope need more than %d bytes", RECORD_BYTES_MAX);
    if (list.failed != WEIR_OK)
        return weir_error_memory(err);
    MDB_val after = val(list.data, list.len);
    if (list.len > 0)
        code = mdb_put(w->txn, w->dbi[DB_PLANS], &key, &after, 0);
    else
        code = code == 0 ? mdb_del(w->txn, w->dbi[DB_PLANS], &key, NULL) : 0;
    return code == 0 ? WEIR_OK : lmdb_error(code, err, "plans");
}

int index_record(writer_t *w, weir_entity_type_t type, const weir_uuid_t *id, weir_str_t record,
                 bool add, weir_error_t *err)
{
    note_change(w->state, (uint8_t)type);
    switch (type) {
    case WEIR_ROUTES:
        return index_route(w, id, record, add, err);
    case WEIR_CONSUMERS:
        return index_consumer(w, id, record, add, err);
    case WEIR_KEYAUTH_CREDENTIALS: {
        int rc = index_credential(w, type, id, record, add, err);
        return rc == WEIR_OK ? index_expiry(w, type, id, record, add, err) : rc;
    }
    case WEIR_OAUTH2_AUTHORIZATION_CODES:
    case WEIR_OAUTH2_TOKENS:
        return index_expiry(w, type, id, record, add, err);
    case WEIR_SERVICES: {
        service_view_t view;
        if (!view_service(record, &view))
            return weir_error_set(err, WEIR_CORRUPT, NULL, "the record of a service is damaged");
        w->state->disabled_services += view.enabled ? 0 : add ? 1 : (uint64_t)-1;
        /* A route of a disabled service gives way to others. */
        if (!view.enabled)
            touch_everything(w);
        return touch_entity(w, type, id, err);
    }
    case WEIR_SNIS: {
        sni_view_t view;
        if (!view_sni(record, &view))
            return weir_error_set(err, WEIR_CORRUPT, NULL, "the record of an SNI is damaged");
        WEIR_AUTO(buffer) weir_buffer_t value;
        weir_buffer_init(&value, 64);
        put_uuid(&value, id);
        put_uuid(&value, &view.certificate);
        return index_name(w, NAME_SNI, view.name, weir_buffer_str(&value), add, err);
    }
    case WEIR_PLUGINS:
        return index_plugin(w, id, record, add, err);
    case WEIR_UPSTREAMS:
        return index_upstream(w, id, record, add, err);
    case WEIR_TARGETS:
        return index_target(w, record, err);
    case WEIR_WORKSPACES:
    case WEIR_PARAMETERS:
    case WEIR_CERTIFICATES:
    case WEIR_CA_CERTIFICATES:
    case WEIR_BASICAUTH_CREDENTIALS:
    case WEIR_HMACAUTH_CREDENTIALS:
    case WEIR_JWT_SECRETS:
    case WEIR_ACLS:
    case WEIR_OAUTH2_CREDENTIALS:
    case WEIR_VAULTS:
    case WEIR_KEY_SETS:
    case WEIR_KEYS:
    case WEIR_ENTITY_NONE:
    case WEIR_ENTITY_TYPES:
        break; /* found by id */
    }
    return WEIR_OK;
}

int index_replace(writer_t *w, weir_entity_type_t type, const weir_uuid_t *id, weir_str_t before,
                  weir_str_t after, weir_error_t *err)
{
    leaving_t leaving = { .count = 0 };
    w->leaving = &leaving;
    int rc = index_record(w, type, id, before, false, err);
    if (rc == WEIR_OK)
        rc = index_record(w, type, id, after, true, err);
    w->leaving = NULL;
    for (size_t i = 0; rc == WEIR_OK && i < leaving.count; i++) {
        name_t *name = &leaving.list[i];
        rc = change_name(w, val(name->key, name->key_len), val(name->value, name->value_len), false,
                         err);
    }
    return rc;
}
