/* E-mail addresses: what signup takes and what it refuses. */
#include <check.h>
#include <string.h>
#include "llmlab/api/email.h"

START_TEST(email_problem_addresses_are_fine)
{
	static const char *const texts[] = {"user@example.com", "a@b", "first.last+tag@sub.example.co",
		"x_y-z@localhost", "jürgen@exämple.de", "o'hara@example.com"};
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		ck_assert_msg(email_problem(texts[i]) == NULL, "%s", texts[i]);
}
END_TEST

START_TEST(email_problem_slips_are_refused)
{
	static const char *const texts[] = {"", "user", "@example.com", "user@", "user@@example.com",
		"a b@example.com", "user@exa mple.com", "user@.com", "user@example..com", "user@example.com.",
		"user@-x.com", ".user@example.com", "user.@example.com", "a@b@c", "user\n@example.com",
		"<user@example.com>"};
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		ck_assert_msg(email_problem(texts[i]) != NULL, "%s", texts[i]);
}
END_TEST

START_TEST(email_problem_lengths_end_at_64_and_254)
{
	char text[300];
	memset(text, 'a', 65);
	strcpy(text + 65, "@b.c");
	ck_assert_ptr_nonnull(email_problem(text));
	ck_assert_ptr_null(email_problem(text + 1));
	/* 64 + 1 + 63 + 1 + 63 + 1 + 61 = 254 bytes; one more is too long. */
	memset(text, 'a', sizeof text);
	text[64] = '@';
	text[128] = text[192] = '.';
	text[254] = '\0';
	ck_assert_ptr_null(email_problem(text));
	text[254] = 'a';
	text[255] = '\0';
	ck_assert_ptr_nonnull(email_problem(text));
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("email");
	TCase *const t = tcase_create("email");
	tcase_add_test(t, email_problem_addresses_are_fine);
	tcase_add_test(t, email_problem_slips_are_refused);
	tcase_add_test(t, email_problem_lengths_end_at_64_and_254);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? 0 : 1;
}
