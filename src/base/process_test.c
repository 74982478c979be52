/* process_test.c -- what is said of processes: of this one, of one that is dead. */
#include "base/process.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static void this_process_is_found_with_what_it_uses(void **state)
{
    weir_process_t before;
    weir_process_t now;
    (void)state;
    assert_int_equal(weir_process_look(getpid(), &before), WEIR_OK);
    assert_string_equal(before.name, "base-process-te"); /* 15 bytes of it */
    assert_int_equal(before.parent, getppid());
    assert_true(before.resident_bytes > before.shared_bytes && before.shared_bytes > 0);
    enum { BYTES = 64 << 20 };
    char *memory = malloc(BYTES);
    assert_non_null(memory);
    memset(memory, 1, BYTES);
    while ((double)clock() / CLOCKS_PER_SEC < before.cpu_seconds + 0.1)
        continue;
    assert_int_equal(weir_process_look(getpid(), &now), WEIR_OK);
    assert_true(memory[BYTES - 1] == 1);
    assert_true(now.resident_bytes - now.shared_bytes >=
                before.resident_bytes - before.shared_bytes + BYTES / 2);
    assert_true(now.cpu_seconds > before.cpu_seconds && now.cpu_seconds < 60);
    free(memory);
}

static void the_dead_are_not_found(void **state)
{
    weir_process_t found = { .parent = 7 };
    siginfo_t info;
    (void)state;
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    assert_true(child > 0);
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(weir_process_look(child, &found), WEIR_NOT_FOUND); /* not reaped */
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(weir_process_look(child, &found), WEIR_NOT_FOUND);
    assert_int_equal(weir_process_look(0, &found), WEIR_NOT_FOUND);
    assert_int_equal(weir_process_look(-1, &found), WEIR_NOT_FOUND);
    assert_int_equal(found.parent, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(this_process_is_found_with_what_it_uses),
        cmocka_unit_test(the_dead_are_not_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
