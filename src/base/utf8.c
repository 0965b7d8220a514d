/* UTF-8: which bytes form a character. Nothing about what characters mean. */
#include "utf8.h"
#include "llmlab/base/json_read.h"

/* What the first byte says: length of the sequence and the range of its second byte (the third and fourth are
 * always 80..BF). The narrower ranges shut out overlong forms, surrogates and code points above U+10FFFF. */
struct utf8_lead {
	unsigned char first, last, length, second_min, second_max;
};

static const struct utf8_lead utf8_leads[] = {
	{0x00, 0x7F, 1, 0x00, 0x00},
	{0xC2, 0xDF, 2, 0x80, 0xBF},
	{0xE0, 0xE0, 3, 0xA0, 0xBF},
	{0xE1, 0xEC, 3, 0x80, 0xBF},
	{0xED, 0xED, 3, 0x80, 0x9F},
	{0xEE, 0xEF, 3, 0x80, 0xBF},
	{0xF0, 0xF0, 4, 0x90, 0xBF},
	{0xF1, 0xF3, 4, 0x80, 0xBF},
	{0xF4, 0xF4, 4, 0x80, 0x8F},
};

static const struct utf8_lead *utf8_lead_of(unsigned char byte)
{
	for (size_t i = 0; i < sizeof utf8_leads / sizeof *utf8_leads; i++) {
		if (byte >= utf8_leads[i].first && byte <= utf8_leads[i].last)
			return &utf8_leads[i];
	}
	return NULL;
}

size_t utf8_sequence(const char *s, size_t n)
{
	if (n == 0)
		return 0;
	const struct utf8_lead *const lead = utf8_lead_of((unsigned char)s[0]);
	if (lead == NULL || lead->length > n)
		return 0;
	for (size_t i = 1; i < lead->length; i++) {
		const unsigned char byte = (unsigned char)s[i];
		const unsigned char min = i == 1 ? lead->second_min : 0x80;
		const unsigned char max = i == 1 ? lead->second_max : 0xBF;
		if (byte < min || byte > max)
			return 0;
	}
	return lead->length;
}

size_t utf8_length(const char *s)
{
	size_t length = 0;
	for (; *s != '\0'; s++)
		length += ((unsigned char)*s & 0xC0) != 0x80;
	return length;
}

bool utf8_valid(const char *s, size_t n)
{
	size_t at = 0;
	while (at < n) {
		const size_t step = utf8_sequence(s + at, n - at);
		if (step == 0 || s[at] == '\0')
			return false;
		at += step;
	}
	return true;
}
