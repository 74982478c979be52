/* conf_test.c -- the proxy's part of nginx.conf. */
#include "proxy/conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

enum { CONF_BYTES_MAX = 65536 };

/* The text for the settings of `environment`; the caller frees. */
static char *conf_of(const char *const *environment, int want)
{
    weir_settings_t *settings = NULL;
    weir_error_t err = { 0 };
    WEIR_AUTO(buffer) weir_buffer_t out;
    weir_buffer_init(&out, CONF_BYTES_MAX);
    if (weir_settings_load(NULL, environment, "/tmp/prefix", &settings, &err) != WEIR_OK)
        fail_msg("%s: %s", err.field, err.reason);
    assert_int_equal(weir_proxy_conf(settings, &out, &err), want);
    weir_settings_free(settings);
    return weir_strdup(weir_buffer_str(&out));
}

static void assert_has(const char *text, const char *line)
{
    assert_non_null(text);
    if (strstr(text, line) == NULL)
        fail_msg("no \"%s\" in\n%s", line, text);
}

static void listeners_and_limits_follow_the_settings(void **state)
{
    static const char *const environment[] = { "WEIR_PROXY_LISTEN=127.0.0.1:9000 backlog=7",
                                               "WEIR_NGINX_HTTP_CLIENT_MAX_BODY_SIZE=3m",
                                               "WEIR_PROXY_ACCESS_LOG=off", NULL };
    (void)state;
    char *text = conf_of(environment, WEIR_OK);
    assert_has(text, "listen 127.0.0.1:9000 backlog=7;");
    assert_has(text, "access_log off;");
    assert_has(text, "weir_balancer;");
    assert_has(text, "error_page 494 =494 /weir_error;");
    assert_null(strstr(text, "ssl_certificate"));
    weir_free(text);
}

static void a_tls_listener_has_certificates_and_ciphers(void **state)
{
    static const char *const environment[] = { "WEIR_PROXY_LISTEN=127.0.0.1:9000 ssl",
                                               "WEIR_SSL_CERT=/a.crt,/b.crt",
                                               "WEIR_SSL_CERT_KEY=/a.key,/b.key", NULL };
    (void)state;
    char *text = conf_of(environment, WEIR_OK);
    assert_has(text, "ssl_certificate \"/a.crt\";");
    assert_has(text, "ssl_certificate_key \"/b.key\";");
    assert_has(text, "ssl_protocols TLSv1.2 TLSv1.3;");
    assert_has(text, "ssl_prefer_server_ciphers off;");
    weir_free(text);
}

static void a_tls_listener_without_a_certificate_is_an_error(void **state)
{
    static const char *const environment[] = { "WEIR_PROXY_LISTEN=127.0.0.1:9000 ssl", NULL };
    (void)state;
    weir_free(conf_of(environment, WEIR_INVALID));
}

static void an_absent_listener_leaves_nothing(void **state)
{
    static const char *const environment[] = { "WEIR_PROXY_LISTEN=off", NULL };
    (void)state;
    char *text = conf_of(environment, WEIR_OK);
    assert_string_equal(text, "");
    weir_free(text);
}

static void trusted_addresses_reach_the_realip_module(void **state)
{
    static const char *const environment[] = {
        "WEIR_PROXY_LISTEN=127.0.0.1:9000",    "WEIR_TRUSTED_IPS=10.0.0.0/8,::1",
        "WEIR_REAL_IP_HEADER=X-Forwarded-For", "WEIR_REAL_IP_RECURSIVE=on",
        "WEIR_DNS_RESOLVER=127.0.0.1:53",      NULL
    };
    (void)state;
    char *text = conf_of(environment, WEIR_OK);
    assert_has(text, "set_real_ip_from 10.0.0.0/8;");
    assert_has(text, "set_real_ip_from ::1;");
    assert_has(text, "real_ip_header X-Forwarded-For;");
    assert_has(text, "real_ip_recursive on;");
    assert_has(text, "resolver 127.0.0.1:53 ipv6=off;");
    weir_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listeners_and_limits_follow_the_settings),
        cmocka_unit_test(a_tls_listener_has_certificates_and_ciphers),
        cmocka_unit_test(a_tls_listener_without_a_certificate_is_an_error),
        cmocka_unit_test(an_absent_listener_leaves_nothing),
        cmocka_unit_test(trusted_addresses_reach_the_realip_module),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
