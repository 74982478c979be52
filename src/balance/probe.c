/* probe.c -- requests and answers of active checks. */
#include "balance/probe.h"

/* What could end a header is left out: nobody adds requests to ours. */
static void append_text(weir_buffer_t *out, weir_str_t text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.data[i] >= ' ' || text.data[i] == '\t')
            weir_buffer_byte(out, text.data[i]);
}

static bool append_header(void *context, weir_str_t name, weir_str_t value)
{
    weir_buffer_t *out = context;
    append_text(out, name);
    weir_buffer_append(out, WEIR_STR(": "));
    append_text(out, value);
    return weir_buffer_append(out, WEIR_STR("\r\n")) == WEIR_OK;
}

int weir_probe_request(const weir_probes_t *probes, weir_str_t host, weir_buffer_t *out)
{
    weir_buffer_append(out, WEIR_STR("GET "));
    append_text(out, probes->path.data != NULL ? probes->path : WEIR_STR("/"));
    weir_buffer_append(out, WEIR_STR(" HTTP/1.0\r\n"));
    weir_probes_headers(probes, append_header, out);
    weir_buffer_append(out, WEIR_STR("Host: "));
    append_text(out, host);
    return weir_buffer_append(out, WEIR_STR("\r\n\r\n"));
}

int weir_probe_status(weir_str_t received)
{
    static const char pattern[] = "HTTP/#.# ###";
    int status = 0;
    for (size_t i = 0; i < received.len && i < WEIR_PROBE_STATUS_BYTES; i++) {
        char c = received.data[i];
        if (pattern[i] != '#') {
            if (c != pattern[i])
                return -1;
            continue;
        }
        if (c < '0' || c > '9')
            return -1;
        if (i >= sizeof("HTTP/#.# ") - 1)
            status = status * 10 + (c - '0');
    }
    if (received.len < WEIR_PROBE_STATUS_BYTES)
        return 0;
    return status >= 100 ? status : -1;
}
