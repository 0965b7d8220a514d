-- Sums at several levels, so that an answer reads rows in proportion to the days it spans and not to the events in them.
--
-- Nine tables hold the same sums of the same events, each written in the events' own transaction:
--   usage_model_15m      by quarter of an hour, provider, model and project (until now usage_15m): every time zone's day begins on one
--   usage_model_day      the same by UTC day: the whole days inside a long range
--   usage_hour           by hour alone: series over time
--   usage_set_model_15m  by quarter of an hour, set, provider and model
--   usage_set_model_day  the same by UTC day
--   usage_set_day        by UTC day and set: where neither provider nor model is asked for
--   usage_day            by UTC day alone: summaries, days of a year
--   usage_model_week     by UTC week, provider, model and project: the whole weeks inside a long range
--   usage_set_week       the same by set
-- A set is one combination of project, customer, API key and tags. There are never more sets than events, and a row of
-- usage_set_model_15m never stands for less than one event.
--
-- Renaming usage_15m keeps servers of the version before from writing events whose sums would be missing in the new tables:
-- they answer 503 until they are exchanged.

CREATE TABLE usage_sets (
	user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	id uuid NOT NULL,
	project text NOT NULL,
	customer text NOT NULL,
	api_key_id uuid,
	tags jsonb,
	PRIMARY KEY (user_id, id)
);
CREATE INDEX usage_sets_customer ON usage_sets (user_id, customer);
COMMENT ON TABLE usage_sets IS 'Combinations of project, customer, API key and tags that events came with. Never changed, only added.';
COMMENT ON COLUMN usage_sets.user_id IS 'Whose events.';
COMMENT ON COLUMN usage_sets.id IS 'A hash of the other columns, made by who writes the event; two ids with the same content do no harm.';
COMMENT ON COLUMN usage_sets.project IS 'As in events; empty for none.';
COMMENT ON COLUMN usage_sets.customer IS 'As in events; empty for none.';
COMMENT ON COLUMN usage_sets.api_key_id IS 'As in events; NULL for a session.';
COMMENT ON COLUMN usage_sets.tags IS 'As in events; NULL for none.';

ALTER TABLE events ADD COLUMN set_id uuid;
COMMENT ON COLUMN events.set_id IS 'Its project, customer, API key and tags as one (usage_sets): where its sums are.';
UPDATE events SET set_id = md5(jsonb_build_array(coalesce(project, ''), coalesce(customer, ''), api_key_id, tags)::text)::uuid;
ALTER TABLE events ALTER COLUMN set_id SET NOT NULL;
INSERT INTO usage_sets (user_id, id, project, customer, api_key_id, tags)
	SELECT DISTINCT user_id, set_id, coalesce(project, ''), coalesce(customer, ''), api_key_id, tags FROM events;

ALTER TABLE usage_15m RENAME TO usage_model_15m;
ALTER TABLE usage_model_15m RENAME CONSTRAINT usage_15m_pkey TO usage_model_15m_pkey;
ALTER TABLE usage_model_15m DROP CONSTRAINT usage_15m_quarter,
	ADD CONSTRAINT usage_model_15m_bucket CHECK (bucket = date_bin('15 minutes', bucket, '2000-01-01Z'));
ALTER TABLE usage_model_15m RENAME CONSTRAINT usage_15m_cost TO usage_model_15m_cost;
ALTER TABLE usage_model_15m RENAME CONSTRAINT usage_15m_user_id_fkey TO usage_model_15m_user_id_fkey;
ALTER INDEX usage_15m_unpriced RENAME TO usage_model_15m_unpriced;
ALTER TABLE usage_model_15m DROP CONSTRAINT usage_15m_counts;
ALTER TABLE usage_model_15m ADD COLUMN cache_write_1h_tokens bigint NOT NULL DEFAULT 0, ADD COLUMN error_cost numeric NOT NULL DEFAULT 0,
	ADD COLUMN standard_cost numeric NOT NULL DEFAULT 0,
	ADD CONSTRAINT usage_model_15m_counts CHECK (calls >= 0 AND errors BETWEEN 0 AND calls AND unpriced_calls BETWEEN 0 AND calls
		AND input_tokens >= 0 AND output_tokens >= 0 AND cache_read_tokens >= 0 AND cache_write_tokens >= 0
		AND cache_write_1h_tokens >= 0 AND reasoning_tokens >= 0);
COMMENT ON COLUMN usage_model_15m.cache_write_1h_tokens IS 'Sum.';
COMMENT ON COLUMN usage_model_15m.error_cost IS 'Of cost, what failed calls cost.';
COMMENT ON COLUMN usage_model_15m.standard_cost IS 'Of cost, what was charged at the standard service tier.';

CREATE TABLE usage_model_day (
	user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	bucket timestamptz NOT NULL CONSTRAINT usage_model_day_bucket CHECK (bucket = date_bin('1 day', bucket, '2000-01-01Z')),
	provider text NOT NULL,
	model text NOT NULL,
	project text NOT NULL,
	calls bigint NOT NULL,
	errors bigint NOT NULL,
	unpriced_calls bigint NOT NULL,
	input_tokens bigint NOT NULL,
	output_tokens bigint NOT NULL,
	cache_read_tokens bigint NOT NULL,
	cache_write_tokens bigint NOT NULL,
	cache_write_1h_tokens bigint NOT NULL,
	reasoning_tokens bigint NOT NULL,
	cost numeric NOT NULL CONSTRAINT usage_model_day_cost CHECK (cost >= 0 AND cost < 1e20),
	error_cost numeric NOT NULL CONSTRAINT usage_model_day_error_cost CHECK (error_cost BETWEEN 0 AND cost),
	standard_cost numeric NOT NULL CONSTRAINT usage_model_day_standard_cost CHECK (standard_cost BETWEEN 0 AND cost),
	PRIMARY KEY (user_id, bucket, provider, model, project),
	CONSTRAINT usage_model_day_counts CHECK (calls >= 0 AND errors BETWEEN 0 AND calls AND unpriced_calls BETWEEN 0 AND calls
		AND input_tokens >= 0 AND output_tokens >= 0 AND cache_read_tokens >= 0 AND cache_write_tokens >= 0
		AND cache_write_1h_tokens >= 0 AND reasoning_tokens >= 0)
) WITH (fillfactor = 70);
COMMENT ON TABLE usage_model_day IS 'Sums of events by day (UTC). Written in the same transaction as the events.';
COMMENT ON COLUMN usage_model_day.user_id IS 'Whose usage.';
COMMENT ON COLUMN usage_model_day.bucket IS 'Begin of the day (UTC) that contains occurred_at.';
COMMENT ON COLUMN usage_model_day.provider IS 'As in events.';
COMMENT ON COLUMN usage_model_day.model IS 'As in events.';
COMMENT ON COLUMN usage_model_day.project IS 'As in events; empty for none.';
COMMENT ON COLUMN usage_model_day.calls IS 'Number of events.';
COMMENT ON COLUMN usage_model_day.errors IS 'Of these, with status error.';
COMMENT ON COLUMN usage_model_day.unpriced_calls IS 'Of these, without a price: cost does not contain them.';
COMMENT ON COLUMN usage_model_day.input_tokens IS 'Sum.';
COMMENT ON COLUMN usage_model_day.output_tokens IS 'Sum.';
COMMENT ON COLUMN usage_model_day.cache_read_tokens IS 'Sum.';
COMMENT ON COLUMN usage_model_day.cache_write_tokens IS 'Sum.';
COMMENT ON COLUMN usage_model_day.cache_write_1h_tokens IS 'Sum.';
COMMENT ON COLUMN usage_model_day.reasoning_tokens IS 'Sum.';
COMMENT ON COLUMN usage_model_day.cost IS 'Sum of cost, USD, exact.';
COMMENT ON COLUMN usage_model_day.error_cost IS 'Of cost, what failed calls cost.';
COMMENT ON COLUMN usage_model_day.standard_cost IS 'Of cost, what was charged at the standard service tier.';

CREATE TABLE usage_hour (
	user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	bucket timestamptz NOT NULL CONSTRAINT usage_hour_bucket CHECK (bucket = date_bin('1 hour', bucket, '2000-01-01Z')),
	calls bigint NOT NULL,
	errors bigint NOT NULL,
	unpriced_calls bigint NOT NULL,
	input_tokens bigint NOT NULL,
	output_tokens bigint NOT NULL,
	cache_read_tokens bigint NOT NULL,
	cache_write_tokens bigint NOT NULL,
	cache_write_1h_tokens bigint NOT NULL,
	reasoning_tokens bigint NOT NULL,
	cost numeric NOT NULL CONSTRAINT usage_hour_cost CHECK (cost >= 0 AND cost < 1e20),
	error_cost numeric NOT NULL CONSTRAINT usage_hour_error_cost CHECK (error_cost BETWEEN 0 AND cost),
	standard_cost numeric NOT NULL CONSTRAINT usage_hour_standard_cost CHECK (standard_cost BETWEEN 0 AND cost),
	PRIMARY KEY (user_id, bucket),
	CONSTRAINT usage_hour_counts CHECK (calls >= 0 AND errors BETWEEN 0 AND calls AND unpriced_calls BETWEEN 0 AND calls
		AND input_tokens >= 0 AND output_tokens >= 0 AND cache_read_tokens >= 0 AND cache_write_tokens >= 0
		AND cache_write_1h_tokens >= 0 AND reasoning_tokens >= 0)
) WITH (fillfactor = 70);
COMMENT ON TABLE usage_hour IS 'Sums of events by hour (UTC). Written in the same transaction as the events.';
COMMENT ON COLUMN usage_hour.user_id IS 'Whose usage.';
COMMENT ON COLUMN usage_hour.bucket IS 'Begin of the hour (UTC) that contains occurred_at.';
COMMENT ON COLUMN usage_hour.calls IS 'Number of events.';
COMMENT ON COLUMN usage_hour.errors IS 'Of these, with status error.';
COMMENT ON COLUMN usage_hour.unpriced_calls IS 'Of these, without a price: cost does not contain them.';
COMMENT ON COLUMN usage_hour.input_tokens IS 'Sum.';
COMMENT ON COLUMN usage_hour.output_tokens IS 'Sum.';
COMMENT ON COLUMN usage_hour.cache_read_tokens IS 'Sum.';
COMMENT ON COLUMN usage_hour.cache_write_tokens IS 'Sum.';
COMMENT ON COLUMN usage_hour.cache_write_1h_tokens IS 'Sum.';
COMMENT ON COLUMN usage_hour.reasoning_tokens IS 'Sum.';
COMMENT ON COLUMN usage_hour.cost IS 'Sum of cost, USD, exact.';
COMMENT ON COLUMN usage_hour.error_cost IS 'Of cost, what failed calls cost.';
COMMENT ON COLUMN usage_hour.standard_cost IS 'Of cost, what was charged at the standard service tier.';

CREATE TABLE usage_set_model_15m (
	user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	bucket timestamptz NOT NULL CONSTRAINT usage_set_model_15m_bucket CHECK (bucket = date_bin('15 minutes', bucket, '2000-01-01Z')),
	set_id uuid NOT NULL,
	provider text NOT NULL,
	model text NOT NULL,
	calls bigint NOT NULL,
	errors bigint NOT NULL,
	unpriced_calls bigint NOT NULL,
	input_tokens bigint NOT NULL,
	output_tokens bigint NOT NULL,
	cache_read_tokens bigint NOT NULL,
	cache_write_tokens bigint NOT NULL,
	cache_write_1h_tokens bigint NOT NULL,
	reasoning_tokens bigint NOT NULL,
	cost numeric NOT NULL CONSTRAINT usage_set_model_15m_cost CHECK (cost >= 0 AND cost < 1e20),
	error_cost numeric NOT NULL CONSTRAINT usage_set_model_15m_error_cost CHECK (error_cost BETWEEN 0 AND cost),
	standard_cost numeric NOT NULL CONSTRAINT usage_set_model_15m_standard_cost CHECK (standard_cost BETWEEN 0 AND cost),
	PRIMARY KEY (user_id, bucket, set_id, provider, model),
	CONSTRAINT usage_set_model_15m_counts CHECK (calls >= 0 AND errors BETWEEN 0 AND calls AND unpriced_calls BETWEEN 0 AND calls
		AND input_tokens >= 0 AND output_tokens >= 0 AND cache_read_tokens >= 0 AND cache_write_tokens >= 0
		AND cache_write_1h_tokens >= 0 AND reasoning_tokens >= 0)
) WITH (fillfactor = 70);
COMMENT ON TABLE usage_set_model_15m IS 'Sums of events by quarter of an hour (UTC), set, provider and model. Written in the same transaction as the events.';
COMMENT ON COLUMN usage_set_model_15m.user_id IS 'Whose usage.';
COMMENT ON COLUMN usage_set_model_15m.bucket IS 'Begin of the quarter of an hour (UTC) that contains occurred_at.';
COMMENT ON COLUMN usage_set_model_15m.set_id IS 'Which project, customer, API key and tags (usage_sets).';
COMMENT ON COLUMN usage_set_model_15m.provider IS 'As in events.';
COMMENT ON COLUMN usage_set_model_15m.model IS 'As in events.';
COMMENT ON COLUMN usage_set_model_15m.calls IS 'Number of events.';
COMMENT ON COLUMN usage_set_model_15m.errors IS 'Of these, with status error.';
COMMENT ON COLUMN usage_set_model_15m.unpriced_calls IS 'Of these, without a price: cost does not contain them.';
COMMENT ON COLUMN usage_set_model_15m.input_tokens IS 'Sum.';
COMMENT ON COLUMN usage_set_model_15m.output_tokens IS 'Sum.';
COMMENT ON COLUMN usage_set_model_15m.cache_read_tokens IS 'Sum.';
COMMENT ON COLUMN usage_set_model_15m.cache_write_tokens IS 'Sum.';
COMMENT ON COLUMN usage_set_model_15m.cache_write_1h_tokens IS 'Sum.';
COMMENT ON COLUMN usage_set_model_15m.reasoning_tokens IS 'Sum.';
COMMENT ON COLUMN usage_set_model_15m.cost IS 'Sum of cost, USD, exact.';
COMMENT ON COLUMN usage_set_model_15m.error_cost IS 'Of cost, what failed calls cost.';
COMMENT ON COLUMN usage_set_model_15m.standard_cost IS 'Of cost, what was charged at the standard service tier.';

CREATE TABLE usage_set_model_day (
	user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	bucket timestamptz NOT NULL CONSTRAINT usage_set_model_day_bucket CHECK (bucket = date_bin('1 day', bucket, '2000-01-01Z')),
	set_id uuid NOT NULL,
	provider text NOT NULL,
	model text NOT NULL,
	calls bigint NOT NULL,
	errors bigint NOT NULL,
	unpriced_calls bigint NOT NULL,
	input_tokens bigint NOT NULL,
	output_tokens bigint NOT NULL,
	cache_read_tokens bigint NOT NULL,
	cache_write_tokens bigint NOT NULL,
	cache_write_1h_tokens bigint NOT NULL,
	reasoning_tokens bigint NOT NULL,
	cost numeric NOT NULL CONSTRAINT usage_set_model_day_cost CHECK (cost >= 0 AND cost < 1e20),
	error_cost numeric NOT NULL CONSTRAINT usage_set_model_day_error_cost CHECK (error_cost BETWEEN 0 AND cost),
	standard_cost numeric NOT NULL CONSTRAINT usage_set_model_day_standard_cost CHECK (standard_cost BETWEEN 0 AND cost),
	PRIMARY KEY (user_id, bucket, set_id, provider, model),
	CONSTRAINT usage_set_model_day_counts CHECK (calls >= 0 AND errors BETWEEN 0 AND calls AND unpriced_calls BETWEEN 0 AND calls
		AND input_tokens >= 0 AND output_tokens >= 0 AND cache_read_tokens >= 0 AND cache_write_tokens >= 0
		AND cache_write_1h_tokens >= 0 AND reasoning_tokens >= 0)
) WITH (fillfactor = 70);
COMMENT ON TABLE usage_set_model_day IS 'Sums of events by day (UTC), set, provider and model. Written in the same transaction as the events.';
COMMENT ON COLUMN usage_set_model_day.user_id IS 'Whose usage.';
COMMENT ON COLUMN usage_set_model_day.bucket IS 'Begin of the day (UTC) that contains occurred_at.';
COMMENT ON COLUMN usage_set_model_day.set_id IS 'Which project, customer, API key and tags (usage_sets).';
COMMENT ON COLUMN usage_set_model_day.provider IS 'As in events.';
COMMENT ON COLUMN usage_set_model_day.model IS 'As in events.';
COMMENT ON COLUMN usage_set_model_day.calls IS 'Number of events.';
COMMENT ON COLUMN usage_set_model_day.errors IS 'Of these, with status error.';
COMMENT ON COLUMN usage_set_model_day.unpriced_calls IS 'Of these, without a price: cost does not contain them.';
COMMENT ON COLUMN usage_set_model_day.input_tokens IS 'Sum.';
COMMENT ON COLUMN usage_set_model_day.output_tokens IS 'Sum.';
COMMENT ON COLUMN usage_set_model_day.cache_read_tokens IS 'Sum.';
COMMENT ON COLUMN usage_set_model_day.cache_write_tokens IS 'Sum.';
COMMENT ON COLUMN usage_set_model_day.cache_write_1h_tokens IS 'Sum.';
COMMENT ON COLUMN usage_set_model_day.reasoning_tokens IS 'Sum.';
COMMENT ON COLUMN usage_set_model_day.cost IS 'Sum of cost, USD, exact.';
COMMENT ON COLUMN usage_set_model_day.error_cost IS 'Of cost, what failed calls cost.';
COMMENT ON COLUMN usage_set_model_day.standard_cost IS 'Of cost, what was charged at the standard service tier.';

CREATE TABLE usage_set_day (
	user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	bucket timestamptz NOT NULL CONSTRAINT usage_set_day_bucket CHECK (bucket = date_bin('1 day', bucket, '2000-01-01Z')),
	set_id uuid NOT NULL,
	calls bigint NOT NULL,
	errors bigint NOT NULL,
	unpriced_calls bigint NOT NULL,
	input_tokens bigint NOT NULL,
	output_tokens bigint NOT NULL,
	cache_read_tokens bigint NOT NULL,
	cache_write_tokens bigint NOT NULL,
	cache_write_1h_tokens bigint NOT NULL,
	reasoning_tokens bigint NOT NULL,
	cost numeric NOT NULL CONSTRAINT usage_set_day_cost CHECK (cost >= 0 AND cost < 1e20),
	error_cost numeric NOT NULL CONSTRAINT usage_set_day_error_cost CHECK (error_cost BETWEEN 0 AND cost),
	standard_cost numeric NOT NULL CONSTRAINT usage_set_day_standard_cost CHECK (standard_cost BETWEEN 0 AND cost),
	PRIMARY KEY (user_id, bucket, set_id),
	CONSTRAINT usage_set_day_counts CHECK (calls >= 0 AND errors BETWEEN 0 AND calls AND unpriced_calls BETWEEN 0 AND calls
		AND input_tokens >= 0 AND output_tokens >= 0 AND cache_read_tokens >= 0 AND cache_write_tokens >= 0
		AND cache_write_1h_tokens >= 0 AND reasoning_tokens >= 0)
) WITH (fillfactor = 70);
COMMENT ON TABLE usage_set_day IS 'Sums of events by day (UTC) and set. Written in the same transaction as the events.';
COMMENT ON COLUMN usage_set_day.user_id IS 'Whose usage.';
COMMENT ON COLUMN usage_set_day.bucket IS 'Begin of the day (UTC) that contains occurred_at.';
COMMENT ON COLUMN usage_set_day.set_id IS 'Which project, customer, API key and tags (usage_sets).';
COMMENT ON COLUMN usage_set_day.calls IS 'Number of events.';
COMMENT ON COLUMN usage_set_day.errors IS 'Of these, with status error.';
COMMENT ON COLUMN usage_set_day.unpriced_calls IS 'Of these, without a price: cost does not contain them.';
COMMENT ON COLUMN usage_set_day.input_tokens IS 'Sum.';
COMMENT ON COLUMN usage_set_day.output_tokens IS 'Sum.';
COMMENT ON COLUMN usage_set_day.cache_read_tokens IS 'Sum.';
COMMENT ON COLUMN usage_set_day.cache_write_tokens IS 'Sum.';
COMMENT ON COLUMN usage_set_day.cache_write_1h_tokens IS 'Sum.';
COMMENT ON COLUMN usage_set_day.reasoning_tokens IS 'Sum.';
COMMENT ON COLUMN usage_set_day.cost IS 'Sum of cost, USD, exact.';
COMMENT ON COLUMN usage_set_day.error_cost IS 'Of cost, what failed calls cost.';
COMMENT ON COLUMN usage_set_day.standard_cost IS 'Of cost, what was charged at the standard service tier.';

CREATE TABLE usage_day (
	user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	bucket timestamptz NOT NULL CONSTRAINT usage_day_bucket CHECK (bucket = date_bin('1 day', bucket, '2000-01-01Z')),
	calls bigint NOT NULL,
	errors bigint NOT NULL,
	unpriced_calls bigint NOT NULL,
	input_tokens bigint NOT NULL,
	output_tokens bigint NOT NULL,
	cache_read_tokens bigint NOT NULL,
	cache_write_tokens bigint NOT NULL,
	cache_write_1h_tokens bigint NOT NULL,
	reasoning_tokens bigint NOT NULL,
	cost numeric NOT NULL CONSTRAINT usage_day_cost CHECK (cost >= 0 AND cost < 1e20),
	error_cost numeric NOT NULL CONSTRAINT usage_day_error_cost CHECK (error_cost BETWEEN 0 AND cost),
	standard_cost numeric NOT NULL CONSTRAINT usage_day_standard_cost CHECK (standard_cost BETWEEN 0 AND cost),
	PRIMARY KEY (user_id, bucket),
	CONSTRAINT usage_day_counts CHECK (calls >= 0 AND errors BETWEEN 0 AND calls AND unpriced_calls BETWEEN 0 AND calls
		AND input_tokens >= 0 AND output_tokens >= 0 AND cache_read_tokens >= 0 AND cache_write_tokens >= 0
		AND cache_write_1h_tokens >= 0 AND reasoning_tokens >= 0)
) WITH (fillfactor = 70);
COMMENT ON TABLE usage_day IS 'Sums of events by day (UTC). Written in the same transaction as the events.';
COMMENT ON COLUMN usage_day.user_id IS 'Whose usage.';
COMMENT ON COLUMN usage_day.bucket IS 'Begin of the day (UTC) that contains occurred_at.';
COMMENT ON COLUMN usage_day.calls IS 'Number of events.';
COMMENT ON COLUMN usage_day.errors IS 'Of these, with status error.';
COMMENT ON COLUMN usage_day.unpriced_calls IS 'Of these, without a price: cost does not contain them.';
COMMENT ON COLUMN usage_day.input_tokens IS 'Sum.';
COMMENT ON COLUMN usage_day.output_tokens IS 'Sum.';
COMMENT ON COLUMN usage_day.cache_read_tokens IS 'Sum.';
COMMENT ON COLUMN usage_day.cache_write_tokens IS 'Sum.';
COMMENT ON COLUMN usage_day.cache_write_1h_tokens IS 'Sum.';
COMMENT ON COLUMN usage_day.reasoning_tokens IS 'Sum.';
COMMENT ON COLUMN usage_day.cost IS 'Sum of cost, USD, exact.';
COMMENT ON COLUMN usage_day.error_cost IS 'Of cost, what failed calls cost.';
COMMENT ON COLUMN usage_day.standard_cost IS 'Of cost, what was charged at the standard service tier.';

CREATE TABLE usage_model_week (
	user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	bucket timestamptz NOT NULL CONSTRAINT usage_model_week_bucket CHECK (bucket = date_bin('7 days', bucket, '2000-01-03Z')),
	provider text NOT NULL,
	model text NOT NULL,
	project text NOT NULL,
	calls bigint NOT NULL,
	errors bigint NOT NULL,
	unpriced_calls bigint NOT NULL,
	input_tokens bigint NOT NULL,
	output_tokens bigint NOT NULL,
	cache_read_tokens bigint NOT NULL,
	cache_write_tokens bigint NOT NULL,
	cache_write_1h_tokens bigint NOT NULL,
	reasoning_tokens bigint NOT NULL,
	cost numeric NOT NULL CONSTRAINT usage_model_week_cost CHECK (cost >= 0 AND cost < 1e20),
	error_cost numeric NOT NULL CONSTRAINT usage_model_week_error_cost CHECK (error_cost BETWEEN 0 AND cost),
	standard_cost numeric NOT NULL CONSTRAINT usage_model_week_standard_cost CHECK (standard_cost BETWEEN 0 AND cost),
	PRIMARY KEY (user_id, bucket, provider, model, project),
	CONSTRAINT usage_model_week_counts CHECK (calls >= 0 AND errors BETWEEN 0 AND calls AND unpriced_calls BETWEEN 0 AND calls
		AND input_tokens >= 0 AND output_tokens >= 0 AND cache_read_tokens >= 0 AND cache_write_tokens >= 0
		AND cache_write_1h_tokens >= 0 AND reasoning_tokens >= 0)
) WITH (fillfactor = 70);
COMMENT ON TABLE usage_model_week IS 'Sums of events by week (UTC). Written in the same transaction as the events.';
COMMENT ON COLUMN usage_model_week.user_id IS 'Whose usage.';
COMMENT ON COLUMN usage_model_week.bucket IS 'Begin of the week (Monday, UTC) that contains occurred_at.';
COMMENT ON COLUMN usage_model_week.provider IS 'As in events.';
COMMENT ON COLUMN usage_model_week.model IS 'As in events.';
COMMENT ON COLUMN usage_model_week.project IS 'As in events; empty for none.';
COMMENT ON COLUMN usage_model_week.calls IS 'Number of events.';
COMMENT ON COLUMN usage_model_week.errors IS 'Of these, with status error.';
COMMENT ON COLUMN usage_model_week.unpriced_calls IS 'Of these, without a price: cost does not contain them.';
COMMENT ON COLUMN usage_model_week.input_tokens IS 'Sum.';
COMMENT ON COLUMN usage_model_week.output_tokens IS 'Sum.';
COMMENT ON COLUMN usage_model_week.cache_read_tokens IS 'Sum.';
COMMENT ON COLUMN usage_model_week.cache_write_tokens IS 'Sum.';
COMMENT ON COLUMN usage_model_week.cache_write_1h_tokens IS 'Sum.';
COMMENT ON COLUMN usage_model_week.reasoning_tokens IS 'Sum.';
COMMENT ON COLUMN usage_model_week.cost IS 'Sum of cost, USD, exact.';
COMMENT ON COLUMN usage_model_week.error_cost IS 'Of cost, what failed calls cost.';
COMMENT ON COLUMN usage_model_week.standard_cost IS 'Of cost, what was charged at the standard service tier.';

CREATE TABLE usage_set_week (
	user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	bucket timestamptz NOT NULL CONSTRAINT usage_set_week_bucket CHECK (bucket = date_bin('7 days', bucket, '2000-01-03Z')),
	set_id uuid NOT NULL,
	calls bigint NOT NULL,
	errors bigint NOT NULL,
	unpriced_calls bigint NOT NULL,
	input_tokens bigint NOT NULL,
	output_tokens bigint NOT NULL,
	cache_read_tokens bigint NOT NULL,
	cache_write_tokens bigint NOT NULL,
	cache_write_1h_tokens bigint NOT NULL,
	reasoning_tokens bigint NOT NULL,
	cost numeric NOT NULL CONSTRAINT usage_set_week_cost CHECK (cost >= 0 AND cost < 1e20),
	error_cost numeric NOT NULL CONSTRAINT usage_set_week_error_cost CHECK (error_cost BETWEEN 0 AND cost),
	standard_cost numeric NOT NULL CONSTRAINT usage_set_week_standard_cost CHECK (standard_cost BETWEEN 0 AND cost),
	PRIMARY KEY (user_id, bucket, set_id),
	CONSTRAINT usage_set_week_counts CHECK (calls >= 0 AND errors BETWEEN 0 AND calls AND unpriced_calls BETWEEN 0 AND calls
		AND input_tokens >= 0 AND output_tokens >= 0 AND cache_read_tokens >= 0 AND cache_write_tokens >= 0
		AND cache_write_1h_tokens >= 0 AND reasoning_tokens >= 0)
) WITH (fillfactor = 70);
COMMENT ON TABLE usage_set_week IS 'Sums of events by week (UTC) and set. Written in the same transaction as the events.';
COMMENT ON COLUMN usage_set_week.user_id IS 'Whose usage.';
COMMENT ON COLUMN usage_set_week.bucket IS 'Begin of the week (Monday, UTC) that contains occurred_at.';
COMMENT ON COLUMN usage_set_week.set_id IS 'Which project, customer, API key and tags (usage_sets).';
COMMENT ON COLUMN usage_set_week.calls IS 'Number of events.';
COMMENT ON COLUMN usage_set_week.errors IS 'Of these, with status error.';
COMMENT ON COLUMN usage_set_week.unpriced_calls IS 'Of these, without a price: cost does not contain them.';
COMMENT ON COLUMN usage_set_week.input_tokens IS 'Sum.';
COMMENT ON COLUMN usage_set_week.output_tokens IS 'Sum.';
COMMENT ON COLUMN usage_set_week.cache_read_tokens IS 'Sum.';
COMMENT ON COLUMN usage_set_week.cache_write_tokens IS 'Sum.';
COMMENT ON COLUMN usage_set_week.cache_write_1h_tokens IS 'Sum.';
COMMENT ON COLUMN usage_set_week.reasoning_tokens IS 'Sum.';
COMMENT ON COLUMN usage_set_week.cost IS 'Sum of cost, USD, exact.';
COMMENT ON COLUMN usage_set_week.error_cost IS 'Of cost, what failed calls cost.';
COMMENT ON COLUMN usage_set_week.standard_cost IS 'Of cost, what was charged at the standard service tier.';

-- What the sums must be, from the events themselves.
CREATE FUNCTION usage_from_events(first timestamptz, until timestamptz) RETURNS TABLE (user_id uuid, bucket timestamptz, set_id uuid,
	provider text, model text, project text, calls bigint, errors bigint, unpriced_calls bigint, input_tokens bigint, output_tokens bigint,
	cache_read_tokens bigint, cache_write_tokens bigint, cache_write_1h_tokens bigint, reasoning_tokens bigint, cost numeric,
	error_cost numeric, standard_cost numeric) LANGUAGE sql STABLE AS $$
	SELECT e.user_id, to_timestamp(floor(extract(epoch FROM e.occurred_at) / 900)::bigint * 900), e.set_id, e.provider, e.model, coalesce(e.project, ''),
		count(*), count(*) FILTER (WHERE e.status = 'error'), count(*) FILTER (WHERE e.cost IS NULL),
		coalesce(sum(e.input_tokens), 0)::bigint, coalesce(sum(e.output_tokens), 0)::bigint,
		coalesce(sum(e.cache_read_tokens), 0)::bigint, coalesce(sum(e.cache_write_tokens), 0)::bigint,
		coalesce(sum(e.cache_write_1h_tokens), 0)::bigint, coalesce(sum(e.reasoning_tokens), 0)::bigint,
		coalesce(sum(e.cost), 0), coalesce(sum(e.cost) FILTER (WHERE e.status = 'error'), 0),
		coalesce(sum(e.cost) FILTER (WHERE e.service_tier = 'standard'), 0)
	FROM events AS e WHERE e.occurred_at >= first AND e.occurred_at < until
	GROUP BY 1, 2, 3, 4, 5, 6
$$;
COMMENT ON FUNCTION usage_from_events(timestamptz, timestamptz) IS 'The finest sums of the events of a time, for comparing with the tables that hold them.';

-- Months whose events retention has dropped, so that their sums are all that is left. A late event may make such a month's partition
-- again, so that a partition alone does not say that all events are there.
CREATE TABLE event_months_dropped (
	month timestamptz PRIMARY KEY,
	dropped_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE event_months_dropped IS 'Months (UTC) of which retention has dropped events: their sums stand for more events than there are.';
COMMENT ON COLUMN event_months_dropped.month IS 'Begin of the month.';
COMMENT ON COLUMN event_months_dropped.dropped_at IS 'When it was dropped first.';

CREATE OR REPLACE FUNCTION events_drop_ended(before timestamptz) RETURNS text LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
DECLARE
	partition_name text;
	partition_month date;
BEGIN
	IF NOT pg_try_advisory_xact_lock(hashtext('llmlab event retention')) THEN
		RETURN NULL;
	END IF;
	SELECT p.name, p.month INTO partition_name, partition_month
		FROM (SELECT c.relname AS name, to_date(substring(c.relname FROM '^events_(\d{4}_\d{2})$'), 'YYYY_MM') AS month
			FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
			WHERE i.inhparent = 'events'::regclass) AS p
		WHERE (p.month + interval '1 month') AT TIME ZONE 'UTC' <= before
		ORDER BY p.month LIMIT 1;
	IF partition_name IS NOT NULL THEN
		EXECUTE format('DROP TABLE %I', partition_name);
		INSERT INTO event_months_dropped (month) VALUES (partition_month::timestamp AT TIME ZONE 'UTC') ON CONFLICT DO NOTHING;
	END IF;
	RETURN partition_name;
END $$;

-- Rows that stand for events that are gone keep the sums they have.
CREATE TEMPORARY TABLE usage_gone ON COMMIT DROP AS
	SELECT u.user_id, u.bucket, u.provider, u.model, u.project FROM usage_model_15m AS u
	LEFT JOIN (SELECT user_id, bucket, provider, model, project, sum(calls)::bigint AS calls
		FROM usage_from_events('-infinity', 'infinity') GROUP BY 1, 2, 3, 4, 5) AS e USING (user_id, bucket, provider, model, project)
	WHERE e.calls IS DISTINCT FROM u.calls;
INSERT INTO event_months_dropped (month) SELECT DISTINCT date_trunc('month', bucket, 'UTC') FROM usage_gone;
DELETE FROM usage_model_15m AS u WHERE NOT EXISTS (SELECT FROM usage_gone AS g WHERE (g.user_id, g.bucket, g.provider, g.model, g.project) = (u.user_id, u.bucket, u.provider, u.model, u.project));
INSERT INTO usage_model_15m (user_id, bucket, provider, model, project, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost)
	SELECT user_id, bucket, provider, model, project, sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost
	FROM usage_from_events('-infinity', 'infinity') AS e WHERE NOT EXISTS (SELECT FROM usage_gone AS g WHERE (g.user_id, g.bucket, g.provider, g.model, g.project) = (e.user_id, e.bucket, e.provider, e.model, e.project)) GROUP BY 1, 2, 3, 4, 5;
ALTER TABLE usage_model_15m ALTER COLUMN cache_write_1h_tokens DROP DEFAULT, ALTER COLUMN error_cost DROP DEFAULT, ALTER COLUMN standard_cost DROP DEFAULT,
	ADD CONSTRAINT usage_model_15m_error_cost CHECK (error_cost BETWEEN 0 AND cost), ADD CONSTRAINT usage_model_15m_standard_cost CHECK (standard_cost BETWEEN 0 AND cost);
INSERT INTO usage_model_day (user_id, bucket, provider, model, project, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost)
	SELECT user_id, date_trunc('day', bucket, 'UTC'), provider, model, project, sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost
	FROM usage_model_15m GROUP BY 1, 2, 3, 4, 5;
INSERT INTO usage_hour (user_id, bucket, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost)
	SELECT user_id, date_trunc('hour', bucket, 'UTC'), sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost
	FROM usage_model_15m GROUP BY 1, 2;
INSERT INTO usage_set_model_15m (user_id, bucket, set_id, provider, model, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost)
	SELECT user_id, bucket, set_id, provider, model, sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost
	FROM usage_from_events('-infinity', 'infinity') AS e WHERE NOT EXISTS (SELECT FROM usage_gone AS g WHERE (g.user_id, g.bucket, g.provider, g.model, g.project) = (e.user_id, e.bucket, e.provider, e.model, e.project)) GROUP BY 1, 2, 3, 4, 5;
-- Of events that are gone only the project is known; one that is still there beside them is counted with them.
INSERT INTO usage_sets (user_id, id, project, customer)
	SELECT DISTINCT user_id, md5(jsonb_build_array(project, '', NULL, NULL)::text)::uuid, project, '' FROM usage_gone
	ON CONFLICT DO NOTHING;
INSERT INTO usage_set_model_15m (user_id, bucket, set_id, provider, model, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost)
	SELECT user_id, bucket, md5(jsonb_build_array(project, '', NULL, NULL)::text)::uuid, provider, model, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost
	FROM usage_model_15m AS u WHERE EXISTS (SELECT FROM usage_gone AS g WHERE (g.user_id, g.bucket, g.provider, g.model, g.project) = (u.user_id, u.bucket, u.provider, u.model, u.project));
INSERT INTO usage_set_model_day (user_id, bucket, set_id, provider, model, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost)
	SELECT user_id, date_trunc('day', bucket, 'UTC'), set_id, provider, model, sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost
	FROM usage_set_model_15m GROUP BY 1, 2, 3, 4, 5;
INSERT INTO usage_set_day (user_id, bucket, set_id, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost)
	SELECT user_id, bucket, set_id, sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost
	FROM usage_set_model_day GROUP BY 1, 2, 3;
INSERT INTO usage_day (user_id, bucket, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost)
	SELECT user_id, date_trunc('day', bucket, 'UTC'), sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost
	FROM usage_hour GROUP BY 1, 2;
INSERT INTO usage_model_week (user_id, bucket, provider, model, project, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost)
	SELECT user_id, date_bin('7 days', bucket, '2000-01-03Z'), provider, model, project, sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost
	FROM usage_model_day GROUP BY 1, 2, 3, 4, 5;
INSERT INTO usage_set_week (user_id, bucket, set_id, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost)
	SELECT user_id, date_bin('7 days', bucket, '2000-01-03Z'), set_id, sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost
	FROM usage_set_day GROUP BY 1, 2, 3;

CREATE FUNCTION usage_drift(first timestamptz, until timestamptz) RETURNS TABLE (held_in text, what text, user_id uuid, bucket timestamptz, held text)
	LANGUAGE sql STABLE AS $$
	SELECT 'usage_model_15m', 'missing or wrong', d.user_id, d.bucket, d::text FROM (SELECT user_id, bucket, provider, model, project, sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost FROM usage_from_events(first, until) WHERE date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) GROUP BY 1, 2, 3, 4, 5 EXCEPT SELECT user_id, bucket, provider, model, project, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost FROM usage_model_15m WHERE bucket >= first AND bucket < until AND date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped))) AS d
	UNION ALL
	SELECT 'usage_model_15m', 'too much or wrong', d.user_id, d.bucket, d::text FROM (SELECT user_id, bucket, provider, model, project, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost FROM usage_model_15m WHERE bucket >= first AND bucket < until AND date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) EXCEPT SELECT user_id, bucket, provider, model, project, sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost FROM usage_from_events(first, until) WHERE date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) GROUP BY 1, 2, 3, 4, 5) AS d
	UNION ALL
	SELECT 'usage_model_day', 'missing or wrong', d.user_id, d.bucket, d::text FROM (SELECT user_id, date_trunc('day', bucket, 'UTC') AS bucket, provider, model, project, sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost FROM usage_from_events(first, until) WHERE date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) GROUP BY 1, 2, 3, 4, 5 EXCEPT SELECT user_id, bucket, provider, model, project, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost FROM usage_model_day WHERE bucket >= first AND bucket < until AND date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped))) AS d
	UNION ALL
	SELECT 'usage_model_day', 'too much or wrong', d.user_id, d.bucket, d::text FROM (SELECT user_id, bucket, provider, model, project, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost FROM usage_model_day WHERE bucket >= first AND bucket < until AND date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) EXCEPT SELECT user_id, date_trunc('day', bucket, 'UTC') AS bucket, provider, model, project, sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost FROM usage_from_events(first, until) WHERE date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) GROUP BY 1, 2, 3, 4, 5) AS d
	UNION ALL
	SELECT 'usage_hour', 'missing or wrong', d.user_id, d.bucket, d::text FROM (SELECT user_id, date_trunc('hour', bucket, 'UTC') AS bucket, sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost FROM usage_from_events(first, until) WHERE date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) GROUP BY 1, 2 EXCEPT SELECT user_id, bucket, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost FROM usage_hour WHERE bucket >= first AND bucket < until AND date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped))) AS d
	UNION ALL
	SELECT 'usage_hour', 'too much or wrong', d.user_id, d.bucket, d::text FROM (SELECT user_id, bucket, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost FROM usage_hour WHERE bucket >= first AND bucket < until AND date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) EXCEPT SELECT user_id, date_trunc('hour', bucket, 'UTC') AS bucket, sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost FROM usage_from_events(first, until) WHERE date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) GROUP BY 1, 2) AS d
	UNION ALL
	SELECT 'usage_set_model_15m', 'missing or wrong', d.user_id, d.bucket, d::text FROM (SELECT user_id, bucket, set_id, provider, model, sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost FROM usage_from_events(first, until) WHERE date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) GROUP BY 1, 2, 3, 4, 5 EXCEPT SELECT user_id, bucket, set_id, provider, model, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost FROM usage_set_model_15m WHERE bucket >= first AND bucket < until AND date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped))) AS d
	UNION ALL
	SELECT 'usage_set_model_15m', 'too much or wrong', d.user_id, d.bucket, d::text FROM (SELECT user_id, bucket, set_id, provider, model, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost FROM usage_set_model_15m WHERE bucket >= first AND bucket < until AND date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) EXCEPT SELECT user_id, bucket, set_id, provider, model, sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost FROM usage_from_events(first, until) WHERE date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) GROUP BY 1, 2, 3, 4, 5) AS d
	UNION ALL
	SELECT 'usage_set_model_day', 'missing or wrong', d.user_id, d.bucket, d::text FROM (SELECT user_id, date_trunc('day', bucket, 'UTC') AS bucket, set_id, provider, model, sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost FROM usage_from_events(first, until) WHERE date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) GROUP BY 1, 2, 3, 4, 5 EXCEPT SELECT user_id, bucket, set_id, provider, model, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost FROM usage_set_model_day WHERE bucket >= first AND bucket < until AND date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped))) AS d
	UNION ALL
	SELECT 'usage_set_model_day', 'too much or wrong', d.user_id, d.bucket, d::text FROM (SELECT user_id, bucket, set_id, provider, model, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost FROM usage_set_model_day WHERE bucket >= first AND bucket < until AND date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) EXCEPT SELECT user_id, date_trunc('day', bucket, 'UTC') AS bucket, set_id, provider, model, sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost FROM usage_from_events(first, until) WHERE date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) GROUP BY 1, 2, 3, 4, 5) AS d
	UNION ALL
	SELECT 'usage_set_day', 'missing or wrong', d.user_id, d.bucket, d::text FROM (SELECT user_id, date_trunc('day', bucket, 'UTC') AS bucket, set_id, sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost FROM usage_from_events(first, until) WHERE date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) GROUP BY 1, 2, 3 EXCEPT SELECT user_id, bucket, set_id, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost FROM usage_set_day WHERE bucket >= first AND bucket < until AND date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped))) AS d
	UNION ALL
	SELECT 'usage_set_day', 'too much or wrong', d.user_id, d.bucket, d::text FROM (SELECT user_id, bucket, set_id, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost FROM usage_set_day WHERE bucket >= first AND bucket < until AND date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) EXCEPT SELECT user_id, date_trunc('day', bucket, 'UTC') AS bucket, set_id, sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost FROM usage_from_events(first, until) WHERE date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) GROUP BY 1, 2, 3) AS d
	UNION ALL
	SELECT 'usage_day', 'missing or wrong', d.user_id, d.bucket, d::text FROM (SELECT user_id, date_trunc('day', bucket, 'UTC') AS bucket, sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost FROM usage_from_events(first, until) WHERE date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) GROUP BY 1, 2 EXCEPT SELECT user_id, bucket, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost FROM usage_day WHERE bucket >= first AND bucket < until AND date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped))) AS d
	UNION ALL
	SELECT 'usage_day', 'too much or wrong', d.user_id, d.bucket, d::text FROM (SELECT user_id, bucket, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost FROM usage_day WHERE bucket >= first AND bucket < until AND date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) EXCEPT SELECT user_id, date_trunc('day', bucket, 'UTC') AS bucket, sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost FROM usage_from_events(first, until) WHERE date_trunc('month', bucket, 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) GROUP BY 1, 2) AS d
	UNION ALL
	SELECT 'usage_model_week', 'missing or wrong', d.user_id, d.bucket, d::text FROM (SELECT user_id, date_bin('7 days', bucket, '2000-01-03Z') AS bucket, provider, model, project, sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost FROM usage_from_events(date_bin('7 days', first, '2000-01-03Z'), date_bin('7 days', until + interval '7 days' - interval '1 microsecond', '2000-01-03Z')) WHERE date_trunc('month', date_bin('7 days', bucket, '2000-01-03Z'), 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) AND date_trunc('month', date_bin('7 days', bucket, '2000-01-03Z') + interval '6 days', 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) GROUP BY 1, 2, 3, 4, 5 EXCEPT SELECT user_id, bucket, provider, model, project, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost FROM usage_model_week WHERE bucket >= date_bin('7 days', first, '2000-01-03Z') AND bucket < until AND date_trunc('month', date_bin('7 days', bucket, '2000-01-03Z'), 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) AND date_trunc('month', date_bin('7 days', bucket, '2000-01-03Z') + interval '6 days', 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped))) AS d
	UNION ALL
	SELECT 'usage_model_week', 'too much or wrong', d.user_id, d.bucket, d::text FROM (SELECT user_id, bucket, provider, model, project, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost FROM usage_model_week WHERE bucket >= date_bin('7 days', first, '2000-01-03Z') AND bucket < until AND date_trunc('month', date_bin('7 days', bucket, '2000-01-03Z'), 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) AND date_trunc('month', date_bin('7 days', bucket, '2000-01-03Z') + interval '6 days', 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) EXCEPT SELECT user_id, date_bin('7 days', bucket, '2000-01-03Z') AS bucket, provider, model, project, sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost FROM usage_from_events(date_bin('7 days', first, '2000-01-03Z'), date_bin('7 days', until + interval '7 days' - interval '1 microsecond', '2000-01-03Z')) WHERE date_trunc('month', date_bin('7 days', bucket, '2000-01-03Z'), 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) AND date_trunc('month', date_bin('7 days', bucket, '2000-01-03Z') + interval '6 days', 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) GROUP BY 1, 2, 3, 4, 5) AS d
	UNION ALL
	SELECT 'usage_set_week', 'missing or wrong', d.user_id, d.bucket, d::text FROM (SELECT user_id, date_bin('7 days', bucket, '2000-01-03Z') AS bucket, set_id, sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost FROM usage_from_events(date_bin('7 days', first, '2000-01-03Z'), date_bin('7 days', until + interval '7 days' - interval '1 microsecond', '2000-01-03Z')) WHERE date_trunc('month', date_bin('7 days', bucket, '2000-01-03Z'), 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) AND date_trunc('month', date_bin('7 days', bucket, '2000-01-03Z') + interval '6 days', 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) GROUP BY 1, 2, 3 EXCEPT SELECT user_id, bucket, set_id, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost FROM usage_set_week WHERE bucket >= date_bin('7 days', first, '2000-01-03Z') AND bucket < until AND date_trunc('month', date_bin('7 days', bucket, '2000-01-03Z'), 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) AND date_trunc('month', date_bin('7 days', bucket, '2000-01-03Z') + interval '6 days', 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped))) AS d
	UNION ALL
	SELECT 'usage_set_week', 'too much or wrong', d.user_id, d.bucket, d::text FROM (SELECT user_id, bucket, set_id, calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost FROM usage_set_week WHERE bucket >= date_bin('7 days', first, '2000-01-03Z') AND bucket < until AND date_trunc('month', date_bin('7 days', bucket, '2000-01-03Z'), 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) AND date_trunc('month', date_bin('7 days', bucket, '2000-01-03Z') + interval '6 days', 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) EXCEPT SELECT user_id, date_bin('7 days', bucket, '2000-01-03Z') AS bucket, set_id, sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS unpriced_calls, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost)::numeric AS cost, sum(error_cost)::numeric AS error_cost, sum(standard_cost)::numeric AS standard_cost FROM usage_from_events(date_bin('7 days', first, '2000-01-03Z'), date_bin('7 days', until + interval '7 days' - interval '1 microsecond', '2000-01-03Z')) WHERE date_trunc('month', date_bin('7 days', bucket, '2000-01-03Z'), 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) AND date_trunc('month', date_bin('7 days', bucket, '2000-01-03Z') + interval '6 days', 'UTC') <> ALL (ARRAY(SELECT month FROM event_months_dropped)) GROUP BY 1, 2, 3) AS d
	UNION ALL
	SELECT 'usage_sets', 'missing or wrong', e.user_id, e.occurred_at, e.set_id::text FROM events AS e
		LEFT JOIN usage_sets AS s ON s.user_id = e.user_id AND s.id = e.set_id
		WHERE e.occurred_at >= first AND e.occurred_at < until AND (s.id IS NULL OR s.project <> coalesce(e.project, '')
			OR s.customer <> coalesce(e.customer, '') OR s.api_key_id IS DISTINCT FROM e.api_key_id OR s.tags IS DISTINCT FROM e.tags)
$$;
COMMENT ON FUNCTION usage_drift(timestamptz, timestamptz) IS
	'Every sum that differs from the events of a time (which must begin and end with a UTC day; of weeks, all that it touches): no row when all is well. Months that retention dropped (event_months_dropped) are left out.';

-- What servers remember of the database (sets, own prices, ended sessions) is worth nothing once the database was set back: each
-- leaves a number here whenever it has learned something, and finds out by its absence.
CREATE TABLE history_marks (
	holder uuid PRIMARY KEY,
	mark uuid NOT NULL,
	moved_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
COMMENT ON TABLE history_marks IS 'By which servers find out that the database was set back (restored in place, say): no tenant''s. A dump may leave it out.';
COMMENT ON COLUMN history_marks.holder IS 'Random: a part of a running server that remembers something.';
COMMENT ON COLUMN history_marks.mark IS 'Random: what it wrote last. Another one here, or none: what it saw since may never have happened.';
COMMENT ON COLUMN history_marks.moved_at IS 'When it was written; old ones are deleted.';
