/* recent.c -- the newest deltas, in memory: what was committed a moment ago is what
 * every data plane is sent next, so pushing it need not read it back from the disk.
 *
 * The leader notes the deltas of the group at work; those of a write that is undone
 * go again (group.c). When the group is committed they move to a ring of bytes, in
 * which old ones make room. Readers copy a range out under the lock and look at it
 * without. Whatever is not there, for whatever reason (want of memory, another
 * process that wrote), is in the database: the ring may forget, but not be wrong. */
#include "store/sqlite/internal.h"

/* An entry: this, then the document, then up to seven bytes. */
typedef struct entry {
    uint64_t version;
    weir_uuid_t id;
    uint32_t type;
    uint32_t len; /* of the document; DELETED: there is none */
} entry_t;

enum { ALIGNMENT = 8 };
static const uint32_t DELETED = UINT32_MAX;

static size_t entry_bytes(const entry_t *entry)
{
    size_t len = entry->len == DELETED ? 0 : entry->len;
    return sizeof(*entry) + (len + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* -- the group at work ---------------------------------------------------------------------- */

void weir_sqlite_recent_begin_group(recent_t *recent)
{
    recent->noted.len_max = RECENT_BYTES;
    weir_buffer_clear(&recent->noted);
}

size_t weir_sqlite_recent_mark(const recent_t *recent)
{
    return recent->noted.len;
}

void weir_sqlite_recent_undo(recent_t *recent, size_t mark)
{
    recent->noted.len = mark < recent->noted.len ? mark : recent->noted.len;
}

void weir_sqlite_recent_note(recent_t *recent, uint64_t version, weir_entity_type_t type,
                             const weir_uuid_t *id, weir_str_t document)
{
    entry_t entry = { .version = version,
                      .id = *id,
                      .type = (uint32_t)type,
                      .len = document.data != NULL ? (uint32_t)document.len : DELETED };
    char *to = document.len < RECENT_BYTES
                   ? weir_buffer_reserve(&recent->noted, entry_bytes(&entry))
                   : NULL;
    if (to == NULL) {
        recent->noted.failed = WEIR_TOO_LARGE; /* none of the group will be kept */
        return;
    }
    memset(to, 0, entry_bytes(&entry));
    memcpy(to, &entry, sizeof(entry));
    if (document.data != NULL)
        memcpy(to + sizeof(entry), document.data, document.len);
    recent->noted.len += entry_bytes(&entry);
}

/* -- the ring: under the lock ------------------------------------------------------------------ */

static uint64_t *start_of(recent_t *recent, uint64_t version)
{
    return &recent->starts[version % RECENT_VERSIONS];
}

static void forget(recent_t *recent)
{
    recent->first = 1;
    recent->newest = 0;
}

/* Where `version` begins, or, one after the newest, would begin. */
static uint64_t start(recent_t *recent, uint64_t version)
{
    return version > recent->newest ? recent->end : *start_of(recent, version);
}

static void make_room(recent_t *recent, size_t bytes)
{
    while (recent->first <= recent->newest &&
           (recent->end + bytes - *start_of(recent, recent->first) > RECENT_BYTES ||
            recent->newest - recent->first >= RECENT_VERSIONS - 1))
        recent->first++;
    if (recent->first > recent->newest)
        forget(recent);
}

static void put(recent_t *recent, const char *bytes, size_t len)
{
    size_t at = recent->end % RECENT_BYTES;
    size_t until_wrap = RECENT_BYTES - at < len ? RECENT_BYTES - at : len;
    memcpy(recent->bytes + at, bytes, until_wrap);
    memcpy(recent->bytes, bytes + until_wrap, len - until_wrap);
    recent->end += len;
}

/* A group is no larger than the ring: making room never takes the version at hand. */
static void append(recent_t *recent, const entry_t *entry, const char *bytes)
{
    if (recent->newest != entry->version && recent->newest + 1 != entry->version)
        forget(recent); /* others committed what lies between */
    make_room(recent, entry_bytes(entry));
    if (recent->newest != entry->version) {
        if (recent->newest == 0)
            recent->first = entry->version;
        recent->newest = entry->version;
        *start_of(recent, entry->version) = recent->end;
    }
    put(recent, bytes, entry_bytes(entry));
}

void weir_sqlite_recent_publish(recent_t *recent)
{
    pthread_mutex_lock(&recent->lock);
    if (recent->noted.failed != WEIR_OK)
        forget(recent);
    for (size_t at = 0; recent->noted.failed == WEIR_OK && at < recent->noted.len;) {
        entry_t entry;
        memcpy(&entry, recent->noted.data + at, sizeof(entry));
        append(recent, &entry, recent->noted.data + at);
        at += entry_bytes(&entry);
    }
    pthread_mutex_unlock(&recent->lock);
}

void weir_sqlite_recent_forget(recent_t *recent)
{
    pthread_mutex_lock(&recent->lock);
    forget(recent);
    pthread_mutex_unlock(&recent->lock);
}

/* -- reading --------------------------------------------------------------------------------- */

/* Under the lock: the bytes of versions in (after, up_to]; SIZE_MAX: not all are there. */
static size_t bytes_between(recent_t *recent, uint64_t after, uint64_t up_to)
{
    if (after >= up_to || after + 1 < recent->first || up_to > recent->newest)
        return SIZE_MAX;
    return (size_t)(start(recent, up_to + 1) - start(recent, after + 1));
}

bool weir_sqlite_recent_has(recent_t *recent, uint64_t after, uint64_t up_to, size_t bytes_max)
{
    pthread_mutex_lock(&recent->lock);
    size_t bytes = bytes_between(recent, after, up_to);
    pthread_mutex_unlock(&recent->lock);
    return bytes <= bytes_max;
}

/* False: not there, or no memory for a copy. */
static bool copy_out(recent_t *recent, uint64_t after, uint64_t up_to, weir_buffer_t *out)
{
    pthread_mutex_lock(&recent->lock);
    size_t len = bytes_between(recent, after, up_to);
    char *to = len <= RECENT_BYTES ? weir_buffer_reserve(out, len) : NULL;
    if (to != NULL) {
        size_t at = start(recent, after + 1) % RECENT_BYTES;
        size_t until_wrap = RECENT_BYTES - at < len ? RECENT_BYTES - at : len;
        memcpy(to, recent->bytes + at, until_wrap);
        memcpy(to + until_wrap, recent->bytes, len - until_wrap);
        out->len = len;
    }
    pthread_mutex_unlock(&recent->lock);
    return to != NULL;
}

bool weir_sqlite_recent_read(store_t *store, uint64_t after, uint64_t up_to, weir_delta_fn fn,
                             void *context, int *ret)
{
    WEIR_AUTO(buffer) weir_buffer_t copy;
    weir_buffer_init(&copy, RECENT_BYTES);
    if (!copy_out(&store->recent, after, up_to, &copy))
        return false;
    *ret = WEIR_OK;
    for (size_t at = 0; *ret == WEIR_OK && at < copy.len;) {
        entry_t entry;
        memcpy(&entry, copy.data + at, sizeof(entry));
        weir_delta_t delta = { .version = entry.version,
                               .type = (weir_entity_type_t)entry.type,
                               .id = entry.id,
                               .workspace = store->workspace };
        if (entry.len != DELETED)
            delta.document = (weir_str_t){ copy.data + at + sizeof(entry), entry.len };
        *ret = fn(context, &delta);
        at += entry_bytes(&entry);
    }
    return true;
}
