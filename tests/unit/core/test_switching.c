/* Model switching on a catalogue by hand; every amount is worked out in a comment. */

#include "rules_fixture.h"

static struct switching *found;
static size_t n_found;
static struct money total;

/* 1,000 calls of 2,000 input and 500 output tokens: 2 M and 0.5 M tokens. */
static struct model_usage thousand(const char *model, int cost_usd)
{
	return (struct model_usage){.provider = "p",
		.model = model,
		.calls = 1000,
		.input_tokens = 2000000,
		.output_tokens = 500000,
		.cost = MONEY(cost_usd)};
}

static void find_days(const struct model_usage *models, size_t n, int32_t days)
{
	const struct switching_input in = {.catalogue = &catalogue,
		.models = models,
		.n_models = n,
		.now_us = NOW_US,
		.period_days = days};
	ck_assert_int_eq(switching_find(&in, &arena, &found, &n_found, &total), ERR_OK);
}

static void find(const struct model_usage *models, size_t n)
{
	find_days(models, n, 30);
}

/* big-2 costs 2 x 10 + 0.5 x 30 = 35 for the mix; big-3 2 x 2 + 0.5 x 8 = 8; mid-3 2 x 1 + 0.5 x 4 = 4;
 * small-3 is cheaper still. */
static const struct test_record FAMILY[] = {
	{"big-2", "flagship", "gpt", USD(10), USD(30), 0, 128000, false, 0},
	{"big-3", "flagship", "gpt", USD(2), USD(8), 0, 128000, false, 0},
	{"mid-3", "mid", "gpt-m", USD(1), USD(4), 0, 128000, false, 0},
	{"small-3", "small", "gpt-s", USD(0.1), USD(0.4), 0, 128000, false, 0},
};

START_TEST(switching_find_same_class_and_one_smaller_are_suggested)
{
	make_catalogue(FAMILY, 4);
	const struct model_usage u = thousand("big-2", 35);
	find(&u, 1);
	ck_assert_int_eq((int)n_found, 2);
	/* mid-3: 35 - 4 = 31 saved; 0.035 and 0.004 a call */
	ck_assert_str_eq(found[0].suggested_model, "mid-3");
	ck_assert_str_eq(money_text(found[0].monthly_savings), "31");
	ck_assert_str_eq(decimal_text(found[0].current_cost_per_call, MONEY_AVERAGE_SCALE), "0.035");
	ck_assert_str_eq(decimal_text(found[0].suggested_cost_per_call, MONEY_AVERAGE_SCALE), "0.004");
	ck_assert(found[0].counted);
	/* big-3: 35 - 8 = 27, same class, so more confidence, but not counted again */
	ck_assert_str_eq(found[1].suggested_model, "big-3");
	ck_assert_str_eq(money_text(found[1].monthly_savings), "27");
	ck_assert(!found[1].counted);
	ck_assert(found[1].confidence > found[0].confidence);
	ck_assert_str_eq(money_text(total), "31");
}
END_TEST

START_TEST(switching_find_cheapest_already_has_no_suggestion)
{
	make_catalogue(FAMILY, 4);
	const struct model_usage u = thousand("small-3", 1);
	find(&u, 1);
	ck_assert_int_eq((int)n_found, 0);
	ck_assert_str_eq(money_text(total), "0");
}
END_TEST

START_TEST(switching_find_spent_less_than_listed_counts_what_was_spent)
{
	/* A negotiated price: 10 were spent instead of 35. mid-3 costs 4, so 6 are saved. */
	make_catalogue(FAMILY, 4);
	const struct model_usage u = thousand("big-2", 10);
	find(&u, 1);
	ck_assert_str_eq(money_text(found[0].saved), "6");
	ck_assert_str_eq(decimal_text(found[0].current_cost_per_call, MONEY_AVERAGE_SCALE), "0.01");
}
END_TEST

START_TEST(switching_find_spent_more_than_listed_counts_todays_prices)
{
	/* 50 were spent (before a price fell, or on searches): today's 35 is what a switch replaces. */
	make_catalogue(FAMILY, 4);
	const struct model_usage u = thousand("big-2", 50);
	find(&u, 1);
	ck_assert_str_eq(money_text(found[0].saved), "31");
}
END_TEST

START_TEST(switching_find_long_period_is_brought_to_thirty_days)
{
	/* 31 saved in 90 days: 31 x 30 / 90 = 10.333..., cut at 18 digits */
	make_catalogue(FAMILY, 4);
	const struct model_usage u = thousand("big-2", 35);
	find_days(&u, 1, 90);
	ck_assert_str_eq(money_text(found[0].monthly_savings), "10.333333333333333333");
	ck_assert_str_eq(money_text(found[0].saved), "31");
}
END_TEST

START_TEST(switching_find_short_period_is_not_extrapolated)
{
	make_catalogue(FAMILY, 4);
	const struct model_usage u = thousand("big-2", 35);
	find_days(&u, 1, 3);
	ck_assert_str_eq(money_text(found[0].monthly_savings), "31");
}
END_TEST

START_TEST(switching_find_unpriced_free_or_unknown_rows_are_left_out)
{
	make_catalogue(FAMILY, 4);
	struct model_usage u[] = {thousand("big-2", 35), thousand("big-2", 0), thousand("unknown", 35)};
	u[0].unpriced_calls = 1;
	find(u, 3);
	ck_assert_int_eq((int)n_found, 0);
}
END_TEST

/* Suggestions for 1,000 calls of old-2 at 35 when the catalogue holds it and one other record. */
static size_t suggestions_with(const struct test_record *other)
{
	const struct test_record t[] = {
		{"old-2", "flagship", "gpt", USD(10), USD(30), 0, 128000, false, 0}, *other};
	make_catalogue(t, 2);
	const struct model_usage u = thousand("old-2", 35);
	find(&u, 1);
	return n_found;
}

START_TEST(switching_find_candidate_must_fit_in_every_respect)
{
	/* the one that fits, and the same with one thing wrong each */
	const struct test_record good = {"new-3", "mid", "gpt-m", USD(1), USD(4), 0, 128000, false, 0};
	ck_assert_int_eq((int)suggestions_with(&good), 1);
	struct test_record t = good;
	t.deprecated = true;
	ck_assert_int_eq((int)suggestions_with(&t), 0);
	t = good;
	t.retires_day = TODAY + 90;
	ck_assert_int_eq((int)suggestions_with(&t), 0);
	t.retires_day = TODAY + 91;
	ck_assert_int_eq((int)suggestions_with(&t), 1);
	t = good;
	t.class_ = "small"; /* two classes smaller */
	ck_assert_int_eq((int)suggestions_with(&t), 0);
	t = good;
	t.class_ = "audio";
	ck_assert_int_eq((int)suggestions_with(&t), 0);
	t = good;
	t.line = "llama"; /* another family */
	ck_assert_int_eq((int)suggestions_with(&t), 0);
	t = good;
	t.model = "new-1.5"; /* an older version */
	ck_assert_int_eq((int)suggestions_with(&t), 0);
	t = good;
	t.model = "new-2024-11-01"; /* a date is no version */
	ck_assert_int_eq((int)suggestions_with(&t), 0);
	t = good;
	t.model = "new-2024-11-01-v3";
	ck_assert_int_eq((int)suggestions_with(&t), 1);
	t = good;
	t.model = "new-3-search-preview";
	ck_assert_int_eq((int)suggestions_with(&t), 0);
	t = good;
	t.input = t.output = 0; /* free */
	ck_assert_int_eq((int)suggestions_with(&t), 0);
	t = good;
	t.context_window = 4999; /* the average call has 2,500 tokens: twice that must fit */
	ck_assert_int_eq((int)suggestions_with(&t), 0);
	t.context_window = 5000;
	ck_assert_int_eq((int)suggestions_with(&t), 1);
	t = good;
	t.input = USD(9.5); /* 2 x 9.5 + 0.5 x 28.5 = 33.25 = 5 % less than 35 */
	t.output = USD(28.5);
	ck_assert_int_eq((int)suggestions_with(&t), 1);
	t.input = USD(9.51);
	ck_assert_int_eq((int)suggestions_with(&t), 0);
}
END_TEST

START_TEST(switching_find_unknown_window_lowers_confidence_and_says_so)
{
	const struct test_record known = {"new-3", "mid", "gpt", USD(1), USD(4), 0, 128000, false, 0};
	struct test_record unknown = known;
	unknown.context_window = 0;
	suggestions_with(&known);
	const double confidence = found[0].confidence;
	ck_assert_ptr_null(strstr(found[0].caveat, "window"));
	ck_assert_int_eq((int)suggestions_with(&unknown), 1);
	ck_assert(found[0].confidence < confidence);
	ck_assert_ptr_nonnull(strstr(found[0].caveat, "window"));
}
END_TEST

START_TEST(switching_find_nano_is_a_class_below_small)
{
	/* For a mid model the small one is the next class; the nano is two away though its class says small.
	 */
	const struct test_record t[] = {{"mid-4", "mid", "gpt", USD(10), USD(30), 0, 0, false, 0},
		{"mini-5", "small", "gpt-mini", USD(1), USD(4), 0, 0, false, 0},
		{"nano-5", "small", "gpt-nano", USD(0.1), USD(0.4), 0, 0, false, 0}};
	make_catalogue(t, 3);
	const struct model_usage u[] = {thousand("mid-4", 35), thousand("mini-5", 4)};
	find(u, 2);
	ck_assert_int_eq((int)n_found, 2);
	ck_assert_str_eq(found[0].suggested_model, "mini-5");
	ck_assert_str_eq(found[1].current_model, "mini-5");
	ck_assert_str_eq(found[1].suggested_model, "nano-5");
}
END_TEST

START_TEST(switching_find_without_memory_says_so)
{
	make_catalogue(FAMILY, 4);
	const struct model_usage u = thousand("big-2", 35);
	const struct switching_input in = {
		.catalogue = &catalogue, .models = &u, .n_models = 1, .now_us = NOW_US, .period_days = 30};
	struct arena tiny;
	arena_init(&tiny, 16);
	ck_assert_int_eq(switching_find(&in, &tiny, &found, &n_found, &total), ERR_NO_MEMORY);
	arena_release(&tiny);
}
END_TEST

/* A second provider "q" with records of its own after those of "p" (at most RECORD_MAX together). */
static struct provider both[2];
static void add_provider(const char *id, const struct test_record *t, size_t n)
{
	const size_t first = provider.n_records;
	for (size_t i = 0; i < n; i++) {
		make_record(first + i, &t[i]);
		records[first + i].provider = id;
	}
	both[0] = provider;
	both[1] = (struct provider){.id = id,
		.name = id,
		.records = &records[first],
		.n_records = n,
		.index = price_index_build(&records[first], n, &arena)};
	catalogue.providers = both;
	catalogue.n_providers = 2;
}

static const struct switching *suggestion(enum switching_kind kind)
{
	for (size_t i = 0; i < n_found; i++)
		if (found[i].kind == kind)
			return &found[i];
	ck_abort_msg("no %s", switching_kind_name(kind));
	abort();
}

START_TEST(switching_find_same_model_elsewhere_is_suggested_and_counted)
{
	/* open-2 costs 35 at p, 2 x 1 + 0.5 x 4 = 4 at q, who writes its maker before the name */
	const struct test_record here = {"open-2", "mid", "llama", USD(10), USD(30), 0, 0, false, 0};
	const struct test_record there[] = {{"maker/Open-2", "mid", "llama", USD(1), USD(4), 0, 0, false, 0},
		{"maker/open-22", "mid", "llama", USD(0.1), USD(0.4), 0, 0, false, 0}};
	make_catalogue(&here, 1);
	add_provider("q", there, 2);
	const struct model_usage u = thousand("open-2", 35);
	find(&u, 1);
	ck_assert_int_eq((int)n_found, 1);
	ck_assert_int_eq(found[0].kind, SWITCH_PROVIDER);
	ck_assert_str_eq(found[0].provider, "p");
	ck_assert_str_eq(found[0].suggested_provider, "q");
	ck_assert_str_eq(found[0].suggested_model, "maker/Open-2");
	ck_assert_str_eq(money_text(found[0].monthly_savings), "31");
	ck_assert(found[0].counted);
	ck_assert_str_eq(money_text(total), "31");
}
END_TEST

START_TEST(switching_find_other_family_is_shown_and_never_counted)
{
	/* the newest of the maker's class, though an older one is cheaper; the window must be known and as
	 * large */
	const struct test_record here = {"big-2", "flagship", "llama", USD(10), USD(30), 0, 128000, false, 0};
	const struct test_record there[] = {
		{"claude-4", "flagship", "claude-opus", USD(2), USD(8), 0, 200000, false, 0},
		{"claude-2", "flagship", "claude-opus", USD(1), USD(4), 0, 200000, false, 0},
		{"claude-5", "flagship", "claude-opus", USD(1), USD(4), 0, 127999, false, 0},
		{"claude-6", "flagship", "claude-opus", USD(1), USD(4), 0, 0, false, 0},
		{"claude-7", "mid", "claude-sonnet", USD(1), USD(4), 0, 200000, false, 0},
		{"gpt-8", "flagship", "gpt", USD(1), USD(4), 0, 200000, false, 0}};
	make_catalogue(&here, 1);
	add_provider("anthropic", there, 6);
	const struct model_usage u = thousand("big-2", 35);
	find(&u, 1);
	ck_assert_int_eq((int)n_found, 1);
	ck_assert_int_eq(found[0].kind, SWITCH_OTHER_FAMILY);
	ck_assert_str_eq(found[0].suggested_provider, "anthropic");
	ck_assert_str_eq(found[0].suggested_model, "claude-4");
	/* 35 - (2 x 2 + 0.5 x 8) = 27 */
	ck_assert_str_eq(money_text(found[0].monthly_savings), "27");
	ck_assert(!found[0].counted);
	ck_assert(found[0].confidence <= 0.3);
	ck_assert_str_eq(money_text(total), "0");
}
END_TEST

START_TEST(switching_find_cached_tokens_decide_what_is_cheaper)
{
	/* 2 M input of which 1.8 M cached, 0.5 M output. big-2: 0.2 x 10 + 1.8 x 1 + 0.5 x 30 = 18.8; big-3
	 * without a price for reads: 2 x 8 + 0.5 x 5 = 18.5, not 5 % less; big-4 0.2 x 9 + 1.8 x 0.5 + 0.5 x
	 * 9 = 7.2 */
	const struct test_record t[] = {{"big-2", "flagship", "gpt", USD(10), USD(30), USD(1), 0, false, 0},
		{"big-3", "flagship", "gpt", USD(8), USD(5), 0, 0, false, 0},
		{"big-4", "flagship", "gpt", USD(9), USD(9), USD(0.5), 0, false, 0}};
	make_catalogue(t, 3);
	struct model_usage u = thousand("big-2", 19);
	u.cache_read_tokens = 1800000;
	find(&u, 1);
	ck_assert_int_eq((int)n_found, 1);
	ck_assert_str_eq(found[0].suggested_model, "big-4");
	/* 18.8 - 7.2 */
	ck_assert_str_eq(money_text(found[0].saved), "11.6");
}
END_TEST

START_TEST(switching_find_own_prices_come_first)
{
	/* mid-3 is at 16 and 6 by the user's own price: 2 x 16 + 0.5 x 6 = 35, nothing is saved; big-3 stays
	 */
	make_catalogue(FAMILY, 4);
	const struct test_record own = {"mid-3", NULL, NULL, USD(16), USD(6), 0, 0, false, 0};
	make_record(RECORD_MAX - 1, &own);
	const struct price_record *const overrides[] = {&records[RECORD_MAX - 1]};
	const struct model_usage u = thousand("big-2", 35);
	const struct switching_input in = {.catalogue = &catalogue,
		.overrides = overrides,
		.n_overrides = 1,
		.models = &u,
		.n_models = 1,
		.now_us = NOW_US,
		.period_days = 30};
	ck_assert_int_eq(switching_find(&in, &arena, &found, &n_found, &total), ERR_OK);
	ck_assert_int_eq((int)n_found, 1);
	ck_assert_str_eq(found[0].suggested_model, "big-3");
}
END_TEST

START_TEST(switching_find_dismissed_is_not_counted_and_the_next_best_is)
{
	make_catalogue(FAMILY, 4);
	const struct model_usage u = thousand("big-2", 35);
	find(&u, 1);
	ck_assert_str_ne(found[0].id, found[1].id);
	const char *const ids[] = {arena_strdup(&arena, suggestion(SWITCH_SMALLER)->id)};
	const struct switching_input in = {.catalogue = &catalogue,
		.models = &u,
		.n_models = 1,
		.dismissed = {ids, 1},
		.now_us = NOW_US,
		.period_days = 30};
	ck_assert_int_eq(switching_find(&in, &arena, &found, &n_found, &total), ERR_OK);
	ck_assert_int_eq((int)n_found, 2);
	ck_assert(suggestion(SWITCH_SMALLER)->dismissed && !suggestion(SWITCH_SMALLER)->counted);
	ck_assert(suggestion(SWITCH_SAME_CLASS)->counted && !suggestion(SWITCH_SAME_CLASS)->dismissed);
	ck_assert_str_eq(money_text(total), "27");
}
END_TEST

START_TEST(switching_find_only_the_dearest_rows_are_searched)
{
	make_catalogue(FAMILY, 4);
	static struct model_usage u[SWITCHING_ROWS_MAX + 1];
	for (int i = 0; i <= SWITCHING_ROWS_MAX; i++)
		u[i] = thousand("big-2", 35 + i);
	find(u, SWITCHING_ROWS_MAX + 1);
	ck_assert_int_eq((int)n_found, 2 * SWITCHING_ROWS_MAX);
	for (size_t i = 0; i < n_found; i++)
		ck_assert_uint_ne(found[i].usage, 0); /* the cheapest row */
}
END_TEST

START_TEST(dismissed_has_finds_each_and_nothing_else)
{
	const char *const ids[] = {"a", "c", "e"};
	for (size_t n = 0; n <= 3; n++) {
		const struct dismissed d = {ids, n};
		for (size_t i = 0; i < 3; i++)
			ck_assert(dismissed_has(&d, ids[i]) == (i < n));
		ck_assert(!dismissed_has(&d, "") && !dismissed_has(&d, "b") && !dismissed_has(&d, "f"));
	}
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("switching");
	tcase_add_test(t, switching_find_same_class_and_one_smaller_are_suggested);
	tcase_add_test(t, switching_find_cheapest_already_has_no_suggestion);
	tcase_add_test(t, switching_find_spent_less_than_listed_counts_what_was_spent);
	tcase_add_test(t, switching_find_spent_more_than_listed_counts_todays_prices);
	tcase_add_test(t, switching_find_long_period_is_brought_to_thirty_days);
	tcase_add_test(t, switching_find_short_period_is_not_extrapolated);
	tcase_add_test(t, switching_find_unpriced_free_or_unknown_rows_are_left_out);
	tcase_add_test(t, switching_find_candidate_must_fit_in_every_respect);
	tcase_add_test(t, switching_find_unknown_window_lowers_confidence_and_says_so);
	tcase_add_test(t, switching_find_nano_is_a_class_below_small);
	tcase_add_test(t, switching_find_same_model_elsewhere_is_suggested_and_counted);
	tcase_add_test(t, switching_find_other_family_is_shown_and_never_counted);
	tcase_add_test(t, switching_find_cached_tokens_decide_what_is_cheaper);
	tcase_add_test(t, switching_find_own_prices_come_first);
	tcase_add_test(t, switching_find_dismissed_is_not_counted_and_the_next_best_is);
	tcase_add_test(t, switching_find_only_the_dearest_rows_are_searched);
	tcase_add_test(t, dismissed_has_finds_each_and_nothing_else);
	tcase_add_test(t, switching_find_without_memory_says_so);
	return run_core_tests(suite_create("switching"), t, NULL);
}
