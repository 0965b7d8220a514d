/* What is good, doubtful or bad about the figures that `llmlab check` reads. Not here: reading them
 * (db/diagnosis.c), and telling (check_command.c). */
#include "llmlab/app/findings.h"
#include "llmlab/base/clock.h"

#define MIB		((int64_t)1024 * 1024)
#define DISK_WARN_BYTES (1024 * MIB)
#define DISK_FAIL_BYTES (100 * MIB)
#define CLOCK_WARN_US	US_PER_SECOND
#define CLOCK_FAIL_US	(60 * US_PER_SECOND)
#define COMMIT_WARN_US	(20 * US_PER_MS)

enum finding finding_disk(int64_t free_bytes)
{
	if (free_bytes < DISK_FAIL_BYTES)
		return FOUND_BAD;
	return free_bytes < DISK_WARN_BYTES ? FOUND_DOUBTFUL : FOUND_GOOD;
}

enum finding finding_clock(int64_t ahead_us)
{
	if (ahead_us > CLOCK_FAIL_US || ahead_us < -CLOCK_FAIL_US)
		return FOUND_BAD;
	return ahead_us > CLOCK_WARN_US || ahead_us < -CLOCK_WARN_US ? FOUND_DOUBTFUL : FOUND_GOOD;
}

enum finding finding_commit(int64_t commit_us)
{
	return commit_us > COMMIT_WARN_US ? FOUND_DOUBTFUL : FOUND_GOOD;
}

enum finding finding_schema(int64_t version, int64_t latest)
{
	if (version > latest)
		return FOUND_BAD;
	return version < latest ? FOUND_DOUBTFUL : FOUND_GOOD;
}

enum finding finding_connections(int64_t used, int64_t own, int64_t allowed)
{
	return used + own <= allowed ? FOUND_GOOD : FOUND_DOUBTFUL;
}
