/* Everything that is read from a query, a path or a field of text: decimals, instants, dates, cursors,
 * ranges, queries, paths, ids, base64url, zone rules, JSON. The first byte chooses. What was read and is
 * written again must be the same. */
#include "../../src/base/posix_tz.h"
#include "../../src/http/internal.h"
#include "fuzz.h"
#include "llmlab/api/cursor.h"
#include "llmlab/api/range.h"
#include "llmlab/auth/base64url.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/json_read.h"

#define NOW_US 1787479200000000LL /* 2026-08-23T10:00:00Z */

static struct arena arena; /* of the input */

static void check_decimal(const char *text, size_t n)
{
	static const int128 limit = 1000000000000LL; /* units */
	const int scale = n > 0 ? (unsigned char)text[0] % 20 : 0;
	int128 value, again;
	char out[DECIMAL_TEXT_MAX];
	if (n == 0)
		return;
	const int128 max = limit * decimal_pow10(scale);
	if (decimal_parse(text + 1, n - 1, scale, max, &value) != ERR_OK)
		return;
	FUZZ_CHECK(value <= max && value >= -max);
	const size_t length = decimal_format(value, scale, out);
	FUZZ_CHECK(length == strlen(out) && length < sizeof out);
	FUZZ_CHECK(decimal_parse(out, length, scale, max, &again) == ERR_OK && again == value);
	if (scale < 20) /* one more digit changes nothing */
		FUZZ_CHECK(decimal_parse(out, length, scale + 1, max * 10, &again) == ERR_OK &&
			   again == value * 10);
}

static void check_instant(const char *text, size_t n)
{
	int64_t us, again;
	char out[INSTANT_TEXT_SIZE];
	if (instant_parse(text, n, &us) != ERR_OK)
		return;
	FUZZ_CHECK(us >= INSTANT_MIN_US && us <= INSTANT_MAX_US);
	instant_format(us, out);
	FUZZ_CHECK(instant_parse(out, strlen(out), &again) == ERR_OK && again == us);
}

static void check_date(const char *text, size_t n)
{
	int32_t day;
	char out[DATE_TEXT_SIZE];
	(void)n;
	if (calendar_parse_date(text, &day) != ERR_OK)
		return;
	calendar_format_date(day, out);
	FUZZ_CHECK(strcmp(out, text) == 0);
}

static void check_cursors(const char *text, size_t n)
{
	struct event_cursor c;
	char out[EVENT_CURSOR_TEXT_SIZE];
	(void)n;
	if (event_cursor_parse(text, &c) == ERR_OK) {
		event_cursor_format(&c, out);
		FUZZ_CHECK(strcmp(out, text) == 0);
	}
	const char *const inner = text_cursor_parse(text, &arena);
	if (inner != NULL)
		FUZZ_CHECK(strcmp(text_cursor_format(inner, &arena), text) == 0);
	if (n <= 512) {
		const char *const cursor = text_cursor_format(text, &arena);
		FUZZ_CHECK(strcmp(text_cursor_parse(cursor, &arena), text) == 0);
	}
}

/* "days|from|to|zone", each may be left out. */
static void check_range(const char *text, size_t n)
{
	char *const copy = arena_strndup(&arena, text, n);
	char *rest = copy;
	const char *parts[4] = {NULL};
	for (size_t i = 0; i < 4 && rest != NULL; i++) {
		const char *const part = strsep(&rest, "|");
		parts[i] = part[0] != '\0' ? part : NULL;
	}
	struct problem p;
	struct range_spec spec;
	struct range r;
	const struct tz *tz = tz_utc();
	problem_init(&p, &arena);
	range_parse(parts[0], parts[1], parts[2], &spec, &p);
	if (parts[3] != NULL && tz_load(parts[3], &tz) != ERR_OK)
		tz = tz_utc();
	if (!problem_none(&p) || range_resolve(&spec, tz, NOW_US, &r, &p) != ERR_OK)
		return;
	size_t n_starts = 0;
	const int64_t *const starts = range_day_starts(&r, &arena, &n_starts);
	FUZZ_CHECK(starts != NULL && r.from_us < r.to_us && r.first_day < r.end_day);
	FUZZ_CHECK(n_starts == (size_t)(r.end_day - r.first_day) + 1 && n_starts <= RANGE_DAYS_MAX + 2);
	FUZZ_CHECK(starts[0] == r.from_us && starts[n_starts - 1] == r.to_us);
	for (size_t i = 1; i < n_starts; i++)
		FUZZ_CHECK(starts[i - 1] <= starts[i]);
	const struct range before = range_previous(&r);
	FUZZ_CHECK(before.to_us == r.from_us && before.from_us < before.to_us);
}

static struct reply no_handler(struct http_request *rq)
{
	(void)rq;
	return reply_empty(204);
}

static void check_target(const char *text, size_t n)
{
	static const struct route routes[] = {
		{"fixed", HTTP_GET, "/api/a/b", ROUTE_PUBLIC, RUN_LOOP, BODY_NONE, no_handler},
		{"one", HTTP_GET, "/api/a/{id}", ROUTE_PUBLIC, RUN_LOOP, BODY_NONE, no_handler},
		{"two", HTTP_POST, "/api/a/{id}/b/{other}", ROUTE_PUBLIC, RUN_LOOP, BODY_NONE, no_handler}};
	static const struct http_hooks hooks = {.routes = routes, .n_routes = 3};
	struct route_match match;
	struct problem p;
	struct http_request rq = {0};
	(void)n;
	arena_init(&rq.arena, (size_t)1 << 20);
	problem_init(&p, &rq.arena);
	if (router_match(&hooks, text, HTTP_GET, &rq.arena, &match)) {
		FUZZ_CHECK(match.route == NULL || match.methods != 0);
		for (size_t i = 0; i < HTTP_PATH_ARGS_MAX; i++)
			FUZZ_CHECK(match.args[i] == NULL || utf8_valid(match.args[i], strlen(match.args[i])));
	}
	const bool good = router_query(&rq, text, &p);
	FUZZ_CHECK(good == problem_none(&p) && rq.n_query <= HTTP_QUERY_MAX);
	for (size_t i = 0; good && i < rq.n_query; i++) {
		FUZZ_CHECK(utf8_valid(rq.query[i].value, strlen(rq.query[i].value)));
		FUZZ_CHECK(http_query_get(&rq, rq.query[i].name) == rq.query[i].value);
	}
	arena_release(&rq.arena);
}

static void check_ids(const char *text, size_t n)
{
	struct uuid u;
	char out[UUID_TEXT_SIZE];
	uint8_t bytes[64];
	char again[BASE64URL_LENGTH(sizeof bytes) + 1];
	size_t length;
	if (uuid_parse(text, &u) == ERR_OK) {
		uuid_format(&u, out);
		FUZZ_CHECK(strcasecmp(out, text) == 0);
	}
	if (base64url_decode(text, n, bytes, sizeof bytes, &length) == ERR_OK) {
		base64url_encode(bytes, length, again);
		FUZZ_CHECK(strlen(again) == n && memcmp(again, text, n) == 0);
	}
}

/* The next change is later, and nothing changes before it. (At it neither, where the rule says "all year".)
 */
static void check_zone(const char *text, size_t n)
{
	struct posix_tz tz;
	if (!posix_tz_parse(text, n, &tz))
		return;
	int64_t at = NOW_US / US_PER_SECOND;
	for (int i = 0; i < 4; i++) {
		const int64_t next = posix_tz_next(&tz, at);
		FUZZ_CHECK(next > at);
		if (next == INT64_MAX)
			return;
		FUZZ_CHECK(posix_tz_offset_at(&tz, next - 1) == posix_tz_offset_at(&tz, at));
		at = next;
	}
}

/* What was read is written, read and written again: twice the same text. */
static void check_json(const char *text, size_t n)
{
	struct json_doc doc, again;
	struct problem p;
	problem_init(&p, &arena);
	if (json_doc_parse(&doc, text, n, &json_limits_default, &arena, &p) != ERR_OK) {
		FUZZ_CHECK(!problem_none(&p) && utf8_valid(problem_detail(&p), strlen(problem_detail(&p))));
		return;
	}
	const char *const once = json_text(&doc, doc.root, (size_t)1 << 20, &arena);
	FUZZ_CHECK(once != NULL);
	FUZZ_CHECK(json_doc_parse(&again, once, strlen(once), &json_limits_default, &arena, &p) == ERR_OK);
	const char *const twice = json_text(&again, again.root, (size_t)1 << 20, &arena);
	FUZZ_CHECK(twice != NULL && strcmp(once, twice) == 0);
	json_doc_release(&doc);
	json_doc_release(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const checks[])(const char *text, size_t n) = {check_decimal, check_instant, check_date,
		check_cursors, check_range, check_target, check_ids, check_zone, check_json};
	if (size == 0 || size > 4096)
		return 0;
	arena_init(&arena, (size_t)4 << 20);
	char *const text = fuzz_text(data + 1, size - 1);
	checks[data[0] % (sizeof checks / sizeof checks[0])](text, strlen(text));
	free(text);
	arena_release(&arena);
	return 0;
}
