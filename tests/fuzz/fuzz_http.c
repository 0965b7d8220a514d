/* The HTTP server with the real endpoints, in this process and on one thread: the bytes of the input come on
 * a socket, loop, framing, routing, authentication and handlers are the real ones. There is no database: what
 * needs it answers 503; stored events are pretended. Checks that every connection ends when its client does,
 * that no request is forgotten and no body's memory stays counted, and that nothing is answered 500. First
 * byte: bit 0 in pieces (their size is the second byte), bit 1 Forwarded instead of X-Forwarded-For. Tokens:
 * "f" full, "i" ingest, "r" read, "s" full but asked of a worker.
 *
 * loop.c is included for its callbacks; server.c and executor.c are replaced by what stands here. */
#include "../../src/http/loop.c"

#include <arpa/inet.h>
#include <fcntl.h>
#include "fuzz.h"
#include "llmlab/api/api.h"
#include "llmlab/providers/own_prices.h"

#define INPUT_MAX ((size_t)32 * 1024)
#define PIECES	  64
#define WAITING	  64
#define ROUNDS	  20000

/* ---- in place of the executors ---- */

struct executor {
	bool refuses;
};
static struct executor executor, password = {.refuses = true}; /* argon2 takes too long to fuzz */
static struct {
	struct call *at[WAITING];
	size_t n;
} waiting;

enum err executor_submit(struct executor *e, struct call *c)
{
	if (e->refuses || waiting.n == WAITING)
		return ERR_OVERLOADED;
	waiting.at[waiting.n++] = c;
	return ERR_OK;
}

void executor_free_thread(struct executor_thread *t)
{
	(void)t;
}

/* ---- in place of the queue: --wrap in CMakeLists.txt ---- */

enum err __wrap_ingest_submit(struct ingest *in, struct ingest_group *g);
enum err __wrap_ingest_reserve(struct ingest *in, const struct uuid *user_id, size_t n_items, size_t bytes,
	struct ingest_reservation *ret);
void __wrap_ingest_unreserve(struct ingest *in, struct ingest_reservation *r);
void __wrap_http_metrics_count(const struct route *r, int status, int64_t duration_us);
void __real_http_metrics_count(const struct route *r, int status, int64_t duration_us);

enum err __wrap_ingest_submit(struct ingest *in, struct ingest_group *g)
{
	(void)in;
	for (size_t i = 0; i < g->n_items; i++) {
		const struct event *const e = &g->items[i]->event;
		FUZZ_CHECK(g->items[i]->copy_row.len > 0 && !g->items[i]->copy_row.failed);
		FUZZ_CHECK(!e->has_cost || e->cost.atto >= 0);
		g->items[i]->outcome = INGEST_STORED;
	}
	g->pending = 0;
	g->done(g);
	return ERR_OK;
}

enum err __wrap_ingest_reserve(struct ingest *in, const struct uuid *user_id, size_t n_items, size_t bytes,
	struct ingest_reservation *ret)
{
	(void)in;
	*ret = (struct ingest_reservation){.user_id = *user_id, .items = n_items, .bytes = bytes};
	return ERR_OK;
}

void __wrap_ingest_unreserve(struct ingest *in, struct ingest_reservation *r)
{
	(void)in;
	(void)r;
}

void __wrap_http_metrics_count(const struct route *r, int status, int64_t duration_us)
{
	FUZZ_CHECK(status >= 200 && status <= 599 && status != 500);
	__real_http_metrics_count(r, status, duration_us);
}

/* ---- the server ---- */

static enum err authenticate(void *app, const char *token, size_t n, struct principal *ret)
{
	(void)app;
	*ret = (struct principal){
		.user_id = {{7}}, .token_id = {{9}}, .expires_at_us = 4102444800000000LL /* 2100 */};
	const char kind = n == 1 ? token[0] : '?';
	if (kind == 's')
		return ERR_UNAVAILABLE;
	ret->scope = kind == 'i' ? AUTH_SCOPE_INGEST : kind == 'r' ? AUTH_SCOPE_READ : AUTH_SCOPE_FULL;
	ret->is_api_key = kind != 'f';
	return kind == 'f' || kind == 'i' || kind == 'r' ? ERR_OK : ERR_INVALID_TOKEN;
}

static enum err authenticate_blocking(
	void *app, void *worker, const char *token, size_t n, struct principal *ret)
{
	FUZZ_CHECK(worker != NULL);
	(void)token;
	(void)n;
	return authenticate(app, "f", 1, ret);
}

static struct api api = {.token_lifetime_us = US_PER_SECOND,
	.version = "fuzz",
	.db = {.url = "host=/nonexistent dbname=none",
		.statement_us = US_PER_SECOND,
		.connect_us = US_PER_SECOND,
		.application_name = "fuzz",
		.prepare = true}};
static struct http_server server = {.settings = {.loops = 1,
					    .header_us = 10 * US_PER_SECOND,
					    .body_us = 10 * US_PER_SECOND,
					    .request_us = 20 * US_PER_SECOND,
					    .idle_us = 10 * US_PER_SECOND,
					    .max_body_bytes = 8192,
					    .max_batch_bytes = 65536,
					    .max_body_memory_bytes = (size_t)1 << 20,
					    .stream_stall_us = US_PER_SECOND}};
static struct loop loop;
static void *worker;

static void start_api(void)
{
	static const struct ingest_settings ingest = {.max_queued_items = 1000,
		.max_queued_bytes = 1 << 20,
		.max_batch_items = 100,
		.statement_us = US_PER_SECOND,
		.outcome_us = US_PER_SECOND};
	struct catalogue *c = NULL;
	struct problem p;
	struct arena arena;
	arena_init(&arena, (size_t)1 << 20);
	problem_init(&p, &arena);
	FUZZ_CHECK(catalogue_load(NULL, &c, &p) == ERR_OK);
	catalogue_publish(c);
	arena_release(&arena);
	own_prices_load_end(own_prices_load_begin());
	const char *const secret = "8f2c1d90a7b64e53c1f08d2b7a965e41";
	struct jwt_keys *jwt = NULL;
	struct seal_keys *seal = NULL;
	struct ingest *in = NULL;
	FUZZ_CHECK(
		jwt_keys_new(secret, NULL, &jwt) == ERR_OK && seal_keys_new(secret, NULL, &seal) == ERR_OK);
	FUZZ_CHECK(ingest_start(&ingest, &api.db, &in) == ERR_OK);
	api.jwt = jwt;
	api.seal = seal;
	api.ingest = in;
	api.tokens = token_cache_new();
	api.revocations = revocations_new(1000);
	api.refused_keys = refused_keys_new();
	api.spenders = spenders_new();
}

static void start_loop(void)
{
	char message[128];
	server.cors_origins = strdup("https://a.example");
	server.settings.cors_origins = server.cors_origins;
	server.limiter = rate_limiter_new();
	FUZZ_CHECK(proxies_new("127.0.0.0/8", &server.proxies, message, sizeof message) == ERR_OK);
	server.executor = &executor;
	server.password = &password;
	server.stream = &executor;
	server.loops = &loop;
	server.n_loops = 1;
	loop = (struct loop){.server = &server, .listen_fd = -1, .clean = true};
	pthread_mutex_init(&loop.mailbox_lock, NULL);
	loop.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	loop.daemon = MHD_start_daemon(MHD_USE_NO_LISTEN_SOCKET | MHD_USE_EPOLL | MHD_USE_ITC |
					       MHD_USE_ERROR_LOG | MHD_ALLOW_SUSPEND_RESUME,
		0, NULL, NULL, on_step, &loop, MHD_OPTION_EXTERNAL_LOGGER, on_library_log, NULL,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, HEADER_POOL_BYTES, MHD_OPTION_CONNECTION_TIMEOUT, 0U,
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, &loop, MHD_OPTION_URI_LOG_CALLBACK, on_uri,
		&loop, MHD_OPTION_NOTIFY_COMPLETED, on_completed, &loop, MHD_OPTION_STRICT_FOR_CLIENT, 0,
		MHD_OPTION_END);
	FUZZ_CHECK(loop.wake_fd >= 0 && loop.daemon != NULL);
}

static void start(void)
{
	log_configure(LOG_LEVEL_ERROR, true);
	start_api();
	server.hooks = api_hooks(&api);
	server.hooks.authenticate = authenticate;
	server.hooks.authenticate_blocking = authenticate_blocking;
	FUZZ_CHECK(http_metrics_init(&server.hooks) == ERR_OK);
	worker = server.hooks.worker_new(&api);
	FUZZ_CHECK(worker != NULL);
	start_loop();
}

/* ---- an input ---- */

/* Everything that can be done now, and what the server says is read away. */
static void turn(int client)
{
	char answers[4096];
	take_mailbox(&loop);
	(void)MHD_run(loop.daemon);
	for (size_t i = 0; i < waiting.n; i++)
		call_run(waiting.at[i], NULL, worker);
	waiting.n = 0;
	while (client >= 0 && recv(client, answers, sizeof answers, MSG_DONTWAIT) > 0)
		;
}

static bool idle(void)
{
	MHD_UNSIGNED_LONG_LONG ms = 0;
	return loop.mailbox == NULL && loop.streams == NULL && waiting.n == 0 &&
	       (MHD_get_timeout(loop.daemon, &ms) != MHD_YES || ms > 0);
}

static void talk(int client, const uint8_t *data, size_t n, size_t piece)
{
	for (size_t at = 0; at < n; at += piece) {
		const size_t length = n - at < piece ? n - at : piece;
		if (send(client, data + at, length, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)length)
			return; /* the server has had enough */
		turn(client);
		for (int i = 0; i < ROUNDS && !idle(); i++)
			turn(client);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool started;
	int ends[2];
	if (size < 2 || size > INPUT_MAX)
		return 0;
	if (!started)
		start();
	started = true;
	server.settings.forwarded = (data[0] & 2) != 0;
	const struct sockaddr_in from = {
		.sin_family = AF_INET, .sin_port = htons(4711), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
	FUZZ_CHECK(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0);
	FUZZ_CHECK(MHD_add_connection(loop.daemon, ends[1], (const struct sockaddr *)&from, sizeof from) ==
		   MHD_YES);
	const size_t n = size - 2;
	const size_t least = n / PIECES + 1;
	const size_t asked = (data[0] & 1) != 0 ? (size_t)data[1] + 1 : INPUT_MAX;
	talk(ends[0], data + 2, n, asked > least ? asked : least);
	(void)shutdown(ends[0], SHUT_WR);
	int rounds = 0;
	while (loop.conns != NULL && rounds++ < ROUNDS)
		turn(ends[0]);
	FUZZ_CHECK(loop.conns == NULL && loop.n_conns == 0); /* nobody waits for a client that is gone */
	FUZZ_CHECK(server.body_bytes == 0 && idle());
	(void)close(ends[0]);
	return 0;
}
