/* pages.c -- one page of a set into the stage, by a thread of its own: meanwhile the agent's
 * loop asks for the next one, receives it and reads it. What the thread was given is its
 * own until it has ended; there is never more than one. */
#include "agent/agent_internal.h"

static int fill(weir_batch_t *batch, const void *what, weir_error_t *err)
{
    const page_put_t *put = what;
    weir_batch_stage(batch, &put->note);
    return put_entities(batch, put->entities, err);
}

static void *run(void *context)
{
    page_put_t *put = context;
    put->rc =
        commit_growing(put->stage, false, put->note.snapshot, fill, put, &put->grown, &put->err);
    return NULL;
}

void page_begin(page_put_t *put, weir_image_t *stage, const weir_sync_page_t *page,
                const weir_stage_t *note)
{
    weir_assert(!put->running);
    weir_arena_t before = put->memory;
    before.bytes_max = page->memory->bytes_max; /* it may be that of no page yet */
    *put = (page_put_t){
        .stage = stage, .entities = page->entities, .memory = *page->memory, .note = *note
    };
    *page->memory = before;
    put->running = pthread_create(&put->thread, NULL, run, put) == 0;
    if (!put->running)
        run(put);
}

void page_wait(page_put_t *put)
{
    if (put->running)
        pthread_join(put->thread, NULL);
    put->running = false;
}

int page_end(page_put_t *put, weir_error_t *err)
{
    page_wait(put);
    int rc = put->rc;
    if (rc != WEIR_OK && err != NULL)
        *err = put->err;
    put->rc = WEIR_OK;
    return rc;
}

void page_drop(page_put_t *put)
{
    page_wait(put);
    weir_arena_release(&put->memory);
    put->entities = NULL;
}
