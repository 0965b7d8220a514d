-- Amounts held against budgets before a call is made, and what was told of budgets and of models without a price.

CREATE TABLE reservations (
	user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	id uuid NOT NULL,
	amount numeric NOT NULL CONSTRAINT reservations_amount CHECK (amount >= 0 AND amount <= 1e12),
	provider text CONSTRAINT reservations_provider_length CHECK (char_length(provider) BETWEEN 1 AND 200),
	model text CONSTRAINT reservations_model_length CHECK (char_length(model) BETWEEN 1 AND 200),
	project text CONSTRAINT reservations_project_length CHECK (char_length(project) BETWEEN 1 AND 200),
	customer text CONSTRAINT reservations_customer_length CHECK (char_length(customer) BETWEEN 1 AND 200),
	tags jsonb,
	created_at timestamptz NOT NULL DEFAULT statement_timestamp(),
	expires_at timestamptz NOT NULL,
	PRIMARY KEY (user_id, id),
	CONSTRAINT reservations_times CHECK (expires_at > created_at AND expires_at <= created_at + interval '1 day')
);
CREATE INDEX reservations_expires_at ON reservations (expires_at);
COMMENT ON TABLE reservations IS 'Amounts held for calls that are about to be made. A row counts until expires_at; it goes in the transaction that stores the call, or when it is released. What has expired counts nothing, deleted or not.';
COMMENT ON COLUMN reservations.user_id IS 'Whose call.';
COMMENT ON COLUMN reservations.id IS 'UUID version 7.';
COMMENT ON COLUMN reservations.amount IS 'USD held against every budget whose scope the call is in.';
COMMENT ON COLUMN reservations.provider IS 'Who will bill the call; NULL: not known.';
COMMENT ON COLUMN reservations.model IS 'As in events; NULL: not known.';
COMMENT ON COLUMN reservations.project IS 'As in events.';
COMMENT ON COLUMN reservations.customer IS 'As in events.';
COMMENT ON COLUMN reservations.tags IS 'As in events.';
COMMENT ON COLUMN reservations.created_at IS 'When it was made, by the clock of the database.';
COMMENT ON COLUMN reservations.expires_at IS 'From then on it holds nothing, by the clock of the database.';

-- No foreign key to budgets: what was told stays told when the budget goes.
CREATE TABLE alerts (
	user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	id uuid NOT NULL,
	kind text NOT NULL CONSTRAINT alerts_kind CHECK (kind IN ('budget.threshold', 'model.unpriced')),
	budget_id uuid,
	budget_name text,
	period_day date,
	period_start timestamptz,
	period_end timestamptz,
	threshold smallint,
	spend numeric CONSTRAINT alerts_spend CHECK (spend >= 0 AND spend < 1e24),
	amount numeric CONSTRAINT alerts_amount CHECK (amount > 0 AND amount <= 1e12),
	provider text,
	model text,
	created_at timestamptz NOT NULL DEFAULT now(),
	acknowledged_at timestamptz,
	PRIMARY KEY (user_id, id),
	CONSTRAINT alerts_once UNIQUE (user_id, budget_id, period_day, threshold),
	CONSTRAINT alerts_budget CHECK (kind <> 'budget.threshold' OR (budget_id IS NOT NULL AND period_day IS NOT NULL
		AND period_start IS NOT NULL AND period_end IS NOT NULL AND threshold IS NOT NULL AND spend IS NOT NULL
		AND amount IS NOT NULL)),
	CONSTRAINT alerts_model CHECK (kind <> 'model.unpriced' OR (provider IS NOT NULL AND model IS NOT NULL))
);
CREATE UNIQUE INDEX alerts_unpriced_once ON alerts (user_id, provider, model) WHERE kind = 'model.unpriced';
CREATE INDEX alerts_created_at ON alerts (created_at) WHERE kind = 'budget.threshold';
COMMENT ON TABLE alerts IS 'What was told: each threshold of a budget once in a period, each model without a price once. Written in the same transaction as the deliveries to webhooks.';
COMMENT ON COLUMN alerts.user_id IS 'Who is told.';
COMMENT ON COLUMN alerts.id IS 'UUID version 7.';
COMMENT ON COLUMN alerts.kind IS 'budget.threshold or model.unpriced.';
COMMENT ON COLUMN alerts.budget_id IS 'The budget (which may be gone); NULL for other kinds.';
COMMENT ON COLUMN alerts.budget_name IS 'Its name then.';
COMMENT ON COLUMN alerts.period_day IS 'First day of the period in the user''s zone: the same period when the zone changes.';
COMMENT ON COLUMN alerts.period_start IS 'When the period began.';
COMMENT ON COLUMN alerts.period_end IS 'When it ends, exclusive.';
COMMENT ON COLUMN alerts.threshold IS 'Per cent of the limit that were reached.';
COMMENT ON COLUMN alerts.spend IS 'USD spent in the period when it was noticed.';
COMMENT ON COLUMN alerts.amount IS 'The limit then, USD.';
COMMENT ON COLUMN alerts.provider IS 'Of the model without a price; NULL for other kinds.';
COMMENT ON COLUMN alerts.model IS 'The model without a price; NULL for other kinds.';
COMMENT ON COLUMN alerts.created_at IS 'When it was noticed.';
COMMENT ON COLUMN alerts.acknowledged_at IS 'When somebody took note; NULL: not yet.';
