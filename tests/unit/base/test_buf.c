/* The growing buffer: its maximum, its sticky failure, its integers. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/base/buf.h"

START_TEST(buf_append_up_to_maximum_succeeds)
{
	struct buf b;
	buf_init(&b, 5);
	buf_puts(&b, "abc");
	buf_append(&b, "de", 2);
	ck_assert(!b.failed);
	ck_assert_str_eq(buf_str(&b), "abcde");
	ck_assert_uint_eq(b.len, 5);
	buf_release(&b);
}
END_TEST

START_TEST(buf_append_past_maximum_fails_and_stays_failed)
{
	struct buf b;
	buf_init(&b, 5);
	buf_puts(&b, "abcde");
	buf_putc(&b, 'f');
	ck_assert(b.failed);
	ck_assert_str_eq(buf_str(&b), "abcde");
	buf_reset(&b);
	buf_puts(&b, "xyz");
	ck_assert(!b.failed);
	ck_assert_str_eq(buf_str(&b), "xyz");
	buf_release(&b);
}
END_TEST

START_TEST(buf_append_after_failure_writes_nothing)
{
	struct buf b;
	buf_init(&b, 4);
	buf_puts(&b, "abcde");
	buf_puts(&b, "x");
	ck_assert(b.failed);
	ck_assert_str_eq(buf_str(&b), "");
	buf_release(&b);
}
END_TEST

START_TEST(buf_append_many_bytes_keeps_all)
{
	struct buf b;
	buf_init(&b, 1 << 20);
	for (int i = 0; i < 100000; i++)
		buf_putc(&b, (char)('a' + i % 26));
	ck_assert(!b.failed);
	ck_assert_uint_eq(b.len, 100000);
	for (int i = 0; i < 100000; i++)
		ck_assert_int_eq(b.data[i], 'a' + i % 26);
	ck_assert_int_eq(b.data[100000], '\0');
	buf_release(&b);
}
END_TEST

START_TEST(buf_printf_past_maximum_fails_whole)
{
	struct buf b;
	buf_init(&b, 8);
	buf_printf(&b, "%d-%s", 12, "ab");
	ck_assert_str_eq(buf_str(&b), "12-ab");
	buf_printf(&b, "%s", "");
	ck_assert(!b.failed);
	buf_printf(&b, "%d", 1234);
	ck_assert(b.failed);
	ck_assert_str_eq(buf_str(&b), "12-ab");
	buf_release(&b);
}
END_TEST

START_TEST(buf_put_integers_are_big_endian)
{
	struct buf b;
	buf_init(&b, 64);
	buf_put_u16be(&b, 0x0102);
	buf_put_u32be(&b, 0x03040506);
	buf_put_u64be(&b, UINT64_C(0x0708090A0B0C0D0E));
	ck_assert_uint_eq(b.len, 14);
	for (size_t i = 0; i < 14; i++)
		ck_assert_int_eq(b.data[i], (int)i + 1);
	buf_release(&b);
}
END_TEST

START_TEST(buf_reserve_beyond_every_limit_fails)
{
	struct buf b;
	buf_init(&b, SIZE_MAX);
	ck_assert(!buf_reserve(&b, SIZE_MAX));
	ck_assert(b.failed);
	buf_reset(&b);
	ck_assert(buf_reserve(&b, 1000));
	ck_assert_uint_ge(b.size, 1001);
	ck_assert_str_eq(buf_str(&b), "");
	buf_release(&b);
}
END_TEST

START_TEST(buf_detach_content_belongs_to_caller)
{
	struct buf b;
	buf_init(&b, 10);
	buf_puts(&b, "abc");
	size_t length = 99;
	char *const data = buf_detach(&b, &length);
	ck_assert_str_eq(data, "abc");
	ck_assert_uint_eq(length, 3);
	ck_assert_uint_eq(b.len, 0);
	ck_assert_uint_eq(b.max, 10);
	free(data);
}
END_TEST

START_TEST(buf_detach_empty_or_failed_gives_null)
{
	struct buf b;
	buf_init(&b, 3);
	size_t length = 99;
	ck_assert_ptr_null(buf_detach(&b, &length));
	buf_puts(&b, "abc");
	buf_puts(&b, "d");
	ck_assert_ptr_null(buf_detach(&b, &length));
	ck_assert_uint_eq(length, 99);
	ck_assert(!b.failed);
}
END_TEST

START_TEST(put_i64_of_extremes_writes_all_digits)
{
	struct buf b;
	buf_init(&b, 256);
	const int64_t values[] = {0, 7, -1, 10, INT64_MAX, INT64_MIN};
	for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
		buf_put_i64(&b, values[i]);
		buf_putc(&b, ' ');
	}
	ck_assert_str_eq(buf_str(&b), "0 7 -1 10 9223372036854775807 -9223372036854775808 ");
	buf_release(&b);
}
END_TEST

START_TEST(buf_trim_keeps_the_content_and_gives_back_the_rest)
{
	struct buf b;
	buf_init(&b, 4096);
	buf_trim(&b);
	ck_assert_ptr_null(b.data);
	buf_reserve(&b, 1000);
	buf_puts(&b, "abc");
	buf_trim(&b);
	ck_assert_uint_eq(b.size, 4);
	ck_assert_str_eq(buf_str(&b), "abc");
	buf_puts(&b, "def");
	ck_assert_str_eq(buf_str(&b), "abcdef");
	buf_release(&b);
}
END_TEST

int main(void)
{
	Suite *const suite = suite_create("buf");
	TCase *const tc = tcase_create("buf");
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, buf_append_up_to_maximum_succeeds);
	tcase_add_test(tc, put_i64_of_extremes_writes_all_digits);
	tcase_add_test(tc, buf_append_past_maximum_fails_and_stays_failed);
	tcase_add_test(tc, buf_append_after_failure_writes_nothing);
	tcase_add_test(tc, buf_append_many_bytes_keeps_all);
	tcase_add_test(tc, buf_printf_past_maximum_fails_whole);
	tcase_add_test(tc, buf_put_integers_are_big_endian);
	tcase_add_test(tc, buf_reserve_beyond_every_limit_fails);
	tcase_add_test(tc, buf_detach_content_belongs_to_caller);
	tcase_add_test(tc, buf_detach_empty_or_failed_gives_null);
	tcase_add_test(tc, buf_trim_keeps_the_content_and_gives_back_the_rest);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
