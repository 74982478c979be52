/* fleet_options.c -- the command line of weir-fleet. */
#include "fleet.h"

#include <getopt.h>
#include <limits.h>
#include <stdlib.h>

enum {
    NODES = 1000,
    HANDSHAKES = 256,
    PAYLOAD_BYTES = 16777216, /* as the setting cluster_max_payload */
    SLOW_BYTES = 4096,
    SECONDS_MAX = 31536000,
};

static const char help[] =
    "usage: weir-fleet --control-plane HOST:PORT --cert FILE --key FILE [OPTIONS]\n"
    "\n"
    "Thousands of data planes in one process: each connects to a control plane over TLS,\n"
    "speaks the real protocol, and remembers when it had which version. Nothing is served.\n"
    "\n"
    "The fleet:\n"
    "  --control-plane HOST:PORT  the cluster listener\n"
    "  --cert FILE, --key FILE    certificate of the data planes, and its key\n"
    "  --ca FILE                  who signs the control plane's (default: --cert itself)\n"
    "  --server-name NAME         that it must have (default: kong_clustering)\n"
    "  --nodes N                  data planes (default 1000)\n"
    "  --threads N                event loops (default 1)\n"
    "  --connect-rate N           new connections a second (default 0: all at once)\n"
    "  --handshakes N             connections in the making at once (default 256; 0: any)\n"
    "  --labels K:V,...           labels of every node\n"
    "  --compat-version V         version that they say they are (default 3.9.1)\n"
    "  --protocol NAME            weir.sync.v1 (default) or kong.sync.v2\n"
    "  --compression NAME         zstd (default) or snappy\n"
    "  --resume                   a connection resumes the TLS session of the one before\n"
    "  --max-payload BYTES        as cluster_max_payload (default 16777216)\n"
    "  --heartbeat SECONDS        as cluster_heartbeat_interval (default 30)\n"
    "  --apply-ms MIN..MAX        what it takes a node to apply an update (default 0..0)\n"
    "  --seed N                   of everything that is random, ids too (default 1)\n"
    "\n"
    "Faults (PERCENT of the nodes; the rest must not suffer):\n"
    "  --slow PERCENT[:BYTES]     read only so many bytes a second (default 4096)\n"
    "  --stall PERCENT            stop reading and talking after the first update\n"
    "  --greedy PERCENT           stop reading, but ask for everything again and again\n"
    "  --half-open PERCENT        TLS, and then nothing\n"
    "  --mute PERCENT             never acknowledge, answer or ask\n"
    "  --garbage PERCENT          send malformed messages\n"
    "  --cut-every SECONDS        reset the connection of some node\n"
    "\n"
    "The run:\n"
    "  --duration SECONDS         end by itself (default 0: at a signal)\n"
    "  --control                  commands on stdin, answers on stdout; its end ends the run\n"
    "  --json FILE                the report goes there, not to stdout\n"
    "  --quiet                    no progress lines\n"
    "  --help                     this text\n"
    "\n"
    "Commands of --control, a line each:\n"
    "  wait VERSION TIMEOUT_MS [COUNT]   until COUNT (all) nodes without a fault have it\n"
    "  connected COUNT TIMEOUT_MS        until so many nodes are connected\n"
    "  stats                             the report without versions, in one line\n"
    "  report                            the whole report, in one line\n"
    "  cut COUNT                         reset so many connections\n"
    "  quit\n"
    "\n"
    "Signals: TERM, INT end it; USR1 writes the report.\n"
    "Exit status: 0 done, 1 failed, 2 wrong usage.\n";

const char *fleet_fault_name(fleet_fault_t fault)
{
    static const char *const names[FAULT_KINDS] = {
        [FAULT_NONE] = "none",       [FAULT_SLOW] = "slow", [FAULT_STALL] = "stall",
        [FAULT_GREEDY] = "greedy",   [FAULT_MUTE] = "mute", [FAULT_HALF_OPEN] = "half-open",
        [FAULT_GARBAGE] = "garbage",
    };
    return names[fault];
}

static int wrong(weir_error_t *err, const char *name, const char *text)
{
    return weir_error_set(err, WEIR_INVALID, name, "does not take \"%s\"", text);
}

static int number(const char *name, const char *text, int64_t min, int64_t max, int64_t *ret,
                  weir_error_t *err)
{
    return weir_parse_int64(weir_str(text), min, max, ret) == WEIR_OK
               ? WEIR_OK
               : weir_error_set(err, WEIR_INVALID, name,
                                "must be a number from %" PRId64 " to %" PRId64 ", got \"%s\"", min,
                                max, text);
}

/* Seconds, also parts of them. */
static int seconds(const char *name, const char *text, int64_t *ret_ms, weir_error_t *err)
{
    char *end = NULL;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= 0 && value <= SECONDS_MAX))
        return wrong(err, name, text);
    *ret_ms = (int64_t)(value * 1000);
    return WEIR_OK;
}

/* "P" or, where there is `ret_extra`, "P:NUMBER". */
static int percent(const char *name, const char *text, double *ret, uint64_t *ret_extra,
                   weir_error_t *err)
{
    char *end = NULL;
    double value = strtod(text, &end);
    if (end == text || !(value >= 0 && value <= 100))
        return wrong(err, name, text);
    int64_t extra = 0;
    if (*end == ':' && ret_extra != NULL) {
        if (weir_parse_int64(weir_str(end + 1), 1, INT32_MAX, &extra) != WEIR_OK)
            return wrong(err, name, text);
        *ret_extra = (uint64_t)extra;
    } else if (*end != '\0') {
        return wrong(err, name, text);
    }
    *ret = value;
    return WEIR_OK;
}

static int range(const char *name, const char *text, int64_t *ret_min, int64_t *ret_max,
                 weir_error_t *err)
{
    const char *dots = strstr(text, "..");
    weir_str_t low = { text, dots != NULL ? (size_t)(dots - text) : strlen(text) };
    weir_str_t high = dots != NULL ? weir_str(dots + 2) : low;
    if (weir_parse_int64(low, 0, INT32_MAX, ret_min) != WEIR_OK ||
        weir_parse_int64(high, *ret_min, INT32_MAX, ret_max) != WEIR_OK)
        return wrong(err, name, text);
    return WEIR_OK;
}

/* Cuts `text` at its commas, in place. */
static int labels(char *text, fleet_options_t *options, weir_error_t *err)
{
    size_t count = 0;
    for (char *at = text; at != NULL && *at != '\0';) {
        char *comma = strchr(at, ',');
        if (comma != NULL)
            *comma++ = '\0';
        if (count == FLEET_LABELS_MAX)
            return weir_error_set(err, WEIR_INVALID, "labels", "are more than %d",
                                  FLEET_LABELS_MAX);
        if (strchr(at, ':') == NULL)
            return wrong(err, "labels", at);
        options->labels[count++] = at;
        at = comma;
    }
    return WEIR_OK;
}

enum {
    OPTION_CONTROL_PLANE = 256,
    OPTION_CERT,
    OPTION_KEY,
    OPTION_CA,
    OPTION_SERVER_NAME,
    OPTION_NODES,
    OPTION_THREADS,
    OPTION_CONNECT_RATE,
    OPTION_HANDSHAKES,
    OPTION_LABELS,
    OPTION_COMPAT,
    OPTION_RESUME,
    OPTION_PROTOCOL,
    OPTION_COMPRESSION,
    OPTION_MAX_PAYLOAD,
    OPTION_HEARTBEAT,
    OPTION_APPLY,
    OPTION_SEED,
    OPTION_FAULT, /* and as many as there are kinds */
    OPTION_CUT_EVERY = OPTION_FAULT + FAULT_KINDS,
    OPTION_DURATION,
    OPTION_CONTROL,
    OPTION_JSON,
    OPTION_QUIET,
    OPTION_HELP,
};

static const struct option known[] = {
    { "control-plane", required_argument, NULL, OPTION_CONTROL_PLANE },
    { "cert", required_argument, NULL, OPTION_CERT },
    { "key", required_argument, NULL, OPTION_KEY },
    { "ca", required_argument, NULL, OPTION_CA },
    { "server-name", required_argument, NULL, OPTION_SERVER_NAME },
    { "nodes", required_argument, NULL, OPTION_NODES },
    { "threads", required_argument, NULL, OPTION_THREADS },
    { "connect-rate", required_argument, NULL, OPTION_CONNECT_RATE },
    { "handshakes", required_argument, NULL, OPTION_HANDSHAKES },
    { "labels", required_argument, NULL, OPTION_LABELS },
    { "compat-version", required_argument, NULL, OPTION_COMPAT },
    { "protocol", required_argument, NULL, OPTION_PROTOCOL },
    { "compression", required_argument, NULL, OPTION_COMPRESSION },
    { "resume", no_argument, NULL, OPTION_RESUME },
    { "max-payload", required_argument, NULL, OPTION_MAX_PAYLOAD },
    { "heartbeat", required_argument, NULL, OPTION_HEARTBEAT },
    { "apply-ms", required_argument, NULL, OPTION_APPLY },
    { "seed", required_argument, NULL, OPTION_SEED },
    { "slow", required_argument, NULL, OPTION_FAULT + FAULT_SLOW },
    { "stall", required_argument, NULL, OPTION_FAULT + FAULT_STALL },
    { "greedy", required_argument, NULL, OPTION_FAULT + FAULT_GREEDY },
    { "half-open", required_argument, NULL, OPTION_FAULT + FAULT_HALF_OPEN },
    { "mute", required_argument, NULL, OPTION_FAULT + FAULT_MUTE },
    { "garbage", required_argument, NULL, OPTION_FAULT + FAULT_GARBAGE },
    { "cut-every", required_argument, NULL, OPTION_CUT_EVERY },
    { "duration", required_argument, NULL, OPTION_DURATION },
    { "control", no_argument, NULL, OPTION_CONTROL },
    { "json", required_argument, NULL, OPTION_JSON },
    { "quiet", no_argument, NULL, OPTION_QUIET },
    { "help", no_argument, NULL, OPTION_HELP },
    { 0 },
};

/* One of two words. */
static int choice(const char *name, const char *text, const char *yes, const char *no, bool *ret,
                  weir_error_t *err)
{
    *ret = strcmp(text, yes) == 0;
    return *ret || strcmp(text, no) == 0 ? WEIR_OK : wrong(err, name, text);
}

static int take_text(fleet_options_t *options, int option, char *value, weir_error_t *err)
{
    switch (option) {
    case OPTION_CONTROL_PLANE:
        options->control_plane = value;
        break;
    case OPTION_CERT:
        options->files.certificate = value;
        break;
    case OPTION_KEY:
        options->files.key = value;
        break;
    case OPTION_CA:
        options->files.trust = value;
        break;
    case OPTION_SERVER_NAME:
        options->files.server_name = value;
        break;
    case OPTION_COMPAT:
        options->compat_version = value;
        break;
    case OPTION_JSON:
        options->json = value;
        break;
    case OPTION_PROTOCOL:
        return choice("protocol", value, "weir.sync.v1", "kong.sync.v2", &options->sync_v1, err);
    case OPTION_COMPRESSION:
        return choice("compression", value, "zstd", "snappy", &options->zstd, err);
    case OPTION_RESUME:
        options->resume = true;
        break;
    case OPTION_CONTROL:
        options->control = true;
        break;
    case OPTION_QUIET:
        options->quiet = true;
        break;
    default:
        return labels(value, options, err);
    }
    return WEIR_OK;
}

static int take_number(fleet_options_t *options, int option, const char *name, const char *value,
                       weir_error_t *err)
{
    int64_t n = 0;
    int rc = WEIR_OK;
    switch (option) {
    case OPTION_NODES:
        rc = number(name, value, 1, FLEET_NODES_MAX, &n, err);
        options->nodes = (unsigned)n;
        return rc;
    case OPTION_THREADS:
        rc = number(name, value, 1, FLEET_THREADS_MAX, &n, err);
        options->threads = (unsigned)n;
        return rc;
    case OPTION_CONNECT_RATE:
        rc = number(name, value, 0, 1000000, &n, err);
        options->connect_rate = (unsigned)n;
        return rc;
    case OPTION_HANDSHAKES:
        rc = number(name, value, 0, FLEET_NODES_MAX, &n, err);
        options->handshakes = (unsigned)n;
        return rc;
    case OPTION_MAX_PAYLOAD:
        rc = number(name, value, 4096, 1073741824, &n, err);
        options->payload_max = (size_t)n;
        return rc;
    case OPTION_SEED:
        rc = number(name, value, 0, INT64_MAX, &n, err);
        options->seed = (uint64_t)n;
        return rc;
    case OPTION_HEARTBEAT:
        return seconds(name, value, &options->ping_ms, err);
    case OPTION_CUT_EVERY:
        return seconds(name, value, &options->cut_every_ms, err);
    case OPTION_DURATION:
        return seconds(name, value, &options->duration_ms, err);
    case OPTION_APPLY:
        return range(name, value, &options->apply_ms_min, &options->apply_ms_max, err);
    default:
        return percent(name, value, &options->percent[option - OPTION_FAULT],
                       option == OPTION_FAULT + FAULT_SLOW ? &options->slow_bytes : NULL, err);
    }
}

static bool is_text(int option)
{
    return option <= OPTION_SERVER_NAME || option == OPTION_LABELS || option == OPTION_COMPAT ||
           option == OPTION_PROTOCOL || option == OPTION_COMPRESSION || option == OPTION_RESUME ||
           option == OPTION_CONTROL || option == OPTION_JSON || option == OPTION_QUIET;
}

static int check(fleet_options_t *options, weir_error_t *err)
{
    double faulty = 0;
    for (int i = FAULT_SLOW; i < FAULT_KINDS; i++)
        faulty += options->percent[i];
    if (faulty > 100)
        return weir_error_set(err, WEIR_INVALID, "faults", "are %g percent together", faulty);
    if (options->control_plane == NULL)
        return weir_error_set(err, WEIR_INVALID, "control-plane", "is needed");
    if (options->files.certificate == NULL || options->files.key == NULL)
        return weir_error_set(err, WEIR_INVALID, "cert", "and --key are needed");
    if (options->files.trust == NULL)
        options->files.trust = options->files.certificate;
    if (options->threads > options->nodes)
        options->threads = options->nodes;
    return WEIR_OK;
}

int fleet_options_parse(int argc, char **argv, fleet_options_t *ret, weir_error_t *err)
{
    *ret = (fleet_options_t){
        .nodes = NODES,
        .threads = 1,
        .sync_v1 = true,
        .zstd = true,
        .handshakes = HANDSHAKES,
        .seed = 1,
        .slow_bytes = SLOW_BYTES,
        .payload_max = PAYLOAD_BYTES,
        .compat_version = "3.9.1",
        .files.server_name = "kong_clustering",
    };
    int rc = WEIR_OK;
    int index = 0;
    for (int option = 0;
         rc == WEIR_OK && (option = getopt_long(argc, argv, "", known, &index)) != -1;) {
        if (option == OPTION_HELP) {
            fputs(help, stdout);
            return WEIR_NOT_FOUND;
        }
        if (option < OPTION_CONTROL_PLANE) /* getopt has said what is wrong */
            rc = weir_error_set(err, WEIR_INVALID, NULL, "see weir-fleet --help");
        else
            rc = is_text(option) ? take_text(ret, option, optarg, err)
                                 : take_number(ret, option, known[index].name, optarg, err);
    }
    if (rc == WEIR_OK && optind < argc)
        rc = weir_error_set(err, WEIR_INVALID, NULL, "\"%s\" is no option", argv[optind]);
    return rc == WEIR_OK ? check(ret, err) : rc;
}
