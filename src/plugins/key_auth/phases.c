/* phases.c -- key-auth: who sends a known key is its consumer.
 *
 * spec: plugins 1.7 (what all authentication has in common) and 2.3. A phase that
 * waits for the body is called again from the start, so nothing is changed
 * before the body is there. */
#include "plugins/key_auth/key_auth.h"

#define CREDENTIALS "keyauth_credentials"

/* What the client is told. */
#define NO_KEY      "No API key found in request"
#define SEVERAL     "Duplicate API key found"
#define UNKNOWN_KEY "Unauthorized"

typedef struct config {
    uint64_t flags;
    weir_str_t challenge;
    weir_str_t anonymous; /* data NULL: none */
    uint64_t name_count;
    weir_record_reader_t names;
} config_t;

static bool read_config(weir_str_t record, config_t *ret)
{
    weir_record_reader_t in = weir_record_read(record);
    if (!weir_record_u64(&in, &ret->flags) || !weir_record_str(&in, &ret->challenge) ||
        !weir_record_str(&in, &ret->anonymous) || !weir_record_u64(&in, &ret->name_count))
        return false;
    ret->names = in;
    return true;
}

/* One request's search. */
typedef struct search {
    weir_request_t *request;
    const config_t *config;
    bool body_opened;
    key_auth_body_t body;
    weir_str_t name, key; /* once found */
} search_t;

static bool has(const search_t *search, unsigned flag)
{
    return (search->config->flags & flag) != 0;
}

/* Each *_find(): WEIR_OK, WEIR_NOT_FOUND, WEIR_CONFLICT for more than one value,
 * or a fault. */
static int header_find(weir_request_t *request, weir_str_t name, weir_str_t *ret)
{
    weir_str_t second;
    if (!weir_request_header(request, name, 0, ret))
        return WEIR_NOT_FOUND;
    return weir_request_header(request, name, 1, &second) ? WEIR_CONFLICT : WEIR_OK;
}

static int argument_find(weir_request_t *request, weir_str_t name, weir_str_t *ret)
{
    weir_str_t second;
    if (!weir_request_argument(request, name, 0, ret))
        return WEIR_NOT_FOUND;
    if (weir_request_argument(request, name, 1, &second))
        return WEIR_CONFLICT;
    return ret->data != NULL ? WEIR_OK : WEIR_NOT_FOUND; /* a flag is no key */
}

/* A body that is too large to be looked at has no fields. */
static int open_body(search_t *search)
{
    if (search->body_opened)
        return WEIR_OK;
    int rc = weir_request_read_body(search->request);
    if (rc != WEIR_OK && rc != WEIR_TOO_LARGE)
        return rc;
    weir_str_t type = { "", 0 };
    weir_request_header(search->request, WEIR_STR("Content-Type"), 0, &type);
    if (rc == WEIR_OK)
        key_auth_body_open(&search->body, type, weir_request_body(search->request));
    search->body_opened = true;
    return WEIR_OK;
}

static int body_find(search_t *search, weir_str_t name, weir_str_t *ret)
{
    int rc = open_body(search);
    return rc == WEIR_OK ? key_auth_body_find(&search->body, search->request, name, ret) : rc;
}

static int find_by_name(search_t *search, weir_str_t name, weir_str_t *ret)
{
    int rc = WEIR_NOT_FOUND;
    if (has(search, KEY_AUTH_IN_HEADER))
        rc = header_find(search->request, name, ret);
    if (rc == WEIR_NOT_FOUND && has(search, KEY_AUTH_IN_QUERY))
        rc = argument_find(search->request, name, ret);
    if (rc == WEIR_NOT_FOUND && has(search, KEY_AUTH_IN_BODY))
        rc = body_find(search, name, ret);
    return rc;
}

static int find_key(search_t *search)
{
    weir_record_reader_t names = search->config->names;
    for (uint64_t i = 0; i < search->config->name_count; i++) {
        weir_str_t name;
        if (!weir_record_str(&names, &name))
            return WEIR_CORRUPT;
        int rc = find_by_name(search, name, &search->key);
        if (rc == WEIR_NOT_FOUND)
            continue;
        search->name = name;
        return rc;
    }
    return WEIR_NOT_FOUND;
}

/* Takes the key's name out of all places, whether or not the key is a good one.
 * What does not have it stays as it was sent. */
static int hide_key(search_t *search)
{
    weir_request_t *request = search->request;
    weir_str_t name = search->name, ignored, text;
    int rc = WEIR_OK;
    if (has(search, KEY_AUTH_IN_BODY)) {
        rc = open_body(search);
        if (rc == WEIR_OK)
            rc = key_auth_body_without(&search->body, request, name, &text);
        if (rc == WEIR_OK)
            rc = weir_request_set_body(request, text);
        if (rc != WEIR_OK && rc != WEIR_NOT_FOUND)
            return rc;
    }
    rc = WEIR_OK;
    if (weir_request_header(request, name, 0, &ignored))
        rc = weir_request_set_header(request, name, (weir_str_t){ NULL, 0 });
    if (rc == WEIR_OK && weir_request_argument(request, name, 0, &ignored))
        rc = weir_request_remove_argument(request, name);
    return rc;
}

/* WEIR_OK: *ret is who sent the request, or *refusal says why nobody is. */
static int identify(search_t *search, weir_identity_t *ret, const char **refusal)
{
    int rc = find_key(search);
    if (rc == WEIR_OK && has(search, KEY_AUTH_HIDE))
        rc = hide_key(search);
    else if (rc == WEIR_CONFLICT)
        *refusal = SEVERAL;
    if (rc == WEIR_NOT_FOUND || (rc == WEIR_OK && search->key.len == 0))
        *refusal = NO_KEY;
    if (*refusal != NULL)
        return WEIR_OK;
    if (rc != WEIR_OK)
        return rc;
    rc = weir_request_find_credential(search->request, CREDENTIALS, search->key, ret);
    if (rc != WEIR_NOT_FOUND)
        return rc;
    *refusal = UNKNOWN_KEY;
    return WEIR_OK;
}

static weir_phase_result_t next_or_error(int rc)
{
    return rc == WEIR_OK ? WEIR_PHASE_NEXT : WEIR_PHASE_ERROR;
}

static weir_phase_result_t go_on_as_anonymous(weir_request_t *request, weir_str_t consumer)
{
    weir_identity_t identity = { 0 };
    int rc = weir_request_find_consumer(request, consumer, &identity);
    if (rc == WEIR_OK)
        rc = weir_request_authenticate(request, &identity, true);
    return next_or_error(rc); /* a consumer that is not there is our fault: 500 */
}

static weir_phase_result_t refuse(weir_request_t *request, const config_t *config,
                                  const char *message)
{
    if (config->anonymous.data != NULL)
        return go_on_as_anonymous(request, config->anonymous);
    int rc = weir_request_answer_header(request, WEIR_STR("WWW-Authenticate"), config->challenge);
    if (rc == WEIR_OK)
        rc = weir_request_fail(request, 401, weir_str(message));
    return rc == WEIR_OK ? WEIR_PHASE_ANSWER : WEIR_PHASE_ERROR;
}

static weir_phase_result_t access_phase(weir_request_t *request, weir_str_t record)
{
    config_t config;
    if (!read_config(record, &config))
        return WEIR_PHASE_ERROR;
    if ((config.flags & KEY_AUTH_ON_PREFLIGHT) == 0 &&
        weir_str_is(weir_request_method(request), "OPTIONS"))
        return WEIR_PHASE_NEXT;
    if (config.anonymous.data != NULL && weir_request_is_authenticated(request))
        return WEIR_PHASE_NEXT; /* one of several plugins is enough */

    search_t search = { .request = request, .config = &config };
    weir_identity_t identity = { 0 };
    const char *refusal = NULL;
    int rc = identify(&search, &identity, &refusal);
    key_auth_body_close(&search.body);
    if (rc == WEIR_AGAIN)
        return WEIR_PHASE_AGAIN;
    if (rc == WEIR_OK && refusal != NULL)
        return refuse(request, &config, refusal);
    if (rc == WEIR_OK)
        rc = weir_request_authenticate(request, &identity, false);
    return next_or_error(rc);
}

const weir_plugin_t weir_plugin_key_auth = {
    .abi = WEIR_PLUGIN_ABI,
    .schema = &weir_plugin_schema_key_auth,
    .compile = key_auth_compile,
    .access = access_phase,
};
