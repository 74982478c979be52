/* write_bench.c -- what a write of a typical entity costs, in microseconds. */
#include "base/clock.h"
#include "model/fixture.h"

#include <stdio.h>

static void measure(const char *what, weir_entity_type_t type, weir_write_t write, const char *text,
                    const char *current_text)
{
    enum { RUNS = 20000 };
    weir_model_env_t env = fixture_env();
    weir_json_t *body = fixture_json(text);
    weir_json_t *current = fixture_json(current_text);
    int failed = 0;
    int64_t start_us = 0;
    for (int i = -RUNS / 10; i < RUNS; i++) {
        if (i == 0)
            start_us = weir_clock_monotonic_us();
        weir_problem_t problem;
        weir_json_t *entity = NULL;
        weir_problem_init(&problem);
        if (weir_model_write(weir_schema(type), write, body, current, &env, &entity, &problem) ==
            WEIR_OK)
            weir_json_free(entity);
        else
            failed++;
        weir_problem_release(&problem);
    }
    int64_t took_us = weir_clock_monotonic_us() - start_us;
    printf("%-24s %6.2f us%s\n", what, (double)took_us / RUNS, failed > 0 ? "  REFUSED" : "");
    weir_json_free(body);
    weir_json_free(current);
}

int main(void)
{
    measure("consumer", WEIR_CONSUMERS, WEIR_INSERT,
            "{\"username\":\"anna\",\"custom_id\":\"c-1\",\"tags\":[\"a\",\"b\"]}", NULL);
    measure("credential", WEIR_KEYAUTH_CREDENTIALS, WEIR_INSERT,
            "{\"key\":\"0123456789abcdef\",\"consumer\":{\"id\":"
            "\"00000000-0000-4000-8000-000000000001\"}}",
            NULL);
    measure("service", WEIR_SERVICES, WEIR_INSERT,
            "{\"name\":\"orders\",\"url\":\"http://orders.internal:8080/v1\"}", NULL);
    measure("route", WEIR_ROUTES, WEIR_INSERT,
            "{\"name\":\"orders\",\"paths\":[\"/orders\"],\"hosts\":[\"api.example.com\"],"
            "\"methods\":[\"GET\",\"POST\"],\"service\":{\"id\":"
            "\"00000000-0000-4000-8000-000000000001\"}}",
            NULL);
    measure("route with a regex", WEIR_ROUTES, WEIR_INSERT,
            "{\"name\":\"orders\",\"paths\":[\"~/orders/(?<id>[0-9]+)$\"]}", NULL);
    measure("plugin", WEIR_PLUGINS, WEIR_INSERT,
            "{\"name\":\"key-auth\",\"config\":{\"key_names\":[\"apikey\"]}}", NULL);
    measure("target", WEIR_TARGETS, WEIR_INSERT,
            "{\"target\":\"10.0.0.1:80\",\"upstream\":{\"id\":"
            "\"00000000-0000-4000-8000-000000000001\"}}",
            NULL);
    measure("upstream", WEIR_UPSTREAMS, WEIR_INSERT, "{\"name\":\"u.test\"}", NULL);
    measure("PATCH of a consumer", WEIR_CONSUMERS, WEIR_UPDATE, "{\"tags\":[\"x\"]}",
            "{\"id\":\"00000000-0000-4000-8000-000000000001\",\"created_at\":1,\"updated_at\":1,"
            "\"username\":\"anna\",\"custom_id\":null,\"tags\":null}");
    return 0;
}
