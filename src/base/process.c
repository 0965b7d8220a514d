/* Memory, processor time and descriptors of this process, read from /proc when they are asked for. Nothing is
 * kept. */
#include "llmlab/base/process.h"
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#define STAT_MAX_BYTES 1024
/* Fields of /proc/self/stat after the name (proc(5)), counted from the state, which is the third: 0. */
#define STAT_UTIME  11
#define STAT_STIME  12
#define STAT_VSIZE  20
#define STAT_RSS    21
#define STAT_FIELDS 22

static void put_head(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put(struct buf *out, const char *name, const char *type, const char *help, int64_t value)
{
	put_head(out, name, type, help);
	buf_printf(out, "%s %" PRId64 "\n", name, value);
}

/* The whole small file as text; false when it cannot be read. */
static bool read_small(const char *path, char *out, size_t size)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	const ssize_t n = read(fd, out, size - 1);
	(void)close(fd);
	if (n <= 0)
		return false;
	out[n] = '\0';
	return true;
}

/* The numbers behind the process's name, which may hold anything, parentheses too. */
static bool read_stat(int64_t fields[STAT_FIELDS])
{
	char text[STAT_MAX_BYTES];
	if (!read_small("/proc/self/stat", text, sizeof text))
		return false;
	const char *at = strrchr(text, ')');
	if (at == NULL || strlen(at) < 4)
		return false;
	at += 2;
	fields[0] = (unsigned char)*at++; /* the state, a letter */
	for (size_t i = 1; i < STAT_FIELDS; i++) {
		char *end;
		fields[i] = strtoll(at, &end, 10);
		if (end == at)
			return false;
		at = end;
	}
	return true;
}

static int64_t count_descriptors(void)
{
	DIR *const folder = opendir("/proc/self/fd");
	if (folder == NULL)
		return -1;
	int64_t n = -1; /* this folder's own */
	for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder))
		n += entry->d_name[0] != '.';
	(void)closedir(folder);
	return n;
}

static void write_stat(struct buf *out)
{
	int64_t fields[STAT_FIELDS];
	const int64_t ticks = sysconf(_SC_CLK_TCK);
	if (ticks <= 0 || !read_stat(fields))
		return;
	const int64_t hundredths = (fields[STAT_UTIME] + fields[STAT_STIME]) * 100 / ticks;
	put_head(out, "process_cpu_seconds_total", "counter", "User and system time of the process");
	buf_printf(out, "process_cpu_seconds_total %" PRId64 ".%02" PRId64 "\n", hundredths / 100,
		hundredths % 100);
	put(out, "process_virtual_memory_bytes", "gauge", "Address space of the process", fields[STAT_VSIZE]);
	put(out, "process_resident_memory_bytes", "gauge", "Memory of the process",
		fields[STAT_RSS] * sysconf(_SC_PAGESIZE));
}

static void write_descriptors(struct buf *out)
{
	struct rlimit limit;
	const int64_t n = count_descriptors();
	if (n >= 0)
		put(out, "process_open_fds", "gauge", "Open descriptors of the process", n);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
		put(out, "process_max_fds", "gauge", "Most descriptors the process may have",
			(int64_t)limit.rlim_cur);
}

void process_metrics_write(struct buf *out, const char *version)
{
	write_stat(out);
	write_descriptors(out);
	put_head(out, "llmlab_build_info", "gauge", "1, with what was built and by what");
	buf_printf(out, "llmlab_build_info{version=\"%s\",compiler=\"%s\"} 1\n", version,
#ifdef __clang__
		"clang " __clang_version__
#else
		"gcc " __VERSION__
#endif
	);
}
