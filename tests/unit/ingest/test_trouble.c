/* What the ingest writer makes of a database that fails: whatever happens, what was answered as stored is
 * stored exactly once, and the rollup says the same (rollup_drift() after every test). */

#include <sched.h>
#include "ingest_fixture.h"

#define STORED_ONCE_SQL "SELECT count(*) - count(DISTINCT id) FROM events WHERE user_id = $1"

/* The writer gives up calls early, and pursues an unknown outcome for long. */
static struct ingest_settings impatient(void)
{
	struct ingest_settings s = test_settings;
	s.statement_us = 200 * US_PER_MS;
	return s;
}

/* A commit that outlives the writer's patience: a deferred trigger (which no statement timeout ends), for the
 * model "slow", on the first commit only. It sleeps, and then lets the commit succeed, or not if it `fails`.
 */
static void make_slow_commit(bool fails)
{
	execute("slow_sequence", "CREATE SEQUENCE slow_commits");
	execute("slow_function",
		fails ? "CREATE FUNCTION slow_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
			" IF nextval('slow_commits') > 1 THEN RETURN NULL; END IF;"
			" PERFORM pg_sleep(0.7); RAISE EXCEPTION 'too slow'; END $$"
		      : "CREATE FUNCTION slow_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
			" IF nextval('slow_commits') > 1 THEN RETURN NULL; END IF;"
			" PERFORM pg_sleep(0.7); RETURN NULL; END $$");
	execute("slow_trigger",
		"CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON usage_model_15m DEFERRABLE "
		"INITIALLY DEFERRED"
		" FOR EACH ROW WHEN (NEW.model = 'slow') EXECUTE FUNCTION slow_commit()");
}

static void drop_slow_commit(void)
{
	execute("slow_trigger_drop", "DROP TRIGGER slow_commit ON usage_model_15m");
	execute("slow_function_drop", "DROP FUNCTION slow_commit");
	execute("slow_sequence_drop", "DROP SEQUENCE slow_commits");
}

static struct test_group *slow_group(const struct uuid *user)
{
	struct event e = plain_event(user, "2026-03-01T00:00:00Z");
	e.model = "slow";
	return group_of(e, 3, "k");
}

START_TEST(commit_lost_but_committed_is_stored_once)
{
	const struct uuid user = new_user();
	const struct ingest_settings s = impatient();
	restart_ingest(&s);
	make_slow_commit(false);
	struct test_group *g = slow_group(&user);
	expect_all(g, INGEST_STORED);
	drop_slow_commit();
	ck_assert_int_eq(events_of(&user), 3);
	ck_assert_int_eq(metric_get(METRIC_INGEST_REPLAYS), 0);
	free_group(g);
}
END_TEST

START_TEST(commit_lost_and_rolled_back_is_replayed)
{
	const struct uuid user = new_user();
	const struct ingest_settings s = impatient();
	restart_ingest(&s);
	make_slow_commit(true);
	struct test_group *g = slow_group(&user);
	expect_all(g, INGEST_STORED);
	drop_slow_commit();
	ck_assert_int_eq(events_of(&user), 3);
	ck_assert_int_eq(metric_get(METRIC_INGEST_REPLAYS), 1);
	free_group(g);
}
END_TEST

START_TEST(commit_lost_and_not_decided_in_time_is_unavailable_and_repeatable)
{
	const struct uuid user = new_user();
	struct ingest_settings s = impatient();
	s.outcome_us = 50 * US_PER_MS;
	restart_ingest(&s);
	make_slow_commit(false);
	struct test_group *g = slow_group(&user);
	expect_all(g, INGEST_UNAVAILABLE);
	/* It was committed after all: the same keys say so. */
	struct test_group *again = slow_group(&user);
	expect_all(again, INGEST_DUPLICATE);
	drop_slow_commit();
	ck_assert_int_eq(events_of(&user), 3);
	ck_assert(uuid_equal(&again->group.items[0]->event.id, &g->group.items[0]->event.id));
	free_group(g);
	free_group(again);
}
END_TEST

static pid_t writer_backend(void)
{
	return (pid_t)number("writer_backend",
		"SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE application_name = '" WRITER_NAME
		"'",
		NULL);
}

START_TEST(database_frozen_stores_over_a_new_connection_once)
{
	const struct uuid user = new_user();
	const struct ingest_settings s = impatient();
	restart_ingest(&s);
	struct test_group *a = group_of(plain_event(&user, "2026-03-01T00:00:00Z"), 2, NULL);
	expect_all(a, INGEST_STORED);
	const pid_t frozen = writer_backend();
	ck_assert_int_eq(kill(frozen, SIGSTOP), 0);
	struct test_group *b = group_of(plain_event(&user, "2026-03-01T00:00:00Z"), 2, NULL);
	expect_all(b, INGEST_STORED);
	ck_assert_int_eq(kill(frozen, SIGCONT), 0);
	struct test_group *c = group_of(plain_event(&user, "2026-03-01T00:00:00Z"), 2, NULL);
	expect_all(c, INGEST_STORED);
	ck_assert_int_eq(events_of(&user), 6);
	free_group(a);
	free_group(b);
	free_group(c);
}
END_TEST

static pid_t postmaster_pid(void)
{
	char path[256];
	snprintf(path, sizeof(path), "%s/postgres/postmaster.pid", pg_test.dir);
	FILE *f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	int pid = 0;
	ck_assert_int_eq(fscanf(f, "%d", &pid), 1);
	fclose(f);
	return (pid_t)pid;
}

/* The postmaster accepts nothing and the writer's backend answers nothing. */
/* Another server holds a row of the rollup for longer than the lock timeout: the statement fails and the
 * connection lives. */
START_TEST(rollup_row_held_by_another_is_waited_for_and_stored_once)
{
	const struct uuid user = new_user();
	struct ingest_settings s = impatient();
	s.outcome_us = 20 * US_PER_SECOND;
	restart_ingest(&s);
	struct test_group *a = group_of(plain_event(&user, "2026-03-01T00:00:00Z"), 1, NULL);
	expect_all(a, INGEST_STORED);
	ck_assert_int_eq(db_begin(conn), ERR_OK);
	(void)number_of_user("test_hold_rollup",
		"SELECT count(*) FROM (SELECT FROM usage_model_15m WHERE user_id = $1 FOR UPDATE) AS held",
		&user);
	struct test_group *b = group_of(plain_event(&user, "2026-03-01T00:00:00Z"), 1, NULL);
	submit(b);
	const struct timespec longer = {.tv_sec = s.statement_us / US_PER_SECOND + 1};
	nanosleep(&longer, NULL);
	const int64_t released_us = clock_mono_us();
	db_rollback(conn);
	wait_group(b);
	ck_assert_int_eq(outcome_of(b, 0), INGEST_STORED);
	ck_assert_int_lt(clock_mono_us() - released_us, 5 * US_PER_SECOND);
	ck_assert_int_eq(events_of(&user), 2);
	free_group(a);
	free_group(b);
}
END_TEST

START_TEST(database_away_answers_by_the_deadline_and_recovers)
{
	const struct uuid user = new_user();
	struct ingest_settings s = impatient();
	s.max_batch_items = 10;
	restart_ingest(&s);
	struct test_group *before = group_of(plain_event(&user, "2026-03-01T00:00:00Z"), 1, NULL);
	expect_all(before, INGEST_STORED);
	const pid_t backend = writer_backend(), postmaster = postmaster_pid();
	kill(postmaster, SIGSTOP);
	kill(backend, SIGSTOP);
	struct test_group *g = group_of(plain_event(&user, "2026-03-01T00:00:00Z"), 25, NULL);
	const int64_t begin_us = clock_mono_us();
	g->group.deadline_us = begin_us + 500 * US_PER_MS;
	submit(g);
	wait_group(g);
	const int64_t took_us = clock_mono_us() - begin_us;
	kill(backend, SIGCONT);
	kill(postmaster, SIGCONT);
	ck_assert_uint_eq(count_outcomes(g, INGEST_UNAVAILABLE), 25);
	/* The deadline, one connection attempt of 1 s and one statement of 0.2 s; the rest is for a busy
	 * machine. */
	ck_assert_int_lt(took_us, 4 * US_PER_SECOND);
	struct test_group *after = group_of(plain_event(&user, "2026-03-01T00:00:00Z"), 5, NULL);
	expect_all(after, INGEST_STORED);
	ck_assert_int_eq(events_of(&user), 6);
	free_group(before);
	free_group(g);
	free_group(after);
}
END_TEST

/* What waits in the queue is answered by its own deadline, though the batch before it has more time. */
START_TEST(queued_events_expire_while_the_writer_waits)
{
	const struct uuid user = new_user();
	const struct ingest_settings s = impatient();
	restart_ingest(&s);
	struct test_group *before = group_of(plain_event(&user, "2026-03-01T00:00:00Z"), 1, NULL);
	expect_all(before, INGEST_STORED);
	const pid_t backend = writer_backend(), postmaster = postmaster_pid();
	struct test_group *patient = group_of(plain_event(&user, "2026-03-01T00:00:00Z"), 2, NULL);
	struct test_group *hasty = group_of(plain_event(&user, "2026-03-01T00:00:00Z"), 2, NULL);
	kill(postmaster, SIGSTOP);
	kill(backend, SIGSTOP);
	submit(patient);
	while (metric_get(METRIC_INGEST_QUEUE) > 0)
		sched_yield();
	hasty->group.deadline_us = clock_mono_us() + 300 * US_PER_MS;
	submit(hasty);
	wait_group(hasty);
	const int patient_done = patient->done;
	kill(backend, SIGCONT);
	kill(postmaster, SIGCONT);
	wait_group(patient);
	ck_assert_int_eq(patient_done, 0);
	ck_assert_uint_eq(count_outcomes(hasty, INGEST_UNAVAILABLE), 2);
	ck_assert_uint_eq(count_outcomes(patient, INGEST_STORED), 2);
	ck_assert_int_eq(events_of(&user), 3);
	free_group(before);
	free_group(patient);
	free_group(hasty);
}
END_TEST

/* Submits groups of a user one after the other, 8 in flight, with keys and without, and keeps the count. */
#define FLIGHT 8
struct load {
	struct uuid user;
	int groups;
	size_t stored, other;
	_Atomic bool finished;
};

static void collect(struct load *l, struct test_group *g)
{
	wait_group(g);
	const size_t stored = count_outcomes(g, INGEST_STORED) + count_outcomes(g, INGEST_DUPLICATE);
	l->stored += stored;
	l->other += g->group.n_items - stored;
	free_group(g);
}

static void *run_load(void *arg)
{
	struct load *l = arg;
	struct test_group *flight[FLIGHT] = {0};
	for (int i = 0; i < l->groups + FLIGHT; i++) {
		struct test_group **slot = &flight[i % FLIGHT];
		if (*slot != NULL)
			collect(l, *slot);
		*slot = NULL;
		if (i >= l->groups)
			continue;
		char prefix[32];
		snprintf(prefix, sizeof(prefix), "g%d-", i);
		*slot = group_of(
			plain_event(&l->user, "2026-03-01T00:00:00Z"), 10, i % 2 == 0 ? prefix : NULL);
		submit(*slot);
	}
	l->finished = true;
	return NULL;
}

static void expect_load_stored_once(const struct load *l)
{
	ck_assert_uint_eq(l->other, 0);
	ck_assert_uint_eq(l->stored, (size_t)l->groups * 10);
	ck_assert_int_eq(events_of(&l->user), l->groups * 10);
	ck_assert_int_eq(number_of_user("stored_once", STORED_ONCE_SQL, &l->user), 0);
}

/* The writer has committed something since `batches`. */
static void await_progress(const struct load *l, int64_t batches)
{
	while (!l->finished && metric_get(METRIC_INGEST_BATCHES) <= batches)
		sched_yield();
}

/* Ends the writer's backend if it is in the middle of a transaction; every other time only if it is at
 * COMMIT. */
static int64_t terminate_writer(bool at_commit)
{
	return at_commit ? number("terminate_at_commit",
				   "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE"
				   " application_name = '" WRITER_NAME
				   "' AND state = 'active' AND query = 'COMMIT'",
				   NULL)
			 : number("terminate_in_transaction",
				   "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE"
				   " application_name = '" WRITER_NAME "' AND xact_start IS NOT NULL AND"
				   " query ~ 'COPY|usage_model_15m|event_keys'",
				   NULL);
}

/* Kills the writer's connections while events of one user are stored. Returns how many. */
static int64_t kill_under_load(void)
{
	struct load l = {.user = new_user(), .groups = 1000};
	pthread_t thread;
	ck_assert_int_eq(pthread_create(&thread, NULL, run_load, &l), 0);
	int64_t killed = 0;
	while (!l.finished) {
		const int64_t batches = metric_get(METRIC_INGEST_BATCHES);
		const int64_t now_killed = terminate_writer(killed % 4 != 0);
		killed += now_killed;
		if (now_killed > 0)
			await_progress(&l, batches);
	}
	pthread_join(thread, NULL);
	expect_load_stored_once(&l);
	return killed;
}

/* A quick disk leaves little time to be killed in. */
START_TEST(connections_killed_in_transactions_store_each_event_once)
{
	int64_t killed = 0;
	for (int rounds = 0; killed <= 10 && rounds < 100; rounds++)
		killed += kill_under_load();
	ck_assert_int_gt(killed, 10);
}
END_TEST

/* SIGKILL of a backend makes the postmaster end them all and recover from the log. */
START_TEST(server_crashes_under_load_store_each_event_once)
{
	struct load l = {.user = new_user(), .groups = 800};
	pthread_t thread;
	ck_assert_int_eq(pthread_create(&thread, NULL, run_load, &l), 0);
	for (int crashes = 0; crashes < 3 && !l.finished;) {
		PGresult *r = NULL;
		static const struct db_stmt stmt = {"crash_writer",
			"SELECT max(pid) FROM pg_stat_activity WHERE application_name = '" WRITER_NAME
			"' AND wait_event = 'WALSync'"};
		if (db_run(conn, &stmt, NULL, &r) != ERR_OK)
			continue;
		const pid_t pid = (pid_t)db_i64(r, 0, 0);
		PQclear(r);
		if (pid > 0 && kill(pid, SIGKILL) == 0)
			crashes++;
	}
	pthread_join(thread, NULL);
	while (db_conn_ready(conn) != ERR_OK)
		;
	expect_load_stored_once(&l);
}
END_TEST

static void add_tests(TCase *t)
{
	tcase_add_test(t, commit_lost_but_committed_is_stored_once);
	tcase_add_test(t, commit_lost_and_rolled_back_is_replayed);
	tcase_add_test(t, commit_lost_and_not_decided_in_time_is_unavailable_and_repeatable);
	tcase_add_test(t, database_frozen_stores_over_a_new_connection_once);
	tcase_add_test(t, rollup_row_held_by_another_is_waited_for_and_stored_once);
	tcase_add_test(t, database_away_answers_by_the_deadline_and_recovers);
	tcase_add_test(t, queued_events_expire_while_the_writer_waits);
	tcase_add_test(t, connections_killed_in_transactions_store_each_event_once);
	tcase_add_test(t, server_crashes_under_load_store_each_event_once);
}

int main(void)
{
	return run_ingest_tests("ingest trouble", add_tests);
}
