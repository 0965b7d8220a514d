#ifndef LLMLAB_API_REPRICING_RUN_H
#define LLMLAB_API_REPRICING_RUN_H

#include "llmlab/core/catalogue.h"
#include "llmlab/db/repricing.h"
#include "llmlab/providers/own_prices.h"

/* Re-pricing by the catalogue and the own prices of this moment; shared by the endpoint and the background.
 */

/* The next chunk (db/repricing.h), really or as a preview. Also ERR_UNAVAILABLE: the user's own prices are
 * not known just now. */
enum err repricing_run_chunk(struct db_conn *c, struct repricing *r, bool preview);

/* Notes the catalogue of this moment in the database (its place in the order of catalogues is when that
 * happens first) and says its number. */
enum err repricing_note_catalogue(struct db_conn *c, int64_t *ret_number);

/* The database was set back: the catalogue's number there may be another one. */
void repricing_forget_catalogue(void);

/* Whether there is a record for calls of this provider and model as they are stored, at any time. False: none
 * of them can be priced. ERR_NO_MEMORY: that cannot be said now. */
enum err repricing_has_record(const struct catalogue *c, const struct own_prices *own, const char *provider,
	const char *model, bool *ret);

#endif
