/* The bodies of webhooks: our own JSON, and the messages that Slack's and Discord's incoming webhooks take. A
 * message is short text for people; the numbers in it are the digits of the data. */
#include <string.h>
#include "llmlab/base/check.h"
#include "llmlab/base/json_read.h"
#include "llmlab/base/json_write.h"
#include "llmlab/core/webhook.h"

#define ARENA_BYTES ((size_t)1 << 20)
#define LINES_MAX   20
#define TEST_TITLE  "Test of this webhook"
#define CUT_MARK    "..."

static const struct {
	const char *name, *title;
} TITLES[] = {
#define WEBHOOK_EVENT(id, name, title) {name, title},
#include "llmlab/core/webhook_events.def"
#undef WEBHOOK_EVENT
	{WEBHOOK_TEST_EVENT, TEST_TITLE},
};

static const char *title_of(const char *type)
{
	for (size_t i = 0; i < sizeof TITLES / sizeof TITLES[0]; i++) {
		if (strcmp(TITLES[i].name, type) == 0)
			return TITLES[i].title;
	}
	return type;
}

/* Bytes of the character that begins with c (valid UTF-8). */
static size_t character_bytes(unsigned char c)
{
	return c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
}

/* What Slack wants escaped, and nothing else; NULL: the character itself. */
static const char *slack_escape(char c)
{
	return c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : NULL;
}

/* Appends the text, cut so that it has at most max UTF-16 units with the mark of the cut, whole characters
 * and whole escapes. */
static void put_cut(struct buf *out, const char *text, size_t max, bool slack)
{
	size_t units = 0, kept = 0; /* kept: length where the mark would still fit */
	const size_t begin = out->len;
	while (*text != '\0' && !out->failed) {
		const size_t n = character_bytes((unsigned char)*text);
		const char *const escape = slack ? slack_escape(*text) : NULL;
		const size_t more = escape != NULL ? strlen(escape) : n == 4 ? 2 : 1;
		if (units + sizeof CUT_MARK - 1 <= max)
			kept = out->len - begin;
		if (units + more > max) {
			out->len = begin + kept;
			buf_puts(out, CUT_MARK);
			return;
		}
		if (escape != NULL)
			buf_puts(out, escape);
		else
			buf_append(out, text, n);
		units += more;
		text += n;
	}
}

/* The texts and numbers of the data, a line each. */
static void put_members(struct buf *text, const struct json_doc *doc, struct arena *arena)
{
	int lines = 0;
	for (void *i = json_object_iter(doc->root); i != NULL && lines < LINES_MAX;
		i = json_object_iter_next(doc->root, i)) {
		const json_t *const value = json_object_iter_value(i);
		const char *const shown = json_is_string(value) ? json_string_value(value)
								: json_number_text(doc, value, arena);
		if (shown == NULL)
			continue;
		buf_printf(text, "%s%s: %s", lines == 0 ? "" : "\n", json_object_iter_key(i), shown);
		lines++;
	}
}

/* Title and message, for people, in *text. */
static enum err put_message(const struct webhook_message *m, struct buf *text, struct arena *arena)
{
	struct problem p;
	problem_init(&p, arena);
	struct json_doc doc;
	const enum err e =
		json_doc_parse(&doc, m->data_json, strlen(m->data_json), &json_limits_trusted, arena, &p);
	if (e != ERR_OK)
		return e == ERR_NO_MEMORY ? e : ERR_SYNTAX;
	const char *const message = json_string_value(json_object_get(doc.root, "message"));
	buf_printf(text, "LLMLab: %s\n", title_of(m->type));
	if (message != NULL)
		buf_puts(text, message);
	else
		put_members(text, &doc, arena);
	json_doc_release(&doc);
	return text->failed || arena_overflowed(arena) ? ERR_NO_MEMORY : ERR_OK;
}

static void write_slack(struct json_writer *w, const char *text)
{
	struct buf cut;
	buf_init(&cut, WEBHOOK_BODY_MAX);
	put_cut(&cut, text, WEBHOOK_SLACK_MAX, true);
	w->out->failed |= cut.failed;
	jw_object_begin(w, NULL);
	jw_string(w, "text", buf_str(&cut));
	jw_bool(w, "mrkdwn", false);
	jw_object_end(w);
	buf_release(&cut);
}

static void write_discord(struct json_writer *w, const char *text)
{
	struct buf cut;
	buf_init(&cut, WEBHOOK_BODY_MAX);
	put_cut(&cut, text, WEBHOOK_DISCORD_MAX, false);
	w->out->failed |= cut.failed;
	jw_object_begin(w, NULL);
	jw_string(w, "content", buf_str(&cut));
	jw_object_begin(w, "allowed_mentions");
	jw_array_begin(w, "parse");
	jw_array_end(w);
	jw_object_end(w);
	jw_object_end(w);
	buf_release(&cut);
}

static void write_json(struct json_writer *w, const struct webhook_message *m)
{
	jw_object_begin(w, NULL);
	jw_uuid(w, "id", &m->id);
	jw_string(w, "type", m->type);
	jw_instant(w, "created_at", m->created_at_us);
	jw_raw(w, "data", m->data_json);
	jw_object_end(w);
}

enum err webhook_body(enum webhook_format f, const struct webhook_message *m, struct buf *out)
{
	struct arena arena;
	arena_init(&arena, ARENA_BYTES);
	struct buf text;
	buf_init(&text, WEBHOOK_BODY_MAX);
	struct json_writer w;
	jw_init(&w, out);
	enum err e = ERR_OK;
	switch (f) {
	case WEBHOOK_JSON:
		write_json(&w, m);
		break;
	case WEBHOOK_SLACK:
		e = put_message(m, &text, &arena);
		if (e == ERR_OK)
			write_slack(&w, buf_str(&text));
		break;
	case WEBHOOK_DISCORD:
		e = put_message(m, &text, &arena);
		if (e == ERR_OK)
			write_discord(&w, buf_str(&text));
		break;
	case WEBHOOK_FORMATS:
		CHECK(f != WEBHOOK_FORMATS);
	}
	buf_release(&text);
	arena_release(&arena);
	return e == ERR_OK && out->failed ? ERR_NO_MEMORY : e;
}
