/* Cursors: a position in a list as one opaque word, and back. What a position means is for the endpoints. */
#include "llmlab/api/cursor.h"
#include <stdbool.h>
#include <string.h>

#define CURSOR_VERSION	1
#define CURSOR_BYTES	27
#define CURSOR_CHECKED	25 /* version, instant, id; two bytes of check follow */
#define TEXT_CURSOR_MAX 1024
#define FNV_OFFSET	2166136261u
#define FNV_PRIME	16777619u

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* n bytes as (n * 4 + 2) / 3 characters and a NUL. */
static void base64url_write(const uint8_t *bytes, size_t n, char *out)
{
	uint32_t bits = 0;
	int held = 0;
	for (size_t i = 0; i < n; i++) {
		bits = bits << 8 | bytes[i];
		held += 8;
		while (held >= 6) {
			held -= 6;
			*out++ = ALPHABET[bits >> held & 63];
		}
	}
	if (held > 0)
		*out++ = ALPHABET[bits << (6 - held) & 63];
	*out = '\0';
}

/* The inverse for texts of the one form that base64url_write() makes; false for any other. out has room for
 * n * 3 / 4 bytes. */
static bool base64url_read(const char *text, size_t n, uint8_t *out)
{
	uint32_t bits = 0;
	int held = 0;
	for (size_t i = 0; i < n; i++) {
		const char *const digit = text[i] == '\0' ? NULL : strchr(ALPHABET, text[i]);
		if (digit == NULL)
			return false;
		bits = bits << 6 | (uint32_t)(digit - ALPHABET);
		held += 6;
		if (held >= 8) {
			held -= 8;
			*out++ = (uint8_t)(bits >> held);
		}
	}
	return held < 6 && (bits & ((1U << held) - 1)) == 0;
}

/* FNV-1a, 16 of its bits: tells a damaged cursor from a whole one, nothing more. */
static uint16_t check_of(const uint8_t *bytes, size_t n)
{
	uint32_t hash = FNV_OFFSET;
	for (size_t i = 0; i < n; i++)
		hash = (hash ^ bytes[i]) * FNV_PRIME;
	return (uint16_t)(hash >> 16 ^ hash);
}

void event_cursor_format(const struct event_cursor *c, char out[EVENT_CURSOR_TEXT_SIZE])
{
	uint8_t bytes[CURSOR_BYTES] = {CURSOR_VERSION};
	for (int i = 0; i < 8; i++)
		bytes[1 + i] = (uint8_t)((uint64_t)c->occurred_at_us >> (56 - 8 * i));
	memcpy(bytes + 9, c->id.bytes, sizeof c->id.bytes);
	const uint16_t check = check_of(bytes, CURSOR_CHECKED);
	bytes[25] = (uint8_t)(check >> 8);
	bytes[26] = (uint8_t)check;
	base64url_write(bytes, sizeof bytes, out);
}

enum err event_cursor_parse(const char *text, struct event_cursor *ret)
{
	uint8_t bytes[CURSOR_BYTES];
	if (strlen(text) != EVENT_CURSOR_TEXT_SIZE - 1 ||
		!base64url_read(text, EVENT_CURSOR_TEXT_SIZE - 1, bytes))
		return ERR_SYNTAX;
	const uint16_t check = (uint16_t)(bytes[25] << 8 | bytes[26]);
	if (bytes[0] != CURSOR_VERSION || check != check_of(bytes, CURSOR_CHECKED))
		return ERR_SYNTAX;
	uint64_t us = 0;
	for (int i = 0; i < 8; i++)
		us = us << 8 | bytes[1 + i];
	struct event_cursor c = {.occurred_at_us = (int64_t)us};
	memcpy(c.id.bytes, bytes + 9, sizeof c.id.bytes);
	if (c.occurred_at_us < 0 || uuid_v7_ms(&c.id) != c.occurred_at_us / 1000)
		return ERR_SYNTAX;
	*ret = c;
	return ERR_OK;
}

const char *text_cursor_format(const char *text, struct arena *arena)
{
	const size_t n = strlen(text);
	uint8_t *const bytes = arena_alloc(arena, n + 2);
	char *const out = arena_alloc(arena, (n + 2) * 4 / 3 + 2);
	if (bytes == NULL || out == NULL)
		return NULL;
	/* NOLINTNEXTLINE(bugprone-not-null-terminated-result): bytes, whose two of check follow */
	memcpy(bytes, text, n);
	const uint16_t check = check_of(bytes, n);
	bytes[n] = (uint8_t)(check >> 8);
	bytes[n + 1] = (uint8_t)check;
	base64url_write(bytes, n + 2, out);
	return out;
}

const char *text_cursor_parse(const char *cursor, struct arena *arena)
{
	const size_t length = strlen(cursor);
	const size_t n = length * 3 / 4;
	if (length > TEXT_CURSOR_MAX || n < 2)
		return NULL;
	uint8_t *const bytes = arena_alloc(arena, n + 1);
	if (bytes == NULL || !base64url_read(cursor, length, bytes))
		return NULL;
	const uint16_t check = (uint16_t)(bytes[n - 2] << 8 | bytes[n - 1]);
	if (check != check_of(bytes, n - 2) || memchr(bytes, '\0', n - 2) != NULL)
		return NULL;
	return arena_printf(arena, "%.*s", (int)(n - 2), (const char *)bytes);
}
