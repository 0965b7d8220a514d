/* Hashing and verifying passwords with argon2id, within bounds: a stored hash can never make us spend more
 * time or memory than the caps say. Which passwords are acceptable is password_weakness.c's business, and how
 * many hashes may run at a time the caller's. */
#include "llmlab/auth/password.h"
#include <argon2.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "llmlab/base/uuid.h"

#define MEMORY_KIB     19456
#define PASSES	       2
#define LANES	       1
#define SALT_BYTES     16
#define TAG_BYTES      32
#define MAX_MEMORY_KIB 65536
#define MAX_PASSES     10
#define MAX_LANES      1

#define TEXT_(x) #x
#define TEXT(x)	 TEXT_(x)
/* How every hash of today begins. */
#define PARAMETERS "$argon2id$v=19$m=" TEXT(MEMORY_KIB) ",t=" TEXT(PASSES) ",p=" TEXT(LANES) "$"
/* A hash with today's parameters, a salt and a tag (22 and 43 characters) that belong to no password: 256
 * random bits that no one can hit. To verify against it takes what a real one takes, and nothing has to be
 * prepared. */
#define DUMMY_HASH PARAMETERS "cKqTjN0yHr3sWmZb1uXf5g$V9dQm2LxYc7RzE0tKpWnA4sGhU1bJoiF8vX3yT6CrDk"

void secret_wipe(void *p, size_t n)
{
	explicit_bzero(p, n);
}

enum err password_hash(const char *password, char ret_hash[PASSWORD_HASH_SIZE])
{
	uint8_t salt[SALT_BYTES];
	random_bytes(salt, sizeof salt);
	char hash[PASSWORD_HASH_SIZE];
	const int rc = argon2id_hash_encoded(PASSES, MEMORY_KIB, LANES, password, strlen(password), salt,
		sizeof salt, TAG_BYTES, hash, sizeof hash);
	if (rc == ARGON2_MEMORY_ALLOCATION_ERROR)
		return ERR_NO_MEMORY;
	if (rc != ARGON2_OK)
		return ERR_INTERNAL;
	memcpy(ret_hash, hash, sizeof hash);
	return ERR_OK;
}

/* A decimal number without sign or leading zero at *at, at most max, then `end`; moves *at behind it. */
static bool take_number(const char **at, uint32_t max, char end)
{
	const char *p = *at;
	if (*p < '1' || *p > '9')
		return false;
	uint32_t value = 0;
	for (; *p >= '0' && *p <= '9'; p++) {
		value = value * 10 + (uint32_t)(*p - '0');
		if (value > max)
			return false;
	}
	if (*p != end)
		return false;
	*at = p + 1;
	return true;
}

static bool take_text(const char **at, const char *expected)
{
	const size_t n = strlen(expected);
	if (strncmp(*at, expected, n) != 0)
		return false;
	*at += n;
	return true;
}

/* argon2id_verify() obeys whatever the string says (4 GiB, if need be), so the string is checked first. */
static bool within_caps(const char *hash)
{
	if (strnlen(hash, PASSWORD_HASH_SIZE) == PASSWORD_HASH_SIZE)
		return false;
	const char *at = hash;
	return take_text(&at, "$argon2id$v=19$m=") && take_number(&at, MAX_MEMORY_KIB, ',') &&
	       take_text(&at, "t=") && take_number(&at, MAX_PASSES, ',') && take_text(&at, "p=") &&
	       take_number(&at, MAX_LANES, '$');
}

enum err password_verify(const char *hash, const char *password, bool *ret_match)
{
	if (!within_caps(hash))
		return ERR_INTERNAL;
	const int rc = argon2id_verify(hash, password, strlen(password));
	if (rc == ARGON2_MEMORY_ALLOCATION_ERROR)
		return ERR_NO_MEMORY;
	if (rc != ARGON2_OK && rc != ARGON2_VERIFY_MISMATCH)
		return ERR_INTERNAL;
	*ret_match = rc == ARGON2_OK;
	return ERR_OK;
}

enum err password_verify_dummy(const char *password)
{
	bool match = false;
	return password_verify(DUMMY_HASH, password, &match);
}

bool password_needs_rehash(const char *hash)
{
	return strncmp(hash, PARAMETERS, sizeof PARAMETERS - 1) != 0;
}
