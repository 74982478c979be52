/* compile.c -- the configuration of key-auth as a record (key_auth.h). */
#include "plugins/key_auth/key_auth.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t flags_of(const weir_json_t *config)
{
    static const struct {
        const char *name;
        unsigned flag;
    } fields[] = {
        { "key_in_header", KEY_AUTH_IN_HEADER },       { "key_in_query", KEY_AUTH_IN_QUERY },
        { "key_in_body", KEY_AUTH_IN_BODY },           { "hide_credentials", KEY_AUTH_HIDE },
        { "run_on_preflight", KEY_AUTH_ON_PREFLIGHT },
    };
    uint64_t flags = 0;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (weir_json_get_boolean(config, fields[i].name, false))
            flags |= fields[i].flag;
    return flags;
}

/* spec: plugins 2.3, step 1. The realm is inserted as it is. */
static int put_challenge(weir_str_t realm, weir_record_writer_t *out)
{
    if (realm.data == NULL)
        return weir_record_put_str(out, WEIR_STR("Key"));
    char *challenge = NULL;
    int len = asprintf(&challenge, "Key realm=\"%.*s\"", WEIR_STR_ARG(realm));
    if (len < 0)
        return WEIR_NO_MEMORY;
    int rc = weir_record_put_str(out, (weir_str_t){ challenge, (size_t)len });
    free(challenge);
    return rc;
}

int key_auth_compile(const weir_json_t *config, weir_record_writer_t *out, weir_error_t *err)
{
    (void)err; /* the configuration is valid, and a lack of memory needs no words */
    const weir_str_t absent = { NULL, 0 };
    const weir_json_t *names = weir_json_get(config, "key_names");
    weir_record_put_u64(out, flags_of(config));
    int rc = put_challenge(weir_json_get_string(config, "realm", absent), out);
    if (rc != WEIR_OK)
        return rc;
    weir_record_put_str(out, weir_json_get_string(config, "anonymous", absent));
    rc = weir_record_put_u64(out, weir_json_count(names));
    for (const weir_json_t *name = weir_json_first(names); name != NULL;
         name = weir_json_next(name))
        rc = weir_record_put_str(out, weir_json_string(name));
    return rc;
}
