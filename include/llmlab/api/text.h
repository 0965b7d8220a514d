#ifndef LLMLAB_API_TEXT_H
#define LLMLAB_API_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include "llmlab/base/arena.h"

/* Small questions about the texts and objects that clients send. */

/* Nothing but ASCII white space. */
bool text_is_blank(const char *s);
/* Any control character, tab and line ends included. */
bool text_has_control(const char *s);
/* Trimmed (ASCII white space) and in lower case (ASCII letters), in the arena; NULL without memory. */
const char *text_lower(const char *s, struct arena *arena);
/* jansson's iterator asks for an object that may change, though looking through one changes nothing: the same
 * object for it alone. */
json_t *text_iterable(const json_t *object);

#endif
