/* answer.c -- answers, counted, and those that are kept for the next who asks. */
#include "cluster/answer.h"

#include <stdio.h>
#include <zlib.h>

enum { KEPT_MAX = 1024 };

/* -- one ---------------------------------------------------------------------------------- */

weir_answer_t *answer_new(const answer_key_t *key, size_t bytes_max)
{
    weir_answer_t *answer = weir_calloc(1, sizeof(*answer));
    if (answer == NULL)
        return NULL;
    answer->references = 1;
    answer->key = *key;
    answer->full = key->full != 0;
    answer->version = key->version;
    weir_elements_init(&answer->elements, (weir_codec_t)key->codec, bytes_max);
    return answer;
}

weir_answer_t *weir_answer_keep(weir_answer_t *answer)
{
    answer->references++;
    return answer;
}

void weir_answer_release(weir_answer_t *answer)
{
    if (answer == NULL || --answer->references > 0)
        return;
    weir_elements_release(&answer->elements);
    weir_free(answer);
}

uint64_t weir_answer_version(const weir_answer_t *answer)
{
    return answer->version;
}

bool weir_answer_is_full(const weir_answer_t *answer)
{
    return answer->full;
}

bool weir_answer_digest(const weir_answer_t *answer, weir_digest_t *ret)
{
    *ret = answer->digest;
    return answer->has_digest;
}

weir_str_t weir_answer_elements(const weir_answer_t *answer, uint64_t *ret_uncompressed)
{
    *ret_uncompressed = answer->elements.uncompressed;
    return weir_buffer_str(&answer->elements.bytes);
}

const weir_snapshot_t *weir_answer_snapshot(const weir_answer_t *answer)
{
    return answer->snapshot.version > 0 ? &answer->snapshot : NULL;
}

/* -- those that are kept -------------------------------------------------------------------- */

/* The hashes lie side by side: to see that an answer is not there, which every change
 * begins with, must not touch a thousand answers all over the memory. */
struct answers {
    pthread_mutex_t lock;
    size_t bytes_max, bytes;
    weir_answer_t *kept[KEPT_MAX]; /* a ring: first is the oldest */
    uint32_t hashes[KEPT_MAX];     /* of their keys */
    size_t first, count;
};

static uint32_t hash_of(const answer_key_t *key)
{
    return (uint32_t)crc32(0, (const Bytef *)key, sizeof(*key));
}

answers_t *answers_new(size_t bytes_max)
{
    answers_t *answers = weir_calloc(1, sizeof(*answers));
    if (answers == NULL)
        return NULL;
    answers->bytes_max = bytes_max;
    pthread_mutex_init(&answers->lock, NULL);
    return answers;
}

static size_t bytes_of(const weir_answer_t *answer)
{
    return sizeof(*answer) + answer->elements.bytes.capacity;
}

static void drop_first(answers_t *answers)
{
    weir_answer_t *oldest = answers->kept[answers->first];
    answers->first = (answers->first + 1) % KEPT_MAX;
    answers->count--;
    answers->bytes -= oldest != NULL ? bytes_of(oldest) : 0;
    weir_answer_release(oldest);
}

void answers_free(answers_t *answers)
{
    if (answers == NULL)
        return;
    while (answers->count > 0)
        drop_first(answers);
    pthread_mutex_destroy(&answers->lock);
    weir_free(answers);
}

/* From the newest on: that is what most sessions want. */
weir_answer_t *answers_find(answers_t *answers, const answer_key_t *key)
{
    weir_answer_t *found = NULL;
    uint32_t hash = hash_of(key);
    pthread_mutex_lock(&answers->lock);
    for (size_t i = answers->count; found == NULL && i > 0; i--) {
        size_t place = (answers->first + i - 1) % KEPT_MAX;
        if (answers->hashes[place] != hash)
            continue;
        weir_answer_t *answer = answers->kept[place];
        if (answer != NULL && memcmp(&answer->key, key, sizeof(*key)) == 0)
            found = weir_answer_keep(answer);
    }
    pthread_mutex_unlock(&answers->lock);
    return found;
}

/* An old full dump is as large as the configuration: it goes at once. */
static void drop_fulls(answers_t *answers)
{
    for (size_t i = 0; i < answers->count; i++) {
        weir_answer_t **place = &answers->kept[(answers->first + i) % KEPT_MAX];
        if (*place != NULL && (*place)->full) {
            answers->bytes -= bytes_of(*place);
            weir_answer_release(*place);
            *place = NULL;
        }
    }
}

void answers_put(answers_t *answers, weir_answer_t *answer)
{
    pthread_mutex_lock(&answers->lock);
    if (answer->full)
        drop_fulls(answers);
    /* The newest one stays, whatever its size: others wait for it at this moment. */
    while (answers->count > 0 &&
           (answers->count == KEPT_MAX || answers->bytes + bytes_of(answer) > answers->bytes_max))
        drop_first(answers);
    size_t place = (answers->first + answers->count) % KEPT_MAX;
    answers->kept[place] = weir_answer_keep(answer);
    answers->hashes[place] = hash_of(&answer->key);
    answers->count++;
    answers->bytes += bytes_of(answer);
    pthread_mutex_unlock(&answers->lock);
}

uint64_t answers_bytes(answers_t *answers)
{
    pthread_mutex_lock(&answers->lock);
    uint64_t bytes = answers->bytes;
    pthread_mutex_unlock(&answers->lock);
    return bytes;
}
