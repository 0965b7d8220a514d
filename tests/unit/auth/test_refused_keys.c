/* The memory of refused keys: what was added is there, others are not, and it is bounded. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/auth/digest.h"
#include "llmlab/auth/refused_keys.h"

static const uint8_t *hash_of(unsigned n)
{
	static uint8_t hash[32];
	digest_sha256(&n, sizeof n, hash);
	return hash;
}

START_TEST(has_tells_what_was_added)
{
	struct refused_keys *r = refused_keys_new();
	ck_assert(!refused_keys_has(r, hash_of(1)));
	refused_keys_add(r, hash_of(1));
	ck_assert(refused_keys_has(r, hash_of(1)));
	ck_assert(!refused_keys_has(r, hash_of(2)));
	refused_keys_free(r);
}
END_TEST

START_TEST(has_of_a_hash_that_differs_in_one_bit_of_the_first_half_is_false)
{
	struct refused_keys *r = refused_keys_new();
	refused_keys_add(r, hash_of(1));
	for (size_t bit = 0; bit < 128; bit++) {
		uint8_t other[32];
		memcpy(other, hash_of(1), sizeof other);
		other[bit / 8] ^= (uint8_t)(1U << bit % 8);
		ck_assert(!refused_keys_has(r, other));
	}
	refused_keys_free(r);
}
END_TEST

START_TEST(add_of_many_pushes_old_ones_out_and_refuses_no_other)
{
	struct refused_keys *r = refused_keys_new();
	unsigned known = 0;
	for (unsigned n = 0; n < 20000; n++)
		refused_keys_add(r, hash_of(n));
	ck_assert(refused_keys_has(r, hash_of(19999)));
	for (unsigned n = 0; n < 20000; n++)
		known += refused_keys_has(r, hash_of(n));
	ck_assert_uint_le(known, 4096);
	for (unsigned n = 20000; n < 120000; n++)
		ck_assert(!refused_keys_has(r, hash_of(n)));
	refused_keys_free(r);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("auth refused keys");
	TCase *t = tcase_create("refused");
	tcase_add_test(t, has_tells_what_was_added);
	tcase_add_test(t, has_of_a_hash_that_differs_in_one_bit_of_the_first_half_is_false);
	tcase_add_test(t, add_of_many_pushes_old_ones_out_and_refuses_no_other);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
