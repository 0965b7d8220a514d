/* One event on its way: memory, the encoding of its row, and replacing it by what is stored already. Not
 * here: queueing and storing. */

#include "item.h"

#include <stdlib.h>
#include <string.h>
#include "llmlab/db/events.h"

#define ITEM_ARENA_BYTES (64 * 1024)
#define ITEM_ROW_BYTES	 (128 * 1024)
/* Of most events the texts fit into the first block; a queue holds ten thousands of them. */
#define ITEM_FIRST_BYTES 384
/* What the system's allocator keeps beside each of an item's pieces. */
#define ITEM_OVERHEAD_BYTES (4 * 16)

struct ingest_item *ingest_item_new(void)
{
	struct ingest_item *item = calloc(1, sizeof(*item));
	if (item == NULL)
		return NULL;
	arena_init_small(&item->arena, ITEM_ARENA_BYTES, ITEM_FIRST_BYTES);
	buf_init(&item->copy_row, ITEM_ROW_BYTES);
	return item;
}

void ingest_item_free(struct ingest_item *item)
{
	if (item == NULL)
		return;
	arena_release(&item->arena);
	buf_release(&item->copy_row);
	free(item);
}

enum err ingest_item_seal(struct ingest_item *item)
{
	if (arena_overflowed(&item->arena))
		return ERR_NO_MEMORY;
	item->event.set_id = ingest_set_id(&item->event);
	buf_reset(&item->copy_row);
	buf_reserve(&item->copy_row, 1024);
	events_copy_row(&item->copy_row, &item->event);
	buf_trim(&item->copy_row);
	return item->copy_row.failed ? ERR_NO_MEMORY : ERR_OK;
}

size_t item_bytes(const struct ingest_item *item)
{
	return sizeof(*item) + item->arena.held_bytes + item->copy_row.size + ITEM_OVERHEAD_BYTES;
}

enum err item_become(struct ingest_item *item, const struct event *stored)
{
	struct event e = *stored;
	const char **const texts[] = {&e.provider, &e.model, &e.pricing_status, &e.price_record,
		&e.price_rule, &e.price_lines, &e.catalogue_version, &e.service_tier, &e.requested_tier,
		&e.inference_geo, &e.data_residency, &e.search_context_size, &e.project, &e.customer,
		&e.tags_json, &e.metadata_json, &e.status, &e.response_id};
	/* However full the arena is, a second event fits. */
	item->arena.cap_bytes += ITEM_ARENA_BYTES;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		*texts[i] = arena_strdup(&item->arena, *texts[i]);
	if (arena_overflowed(&item->arena))
		return ERR_NO_MEMORY;
	e.idempotency_key = item->event.idempotency_key;
	memcpy(e.fingerprint, item->event.fingerprint, sizeof(e.fingerprint));
	item->event = e;
	return ERR_OK;
}
