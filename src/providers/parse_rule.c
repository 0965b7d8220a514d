/* Match rules of the catalogue and of own prices. Expressions are kept to forms whose matching time is
 * bounded by the length of the name: whoever may write a rule must not be able to stop the server with it. */
#include "parse.h"
#include <string.h>

#define RULE_TEXT_MAX 200
#define REGEX_COUNT_MAX                                                                                      \
	12 /* of all repetitions together: the states of the automaton grow with 2^this at worst */
#define REGEX_STARS_MAX 6
#define RULE_DEPTH_MAX	4
#define RULE_LIST_MAX	64

struct compiled_regex {
	regex_t regex;
	struct compiled_regex *next;
};

static const struct {
	const char *word;
	enum match_kind kind;
} rule_words[] = {
	{"equals", MATCH_EQUALS},
	{"prefix", MATCH_PREFIX},
	{"suffix", MATCH_SUFFIX},
	{"contains", MATCH_CONTAINS},
	{"regex", MATCH_REGEX},
	{"all", MATCH_ALL},
	{"any", MATCH_ANY},
};

void regexes_release(struct compiled_regex *newest)
{
	for (struct compiled_regex *r = newest; r != NULL; r = r->next)
		regfree(&r->regex);
}

/* NOLINTNEXTLINE(misc-no-recursion): as deep as the rules, at most RULE_DEPTH_MAX */
void rules_release(const struct match_rule *rules, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (rules[i].regex != NULL)
			regfree(rules[i].regex);
		rules_release(rules[i].rules, rules[i].n_rules);
	}
}

/* Reads "{n}" or "{n,m}" after a single character or class and moves *at to the closing brace. The largest
 * number, or more than REGEX_COUNT_MAX when it is anything else. */
static unsigned braces_count(const char *pattern, size_t *at)
{
	const unsigned refused = REGEX_COUNT_MAX + 1;
	if (*at == 0 || pattern[*at - 1] == ')')
		return refused;
	unsigned value = 0;
	unsigned largest = 0;
	size_t i = *at + 1;
	for (; pattern[i] != '}'; i++) {
		if (pattern[i] == ',')
			value = 0;
		else if (pattern[i] >= '0' && pattern[i] <= '9')
			value = value * 10 + (unsigned)(pattern[i] - '0');
		else
			return refused;
		if (value > REGEX_COUNT_MAX)
			return refused;
		largest = value > largest ? value : largest;
	}
	*at = i;
	return pattern[i - 1] == ',' ? refused : largest;
}

/* The position of the bracket that closes the class which opens at `at`, or of the pattern's end. */
static size_t class_end(const char *pattern, size_t at)
{
	size_t i = at + 1;
	i += pattern[i] == '^';
	i += pattern[i] == ']';
	while (pattern[i] != '\0' && pattern[i] != ']')
		i++;
	return i;
}

/* NULL, or why the expression is not of the simple kind: no back references (exponential), few and small
 * repetitions. */
static const char *regex_objection(const char *pattern)
{
	unsigned counts = 0;
	unsigned stars = 0;
	for (size_t i = 0; pattern[i] != '\0'; i++) {
		const char c = pattern[i];
		if (c == '\\') {
			i++;
			if (pattern[i] == '\0' || strchr(".^$*+?()[]{}|\\/-", pattern[i]) == NULL)
				return "may escape punctuation only";
		} else if (c == '[') {
			i = class_end(pattern, i);
			if (pattern[i] == '\0')
				return "has a class that is not closed";
		} else if (c == '{') {
			counts += braces_count(pattern, &i);
			if (counts > REGEX_COUNT_MAX)
				return "may repeat single characters only, at most 12 times in all";
		} else if (c == '*' || c == '+') {
			stars++;
			if (stars > REGEX_STARS_MAX || (i > 0 && pattern[i - 1] == ')'))
				return "may repeat single characters only, at most 6 times without a bound";
		}
	}
	return NULL;
}

regex_t *parse_regex(struct parse *ctx, const char *pattern, const char *field)
{
	const char *const objection = regex_objection(pattern);
	if (objection != NULL) {
		problem_add(ctx->p, field, "is an expression that %s", objection);
		return NULL;
	}
	struct compiled_regex *const c = arena_alloc(ctx->keep, sizeof *c);
	if (c == NULL)
		return NULL;
	if (regcomp(&c->regex, pattern, REG_EXTENDED | REG_NOSUB) != 0) {
		problem_add(ctx->p, field, "must be a POSIX extended regular expression");
		return NULL;
	}
	c->next = ctx->regexes;
	ctx->regexes = c;
	return &c->regex;
}

static bool parse_rule_at(
	struct parse *ctx, const json_t *v, const char *field, unsigned depth, struct match_rule *ret);

/* NOLINTNEXTLINE(misc-no-recursion): parse_rule_at() refuses what is deeper than RULE_DEPTH_MAX */
static bool parse_list(struct parse *ctx, const json_t *array, const char *field, unsigned depth,
	const struct match_rule **ret, size_t *ret_n)
{
	const size_t n = json_array_size(array);
	if (!json_is_array(array) || (depth > 0 && n == 0) || n > RULE_LIST_MAX) {
		problem_add(ctx->p, field, "must be an array of at most %d rules", RULE_LIST_MAX);
		return false;
	}
	struct match_rule *const rules = arena_array(ctx->keep, n, sizeof *rules);
	bool good = rules != NULL;
	for (size_t i = 0; rules != NULL && i < n; i++) {
		const char *const at = arena_printf(ctx->p->arena, "%s[%zu]", field, i);
		good = parse_rule_at(
			       ctx, json_array_get(array, i), at == NULL ? field : at, depth, &rules[i]) &&
		       good;
	}
	if (!good)
		return false;
	*ret = rules;
	*ret_n = n;
	return true;
}

/* The text of a rule that is not a list. */
static bool parse_text(struct parse *ctx, const json_t *v, const char *field, struct match_rule *ret)
{
	const char *const text = json_string_value(v);
	const size_t n = text == NULL ? 0 : strlen(text);
	if (n == 0 || n > RULE_TEXT_MAX) {
		problem_add(ctx->p, field, "must be a text of 1 to %d bytes", RULE_TEXT_MAX);
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		if (text[i] >= 'A' && text[i] <= 'Z') {
			problem_add(ctx->p, field, "must be in lower case, as names are compared");
			return false;
		}
	}
	ret->text = parse_keep(ctx, text);
	if (ret->kind == MATCH_REGEX)
		ret->regex = parse_regex(ctx, text, field);
	return ret->text != NULL && (ret->kind != MATCH_REGEX || ret->regex != NULL);
}

/* NOLINTNEXTLINE(misc-no-recursion): refuses what is deeper than RULE_DEPTH_MAX */
static bool parse_rule_at(
	struct parse *ctx, const json_t *v, const char *field, unsigned depth, struct match_rule *ret)
{
	if (!json_is_object(v) || json_object_size(v) != 1 || depth >= RULE_DEPTH_MAX) {
		problem_add(ctx->p, field,
			"must be an object with one of equals, prefix, suffix, contains, regex, all, any");
		return false;
	}
	const char *const word = json_object_iter_key(json_object_iter(parse_view(v)));
	for (size_t i = 0; i < sizeof rule_words / sizeof rule_words[0]; i++) {
		if (strcmp(word, rule_words[i].word) != 0)
			continue;
		const json_t *const value = json_object_get(v, word);
		*ret = (struct match_rule){.kind = rule_words[i].kind};
		const char *const at = arena_printf(ctx->p->arena, "%s.%s", field, word);
		if (ret->kind == MATCH_ALL || ret->kind == MATCH_ANY)
			return parse_list(
				ctx, value, at == NULL ? field : at, depth + 1, &ret->rules, &ret->n_rules);
		return parse_text(ctx, value, at == NULL ? field : at, ret);
	}
	problem_add(ctx->p, field,
		"must be an object with one of equals, prefix, suffix, contains, regex, all, any");
	return false;
}

bool parse_rule(struct parse *ctx, const json_t *v, const char *field, struct match_rule *ret)
{
	return parse_rule_at(ctx, v, field, 0, ret);
}

bool parse_rules(struct parse *ctx, const json_t *array, const char *field, const struct match_rule **ret,
	size_t *ret_n)
{
	return parse_list(ctx, array, field, 0, ret, ret_n);
}
