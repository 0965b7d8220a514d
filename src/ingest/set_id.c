/* The name of a set: project, customer, API key and tags of an event as one id. Not here: the table of sets
 * (db/usage_write.c). */

#include "llmlab/ingest/ingest.h"

#include <string.h>
#include "llmlab/auth/digest.h"

/* Length and bytes, so that no two different lists of texts give the same bytes. */
static void add_text(struct digest *d, const char *s)
{
	const size_t n = s == NULL ? 0 : strlen(s);
	uint8_t length[8];
	for (size_t i = 0; i < sizeof(length); i++)
		length[i] = (uint8_t)(n >> (56 - 8 * i));
	digest_update(d, length, sizeof(length));
	if (n > 0)
		digest_update(d, s, n);
}

static bool is_empty(const char *s)
{
	return s == NULL || *s == '\0';
}

struct uuid ingest_set_id(const struct event *e)
{
	struct uuid id = {{0}};
	if (is_empty(e->project) && is_empty(e->customer) && !e->has_api_key && e->tags_json == NULL)
		return id;
	struct digest *d = digest_new();
	add_text(d, "llmlab set 1");
	add_text(d, e->project);
	add_text(d, e->customer);
	const uint8_t has_api_key = e->has_api_key;
	digest_update(d, &has_api_key, 1);
	if (e->has_api_key)
		digest_update(d, e->api_key_id.bytes, sizeof(e->api_key_id.bytes));
	add_text(d, e->tags_json);
	uint8_t hash[32];
	digest_finish(d, hash);
	memcpy(id.bytes, hash, sizeof(id.bytes));
	return id;
}
