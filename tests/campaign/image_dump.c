/* image_dump.c -- what an image holds, for tests: a line with the version and the number
 * of quarantined entities, then one with type and document for each entity. */
#include "image/image.h"

#include <stdio.h>
#include <stdlib.h>

static int print_one(void *context, weir_entity_type_t type, const weir_uuid_t *id,
                     weir_str_t document)
{
    (void)context, (void)id;
    const weir_schema_t *schema = weir_schema(type);
    printf("%s %.*s\n", schema != NULL ? schema->name : "?", WEIR_STR_ARG(document));
    return WEIR_OK;
}

static int dump(weir_reader_t *reader, bool documents, weir_error_t *err)
{
    weir_image_state_t state;
    int rc = weir_reader_enter(reader, err);
    if (rc != WEIR_OK)
        return rc;
    rc = weir_reader_state(reader, &state, err);
    if (rc == WEIR_OK)
        printf("%" PRIu64 " %" PRIu64 "\n", state.version, state.quarantined);
    if (rc == WEIR_OK && documents)
        rc = weir_reader_documents(reader, print_one, NULL, err);
    weir_reader_leave(reader);
    return rc;
}

int main(int argc, char **argv)
{
    weir_reader_t *reader = NULL;
    weir_error_t err = { 0 };
    if (argc < 2) {
        fprintf(stderr, "usage: image-dump IMAGE [version]\n");
        return 2;
    }
    int rc = weir_reader_open(argv[1], &reader, &err);
    if (rc == WEIR_OK)
        rc = dump(reader, argc == 2, &err);
    weir_reader_close(reader);
    if (rc != WEIR_OK)
        fprintf(stderr, "image-dump: %s: %s\n", weir_code_name(rc), err.reason);
    return rc == WEIR_OK ? 0 : 1;
}
