#ifndef LLMLAB_CORE_PRICE_FIND_H
#define LLMLAB_CORE_PRICE_FIND_H

#include "llmlab/core/price.h"

/* The steps of price_find() (core/price.h) that others need one by one. */

/* Copies the text without white space around it, ASCII letters in lower case. False when more than max_bytes are left; out
 * needs max_bytes + 1 and is untouched then. */
bool price_normalise(const char *text, char *out, size_t max_bytes);

/* True if the lower-case name is the provider's id or one of its aliases. */
bool provider_is_called(const struct provider *p, const char *name);

/* The provider whose id or alias the lower-case name is, or NULL. */
const struct provider *provider_by_name(const struct catalogue *c, const char *name);

/* The names of a call as they are looked up. */
struct price_names {
	char provider_text[PRICE_NAME_MAX + 1]; /* normalised; "" when not given */
	char model_text[PRICE_NAME_MAX + 1];    /* normalised */
	const char *model;                      /* within model_text, after a provider's name that it began with */
	const struct provider *provider;        /* NULL: unknown */
};

/* Finds who bills. False when a name is too long to be looked up (provider may be known nevertheless). */
bool price_names_read(const struct catalogue *c, const char *provider_text, const char *model, const char *base_url,
	struct price_names *ret);

/* What is left of the model without the provider's i-th strip prefix or, with i = n_strip_prefixes, without a name of the
 * provider and a slash: a model that named its provider is the same model when the provider is known. NULL if it does not
 * begin with that. The model has at most PRICE_NAME_MAX bytes. */
const char *price_strip(const struct provider *p, size_t i, const char *model);

/* What a search that starved answers; price_find_starved() says it then. */
struct price_match price_match_starved(void);

#endif
