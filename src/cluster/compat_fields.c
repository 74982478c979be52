/* compat_fields.c -- members of plugin configurations, by the version that brought them
 * (sync-protocol D.5, "removed plugin fields"). */
#include "cluster/compat_internal.h"

#define V COMPAT_VERSION

/* clang-format off */
const compat_fields_t compat_fields[] = {
    { V(3, 10, 0), "cors", "allow_origin_absent" },
    { V(3, 10, 0), "session", "hash_subject store_metadata" },
    { V(3, 10, 0), "prometheus", "wasm_metrics" },

    /* The 3.9 line has it from its first patch on. */
    { V(3, 9, 1), "ai-proxy", "llm_format" },
    { V(3, 9, 1), "ai-prompt-guard", "llm_format" },
    { V(3, 9, 1), "ai-prompt-decorator", "llm_format" },

    { V(3, 8, 0), "response-transformer", "rename.json" },
    { V(3, 8, 0), "aws-lambda", "empty_arrays_mode" },
    { V(3, 8, 0), "ldap-auth", "realm" },
    { V(3, 8, 0), "hmac-auth", "realm" },
    { V(3, 8, 0), "jwt", "realm" },
    { V(3, 8, 0), "oauth2", "realm" },
    { V(3, 8, 0), "opentelemetry", "traces_endpoint logs_endpoint queue.concurrency_limit" },
    { V(3, 8, 0), "http-log", "queue.concurrency_limit" },
    { V(3, 8, 0), "statsd", "queue.concurrency_limit" },
    { V(3, 8, 0), "datadog", "queue.concurrency_limit" },
    { V(3, 8, 0), "zipkin", "queue.concurrency_limit" },
    { V(3, 8, 0), "prometheus", "ai_metrics" },
    { V(3, 8, 0), "acl", "always_use_authenticated_groups" },
    { V(3, 8, 0), "ai-proxy",
      "max_request_body_size model.options.gemini auth.gcp_use_service_account "
      "auth.gcp_service_account_json model.options.bedrock auth.aws_access_key_id "
      "auth.aws_secret_access_key auth.allow_override model_name_header" },
    { V(3, 8, 0), "ai-request-transformer",
      "max_request_body_size llm.model.options.gemini llm.auth.gcp_use_service_account "
      "llm.auth.gcp_service_account_json llm.model.options.bedrock llm.auth.aws_access_key_id "
      "llm.auth.aws_secret_access_key llm.auth.allow_override llm.model_name_header" },
    { V(3, 8, 0), "ai-response-transformer",
      "max_request_body_size llm.model.options.gemini llm.auth.gcp_use_service_account "
      "llm.auth.gcp_service_account_json llm.model.options.bedrock llm.auth.aws_access_key_id "
      "llm.auth.aws_secret_access_key llm.auth.allow_override llm.model_name_header" },
    { V(3, 8, 0), "ai-prompt-decorator", "max_request_body_size" },
    { V(3, 8, 0), "ai-prompt-template", "max_request_body_size" },
    { V(3, 8, 0), "ai-prompt-guard", "match_all_roles max_request_body_size" },

    { V(3, 7, 0), "opentelemetry", "propagation" },
    { V(3, 7, 0), "zipkin", "propagation" },
    { V(3, 7, 0), "ai-proxy", "response_streaming model.options.upstream_path" },
    { V(3, 7, 0), "ai-request-transformer", "llm.model.options.upstream_path" },
    { V(3, 7, 0), "ai-response-transformer", "llm.model.options.upstream_path" },
    { V(3, 7, 0), "key-auth", "realm" },

    { V(3, 6, 0), "opentelemetry", "sampling_rate" },
    { V(3, 6, 0), "basic-auth", "realm" },

    { V(3, 5, 0), "acme", "storage_config.redis.scan_count" },
    { V(3, 5, 0), "cors", "private_network" },
    { V(3, 5, 0), "session", "read_body_for_logout" },

    { V(3, 4, 0), "rate-limiting", "sync_rate" },
    { V(3, 4, 0), "proxy-cache", "response_headers" },

    { V(3, 3, 0), "acme", "account_key storage_config.redis.namespace" },
    { V(3, 3, 0), "aws-lambda", "disable_https" },
    { V(3, 3, 0), "proxy-cache", "ignore_uri_case" },
    { V(3, 3, 0), "opentelemetry", "http_response_header_for_traceid queue header_type" },
    { V(3, 3, 0), "http-log", "queue" },
    { V(3, 3, 0), "statsd", "queue" },
    { V(3, 3, 0), "datadog", "queue" },
    { V(3, 3, 0), "zipkin", "queue" },

    { V(3, 2, 0), "statsd", "tag_style" },
    { V(3, 2, 0), "session",
      "audience absolute_timeout remember_cookie_name remember_rolling_timeout "
      "remember_absolute_timeout response_headers request_headers" },
    { V(3, 2, 0), "aws-lambda", "aws_imds_protocol_version" },
    { V(3, 2, 0), "zipkin", "phase_duration_flavor" },

    { V(3, 1, 0), "acme",
      "enable_ipv4_common_name storage_config.redis.ssl storage_config.redis.ssl_verify "
      "storage_config.redis.ssl_server_name" },
    { V(3, 1, 0), "rate-limiting", "error_code error_message" },
    { V(3, 1, 0), "response-ratelimiting", "redis_ssl redis_ssl_verify redis_server_name" },
    { V(3, 1, 0), "datadog", "retry_count queue_size flush_timeout" },
    { V(3, 1, 0), "statsd", "retry_count queue_size flush_timeout" },
    { V(3, 1, 0), "session", "cookie_persistent" },
    { V(3, 1, 0), "zipkin", "http_response_header_for_traceid" },
};
/* clang-format on */
const size_t compat_fields_count = WEIR_COUNT(compat_fields);
