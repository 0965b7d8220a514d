/* The body of a batch: gzip, then cut into the texts of its events. First byte: bit 0 lines instead of an
 * object, bit 1 gzip. Checks the cutting against a naive reading of the whole by jansson: what jansson takes
 * is cut into the same events, and what is cut into good events is good as a whole. Unpacked bytes never
 * exceed the limit. */
#include <jansson.h>
#include "../../src/http/internal.h"
#include "fuzz.h"
#include "llmlab/api/batch_split.h"

#define PLAIN_MAX  ((size_t)64 * 1024)
#define PIECES_MAX 4096
#define NAIVE_MAX  1500 /* bytes: jansson goes 2,048 deep */

struct pieces {
	json_t *values[PIECES_MAX]; /* NULL: jansson does not take it */
	size_t n;
	bool good; /* all are taken */
};

static enum err cut(const char *data, size_t n, bool lines, struct pieces *ret, struct arena *arena)
{
	struct batch_split s;
	struct problem p;
	const char *text = data, *end_before = data;
	size_t length = 0;
	enum err e;
	problem_init(&p, arena);
	batch_split_init(&s, data, n, lines);
	*ret = (struct pieces){.good = true};
	while ((e = batch_split_next(&s, &text, &length, &p)) == ERR_OK && ret->n < PIECES_MAX) {
		FUZZ_CHECK(text >= end_before && length > 0 && length <= (size_t)(data + n - text));
		end_before = text + length;
		json_t *const v = json_loadb(text, length, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
		ret->good = ret->good && v != NULL;
		ret->values[ret->n++] = v;
	}
	FUZZ_CHECK(e == ERR_OK || (e == ERR_NOT_FOUND) == problem_none(&p));
	return e;
}

static void release(struct pieces *pieces)
{
	for (size_t i = 0; i < pieces->n; i++)
		json_decref(pieces->values[i]);
}

/* The events as jansson sees the whole; NULL if it is no object of events alone. */
static const json_t *naive(const json_t *whole)
{
	const json_t *const events = json_object_get(whole, "events");
	return json_object_size(whole) == 1 && json_is_array(events) ? events : NULL;
}

static void check_whole(const char *data, size_t n, struct arena *arena)
{
	static struct pieces pieces;
	if (n > NAIVE_MAX)
		return;
	const enum err e = cut(data, n, false, &pieces, arena);
	json_t *const whole = json_loadb(data, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
	const json_t *const events = naive(whole);
	/* "\u0065vents" is the same name to jansson; nobody writes it so, and it is refused */
	/* and jansson passes over a NUL behind a number, which is no JSON */
	if (events != NULL && memmem(data, n, "\"events\"", 8) != NULL && memchr(data, '\\', n) == NULL &&
		memchr(data, '\0', n) == NULL && e != ERR_NOT_FOUND) {
		/* deeper than any event may be */
		const char *const open = memmem(data, n, "[[[[[[[[[[[[[[[[", 16);
		FUZZ_CHECK(open != NULL || n > 128);
	}
	if (e == ERR_NOT_FOUND && pieces.good) {
		json_t *const lax = json_loadb(data, n, JSON_ALLOW_NUL, NULL);
		const json_t *const same = naive(lax);
		FUZZ_CHECK(same != NULL && json_array_size(same) == pieces.n);
		for (size_t i = 0; i < pieces.n; i++)
			FUZZ_CHECK(json_equal(json_array_get(same, i), pieces.values[i]));
		json_decref(lax);
	}
	json_decref(whole);
	release(&pieces);
}

/* One event a line, blank lines skipped: as many as there are lines with anything in them. */
static void check_lines(const char *data, size_t n, struct arena *arena)
{
	static struct pieces pieces;
	size_t expected = 0;
	bool any = false;
	for (size_t i = 0; i <= n; i++) {
		if (i == n || data[i] == '\n') {
			expected += any;
			any = false;
		} else if (data[i] != ' ' && data[i] != '\t' && data[i] != '\r') {
			any = true;
		}
	}
	if (expected > PIECES_MAX)
		return;
	const enum err e = cut(data, n, true, &pieces, arena);
	FUZZ_CHECK((e == ERR_NOT_FOUND || expected == PIECES_MAX) && pieces.n == expected);
	release(&pieces);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0 || size > PLAIN_MAX)
		return 0;
	struct arena arena;
	struct buf plain;
	char *text = fuzz_bytes(data + 1, size - 1);
	size_t n = size - 1;
	arena_init(&arena, (size_t)1 << 20);
	buf_init(&plain, PLAIN_MAX);
	if ((data[0] & 2) != 0) {
		const enum err e = body_gunzip(text, n, PLAIN_MAX, &plain);
		FUZZ_CHECK(e == ERR_OK || e == ERR_BAD_REQUEST || e == ERR_TOO_LARGE);
		FUZZ_CHECK(plain.len <= PLAIN_MAX);
		free(text);
		text = e == ERR_OK ? fuzz_bytes((const uint8_t *)buf_str(&plain), plain.len) : NULL;
		n = plain.len;
	}
	if (text != NULL && (data[0] & 1) != 0)
		check_lines(text, n, &arena);
	else if (text != NULL)
		check_whole(text, n, &arena);
	free(text);
	buf_release(&plain);
	arena_release(&arena);
	return 0;
}
