/* settings_test.c -- what is read, what is refused and how it is said. */
#include "base/buffer.h"
#include "base/json.h"
#include "base/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct fixture {
    char path[64];
    weir_settings_t *settings;
    weir_error_t err;
} fixture_t;

static int make(void **state)
{
    fixture_t *fixture = calloc(1, sizeof(*fixture));
    snprintf(fixture->path, sizeof(fixture->path), "/tmp/weir-settings-%d", (int)getpid());
    *state = fixture;
    return 0;
}

static int drop(void **state)
{
    fixture_t *fixture = *state;
    weir_settings_free(fixture->settings);
    unlink(fixture->path);
    free(fixture);
    return 0;
}

static int load(fixture_t *fixture, const char *text, const char *const *environment)
{
    FILE *file = fopen(fixture->path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    weir_settings_free(fixture->settings);
    fixture->settings = NULL;
    return weir_settings_load(fixture->path, environment, NULL, &fixture->settings, &fixture->err);
}

static void accepts(fixture_t *fixture, const char *text)
{
    int rc = load(fixture, text, NULL);
    if (rc != WEIR_OK)
        print_error("%s: %s\n", fixture->err.field, fixture->err.reason);
    assert_int_equal(rc, WEIR_OK);
}

/* The line is refused, the field is named, and the reason has `word` in it. */
static void refuses(fixture_t *fixture, const char *text, const char *field, const char *word)
{
    int rc = load(fixture, text, NULL);
    assert_true(rc == WEIR_INVALID || rc == WEIR_UNSUPPORTED || rc == WEIR_TOO_LARGE);
    assert_int_equal(fixture->err.code, rc);
    assert_string_equal(fixture->err.field, field);
    bool said = strstr(fixture->err.reason, word) != NULL;
    if (!said)
        print_error("it says: %s\n", fixture->err.reason);
    assert_true(said);
}

static const char *text_of(const fixture_t *fixture, const char *name)
{
    return weir_setting_string(fixture->settings, name);
}

/* -- reading ---------------------------------------------------------------------- */

static void without_a_file_the_defaults_hold(void **state)
{
    fixture_t *fixture = *state;
    assert_int_equal(weir_settings_load(NULL, NULL, NULL, &fixture->settings, &fixture->err),
                     WEIR_OK);
    assert_string_equal(text_of(fixture, "role"), "traditional");
    assert_string_equal(text_of(fixture, "database"), "sqlite");
    assert_int_equal(weir_setting_integer(fixture->settings, "cluster_max_payload"), 16777216);
    const weir_listen_t *listen = weir_setting_listen(fixture->settings, "admin_listen", 0);
    assert_string_equal(listen->address, "127.0.0.1");
    assert_int_equal(listen->port, 8001);
    assert_int_equal(weir_setting_listen_count(fixture->settings, "proxy_listen"), 2);
    assert_true(weir_setting_listen(fixture->settings, "proxy_listen", 1)->ssl);
    assert_false(weir_setting_given(fixture->settings, "role"));
}

static void comments_blanks_and_quotes_are_taken_off(void **state)
{
    fixture_t *fixture = *state;
    accepts(fixture, "# a comment\n"
                     "\n"
                     "  log_level=info   # another\n"
                     "nginx_http_charset = \"utf-8\"\n"
                     "real_ip_header = 'X-\\#Real' \r\n");
    assert_string_equal(text_of(fixture, "log_level"), "info");
    assert_string_equal(text_of(fixture, "nginx_http_charset"), "utf-8");
    assert_string_equal(text_of(fixture, "real_ip_header"), "X-#Real");
    assert_true(weir_setting_given(fixture->settings, "log_level"));
}

static void the_environment_wins_over_the_file_and_weir_over_kong(void **state)
{
    fixture_t *fixture = *state;
    const char *const environment[] = { "WEIR_LOG_LEVEL=warn", "KONG_LOG_LEVEL=error",
                                        "KONG_REAL_IP_HEADER=X-Env", "PATH=/bin", NULL };
    assert_int_equal(load(fixture, "log_level = info\nreal_ip_header = X-File\n", environment),
                     WEIR_OK);
    assert_string_equal(text_of(fixture, "log_level"), "warn");
    assert_string_equal(text_of(fixture, "real_ip_header"), "X-Env");
}

static void an_empty_value_is_not_said(void **state)
{
    fixture_t *fixture = *state;
    accepts(fixture, "log_level =\n");
    assert_string_equal(text_of(fixture, "log_level"), "notice");
}

static void the_prefix_argument_wins_and_is_made_absolute(void **state)
{
    fixture_t *fixture = *state;
    const char *const environment[] = { "WEIR_PREFIX=/elsewhere", NULL };
    assert_int_equal(
        weir_settings_load(NULL, environment, "some/where/", &fixture->settings, &fixture->err),
        WEIR_OK);
    char folder[4096];
    char wanted[4200];
    assert_non_null(getcwd(folder, sizeof(folder)));
    snprintf(wanted, sizeof(wanted), "%s/some/where", folder);
    assert_string_equal(text_of(fixture, "prefix"), wanted);
}

static void listen_flags_are_understood(void **state)
{
    fixture_t *fixture = *state;
    accepts(fixture, "proxy_listen = 0.0.0.0:80 http2 ssl reuseport backlog=100, [::1]:81 "
                     "proxy_protocol deferred so_keepalive=30m::10\n");
    const weir_listen_t *one = weir_setting_listen(fixture->settings, "proxy_listen", 0);
    const weir_listen_t *two = weir_setting_listen(fixture->settings, "proxy_listen", 1);
    assert_true(one->http2 && one->ssl && one->reuseport && !one->deferred);
    assert_int_equal(one->backlog, 100);
    assert_string_equal(one->nginx, "0.0.0.0:80 http2 ssl reuseport backlog=100");
    assert_string_equal(two->address, "[::1]");
    assert_true(two->proxy_protocol && two->deferred && !two->ssl);
    assert_null(weir_setting_listen(fixture->settings, "proxy_listen", 2));
    accepts(fixture, "status_listen = off\n");
    assert_int_equal(weir_setting_listen_count(fixture->settings, "status_listen"), 0);
}

static void sizes_take_units(void **state)
{
    fixture_t *fixture = *state;
    accepts(fixture, "nginx_admin_client_max_body_size = 64m\nlmdb_map_size=2G\n"
                     "nginx_http_client_body_buffer_size = 16k\n");
    assert_int_equal(weir_setting_integer(fixture->settings, "nginx_admin_client_max_body_size"),
                     64 << 20);
    assert_int_equal(weir_setting_integer(fixture->settings, "lmdb_map_size"), INT64_C(2) << 30);
    assert_int_equal(weir_setting_integer(fixture->settings, "nginx_http_client_body_buffer_size"),
                     16384);
}

static void lists_are_split_and_trimmed(void **state)
{
    fixture_t *fixture = *state;
    accepts(fixture, "trusted_ips = 10.0.0.0/8 , ::1,,192.168.0.1\nheaders = off\n");
    assert_int_equal(weir_setting_count(fixture->settings, "trusted_ips"), 3);
    assert_string_equal(weir_setting_item(fixture->settings, "trusted_ips", 1), "::1");
    assert_null(weir_setting_item(fixture->settings, "trusted_ips", 3));
    assert_int_equal(weir_setting_count(fixture->settings, "headers"), 1);
}

static void collect(void *context, const char *directive, const char *value)
{
    weir_buffer_printf(context, "%s %s;", directive, value);
}

static void the_last_of_equal_directives_counts(void **state)
{
    fixture_t *fixture = *state;
    accepts(fixture, "nginx_http_gzip = on\nnginx_admin_gunzip = on\nnginx_http_gzip = off\n");
    WEIR_AUTO(buffer) weir_buffer_t seen;
    weir_buffer_init(&seen, 1024);
    weir_settings_directives(fixture->settings, "http", collect, &seen);
    assert_true(weir_str_is(weir_buffer_str(&seen), "gzip off;"));
}

static void older_names_are_known(void **state)
{
    fixture_t *fixture = *state;
    accepts(fixture, "cluster_incremental_sync = on\n");
    assert_string_equal(text_of(fixture, "cluster_rpc_sync"), "on");
}

static void without_rpc_there_are_no_differences(void **state)
{
    fixture_t *fixture = *state;
    accepts(fixture, "cluster_rpc = off\ncluster_rpc_sync = on\ndb_update_frequency = 0.5\n");
    assert_string_equal(text_of(fixture, "cluster_rpc_sync"), "off");
    assert_true(weir_setting_number(fixture->settings, "db_update_frequency") == 0.5);
    accepts(fixture, "cluster_rpc_sync = off\n");
    assert_string_equal(text_of(fixture, "cluster_rpc"), "on");
    assert_string_equal(text_of(fixture, "cluster_rpc_sync"), "off");
    assert_true(weir_setting_number(fixture->settings, "db_update_frequency") == 5);
}

static void name_seen(void *context, const char *name)
{
    weir_buffer_printf(context, "%s ", name);
}

static void settings_without_effect_load_and_are_named(void **state)
{
    fixture_t *fixture = *state;
    accepts(fixture, "pg_host = 10.0.0.1\nlog_level = info\nmem_cache_size = 128m\n");
    WEIR_AUTO(buffer) weir_buffer_t seen;
    weir_buffer_init(&seen, 1024);
    weir_settings_without_effect(fixture->settings, name_seen, &seen);
    assert_true(weir_str_is(weir_buffer_str(&seen), "mem_cache_size pg_host "));
}

/* -- refusing ---------------------------------------------------------------------- */

static void unknown_names_are_refused_with_the_nearest(void **state)
{
    fixture_t *fixture = *state;
    refuses(fixture, "admin_lisen = off\n", "admin_lisen", "did you mean admin_listen?");
    refuses(fixture, "something_else_altogether = 1\n", "something_else_altogether", "no such");
    refuses(fixture, "nginx_kitchen_sink = 1\n", "nginx_kitchen_sink", "no such");
    assert_non_null(strstr(fixture->err.reason, ":1: ")); /* the line */
}

static void unknown_variables_of_ours_are_refused_and_theirs_ignored(void **state)
{
    fixture_t *fixture = *state;
    const char *const theirs[] = { "KONG_VERSION=3.9.1", NULL };
    const char *const ours[] = { "WEIR_LOG_LEVL=info", NULL };
    assert_int_equal(load(fixture, "", theirs), WEIR_OK);
    assert_int_equal(load(fixture, "", ours), WEIR_INVALID);
    assert_string_equal(fixture->err.field, "log_levl");
    assert_non_null(strstr(fixture->err.reason, "WEIR_LOG_LEVL"));
}

static void bad_values_are_refused_with_what_is_allowed(void **state)
{
    fixture_t *fixture = *state;
    static const struct {
        const char *line, *field, *word;
    } cases[] = {
        { "role = king", "role", "traditional control_plane data_plane; got \"king\"" },
        { "log_level = noisy", "log_level", "got \"noisy\"" },
        { "cluster_max_payload = 12", "cluster_max_payload", "from 4194304" },
        { "cluster_data_plane_purge_delay = 59", "cluster_data_plane_purge_delay", "from 60" },
        { "cluster_max_payload = 1e9", "cluster_max_payload", "whole number" },
        { "nginx_admin_client_max_body_size = 10x", "nginx_admin_client_max_body_size", "16k" },
        { "lmdb_map_size = 99999999999g", "lmdb_map_size", "size" },
        { "allow_debug_header = maybe", "allow_debug_header", "on or off" },
        { "headers = nonsense", "headers", "invalid entry 'nonsense'" },
        { "admin_listen = nowhere", "admin_listen", "IP:PORT" },
        { "admin_listen = 127.0.0.1:0", "admin_listen", "IP:PORT" },
        { "admin_listen = 127.0.0.1:65536", "admin_listen", "IP:PORT" },
        { "admin_listen = localhost:8001", "admin_listen", "IP:PORT" },
        { "admin_listen = ::1:8001", "admin_listen", "IP:PORT" },
        { "admin_listen = 127.0.0.1:8001 turbo", "admin_listen", "unknown flag \"turbo\"" },
        { "admin_listen = 127.0.0.1:8001 backlog=x", "admin_listen", "unknown flag" },
        { "database = postgres", "database", "not in this build" },
        { "cluster_bind_identity = maybe", "cluster_bind_identity", "" },
        { "router_flavor = expressions", "router_flavor", "not in this build" },
        { "router_flavor = fancy", "router_flavor", "must be one of" },
        { "cluster_rpc = maybe", "cluster_rpc", "" },
        { "db_update_frequency = -1", "db_update_frequency", "" },
        { "cluster_control_plane = here", "cluster_control_plane", "HOST:PORT" },
        { "node_id = 1234", "node_id", "UUID" },
        { "nginx_worker_processes = many", "nginx_worker_processes", "auto or a number" },
        { "log_level = {vault://env/level}", "log_level", "vaults" },
        { "real_ip_header = X; return 200", "real_ip_header", "none of" },
        { "nginx_http_gzip = on; return 200", "nginx_http_gzip", "one directive" },
        { "prefix = /tmp/\x01", "prefix", "control characters" },
        { "prefix = /tmp/a /", "prefix", "end in a blank" },
        { "ssl_cert = /a.crt /, /b.crt\nssl_cert_key = /k", "ssl_cert", "end in a blank" },
        { "ssl_cert = /a.crt", "ssl_cert_key", "together" },
        { "cluster_cert_key = /a.key", "cluster_cert", "together" },
        { "ssl_cipher_suite = custom", "ssl_ciphers", "custom" },
        { "admin_listen = 127.0.0.1:8007", "status_listen", "already an address of admin_listen" },
        { "admin_listen = 127.0.0.1:1, 127.0.0.1:1", "admin_listen", "already an address" },
    };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++)
        refuses(fixture, cases[i].line, cases[i].field, cases[i].word);
}

static void a_line_that_is_no_setting_is_refused(void **state)
{
    fixture_t *fixture = *state;
    refuses(fixture, "role = traditional\nhello\n", "", ":2: \"hello\" is not NAME = VALUE");
}

static void a_file_that_is_not_there_is_named(void **state)
{
    fixture_t *fixture = *state;
    int rc =
        weir_settings_load("/no/such/file.conf", NULL, NULL, &fixture->settings, &fixture->err);
    assert_int_equal(rc, WEIR_IO);
    assert_non_null(strstr(fixture->err.reason, "/no/such/file.conf"));
}

static void labels_follow_their_rules(void **state)
{
    fixture_t *fixture = *state;
    char text[512] = "role = data_plane\ncluster_cert = /c\ncluster_cert_key = /k\n"
                     "cluster_dp_labels = region:eu-1, tier:a.b_c:d\n";
    accepts(fixture, text);
    assert_int_equal(weir_setting_count(fixture->settings, "cluster_dp_labels"), 2);
    static const struct {
        const char *labels, *word;
    } cases[] = {
        { "region", "key:value" },
        { "kong_x:1", "start with \"kong\"" },
        { "Mesh:1", "start with \"mesh\"" },
        { "-a:1", "letter or digit" },
        { "a:1-", "letter or digit" },
        { "a:", "letter or digit" },
        { "a b:1", "letter or digit" },
        { "a:1,b:1,c:1,d:1,e:1,f:1,g:1,h:1,i:1,j:1,k:1", "at most 10" },
        { "a:1234567890123456789012345678901234567890123456789012345678901234", "1 to 63" },
    };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        snprintf(text, sizeof(text),
                 "role = data_plane\ncluster_cert = /c\ncluster_cert_key = /k\n"
                 "cluster_dp_labels = %s\n",
                 cases[i].labels);
        refuses(fixture, text, "cluster_dp_labels", cases[i].word);
    }
}

#define PAIR "cluster_cert = /c\ncluster_cert_key = /k\n"

static void roles_refuse_what_does_not_go_together(void **state)
{
    fixture_t *fixture = *state;
    static const struct {
        const char *text, *field, *word;
    } cases[] = {
        { "role = control_plane\n", "cluster_cert", "Hybrid mode" },
        { "role = data_plane\n", "cluster_cert", "Hybrid mode" },
        { "role = control_plane\ndatabase = off\n" PAIR, "database", "must not be off" },
        { "role = control_plane\nadmin_listen = off\n" PAIR, "admin_listen", "must be specified" },
        { "role = control_plane\ncluster_listen = off\n" PAIR, "cluster_listen", "specified" },
        { "role = control_plane\ncluster_dp_labels = a:b\n" PAIR, "cluster_dp_labels", "can not" },
        { "role = control_plane\ncluster_use_proxy = on\n" PAIR, "cluster_use_proxy", "build" },
        { "role = control_plane\ncluster_mtls = pki\n" PAIR, "cluster_ca_cert", "pki" },
        { "role = control_plane\ncluster_bind_identity = on\n" PAIR, "cluster_bind_identity",
          "pki" },
        { "role = data_plane\ndatabase = sqlite\n" PAIR, "database", "only in-memory storage" },
        { "role = data_plane\nproxy_listen = off\n" PAIR, "proxy_listen", "must be specified" },
        { "role = traditional\ncluster_dp_labels = a:b\n", "cluster_dp_labels", "data_plane" },
        { "role = traditional\ndatabase = off\n", "database", "DB-less" },
    };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++)
        refuses(fixture, cases[i].text, cases[i].field, cases[i].word);
}

static void roles_have_defaults_of_their_own(void **state)
{
    fixture_t *fixture = *state;
    accepts(fixture, "role = data_plane\n" PAIR);
    assert_string_equal(text_of(fixture, "database"), "off");
    accepts(fixture, "role = control_plane\n" PAIR);
    assert_string_equal(text_of(fixture, "cluster_listen"), "0.0.0.0:8005");
    accepts(fixture, "cluster_listen = 0.0.0.0:9005\n");
    assert_string_equal(text_of(fixture, "cluster_control_plane"), "127.0.0.1:9005");
    accepts(fixture, "");
    assert_string_equal(text_of(fixture, "cluster_listen"), "127.0.0.1:8005");
}

/* -- writing ------------------------------------------------------------------------ */

static void what_is_saved_reads_back_as_the_same(void **state)
{
    fixture_t *fixture = *state;
    accepts(fixture,
            "role = data_plane\n" PAIR "real_ip_header = X-\\#A\ntrusted_ips = ::1,10.0.0.1\n"
            "proxy_listen = 127.0.0.1:1 http2 ssl\nnginx_http_gzip = on\n"
            "cluster_dp_labels = a:b\n");
    weir_settings_t *again = NULL;
    assert_int_equal(weir_settings_save(fixture->settings, fixture->path, &fixture->err), WEIR_OK);
    assert_int_equal(weir_settings_load(fixture->path, NULL, NULL, &again, &fixture->err), WEIR_OK);
    weir_json_t *before = weir_settings_json(fixture->settings);
    weir_json_t *after = weir_settings_json(again);
    assert_true(weir_json_equal(before, after));
    weir_json_free(before);
    weir_json_free(after);
    assert_string_equal(weir_setting_string(again, "real_ip_header"), "X-#A");
    weir_settings_free(again);
}

static void certificates_as_text_survive_saving(void **state)
{
    fixture_t *fixture = *state;
    const char *const environment[] = {
        "WEIR_CLUSTER_CERT=-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "WEIR_CLUSTER_CERT_KEY=/k", NULL
    };
    assert_int_equal(load(fixture, "role = data_plane\n", environment), WEIR_OK);
    const char *kept = text_of(fixture, "cluster_cert");
    assert_memory_equal(kept, "LS0tLS1CRUdJTi", 14);
    assert_null(strchr(kept, '\n'));
}

static void one_setting_can_be_changed(void **state)
{
    fixture_t *fixture = *state;
    accepts(fixture, "");
    assert_int_equal(
        weir_settings_set(fixture->settings, "ssl_cert", WEIR_STR("/a,/b"), &fixture->err),
        WEIR_OK);
    assert_int_equal(weir_setting_count(fixture->settings, "ssl_cert"), 2);
    assert_int_equal(
        weir_settings_set(fixture->settings, "log_level", WEIR_STR("x"), &fixture->err),
        WEIR_INVALID);
    assert_string_equal(text_of(fixture, "log_level"), "notice"); /* a refusal changes nothing */
}

/* -- GET / --------------------------------------------------------------------------- */

static void the_json_has_typed_values_and_no_secrets(void **state)
{
    fixture_t *fixture = *state;
    accepts(fixture, "role = control_plane\ncluster_cert = /c\ncluster_cert_key = /secret\n"
                     "pg_password = hush\nallow_debug_header = on\ntrusted_ips = ::1\n");
    weir_json_t *json = weir_settings_json(fixture->settings);
    assert_non_null(json);
    weir_str_t none = { NULL, 0 };
    assert_true(weir_str_is(weir_json_get_string(json, "cluster_cert_key", none), "******"));
    assert_true(weir_str_is(weir_json_get_string(json, "pg_password", none), "******"));
    assert_true(weir_json_get_boolean(json, "allow_debug_header", false));
    assert_true(weir_json_get_boolean(json, "cluster_rpc", false));
    assert_int_equal((int)weir_json_get_number(json, "cluster_max_payload", 0), 16777216);
    assert_int_equal(weir_json_kind(weir_json_get(json, "trusted_ips")), WEIR_JSON_ARRAY);
    assert_int_equal(weir_json_kind(weir_json_get(json, "port_maps")), WEIR_JSON_OBJECT);
    assert_null(weir_json_get(json, "cluster_server_name"));
    const weir_json_t *listener = weir_json_first(weir_json_get(json, "admin_listeners"));
    assert_int_equal((int)weir_json_get_number(listener, "port", 0), 8001);
    weir_json_free(json);
}

/* -- short memory ------------------------------------------------------------------------ */

static void every_allocation_may_fail(void **state)
{
    fixture_t *fixture = *state;
    static const char text[] = "role = data_plane\n" PAIR "trusted_ips = ::1,10.0.0.1\n"
                               "nginx_http_gzip = on\ncluster_dp_labels = a:b\n";
    for (unsigned n = 1; n < 5000; n++) {
        weir_test_fail_allocation(n);
        int rc = load(fixture, text, NULL);
        weir_json_t *json = rc == WEIR_OK ? weir_settings_json(fixture->settings) : NULL;
        int saved = rc == WEIR_OK ? weir_settings_save(fixture->settings, fixture->path, NULL) : rc;
        weir_test_fail_allocation(0);
        bool whole = json != NULL;
        weir_json_free(json);
        if (rc == WEIR_OK && whole && saved == WEIR_OK)
            return;
        assert_true(rc == WEIR_OK || rc == WEIR_NO_MEMORY);
    }
    fail_msg("it never ended");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)
    const struct CMUnitTest tests[] = {
        TEST(without_a_file_the_defaults_hold),
        TEST(comments_blanks_and_quotes_are_taken_off),
        TEST(the_environment_wins_over_the_file_and_weir_over_kong),
        TEST(an_empty_value_is_not_said),
        TEST(the_prefix_argument_wins_and_is_made_absolute),
        TEST(listen_flags_are_understood),
        TEST(sizes_take_units),
        TEST(lists_are_split_and_trimmed),
        TEST(the_last_of_equal_directives_counts),
        TEST(older_names_are_known),
        TEST(without_rpc_there_are_no_differences),
        TEST(settings_without_effect_load_and_are_named),
        TEST(unknown_names_are_refused_with_the_nearest),
        TEST(unknown_variables_of_ours_are_refused_and_theirs_ignored),
        TEST(bad_values_are_refused_with_what_is_allowed),
        TEST(a_line_that_is_no_setting_is_refused),
        TEST(a_file_that_is_not_there_is_named),
        TEST(labels_follow_their_rules),
        TEST(roles_refuse_what_does_not_go_together),
        TEST(roles_have_defaults_of_their_own),
        TEST(what_is_saved_reads_back_as_the_same),
        TEST(certificates_as_text_survive_saving),
        TEST(one_setting_can_be_changed),
        TEST(the_json_has_typed_values_and_no_secrets),
        TEST(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
