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
	token_cache_put(c, token(1), 120, 0, &alice);
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
	token_cache_put(c, token(1), 120, 0, &alice);
	ck_assert(!token_cache_find(c, token(1), 120, 1000, &p)); /* exp is exclusive, as in jwt_verify() */
	token_cache_free(c);
}
END_TEST

START_TEST(find_of_a_token_that_differs_in_one_character_is_refused)
{
	struct token_cache *c = token_cache_new();
	struct principal p;
	token_cache_put(c, token(1), 120, 0, &alice);
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
		token_cache_put(c, token(i), 120, 0, &each);
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
	token_cache_put(c, text, 10, 0, &alice);
	token_cache_put(c, text, 500, 0, &alice);
	ck_assert(!token_cache_find(c, text, 10, 0, &p));
	ck_assert(!token_cache_find(c, text, 500, 0, &p));
	token_cache_free(c);
}
END_TEST

/* An API key's form: 47 characters. */
static const char *key(int i)
{
	static char text[64];
	(void)snprintf(text, sizeof text, "llk_%043d", i);
	return text;
}

static const struct principal a_key = {
	.user_id = {{3}}, .token_id = {{4}}, .is_api_key = true, .expires_at_us = INT64_MAX};

START_TEST(find_of_a_key_ten_minutes_after_its_look_up_is_refused)
{
	struct token_cache *c = token_cache_new();
	struct principal p;
	token_cache_put(c, key(1), 47, 5000, &a_key);
	ck_assert(token_cache_find(c, key(1), 47, 5000 + 600000000LL - 1, &p));
	ck_assert(p.is_api_key);
	ck_assert(!token_cache_find(c, key(1), 47, 5000 + 600000000LL, &p));
	const struct principal short_lived = {.is_api_key = true, .expires_at_us = 6000};
	token_cache_put(c, key(1), 47, 5000, &short_lived);
	ck_assert(token_cache_find(c, key(1), 47, 5999, &p));
	ck_assert(!token_cache_find(c, key(1), 47, 6000, &p));
	token_cache_free(c);
}
END_TEST

START_TEST(uses_tells_each_used_key_once_with_its_last_use)
{
	static struct key_use uses[TOKEN_CACHE_SLOTS];
	struct token_cache *c = token_cache_new();
	struct principal p;
	token_cache_put(c, key(1), 47, 5000, &a_key);
	token_cache_put(c, token(2), 120, 0, &alice);
	token_cache_note_use(c, token(2), 120, 999);	      /* sessions have no last use */
	ck_assert(token_cache_find(c, key(1), 47, 5500, &p)); /* found is not used: it may be refused */
	ck_assert_uint_eq(token_cache_uses(c, uses), 0);
	token_cache_note_use(c, key(1), 47, 6000);
	token_cache_note_use(c, key(1), 47, 7000);
	token_cache_note_use(c, key(2), 47, 8000); /* is not there */
	ck_assert_uint_eq(token_cache_uses(c, uses), 1);
	ck_assert_int_eq(uses[0].at_us, 7000);
	ck_assert_mem_eq(&uses[0].user_id, &a_key.user_id, sizeof uses[0].user_id);
	ck_assert_mem_eq(&uses[0].key_id, &a_key.token_id, sizeof uses[0].key_id);
	ck_assert_uint_eq(token_cache_uses(c, uses), 0);
	token_cache_free(c);
}
END_TEST

START_TEST(clear_forgets_all)
{
	struct token_cache *c = token_cache_new();
	struct principal p;
	token_cache_put(c, key(1), 47, 5000, &a_key);
	token_cache_put(c, token(2), 120, 0, &alice);
	token_cache_clear(c);
	ck_assert(!token_cache_find(c, key(1), 47, 5000, &p));
	ck_assert(!token_cache_find(c, token(2), 120, 0, &p));
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
	tcase_add_test(t, find_of_a_key_ten_minutes_after_its_look_up_is_refused);
	tcase_add_test(t, clear_forgets_all);
	tcase_add_test(t, uses_tells_each_used_key_once_with_its_last_use);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
