/* Password hashing: the stored form, the caps, and that an unknown account costs the same. argon2id_verify()
 * and argon2id_hash_encoded() are interposed here (over the functions that they are shorthands of), so that a
 * test sees what is asked of the library and can make it fail. */
#include <argon2.h>
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/auth/password.h"

#define PARAMETERS "$argon2id$v=19$m=19456,t=2,p=1$"

static int forced_rc = ARGON2_OK; /* another value: the library is not asked and says this */
static int n_verifies;
static char verified_hash[PASSWORD_HASH_SIZE];
static char verified_password[64];

int argon2id_verify(const char *encoded, const void *pwd, const size_t pwdlen)
{
	n_verifies++;
	ck_assert_uint_lt(strlen(encoded), sizeof verified_hash);
	ck_assert_uint_lt(pwdlen, sizeof verified_password);
	strcpy(verified_hash, encoded);
	memcpy(verified_password, pwd, pwdlen);
	verified_password[pwdlen] = '\0';
	if (forced_rc != ARGON2_OK)
		return forced_rc;
	return argon2_verify(encoded, pwd, pwdlen, Argon2_id);
}

int argon2id_hash_encoded(const uint32_t t_cost, const uint32_t m_cost, const uint32_t parallelism,
	const void *pwd, const size_t pwdlen, const void *salt, const size_t saltlen, const size_t hashlen,
	char *encoded, const size_t encodedlen)
{
	if (forced_rc != ARGON2_OK)
		return forced_rc;
	return argon2_hash(t_cost, m_cost, parallelism, pwd, pwdlen, salt, saltlen, NULL, hashlen, encoded,
		encodedlen, Argon2_id, ARGON2_VERSION_NUMBER);
}

/* Each test begins anew, also where Check does not fork. */
static void reset(void)
{
	forced_rc = ARGON2_OK;
	n_verifies = 0;
}

START_TEST(password_hash_has_todays_parameters)
{
	/* 31 characters of parameters, 22 of a 16-byte salt, '$', 43 of a 32-byte tag: 97. */
	char hash[PASSWORD_HASH_SIZE];
	ck_assert_int_eq(password_hash("korrekt-Pferd-9", hash), ERR_OK);
	ck_assert_uint_eq(strlen(hash), 97);
	ck_assert_int_eq(strncmp(hash, PARAMETERS, 31), 0);
	ck_assert_int_eq(hash[53], '$');
	ck_assert(!password_needs_rehash(hash));
}
END_TEST

START_TEST(password_hash_same_password_twice_differs_and_both_verify)
{
	char a[PASSWORD_HASH_SIZE];
	char b[PASSWORD_HASH_SIZE];
	ck_assert_int_eq(password_hash("korrekt-Pferd-9", a), ERR_OK);
	ck_assert_int_eq(password_hash("korrekt-Pferd-9", b), ERR_OK);
	ck_assert_str_ne(a, b);
	bool match = false;
	ck_assert_int_eq(password_verify(a, "korrekt-Pferd-9", &match), ERR_OK);
	ck_assert(match);
	match = false;
	ck_assert_int_eq(password_verify(b, "korrekt-Pferd-9", &match), ERR_OK);
	ck_assert(match);
}
END_TEST

START_TEST(password_verify_other_password_does_not_match)
{
	static const char *const others[] = {"korrekt-Pferd-8", "korrekt-Pferd-", "korrekt-Pferd-99", ""};
	char hash[PASSWORD_HASH_SIZE];
	ck_assert_int_eq(password_hash("korrekt-Pferd-9", hash), ERR_OK);
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
		bool match = true;
		ck_assert_int_eq(password_verify(hash, others[i], &match), ERR_OK);
		ck_assert(!match);
	}
}
END_TEST

START_TEST(password_verify_composed_and_decomposed_accent_are_different_passwords)
{
	/* e with acute as one code point (C3 A9), and as e with a combining accent (65 CC 81): bytes count.
	 */
	char hash[PASSWORD_HASH_SIZE];
	ck_assert_int_eq(password_hash("caf\xc3\xa9 au lait", hash), ERR_OK);
	bool match = true;
	ck_assert_int_eq(password_verify(hash, "cafe\xcc\x81 au lait", &match), ERR_OK);
	ck_assert(!match);
}
END_TEST

START_TEST(password_verify_published_vector_matches)
{
	/* From the test suite of the reference implementation: "password", "somesalt", t=2, m=65536, p=1 (our
	 * cap). */
	static const char hash[] = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ"
				   "$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
	bool match = false;
	ck_assert_int_eq(password_verify(hash, "password", &match), ERR_OK);
	ck_assert(match);
	ck_assert(password_needs_rehash(hash));
}
END_TEST

#define REST "$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"

static const char *const bad_hashes[] = {
	"$argon2id$v=19$m=65537,t=2,p=1" REST, /* beyond the caps */
	"$argon2id$v=19$m=4194304,t=2,p=1" REST,
	"$argon2id$v=19$m=19456,t=11,p=1" REST,
	"$argon2id$v=19$m=19456,t=2,p=2" REST,
	"$argon2id$v=19$m=4294986752,t=2,p=1" REST, /* 2^32 + 19456 */
	"$argon2id$v=19$m=99999999999999999999,t=2,p=1" REST,
	"$argon2id$v=19$m=0,t=2,p=1" REST,
	"$argon2id$v=19$m=:9456,t=2,p=1" REST, /* the character behind 9 */
	"$argon2id$v=19$m=19456,t=2,x=1" REST,
	"$argon2id$v=19$m=019456,t=2,p=1" REST,
	"$argon2id$v=19$m=-1,t=2,p=1" REST,
	"$argon2id$v=19$m=+19456,t=2,p=1" REST,
	"$argon2id$v=19$m=19456,t=,p=1" REST,
	"$argon2id$v=19$m=19456,p=1,t=2" REST,
	"$argon2id$v=19$m=19456,t=2,p=1x" REST,
	"$argon2id$v=19$m=19456,t=2,p=1",
	"$argon2id$v=16$m=19456,t=2,p=1" REST, /* other versions and functions */
	"$argon2id$m=19456,t=2,p=1" REST,
	"$argon2i$v=19$m=19456,t=2,p=1" REST,
	"$argon2d$v=19$m=19456,t=2,p=1" REST,
	"$2b$12$abcdefghijklmnopqrstuuWq7Yc7bU9dO8tq0f7V1mXJmC4qE6b2y",
	"",
	"password",
	/* 128 characters and more */
	"$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$"
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
};

START_TEST(password_verify_stored_hash_out_of_bounds_is_refused_without_work)
{
	bool match = true;
	ck_assert_int_eq(password_verify(bad_hashes[_i], "password", &match), ERR_INTERNAL);
	ck_assert(match); /* untouched */
	ck_assert_int_eq(n_verifies, 0);
}
END_TEST

START_TEST(password_verify_damaged_salt_is_internal_error)
{
	bool match = true;
	ck_assert_int_eq(password_verify(PARAMETERS "!!!$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
				 "password", &match),
		ERR_INTERNAL);
	ck_assert(match);
}
END_TEST

START_TEST(password_verify_dummy_asks_for_the_same_work_as_a_real_hash)
{
	char hash[PASSWORD_HASH_SIZE];
	ck_assert_int_eq(password_hash("korrekt-Pferd-9", hash), ERR_OK);
	ck_assert_int_eq(password_verify_dummy("some guess"), ERR_OK);
	ck_assert_int_eq(n_verifies, 1);
	ck_assert_str_eq(verified_password, "some guess");
	/* Same parameters, and salt and tag of the same lengths at the same places. */
	ck_assert_uint_eq(strlen(verified_hash), strlen(hash));
	ck_assert_int_eq(strncmp(verified_hash, hash, 31), 0);
	ck_assert_int_eq(verified_hash[53], '$');
}
END_TEST

START_TEST(password_verify_dummy_is_decodable_and_matches_nothing)
{
	/* ERR_OK above could not come from a refused string: the library itself says "mismatch" to it. */
	ck_assert_int_eq(password_verify_dummy(""), ERR_OK);
	ck_assert_int_eq(argon2_verify(verified_hash, "", 0, Argon2_id), ARGON2_VERIFY_MISMATCH);
}
END_TEST

START_TEST(password_functions_without_memory_say_so)
{
	char good[PASSWORD_HASH_SIZE];
	ck_assert_int_eq(password_hash("korrekt-Pferd-9", good), ERR_OK);
	forced_rc = ARGON2_MEMORY_ALLOCATION_ERROR;
	char hash[PASSWORD_HASH_SIZE] = "before";
	bool match = true;
	ck_assert_int_eq(password_hash("korrekt-Pferd-9", hash), ERR_NO_MEMORY);
	ck_assert_int_eq(password_verify(good, "korrekt-Pferd-9", &match), ERR_NO_MEMORY);
	ck_assert_int_eq(password_verify_dummy("korrekt-Pferd-9"), ERR_NO_MEMORY);
	ck_assert_str_eq(hash, "before");
	ck_assert(match);
}
END_TEST

START_TEST(password_functions_library_failure_is_internal_error_not_mismatch)
{
	char good[PASSWORD_HASH_SIZE];
	ck_assert_int_eq(password_hash("korrekt-Pferd-9", good), ERR_OK);
	forced_rc = ARGON2_THREAD_FAIL;
	char hash[PASSWORD_HASH_SIZE] = "before";
	bool match = true;
	ck_assert_int_eq(password_hash("korrekt-Pferd-9", hash), ERR_INTERNAL);
	ck_assert_int_eq(password_verify(good, "korrekt-Pferd-9", &match), ERR_INTERNAL);
	ck_assert_str_eq(hash, "before");
	ck_assert(match);
}
END_TEST

START_TEST(secret_wipe_zeroes_exactly_the_bytes)
{
	char text[8] = "1234567";
	secret_wipe(text + 1, 5);
	ck_assert_mem_eq(text,
		"1\0\0\0\0\0"
		"7",
		8);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("password");
	TCase *tcase = tcase_create("password");
	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, reset, NULL);
	tcase_add_test(tcase, password_hash_has_todays_parameters);
	tcase_add_test(tcase, password_hash_same_password_twice_differs_and_both_verify);
	tcase_add_test(tcase, password_verify_other_password_does_not_match);
	tcase_add_test(tcase, password_verify_composed_and_decomposed_accent_are_different_passwords);
	tcase_add_test(tcase, password_verify_published_vector_matches);
	tcase_add_loop_test(tcase, password_verify_stored_hash_out_of_bounds_is_refused_without_work, 0,
		sizeof bad_hashes / sizeof bad_hashes[0]);
	tcase_add_test(tcase, password_verify_damaged_salt_is_internal_error);
	tcase_add_test(tcase, password_verify_dummy_asks_for_the_same_work_as_a_real_hash);
	tcase_add_test(tcase, password_verify_dummy_is_decodable_and_matches_nothing);
	tcase_add_test(tcase, password_functions_without_memory_say_so);
	tcase_add_test(tcase, password_functions_library_failure_is_internal_error_not_mismatch);
	tcase_add_test(tcase, secret_wipe_zeroes_exactly_the_bytes);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
