#ifndef LLMLAB_CORE_WEBHOOK_TARGET_H
#define LLMLAB_CORE_WEBHOOK_TARGET_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include "llmlab/base/err.h"

/* Where a webhook may point: no request of ours shall reach what its user could not reach himself. A URL is read by our own
 * strict grammar and put together again from its parts, so that nobody after us can read it differently; every address that its
 * host resolves to is checked, and the one that is connected to once more. Pure. */

#define WEBHOOK_URL_MAX 2048

struct webhook_target {
	bool https;
	bool literal;                /* the host is an address */
	bool v6;                     /* a literal of version 6, in brackets in URLs */
	char host[254];              /* lower case, without brackets */
	uint16_t port;
	char url[WEBHOOK_URL_MAX + 16]; /* put together again */
};

/* Reads a URL. allow_private (WEBHOOK_ALLOW_PRIVATE): http, any port, host names without a dot and private addresses are allowed
 * too. ERR_VALIDATION with *ret_why, the end of a sentence that begins with "url" (static): anything else but
 * https://<name>[:443|:8443][/path][?query] in printable ASCII; a name is labels of letters, digits, '-' and '_', the last
 * one beginning with a letter; a literal must be in its usual form and allowed itself. */
enum err webhook_target_parse(const char *url, bool allow_private, struct webhook_target *ret, const char **ret_why);

/* Whether a request may be sent to the address (AF_INET or AF_INET6; anything else: no). Never, with allow_private either: this
 * network, link-local and with it the metadata services of clouds, multicast, reserved and documentation ranges, and version 6
 * addresses that stand for one of version 4 (mapped, compatible, NAT64, 6to4, Teredo). Only with it: private, shared and
 * loopback ranges. Sources: the IANA special-purpose registries (RFC 6890). */
bool webhook_address_allowed(const struct sockaddr *address, bool allow_private);

#endif
