/* Reading webhook URLs and judging addresses. It does not resolve names and opens nothing.
 *
 * URLs: what is not plainly right is refused. Readers of URLs differ in what they make of user information,
 * backslashes, percent signs in hosts, white space and numbers that are not dotted decimals; none of them
 * gets through here. */
#include "llmlab/core/webhook_target.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define LABEL_MAX 63

/* ---- addresses ---- */

enum reach {
	NEVER,
	PRIVATE /* with allow_private */
};

struct range4 {
	uint32_t address;
	int bits;
	enum reach reach;
};

#define V4(a, b, c, d) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))

/* The first that matches counts; none: allowed. */
static const struct range4 RANGES4[] = {
	{V4(0, 0, 0, 0), 8, NEVER},
	{V4(100, 100, 100, 200), 32, NEVER}, /* metadata of a cloud, inside the shared range */
	{V4(168, 63, 129, 16), 32, NEVER},   /* a cloud's wire server, public by its number */
	{V4(10, 0, 0, 0), 8, PRIVATE},
	{V4(100, 64, 0, 0), 10, PRIVATE},
	{V4(127, 0, 0, 0), 8, PRIVATE},
	{V4(169, 254, 0, 0), 16, NEVER},
	{V4(172, 16, 0, 0), 12, PRIVATE},
	{V4(192, 0, 0, 0), 24, NEVER},
	{V4(192, 0, 2, 0), 24, NEVER},
	{V4(192, 31, 196, 0), 24, NEVER},
	{V4(192, 52, 193, 0), 24, NEVER},
	{V4(192, 88, 99, 0), 24, NEVER},
	{V4(192, 168, 0, 0), 16, PRIVATE},
	{V4(192, 175, 48, 0), 24, NEVER},
	{V4(198, 18, 0, 0), 15, PRIVATE},
	{V4(198, 51, 100, 0), 24, NEVER},
	{V4(203, 0, 113, 0), 24, NEVER},
	{V4(224, 0, 0, 0), 4, NEVER},
	{V4(240, 0, 0, 0), 4, NEVER},
};

static bool allowed4(uint32_t address, bool allow_private)
{
	for (size_t i = 0; i < sizeof RANGES4 / sizeof RANGES4[0]; i++) {
		if ((address ^ RANGES4[i].address) >> (32 - RANGES4[i].bits) == 0)
			return RANGES4[i].reach == PRIVATE && allow_private;
	}
	return true;
}

struct range6 {
	uint8_t prefix[8];
	int bits;
	enum reach reach;
};

/* Of what is inside 2000::/3, the only range that is given out; everything outside is refused. */
static const struct range6 RANGES6[] = {
	{{0x20, 0x01, 0x00}, 23, NEVER},       /* protocol assignments: Teredo, ORCHID, benchmarks */
	{{0x20, 0x01, 0x0d, 0xb8}, 32, NEVER}, /* documentation */
	{{0x20, 0x02}, 16, NEVER},	       /* 6to4 */
	{{0x26, 0x20, 0x00, 0x4f, 0x80, 0x00}, 48, NEVER}, /* AS112 */
	{{0x3f, 0xfe}, 16, NEVER},			   /* 6bone, given back */
	{{0x3f, 0xff, 0x00}, 20, NEVER},		   /* documentation */
	{{0xfd, 0x00, 0x0e, 0xc2}, 32, NEVER},		   /* services of a cloud, metadata among them */
	{{0xfc}, 7, PRIVATE},
};

static bool matches6(const uint8_t address[16], const struct range6 *r)
{
	const size_t whole = (size_t)r->bits / 8;
	const int rest = r->bits % 8;
	return memcmp(address, r->prefix, whole) == 0 &&
	       (rest == 0 || (address[whole] ^ r->prefix[whole]) >> (8 - rest) == 0);
}

static bool allowed6(const uint8_t address[16], bool allow_private)
{
	static const uint8_t loopback[16] = {[15] = 1};
	if (memcmp(address, loopback, sizeof loopback) == 0)
		return allow_private;
	for (size_t i = 0; i < sizeof RANGES6 / sizeof RANGES6[0]; i++) {
		if (matches6(address, &RANGES6[i]))
			return RANGES6[i].reach == PRIVATE && allow_private;
	}
	return address[0] >> 5 == 1;
}

bool webhook_address_allowed(const struct sockaddr *address, bool allow_private)
{
	union {
		const struct sockaddr *any;
		const struct sockaddr_in *v4;
		const struct sockaddr_in6 *v6;
	} view = {.any = address};
	if (address->sa_family == AF_INET)
		return allowed4(ntohl(view.v4->sin_addr.s_addr), allow_private);
	return address->sa_family == AF_INET6 && allowed6(view.v6->sin6_addr.s6_addr, allow_private);
}

/* ---- URLs ---- */

static enum err refuse(const char **ret_why, const char *why)
{
	*ret_why = why;
	return ERR_VALIDATION;
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Printable ASCII without what readers of URLs disagree about. */
static bool is_plain(const char *url)
{
	for (; *url != '\0'; url++) {
		if (*url <= 0x20 || *url >= 0x7f || strchr("\\\"<>^`{|}#", *url) != NULL)
			return false;
	}
	return true;
}

/* After "https://" or "http://"; NULL: neither. */
static const char *after_scheme(const char *url, struct webhook_target *t)
{
	t->https = strncasecmp(url, "https://", 8) == 0;
	if (t->https)
		return url + 8;
	return strncasecmp(url, "http://", 7) == 0 ? url + 7 : NULL;
}

static void copy_lower(char *out, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = (char)(s[i] >= 'A' && s[i] <= 'Z' ? s[i] - 'A' + 'a' : s[i]);
	out[n] = '\0';
}

static bool is_label(const char *s, size_t n)
{
	if (n == 0 || n > LABEL_MAX || s[0] == '-' || s[n - 1] == '-')
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!is_letter(s[i]) && !is_digit(s[i]) && s[i] != '-' && s[i] != '_')
			return false;
	}
	return true;
}

/* Labels with dots between them; the last one begins with a letter, so no reader takes the name for a number.
 */
static bool is_name(const char *host)
{
	for (;;) {
		const size_t n = strcspn(host, ".");
		if (!is_label(host, n))
			return false;
		if (host[n] == '\0')
			return is_letter(host[0]);
		host += n + 1;
	}
}

static bool is_local_name(const char *host)
{
	const size_t n = strlen(host);
	static const char suffix[] = ".localhost";
	return strchr(host, '.') == NULL ||
	       (n >= sizeof suffix && strcmp(host + n - (sizeof suffix - 1), suffix) == 0);
}

/* A literal in its one usual form. */
static bool literal_allowed(const struct webhook_target *t, bool allow_private)
{
	struct in6_addr v6;
	struct in_addr v4;
	if (t->v6)
		return inet_pton(AF_INET6, t->host, &v6) == 1 && allowed6(v6.s6_addr, allow_private);
	return inet_pton(AF_INET, t->host, &v4) == 1 && allowed4(ntohl(v4.s_addr), allow_private);
}

/* Four decimal numbers; inet_pton() refuses leading zeros and everything above 255. */
static bool is_dotted(const char *host)
{
	struct in_addr v4;
	return inet_pton(AF_INET, host, &v4) == 1;
}

static enum err judge_host(struct webhook_target *t, bool allow_private, const char **ret_why)
{
	struct in6_addr v6;
	t->literal = t->v6 || is_dotted(t->host);
	if (t->v6 && inet_pton(AF_INET6, t->host, &v6) != 1)
		return refuse(ret_why, "has an address in brackets that is none");
	if (t->literal && !literal_allowed(t, allow_private))
		return refuse(ret_why, "points to an address that is not allowed");
	if (t->literal)
		return ERR_OK;
	if (!is_name(t->host))
		return refuse(ret_why, "has a host that is not a plain name or address");
	if (is_local_name(t->host) && !allow_private)
		return refuse(ret_why, "has a host name of the local network");
	return ERR_OK;
}

/* The host at s, of n bytes in all with brackets. */
static enum err read_host(
	const char *s, size_t n, struct webhook_target *t, bool allow_private, const char **ret_why)
{
	t->v6 = n > 0 && s[0] == '[';
	if (t->v6) {
		if (n < 3 || s[n - 1] != ']')
			return refuse(ret_why, "has an address in brackets that is none");
		s++;
		n -= 2;
	}
	if (n == 0 || n >= sizeof t->host)
		return refuse(ret_why, "has no host, or one that is too long");
	copy_lower(t->host, s, n);
	return judge_host(t, allow_private, ret_why);
}

/* The digits at s to the end of n bytes. */
static enum err read_port(const char *s, size_t n, struct webhook_target *t, const char **ret_why)
{
	unsigned port = 0;
	if (n == 0 || n > 5 || s[0] == '0')
		return refuse(ret_why, "has a port that is none");
	for (size_t i = 0; i < n; i++) {
		if (!is_digit(s[i]))
			return refuse(ret_why, "has a port that is none");
		port = port * 10 + (unsigned)(s[i] - '0');
	}
	if (port > UINT16_MAX)
		return refuse(ret_why, "has a port that is none");
	t->port = (uint16_t)port;
	return ERR_OK;
}

/* The n bytes between scheme and path. */
static enum err read_authority(
	const char *s, size_t n, struct webhook_target *t, bool allow_private, const char **ret_why)
{
	if (memchr(s, '@', n) != NULL)
		return refuse(ret_why, "must not hold a user name or password");
	const char *const bracket = s[0] == '[' ? memchr(s, ']', n) : NULL;
	const size_t from = bracket != NULL ? (size_t)(bracket - s) : 0;
	const char *const colon = memchr(s + from, ':', n - from);
	const size_t host_len = colon != NULL ? (size_t)(colon - s) : n;
	enum err e = read_host(s, host_len, t, allow_private, ret_why);
	t->port = t->https ? 443 : 80;
	if (e == ERR_OK && colon != NULL)
		e = read_port(colon + 1, n - host_len - 1, t, ret_why);
	if (e == ERR_OK && !allow_private && t->port != 443 && t->port != 8443)
		return refuse(ret_why, "must use port 443 or 8443");
	return e;
}

enum err webhook_target_parse(
	const char *url, bool allow_private, struct webhook_target *ret, const char **ret_why)
{
	struct webhook_target t = {0};
	if (strnlen(url, WEBHOOK_URL_MAX + 1) > WEBHOOK_URL_MAX)
		return refuse(ret_why, "must be at most 2048 characters long");
	if (!is_plain(url))
		return refuse(ret_why,
			"must be printable ASCII without blanks, backslashes, quotes or a fragment "
			"(international names as xn--)");
	const char *const authority = after_scheme(url, &t);
	if (authority == NULL || (!t.https && !allow_private))
		return refuse(ret_why,
			allow_private ? "must begin with https:// or http://" : "must begin with https://");
	const size_t n = strcspn(authority, "/?");
	const enum err e = read_authority(authority, n, &t, allow_private, ret_why);
	if (e != ERR_OK)
		return e;
	const char *const path = authority + n;
	(void)snprintf(t.url, sizeof t.url, "%s://%s%s%s:%u%s%s", t.https ? "https" : "http", t.v6 ? "[" : "",
		t.host, t.v6 ? "]" : "", t.port, path[0] == '/' ? "" : "/", path);
	*ret = t;
	return ERR_OK;
}
