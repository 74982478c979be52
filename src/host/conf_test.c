/* conf_test.c -- what nginx.conf says for each role. */
#include "host/conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { CONF_BYTES_MAX = 1 << 20 };

#define PAIR  "cluster_cert = /c.crt\ncluster_cert_key = /c.key\n"
#define CERTS "ssl_cert = /a.crt\nssl_cert_key = /a.key\n"

/* The file for these settings; the caller frees it. NULL: refused, err says why. */
static char *conf_of(const char *text, const char *user, weir_error_t *err)
{
    char path[64];
    snprintf(path, sizeof(path), "/tmp/weir-conf-%d", (int)getpid());
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    weir_settings_t *settings = NULL;
    int rc = weir_settings_load(path, NULL, "/node", &settings, err);
    unlink(path);
    assert_int_equal(rc, WEIR_OK);
    const weir_host_conf_t conf = {
        .module = "/m.so",
        .settings_path = "/node/weir.settings",
        .user = user,
        .cores = 6,
        .files_max = 20000,
    };
    weir_buffer_t out;
    weir_buffer_init(&out, CONF_BYTES_MAX);
    rc = weir_host_conf(settings, &conf, &out, err);
    weir_settings_free(settings);
    if (rc != WEIR_OK) {
        weir_buffer_release(&out);
        return NULL;
    }
    weir_buffer_byte(&out, '\0');
    return out.data;
}

static void has(const char *text, const char *part)
{
    bool found = text != NULL && strstr(text, part) != NULL;
    if (!found)
        print_error("missing: %s\n", part);
    assert_true(found);
}

static void lacks(const char *text, const char *part)
{
    assert_non_null(text);
    assert_null(strstr(text, part));
}

static void a_control_plane_has_admin_cluster_and_status_and_one_worker(void **state)
{
    (void)state;
    weir_error_t err = { 0 };
    char *conf = conf_of("role = control_plane\n" PAIR, "www-data", &err);
    has(conf, "load_module \"/m.so\";");
    has(conf, "user www-data;");
    has(conf, "worker_processes 1;");
    has(conf, "multi_accept off;"); /* a fleet is let in one by one */
    has(conf, "weir_settings \"/node/weir.settings\";");
    has(conf, "weir_admin;");
    has(conf, "weir_cluster;");
    has(conf, "weir_status;");
    has(conf, "listen 127.0.0.1:8001;");
    has(conf, "client_max_body_size 10m;");
    has(conf, "thread_pool weir threads=");
    lacks(conf, ":8000");
    free(conf);
}

static void a_data_plane_has_proxy_and_status_and_a_worker_for_each_core(void **state)
{
    (void)state;
    weir_error_t err = { 0 };
    char *conf = conf_of("role = data_plane\n" PAIR CERTS, NULL, &err);
    assert_non_null(conf);
    has(conf, "worker_processes 6;");
    has(conf, "multi_accept on;");
    has(conf, "weir_status;");
    has(conf, "listen 0.0.0.0:8000");
    lacks(conf, "weir_admin;");
    lacks(conf, "weir_cluster;");
    lacks(conf, "thread_pool"); /* workers of one thread: cheaper system calls */
    lacks(conf, "\nuser ");
    free(conf);
}

static void a_traditional_node_has_all(void **state)
{
    (void)state;
    weir_error_t err = { 0 };
    char *conf = conf_of(PAIR CERTS, NULL, &err);
    assert_non_null(conf);
    has(conf, "worker_processes 1;");
    has(conf, "weir_admin;");
    has(conf, "weir_cluster;");
    has(conf, "listen 0.0.0.0:8000");
    free(conf);
}

static void a_worker_gets_files_for_its_connections_within_the_limit(void **state)
{
    (void)state;
    weir_error_t err = { 0 };
    char *conf = conf_of("role = control_plane\n" PAIR, NULL, &err);
    has(conf, "worker_connections 16384;");
    has(conf, "\nworker_rlimit_nofile 16896;");
    free(conf);
    conf = conf_of("role = control_plane\n" PAIR "nginx_events_worker_connections = 60000\n", NULL,
                   &err);
    has(conf, "worker_connections 60000;");
    has(conf, "\nworker_rlimit_nofile 20000;"); /* all that it may have */
    free(conf);
    conf = conf_of("role = control_plane\n" PAIR "nginx_main_worker_rlimit_nofile = 4000\n", NULL,
                   &err);
    has(conf, "\nworker_rlimit_nofile 4000;");
    free(conf);
}

static void directives_of_the_user_come_into_their_blocks(void **state)
{
    (void)state;
    weir_error_t err = { 0 };
    char *conf = conf_of("role = control_plane\n" PAIR "nginx_main_worker_priority = 5\n"
                         "nginx_events_use = epoll\nnginx_http_gzip = on\n"
                         "nginx_admin_client_body_timeout = 7s\n"
                         "nginx_admin_client_max_body_size = 64m\n",
                         NULL, &err);
    has(conf, "\nworker_priority 5;");
    has(conf, "\n    use epoll;");
    has(conf, "\n    gzip on;");
    has(conf, "\n        client_body_timeout 7s;");
    has(conf, "client_max_body_size 64m;");
    lacks(conf, "client_max_body_size 10m;");
    free(conf);
}

static void a_tls_listener_needs_certificates(void **state)
{
    (void)state;
    weir_error_t err = { 0 };
    assert_null(
        conf_of("role = control_plane\n" PAIR "admin_listen = 127.0.0.1:8444 ssl\n", NULL, &err));
    assert_string_equal(err.field, "admin_ssl_cert");
    char *conf = conf_of("role = control_plane\n" PAIR "admin_listen = 127.0.0.1:8444 ssl\n"
                         "admin_ssl_cert = /a,/b\nadmin_ssl_cert_key = /c,/d\n",
                         NULL, &err);
    has(conf, "listen 127.0.0.1:8444 ssl;");
    has(conf, "ssl_certificate \"/b\";\n        ssl_certificate_key \"/d\";");
    free(conf);
}

static void without_rpc_only_the_classic_outlet_is_there(void **state)
{
    (void)state;
    weir_error_t err = { 0 };
    char *conf = conf_of("role = control_plane\n" PAIR, NULL, &err);
    has(conf, "location = /v1/outlet {\n            weir_cluster_classic;");
    has(conf, "location = /v2/outlet {");
    free(conf);
    conf = conf_of("role = control_plane\ncluster_rpc = off\n" PAIR, NULL, &err);
    has(conf, "location = /v1/outlet {");
    lacks(conf, "/v2/outlet");
    free(conf);
}

static void listeners_that_are_off_make_no_server(void **state)
{
    (void)state;
    weir_error_t err = { 0 };
    char *conf = conf_of("role = control_plane\n" PAIR "status_listen = off\n", NULL, &err);
    lacks(conf, "weir_status;");
    free(conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_control_plane_has_admin_cluster_and_status_and_one_worker),
        cmocka_unit_test(a_data_plane_has_proxy_and_status_and_a_worker_for_each_core),
        cmocka_unit_test(a_traditional_node_has_all),
        cmocka_unit_test(a_worker_gets_files_for_its_connections_within_the_limit),
        cmocka_unit_test(directives_of_the_user_come_into_their_blocks),
        cmocka_unit_test(a_tls_listener_needs_certificates),
        cmocka_unit_test(without_rpc_only_the_classic_outlet_is_there),
        cmocka_unit_test(listeners_that_are_off_make_no_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
