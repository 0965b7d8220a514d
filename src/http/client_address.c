/* Who the client is: the address of the connection, or what a trusted proxy says of it. Addresses are
 * compared in one form (IPv6, with IPv4 mapped into it). Only numeric addresses are read; nothing is
 * resolved. */

#include "internal.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define PROXIES_MAX 64
/* Proxies that one request may have come through; a longer chain is nobody's. */
#define CHAIN_MAX	   32
#define ADDRESS_TEXT_BYTES 64

static const uint8_t V4_PREFIX[12] = {[10] = 0xff, [11] = 0xff};

struct network {
	uint8_t address[16];
	unsigned bits; /* 0..128, of the mapped form */
};

struct proxies {
	size_t n;
	struct network networks[PROXIES_MAX];
};

static bool is_v4(const uint8_t address[16])
{
	return memcmp(address, V4_PREFIX, sizeof V4_PREFIX) == 0;
}

void address_of(const struct sockaddr *from, uint8_t ret[16])
{
	memset(ret, 0, 16);
	if (from != NULL && from->sa_family == AF_INET) {
		struct sockaddr_in v4;
		memcpy(&v4, from, sizeof v4);
		memcpy(ret, V4_PREFIX, sizeof V4_PREFIX);
		memcpy(ret + sizeof V4_PREFIX, &v4.sin_addr, 4);
	} else if (from != NULL && from->sa_family == AF_INET6) {
		struct sockaddr_in6 v6;
		memcpy(&v6, from, sizeof v6);
		memcpy(ret, &v6.sin6_addr, 16);
	}
}

void address_text(const uint8_t address[16], char *out, size_t size)
{
	static const uint8_t none[16] = {0};
	char text[INET6_ADDRSTRLEN] = "unknown";
	if (is_v4(address))
		(void)inet_ntop(AF_INET, address + sizeof V4_PREFIX, text, sizeof text);
	else if (memcmp(address, none, sizeof none) != 0)
		(void)inet_ntop(AF_INET6, address, text, sizeof text);
	(void)snprintf(out, size, "%s", text);
}

void address_subject(const uint8_t address[16], uint8_t ret[16])
{
	memcpy(ret, address, 16);
	if (!is_v4(address))
		memset(ret + 8, 0, 8);
}

/* n characters of a numeric address without port or brackets. */
static bool parse_address(const char *text, size_t n, uint8_t ret[16])
{
	char copy[ADDRESS_TEXT_BYTES];
	uint8_t v4[4];
	if (n == 0 || n >= sizeof copy)
		return false;
	memcpy(copy, text, n);
	copy[n] = '\0';
	if (inet_pton(AF_INET, copy, v4) == 1) {
		memcpy(ret, V4_PREFIX, sizeof V4_PREFIX);
		memcpy(ret + sizeof V4_PREFIX, v4, sizeof v4);
		return true;
	}
	return inet_pton(AF_INET6, copy, ret) == 1;
}

/* ---- the list ---- */

/* Decimal digits to the end, at most max. */
static bool parse_bits(const char *text, size_t n, unsigned max, unsigned *ret)
{
	unsigned value = 0;
	if (n == 0 || n > 3)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		value = value * 10 + (unsigned)(text[i] - '0');
	}
	*ret = value;
	return value <= max;
}

static bool parse_network(const char *text, size_t n, struct network *ret)
{
	const char *const slash = memchr(text, '/', n);
	const size_t address_n = slash != NULL ? (size_t)(slash - text) : n;
	if (!parse_address(text, address_n, ret->address))
		return false;
	const bool v4 = memchr(text, ':', address_n) == NULL;
	ret->bits = v4 ? 32 : 128;
	if (slash != NULL && !parse_bits(slash + 1, n - address_n - 1, ret->bits, &ret->bits))
		return false;
	ret->bits += v4 ? 96 : 0;
	return true;
}

enum err proxies_new(const char *list, struct proxies **ret, char *message, size_t message_size)
{
	struct proxies *const p = calloc(1, sizeof *p);
	if (p == NULL)
		return ERR_NO_MEMORY;
	for (const char *at = list != NULL ? list : ""; *at != '\0';) {
		at += strspn(at, ", \t");
		const size_t n = strcspn(at, ", \t");
		if (n > 0 && (p->n == PROXIES_MAX || !parse_network(at, n, &p->networks[p->n]))) {
			(void)snprintf(message, message_size,
				"TRUST_PROXY takes at most %d addresses or networks such as 10.0.0.0/8; "
				"wrong from \"%.60s\" on",
				PROXIES_MAX, at);
			free(p);
			return ERR_SYNTAX;
		}
		p->n += n > 0;
		at += n;
	}
	*ret = p;
	return ERR_OK;
}

void proxies_free(struct proxies *p)
{
	free(p);
}

static bool network_has(const struct network *network, const uint8_t address[16])
{
	const size_t bytes = network->bits / 8;
	const unsigned rest = network->bits % 8;
	if (memcmp(network->address, address, bytes) != 0)
		return false;
	return rest == 0 || ((network->address[bytes] ^ address[bytes]) >> (8 - rest)) == 0;
}

bool proxies_trust(const struct proxies *p, const uint8_t address[16])
{
	for (size_t i = 0; i < p->n; i++)
		if (network_has(&p->networks[i], address))
			return true;
	return false;
}

/* ---- what they say ---- */

static void trim(const char **text, size_t *n)
{
	while (*n > 0 && (**text == ' ' || **text == '\t')) {
		(*text)++;
		(*n)--;
	}
	while (*n > 0 && ((*text)[*n - 1] == ' ' || (*text)[*n - 1] == '\t'))
		(*n)--;
}

static bool is_port(const char *text, size_t n)
{
	if (n < 2 || n > 6 || text[0] != ':')
		return false;
	for (size_t i = 1; i < n; i++)
		if (text[i] < '0' || text[i] > '9')
			return false;
	return true;
}

/* "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80". */
static bool parse_node(const char *text, size_t n, uint8_t ret[16])
{
	if (n > 0 && text[0] == '[') {
		const char *const end = memchr(text, ']', n);
		if (end == NULL)
			return false;
		const size_t after = n - (size_t)(end + 1 - text);
		return (after == 0 || is_port(end + 1, after)) && memchr(text, ':', n) != NULL &&
		       parse_address(text + 1, (size_t)(end - text) - 1, ret);
	}
	if (parse_address(text, n, ret))
		return true;
	const char *const colon = memchr(text, ':', n);
	return colon != NULL && is_port(colon, n - (size_t)(colon - text)) &&
	       parse_address(text, (size_t)(colon - text), ret);
}

/* The parameter `for` of an element of Forwarded (RFC 7239 section 4): for="[2001:db8::1]:80";proto=https. */
static bool parse_element(const char *text, size_t n, uint8_t ret[16])
{
	const char *const end = text + n;
	while (text < end) {
		const char *const stop = memchr(text, ';', (size_t)(end - text));
		size_t pair_n = (size_t)((stop != NULL ? stop : end) - text);
		const char *pair = text;
		trim(&pair, &pair_n);
		if (pair_n > 4 && strncasecmp(pair, "for=", 4) == 0) {
			pair += 4;
			pair_n -= 4;
			if (pair_n >= 2 && pair[0] == '"' && pair[pair_n - 1] == '"') {
				pair++;
				pair_n -= 2;
			}
			return parse_node(pair, pair_n, ret);
		}
		text = stop != NULL ? stop + 1 : end;
	}
	return false;
}

bool proxies_client(const struct proxies *p, const char *header, bool forwarded, uint8_t ret[16])
{
	if (header == NULL)
		return false;
	size_t end = strlen(header);
	for (int i = 0; i < CHAIN_MAX; i++) {
		size_t begin = end;
		while (begin > 0 && header[begin - 1] != ',')
			begin--;
		const char *element = header + begin;
		size_t n = end - begin;
		uint8_t address[16];
		trim(&element, &n);
		if (!(forwarded ? parse_element(element, n, address) : parse_node(element, n, address)))
			return false;
		if (begin == 0 || !proxies_trust(p, address)) {
			memcpy(ret, address, 16);
			return true;
		}
		end = begin - 1;
	}
	return false;
}
