/* The bounded queue: admission, order and fairness. No database. */

#include <check.h>
#include <stdlib.h>
#include "../../../src/ingest/queue.h"
#include "../../../src/ingest/item.h"

static struct queue queue;

static struct uuid user(uint8_t n)
{
	struct uuid u = {0};
	u.bytes[15] = n;
	return u;
}

/* A group of n items of the user, marked by their latency: first, first + 1 ... */
static struct ingest_group *make_group(uint8_t who, size_t n, int64_t first)
{
	struct ingest_group *g = calloc(1, sizeof(*g));
	ck_assert_ptr_nonnull(g);
	g->items = calloc(n, sizeof(struct ingest_item *));
	ck_assert_ptr_nonnull(g->items);
	g->n_items = n;
	for (size_t i = 0; i < n; i++) {
		g->items[i] = ingest_item_new();
		g->items[i]->event.user_id = user(who);
		g->items[i]->event.latency_ms = first + (int64_t)i;
	}
	return g;
}

static void free_group(struct ingest_group *g)
{
	for (size_t i = 0; i < g->n_items; i++)
		ingest_item_free(g->items[i]);
	free(g->items);
	free(g);
}

static size_t count_of(struct ingest_item *const *items, size_t n, uint8_t who)
{
	const struct uuid u = user(who);
	size_t found = 0;
	for (size_t i = 0; i < n; i++)
		found += uuid_equal(&items[i]->event.user_id, &u);
	return found;
}

/* Empties the queue, so that its users are freed. */
static void drain(void)
{
	struct ingest_item *out[64];
	while (queue_take(&queue, out, 64) > 0)
		;
	ck_assert_uint_eq(queue.items, 0);
	ck_assert_uint_eq(queue.bytes, 0);
	ck_assert_uint_eq(queue.users, 0);
	ck_assert_ptr_null(queue.next);
}

START_TEST(take_from_one_user_keeps_the_order)
{
	queue_init(&queue, 100, 1 << 20);
	struct ingest_group *a = make_group(1, 3, 0), *b = make_group(1, 3, 3);
	ck_assert_int_eq(queue_push(&queue, a), ERR_OK);
	ck_assert_int_eq(queue_push(&queue, b), ERR_OK);
	struct ingest_item *out[6];
	ck_assert_uint_eq(queue_take(&queue, out, 4), 4);
	ck_assert_uint_eq(queue_take(&queue, out + 4, 4), 2);
	for (size_t i = 0; i < 6; i++)
		ck_assert_int_eq(out[i]->event.latency_ms, (int64_t)i);
	ck_assert_uint_eq(a->pending, 3);
	ck_assert_uint_eq(a->items[2]->index, 2);
	drain();
	free_group(a);
	free_group(b);
}
END_TEST

START_TEST(take_from_many_users_gives_each_the_same)
{
	queue_init(&queue, 1000, 16 << 20);
	struct ingest_group *flood = make_group(1, 300, 0), *two = make_group(2, 50, 0),
			    *few = make_group(3, 5, 0);
	ck_assert_int_eq(queue_push(&queue, flood), ERR_OK);
	ck_assert_int_eq(queue_push(&queue, two), ERR_OK);
	ck_assert_int_eq(queue_push(&queue, few), ERR_OK);
	struct ingest_item *out[60];
	ck_assert_uint_eq(queue_take(&queue, out, 60), 60);
	/* 20 each; the third has 5, so the 15 left are shared: 7 and 7, then the last goes to the first in
	 * turn. */
	ck_assert_uint_eq(count_of(out, 60, 3), 5);
	ck_assert_uint_eq(count_of(out, 60, 1) + count_of(out, 60, 2), 55);
	ck_assert_uint_ge(count_of(out, 60, 2), 27);
	drain();
	free_group(flood);
	free_group(two);
	free_group(few);
}
END_TEST

START_TEST(take_fewer_than_users_serves_the_others_next)
{
	queue_init(&queue, 1000, 16 << 20);
	struct ingest_group *groups[4];
	for (uint8_t i = 0; i < 4; i++) {
		groups[i] = make_group((uint8_t)(i + 1), 2, 0);
		ck_assert_int_eq(queue_push(&queue, groups[i]), ERR_OK);
	}
	struct ingest_item *out[4];
	ck_assert_uint_eq(queue_take(&queue, out, 2), 2);
	ck_assert_uint_eq(queue_take(&queue, out + 2, 2), 2);
	for (uint8_t i = 0; i < 4; i++)
		ck_assert_uint_eq(count_of(out, 4, (uint8_t)(i + 1)), 1);
	drain();
	for (size_t i = 0; i < 4; i++)
		free_group(groups[i]);
}
END_TEST

START_TEST(push_beyond_the_items_is_overloaded_and_queues_nothing)
{
	queue_init(&queue, 9, 1 << 20);
	struct ingest_group *a = make_group(1, 4, 0), *b = make_group(2, 6, 0), *c = make_group(2, 5, 0);
	ck_assert_int_eq(queue_push(&queue, a), ERR_OK);
	ck_assert_int_eq(queue_push(&queue, b), ERR_OVERLOADED);
	ck_assert_uint_eq(queue.items, 4);
	ck_assert_int_eq(queue_push(&queue, c), ERR_OK);
	drain();
	free_group(a);
	free_group(b);
	free_group(c);
}
END_TEST

START_TEST(push_beyond_the_bytes_is_overloaded)
{
	struct ingest_group *a = make_group(1, 2, 0), *b = make_group(2, 1, 0);
	queue_init(&queue, 100, 2 * item_bytes(a->items[0]) + 1);
	ck_assert_int_eq(queue_push(&queue, a), ERR_OK);
	ck_assert_int_eq(queue_push(&queue, b), ERR_OVERLOADED);
	drain();
	ck_assert_int_eq(queue_push(&queue, b), ERR_OK);
	drain();
	free_group(a);
	free_group(b);
}
END_TEST

START_TEST(push_beyond_the_share_leaves_room_for_others)
{
	queue_init(&queue, 30, 1 << 20);
	struct ingest_group *a[21], *b[21];
	size_t n_a = 0, n_b = 0;
	/* Alone: up to 20 of 30, as 20 <= 2 x (30 - 19) - 1 but 21 > 2 x 10. */
	for (size_t i = 0; i < 21; i++) {
		a[i] = make_group(1, 1, 0);
		n_a += queue_push(&queue, a[i]) == ERR_OK;
	}
	ck_assert_uint_eq(n_a, 20);
	/* Of the 10 left the next gets k while k + 1 <= 2 x (10 - k): the 7th is granted at k = 6 (7 <= 8),
	 * not the 8th at k = 7 (8 > 6). */
	for (size_t i = 0; i < 21; i++) {
		b[i] = make_group(2, 1, 0);
		n_b += queue_push(&queue, b[i]) == ERR_OK;
	}
	ck_assert_uint_eq(n_b, 7);
	struct ingest_group *newcomer = make_group(3, 1, 0);
	ck_assert_int_eq(queue_push(&queue, newcomer), ERR_OK);
	drain();
	for (size_t i = 0; i < 21; i++) {
		free_group(a[i]);
		free_group(b[i]);
	}
	free_group(newcomer);
}
END_TEST

START_TEST(take_expired_takes_only_what_is_due)
{
	queue_init(&queue, 100, 1 << 20);
	struct ingest_group *groups[3];
	const int64_t deadlines[] = {10, 20, 10};
	for (size_t i = 0; i < 3; i++) {
		groups[i] = make_group(i == 2 ? 2 : 1, 2, (int64_t)i * 2);
		groups[i]->deadline_us = deadlines[i];
		ck_assert_int_eq(queue_push(&queue, groups[i]), ERR_OK);
	}
	struct ingest_item *out[8];
	ck_assert_uint_eq(queue_take_expired(&queue, 9, out, 8), 0);
	ck_assert_uint_eq(queue_take_expired(&queue, 10, out, 8), 4);
	ck_assert_uint_eq(queue.items, 2);
	ck_assert_uint_eq(queue.users, 1);
	/* What is left is in order, and can be added to. */
	struct ingest_group *more = make_group(1, 1, 9);
	ck_assert_int_eq(queue_push(&queue, more), ERR_OK);
	ck_assert_uint_eq(queue_take(&queue, out, 8), 3);
	ck_assert_int_eq(out[0]->event.latency_ms, 2);
	ck_assert_int_eq(out[1]->event.latency_ms, 3);
	ck_assert_int_eq(out[2]->event.latency_ms, 9);
	drain();
	for (size_t i = 0; i < 3; i++)
		free_group(groups[i]);
	free_group(more);
}
END_TEST

START_TEST(take_expired_from_the_end_keeps_the_list_whole)
{
	queue_init(&queue, 100, 1 << 20);
	struct ingest_group *stays = make_group(1, 1, 0), *goes = make_group(1, 1, 1),
			    *later = make_group(1, 1, 2);
	stays->deadline_us = later->deadline_us = 20;
	goes->deadline_us = 10;
	ck_assert_int_eq(queue_push(&queue, stays), ERR_OK);
	ck_assert_int_eq(queue_push(&queue, goes), ERR_OK);
	struct ingest_item *out[8];
	ck_assert_uint_eq(queue_take_expired(&queue, 15, out, 8), 1);
	ck_assert_int_eq(queue_push(&queue, later), ERR_OK);
	ck_assert_uint_eq(queue_take(&queue, out, 8), 2);
	ck_assert_int_eq(out[1]->event.latency_ms, 2);
	drain();
	free_group(stays);
	free_group(goes);
	free_group(later);
}
END_TEST

START_TEST(take_expired_of_more_than_has_room_goes_on_with_the_rest)
{
	queue_init(&queue, 100, 1 << 20);
	struct ingest_group *const first = make_group(1, 3, 0), *const second = make_group(2, 2, 3);
	first->deadline_us = second->deadline_us = 10;
	ck_assert_int_eq(queue_push(&queue, first), ERR_OK);
	ck_assert_int_eq(queue_push(&queue, second), ERR_OK);
	struct ingest_item *out[2];
	ck_assert_uint_eq(queue_take_expired(&queue, 10, out, 2), 2);
	ck_assert_uint_eq(queue_take_expired(&queue, 10, out, 2), 2);
	ck_assert_uint_eq(queue_take_expired(&queue, 10, out, 2), 1);
	ck_assert_uint_eq(queue_take_expired(&queue, 10, out, 2), 0);
	drain();
	free_group(first);
	free_group(second);
}
END_TEST

START_TEST(push_of_users_of_one_bucket_tells_them_apart)
{
	queue_init(&queue, 100, 1 << 20);
	struct ingest_group *groups[3];
	for (uint8_t i = 0; i < 3; i++) { /* ids that end alike */
		groups[i] = make_group(7, 2, i * 2);
		groups[i]->items[0]->event.user_id.bytes[0] = groups[i]->items[1]->event.user_id.bytes[0] = i;
		groups[i]->deadline_us = i == 0 ? 10 : 20;
		ck_assert_int_eq(queue_push(&queue, groups[i]), ERR_OK);
	}
	ck_assert_uint_eq(queue.users, 3);
	struct ingest_item *out[6];
	ck_assert_uint_eq(queue_take_expired(&queue, 10, out, 6), 2); /* the first, last in its bucket */
	ck_assert_int_eq(out[0]->event.latency_ms + out[1]->event.latency_ms, 0 + 1);
	ck_assert_uint_eq(queue.users, 2);
	ck_assert_uint_eq(queue_take(&queue, out, 2), 2); /* one of each of the others */
	ck_assert_uint_ne(out[0]->event.user_id.bytes[0], out[1]->event.user_id.bytes[0]);
	drain();
	for (size_t i = 0; i < 3; i++)
		free_group(groups[i]);
}
END_TEST

START_TEST(queue_reserve_keeps_room_until_it_is_ended)
{
	queue_init(&queue, 30, 1 << 20);
	const struct uuid first = user(1), second = user(2);
	struct ingest_reservation a, b, c;
	/* alone, a user may hold two thirds: 20 */
	ck_assert_int_eq(queue_reserve(&queue, &first, 21, 0, &a), ERR_OK);
	ck_assert_int_eq(queue_reserve(&queue, &first, 1, 0, &b), ERR_OVERLOADED);
	struct ingest_group *g = make_group(1, 1, 0);
	ck_assert_int_eq(queue_push(&queue, g), ERR_OVERLOADED);
	ck_assert_int_eq(queue_reserve(&queue, &second, 9, 0, &b), ERR_OK);
	ck_assert_int_eq(queue_reserve(&queue, &second, 1, 0, &c), ERR_OVERLOADED);
	queue_unreserve(&queue, &a);
	ck_assert_int_eq(queue_push(&queue, g), ERR_OK);
	queue_unreserve(&queue, &b);
	ck_assert_uint_eq(queue.reserved_items, 0);
	ck_assert_ptr_null(queue.reservations);
	drain();
	free_group(g);
}
END_TEST

START_TEST(queue_reserve_keeps_bytes_too)
{
	queue_init(&queue, 1000, 3000);
	const struct uuid first = user(1), second = user(2);
	struct ingest_reservation a, b;
	ck_assert_int_eq(queue_reserve(&queue, &first, 1, 3001, &a), ERR_OVERLOADED);
	ck_assert_int_eq(queue_reserve(&queue, &first, 1, 2000, &a), ERR_OK);
	ck_assert_int_eq(queue_reserve(&queue, &second, 1, 1001, &b), ERR_OVERLOADED);
	ck_assert_int_eq(queue_reserve(&queue, &second, 1, 1000, &b), ERR_OK);
	queue_unreserve(&queue, &a);
	queue_unreserve(&queue, &b);
	ck_assert_uint_eq(queue.reserved_bytes, 0);
}
END_TEST

/* Pushes groups of one item of the user until one is refused; how many were taken. */
static size_t push_until_refused(uint8_t who, struct ingest_group **groups, size_t max)
{
	size_t n = 0;
	for (; n < max; n++) {
		groups[n] = make_group(who, 1, 0);
		if (queue_push(&queue, groups[n]) != ERR_OK)
			break;
	}
	ck_assert_uint_lt(n, max);
	free_group(groups[n]);
	return n;
}

/* 9 items make a commit. Two takings 200 ms apart that leave something: the queue stands, and one user holds
 * at most two thirds of 9, as 1 + 5 <= 2 * (9 - 5) and not 1 + 6 <= 2 * (9 - 6). */
START_TEST(taken_with_something_left_for_long_holds_the_queue_short)
{
	struct ingest_group *const flood = make_group(1, 40, 0), *more[64];
	struct ingest_item *out[64];
	queue_init(&queue, 100, 1 << 20);
	queue.standing_items = 9;
	ck_assert_int_eq(queue_push(&queue, flood), ERR_OK);
	queue_taken(&queue, queue_take(&queue, out, 9), 1000000);
	queue_taken(&queue, queue_take(&queue, out, 9), 1199999);
	ck_assert(!queue.standing);
	queue_taken(&queue, queue_take(&queue, out, 9), 1200000);
	ck_assert(queue.standing);
	/* 13 are still there: more than a commit, so their owner gets nothing, and somebody else what he asks
	 * for */
	struct ingest_group *const own = make_group(1, 1, 0), *const other = make_group(2, 30, 0);
	ck_assert_int_eq(queue_push(&queue, own), ERR_OVERLOADED);
	ck_assert_int_eq(queue_push(&queue, other), ERR_OK);
	drain();
	queue_taken(&queue, 9, 1300000);
	ck_assert(queue.standing);
	const size_t n = push_until_refused(1, more, 64);
	ck_assert_uint_eq(n, 6);
	drain();
	for (size_t i = 0; i < n; i++)
		free_group(more[i]);
	free_group(own);
	free_group(other);
	free_group(flood);
}
END_TEST

/* A taking of half a commit says that what comes is stored again: the whole queue is there. */
START_TEST(taken_little_from_a_standing_queue_ends_it)
{
	struct ingest_group *more[128];
	queue_init(&queue, 90, 1 << 20);
	queue.standing_items = 8;
	queue.standing = true;
	queue.left_over_us = 1000000;
	queue_taken(&queue, 5, 1500000);
	ck_assert(queue.standing);
	queue_taken(&queue, 4, 1600000);
	ck_assert(!queue.standing);
	/* alone in a queue of 90: two thirds of it */
	const size_t n = push_until_refused(1, more, 128);
	ck_assert_uint_eq(n, 60);
	/* and it takes another fifth of a second of leaving something until it stands again */
	queue_taken(&queue, 8, 1700000);
	queue_taken(&queue, 8, 1899999);
	ck_assert(!queue.standing);
	queue_taken(&queue, 8, 1900000);
	ck_assert(queue.standing);
	drain();
	for (size_t i = 0; i < n; i++)
		free_group(more[i]);
}
END_TEST

/* After a stall a long queue is emptied within a fifth of a second: nobody is refused for that. */
START_TEST(taken_to_the_end_in_between_does_not_make_it_stand)
{
	struct ingest_item *out[64];
	queue_init(&queue, 100, 1 << 20);
	queue.standing_items = 9;
	struct ingest_group *const first = make_group(1, 20, 0), *const second = make_group(1, 20, 0);
	ck_assert_int_eq(queue_push(&queue, first), ERR_OK);
	queue_taken(&queue, queue_take(&queue, out, 9), 1000000);
	queue_taken(&queue, queue_take(&queue, out, 11), 1100000);
	ck_assert_int_eq(queue_push(&queue, second), ERR_OK);
	queue_taken(&queue, queue_take(&queue, out, 9), 1300000);
	ck_assert(!queue.standing);
	drain();
	free_group(first);
	free_group(second);
}
END_TEST

/* What had room before it was made is not thrown away when it is ready. */
START_TEST(push_of_what_was_reserved_is_taken_while_the_queue_stands)
{
	struct ingest_reservation room;
	queue_init(&queue, 100, 1 << 20);
	queue.standing_items = 9;
	queue.standing = true;
	const struct uuid who = user(1);
	struct ingest_group *const large = make_group(1, 30, 0), *const small = make_group(1, 1, 0);
	ck_assert_int_eq(queue_reserve(&queue, &who, 30, 1000, &room), ERR_OK);
	struct ingest_reservation second;
	ck_assert_int_eq(queue_reserve(&queue, &who, 1, 10, &second), ERR_OVERLOADED);
	queue_unreserve(&queue, &room);
	ck_assert_int_eq(queue_push(&queue, small), ERR_OK);
	ck_assert_int_eq(queue_push(&queue, large), ERR_OVERLOADED);
	large->reservation = &room;
	ck_assert_int_eq(queue_push(&queue, large), ERR_OK);
	drain();
	free_group(large);
	free_group(small);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ingest queue");
	TCase *t = tcase_create("queue");
	tcase_add_test(t, take_from_one_user_keeps_the_order);
	tcase_add_test(t, take_from_many_users_gives_each_the_same);
	tcase_add_test(t, take_fewer_than_users_serves_the_others_next);
	tcase_add_test(t, push_beyond_the_items_is_overloaded_and_queues_nothing);
	tcase_add_test(t, push_beyond_the_bytes_is_overloaded);
	tcase_add_test(t, push_beyond_the_share_leaves_room_for_others);
	tcase_add_test(t, take_expired_takes_only_what_is_due);
	tcase_add_test(t, take_expired_from_the_end_keeps_the_list_whole);
	tcase_add_test(t, take_expired_of_more_than_has_room_goes_on_with_the_rest);
	tcase_add_test(t, push_of_users_of_one_bucket_tells_them_apart);
	tcase_add_test(t, queue_reserve_keeps_room_until_it_is_ended);
	tcase_add_test(t, queue_reserve_keeps_bytes_too);
	tcase_add_test(t, taken_with_something_left_for_long_holds_the_queue_short);
	tcase_add_test(t, taken_little_from_a_standing_queue_ends_it);
	tcase_add_test(t, taken_to_the_end_in_between_does_not_make_it_stand);
	tcase_add_test(t, push_of_what_was_reserved_is_taken_while_the_queue_stands);
	suite_add_tcase(suite, t);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
