/* The memory of explanations: told again only of exactly what it was found out from, bounded, apart by user,
 * and in one piece whatever else happens at the time. */
#include "llmlab/api/anomaly_memo.h"
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/base/metrics.h"

#define ARENA_BYTES ((size_t)1 << 20)
#define THREADS	    4
#define ROUNDS	    3000

static struct arena arena;
static struct anomaly_memo *memo;

static void setup(void)
{
	arena_init(&arena, ARENA_BYTES);
	memo = anomaly_memo_new();
	ck_assert_ptr_nonnull(memo);
}

static void teardown(void)
{
	anomaly_memo_free(memo);
	ck_assert_int_eq(metric_get(METRIC_ANOMALY_EXPLANATIONS), 0);
	arena_release(&arena);
}

/* An entry with this number all over it; its names are in `names`, which the caller may write over. */
static struct anomaly_entry entry_of(int64_t n, char names[2][32])
{
	(void)snprintf(names[0], sizeof names[0], "provider %lld", (long long)n);
	(void)snprintf(names[1], sizeof names[1], "value %lld", (long long)n);
	struct anomaly_entry e = {.start_us = n,
		.end_us = n + 1,
		.before_us = n - 1,
		.found = {.cost = {n + 2}, .expected = {1}, .upper = {2}},
		.has_causes = true,
		.causes = {{n}, {n + 1}, {n + 2}, {n + 3}},
		.contributors = {{.dimension = "model",
			.provider = names[0],
			.value = names[1],
			.contribution = {n}}},
		.n_contributors = 1};
	(void)snprintf(e.id, sizeof e.id, "%016llx", (unsigned long long)n);
	memcpy(e.event_id.bytes, &n, sizeof n);
	return e;
}

static struct anomaly_basis basis_of(int64_t n)
{
	static const struct uuid USER = {{1}};
	static const struct spend_state STATE = {1, 2, 3, 4, 5};
	char names[2][32];
	const struct anomaly_entry e = entry_of(n, names);
	struct anomaly_basis b = anomaly_basis_of(&USER, &e, &STATE);
	b.all = (struct anomaly_window){.calls = n, .cost = {n}};
	return b;
}

static void put(int64_t n)
{
	char names[2][32];
	const struct anomaly_entry e = entry_of(n, names);
	const struct anomaly_basis b = basis_of(n);
	anomaly_memo_put(memo, anomaly_memo_generation(memo), &b, &e);
}

static bool has(const struct anomaly_basis *b)
{
	struct anomaly_entry e = {.n_contributors = 0};
	return anomaly_memo_get(memo, b, &arena, &e);
}

static bool has_number(int64_t n)
{
	const struct anomaly_basis b = basis_of(n);
	return has(&b);
}

START_TEST(get_gives_what_was_put_in_the_callers_memory)
{
	char names[2][32];
	struct anomaly_entry e = entry_of(7, names);
	const struct anomaly_basis b = basis_of(7);
	e.found.cost = (struct money){1000}; /* had grown when it was explained */
	anomaly_memo_put(memo, anomaly_memo_generation(memo), &b, &e);
	memset(names, 'x', sizeof names);
	struct anomaly_entry got = {.dismissed = true, .found = {.score = 5}};
	ck_assert(anomaly_memo_get(memo, &b, &arena, &got));
	anomaly_memo_forget(memo, &b.user_id); /* what was given is no part of the memory */
	ck_assert_int_eq((int64_t)got.found.cost.atto, 1000);
	ck_assert(got.has_causes);
	for (int i = 0; i < ANOMALY_FACTORS; i++)
		ck_assert_int_eq((int64_t)got.causes[i].atto, 7 + i);
	ck_assert_uint_eq(got.n_contributors, 1);
	ck_assert_str_eq(got.contributors[0].dimension, "model");
	ck_assert_str_eq(got.contributors[0].provider, "provider 7");
	ck_assert_str_eq(got.contributors[0].value, "value 7");
	ck_assert_int_eq((int64_t)got.contributors[0].contribution.atto, 7);
	ck_assert(uuid_equal(&got.event_id, &e.event_id));
	/* and nothing else */
	ck_assert(got.dismissed && got.found.score > 4);
}
END_TEST

START_TEST(get_of_what_differs_in_anything_is_nothing)
{
	put(7);
	const struct anomaly_basis same = basis_of(7);
	struct anomaly_basis others[15];
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
		others[i] = same;
	others[0].user_id.bytes[15] = 1;
	others[1].id[0] = 'f';
	others[2].before_us++;
	others[3].end_us++;
	others[4].cost.atto++;
	others[5].expected.atto++;
	others[6].upper.atto++;
	others[7].all.calls++;
	others[8].all.cost.atto++;
	others[9].state.repricings++;
	others[10].state.repriced_events++;
	others[11].state.server_start_us++;
	others[12].state.database++;
	others[13].state.sums_file++;
	others[14].all.cost.atto += (int128)1 << 64; /* beyond 64 bits */
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
		ck_assert_msg(!has(&others[i]), "difference %zu", i);
	ck_assert(has(&same));
}
END_TEST

START_TEST(put_of_other_data_replaces_and_of_another_question_does_not)
{
	char names[2][32];
	const struct anomaly_entry e = entry_of(7, names);
	struct anomaly_basis b = basis_of(7), more = b, otherwise = b;
	more.all.calls++;
	otherwise.upper.atto++;
	anomaly_memo_put(memo, anomaly_memo_generation(memo), &b, &e);
	anomaly_memo_put(memo, anomaly_memo_generation(memo), &more, &e);
	ck_assert_int_eq(metric_get(METRIC_ANOMALY_EXPLANATIONS), 1);
	ck_assert(!has(&b) && has(&more));
	anomaly_memo_put(memo, anomaly_memo_generation(memo), &otherwise, &e);
	ck_assert_int_eq(metric_get(METRIC_ANOMALY_EXPLANATIONS), 2);
	ck_assert(has(&more) && has(&otherwise));
}
END_TEST

/* Ten times what has room: the number stays, what is used stays, what is not goes. */
START_TEST(put_of_many_displaces_those_that_are_used_least)
{
	put(0);
	put(1);
	for (int64_t n = 2; n < 10 * ANOMALY_MEMO_ENTRIES; n++) {
		put(n);
		ck_assert(has_number(n));
		ck_assert_msg(has_number(0), "forgotten after %lld others", (long long)n);
		arena_release(&arena);
	}
	ck_assert_int_le(metric_get(METRIC_ANOMALY_EXPLANATIONS), ANOMALY_MEMO_ENTRIES);
	ck_assert_int_gt(metric_get(METRIC_ANOMALY_EXPLANATIONS), ANOMALY_MEMO_ENTRIES / 2);
	ck_assert(!has_number(1));
}
END_TEST

START_TEST(put_of_names_beyond_the_bound_is_not_remembered)
{
	static char name[ANOMALY_MEMO_TEXT_BYTES];
	char names[2][32];
	struct anomaly_entry e = entry_of(7, names);
	const struct anomaly_basis b = basis_of(7);
	e.contributors[0].provider = "";
	e.contributors[0].value = name;
	memset(name, 'x', sizeof name - 1); /* with its end and that of "": one byte too many */
	anomaly_memo_put(memo, anomaly_memo_generation(memo), &b, &e);
	ck_assert(!has(&b));
	name[sizeof name - 2] = '\0';
	anomaly_memo_put(memo, anomaly_memo_generation(memo), &b, &e);
	ck_assert(has(&b));
}
END_TEST

START_TEST(forget_is_of_the_user)
{
	char names[2][32];
	const struct anomaly_entry e = entry_of(7, names);
	const struct anomaly_basis b = basis_of(7);
	struct anomaly_basis other = b;
	other.user_id.bytes[0] = 2;
	anomaly_memo_put(memo, anomaly_memo_generation(memo), &b, &e);
	anomaly_memo_put(memo, anomaly_memo_generation(memo), &other, &e);
	anomaly_memo_forget(memo, &b.user_id);
	ck_assert(!has(&b) && has(&other));
	ck_assert_int_eq(metric_get(METRIC_ANOMALY_EXPLANATIONS), 1);
}
END_TEST

START_TEST(clear_forgets_everybody)
{
	put(7);
	put(8);
	anomaly_memo_clear(memo);
	const struct anomaly_basis b = basis_of(7), other = basis_of(8);
	ck_assert(!has(&b) && !has(&other));
	ck_assert_int_eq(metric_get(METRIC_ANOMALY_EXPLANATIONS), 0);
	put(7);
	ck_assert(has(&b));
}
END_TEST

START_TEST(put_of_what_was_read_before_something_was_forgotten_is_nothing)
{
	char names[2][32];
	const struct anomaly_entry e = entry_of(7, names);
	const struct anomaly_basis b = basis_of(7);
	struct uuid somebody = b.user_id;
	somebody.bytes[0]++;
	uint64_t generation = anomaly_memo_generation(memo);
	anomaly_memo_forget(memo, &somebody);
	anomaly_memo_put(memo, generation, &b, &e);
	ck_assert(!has(&b));
	generation = anomaly_memo_generation(memo);
	anomaly_memo_clear(memo);
	anomaly_memo_put(memo, generation, &b, &e);
	ck_assert(!has(&b));
}
END_TEST

START_TEST(get_into_an_arena_without_room_is_nothing)
{
	put(7);
	const struct anomaly_basis b = basis_of(7);
	struct anomaly_entry e = {.n_contributors = 0};
	struct arena small;
	arena_init(&small, 8);
	ck_assert(!anomaly_memo_get(memo, &b, &small, &e));
	ck_assert_uint_eq(e.n_contributors, 0);
	arena_release(&small);
}
END_TEST

START_TEST(no_memory_remembers_nothing)
{
	char names[2][32];
	struct anomaly_entry e = entry_of(7, names);
	const struct anomaly_basis b = basis_of(7);
	anomaly_memo_put(NULL, 0, &b, &e);
	ck_assert(!anomaly_memo_get(NULL, &b, &arena, &e));
	anomaly_memo_forget(NULL, &b.user_id);
	anomaly_memo_free(NULL);
}
END_TEST

/* ---- threads ---- */

static atomic_int told, wrong;

/* What is got is of the number that was asked for, in one piece. */
static void check_got(int64_t n)
{
	struct arena mine;
	char names[2][32];
	arena_init(&mine, ARENA_BYTES);
	const struct anomaly_basis b = basis_of(n);
	const struct anomaly_entry e = entry_of(n, names);
	struct anomaly_entry got = {.n_contributors = 0};
	if (anomaly_memo_get(memo, &b, &mine, &got)) {
		told++;
		if (got.n_contributors != 1 || strcmp(got.contributors[0].value, names[1]) != 0 ||
			strcmp(got.contributors[0].provider, names[0]) != 0 ||
			money_compare(got.causes[3], e.causes[3]) != 0 ||
			!uuid_equal(&got.event_id, &e.event_id))
			wrong++;
	}
	arena_release(&mine);
}

static void *ask_and_put(void *arg)
{
	const int64_t *const first = arg;
	for (int64_t i = 0; i < ROUNDS; i++) {
		const int64_t n = (*first + i) % 50;
		check_got(n);
		put(n);
		check_got(n);
		if (i % 100 == 0) {
			const struct anomaly_basis b = basis_of(n);
			anomaly_memo_forget(memo, &b.user_id);
		}
	}
	return NULL;
}

START_TEST(threads_get_what_was_put_in_one_piece)
{
	pthread_t threads[THREADS];
	int64_t firsts[THREADS];
	for (int i = 0; i < THREADS; i++) {
		firsts[i] = 13 * i;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_and_put, &firsts[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	ck_assert_int_gt(told, 0);
	ck_assert_int_eq(wrong, 0);
	ck_assert_int_le(metric_get(METRIC_ANOMALY_EXPLANATIONS), 50);
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("anomaly_memo");
	TCase *const t = tcase_create("anomaly_memo");
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, get_gives_what_was_put_in_the_callers_memory);
	tcase_add_test(t, get_of_what_differs_in_anything_is_nothing);
	tcase_add_test(t, put_of_other_data_replaces_and_of_another_question_does_not);
	tcase_add_test(t, put_of_many_displaces_those_that_are_used_least);
	tcase_add_test(t, put_of_names_beyond_the_bound_is_not_remembered);
	tcase_add_test(t, forget_is_of_the_user);
	tcase_add_test(t, clear_forgets_everybody);
	tcase_add_test(t, put_of_what_was_read_before_something_was_forgotten_is_nothing);
	tcase_add_test(t, get_into_an_arena_without_room_is_nothing);
	tcase_add_test(t, no_memory_remembers_nothing);
	tcase_add_test(t, threads_get_what_was_put_in_one_piece);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
