/* A byte buffer that grows by doubling up to its maximum. It does not know what its bytes mean. */
#include "llmlab/base/buf.h"
#include "llmlab/base/check.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_FIRST_BYTES ((size_t)256)

void buf_init(struct buf *b, size_t max_bytes)
{
	*b = (struct buf){.max = max_bytes};
}

void buf_release(struct buf *b)
{
	free(b->data);
	buf_init(b, b->max);
}

void buf_reset(struct buf *b)
{
	b->len = 0;
	b->failed = false;
	b->starved = false;
}

/* Allocates at least need bytes (the NUL included); false without memory. */
static bool buf_grow(struct buf *b, size_t need)
{
	size_t size = b->size < BUF_FIRST_BYTES ? BUF_FIRST_BYTES : b->size;
	while (size < need)
		size = size > SIZE_MAX / 2 ? SIZE_MAX : size * 2;
	if (b->max < SIZE_MAX && size > b->max + 1)
		size = b->max + 1;
	char *const data = realloc(b->data, size);
	if (data == NULL)
		return false;
	b->data = data;
	b->size = size;
	return true;
}

bool buf_reserve(struct buf *b, size_t n)
{
	if (b->failed)
		return false;
	if (n > b->max - b->len || b->len + n == SIZE_MAX) {
		b->failed = true;
		return false;
	}
	const size_t need = b->len + n + 1;
	if (need > b->size && !buf_grow(b, need)) {
		b->failed = true;
		b->starved = true;
		return false;
	}
	return true;
}

void buf_trim(struct buf *b)
{
	if (b->data == NULL || b->size <= b->len + 1)
		return;
	char *const data = realloc(b->data, b->len + 1);
	if (data == NULL)
		return;
	b->data = data;
	b->size = b->len + 1;
}

void buf_append(struct buf *b, const void *data, size_t n)
{
	if (n == 0 || !buf_reserve(b, n))
		return;
	memcpy(b->data + b->len, data, n);
	b->len += n;
	b->data[b->len] = '\0';
}

void buf_puts(struct buf *b, const char *s)
{
	buf_append(b, s, strlen(s));
}

void buf_putc(struct buf *b, char c)
{
	if (!buf_reserve(b, 1))
		return;
	b->data[b->len++] = c;
	b->data[b->len] = '\0';
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	const int length = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (length < 0) {
		b->failed = true;
		return;
	}
	if (length == 0 || !buf_reserve(b, (size_t)length))
		return;
	va_start(args, fmt);
	CHECK(vsnprintf(b->data + b->len, (size_t)length + 1, fmt, args) == length);
	va_end(args);
	b->len += (size_t)length;
}

/* The low n bytes of v, most significant first. */
static void buf_put_be(struct buf *b, uint64_t v, size_t n)
{
	unsigned char bytes[8];
	for (size_t i = 0; i < n; i++)
		bytes[i] = (unsigned char)(v >> (8 * (n - 1 - i)));
	buf_append(b, bytes, n);
}

void buf_put_i64(struct buf *b, int64_t v)
{
	char text[24];
	char *at = text + sizeof text;
	uint64_t magnitude = v < 0 ? -(uint64_t)v : (uint64_t)v;
	do {
		*--at = (char)('0' + magnitude % 10);
		magnitude /= 10;
	} while (magnitude != 0);
	if (v < 0)
		*--at = '-';
	buf_append(b, at, (size_t)(text + sizeof text - at));
}

void buf_put_u16be(struct buf *b, uint16_t v)
{
	buf_put_be(b, v, sizeof v);
}

void buf_put_u32be(struct buf *b, uint32_t v)
{
	buf_put_be(b, v, sizeof v);
}

void buf_put_u64be(struct buf *b, uint64_t v)
{
	buf_put_be(b, v, sizeof v);
}

const char *buf_str(const struct buf *b)
{
	return b->len == 0 ? "" : b->data;
}

char *buf_detach(struct buf *b, size_t *ret_len)
{
	if (b->failed || b->len == 0) {
		buf_release(b);
		return NULL;
	}
	char *const data = b->data;
	if (ret_len != NULL)
		*ret_len = b->len;
	buf_init(b, b->max);
	return data;
}
