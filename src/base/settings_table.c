/* settings_table.c -- every setting: name, kind, default, what is allowed, what
 * it means. --help, the man page, the checks and `GET /` all come from here.
 *
 * Names and defaults follow the incumbent (sync-protocol F.1, routing 11 and 14);
 * what is ours alone is marked so. */
#include "base/settings_internal.h"

#define LEVELS "debug info notice warn error crit alert emerg"

/* clang-format off */
const setting_definition_t weir_setting_table[] = {
    /* -- the node -- */
    { "prefix", SETTING_PATH, "/usr/local/weir", .meaning =
      "Directory of everything that this node writes." },
    { "role", SETTING_ENUM, "traditional", "traditional control_plane data_plane", .meaning =
      "What the node does: everything, or one plane of hybrid mode." },
    { "node_id", SETTING_TEXT, "", .meaning =
      "UUID of the node; made once and kept in PREFIX/weir.id when unset." },
    { "database", SETTING_ENUM, "sqlite", "sqlite postgres off", "sqlite off", .meaning =
      "Where a control plane keeps entities; always off on a data plane." },
    { "log_level", SETTING_ENUM, "notice", LEVELS, .meaning =
      "Least severity that is logged." },
    { "nginx_user", SETTING_TEXT, "", .meaning =
      "User of the workers; unset: www-data if it can use the prefix, else the one who starts." },
    { "nginx_worker_processes", SETTING_TEXT, "auto", .meaning =
      "Workers of a data plane, or auto for one each core. A control plane has one." },
    { "nginx_main_worker_rlimit_nofile", SETTING_TEXT, "auto", .meaning =
      "Open files a worker may have; auto: one for each connection and some, within ulimit -Hn." },
    { "nginx_events_worker_connections", SETTING_TEXT, "auto", .meaning =
      "Connections a worker may have; auto: 16384." },
    { "nginx_events_multi_accept", SETTING_BOOLEAN, "on", .meaning =
      "Whether a worker of a data plane accepts all waiting connections at once." },

    /* -- listeners -- */
    { "admin_listen", SETTING_LISTEN, "127.0.0.1:8001", .meaning =
      "Addresses of the Admin API: IP:PORT with flags, several with commas, or off." },
    { "proxy_listen", SETTING_LISTEN,
      "0.0.0.0:8000 backlog=16384, 0.0.0.0:8443 http2 ssl backlog=16384", .meaning =
      "Addresses of the proxy." },
    { "status_listen", SETTING_LISTEN, "127.0.0.1:8007", .meaning =
      "Addresses of the status endpoints /status, /status/ready and /metrics." },
    { "cluster_listen", SETTING_LISTEN, "0.0.0.0:8005", .meaning =
      "Addresses where a control plane waits for data planes; always TLS." },
    { "stream_listen", SETTING_ENUM, "off", "off", .meaning =
      "Addresses of the L4 proxy; only off in this build." },
    { "port_maps", SETTING_LIST, "", .meaning =
      "PUBLIC:LISTENER port pairs: what clients use where a listener is behind a forwarded port." },

    /* -- hybrid mode -- */
    { "cluster_control_plane", SETTING_TEXT, "127.0.0.1:8005", .meaning =
      "HOST:PORT of the control plane of this data plane." },
    { "cluster_mtls", SETTING_ENUM, "shared", "shared pki", .meaning =
      "shared: both planes hold one certificate; pki: each its own, signed by cluster_ca_cert." },
    { "cluster_cert", SETTING_PEM, "", .meaning =
      "Certificate for the connection between the planes: path, PEM or base64." },
    { "cluster_cert_key", SETTING_PEM, "", .secret = true, .meaning =
      "Its key: path, PEM or base64." },
    { "cluster_ca_cert", SETTING_PEM, "", .meaning =
      "Authority that signs the peers' certificates (cluster_mtls = pki)." },
    { "cluster_bind_identity", SETTING_BOOLEAN, "off", .meaning =
      "Whether a data plane's certificate must name its node id (pki; ours alone)." },
    { "cluster_server_name", SETTING_TEXT, "", .meaning =
      "Name that the control plane's certificate must have (pki); unset: its host name." },
    { "cluster_ocsp", SETTING_ENUM, "off", "off on optional", "off", .meaning =
      "Whether revocation of data plane certificates is asked for; only off in this build." },
    { "cluster_use_proxy", SETTING_ENUM, "off", "off on", "off", .meaning =
      "Whether a forward proxy leads to the control plane; only off in this build." },
    { "cluster_max_payload", SETTING_INTEGER, "16777216", .min = 4194304, .max = 1073741824,
      .meaning = "Largest message between the planes, in bytes." },
    { "cluster_dp_labels", SETTING_LABELS, "", .meaning =
      "KEY:VALUE labels of this data plane, with commas between, 10 at the most." },
    { "cluster_rpc", SETTING_BOOLEAN, "on", .meaning =
      "JSON-RPC between the planes; off: the classic full sync alone." },
    { "cluster_rpc_sync", SETTING_BOOLEAN, "on", .meaning =
      "Configuration is sent as differences; off, or cluster_rpc off: classic full sync." },
    { "cluster_data_plane_purge_delay", SETTING_INTEGER, "1209600", .min = 60, .max = INT32_MAX,
      .meaning = "Seconds until a data plane that has gone is forgotten." },
    { "cluster_compat_version", SETTING_TEXT, "3.9.1", .meaning =
      "Version of the incumbent that this node says it is (ours alone)." },
    { "cluster_sync_log_entries", SETTING_INTEGER, "100000", .min = 1, .max = 1000000000,
      .meaning = "Changes kept for data planes that come back (ours alone)." },
    { "cluster_sync_log_age", SETTING_INTEGER, "0", .min = 0, .max = 315360000, .meaning =
      "Seconds after which kept changes may go; 0: no limit (ours alone)." },
    { "cluster_full_sync_threshold", SETTING_INTEGER, "0", .min = 0, .max = 1000000000, .meaning =
      "A data plane behind by more changes gets the whole set; 0: decided by size (ours alone)." },
    { "cluster_sync_protocol", SETTING_ENUM, "weir.sync.v1", "weir.sync.v1 kong.sync.v2",
      "weir.sync.v1 kong.sync.v2", .meaning =
      "The best protocol to agree on with another Weir (ours alone)." },
    { "cluster_sync_compression", SETTING_ENUM, "zstd", "zstd snappy", "zstd snappy", .meaning =
      "How weir.sync.v1 is compressed, if both planes want that; else snappy (ours alone)." },
    { "cluster_sync_batch_size", SETTING_INTEGER, "1048576", .min = 4096, .max = 268435456,
      .meaning = "JSON bytes after which a page, or a batch of several changes, is full "
      "(ours alone)." },
    { "cluster_sync_cache_size", SETTING_INTEGER, "33554432", .min = 1048576, .max = 17179869184,
      .meaning = "Bytes of encoded messages that a control plane keeps for other data planes "
      "(ours alone)." },
    { "cluster_trace_versions", SETTING_INTEGER, "4096", .min = 1, .max = 1000000, .meaning =
      "Newest versions whose way to the data planes is remembered (ours alone)." },
    { "db_update_frequency", SETTING_NUMBER, "5", .min = 0, .max = 3600, .meaning =
      "Seconds between pushes of the classic full sync: a first change goes at once." },
    { "cluster_heartbeat_interval", SETTING_INTEGER, "30", .min = 1, .max = 3600, .meaning =
      "Seconds of silence after which a data plane pings; after half as many more it "
      "connects anew (ours alone)." },

    /* -- the image of a data plane -- */
    { "lmdb_map_size", SETTING_SIZE, "64g", .min = 1048576, .max = INT64_MAX, .meaning =
      "Address space for the configuration image; memory and disk are used as needed." },
    { "image_sync", SETTING_BOOLEAN, "on", .meaning =
      "Whether changes go to the disk within a second of serving (ours alone)." },
    { "declarative_config", SETTING_INERT, "", .meaning =
      "Declarative file of a node without a database." },

    /* -- Admin API -- */
    { "nginx_admin_client_max_body_size", SETTING_SIZE, "10m", .min = 1024, .max = 1073741824,
      .meaning = "Largest request body of the Admin API." },
    { "nginx_admin_client_body_buffer_size", SETTING_SIZE, "1m", .min = 1024, .max = 1073741824,
      .meaning = "Bytes of a body kept in memory; more goes through a file." },
    { "admin_gui_url", SETTING_LIST, "", .meaning =
      "Addresses of a user interface: their origins may call the Admin API from a browser." },
    { "admin_access_log", SETTING_TEXT, "logs/admin_access.log", .meaning =
      "Access log of the Admin API, or off." },
    { "admin_error_log", SETTING_TEXT, "logs/error.log", .meaning =
      "Error log of the Admin API." },
    { "admin_threads", SETTING_INTEGER, "32", .min = 1, .max = 1024, .meaning =
      "Admin API requests worked on at once (ours alone)." },
    { "admin_transaction_operations", SETTING_INTEGER, "10000", .min = 1, .max = 1000000,
      .meaning = "Operations that one transaction may have (ours alone)." },
    { "admin_wait_requests", SETTING_INTEGER, "256", .min = 0, .max = 100000, .meaning =
      "Writes that may wait for data planes at once (ours alone)." },
    { "admin_wait_timeout", SETTING_INTEGER, "10", .min = 1, .max = 3600, .meaning =
      "Seconds a write waits for data planes that does not say how long (ours alone)." },
    { "admin_wait_timeout_max", SETTING_INTEGER, "60", .min = 1, .max = 3600, .meaning =
      "Longest wait_timeout of a write (ours alone)." },
    { "plugins", SETTING_LIST, "bundled", .meaning =
      "Plugins that may be configured: names, or bundled for all that come with Weir." },

    /* -- proxy -- */
    { "router_flavor", SETTING_ENUM, "traditional_compatible",
      "traditional_compatible traditional expressions", "traditional_compatible", .meaning =
      "Rules by which routes are matched." },
    { "router_priority", SETTING_ENUM, "effective", "effective documented", .meaning =
      "Order of routes: what the incumbent really does, or what it documents (ours alone)." },
    { "proxy_access_log", SETTING_TEXT, "logs/access.log", .meaning =
      "Access log of the proxy: path, path and format name, or off." },
    { "proxy_error_log", SETTING_TEXT, "logs/error.log", .meaning = "Error log of the proxy." },
    { "status_access_log", SETTING_TEXT, "off", .meaning =
      "Access log of the status endpoints, or off." },
    { "status_error_log", SETTING_TEXT, "logs/status_error.log", .meaning =
      "Error log of the status endpoints." },
    { "metrics_data_planes", SETTING_BOOLEAN, "off", .meaning =
      "Whether /metrics of a control plane has series of each data plane (ours alone)." },
    { "headers", SETTING_LIST, "server_tokens, latency_tokens, X-Kong-Request-Id",
      "off server_tokens latency_tokens Server Via X-Kong-Proxy-Latency X-Kong-Response-Latency "
      "X-Kong-Upstream-Latency X-Kong-Admin-Latency X-Kong-Upstream-Status X-Kong-Request-Id",
      .meaning = "Headers added to answers." },
    { "config_version_header", SETTING_BOOLEAN, "off", .meaning =
      "Whether answers say the version of the configuration they were matched in, as "
      "Weir-Config-Version (ours alone)." },
    { "headers_upstream", SETTING_LIST, "X-Kong-Request-Id", "off X-Kong-Request-Id", .meaning =
      "Headers added to requests to upstreams." },
    { "trusted_ips", SETTING_LIST, "", .meaning =
      "Addresses or networks whose X-Forwarded-* headers are believed." },
    { "real_ip_header", SETTING_TEXT, "X-Real-IP", .meaning =
      "Header with the client's address, or proxy_protocol." },
    { "real_ip_recursive", SETTING_ENUM, "off", "on off", .meaning =
      "Whether the last address that is not trusted is taken from a list." },
    { "error_default_type", SETTING_ENUM, "text/plain",
      "text/plain text/html application/json application/xml", .meaning =
      "Type of error bodies for clients that accept none in particular." },
    { "allow_debug_header", SETTING_BOOLEAN, "off", .meaning =
      "Whether a request with Kong-Debug: 1 is told its route and service." },
    { "router_cache_size", SETTING_INTEGER, "65536", .min = 0, .max = 16777216, .meaning =
      "Routes and request lines that a worker remembers, about 1 KiB a route and 150 bytes a "
      "line; 0: none." },
    { "plugin_cache_size", SETTING_SIZE, "8m", .min = 0, .max = 17179869184, .meaning =
      "Bytes that a worker has for what plugins remember; 0: nothing (ours alone)." },
    { "plugin_counters_size", SETTING_SIZE, "16m", .min = 0, .max = 17179869184, .meaning =
      "Shared bytes for what plugins count, about 36 a counter; 0: none. Another value resets "
      "the counters (ours alone)." },
    { "upstream_cache_size", SETTING_SIZE, "32m", .min = 0, .max = 17179869184, .meaning =
      "Bytes that a worker has for upstreams that it remembers, some 700 a target and 2 a slot of "
      "a ring; it always has the one at work (ours alone)." },
    { "upstream_health_size", SETTING_SIZE, "4m", .min = 0, .max = 17179869184, .meaning =
      "Shared bytes for what is known of the health of targets, 24 an address; 0: all are healthy. "
      "Another value forgets it (ours alone)." },
    { "upstream_keepalive_pool_size", SETTING_INTEGER, "512", .min = 0, .max = 1000000, .meaning =
      "Idle connections to upstreams that a worker keeps; 0: none." },
    { "upstream_keepalive_max_requests", SETTING_INTEGER, "10000", .min = 0, .max = INT32_MAX,
      .meaning = "Requests on one connection to an upstream; 0: no limit." },
    { "upstream_keepalive_idle_timeout", SETTING_INTEGER, "60", .min = 0, .max = INT32_MAX,
      .meaning = "Seconds that an idle connection is kept; 0: for ever." },
    { "nginx_http_client_max_body_size", SETTING_SIZE, "0", .min = 0, .max = INT64_MAX, .meaning =
      "Largest request body that is proxied; 0: any." },
    { "nginx_http_client_body_buffer_size", SETTING_SIZE, "8k", .min = 1024, .max = 1073741824,
      .meaning = "Bytes of a proxied body kept in memory." },
    { "nginx_http_keepalive_requests", SETTING_INTEGER, "10000", .min = 1, .max = INT32_MAX,
      .meaning = "Requests on one connection of a client." },
    { "nginx_http_charset", SETTING_TEXT, "UTF-8", .meaning =
      "Character set added to text types that name none, or off." },

    /* -- TLS of the proxy -- */
    { "ssl_cipher_suite", SETTING_ENUM, "intermediate", "modern intermediate old fips custom",
      .meaning = "Set of protocols and ciphers for clients." },
    { "ssl_ciphers", SETTING_TEXT, "", .meaning = "Ciphers (ssl_cipher_suite = custom)." },
    { "ssl_protocols", SETTING_TEXT, "TLSv1.2 TLSv1.3", .meaning =
      "Protocol versions (ssl_cipher_suite = custom)." },
    { "ssl_prefer_server_ciphers", SETTING_BOOLEAN, "on", .meaning =
      "Whose order of ciphers counts (ssl_cipher_suite = custom)." },
    { "ssl_dhparam", SETTING_TEXT, "", .meaning =
      "File of Diffie-Hellman parameters (ssl_cipher_suite = custom or old)." },
    { "ssl_session_tickets", SETTING_BOOLEAN, "on", .meaning = "Whether tickets resume sessions." },
    { "ssl_session_timeout", SETTING_TEXT, "1d", .meaning = "Life of a session." },
    { "ssl_session_cache_size", SETTING_SIZE, "10m", .min = 32768, .max = 1073741824, .meaning =
      "Memory for sessions." },
    { "ssl_cert", SETTING_PATHS, "", .meaning =
      "Certificates for names without one; made at the first start when unset." },
    { "ssl_cert_key", SETTING_PATHS, "", .secret = true, .meaning = "Their keys." },
    { "client_ssl", SETTING_BOOLEAN, "off", .meaning =
      "Whether upstreams get a client certificate by default." },
    { "client_ssl_cert", SETTING_PEM, "", .meaning = "That certificate." },
    { "client_ssl_cert_key", SETTING_PEM, "", .secret = true, .meaning = "Its key." },
    { "lua_ssl_trusted_certificate", SETTING_LIST, "system", .meaning =
      "Authorities trusted for upstreams: paths of PEM files, or system." },
    { "lua_ssl_verify_depth", SETTING_INTEGER, "1", .min = 0, .max = 100, .meaning =
      "Length of a chain of certificates to an upstream." },

    /* -- names of upstreams -- */
    { "dns_resolver", SETTING_LIST, "", .meaning =
      "Name servers, IP[:PORT]; unset: those of /etc/resolv.conf." },
    { "dns_hostsfile", SETTING_TEXT, "/etc/hosts", .meaning = "Hosts file." },
    { "dns_order", SETTING_LIST, "LAST, SRV, A, CNAME", .meaning =
      "Record types that are asked for." },
    { "dns_valid_ttl", SETTING_TEXT, "", .meaning =
      "Seconds that an answer is kept, against its own ttl." },
    { "dns_stale_ttl", SETTING_INTEGER, "3600", .min = 0, .max = INT32_MAX, .meaning =
      "Seconds that an old answer may serve while no newer one comes." },
    { "dns_not_found_ttl", SETTING_INTEGER, "30", .min = 0, .max = INT32_MAX, .meaning =
      "Seconds that the absence of a name is kept." },
    { "dns_error_ttl", SETTING_INTEGER, "1", .min = 0, .max = INT32_MAX, .meaning =
      "Seconds that a failure to resolve is kept." },

    /* -- accepted, so that an existing kong.conf loads; they change nothing here -- */
    { "admin_gui_listen", SETTING_INERT, "" },
    { "admin_gui_path", SETTING_INERT, "" },
    { "admin_gui_api_url", SETTING_INERT, "" },
    { "admin_gui_ssl_cert", SETTING_INERT, "" },
    { "admin_gui_ssl_cert_key", SETTING_INERT, "", .secret = true },
    { "admin_ssl_cert", SETTING_PATHS, "", .meaning =
      "Certificates of the Admin API's TLS listeners." },
    { "admin_ssl_cert_key", SETTING_PATHS, "", .secret = true, .meaning = "Their keys." },
    { "status_ssl_cert", SETTING_PATHS, "", .meaning =
      "Certificates of the status endpoints' TLS listeners." },
    { "status_ssl_cert_key", SETTING_PATHS, "", .secret = true, .meaning = "Their keys." },
    { "anonymous_reports", SETTING_INERT, "" },
    { "cluster_cjson", SETTING_INERT, "" },
    { "cluster_v2", SETTING_INERT, "" },
    { "db_update_propagation", SETTING_INERT, "" },
    { "db_cache_ttl", SETTING_INERT, "" },
    { "db_cache_neg_ttl", SETTING_INERT, "" },
    { "db_resurrect_ttl", SETTING_INERT, "" },
    { "db_cache_warmup_entities", SETTING_INERT, "" },
    { "declarative_config_string", SETTING_INERT, "", .secret = true },
    { "declarative_config_encryption_mode", SETTING_INERT, "" },
    { "dedicated_config_processing", SETTING_INERT, "" },
    { "dns_cache_size", SETTING_INERT, "" },
    { "dns_no_sync", SETTING_INERT, "" },
    { "error_template_html", SETTING_INERT, "" },
    { "error_template_json", SETTING_INERT, "" },
    { "error_template_plain", SETTING_INERT, "" },
    { "error_template_xml", SETTING_INERT, "" },
    { "host_ports", SETTING_INERT, "" },
    { "konnect_mode", SETTING_INERT, "" },
    { "lmdb_environment_path", SETTING_INERT, "" },
    { "lua_max_post_args", SETTING_INERT, "" },
    { "lua_max_req_headers", SETTING_INERT, "" },
    { "lua_max_resp_headers", SETTING_INERT, "" },
    { "lua_max_uri_args", SETTING_INERT, "" },
    { "lua_package_cpath", SETTING_INERT, "" },
    { "lua_package_path", SETTING_INERT, "" },
    { "lua_socket_pool_size", SETTING_INERT, "" },
    { "lua_ssl_protocols", SETTING_INERT, "" },
    { "max_queued_batches", SETTING_INERT, "" },
    { "mem_cache_size", SETTING_INERT, "" },
    { "new_dns_client", SETTING_INERT, "" },
    { "opentelemetry_tracing", SETTING_INERT, "" },
    { "opentelemetry_tracing_sampling_rate", SETTING_INERT, "" },
    { "pg_database", SETTING_INERT, "" },
    { "pg_host", SETTING_INERT, "" },
    { "pg_max_concurrent_queries", SETTING_INERT, "" },
    { "pg_password", SETTING_INERT, "", .secret = true },
    { "pg_port", SETTING_INERT, "" },
    { "pg_ro_host", SETTING_INERT, "" },
    { "pg_ro_password", SETTING_INERT, "", .secret = true },
    { "pg_schema", SETTING_INERT, "" },
    { "pg_semaphore_timeout", SETTING_INERT, "" },
    { "pg_ssl", SETTING_INERT, "" },
    { "pg_ssl_verify", SETTING_INERT, "" },
    { "pg_timeout", SETTING_INERT, "" },
    { "pg_user", SETTING_INERT, "" },
    { "pluginserver_names", SETTING_INERT, "" },
    { "proxy_server", SETTING_INERT, "", .secret = true },
    { "proxy_server_ssl_verify", SETTING_INERT, "" },
    { "proxy_stream_access_log", SETTING_INERT, "" },
    { "proxy_stream_error_log", SETTING_INERT, "" },
    { "request_debug", SETTING_INERT, "" },
    { "request_debug_token", SETTING_INERT, "", .secret = true },
    { "resolver_address", SETTING_INERT, "" },
    { "resolver_error_ttl", SETTING_INERT, "" },
    { "resolver_family", SETTING_INERT, "" },
    { "resolver_hosts_file", SETTING_INERT, "" },
    { "resolver_lru_cache_size", SETTING_INERT, "" },
    { "resolver_mem_cache_size", SETTING_INERT, "" },
    { "resolver_stale_ttl", SETTING_INERT, "" },
    { "resolver_valid_ttl", SETTING_INERT, "" },
    { "tracing_instrumentations", SETTING_INERT, "" },
    { "tracing_sampling_rate", SETTING_INERT, "" },
    { "untrusted_lua", SETTING_INERT, "" },
    { "untrusted_lua_sandbox_environment", SETTING_INERT, "" },
    { "untrusted_lua_sandbox_requires", SETTING_INERT, "" },
    { "vaults", SETTING_INERT, "" },
    { "vitals", SETTING_INERT, "" },
    { "wasm", SETTING_ENUM, "off", "off on", "off", .meaning =
      "WebAssembly filters; only off in this build." },
    { "wasm_filters", SETTING_INERT, "" },
    { "wasm_filters_path", SETTING_INERT, "" },
    { "worker_consistency", SETTING_INERT, "" },
    { "worker_state_update_frequency", SETTING_INERT, "" },
};
/* clang-format on */

const size_t weir_setting_table_count = WEIR_COUNT(weir_setting_table);
