/* validate.c -- is a value what its field says? One function per kind of rule,
 * in the incumbent's order (entity-schemas.json, "conventions"): the first rule
 * that fails gives the text. */
#include "model/engine.h"

#include "model/checks.h"

#include "base/json.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* -- patterns: compiled once, found by the address of the constant -------- */

enum { PATTERNS_MAX = 512 }; /* a power of two, far above what the tables hold */

/* `code` is written before `regex` and never changes after it: readers need no lock. */
static struct {
    const char *regex;
    pcre2_code *code;
} patterns[PATTERNS_MAX];
static pthread_mutex_t patterns_lock = PTHREAD_MUTEX_INITIALIZER;

/* The place of `regex`, or the free one where it belongs. */
static size_t pattern_place(const char *regex)
{
    size_t at = ((uintptr_t)regex >> 3) % PATTERNS_MAX;
    for (size_t probes = 0; probes < PATTERNS_MAX; probes++) {
        const char *there = __atomic_load_n(&patterns[at].regex, __ATOMIC_ACQUIRE);
        if (there == NULL || there == regex)
            return at;
        at = (at + 1) % PATTERNS_MAX;
    }
    weir_assert(false && "more patterns than PATTERNS_MAX");
    return 0;
}

static const pcre2_code *compiled(const char *regex)
{
    size_t at = pattern_place(regex);
    if (__atomic_load_n(&patterns[at].regex, __ATOMIC_ACQUIRE) == regex)
        return patterns[at].code;
    pthread_mutex_lock(&patterns_lock);
    at = pattern_place(regex); /* another thread may have been faster */
    if (patterns[at].regex == NULL) {
        int number = 0;
        PCRE2_SIZE offset = 0;
        patterns[at].code = pcre2_compile((PCRE2_SPTR)regex, PCRE2_ZERO_TERMINATED,
                                          PCRE2_DOLLAR_ENDONLY, &number, &offset, NULL);
        weir_assert(patterns[at].code != NULL);
        __atomic_store_n(&patterns[at].regex, regex, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&patterns_lock);
    return patterns[at].code;
}

static bool matches(const char *regex, weir_str_t text)
{
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    if (data == NULL)
        return false;
    int rc = pcre2_match(compiled(regex), (PCRE2_SPTR)text.data, text.len, 0, 0, data, NULL);
    pcre2_match_data_free(data);
    return rc >= 0;
}

/* -- texts ---------------------------------------------------------------- */

static weir_json_t *expected_one_of(weir_engine_t *engine, const char *start, const char *words)
{
    char list[512];
    size_t len = 0;
    for (const char *at = words; *at != '\0' && len + 64 < sizeof(list);) {
        size_t word = strcspn(at, " ");
        len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%.*s", len > 0 ? ", " : "",
                                (int)word, at);
        at += word + strspn(at + word, " ");
    }
    return weir_engine_text(engine, "%s: %s", start, list);
}

static const char *number_text(double number, char *text, size_t bytes)
{
    snprintf(text, bytes, "%.14g", number);
    return text;
}

enum { REASON_BYTES_MAX = 64 * 1024 * 1024 };

/* -- scalars -------------------------------------------------------------- */

static weir_json_t *validate_number(weir_engine_t *engine, const weir_field_t *field,
                                    const weir_json_t *value)
{
    bool integer = field->type == WEIR_TYPE_INTEGER;
    if (weir_json_kind(value) != WEIR_JSON_NUMBER)
        return weir_engine_text(engine, integer ? "expected an integer" : "expected a number");
    double number = weir_json_number(value);
    if (!isfinite(number) || (integer && floor(number) != number))
        return weir_engine_text(engine, integer ? "expected an integer" : "expected a number");
    char low[32];
    char high[32];
    if (field->one_of != NULL &&
        !weir_words_have(field->one_of, weir_str(number_text(number, low, sizeof(low)))))
        return expected_one_of(engine, "expected one of", field->one_of);
    if ((field->flags & WEIR_TIMESTAMP) && number <= 0)
        return weir_engine_text(engine, "expected a valid timestamp");
    if ((field->flags & WEIR_ABOVE_MIN) && number <= field->min)
        return weir_engine_text(engine, "value must be greater than %s",
                                number_text(field->min, low, sizeof(low)));
    if ((field->flags & WEIR_HAS_RANGE) && (number < field->min || number > field->max))
        return weir_engine_text(engine, "value should be between %s and %s",
                                number_text(field->min, low, sizeof(low)),
                                number_text(field->max, high, sizeof(high)));
    return NULL;
}

static bool is_vault_reference(weir_str_t text)
{
    return weir_str_starts(text, WEIR_STR("{vault://")) && weir_str_ends(text, WEIR_STR("}"));
}

static weir_json_t *validate_patterns(weir_engine_t *engine, const weir_field_t *field,
                                      weir_str_t text)
{
    for (const weir_pattern_t *p = field->match_none; p != NULL && p->regex != NULL; p++)
        if (matches(p->regex, text))
            return weir_engine_text(engine, "%s", p->error);
    for (const weir_pattern_t *p = field->match; p != NULL && p->regex != NULL; p++) {
        if (matches(p->regex, text))
            continue;
        if (p->error != NULL)
            return weir_engine_text(engine, "%s", p->error);
        return weir_engine_text(engine, "invalid value: %.*s", WEIR_STR_ARG(text));
    }
    if (field->match_any != NULL) {
        bool any = false;
        for (const weir_pattern_t *p = field->match_any; !any && p->regex != NULL; p++)
            any = matches(p->regex, text);
        if (!any)
            return weir_engine_text(engine, "%s", field->error);
    }
    return NULL;
}

/* `reason` with the value where it is to be shown. */
static weir_json_t *with_value(weir_engine_t *engine, const char *reason, weir_str_t value)
{
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, REASON_BYTES_MAX);
    for (const char *at = reason; *at != '\0';) {
        size_t plain = strcspn(at, WEIR_VALUE WEIR_REGEX);
        weir_buffer_append(&text, (weir_str_t){ at, plain });
        at += plain;
        if (*at == '\0')
            break;
        size_t skip = *at == WEIR_REGEX[0] && value.len > 0;
        weir_buffer_append(&text, (weir_str_t){ value.data + skip, value.len - skip });
        at++;
    }
    weir_json_t *shown =
        text.failed == WEIR_OK ? weir_json_new_string(weir_buffer_str(&text)) : NULL;
    if (shown == NULL)
        engine->failed = WEIR_NO_MEMORY;
    return shown;
}

static weir_json_t *validate_string(weir_engine_t *engine, const weir_field_t *field,
                                    const weir_json_t *value)
{
    if (weir_json_kind(value) != WEIR_JSON_STRING)
        return weir_engine_text(engine, "expected a string");
    weir_str_t text = weir_json_string(value);
    if (memmem(text.data, text.len, WEIR_JSON_NUL_MARK, sizeof(WEIR_JSON_NUL_MARK) - 1) != NULL)
        return weir_engine_text(engine, "must not contain a NUL character");
    if ((field->flags & WEIR_REFERENCEABLE) && is_vault_reference(text))
        return NULL;
    if (field->not_one_of != NULL && weir_words_have(field->not_one_of, text))
        return expected_one_of(engine, "must not be one of", field->not_one_of);
    if (field->one_of != NULL && !weir_words_have(field->one_of, text))
        return expected_one_of(engine, "expected one of", field->one_of);
    weir_uuid_t uuid;
    if ((field->flags & WEIR_UUID) && weir_uuid_parse(text, &uuid) != WEIR_OK)
        return weir_engine_text(engine, "expected a valid UUID");
    size_t len_min = field->len_min > 0 ? (size_t)field->len_min : 1;
    if (text.len < len_min && !(field->flags & WEIR_EMPTY_ALLOWED))
        return weir_engine_text(engine, "length must be at least %zu", len_min);
    if (field->len_max > 0 && text.len > (size_t)field->len_max)
        return weir_engine_text(engine, "length must be at most %d", field->len_max);
    if (field->starts_with != NULL && !weir_str_starts(text, weir_str(field->starts_with)))
        return weir_engine_text(engine, "should start with: %s", field->starts_with);
    weir_json_t *error = validate_patterns(engine, field, text);
    if (error != NULL || field->check == NULL)
        return error;
    weir_error_t err = { 0 };
    return field->check(text, &err) == WEIR_OK ? NULL : with_value(engine, err.reason, text);
}

/* -- collections ---------------------------------------------------------- */

typedef struct element {
    weir_json_t *item;
    size_t index;
} element_t;

static int by_text(const void *a, const void *b)
{
    const element_t *x = a;
    const element_t *y = b;
    weir_str_t text = weir_json_string(x->item);
    weir_str_t other = weir_json_string(y->item);
    int order = memcmp(text.data, other.data, text.len < other.len ? text.len : other.len);
    if (order == 0 && text.len != other.len)
        order = text.len < other.len ? -1 : 1;
    return order != 0 ? order : x->index < y->index ? -1 : 1;
}

static void drop(weir_json_t *set, weir_json_t *item)
{
    weir_json_detach(set, item);
    weir_json_free(item);
}

/* A long set: sorted, so that its cost is not the square of what a client sends.
 * Every set of our tables has text in it; what else is there fails anyway. */
static void drop_duplicate_texts(weir_engine_t *engine, weir_json_t *set, size_t count)
{
    WEIR_AUTO(free) element_t *elements = weir_calloc(count, sizeof(*elements));
    if (elements == NULL) {
        engine->failed = WEIR_NO_MEMORY;
        return;
    }
    size_t texts = 0;
    for (weir_json_t *item = weir_json_first_mutable(set); item != NULL;
         item = weir_json_next_mutable(item), texts++) {
        if (weir_json_kind(item) != WEIR_JSON_STRING)
            return;
        elements[texts] = (element_t){ item, texts };
    }
    qsort(elements, texts, sizeof(*elements), by_text);
    size_t kept = 0;
    for (size_t i = 1; i < texts; i++) {
        if (weir_str_equal(weir_json_string(elements[kept].item),
                           weir_json_string(elements[i].item)))
            drop(set, elements[i].item);
        else
            kept = i;
    }
}

/* The first of equal elements stays. */
static void drop_duplicates(weir_engine_t *engine, weir_json_t *set)
{
    enum { PAIRWISE_MAX = 32 };
    size_t count = weir_json_count(set);
    if (count > PAIRWISE_MAX) {
        drop_duplicate_texts(engine, set, count);
        return;
    }
    for (weir_json_t *item = weir_json_first_mutable(set); item != NULL;
         item = weir_json_next_mutable(item)) {
        weir_json_t *next = NULL;
        for (weir_json_t *later = weir_json_next_mutable(item); later != NULL; later = next) {
            next = weir_json_next_mutable(later);
            if (weir_json_equal(item, later))
                drop(set, later);
        }
    }
}

/* "these sets are mutually exclusive: ('tcp', 'tls'), ('http')", in the order in
 * which the members appear. */
static weir_json_t *validate_exclusive(weir_engine_t *engine, const weir_field_t *field,
                                       const weir_json_t *set)
{
    char seen[8] = { 0 }; /* indexes of the subsets, in order of appearance */
    size_t count = 0;
    for (const weir_json_t *item = weir_json_first(set); item != NULL; item = weir_json_next(item))
        for (size_t i = 0; field->exclusive[i] != NULL; i++)
            if (weir_words_have(field->exclusive[i], weir_json_string(item)) &&
                memchr(seen, (char)(i + 1), count) == NULL && count < sizeof(seen))
                seen[count++] = (char)(i + 1);
    if (count < 2)
        return NULL;
    char list[512];
    size_t len = 0;
    for (size_t k = 0; k < count; k++) {
        len += (size_t)snprintf(list + len, sizeof(list) - len, "%s(", k > 0 ? ", " : "");
        const char *at = field->exclusive[seen[k] - 1];
        for (bool first = true; *at != '\0'; first = false) {
            size_t word = strcspn(at, " ");
            len += (size_t)snprintf(list + len, sizeof(list) - len, "%s'%.*s'", first ? "" : ", ",
                                    (int)word, at);
            at += word + strspn(at + word, " ");
        }
        len += (size_t)snprintf(list + len, sizeof(list) - len, ")");
    }
    return weir_engine_text(engine, "these sets are mutually exclusive: %s", list);
}

static weir_json_t *validate_list(weir_engine_t *engine, const weir_field_t *field,
                                  weir_json_t *value)
{
    bool set = field->type == WEIR_TYPE_SET;
    if (weir_json_kind(value) != WEIR_JSON_ARRAY)
        return weir_engine_text(engine, set ? "expected a set" : "expected an array");
    if (set && field->of->type != WEIR_TYPE_RECORD) /* no two records are the same there */
        drop_duplicates(engine, value);
    weir_json_t *errors = NULL;
    size_t index = 0;
    size_t filled = 0; /* places of `errors` */
    for (weir_json_t *item = weir_json_first_mutable(value); item != NULL;
         item = weir_json_next_mutable(item), index++) {
        weir_json_t *error = weir_json_is_null(item)
                                 ? weir_engine_text(engine, "required field missing")
                                 : weir_engine_validate_field(engine, field->of, item);
        if (error == NULL)
            continue;
        if (errors == NULL)
            errors = weir_json_new_array();
        int rc = errors != NULL ? WEIR_OK : WEIR_NO_MEMORY;
        for (; rc == WEIR_OK && filled < index; filled++)
            rc = weir_json_append(errors, weir_json_new_null());
        filled = index + 1;
        if (rc == WEIR_OK)
            rc = weir_json_append(errors, error);
        else
            weir_json_free(error);
        if (rc != WEIR_OK)
            engine->failed = WEIR_NO_MEMORY;
    }
    if (errors != NULL)
        return errors;
    if (field->len_min > 0 && weir_json_count(value) < (size_t)field->len_min)
        return weir_engine_text(engine, "length must be at least %d", field->len_min);
    return field->exclusive != NULL ? validate_exclusive(engine, field, value) : NULL;
}

static weir_json_t *validate_map(weir_engine_t *engine, const weir_field_t *field,
                                 weir_json_t *value)
{
    if (weir_json_kind(value) == WEIR_JSON_ARRAY && field->keys != NULL &&
        field->keys->type == WEIR_TYPE_STRING) /* an array is a table with numbers as keys */
        return weir_engine_text(engine, "expected a string");
    if (weir_json_kind(value) != WEIR_JSON_OBJECT)
        return weir_engine_text(engine, "expected a map");
    for (weir_json_t *member = weir_json_first_mutable(value); member != NULL;
         member = weir_json_next_mutable(member)) {
        weir_json_t *key = weir_json_new_string(weir_str(weir_json_name(member)));
        if (key == NULL) {
            engine->failed = WEIR_NO_MEMORY;
            return NULL;
        }
        weir_json_t *error =
            field->keys != NULL ? weir_engine_validate_field(engine, field->keys, key) : NULL;
        weir_json_free(key);
        if (error == NULL && weir_json_is_null(member))
            error = weir_engine_text(engine, "required field missing");
        if (error == NULL && field->of != NULL)
            error = weir_engine_validate_field(engine, field->of, member);
        if (error != NULL)
            return error;
    }
    return NULL;
}

static weir_json_t *validate_members(weir_engine_t *engine, const weir_field_t *fields,
                                     weir_json_t *record, bool top)
{
    weir_json_t *errors = NULL;
    size_t known = 0;
    for (const weir_field_t *base = fields; base->name != NULL; base++) {
        weir_field_t room;
        const weir_field_t *field = top ? weir_engine_field(engine, base, &room) : base;
        if (!weir_engine_knows(engine, base, record))
            continue;
        weir_json_t *value = weir_json_get_mutable(record, base->name);
        known += value != NULL;
        weir_json_t *error = weir_engine_validate_field(engine, field, value);
        if (error != NULL)
            errors = weir_engine_add(engine, errors, base->name, error);
    }
    if (known == weir_json_count(record))
        return errors;
    for (const weir_json_t *member = weir_json_first(record); member != NULL;
         member = weir_json_next(member)) {
        const weir_field_t *field = fields;
        while (field->name != NULL && strcmp(field->name, weir_json_name(member)) != 0)
            field++;
        if (field->name != NULL && weir_engine_knows(engine, field, record))
            continue;
        if (strcmp(weir_json_name(member), "@entity") == 0) /* the place of other errors */
            errors = weir_engine_add_entity(engine, errors, "unknown field");
        else
            errors = weir_engine_add(engine, errors, weir_json_name(member),
                                     weir_engine_text(engine, "unknown field"));
    }
    return errors;
}

/* An array is a table with numbers as keys: none of them is a member. */
static weir_json_t *unknown_elements(weir_engine_t *engine, const weir_json_t *array)
{
    weir_json_t *errors = weir_json_new_array();
    for (const weir_json_t *item = weir_json_first(array); errors != NULL && item != NULL;
         item = weir_json_next(item))
        if (weir_json_append(errors, weir_engine_text(engine, "unknown field")) != WEIR_OK)
            break;
    if (errors == NULL)
        engine->failed = WEIR_NO_MEMORY;
    return errors;
}

static weir_json_t *validate_record(weir_engine_t *engine, const weir_field_t *field,
                                    weir_json_t *value)
{
    if (weir_json_kind(value) == WEIR_JSON_ARRAY)
        return unknown_elements(engine, value);
    if (weir_json_kind(value) != WEIR_JSON_OBJECT)
        return weir_engine_text(engine, "expected a record");
    weir_json_t *errors = NULL;
    if (field->fields != NULL)
        errors = validate_members(engine, field->fields, value, false);
    if (field->checks != NULL)
        errors = weir_engine_check(engine, field->checks, value, errors);
    weir_error_t err = { 0 };
    if (errors == NULL && field->check_record != NULL &&
        field->check_record(value, &err) != WEIR_OK)
        return weir_engine_text(engine, "%s", err.reason);
    return errors;
}

/* admin-api 4, "Foreign references in bodies". Names are resolved before this. */
static weir_json_t *validate_foreign(weir_engine_t *engine, const weir_field_t *field,
                                     weir_json_t *value)
{
    const weir_json_t *id = weir_json_get(value, "id");
    weir_uuid_t uuid;
    if (weir_json_kind(id) == WEIR_JSON_STRING &&
        weir_uuid_parse(weir_json_string(id), &uuid) == WEIR_OK) {
        char text[WEIR_UUID_TEXT + 1];
        weir_uuid_format(&uuid, text);
        weir_json_t *only = NULL; /* other members say nothing: keep the id alone */
        while ((only = weir_json_first_mutable(value)) != NULL) {
            weir_json_detach(value, only);
            weir_json_free(only);
        }
        if (weir_json_set(value, "id", weir_json_new_string(weir_str(text))) != WEIR_OK)
            engine->failed = WEIR_NO_MEMORY;
        return NULL;
    }
    weir_json_t *errors = NULL;
    const weir_schema_t *schema = weir_schema_named(weir_str(field->to));
    for (weir_json_t *member = id == NULL ? weir_json_first_mutable(value) : NULL;
         schema != NULL && member != NULL; member = weir_json_next_mutable(member)) {
        const char *name = weir_json_name(member);
        const weir_field_t *foreign =
            name != NULL ? weir_schema_field(schema, weir_str(name)) : NULL;
        if (name == NULL ||
            (foreign != NULL && (weir_json_is_null(member) || foreign->type == WEIR_TYPE_FOREIGN)))
            continue;
        weir_json_t *error = foreign != NULL ? weir_engine_validate_field(engine, foreign, member)
                                             : weir_engine_text(engine, "unknown field");
        if (error != NULL)
            errors = weir_engine_add(engine, errors, name, error);
    }
    if (errors != NULL)
        return errors;
    const char *why = "missing primary key";
    if (id != NULL)
        why = weir_json_is_null(id)                    ? "required field missing"
              : weir_json_kind(id) != WEIR_JSON_STRING ? "expected a string"
                                                       : "expected a valid UUID";
    return weir_engine_add(engine, NULL, "id", weir_engine_text(engine, "%s", why));
}

weir_json_t *weir_engine_validate_field(weir_engine_t *engine, const weir_field_t *field,
                                        weir_json_t *value)
{
    if (weir_json_is_null(value)) {
        if (!(field->flags & WEIR_REQUIRED))
            return NULL;
        return weir_engine_text(engine, "required field missing");
    }
    if (field->flags & WEIR_MUST_BE_NULL)
        return weir_engine_text(engine, "%s",
                                field->error != NULL ? field->error : "value must be null");
    switch (field->type) {
    case WEIR_TYPE_STRING:
        return validate_string(engine, field, value);
    case WEIR_TYPE_INTEGER:
    case WEIR_TYPE_NUMBER:
        return validate_number(engine, field, value);
    case WEIR_TYPE_BOOLEAN:
        if (weir_json_kind(value) != WEIR_JSON_BOOLEAN)
            return weir_engine_text(engine, "expected a boolean");
        if ((field->flags & WEIR_MUST_NOT_BE_TRUE) && weir_json_boolean(value))
            return weir_engine_text(engine, "%s", field->error);
        return NULL;
    case WEIR_TYPE_ARRAY:
    case WEIR_TYPE_SET:
        return validate_list(engine, field, value);
    case WEIR_TYPE_MAP:
        return validate_map(engine, field, value);
    case WEIR_TYPE_RECORD:
        return validate_record(engine, field, value);
    case WEIR_TYPE_FOREIGN:
        return validate_foreign(engine, field, value);
    case WEIR_TYPE_NONE:
        break;
    }
    return NULL;
}

weir_json_t *weir_engine_validate(weir_engine_t *engine, weir_json_t *entity)
{
    weir_json_t *errors = validate_members(engine, engine->schema->fields, entity, true);
    if (engine->schema->checks != NULL)
        errors = weir_engine_check(engine, engine->schema->checks, entity, errors);
    if (engine->sub_checks != NULL)
        errors = weir_engine_check(engine, engine->sub_checks, entity, errors);
    return errors;
}
