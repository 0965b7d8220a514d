-- Re-pricings take turns by user, and never go on by an older catalogue than they were begun with.

-- Catalogues have no order of their own (a version is a hash of the content), so the order is that in which this database
-- first saw them: every server notes its catalogue when it starts and when it loads another one.
CREATE TABLE price_catalogues (
	version text PRIMARY KEY CONSTRAINT price_catalogues_version_length CHECK (char_length(version) BETWEEN 1 AND 64),
	number bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
	first_seen_at timestamptz NOT NULL DEFAULT now(),
	last_seen_at timestamptz NOT NULL DEFAULT now(),
	CONSTRAINT price_catalogues_number UNIQUE (number)
);
COMMENT ON TABLE price_catalogues IS 'The price catalogues that servers of this database came with: no tenant''s.';
COMMENT ON COLUMN price_catalogues.version IS 'As in events.catalogue_version.';
COMMENT ON COLUMN price_catalogues.number IS 'Higher: newer, that is first seen later.';
COMMENT ON COLUMN price_catalogues.first_seen_at IS 'When the first server came with it.';
COMMENT ON COLUMN price_catalogues.last_seen_at IS 'When a server last said that it has it; every one does so each minute.';

ALTER TABLE repricings ADD COLUMN catalogue_number bigint NOT NULL DEFAULT 0, ADD COLUMN holder bigint;
COMMENT ON COLUMN repricings.catalogue_number IS 'The newest catalogue that a chunk was priced with (price_catalogues.number); 0: not known. Nobody goes on with an older one.';
COMMENT ON COLUMN repricings.holder IS 'Who ran the last chunk: the random number of a server''s repricer; NULL: a request.';
CREATE INDEX repricings_running_by_user ON repricings (user_id, progress_at) WHERE state = 'running';
