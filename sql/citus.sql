-- For Citus: distributes the tenants' tables by user_id. NOT RUN: no Citus was at hand. What it relies on (every key and unique index of a
-- distributed table has user_id, every foreign key joins on it or points to a reference table) is checked by tests/deploy/test_citus.py.
-- Run it once, after `llmlab migrate`, as the owner of the database, on the coordinator, with the servers stopped.

-- On every node: small, unique by something else than user_id, or read as a whole all the time.
SELECT create_reference_table('users');
SELECT create_reference_table('api_keys');
SELECT create_reference_table('revoked_tokens');
SELECT create_reference_table('price_overrides');

-- By user, side by side: what belongs to one user is on one node, and a batch's transaction of one user stays there.
SELECT create_distributed_table('events', 'user_id');
SELECT create_distributed_table('event_keys', 'user_id', colocate_with => 'events');
SELECT create_distributed_table('usage_sets', 'user_id', colocate_with => 'events');
SELECT create_distributed_table('usage_model_15m', 'user_id', colocate_with => 'events');
SELECT create_distributed_table('usage_model_day', 'user_id', colocate_with => 'events');
SELECT create_distributed_table('usage_hour', 'user_id', colocate_with => 'events');
SELECT create_distributed_table('usage_set_model_15m', 'user_id', colocate_with => 'events');
SELECT create_distributed_table('usage_set_model_day', 'user_id', colocate_with => 'events');
SELECT create_distributed_table('usage_set_day', 'user_id', colocate_with => 'events');
SELECT create_distributed_table('usage_day', 'user_id', colocate_with => 'events');
SELECT create_distributed_table('usage_model_week', 'user_id', colocate_with => 'events');
SELECT create_distributed_table('usage_set_week', 'user_id', colocate_with => 'events');
SELECT create_distributed_table('budgets', 'user_id', colocate_with => 'events');
SELECT create_distributed_table('reservations', 'user_id', colocate_with => 'events');
SELECT create_distributed_table('alerts', 'user_id', colocate_with => 'events');
SELECT create_distributed_table('webhooks', 'user_id', colocate_with => 'events');
SELECT create_distributed_table('webhook_deliveries', 'user_id', colocate_with => 'events');
SELECT create_distributed_table('anomalies', 'user_id', colocate_with => 'events');
SELECT create_distributed_table('anomaly_scans', 'user_id', colocate_with => 'events');
SELECT create_distributed_table('recommendation_dismissals', 'user_id', colocate_with => 'events');
SELECT create_distributed_table('repricings', 'user_id', colocate_with => 'events');
SELECT create_distributed_table('repricing_changes', 'user_id', colocate_with => 'events');
SELECT create_distributed_table('repricing_models', 'user_id', colocate_with => 'events');
-- schema_migrations, event_months_dropped, price_catalogues, auth_changes, auth_throttles, history_marks stay on the coordinator: they belong to no user.
