/* Own prices in memory: whose they are, which state wins, and that nothing is priced while they are not
 * known. */
#include <check.h>
#include <stdlib.h>
#include "llmlab/providers/own_prices.h"

static const char CHEAP[] = "{\"provider\":\"p\",\"model\":\"m\",\"per_million_tokens\":{\"input\":\"1\"}}";
static const char DEAR[] =
	"{\"provider\":\"p\",\"match\":{\"regex\":\"^x\"},\"from\":\"2026-01-01T00:00:00Z\","
	"\"to\":\"2026-02-01T00:00:00Z\",\"per_million_tokens\":{\"input\":\"2\"}}";
#define JANUARY_US 1767225600000000LL

static struct arena arena;
static struct problem problem;
static struct uuid user;

static void begin(void)
{
	arena_init(&arena, 1 << 20);
	problem_init(&problem, &arena);
	user = uuid_v4();
	own_prices_load_end(own_prices_load_begin());
}

static void end(void)
{
	own_prices_shutdown();
	arena_release(&arena);
}

static enum err put(const struct uuid *id, int64_t revision, const char *first, const char *second)
{
	const char *const bodies[] = {first, second};
	const size_t n = first == NULL ? 0 : second == NULL ? 1 : 2;
	/* As if all readings had begun before anything was put: revisions alone decide. */
	return own_prices_put(0, id, revision, bodies, n, &problem);
}

/* How many the user has, by the newest set. */
static size_t count(const struct uuid *id)
{
	const struct own_prices *own;
	const struct price_record *all[OWN_PRICES_PER_USER_MAX];
	ck_assert_int_eq(own_prices_acquire(id, &own), ERR_OK);
	const size_t n = own_prices_all(own, all);
	own_prices_release(own);
	return n;
}

START_TEST(own_prices_before_the_first_load_are_not_known)
{
	own_prices_shutdown();
	const struct own_prices *own;
	ck_assert(!own_prices_loaded());
	ck_assert_int_eq(own_prices_acquire(&user, &own), ERR_UNAVAILABLE);
	const uint64_t load = own_prices_load_begin();
	ck_assert_int_eq(put(&user, 1, CHEAP, NULL), ERR_OK);
	ck_assert_int_eq(own_prices_acquire(&user, &own), ERR_UNAVAILABLE);
	own_prices_load_end(load);
	ck_assert(own_prices_loaded());
	ck_assert_uint_eq(count(&user), 1);
}
END_TEST

START_TEST(own_prices_are_each_users_own)
{
	const struct uuid other = uuid_v4();
	ck_assert_int_eq(put(&user, 1, CHEAP, DEAR), ERR_OK);
	ck_assert_uint_eq(count(&user), 2);
	ck_assert_uint_eq(count(&other), 0);
}
END_TEST

START_TEST(own_prices_put_of_an_older_state_is_ignored)
{
	ck_assert_int_eq(put(&user, 5, CHEAP, DEAR), ERR_OK);
	ck_assert_int_eq(put(&user, 4, CHEAP, NULL), ERR_OK);
	ck_assert_uint_eq(count(&user), 2);
	ck_assert_int_eq(put(&user, 6, NULL, NULL), ERR_OK);
	ck_assert_uint_eq(count(&user), 0);
	ck_assert_int_eq(put(&user, 5, CHEAP, DEAR), ERR_OK);
	ck_assert_uint_eq(count(&user), 0);
}
END_TEST

START_TEST(own_prices_reader_keeps_the_set_it_began_with)
{
	const struct own_prices *own;
	const struct price_record *all[OWN_PRICES_PER_USER_MAX];
	ck_assert_int_eq(put(&user, 1, CHEAP, DEAR), ERR_OK);
	ck_assert_int_eq(own_prices_acquire(&user, &own), ERR_OK);
	ck_assert_int_eq(put(&user, 2, NULL, NULL), ERR_OK);
	ck_assert_uint_eq(own_prices_all(own, all), 2);
	ck_assert_str_eq(all[0]->model, "m");
	own_prices_release(own);
}
END_TEST

START_TEST(own_prices_at_gives_those_in_force_at_the_instant)
{
	const struct own_prices *own;
	const struct price_record *found[OWN_PRICES_PER_USER_MAX];
	ck_assert_int_eq(put(&user, 1, DEAR, CHEAP), ERR_OK);
	ck_assert_int_eq(own_prices_acquire(&user, &own), ERR_OK);
	ck_assert_uint_eq(own_prices_at(own, JANUARY_US - 1, found), 1);
	ck_assert_str_eq(found[0]->model, "m");
	ck_assert_uint_eq(own_prices_at(own, JANUARY_US, found), 2);
	ck_assert_int_eq(found[0]->match[0].kind, MATCH_REGEX);
	ck_assert_uint_eq(own_prices_at(NULL, JANUARY_US, found), 0);
	own_prices_release(own);
}
END_TEST

START_TEST(own_prices_load_end_drops_whom_the_load_did_not_name)
{
	const struct uuid late = uuid_v4();
	ck_assert_int_eq(put(&user, 1, CHEAP, NULL), ERR_OK);
	const uint64_t load = own_prices_load_begin();
	ck_assert_int_eq(put(&late, 1, CHEAP, NULL), ERR_OK);
	own_prices_load_end(load);
	ck_assert_uint_eq(count(&user), 0);
	ck_assert_uint_eq(count(&late), 1);
	/* named again as it was: it stays */
	const uint64_t second = own_prices_load_begin();
	ck_assert_int_eq(put(&late, 1, CHEAP, NULL), ERR_OK);
	own_prices_load_end(second);
	ck_assert_uint_eq(count(&late), 1);
}
END_TEST

/* A database that was set back counts revisions from a lower one, and gives the same numbers to other prices. */
START_TEST(own_prices_put_of_a_later_reading_wins_whatever_its_revision)
{
	const char *const cheap[] = {CHEAP}, *const dear[] = {DEAR};
	const struct own_prices *own;
	const struct price_record *in_force[OWN_PRICES_PER_USER_MAX];
	ck_assert_int_eq(put(&user, 9, CHEAP, CHEAP), ERR_OK);
	const uint64_t earlier = own_prices_load_begin();
	const uint64_t later = own_prices_load_begin();
	ck_assert_int_eq(own_prices_put(later, &user, 5, cheap, 1, &problem), ERR_OK);
	ck_assert_uint_eq(count(&user), 1);
	/* of readings at the same time the higher revision is the newer one */
	ck_assert_int_eq(own_prices_put(earlier, &user, 4, cheap, 0, &problem), ERR_OK);
	ck_assert_uint_eq(count(&user), 1);
	/* the same number, another price */
	ck_assert_int_eq(own_prices_put(own_prices_load_begin(), &user, 5, dear, 1, &problem), ERR_OK);
	ck_assert_int_eq(own_prices_acquire(&user, &own), ERR_OK);
	ck_assert_uint_eq(own_prices_at(own, JANUARY_US - 1, in_force), 0);
	own_prices_release(own);
}
END_TEST

START_TEST(own_prices_put_of_the_same_in_a_later_reading_is_no_change)
{
	const char *const cheap[] = {CHEAP};
	struct uuid users[4];
	bool all;
	ck_assert_int_eq(put(&user, 3, CHEAP, NULL), ERR_OK);
	own_prices_take_changed(users, 4, &all);
	const uint64_t load = own_prices_load_begin();
	ck_assert_int_eq(own_prices_put(load, &user, 3, cheap, 1, &problem), ERR_OK);
	own_prices_load_end(load);
	ck_assert_uint_eq(count(&user), 1);
	ck_assert_uint_eq(own_prices_take_changed(users, 4, &all), 0);
	ck_assert(!all);
}
END_TEST

START_TEST(own_prices_forget_makes_all_unknown_until_the_next_load)
{
	const char *const cheap[] = {CHEAP};
	const struct own_prices *own;
	struct uuid users[4];
	bool all;
	ck_assert_int_eq(put(&user, 3, CHEAP, NULL), ERR_OK);
	own_prices_take_changed(users, 4, &all);
	own_prices_forget();
	ck_assert_int_eq(own_prices_acquire(&user, &own), ERR_UNAVAILABLE);
	const uint64_t load = own_prices_load_begin();
	ck_assert_int_eq(own_prices_put(load, &user, 1, cheap, 1, &problem), ERR_OK);
	own_prices_load_end(load);
	ck_assert_uint_eq(count(&user), 1);
	own_prices_take_changed(users, 4, &all);
	ck_assert(all);
}
END_TEST

START_TEST(own_prices_put_of_what_cannot_be_read_stops_this_user_only)
{
	const struct own_prices *own;
	const struct uuid other = uuid_v4();
	ck_assert_int_eq(put(&user, 1, CHEAP, "{\"provider\":\"p\"}"), ERR_VALIDATION);
	ck_assert_int_eq(own_prices_acquire(&user, &own), ERR_UNAVAILABLE);
	ck_assert_uint_eq(count(&other), 0);
	problem_init(&problem, &arena);
	ck_assert_int_eq(put(&user, 1, CHEAP, NULL), ERR_OK);
	ck_assert_uint_eq(count(&user), 1);
}
END_TEST

START_TEST(own_prices_take_changed_names_each_user_once_told)
{
	struct uuid users[4];
	bool all;
	own_prices_take_changed(users, 4, &all);
	ck_assert_int_eq(put(&user, 1, CHEAP, NULL), ERR_OK);
	ck_assert_int_eq(put(&user, 1, CHEAP, NULL), ERR_OK);
	ck_assert_uint_eq(own_prices_take_changed(users, 4, &all), 1);
	ck_assert(uuid_equal(&users[0], &user) && !all);
	ck_assert_uint_eq(own_prices_take_changed(users, 4, &all), 0);
	for (int i = 0; i < 300; i++) {
		const struct uuid one = uuid_v4();
		ck_assert_int_eq(put(&one, 1, NULL, NULL), ERR_OK);
	}
	ck_assert_uint_eq(own_prices_take_changed(users, 4, &all), 4);
	ck_assert(all);
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("own_prices");
	TCase *const t = tcase_create("own_prices");
	tcase_add_checked_fixture(t, begin, end);
	tcase_add_test(t, own_prices_before_the_first_load_are_not_known);
	tcase_add_test(t, own_prices_are_each_users_own);
	tcase_add_test(t, own_prices_put_of_an_older_state_is_ignored);
	tcase_add_test(t, own_prices_reader_keeps_the_set_it_began_with);
	tcase_add_test(t, own_prices_at_gives_those_in_force_at_the_instant);
	tcase_add_test(t, own_prices_load_end_drops_whom_the_load_did_not_name);
	tcase_add_test(t, own_prices_put_of_a_later_reading_wins_whatever_its_revision);
	tcase_add_test(t, own_prices_put_of_the_same_in_a_later_reading_is_no_change);
	tcase_add_test(t, own_prices_forget_makes_all_unknown_until_the_next_load);
	tcase_add_test(t, own_prices_put_of_what_cannot_be_read_stops_this_user_only);
	tcase_add_test(t, own_prices_take_changed_names_each_user_once_told);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
