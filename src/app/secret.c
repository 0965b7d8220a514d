/* SECRET_KEY: what is good enough, and the key file of servers with a private PostgreSQL. The signing itself
 * is auth/jwt.c. */
#include "llmlab/app/secret.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include "llmlab/auth/jwt.h"
#include "llmlab/auth/password.h"
#include "llmlab/base/hex.h"
#include "llmlab/base/uuid.h"

#define KEY_BYTES      32
#define KEY_TEXT_BYTES (2 * KEY_BYTES)
#define FILE_MAX_BYTES 4096
/* A key that repeats a text up to this long is a word and not a key. */
#define PERIOD_MAX 15

/* The smallest p for which s is its first p bytes over and over (the last time perhaps cut). */
static size_t period_of(const char *s, size_t n)
{
	for (size_t p = 1; p < n; p++) {
		if (memcmp(s, s + p, n - p) == 0)
			return p;
	}
	return n;
}

const char *secret_weakness(const char *secret)
{
	if (strlen(secret) >= AUTH_SECRET_MIN_BYTES && period_of(secret, strlen(secret)) <= PERIOD_MAX)
		return "repeats one short text; make one with: openssl rand -hex 32";
	return jwt_secret_weakness(secret);
}

static enum err refuse(struct buf *problems, const char *path, const char *why)
{
	buf_printf(problems, "%s: %s\n", path, why);
	return ERR_UNAVAILABLE;
}

/* mkdir -p. */
static enum err make_folder(const char *path, struct buf *problems)
{
	char part[PATH_MAX];
	const size_t n = strlen(path);
	if (n >= sizeof part)
		return refuse(problems, "LLMLAB_DATA_DIR", "the path is too long");
	for (size_t i = 1; i <= n; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdir(part, 0755) != 0 && errno != EEXIST)
			return refuse(problems, part, strerror(errno));
	}
	return ERR_OK;
}

/* Writes all of it to the disk. */
static bool write_durably(int fd, const char *text, size_t n)
{
	return write(fd, text, n) == (ssize_t)n && fsync(fd) == 0;
}

static void sync_folder(const char *folder)
{
	const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	/* Best effort: losing the file before its first token matters to nobody. */
	(void)fsync(fd);
	(void)close(fd);
}

/* Makes the key under a name of its own and links it to its place, so that nobody ever sees a part of it and
 * of two servers that start at once one wins. */
static enum err make_key(const char *folder, const char *path, struct buf *problems)
{
	uint8_t raw[KEY_BYTES];
	char text[KEY_TEXT_BYTES + 2];
	random_bytes(raw, sizeof raw);
	hex_encode(raw, sizeof raw, text);
	text[KEY_TEXT_BYTES] = '\n';
	char temporary[PATH_MAX];
	(void)snprintf(temporary, sizeof temporary, "%s.%ld", path, (long)getpid());
	(void)unlink(temporary); /* of a dead process with our number */
	const int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return refuse(problems, temporary, strerror(errno));
	bool good = write_durably(fd, text, KEY_TEXT_BYTES + 1);
	good = close(fd) == 0 && good;
	good = good && (link(temporary, path) == 0 || errno == EEXIST);
	const int why = errno;
	(void)unlink(temporary);
	secret_wipe(raw, sizeof raw);
	secret_wipe(text, sizeof text);
	if (!good)
		return refuse(problems, path, strerror(why));
	sync_folder(folder);
	return ERR_OK;
}

/* ERR_NOT_FOUND: there is no such file. */
static enum err read_key(const char *path, char **ret_secret, struct buf *problems)
{
	const int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return ERR_NOT_FOUND;
	if (fd < 0)
		return refuse(problems, path, strerror(errno));
	char text[FILE_MAX_BYTES + 1] = "";
	struct stat st = {0};
	const bool known = fstat(fd, &st) == 0;
	const ssize_t n = read(fd, text, FILE_MAX_BYTES);
	(void)close(fd);
	if (!known || n < 0 || !S_ISREG(st.st_mode))
		return refuse(problems, path, "cannot be read, or is not a plain file");
	if ((st.st_mode & 077) != 0)
		return refuse(problems, path, "others may read this key; make it yours alone: chmod 600");
	if (st.st_uid != geteuid())
		return refuse(problems, path, "belongs to another user");
	text[strcspn(text, "\r\n")] = '\0';
	const char *const weakness = secret_weakness(text);
	if (weakness != NULL)
		return refuse(problems, path, weakness);
	*ret_secret = strdup(text);
	secret_wipe(text, sizeof text);
	return *ret_secret != NULL ? ERR_OK : ERR_NO_MEMORY;
}

enum err secret_file(const char *data_dir, char **ret_secret, struct buf *problems)
{
	char path[PATH_MAX - 32]; /* with room for the suffix of make_key() */
	const int n = snprintf(path, sizeof path, "%s/secret_key", data_dir);
	if (n < 0 || (size_t)n >= sizeof path)
		return refuse(problems, "LLMLAB_DATA_DIR", "the path is too long");
	enum err e = make_folder(data_dir, problems);
	if (e != ERR_OK)
		return e;
	e = read_key(path, ret_secret, problems);
	if (e != ERR_NOT_FOUND)
		return e;
	e = make_key(data_dir, path, problems);
	if (e != ERR_OK)
		return e;
	e = read_key(path, ret_secret, problems);
	return e == ERR_NOT_FOUND ? refuse(problems, path, "has gone while the server started") : e;
}
