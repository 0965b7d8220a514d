/* Runs a fuzz target over the files of folders, as a test: what was found once must not come back. Not a
 * fuzzer: it makes no inputs of its own but the beginnings of each file, which are what a broken connection
 * leaves. */
#include <dirent.h>
#include "fuzz.h"

#define FILE_MAX_BYTES ((size_t)1 << 20)
#define BEGINNINGS     16

static void run_beginnings(const uint8_t *data, size_t n)
{
	for (size_t i = 0; i < BEGINNINGS; i++) {
		const size_t part = n * i / BEGINNINGS;
		char *const beginning = fuzz_bytes(data, part);
		(void)LLVMFuzzerTestOneInput((const uint8_t *)beginning, part);
		free(beginning);
	}
}

static void run_file(const char *path)
{
	FILE *const in = fopen(path, "rb");
	uint8_t *const data = malloc(FILE_MAX_BYTES);
	FUZZ_CHECK(in != NULL && data != NULL);
	const size_t n = fread(data, 1, FILE_MAX_BYTES, in);
	fclose(in);
	fprintf(stderr, "%s\n", path); /* the last one printed is the one that failed */
	uint8_t *const exact = realloc(data, n > 0 ? n : 1);
	FUZZ_CHECK(exact != NULL);
	run_beginnings(exact, n);
	(void)LLVMFuzzerTestOneInput(exact, n);
	free(exact);
}

static size_t run_folder(const char *folder)
{
	struct dirent **entries = NULL;
	const int n = scandir(folder, &entries, NULL, alphasort);
	size_t files = 0;
	for (int i = 0; i < n; i++) {
		char path[4096];
		const int length = snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
		FUZZ_CHECK(length > 0 && (size_t)length < sizeof path);
		if (entries[i]->d_name[0] != '.') {
			run_file(path);
			files++;
		}
		free(entries[i]);
	}
	free(entries);
	return files;
}

int main(int argc, char **argv)
{
	size_t files = 0;
	for (int i = 1; i < argc; i++)
		files += run_folder(argv[i]);
	fprintf(stderr, "%zu files\n", files);
	return files > 0 ? EXIT_SUCCESS : EXIT_FAILURE; /* an empty corpus tests nothing */
}
