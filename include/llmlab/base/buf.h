#ifndef LLMLAB_BASE_BUF_H
#define LLMLAB_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A growing byte buffer that is born with its maximum. Appending past the maximum, or without memory, sets `failed`,
 * which is sticky: check once at the end. While not failed and not empty, data[len] is NUL. */
struct buf {
	char *data;    /* owned; NULL while empty */
	size_t len;    /* bytes used */
	size_t size;   /* bytes allocated */
	size_t max;    /* most bytes it may ever hold */
	bool failed;
	bool starved;  /* failed for want of memory, not because of max */
};

void buf_init(struct buf *b, size_t max_bytes);
/* Frees; the buffer is empty again with the same maximum. */
void buf_release(struct buf *b);
/* Forgets the content, a failure too; keeps the memory. */
void buf_reset(struct buf *b);
void buf_append(struct buf *b, const void *data, size_t n);
void buf_puts(struct buf *b, const char *s);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Decimal digits of v; what buf_printf("%" PRId64) gives, without the format machinery. */
void buf_put_i64(struct buf *b, int64_t v);
/* Big-endian integers, as PostgreSQL's binary formats want them. */
void buf_put_u16be(struct buf *b, uint16_t v);
void buf_put_u32be(struct buf *b, uint32_t v);
void buf_put_u64be(struct buf *b, uint64_t v);
/* Makes room for n more bytes; false (and failed) when that is not possible. */
bool buf_reserve(struct buf *b, size_t n);
/* Gives back what is not used. */
void buf_trim(struct buf *b);
/* Content as a C string; "" while empty. */
const char *buf_str(const struct buf *b);
/* Takes the memory over from the buffer (caller frees with free()); the buffer is empty afterwards. NULL, with ret_len
 * untouched, if it was empty or had failed. ret_len may be NULL. */
char *buf_detach(struct buf *b, size_t *ret_len);

#endif
