/* The embedded catalogue as a whole, what the loader refuses (with file and line), the operator's file, and
 * reloads. */
#include "llmlab/base/clock.h"
#include "llmlab/base/embed.h"
#include "llmlab/core/match.h"
#include "llmlab/core/price.h"
#include "llmlab/core/price_find.h"
#include "llmlab/providers/catalogue_load.h"
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROVIDERS 54
#define RECORDS	  2955

extern const struct embed_file embed_providers[];
extern const size_t embed_providers_count;

static struct arena arena;
static struct problem p;
static struct catalogue *catalogue;

static void setup(void)
{
	arena_init(&arena, (size_t)16 << 20);
	problem_init(&p, &arena);
	ck_assert_msg(catalogue_load(NULL, &catalogue, &p) == ERR_OK, "%s", problem_detail(&p));
}

static void teardown(void)
{
	catalogue_free(catalogue);
	arena_release(&arena);
}

/* ---- the embedded data ---- */

START_TEST(catalogue_load_embedded_files_give_every_provider_and_record)
{
	size_t records = 0;
	ck_assert_uint_eq(embed_providers_count, PROVIDERS);
	ck_assert_uint_eq(catalogue->n_providers, PROVIDERS);
	for (size_t i = 0; i < catalogue->n_providers; i++) {
		ck_assert_uint_gt(catalogue->providers[i].n_records, 0);
		records += catalogue->providers[i].n_records;
	}
	ck_assert_uint_eq(records, RECORDS);
}
END_TEST

START_TEST(catalogue_load_order_is_that_of_the_list)
{
	ck_assert_str_eq(catalogue->providers[0].id, "anthropic");
	ck_assert_str_eq(catalogue->providers[1].id, "avian");
	ck_assert_str_eq(catalogue->providers[PROVIDERS - 1].id, "watsonx");
}
END_TEST

START_TEST(catalogue_load_version_is_of_the_content)
{
	struct catalogue *again = NULL;
	ck_assert_uint_eq(strlen(catalogue->version), 16);
	ck_assert_int_eq(catalogue_load(NULL, &again, &p), ERR_OK);
	ck_assert_str_eq(again->version, catalogue->version);
	catalogue_free(again);
}
END_TEST

START_TEST(catalogue_load_takes_little_memory)
{
	ck_assert_uint_lt(catalogue->arena.used_bytes, (size_t)24 << 20);
}
END_TEST

static void check_tier(const struct price_tier *t)
{
	for (int c = 0; c < PRICE_CATEGORIES; c++)
		ck_assert_int_ge(t->per_million[c], PRICE_NONE);
}

static void check_period(const struct price_period *period)
{
	ck_assert_int_lt(period->from_us, period->to_us);
	ck_assert_uint_ge(period->standard.n_tiers, 1);
	ck_assert_int_eq(period->standard.tiers[0].above_input_tokens, -1);
	for (size_t t = 0; t < period->standard.n_tiers; t++) {
		check_tier(&period->standard.tiers[t]);
		ck_assert(t == 0 || period->standard.tiers[t].above_input_tokens >
					    period->standard.tiers[t - 1].above_input_tokens);
	}
}

/* What the loader promises holds for every record; each record is also found under its own first name, unless
 * an earlier one claims that. */
START_TEST(catalogue_load_every_record_is_well_formed_and_can_be_found)
{
	for (size_t i = 0; i < catalogue->n_providers; i++) {
		const struct provider *const v = &catalogue->providers[i];
		for (size_t k = 0; k < v->n_records; k++) {
			const struct price_record *const r = &v->records[k];
			enum match_kind kind;
			ck_assert_str_eq(r->provider, v->id);
			ck_assert(r->embedded);
			for (size_t n = 0; n < r->n_periods; n++) {
				check_period(&r->periods[n]);
				ck_assert(n == 0 || r->periods[n].from_us >= r->periods[n - 1].to_us);
			}
			for (size_t m = 0; m < r->n_match; m++) {
				if (r->match[m].kind != MATCH_EQUALS)
					continue;
				const struct price_record *const found =
					price_index_find(v->index, r->match[m].text, &kind);
				ck_assert_ptr_nonnull(found);
				ck_assert(found <= r);
			}
		}
	}
}
END_TEST

/* ---- index and scan ---- */

static const struct price_record *scan(const struct provider *v, const char *name)
{
	for (size_t k = 0; k < v->n_records; k++) {
		if (match_first(v->records[k].match, v->records[k].n_match, name) != NULL)
			return &v->records[k];
	}
	return NULL;
}

static void check_name(const struct provider *v, const char *name)
{
	enum match_kind kind;
	const struct price_record *const indexed = price_index_find(v->index, name, &kind);
	ck_assert_msg(indexed == scan(v, name), "%s %s", v->id, name);
}

/* The name itself and names close to it: longer, shorter, prefixed, with another last character. */
static void check_name_and_mutations(const struct provider *v, const char *name)
{
	static const char *const after[] = {"", "-latest", "-2025-01-01", ":free", "0"};
	static const char *const before[] = {"", "us.", "models/"};
	char text[512];
	for (size_t a = 0; a < sizeof after / sizeof after[0]; a++) {
		for (size_t b = 0; b < sizeof before / sizeof before[0]; b++) {
			snprintf(text, sizeof text, "%s%s%s", before[b], name, after[a]);
			check_name(v, text);
		}
	}
	snprintf(text, sizeof text, "%s", name);
	const size_t n = strlen(text);
	text[n - 1] = 'z';
	check_name(v, text);
	text[n - 1] = '\0';
	check_name(v, text);
}

START_TEST(price_index_find_every_name_and_mutation_finds_what_a_scan_finds)
{
	for (size_t i = 0; i < catalogue->n_providers; i++) {
		const struct provider *const v = &catalogue->providers[i];
		for (size_t k = 0; k < v->n_records; k++) {
			for (size_t m = 0; m < v->records[k].n_match; m++)
				check_name_and_mutations(v, v->records[k].match[m].text);
		}
	}
}
END_TEST

/* ---- the operator's file ---- */

static char path[] = "/tmp/llmlab-catalogue-XXXXXX";

static void write_file(const char *text)
{
	strcpy(path, "/tmp/llmlab-catalogue-XXXXXX");
	const int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static enum err load_file(const char *text, struct catalogue **ret)
{
	write_file(text);
	const enum err e = catalogue_load(path, ret, &p);
	unlink(path);
	return e;
}

START_TEST(catalogue_load_own_record_replaces_the_one_of_the_same_model)
{
	struct catalogue *own = NULL;
	ck_assert_msg(load_file("{\"mode\":\"extend\",\"providers\":[{\"provider\":\"openai\",\"records\":[{"
				"\"model\":\"gpt-4\","
				"\"match\":[{\"equals\":\"gpt-4\"}],\"prices\":[{\"per_million_tokens\":{"
				"\"input\":\"1\"}}]}]}]}",
			      &own) == ERR_OK,
		"%s", problem_detail(&p));
	const struct price_match m = price_find(own, "openai", "gpt-4", NULL);
	ck_assert_str_eq(m.record->model, "gpt-4");
	ck_assert(!m.record->embedded);
	ck_assert_int_eq(m.record->periods[0].standard.tiers[0].per_million[CATEGORY_input], 1000000000);
	ck_assert_uint_eq(m.provider->n_records, provider_by_name(catalogue, "openai")->n_records);
	ck_assert_str_eq(m.provider->name, "OpenAI");
	ck_assert_str_ne(own->version, catalogue->version);
	catalogue_free(own);
}
END_TEST

START_TEST(catalogue_load_own_provider_is_added_at_the_end)
{
	struct catalogue *own = NULL;
	ck_assert_msg(load_file("{\"mode\":\"extend\",\"providers\":[{\"provider\":\"mine\",\"aliases\":["
				"\"my\"],\"usage\":{\"chat\":"
				"{\"like\":\"openai.chat\"}},\"records\":[{\"model\":\"m\",\"match\":[{"
				"\"prefix\":\"m\"}],\"prices\":"
				"[{\"per_million_tokens\":{\"input\":0.5}}]}]}]}",
			      &own) == ERR_OK,
		"%s", problem_detail(&p));
	ck_assert_uint_eq(own->n_providers, PROVIDERS + 1);
	const struct price_match m = price_find(own, "MY", "m-2", NULL);
	ck_assert_str_eq(m.provider->id, "mine");
	ck_assert_str_eq(m.record->model, "m");
	catalogue_free(own);
}
END_TEST

START_TEST(catalogue_load_replace_leaves_nothing_embedded)
{
	struct catalogue *own = NULL;
	ck_assert_msg(
		load_file("{\"mode\":\"replace\",\"providers\":[{\"provider\":\"mine\",\"records\":[]}]}",
			&own) == ERR_OK,
		"%s", problem_detail(&p));
	ck_assert_uint_eq(own->n_providers, 1);
	ck_assert_ptr_null(price_find(own, "openai", "gpt-4", NULL).provider);
	catalogue_free(own);
}
END_TEST

/* A file with one record whose third line is given. */
#define RECORD(line)                                                                                         \
	"{\"mode\":\"extend\",\"providers\":[{\"provider\":\"mine\",\n\"records\":[\n" line "]}]}"
#define PRICED(prices) "{\"model\":\"m\",\"match\":[{\"equals\":\"m\"}],\"prices\":" prices "}"
#define MATCHED(rule)  "{\"model\":\"m\",\"match\":[" rule "],\"prices\":[{\"per_million_tokens\":{}}]}"

struct bad_file {
	const char *text;
	const char *told; /* part of the detail */
};
static const struct bad_file bad_files[] = {
	{"{", "The JSON is malformed"},
	{"{\"mode\":\"other\",\"providers\":[]}", ":1: mode must be one of extend, replace"},
	{"{\"mode\":\"extend\",\"providers\":[],\"x\":1}", ":1: x is not a known field"},
	{"{\"mode\":\"extend\",\n\"providers\":[{\"provider\":\"A\"}]}",
		":2: providers[0].provider must be of a-z"},
	{"{\"mode\":\"extend\",\"providers\":[{\"provider\":\"mine\",\"aliases\":[\"openai\"]}]}",
		"a name of openai"},
	{"{\"mode\":\"extend\",\"providers\":[{\"provider\":\"mine\",\"fallback\":[\"nobody\"]}]}",
		"fallback names nobody"},
	{"{\"mode\":\"extend\",\"providers\":[{\"provider\":\"mine\",\"usage\":{\"chat\":{\"like\":\"a.b\"}}}"
	 "]}",
		"usage.chat is like a.b"},
	{"{\"mode\":\"extend\",\"providers\":[{\"provider\":\"mine\",\"usage\":{\"chat\":{\"root\":\"usage\","
	 "\"model\":\"m\",\"id\":"
	 "\"id\",\"add\":[[\"a\",\"no_such_count\"]]}}}]}",
		"usage.chat.add must hold pairs"},
	{"{\"mode\":\"extend\",\"providers\":[{\"provider\":\"mine\",\"url_regex\":\"((\"}]}",
		"url_regex must be a POSIX"},
	{RECORD("{\"model\":\"m\"}"), ":3: providers[0].records[0].match is required"},
	{RECORD(PRICED("[{\"per_million_tokens\":{\"input\":\"-1\"}}]")), "input must be 0 or more"},
	{RECORD(PRICED("[{\"per_million_tokens\":{\"input\":\"0.0000000001\"}}]")),
		"more than 9 digits after the point"},
	{RECORD(PRICED("[{\"per_million_tokens\":{\"input\":\"1e7\"}}]")), "input must be at most 1000000"},
	{RECORD(PRICED("[{\"per_million_tokens\":{\"inptu\":\"1\"}}]")), "inptu is not a known field"},
	{RECORD(PRICED("[{\"per_million_tokens\":{},\"currency\":\"EUR\"}]")), "currency must be one of USD"},
	{RECORD(PRICED("[{\"per_million_tokens\":{},\"from\":\"soon\"}]")), "from must be an RFC 3339 time"},
	{RECORD(PRICED("[{\"from\":\"2026-01-02T00:00:00Z\",\"to\":\"2026-01-02T00:00:00Z\",\"per_million_"
		       "tokens\":{}}]")),
		"to must be after from"},
	{RECORD(PRICED("[{\"to\":\"2026-01-02T00:00:00Z\",\"per_million_tokens\":{}},{\"from\":\"2026-01-"
		       "01T00:00:00Z\","
		       "\"per_million_tokens\":{}}]")),
		"prices[1].from must not be before the end"},
	{RECORD(PRICED("[{\"per_million_tokens\":{}},{\"per_million_tokens\":{}}]")),
		"prices[1].from must not be before"},
	{RECORD(PRICED("[{\"per_million_tokens\":{},\"tiers\":[{\"above_input_tokens\":5},{\"above_input_"
		       "tokens\":5}]}]")),
		"tiers[1].above_input_tokens must be more"},
	{RECORD(PRICED(
		 "[{\"per_million_tokens\":{},\"service_tiers\":{\"turbo\":{\"per_million_tokens\":{}}}}]")),
		"turbo is not a known field"},
	{RECORD(PRICED("[{\"per_million_tokens\":{},\"windows\":[{\"utc_from\":\"25:00:00\",\"utc_to\":\"01:"
		       "00:00\","
		       "\"per_million_tokens\":{}}]}]")),
		"utc_from and utc_to must be different times"},
	{RECORD(PRICED("[{\"per_million_tokens\":{},\"windows\":[{\"utc_from\":\"01:00:00\",\"utc_to\":\"03:"
		       "00:00\","
		       "\"per_million_tokens\":{}},{\"utc_from\":\"02:00:00\",\"utc_to\":\"04:00:00\",\"per_"
		       "million_tokens\":{}}]}]")),
		"windows[1].utc_from overlaps"},
	{RECORD(PRICED("[{\"per_million_tokens\":{},\"windows\":[{\"utc_from\":\"01:00:00\",\"utc_to\":\"03:"
		       "00:00\",\"days\":"
		       "[\"mon\",\"mon\"],\"per_million_tokens\":{}}]}]")),
		"days must hold mon .. sun"},
	{RECORD(MATCHED("{\"equals\":\"M\"}")), "match[0].equals must be in lower case"},
	{RECORD(MATCHED("{\"is\":\"m\"}")), "match[0] must be an object with one of"},
	{RECORD(MATCHED("{\"regex\":\"(a)\\\\1\"}")), "may escape punctuation only"},
	{RECORD(MATCHED("{\"regex\":\"(a+)+\"}")), "may repeat single characters only"},
	{RECORD(MATCHED("{\"regex\":\"[a[](b)\\\\1\"}")), "may escape punctuation only"},
	{RECORD(MATCHED("{\"regex\":\"a{100}\"}")), "at most 12 times in all"},
	{RECORD(MATCHED("{\"regex\":\"a{7}b{7}\"}")), "at most 12 times in all"},
	{RECORD(MATCHED("{\"regex\":\"[a\"}")), "a class that is not closed"},
	{RECORD(MATCHED("{\"regex\":\"(a\"}")), "must be a POSIX extended"},
	{RECORD(PRICED("[{\"per_million_tokens\":{}}],\"per_unit\":{\"input_second\":\"0.0000000000001\"}")),
		"input_second has more than 12 digits"},
	{RECORD(PRICED("[{\"per_million_tokens\":{}}],\"per_unit\":{\"request\":\"1\"}")),
		"request is not a known field"},
	{RECORD(PRICED("[{\"per_million_tokens\":{}}],\"multipliers\":[{\"when\":\"moon=full\",\"factor\":"
		       "\"2\"}]")),
		"when must be inference_geo"},
	{RECORD(PRICED("[{\"per_million_tokens\":{}}],\"multipliers\":[{\"when\":\"inference_geo=us\","
		       "\"factor\":\"1.0001\"}]")),
		"more than 3 digits"},
	{RECORD(PRICED("[{\"per_million_tokens\":{}}],\"multipliers\":[{\"when\":\"inference_geo=us\","
		       "\"factor\":\"1.1\"},{\"when\":"
		       "\"data_residency=us\",\"factor\":\"1.1\"}]")),
		"must name the same setting"},
	{RECORD(PRICED("[{\"per_million_tokens\":{}}],\"retires\":{\"m\":\"soon\"}")),
		"retires must hold dates"},
	{RECORD(PRICED("[{\"per_million_tokens\":{}}]") ",\n" PRICED("[{\"per_million_tokens\":{}}]")),
		":4: providers[0].records[1].model is that of another record"},
};

START_TEST(catalogue_load_broken_file_is_refused_with_its_line_and_reason)
{
	struct catalogue *own = NULL;
	ck_assert_int_eq(load_file(bad_files[_i].text, &own), ERR_VALIDATION);
	ck_assert_ptr_null(own);
	ck_assert_msg(strstr(problem_detail(&p), bad_files[_i].told) != NULL, "%s\n%s", bad_files[_i].told,
		problem_detail(&p));
	ck_assert_msg(strncmp(problem_detail(&p), path, strlen(path)) == 0 ||
			      strncmp(problem_detail(&p), "mine.json", 9) == 0,
		"%s", problem_detail(&p));
}
END_TEST

START_TEST(catalogue_load_missing_file_is_refused)
{
	struct catalogue *own = NULL;
	ck_assert_int_eq(catalogue_load("/nonexistent/prices.json", &own, &p), ERR_VALIDATION);
	ck_assert_str_eq(problem_detail(&p), "/nonexistent/prices.json: No such file or directory");
}
END_TEST

/* ---- reloads ---- */

START_TEST(catalogue_publish_reader_keeps_its_snapshot)
{
	struct catalogue *next = NULL;
	struct catalogue *first = NULL;
	ck_assert_int_eq(catalogue_load(NULL, &first, &p), ERR_OK);
	catalogue_publish(first);
	const struct catalogue *const held = catalogue_acquire();
	ck_assert_int_eq(load_file("{\"mode\":\"replace\",\"providers\":[]}", &next), ERR_OK);
	catalogue_publish(next);
	ck_assert_uint_eq(held->n_providers, PROVIDERS);
	const struct catalogue *const now = catalogue_acquire();
	ck_assert_uint_eq(now->n_providers, 0);
	catalogue_release(held);
	catalogue_shutdown();
	ck_assert_uint_eq(now->n_providers, 0);
	catalogue_release(now);
}
END_TEST

static void *read_for_a_while(void *unused)
{
	(void)unused;
	for (int i = 0; i < 2000; i++) {
		char name[32];
		snprintf(name, sizeof name, "gpt-4-%d", i % 50);
		const struct catalogue *const c = catalogue_acquire();
		const struct price_match m = price_find(c, "openai", name, NULL);
		ck_assert_ptr_nonnull(m.provider);
		ck_assert_str_eq(m.provider->id, "openai");
		catalogue_release(c);
	}
	return NULL;
}

START_TEST(catalogue_publish_while_others_read_is_safe)
{
	pthread_t threads[4];
	struct catalogue *c = NULL;
	ck_assert_int_eq(catalogue_load(NULL, &c, &p), ERR_OK);
	catalogue_publish(c);
	for (size_t i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, read_for_a_while, NULL), 0);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(catalogue_load(NULL, &c, &p), ERR_OK);
		catalogue_publish(c);
	}
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	catalogue_shutdown();
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("catalogue");
	TCase *const t = tcase_create("catalogue");
	tcase_set_timeout(t, 60);
	tcase_add_unchecked_fixture(t, setup, teardown);
	tcase_add_test(t, catalogue_load_embedded_files_give_every_provider_and_record);
	tcase_add_test(t, catalogue_load_order_is_that_of_the_list);
	tcase_add_test(t, catalogue_load_version_is_of_the_content);
	tcase_add_test(t, catalogue_load_takes_little_memory);
	tcase_add_test(t, catalogue_load_every_record_is_well_formed_and_can_be_found);
	tcase_add_test(t, price_index_find_every_name_and_mutation_finds_what_a_scan_finds);
	tcase_add_test(t, catalogue_load_own_record_replaces_the_one_of_the_same_model);
	tcase_add_test(t, catalogue_load_own_provider_is_added_at_the_end);
	tcase_add_test(t, catalogue_load_replace_leaves_nothing_embedded);
	tcase_add_loop_test(t, catalogue_load_broken_file_is_refused_with_its_line_and_reason, 0,
		sizeof bad_files / sizeof bad_files[0]);
	tcase_add_test(t, catalogue_load_missing_file_is_refused);
	tcase_add_test(t, catalogue_publish_reader_keeps_its_snapshot);
	tcase_add_test(t, catalogue_publish_while_others_read_is_safe);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
