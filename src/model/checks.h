/* checks.h -- rules for single values that a table cannot say.
 *
 * Each takes the text of a field and answers WEIR_OK, or WEIR_INVALID with
 * err->reason being the incumbent's text (entity-schemas.json, "validators"). */
#ifndef WEIR_CHECKS_H
#define WEIR_CHECKS_H

#include "base/base.h"
#include "weir/json.h"
#include "weir/schema.h" /* those that plugins need, too */

/* Stands in a reason for the value that was judged: texts show it whole, however
 * long, and an error object is short. The engine puts it in. */
#define WEIR_VALUE "\001"
#define WEIR_REGEX "\002" /* the same without its first byte, a '~' */

int weir_check_host_with_optional_port(weir_str_t value, weir_error_t *err);
int weir_check_route_host(weir_str_t value, weir_error_t *err); /* one '*' at an end */
int weir_check_wildcard_host(weir_str_t value, weir_error_t *err);
int weir_check_upstream_name(weir_str_t value, weir_error_t *err);
int weir_check_target(weir_str_t value, weir_error_t *err);
int weir_check_route_path(weir_str_t value, weir_error_t *err); /* prefix or ~regex */
int weir_check_utf8_name(weir_str_t value, weir_error_t *err);
int weir_check_tag(weir_str_t value, weir_error_t *err);
int weir_check_method(weir_str_t value, weir_error_t *err);
int weir_check_cookie_name(weir_str_t value, weir_error_t *err);
int weir_check_certificate(weir_str_t value, weir_error_t *err);
int weir_check_key(weir_str_t value, weir_error_t *err);
int weir_check_signature_key(weir_str_t value, weir_error_t *err); /* in words of its own */
int weir_check_uri(weir_str_t value, weir_error_t *err);           /* absolute, no fragment */

/* A record of `private_key` and `public_key`, each of them PEM text or a vault reference. */
int weir_check_pem_pair(const weir_json_t *pem, weir_error_t *err);

/* Over a whole entity. */
int weir_check_cert_matches_key(const weir_json_t *entity, int64_t now_s, weir_error_t *err);
int weir_check_cert_alt_matches_key_alt(const weir_json_t *entity, int64_t now_s,
                                        weir_error_t *err);
int weir_check_cert_types_differ(const weir_json_t *entity, int64_t now_s, weir_error_t *err);
/* The JSON Web Key in `jwk` of an entity of keys, if it has one (RFC 7517). */
int weir_check_jwk_of_key(const weir_json_t *entity, int64_t now_s, weir_error_t *err);
int weir_check_single_unexpired_ca(const weir_json_t *entity, int64_t now_s, weir_error_t *err);

/* `regex` must compile in PCRE2 (the value judged is "~" and the regex). */
int weir_check_regex(weir_str_t regex, weir_error_t *err);
/* ... and be of the syntax of the incumbent's second engine, which has linear
 * time and no look-around, back-references, possessive or atomic groups. */
int weir_check_linear_regex(weir_str_t regex, weir_error_t *err);
/* All regular expressions of a route (routing 1.5). */
int weir_check_route_expression(const weir_json_t *entity, int64_t now_s, weir_error_t *err);

/* SHA-256 of the first certificate in `pem`, DER form, as 64 lower-case digits. */
int weir_certificate_digest(weir_str_t pem, char ret[65], weir_error_t *err);

/* "host", "1.2.3.4" or "[::1]" with an optional port, in the form in which
 * targets are stored: IPv6 written out, port 8000 if there is none.
 * WEIR_INVALID if it is none of these. */
int weir_target_normalize(weir_str_t target, char *ret, size_t bytes);

/* False, with the offset of the first bad byte, if `text` is not UTF-8. */
bool weir_utf8_valid(weir_str_t text, size_t *ret_position);

#endif
