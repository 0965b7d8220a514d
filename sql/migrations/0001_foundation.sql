-- The foundation: accounts, events with exact costs, idempotency keys, the 15-minute usage rollup and budgets.
-- user_id leads every key, so that the schema shards by user_id unchanged. Money is numeric and never NaN: a CHECK
-- "< bound" refuses NaN because NaN sorts above every number.

CREATE TABLE users (
	id uuid PRIMARY KEY,
	email text NOT NULL CONSTRAINT users_email_length CHECK (octet_length(email) BETWEEN 3 AND 254),
	name text NOT NULL CONSTRAINT users_name_length CHECK (char_length(name) BETWEEN 1 AND 200),
	password_hash text NOT NULL CONSTRAINT users_password_hash_form CHECK (password_hash LIKE '$argon2id$%'),
	timezone text NOT NULL DEFAULT 'UTC' CONSTRAINT users_timezone_length CHECK (char_length(timezone) BETWEEN 1 AND 64),
	created_at timestamptz NOT NULL DEFAULT now(),
	updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX users_email_unique ON users (lower(email));
COMMENT ON TABLE users IS 'Accounts. Everything else belongs to one of them and goes with it.';
COMMENT ON COLUMN users.id IS 'UUID version 7, made by the server.';
COMMENT ON COLUMN users.email IS 'As given at signup; unique regardless of case.';
COMMENT ON COLUMN users.name IS 'Display name.';
COMMENT ON COLUMN users.password_hash IS 'argon2id in PHC string form.';
COMMENT ON COLUMN users.timezone IS 'IANA zone in which the days, weeks and months of this account begin.';
COMMENT ON COLUMN users.created_at IS 'When the account was made.';
COMMENT ON COLUMN users.updated_at IS 'When name, zone or password last changed.';

CREATE TABLE revoked_tokens (
	user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	token_id uuid NOT NULL,
	revoked_at timestamptz NOT NULL DEFAULT now(),
	expires_at timestamptz NOT NULL,
	PRIMARY KEY (user_id, token_id)
);
CREATE INDEX revoked_tokens_revoked_at ON revoked_tokens (revoked_at);
CREATE INDEX revoked_tokens_expires_at ON revoked_tokens (expires_at);
COMMENT ON TABLE revoked_tokens IS 'Access tokens that were logged out before they expired. Rows are dropped after expires_at.';
COMMENT ON COLUMN revoked_tokens.user_id IS 'Whose token it was.';
COMMENT ON COLUMN revoked_tokens.token_id IS 'The jti claim.';
COMMENT ON COLUMN revoked_tokens.revoked_at IS 'When it was logged out (start of the transaction); servers poll by it.';
COMMENT ON COLUMN revoked_tokens.expires_at IS 'When the token dies by itself.';

-- One row for each call that was made. Token counts are inclusive as reported (input_tokens is everything that went in, the
-- others are parts of it); a part that does not occur is NULL. The id's 48-bit time is the millisecond of occurred_at,
-- so an id alone finds its partition and the primary key is the only index. No foreign key to users: each event adds to a row of
-- usage_15m in the same transaction, whose foreign key stands for it at a fraction of the cost (docs/adr/0005). Whoever deletes a
-- user deletes its events and event_keys after the row in users, in the same transaction.
CREATE TABLE events (
	user_id uuid NOT NULL,
	occurred_at timestamptz NOT NULL,
	id uuid NOT NULL,
	received_at timestamptz NOT NULL,
	provider text NOT NULL,
	model text NOT NULL,
	input_tokens bigint NOT NULL,
	output_tokens bigint NOT NULL,
	cache_read_tokens bigint,
	cache_write_tokens bigint,
	cache_write_1h_tokens bigint,
	input_audio_tokens bigint,
	input_image_tokens bigint,
	input_video_tokens bigint,
	cache_read_audio_tokens bigint,
	cache_read_image_tokens bigint,
	reasoning_tokens bigint,
	citation_tokens bigint,
	output_audio_tokens bigint,
	output_image_tokens bigint,
	output_video_tokens bigint,
	web_searches bigint,
	units jsonb,
	cost numeric,
	catalogue_cost numeric,
	reported_cost numeric,
	pricing_status text NOT NULL,
	price_record text,
	price_rule text NOT NULL,
	price_lines text,
	catalogue_version text NOT NULL,
	service_tier text NOT NULL,
	requested_tier text,
	inference_geo text,
	data_residency text,
	search_context_size text,
	project text,
	customer text,
	tags jsonb,
	metadata jsonb,
	latency_ms bigint,
	status text NOT NULL,
	response_id text,
	api_key_id uuid,
	PRIMARY KEY (user_id, occurred_at, id),
	CONSTRAINT events_names CHECK (char_length(provider) BETWEEN 1 AND 200 AND char_length(model) BETWEEN 1 AND 200),
	CONSTRAINT events_counts CHECK (input_tokens BETWEEN 0 AND 1000000000000 AND output_tokens BETWEEN 0 AND 1000000000000),
	CONSTRAINT events_parts CHECK (
		cache_read_tokens BETWEEN 0 AND input_tokens AND cache_write_tokens BETWEEN 0 AND input_tokens
		AND cache_write_1h_tokens BETWEEN 0 AND cache_write_tokens
		AND input_audio_tokens BETWEEN 0 AND input_tokens AND input_image_tokens BETWEEN 0 AND input_tokens
		AND input_video_tokens BETWEEN 0 AND input_tokens
		AND cache_read_audio_tokens BETWEEN 0 AND cache_read_tokens
		AND cache_read_image_tokens BETWEEN 0 AND cache_read_tokens
		AND reasoning_tokens BETWEEN 0 AND output_tokens AND citation_tokens BETWEEN 0 AND output_tokens
		AND output_audio_tokens BETWEEN 0 AND output_tokens AND output_image_tokens BETWEEN 0 AND output_tokens
		AND output_video_tokens BETWEEN 0 AND output_tokens AND web_searches BETWEEN 0 AND 1000000000),
	CONSTRAINT events_money CHECK (cost >= 0 AND cost <= 1e12 AND catalogue_cost >= 0 AND catalogue_cost <= 1e12
		AND reported_cost >= 0 AND reported_cost <= 1e12),
	CONSTRAINT events_status CHECK (status IN ('success', 'error')),
	CONSTRAINT events_pricing CHECK (CASE pricing_status
		WHEN 'unpriced' THEN cost IS NULL
		WHEN 'priced' THEN cost IS NOT NULL
		WHEN 'free' THEN cost IS NOT NULL AND cost = 0
		WHEN 'reported' THEN cost IS NOT NULL AND reported_cost IS NOT NULL
		ELSE false END),
	CONSTRAINT events_latency CHECK (latency_ms >= 0)
) PARTITION BY RANGE (occurred_at);
COMMENT ON TABLE events IS 'Every LLM call, with its exact cost and how it was found. Range-partitioned by month (UTC) of occurred_at.';
COMMENT ON COLUMN events.user_id IS 'Whose call.';
COMMENT ON COLUMN events.occurred_at IS 'When the call was made (the contract''s timestamp).';
COMMENT ON COLUMN events.id IS 'UUID version 7 whose time is the millisecond of occurred_at.';
COMMENT ON COLUMN events.received_at IS 'When the server took the event (the contract''s tracked_at).';
COMMENT ON COLUMN events.provider IS 'Canonical id of who bills, or the caller''s own lower-case name if unknown.';
COMMENT ON COLUMN events.model IS 'Model as the caller sent it.';
COMMENT ON COLUMN events.input_tokens IS 'Everything that went in.';
COMMENT ON COLUMN events.output_tokens IS 'Everything that came out.';
COMMENT ON COLUMN events.cache_read_tokens IS 'Part of input: read from a prompt cache.';
COMMENT ON COLUMN events.cache_write_tokens IS 'Part of input: written to a prompt cache, all lifetimes.';
COMMENT ON COLUMN events.cache_write_1h_tokens IS 'Part of cache_write: with one hour''s lifetime.';
COMMENT ON COLUMN events.input_audio_tokens IS 'Part of input: audio.';
COMMENT ON COLUMN events.input_image_tokens IS 'Part of input: images.';
COMMENT ON COLUMN events.input_video_tokens IS 'Part of input: video.';
COMMENT ON COLUMN events.cache_read_audio_tokens IS 'Part of cache_read and of input_audio.';
COMMENT ON COLUMN events.cache_read_image_tokens IS 'Part of cache_read and of input_image.';
COMMENT ON COLUMN events.reasoning_tokens IS 'Part of output: reasoning.';
COMMENT ON COLUMN events.citation_tokens IS 'Part of output: citations.';
COMMENT ON COLUMN events.output_audio_tokens IS 'Part of output: audio.';
COMMENT ON COLUMN events.output_image_tokens IS 'Part of output: images.';
COMMENT ON COLUMN events.output_video_tokens IS 'Part of output: video.';
COMMENT ON COLUMN events.web_searches IS 'Searches billed beside the tokens.';
COMMENT ON COLUMN events.units IS 'What is billed not by token, {"unit": decimal}.';
COMMENT ON COLUMN events.cost IS 'USD, exact; NULL = unpriced. The reported cost where the caller knows it.';
COMMENT ON COLUMN events.catalogue_cost IS 'Our own price beside a reported one; NULL where it is the same as cost or unknown.';
COMMENT ON COLUMN events.reported_cost IS 'What the caller or the provider''s usage object said it cost.';
COMMENT ON COLUMN events.pricing_status IS 'priced, free, unpriced or reported.';
COMMENT ON COLUMN events.price_record IS 'Catalogue record used, <provider>/<model>.';
COMMENT ON COLUMN events.price_rule IS 'Which rule found it, or why there is no price.';
COMMENT ON COLUMN events.price_lines IS 'The breakdown in compact form, "input:1000@30;output:500@60".';
COMMENT ON COLUMN events.catalogue_version IS 'Version of the catalogue that priced it.';
COMMENT ON COLUMN events.service_tier IS 'The tier charged: standard, batch, flex, priority or fast.';
COMMENT ON COLUMN events.requested_tier IS 'The tier as reported.';
COMMENT ON COLUMN events.inference_geo IS 'As reported; some providers charge by it.';
COMMENT ON COLUMN events.data_residency IS 'As reported; some providers charge by it.';
COMMENT ON COLUMN events.search_context_size IS 'low, medium or high, as reported; some providers'' request fees go by it.';
COMMENT ON COLUMN events.project IS 'Caller''s project.';
COMMENT ON COLUMN events.customer IS 'Caller''s customer.';
COMMENT ON COLUMN events.tags IS 'Up to 8 string pairs.';
COMMENT ON COLUMN events.metadata IS 'Caller''s own object, up to 4 KiB.';
COMMENT ON COLUMN events.latency_ms IS 'How long the call took, milliseconds.';
COMMENT ON COLUMN events.status IS 'success or error (failed calls can cost too).';
COMMENT ON COLUMN events.response_id IS 'The provider''s id of the response.';
COMMENT ON COLUMN events.api_key_id IS 'The API key that reported it; NULL for a session.';

-- Idempotency for ever. Not partitioned by time: a unique constraint on a partitioned table must contain the partition
-- key, and a repeat may carry another time.
CREATE TABLE event_keys (
	user_id uuid NOT NULL,
	key text NOT NULL CONSTRAINT event_keys_key_length CHECK (char_length(key) BETWEEN 1 AND 128),
	event_id uuid NOT NULL,
	occurred_at timestamptz NOT NULL,
	fingerprint bytea NOT NULL CONSTRAINT event_keys_fingerprint_length CHECK (octet_length(fingerprint) = 32),
	PRIMARY KEY (user_id, key)
);
COMMENT ON TABLE event_keys IS 'Idempotency keys: a key names one event for ever.';
COMMENT ON COLUMN event_keys.user_id IS 'Whose key; keys of different users never meet.';
COMMENT ON COLUMN event_keys.key IS 'As the caller gave it, or the id of the provider''s response.';
COMMENT ON COLUMN event_keys.event_id IS 'The event stored under it.';
COMMENT ON COLUMN event_keys.occurred_at IS 'That event''s time, to find its partition.';
COMMENT ON COLUMN event_keys.fingerprint IS 'SHA-256 over the validated fields of the event.';

CREATE TABLE usage_15m (
	user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	bucket timestamptz NOT NULL CONSTRAINT usage_15m_quarter CHECK (extract(epoch FROM bucket)::bigint % 900 = 0),
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
	reasoning_tokens bigint NOT NULL,
	cost numeric NOT NULL CONSTRAINT usage_15m_cost CHECK (cost >= 0 AND cost < 1e20),
	PRIMARY KEY (user_id, bucket, provider, model, project),
	CONSTRAINT usage_15m_counts CHECK (calls >= 0 AND errors BETWEEN 0 AND calls AND unpriced_calls BETWEEN 0 AND calls
		AND input_tokens >= 0 AND output_tokens >= 0 AND cache_read_tokens >= 0 AND cache_write_tokens >= 0
		AND reasoning_tokens >= 0)
) WITH (fillfactor = 70);
COMMENT ON TABLE usage_15m IS 'Sums of events by quarter of an hour (UTC): every time zone''s day begins on one. Written in the same transaction as the events.';
COMMENT ON COLUMN usage_15m.user_id IS 'Whose usage.';
COMMENT ON COLUMN usage_15m.bucket IS 'Begin of the quarter of an hour that contains occurred_at.';
COMMENT ON COLUMN usage_15m.provider IS 'As in events.';
COMMENT ON COLUMN usage_15m.model IS 'As in events.';
COMMENT ON COLUMN usage_15m.project IS 'As in events; empty for none.';
COMMENT ON COLUMN usage_15m.calls IS 'Number of events.';
COMMENT ON COLUMN usage_15m.errors IS 'Of these, with status error.';
COMMENT ON COLUMN usage_15m.unpriced_calls IS 'Of these, without a price: cost does not contain them.';
COMMENT ON COLUMN usage_15m.input_tokens IS 'Sum.';
COMMENT ON COLUMN usage_15m.output_tokens IS 'Sum.';
COMMENT ON COLUMN usage_15m.cache_read_tokens IS 'Sum.';
COMMENT ON COLUMN usage_15m.cache_write_tokens IS 'Sum.';
COMMENT ON COLUMN usage_15m.reasoning_tokens IS 'Sum.';
COMMENT ON COLUMN usage_15m.cost IS 'Sum of cost, USD, exact.';

CREATE TABLE budgets (
	user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	id uuid NOT NULL,
	name text CONSTRAINT budgets_name_length CHECK (char_length(name) BETWEEN 1 AND 200),
	amount numeric NOT NULL CONSTRAINT budgets_amount CHECK (amount > 0 AND amount <= 1e12),
	period text NOT NULL CONSTRAINT budgets_period CHECK (period IN ('daily', 'weekly', 'monthly', 'yearly')),
	scope_dimension text NOT NULL DEFAULT '',
	scope_value text NOT NULL DEFAULT '',
	thresholds smallint[] NOT NULL DEFAULT '{50,80,100}'
		CONSTRAINT budgets_thresholds CHECK (cardinality(thresholds) BETWEEN 1 AND 10 AND 1 <= ALL (thresholds) AND 1000 >= ALL (thresholds)),
	hard boolean NOT NULL DEFAULT false,
	created_at timestamptz NOT NULL DEFAULT now(),
	updated_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (user_id, id),
	CONSTRAINT budgets_one_per_scope UNIQUE (user_id, period, scope_dimension, scope_value),
	CONSTRAINT budgets_scope CHECK ((scope_dimension = '') = (scope_value = '')
		AND (scope_dimension IN ('', 'provider', 'model', 'project', 'customer') OR scope_dimension LIKE 'tag.%'))
);
COMMENT ON TABLE budgets IS 'Limits on spend by calendar period. Nothing here is ever reset: the period follows from the calendar and the user''s zone.';
COMMENT ON COLUMN budgets.user_id IS 'Whose budget.';
COMMENT ON COLUMN budgets.id IS 'UUID version 7.';
COMMENT ON COLUMN budgets.name IS 'Display name; NULL for none.';
COMMENT ON COLUMN budgets.amount IS 'The limit in USD.';
COMMENT ON COLUMN budgets.period IS 'daily, weekly (ISO), monthly or yearly.';
COMMENT ON COLUMN budgets.scope_dimension IS 'Empty: all spend; else provider, model, project, customer or tag.<key>.';
COMMENT ON COLUMN budgets.scope_value IS 'The value the dimension must have.';
COMMENT ON COLUMN budgets.thresholds IS 'Percentages at which to warn.';
COMMENT ON COLUMN budgets.hard IS 'Whether reservations may not pass the limit.';
COMMENT ON COLUMN budgets.created_at IS 'When it was made.';
COMMENT ON COLUMN budgets.updated_at IS 'When it last changed.';

-- Partitions are made ahead and on demand. Two servers asking at once make it once: the advisory lock is held to the end of the
-- caller's transaction. Attaching, unlike CREATE TABLE ... PARTITION OF, does not lock out the writers of other months. IF NOT EXISTS
-- because a backend may remember that a name was free when it last looked, before it waited for the lock.
CREATE FUNCTION events_ensure_partition(at timestamptz) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	month_start timestamp := date_trunc('month', at AT TIME ZONE 'UTC');
	partition_name text := 'events_' || to_char(month_start, 'YYYY_MM');
BEGIN
	IF EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'events'::regclass AND inhrelid = to_regclass(partition_name)) THEN
		RETURN partition_name;
	END IF;
	PERFORM pg_advisory_xact_lock(hashtext('llmlab events partition'));
	EXECUTE format('CREATE TABLE IF NOT EXISTS %I (LIKE events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', partition_name);
	IF NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'events'::regclass AND inhrelid = to_regclass(partition_name)) THEN
		EXECUTE format('ALTER TABLE events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', partition_name,
			month_start AT TIME ZONE 'UTC', (month_start + interval '1 month') AT TIME ZONE 'UTC');
	END IF;
	RETURN partition_name;
END $$;
COMMENT ON FUNCTION events_ensure_partition(timestamptz) IS 'Makes the month''s partition of events if it does not exist; returns its name.';
