-- What the background found unusual, so that each finding is told once, and what users do not want to see any more.

CREATE TABLE anomalies (
	user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	id text NOT NULL CONSTRAINT anomalies_id CHECK (id ~ '^[0-9a-f]{16}$'),
	granularity text NOT NULL CONSTRAINT anomalies_granularity CHECK (granularity IN ('day', 'hour')),
	start_at timestamptz NOT NULL,
	end_at timestamptz NOT NULL CONSTRAINT anomalies_end CHECK (end_at > start_at),
	scope jsonb NOT NULL CONSTRAINT anomalies_scope CHECK (jsonb_typeof(scope) = 'object'),
	cost numeric NOT NULL CONSTRAINT anomalies_cost CHECK (cost >= 0 AND cost < 1e20),
	expected_cost numeric NOT NULL CONSTRAINT anomalies_expected CHECK (expected_cost >= 0 AND expected_cost < cost),
	score double precision NOT NULL CONSTRAINT anomalies_score CHECK (score > 0 AND score < 'Infinity'),
	severity text NOT NULL CONSTRAINT anomalies_severity CHECK (severity IN ('low', 'medium', 'high', 'critical')),
	event_id uuid,
	detected_at timestamptz NOT NULL,
	PRIMARY KEY (user_id, id)
);
CREATE INDEX anomalies_start ON anomalies (user_id, start_at);
COMMENT ON TABLE anomalies IS 'Times that cost unusually much, as first found by the background; they are computed anew for each answer.';
COMMENT ON COLUMN anomalies.user_id IS 'Whose spend.';
COMMENT ON COLUMN anomalies.id IS 'From user, granularity, start and scope: the same finding has the same id every time.';
COMMENT ON COLUMN anomalies.granularity IS 'Length of the time: a day in the user''s zone, or an hour.';
COMMENT ON COLUMN anomalies.start_at IS 'Begin, included.';
COMMENT ON COLUMN anomalies.end_at IS 'End, excluded.';
COMMENT ON COLUMN anomalies.scope IS 'Which part of the spend, as in answers: {} is all of it.';
COMMENT ON COLUMN anomalies.cost IS 'USD, exact, when last looked at: a day that is not over yet may grow.';
COMMENT ON COLUMN anomalies.expected_cost IS 'USD: an estimate, of 6 decimals.';
COMMENT ON COLUMN anomalies.score IS 'Distance from what was expected, in robust deviations.';
COMMENT ON COLUMN anomalies.severity IS 'By score.';
COMMENT ON COLUMN anomalies.event_id IS 'The dearest event of it; NULL if its events are gone.';
COMMENT ON COLUMN anomalies.detected_at IS 'When it was first found, and told.';

CREATE TABLE anomaly_scans (
	user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	scanned_at timestamptz NOT NULL,
	PRIMARY KEY (user_id)
);
COMMENT ON TABLE anomaly_scans IS 'When the background last looked for unusual spend of a user: servers share the work by it.';
COMMENT ON COLUMN anomaly_scans.user_id IS 'Whose spend.';
COMMENT ON COLUMN anomaly_scans.scanned_at IS 'When the last look began.';

CREATE TABLE recommendation_dismissals (
	user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	recommendation_id text NOT NULL CONSTRAINT recommendation_dismissals_id CHECK (length(recommendation_id) BETWEEN 1 AND 64),
	dismissed_at timestamptz NOT NULL,
	PRIMARY KEY (user_id, recommendation_id)
);
COMMENT ON TABLE recommendation_dismissals IS 'Recommendations that a user does not want to see any more.';
COMMENT ON COLUMN recommendation_dismissals.user_id IS 'Who dismissed it.';
COMMENT ON COLUMN recommendation_dismissals.recommendation_id IS 'As in answers.';
COMMENT ON COLUMN recommendation_dismissals.dismissed_at IS 'When.';
