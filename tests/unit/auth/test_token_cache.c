/* The cache of verified tokens: exact, expiring, bounded. */

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/auth/token_cache.h"

static const struct principal alice = {
	.user_id = {{1}}, .scope = AUTH_SCOPE_FULL, .token_id = {{2}}, .expires_at_us = 1000};

/* A token-like text of 120 characters that ends in a number. */
static const char *token(int i)
{
	static char text[128];
	memset(text, 'a', 112);
	(void)snprintf(text + 112, sizeof text - 112, "%08d", i);
	return text;
}

START_TEST(find_after_put_gives_the_principal)
{
	struct token_cache *c = token_cache_new();
	struct principal p = {0};
	ck_assert(!token_cache_find(c, token(1), 120, 999, &p));
	token_cache_put(c, token(1), 120, &alice);
	ck_assert(token_cache_find(c, token(1), 120, 999, &p));
	ck_assert_mem_eq(&p.user_id, &alice.user_id, sizeof p.user_id);
	ck_assert_int_eq(p.expires_at_us, 1000);
	token_cache_free(c);
}
END_TEST

START_TEST(find_at_the_expiry_is_refused)
{
	struct token_cache *c = token_cache_new();
	struct principal p;
	token_cache_put(c, token(1), 120, &alice);
	ck_assert(!token_cache_find(c, token(1), 120, 1000, &p)); /* exp is exclusive, as in jwt_verify() */
	token_cache_free(c);
}
END_TEST

START_TEST(find_of_a_token_that_differs_in_one_character_is_refused)
{
	struct token_cache *c = token_cache_new();
	struct principal p;
	token_cache_put(c, token(1), 120, &alice);
	for (size_t i = 0; i < 120; i++) {
		char other[128];
		memcpy(other, token(1), 121);
		other[i] = 'Z';
		ck_assert(!token_cache_find(c, other, 120, 0, &p));
	}
	ck_assert(!token_cache_find(c, token(1), 119, 0, &p));
	token_cache_free(c);
}
END_TEST

START_TEST(put_of_many_forgets_old_ones_and_never_mixes_them_up)
{
	struct token_cache *c = token_cache_new();
	struct principal p;
	for (int i = 0; i < 100000; i++) {
		const struct principal each = {.expires_at_us = 1000 + i};
		token_cache_put(c, token(i), 120, &each);
	}
	int found = 0;
	for (int i = 0; i < 100000; i++) {
		if (!token_cache_find(c, token(i), 120, 0, &p))
			continue;
		ck_assert_int_eq(p.expires_at_us, 1000 + i);
		found++;
	}
	ck_assert_int_ge(found, 1);
	ck_assert_int_le(found, 4096);
	token_cache_free(c);
}
END_TEST

START_TEST(put_of_unusual_lengths_is_ignored)
{
	struct token_cache *c = token_cache_new();
	struct principal p;
	char text[500];
	memset(text, 'a', sizeof text);
	token_cache_put(c, text, 10, &alice);
	token_cache_put(c, text, 500, &alice);
	ck_assert(!token_cache_find(c, text, 10, 0, &p));
	ck_assert(!token_cache_find(c, text, 500, 0, &p));
	token_cache_free(c);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("auth token cache");
	TCase *t = tcase_create("cache");
	tcase_add_test(t, find_after_put_gives_the_principal);
	tcase_add_test(t, find_at_the_expiry_is_refused);
	tcase_add_test(t, find_of_a_token_that_differs_in_one_character_is_refused);
	tcase_add_test(t, put_of_many_forgets_old_ones_and_never_mixes_them_up);
	tcase_add_test(t, put_of_unusual_lengths_is_ignored);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
