/* IANA time zones by name: finding and caching their files, and civil days in them. The file format is
 * tzif.c's part. */
#include "llmlab/base/calendar.h"
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "tzif.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ZONE_DIRECTORY	    "/usr/share/zoneinfo"
#define ZONE_NAME_MAX	    64
#define ZONE_FILE_MAX_BYTES (1024 * 1024)
#define ZONES_MAX	    1024
#define SECONDS_PER_DAY	    86400
/* More than any offset from UTC, in seconds. */
#define OFFSET_BEYOND 93600

struct tz {
	char name[ZONE_NAME_MAX + 1];
	struct tzif rules;
};

static const struct tz zone_utc = {.name = "UTC"};

/* Zones loaded so far, for ever; looked at under the lock. */
static pthread_mutex_t zones_lock = PTHREAD_MUTEX_INITIALIZER;
static struct tz *zones[ZONES_MAX];
static size_t n_zones;

/* ---- loading ---- */

static bool name_character(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
	       c == '+' || c == '-' || c == '/';
}

/* True for a name that can only lead to a file below the zone directory, and to each file by one spelling.
 * The copies under posix/ and right/ are not names of zones. */
static bool name_ok(const char *name)
{
	const size_t length = strnlen(name, ZONE_NAME_MAX + 1);
	if (length == 0 || length > ZONE_NAME_MAX || name[0] == '/' || name[length - 1] == '/')
		return false;
	for (size_t i = 0; i < length; i++) {
		if (!name_character(name[i]))
			return false;
	}
	return strstr(name, "//") == NULL && strncmp(name, "posix/", 6) != 0 &&
	       strncmp(name, "right/", 6) != 0;
}

/* Reads until the end or until the memory is full; false on an error. */
static bool read_all(int fd, unsigned char *data, size_t size, size_t *ret_n)
{
	size_t n = 0;
	while (n < size) {
		const ssize_t got = read(fd, data + n, size - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return false;
		if (got == 0)
			break;
		n += (size_t)got;
	}
	*ret_n = n;
	return true;
}

/* The content of the open zone file, parsed. */
static enum err parse_file(int fd, struct tzif *ret)
{
	struct stat info;
	if (fstat(fd, &info) != 0)
		return ERR_UNAVAILABLE;
	if (!S_ISREG(info.st_mode) || info.st_size <= 0 || info.st_size > ZONE_FILE_MAX_BYTES)
		return ERR_NOT_FOUND;
	const size_t size = (size_t)info.st_size;
	unsigned char *const data = malloc(size);
	if (data == NULL)
		return ERR_NO_MEMORY;
	size_t n;
	enum err e = read_all(fd, data, size, &n) ? tzif_parse(data, n, ret) : ERR_UNAVAILABLE;
	free(data);
	return e == ERR_SYNTAX ? ERR_NOT_FOUND : e;
}

static enum err read_rules(const char *name, struct tzif *ret)
{
	const char *const directory = getenv("TZDIR");
	char path[PATH_MAX];
	const int length = snprintf(path, sizeof path, "%s/%s",
		directory != NULL && directory[0] != '\0' ? directory : ZONE_DIRECTORY, name);
	if (length < 0 || (size_t)length >= sizeof path)
		return ERR_NOT_FOUND;
	const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0) {
		const bool absent = errno == ENOENT || errno == ENOTDIR || errno == EACCES ||
				    errno == ELOOP || errno == ENAMETOOLONG;
		return absent ? ERR_NOT_FOUND : ERR_UNAVAILABLE;
	}
	const enum err e = parse_file(fd, ret);
	close(fd);
	return e;
}

/* A loaded zone of that name, or NULL. */
static const struct tz *find_zone(const char *name)
{
	for (size_t i = 0; i < n_zones; i++) {
		if (strcmp(zones[i]->name, name) == 0)
			return zones[i];
	}
	return NULL;
}

/* Loads and remembers a zone; the lock is held. */
static enum err add_zone(const char *name, const struct tz **ret)
{
	if (n_zones == ZONES_MAX)
		return ERR_NO_MEMORY;
	struct tz *const zone = calloc(1, sizeof *zone);
	if (zone == NULL)
		return ERR_NO_MEMORY;
	const enum err e = read_rules(name, &zone->rules);
	if (e != ERR_OK) {
		free(zone);
		return e;
	}
	/* NOLINTNEXTLINE(bugprone-not-null-terminated-result): calloc() has put the zero behind it */
	memcpy(zone->name, name, strlen(name));
	zones[n_zones++] = zone;
	*ret = zone;
	return ERR_OK;
}

enum err tz_load(const char *name, const struct tz **ret)
{
	if (strcmp(name, zone_utc.name) == 0) {
		*ret = &zone_utc;
		return ERR_OK;
	}
	if (!name_ok(name))
		return ERR_NOT_FOUND;
	CHECK(pthread_mutex_lock(&zones_lock) == 0);
	const struct tz *const known = find_zone(name);
	enum err e = ERR_OK;
	if (known != NULL)
		*ret = known;
	else
		e = add_zone(name, ret);
	CHECK(pthread_mutex_unlock(&zones_lock) == 0);
	return e;
}

const struct tz *tz_utc(void)
{
	return &zone_utc;
}

const char *tz_name(const struct tz *z)
{
	return z->name;
}

/* ---- civil days ---- */

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

int32_t tz_offset_at(const struct tz *z, int64_t us)
{
	return tzif_offset_at(&z->rules, floor_div(us, US_PER_SECOND));
}

int32_t tz_day_of(const struct tz *z, int64_t us)
{
	return (int32_t)floor_div(floor_div(us, US_PER_SECOND) + tz_offset_at(z, us), SECONDS_PER_DAY);
}

/* Goes through the stretches of constant offset in order and takes the first instant whose local time has
 * reached the day's midnight. It starts where local time, whatever the offset, is still before it. */
int64_t tz_day_start(const struct tz *z, int32_t days)
{
	const int64_t midnight = (int64_t)days * SECONDS_PER_DAY;
	int64_t from = midnight - OFFSET_BEYOND;
	for (;;) {
		const int64_t next = tzif_next(&z->rules, from);
		const int64_t reached = midnight - tzif_offset_at(&z->rules, from);
		const int64_t first = reached > from ? reached : from;
		if (first < next)
			return first * US_PER_SECOND;
		from = next;
	}
}
