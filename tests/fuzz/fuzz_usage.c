/* Usage objects and response bodies of every provider. Checks that a body is read into counts that do not
 * contradict each other (parts within their wholes) and that have an exact price, or is refused with a named
 * field. The first byte says whose it is, the second whether it is a whole response. */
#include "fuzz.h"
#include "llmlab/core/price.h"
#include "llmlab/providers/usage_format.h"

static void check_parts(const struct usage *u)
{
	for (int c = 0; c < USAGE_COUNTS; c++) {
		FUZZ_CHECK(u->counts[c] >= 0 && u->counts[c] <= USAGE_TOKENS_MAX);
		for (int which = 0; which < 2; which++) {
			const enum usage_count whole = usage_count_parent((enum usage_count)c, which);
			FUZZ_CHECK(whole == USAGE_NONE || u->counts[c] <= u->counts[whole]);
		}
	}
}

/* With the first model of the provider that costs something. */
static void check_price(const struct catalogue *c, const struct provider *who, const struct usage_report *r,
	struct problem *p)
{
	if (who->n_records == 0)
		return;
	const struct price_query q = {.provider = who->id,
		.model = who->records[0].model,
		.at_us = 1787479200000000LL, /* 2026-08-23T10:00:00Z */
		.service_tier = r->service_tier,
		.inference_geo = r->inference_geo,
		.search_context_size = r->search_context_size,
		.usage = &r->usage};
	struct price_result priced;
	const enum err e = price_event(c, NULL, 0, &q, &priced, p);
	FUZZ_CHECK(e == ERR_OK || e == ERR_RANGE);
	if (e != ERR_OK)
		return;
	struct money sum = money_zero();
	for (size_t i = 0; i < priced.n_lines; i++) {
		struct money cost;
		FUZZ_CHECK(price_line_cost(&priced.lines[i], &cost));
		FUZZ_CHECK(money_compare(cost, priced.lines[i].cost) == 0 && cost.atto >= 0);
		FUZZ_CHECK(money_add(sum, cost, &sum));
	}
	FUZZ_CHECK(money_compare(sum, priced.cost) == 0);
}

static void read_one(const struct provider *who, bool whole, const struct json_doc *doc, struct arena *arena,
	struct problem *p)
{
	const struct catalogue *const c = fuzz_catalogue();
	const struct usage_format *format = NULL;
	struct usage_report report = {0};
	enum err e = usage_format_find(c, NULL, who, doc->root, whole, &format, p);
	if (e == ERR_OK)
		e = whole ? usage_format_read_response(format, doc, doc->root, arena, &report, p)
			  : usage_format_read(format, doc, doc->root, arena, &report, p);
	FUZZ_CHECK((e == ERR_OK) == problem_none(p));
	if (e != ERR_OK || report.usage_missing)
		return;
	FUZZ_CHECK(usage_check(&report.usage, p) == ERR_OK);
	check_parts(&report.usage);
	FUZZ_CHECK(!report.has_reported_cost || report.reported_cost.atto >= 0);
	check_price(c, who, &report, p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena;
	struct problem p;
	struct json_doc doc;
	if (size < 2 || size > 65536)
		return 0;
	const struct catalogue *const c = fuzz_catalogue();
	const struct provider *const who = &c->providers[data[0] % c->n_providers];
	char *const body = fuzz_bytes(data + 2, size - 2);
	arena_init(&arena, (size_t)8 << 20);
	problem_init(&p, &arena);
	if (json_doc_parse(&doc, body, size - 2, &json_limits_response, &arena, &p) == ERR_OK) {
		read_one(who, (data[1] & 1) != 0, &doc, &arena, &p);
		json_doc_release(&doc);
	}
	arena_release(&arena);
	free(body);
	return 0;
}
