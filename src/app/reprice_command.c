/* llmlab reprice: new prices for recorded events, through the API of a server: a preview, or with --apply the
 * real thing, as a table of what changes. Waits for what the server ends in the background. */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "llmlab/app/app.h"
#include "llmlab/base/json_read.h"
#include "llmlab/base/json_write.h"
#include "server_client.h"

#define ANSWER_BYTES ((size_t)64 << 20)
#define BODY_BYTES   ((size_t)4096)
#define ID_MAX	     64

static const char HELP[] = "Usage: llmlab reprice --from TIME --to TIME [options]\n\n"
			   "Computes what recorded calls cost by the prices of now (the catalogue, and your "
			   "own prices before it) and "
			   "prints what\n"
			   "would change. With --apply it is changed, and kept in the ledger.\n\n"
			   "  --from TIME, --to TIME  range: dates, the last one included, or RFC 3339 "
			   "times, the last one excluded\n"
			   "  --provider P, --model M only these\n"
			   "  --apply                 change it; without this it is a preview\n"
			   "  --reason TEXT           why, for the ledger\n"
			   "  --url URL               server (default: http://127.0.0.1:8000)\n"
			   "  --key TOKEN             access token or API key; better in the environment "
			   "variable LLMLAB_KEY, which "
			   "other users\n"
			   "                          of this machine cannot see\n\n"
			   "Exit code: 0 done, 1 failed, 2 wrong arguments.\n";

struct options {
	const char *url, *key, *from, *to, *provider, *model, *reason;
	bool apply;
};

/* The way to the server, and its last answer. */
struct client {
	struct server_client server;
	struct arena arena; /* of the answer's texts */
	struct json_doc doc;
	bool parsed; /* doc is to be released */
};

/* ---- the way to the server ---- */

static void client_release(struct client *c)
{
	if (c->parsed)
		json_doc_release(&c->doc);
	server_client_release(&c->server);
	arena_release(&c->arena);
}

static bool client_init(struct client *c, const struct options *o)
{
	*c = (struct client){.parsed = false};
	arena_init(&c->arena, ANSWER_BYTES);
	return server_client_init(&c->server, o->url, o->key, "application/json", "reprice") == ERR_OK;
}

static bool fail(const char *what)
{
	fprintf(stderr, "llmlab: %s\n", what);
	return false;
}

/* Says what the server refused; false. */
static bool refused(const struct client *c, long status)
{
	const char *const detail = json_string_value(json_object_get(c->doc.root, "detail"));
	fprintf(stderr, "llmlab: the server answered %ld%s%s\n", status, detail != NULL ? ": " : "",
		detail != NULL ? detail : "");
	return false;
}

/* GET, or POST of a body; true with c->doc if it went well, else told. */
static bool ask(struct client *c, const char *path, const char *body)
{
	if (c->parsed)
		json_doc_release(&c->doc);
	c->parsed = false;
	arena_release(&c->arena);
	long status = 0, retry_s = 0;
	if (server_client_ask(&c->server, path, body, body == NULL ? 0 : strlen(body), &status, &retry_s) !=
		ERR_OK)
		return fail(c->server.why);
	const struct buf *const answer = &c->server.answer;
	struct problem p;
	problem_init(&p, &c->arena);
	c->parsed = json_doc_parse(&c->doc, buf_str(answer), answer->len, &json_limits_trusted, &c->arena,
			    &p) == ERR_OK;
	if (status != 200 && status != 202)
		return refused(c, status);
	return c->parsed || fail("the server's answer is not understood");
}

/* ---- telling ---- */

static const char *text_of(const json_t *object, const char *name)
{
	const char *const text = json_string_value(json_object_get(object, name));
	return text == NULL ? "" : text;
}

static const char *number_of(struct client *c, const json_t *object, const char *name)
{
	const char *const text = json_number_text(&c->doc, json_object_get(object, name), &c->arena);
	return text == NULL ? "?" : text;
}

static void print_repricing(struct client *c, const json_t *r)
{
	const json_t *const changes = json_object_get(r, "changes");
	printf("%-20s %-40s %10s %22s %22s\n", "provider", "model", "events", "old cost", "new cost");
	for (size_t i = 0; i < json_array_size(changes); i++) {
		const json_t *const row = json_array_get(changes, i);
		printf("%-20s %-40s %10s %22s %22s\n", text_of(row, "provider"), text_of(row, "model"),
			number_of(c, row, "events"), number_of(c, row, "old_cost"),
			number_of(c, row, "new_cost"));
	}
	printf("%-20s %-40s %10s %22s %22s\n", "total", "", number_of(c, r, "events_changed"),
		number_of(c, r, "old_total"), number_of(c, r, "new_total"));
	printf("%s events examined; all of the range: %s USD before, %s USD after\n",
		number_of(c, r, "events_examined"), number_of(c, r, "range_old_total"),
		number_of(c, r, "range_new_total"));
}

/* The one with that id in the list of the last answer, or NULL. */
static const json_t *find(const struct client *c, const char *id)
{
	const json_t *const list = json_object_get(c->doc.root, "repricings");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *const row = json_array_get(list, i);
		if (strcmp(text_of(row, "id"), id) == 0)
			return row;
	}
	return NULL;
}

static void sleep_a_second(void)
{
	struct timespec left = {.tv_sec = 1};
	while (nanosleep(&left, &left) != 0 && errno == EINTR)
		;
}

/* Until the server has ended it. */
static bool wait_for_end(struct client *c, const char *id)
{
	for (;;) {
		sleep_a_second();
		if (!ask(c, "/api/pricing/repricings?limit=500", NULL))
			return false;
		const json_t *const row = find(c, id);
		if (row == NULL)
			return fail("the server does not know this re-pricing any more");
		const char *const state = text_of(row, "state");
		if (strcmp(state, "running") == 0) {
			fprintf(stderr, "%s events examined\n", number_of(c, row, "events_examined"));
			continue;
		}
		print_repricing(c, row);
		return strcmp(state, "done") == 0 ||
		       fail("it failed on the server; what is above was changed, see the server's log");
	}
}

/* ---- the whole ---- */

static bool write_body(struct buf *out, const struct options *o)
{
	struct json_writer w;
	jw_init(&w, out);
	jw_object_begin(&w, NULL);
	jw_string(&w, "from", o->from);
	jw_string(&w, "to", o->to);
	if (o->provider != NULL)
		jw_string(&w, "provider", o->provider);
	if (o->model != NULL)
		jw_string(&w, "model", o->model);
	if (o->reason != NULL)
		jw_string(&w, "reason", o->reason);
	jw_bool(&w, "dry_run", !o->apply);
	jw_object_end(&w);
	return !out->failed;
}

static bool reprice(struct client *c, const struct options *o)
{
	struct buf body;
	buf_init(&body, BODY_BYTES);
	const bool asked = write_body(&body, o) ? ask(c, "/api/pricing/reprice", buf_str(&body))
						: fail("the arguments are too long");
	buf_release(&body);
	if (!asked)
		return false;
	if (strcmp(text_of(c->doc.root, "state"), "running") == 0) {
		char id[ID_MAX];
		(void)snprintf(id, sizeof id, "%s", text_of(c->doc.root, "id"));
		return wait_for_end(c, id);
	}
	print_repricing(c, c->doc.root);
	if (!o->apply)
		puts("This is a preview: nothing was changed. --apply changes it.");
	return true;
}

static int usage(const char *why)
{
	fprintf(stderr, "llmlab: %s; see llmlab reprice --help\n", why);
	return 2;
}

/* -1: go on; else the exit code. */
static int read_options(int argc, char **argv, struct options *o)
{
	enum { URL = 1, KEY, FROM, TO, PROVIDER, MODEL, REASON, APPLY, HELP_TEXT };
	static const struct option known[] = {{"url", required_argument, NULL, URL},
		{"key", required_argument, NULL, KEY}, {"from", required_argument, NULL, FROM},
		{"to", required_argument, NULL, TO}, {"provider", required_argument, NULL, PROVIDER},
		{"model", required_argument, NULL, MODEL}, {"reason", required_argument, NULL, REASON},
		{"apply", no_argument, NULL, APPLY}, {"help", no_argument, NULL, HELP_TEXT}, {0}};
	*o = (struct options){.url = "http://127.0.0.1:8000", .key = getenv("LLMLAB_KEY")};
	const char **const texts[] = {[URL] = &o->url,
		[KEY] = &o->key,
		[FROM] = &o->from,
		[TO] = &o->to,
		[PROVIDER] = &o->provider,
		[MODEL] = &o->model,
		[REASON] = &o->reason};
	for (int got = getopt_long(argc, argv, "", known, NULL); got != -1;
		got = getopt_long(argc, argv, "", known, NULL)) {
		if (got == HELP_TEXT)
			return fputs(HELP, stdout) < 0;
		if (got == '?')
			return 2; /* told by getopt */
		if (got == APPLY)
			o->apply = true;
		else
			*texts[got] = optarg;
	}
	if (optind != argc)
		return usage("reprice takes options only");
	if (o->from == NULL || o->to == NULL)
		return usage("--from and --to are needed");
	if (o->key == NULL || o->key[0] == '\0')
		return usage("a token is missing: set LLMLAB_KEY or give --key");
	return -1;
}

int command_reprice(int argc, char **argv)
{
	struct options o;
	const int code = read_options(argc, argv, &o);
	if (code >= 0)
		return code;
	struct client c;
	const bool good = client_init(&c, &o) ? reprice(&c, &o) : fail("out of memory");
	client_release(&c);
	return good ? 0 : 1;
}
