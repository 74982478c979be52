/* touched.c -- what changes of routing concern: noted by the writer, followed by readers. */
#include "image/touched.h"

enum { SETS = 1024, WAYS = 4 }; /* powers of two; 64 KiB for each worker */

/* Lengths of beginnings of paths that places are told apart by. */
static const size_t touched_steps[] = { 0, 1, 2, 4, 8, 16, 32, 64 };

/* -- keys --------------------------------------------------------------------------------- */

enum { HASH_START = 0x811c9dc5 };

/* FNV-1a */
static uint32_t hash_bytes(uint32_t hash, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ at[i]) * 0x01000193;
    return hash;
}

static uint32_t mixed(uint32_t hash)
{
    hash = (hash ^ hash >> 16) * 0x85ebca6b;
    hash = (hash ^ hash >> 13) * 0xc2b2ae35;
    return hash ^ hash >> 16;
}

static uint32_t key_of_form(uint8_t class, weir_str_t host)
{
    return hash_bytes(hash_bytes(HASH_START, &class, 1), host.data, host.len);
}

static uint32_t key_of_place(uint32_t form, uint32_t path)
{
    return mixed(form ^ mixed(path));
}

static uint32_t key_of_entity(weir_entity_type_t type, const weir_uuid_t *id)
{
    uint8_t kind = (uint8_t)type;
    return mixed(hash_bytes(hash_bytes(HASH_START, &kind, 1), id->bytes, sizeof(id->bytes)));
}

static uint32_t key_of_host(weir_str_t name)
{
    static const uint8_t kind = 0; /* no type of entity */
    return mixed(hash_bytes(hash_bytes(HASH_START, &kind, 1), name.data, name.len));
}

/* -- writing ------------------------------------------------------------------------------ */

void touch_everything(writer_t *w)
{
    if (w->touched != NULL)
        w->state->touched_all = ++w->state->touched;
}

/* The keys of earlier transactions, before the first of this one. */
static int load(writer_t *w, weir_error_t *err)
{
    touched_t *touched = w->touched;
    MDB_val key = val(NOTE_TOUCHED, strlen(NOTE_TOUCHED));
    MDB_val value;
    int code = mdb_get(w->txn, w->dbi[DB_STATE], &key, &value);
    if (code != 0 && code != MDB_NOTFOUND)
        return lmdb_error(code, err, NOTE_TOUCHED);
    touched->loaded = true;
    touched->first = w->state->touched;
    if (code == 0 && value.mv_size == sizeof(touched->keys))
        memcpy(touched->keys, value.mv_data, sizeof(touched->keys));
    else
        touch_everything(w); /* the first of an image */
    return WEIR_OK;
}

/* What is replaced is touched twice, one right after the other. */
static bool just_touched(const writer_t *w, uint32_t key)
{
    enum { LOOK_BACK = 8 };
    uint64_t end = w->state->touched;
    for (uint64_t i = end; i > w->touched->first && i + LOOK_BACK > end; i--)
        if (w->touched->keys[(i - 1) % TOUCHED_MAX] == key && i > w->state->touched_all)
            return true;
    return false;
}

static int touch(writer_t *w, uint32_t key, weir_error_t *err)
{
    touched_t *touched = w->touched;
    int rc = touched->loaded ? WEIR_OK : load(w, err);
    if (rc == WEIR_OK && !just_touched(w, key))
        touched->keys[w->state->touched++ % TOUCHED_MAX] = key;
    return rc;
}

int touch_entity(writer_t *w, weir_entity_type_t type, const weir_uuid_t *id, weir_error_t *err)
{
    return w->touched != NULL ? touch(w, key_of_entity(type, id), err) : WEIR_OK;
}

int touch_host(writer_t *w, weir_str_t name, weir_error_t *err)
{
    return w->touched != NULL ? touch(w, key_of_host(name), err) : WEIR_OK;
}

int touch_place(writer_t *w, MDB_val router_key, weir_error_t *err)
{
    if (w->touched == NULL)
        return WEIR_OK;
    const char *bytes = router_key.mv_data;
    const char *end = memchr(bytes + 1, 0, router_key.mv_size - 1);
    weir_assert(end != NULL);
    weir_str_t host = { bytes + 1, (size_t)(end - bytes - 1) };
    size_t path_len = router_key.mv_size - (size_t)(end + 1 - bytes);
    size_t step = WEIR_COUNT(touched_steps) - 1;
    while (touched_steps[step] > path_len)
        step--;
    uint32_t path = hash_bytes(HASH_START, end + 1, touched_steps[step]);
    return touch(w, key_of_place(key_of_form((uint8_t)bytes[0], host), path), err);
}

int touched_store(writer_t *w, weir_error_t *err)
{
    if (!w->touched->loaded)
        return WEIR_OK;
    MDB_val key = val(NOTE_TOUCHED, strlen(NOTE_TOUCHED));
    MDB_val value = val(w->touched->keys, sizeof(w->touched->keys));
    int code = mdb_put(w->txn, w->dbi[DB_STATE], &key, &value, 0);
    return code == 0 ? WEIR_OK : lmdb_error(code, err, NOTE_TOUCHED);
}

/* -- following ---------------------------------------------------------------------------- */

/* The keys touched last of those that share a set. A request asks for a dozen keys: with one in
 * twenty answered in doubt, every second request would look everything up again. */
typedef struct set {
    uint64_t moments[WAYS]; /* 0: nobody's */
    uint32_t keys[WAYS];
    uint64_t others; /* when one was touched last that had to make room */
} set_t;

/* Moments count what this reader has seen happen, over all images that it was in. */
struct followed {
    uint64_t moment;
    uint64_t everything; /* moment when everything was touched last */
    uint64_t seen;       /* state_t's `touched` */
    uint64_t changed;    /* weir_reader_changed() of routing */
    set_t sets[SETS];    /* ... and when some keys were */
};

static uint64_t routing_commit(const state_t *state)
{
    static const weir_entity_type_t types[] = { WEIR_ROUTES, WEIR_SERVICES, WEIR_PLUGINS,
                                                WEIR_UPSTREAMS, WEIR_TARGETS };
    uint64_t latest = 0;
    for (size_t i = 0; i < WEIR_COUNT(types); i++)
        if (state->changed[types[i]] > latest)
            latest = state->changed[types[i]];
    return latest;
}

followed_t *followed_new(void)
{
    followed_t *followed = weir_calloc(1, sizeof(*followed));
    if (followed != NULL)
        followed->moment = followed->everything = 1;
    return followed;
}

void followed_free(followed_t *followed)
{
    weir_free(followed);
}

static bool is_known(const weir_reader_t *reader)
{
    const followed_t *followed = reader->followed;
    const state_t *state = &reader->state;
    return followed->seen >= state->touched_all && followed->seen <= state->touched &&
           state->touched - followed->seen <= TOUCHED_MAX;
}

static void note_key(followed_t *followed, uint32_t key)
{
    set_t *set = &followed->sets[key % SETS];
    size_t way = 0;
    for (size_t i = 0; i < WAYS; i++) {
        if (set->keys[i] == key && set->moments[i] > 0) {
            set->moments[i] = followed->moment;
            return;
        }
        if (set->moments[i] < set->moments[way])
            way = i;
    }
    if (set->moments[way] > 0)
        set->others = set->moments[way];
    set->keys[way] = key;
    set->moments[way] = followed->moment;
}

static bool note_keys(weir_reader_t *reader)
{
    followed_t *followed = reader->followed;
    MDB_val key = val(NOTE_TOUCHED, strlen(NOTE_TOUCHED));
    MDB_val value;
    if (followed->seen == reader->state.touched)
        return true;
    if (mdb_get(reader->txn, reader->dbi[DB_STATE], &key, &value) != 0 ||
        value.mv_size != TOUCHED_MAX * sizeof(uint32_t))
        return false;
    followed->moment++;
    for (uint64_t i = followed->seen; i < reader->state.touched; i++) {
        uint32_t touched;
        memcpy(&touched, (const uint8_t *)value.mv_data + i % TOUCHED_MAX * sizeof(touched),
               sizeof(touched));
        note_key(followed, touched);
    }
    return true;
}

void follow_nothing(weir_reader_t *reader)
{
    followed_t *followed = reader->followed;
    followed->everything = ++followed->moment;
    followed->seen = reader->state.touched;
    followed->changed = reader->state.generation + routing_commit(&reader->state);
}

void follow_touched(weir_reader_t *reader)
{
    followed_t *followed = reader->followed;
    uint64_t changed = reader->state.generation + routing_commit(&reader->state);
    if (changed == followed->changed)
        return;
    if (!is_known(reader) || !note_keys(reader)) {
        follow_nothing(reader);
        return;
    }
    followed->seen = reader->state.touched;
    followed->changed = changed;
}

int weir_reader_moment(weir_reader_t *reader, uint64_t *ret, weir_error_t *err)
{
    int rc = reader_look(reader, err);
    *ret = reader->followed->moment;
    return rc;
}

/* -- does it stand? ------------------------------------------------------------------------ */

static bool stands(const followed_t *followed, uint32_t key, uint64_t since)
{
    const set_t *set = &followed->sets[key % SETS];
    for (size_t i = 0; i < WAYS; i++)
        if (set->keys[i] == key && set->moments[i] > 0)
            return set->moments[i] <= since;
    return set->others <= since;
}

bool weir_reader_route_stands(const weir_reader_t *reader, const weir_uuid_t *route,
                              const weir_uuid_t *service, uint64_t since)
{
    const followed_t *followed = reader->followed;
    return followed->everything <= since &&
           stands(followed, key_of_entity(WEIR_ROUTES, route), since) &&
           (service == NULL || stands(followed, key_of_entity(WEIR_SERVICES, service), since));
}

bool weir_reader_host_stands(const weir_reader_t *reader, weir_str_t host, uint64_t since)
{
    const followed_t *followed = reader->followed;
    return followed->everything <= since && stands(followed, key_of_host(host), since);
}

bool weir_reader_upstream_stands(const weir_reader_t *reader, const weir_uuid_t *id, uint64_t since)
{
    const followed_t *followed = reader->followed;
    return followed->everything <= since &&
           stands(followed, key_of_entity(WEIR_UPSTREAMS, id), since);
}

typedef struct question {
    const followed_t *followed;
    uint64_t since;
    uint32_t paths[WEIR_COUNT(touched_steps)]; /* hashes of the path's beginnings */
    size_t path_count;
    bool touched;
} question_t;

static void ask_form(void *context, uint8_t class, weir_str_t host)
{
    question_t *q = context;
    uint32_t form = key_of_form(class, host);
    for (size_t i = 0; i < q->path_count; i++)
        if (!stands(q->followed, key_of_place(form, q->paths[i]), q->since))
            q->touched = true;
}

bool weir_reader_match_stands(const weir_reader_t *reader, const weir_match_request_t *request,
                              uint64_t since)
{
    question_t q = { .followed = reader->followed, .since = since };
    uint32_t path = HASH_START;
    size_t at = 0;
    if (q.followed->everything > since)
        return false;
    for (; q.path_count < WEIR_COUNT(touched_steps); q.path_count++) {
        size_t step = touched_steps[q.path_count];
        if (step > request->path.len)
            break;
        path = hash_bytes(path, request->path.data + at, step - at);
        at = step;
        q.paths[q.path_count] = path;
    }
    each_host_form(request, ask_form, &q);
    return !q.touched;
}
