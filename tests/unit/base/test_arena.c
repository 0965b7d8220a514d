/* The arena: alignment, zeroes, its cap and its sticky overflow. */
#include <check.h>
#include <stdint.h>
#include <string.h>
#include "llmlab/base/arena.h"

START_TEST(arena_alloc_any_size_is_aligned_and_zero)
{
	struct arena a;
	arena_init(&a, 1 << 20);
	for (size_t bytes = 0; bytes < 200; bytes++) {
		unsigned char *const memory = arena_alloc(&a, bytes);
		ck_assert_ptr_nonnull(memory);
		ck_assert_uint_eq((uintptr_t)memory % 16, 0);
		for (size_t i = 0; i < bytes; i++)
			ck_assert_uint_eq(memory[i], 0);
		memset(memory, 0xFF, bytes);
	}
	ck_assert(!arena_overflowed(&a));
	arena_release(&a);
}
END_TEST

START_TEST(arena_alloc_beyond_cap_overflows_for_ever)
{
	/* 64 bytes of cap: four allocations of 1 byte take 16 bytes each, the fifth has no room. */
	struct arena a;
	arena_init(&a, 64);
	for (int i = 0; i < 4; i++)
		ck_assert_ptr_nonnull(arena_alloc(&a, 1));
	ck_assert_uint_eq(a.used_bytes, 64);
	ck_assert(!arena_overflowed(&a));
	ck_assert_ptr_null(arena_alloc(&a, 1));
	ck_assert(arena_overflowed(&a));
	ck_assert_ptr_null(arena_alloc(&a, 0));
	arena_release(&a);
	ck_assert(!arena_overflowed(&a));
	ck_assert_ptr_nonnull(arena_alloc(&a, 64));
	arena_release(&a);
}
END_TEST

START_TEST(arena_alloc_larger_than_a_block_keeps_earlier_memory)
{
	struct arena a;
	arena_init(&a, 10 << 20);
	char *const small = arena_strdup(&a, "small");
	char *const large = arena_alloc(&a, 1 << 20);
	memset(large, 'x', 1 << 20);
	char *const after = arena_strdup(&a, "after");
	ck_assert_str_eq(small, "small");
	ck_assert_str_eq(after, "after");
	ck_assert_int_eq(large[(1 << 20) - 1], 'x');
	arena_release(&a);
}
END_TEST

START_TEST(arena_alloc_impossible_size_overflows)
{
	struct arena a;
	arena_init(&a, SIZE_MAX);
	ck_assert_ptr_null(arena_alloc(&a, SIZE_MAX));
	ck_assert(arena_overflowed(&a));
	arena_release(&a);
	ck_assert_ptr_null(arena_alloc(&a, SIZE_MAX - 64));
	arena_release(&a);
}
END_TEST

START_TEST(arena_array_product_too_large_overflows)
{
	struct arena a;
	arena_init(&a, SIZE_MAX);
	ck_assert_ptr_null(arena_array(&a, SIZE_MAX / 2, 3));
	ck_assert(arena_overflowed(&a));
	arena_release(&a);
	ck_assert_ptr_nonnull(arena_array(&a, 7, 3));
	arena_release(&a);
}
END_TEST

START_TEST(arena_strndup_part_of_text_is_terminated)
{
	struct arena a;
	arena_init(&a, 1024);
	ck_assert_str_eq(arena_strndup(&a, "abcdef", 3), "abc");
	ck_assert_str_eq(arena_strndup(&a, NULL, 0), "");
	ck_assert_ptr_null(arena_strdup(&a, NULL));
	ck_assert(!arena_overflowed(&a));
	arena_release(&a);
}
END_TEST

START_TEST(arena_printf_long_text_is_complete)
{
	struct arena a;
	arena_init(&a, 1 << 16);
	const char *const text = arena_printf(&a, "%08000d|%s", 7, "end");
	ck_assert_uint_eq(strlen(text), 8004);
	ck_assert_str_eq(text + 7999, "7|end");
	arena_release(&a);
}
END_TEST

START_TEST(arena_printf_beyond_cap_gives_null)
{
	struct arena a;
	arena_init(&a, 16);
	ck_assert_ptr_null(arena_printf(&a, "%s", "more than sixteen bytes"));
	ck_assert(arena_overflowed(&a));
	arena_release(&a);
}
END_TEST

/* The header of a block is its own business: less than 64 bytes. */
START_TEST(arena_init_small_takes_little_and_counts_what_it_holds)
{
	struct arena a;
	arena_init_small(&a, 65536, 384);
	ck_assert_uint_eq(a.held_bytes, 0);
	ck_assert_ptr_nonnull(arena_alloc(&a, 300));
	ck_assert_uint_ge(a.held_bytes, 384);
	ck_assert_uint_lt(a.held_bytes, 384 + 64);
	/* does not fit into the rest: a second block, twice as large */
	ck_assert_ptr_nonnull(arena_alloc(&a, 300));
	ck_assert_uint_ge(a.held_bytes, 384 + 768);
	arena_release(&a);
	ck_assert_uint_eq(a.held_bytes, 0);
	ck_assert_ptr_nonnull(arena_alloc(&a, 1));
	ck_assert_uint_lt(a.held_bytes, 384 + 64);
	arena_release(&a);
}
END_TEST

int main(void)
{
	Suite *const suite = suite_create("arena");
	TCase *const tc = tcase_create("arena");
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, arena_alloc_any_size_is_aligned_and_zero);
	tcase_add_test(tc, arena_alloc_beyond_cap_overflows_for_ever);
	tcase_add_test(tc, arena_alloc_larger_than_a_block_keeps_earlier_memory);
	tcase_add_test(tc, arena_alloc_impossible_size_overflows);
	tcase_add_test(tc, arena_array_product_too_large_overflows);
	tcase_add_test(tc, arena_strndup_part_of_text_is_terminated);
	tcase_add_test(tc, arena_printf_long_text_is_complete);
	tcase_add_test(tc, arena_printf_beyond_cap_gives_null);
	tcase_add_test(tc, arena_init_small_takes_little_and_counts_what_it_holds);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
