/* The router: raw request targets to routes, decoded arguments and query parameters. */

#include <check.h>
#include <stdlib.h>

#include "../../../src/http/internal.h"

static struct reply nothing(struct http_request *rq)
{
	(void)rq;
	return reply_empty(204);
}

static const struct route routes[] = {
	{"events_list", HTTP_GET, "/api/events", ROUTE_READ, RUN_LOOP, BODY_NONE, nothing},
	{"events_get", HTTP_GET, "/api/events/{id}", ROUTE_READ, RUN_LOOP, BODY_NONE, nothing},
	{"events_track", HTTP_POST, "/api/events/track", ROUTE_INGEST, RUN_LOOP, BODY_JSON, nothing},
	{"budgets_get", HTTP_GET, "/api/budgets/{id}", ROUTE_READ, RUN_LOOP, BODY_NONE, nothing},
	{"budgets_delete", HTTP_DELETE, "/api/budgets/{id}", ROUTE_FULL, RUN_LOOP, BODY_NONE, nothing},
};
static const struct http_hooks hooks = {.routes = routes, .n_routes = sizeof routes / sizeof routes[0]};

struct row {
	const char *uri;
	enum http_method method;
	bool well_formed;
	const char *route; /* NULL: none */
	const char *arg;   /* NULL: none */
	unsigned methods;
};

static const struct row rows[] = {
	{"/api/events", HTTP_GET, true, "events_list", NULL, 1U << HTTP_GET},
	{"/api/events/", HTTP_GET, true, "events_list", NULL, 1U << HTTP_GET},
	{"/api/events?limit=5", HTTP_GET, true, "events_list", NULL, 1U << HTTP_GET},
	{"/api/events//", HTTP_GET, true, NULL, NULL, 0}, /* an empty segment is no id */
	{"//api/events", HTTP_GET, true, NULL, NULL, 0},
	{"/api/events/abc", HTTP_GET, true, "events_get", "abc", 1U << HTTP_GET},
	{"/api/events/a%2Fb", HTTP_GET, true, "events_get", "a/b",
		1U << HTTP_GET}, /* split first, decoded once */
	{"/api/events/a%252Fb", HTTP_GET, true, "events_get", "a%2Fb", 1U << HTTP_GET},
	{"/api/events/a+b", HTTP_GET, true, "events_get", "a+b",
		1U << HTTP_GET}, /* plus is itself in a path */
	{"/api/events/track", HTTP_POST, true, "events_track", NULL, 1U << HTTP_POST},
	{"/api/events/track", HTTP_GET, true, NULL, NULL,
		1U << HTTP_POST}, /* the fixed path wins over {id} */
	{"/api/%65vents", HTTP_GET, true, "events_list", NULL, 1U << HTTP_GET},
	{"/api/budgets/7", HTTP_DELETE, true, "budgets_delete", "7", 1U << HTTP_GET | 1U << HTTP_DELETE},
	{"/api/budgets/7", HTTP_POST, true, NULL, NULL, 1U << HTTP_GET | 1U << HTTP_DELETE},
	{"/API/events", HTTP_GET, true, NULL, NULL, 0},
	{"/api/events/../events", HTTP_GET, true, NULL, NULL, 0},
	{"/api/events/%00", HTTP_GET, false, NULL, NULL, 0},
	{"/api/events/%0a", HTTP_GET, false, NULL, NULL, 0},
	{"/api/events/%c3%28", HTTP_GET, false, NULL, NULL, 0}, /* not UTF-8 */
	{"/api/events/%4", HTTP_GET, false, NULL, NULL, 0},
	{"/api/events/%", HTTP_GET, false, NULL, NULL, 0},
	{"/api/events/%zz", HTTP_GET, false, NULL, NULL, 0},
	{"http://host/api/events", HTTP_GET, false, NULL, NULL, 0},
	{"*", HTTP_GET, false, NULL, NULL, 0},
	{"", HTTP_GET, false, NULL, NULL, 0},
	{"/api/events#x", HTTP_GET, false, NULL, NULL, 0},
	{"/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r", HTTP_GET, true, NULL, NULL, 0},
};

START_TEST(router_match_table_gives_route_and_argument)
{
	const struct row *row = &rows[_i];
	struct arena arena;
	arena_init(&arena, 65536);
	struct route_match match;
	ck_assert_int_eq(router_match(&hooks, row->uri, row->method, &arena, &match), row->well_formed);
	if (row->well_formed) {
		ck_assert_uint_eq(match.methods, row->methods);
		ck_assert_pstr_eq(match.route != NULL ? match.route->id : NULL, row->route);
		ck_assert_pstr_eq(match.args[0], row->route != NULL ? row->arg : match.args[0]);
	}
	arena_release(&arena);
}
END_TEST

START_TEST(router_allow_lists_head_with_get)
{
	char out[96];
	router_allow(1U << HTTP_GET | 1U << HTTP_DELETE, out, sizeof out);
	ck_assert_str_eq(out, "GET, HEAD, DELETE, OPTIONS");
}
END_TEST

static bool parse(struct http_request *rq, struct problem *p, const char *uri)
{
	arena_init(&rq->arena, 65536);
	problem_init(p, &rq->arena);
	return router_query(rq, uri, p);
}

START_TEST(router_query_pairs_are_decoded)
{
	struct http_request rq = {0};
	struct problem p;
	ck_assert(parse(&rq, &p, "/x?a=1&tag.team=a+b%26c&empty=&flag&&from=2026-01-01T00:00:00%2B02:00"));
	ck_assert_str_eq(http_query_get(&rq, "a"), "1");
	ck_assert_str_eq(http_query_get(&rq, "tag.team"), "a b&c");
	ck_assert_str_eq(http_query_get(&rq, "empty"), "");
	ck_assert_str_eq(http_query_get(&rq, "flag"), "");
	ck_assert_str_eq(http_query_get(&rq, "from"), "2026-01-01T00:00:00+02:00");
	ck_assert_ptr_null(http_query_get(&rq, "b"));
	arena_release(&rq.arena);
}
END_TEST

static const char *const bad_queries[] = {
	"/x?a=1&a=2", "/x?a=%", "/x?a=%0", "/x?a=%00", "/x?=1", "/x?a=%ff", "/x?a=1#b"};

START_TEST(router_query_malformed_is_refused)
{
	struct http_request rq = {0};
	struct problem p;
	ck_assert(!parse(&rq, &p, bad_queries[_i]));
	ck_assert_int_ne(p.code, ERR_OK);
	arena_release(&rq.arena);
}
END_TEST

START_TEST(router_query_more_than_the_limit_is_refused)
{
	struct http_request rq = {0};
	struct problem p;
	struct buf uri;
	buf_init(&uri, 4096);
	buf_puts(&uri, "/x?");
	for (int i = 0; i <= HTTP_QUERY_MAX; i++)
		buf_printf(&uri, "k%d=1&", i);
	ck_assert(!parse(&rq, &p, buf_str(&uri)));
	ck_assert_int_eq(p.code, ERR_BAD_REQUEST);
	buf_release(&uri);
	arena_release(&rq.arena);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("http router");
	TCase *t = tcase_create("router");
	tcase_add_loop_test(
		t, router_match_table_gives_route_and_argument, 0, (int)(sizeof rows / sizeof rows[0]));
	tcase_add_test(t, router_allow_lists_head_with_get);
	tcase_add_test(t, router_query_pairs_are_decoded);
	tcase_add_loop_test(
		t, router_query_malformed_is_refused, 0, (int)(sizeof bad_queries / sizeof bad_queries[0]));
	tcase_add_test(t, router_query_more_than_the_limit_is_refused);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
