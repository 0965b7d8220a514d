/* UUIDs and randomness. Randomness comes from getrandom(2) only; ids draw it from a small pool of each thread
 * so that an id costs no system call. What must stay secret uses random_bytes(), which never pools. */
#include "llmlab/base/uuid.h"
#include "llmlab/base/arena.h"
#include "llmlab/base/check.h"
#include "llmlab/base/hex.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>

#define POOL_BYTES 512

/* Version 7 layout (RFC 9562 section 5.7 with 6.2 method 1): 48 bits of time, version, a 42-bit counter (12
 * bits of rand_a, then the top 30 of rand_b), 32 random bits. */
#define COUNTER_BITS	 42
#define COUNTER_LOW_BITS 30
#define COUNTER_END	 (UINT64_C(1) << COUNTER_BITS)
#define TIME_END	 (INT64_C(1) << 48)

struct random_pool {
	unsigned char bytes[POOL_BYTES];
	size_t left;	     /* unused bytes, at the end */
	unsigned generation; /* of the process that filled it */
};

static _Thread_local struct random_pool pool;
/* Counts forks, so that a child does not hand out its parent's pool or counter again. */
static _Atomic unsigned fork_generation;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static pthread_mutex_t counter_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t counter_next = COUNTER_END; /* at the end: seeded by the first use */
static unsigned counter_generation;

static void fork_happened(void)
{
	atomic_fetch_add(&fork_generation, 1);
}

static void fork_watch(void)
{
	CHECK(pthread_atfork(NULL, NULL, fork_happened) == 0);
}

static unsigned generation_now(void)
{
	CHECK(pthread_once(&fork_once, fork_watch) == 0);
	return atomic_load(&fork_generation);
}

void random_bytes(void *out, size_t n)
{
	unsigned char *at = out;
	while (n > 0) {
		const ssize_t got = getrandom(at, n, 0);
		CHECK(got > 0 || (got < 0 && errno == EINTR));
		if (got > 0) {
			at += got;
			n -= (size_t)got;
		}
	}
}

static void pooled_bytes(void *out, size_t n)
{
	const unsigned generation = generation_now();
	if (pool.left < n || pool.generation != generation) {
		random_bytes(pool.bytes, sizeof pool.bytes);
		pool.left = sizeof pool.bytes;
		pool.generation = generation;
	}
	memcpy(out, pool.bytes + (sizeof pool.bytes - pool.left), n);
	pool.left -= n;
}

/* The next counter value. One counter for all milliseconds: event times jump both ways, and a value that only
 * grows is larger for the later of two ids of the same millisecond whatever was made in between. A fresh seed
 * has its top bit clear, so at least 2^41 ids follow before the next seed. */
static uint64_t counter_take(void)
{
	const unsigned generation = generation_now();
	CHECK(pthread_mutex_lock(&counter_lock) == 0);
	if (counter_next >= COUNTER_END || counter_generation != generation) {
		random_bytes(&counter_next, sizeof counter_next);
		counter_next &= COUNTER_END / 2 - 1;
		counter_generation = generation;
	}
	const uint64_t value = counter_next++;
	CHECK(pthread_mutex_unlock(&counter_lock) == 0);
	return value;
}

static void put_be(uint8_t *out, uint64_t v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
}

struct uuid uuid_v7(int64_t unix_ms)
{
	CHECK(unix_ms >= 0 && unix_ms < TIME_END);
	const uint64_t count = counter_take();
	const uint64_t count_high = count >> COUNTER_LOW_BITS;
	const uint64_t count_low = count & ((UINT64_C(1) << COUNTER_LOW_BITS) - 1);
	struct uuid u;
	put_be(u.bytes, (uint64_t)unix_ms, 6);
	put_be(u.bytes + 6, UINT64_C(0x7000) | count_high, 2);
	put_be(u.bytes + 8, UINT64_C(0x80000000) | count_low, 4);
	pooled_bytes(u.bytes + 12, 4);
	return u;
}

struct uuid uuid_v4(void)
{
	struct uuid u;
	pooled_bytes(u.bytes, sizeof u.bytes);
	u.bytes[6] = (uint8_t)((u.bytes[6] & 0x0F) | 0x40);
	u.bytes[8] = (uint8_t)((u.bytes[8] & 0x3F) | 0x80);
	return u;
}

int64_t uuid_v7_ms(const struct uuid *u)
{
	int64_t ms = 0;
	for (size_t i = 0; i < 6; i++)
		ms = ms * 256 + u->bytes[i];
	return ms;
}

/* True where the text form has a hyphen before byte i. */
static bool hyphen_before(size_t i)
{
	return i == 4 || i == 6 || i == 8 || i == 10;
}

void uuid_format(const struct uuid *u, char out[UUID_TEXT_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	char *at = out;
	for (size_t i = 0; i < sizeof u->bytes; i++) {
		if (hyphen_before(i))
			*at++ = '-';
		*at++ = digits[u->bytes[i] >> 4];
		*at++ = digits[u->bytes[i] & 0x0F];
	}
	*at = '\0';
}

const char *uuid_text(const struct uuid *u, struct arena *arena)
{
	char text[UUID_TEXT_SIZE];
	uuid_format(u, text);
	return arena_strdup(arena, text);
}

enum err uuid_parse(const char *text, struct uuid *ret)
{
	if (strnlen(text, UUID_TEXT_SIZE) != UUID_TEXT_SIZE - 1)
		return ERR_SYNTAX;
	struct uuid u;
	const char *at = text;
	for (size_t i = 0; i < sizeof u.bytes; i++) {
		if (hyphen_before(i) && *at++ != '-')
			return ERR_SYNTAX;
		const int high = hex_value(at[0]);
		const int low = hex_value(at[1]);
		if (high < 0 || low < 0)
			return ERR_SYNTAX;
		u.bytes[i] = (uint8_t)(high * 16 + low);
		at += 2;
	}
	*ret = u;
	return ERR_OK;
}

bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
	return uuid_compare(a, b) == 0;
}

int uuid_compare(const struct uuid *a, const struct uuid *b)
{
	return memcmp(a->bytes, b->bytes, sizeof a->bytes);
}

bool uuid_is_zero(const struct uuid *u)
{
	static const struct uuid zero;
	return uuid_equal(u, &zero);
}
