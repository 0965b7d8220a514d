/* What follows from an answer, how long to wait, and the bodies. */
#include "llmlab/core/webhook.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/base/calendar.h"

#define SECOND INT64_C(1000000)
#define HOUR   (3600 * SECOND)

START_TEST(webhook_judge_every_status)
{
	for (int64_t status = -1; status < 1000; status++) {
		enum webhook_verdict expected = WEBHOOK_REFUSED;
		if (status / 100 == 2)
			expected = WEBHOOK_DELIVERED;
		else if (status == 408 || status == 425 || status == 429 || status / 100 == 5)
			expected = WEBHOOK_RETRY;
		else if (status == 410)
			expected = WEBHOOK_GONE;
		ck_assert_msg(webhook_judge(status) == expected, "%d", (int)status);
	}
}
END_TEST

START_TEST(webhook_names_are_those_of_the_api)
{
	static const char *const EVENTS[] = {"budget.threshold", "anomaly.detected", "model.unpriced"};
	ck_assert_int_eq(WEBHOOK_EVENTS, 3);
	for (int i = 0; i < 3; i++)
		ck_assert_str_eq(webhook_event_name((enum webhook_event)i), EVENTS[i]);
	static const char *const FORMATS[] = {"json", "slack", "discord"};
	ck_assert_int_eq(WEBHOOK_FORMATS, 3);
	for (int i = 0; i < WEBHOOK_FORMATS; i++) {
		enum webhook_format f = WEBHOOK_FORMATS;
		ck_assert_int_eq(webhook_format_parse(FORMATS[i], &f), ERR_OK);
		ck_assert_int_eq((int)f, i);
	}
	enum webhook_format f = WEBHOOK_SLACK;
	ck_assert_int_eq(webhook_format_parse("xml", &f), ERR_NOT_FOUND);
	ck_assert_int_eq(f, WEBHOOK_SLACK);
}
END_TEST

/* 10, 20, 40 ... 2,560 s, then an hour; times 0.75 with no random bits, nearly 1.25 with all. */
START_TEST(webhook_pause_us_doubles_up_to_an_hour_with_jitter)
{
	static const int64_t SECONDS[] = {10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600};
	for (int i = 0; i < 12; i++) {
		const int64_t low = webhook_pause_us(i + 1, 10 * SECOND, 0, 0);
		const int64_t middle = webhook_pause_us(i + 1, 10 * SECOND, UINT32_C(1) << 31, 0);
		const int64_t high = webhook_pause_us(i + 1, 10 * SECOND, UINT32_MAX, 0);
		ck_assert_int_eq(low, SECONDS[i] * SECOND * 3 / 4);
		ck_assert_int_eq(middle, SECONDS[i] * SECOND);
		ck_assert(high > SECONDS[i] * SECOND * 5 / 4 - 2 && high < SECONDS[i] * SECOND * 5 / 4);
	}
	ck_assert_int_eq(webhook_pause_us(INT64_MAX, 10 * SECOND, 0, 0), HOUR * 3 / 4);
	ck_assert_int_eq(webhook_pause_us(5, 0, UINT32_MAX, 0), 0);
	ck_assert_int_eq(webhook_pause_us(1, INT64_MAX, 0, 0), HOUR * 3 / 4);
}
END_TEST

START_TEST(webhook_pause_us_retry_after_lengthens_it_within_an_hour)
{
	ck_assert_int_eq(webhook_pause_us(1, 10 * SECOND, 0, 60 * SECOND), 60 * SECOND);
	ck_assert_int_eq(webhook_pause_us(1, 10 * SECOND, 0, 5 * SECOND), 10 * SECOND * 3 / 4);
	ck_assert_int_eq(webhook_pause_us(1, 10 * SECOND, 0, INT64_MAX), HOUR);
}
END_TEST

/* ---- bodies ---- */

static struct buf out;

static void setup(void)
{
	buf_init(&out, WEBHOOK_BODY_MAX);
}

static void teardown(void)
{
	buf_release(&out);
}

static const char *body(enum webhook_format f, const char *type, const char *data)
{
	struct webhook_message m = {.type = type, .data_json = data};
	ck_assert_int_eq(uuid_parse("01890a5d-ac96-774b-bcce-b302099a8057", &m.id), ERR_OK);
	ck_assert_int_eq(instant_parse("2026-08-23T10:00:00.5Z", 22, &m.created_at_us), ERR_OK);
	buf_reset(&out);
	ck_assert_int_eq(webhook_body(f, &m, &out), ERR_OK);
	return buf_str(&out);
}

START_TEST(webhook_body_json_holds_the_data_digit_by_digit)
{
	ck_assert_str_eq(body(WEBHOOK_JSON, "budget.threshold", "{\"spent\":0.300000000000000001}"),
		"{\"id\":\"01890a5d-ac96-774b-bcce-b302099a8057\",\"type\":\"budget.threshold\","
		"\"created_at\":\"2026-08-23T10:00:00.500Z\",\"data\":{\"spent\":0.300000000000000001}}");
}
END_TEST

START_TEST(webhook_body_slack_escapes_its_control_characters)
{
	ck_assert_str_eq(body(WEBHOOK_SLACK, "anomaly.detected", "{\"message\":\"<!channel> & \\\"you\\\"\"}"),
		"{\"text\":\"LLMLab: Unusual spend\\n&lt;!channel&gt; &amp; \\\"you\\\"\",\"mrkdwn\":false}");
}
END_TEST

START_TEST(webhook_body_discord_allows_no_mentions)
{
	ck_assert_str_eq(body(WEBHOOK_DISCORD, "model.unpriced", "{\"message\":\"@everyone <x>\"}"),
		"{\"content\":\"LLMLab: Calls without a price\\n@everyone <x>\","
		"\"allowed_mentions\":{\"parse\":[]}}");
}
END_TEST

START_TEST(webhook_body_without_message_shows_texts_and_numbers)
{
	ck_assert_str_eq(body(WEBHOOK_DISCORD, "webhook.test",
				 "{\"budget\":\"b\",\"list\":[1],\"spent\":0.10000000000000000001,\"n\":7}"),
		"{\"content\":\"LLMLab: Test of this webhook\\nbudget: b\\nspent: 0.10000000000000000001\\nn: 7\","
		"\"allowed_mentions\":{\"parse\":[]}}");
}
END_TEST

/* Appends n times the text. */
static void repeat(struct buf *b, const char *text, int n)
{
	for (int i = 0; i < n; i++)
		buf_puts(b, text);
}

/* "LLMLab: x\n" is 10 units; 1,990 more are 2,000. One more, and 1,987 with "..." are left. */
START_TEST(webhook_body_discord_is_cut_at_2000)
{
	struct buf data, expected;
	for (int over = 0; over < 2; over++) {
		buf_init(&data, 65536);
		buf_init(&expected, 65536);
		buf_puts(&data, "{\"message\":\"");
		repeat(&data, "y", 1990 + over);
		buf_puts(&data, "\"}");
		buf_puts(&expected, "{\"content\":\"LLMLab: x\\n");
		repeat(&expected, "y", over == 0 ? 1990 : 1987);
		buf_puts(&expected, over == 0 ? "" : "...");
		buf_puts(&expected, "\",\"allowed_mentions\":{\"parse\":[]}}");
		ck_assert_str_eq(body(WEBHOOK_DISCORD, "x", buf_str(&data)), buf_str(&expected));
		buf_release(&data);
		buf_release(&expected);
	}
}
END_TEST

/* A character of two UTF-16 units, or an escape of five characters, is there as a whole or not at all:
 * 10 + 993 x 2 = 1,996 is the most that leaves room for "..."; 10 + 597 x 5 = 2,995 likewise. */
START_TEST(webhook_body_is_cut_between_characters)
{
	struct buf data, expected;
	buf_init(&data, 65536);
	buf_init(&expected, 65536);
	buf_puts(&data, "{\"message\":\"");
	repeat(&data, "😀", 1000);
	buf_puts(&data, "\"}");
	buf_puts(&expected, "{\"content\":\"LLMLab: x\\n");
	repeat(&expected, "😀", 993);
	buf_puts(&expected, "...\",\"allowed_mentions\":{\"parse\":[]}}");
	ck_assert_str_eq(body(WEBHOOK_DISCORD, "x", buf_str(&data)), buf_str(&expected));
	buf_reset(&data);
	buf_reset(&expected);
	buf_puts(&data, "{\"message\":\"");
	repeat(&data, "&", 1000);
	buf_puts(&data, "\"}");
	buf_puts(&expected, "{\"text\":\"LLMLab: x\\n");
	repeat(&expected, "&amp;", 597);
	buf_puts(&expected, "...\",\"mrkdwn\":false}");
	ck_assert_str_eq(body(WEBHOOK_SLACK, "x", buf_str(&data)), buf_str(&expected));
	buf_release(&data);
	buf_release(&expected);
}
END_TEST

START_TEST(webhook_body_damaged_data_is_told)
{
	const struct webhook_message m = {.type = "x", .data_json = "{\"a\":"};
	ck_assert_int_eq(webhook_body(WEBHOOK_SLACK, &m, &out), ERR_SYNTAX);
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("webhook");
	TCase *const t = tcase_create("webhook");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, webhook_judge_every_status);
	tcase_add_test(t, webhook_names_are_those_of_the_api);
	tcase_add_test(t, webhook_pause_us_doubles_up_to_an_hour_with_jitter);
	tcase_add_test(t, webhook_pause_us_retry_after_lengthens_it_within_an_hour);
	tcase_add_test(t, webhook_body_json_holds_the_data_digit_by_digit);
	tcase_add_test(t, webhook_body_slack_escapes_its_control_characters);
	tcase_add_test(t, webhook_body_discord_allows_no_mentions);
	tcase_add_test(t, webhook_body_without_message_shows_texts_and_numbers);
	tcase_add_test(t, webhook_body_discord_is_cut_at_2000);
	tcase_add_test(t, webhook_body_is_cut_between_characters);
	tcase_add_test(t, webhook_body_damaged_data_is_told);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
