/* echo.c -- a request as JSON, for whoever wants to see what arrived.
 *
 * spec: plugins 2.11, `echo`. Names of headers are in lower case; what comes twice
 * is an array, a query flag is true. */
#include "plugins/request_termination/request_termination.h"

#include <strings.h>
#include <unistd.h>

enum { LINES_MAX = 100, NAME_BYTES_MAX = 256 }; /* of headers, arguments, form fields */

static weir_json_t *text(weir_str_t value)
{
    return value.data != NULL ? weir_json_new_string(value) : weir_json_new_boolean(true);
}

/* weir_json_set for an object that may not have been made. */
static int set(weir_json_t *object, const char *name, weir_json_t *value)
{
    if (object != NULL)
        return weir_json_set(object, name, value);
    weir_json_free(value);
    return WEIR_NO_MEMORY;
}

/* Adds a value; the second of one name makes an array of it. Takes `value` over. */
static int add(weir_json_t *object, const char *name, weir_json_t *value)
{
    weir_json_t *present = weir_json_get_mutable(object, name);
    if (present == NULL)
        return set(object, name, value);
    if (weir_json_kind(present) == WEIR_JSON_ARRAY)
        return weir_json_append(present, value);
    weir_json_t *both = weir_json_new_array();
    if (both == NULL) {
        weir_json_free(value);
        return WEIR_NO_MEMORY;
    }
    weir_json_append(both, weir_json_take(object, name));
    int rc = weir_json_append(both, value);
    int replaced = set(object, name, both);
    return rc != WEIR_OK ? rc : replaced;
}

/* Terminated for the JSON room; cut, as no sane name is longer. */
static void copy_name(weir_str_t name, bool lower, char out[NAME_BYTES_MAX])
{
    size_t len = name.len < NAME_BYTES_MAX ? name.len : NAME_BYTES_MAX - 1;
    for (size_t i = 0; i < len; i++) {
        char byte = name.data[i];
        out[i] = (char)(lower && byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte);
    }
    out[len] = '\0';
}

typedef bool (*line_at_t)(weir_request_t *, size_t, weir_str_t *, weir_str_t *);

/* All headers, or all arguments. NULL when memory is short. */
static weir_json_t *lines(weir_request_t *request, line_at_t at, bool lower)
{
    weir_json_t *object = weir_json_new_object();
    int rc = WEIR_OK;
    weir_str_t name, value;
    char copy[NAME_BYTES_MAX];
    for (size_t i = 0; rc == WEIR_OK && i < LINES_MAX && at(request, i, &name, &value); i++) {
        copy_name(name, lower, copy);
        rc = add(object, copy, text(value));
    }
    if (rc == WEIR_OK)
        return object;
    weir_json_free(object);
    return NULL;
}

/* The body as a value, when it is JSON: other forms are seen in raw_body. */
static int put_body(weir_json_t *object, weir_request_t *request)
{
    static const char json[] = "application/json";
    weir_str_t body = weir_request_body(request), type;
    if (body.data == NULL)
        body = WEIR_STR("");
    int rc = set(object, "raw_body", weir_json_new_string(body));
    weir_json_t *value = NULL;
    if (rc == WEIR_OK && weir_request_header(request, WEIR_STR("Content-Type"), 0, &type) &&
        type.len >= sizeof(json) - 1 && strncasecmp(type.data, json, sizeof(json) - 1) == 0 &&
        weir_json_parse(body, &value, NULL) == WEIR_OK)
        rc = weir_json_set(object, "body", value);
    return rc;
}

static weir_json_t *request_json(weir_request_t *request)
{
    weir_str_t path = weir_request_target(request);
    const char *query = path.len > 0 ? memchr(path.data, '?', path.len) : NULL;
    if (query != NULL)
        path.len = (size_t)(query - path.data);
    const struct {
        const char *name;
        weir_json_t *value;
    } members[] = {
        { "scheme", weir_json_new_string(weir_request_scheme(request)) },
        { "host", weir_json_new_string(weir_request_host(request)) },
        { "port", weir_json_new_number(weir_request_port(request)) },
        { "method", weir_json_new_string(weir_request_method(request)) },
        { "path", weir_json_new_string(path) },
        { "headers", lines(request, weir_request_header_at, true) },
        { "query", lines(request, weir_request_argument_at, false) },
        { "uri_captures", weir_json_new_object() },
    };
    weir_json_t *object = weir_json_new_object();
    int rc = WEIR_OK;
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        int added = set(object, members[i].name, members[i].value);
        rc = rc != WEIR_OK ? rc : added;
    }
    if (rc == WEIR_OK)
        rc = put_body(object, request);
    if (rc == WEIR_OK)
        return object;
    weir_json_free(object);
    return NULL;
}

static weir_json_t *node_json(weir_request_t *request)
{
    char name[256] = "";
    if (gethostname(name, sizeof(name) - 1) != 0)
        name[0] = '\0';
    weir_json_t *node = weir_json_new_object();
    int rc = set(node, "node_id", weir_json_new_string(weir_request_node_id(request)));
    int pid = set(node, "worker_pid", weir_json_new_number((double)getpid()));
    int host = set(node, "hostname", weir_json_new_string(weir_str(name)));
    if (rc == WEIR_OK && pid == WEIR_OK && host == WEIR_OK)
        return node;
    weir_json_free(node);
    return NULL;
}

/* The route or service; absent if there is none. */
static int put_entity(weir_json_t *object, const char *name, weir_str_t json)
{
    weir_json_t *entity = NULL;
    if (json.data == NULL || weir_json_parse(json, &entity, NULL) != WEIR_OK)
        return WEIR_OK;
    return weir_json_set(object, name, entity);
}

weir_str_t request_termination_echo(weir_request_t *request, weir_str_t message)
{
    weir_json_t *object = weir_json_new_object();
    int rc = set(object, "kong", node_json(request));
    int shown = set(object, "request", request_json(request));
    rc = rc != WEIR_OK ? rc : shown;
    if (rc == WEIR_OK && message.data != NULL)
        rc = weir_json_set(object, "message", weir_json_new_string(message));
    if (rc == WEIR_OK)
        rc = put_entity(object, "matched_route", weir_request_route_json(request));
    if (rc == WEIR_OK)
        rc = put_entity(object, "matched_service", weir_request_service_json(request));
    weir_str_t out =
        rc == WEIR_OK ? weir_request_print_json(request, object) : (weir_str_t){ NULL, 0 };
    weir_json_free(object);
    return out;
}
