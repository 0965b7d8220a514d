#ifndef LLMLAB_SRC_BASE_TZIF_H
#define LLMLAB_SRC_BASE_TZIF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "llmlab/base/err.h"
#include "posix_tz.h"

/* What a TZif file (RFC 8536) says, in the form that look-ups need. */
struct tzif {
	int32_t first_offset; /* before the first transition, seconds east of UTC */
	size_t n;	      /* transitions */
	int64_t *at;	      /* when each happens, seconds since 1970, ascending; owned */
	int32_t *offset;      /* in force from then on; owned */
	bool has_rule;	      /* `rule` holds after the last transition */
	struct posix_tz rule;
};

/* Reads the content of a file. ERR_SYNTAX: not a TZif file, or one that counts leap seconds ("right/..."),
 * which unix time does not. ERR_NO_MEMORY. Release with tzif_release(). */
enum err tzif_parse(const unsigned char *data, size_t n, struct tzif *ret);
void tzif_release(struct tzif *t);

/* Offset in force at the instant. */
int32_t tzif_offset_at(const struct tzif *t, int64_t at);
/* The next transition after the instant; INT64_MAX if there is none. */
int64_t tzif_next(const struct tzif *t, int64_t at);

#endif
