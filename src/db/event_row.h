#ifndef LLMLAB_SRC_DB_EVENT_ROW_H
#define LLMLAB_SRC_DB_EVENT_ROW_H

#include "llmlab/core/event.h"
#include "llmlab/db/conn.h"

/* Whole events as rows, for the files of this layer that read them. */

/* One list for writing and reading, in the order of events_copy_row() and event_read(); the counts in the
 * order of usage_counts.def. */
#define EVENT_COLUMNS                                                                                        \
	"user_id, occurred_at, id, received_at, provider, model, "                                           \
	"input_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, input_audio_tokens, "   \
	"input_image_tokens, input_video_tokens, cache_read_audio_tokens, cache_read_image_tokens, "         \
	"output_tokens, reasoning_tokens, citation_tokens, output_audio_tokens, output_image_tokens, "       \
	"output_video_tokens, web_searches, units, cost, catalogue_cost, reported_cost, pricing_status, "    \
	"price_record, price_rule, price_lines, catalogue_version, service_tier, requested_tier, "           \
	"inference_geo, data_residency, search_context_size, project, customer, tags, metadata, "            \
	"latency_ms, status, response_id, api_key_id, set_id"
#define EVENT_N_COLUMNS 45
_Static_assert(USAGE_COUNTS == 15, "EVENT_COLUMNS lists the counts");

/* Columns of EVENT_COLUMNS from first_col on. Texts go to the arena, whose overflow is the caller's to ask
 * for. */
enum err event_read(const PGresult *result, int row, int first_col, struct arena *arena, struct event *ret);

#endif
