/* router_test.c -- which route gets a request: the table of routing 2, and what the
 * layout of the index adds (long paths, many routes on one path). */
#include "image/fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* -- the notation of routing 2 -------------------------------------------------------- */

enum { ROUTES_MAX = 16, CASES_MAX = 32 };

typedef struct table_case {
    int number;
    const char *request;
    int effective, documented; /* route; 0: none; -1: see below */
} table_case_t;

typedef struct table_group {
    const char *routes[ROUTES_MAX];
    table_case_t cases[CASES_MAX];
} table_group_t;

/* Not compared: what the incumbent itself orders now this way, now that (1.6), and
 * hosts "x.*:port", which the schema refuses. Left out: group T, whose paths a
 * control plane would not take; corpus_test has what really happens to them. */
static const table_group_t table[] = {
    { { "h=domain-1.org,domain-2.org", "m=TRACE", "p=/my-route",
        "h=domain-1.org,domain-2.org p=/route-4", "h=domain-1.org,domain-2.org m=POST,PUT,PATCH",
        "p=/route-6 m=POST,PUT,PATCH",
        "h=domain-with-uri-1.org,domain-with-uri-2.org p=/my-route-uri m=POST,PUT,PATCH",
        "p=/serviceless", "H=location:my-location-1,my-location-2",
        "H=location:my-location-1;version:v1,v2",
        "p=/headers-uri H=location:my-location-1,my-location-2",
        "h=domain-with-headers-1.org,domain-with-headers-2.org p=/headers-host-uri-method "
        "m=POST,PUT,PATCH H=location:my-location-1,my-location-2",
        "h=domain-1.org:321,domain-2.org", "h=domain-3.org:321",
        "H=user_agent:~*windows|linux|os\\s+x\\s*[\\d\\._]+|solaris|bsd" },
      { { 1, "GET domain-1.org /", 1, 1 },
        { 2, "GET domain-1.org:80 /", 1, 1 },
        { 3, "GET domain-1.org:123 /", 1, 1 },
        { 4, "GET domain-1.org:321 /", 13, 13 },
        { 5, "GET domain-3.org:321 /", 14, 14 },
        { 6, "GET domain-3.org:123 /", 0, 0 },
        { 7, "GET domain.org /my-route", 3, 3 },
        { 8, "GET \"\" /my-route-uri", 3, 3 },
        { 9, "TRACE domain.org /", 2, 2 },
        { 10, "GET domain-1.org /route-4", 4, 4 },
        { 11, "POST domain-1.org /", 5, 5 },
        { 12, "PUT domain.org /route-6", 6, 6 },
        { 13, "PUT domain-with-uri-2.org /my-route-uri", 7, 7 },
        { 14, "GET (none) / H=location:my-location-1", 9, 9 },
        { 15, "GET (none) / H=location:my-location-3+my-location-2", 9, 9 },
        { 16, "GET (none) / H=location:my-location-3", 0, 0 },
        { 17, "GET (none) / H=user_agent:Mozilla/5.0 (X11; Linux x86_64) x", 15, 15 },
        { 18, "GET (none) / H=location:my-location-1;version:v2", 10, 10 },
        { 19, "GET (none) / H=location:my-location-3+my-location-2;version:v2", 9, 9 },
        { 20, "GET (none) /headers-uri H=location:my-location-2", 11, 11 },
        { 21, "PUT domain-with-headers-1.org /headers-host-uri-method H=location:my-location-2", 12,
          12 },
        { 22, "GET (none) /serviceless", 8, 8 },
        { 23, "GET domain.org /my-route/some/path", 3, 3 },
        { 24, "GET domain-3.org /", 0, 0 },
        { 25, "GET domain-3.org /route-4", 0, 0 },
        { 26, "GET domain-with-uri-2.org /some-uri", 0, 0 },
        { 27, "GET domain.org /some-other-prefix/my-route", 0, 0 },
        { 28, "GET (none) /headers-uri H=location:invalid-location", 0, 0 },
        { 29, "TRACE domain-2.org /", 13, 13 } } },
    { { "p=/my-route/hello", "p=/my-route" },
      { { 30, "GET domain.org /my-route/hello/world", 1, 1 },
        { 31, "GET domain.org /my-route/world", 2, 2 },
        { 32, "GET domain.org /my-route", 2, 2 } } },
    { { "h=example.com p=/my-route", "h=example.com p=/my-route/hello",
        "h=example.net p=/my-route/hello/world" },
      { { 33, "GET example.com /my-route/hello/world", 2, 2 } } },
    { { "p=/something/my-route", "h=example.com p=/my-route" },
      { { 34, "GET example.com /something/my-route", 1, 1 } } },
    { { "p=~/route/persons/\\d{3}", "p=~/route/persons/\\d{3}/following",
        "p=~/route/persons/\\d{3}/[a-z]+" },
      { { 35, "GET domain.org /route/persons/456", 1, 1 } } },
    { { "p=/route/persons", "p=~/route/persons/\\d+/profile" },
      { { 36, "GET domain.org /route/persons/123/profile", 2, 2 } } },
    { { "p=/route/fixture", "p=~/route/(fixture)" },
      { { 37, "GET domain.org /route/fixture", 2, 2 } } },
    { { "h=route.com p=/pat", "h=route.com p=/path m=POST", "h=route.com p=~/(path)" },
      { { 38, "GET route.com /path", 3, 3 } } },
    { { "p=~/prefix/[0-9]+" },
      { { 39, "GET domain.org /prefix/123", 1, 1 },
        { 40, "GET domain.org /extra/prefix/123", 0, 0 } } },
    { { "h=*.route.com", "h=route.*", "h=*.route.net:123", "h=route.*:123" },
      { { 41, "GET foo.route.com /", 1, 1 },
        { 42, "GET route.org /", 2, 2 },
        { 43, "GET foo.route.com:123 /", 1, 1 },
        { 44, "GET foo.route.net:123 /", 3, 3 },
        { 45, "GET foo.route.net:456 /", 0, 0 },
        { 46, "GET route.org:123 /", -1, -1 } } },
    { { "h=*.route.com", "h=route.*", "h=route.*:80" },
      { { 47, "GET route.org:123 /", 2, 2 },
        { 48, "GET route.org:80 /", -1, -1 },
        { 49, "GET route.org / listen=80", -1, -1 },
        { 50, "GET route.org / listen=8000", 2, 2 } } },
    { { "h=plain.route.com", "h=*.route.com", "h=route.*", "h=route.com" },
      { { 51, "GET route.com /", 4, 4 },
        { 52, "GET route.org /", 3, 3 },
        { 53, "GET plain.route.com /", 1, 1 },
        { 54, "GET foo.route.com /", 2, 2 } } },
    { { "h=*.route.com p=/path1", "h=plain.route.com p=/path2" },
      { { 55, "GET plain.route.com /path1", 1, 1 }, { 56, "GET plain.route.com /path2", 2, 2 } } },
    { { "h=route.*", "h=route.*:80,route.com.*" }, { { 57, "GET route.org:80 /", -1, -1 } } },
    { { "h=*.domain.com,example.com p=/path m=GET,TRACE" },
      { { 58, "GET foo.domain.com /path", 1, 1 },
        { 59, "TRACE example.com /path", 1, 1 },
        { 60, "POST foo.domain.com /path", 0, 0 } } },
    { { "h=*.example.com p=~/users/\\d+/profile", "h=*.example.com p=/users" },
      { { 61, "GET test.example.com /users/123/profile", 1, 1 },
        { 62, "GET test.example.com /users", 2, 2 } } },
    { { "H=version:v1,v2;user_agent:foo,bar",
        "H=version:v1,v2;user_agent:foo,bar;location:east,west" },
      { { 63, "GET (none) / H=version:v1;user_agent:foo;location:north+west", 2, 2 } } },
    { { "H=USER_AGENT:foo,bar", "H=user_agent:BAZ" },
      { { 64, "GET (none) / H=user_agent:FOO", 1, 1 },
        { 65, "GET (none) / H=USER_AGENT:baz", 2, 2 } } },
    { { "s=*.sni.test", "s=sni.*" },
      { { 66, "GET any.test / https sni=foo.bar.sni.test", 1, 1 },
        { 67, "GET any.test / https sni=sni.foo.bar", 2, 2 },
        { 68, "GET any.test / https sni=bar.sni.foo", 0, 0 },
        { 69, "GET any.test / http", 2, 2 } } },
    { { "h=host1.com p=/v1/path", "h=host2.com p=/" },
      { { 78, "GET host1.com /v1/path", 1, 1 }, { 79, "GET host2.com /v1/path", 2, 2 } } },
    { { "h=host.* m=GET", "h=host.* m=POST" },
      { { 80, "GET host.com /", 1, 1 }, { 81, "POST host.com /", 2, 2 } } },
    { { "p=~/users/\\d+/profile m=GET", "p=~/users/\\d*/profile m=POST" },
      { { 82, "GET d /users/123/profile", 1, 1 }, { 83, "POST d /users/123/profile", 2, 2 } } },
    { { "m=GET", "p=/example" }, { { 84, "GET d /example/status/200", 2, 2 } } },
    { { "m=GET", "h=domain.*" },
      { { 85, "GET nothing.com /", 1, 1 }, { 86, "GET domain.com /", 2, 2 } } },
    { { "p=/a,/bbbbbbb", "p=/a/bb" }, { { 87, "GET d /a/bb/foobar", 2, 2 } } },
    { { "p=/my-route/hello H=version:v1", "p=/my-route H=version:v1;location:us-east" },
      { { 88, "GET d /my-route/hello H=version:v1;location:us-east", 2, 2 } } },
    { { "h=domain-1.org p=~/some/thing/else,/foo", "h=domain-1.org p=/foo/bar" },
      { { 89, "GET domain-1.org /some/thing/else", 1, 1 },
        { 90, "GET domain-1.org /foo/bar", 2, 2 },
        { 91, "GET domain-1.org /foo", 1, 1 } } },
    { { "h=domain-1.org p=/foo,/foo/bar/baz", "h=domain-1.org p=/foo/bar" },
      { { 92, "GET domain-1.org /foo", 1, 1 },
        { 93, "GET domain-1.org /foo/bar", 2, 2 },
        { 94, "GET domain-1.org /foo/bar/baz", 1, 1 } } },
    { { "h=domain-2.org p=/ rp=5", "h=domain-2.org p=/v1" },
      { { 95, "GET domain-2.org /v1", 2, 2 } } },
    { { "p=~/status/(?P<foo>re) rp=0", "p=~/status/(re) rp=4" },
      { { 96, "GET d /status/re", 2, 2 } } },
    { { "p=/status", "p=/" },
      { { 97, "GET d /status/../x", 2, 2 },
        { 98, "GET d //status", 1, 1 },
        { 99, "GET d /./status/", 1, 1 },
        { 100, "GET d /%73tatus", 1, 1 },
        { 101, "GET d /a/..//status", 1, 1 } } },
    { { "p=/root H=version:v1,v2", "p=/root/fixture H=version:v1,v2",
        "p=/root H=version:v1,v2;location:us-east" },
      { { 102, "GET d /root/fixture/get H=version:v2;location:us-east", 3, 3 },
        { 103, "GET d /root/fixture/get H=version:v2", 2, 2 },
        { 104, "GET d /root/fixture/get H=version:v3", 0, 0 } } },
    { { "h=ahost.test p=/unrelated/longer/uri/that/should/not/match,/root/fixture m=GET",
        "h=ahost.test p=/root/fixture/get m=GET", "h=anotherhost.test p=/root/fixture/get m=GET",
        "h=api.local p=/rest/devportal/api/v1,/rest/devportal", "h=api.local p=/rest/devportal/aux",
        "h=test-api.local p=/rest/devportal/aux", "h=atest-api.local p=/rest/devportal" },
      { { 105, "GET ahost.test /root/fixture/get", 2, 2 },
        { 106, "GET ahost.test /root/fixture/x", 1, 1 },
        { 107, "GET ahost.test /unrelated/longer/uri/that/should/not/match", 1, 1 },
        { 108, "GET anotherhost.test /root/fixture/get", 3, 3 },
        { 109, "GET ahost.test /", 0, 0 },
        { 110, "GET api.local /rest/devportal/api/v1", 4, 4 },
        { 111, "GET api.local /rest/devportal", 4, 4 },
        { 112, "GET api.local /rest/devportal/aux", 5, 5 },
        { 113, "GET test-api.local /rest/devportal/aux", 6, 6 },
        { 114, "GET atest-api.local /rest/devportal", 7, 7 } } },
    { { "m=GET", "p=/post,/put m=POST,PUT", "p=/mock_upstream", "p=~/users/\\d+/profile",
        "h=serviceless.test" },
      { { 115, "POST d /post", 2, 2 },
        { 116, "DELETE d /post", 0, 0 },
        { 117, "GET d /get", 1, 1 },
        { 118, "GET d /mock_upstream/201", 3, 3 },
        { 119, "GET d /users/foo/profile", 1, 1 },
        { 120, "GET d /users/123/profile", 4, 4 },
        { 121, "GET serviceless.test /", 5, 5 } } },
    { { "h=a.test s=www.example.org", "h=a.test s=example.org", "s=*.foo.test", "s=bar.*" },
      { { 122, "GET a.test /status/200 https sni=www.example.org", 1, 1 },
        { 123, "GET a.test /status/200 https sni=example.org", 2, 2 },
        { 124, "GET a.test / https sni=other.org", 0, 0 },
        { 125, "GET x / https sni=a.b.foo.test", 3, 3 },
        { 126, "GET x / https sni=bar.y.z", 4, 4 } } },
    { { "h=example.test p=/test H=headertest:itsatest", "h=example.test p=/test" },
      { { 127, "GET example.test /test H=headertest:itsatest", 1, 1 },
        { 128, "GET example.test /test", 2, 2 } } },
    { { "h=a.com", "p=/x m=GET" }, { { 129, "GET a.com /x", 1, 2 } } },
    { { "p=~/x.*", "p=/x m=GET" }, { { 130, "GET a.com /x", 1, 2 } } },
    { { "p=~/x", "h=*.a.com p=/x m=GET" }, { { 131, "GET b.a.com /x", 1, 2 } } },
    { { "h=*.a.com p=/x/long m=GET H=v:1", "h=*.a.com p=/x m=GET H=v:1" },
      { { 132, "GET b.a.com /x/long H=v:1", -1, 1 } } },
    { { "h=a.com p=/x/long m=GET H=v:1", "h=a.com p=/x m=GET H=v:1" },
      { { 133, "GET a.com /x/long H=v:1", 1, 1 } } },
    { { "p=~/x rp=4095", "p=~/x rp=4096", "p=~/x rp=8192" }, { { 134, "GET a.com /x", -1, 3 } } },
    { { "p=~/x rp=-1", "p=~/x rp=100" }, { { 135, "GET a.com /x", -1, 1 } } },
    { { "p=~/x rp=8191", "p=~/x rp=8193" }, { { 136, "GET a.com /x", -1, 2 } } },
    { { "p=~/x H=a:1 rp=2", "p=~/x H=b:1 rp=0" }, { { 137, "GET a.com /x H=a:1;b:1", 2, 1 } } },
    { { "p=~/a|/b" }, { { 138, "GET a.com /x/b", 1, 1 }, { 139, "GET a.com /x/a", 0, 0 } } },
    { { "H=v:~*^\\D+$" },
      { { 140, "GET a.com / H=v:123", 1, 1 }, { 141, "GET a.com / H=v:abc", 0, 0 } } },
    { { "h=*.a.com", "h=b.*" },
      { { 142, "GET .a.com /", 1, 1 },
        { 143, "GET a.com /", 0, 0 },
        { 144, "GET x.y.a.com /", 1, 1 },
        { 145, "GET b.x.y /", 2, 2 },
        { 146, "GET b. /", 2, 2 },
        { 147, "GET b /", 0, 0 } } },
    { { "h=a.com" }, { { 148, "GET A.com /", 0, 0 }, { 149, "GET a.com. /", 0, 0 } } },
    { { "p=/ s=a.com" },
      { { 150, "GET x / http", 1, 1 },
        { 151, "GET x / https", 0, 0 },
        { 152, "GET x / https sni=a.com", 1, 1 },
        { 153, "GET x / https sni=A.com", 0, 0 } } },
    { { "p=/ s=a.com.", "p=/ s=*.b.com." },
      { { 154, "GET x / https sni=a.com", 1, 1 }, { 155, "GET x / https sni=x.b.com", 2, 2 } } },
    { { "p=/foo", "p=/bar" }, { { 156, "GET x /foobar", 1, 1 }, { 157, "GET x /Foo", 0, 0 } } },
    { { "p=~/x(?<n>[0-9]+)$" }, { { 158, "GET x /x12", 1, 1 }, { 159, "GET x /x12/", 0, 0 } } },
    { { "H=v:a,~*^b.*" }, { { 160, "GET x / H=v:bcd", 1, 1 }, { 161, "GET x / H=v:zz+A", 1, 1 } } },
    { { "h=x.com p=/a", "h=x.com p=/a" }, { { 162, "GET x.com /a", 2, 2 } } },
};

/* ["a","b"] of "a,b". */
static weir_json_t *list_of(weir_str_t text)
{
    weir_json_t *list = weir_json_new_array();
    for (size_t at = 0; at <= text.len;) {
        const char *comma = memchr(text.data + at, ',', text.len - at);
        size_t end = comma != NULL ? (size_t)(comma - text.data) : text.len;
        weir_str_t item = { text.data + at, end - at };
        assert_int_equal(weir_json_append(list, weir_json_new_string(item)), WEIR_OK);
        at = end + 1;
    }
    return list;
}

static void set(weir_json_t *object, const char *name, weir_json_t *value)
{
    assert_int_equal(weir_json_set(object, name, value), WEIR_OK);
}

/* {"a":["1","2"],"b":["3"]} of "a:1,2;b:3". */
static weir_json_t *headers_of(weir_str_t text)
{
    weir_json_t *headers = weir_json_new_object();
    while (text.len > 0) {
        const char *semicolon = memchr(text.data, ';', text.len);
        size_t len = semicolon != NULL ? (size_t)(semicolon - text.data) : text.len;
        const char *colon = memchr(text.data, ':', len);
        size_t name_len = (size_t)(colon - text.data);
        WEIR_AUTO(free) char *name = weir_strdup((weir_str_t){ text.data, name_len });
        set(headers, name, list_of((weir_str_t){ colon + 1, len - name_len - 1 }));
        size_t used = semicolon != NULL ? len + 1 : len;
        text = (weir_str_t){ text.data + used, text.len - used };
    }
    return headers;
}

static void add_part(weir_json_t *row, weir_str_t part)
{
    static const struct {
        const char *prefix, *field;
    } lists[] = { { "h=", "hosts" }, { "p=", "paths" }, { "m=", "methods" }, { "s=", "snis" } };
    for (size_t i = 0; i < WEIR_COUNT(lists); i++)
        if (weir_str_starts(part, weir_str(lists[i].prefix)))
            set(row, lists[i].field, list_of((weir_str_t){ part.data + 2, part.len - 2 }));
    if (weir_str_starts(part, WEIR_STR("s=")))
        set(row, "protocols", list_of(WEIR_STR("http,https")));
    if (weir_str_starts(part, WEIR_STR("H=")))
        set(row, "headers", headers_of((weir_str_t){ part.data + 2, part.len - 2 }));
    if (weir_str_starts(part, WEIR_STR("rp=")))
        set(row, "regex_priority", weir_json_new_number(strtod(part.data + 3, NULL)));
}

static void put_route(fixture_t *f, int number, const char *notation)
{
    char id[64];
    snprintf(id, sizeof(id), "%08x-0000-4000-8000-000000000000", (unsigned)number);
    WEIR_AUTO(json) weir_json_t *row = weir_json_new_object();
    set(row, "id", weir_json_new_string(weir_str(id)));
    for (const char *at = notation; *at != '\0';) {
        size_t len = strcspn(at, " ");
        add_part(row, (weir_str_t){ at, len });
        at += len + (at[len] == ' ');
    }
    fixture_put_json(f, "routes", row);
}

static weir_str_t word(const char **at)
{
    weir_str_t text = { *at, strcspn(*at, " ") };
    *at += text.len + ((*at)[text.len] == ' ');
    return text;
}

/* "location:a+b;version:v2"; a ';' inside of a value is followed by a space. */
static void add_headers(fixture_request_t *request, const char *text)
{
    while (*text != '\0') {
        const char *end = text + strlen(text);
        for (const char *s = strchr(text, ';'); s != NULL && end[0] == '\0'; s = strchr(s + 1, ';'))
            if (s[1] != ' ')
                end = s;
        const char *colon = strchr(text, ':');
        weir_str_t name = { text, (size_t)(colon - text) };
        for (const char *value = colon + 1; value < end;) {
            const char *plus = memchr(value, '+', (size_t)(end - value));
            const char *stop = plus != NULL ? plus : end;
            fixture_add_header(request, name, (weir_str_t){ value, (size_t)(stop - value) });
            value = stop + 1;
        }
        text = end + (*end != '\0');
    }
}

/* "METHOD host path [http|https] [sni=x] [listen=n] [H=...]". */
static void read_request(const char *text, fixture_request_t *ret, char path[1024])
{
    fixture_request(ret, "", NULL, "");
    ret->match.method = word(&text);
    weir_str_t host = word(&text);
    ret->match.has_host = !weir_str_is(host, "(none)");
    ret->match.host = weir_str_is(host, "\"\"") ? WEIR_STR("") : host;
    ret->match.path = (weir_str_t){ path, weir_path_normalize(word(&text), path) };
    while (*text != '\0') {
        if (strncmp(text, "H=", 2) == 0) {
            add_headers(ret, text + 2);
            return;
        }
        weir_str_t part = word(&text);
        if (weir_str_is(part, "https"))
            ret->match.https = true;
        if (weir_str_starts(part, WEIR_STR("sni=")))
            ret->match.sni = (weir_str_t){ part.data + 4, part.len - 4 };
        if (weir_str_starts(part, WEIR_STR("listen=")))
            ret->match.listener_port = (int)strtol(part.data + 7, NULL, 10);
    }
}

static int winner(fixture_t *f, fixture_request_t *request)
{
    weir_match_t match;
    if (fixture_match(f, request, &match) != WEIR_OK)
        return 0;
    const uint8_t *id = match.route.id.bytes;
    return id[0] << 24 | id[1] << 16 | id[2] << 8 | id[3];
}

static int show_quarantined(void *context, const weir_quarantined_t *entry)
{
    (void)context;
    print_message("%.*s %.*s: %.*s: %.*s\n", WEIR_STR_ARG(entry->type), WEIR_STR_ARG(entry->id),
                  WEIR_STR_ARG(entry->field), WEIR_STR_ARG(entry->reason));
    return WEIR_OK;
}

static void check_table(bool documented)
{
    fixture_t f;
    fixture_directory(&f);
    weir_image_options_t options = fixture_options(&f);
    options.documented_order = documented;
    fixture_ok(&f, weir_image_open(&options, &f.image, &f.err));
    fixture_open_reader(&f);
    int failed = 0;
    for (size_t g = 0; g < WEIR_COUNT(table); g++) {
        fixture_begin(&f, true);
        for (int i = 0; i < ROUTES_MAX && table[g].routes[i] != NULL; i++)
            put_route(&f, i + 1, table[g].routes[i]);
        fixture_commit(&f);
        weir_image_quarantined(f.image, show_quarantined, NULL, &f.err);
        for (int i = 0; i < CASES_MAX && table[g].cases[i].number != 0; i++) {
            const table_case_t *c = &table[g].cases[i];
            static fixture_request_t request;
            char path[1024];
            read_request(c->request, &request, path);
            int want = documented ? c->documented : c->effective;
            int got = winner(&f, &request);
            if (want >= 0 && want != got) {
                print_message("%d: %s: route %d, not %d\n", c->number, c->request, got, want);
                failed++;
            }
        }
    }
    fixture_close(&f);
    assert_int_equal(failed, 0);
}

static void the_table_holds_in_the_effective_order(void **state)
{
    (void)state;
    check_table(false);
}

static void the_table_holds_in_the_documented_order(void **state)
{
    (void)state;
    check_table(true);
}

/* -- the layout ----------------------------------------------------------------------- */

static int ask(fixture_t *f, const char *notation)
{
    static fixture_request_t request;
    char path[1024];
    read_request(notation, &request, path);
    return winner(f, &request);
}

static void a_path_longer_than_a_key_is_compared_whole(void **state)
{
    (void)state;
    fixture_t f;
    fixture_open(&f);
    char path[700], route[800], request[900];
    memset(path, 'x', sizeof(path));
    path[0] = '/';
    path[699] = '\0';
    fixture_begin(&f, true);
    put_route(&f, 1, "p=/");
    path[600] = '\0';
    snprintf(route, sizeof(route), "p=%s", path);
    put_route(&f, 2, route);
    path[600] = 'y';
    snprintf(route, sizeof(route), "p=%s", path);
    put_route(&f, 3, route);
    fixture_commit(&f);
    snprintf(request, sizeof(request), "GET a.com %s", path);
    assert_int_equal(ask(&f, request), 3);
    path[600] = 'z';
    snprintf(request, sizeof(request), "GET a.com %s", path);
    assert_int_equal(ask(&f, request), 2);
    path[599] = 'z';
    snprintf(request, sizeof(request), "GET a.com %s", path);
    assert_int_equal(ask(&f, request), 1);
    fixture_close(&f);
}

static void routes_of_one_path_are_told_apart_by_a_header(void **state)
{
    (void)state;
    fixture_t f;
    fixture_open(&f);
    char text[128];
    fixture_begin(&f, true);
    for (int i = 1; i <= 500; i++) {
        snprintf(text, sizeof(text), "p=/a H=tenant:T%d", i);
        put_route(&f, i, text);
    }
    put_route(&f, 501, "p=/a");
    put_route(&f, 502, "p=/a H=other:~*^x");
    put_route(&f, 503, "p=/a H=tenant:t7;third:1");
    fixture_commit(&f);
    assert_int_equal(ask(&f, "GET x /a H=Tenant:t7"), 7);
    assert_int_equal(ask(&f, "GET x /a H=tenant:nobody"), 501);
    assert_int_equal(ask(&f, "GET x /a"), 501);
    assert_int_equal(ask(&f, "GET x /a H=tenant:t9+T8"), 9);
    assert_int_equal(ask(&f, "GET x /a H=tenant:t9;other:xy"), 502); /* the larger id */
    assert_int_equal(ask(&f, "GET x /a H=tenant:t7;third:1"), 503);
    fixture_begin(&f, false);
    for (int i = 1; i <= 500; i++) {
        snprintf(text, sizeof(text), "{\"id\":\"%08x-0000-4000-8000-000000000000\"}", (unsigned)i);
        fixture_delete(&f, "routes", text);
    }
    fixture_commit(&f);
    assert_int_equal(ask(&f, "GET x /a H=tenant:t7"), 501);
    assert_int_equal(ask(&f, "GET x /a H=tenant:t7;third:1"), 503);
    fixture_close(&f);
}

static void routes_of_one_path_are_told_apart_by_sni_and_by_odd_methods(void **state)
{
    (void)state;
    fixture_t f;
    fixture_open(&f);
    fixture_begin(&f, true);
    put_route(&f, 1, "p=/ s=a.com,b.com");
    put_route(&f, 2, "p=/ s=*.com");
    put_route(&f, 3, "p=/ s=c.*");
    put_route(&f, 4, "p=/ m=FOO");
    put_route(&f, 5, "p=/ m=BAR,BAZ");
    put_route(&f, 6, "p=/ m=GET,QUX");
    fixture_commit(&f);
    assert_int_equal(ask(&f, "PUT x / https sni=b.com"), 2); /* the larger id */
    assert_int_equal(ask(&f, "PUT x / https sni=c.org"), 3);
    assert_int_equal(ask(&f, "PUT x / https sni=d.org"), 0);
    assert_int_equal(ask(&f, "PUT x / http"), 3);
    assert_int_equal(ask(&f, "FOO x / https sni=q.org"), 4);
    assert_int_equal(ask(&f, "BAZ x / https sni=q.org"), 5);
    assert_int_equal(ask(&f, "QUX x / https sni=q.org"), 6);
    assert_int_equal(ask(&f, "NIX x / https sni=q.org"), 0);
    fixture_close(&f);
}

static void routes_of_a_disabled_service_do_not_match(void **state)
{
    (void)state;
    fixture_t f;
    fixture_open(&f);
    const char *service = "{\"id\":\"00000001-0000-4000-8000-00000000000a\",\"host\":\"up.test\"}";
    const char *disabled = "{\"id\":\"00000001-0000-4000-8000-00000000000a\",\"host\":\"up.test\","
                           "\"enabled\":false}";
    fixture_begin(&f, true);
    put_route(&f, 1, "p=/");
    fixture_put(&f, "services", service);
    fixture_put(&f, "routes",
                "{\"id\":\"00000002-0000-4000-8000-000000000000\",\"paths\":[\"/a\"],"
                "\"service\":{\"id\":\"00000001-0000-4000-8000-00000000000a\"}}");
    fixture_commit(&f);
    assert_int_equal(ask(&f, "GET x /a"), 2);
    fixture_put_alone(&f, "services", disabled);
    assert_int_equal(ask(&f, "GET x /a"), 1);
    fixture_put_alone(&f, "services", service);
    assert_int_equal(ask(&f, "GET x /a"), 2);
    fixture_close(&f);
}

static void a_path_that_is_no_utf8_matches_only_if_no_route_looks_at_paths(void **state)
{
    (void)state;
    fixture_t f;
    fixture_open(&f);
    fixture_begin(&f, true);
    put_route(&f, 1, "m=GET");
    fixture_commit(&f);
    assert_int_equal(ask(&f, "GET x /\xff"), 1);
    fixture_begin(&f, false);
    put_route(&f, 2, "p=/zzz");
    fixture_commit(&f);
    assert_int_equal(ask(&f, "GET x /\xff"), 0);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_holds_in_the_effective_order),
        cmocka_unit_test(the_table_holds_in_the_documented_order),
        cmocka_unit_test(a_path_longer_than_a_key_is_compared_whole),
        cmocka_unit_test(routes_of_one_path_are_told_apart_by_a_header),
        cmocka_unit_test(routes_of_one_path_are_told_apart_by_sni_and_by_odd_methods),
        cmocka_unit_test(routes_of_a_disabled_service_do_not_match),
        cmocka_unit_test(a_path_that_is_no_utf8_matches_only_if_no_route_looks_at_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
