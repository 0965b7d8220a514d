-- Retention: whole months of events go at once, which costs nothing beside deleting rows one by one. Sums
-- (usage_15m) and idempotency keys (event_keys) stay.
--
-- One month a call, so that the locks are short: dropping a partition takes the parent's for a moment, and what
-- cannot have it within a second is left for the next call. One server at a time: the advisory lock.
CREATE FUNCTION events_drop_ended(before timestamptz) RETURNS text LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
DECLARE
	partition_name text;
BEGIN
	IF NOT pg_try_advisory_xact_lock(hashtext('llmlab event retention')) THEN
		RETURN NULL;
	END IF;
	SELECT p.name INTO partition_name
		FROM (SELECT c.relname AS name, to_date(substring(c.relname FROM '^events_(\d{4}_\d{2})$'), 'YYYY_MM') AS month
			FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
			WHERE i.inhparent = 'events'::regclass) AS p
		WHERE (p.month + interval '1 month') AT TIME ZONE 'UTC' <= before
		ORDER BY p.month LIMIT 1;
	IF partition_name IS NOT NULL THEN
		EXECUTE format('DROP TABLE %I', partition_name);
	END IF;
	RETURN partition_name;
END $$;
COMMENT ON FUNCTION events_drop_ended(timestamptz) IS 'Drops the oldest month of events if it ended by then; returns its partition''s name, NULL for none.';
