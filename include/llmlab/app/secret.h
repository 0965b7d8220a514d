#ifndef LLMLAB_APP_SECRET_H
#define LLMLAB_APP_SECRET_H

#include <stddef.h>
#include "llmlab/base/buf.h"
#include "llmlab/base/err.h"

/* The key that signs access tokens: judged when it is given, made once when it is not. */

/* Why a secret is refused, as the end of a sentence that begins with the setting's name, or NULL if it is good: shorter than
 * AUTH_SECRET_MIN_BYTES, a known default or placeholder, or one short text over and over. Static text. */
const char *secret_weakness(const char *secret);

/* The key in <data_dir>/secret_key. Makes it (256 random bits in hex, mode 0600, written to the disk before it is used) if there
 * is none, the folder too. A file that others may read or that is not a plain file of this user is refused. *ret_secret is freed
 * by the caller after secret_wipe(). ERR_UNAVAILABLE, told in *problems; ERR_NO_MEMORY. */
enum err secret_file(const char *data_dir, char **ret_secret, struct buf *problems);

#endif
