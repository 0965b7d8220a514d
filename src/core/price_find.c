/* From the texts of a call (provider, model, address) to the provider that bills and the record that prices
 * it. It follows the steps of docs/pricing.md ("Finding the record") and computes nothing. */
#include "llmlab/core/price_find.h"
#include "llmlab/core/match.h"
#include "llmlab/core/memo.h"
#include <string.h>

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

bool price_normalise(const char *text, char *out, size_t max_bytes)
{
	while (is_space(*text))
		text++;
	size_t n = strlen(text);
	while (n > 0 && is_space(text[n - 1]))
		n--;
	if (n > max_bytes)
		return false;
	for (size_t i = 0; i < n; i++)
		out[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] - 'A' + 'a') : text[i];
	out[n] = '\0';
	return true;
}

bool provider_is_called(const struct provider *p, const char *name)
{
	if (strcmp(p->id, name) == 0)
		return true;
	for (size_t i = 0; i < p->n_aliases; i++) {
		if (strcmp(p->aliases[i], name) == 0)
			return true;
	}
	return false;
}

const struct provider *provider_by_name(const struct catalogue *c, const char *name)
{
	for (size_t i = 0; i < c->n_providers; i++) {
		if (provider_is_called(&c->providers[i], name))
			return &c->providers[i];
	}
	return NULL;
}

static const struct provider *provider_by_id_rules(const struct catalogue *c, const char *name)
{
	for (size_t i = 0; i < c->n_providers; i++) {
		const struct provider *const p = &c->providers[i];
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): no providers, no turn */
		if (match_first(p->id_rules, p->n_id_rules, name) != NULL)
			return p;
	}
	return NULL;
}

static const struct provider *provider_by_model_rules(const struct catalogue *c, const char *model)
{
	for (size_t i = 0; i < c->n_providers; i++) {
		const struct provider *const p = &c->providers[i];
		if (match_first(p->model_rules, p->n_model_rules, model) != NULL)
			return p;
	}
	return NULL;
}

static const struct provider *provider_by_url(const struct catalogue *c, const char *base_url)
{
	char url[PRICE_URL_MAX + 1];
	if (base_url == NULL || !price_normalise(base_url, url, PRICE_URL_MAX) || url[0] == '\0')
		return NULL;
	for (size_t i = 0; i < c->n_providers; i++) {
		const regex_t *const pattern = c->providers[i].url_regex;
		if (pattern != NULL && match_regex(pattern, url))
			return &c->providers[i];
	}
	return NULL;
}

/* The provider named by the part of the model before its first slash; *ret_rest is what follows it. */
static const struct provider *provider_by_model_prefix(
	const struct catalogue *c, const char *model, const char **ret_rest)
{
	const char *const slash = strchr(model, '/');
	if (slash == NULL)
		return NULL;
	char name[PRICE_NAME_MAX + 1];
	const size_t n = (size_t)(slash - model);
	memcpy(name, model, n);
	name[n] = '\0';
	const struct provider *const p = provider_by_name(c, name);
	if (p != NULL)
		*ret_rest = slash + 1;
	return p;
}

bool price_names_read(const struct catalogue *c, const char *provider_text, const char *model,
	const char *base_url, struct price_names *ret)
{
	const bool named = price_normalise(
		provider_text == NULL ? "" : provider_text, ret->provider_text, PRICE_NAME_MAX);
	const bool modelled = price_normalise(model, ret->model_text, PRICE_NAME_MAX);
	if (!named)
		ret->provider_text[0] = '\0';
	if (!modelled)
		ret->model_text[0] = '\0';
	if (strcmp(ret->provider_text, "litellm") == 0)
		ret->provider_text[0] = '\0';
	ret->model = ret->model_text;
	ret->provider = NULL;
	if (!named)
		return false;
	if (ret->provider_text[0] != '\0') {
		ret->provider = provider_by_name(c, ret->provider_text);
		if (ret->provider == NULL)
			ret->provider = provider_by_id_rules(c, ret->provider_text);
		return modelled;
	}
	ret->provider = provider_by_url(c, base_url);
	if (ret->provider == NULL)
		ret->provider = provider_by_model_prefix(c, ret->model_text, &ret->model);
	if (ret->provider == NULL)
		ret->provider = provider_by_model_rules(c, ret->model_text);
	return modelled;
}

const char *price_strip(const struct provider *p, size_t i, const char *model)
{
	if (i < p->n_strip_prefixes) {
		const size_t n = strlen(p->strip_prefixes[i]);
		return strncmp(model, p->strip_prefixes[i], n) == 0 ? model + n : NULL;
	}
	const char *const slash = strchr(model, '/');
	char name[PRICE_NAME_MAX + 1];
	if (slash == NULL)
		return NULL;
	memcpy(name, model, (size_t)(slash - model));
	name[slash - model] = '\0';
	return provider_is_called(p, name) ? slash + 1 : NULL;
}

/* The provider's own records first, then those it sells for others: one step. */
static bool find_record(
	const struct catalogue *c, const struct provider *p, const char *model, struct price_match *m)
{
	m->record = price_index_find(p->index, model, &m->kind);
	for (size_t i = 0; m->record == NULL && i < p->n_fallback; i++) {
		const struct provider *const other = provider_by_name(c, p->fallback[i]);
		if (other == NULL)
			continue;
		m->record = price_index_find(other->index, model, &m->kind);
		m->fallback = m->record != NULL;
	}
	return m->record != NULL;
}

static struct price_match find(
	const struct catalogue *c, const char *provider_text, const char *model, const char *base_url)
{
	struct price_names names;
	const bool usable = price_names_read(c, provider_text, model, base_url, &names);
	struct price_match m = {.provider = names.provider};
	if (!usable || names.provider == NULL || find_record(c, names.provider, names.model, &m))
		return m;
	for (size_t i = 0; i <= names.provider->n_strip_prefixes; i++) {
		const char *const rest = price_strip(names.provider, i, names.model);
		if (rest != NULL && find_record(c, names.provider, rest, &m)) {
			m.stripped = true;
			return m;
		}
	}
	return m;
}

static _Thread_local bool starved;

struct price_match price_match_starved(void)
{
	starved = true;
	return (struct price_match){.starved = true};
}

bool price_find_starved(void)
{
	const bool was = starved;
	starved = false;
	return was;
}

static struct price_match find_or_starve(
	const struct catalogue *c, const char *provider_text, const char *model, const char *base_url)
{
	(void)match_starved();
	const struct price_match m = find(c, provider_text, model, base_url);
	return match_starved() ? price_match_starved() : m;
}

/* Appends the text and a separator that no name holds; false when there is no room left. */
static bool key_add(char *key, size_t *n, const char *text)
{
	const size_t length = strlen(text);
	if (length >= PRICE_MEMO_KEY_MAX - *n)
		return false;
	memcpy(key + *n, text, length);
	*n += length;
	key[(*n)++] = '\0';
	return true;
}

struct price_match price_find(
	const struct catalogue *c, const char *provider_text, const char *model, const char *base_url)
{
	char key[PRICE_MEMO_KEY_MAX];
	size_t n = 0;
	const bool fits = key_add(key, &n, provider_text == NULL ? "" : provider_text) &&
			  key_add(key, &n, model) && key_add(key, &n, base_url == NULL ? "" : base_url);
	struct price_match m;
	if (c->memo == NULL || !fits)
		return find_or_starve(c, provider_text, model, base_url);
	if (price_memo_get(c->memo, key, n, &m))
		return m;
	m = find_or_starve(c, provider_text, model, base_url);
	if (!m.starved)
		price_memo_put(c->memo, key, n, &m);
	return m;
}
