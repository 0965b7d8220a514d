#ifndef LLMLAB_SRC_INGEST_ITEM_H
#define LLMLAB_SRC_INGEST_ITEM_H

#include "llmlab/ingest/ingest.h"

/* Memory that an item holds while it is queued. */
size_t item_bytes(const struct ingest_item *item);

#endif
