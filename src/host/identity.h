/* identity.h -- which node a client certificate is for (cluster_bind_identity). */
#ifndef WEIR_HOST_IDENTITY_H
#define WEIR_HOST_IDENTITY_H

#include "base/base.h"

#include <openssl/x509.h>

/* Whether the certificate names this node: as its common name, as a SAN that is the
 * URI urn:uuid:ID, or as a SAN that is the DNS name ID, in any case of letters. False
 * for a node id that is no UUID in lower case: one node must not have several rows. */
bool weir_identity_names(const X509 *certificate, weir_str_t node_id);

#endif
