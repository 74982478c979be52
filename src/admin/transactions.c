/* transactions.c -- POST /transactions: operations over any entities, all or none, one
 * version (docs/admin-extensions.md).
 *
 * Each operation runs through the handler of its path, as a request of its own would:
 * create is POST, update PATCH, upsert PUT, delete DELETE. What they write is staged
 * (staging.c) and stored at the end in one write of the store. */
#include "admin/internal.h"

enum {
    ATTEMPTS_BESIDE = 3, /* beside other writes; then alone */
    ATTEMPTS_MAX = 8,
    PATH_BYTES_MAX = 64 * 1024,
    PATH_SHOWN_MAX = 200,
};

typedef struct operation {
    const char *name; /* NULL: not known yet */
    method_t method;
    weir_str_t path; /* given, or made of type and key */
    const weir_json_t *body;
} operation_t;

typedef struct transaction {
    call_t *call;
    operation_t *operations;
    size_t count;
    weir_admin_response_t scratch; /* of the operation that runs */
    weir_buffer_t entities;        /* the results so far, as JSON, with commas */
    bool refused_once;             /* the store refused this op of the last attempt ... */
    size_t refused_op;
} transaction_t;

static const struct {
    const char *name;
    method_t method;
} kinds[] = {
    { "create", METHOD_POST },
    { "update", METHOD_PATCH },
    { "upsert", METHOD_PUT },
    { "delete", METHOD_DELETE },
};

/* A call for operation `index`, whose answer goes to the scratch response. */
static call_t sub_call(transaction_t *t, size_t index)
{
    call_t sub = {
        .admin = t->call->admin,
        .request = t->call->request,
        .response = &t->scratch,
        .err = t->call->err,
        .arena = t->call->arena,
        .method = t->operations[index].method,
        .now = t->call->now,
        .staging = t->call->staging,
    };
    t->scratch.status = 0;
    t->scratch.header_count = 0;
    weir_buffer_clear(&t->scratch.body);
    return sub;
}

/* -- errors: the operation's own answer, and which one it was -------------------------- */

static int describe(const operation_t *operation, size_t index, weir_json_t *error)
{
    weir_json_t *about = weir_json_new_object();
    int rc = weir_json_set(error, "operation", about);
    if (rc == WEIR_OK)
        rc = weir_json_set(about, "index", weir_json_new_number((double)index));
    if (rc == WEIR_OK && operation->name != NULL)
        rc = set_text(about, "op", weir_str(operation->name));
    if (rc == WEIR_OK && operation->path.data != NULL)
        rc = set_text(about, "path", operation->path);
    return rc;
}

/* What an answer that only has a message, or is a page, says in the usual shape. */
static int complete_error(int status, weir_json_t *error)
{
    static const struct {
        int status, code;
        const char *name, *reason;
    } plain[] = {
        { 404, 6, "not found", "nothing is there" },
        { 405, 12, "operation unsupported", "does not take this operation" },
        { 0, 2, "schema violation", "cannot be used" },
    };
    size_t i = 0;
    while (plain[i].status != 0 && plain[i].status != status)
        i++;
    if (weir_json_get(error, "code") != NULL)
        return WEIR_OK;
    weir_json_t *fields = weir_json_new_object();
    int rc = set_text(fields, "path", weir_str(plain[i].reason));
    if (rc != WEIR_OK) {
        weir_json_free(fields);
        return rc;
    }
    rc = weir_json_set(error, "fields", fields);
    if (rc == WEIR_OK)
        rc = weir_json_set(error, "code", weir_json_new_number(plain[i].code));
    if (rc == WEIR_OK)
        rc = set_text(error, "name", weir_str(plain[i].name));
    return rc;
}

static weir_str_t name_operation(call_t *call, const operation_t *operation, size_t index,
                                 weir_str_t said)
{
    weir_str_t path = operation->path;
    if (path.len > PATH_SHOWN_MAX)
        path.len = PATH_SHOWN_MAX;
    return operation->name != NULL && path.data != NULL
               ? weir_arena_printf(call->arena, "operation %zu (%s %.*s): %.*s", index,
                                   operation->name, WEIR_STR_ARG(path), WEIR_STR_ARG(said))
               : weir_arena_printf(call->arena, "operation %zu: %.*s", index, WEIR_STR_ARG(said));
}

/* Answers the transaction with what the scratch response says of operation `index`. */
static int answer_operation(transaction_t *t, size_t index)
{
    call_t *call = t->call;
    const operation_t *operation = &t->operations[index];
    WEIR_AUTO(json) weir_json_t *error = NULL;
    int rc = weir_json_parse(weir_buffer_str(&t->scratch.body), &error, NULL);
    if (rc == WEIR_NO_MEMORY)
        return weir_error_memory(call->err);
    if (rc != WEIR_OK && (error = weir_json_new_object()) == NULL)
        return weir_error_memory(call->err);
    weir_str_t said = weir_json_get_string(error, "message", WEIR_STR("the path cannot be used"));
    weir_str_t message = name_operation(call, operation, index, said);
    if (message.data == NULL || set_text(error, "message", message) != WEIR_OK ||
        complete_error(t->scratch.status, error) != WEIR_OK ||
        describe(operation, index, error) != WEIR_OK)
        return weir_error_memory(call->err);
    return answer_value(call, t->scratch.status, error);
}

/* -- reading the operations -------------------------------------------------------------- */

static int check_members(transaction_t *t, size_t index, const weir_json_t *item)
{
    static const char *const known[] = { "op", "path", "type", "id", "name", "body" };
    call_t sub = sub_call(t, index);
    for (const weir_json_t *m = weir_json_first(item); m != NULL; m = weir_json_next(m)) {
        size_t i = 0;
        while (i < WEIR_COUNT(known) && strcmp(known[i], weir_json_name(m)) != 0)
            i++;
        if (i == WEIR_COUNT(known))
            return answer_violation(&sub, weir_json_name(m), "unknown field");
        if (strcmp(known[i], "body") != 0 && weir_json_kind(m) != WEIR_JSON_STRING)
            return answer_violation(&sub, known[i], "expected a string");
    }
    return WEIR_OK;
}

static int read_kind(transaction_t *t, size_t index, const weir_json_t *item)
{
    operation_t *operation = &t->operations[index];
    call_t sub = sub_call(t, index);
    weir_str_t name = weir_json_get_string(item, "op", WEIR_STR(""));
    for (size_t i = 0; i < WEIR_COUNT(kinds); i++)
        if (weir_str_is(name, kinds[i].name)) {
            operation->name = kinds[i].name;
            operation->method = kinds[i].method;
            return WEIR_OK;
        }
    return answer_violation(&sub, "op", "expected one of: create, update, upsert, delete");
}

static const weir_schema_t *schema_of(weir_str_t type)
{
    for (int i = 1; i < WEIR_ENTITY_TYPES; i++) {
        const weir_schema_t *schema = weir_schema((weir_entity_type_t)i);
        if (schema != NULL && schema->admin_name != NULL && schema->type != WEIR_TARGETS &&
            (weir_str_is(type, schema->admin_name) || weir_str_is(type, schema->name)))
            return schema;
    }
    return NULL;
}

/* The path that a type, with an id or a name, stands for. */
static int make_path(transaction_t *t, size_t index, const weir_json_t *item)
{
    static const weir_str_t absent = { NULL, 0 };
    operation_t *operation = &t->operations[index];
    call_t sub = sub_call(t, index);
    const weir_schema_t *schema = schema_of(weir_json_get_string(item, "type", WEIR_STR("")));
    weir_str_t id = weir_json_get_string(item, "id", absent);
    weir_str_t name = weir_json_get_string(item, "name", absent);
    weir_str_t key = id.data != NULL ? id : name;
    if (schema == NULL)
        return answer_violation(&sub, "type", "no such type, or one that only has a path");
    if (id.data != NULL && name.data != NULL)
        return answer_violation(&sub, "name", "either id or name");
    if (operation->method == METHOD_POST && key.data != NULL)
        return answer_violation(&sub, id.data != NULL ? "id" : "name",
                                "of what is created stands in the body");
    if (operation->method != METHOD_POST && key.len == 0)
        return answer_violation(&sub, "id", "required: id or name");
    WEIR_AUTO(buffer) weir_buffer_t path;
    weir_buffer_init(&path, PATH_BYTES_MAX);
    weir_buffer_printf(&path, "/%s", schema->admin_name);
    if (key.data != NULL) {
        weir_buffer_byte(&path, '/');
        encode(&path, key);
    }
    if (path.failed == WEIR_TOO_LARGE)
        return answer_violation(&sub, "name", "is too long");
    operation->path = weir_arena_copy(t->call->arena, weir_buffer_str(&path));
    return operation->path.data != NULL ? WEIR_OK : weir_error_memory(t->call->err);
}

static int read_path(transaction_t *t, size_t index, const weir_json_t *item)
{
    operation_t *operation = &t->operations[index];
    const weir_json_t *path = weir_json_get(item, "path");
    call_t sub = sub_call(t, index);
    if ((path != NULL) == (weir_json_get(item, "type") != NULL))
        return answer_violation(&sub, "path", "required: either path or type");
    if (path == NULL)
        return make_path(t, index, item);
    if (weir_json_get(item, "id") != NULL || weir_json_get(item, "name") != NULL)
        return answer_violation(&sub, "path", "already says which: no id and no name beside it");
    weir_str_t text = weir_json_string(path);
    if (text.len > PATH_BYTES_MAX || memchr(text.data, '?', text.len) != NULL ||
        memmem(text.data, text.len, "%00", 3) != NULL)
        return answer_violation(&sub, "path", "expected a path of the Admin API, without a query");
    operation->path = text;
    return WEIR_OK;
}

static int read_operation(transaction_t *t, size_t index, const weir_json_t *item)
{
    operation_t *operation = &t->operations[index];
    call_t sub = sub_call(t, index);
    if (weir_json_kind(item) != WEIR_JSON_OBJECT)
        return answer_violation(&sub, "operations", "expected a record");
    int rc = check_members(t, index, item);
    if (rc == WEIR_OK)
        rc = read_kind(t, index, item);
    if (rc == WEIR_OK)
        rc = read_path(t, index, item);
    if (rc != WEIR_OK)
        return rc;
    operation->body = weir_json_get(item, "body");
    if (!weir_json_is_null(operation->body) && weir_json_kind(operation->body) != WEIR_JSON_OBJECT)
        return answer_violation(&sub, "body", "expected a record");
    if (operation->method == METHOD_DELETE && weir_json_first(operation->body) != NULL)
        return answer_violation(&sub, "body", "a delete has none");
    return WEIR_OK;
}

static int read_operations(transaction_t *t)
{
    call_t *call = t->call;
    int64_t most =
        weir_setting_integer(call->admin->options.settings, "admin_transaction_operations");
    const weir_json_t *list = weir_json_get(call->body, "operations");
    if (list == NULL)
        return answer_violation(call, "operations", "required field missing");
    if (weir_json_kind(list) != WEIR_JSON_ARRAY || weir_json_first(list) == NULL)
        return answer_violation(call, "operations", "expected an array of operations");
    for (const weir_json_t *m = weir_json_first(call->body); m != NULL; m = weir_json_next(m))
        if (m != list)
            return answer_violation(call, weir_json_name(m), "unknown field");
    t->count = weir_json_count(list);
    if (t->count > (size_t)most)
        return answer_violation(call, "operations",
                                "length must be at most %" PRId64
                                " (admin_transaction_operations), is %zu",
                                most, t->count);
    t->operations = weir_arena_zalloc(call->arena, t->count * sizeof(*t->operations));
    if (t->operations == NULL)
        return weir_error_memory(call->err);
    size_t index = 0;
    int rc = WEIR_OK;
    for (const weir_json_t *item = weir_json_first(list); rc == WEIR_OK && item != NULL;
         item = weir_json_next(item), index++) {
        rc = read_operation(t, index, item);
        if (rc == ANSWERED)
            return answer_operation(t, index);
    }
    return rc;
}

/* -- running them ------------------------------------------------------------------------------ */

/* Up to the answer, as handle.c does with a request. */
static int run_handler(call_t *sub, weir_str_t path)
{
    sub->path = paths_match(sub, path);
    if (sub->path == NULL || sub->path->schema == NULL || !sub->path->stores)
        return answer_violation(sub, "path", "is none of an entity or a collection");
    if (!(sub->path->methods & sub->method))
        return answer_violation(sub, "op",
                                "the path does not take it: create needs a collection, "
                                "the others an entity");
    int rc = decode_parameters(sub);
    if (rc == WEIR_OK && sub->path->before != NULL)
        rc = sub->path->before(sub);
    return rc == WEIR_OK ? sub->path->handle(sub) : rc;
}

/* Whether there is an answer of success in the scratch response; else it is answered. */
static int run_operation(transaction_t *t, size_t index)
{
    const operation_t *operation = &t->operations[index];
    call_t sub = sub_call(t, index);
    staging_begin(sub.staging, index);
    /* A handler changes its body, and a second attempt needs the one that was sent. */
    WEIR_AUTO(json)
    weir_json_t *body = weir_json_is_null(operation->body) ? weir_json_new_object()
                                                           : weir_json_copy(operation->body);
    if (body == NULL)
        return weir_error_memory(t->call->err);
    sub.body = body;
    int rc = run_handler(&sub, operation->path);
    if (rc != WEIR_OK && rc != ANSWERED)
        return rc;
    if (t->scratch.status >= 300)
        return answer_operation(t, index);
    if (index > 0)
        weir_buffer_byte(&t->entities, ',');
    weir_str_t entity = weir_buffer_str(&t->scratch.body);
    weir_buffer_append(&t->entities, entity.len > 0 ? entity : WEIR_STR("null"));
    return WEIR_OK;
}

static int answer_done(transaction_t *t, uint64_t version, bool changed)
{
    weir_buffer_t *out = answer_json(t->call, 200);
    weir_buffer_printf(out, "{\"version\":%" PRIu64 ",\"changed\":%s,\"entities\":[", version,
                       changed ? "true" : "false");
    weir_buffer_append(out, weir_buffer_str(&t->entities));
    weir_buffer_append(out, WEIR_STR("]}"));
    return out->failed == WEIR_OK
               ? ANSWERED
               : weir_error_set(t->call->err, out->failed, NULL,
                                "the answer would be longer than %zu bytes", out->len_max);
}

/* Somebody else may have taken a name, or made the entity, since it was looked for: a
 * second attempt shows. What is to be created was not looked for. */
static bool may_be_a_race(const transaction_t *t, size_t index, const weir_store_result_t *result)
{
    bool taken = result->refusal == WEIR_REFUSED_UNIQUE || result->refusal == WEIR_REFUSED_PRIMARY;
    bool again = t->refused_once && t->refused_op == result->op;
    return taken && !again && t->operations[index].method != METHOD_POST;
}

static int answer_refused(transaction_t *t, const weir_store_op_t *op,
                          const weir_store_result_t *result)
{
    size_t index = staging_operation(t->call->staging, result->op);
    if (may_be_a_race(t, index, result)) {
        t->refused_once = true;
        t->refused_op = result->op;
        return WEIR_AGAIN;
    }
    call_t sub = sub_call(t, index);
    int rc = answer_refused_op(&sub, op, result);
    rc = make_room(&sub, weir_schema(op->type), rc, result);
    return rc == ANSWERED ? answer_operation(t, index) : rc;
}

static int commit(transaction_t *t)
{
    call_t *call = t->call;
    size_t count = 0;
    const weir_store_op_t *ops = staging_ops(call->staging, &count);
    if (t->entities.failed != WEIR_OK)
        return weir_error_set(call->err, t->entities.failed, NULL,
                              "the answer would be longer than %zu bytes", t->entities.len_max);
    if (count == 0) /* deletions of what is not there */
        return answer_done(t, weir_store_version(call->admin->options.store), false);
    weir_store_result_t result;
    int rc = store_commit(call, ops, count, &result);
    if (rc == WEIR_CONFLICT)
        return answer_refused(t, &ops[result.op], &result);
    return rc == WEIR_OK ? answer_done(t, result.version, result.changed) : rc;
}

static int attempt(transaction_t *t)
{
    weir_buffer_clear(&t->entities);
    int rc = staging_new(t->call, t->count);
    for (size_t i = 0; rc == WEIR_OK && i < t->count; i++)
        rc = run_operation(t, i);
    if (rc == WEIR_OK)
        rc = commit(t);
    staging_free(t->call->staging);
    t->call->staging = NULL;
    return rc;
}

/* A long transaction beside others that change its rows might never find them unchanged:
 * after some attempts it keeps the others waiting for one. */
static int run(transaction_t *t)
{
    pthread_rwlock_t *writers = &t->call->admin->writers;
    int rc = WEIR_AGAIN;
    for (unsigned n = 0; rc == WEIR_AGAIN && n < ATTEMPTS_MAX; n++) {
        if (n < ATTEMPTS_BESIDE)
            pthread_rwlock_rdlock(writers);
        else
            pthread_rwlock_wrlock(writers);
        rc = attempt(t);
        pthread_rwlock_unlock(writers);
    }
    if (rc != WEIR_AGAIN)
        return rc;
    return weir_error_set(t->call->err, WEIR_CONFLICT, NULL,
                          "a row changed during each of %d attempts of a transaction",
                          ATTEMPTS_MAX);
}

int handle_transactions(call_t *call)
{
    if (call->is_form)
        return answer_message(call, 415, "a transaction is JSON");
    transaction_t t = { .call = call };
    weir_admin_response_init(&t.scratch, call->response->body.len_max);
    weir_buffer_init(&t.entities, call->response->body.len_max);
    int rc = read_operations(&t);
    if (rc == WEIR_OK)
        rc = run(&t);
    weir_buffer_release(&t.entities);
    weir_admin_response_release(&t.scratch);
    return rc;
}
