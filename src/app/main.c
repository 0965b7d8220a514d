/* Arguments to a command, and what the whole process needs once: no locale, libraries initialised, broken
 * pipes as errors. */
#include "llmlab/app/app.h"
#include <curl/curl.h>
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "llmlab/app/config.h"
#include "llmlab/base/check.h"

struct command {
	const char *name;
	const char *arguments;
	const char *help;
	int (*run)(int argc, char **argv);
};

static const struct command COMMANDS[] = {
#define COMMAND(name, arguments, help) {#name, arguments, help, command_##name},
#include "llmlab/app/commands.def"
#undef COMMAND
};

#define TEXT_MAX_BYTES 65536

/* Writes what `write` makes to stdout. Returns the exit code. */
static int print(void (*write_text)(struct buf *out))
{
	struct buf out;
	buf_init(&out, TEXT_MAX_BYTES);
	write_text(&out);
	const bool good =
		!out.failed && fwrite(buf_str(&out), 1, out.len, stdout) == out.len && fflush(stdout) == 0;
	buf_release(&out);
	return good ? 0 : 1;
}

static void write_help(struct buf *out)
{
	buf_puts(out, "LLMLab " LLMLAB_VERSION
		      ": records every LLM call with its exact cost.\n\nUsage: llmlab [COMMAND]\n\n");
	for (size_t i = 0; i < sizeof COMMANDS / sizeof COMMANDS[0]; i++) {
		const struct command *c = &COMMANDS[i];
		buf_printf(out, "  %s%s%s\n      %s\n", c->name, c->arguments[0] != '\0' ? " " : "",
			c->arguments, c->help);
	}
	buf_puts(out, "  --help\n      This text.\n"
		      "  --version\n      The version.\n"
		      "  --env-example\n      All settings in the form of a .env file.\n"
		      "  --settings-table\n      All settings as a Markdown table.\n\n");
	config_write_help(out);
}

static void write_version(struct buf *out)
{
	buf_puts(out, "llmlab " LLMLAB_VERSION "\n");
}

struct option {
	const char *name;
	void (*write_text)(struct buf *out);
};

static const struct option OPTIONS[] = {{"--help", write_help}, {"-h", write_help},
	{"--version", write_version}, {"-V", write_version}, {"--env-example", config_write_env_example},
	{"--settings-table", config_write_markdown}};

static void start_libraries(void)
{
	CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
	/* Before there are threads: a random seed of jansson's hash tables, and curl's global state. */
	json_object_seed(0);
	CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

static int run_command(const struct command *c, int argc, char **argv)
{
	start_libraries();
	const int code = c->run(argc, argv);
	curl_global_cleanup();
	return code;
}

int app_main(int argc, char **argv)
{
	if (argc < 2)
		return run_command(&COMMANDS[0], argc, argv);
	for (size_t i = 0; i < sizeof OPTIONS / sizeof OPTIONS[0]; i++) {
		if (strcmp(OPTIONS[i].name, argv[1]) == 0)
			return print(OPTIONS[i].write_text);
	}
	for (size_t i = 0; i < sizeof COMMANDS / sizeof COMMANDS[0]; i++) {
		if (strcmp(COMMANDS[i].name, argv[1]) == 0)
			return run_command(&COMMANDS[i], argc - 1, argv + 1);
	}
	fprintf(stderr, "llmlab: there is no command \"%s\"; see llmlab --help\n", argv[1]);
	return 2;
}
