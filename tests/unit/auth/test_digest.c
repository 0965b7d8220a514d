/* SHA-256: the vectors of FIPS 180-4, in one call and in pieces. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/auth/digest.h"

static const struct {
	const char *text, *hex;
} vectors[] = {
	{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
	{"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
	{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
		"248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
};

static void to_hex(const uint8_t digest[32], char out[65])
{
	for (int i = 0; i < 32; i++)
		snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

START_TEST(digest_sha256_vector_gives_digest)
{
	uint8_t out[32];
	char hex[65];
	digest_sha256(vectors[_i].text, strlen(vectors[_i].text), out);
	to_hex(out, hex);
	ck_assert_str_eq(hex, vectors[_i].hex);
}
END_TEST

START_TEST(digest_update_byte_by_byte_gives_same_digest)
{
	struct digest *d = digest_new();
	for (const char *c = vectors[_i].text; *c != '\0'; c++)
		digest_update(d, c, 1);
	uint8_t out[32];
	char hex[65];
	digest_finish(d, out);
	to_hex(out, hex);
	ck_assert_str_eq(hex, vectors[_i].hex);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("digest");
	TCase *tcase = tcase_create("digest");
	const int n_vectors = sizeof vectors / sizeof vectors[0];
	tcase_add_loop_test(tcase, digest_sha256_vector_gives_digest, 0, n_vectors);
	tcase_add_loop_test(tcase, digest_update_byte_by_byte_gives_same_digest, 0, n_vectors);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
