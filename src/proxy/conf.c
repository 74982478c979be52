/* conf.c -- the proxy's part of nginx.conf. */
#include "proxy/conf.h"

#include "proxy/hosts.h"

#include <stdio.h>

/* -- directives that may be replaced (routing 14) ------------------------------------ */

typedef struct search {
    const char *directive;
    bool found;
} search_t;

static void look(void *context, const char *directive, const char *value)
{
    search_t *search = context;
    (void)value;
    search->found = search->found || strcmp(directive, search->directive) == 0;
}

/* One line of the server, unless nginx_http_... or nginx_proxy_... has it. */
static void line(const weir_settings_t *settings, weir_buffer_t *out, const char *directive,
                 const char *value)
{
    search_t search = { directive, false };
    weir_settings_directives(settings, "http", look, &search);
    weir_settings_directives(settings, "proxy", look, &search);
    if (!search.found)
        weir_buffer_printf(out, "        %s %s;\n", directive, value);
}

/* -- name servers -------------------------------------------------------------------- */

/* nginx knows no resolv.conf. Without any server names fail, addresses do not. */
enum { VALUE_BYTES_MAX = 65536 };

static int resolver(const weir_settings_t *settings, weir_buffer_t *out)
{
    weir_resolv_t system;
    size_t count = weir_setting_count(settings, "dns_resolver");
    const char *ttl = weir_setting_string(settings, "dns_valid_ttl");
    weir_resolv_load("/etc/resolv.conf", &system);
    if (count == 0 && system.server_count == 0)
        return WEIR_OK;
    WEIR_AUTO(buffer) weir_buffer_t value;
    weir_buffer_init(&value, VALUE_BYTES_MAX);
    for (size_t i = 0; i < count; i++)
        weir_buffer_printf(&value, "%s ", weir_setting_item(settings, "dns_resolver", i));
    for (size_t i = 0; count == 0 && i < system.server_count; i++)
        weir_buffer_printf(&value, "%s ", system.servers[i]);
    if (ttl[0] != '\0')
        weir_buffer_printf(&value, "valid=%ss ", ttl);
    weir_buffer_append(&value, WEIR_STR("ipv6=off"));
    weir_buffer_byte(&value, '\0');
    if (value.failed != WEIR_OK)
        return value.failed;
    line(settings, out, "resolver", value.data);
    line(settings, out, "resolver_timeout", "10s");
    return WEIR_OK;
}

/* -- TLS (routing 11) ------------------------------------------------------------------- */

typedef struct suite {
    const char *name, *protocols, *ciphers, *prefer;
} suite_t;

#define INTERMEDIATE                                                                           \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:" \
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"   \
    "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305"

static const suite_t suites[] = {
    { "modern", "TLSv1.3", NULL, "off" },
    { "intermediate", "TLSv1.2 TLSv1.3", INTERMEDIATE, "off" },
    { "old", "TLSv1 TLSv1.1 TLSv1.2 TLSv1.3", INTERMEDIATE ":AES128-SHA:AES256-SHA:@SECLEVEL=0",
      "on" },
    { "fips", "TLSv1.2", "TLSv1.2+FIPS:kRSA+FIPS:!eNULL:!aNULL", "on" },
};

static int tls(const weir_settings_t *settings, weir_buffer_t *out, weir_error_t *err)
{
    size_t count = weir_setting_count(settings, "ssl_cert");
    if (count == 0 || count != weir_setting_count(settings, "ssl_cert_key"))
        return weir_error_set(err, WEIR_INVALID, "ssl_cert",
                              "needs as many certificates as ssl_cert_key has keys");
    for (size_t i = 0; i < count; i++)
        weir_buffer_printf(out,
                           "        ssl_certificate \"%s\";\n        ssl_certificate_key \"%s\";\n",
                           weir_setting_item(settings, "ssl_cert", i),
                           weir_setting_item(settings, "ssl_cert_key", i));
    const char *name = weir_setting_string(settings, "ssl_cipher_suite");
    suite_t custom = {
        "custom",
        weir_setting_string(settings, "ssl_protocols"),
        weir_setting_string(settings, "ssl_ciphers"),
        weir_setting_boolean(settings, "ssl_prefer_server_ciphers") ? "on" : "off",
    };
    const suite_t *suite = &custom;
    for (size_t i = 0; i < WEIR_COUNT(suites); i++)
        if (strcmp(name, suites[i].name) == 0)
            suite = &suites[i];
    char cache[64];
    snprintf(cache, sizeof(cache), "shared:SSL:%" PRId64,
             weir_setting_integer(settings, "ssl_session_cache_size"));
    line(settings, out, "ssl_protocols", suite->protocols);
    if (suite->ciphers != NULL && suite->ciphers[0] != '\0')
        line(settings, out, "ssl_ciphers", suite->ciphers);
    const char *dhparam = weir_setting_string(settings, "ssl_dhparam");
    if (dhparam[0] == '/')
        line(settings, out, "ssl_dhparam", dhparam);
    line(settings, out, "ssl_prefer_server_ciphers", suite->prefer);
    line(settings, out, "ssl_session_tickets",
         weir_setting_boolean(settings, "ssl_session_tickets") ? "on" : "off");
    line(settings, out, "ssl_session_timeout",
         weir_setting_string(settings, "ssl_session_timeout"));
    line(settings, out, "ssl_session_cache", cache);
    return WEIR_OK;
}

/* -- addresses that are believed --------------------------------------------------------- */

static void real_ip(const weir_settings_t *settings, weir_buffer_t *out)
{
    size_t count = weir_setting_count(settings, "trusted_ips");
    for (size_t i = 0; i < count; i++)
        weir_buffer_printf(out, "        set_real_ip_from %s;\n",
                           weir_setting_item(settings, "trusted_ips", i));
    line(settings, out, "real_ip_header", weir_setting_string(settings, "real_ip_header"));
    line(settings, out, "real_ip_recursive", weir_setting_string(settings, "real_ip_recursive"));
}

/* -- the server ------------------------------------------------------------------------------ */

/* A location for each way of buffering: nginx decides that by location. */
static const struct location {
    const char *name, *kind, *request_buffering, *buffering;
} proxied_locations[] = {
    { "/", "buffered", "on", "on" },
    { "@unbuffered_request", "unbuffered_request", "off", "on" },
    { "@unbuffered_response", "unbuffered_response", "on", "off" },
    { "@unbuffered", "unbuffered", "off", "off" },
};

/* Names with an empty value are left out by nginx; we put ours into the list of
 * headers ourselves (ngx_http_weir_upstream.c). */
static const char proxy_text[] =
    "        proxy_set_header Host \"\";\n"
    "        proxy_set_header Connection \"\";\n"
    "        proxy_pass_header Server;\n"
    "        proxy_pass_header Date;\n"
    "        error_page 400 404 405 408 411 412 413 414 417 500 502 503 504 /weir_error;\n"
    "        error_page 494 =494 /weir_error;\n";

static void user_directive(void *context, const char *directive, const char *value)
{
    weir_buffer_printf(context, "        %s %s;\n", directive, value);
}

static void user_location_directive(void *context, const char *directive, const char *value)
{
    weir_buffer_printf(context, "            %s %s;\n", directive, value);
}

static void locations(const weir_settings_t *settings, weir_buffer_t *out)
{
    for (size_t i = 0; i < WEIR_COUNT(proxied_locations); i++) {
        const struct location *location = &proxied_locations[i];
        weir_buffer_printf(out,
                           "        location %s {\n"
                           "            weir_proxy %s;\n"
                           "            proxy_pass http://weir;\n"
                           "            proxy_request_buffering %s;\n"
                           "            proxy_buffering %s;\n",
                           location->name, location->kind, location->request_buffering,
                           location->buffering);
        weir_settings_directives(settings, "location", user_location_directive, out);
        weir_buffer_append(out, WEIR_STR("        }\n"));
    }
    weir_buffer_append(out, WEIR_STR("        location = /weir_error {\n"
                                     "            weir_proxy error;\n"
                                     "        }\n"));
}

static void limits(const weir_settings_t *settings, weir_buffer_t *out)
{
    static const struct {
        const char *setting, *directive;
    } table[] = {
        { "nginx_http_client_max_body_size", "client_max_body_size" },
        { "nginx_http_client_body_buffer_size", "client_body_buffer_size" },
        { "nginx_http_keepalive_requests", "keepalive_requests" },
    };
    for (size_t i = 0; i < WEIR_COUNT(table); i++)
        line(settings, out, table[i].directive, weir_setting_string(settings, table[i].setting));
    const char *charset = weir_setting_string(settings, "nginx_http_charset");
    if (charset[0] != '\0')
        line(settings, out, "charset", charset);
}

static void logs(const weir_settings_t *settings, weir_buffer_t *out)
{
    const char *access = weir_setting_string(settings, "proxy_access_log");
    bool has_format = strpbrk(access, " \t") != NULL;
    bool off = strcmp(access, "off") == 0;
    weir_buffer_printf(out, "        access_log %s%s;\n        error_log %s %s;\n", access,
                       has_format || off ? "" : " kong_log_format",
                       weir_setting_string(settings, "proxy_error_log"),
                       weir_setting_string(settings, "log_level"));
}

static int server(const weir_settings_t *settings, weir_buffer_t *out, weir_error_t *err)
{
    bool secure = false;
    int rc = WEIR_OK;
    weir_buffer_append(out, WEIR_STR("    server {\n        server_name kong;\n"));
    for (size_t i = 0; i < weir_setting_listen_count(settings, "proxy_listen"); i++) {
        const weir_listen_t *listen = weir_setting_listen(settings, "proxy_listen", i);
        weir_buffer_printf(out, "        listen %s;\n", listen->nginx);
        secure = secure || listen->ssl;
    }
    if (secure)
        rc = tls(settings, out, err);
    logs(settings, out);
    limits(settings, out);
    real_ip(settings, out);
    if (rc == WEIR_OK)
        rc = resolver(settings, out);
    line(settings, out, "proxy_http_version", "1.1");
    line(settings, out, "proxy_redirect", "off");
    weir_buffer_append(out, weir_str(proxy_text));
    weir_settings_directives(settings, "proxy", user_directive, out);
    locations(settings, out);
    weir_buffer_append(out, WEIR_STR("    }\n"));
    return rc;
}

int weir_proxy_conf(const weir_settings_t *settings, weir_buffer_t *out, weir_error_t *err)
{
    if (weir_setting_listen_count(settings, "proxy_listen") == 0)
        return WEIR_OK;
    weir_buffer_append(
        out, WEIR_STR("    log_format kong_log_format '$remote_addr - $remote_user "
                      "[$time_local] \"$request\" $status $body_bytes_sent \"$http_referer\" "
                      "\"$http_user_agent\" kong_request_id: \"$kong_request_id\"';\n"
                      "    upstream weir {\n"
                      "        weir_balancer; # says where to; the server is never connected to\n"
                      "        server 0.0.0.1;\n"));
    weir_settings_directives(settings, "upstream", user_directive, out);
    weir_buffer_append(out, WEIR_STR("    }\n"));
    int rc = server(settings, out, err);
    return rc != WEIR_OK ? rc : out->failed;
}
