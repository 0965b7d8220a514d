#ifndef LLMLAB_APP_CONFIG_H
#define LLMLAB_APP_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "llmlab/base/buf.h"
#include "llmlab/base/err.h"

/* The settings of the server, from the environment and the file .env, as one table: config.def. */

typedef char *config_text;     /* owned by the struct config; never NULL after config_load(), "" for none */
typedef char *config_choice;   /* as config_text, one of the words of the table */
typedef int64_t config_number; /* in the unit of the table */
typedef bool config_switch;

struct config {
#define CONFIG_MEMBER_TEXT   config_text
#define CONFIG_MEMBER_NUMBER config_number
#define CONFIG_MEMBER_SWITCH config_switch
#define CONFIG_MEMBER_CHOICE config_choice
#define CONFIG(name, member, type, def, min, max, unit, secret, help) CONFIG_MEMBER_##type member;
#include "llmlab/app/config.def"
#undef CONFIG
};

/* Where a setting's value comes from: its text, or NULL if it is not set there. */
typedef const char *config_lookup(void *arg, const char *name);

/* Fills *ret from the table's defaults and what lookup() finds; an empty value counts as not set. All wrong values are
 * told at once, one line each, in *problems: the name, what is allowed, and (unless secret) what was given.
 * ERR_VALIDATION or ERR_NO_MEMORY with *ret untouched. Release with config_release(). */
enum err config_load(config_lookup *lookup, void *arg, struct config *ret, struct buf *problems);
/* Frees; secrets are overwritten first. */
void config_release(struct config *c);
/* Whether there is a setting of that name. */
bool config_known(const char *name);

/* Appends the settings as the second half of --help, as .env.example (all commented out), and as the table of README.md. */
void config_write_help(struct buf *out);
void config_write_env_example(struct buf *out);
void config_write_markdown(struct buf *out);

#endif
