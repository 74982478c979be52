/* classic_note.c -- versions of what a classic push brought, and its hash beside the image
 * (PREFIX/classic.json). */
#include "agent/classic.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "cluster/message.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, NOTE_BYTES_MAX = 1024 };

/* Versions of control planes count writes: they stay below. With the time in them they
 * grow over every change of the protocol, and JSON numbers still hold them. */
static const uint64_t LOCAL_FIRST = UINT64_C(1) << 52;

/* -- the hash beside the image ------------------------------------------------------------ */

bool classic_is_local(uint64_t version)
{
    return version >= LOCAL_FIRST;
}

uint64_t classic_told_version(const weir_image_state_t *state)
{
    return state->complete && !classic_is_local(state->version) ? state->version : 0;
}

static void note_path(const char *prefix, char out[PATH_BYTES])
{
    snprintf(out, PATH_BYTES, "%s/classic.json", prefix);
}

/* {"version":N,"hash":"..."}; NULL: none, or of no use. */
static weir_json_t *read_note(const char *prefix)
{
    char path[PATH_BYTES];
    char text[NOTE_BYTES_MAX];
    weir_json_t *note = NULL;
    note_path(prefix, path);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return NULL;
    size_t len = fread(text, 1, sizeof(text), file);
    fclose(file);
    (void)weir_json_parse((weir_str_t){ text, len }, &note, NULL);
    return note;
}

void classic_read_hash(const char *prefix, const weir_image_state_t *state,
                       char ret[WEIR_CLASSIC_HASH_MAX + 1])
{
    snprintf(ret, WEIR_CLASSIC_HASH_MAX + 1, "%032d", 0);
    if (!state->complete)
        return;
    if (!classic_is_local(state->version)) {
        char token[WEIR_TOKEN_LEN + 1];
        weir_token_format(state->version, token);
        snprintf(ret, WEIR_CLASSIC_HASH_MAX + 1, "%s", token);
        return;
    }
    WEIR_AUTO(json) weir_json_t *note = read_note(prefix);
    weir_str_t hash = weir_json_get_string(note, "hash", WEIR_STR(""));
    /* Written after the commit: it may tell of the one before. */
    if (weir_json_get_number(note, "version", 0) == (double)state->version && hash.len > 0 &&
        hash.len <= WEIR_CLASSIC_HASH_MAX)
        snprintf(ret, WEIR_CLASSIC_HASH_MAX + 1, "%.*s", WEIR_STR_ARG(hash));
}

/* To the side, then renamed. */
void classic_write_hash(const char *prefix, uint64_t version, const char *hash)
{
    char path[PATH_BYTES];
    char side[PATH_BYTES + 8];
    note_path(prefix, path);
    snprintf(side, sizeof(side), "%s.new", path);
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, NOTE_BYTES_MAX);
    weir_buffer_printf(&text, "{\"version\":%" PRIu64 ",\"hash\":", version);
    weir_json_print_string(weir_str(hash), &text);
    weir_buffer_append(&text, WEIR_STR("}\n"));
    int fd = open(side, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    bool fine =
        fd >= 0 && text.failed == WEIR_OK && write(fd, text.data, text.len) == (ssize_t)text.len;
    if (fd >= 0 && close(fd) != 0)
        fine = false;
    if (!fine || rename(side, path) != 0)
        weir_log(WEIR_LOG_ERROR, "cannot write path=%s errno=%d", path, errno);
}

uint64_t classic_next_version(const weir_image_state_t *state)
{
    uint64_t version = LOCAL_FIRST + (uint64_t)weir_clock_ms();
    return version > state->version ? version : state->version + 1;
}
