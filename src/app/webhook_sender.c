/* Delivering webhooks: claims what is due, has hosts looked up, checks every address, sends, and notes how it
 * ended. One thread does it all; what may hang (look-ups, receivers) happens beside it, each with a slot and
 * a deadline, so that a dead receiver takes up its own slot and nothing else.
 *
 * At least once: an attempt whose end cannot be noted is repeated when its lease ends. How requests are made
 * is in webhook_request.c, what an answer means in core/webhook.c. */
#include "llmlab/app/webhook_sender.h"
#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/app/webhook_request.h"
#include "llmlab/auth/password.h"
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/log.h"
#include "llmlab/base/metrics.h"
#include "llmlab/core/webhook.h"
#include "llmlab/db/webhook_outbox.h"

#define STACK_BYTES	 ((size_t)2 * 1024 * 1024)
#define STATEMENT_US	 (10 * US_PER_SECOND)
#define BESIDE_US	 US_PER_SECOND	   /* of a statement while receivers may be answering */
#define POLL_US		 (500 * US_PER_MS) /* for what is due, when nothing happens */
#define WAIT_MS		 100
#define LOOKUP_US	 (5 * US_PER_SECOND)
#define END_AGAIN_US	 (250 * US_PER_MS) /* asking a database that did not answer once more */
#define UPKEEP_US	 (60 * US_PER_SECOND)
#define SLOT_BYTES	 ((size_t)256 << 10)
#define CLAIM_BYTES	 ((size_t)4 << 20)
#define SECRETS_PAGE	 100
#define STOP_DEADLINE_US US_PER_SECOND

enum slot_state { SLOT_FREE, SLOT_LOOKUP, SLOT_SENDING, SLOT_ENDING };

struct slot {
	enum slot_state state;
	struct arena arena; /* of claim */
	struct webhook_claim claim;
	uint64_t ticket;
	int64_t began_mono_us; /* of the claim */
	struct webhook_target target;
	struct webhook_request *request;
	struct webhook_result result;
};

struct webhook_sender {
	struct webhook_sender_settings settings;
	struct db_conn *db;
	CURLM *multi;
	struct webhook_resolver *resolver;
	pthread_t thread;
	_Atomic bool stopping;
	/* the thread's own from here */
	struct slot slots[WEBHOOKS_AT_ONCE];
	uint64_t tickets;
	int64_t poll_mono_us, upkeep_mono_us;
	int64_t again_mono_us; /* the database did not answer: not before */
	int64_t dropped_told;  /* of METRIC_WEBHOOKS_DROPPED */
	bool secrets_sealed;   /* all with the present key, but for those that cannot be read */
	bool secrets_told;     /* how many of these there are */
};

/* ---- how an attempt ends ---- */

static void end_with(struct slot *slot, enum webhook_end end, const char *error)
{
	slot->result = (struct webhook_result){.end = end,
		.error = error,
		.give_up_us = WEBHOOK_GIVE_UP_US,
		.duration_ms = (clock_mono_us() - slot->began_mono_us) / US_PER_MS};
	slot->state = SLOT_ENDING;
}

static void end_retry(const struct webhook_sender *s, struct slot *slot, const char *error, int64_t asked_us)
{
	uint32_t random;
	random_bytes(&random, sizeof random);
	end_with(slot, WEBHOOK_END_RETRY, error);
	slot->result.pause_us = webhook_pause_us(slot->claim.attempt, s->settings.retry_us, random, asked_us);
}

static void end_address(struct slot *slot)
{
	metric_add(METRIC_WEBHOOKS_REFUSED_ADDRESS, 1);
	end_with(slot, WEBHOOK_END_FAILED, "address");
}

static void end_answered(const struct webhook_sender *s, struct slot *slot, const struct webhook_reply *reply)
{
	switch (webhook_judge(reply->status)) {
	case WEBHOOK_DELIVERED:
		end_with(slot, WEBHOOK_END_DELIVERED, NULL);
		break;
	case WEBHOOK_RETRY:
		end_retry(s, slot, "status", reply->retry_after_us);
		break;
	case WEBHOOK_GONE:
		end_with(slot, WEBHOOK_END_GONE, "gone");
		break;
	case WEBHOOK_REFUSED:
		end_with(slot, WEBHOOK_END_FAILED,
			reply->status >= 300 && reply->status < 400 ? "redirect" : "status");
		break;
	}
	slot->result.response_status = reply->status;
}

static void end_request(const struct webhook_sender *s, struct slot *slot, const struct webhook_reply *reply)
{
	if (reply->error == NULL)
		end_answered(s, slot, reply);
	else if (strcmp(reply->error, "address") == 0)
		end_address(slot);
	else
		end_retry(s, slot, reply->error, 0);
	slot->result.duration_ms = reply->duration_ms;
	webhook_request_free(slot->request);
	slot->request = NULL;
}

/* ---- noting it ---- */

static void slot_free(struct slot *slot)
{
	arena_release(&slot->arena);
	slot->state = SLOT_FREE;
	metric_add(METRIC_WEBHOOKS_IN_FLIGHT, -1);
}

static void tell_end(const struct slot *slot, bool failed)
{
	const struct webhook_result *const result = &slot->result;
	char id[UUID_TEXT_SIZE];
	uuid_format(&slot->claim.id, id);
	if (result->end == WEBHOOK_END_DELIVERED) {
		metric_add(METRIC_WEBHOOKS_DELIVERED, 1);
		LOG_DEBUG("webhook delivered", LOG_S("delivery", id), LOG_I("attempt", slot->claim.attempt));
	} else if (failed) {
		metric_add(METRIC_WEBHOOKS_FAILED, 1);
		LOG_WARN("webhook delivery failed", LOG_S("delivery", id), LOG_S("why", result->error),
			LOG_I("status", result->response_status), LOG_I("attempt", slot->claim.attempt));
	} else if (result->end == WEBHOOK_END_RETRY) {
		metric_add(METRIC_WEBHOOKS_RETRIED, 1);
		LOG_INFO("webhook delivery is tried again", LOG_S("delivery", id),
			LOG_S("why", result->error), LOG_I("status", result->response_status),
			LOG_I("attempt", slot->claim.attempt),
			LOG_I("pause_ms", result->pause_us / US_PER_MS));
	}
}

/* This thread waits for the database and for the receivers in turn: while one of them may be answering, a
 * database that hangs must not keep it from reading that, or what was delivered would look as if it was not.
 * False: not asked now, because it did not answer a moment ago. */
static bool may_ask(struct webhook_sender *s)
{
	bool sending = false;
	for (size_t i = 0; i < WEBHOOKS_AT_ONCE; i++)
		sending = sending || s->slots[i].state == SLOT_SENDING;
	(void)db_conn_set_deadline(s->db, sending ? BESIDE_US : STATEMENT_US);
	return clock_mono_us() >= s->again_mono_us;
}

static void did_not_answer(struct webhook_sender *s)
{
	s->again_mono_us = clock_mono_us() + END_AGAIN_US;
}

static enum err try_to_note(struct webhook_sender *s, const struct slot *slot, bool *ret_failed)
{
	if (!may_ask(s))
		return ERR_DATABASE_UNAVAILABLE;
	const enum err e = webhook_outbox_end(s->db, &slot->claim, &slot->result, ret_failed);
	if (e != ERR_OK && e != ERR_NOT_FOUND)
		did_not_answer(s);
	return e;
}

/* A database that is away is asked again until the lease is over: then somebody else has it. */
static void note_end(struct webhook_sender *s, struct slot *slot)
{
	bool failed = false;
	const int64_t now_us = clock_mono_us();
	const enum err e = try_to_note(s, slot, &failed);
	if (e != ERR_OK && e != ERR_NOT_FOUND && now_us < slot->began_mono_us + WEBHOOK_LEASE_US)
		return;
	if (e == ERR_OK)
		tell_end(slot, failed);
	slot_free(slot);
	s->poll_mono_us = 0; /* the user's next one may be waiting for this */
}

/* ---- sending ---- */

/* The signature of the body at this moment; ERR_NOT_FOUND, ERR_SYNTAX: the secret cannot be read.
 * ERR_NO_MEMORY. */
static enum err sign(const struct webhook_sender *s, const struct slot *slot, const struct buf *body,
	char out[WEBHOOK_SIGNATURE_SIZE])
{
	const struct webhook_claim *const claim = &slot->claim;
	char secret[SEAL_TEXT_MAX + 1];
	enum err e = seal_open(s->settings.keys, &claim->user_id, &claim->webhook_id, claim->secret, secret);
	if (e == ERR_OK)
		e = webhook_sign(secret, clock_now_us() / US_PER_SECOND, buf_str(body), body->len, out);
	secret_wipe(secret, sizeof secret);
	return e;
}

static enum err make_body(const struct slot *slot, struct buf *out)
{
	const struct webhook_claim *const claim = &slot->claim;
	const struct webhook_message message = {.id = claim->id,
		.type = claim->event_type,
		.created_at_us = claim->created_at_us,
		.data_json = claim->payload};
	enum webhook_format format;
	const enum err e = webhook_format_parse(claim->format, &format);
	return e == ERR_OK ? webhook_body(format, &message, out) : e;
}

static void send_body(struct webhook_sender *s, struct slot *slot, const struct webhook_addresses *addresses,
	const struct buf *body)
{
	char signature[WEBHOOK_SIGNATURE_SIZE], id[UUID_TEXT_SIZE];
	const enum err e = sign(s, slot, body, signature);
	if (e != ERR_OK) {
		end_retry(s, slot, e == ERR_NO_MEMORY ? "memory" : "secret", 0);
		return;
	}
	uuid_format(&slot->claim.id, id);
	const struct webhook_call call = {.target = &slot->target,
		.addresses = addresses,
		.allow_private = s->settings.allow_private,
		.body = buf_str(body),
		.body_len = body->len,
		.event = slot->claim.event_type,
		.delivery_id = id,
		.signature = signature};
	if (webhook_request_start(s->multi, &call, slot, &slot->request) != ERR_OK)
		end_retry(s, slot, "memory", 0);
	else
		slot->state = SLOT_SENDING;
}

/* Every address of the host must be allowed, also those that would not be used. */
static void send_to(struct webhook_sender *s, struct slot *slot, const struct webhook_addresses *addresses)
{
	for (size_t i = 0; i < addresses->n; i++) {
		union {
			const struct sockaddr_storage *stored;
			const struct sockaddr *any;
		} view = {.stored = &addresses->at[i]};
		if (!webhook_address_allowed(view.any, s->settings.allow_private)) {
			end_address(slot);
			return;
		}
	}
	struct buf body;
	buf_init(&body, WEBHOOK_BODY_MAX);
	const enum err e = make_body(slot, &body);
	if (e == ERR_OK)
		send_body(s, slot, addresses, &body);
	else if (e == ERR_NO_MEMORY)
		end_retry(s, slot, "memory", 0);
	else
		end_with(slot, WEBHOOK_END_FAILED, "payload");
	buf_release(&body);
}

/* A host that is an address needs no look-up, but the same form. */
static void send_literal(struct webhook_sender *s, struct slot *slot)
{
	struct webhook_addresses addresses = {.n = 0};
	const enum err e = webhook_lookup_system(slot->target.host, slot->target.port, &addresses);
	if (e == ERR_OK)
		send_to(s, slot, &addresses);
	else if (e == ERR_NOT_FOUND)
		end_with(slot, WEBHOOK_END_FAILED, "address");
	else
		end_retry(s, slot, "dns", 0); /* without memory, say */
}

static void slot_begin(struct webhook_sender *s, struct slot *slot)
{
	const char *why = NULL;
	if (!slot->claim.active) {
		end_with(slot, WEBHOOK_END_FAILED, "inactive");
	} else if (webhook_target_parse(slot->claim.url, s->settings.allow_private, &slot->target, &why) !=
		   ERR_OK) {
		end_address(slot);
	} else if (slot->target.literal) {
		send_literal(s, slot);
	} else {
		slot->ticket = ++s->tickets;
		slot->state = SLOT_LOOKUP;
		if (!webhook_resolver_ask(s->resolver, slot->ticket, slot->target.host, slot->target.port))
			end_retry(s, slot, "dns", 0);
	}
}

static void take_lookups(struct webhook_sender *s)
{
	uint64_t ticket;
	enum err end;
	struct webhook_addresses addresses;
	while (webhook_resolver_take(s->resolver, &ticket, &end, &addresses)) {
		for (size_t i = 0; i < WEBHOOKS_AT_ONCE; i++) {
			struct slot *const slot = &s->slots[i];
			if (slot->state != SLOT_LOOKUP || slot->ticket != ticket)
				continue;
			if (end == ERR_OK)
				send_to(s, slot, &addresses);
			else
				end_retry(s, slot, "dns", 0);
		}
	}
	const int64_t now_us = clock_mono_us();
	for (size_t i = 0; i < WEBHOOKS_AT_ONCE; i++) {
		struct slot *const slot = &s->slots[i];
		if (slot->state != SLOT_LOOKUP || now_us < slot->began_mono_us + LOOKUP_US)
			continue;
		webhook_resolver_forget(s->resolver, slot->ticket);
		end_retry(s, slot, "dns", 0);
	}
}

static void take_replies(struct webhook_sender *s)
{
	int running = 0;
	(void)curl_multi_perform(s->multi, &running);
	struct webhook_reply reply;
	for (struct slot *slot = webhook_request_next_done(s->multi, &reply); slot != NULL;
		slot = webhook_request_next_done(s->multi, &reply))
		end_request(s, slot, &reply);
}

/* ---- claiming ---- */

/* The claim with its texts copied into the slot's arena. */
static bool slot_take(struct slot *slot, const struct webhook_claim *claim, int64_t began_mono_us)
{
	struct arena *const arena = &slot->arena;
	arena_init(arena, SLOT_BYTES);
	slot->claim = *claim;
	slot->claim.event_type = arena_strdup(arena, claim->event_type);
	slot->claim.payload = arena_strdup(arena, claim->payload);
	slot->claim.url = arena_strdup(arena, claim->url);
	slot->claim.format = arena_strdup(arena, claim->format);
	slot->claim.secret = arena_strdup(arena, claim->secret);
	slot->began_mono_us = began_mono_us;
	if (arena_overflowed(arena)) {
		arena_release(arena);
		return false; /* due again when its lease ends */
	}
	metric_add(METRIC_WEBHOOKS_IN_FLIGHT, 1);
	return true;
}

static void give_slots(
	struct webhook_sender *s, const struct webhook_claim *claims, size_t n, int64_t began_mono_us)
{
	size_t given = 0;
	for (size_t i = 0; i < WEBHOOKS_AT_ONCE && given < n; i++) {
		struct slot *const slot = &s->slots[i];
		if (slot->state == SLOT_FREE && slot_take(slot, &claims[given++], began_mono_us))
			slot_begin(s, slot);
	}
}

static int free_slots(const struct webhook_sender *s)
{
	int n = 0;
	for (size_t i = 0; i < WEBHOOKS_AT_ONCE; i++)
		n += s->slots[i].state == SLOT_FREE;
	return n;
}

static void claim_due(struct webhook_sender *s)
{
	const int64_t now_us = clock_mono_us();
	const int room = free_slots(s);
	if (now_us < s->poll_mono_us || room == 0 || !may_ask(s))
		return;
	s->poll_mono_us = now_us + POLL_US;
	struct arena arena;
	arena_init(&arena, CLAIM_BYTES);
	struct webhook_claim *claims = NULL;
	size_t n = 0;
	const struct webhook_keys keys = {
		.current = seal_key_id(s->settings.keys), .previous = seal_previous_key_id(s->settings.keys)};
	if (webhook_outbox_claim(s->db, room, &keys, &arena, &claims, &n) == ERR_OK)
		give_slots(s, claims, n, now_us);
	else
		did_not_answer(s);
	arena_release(&arena);
}

/* ---- upkeep ---- */

static bool seal_anew(struct webhook_sender *s, const struct webhook_sealed *row)
{
	char secret[SEAL_TEXT_MAX + 1], sealed[SEALED_SIZE];
	const enum err e = seal_open(s->settings.keys, &row->user_id, &row->id, row->secret, secret);
	if (e == ERR_OK) {
		seal_text(s->settings.keys, &row->user_id, &row->id, secret, sealed);
		(void)webhook_secret_replace(s->db, row, sealed); /* if not now, then at the next start */
	}
	secret_wipe(secret, sizeof secret);
	return e == ERR_OK;
}

/* What the key before has sealed is sealed with the present one, so that the old key can go: once after each
 * start, and as long as there is a key before, because servers that have only that one go on making webhooks.
 */
static void seal_secrets(struct webhook_sender *s)
{
	struct webhook_sealed last = {0};
	int64_t unreadable = 0;
	size_t n = SECRETS_PAGE;
	while (n == SECRETS_PAGE && !s->stopping) {
		struct arena arena;
		arena_init(&arena, CLAIM_BYTES);
		struct webhook_sealed *rows = NULL;
		const enum err e = webhook_secrets_other_key(
			s->db, seal_key_id(s->settings.keys), &last, SECRETS_PAGE, &arena, &rows, &n);
		for (size_t i = 0; e == ERR_OK && i < n; i++) {
			unreadable += !seal_anew(s, &rows[i]);
			last = (struct webhook_sealed){.user_id = rows[i].user_id, .id = rows[i].id};
		}
		arena_release(&arena);
		if (e != ERR_OK)
			return;
	}
	const bool told = s->secrets_told;
	s->secrets_sealed = seal_previous_key_id(s->settings.keys) == NULL;
	s->secrets_told = true;
	if (unreadable > 0 && !told)
		LOG_WARN("webhook secrets cannot be read: SECRET_KEY was changed without SECRET_KEY_PREVIOUS",
			LOG_I("webhooks", unreadable));
}

static void upkeep(struct webhook_sender *s)
{
	const int64_t now_us = clock_mono_us();
	if (now_us < s->upkeep_mono_us || !may_ask(s))
		return;
	s->upkeep_mono_us = now_us + UPKEEP_US;
	if (!s->secrets_sealed)
		seal_secrets(s);
	int64_t pending = 0, purged = 0;
	if (webhook_outbox_count(s->db, &pending) == ERR_OK)
		metric_set(METRIC_WEBHOOKS_PENDING, pending);
	if (webhook_outbox_purge(s->db, &purged) == ERR_OK && purged > 0)
		s->upkeep_mono_us = now_us + US_PER_SECOND;
}

static void tell_dropped(struct webhook_sender *s)
{
	const int64_t dropped = metric_get(METRIC_WEBHOOKS_DROPPED);
	if (dropped != s->dropped_told)
		LOG_WARN("notifications dropped: too many wait for their webhook",
			LOG_I("dropped", dropped - s->dropped_told));
	s->dropped_told = dropped;
}

/* ---- the thread ---- */

/* What is on its way is due again at once, if the database answers soon. */
static void release_slots(struct webhook_sender *s)
{
	(void)db_conn_set_deadline(s->db, STOP_DEADLINE_US);
	bool answers = true;
	for (size_t i = 0; i < WEBHOOKS_AT_ONCE; i++) {
		struct slot *const slot = &s->slots[i];
		if (slot->state == SLOT_FREE)
			continue;
		webhook_request_free(slot->request);
		if (slot->state != SLOT_ENDING)
			end_with(slot, WEBHOOK_END_RELEASE, NULL);
		bool failed = false;
		if (answers) {
			const enum err e = webhook_outbox_end(s->db, &slot->claim, &slot->result, &failed);
			answers = e == ERR_OK || e == ERR_NOT_FOUND;
		}
		slot_free(slot);
	}
}

static void *run(void *arg)
{
	struct webhook_sender *const s = arg;
	while (!s->stopping) {
		if (s->settings.api->database_ok_mono_us != 0) { /* else the schema may not be there yet */
			upkeep(s);
			claim_due(s);
		}
		take_lookups(s);
		take_replies(s);
		for (size_t i = 0; i < WEBHOOKS_AT_ONCE; i++) {
			if (s->slots[i].state == SLOT_ENDING)
				note_end(s, &s->slots[i]);
		}
		tell_dropped(s);
		(void)curl_multi_poll(s->multi, NULL, 0, s->poll_mono_us == 0 ? 0 : WAIT_MS, NULL);
	}
	release_slots(s);
	return NULL;
}

static void wake(void *arg)
{
	struct webhook_sender *const s = arg;
	(void)curl_multi_wakeup(s->multi);
}

static void release(struct webhook_sender *s)
{
	webhook_resolver_stop(s->resolver);
	(void)curl_multi_cleanup(s->multi);
	db_conn_free(s->db);
	curl_global_cleanup();
	free(s);
}

static bool start_parts(struct webhook_sender *s)
{
	struct db_settings db = s->settings.api->db;
	db.statement_us = STATEMENT_US;
	s->db = db_conn_new(&db);
	s->multi = curl_multi_init();
	return s->db != NULL && s->multi != NULL &&
	       webhook_resolver_start(s->settings.lookup, wake, s, &s->resolver) == ERR_OK;
}

static bool start_thread(struct webhook_sender *s)
{
	pthread_attr_t attr;
	CHECK(pthread_attr_init(&attr) == 0);
	CHECK(pthread_attr_setstacksize(&attr, STACK_BYTES) == 0);
	const int failed = pthread_create(&s->thread, &attr, run, s);
	CHECK(pthread_attr_destroy(&attr) == 0);
	if (failed == 0)
		(void)pthread_setname_np(s->thread, "webhooks");
	return failed == 0;
}

enum err webhook_sender_start(const struct webhook_sender_settings *settings, struct webhook_sender **ret)
{
	struct webhook_sender *const s = calloc(1, sizeof *s);
	if (s == NULL)
		return ERR_NO_MEMORY;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		free(s);
		return ERR_NO_MEMORY;
	}
	s->settings = *settings;
	if (!start_parts(s) || !start_thread(s)) {
		release(s);
		return ERR_NO_MEMORY;
	}
	*ret = s;
	return ERR_OK;
}

void webhook_sender_stop(struct webhook_sender *s)
{
	if (s == NULL)
		return;
	s->stopping = true;
	(void)curl_multi_wakeup(s->multi);
	CHECK(pthread_join(s->thread, NULL) == 0);
	release(s);
}
