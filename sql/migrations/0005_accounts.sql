-- Accounts: API keys, what ends sessions and keys on every server, waits after failed logins, and accounts that are being deleted.
--
-- Sessions and keys end by generation and not by time: a token carries its user's session_generation, a server remembers a key together
-- with its user's key_generation, and what is older than the user's own is not believed. No clocks are compared.

ALTER TABLE users
	ADD COLUMN session_generation bigint NOT NULL DEFAULT 0 CONSTRAINT users_session_generation CHECK (session_generation >= 0),
	ADD COLUMN key_generation bigint NOT NULL DEFAULT 0 CONSTRAINT users_key_generation CHECK (key_generation >= 0),
	ADD COLUMN deleted_at timestamptz;
CREATE INDEX users_deleted ON users (deleted_at) WHERE deleted_at IS NOT NULL;
COMMENT ON COLUMN users.session_generation IS 'Raised when all sessions end (a new password); tokens with a lower one are dead.';
COMMENT ON COLUMN users.key_generation IS 'Raised when a key is deleted; servers ask again for keys that they looked up at a lower one.';
COMMENT ON COLUMN users.deleted_at IS 'Set when the account was deleted and its data are still being removed: e-mail and name are gone already. NULL else.';

CREATE TABLE api_keys (
	user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	id uuid NOT NULL,
	name text NOT NULL CONSTRAINT api_keys_name_length CHECK (char_length(name) BETWEEN 1 AND 200),
	scope text NOT NULL CONSTRAINT api_keys_scope CHECK (scope IN ('ingest', 'read', 'full')),
	prefix text NOT NULL CONSTRAINT api_keys_prefix_length CHECK (char_length(prefix) = 12),
	hash bytea NOT NULL CONSTRAINT api_keys_hash_length CHECK (octet_length(hash) = 32),
	created_at timestamptz NOT NULL DEFAULT now(),
	expires_at timestamptz,
	last_used_at timestamptz,
	PRIMARY KEY (user_id, id)
);
CREATE UNIQUE INDEX api_keys_hash ON api_keys (hash);
COMMENT ON TABLE api_keys IS 'API keys that can be used, or have expired. A deleted one is gone; events keep its id.';
COMMENT ON COLUMN api_keys.user_id IS 'Whose key; at most 100 each.';
COMMENT ON COLUMN api_keys.id IS 'UUID version 7; events.api_key_id.';
COMMENT ON COLUMN api_keys.name IS 'Display name.';
COMMENT ON COLUMN api_keys.scope IS 'ingest: record events; read: ask; full: everything but keys and the account.';
COMMENT ON COLUMN api_keys.prefix IS 'The first 12 characters of the key, to recognise it by; no secret.';
COMMENT ON COLUMN api_keys.hash IS 'SHA-256 of the key. Its 256 random bits need no slow hash.';
COMMENT ON COLUMN api_keys.created_at IS 'When it was made.';
COMMENT ON COLUMN api_keys.expires_at IS 'From then on it is refused; NULL: never.';
COMMENT ON COLUMN api_keys.last_used_at IS 'Its last use, up to some minutes late; NULL: never used.';

-- No user_id and no foreign key: a row must outlive its account, and says nothing of it but that its tokens are dead.
CREATE TABLE auth_changes (
	account uuid PRIMARY KEY,
	session_generation bigint NOT NULL,
	key_generation bigint NOT NULL,
	changed_at timestamptz NOT NULL DEFAULT now(),
	changed_xid xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX auth_changes_changed_xid ON auth_changes (changed_xid, account);
CREATE INDEX auth_changes_changed_at ON auth_changes (changed_at);
COMMENT ON TABLE auth_changes IS 'What ended sessions or keys, for servers to poll. Rows go when every token from before has expired.';
COMMENT ON COLUMN auth_changes.account IS 'Id of the account; it may not exist any more.';
COMMENT ON COLUMN auth_changes.session_generation IS 'Sessions below this are dead; the largest bigint when the account was deleted.';
COMMENT ON COLUMN auth_changes.key_generation IS 'Keys looked up below this must be looked up again; the largest bigint when the account was deleted.';
COMMENT ON COLUMN auth_changes.changed_at IS 'When; only for the purge.';
COMMENT ON COLUMN auth_changes.changed_xid IS 'The transaction that wrote it: servers poll by it, because transactions become visible in another order than their clocks say.';

-- Opaque hashes only: neither an e-mail nor an address can be read from them.
CREATE TABLE auth_throttles (
	key bytea PRIMARY KEY CONSTRAINT auth_throttles_key_length CHECK (octet_length(key) = 32),
	failures integer NOT NULL CONSTRAINT auth_throttles_failures CHECK (failures >= 0),
	until timestamptz NOT NULL
);
CREATE INDEX auth_throttles_until ON auth_throttles (until);
COMMENT ON TABLE auth_throttles IS 'Who must wait before the next login or signup, shared by all servers. Accounts that do not exist have rows like those that do.';
COMMENT ON COLUMN auth_throttles.key IS 'SHA-256 of what is counted: an account, an account from a network, a network, an address, everybody.';
COMMENT ON COLUMN auth_throttles.failures IS 'Failed logins in a row, where these are counted; else 0.';
COMMENT ON COLUMN auth_throttles.until IS 'No login before this where failures are counted; the theoretical arrival time (GCRA) where a rate is; the end of what is remembered of a familiar network.';

CREATE FUNCTION auth_throttle_key(what text, subject text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
	SELECT sha256(convert_to(what || ':' || subject, 'UTF8'))
$$;
COMMENT ON FUNCTION auth_throttle_key(text, text) IS 'The key of auth_throttles for a subject of a kind.';

-- A rate in GCRA form: one each `spacing`, so many at once as fit into `span`.
CREATE FUNCTION auth_rate_wait(k bytea, spacing interval, span interval, at timestamptz) RETURNS interval LANGUAGE sql STABLE AS $$
	SELECT greatest(coalesce((SELECT until FROM auth_throttles WHERE key = k) + spacing - span - at, interval '0'), interval '0')
$$;
COMMENT ON FUNCTION auth_rate_wait(bytea, interval, interval, timestamptz) IS 'How long until the rate allows one more.';
CREATE FUNCTION auth_rate_count(k bytea, spacing interval, at timestamptz) RETURNS void LANGUAGE sql AS $$
	INSERT INTO auth_throttles AS t (key, failures, until) VALUES (k, 0, at + spacing)
		ON CONFLICT (key) DO UPDATE SET until = greatest(t.until, at) + spacing
$$;
COMMENT ON FUNCTION auth_rate_count(bytea, interval, timestamptz) IS 'Counts one.';

-- Counts a failure before it has happened, so that guesses made at once count one by one; a success takes it back. From the
-- `free`-th on the wait doubles from a second to a quarter of an hour. False: somebody else was first, and it must wait now.
CREATE FUNCTION auth_failure_count(k bytea, free integer, at timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO auth_throttles AS t (key, failures, until) VALUES (k, 1, at)
		ON CONFLICT (key) DO UPDATE SET failures = least(t.failures + 1, 1000000), until = at +
			CASE WHEN t.failures + 1 < free THEN interval '0'
				ELSE least(interval '1 second' * 2 ^ least(t.failures + 1 - free, 10), interval '15 minutes') END
		WHERE t.until <= at;
	RETURN FOUND;
END $$;
COMMENT ON FUNCTION auth_failure_count(bytea, integer, timestamptz) IS 'Counts a failed login of an account (from a network).';

-- Rows are locked in the order account from network, account, network, everybody, here and in login_succeeded(): no deadlocks. An account
-- from a familiar network (one that a login succeeded from) only waits for its own failures there, so that nobody can lock out its owner.
CREATE FUNCTION login_attempt(email text, network text, network_per_hour integer, everybody_per_hour integer)
	RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	at CONSTANT timestamptz := clock_timestamp();
	account CONSTANT text := lower(email);
	pair_key CONSTANT bytea := auth_throttle_key('login', network || ' ' || account);
	account_key CONSTANT bytea := auth_throttle_key('account', account);
	network_key CONSTANT bytea := auth_throttle_key('network', network);
	everybody_key CONSTANT bytea := auth_throttle_key('logins', '');
	network_spacing CONSTANT interval := interval '1 hour' / network_per_hour;
	everybody_spacing CONSTANT interval := interval '1 hour' / everybody_per_hour;
	familiar CONSTANT boolean := EXISTS (SELECT FROM auth_throttles
		WHERE key = auth_throttle_key('familiar', network || ' ' || account) AND until > at);
	wait interval;
BEGIN
	SELECT greatest(max(until) - at, interval '0') INTO wait FROM auth_throttles
		WHERE key = pair_key OR (key = account_key AND NOT familiar);
	wait := coalesce(wait, interval '0');
	IF NOT familiar THEN
		wait := greatest(wait, auth_rate_wait(network_key, network_spacing, interval '1 hour', at),
			auth_rate_wait(everybody_key, everybody_spacing, interval '1 hour', at));
	END IF;
	IF wait > interval '0' THEN
		RETURN ceil(extract(epoch FROM wait) * 1000);
	END IF;
	IF NOT auth_failure_count(pair_key, 5, at) OR NOT (auth_failure_count(account_key, 15, at) OR familiar) THEN
		RETURN 1000;
	END IF;
	PERFORM auth_rate_count(network_key, network_spacing, at);
	PERFORM auth_rate_count(everybody_key, everybody_spacing, at);
	RETURN 0;
END $$;
COMMENT ON FUNCTION login_attempt(text, text, integer, integer) IS
	'Milliseconds that this account must wait from this network; 0: the password may be tried, and has been counted as wrong.';

CREATE FUNCTION login_succeeded(email text, network text, network_per_hour integer, everybody_per_hour integer)
	RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	account CONSTANT text := lower(email);
BEGIN
	DELETE FROM auth_throttles WHERE key = auth_throttle_key('login', network || ' ' || account);
	DELETE FROM auth_throttles WHERE key = auth_throttle_key('account', account);
	UPDATE auth_throttles SET until = until - interval '1 hour' / network_per_hour WHERE key = auth_throttle_key('network', network);
	UPDATE auth_throttles SET until = until - interval '1 hour' / everybody_per_hour WHERE key = auth_throttle_key('logins', '');
	INSERT INTO auth_throttles (key, failures, until)
		VALUES (auth_throttle_key('familiar', network || ' ' || account), 0, now() + interval '90 days')
		ON CONFLICT (key) DO UPDATE SET until = excluded.until;
END $$;
COMMENT ON FUNCTION login_succeeded(text, text, integer, integer) IS 'Takes back what login_attempt() counted, and remembers the network.';

CREATE FUNCTION signup_attempt(address text, per_minute integer, per_day integer, everybody_per_minute integer)
	RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	at CONSTANT timestamptz := clock_timestamp();
	minute_key CONSTANT bytea := auth_throttle_key('signups a minute', address);
	day_key CONSTANT bytea := auth_throttle_key('signups a day', address);
	everybody_key CONSTANT bytea := auth_throttle_key('signups', '');
	wait CONSTANT interval := greatest(
		auth_rate_wait(minute_key, interval '1 minute' / per_minute, interval '1 minute', at),
		auth_rate_wait(day_key, interval '1 day' / per_day, interval '1 day', at),
		auth_rate_wait(everybody_key, interval '1 minute' / everybody_per_minute, interval '1 minute', at));
BEGIN
	IF wait > interval '0' THEN
		RETURN ceil(extract(epoch FROM wait) * 1000);
	END IF;
	PERFORM auth_rate_count(minute_key, interval '1 minute' / per_minute, at);
	PERFORM auth_rate_count(day_key, interval '1 day' / per_day, at);
	PERFORM auth_rate_count(everybody_key, interval '1 minute' / everybody_per_minute, at);
	RETURN 0;
END $$;
COMMENT ON FUNCTION signup_attempt(text, integer, integer, integer) IS
	'Milliseconds that this address must wait before it may sign up; 0: it may, and has been counted.';
