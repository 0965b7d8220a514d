-- Webhooks, and the outbox of what is to be delivered to them. A notification is written in the transaction of what it tells of; a
-- sender of any server claims it with a lease, so that nothing is lost with a server and everything is sent at least once.

CREATE TABLE webhooks (
	user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	id uuid NOT NULL,
	name text CONSTRAINT webhooks_name_length CHECK (char_length(name) BETWEEN 1 AND 200),
	url text NOT NULL CONSTRAINT webhooks_url_length CHECK (octet_length(url) BETWEEN 8 AND 2048),
	events text[] NOT NULL CONSTRAINT webhooks_events_count CHECK (cardinality(events) BETWEEN 1 AND 16),
	format text NOT NULL CONSTRAINT webhooks_format CHECK (format IN ('json', 'slack', 'discord')),
	secret text NOT NULL CONSTRAINT webhooks_secret_length CHECK (octet_length(secret) BETWEEN 32 AND 400),
	active boolean NOT NULL DEFAULT true,
	disabled_reason text CONSTRAINT webhooks_disabled_reason CHECK (disabled_reason IN ('gone')),
	created_at timestamptz NOT NULL DEFAULT now(),
	updated_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (user_id, id),
	CONSTRAINT webhooks_disabled CHECK (NOT active OR disabled_reason IS NULL)
);
COMMENT ON TABLE webhooks IS 'Where notifications of an account are sent.';
COMMENT ON COLUMN webhooks.user_id IS 'Whose webhook.';
COMMENT ON COLUMN webhooks.id IS 'UUID version 7.';
COMMENT ON COLUMN webhooks.name IS 'Display name, or NULL.';
COMMENT ON COLUMN webhooks.url IS 'The address as the user gave it; checked then, and at every delivery with what its host resolves to.';
COMMENT ON COLUMN webhooks.events IS 'Kinds of notifications it gets.';
COMMENT ON COLUMN webhooks.format IS 'Form of the body: json (ours), slack or discord (a message their incoming webhooks take).';
COMMENT ON COLUMN webhooks.secret IS 'The signing secret, encrypted (docs/adr/0009): id of the key, a dot, base64url of nonce, text and tag.';
COMMENT ON COLUMN webhooks.active IS 'Whether anything is sent to it.';
COMMENT ON COLUMN webhooks.disabled_reason IS 'Why the server made it inactive: gone (its address answered 410). NULL: it did not.';
COMMENT ON COLUMN webhooks.created_at IS 'When it was made.';
COMMENT ON COLUMN webhooks.updated_at IS 'When it last changed.';

CREATE TABLE webhook_deliveries (
	user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	id uuid NOT NULL,
	webhook_id uuid NOT NULL,
	event_type text NOT NULL CONSTRAINT webhook_deliveries_event_type_length CHECK (char_length(event_type) BETWEEN 1 AND 64),
	payload text NOT NULL CONSTRAINT webhook_deliveries_payload_length CHECK (octet_length(payload) BETWEEN 2 AND 16384),
	status text NOT NULL DEFAULT 'pending' CONSTRAINT webhook_deliveries_status CHECK (status IN ('pending', 'delivered', 'failed')),
	attempts integer NOT NULL DEFAULT 0 CONSTRAINT webhook_deliveries_attempts CHECK (attempts >= 0),
	response_status integer,
	duration_ms integer CONSTRAINT webhook_deliveries_duration CHECK (duration_ms >= 0),
	error text,
	created_at timestamptz NOT NULL DEFAULT now(),
	last_attempt_at timestamptz,
	next_attempt_at timestamptz DEFAULT now(),
	leased_until timestamptz,
	finished_at timestamptz,
	PRIMARY KEY (user_id, id),
	FOREIGN KEY (user_id, webhook_id) REFERENCES webhooks (user_id, id) ON DELETE CASCADE,
	CONSTRAINT webhook_deliveries_finished CHECK ((status = 'pending') = (finished_at IS NULL)),
	CONSTRAINT webhook_deliveries_next CHECK ((status = 'pending') = (next_attempt_at IS NOT NULL)),
	CONSTRAINT webhook_deliveries_leased CHECK (status = 'pending' OR leased_until IS NULL)
);
CREATE INDEX webhook_deliveries_of_webhook ON webhook_deliveries (user_id, webhook_id, id);
CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (user_id, next_attempt_at, id) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_leases ON webhook_deliveries (user_id, leased_until) WHERE leased_until IS NOT NULL;
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (next_attempt_at, id) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_old ON webhook_deliveries (finished_at) WHERE finished_at IS NOT NULL;
COMMENT ON TABLE webhook_deliveries IS 'The outbox and, once finished, the log of deliveries. A bounded number waits for a webhook, a bounded number of finished ones is kept, for some days.';
COMMENT ON COLUMN webhook_deliveries.user_id IS 'Whose webhook.';
COMMENT ON COLUMN webhook_deliveries.id IS 'UUID version 7, sent along: by it a receiver knows a repeat.';
COMMENT ON COLUMN webhook_deliveries.webhook_id IS 'Where it goes.';
COMMENT ON COLUMN webhook_deliveries.event_type IS 'Kind of the notification.';
COMMENT ON COLUMN webhook_deliveries.payload IS 'What it tells, a JSON object; text, so that digits stay as they are.';
COMMENT ON COLUMN webhook_deliveries.status IS 'pending, delivered (answered 2xx) or failed (refused for good, or given up).';
COMMENT ON COLUMN webhook_deliveries.attempts IS 'Attempts begun; a claim counts one. Whoever ends an attempt names its number, so that a late one changes nothing.';
COMMENT ON COLUMN webhook_deliveries.response_status IS 'HTTP status of the last attempt that ended; NULL: there was no answer.';
COMMENT ON COLUMN webhook_deliveries.duration_ms IS 'How long the last attempt that ended took.';
COMMENT ON COLUMN webhook_deliveries.error IS 'Class of the last attempt''s failure.';
COMMENT ON COLUMN webhook_deliveries.created_at IS 'When the notification was made; for a day from then it is tried.';
COMMENT ON COLUMN webhook_deliveries.last_attempt_at IS 'When the last attempt was begun.';
COMMENT ON COLUMN webhook_deliveries.next_attempt_at IS 'Not tried before; while an attempt runs, the end of its lease. NULL once finished.';
COMMENT ON COLUMN webhook_deliveries.leased_until IS 'A server is at it until then; if it is lost, another one goes on. NULL: none is.';
COMMENT ON COLUMN webhook_deliveries.finished_at IS 'When it was delivered or failed; NULL while it is pending.';
