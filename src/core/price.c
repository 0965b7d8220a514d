/* The face of pricing: names, the user's own prices before the catalogue's, and the compact text that
 * explains a stored cost. Finding is price_find.c, computing is cost.c. */
#include "llmlab/core/price.h"
#include "llmlab/base/check.h"
#include "llmlab/core/match.h"
#include "llmlab/core/price_find.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define UNIT_PREFIX    "unit."
#define NAME_MAX_BYTES 64

static const char *const category_names[PRICE_CATEGORIES] = {
#define COUNT(name, parent, parent2, category) [CATEGORY_##category] = #category,
#include "llmlab/core/usage_counts.def"
#undef COUNT
};

/* What providers call the ways of processing; any other name is standard. */
static const struct {
	const char *name;
	enum service_tier tier;
} tier_words[] = {
	{"batch", TIER_BATCH},
	{"flex", TIER_FLEX},
	{"priority", TIER_PRIORITY},
	{"fast", TIER_FAST},
	{"on_demand_flex", TIER_FLEX},
	{"on_demand_priority", TIER_PRIORITY},
};

const char *pricing_status_name(enum pricing_status s)
{
	switch (s) {
	case PRICING_PRICED:
		return "priced";
	case PRICING_FREE:
		return "free";
	case PRICING_UNPRICED:
		return "unpriced";
	case PRICING_REPORTED:
		return "reported";
	}
	return "unpriced";
}

const char *service_tier_name(enum service_tier t)
{
	switch (t) {
	case TIER_STANDARD:
		return "standard";
	case TIER_BATCH:
		return "batch";
	case TIER_FLEX:
		return "flex";
	case TIER_PRIORITY:
		return "priority";
	case TIER_FAST:
		return "fast";
	case SERVICE_TIERS:
		break;
	}
	return "standard";
}

enum service_tier price_service_tier(const char *provider_id, const char *reported)
{
	if (reported == NULL)
		return TIER_STANDARD;
	for (size_t i = 0; i < sizeof tier_words / sizeof tier_words[0]; i++) {
		if (strcasecmp(reported, tier_words[i].name) != 0)
			continue;
		const bool openai = provider_id != NULL &&
				    (strcmp(provider_id, "openai") == 0 || strcmp(provider_id, "azure") == 0);
		return tier_words[i].tier == TIER_FAST && openai ? TIER_PRIORITY : tier_words[i].tier;
	}
	return TIER_STANDARD;
}

const char *price_category_name(enum price_category c)
{
	return category_names[c];
}

#define RULE_NAMES(kind)                                                                                     \
	{                                                                                                    \
		kind, kind ":stripped", kind ":fallback", kind ":fallback:stripped"                          \
	}

const char *price_rule_name(const struct price_match *m)
{
	static const char *const names[][4] = {
		[MATCH_EQUALS] = RULE_NAMES("equals"),
		[MATCH_PREFIX] = RULE_NAMES("prefix"),
		[MATCH_SUFFIX] = RULE_NAMES("suffix"),
		[MATCH_CONTAINS] = RULE_NAMES("contains"),
		[MATCH_REGEX] = RULE_NAMES("regex"),
		[MATCH_ALL] = RULE_NAMES("all"),
		[MATCH_ANY] = RULE_NAMES("any"),
	};
	if (m->record == NULL)
		return m->provider == NULL ? "unknown_provider" : "unknown_model";
	return names[m->kind][(m->fallback ? 2 : 0) + (m->stripped ? 1 : 0)];
}

/* ---- the user's own prices ---- */

/* Calls whose provider nobody named and nothing told are recorded, and priced, as "unknown"'s. */
static bool override_is_for(const struct price_record *o, const struct price_names *names)
{
	if (strcmp(o->provider, names->provider_text) == 0)
		return true;
	if (names->provider == NULL && names->provider_text[0] == '\0')
		return strcmp(o->provider, "unknown") == 0;
	return names->provider != NULL && provider_is_called(names->provider, o->provider);
}

/* The first own record that holds for the model as sent, then without the provider's name, then without its
 * prefixes. */
static const struct price_record *find_override(const struct price_record *const *overrides, size_t n,
	const char *model, const struct price_names *names)
{
	for (size_t i = 0; i < n; i++) {
		const struct price_record *const o = overrides[i];
		if (override_is_for(o, names) && match_first(o->match, o->n_match, model) != NULL)
			return o;
	}
	return NULL;
}

static const struct price_record *own_price(
	const struct price_record *const *overrides, size_t n, const struct price_names *names)
{
	const struct price_record *found = find_override(overrides, n, names->model_text, names);
	if (found == NULL && names->model != names->model_text)
		found = find_override(overrides, n, names->model, names);
	for (size_t i = 0; found == NULL && names->provider != NULL && i <= names->provider->n_strip_prefixes;
		i++) {
		const char *const rest = price_strip(names->provider, i, names->model);
		if (rest != NULL)
			found = find_override(overrides, n, rest, names);
	}
	return found;
}

struct price_match price_find_own(const struct catalogue *c, const struct price_record *const *overrides,
	size_t n_overrides, const char *provider_text, const char *model, const char *base_url, bool *ret_own)
{
	const struct price_match m = price_find(c, provider_text, model, base_url);
	const struct price_record *own = NULL;
	struct price_names names;
	if (n_overrides > 0 && price_names_read(c, provider_text, model, base_url, &names))
		own = own_price(overrides, n_overrides, &names);
	const bool starved = match_starved() || m.starved;
	*ret_own = own != NULL && !starved;
	if (starved)
		return price_match_starved();
	return own != NULL ? (struct price_match){.provider = m.provider, .record = own} : m;
}

enum err price_event(const struct catalogue *c, const struct price_record *const *overrides,
	size_t n_overrides, const struct price_query *q, struct price_result *ret, struct problem *p)
{
	bool own;
	const struct price_match m =
		price_find_own(c, overrides, n_overrides, q->provider, q->model, q->base_url, &own);
	enum err e;
	if (m.starved) {
		problem_set(p, ERR_NO_MEMORY, "There is not enough memory to find the price now");
		return ERR_NO_MEMORY;
	}
	if (m.record == NULL) {
		e = usage_check(q->usage, p);
		if (e == ERR_OK)
			*ret = (struct price_result){.status = PRICING_UNPRICED};
	} else {
		e = price_record_cost(m.record, q, ret, p);
	}
	if (e != ERR_OK)
		return e;
	ret->match = m;
	ret->own_price = own;
	if (m.record == NULL || ret->status != PRICING_UNPRICED)
		ret->rule = own ? "override" : price_rule_name(&m);
	memcpy(ret->catalogue_version, c->version, sizeof ret->catalogue_version);
	return ERR_OK;
}

/* ---- lines as text ---- */

const char *price_line_category(const struct price_line *l)
{
	switch (l->kind) {
	case LINE_TOKENS:
		return category_names[l->category];
	case LINE_WEB_SEARCHES:
		return "web_searches";
	case LINE_REQUESTS:
		return "requests";
	case LINE_UNIT:
		return usage_unit_name(l->unit);
	}
	return "";
}

static int quantity_scale(const struct price_line *l)
{
	return l->kind == LINE_UNIT ? UNIT_SCALE : 0;
}

size_t price_lines_format(const struct price_line *lines, size_t n, char *out)
{
	size_t length = 0;
	out[0] = '\0';
	for (size_t i = 0; i < n; i++) {
		char quantity[DECIMAL_TEXT_MAX];
		char price[DECIMAL_TEXT_MAX];
		decimal_format(lines[i].quantity, quantity_scale(&lines[i]), quantity);
		decimal_format(lines[i].price, PRICE_LINE_SCALE, price);
		const int written = snprintf(out + length, PRICE_LINES_TEXT_MAX - length, "%s%s%s:%s@%s",
			i == 0 ? "" : ";", lines[i].kind == LINE_UNIT ? UNIT_PREFIX : "",
			price_line_category(&lines[i]), quantity, price);
		CHECK(written > 0 && (size_t)written < PRICE_LINES_TEXT_MAX - length);
		length += (size_t)written;
	}
	return length;
}

/* Sets kind and category or unit from a line's name. */
static bool line_name_parse(const char *name, struct price_line *ret)
{
	if (strncmp(name, UNIT_PREFIX, sizeof UNIT_PREFIX - 1) == 0) {
		ret->kind = LINE_UNIT;
		ret->unit = usage_unit_find(name + sizeof UNIT_PREFIX - 1);
		return ret->unit != USAGE_UNITS;
	}
	if (strcmp(name, "web_searches") == 0 || strcmp(name, "requests") == 0) {
		ret->kind = name[0] == 'w' ? LINE_WEB_SEARCHES : LINE_REQUESTS;
		return true;
	}
	ret->kind = LINE_TOKENS;
	for (int c = 0; c < PRICE_CATEGORIES; c++) {
		if (strcmp(name, category_names[c]) == 0) {
			ret->category = (enum price_category)c;
			return true;
		}
	}
	return false;
}

/* One "<name>:<quantity>@<price>" of n bytes. */
static bool line_parse(const char *text, size_t n, struct price_line *ret)
{
	const char *const colon = memchr(text, ':', n);
	const char *const at = memchr(text, '@', n);
	if (colon == NULL || at == NULL || at < colon || colon - text >= NAME_MAX_BYTES)
		return false;
	char name[NAME_MAX_BYTES];
	memcpy(name, text, (size_t)(colon - text));
	name[colon - text] = '\0';
	struct price_line line = {0};
	int128 quantity;
	if (!line_name_parse(name, &line) ||
		decimal_parse(colon + 1, (size_t)(at - colon - 1), quantity_scale(&line), INT64_MAX,
			&quantity) != ERR_OK ||
		decimal_parse(at + 1, n - (size_t)(at + 1 - text), PRICE_LINE_SCALE,
			decimal_pow10(DECIMAL_SCALE_MAX), &line.price) != ERR_OK)
		return false;
	line.quantity = (int64_t)quantity;
	if (line.quantity < 0 || line.price < 0 || !price_line_cost(&line, &line.cost))
		return false;
	*ret = line;
	return true;
}

enum err price_lines_parse(const char *text, struct price_line lines[PRICE_LINES_MAX], size_t *ret_n)
{
	struct price_line parsed[PRICE_LINES_MAX];
	size_t n = 0;
	while (*text != '\0') {
		const size_t length = strcspn(text, ";");
		if (n == PRICE_LINES_MAX || !line_parse(text, length, &parsed[n]))
			return ERR_SYNTAX;
		n++;
		text += length;
		if (*text == ';') {
			text++;
			if (*text == '\0')
				return ERR_SYNTAX;
		}
	}
	memcpy(lines, parsed, n * sizeof *lines);
	*ret_n = n;
	return ERR_OK;
}
