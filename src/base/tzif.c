/* Reads TZif data, trusting nothing in it, and answers which offset is in force when. Files are tz.c's part.
 */
#include "tzif.h"
#include <stdlib.h>
#include <string.h>

#define HEADER_BYTES  44
#define TYPE_BYTES    6
#define OFFSET_MIN    (-89999) /* RFC 8536 section 3.2: more than -25 h, less than 26 h */
#define OFFSET_MAX    93599
#define LEAP_BYTES    4 /* beside the time of a leap second */
#define TIME_BYTES_V1 4
#define TIME_BYTES_V2 8

struct tzif_header {
	unsigned char version; /* 0, '2', '3', '4' */
	size_t n_ut, n_std, n_leap, n_times, n_types, n_chars;
};

/* The data block after a header, cut into its parts. */
struct tzif_block {
	size_t n_times, n_types, time_bytes;
	const unsigned char *times;
	const unsigned char *type_of_time;
	const unsigned char *types;
};

/* Big-endian, two's complement, of 4 or 8 bytes. */
static int64_t read_signed(const unsigned char *at, size_t bytes)
{
	uint64_t value = (at[0] & 0x80) != 0 ? UINT64_MAX : 0;
	for (size_t i = 0; i < bytes; i++)
		value = value << 8 | at[i];
	return (int64_t)value;
}

static size_t read_count(const unsigned char *at)
{
	return (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3];
}

static bool read_header(const unsigned char *data, size_t n, struct tzif_header *ret)
{
	if (n < HEADER_BYTES || memcmp(data, "TZif", 4) != 0)
		return false;
	const struct tzif_header h = {
		.version = data[4],
		.n_ut = read_count(data + 20),
		.n_std = read_count(data + 24),
		.n_leap = read_count(data + 28),
		.n_times = read_count(data + 32),
		.n_types = read_count(data + 36),
		.n_chars = read_count(data + 40),
	};
	const bool version_ok = h.version == 0 || (h.version >= '2' && h.version <= '4');
	if (!version_ok || h.n_types == 0 || h.n_leap != 0)
		return false;
	*ret = h;
	return true;
}

/* Bytes of the block: every count has 32 bits, so 64 bits hold the sum. */
static uint64_t block_bytes(const struct tzif_header *h, size_t time_bytes)
{
	return (uint64_t)h->n_times * (time_bytes + 1) + (uint64_t)h->n_types * TYPE_BYTES + h->n_chars +
	       (uint64_t)h->n_leap * (time_bytes + LEAP_BYTES) + h->n_std + h->n_ut;
}

/* Steps over the header and block at *at; false when they are not whole. */
static bool read_block(const unsigned char *data, size_t n, size_t *at, size_t time_bytes,
	struct tzif_header *ret_header, struct tzif_block *ret_block)
{
	if (!read_header(data + *at, n - *at, ret_header))
		return false;
	const size_t start = *at + HEADER_BYTES;
	const uint64_t bytes = block_bytes(ret_header, time_bytes);
	if (bytes > n - start)
		return false;
	const unsigned char *const times = data + start;
	const unsigned char *const type_of_time = times + ret_header->n_times * time_bytes;
	*ret_block = (struct tzif_block){
		.n_times = ret_header->n_times,
		.n_types = ret_header->n_types,
		.time_bytes = time_bytes,
		.times = times,
		.type_of_time = type_of_time,
		.types = type_of_time + ret_header->n_times,
	};
	*at = start + (size_t)bytes;
	return true;
}

/* The offset of a local time type. */
static bool type_offset(const struct tzif_block *b, size_t type, int32_t *ret)
{
	if (type >= b->n_types)
		return false;
	const int64_t offset = read_signed(b->types + type * TYPE_BYTES, 4);
	if (offset < OFFSET_MIN || offset > OFFSET_MAX)
		return false;
	*ret = (int32_t)offset;
	return true;
}

static bool fill_transitions(const struct tzif_block *b, struct tzif *t)
{
	if (!type_offset(b, 0, &t->first_offset))
		return false;
	for (size_t i = 0; i < b->n_times; i++) {
		t->at[i] = read_signed(b->times + i * b->time_bytes, b->time_bytes);
		if (i > 0 && t->at[i] <= t->at[i - 1])
			return false;
		if (!type_offset(b, b->type_of_time[i], &t->offset[i]))
			return false;
	}
	return true;
}

/* "\n" rule "\n" at the end of a file of version 2 or later; the rule may be empty. */
static bool read_footer(const unsigned char *data, size_t n, struct tzif *t)
{
	if (n < 2 || data[0] != '\n')
		return false;
	const unsigned char *const end = memchr(data + 1, '\n', n - 1);
	if (end == NULL)
		return false;
	const size_t length = (size_t)(end - (data + 1));
	if (length == 0)
		return true;
	/* A char pointer to the same bytes, without a cast. */
	const void *const rule = data + 1;
	t->has_rule = posix_tz_parse(rule, length, &t->rule);
	return t->has_rule;
}

enum err tzif_parse(const unsigned char *data, size_t n, struct tzif *ret)
{
	struct tzif_header header;
	struct tzif_block block;
	size_t at = 0;
	if (!read_block(data, n, &at, TIME_BYTES_V1, &header, &block))
		return ERR_SYNTAX;
	const bool has_footer = header.version != 0;
	if (has_footer && !read_block(data, n, &at, TIME_BYTES_V2, &header, &block))
		return ERR_SYNTAX;
	struct tzif t __attribute__((cleanup(tzif_release))) = {.n = block.n_times};
	t.at = calloc(block.n_times + 1, sizeof *t.at);
	t.offset = calloc(block.n_times + 1, sizeof *t.offset);
	if (t.at == NULL || t.offset == NULL)
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): t has a cleanup */
		return ERR_NO_MEMORY;
	if (!fill_transitions(&block, &t))
		return ERR_SYNTAX;
	if (has_footer && !read_footer(data + at, n - at, &t))
		return ERR_SYNTAX;
	*ret = t;
	t = (struct tzif){.n = 0}; /* owned by *ret now */
	return ERR_OK;
}

void tzif_release(struct tzif *t)
{
	free(t->at);
	free(t->offset);
	*t = (struct tzif){.n = 0};
}

/* Number of transitions at or before the instant. */
static size_t transitions_until(const struct tzif *t, int64_t at)
{
	size_t low = 0;
	size_t high = t->n;
	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		if (t->at[middle] <= at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int32_t tzif_offset_at(const struct tzif *t, int64_t at)
{
	const size_t passed = transitions_until(t, at);
	if (passed == t->n && t->has_rule)
		return posix_tz_offset_at(&t->rule, at);
	return passed == 0 ? t->first_offset : t->offset[passed - 1];
}

int64_t tzif_next(const struct tzif *t, int64_t at)
{
	const size_t passed = transitions_until(t, at);
	if (passed < t->n)
		return t->at[passed];
	return t->has_rule ? posix_tz_next(&t->rule, at) : INT64_MAX;
}
