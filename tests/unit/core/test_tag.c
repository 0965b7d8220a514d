/* Names of tags as dimensions. */
#include <check.h>
#include <stdlib.h>
#include "llmlab/core/tag.h"

START_TEST(tag_key_of_is_what_follows_the_prefix)
{
	ck_assert_str_eq(tag_key_of("tag.team"), "team");
	ck_assert_str_eq(tag_key_of("tag.tag.x"), "tag.x");
	ck_assert_str_eq(tag_key_of("tag. "), " ");
}
END_TEST

START_TEST(tag_key_of_other_names_is_none)
{
	static const char *const OTHERS[] = {"", "tag", "tag.", "Tag.team", "team", "tags.team", " tag.team"};
	for (size_t i = 0; i < sizeof OTHERS / sizeof OTHERS[0]; i++)
		ck_assert_msg(tag_key_of(OTHERS[i]) == NULL, "%s", OTHERS[i]);
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("tag");
	TCase *const t = tcase_create("tag");
	tcase_add_test(t, tag_key_of_is_what_follows_the_prefix);
	tcase_add_test(t, tag_key_of_other_names_is_none);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
