/* gzip request bodies (RFC 1952) to plain bytes, with a hard limit on the result: a small body that blows up
 * is refused as soon as it passes the limit. */

#include "internal.h"

#define ZLIB_CONST
#include <zlib.h>

#define STEP_BYTES	 ((size_t)64 * 1024)
#define GZIP_ONLY_WINDOW (15 + 16)

static enum err inflate_all(z_stream *z, size_t max, struct buf *out)
{
	for (;;) {
		const size_t room = max - out->len < STEP_BYTES ? max - out->len : STEP_BYTES;
		/* one spare byte tells "exactly max" from "more than max" */
		unsigned char step[STEP_BYTES + 1];
		z->next_out = step;
		z->avail_out = (uInt)(room + 1);
		const int rc = inflate(z, Z_NO_FLUSH);
		const size_t got = room + 1 - z->avail_out;
		if (got > room)
			return ERR_TOO_LARGE;
		buf_append(out, step, got);
		if (out->failed)
			return ERR_NO_MEMORY;
		if (rc == Z_STREAM_END)
			return z->avail_in == 0 ? ERR_OK : ERR_BAD_REQUEST;
		if (rc == Z_MEM_ERROR)
			return ERR_NO_MEMORY;
		if (rc != Z_OK || (z->avail_in == 0 && z->avail_out != 0))
			return ERR_BAD_REQUEST;
	}
}

enum err body_gunzip(const char *data, size_t n, size_t max, struct buf *out)
{
	z_stream z = {0};
	if (n > UINT32_MAX)
		return ERR_TOO_LARGE;
	if (inflateInit2(&z, GZIP_ONLY_WINDOW) != Z_OK)
		return ERR_NO_MEMORY;
	z.next_in = (const Bytef *)data;
	z.avail_in = (uInt)n;
	const enum err e = inflate_all(&z, max, out);
	(void)inflateEnd(&z);
	return e;
}
