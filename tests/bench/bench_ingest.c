/* How many events a second the ingest writer makes durable, without HTTP: submitter threads keep groups in
 * flight.
 *
 *   bench_ingest [-u URL] [-t seconds] [-n submitters] [-f groups in flight each] [-g events in a group]
 *                [-U users] [-k percent with idempotency keys] [-x SQL run before]
 *
 * Without -u a private PostgreSQL in a temporary directory is used. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/histogram.h"
#include "llmlab/base/metrics.h"
#include "llmlab/db/conn.h"
#include "llmlab/db/migrate.h"
#include "llmlab/db/private_pg.h"
#include "llmlab/ingest/ingest.h"
#include "llmlab/providers/catalogue_load.h"

struct options {
	const char *url, *before_sql;
	int seconds, submitters, in_flight, group_size, users, keyed_percent;
};

static struct options options = {
	.seconds = 10, .submitters = 4, .in_flight = 64, .group_size = 1, .users = 100};
static struct uuid *users;
static struct ingest *ingest;
static _Atomic bool over;
static _Atomic int64_t stored, failed, refused;

/* One slot of a submitter: a group on its way. */
struct slot {
	struct ingest_group group;
	_Atomic bool done;
};

static void on_done(struct ingest_group *g)
{
	struct slot *s = g->owner;
	atomic_store(&s->done, true);
}

static struct ingest_item *make_item(unsigned *seed, const struct uuid *user)
{
	static const char *const models[] = {"gpt-4", "gpt-4o", "gpt-4o-mini", "o3", "gpt-4.1"};
	struct ingest_item *item = ingest_item_new();
	CHECK(item != NULL);
	struct event *e = &item->event;
	const int64_t now_us = clock_now_us();
	e->user_id = *user;
	e->occurred_at_us = e->received_at_us = now_us;
	e->id = uuid_v7(now_us / US_PER_MS);
	e->provider = "openai";
	e->model = models[(unsigned)rand_r(seed) % 5];
	e->usage.has_counts = true;
	e->usage.counts[USAGE_input_tokens] = rand_r(seed) % 10000;
	e->usage.counts[USAGE_output_tokens] = rand_r(seed) % 1000;
	e->has_cost = true;
	e->cost.atto = (int128)rand_r(seed) * 1000000000;
	e->pricing_status = "priced";
	e->price_record = "openai/gpt-4";
	e->price_rule = "equals";
	e->price_lines = "input:1000@30;output:500@60";
	e->catalogue_version = "0123456789abcdef";
	e->service_tier = "standard";
	e->project = "web";
	e->tags_json = "{\"team\":\"search\"}";
	e->has_latency = true;
	e->latency_ms = 1234;
	e->status = "success";
	if (rand_r(seed) % 100 < options.keyed_percent) {
		char id[UUID_TEXT_SIZE];
		uuid_format(&e->id, id);
		e->idempotency_key = arena_strdup(&item->arena, id);
		ingest_fingerprint(e, false, e->fingerprint);
	}
	CHECK(ingest_item_seal(item) == ERR_OK);
	return item;
}

static void release_slot(struct slot *s)
{
	for (size_t i = 0; i < s->group.n_items; i++) {
		atomic_fetch_add(s->group.items[i]->outcome == INGEST_STORED ? &stored : &failed, 1);
		ingest_item_free(s->group.items[i]);
	}
	s->group.n_items = 0;
}

static void fill_slot(struct slot *s, unsigned *seed)
{
	const struct uuid *user = &users[rand_r(seed) % options.users];
	s->group.n_items = (size_t)options.group_size;
	s->group.done = on_done;
	s->group.owner = s;
	s->group.deadline_us = clock_mono_us() + 30 * US_PER_SECOND;
	for (size_t i = 0; i < s->group.n_items; i++)
		s->group.items[i] = make_item(seed, user);
	atomic_store(&s->done, false);
	if (ingest_submit(ingest, &s->group) == ERR_OK)
		return;
	atomic_fetch_add(&refused, 1);
	for (size_t i = 0; i < s->group.n_items; i++)
		ingest_item_free(s->group.items[i]);
	s->group.n_items = 0;
	atomic_store(&s->done, true);
}

static void *submitter(void *arg)
{
	unsigned seed = *(const unsigned *)arg;
	const size_t n = (size_t)options.in_flight;
	struct slot *slots = calloc(n, sizeof(*slots));
	CHECK(slots != NULL);
	for (size_t i = 0; i < n; i++) {
		slots[i].group.items = calloc((size_t)options.group_size, sizeof(struct ingest_item *));
		atomic_store(&slots[i].done, true);
	}
	size_t busy = n;
	while (busy > 0) {
		busy = 0;
		bool idle = true;
		for (size_t i = 0; i < n; i++) {
			if (!atomic_load(&slots[i].done)) {
				busy++;
				continue;
			}
			release_slot(&slots[i]);
			if (atomic_load(&over))
				continue;
			fill_slot(&slots[i], &seed);
			idle = false;
			busy++;
		}
		if (idle && busy > 0)
			usleep(200);
	}
	for (size_t i = 0; i < n; i++)
		free(slots[i].group.items);
	free(slots);
	return NULL;
}

static void make_users(struct db_conn *c)
{
	static const struct db_stmt stmt = {"bench_user",
		"INSERT INTO users (id, email, name, password_hash)"
		" VALUES ($1::uuid, $1::uuid::text || '@example.com', 'Bench', '$argon2id$bench')"};
	users = calloc((size_t)options.users, sizeof(*users));
	CHECK(users != NULL);
	for (int i = 0; i < options.users; i++) {
		struct arena arena;
		arena_init(&arena, 4096);
		struct db_params p;
		db_params_init(&p, &arena);
		users[i] = uuid_v7(clock_now_us() / US_PER_MS);
		db_param_uuid(&p, &users[i]);
		CHECK(db_run(c, &stmt, &p, NULL) == ERR_OK);
		arena_release(&arena);
	}
}

static void prepare_database(const struct db_settings *settings)
{
	struct db_conn *c = db_conn_new(settings);
	struct migrate_report report = {0};
	CHECK(c != NULL && migrate_run(c, &report) == ERR_OK);
	make_users(c);
	const struct db_stmt before = {"bench_before", options.before_sql};
	if (options.before_sql != NULL && db_run(c, &before, NULL, NULL) != ERR_OK)
		fprintf(stderr, "%s\n", db_last_message(c));
	db_conn_free(c);
}

/* The writer counts by the catalogue's providers. */
static void publish_catalogue(void)
{
	struct arena arena;
	arena_init(&arena, 1 << 20);
	struct problem p;
	problem_init(&p, &arena);
	struct catalogue *c = NULL;
	CHECK(catalogue_load(NULL, &c, &p) == ERR_OK);
	catalogue_publish(c);
	arena_release(&arena);
}

static int64_t cpu_us(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * US_PER_SECOND + u.ru_utime.tv_usec +
	       u.ru_stime.tv_usec;
}

/* CPU time of the writer's backend, if it runs on this machine; else 0. */
static int64_t backend_cpu_us(const struct db_settings *settings)
{
	static const struct db_stmt stmt = {"bench_backend",
		"SELECT max(pid) FROM pg_stat_activity WHERE application_name = "
		"'bench-ingest' AND pid <> pg_backend_pid()"};
	struct db_conn *c = db_conn_new(settings);
	PGresult *r = NULL;
	CHECK(c != NULL && db_run(c, &stmt, NULL, &r) == ERR_OK);
	char path[64];
	snprintf(path, sizeof(path), "/proc/%lld/stat", (long long)db_i64(r, 0, 0));
	PQclear(r);
	db_conn_free(c);
	FILE *f = fopen(path, "r");
	char line[1024] = "";
	if (f == NULL || fgets(line, sizeof(line), f) == NULL)
		return 0;
	fclose(f);
	long long user = 0, system = 0;
	const char *after_name = strrchr(line, ')');
	if (after_name == NULL ||
		sscanf(after_name, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lld %lld", &user,
			&system) != 2)
		return 0;
	return (user + system) * US_PER_SECOND / sysconf(_SC_CLK_TCK);
}

static void run(const struct db_settings *settings)
{
	const struct ingest_settings s = {.max_queued_items = 50000,
		.max_queued_bytes = (size_t)512 << 20,
		.max_batch_items = 5000,
		.statement_us = 10 * US_PER_SECOND,
		.outcome_us = 10 * US_PER_SECOND};
	CHECK(ingest_start(&s, settings, &ingest) == ERR_OK);
	pthread_t *threads = calloc((size_t)options.submitters, sizeof(*threads));
	unsigned *seeds = calloc((size_t)options.submitters, sizeof(*seeds));
	CHECK(threads != NULL && seeds != NULL);
	const int64_t begin_us = clock_mono_us(), begin_cpu_us = cpu_us();
	for (int i = 0; i < options.submitters; i++) {
		seeds[i] = (unsigned)i + 1;
		CHECK(pthread_create(&threads[i], NULL, submitter, &seeds[i]) == 0);
	}
	sleep((unsigned)options.seconds);
	atomic_store(&over, true);
	for (int i = 0; i < options.submitters; i++)
		pthread_join(threads[i], NULL);
	const int64_t elapsed_us = clock_mono_us() - begin_us, used_us = cpu_us() - begin_cpu_us;
	const int64_t backend_us = backend_cpu_us(settings);
	ingest_stop(ingest, clock_mono_us() + US_PER_SECOND);
	ingest_free(ingest);
	const int64_t batches = metric_get(METRIC_INGEST_BATCHES), n = atomic_load(&stored);
	printf("events/s %lld  commits/s %lld  events/commit %lld  us/commit %lld  failed %lld  refused %lld"
	       "  cpu us/event: own %.2f, backend %.2f\n",
		(long long)(n * US_PER_SECOND / elapsed_us),
		(long long)(batches * US_PER_SECOND / elapsed_us), (long long)(batches > 0 ? n / batches : 0),
		(long long)(batches > 0 ? histogram_sum(HISTOGRAM_INGEST_COMMIT) / batches : 0),
		(long long)atomic_load(&failed), (long long)atomic_load(&refused),
		n > 0 ? (double)used_us / (double)n : 0.0, n > 0 ? (double)backend_us / (double)n : 0.0);
	free(threads);
	free(seeds);
}

static void parse_options(int argc, char **argv)
{
	for (int c = getopt(argc, argv, "u:x:t:n:f:g:U:k:"); c != -1;
		c = getopt(argc, argv, "u:x:t:n:f:g:U:k:")) {
		if (c == 'u')
			options.url = optarg;
		else if (c == 'x')
			options.before_sql = optarg;
		else if (c == 't')
			options.seconds = atoi(optarg);
		else if (c == 'n')
			options.submitters = atoi(optarg);
		else if (c == 'f')
			options.in_flight = atoi(optarg);
		else if (c == 'g')
			options.group_size = atoi(optarg);
		else if (c == 'U')
			options.users = atoi(optarg);
		else if (c == 'k')
			options.keyed_percent = atoi(optarg);
		else
			exit(2);
	}
}

int main(int argc, char **argv)
{
	parse_options(argc, argv);
	publish_catalogue();
	char dir[] = "/tmp/llmlab-bench-XXXXXX", message[512] = "", command[64];
	struct private_pg *pg = NULL;
	if (options.url == NULL) {
		CHECK(mkdtemp(dir) != NULL && chmod(dir, 0755) == 0);
		if (private_pg_start(dir, &pg, message, sizeof(message)) != ERR_OK) {
			fprintf(stderr, "%s\n", message);
			return 1;
		}
		options.url = private_pg_url(pg);
	}
	const struct db_settings settings = {.url = options.url,
		.statement_us = 30 * US_PER_SECOND,
		.connect_us = 5 * US_PER_SECOND,
		.application_name = "bench-ingest",
		.prepare = true};
	prepare_database(&settings);
	run(&settings);
	free(users);
	catalogue_shutdown();
	if (pg == NULL)
		return 0;
	private_pg_stop(pg);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command) == 0 ? 0 : 1;
}
