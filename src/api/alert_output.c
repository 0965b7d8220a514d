/* Alerts as JSON. */
#include "llmlab/api/alert_output.h"
#include <stdio.h>
#include "llmlab/core/budget.h"

#define MESSAGE_MAX_BYTES 4096

static void write_message(struct json_writer *w, const struct alert *a)
{
	struct buf text;
	buf_init(&text, MESSAGE_MAX_BYTES);
	char spend[DECIMAL_TEXT_MAX], limit[DECIMAL_TEXT_MAX], day[DATE_TEXT_SIZE];
	switch (a->kind) {
	case ALERT_BUDGET_THRESHOLD:
		decimal_format(a->spend.atto, MONEY_SCALE, spend);
		decimal_format(a->limit.atto, MONEY_SCALE, limit);
		calendar_format_date(a->period_day, day);
		buf_printf(&text,
			"%s%s%s has reached %d %% of its limit: %s of %s USD in the period that began %s",
			a->budget_name == NULL ? "A budget" : "Budget \"",
			a->budget_name == NULL ? "" : a->budget_name, a->budget_name == NULL ? "" : "\"",
			a->threshold, spend, limit, day);
		break;
	case ALERT_MODEL_UNPRICED:
		buf_printf(&text,
			"There is no price for model %s of %s: its calls are recorded without a cost",
			a->model, a->provider);
		break;
	}
	if (text.failed)
		w->out->failed = true;
	jw_string(w, "message", buf_str(&text));
	buf_release(&text);
}

static void write_budget(struct json_writer *w, const struct alert *a)
{
	if (a->kind != ALERT_BUDGET_THRESHOLD) {
		static const char *const NAMES[] = {"budget_id", "budget_name", "period_start", "period_end",
			"threshold", "spend", "limit", "percentage_used"};
		for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
			jw_null(w, NAMES[i]);
		return;
	}
	jw_uuid(w, "budget_id", &a->budget_id);
	jw_string(w, "budget_name", a->budget_name);
	jw_instant(w, "period_start", a->period_start_us);
	jw_instant(w, "period_end", a->period_end_us);
	jw_i64(w, "threshold", a->threshold);
	jw_decimal(w, "spend", a->spend.atto, MONEY_SCALE);
	jw_decimal(w, "limit", a->limit.atto, MONEY_SCALE);
	jw_decimal(w, "percentage_used", budget_percentage(a->spend, a->limit), BUDGET_PERCENT_SCALE);
}

void alert_write(struct json_writer *w, const struct alert *a)
{
	jw_object_begin(w, NULL);
	jw_uuid(w, "id", &a->id);
	jw_string(w, "kind", alert_kind_name(a->kind));
	write_message(w, a);
	write_budget(w, a);
	jw_string(w, "provider", a->provider);
	jw_string(w, "model", a->model);
	jw_instant(w, "created_at", a->created_at_us);
	jw_instant_or_null(w, "acknowledged_at", a->acknowledged_at_us != 0, a->acknowledged_at_us);
	jw_object_end(w);
}
