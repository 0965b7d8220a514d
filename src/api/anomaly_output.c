/* Unusual times as JSON and as a sentence: for answers and for webhooks alike. */
#include <string.h>
#include "llmlab/api/anomaly_scan.h"
#include "llmlab/api/support.h"

/* What a cause is called for people, by factor. */
static const char *const FACTOR_TEXTS[ANOMALY_FACTORS] = {
	"number of calls", "models used", "tokens per call", "price per token"};

void anomaly_write_scope(struct json_writer *w, const char *key, const struct anomaly_series *s)
{
	jw_object_begin(w, key);
	if (s->provider != NULL)
		jw_string(w, "provider", s->provider);
	if (s->model != NULL)
		jw_string(w, "model", s->model);
	if (s->project != NULL)
		jw_string(w, "project", s->project);
	if (s->tag_key != NULL) {
		/* A key of a tag is up to 128 characters of up to 4 bytes. */
		char name[4 + 128 * 4 + 1];
		const size_t n = strnlen(s->tag_key, sizeof name - 5);
		memcpy(name, "tag.", 4);
		memcpy(name + 4, s->tag_key, n);
		name[4 + n] = '\0';
		jw_string(w, name, s->tag_value);
	}
	jw_object_end(w);
}

/* The factors that matter, largest first; their contributions add up to cost - expected_cost. */
static void write_causes(struct json_writer *w, const struct anomaly_entry *e)
{
	bool written[ANOMALY_FACTORS] = {false};
	jw_array_begin(w, "causes");
	for (size_t i = 0; e->has_causes && i < ANOMALY_FACTORS; i++) {
		size_t best = ANOMALY_FACTORS;
		for (size_t f = 0; f < ANOMALY_FACTORS; f++)
			if (!written[f] && e->causes[f].atto != 0 &&
				(best == ANOMALY_FACTORS || money_compare(e->causes[f], e->causes[best]) > 0))
				best = f;
		if (best == ANOMALY_FACTORS)
			break;
		written[best] = true;
		jw_object_begin(w, NULL);
		jw_string(w, "dimension", anomaly_factor_name((enum anomaly_factor)best));
		jw_string(w, "value", FACTOR_TEXTS[best]);
		jw_decimal(w, "contribution", e->causes[best].atto, MONEY_SCALE);
		jw_object_end(w);
	}
	jw_array_end(w);
}

static void write_contributors(struct json_writer *w, const struct anomaly_entry *e)
{
	jw_array_begin(w, "contributors");
	for (size_t i = 0; i < e->n_contributors; i++) {
		const struct anomaly_contributor *const c = &e->contributors[i];
		jw_object_begin(w, NULL);
		jw_string(w, "dimension", c->dimension);
		jw_string(w, "value", c->value);
		if (c->provider[0] != '\0')
			jw_string(w, "provider", c->provider);
		jw_decimal(w, "contribution", c->contribution.atto, MONEY_SCALE);
		jw_object_end(w);
	}
	jw_array_end(w);
}

void anomaly_write(struct json_writer *w, const struct anomaly_entry *e)
{
	const struct anomaly *const a = &e->found;
	char date[DATE_TEXT_SIZE];
	calendar_format_date(e->day, date);
	jw_string(w, "id", e->id);
	jw_string(w, "granularity", e->hourly ? "hour" : "day");
	jw_string(w, "date", date);
	jw_instant(w, "start", e->start_us);
	jw_instant(w, "end", e->end_us);
	anomaly_write_scope(w, "scope", e->series);
	jw_array_begin(w, "also_in");
	for (size_t i = 0; i < a->n_also; i++)
		anomaly_write_scope(w, NULL, e->also[i]);
	jw_array_end(w);
	jw_decimal(w, "cost", a->cost.atto, MONEY_SCALE);
	jw_decimal(w, "expected_cost", a->expected.atto, MONEY_SCALE);
	jw_decimal(w, "lower", a->lower.atto, MONEY_SCALE);
	jw_decimal(w, "upper", a->upper.atto, MONEY_SCALE);
	jw_double(w, "score", a->score);
	jw_string(w, "severity", anomaly_severity_name(a->severity));
	write_causes(w, e);
	write_contributors(w, e);
	if (uuid_is_zero(&e->event_id))
		jw_null(w, "event_id");
	else
		jw_uuid(w, "event_id", &e->event_id);
	jw_bool(w, "dismissed", e->dismissed);
}

/* ---- the sentence ---- */

/* Cents, cut: a sentence is no invoice. */
static const char *amount_text(struct money m, struct arena *arena)
{
	char text[DECIMAL_TEXT_MAX];
	const int128 cent = decimal_pow10(MONEY_SCALE - 2);
	(void)decimal_format(m.atto / cent, 2, text);
	return arena_strdup(arena, text);
}

static const char *scope_text(const struct anomaly_series *s, struct arena *arena)
{
	switch (s->kind) {
	case ANOMALY_ALL:
		return "All spend";
	case ANOMALY_PROVIDER:
		return arena_printf(arena, "Spend at %s", s->provider);
	case ANOMALY_MODEL:
		return arena_printf(arena, "Spend on %s (%s)", s->model, s->provider);
	case ANOMALY_PROJECT:
		return arena_printf(arena, "Spend of the project %s", s->project);
	case ANOMALY_TAG:
		return arena_printf(arena, "Spend tagged %s=%s", s->tag_key, s->tag_value);
	}
	return NULL;
}

const char *anomaly_sentence(const struct anomaly_entry *e, struct arena *arena)
{
	char date[DATE_TEXT_SIZE];
	calendar_format_date(e->day, date);
	const char *const scope = scope_text(e->series, arena);
	const char *const cost = amount_text(e->found.cost, arena);
	const char *const expected = amount_text(e->found.expected, arena);
	if (scope == NULL || cost == NULL || expected == NULL)
		return NULL;
	return arena_printf(arena, "%s on %s is unusual: %s USD%s where about %s USD was expected.", scope,
		date, cost, e->hourly ? " in one hour" : "", expected);
}
