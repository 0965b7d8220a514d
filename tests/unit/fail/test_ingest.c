/* The ingest writer on a real PostgreSQL while memory ends, system calls fail and its connection is cut, at
 * each point of a commit. After each run the database is asked: what was told as stored is there, once; the
 * same keys can be sent again and store nothing twice; the sums are those of the events. */
#include "../ingest/ingest_fixture.h"
#include "fail.h"
#include "llmlab/base/log.h"

#define EVENTS 3

static struct db_gate gate; /* opened again and again: nobody pauses before connecting */
static struct uuid user;
static struct test_group *group;
static char prefix[32];
static int runs;
static int64_t stored_before;

static const struct ingest_settings quick = {
	.max_queued_items = 1000,
	.max_queued_bytes = 16 << 20,
	.max_batch_items = 100,
	.statement_us = US_PER_SECOND,
	.outcome_us = 20 * US_PER_SECOND,
};

static int64_t stored_of(const char *keys)
{
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &user);
	db_param_text(&p, keys);
	return number("fail_stored",
		"SELECT count(*) FROM events AS e JOIN event_keys AS k ON (e.user_id, e.occurred_at, e.id)"
		" = (k.user_id, k.occurred_at, k.event_id) WHERE k.user_id = $1 AND k.key LIKE $2 || '%'",
		&p);
}

static bool wait_for_outcomes(struct test_group *g)
{
	for (int done = 0; done == 0;) {
		gate.next_mono_us = 0;
		const struct timespec pause = {.tv_nsec = US_PER_MS * 1000};
		nanosleep(&pause, NULL);
		pthread_mutex_lock(&g->lock);
		done = g->done;
		pthread_mutex_unlock(&g->lock);
	}
	must(g->done == 1);
	return count_outcomes(g, INGEST_STORED) == g->group.n_items;
}

static bool stores(void)
{
	must(ingest_submit(ingest, &group->group) == ERR_OK);
	return wait_for_outcomes(group);
}

static bool repeats(void)
{
	must(ingest_submit(ingest, &group->group) == ERR_OK);
	(void)wait_for_outcomes(group);
	must(count_outcomes(group, INGEST_STORED) == 0);
	return count_outcomes(group, INGEST_DUPLICATE) == EVENTS;
}

/* ---- before ---- */

static void new_keys(void)
{
	snprintf(prefix, sizeof prefix, "r%d-", ++runs);
}

static void keyed(void)
{
	new_keys();
	group = group_of(plain_event(&user, "2026-03-01T00:00:00Z"), EVENTS, prefix);
}

static void unkeyed(void)
{
	stored_before = events_of(&user);
	group = group_of(plain_event(&user, "2026-03-01T00:00:00Z"), EVENTS, NULL);
}

static void disconnected(void)
{
	keyed();
	execute("fail_terminate", "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity"
				  " WHERE application_name = '" WRITER_NAME "'");
}

/* A month that has no partition yet. */
static void in_a_new_month(void)
{
	char when[32];
	new_keys();
	snprintf(when, sizeof when, "%d-%02d-03T00:00:00Z", 2025 - runs / 12, runs % 12 + 1);
	group = group_of(plain_event(&user, when), EVENTS, prefix);
}

static void stored_already(void)
{
	keyed();
	must(stores());
	free_group(group);
	group = group_of(plain_event(&user, "2026-03-01T00:00:00Z"), EVENTS, prefix);
}

/* ---- afterwards ---- */

/* The same keys until all have an outcome that lasts: nothing is stored twice. */
static void send_again(const char *when)
{
	struct test_group *again;
	size_t good = 0;
	while (good < EVENTS) {
		again = group_of(plain_event(&user, when), EVENTS, prefix);
		must(ingest_submit(ingest, &again->group) == ERR_OK);
		(void)wait_for_outcomes(again);
		must(count_outcomes(again, INGEST_REFUSED) == 0 &&
			count_outcomes(again, INGEST_MISMATCH) == 0);
		good = count_outcomes(again, INGEST_STORED) + count_outcomes(again, INGEST_DUPLICATE);
		free_group(again);
	}
}

static void end_run(void)
{
	free_group(group);
	arena_release(&arena);
	arena_init(&arena, 256 << 20);
}

static void stored_once(bool done)
{
	const int64_t there = stored_of(prefix);
	char when[INSTANT_TEXT_SIZE];
	must(!done || there == EVENTS);
	must(there >= (int64_t)count_outcomes(group, INGEST_STORED));
	must(count_outcomes(group, INGEST_REFUSED) == 0 && count_outcomes(group, INGEST_MISMATCH) == 0);
	instant_format(group->group.items[0]->event.occurred_at_us, when);
	send_again(when);
	must(stored_of(prefix) == EVENTS);
	end_run();
}

/* Without keys: all of the transaction, or nothing, and nothing more than that. */
static void stored_or_not(bool done)
{
	const int64_t there = events_of(&user) - stored_before;
	must(!done || there == EVENTS);
	must(there == 0 || there == EVENTS);
	end_run();
}

static const struct fail_scenario scenarios[] = {
	{"stores events", keyed, stores, stored_once, 10},
	{"stores events without keys", unkeyed, stores, stored_or_not, 10},
	{"stores events after its connection was lost", disconnected, stores, stored_once, 10},
	{"stores events of a new month", in_a_new_month, stores, stored_once, 6},
	{"finds repeats", stored_already, repeats, stored_once, 10},
};
#define N_SCENARIOS (sizeof scenarios / sizeof scenarios[0])

static const enum fail_kind kinds[] = {FAIL_MEMORY, FAIL_RECV, FAIL_SEND, FAIL_CUT, FAIL_POLL, FAIL_SOCKET,
	FAIL_CONNECT, FAIL_OPTION, FAIL_RANDOM};
#define N_KINDS (sizeof kinds / sizeof kinds[0])

static void begin(void)
{
	log_configure(LOG_LEVEL_ERROR, true);
	fail_exempt(true); /* the writer's thread is what fails, not this one */
	user = new_user();
	fixture_settings.gate = &gate;
	restart_ingest(&quick);
}

START_TEST(what_was_told_as_stored_is_stored_once)
{
	begin();
	for (size_t i = 0; i < N_KINDS; i++)
		fail_loop(&scenarios[_i], kinds[i], 1);
}
END_TEST

START_TEST(what_was_told_as_stored_is_stored_once_when_more_fails)
{
	begin();
	fail_loop(&scenarios[_i], FAIL_MEMORY, 5);
	fail_loop(&scenarios[_i], FAIL_RECV, 3);
	fail_loop(&scenarios[_i], FAIL_CUT, 3);
}
END_TEST

/* The thread that did not start leaves nothing behind. */
static struct ingest *started;

static bool starts(void)
{
	fail_exempt(false);
	started = NULL;
	const enum err e = ingest_start(&quick, &fixture_settings, &started);
	fail_exempt(true);
	must_be(e == ERR_OK || e == ERR_NO_MEMORY, err_code(e));
	return e == ERR_OK;
}

static void stops(bool done)
{
	must(done == (started != NULL));
	ingest_stop(started, clock_mono_us() + US_PER_SECOND);
	ingest_free(started);
}

START_TEST(a_writer_that_cannot_start_says_so)
{
	static const struct fail_scenario s = {"starts", NULL, starts, stops, 20};
	begin();
	const int before = fail_open_descriptors();
	fail_loop(&s, FAIL_MEMORY, 1);
	fail_loop(&s, FAIL_THREAD, 1);
	fail_loop(&s, FAIL_RANDOM, 1);
	ck_assert_int_eq(fail_open_descriptors(), before);
}
END_TEST

int main(void)
{
	if (!fail_spare_openssl())
		return EXIT_FAILURE;
	Suite *const suite = suite_create("fail_ingest");
	TCase *const tc = tcase_create("ingest");
	tcase_add_unchecked_fixture(tc, fixture_start, fixture_stop);
	tcase_add_checked_fixture(tc, test_begin, test_end);
	tcase_set_timeout(tc, FAIL_TEST_S);
	tcase_add_loop_test(tc, what_was_told_as_stored_is_stored_once, 0, N_SCENARIOS);
	tcase_add_loop_test(tc, what_was_told_as_stored_is_stored_once_when_more_fails, 0, N_SCENARIOS);
	tcase_add_test(tc, a_writer_that_cannot_start_says_so);
	suite_add_tcase(suite, tc);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
