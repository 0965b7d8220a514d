/* How long pricing takes: loading the catalogue, a name seen before, a new name, a whole event. Prints
 * nanoseconds for each operation; it asserts nothing, because the machine decides. */
#include "llmlab/base/clock.h"
#include "llmlab/core/price.h"
#include "llmlab/providers/catalogue_load.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS	     200000
#define NAMES	     20000
#define HOSTILE_SIZE 200

static void print(const char *what, int64_t us, int64_t rounds)
{
	printf("%-44s %10" PRId64 " ns\n", what, us * 1000 / rounds);
}

static const struct catalogue *load(struct arena *arena)
{
	struct problem p;
	struct catalogue *c = NULL;
	problem_init(&p, arena);
	const int64_t start = clock_mono_us();
	if (catalogue_load(NULL, &c, &p) != ERR_OK) {
		fprintf(stderr, "%s\n", problem_detail(&p));
		exit(1);
	}
	print("catalogue_load", clock_mono_us() - start, 1);
	printf("%-44s %10zu bytes\n", "catalogue", c->arena.used_bytes);
	return c;
}

static void bench_seen(const struct catalogue *c)
{
	const int64_t start = clock_mono_us();
	for (int i = 0; i < ROUNDS; i++)
		(void)price_find(c, "openai", "gpt-4o-mini-2024-07-18", NULL);
	print("price_find, seen before", clock_mono_us() - start, ROUNDS);
}

/* Names that no rule knows, each a new one. */
static void bench_new(const struct catalogue *c, const char *provider, const char *what)
{
	char name[HOSTILE_SIZE + 1];
	memset(name, 'a', sizeof name - 1);
	name[HOSTILE_SIZE] = '\0';
	int64_t worst = 0;
	const int64_t start = clock_mono_us();
	for (int i = 0; i < NAMES; i++) {
		char digits[16];
		const int n = snprintf(digits, sizeof digits, "%d-", i);
		memcpy(name, digits, (size_t)n);
		const int64_t before = clock_mono_us();
		(void)price_find(c, provider, name, NULL);
		const int64_t took = clock_mono_us() - before;
		worst = took > worst ? took : worst;
	}
	print(what, clock_mono_us() - start, NAMES);
	printf("%-44s %10" PRId64 " ns\n", "  the slowest", worst * 1000);
}

static void bench_event(const struct catalogue *c, struct arena *arena)
{
	struct usage u = {.has_counts = true};
	u.counts[USAGE_input_tokens] = 100000;
	u.counts[USAGE_cache_read_tokens] = 60000;
	u.counts[USAGE_output_tokens] = 2000;
	const struct price_query q = {.provider = "anthropic",
		.model = "claude-sonnet-4-5",
		.at_us = 1770000000000000,
		.usage = &u};
	const int64_t start = clock_mono_us();
	for (int i = 0; i < ROUNDS; i++) {
		struct problem p;
		struct price_result r;
		problem_init(&p, arena);
		if (price_event(c, NULL, 0, &q, &r, &p) != ERR_OK)
			exit(1);
	}
	print("price_event, seen before", clock_mono_us() - start, ROUNDS);
}

int main(void)
{
	struct arena arena;
	arena_init(&arena, (size_t)64 << 20);
	const struct catalogue *const c = load(&arena);
	bench_seen(c);
	bench_new(c, "openai", "price_find, new name, provider given");
	bench_new(c, NULL, "price_find, new name, provider unknown");
	bench_new(c, "google", "price_find, new name, with fallback");
	bench_event(c, &arena);
	arena_release(&arena);
	return 0;
}
