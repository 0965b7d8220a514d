#ifndef LLMLAB_PROVIDERS_CATALOGUE_LOAD_H
#define LLMLAB_PROVIDERS_CATALOGUE_LOAD_H

#include "llmlab/base/json_read.h"
#include "llmlab/base/problem.h"
#include "llmlab/core/catalogue.h"

/* Builds the catalogue from the embedded provider files (src/providers/data/<id>.json), and optionally the operator's
 * file. All-or-nothing: a broken file changes nothing and is told with file, line and reason. */

/* A new immutable catalogue, owned by the caller. extra_path NULL: embedded files only; else a JSON file of the same form
 * whose providers/records replace those of the same id and precede or add the others ({"mode":"extend"|"replace","providers":[...]}).
 * On failure *p names the file and the line. */
enum err catalogue_load(const char *extra_path, struct catalogue **ret, struct problem *p);
void catalogue_free(struct catalogue *c);

/* Parses one user override record (contract: POST /api/pricing/overrides body, already checked to be an object) into arena-owned
 * memory; problems name the fields. */
enum err catalogue_parse_override(const struct json_doc *doc, const json_t *object, struct arena *arena,
	struct price_record *ret, struct problem *p);
/* Frees what a record holds outside its arena (compiled expressions). */
void catalogue_record_release(struct price_record *r);

/* The catalogue in use by this process, swapped atomically by reloads. A reader holds a snapshot between
 * catalogue_acquire() and catalogue_release(); the old one is freed when its last reader is gone. */
void catalogue_publish(struct catalogue *c); /* takes ownership; replaces the current one */
/* Never NULL: the first catalogue is published before anything serves. */
const struct catalogue *catalogue_acquire(void);
void catalogue_release(const struct catalogue *c);
/* At exit: drops the published catalogue. */
void catalogue_shutdown(void);

#endif
