/* hosts.c -- /etc/hosts and /etc/resolv.conf. */
#include "proxy/hosts.h"

#include "base/arena.h"
#include "proxy/rules.h"

#include <arpa/inet.h>
#include <stdio.h>

enum {
    LINE_BYTES_MAX = 4096,
    HOSTS_BYTES_MAX = 4 * 1024 * 1024,
    NDOTS_MAX = 15,
};

typedef struct entry {
    struct entry *next;
    weir_str_t name, v4, v6;
} entry_t;

enum { BUCKETS = 1024 };

struct weir_hosts {
    weir_arena_t arena;
    entry_t *buckets[BUCKETS];
};

static size_t bucket(weir_str_t name)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];
        hash = (hash ^ (c >= 'A' && c <= 'Z' ? c | 0x20u : c)) * 16777619u;
    }
    return hash % BUCKETS;
}

static entry_t *find(const weir_hosts_t *hosts, weir_str_t name)
{
    entry_t *entry = hosts->buckets[bucket(name)];
    while (entry != NULL && !weir_str_equal_nocase(entry->name, name))
        entry = entry->next;
    return entry;
}

/* The first address of each family stays. */
static bool add(weir_hosts_t *hosts, weir_str_t name, weir_str_t address, bool v6)
{
    entry_t *entry = find(hosts, name);
    if (entry == NULL) {
        entry = weir_arena_zalloc(&hosts->arena, sizeof(*entry));
        weir_str_t copy = weir_arena_copy(&hosts->arena, name);
        if (entry == NULL || copy.data == NULL)
            return false;
        size_t at = bucket(name);
        entry->name = copy;
        entry->next = hosts->buckets[at];
        hosts->buckets[at] = entry;
    }
    weir_str_t *slot = v6 ? &entry->v6 : &entry->v4;
    if (slot->data == NULL)
        *slot = weir_arena_copy(&hosts->arena, address);
    return slot->data != NULL;
}

/* The next word of a line whose comment is cut off. */
static bool next_word(char **line, weir_str_t *ret)
{
    *line += strspn(*line, " \t\r\n");
    size_t len = strcspn(*line, " \t\r\n");
    *ret = (weir_str_t){ *line, len };
    *line += len;
    return len > 0;
}

static bool add_line(weir_hosts_t *hosts, char *line)
{
    weir_str_t address;
    weir_str_t name;
    char text[64];
    unsigned char parsed[16];
    line[strcspn(line, "#")] = '\0';
    if (!next_word(&line, &address) || address.len >= sizeof(text))
        return true;
    memcpy(text, address.data, address.len);
    text[address.len] = '\0';
    bool v6 = inet_pton(AF_INET6, text, parsed) == 1;
    if (!v6 && inet_pton(AF_INET, text, parsed) != 1)
        return true; /* not a line that we understand */
    while (next_word(&line, &name))
        if (!add(hosts, name, address, v6))
            return false;
    return true;
}

int weir_hosts_load(const char *path, weir_hosts_t **ret, weir_error_t *err)
{
    weir_hosts_t *hosts = weir_calloc(1, sizeof(*hosts));
    if (hosts == NULL)
        return weir_error_memory(err);
    weir_arena_init(&hosts->arena, HOSTS_BYTES_MAX);
    char line[LINE_BYTES_MAX];
    bool fine = true;
    FILE *file = fopen(path, "re");
    while (file != NULL && fine && fgets(line, sizeof(line), file) != NULL)
        fine = add_line(hosts, line);
    if (file != NULL)
        fclose(file);
    fine = fine && add(hosts, WEIR_STR("localhost"), WEIR_STR("127.0.0.1"), false);
    fine = fine && add(hosts, WEIR_STR("localhost"), WEIR_STR("::1"), true);
    if (!fine) {
        weir_hosts_free(hosts);
        return weir_error_set(err, WEIR_TOO_LARGE, "dns_hostsfile", "%s is larger than %d bytes",
                              path, HOSTS_BYTES_MAX);
    }
    *ret = hosts;
    return WEIR_OK;
}

void weir_hosts_free(weir_hosts_t *hosts)
{
    if (hosts == NULL)
        return;
    weir_arena_release(&hosts->arena);
    weir_free(hosts);
}

weir_str_t weir_hosts_find(const weir_hosts_t *hosts, weir_str_t name)
{
    const entry_t *entry = find(hosts, name);
    if (entry == NULL)
        return (weir_str_t){ NULL, 0 };
    return entry->v4.data != NULL ? entry->v4 : entry->v6;
}

/* -- resolv.conf ------------------------------------------------------------------- */

static void add_server(weir_resolv_t *resolv, weir_str_t address)
{
    char text[48];
    unsigned char parsed[16];
    if (resolv->server_count >= WEIR_RESOLVERS_MAX || address.len >= sizeof(text))
        return;
    memcpy(text, address.data, address.len);
    text[address.len] = '\0';
    bool v6 = inet_pton(AF_INET6, text, parsed) == 1; /* one with a scope is skipped */
    if (!v6 && inet_pton(AF_INET, text, parsed) != 1)
        return;
    snprintf(resolv->servers[resolv->server_count++], sizeof(resolv->servers[0]),
             v6 ? "[%s]" : "%s", text);
}

/* The last line of its kind wins. "." is no domain. */
static void set_search(weir_resolv_t *resolv, char *line)
{
    weir_str_t domain;
    resolv->search_count = 0;
    while (resolv->search_count < WEIR_SEARCH_MAX && next_word(&line, &domain)) {
        if (weir_str_is(domain, ".") || domain.len >= sizeof(resolv->search[0]))
            continue;
        char *slot = resolv->search[resolv->search_count++];
        memcpy(slot, domain.data, domain.len);
        slot[domain.len] = '\0';
    }
}

static void set_options(weir_resolv_t *resolv, char *line)
{
    weir_str_t option;
    while (next_word(&line, &option)) {
        int64_t ndots;
        if (!weir_str_starts(option, WEIR_STR("ndots:")))
            continue;
        weir_str_t number = { option.data + 6, option.len - 6 };
        if (weir_parse_int64(number, 0, NDOTS_MAX, &ndots) == WEIR_OK)
            resolv->ndots = (int)ndots;
    }
}

void weir_resolv_load(const char *path, weir_resolv_t *ret)
{
    *ret = (weir_resolv_t){ .ndots = 1 };
    FILE *file = fopen(path, "re");
    char line[LINE_BYTES_MAX];
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        weir_str_t word;
        char *at = line;
        line[strcspn(line, "#;")] = '\0';
        if (!next_word(&at, &word))
            continue;
        if (weir_str_is(word, "nameserver")) {
            if (next_word(&at, &word))
                add_server(ret, word);
        } else if (weir_str_is(word, "search") || weir_str_is(word, "domain")) {
            set_search(ret, at);
        } else if (weir_str_is(word, "options")) {
            set_options(ret, at);
        }
    }
    if (file != NULL)
        fclose(file);
}

size_t weir_resolv_candidate(const weir_resolv_t *resolv, weir_str_t name, size_t n, char *out,
                             size_t out_bytes)
{
    int dots = 0;
    for (size_t i = 0; i < name.len; i++)
        dots += name.data[i] == '.';
    bool whole = name.len > 0 && name.data[name.len - 1] == '.';
    size_t searches = whole ? 0 : resolv->search_count;
    if (n > searches)
        return 0;
    bool bare_first = dots >= resolv->ndots;
    bool bare = bare_first ? n == 0 : n == searches;
    const char *domain = bare ? "" : resolv->search[bare_first ? n - 1 : n];
    if (whole)
        name.len--;
    int len = snprintf(out, out_bytes, bare ? "%.*s%s" : "%.*s.%s", WEIR_STR_ARG(name), domain);
    return len > 0 && (size_t)len < out_bytes ? (size_t)len : 0;
}
