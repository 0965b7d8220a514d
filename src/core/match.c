/* Match rules, and an index that answers "the first record of which a rule holds" without asking every rule.
 * What a hit means, and which provider is asked, is price_find.c's part. */
#include "llmlab/core/match.h"
#include "llmlab/base/check.h"
#include "llmlab/core/hash.h"
#include <string.h>

#define NO_RECORD UINT32_MAX

/* One name of an `equals` rule and the first record that has it. */
struct index_slot {
	const char *name; /* NULL: free */
	uint32_t record;
};

/* One rule that is not `equals`. */
struct index_pattern {
	const struct match_rule *rule;
	uint32_t record;
};

struct price_index {
	const struct price_record *records;
	struct index_slot *slots;	/* open addressing, at most half full */
	size_t n_slots;			/* a power of two */
	struct index_pattern *patterns; /* by record, in file order */
	size_t n_patterns;
};

/* glibc takes memory to match, so matching can fail; a result beside the answer would have to pass through
 * every rule of rules. */
static _Thread_local bool starved;

bool match_regex(const regex_t *regex, const char *text)
{
	const int rc = regexec(regex, text, 0, NULL, 0);
	if (rc != 0 && rc != REG_NOMATCH)
		starved = true;
	return rc == 0;
}

bool match_starved(void)
{
	const bool was = starved;
	starved = false;
	return was;
}

static bool holds_suffix(const char *suffix, const char *name)
{
	const size_t length = strlen(name);
	const size_t n = strlen(suffix);
	return length >= n && memcmp(name + length - n, suffix, n) == 0;
}

/* NOLINTNEXTLINE(misc-no-recursion): as deep as the rule, at most RULE_DEPTH_MAX */
static bool holds_all(const struct match_rule *r, const char *name)
{
	for (size_t i = 0; i < r->n_rules; i++) {
		if (!match_rule_holds(&r->rules[i], name))
			return false;
	}
	return true;
}

/* NOLINTNEXTLINE(misc-no-recursion): as holds_all() */
bool match_rule_holds(const struct match_rule *r, const char *name)
{
	switch (r->kind) {
	case MATCH_EQUALS:
		return strcmp(name, r->text) == 0;
	case MATCH_PREFIX:
		return strncmp(name, r->text, strlen(r->text)) == 0;
	case MATCH_SUFFIX:
		return holds_suffix(r->text, name);
	case MATCH_CONTAINS:
		return strstr(name, r->text) != NULL;
	case MATCH_REGEX:
		return match_regex(r->regex, name);
	case MATCH_ALL:
		return holds_all(r, name);
	case MATCH_ANY:
		return match_first(r->rules, r->n_rules, name) != NULL;
	}
	return false;
}

/* NOLINTNEXTLINE(misc-no-recursion): as holds_all(), too */
const struct match_rule *match_first(const struct match_rule *rules, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (match_rule_holds(&rules[i], name))
			return &rules[i];
	}
	return NULL;
}

/* The slot that holds the name, or the free one where it belongs. */
static struct index_slot *find_slot(const struct price_index *x, const char *name)
{
	size_t at = hash_bytes(name, strlen(name)) & (x->n_slots - 1);
	while (x->slots[at].name != NULL && strcmp(x->slots[at].name, name) != 0)
		at = (at + 1) & (x->n_slots - 1);
	return &x->slots[at];
}

static void count_rules(const struct price_record *records, size_t n, size_t *ret_names, size_t *ret_patterns)
{
	size_t names = 0;
	size_t patterns = 0;
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < records[i].n_match; k++) {
			const bool is_name = records[i].match[k].kind == MATCH_EQUALS;
			names += is_name;
			patterns += !is_name;
		}
	}
	*ret_names = names;
	*ret_patterns = patterns;
}

static void add_rule(struct price_index *x, const struct match_rule *rule, uint32_t record)
{
	if (rule->kind != MATCH_EQUALS) {
		x->patterns[x->n_patterns++] = (struct index_pattern){.rule = rule, .record = record};
		return;
	}
	struct index_slot *const slot = find_slot(x, rule->text);
	if (slot->name == NULL)
		*slot = (struct index_slot){.name = rule->text, .record = record};
}

const struct price_index *price_index_build(const struct price_record *records, size_t n, struct arena *arena)
{
	CHECK(n < NO_RECORD);
	size_t names = 0;
	size_t patterns = 0;
	count_rules(records, n, &names, &patterns);
	size_t n_slots = 4;
	while (n_slots < 2 * names + 1)
		n_slots *= 2;
	struct price_index *const x = arena_alloc(arena, sizeof *x);
	struct index_slot *const slots = arena_array(arena, n_slots, sizeof *slots);
	struct index_pattern *const asked = arena_array(arena, patterns, sizeof *asked);
	if (x == NULL || slots == NULL || asked == NULL)
		return NULL;
	*x = (struct price_index){.records = records, .slots = slots, .n_slots = n_slots, .patterns = asked};
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < records[i].n_match; k++)
			add_rule(x, &records[i].match[k], (uint32_t)i);
	}
	return x;
}

const struct price_record *price_index_find(
	const struct price_index *index, const char *name, enum match_kind *ret_kind)
{
	const struct index_slot *const slot = find_slot(index, name);
	uint32_t best = slot->name == NULL ? NO_RECORD : slot->record;
	for (size_t i = 0; i < index->n_patterns && index->patterns[i].record < best; i++) {
		if (match_rule_holds(index->patterns[i].rule, name))
			best = index->patterns[i].record;
	}
	if (best == NO_RECORD)
		return NULL;
	const struct price_record *const r = &index->records[best];
	const struct match_rule *const rule = match_first(r->match, r->n_match, name);
	if (rule == NULL) {
		CHECK(starved);
		return NULL;
	}
	*ret_kind = rule->kind;
	return r;
}
