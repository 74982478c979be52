/* identity.c -- which node a client certificate is for (cluster_bind_identity). */
#include "host/identity.h"

#include "base/uuid.h"

#include <openssl/x509v3.h>

static const char urn[] = "urn:uuid:";

static weir_str_t text_of(const ASN1_STRING *string)
{
    return (weir_str_t){ (const char *)ASN1_STRING_get0_data(string),
                         (size_t)ASN1_STRING_length(string) };
}

static bool is_id(weir_str_t text, const weir_uuid_t *id)
{
    weir_uuid_t found;
    return weir_uuid_parse(text, &found) == WEIR_OK && weir_uuid_equal(&found, id);
}

/* RFC 4122 3: "urn:uuid:" is the same in any case of letters. */
static bool is_urn(weir_str_t text, const weir_uuid_t *id)
{
    size_t len = sizeof(urn) - 1;
    if (text.len < len || strncasecmp(text.data, urn, len) != 0)
        return false;
    return is_id((weir_str_t){ text.data + len, text.len - len }, id);
}

static bool common_name_is(const X509 *certificate, const weir_uuid_t *id)
{
    const X509_NAME *subject = X509_get_subject_name(certificate);
    for (int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1); at >= 0;
         at = X509_NAME_get_index_by_NID(subject, NID_commonName, at))
        if (is_id(text_of(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at))), id))
            return true;
    return false;
}

static bool alternative_name_is(const X509 *certificate, const weir_uuid_t *id)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    bool found = false;
    for (int i = 0; !found && i < sk_GENERAL_NAME_num(names); i++) { /* of NULL it is -1 */
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_URI)
            found = is_urn(text_of(name->d.uniformResourceIdentifier), id);
        else if (name->type == GEN_DNS)
            found = is_id(text_of(name->d.dNSName), id);
    }
    GENERAL_NAMES_free(names);
    return found;
}

bool weir_identity_names(const X509 *certificate, weir_str_t node_id)
{
    weir_uuid_t id;
    char canonical[WEIR_UUID_TEXT + 1];
    if (weir_uuid_parse(node_id, &id) != WEIR_OK)
        return false;
    weir_uuid_format(&id, canonical);
    return weir_str_is(node_id, canonical) &&
           (common_name_is(certificate, &id) || alternative_name_is(certificate, &id));
}
