/* Settings: config.def expanded to a table of descriptors, and one function that turns a text into a checked
 * value for each type. Not responsible for where texts come from (environment, dotenv.c) nor for what
 * settings mean together (secret.c, serve.c). */
#include "llmlab/app/config.h"
#include <stdlib.h>
#include <string.h>
#include "llmlab/auth/password.h"
#include "llmlab/base/decimal.h"

enum config_type { CONFIG_TYPE_TEXT, CONFIG_TYPE_NUMBER, CONFIG_TYPE_SWITCH, CONFIG_TYPE_CHOICE };

struct config_item {
	const char *name;
	enum config_type type;
	size_t offset; /* in struct config */
	const char *default_text;
	int64_t min, max;
	const char *unit;
	bool secret;
	const char *help;
};

static const struct config_item ITEMS[] = {
#define CONFIG(name, member, type, def, min, max, unit, secret, help)                                        \
	{#name, CONFIG_TYPE_##type, offsetof(struct config, member), def, min, max, unit, secret, help},
#include "llmlab/app/config.def"
#undef CONFIG
};
#define N_ITEMS (sizeof ITEMS / sizeof ITEMS[0])

bool config_known(const char *name)
{
	for (size_t i = 0; i < N_ITEMS; i++) {
		if (strcmp(ITEMS[i].name, name) == 0)
			return true;
	}
	return false;
}

static void tell(struct buf *problems, const struct config_item *item, const char *given)
{
	buf_printf(problems, "%s must be ", item->name);
	switch (item->type) {
	case CONFIG_TYPE_TEXT:
		buf_printf(problems, "%lld to %lld bytes long", (long long)item->min, (long long)item->max);
		break;
	case CONFIG_TYPE_NUMBER:
		buf_printf(problems, "a whole number from %lld to %lld", (long long)item->min,
			(long long)item->max);
		if (item->unit[0] != '\0')
			buf_printf(problems, " (%s)", item->unit);
		break;
	case CONFIG_TYPE_SWITCH:
		buf_puts(problems, "on or off");
		break;
	case CONFIG_TYPE_CHOICE:
		buf_printf(problems, "one of %s", item->unit);
		break;
	}
	if (!item->secret)
		buf_printf(problems, ", not \"%.80s\"", given);
	buf_putc(problems, '\n');
}

static bool parse_number(const struct config_item *item, const char *text, int64_t *ret)
{
	int128 value;
	if (decimal_parse(text, strlen(text), 0, INT64_MAX, &value) != ERR_OK)
		return false;
	if (value < item->min || value > item->max)
		return false;
	*ret = (int64_t)value;
	return true;
}

static bool parse_switch(const char *text, bool *ret)
{
	static const char *const yes[] = {"on", "true", "yes", "1"};
	static const char *const no[] = {"off", "false", "no", "0"};
	for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
		if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
			*ret = strcmp(text, yes[i]) == 0;
			return true;
		}
	}
	return false;
}

/* Whether word is one of those in "a|b|c". */
static bool is_choice(const char *words, const char *word)
{
	const size_t n = strlen(word);
	for (const char *at = words; at != NULL;) {
		const char *end = strchr(at, '|');
		const size_t length = end != NULL ? (size_t)(end - at) : strlen(at);
		if (length == n && memcmp(at, word, n) == 0)
			return true;
		at = end != NULL ? end + 1 : NULL;
	}
	return false;
}

/* ERR_VALIDATION: the text is not allowed; nothing is set then. */
static enum err set_item(struct config *c, const struct config_item *item, const char *text)
{
	void *const member = (char *)c + item->offset;
	bool good = true;
	switch (item->type) {
	case CONFIG_TYPE_NUMBER:
		return parse_number(item, text, member) ? ERR_OK : ERR_VALIDATION;
	case CONFIG_TYPE_SWITCH:
		return parse_switch(text, member) ? ERR_OK : ERR_VALIDATION;
	case CONFIG_TYPE_TEXT:
		good = (int64_t)strlen(text) >= item->min && (int64_t)strlen(text) <= item->max;
		break;
	case CONFIG_TYPE_CHOICE:
		good = is_choice(item->unit, text);
		break;
	}
	if (!good)
		return ERR_VALIDATION;
	char *copy = strdup(text);
	if (copy == NULL)
		return ERR_NO_MEMORY;
	char **const slot = member;
	*slot = copy;
	return ERR_OK;
}

enum err config_load(config_lookup *lookup, void *arg, struct config *ret, struct buf *problems)
{
	struct config c = {0};
	enum err result = ERR_OK;
	for (size_t i = 0; i < N_ITEMS; i++) {
		const struct config_item *item = &ITEMS[i];
		const char *text = lookup(arg, item->name);
		if (text == NULL || text[0] == '\0')
			text = item->default_text;
		const enum err e = set_item(&c, item, text);
		if (e == ERR_VALIDATION)
			tell(problems, item, text);
		if (e != ERR_OK && result != ERR_NO_MEMORY)
			result = e;
	}
	if (result != ERR_OK) {
		config_release(&c);
		return result;
	}
	*ret = c;
	return ERR_OK;
}

void config_release(struct config *c)
{
	for (size_t i = 0; i < N_ITEMS; i++) {
		const struct config_item *item = &ITEMS[i];
		if (item->type != CONFIG_TYPE_TEXT && item->type != CONFIG_TYPE_CHOICE)
			continue;
		void *const member = (char *)c + item->offset;
		char **const slot = member;
		if (*slot != NULL && item->secret)
			secret_wipe(*slot, strlen(*slot));
		free(*slot);
		*slot = NULL;
	}
}

/* "8000", "1440 minutes", "on", "" ... */
static void put_default(struct buf *out, const struct config_item *item)
{
	buf_puts(out, item->default_text);
	if (item->type == CONFIG_TYPE_NUMBER && item->unit[0] != '\0')
		buf_printf(out, " %s", item->unit);
}

/* "0 to 65535", "debug|info|warn|error", "on|off"; nothing for texts. */
static void put_allowed(struct buf *out, const struct config_item *item)
{
	switch (item->type) {
	case CONFIG_TYPE_TEXT:
		break;
	case CONFIG_TYPE_NUMBER:
		buf_printf(out, "%lld to %lld", (long long)item->min, (long long)item->max);
		break;
	case CONFIG_TYPE_SWITCH:
		buf_puts(out, "on|off");
		break;
	case CONFIG_TYPE_CHOICE:
		buf_puts(out, item->unit);
		break;
	}
}

/* Appends text as lines of at most width columns, each after prefix. */
static void put_wrapped(struct buf *out, const char *prefix, const char *text, size_t width)
{
	while (*text != '\0') {
		size_t n = strlen(text);
		if (n > width) {
			n = width;
			while (n > 0 && text[n] != ' ')
				n--;
			if (n == 0)
				n = strcspn(text, " ");
		}
		buf_puts(out, prefix);
		buf_append(out, text, n);
		buf_putc(out, '\n');
		text += n;
		while (*text == ' ')
			text++;
	}
}

void config_write_help(struct buf *out)
{
	buf_puts(out, "Settings (environment variables, or lines of the file .env in the working directory;\n"
		      "the environment wins):\n");
	for (size_t i = 0; i < N_ITEMS; i++) {
		const struct config_item *item = &ITEMS[i];
		buf_printf(out, "\n  %s", item->name);
		if (item->default_text[0] != '\0') {
			buf_puts(out, "  (default: ");
			put_default(out, item);
			if (item->type != CONFIG_TYPE_TEXT) {
				buf_puts(out, "; ");
				put_allowed(out, item);
			}
			buf_putc(out, ')');
		}
		buf_putc(out, '\n');
		put_wrapped(out, "      ", item->help, 90);
	}
}

void config_write_env_example(struct buf *out)
{
	buf_puts(out, "# Settings of LLMLab. Copy to .env and take the # off the lines to change; the "
		      "environment wins over\n"
		      "# the file. Written by: llmlab --env-example\n");
	for (size_t i = 0; i < N_ITEMS; i++) {
		const struct config_item *item = &ITEMS[i];
		buf_putc(out, '\n');
		put_wrapped(out, "# ", item->help, 100);
		if (item->type != CONFIG_TYPE_TEXT) {
			buf_puts(out, "# Allowed: ");
			put_allowed(out, item);
			if (item->type == CONFIG_TYPE_NUMBER && item->unit[0] != '\0')
				buf_printf(out, " %s", item->unit);
			buf_putc(out, '\n');
		}
		buf_printf(out, "#%s=%s\n", item->name, item->default_text);
	}
}

void config_write_markdown(struct buf *out)
{
	buf_puts(out, "| setting | default | allowed | meaning |\n| --- | --- | --- | --- |\n");
	for (size_t i = 0; i < N_ITEMS; i++) {
		const struct config_item *item = &ITEMS[i];
		struct buf allowed;
		buf_init(&allowed, 256);
		put_allowed(&allowed, item);
		buf_printf(out, "| `%s` | ", item->name);
		put_default(out, item);
		buf_puts(out, " | ");
		/* a bar inside a cell would end it */
		for (const char *at = buf_str(&allowed); *at != '\0'; at++)
			buf_puts(out, *at == '|' ? ", " : (const char[]){*at, '\0'});
		buf_printf(out, " | %s |\n", item->help);
		buf_release(&allowed);
	}
}
