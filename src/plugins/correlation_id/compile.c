/* compile.c -- the configuration of correlation-id as a record (correlation_id.h). */
#include "plugins/correlation_id/correlation_id.h"

#include <stdio.h>
#include <stdlib.h>

static correlation_id_generator_t generator_of(const weir_json_t *config)
{
    weir_str_t name = weir_json_get_string(config, "generator", WEIR_STR("uuid#counter"));
    return weir_str_is(name, "tracker") ? CORRELATION_ID_TRACKER
           : weir_str_is(name, "uuid")  ? CORRELATION_ID_UUID
                                        : CORRELATION_ID_COUNTER;
}

/* What RFC 9110 calls a token: what the name of a header is made of. */
static bool is_token(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* Any text may be configured: what cannot be in a name is written as %XX, so that it ends
 * neither the name nor the line. */
static int put_name(weir_str_t name, weir_record_writer_t *out)
{
    char *text = malloc(3 * name.len + 1);
    size_t len = 0;
    if (text == NULL)
        return WEIR_NO_MEMORY;
    for (size_t i = 0; i < name.len; i++) {
        if (is_token(name.data[i]))
            text[len++] = name.data[i];
        else
            len += (size_t)snprintf(text + len, 4, "%%%02X", (unsigned char)name.data[i]);
    }
    int rc = weir_record_put_str(out, (weir_str_t){ text, len });
    free(text);
    return rc;
}

int correlation_id_compile(const weir_json_t *config, weir_record_writer_t *out, weir_error_t *err)
{
    (void)err; /* the configuration is valid, and a lack of memory needs no words */
    weir_str_t name = weir_json_get_string(config, "header_name", (weir_str_t){ NULL, 0 });
    weir_record_put_u64(out, generator_of(config));
    int rc = weir_record_put_u64(out, weir_json_get_boolean(config, "echo_downstream", false));
    if (rc != WEIR_OK)
        return rc;
    return name.data != NULL ? put_name(name, out) : weir_record_put_str(out, name);
}
