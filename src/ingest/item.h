#ifndef LLMLAB_SRC_INGEST_ITEM_H
#define LLMLAB_SRC_INGEST_ITEM_H

#include "llmlab/ingest/ingest.h"

/* Memory that an item holds while it is queued: what was taken from the system for it, used or not. */
size_t item_bytes(const struct ingest_item *item);

/* Makes item->event the stored one, texts copied into the item's own arena; its key and fingerprint stay.
 * ERR_NO_MEMORY: unchanged. */
enum err item_become(struct ingest_item *item, const struct event *stored);

#endif
