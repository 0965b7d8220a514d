-- Own prices of users, and the ledger of re-pricings. What was recorded once is corrected only through the ledger: every event
-- that a re-pricing changes leaves a row that holds what it said before.

-- Numbers the changes of own prices. A user's changes happen one after the other (the account's row is held), so for one
-- user a higher number is a later state.
CREATE SEQUENCE price_override_revisions AS bigint;
COMMENT ON SEQUENCE price_override_revisions IS 'Numbers the changes of own prices.';

CREATE TABLE price_overrides (
	user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	id uuid NOT NULL,
	body text NOT NULL CONSTRAINT price_overrides_body_length CHECK (octet_length(body) BETWEEN 2 AND 16384),
	exact boolean NOT NULL,
	created_at timestamptz NOT NULL DEFAULT now(),
	deleted_at timestamptz,
	revision bigint NOT NULL DEFAULT nextval('price_override_revisions'),
	changed_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
	PRIMARY KEY (user_id, id),
	CONSTRAINT price_overrides_times CHECK (deleted_at >= created_at)
);
CREATE INDEX price_overrides_changed ON price_overrides (changed_xid);
CREATE INDEX price_overrides_deleted ON price_overrides (deleted_at) WHERE deleted_at IS NOT NULL;
COMMENT ON TABLE price_overrides IS 'Prices that users set themselves; they come before the catalogue. A deleted one stays for a day, so that every server sees it go.';
COMMENT ON COLUMN price_overrides.user_id IS 'Whose price.';
COMMENT ON COLUMN price_overrides.id IS 'UUID version 7.';
COMMENT ON COLUMN price_overrides.body IS 'The price as JSON, in the form of POST /api/pricing/overrides; text, so that digits stay as given.';
COMMENT ON COLUMN price_overrides.exact IS 'Whether it names one model; those come before the ones with a rule.';
COMMENT ON COLUMN price_overrides.created_at IS 'When it was made.';
COMMENT ON COLUMN price_overrides.deleted_at IS 'When it was deleted; NULL: it holds.';
COMMENT ON COLUMN price_overrides.revision IS 'Number of its last change.';
COMMENT ON COLUMN price_overrides.changed_xid IS 'Transaction of its last change: a reader that asks for all from the oldest one that was running misses none.';

CREATE TABLE repricings (
	user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	id uuid NOT NULL,
	kind text NOT NULL CONSTRAINT repricings_kind CHECK (kind IN ('requested', 'automatic')),
	api_key_id uuid,
	reason text CONSTRAINT repricings_reason_length CHECK (char_length(reason) BETWEEN 1 AND 500),
	range_from timestamptz NOT NULL,
	range_to timestamptz NOT NULL,
	provider text CONSTRAINT repricings_provider_length CHECK (char_length(provider) BETWEEN 1 AND 200),
	model text CONSTRAINT repricings_model_length CHECK (char_length(model) BETWEEN 1 AND 200),
	state text NOT NULL DEFAULT 'running' CONSTRAINT repricings_state CHECK (state IN ('running', 'done', 'failed')),
	cursor_at timestamptz NOT NULL,
	cursor_id uuid NOT NULL,
	events_examined bigint NOT NULL DEFAULT 0,
	events_changed bigint NOT NULL DEFAULT 0,
	range_old_cost numeric NOT NULL DEFAULT 0,
	range_new_cost numeric NOT NULL DEFAULT 0,
	created_at timestamptz NOT NULL DEFAULT now(),
	progress_at timestamptz NOT NULL DEFAULT now(),
	finished_at timestamptz,
	PRIMARY KEY (user_id, id),
	CONSTRAINT repricings_range CHECK (range_from < range_to AND isfinite(range_from) AND isfinite(range_to)),
	CONSTRAINT repricings_automatic CHECK (kind = 'requested' OR (provider IS NOT NULL AND model IS NOT NULL AND api_key_id IS NULL)),
	CONSTRAINT repricings_counts CHECK (events_changed BETWEEN 0 AND events_examined),
	CONSTRAINT repricings_money CHECK (range_old_cost >= 0 AND range_old_cost < 1e20 AND range_new_cost >= 0 AND range_new_cost < 1e20),
	CONSTRAINT repricings_finished CHECK ((state = 'running') = (finished_at IS NULL))
);
CREATE INDEX repricings_running ON repricings (progress_at) WHERE state = 'running';
COMMENT ON TABLE repricings IS 'Every application of new prices to recorded events: who, when, why, what range. Goes through the range in chunks, each one transaction that also moves the cursor, so that a broken-off one is resumed and nothing is applied twice.';
COMMENT ON COLUMN repricings.user_id IS 'Whose events.';
COMMENT ON COLUMN repricings.id IS 'UUID version 7.';
COMMENT ON COLUMN repricings.kind IS 'requested: all events of the range, by the user. automatic: unpriced ones of one model, when a price became known.';
COMMENT ON COLUMN repricings.api_key_id IS 'The API key that asked for it; NULL for a session or an automatic one.';
COMMENT ON COLUMN repricings.reason IS 'Why, in the user''s words.';
COMMENT ON COLUMN repricings.range_from IS 'First instant of the range.';
COMMENT ON COLUMN repricings.range_to IS 'End of the range, exclusive.';
COMMENT ON COLUMN repricings.provider IS 'Only events of this provider; NULL: any.';
COMMENT ON COLUMN repricings.model IS 'Only events of this model; NULL: any.';
COMMENT ON COLUMN repricings.state IS 'running, done or failed (what was changed before that stays, and is in the ledger).';
COMMENT ON COLUMN repricings.cursor_at IS 'Events up to (cursor_at, cursor_id) are done.';
COMMENT ON COLUMN repricings.cursor_id IS 'Second half of the cursor.';
COMMENT ON COLUMN repricings.events_examined IS 'Events of the range looked at so far.';
COMMENT ON COLUMN repricings.events_changed IS 'Of these, changed: each has a row in repricing_changes.';
COMMENT ON COLUMN repricings.range_old_cost IS 'What the examined events cost before, USD, unchanged ones included.';
COMMENT ON COLUMN repricings.range_new_cost IS 'What they cost after.';
COMMENT ON COLUMN repricings.created_at IS 'When it was asked for.';
COMMENT ON COLUMN repricings.progress_at IS 'When its last chunk began.';
COMMENT ON COLUMN repricings.finished_at IS 'When it was done or failed; NULL while it is running.';

CREATE TABLE repricing_models (
	user_id uuid NOT NULL,
	repricing_id uuid NOT NULL,
	provider text NOT NULL,
	model text NOT NULL,
	events bigint NOT NULL CONSTRAINT repricing_models_events CHECK (events > 0),
	old_cost numeric NOT NULL,
	new_cost numeric NOT NULL,
	PRIMARY KEY (user_id, repricing_id, provider, model),
	FOREIGN KEY (user_id, repricing_id) REFERENCES repricings (user_id, id) ON DELETE CASCADE,
	CONSTRAINT repricing_models_money CHECK (old_cost >= 0 AND old_cost < 1e20 AND new_cost >= 0 AND new_cost < 1e20)
);
COMMENT ON TABLE repricing_models IS 'Sums of repricing_changes by provider and model, written in the same transactions.';
COMMENT ON COLUMN repricing_models.user_id IS 'Whose events.';
COMMENT ON COLUMN repricing_models.repricing_id IS 'The re-pricing.';
COMMENT ON COLUMN repricing_models.provider IS 'As in events.';
COMMENT ON COLUMN repricing_models.model IS 'As in events.';
COMMENT ON COLUMN repricing_models.events IS 'Changed events.';
COMMENT ON COLUMN repricing_models.old_cost IS 'What they cost before, USD; unpriced ones count nothing.';
COMMENT ON COLUMN repricing_models.new_cost IS 'What they cost after.';

CREATE TABLE repricing_changes (
	user_id uuid NOT NULL,
	repricing_id uuid NOT NULL,
	occurred_at timestamptz NOT NULL,
	event_id uuid NOT NULL,
	old_cost numeric,
	old_catalogue_cost numeric,
	old_status text NOT NULL,
	old_record text,
	old_rule text NOT NULL,
	old_lines text,
	old_service_tier text NOT NULL,
	old_version text NOT NULL,
	new_cost numeric,
	new_catalogue_cost numeric,
	new_status text NOT NULL,
	new_record text,
	new_rule text NOT NULL,
	new_version text NOT NULL,
	changed_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (user_id, repricing_id, occurred_at, event_id),
	FOREIGN KEY (user_id, repricing_id) REFERENCES repricings (user_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE repricing_changes IS 'The ledger: one row for each event that a re-pricing changed. Rows are never changed; they go only with the account.';
COMMENT ON COLUMN repricing_changes.user_id IS 'Whose event.';
COMMENT ON COLUMN repricing_changes.repricing_id IS 'The re-pricing. The primary key keeps it from changing an event twice.';
COMMENT ON COLUMN repricing_changes.occurred_at IS 'The event''s time.';
COMMENT ON COLUMN repricing_changes.event_id IS 'The event.';
COMMENT ON COLUMN repricing_changes.old_cost IS 'Cost before, USD; NULL: unpriced.';
COMMENT ON COLUMN repricing_changes.old_catalogue_cost IS 'Our own price before, beside a reported cost.';
COMMENT ON COLUMN repricing_changes.old_status IS 'pricing_status before.';
COMMENT ON COLUMN repricing_changes.old_record IS 'price_record before.';
COMMENT ON COLUMN repricing_changes.old_rule IS 'price_rule before.';
COMMENT ON COLUMN repricing_changes.old_lines IS 'price_lines before: the breakdown that explained the old cost.';
COMMENT ON COLUMN repricing_changes.old_service_tier IS 'service_tier before.';
COMMENT ON COLUMN repricing_changes.old_version IS 'catalogue_version before.';
COMMENT ON COLUMN repricing_changes.new_cost IS 'Cost after, USD; NULL: unpriced.';
COMMENT ON COLUMN repricing_changes.new_catalogue_cost IS 'Our own price after, beside a reported cost.';
COMMENT ON COLUMN repricing_changes.new_status IS 'pricing_status after.';
COMMENT ON COLUMN repricing_changes.new_record IS 'price_record after.';
COMMENT ON COLUMN repricing_changes.new_rule IS 'price_rule after.';
COMMENT ON COLUMN repricing_changes.new_version IS 'catalogue_version after.';
COMMENT ON COLUMN repricing_changes.changed_at IS 'Begin of the transaction that changed it.';

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'rows of % are never changed', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;
COMMENT ON FUNCTION refuse_change() IS 'Trigger of append-only tables.';
CREATE TRIGGER repricing_changes_append_only BEFORE UPDATE ON repricing_changes
	FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Finds what has no price without reading events. An update that leaves unpriced_calls as it is stays heap-only.
CREATE INDEX usage_15m_unpriced ON usage_15m (user_id, provider, model, bucket) WHERE unpriced_calls > 0;
