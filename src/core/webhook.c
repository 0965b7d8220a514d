/* Names of webhook events and formats, what an answer means, and how long to wait. Bodies are in
 * webhook_body.c, addresses in webhook_target.c. */
#include "llmlab/core/webhook.h"
#include <string.h>
#include "llmlab/base/check.h"

static const char *const EVENT_NAMES[] = {
#define WEBHOOK_EVENT(id, name, title) [WEBHOOK_EVENT_##id] = (name),
#include "llmlab/core/webhook_events.def"
#undef WEBHOOK_EVENT
};

static const char *const FORMAT_NAMES[] = {
	[WEBHOOK_JSON] = "json", [WEBHOOK_SLACK] = "slack", [WEBHOOK_DISCORD] = "discord"};

const char *webhook_event_name(enum webhook_event e)
{
	CHECK((size_t)e < WEBHOOK_EVENTS);
	return EVENT_NAMES[e];
}

enum err webhook_format_parse(const char *name, enum webhook_format *ret)
{
	for (size_t f = 0; f < WEBHOOK_FORMATS; f++) {
		if (strcmp(name, FORMAT_NAMES[f]) != 0)
			continue;
		*ret = (enum webhook_format)f;
		return ERR_OK;
	}
	return ERR_NOT_FOUND;
}

enum webhook_verdict webhook_judge(int64_t status)
{
	if (status >= 200 && status < 300)
		return WEBHOOK_DELIVERED;
	if (status == 408 || status == 425 || status == 429 || (status >= 500 && status < 600))
		return WEBHOOK_RETRY;
	return status == 410 ? WEBHOOK_GONE : WEBHOOK_REFUSED;
}

static int64_t at_most(int64_t value, int64_t most)
{
	return value < most ? value : most;
}

int64_t webhook_pause_us(int64_t attempt, int64_t base_us, uint32_t random, int64_t retry_after_us)
{
	CHECK(attempt >= 1 && base_us >= 0 && retry_after_us >= 0);
	int64_t pause_us = at_most(base_us, WEBHOOK_PAUSE_MAX_US);
	for (int64_t i = 1; i < attempt && pause_us > 0 && pause_us < WEBHOOK_PAUSE_MAX_US; i++)
		pause_us = at_most(2 * pause_us, WEBHOOK_PAUSE_MAX_US);
	/* Half of it, spread by the random bits, above three quarters. An hour fits 32 bits of microseconds.
	 */
	pause_us = pause_us / 4 * 3 + (int64_t)((uint64_t)(pause_us / 2) * random >> 32);
	const int64_t asked_us = at_most(retry_after_us, WEBHOOK_PAUSE_MAX_US);
	return pause_us > asked_us ? pause_us : asked_us;
}
