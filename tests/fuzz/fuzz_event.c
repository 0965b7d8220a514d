/* The body of an event: JSON text to a priced event, and on to what is stored and exported. Checks that a
 * body is either taken or blamed, never both; that what is taken is not contradictory, costs what its own
 * lines say, and gives the same fingerprint again; that made JSON is JSON. */
#include "fuzz.h"
#include "llmlab/api/event_csv.h"
#include "llmlab/api/event_item.h"
#include "llmlab/base/calendar.h"

#define NOW_US 1787479200000000LL /* 2026-08-23T10:00:00Z */

static void check_money(bool has, struct money m)
{
	FUZZ_CHECK(!has || (m.atto >= 0 && m.atto <= MONEY_MAX_USD * decimal_pow10(MONEY_SCALE)));
}

/* The lines are the catalogue's price; a reported one stands beside it. */
static void check_lines(const struct event *e)
{
	struct price_line lines[PRICE_LINES_MAX];
	size_t n = 0;
	if (e->price_lines == NULL)
		return;
	FUZZ_CHECK(price_lines_parse(e->price_lines, lines, &n) == ERR_OK);
	struct money sum = money_zero();
	for (size_t i = 0; i < n; i++)
		FUZZ_CHECK(money_add(sum, lines[i].cost, &sum));
	const bool beside = strcmp(e->pricing_status, "reported") == 0;
	FUZZ_CHECK(beside ? e->has_catalogue_cost : e->has_cost);
	FUZZ_CHECK(money_compare(sum, beside ? e->catalogue_cost : e->cost) == 0);
}

static void check_json(const char *text)
{
	if (text == NULL)
		return;
	json_t *const v = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	FUZZ_CHECK(json_is_object(v));
	json_decref(v);
}

static void check_event(const struct event *e)
{
	struct arena arena;
	struct problem p;
	arena_init(&arena, (size_t)1 << 20);
	problem_init(&p, &arena);
	FUZZ_CHECK(usage_check(&e->usage, &p) == ERR_OK);
	check_money(e->has_cost, e->cost);
	check_money(e->has_catalogue_cost, e->catalogue_cost);
	check_money(e->has_reported_cost, e->reported_cost);
	FUZZ_CHECK(e->has_cost == (strcmp(e->pricing_status, "unpriced") != 0));
	FUZZ_CHECK(e->has_reported_cost || strcmp(e->pricing_status, "reported") != 0);
	check_lines(e);
	FUZZ_CHECK(e->occurred_at_us >= INSTANT_MIN_US && e->occurred_at_us <= INSTANT_MAX_US);
	FUZZ_CHECK(uuid_v7_ms(&e->id) == e->occurred_at_us / US_PER_MS);
	FUZZ_CHECK(utf8_valid(e->model, strlen(e->model)) && utf8_valid(e->provider, strlen(e->provider)));
	check_json(e->tags_json);
	check_json(e->metadata_json);
	arena_release(&arena);
}

static void check_csv(const struct event *e)
{
	struct buf row;
	buf_init(&row, (size_t)1 << 20);
	event_csv_row(&row, e);
	FUZZ_CHECK(!row.failed && row.len > 2 && memcmp(row.data + row.len - 2, "\r\n", 2) == 0);
	buf_release(&row);
}

/* The same body again is the same event. */
static void check_again(
	const struct event_source *source, const struct json_doc *doc, const struct event *first)
{
	struct ingest_item *again = NULL;
	struct problem p;
	problem_init(&p, source->arena);
	FUZZ_CHECK(event_item_new(source, doc, doc->root, &again, &p) == ERR_OK);
	FUZZ_CHECK(memcmp(again->event.fingerprint, first->fingerprint, sizeof first->fingerprint) == 0);
	FUZZ_CHECK(again->event.has_cost == first->has_cost);
	FUZZ_CHECK(money_compare(again->event.cost, first->cost) == 0);
	FUZZ_CHECK(uuid_equal(&again->event.set_id, &first->set_id));
	ingest_item_free(again);
}

static void read_one(const struct event_source *source, const struct json_doc *doc, struct problem *p)
{
	struct event_input input;
	const enum err e = event_input_read(source, doc, doc->root, &input, p);
	FUZZ_CHECK(e == p->code && (e == ERR_OK || e == ERR_VALIDATION));
	if (e != ERR_OK) {
		FUZZ_CHECK(p->n_fields > 0 || p->detail != NULL);
		return;
	}
	check_event(&input.event);
	struct ingest_item *item = NULL;
	if (source->any_time)
		return; /* an estimate is not stored */
	FUZZ_CHECK(event_item_new(source, doc, doc->root, &item, p) == ERR_OK);
	check_event(&item->event);
	check_csv(&item->event);
	check_again(source, doc, &item->event);
	ingest_item_free(item);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct principal who = {.user_id = {{7}}, .scope = AUTH_SCOPE_FULL};
	struct arena arena;
	struct problem p;
	struct json_doc doc;
	if (size == 0 || size > 65536)
		return 0;
	char *const body = fuzz_bytes(data + 1, size - 1);
	arena_init(&arena, (size_t)8 << 20);
	problem_init(&p, &arena);
	const struct event_source source = {.catalogue = fuzz_catalogue(),
		.principal = &who,
		.now_us = NOW_US,
		.key_header = (data[0] & 1) != 0 ? "key-1" : NULL,
		.any_time = (data[0] & 2) != 0,
		.arena = &arena};
	if (json_doc_parse(&doc, body, size - 1, &json_limits_response, &arena, &p) == ERR_OK) {
		read_one(&source, &doc, &p);
		json_doc_release(&doc);
	} else {
		FUZZ_CHECK(!problem_none(&p));
	}
	arena_release(&arena);
	free(body);
	return 0;
}
