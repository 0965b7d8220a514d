/* What needs memory, run again and again while the N-th allocation fails (once, and from there on for good),
 * N = 1, 2, ... until nothing fails: each run ends well or says that there was no memory, leaks nothing (the
 * sanitizer looks at the end), and the same thing works at once afterwards. */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../../../src/http/internal.h"
#include "fail.h"
#include "llmlab/api/cursor.h"
#include "llmlab/api/event_csv.h"
#include "llmlab/api/event_item.h"
#include "llmlab/app/csv.h"
#include "llmlab/app/dotenv.h"
#include "llmlab/app/import_rows.h"
#include "llmlab/auth/jwt.h"
#include "llmlab/auth/refused_keys.h"
#include "llmlab/auth/revocation.h"
#include "llmlab/auth/seal.h"
#include "llmlab/auth/token_cache.h"
#include "llmlab/base/calendar.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/json_write.h"
#include "llmlab/core/forecast.h"
#include "llmlab/core/webhook.h"
#include "llmlab/providers/catalogue_load.h"
#include "llmlab/providers/own_prices.h"
#include "llmlab/providers/usage_format.h"

#define NOW_US 1787479200000000LL /* 2026-08-23T10:00:00Z */
#define SECRET "8f2c1d90a7b64e53c1f08d2b7a965e41"

static const char EVENT[] =
	"{\"provider\":\"anthropic\",\"model\":\"claude-sonnet-4-5\",\"usage\":{\"input_tokens\":200,"
	"\"cache_read_input_tokens\":5000,\"output_tokens\":300},\"tags\":{\"team\":\"a\",\"x\":\"y\"},"
	"\"metadata\":{\"a\":[1,2.50,null]},\"project\":\"p\",\"idempotency_key\":\"k\"}";
static const struct catalogue *catalogue;

/* A run: true if it did what it is for; false if it said that it could not. Anything else is asserted inside.
 */
typedef bool scenario(void);

static struct arena arena;
static struct problem p;

static void begin(void)
{
	arena_init(&arena, (size_t)16 << 20);
	problem_init(&p, &arena);
}

static bool end(bool done)
{
	arena_release(&arena);
	return done;
}

static bool writes_json(void)
{
	struct buf out;
	struct json_writer w;
	buf_init(&out, (size_t)1 << 20);
	jw_init(&w, &out);
	jw_object_begin(&w, NULL);
	for (int i = 0; i < 2000; i++)
		jw_string(&w, "name", "a value of some length, and \"quotes\"");
	jw_object_end(&w);
	const bool done = !out.failed;
	buf_release(&out);
	return done;
}

static bool reads_json(void)
{
	struct json_doc doc;
	begin();
	const enum err e = json_doc_parse(&doc, EVENT, strlen(EVENT), &json_limits_default, &arena, &p);
	must(e == ERR_OK || e == ERR_NO_MEMORY);
	if (e != ERR_OK)
		return end(false);
	const char *const text = json_text(&doc, doc.root, 65536, &arena);
	must(text != NULL || arena_overflowed(&arena));
	json_doc_release(&doc);
	return end(text != NULL);
}

static bool makes_an_event(void)
{
	static const struct principal who = {.user_id = {{7}}, .scope = AUTH_SCOPE_FULL};
	struct json_doc doc;
	struct ingest_item *item = NULL;
	struct buf csv;
	begin();
	if (json_doc_parse(&doc, EVENT, strlen(EVENT), &json_limits_response, &arena, &p) != ERR_OK)
		return end(false);
	const struct event_source source = {
		.catalogue = catalogue, .principal = &who, .now_us = NOW_US, .arena = &arena};
	const enum err e = event_item_new(&source, &doc, doc.root, &item, &p);
	json_doc_release(&doc);
	must_be(e == ERR_OK || e == ERR_NO_MEMORY, problem_detail(&p));
	if (e != ERR_OK)
		return end(false);
	char cost[DECIMAL_TEXT_MAX];
	decimal_format(item->event.cost.atto, MONEY_SCALE, cost);
	/* 200 x 3 + 5000 x 0.30 + 300 x 15 USD a million = 0.0066 */
	must_be(strcmp(cost, "0.0066") == 0, cost);
	buf_init(&csv, 65536);
	event_csv_row(&csv, &item->event);
	const bool done = !csv.failed;
	buf_release(&csv);
	ingest_item_free(item);
	return end(done);
}

static bool reads_usage(void)
{
	static const char body[] =
		"{\"id\":\"r\",\"model\":\"gpt-4o\",\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":3,"
		"\"total_tokens\":15,\"prompt_tokens_details\":{\"cached_tokens\":10}}}";
	struct json_doc doc;
	const struct usage_format *format;
	struct usage_report report;
	begin();
	if (json_doc_parse(&doc, body, strlen(body), &json_limits_response, &arena, &p) != ERR_OK)
		return end(false);
	enum err e = usage_format_find(catalogue, "openai", NULL, doc.root, true, &format, &p);
	if (e == ERR_OK)
		e = usage_format_read_response(format, &doc, doc.root, &arena, &report, &p);
	json_doc_release(&doc);
	must_be(e == ERR_OK || e == ERR_NO_MEMORY || arena_overflowed(&arena), problem_detail(&p));
	return end(e == ERR_OK);
}

static bool loads_prices(void)
{
	struct catalogue *c = NULL;
	begin();
	const enum err e = catalogue_load(NULL, &c, &p);
	must_be(e == ERR_OK || e == ERR_NO_MEMORY, problem_detail(&p));
	if (e == ERR_OK)
		catalogue_free(c);
	return end(e == ERR_OK);
}

static bool puts_own_prices(void)
{
	static const char *const bodies[] = {"{\"provider\":\"p\",\"match\":{\"regex\":\"^x[0-9]+$\"},\"per_"
					     "million_tokens\":{\"input\":\"2\"}}"};
	static const struct uuid user = {{1}};
	static int64_t revision;
	const struct own_prices *own = NULL;
	begin();
	own_prices_load_end(own_prices_load_begin());
	const enum err e = own_prices_put(0, &user, ++revision, bodies, 1, &p);
	const enum err known = own_prices_acquire(&user, &own);
	/* whatever it says: never "none" where there are some */
	must_be(known == ERR_UNAVAILABLE || own != NULL, err_code(e));
	if (known == ERR_OK)
		own_prices_release(own);
	own_prices_shutdown();
	return end(e == ERR_OK && known == ERR_OK);
}

static bool issues_and_verifies_a_token(void)
{
	struct jwt_keys *keys = NULL;
	struct principal who = {.user_id = {{7}}, .generation = 3}, again;
	char *token = NULL;
	enum err e = jwt_keys_new(SECRET, "another-secret-of-at-least-32-bytes", &keys);
	must(e == ERR_OK || e == ERR_NO_MEMORY);
	if (e != ERR_OK)
		return false;
	e = jwt_issue(keys, &who, NOW_US, 3600 * US_PER_SECOND, &token);
	if (e == ERR_OK)
		e = jwt_verify(keys, token, strlen(token), NOW_US, &again);
	must_be(e == ERR_OK || e == ERR_NO_MEMORY, err_code(e));
	if (e == ERR_OK)
		must(uuid_equal(&again.user_id, &who.user_id) && again.generation == 3);
	free(token);
	jwt_keys_free(keys);
	return e == ERR_OK;
}

static bool remembers_tokens(void)
{
	struct token_cache *const cache = token_cache_new();
	struct revocations *const ended = revocations_new(100);
	struct refused_keys *const refused = refused_keys_new();
	const struct principal who = {.user_id = {{7}}, .token_id = {{8}}, .expires_at_us = NOW_US * 2};
	const bool done = cache != NULL && ended != NULL && refused != NULL;
	if (ended != NULL) {
		revocations_mark_fresh(ended, NOW_US);
		revocations_add(ended, &who.token_id, who.expires_at_us);
		/* what could not be kept must not be believed */
		must(revocations_check(ended, &who, NOW_US) != REVOCATION_NONE);
	}
	token_cache_free(cache);
	revocations_free(ended);
	refused_keys_free(refused);
	return done;
}

static bool makes_seal_keys(void)
{
	struct seal_keys *keys = NULL;
	const enum err e = seal_keys_new(SECRET, "another-secret-of-at-least-32-bytes", &keys);
	must(e == ERR_OK || e == ERR_NO_MEMORY);
	seal_keys_free(keys);
	return e == ERR_OK;
}

static bool makes_cursors(void)
{
	begin();
	const char *const cursor = text_cursor_format("openai/gpt-4", &arena);
	const char *const text = cursor == NULL ? NULL : text_cursor_parse(cursor, &arena);
	if (text != NULL)
		must_be(strcmp(text, "openai/gpt-4") == 0, text);
	return end(text != NULL);
}

/* Zones are kept for ever, so each run asks for others. */
static bool loads_a_zone(void)
{
	static const char *const names[] = {"Europe/Berlin", "Europe/Paris", "Asia/Tokyo", "America/New_York",
		"Pacific/Apia", "Asia/Kolkata", "Africa/Cairo", "America/Lima", "Asia/Dubai", "Europe/Rome",
		"Asia/Seoul", "America/Nuuk", "Australia/Sydney", "Europe/Madrid", "Asia/Manila",
		"America/Denver", "Europe/Oslo", "Asia/Riyadh", "Africa/Lagos", "Europe/Kyiv", "Asia/Karachi",
		"America/Bogota", "Europe/Minsk", "Asia/Tehran"};
	static size_t next;
	const struct tz *z = NULL;
	const enum err e = tz_load(names[next++ % (sizeof names / sizeof names[0])], &z);
	must_be(e == ERR_OK || e == ERR_NO_MEMORY || e == ERR_UNAVAILABLE, err_code(e));
	return e == ERR_OK;
}

static bool reads_rows(enum import_format format, char *text)
{
	FILE *const in = fmemopen(text, strlen(text), "r");
	if (in == NULL)
		return false;
	const struct import_rows_options options = {.format = format, .model = "gpt-4"};
	struct import_rows *rows = NULL;
	struct import_row row = {0};
	struct buf out, problems;
	buf_init(&out, 65536);
	buf_init(&problems, 65536);
	enum err e = import_rows_new(in, &options, &rows, &problems);
	/* the program ends on each of them, and says so */
	must_be(e == ERR_OK || e == ERR_NO_MEMORY || e == ERR_UNAVAILABLE || e == ERR_VALIDATION,
		err_code(e));
	int good = 0;
	while (e == ERR_OK && (e = import_rows_next(rows, &out, &row)) == ERR_OK)
		good += row.refused == NULL && !out.failed;
	must_be(e == ERR_NOT_FOUND || e == ERR_NO_MEMORY || e == ERR_UNAVAILABLE || e == ERR_VALIDATION,
		err_code(e));
	import_rows_free(rows);
	buf_release(&out);
	buf_release(&problems);
	fclose(in);
	return e == ERR_NOT_FOUND && good == 2;
}

static bool reads_csv(void)
{
	char text[] = "timestamp,model,input_tokens\n2026-08-23,gpt-4,5\n2026-08-23,\"gpt-4o\",7\n";
	return reads_rows(IMPORT_CSV, text);
}

static bool reads_ndjson(void)
{
	char text[] = "{\"model\":\"gpt-4\",\"input_tokens\":5}\n{\"input_tokens\":7}\n";
	return reads_rows(IMPORT_NDJSON, text);
}

static bool reads_dotenv(void)
{
	static const char text[] = "A=1\nexport B=\"x\\n\"\n# c\nC='d'\n";
	struct dotenv d;
	struct buf problems;
	buf_init(&problems, 4096);
	const enum err e = dotenv_parse(text, strlen(text), &d, &problems);
	must(e == ERR_OK || e == ERR_NO_MEMORY);
	if (e == ERR_OK) {
		must_be(strcmp(dotenv_get(&d, "C"), "d") == 0, dotenv_get(&d, "C"));
		dotenv_release(&d);
	}
	buf_release(&problems);
	return e == ERR_OK;
}

static bool writes_webhooks(void)
{
	const struct webhook_message m = {.id = {{1}},
		.type = "budget.threshold",
		.created_at_us = NOW_US,
		.data_json = "{\"message\":\"80 % of <budget> spent\",\"amount\":1.5}"};
	bool done = true;
	for (int f = 0; f < WEBHOOK_FORMATS; f++) {
		struct buf out;
		buf_init(&out, WEBHOOK_BODY_MAX);
		const enum err e = webhook_body((enum webhook_format)f, &m, &out);
		must_be(e == ERR_OK || e == ERR_NO_MEMORY, err_code(e));
		done = done && e == ERR_OK;
		buf_release(&out);
	}
	return done;
}

static bool unpacks_gzip(void)
{
	/* printf '[1,2,3]' | gzip -n */
	static const unsigned char packed[] = {0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 0x03, 0x8b, 0x36, 0xd4,
		0x31, 0xd2, 0x31, 0x8e, 0x05, 0, 0xe9, 0xb3, 0x6d, 0xfd, 0x07, 0, 0, 0};
	struct buf out;
	buf_init(&out, 4096);
	const enum err e = body_gunzip((const char *)packed, sizeof packed, 4096, &out);
	must_be(e == ERR_OK || e == ERR_NO_MEMORY, err_code(e));
	if (e == ERR_OK)
		must_be(strcmp(buf_str(&out), "[1,2,3]") == 0, buf_str(&out));
	buf_release(&out);
	return e == ERR_OK;
}

static bool reads_proxies(void)
{
	struct proxies *trusted = NULL;
	char message[128];
	const enum err e = proxies_new("10.0.0.0/8, ::1", &trusted, message, sizeof message);
	must(e == ERR_OK || e == ERR_NO_MEMORY);
	if (e != ERR_OK)
		return false;
	uint8_t address[16];
	must(proxies_client(trusted, "1.2.3.4, 10.0.0.1", false, address));
	proxies_free(trusted);
	struct rate_limiter *const limiter = rate_limiter_new();
	rate_limiter_free(limiter);
	return limiter != NULL;
}

static bool matches_paths(void)
{
	static const struct route routes[] = {
		{"one", HTTP_GET, "/api/a/{id}", ROUTE_PUBLIC, RUN_LOOP, BODY_NONE, NULL}};
	static const struct http_hooks hooks = {.routes = routes, .n_routes = 1};
	struct http_request rq = {0};
	struct route_match match;
	arena_init(&rq.arena, (size_t)1 << 20);
	problem_init(&p, &rq.arena);
	const bool matched = router_match(&hooks, "/api/a/b?x=1&y=2", HTTP_GET, &rq.arena, &match);
	const bool read = router_query(&rq, "/api/a/b?x=1&y=2", &p);
	must((matched && read) || arena_overflowed(&rq.arena));
	arena_release(&rq.arena);
	return matched && read && match.route != NULL;
}

static const struct {
	const char *name;
	scenario *run;
} scenarios[] = {{"writes JSON", writes_json}, {"reads JSON", reads_json}, {"makes an event", makes_an_event},
	{"reads usage", reads_usage}, {"loads prices", loads_prices}, {"puts own prices", puts_own_prices},
	{"issues and verifies a token", issues_and_verifies_a_token}, {"remembers tokens", remembers_tokens},
	{"makes seal keys", makes_seal_keys}, {"makes cursors", makes_cursors},
	{"loads a zone", loads_a_zone}, {"reads CSV", reads_csv}, {"reads NDJSON", reads_ndjson},
	{"reads .env", reads_dotenv}, {"writes webhooks", writes_webhooks}, {"unpacks gzip", unpacks_gzip},
	{"reads proxies", reads_proxies}, {"matches paths", matches_paths}};
#define N_SCENARIOS (sizeof scenarios / sizeof scenarios[0])

static void load(void)
{
	struct catalogue *c = NULL;
	begin();
	ck_assert_int_eq(catalogue_load(NULL, &c, &p), ERR_OK);
	catalogue = c;
	(void)end(true);
}

/* The first run loads what libraries keep for ever. */
static void until_nothing_fails(const char *name, scenario *run, bool all)
{
	ck_assert_msg(run(), "%s: does not work at all", name);
	for (long n = 1;; n = run == loads_prices ? 2 * n : fail_next(n)) { /* loading takes a while */
		fail_arm(FAIL_MEMORY, n, all);
		const bool done = run();
		const bool fired = fail_disarm();
		ck_assert_msg(done || fired, "%s: says no without a reason", name);
		ck_assert_msg(run(), "%s: does not work after failure %ld", name, n);
		if (!fired)
			return;
	}
}

START_TEST(memory_that_fails_once_is_told_and_nothing_is_lost)
{
	until_nothing_fails(scenarios[_i].name, scenarios[_i].run, false);
}
END_TEST

START_TEST(memory_that_ends_is_told_and_nothing_is_lost)
{
	until_nothing_fails(scenarios[_i].name, scenarios[_i].run, true);
}
END_TEST

int main(void)
{
	if (!fail_spare_openssl())
		return EXIT_FAILURE;
	Suite *const suite = suite_create("fail_memory");
	TCase *const tc = tcase_create("memory");
	tcase_add_unchecked_fixture(tc, load, NULL);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, memory_that_fails_once_is_told_and_nothing_is_lost, 0, N_SCENARIOS);
	tcase_add_loop_test(tc, memory_that_ends_is_told_and_nothing_is_lost, 0, N_SCENARIOS);
	suite_add_tcase(suite, tc);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
