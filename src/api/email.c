/* E-mail addresses: catches slips at signup. Whether an address exists, only a message to it could tell. */
#include "llmlab/api/email.h"
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define EMAIL_MAX_BYTES 254
#define LOCAL_MAX_BYTES 64
#define LABEL_MAX_BYTES 63

static bool is_label_char(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
	       c >= 0x80;
}

/* Labels of 1 to 63 characters that neither begin nor end with a hyphen; "localhost" is one, too. */
static bool is_domain(const char *at)
{
	for (;;) {
		size_t n = 0;
		while (is_label_char((unsigned char)at[n]))
			n++;
		if (n == 0 || n > LABEL_MAX_BYTES || at[0] == '-' || at[n - 1] == '-')
			return false;
		if (at[n] == '\0')
			return true;
		if (at[n] != '.')
			return false;
		at += n + 1;
	}
}

static bool is_local(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const unsigned char c = (unsigned char)text[i];
		if (c <= ' ' || c == 0x7F || strchr("()<>[]:;,\\\"", c) != NULL)
			return false;
	}
	return n >= 1 && n <= LOCAL_MAX_BYTES && text[0] != '.' && text[n - 1] != '.';
}

const char *email_problem(const char *text)
{
	const char *const at = strchr(text, '@');
	if (strlen(text) > EMAIL_MAX_BYTES)
		return "must be at most 254 bytes long";
	if (at == NULL || !is_local(text, (size_t)(at - text)) || !is_domain(at + 1))
		return "must be an e-mail address such as name@example.com";
	return NULL;
}
