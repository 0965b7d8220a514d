/* Builds a catalogue from the embedded provider files and the operator's file: order, merging, what must hold
 * between providers, indexes and the version. Reading single providers is parse_*.c's part, publishing is
 * catalogue_ref.c's. */
#include "llmlab/providers/catalogue_load.h"
#include "llmlab/base/embed.h"
#include "llmlab/core/hash.h"
#include "llmlab/core/match.h"
#include "llmlab/core/memo.h"
#include "llmlab/core/price_find.h"
#include "parse.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CATALOGUE_BYTES_MAX ((size_t)24 << 20)
#define SCRATCH_BYTES_MAX   ((size_t)48 << 20)
#define FILE_BYTES_MAX	    ((off_t)16 << 20)
#define PROVIDERS_MAX	    256

extern const struct embed_file embed_providers[];
extern const size_t embed_providers_count;

static const char *const provider_ids[] = {
#define PROVIDER(id) id,
#include "providers.def"
#undef PROVIDER
};
#define PROVIDER_IDS (sizeof provider_ids / sizeof provider_ids[0])

/* A catalogue under construction. */
struct loader {
	struct catalogue *c;
	struct provider providers[PROVIDERS_MAX];
	size_t n_providers;
	struct compiled_regex *regexes;
	uint64_t hash;
	struct problem *p; /* the caller's */
};

/* A file being read: its text and the document in it. */
struct source {
	const char *name;
	const char *text;
	size_t n;
	struct arena scratch;
	struct problem inner; /* fields are paths within this file */
	struct json_doc doc;
	struct parse ctx;
};

static enum err out_of_memory(struct problem *p)
{
	problem_set(p, ERR_NO_MEMORY, "The price catalogue does not fit its memory");
	return p->code;
}

/* Tells the first thing that is wrong in a file, with its line. */
static enum err refuse_source(struct loader *l, const struct source *s)
{
	if (s->inner.n_fields > 0) {
		const struct problem_field *const f = &s->inner.fields[0];
		problem_set(l->p, ERR_VALIDATION, "%s:%zu: %s %s", s->name,
			json_line_of(s->text, s->n, f->field), f->field, f->message);
	} else if (s->inner.code == ERR_OK || s->inner.code == ERR_NO_MEMORY) {
		return out_of_memory(l->p);
	} else {
		problem_set(l->p, ERR_VALIDATION, "%s: %s", s->name, problem_detail(&s->inner));
	}
	return ERR_VALIDATION;
}

static enum err source_open(struct loader *l, struct source *s, const char *name, const char *text, size_t n)
{
	*s = (struct source){.name = name, .text = text, .n = n};
	arena_init(&s->scratch, SCRATCH_BYTES_MAX);
	problem_init(&s->inner, &s->scratch);
	l->hash = hash_more(l->hash, text, n);
	s->ctx = (struct parse){.doc = &s->doc, .keep = &l->c->arena, .p = &s->inner, .regexes = l->regexes};
	if (json_doc_parse(&s->doc, text, n, &json_limits_trusted, &s->scratch, &s->inner) != ERR_OK)
		return refuse_source(l, s);
	return ERR_OK;
}

static void source_close(struct loader *l, struct source *s)
{
	l->regexes = s->ctx.regexes;
	json_doc_release(&s->doc);
	arena_release(&s->scratch);
}

/* ---- embedded files ---- */

static const struct embed_file *embedded_file(const char *id)
{
	const size_t n = strlen(id);
	for (size_t i = 0; i < embed_providers_count; i++) {
		const char *const name = embed_providers[i].name;
		if (strncmp(name, id, n) == 0 && strcmp(name + n, ".json") == 0)
			return &embed_providers[i];
	}
	return NULL;
}

static enum err load_embedded(struct loader *l, const char *id)
{
	const struct embed_file *const file = embedded_file(id);
	if (file == NULL) {
		problem_set(
			l->p, ERR_VALIDATION, "providers.def names %s, but there is no data/%s.json", id, id);
		return ERR_VALIDATION;
	}
	struct source s;
	enum err e = source_open(l, &s, file->name, file->data, (size_t)(file->end - file->data));
	struct provider *const ret = &l->providers[l->n_providers];
	if (e == ERR_OK &&
		(!parse_provider(&s.ctx, s.doc.root, "", true, ret) || arena_overflowed(&l->c->arena)))
		e = refuse_source(l, &s);
	if (e == ERR_OK && strcmp(ret->id, id) != 0) {
		problem_add(&s.inner, "provider", "must be the file's name");
		e = refuse_source(l, &s);
	}
	l->n_providers += e == ERR_OK;
	source_close(l, &s);
	return e;
}

static enum err load_all_embedded(struct loader *l)
{
	_Static_assert(PROVIDER_IDS < PROVIDERS_MAX, "room for every provider and the operator's own");
	for (size_t i = 0; i < PROVIDER_IDS; i++) {
		const enum err e = load_embedded(l, provider_ids[i]);
		if (e != ERR_OK)
			return e;
	}
	if (embed_providers_count != PROVIDER_IDS) {
		problem_set(l->p, ERR_VALIDATION,
			"there are %zu files in data/, but %zu lines in providers.def", embed_providers_count,
			PROVIDER_IDS);
		return ERR_VALIDATION;
	}
	return ERR_OK;
}

/* ---- the operator's file ---- */

static bool has_model(const struct provider *p, const char *model)
{
	for (size_t i = 0; i < p->n_records; i++) {
		if (strcmp(p->records[i].model, model) == 0)
			return true;
	}
	return false;
}

/* The operator's records first, so that they win, then the others but those with the same model. */
static bool merge_records(struct loader *l, struct provider *base, const struct provider *own)
{
	struct price_record *const all =
		arena_array(&l->c->arena, base->n_records + own->n_records, sizeof *all);
	if (all == NULL)
		return false;
	size_t n = 0;
	for (size_t i = 0; i < own->n_records; i++)
		all[n++] = own->records[i];
	for (size_t i = 0; i < base->n_records; i++) {
		if (!has_model(own, base->records[i].model))
			all[n++] = base->records[i];
	}
	base->records = all;
	base->n_records = n;
	return true;
}

/* What the operator's provider gives replaces what was there. */
static bool merge_provider(struct loader *l, struct provider *base, const struct provider *own)
{
	struct provider merged = *own;
	if (own->name == NULL)
		merged.name = base->name;
	if (own->aliases == NULL) {
		merged.aliases = base->aliases;
		merged.n_aliases = base->n_aliases;
	}
	if (own->id_rules == NULL) {
		merged.id_rules = base->id_rules;
		merged.n_id_rules = base->n_id_rules;
	}
	if (own->model_rules == NULL) {
		merged.model_rules = base->model_rules;
		merged.n_model_rules = base->n_model_rules;
	}
	if (own->url_regex == NULL) {
		merged.url_pattern = base->url_pattern;
		merged.url_regex = base->url_regex;
	}
	if (own->fallback == NULL) {
		merged.fallback = base->fallback;
		merged.n_fallback = base->n_fallback;
	}
	if (own->strip_prefixes == NULL) {
		merged.strip_prefixes = base->strip_prefixes;
		merged.n_strip_prefixes = base->n_strip_prefixes;
	}
	if (own->formats == NULL) {
		merged.formats = base->formats;
		merged.n_formats = base->n_formats;
	}
	merged.records = base->records;
	merged.n_records = base->n_records;
	*base = merged;
	return merge_records(l, base, own);
}

static struct provider *loaded_provider(struct loader *l, const char *id)
{
	for (size_t i = 0; i < l->n_providers; i++) {
		if (strcmp(l->providers[i].id, id) == 0)
			return &l->providers[i];
	}
	return NULL;
}

static enum err add_own_provider(struct loader *l, struct source *s, size_t i)
{
	const json_t *const object = json_array_get(json_object_get(s->doc.root, "providers"), i);
	struct provider own;
	const char *const prefix = parse_path_at(&s->ctx, "", "providers", i);
	if (!parse_provider(&s->ctx, object, prefix, false, &own))
		return refuse_source(l, s);
	struct provider *const base = loaded_provider(l, own.id);
	if (base != NULL)
		return merge_provider(l, base, &own) ? ERR_OK : out_of_memory(l->p);
	if (l->n_providers == PROVIDERS_MAX) {
		problem_add(&s->inner, prefix, "is one provider too many (at most %d)", PROVIDERS_MAX);
		return refuse_source(l, s);
	}
	if (own.name == NULL)
		own.name = own.id;
	l->providers[l->n_providers++] = own;
	return ERR_OK;
}

struct raw_own {
	const char *mode;
	const json_t *providers;
};

static const char *const own_modes[] = {"extend", "replace", NULL};

static const struct json_field own_fields[] = {
	{.name = "mode",
		.type = JSON_FIELD_CHOICE,
		.offset = offsetof(struct raw_own, mode),
		.required = true,
		.choices = own_modes},
	{.name = "providers",
		.type = JSON_FIELD_ARRAY,
		.offset = offsetof(struct raw_own, providers),
		.required = true},
};

static enum err load_own(struct loader *l, const char *path, const char *text, size_t n)
{
	struct source s;
	enum err e = source_open(l, &s, path, text, n);
	struct raw_own raw = {0};
	if (e == ERR_OK && json_decode(&s.doc, s.doc.root, own_fields, 2, &raw, "", &s.inner) != ERR_OK)
		e = refuse_source(l, &s);
	if (e == ERR_OK && strcmp(raw.mode, "replace") == 0)
		l->n_providers = 0;
	for (size_t i = 0; e == ERR_OK && i < json_array_size(raw.providers); i++)
		e = add_own_provider(l, &s, i);
	if (e == ERR_OK && arena_overflowed(&l->c->arena))
		e = out_of_memory(l->p);
	source_close(l, &s);
	return e;
}

static void file_release(FILE **f)
{
	if (*f != NULL)
		fclose(*f);
}

static void text_release(char **text)
{
	free(*text);
}

static enum err load_own_file(struct loader *l, const char *path)
{
	FILE *file __attribute__((cleanup(file_release))) = fopen(path, "re");
	struct stat st;
	if (file == NULL || fstat(fileno(file), &st) != 0) {
		problem_set(l->p, ERR_VALIDATION, "%s: %s", path, strerror(errno));
		return ERR_VALIDATION;
	}
	if (!S_ISREG(st.st_mode) || st.st_size > FILE_BYTES_MAX) {
		problem_set(l->p, ERR_VALIDATION, "%s: must be a file of at most 16 MiB", path);
		return ERR_VALIDATION;
	}
	char *text __attribute__((cleanup(text_release))) = malloc((size_t)st.st_size + 1);
	if (text == NULL)
		return out_of_memory(l->p);
	const size_t n = fread(text, 1, (size_t)st.st_size, file);
	if (ferror(file) != 0) {
		problem_set(l->p, ERR_VALIDATION, "%s: cannot be read", path);
		return ERR_VALIDATION;
	}
	text[n] = '\0';
	return load_own(l, path, text, n);
}

/* ---- what must hold between providers ---- */

static enum err check_names(struct loader *l)
{
	for (size_t i = 0; i < l->n_providers; i++) {
		const struct provider *const p = &l->providers[i];
		for (size_t k = 0; k <= p->n_aliases; k++) {
			const char *const name = k == 0 ? p->id : p->aliases[k - 1];
			for (size_t j = 0; j < i; j++) {
				if (provider_is_called(&l->providers[j], name)) {
					problem_set(l->p, ERR_VALIDATION,
						"%s.json:1: aliases holds %s, a name of %s", p->id, name,
						l->providers[j].id);
					return ERR_VALIDATION;
				}
			}
		}
		for (size_t k = 0; k < p->n_fallback; k++) {
			if (loaded_provider(l, p->fallback[k]) == NULL) {
				problem_set(l->p, ERR_VALIDATION,
					"%s.json:1: fallback names %s, which is not there", p->id,
					p->fallback[k]);
				return ERR_VALIDATION;
			}
		}
	}
	return ERR_OK;
}

/* The complete format called "<provider>.<kind>", or NULL. */
static const struct usage_format *complete_format(const struct loader *l, const char *name)
{
	for (size_t i = 0; i < l->n_providers; i++) {
		const struct provider *const p = &l->providers[i];
		const size_t n = strlen(p->id);
		if (strncmp(name, p->id, n) != 0 || name[n] != '.')
			continue;
		for (size_t k = 0; k < p->n_formats; k++) {
			if (strcmp(p->formats[k].kind, name + n + 1) == 0 && p->formats[k].like == NULL)
				return &p->formats[k];
		}
	}
	return NULL;
}

/* The format with what it takes over from another. */
static struct usage_format format_like(const struct usage_format *f, const struct usage_format *model)
{
	struct usage_format whole = *model;
	whole.provider = f->provider;
	whole.kind = f->kind;
	whole.like = f->like;
	if (f->has_detect) {
		whole.detect = f->detect;
		whole.n_detect = f->n_detect;
	}
	if (f->has_says) {
		whole.says = f->says;
		whole.n_says = f->n_says;
	}
	return whole;
}

static enum err resolve_formats(struct loader *l)
{
	for (size_t i = 0; i < l->n_providers; i++) {
		struct provider *const p = &l->providers[i];
		struct usage_format *const resolved =
			arena_array(&l->c->arena, p->n_formats, sizeof *resolved);
		if (resolved == NULL)
			return out_of_memory(l->p);
		for (size_t k = 0; k < p->n_formats; k++) {
			const struct usage_format *const f = &p->formats[k];
			const struct usage_format *const model =
				f->like == NULL ? f : complete_format(l, f->like);
			if (model == NULL) {
				problem_set(l->p, ERR_VALIDATION,
					"%s.json:1: usage.%s is like %s, which is not there", p->id, f->kind,
					f->like);
				return ERR_VALIDATION;
			}
			resolved[k] = f->like == NULL ? *f : format_like(f, model);
		}
		p->formats = resolved;
	}
	return ERR_OK;
}

/* Copies the providers into the catalogue and builds what makes it fast. */
static enum err finish(struct loader *l)
{
	struct catalogue *const c = l->c;
	struct provider *const providers = arena_array(&c->arena, l->n_providers, sizeof *providers);
	c->memo = price_memo_new(&c->arena);
	for (size_t i = 0; providers != NULL && i < l->n_providers; i++) {
		providers[i] = l->providers[i];
		providers[i].index =
			price_index_build(providers[i].records, providers[i].n_records, &c->arena);
	}
	if (arena_overflowed(&c->arena))
		return out_of_memory(l->p);
	c->providers = providers;
	c->n_providers = l->n_providers;
	snprintf(c->version, sizeof c->version, "%016" PRIx64, l->hash);
	return ERR_OK;
}

static enum err load(struct loader *l, const char *extra_path)
{
	enum err e = load_all_embedded(l);
	if (e == ERR_OK && extra_path != NULL)
		e = load_own_file(l, extra_path);
	if (e == ERR_OK)
		e = check_names(l);
	if (e == ERR_OK)
		e = resolve_formats(l);
	return e == ERR_OK ? finish(l) : e;
}

enum err catalogue_load(const char *extra_path, struct catalogue **ret, struct problem *p)
{
	struct loader *const l = calloc(1, sizeof *l);
	struct catalogue *const c = calloc(1, sizeof *c);
	if (l == NULL || c == NULL) {
		free(l);
		free(c);
		return out_of_memory(p);
	}
	arena_init(&c->arena, CATALOGUE_BYTES_MAX);
	*l = (struct loader){.c = c, .hash = HASH_START, .p = p};
	const enum err e = load(l, extra_path);
	c->regexes = l->regexes;
	free(l);
	if (e != ERR_OK) {
		catalogue_free(c);
		return e;
	}
	*ret = c;
	return ERR_OK;
}

void catalogue_free(struct catalogue *c)
{
	if (c == NULL)
		return;
	regexes_release(c->regexes);
	price_memo_release(c->memo);
	arena_release(&c->arena);
	free(c);
}
