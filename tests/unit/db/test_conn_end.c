/* Calls that wait when the process is to end. */
#include <poll.h>
#include <pthread.h>

#include "store_fixture.h"

static struct db_gate gate;

static void *end_soon(void *arg)
{
	(void)arg;
	(void)poll(NULL, 0, 100);
	gate.end_mono_us = clock_mono_us();
	return NULL;
}

START_TEST(conn_call_that_waits_ends_with_the_process)
{
	static const struct db_stmt HANG = {"test_hang", "SELECT pg_sleep(15)"};
	struct db_settings settings = fixture_settings;
	settings.gate = &gate;
	struct db_conn *const c = db_conn_new(&settings);
	ck_assert_int_eq(db_conn_ready(c), ERR_OK);
	pthread_t thread;
	ck_assert_int_eq(pthread_create(&thread, NULL, end_soon, NULL), 0);
	const int64_t begin_us = clock_mono_us();
	ck_assert_int_ne(db_run(c, &HANG, NULL, NULL), ERR_OK);
	ck_assert_int_lt(clock_mono_us() - begin_us, 10 * US_PER_SECOND);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	/* Nor does another call begin. */
	ck_assert_int_eq(db_run(c, &HANG, NULL, NULL), ERR_DATABASE_UNAVAILABLE);
	db_conn_free(c);
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("conn_end");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, conn_call_that_waits_ends_with_the_process);
	return run_store_tests(suite_create("conn_end"), t);
}
