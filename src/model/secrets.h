/* secrets.h -- secrets of credentials that are stored as hashes. Private to src/model. */
#ifndef WEIR_SECRETS_H
#define WEIR_SECRETS_H

#include "model/model.h"

/* NULL if `sent` may change what the hash of `schema` is made from; else the rule that it
 * breaks, as a text of entity errors (entity-schemas.json, "transformations"). `sent` is
 * the body, `current` the stored entity and NULL but for updates, `entity` the result. */
const char *weir_secrets_rule(const weir_schema_t *schema, const weir_json_t *sent,
                              const weir_json_t *current, const weir_json_t *entity);

/* Replaces the secret in `entity` by its hash if this write brings one: for an update (with
 * `current`) one that `sent` has. WEIR_NO_MEMORY, or WEIR_IO if there is no randomness. */
int weir_secrets_hash(const weir_schema_t *schema, const weir_json_t *sent,
                      const weir_json_t *current, const weir_model_env_t *env, weir_json_t *entity);

#endif
