/* classic_scan.c -- a reconfigure message read in a stream.
 *
 * Three containers are entered: the message, its config_table, a list in that. Every
 * other value is a run of bytes to its end, which quotes and brackets tell. */
#include "cluster/classic_scan.h"

#include "base/json.h"

#include <zlib.h>

enum {
    WINDOW_ANY = 15 + 32, /* of inflateInit2(): gzip or zlib, as the header says */
    PIECE_BYTES = 64 * 1024,
    NESTING_MAX = 1000, /* as the parser of rows */
};

typedef enum scan_level { LEVEL_OUTSIDE, LEVEL_MESSAGE, LEVEL_TABLE, LEVEL_LIST } scan_level_t;

typedef enum scan_step {
    STEP_VALUE,        /* a value must come */
    STEP_VALUE_OR_END, /* the first of a list */
    STEP_NAME_OR_END,  /* the first of an object */
    STEP_NAME,
    STEP_COLON,
    STEP_COMMA_OR_END,
    STEP_RUN, /* inside a value that is not entered */
    STEP_DONE,
} scan_step_t;

struct weir_scan {
    weir_scan_events_t events;
    scan_level_t level;
    scan_step_t step;
    bool table_seen;
    /* The run at work: a value or a name. */
    bool is_name, in_string, escaped, keep, cut;
    unsigned depth;
    weir_buffer_t text;
    char member[WEIR_SCAN_NAME_MAX + 1]; /* of the message */
    char list[WEIR_SCAN_NAME_MAX + 1];   /* of config_table */
};

int weir_scan_new(const weir_scan_events_t *events, weir_scan_t **ret, weir_error_t *err)
{
    weir_scan_t *scan = weir_calloc(1, sizeof(*scan));
    if (scan == NULL)
        return weir_error_memory(err);
    scan->events = *events;
    weir_buffer_init(&scan->text, WEIR_SCAN_ROW_MAX);
    *ret = scan;
    return WEIR_OK;
}

void weir_scan_free(weir_scan_t *scan)
{
    if (scan == NULL)
        return;
    weir_buffer_release(&scan->text);
    weir_free(scan);
}

static int corrupt(weir_error_t *err, const char *why)
{
    return weir_error_set(err, WEIR_CORRUPT, NULL, "%s", why);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* -- runs --------------------------------------------------------------------------------- */

static void begin_run(weir_scan_t *scan, bool name)
{
    weir_buffer_clear(&scan->text);
    scan->step = STEP_RUN;
    scan->is_name = name;
    scan->in_string = scan->escaped = scan->cut = false;
    scan->depth = 0;
    scan->keep =
        name || (scan->level == LEVEL_LIST ? scan->events.row != NULL : scan->events.value != NULL);
}

static bool is_json(weir_str_t text)
{
    WEIR_AUTO(json) weir_json_t *value = NULL;
    return weir_json_parse_marked(text, &value, NULL) == WEIR_OK;
}

/* The text between quotes. Escapes stay: no name that is known has one. */
static int take_name(weir_scan_t *scan, weir_error_t *err)
{
    weir_str_t text = weir_buffer_str(&scan->text);
    if (memchr(text.data, '\\', text.len) != NULL && !is_json(text))
        return corrupt(err, "a member's name has an escape that is none");
    char *into = scan->level == LEVEL_MESSAGE ? scan->member : scan->list;
    if (text.len < 2 || text.len - 2 > WEIR_SCAN_NAME_MAX)
        return corrupt(err, "a member's name is longer than 64 bytes");
    if (text.len == 2 && scan->level != LEVEL_MESSAGE)
        return corrupt(err, "a list without a name");
    memcpy(into, text.data + 1, text.len - 2);
    into[text.len - 2] = '\0';
    if (strlen(into) != text.len - 2)
        return corrupt(err, "a member's name has a NUL");
    scan->step = STEP_COLON;
    return WEIR_OK;
}

static int end_run(weir_scan_t *scan, weir_error_t *err)
{
    weir_str_t text = weir_buffer_str(&scan->text);
    if (scan->text.failed == WEIR_NO_MEMORY)
        return weir_error_memory(err);
    if (scan->is_name)
        return take_name(scan, err);
    scan->step = scan->level == LEVEL_OUTSIDE ? STEP_DONE : STEP_COMMA_OR_END;
    if (!scan->keep)
        return WEIR_OK;
    if (scan->level == LEVEL_LIST)
        return scan->events.row(scan->events.context, scan->list, text, err);
    if (scan->cut)
        text = (weir_str_t){ NULL, 0 };
    bool table = scan->level == LEVEL_TABLE;
    return scan->events.value(scan->events.context, table, table ? scan->list : scan->member, text,
                              err);
}

static int keep_bytes(weir_scan_t *scan, const char *from, size_t len, weir_error_t *err)
{
    if (!scan->keep || scan->cut || len == 0)
        return WEIR_OK;
    size_t most = WEIR_SCAN_VALUE_MAX;
    if (scan->level == LEVEL_LIST && !scan->is_name)
        most = WEIR_SCAN_ROW_MAX;
    if (scan->text.len + len > most) {
        if (scan->level == LEVEL_LIST)
            return weir_error_set(err, WEIR_TOO_LARGE, NULL,
                                  "a row of \"%s\" has more than %d bytes", scan->list,
                                  WEIR_SCAN_ROW_MAX);
        scan->cut = true;
        return scan->is_name ? corrupt(err, "a member's name is longer than 64 bytes") : WEIR_OK;
    }
    return weir_buffer_append(&scan->text, (weir_str_t){ from, len }) == WEIR_OK
               ? WEIR_OK
               : weir_error_memory(err);
}

/* One byte of a run. *ret_end: the run ends behind it; *ret_before: it ended before. */
static int run_byte(weir_scan_t *scan, char c, bool *ret_end, bool *ret_before, weir_error_t *err)
{
    if (scan->in_string) {
        if (scan->escaped)
            scan->escaped = false;
        else if (c == '\\')
            scan->escaped = true;
        else if (c == '"')
            scan->in_string = false;
        *ret_end = !scan->in_string && scan->depth == 0;
        return WEIR_OK;
    }
    if (c == '"') {
        scan->in_string = true;
    } else if (c == '{' || c == '[') {
        if (++scan->depth > NESTING_MAX)
            return corrupt(err, "it is nested too deep");
    } else if (scan->depth > 0 && (c == '}' || c == ']')) {
        *ret_end = --scan->depth == 0;
    } else if (scan->depth == 0 && (c == ',' || c == '}' || c == ']' || is_space(c))) {
        *ret_before = true; /* of a number or word */
    }
    return WEIR_OK;
}

/* Inside strings most bytes mean nothing. */
static const char *skip_plain(const weir_scan_t *scan, const char *at, const char *end)
{
    if (scan->in_string && !scan->escaped)
        while (at < end && *at != '"' && *at != '\\')
            at++;
    return at;
}

static int feed_run(weir_scan_t *scan, weir_str_t *bytes, weir_error_t *err)
{
    const char *from = bytes->data;
    const char *end = bytes->data + bytes->len;
    const char *at = from;
    bool ends = false;
    bool before = false;
    int rc = WEIR_OK;
    while (rc == WEIR_OK && !ends && !before) {
        at = skip_plain(scan, at, end);
        if (at == end)
            break;
        rc = run_byte(scan, *at, &ends, &before, err);
        at += !before;
    }
    *bytes = (weir_str_t){ at, (size_t)(end - at) };
    if (rc == WEIR_OK)
        rc = keep_bytes(scan, from, (size_t)(at - from), err);
    return rc == WEIR_OK && (ends || before) ? end_run(scan, err) : rc;
}

/* -- between runs ----------------------------------------------------------------------------- */

/* Goes into a container, if it is one that is entered. */
static bool enter(weir_scan_t *scan, char c)
{
    if (scan->level == LEVEL_OUTSIDE && c == '{') {
        scan->level = LEVEL_MESSAGE;
        scan->step = STEP_NAME_OR_END;
        return true;
    }
    if (scan->level == LEVEL_MESSAGE && c == '{' && strcmp(scan->member, "config_table") == 0) {
        scan->level = LEVEL_TABLE;
        scan->step = STEP_NAME_OR_END;
        return true;
    }
    if (scan->level == LEVEL_TABLE && c == '[') {
        scan->level = LEVEL_LIST;
        scan->step = STEP_VALUE_OR_END;
        return true;
    }
    return false;
}

static int value_byte(weir_scan_t *scan, char c, bool *ret_run, weir_error_t *err)
{
    if (enter(scan, c)) {
        if (scan->level == LEVEL_TABLE && scan->table_seen)
            return corrupt(err, "there are two members config_table");
        scan->table_seen |= scan->level == LEVEL_TABLE;
        if (scan->level == LEVEL_LIST && scan->events.list != NULL)
            return scan->events.list(scan->events.context, scan->list, err);
        return WEIR_OK;
    }
    if (c == ',' || c == '}' || c == ']' || c == ':')
        return corrupt(err, "a value is missing");
    if (scan->level == LEVEL_OUTSIDE)
        return corrupt(err, "it is no object");
    begin_run(scan, false);
    *ret_run = true; /* the byte belongs to it */
    return WEIR_OK;
}

static int leave(weir_scan_t *scan, char c, weir_error_t *err)
{
    if (c != (scan->level == LEVEL_LIST ? ']' : '}'))
        return corrupt(err, "brackets do not fit");
    scan->level--;
    scan->step = scan->level == LEVEL_OUTSIDE ? STEP_DONE : STEP_COMMA_OR_END;
    return WEIR_OK;
}

static int name_byte(weir_scan_t *scan, char c, bool *ret_run, weir_error_t *err)
{
    if (c != '"')
        return corrupt(err, "a member's name is missing");
    begin_run(scan, true);
    *ret_run = true;
    return WEIR_OK;
}

/* A byte that is no white space, outside of runs. */
static int structure_byte(weir_scan_t *scan, char c, bool *ret_run, weir_error_t *err)
{
    switch (scan->step) {
    case STEP_VALUE_OR_END:
        if (c == ']')
            return leave(scan, c, err);
        return value_byte(scan, c, ret_run, err);
    case STEP_VALUE:
        return value_byte(scan, c, ret_run, err);
    case STEP_NAME_OR_END:
        if (c == '}')
            return leave(scan, c, err);
        return name_byte(scan, c, ret_run, err);
    case STEP_NAME:
        return name_byte(scan, c, ret_run, err);
    case STEP_COLON:
        scan->step = STEP_VALUE;
        return c == ':' ? WEIR_OK : corrupt(err, "a colon is missing");
    case STEP_COMMA_OR_END:
        if (c != ',')
            return leave(scan, c, err);
        scan->step = scan->level == LEVEL_LIST ? STEP_VALUE : STEP_NAME;
        return WEIR_OK;
    case STEP_RUN:
    case STEP_DONE:
        break;
    }
    return corrupt(err, "something follows the end");
}

int weir_scan_feed(weir_scan_t *scan, weir_str_t bytes, weir_error_t *err)
{
    int rc = WEIR_OK;
    while (rc == WEIR_OK && bytes.len > 0) {
        bool run = scan->step == STEP_RUN;
        if (!run && !is_space(bytes.data[0]))
            rc = structure_byte(scan, bytes.data[0], &run, err);
        if (rc == WEIR_OK && run)
            rc = feed_run(scan, &bytes, err);
        else
            bytes = (weir_str_t){ bytes.data + 1, bytes.len - 1 };
    }
    return rc;
}

int weir_scan_end(weir_scan_t *scan, weir_error_t *err)
{
    return scan->step == STEP_DONE ? WEIR_OK : corrupt(err, "it ends too early");
}

/* -- inflating ------------------------------------------------------------------------------------
 */

static int inflate_all(z_stream *stream, uint64_t bytes_max,
                       int (*piece)(void *context, weir_str_t bytes, weir_error_t *err),
                       void *context, weir_error_t *err)
{
    WEIR_AUTO(free) char *out = weir_malloc(PIECE_BYTES);
    uint64_t total = 0;
    int step = Z_OK;
    if (out == NULL)
        return weir_error_memory(err);
    while (step != Z_STREAM_END) {
        stream->next_out = (Bytef *)out;
        stream->avail_out = PIECE_BYTES;
        step = inflate(stream, Z_NO_FLUSH);
        size_t len = PIECE_BYTES - stream->avail_out;
        if (step == Z_MEM_ERROR)
            return weir_error_memory(err);
        if ((step != Z_OK && step != Z_STREAM_END) || (len == 0 && step == Z_OK))
            return corrupt(err, "it is no gzip or zlib, or not all of it");
        total += len;
        if (total > bytes_max)
            return weir_error_set(err, WEIR_TOO_LARGE, "cluster_max_payload",
                                  "it inflates to more than %" PRIu64 " bytes", bytes_max);
        int rc = piece(context, (weir_str_t){ out, len }, err);
        if (rc != WEIR_OK)
            return rc;
    }
    return WEIR_OK;
}

int weir_scan_inflate(weir_str_t payload, uint64_t bytes_max,
                      int (*piece)(void *context, weir_str_t bytes, weir_error_t *err),
                      void *context, weir_error_t *err)
{
    z_stream stream = { 0 };
    weir_assert(payload.len <= UINT32_MAX);
    stream.next_in = (Bytef *)(uintptr_t)payload.data;
    stream.avail_in = (uInt)payload.len;
    if (inflateInit2(&stream, WINDOW_ANY) != Z_OK)
        return weir_error_memory(err);
    int rc = inflate_all(&stream, bytes_max, piece, context, err);
    inflateEnd(&stream);
    return rc;
}
