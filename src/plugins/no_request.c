/* no_request.c -- the request functions of processes that serve none.
 *
 * A plugin is one object with its compile function, which the agent calls, and
 * its phases, which only a worker calls. So that the agent links, these stand in
 * for src/proxy's functions; they are weak, and calling one is our mistake. */
#include "base/base.h"
#include "weir/plugin.h"

#define ABSENT __attribute__((weak))
#define FAIL() weir_assert_failed("a request", __FILE__, __LINE__)

ABSENT weir_str_t weir_request_method(weir_request_t *request)
{
    (void)request;
    FAIL();
}

ABSENT weir_str_t weir_request_target(weir_request_t *request)
{
    (void)request;
    FAIL();
}

ABSENT weir_str_t weir_request_path(weir_request_t *request)
{
    (void)request;
    FAIL();
}

ABSENT weir_str_t weir_request_client_address(weir_request_t *request)
{
    (void)request;
    FAIL();
}

ABSENT weir_str_t weir_request_scheme(weir_request_t *request)
{
    (void)request;
    FAIL();
}

ABSENT weir_str_t weir_request_host(weir_request_t *request)
{
    (void)request;
    FAIL();
}

ABSENT unsigned weir_request_port(weir_request_t *request)
{
    (void)request;
    FAIL();
}

ABSENT bool weir_request_header(weir_request_t *request, weir_str_t name, size_t nth,
                                weir_str_t *ret)
{
    (void)request, (void)name, (void)nth, (void)ret;
    FAIL();
}

ABSENT bool weir_request_header_at(weir_request_t *request, size_t index, weir_str_t *ret_name,
                                   weir_str_t *ret_value)
{
    (void)request, (void)index, (void)ret_name, (void)ret_value;
    FAIL();
}

ABSENT int64_t weir_request_now_ms(weir_request_t *request)
{
    (void)request;
    FAIL();
}

ABSENT int weir_request_connection(weir_request_t *request, weir_connection_t *ret)
{
    (void)request, (void)ret;
    FAIL();
}

ABSENT int weir_request_set_answer_header(weir_request_t *request, weir_str_t name,
                                          weir_str_t value)
{
    (void)request, (void)name, (void)value;
    FAIL();
}

ABSENT int weir_request_set_header(weir_request_t *request, weir_str_t name, weir_str_t value)
{
    (void)request, (void)name, (void)value;
    FAIL();
}

ABSENT bool weir_request_argument(weir_request_t *request, weir_str_t name, size_t nth,
                                  weir_str_t *ret)
{
    (void)request, (void)name, (void)nth, (void)ret;
    FAIL();
}

ABSENT bool weir_request_argument_at(weir_request_t *request, size_t index, weir_str_t *ret_name,
                                     weir_str_t *ret_value)
{
    (void)request, (void)index, (void)ret_name, (void)ret_value;
    FAIL();
}

ABSENT int weir_request_remove_argument(weir_request_t *request, weir_str_t name)
{
    (void)request, (void)name;
    FAIL();
}

ABSENT int weir_request_read_body(weir_request_t *request)
{
    (void)request;
    FAIL();
}

ABSENT weir_str_t weir_request_body(weir_request_t *request)
{
    (void)request;
    FAIL();
}

ABSENT int64_t weir_request_body_size(weir_request_t *request)
{
    (void)request;
    FAIL();
}

ABSENT int weir_request_set_body(weir_request_t *request, weir_str_t body)
{
    (void)request, (void)body;
    FAIL();
}

ABSENT void *weir_request_alloc(weir_request_t *request, size_t bytes)
{
    (void)request, (void)bytes;
    FAIL();
}

ABSENT int64_t weir_request_now_s(weir_request_t *request)
{
    (void)request;
    FAIL();
}

ABSENT const char *weir_request_id(weir_request_t *request)
{
    (void)request;
    FAIL();
}

ABSENT weir_str_t weir_request_node_id(weir_request_t *request)
{
    (void)request;
    FAIL();
}

ABSENT int weir_request_find_credential(weir_request_t *request, const char *entity, weir_str_t key,
                                        weir_identity_t *ret)
{
    (void)request, (void)entity, (void)key, (void)ret;
    FAIL();
}

ABSENT int weir_request_find_consumer(weir_request_t *request, weir_str_t id_or_name,
                                      weir_identity_t *ret)
{
    (void)request, (void)id_or_name, (void)ret;
    FAIL();
}

ABSENT int weir_request_authenticate(weir_request_t *request, const weir_identity_t *identity,
                                     bool anonymous)
{
    (void)request, (void)identity, (void)anonymous;
    FAIL();
}

ABSENT bool weir_request_is_authenticated(weir_request_t *request)
{
    (void)request;
    FAIL();
}

ABSENT weir_str_t weir_request_route_id(weir_request_t *request)
{
    (void)request;
    FAIL();
}

ABSENT weir_str_t weir_request_consumer_id(weir_request_t *request)
{
    (void)request;
    FAIL();
}

ABSENT int weir_cache_get(weir_request_t *request, weir_str_t key, uint64_t types,
                          weir_cached_t *ret)
{
    (void)request, (void)key, (void)types, (void)ret;
    FAIL();
}

ABSENT void weir_cache_put(weir_request_t *request, weir_str_t key, const weir_cached_t *missed,
                           weir_str_t value, int64_t until_s)
{
    (void)request, (void)key, (void)missed, (void)value, (void)until_s;
    FAIL();
}

ABSENT int weir_counter_add(weir_request_t *request, weir_str_t key, int64_t window_s,
                            uint64_t amount, uint64_t *ret)
{
    (void)request, (void)key, (void)window_s, (void)amount, (void)ret;
    FAIL();
}

ABSENT uint64_t weir_entity_types(const char *names)
{
    (void)names;
    FAIL();
}

ABSENT weir_str_t weir_request_service_id(weir_request_t *request)
{
    (void)request;
    FAIL();
}

ABSENT weir_str_t weir_request_credential_id(weir_request_t *request)
{
    (void)request;
    FAIL();
}

ABSENT void weir_request_scope(weir_request_t *request, weir_scope_t *ret)
{
    (void)request, (void)ret;
    FAIL();
}

ABSENT int weir_counter_take(weir_request_t *request, weir_str_t key, weir_window_t *windows,
                             size_t count, bool *ret_counted)
{
    (void)request, (void)key, (void)windows, (void)count, (void)ret_counted;
    FAIL();
}

ABSENT weir_str_t weir_request_route_json(weir_request_t *request)
{
    (void)request;
    FAIL();
}

ABSENT weir_str_t weir_request_service_json(weir_request_t *request)
{
    (void)request;
    FAIL();
}

ABSENT int weir_request_answer_header(weir_request_t *request, weir_str_t name, weir_str_t value)
{
    (void)request, (void)name, (void)value;
    FAIL();
}

ABSENT int weir_request_answer(weir_request_t *request, int status, weir_str_t content_type,
                               weir_str_t body)
{
    (void)request, (void)status, (void)content_type, (void)body;
    FAIL();
}

ABSENT int weir_request_fail(weir_request_t *request, int status, weir_str_t message)
{
    (void)request, (void)status, (void)message;
    FAIL();
}
