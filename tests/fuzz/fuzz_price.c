/* Finding a price by provider, model and address: three lines of text. Checks that the answer does not depend
 * on what was asked before (the memo) or on the case of letters, that what is found belongs to who bills, and
 * that every record found prices a plain call exactly or says that it has no price. */
#include <ctype.h>
#include "fuzz.h"
#include "llmlab/core/price.h"

#define NOW_US 1787479200000000LL /* 2026-08-23T10:00:00Z */

static bool same(const struct price_match *a, const struct price_match *b)
{
	return a->provider == b->provider && a->record == b->record && a->kind == b->kind &&
	       a->fallback == b->fallback && a->stripped == b->stripped;
}

static void check_price(
	const struct catalogue *c, const char *provider, const char *model, const char *base_url)
{
	static const struct usage usage = {
		.counts = {[USAGE_input_tokens] = 1000, [USAGE_output_tokens] = 500}, .has_counts = true};
	const struct price_query q = {
		.provider = provider, .model = model, .base_url = base_url, .at_us = NOW_US, .usage = &usage};
	struct arena arena;
	struct problem p;
	struct price_result r;
	char lines[PRICE_LINES_TEXT_MAX];
	struct price_line again[PRICE_LINES_MAX];
	size_t n = 0;
	arena_init(&arena, 65536);
	problem_init(&p, &arena);
	FUZZ_CHECK(price_event(c, NULL, 0, &q, &r, &p) == ERR_OK);
	FUZZ_CHECK(r.status != PRICING_UNPRICED || r.cost.atto == 0);
	FUZZ_CHECK(r.status != PRICING_PRICED || r.cost.atto > 0);
	FUZZ_CHECK(r.match.record != NULL || r.status == PRICING_UNPRICED);
	FUZZ_CHECK(price_lines_format(r.lines, r.n_lines, lines) < sizeof lines);
	if (r.n_lines > 0) {
		struct money sum = money_zero();
		FUZZ_CHECK(price_lines_parse(lines, again, &n) == ERR_OK && n == r.n_lines);
		for (size_t i = 0; i < n; i++)
			FUZZ_CHECK(money_add(sum, again[i].cost, &sum));
		FUZZ_CHECK(money_compare(sum, r.cost) == 0);
	}
	arena_release(&arena);
}

static void check_find(const char *provider, char *model, const char *base_url)
{
	const struct catalogue *const c = fuzz_catalogue();
	const struct price_match first = price_find(c, provider, model, base_url);
	const struct price_match second = price_find(c, provider, model, base_url);
	FUZZ_CHECK(same(&first, &second));
	FUZZ_CHECK(first.record == NULL || first.provider != NULL);
	FUZZ_CHECK(first.record == NULL || first.fallback ||
		   strcmp(first.record->provider, first.provider->id) == 0);
	FUZZ_CHECK(strlen(price_rule_name(&first)) > 0);
	check_price(c, provider, model, base_url);
	for (char *at = model; *at != '\0'; at++)
		*at = (char)toupper((unsigned char)*at);
	const struct price_match upper = price_find(c, provider, model, base_url);
	FUZZ_CHECK(same(&first, &upper));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 2048)
		return 0;
	char *const text = fuzz_text(data, size);
	char *rest = text;
	const char *const provider = strsep(&rest, "\n");
	char *const model = rest != NULL ? strsep(&rest, "\n") : NULL;
	const char *const base_url = rest != NULL && rest[0] != '\0' ? rest : NULL;
	if (model != NULL)
		check_find(provider[0] != '\0' ? provider : NULL, model, base_url);
	free(text);
	return 0;
}
