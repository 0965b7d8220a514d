/* Which new passwords are refused. Guessing starts with the lists of stolen passwords, and nearly everything
 * on them is made the same way, so the rules describe how they are made instead of listing them. A password
 * is common when it is
 *
 *  - built from at most three different bytes, or a repetition of a short unit or of a common unit
 * ("abcabcabc"), or
 *  - cut into few pieces of these kinds, in any order:
 *      word     one of common_words.def, in any case and with the usual substitutions ("P4$$w0rd"), or of the
 * e-mail address walk     three or more neighbours on a keyboard, in the alphabet or in counting, in either
 * direction, with or without shift ("qwert", "4321", "!QAZ"), or one character three times or more filler up
 * to four digits (a year, a counter), up to two signs, or a single letter with one word among at most four
 * pieces, or without a word at most three ("Summer2024!", "1qaz2wsx", "19840312").
 *
 * That is every word in a few million decorations, so the 10,000 commonest passwords of eight characters and
 * more are covered many times over, while two words in a row and anything random are fine. It says nothing
 * about how good a password is beyond that, and it is no place for rules of composition. */
#include <stdint.h>
#include <string.h>
#include "llmlab/auth/password.h"
#include "llmlab/base/json_read.h"

#define MIN_CODE_POINTS 8
#define MAX_CODE_POINTS 128
#define MAX_BYTES	1024
#define MAX_UNIT_BYTES	4 /* a repetition of no more is common whatever the unit */
#define MAX_DISTINCT	3
#define MIN_WALK	3
#define MIN_WORD	3
#define MAX_DIGITS	4
#define MAX_SIGNS	2
#define UNREACHED	100
#define PIECES_NO_WORD	3
#define PIECES_ONE_WORD 4

static const char *const words[] = {
#include "common_words.def"
};

/* Walked in both directions. The keyboards are the American, German and French ones. */
static const char *const walks[] = {
	"01234567890123",
	"abcdefghijklmnopqrstuvwxyz",
	"qwertyuiop[]",
	"asdfghjkl;'",
	"zxcvbnm,./",
	"qwertzuiop",
	"yxcvbnm",
	"azertyuiop",
	"qsdfghjklm",
	"wxcvbn",
	"1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p",
	"qazwsxedcrfvtgbyhnujmikolp",
	"q1w2e3r4t5y6u7i8o9p0",
	"1q2w3e4r5t6y7u8i9o0p",
	"a1s2d3f4g5h6j7k8l9",
	"a1b2c3d4e5f6g7h8i9j0",
	"1a2b3c4d5e6f7g8h9i0j",
	"qweasdzxc",
	"qwaszx",
	"147258369",
	"789456123",
	"159357",
	"159753",
	"753951",
	"112233445566778899",
	"13579",
	"02468",
	"314159265358979",
	"2718281828",
	"1029384756",
};

/* The text that is cut, and the fewest pieces that reach each position without and with a word. */
struct cut {
	const char *text;
	size_t n;
	uint8_t fewest[2][MAX_BYTES + 1];
};

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
	const char l = lower(c);
	return l >= 'a' && l <= 'z';
}

static bool is_sign(char c)
{
	return c >= ' ' && c <= '~' && !is_digit(c) && !is_letter(c);
}

/* Whether a character of the password stands for a letter of a word. */
static bool stands_for(char c, char letter)
{
	static const char *const stand_ins[26] = {
		['a' - 'a'] = "4@^",
		['b' - 'a'] = "8",
		['c' - 'a'] = "(",
		['e' - 'a'] = "3",
		['g' - 'a'] = "96",
		['i' - 'a'] = "1!|",
		['l' - 'a'] = "1!|",
		['o' - 'a'] = "0",
		['s' - 'a'] = "5$",
		['t' - 'a'] = "7+",
		['z' - 'a'] = "2",
	};
	const char l = lower(letter);
	if (lower(c) == l)
		return true;
	if (c == '\0' || l < 'a' || l > 'z' || stand_ins[l - 'a'] == NULL)
		return false;
	return strchr(stand_ins[l - 'a'], c) != NULL;
}

/* The letters a character may stand for, bit 0 for 'a'. */
static uint32_t letters_of(char c)
{
	uint32_t letters = 0;
	for (int i = 0; i < 26; i++)
		letters |= (uint32_t)stands_for(c, (char)('a' + i)) << i;
	return letters;
}

/* Whether a character of the password is this key of a walk, shifted or not. */
static bool is_key(char c, char key)
{
	static const char shifted_digits[] = ")!@#$%^&*(";
	if (lower(c) == key)
		return true;
	return is_digit(key) && c == shifted_digits[key - '0'];
}

/* There is a piece of len bytes at `from`. */
static void reach(struct cut *cut, size_t from, size_t len, bool is_word)
{
	for (size_t had_word = 0; had_word <= (is_word ? 0 : 1); had_word++) {
		const unsigned pieces = cut->fewest[had_word][from] + 1U;
		uint8_t *fewest = &cut->fewest[had_word + is_word][from + len];
		if (pieces < *fewest)
			*fewest = (uint8_t)pieces;
	}
}

static void try_word(struct cut *cut, size_t from, const char *word, size_t len)
{
	if (len < MIN_WORD || len > cut->n - from)
		return;
	for (size_t i = 0; i < len; i++) {
		if (!stands_for(cut->text[from + i], word[i]))
			return;
	}
	reach(cut, from, len, true);
}

static void try_walk(struct cut *cut, size_t from, const char *walk, bool backwards)
{
	const size_t walk_len = strlen(walk);
	for (size_t start = 0; start < walk_len; start++) {
		const size_t room = backwards ? start + 1 : walk_len - start;
		for (size_t i = 0; i < room && from + i < cut->n; i++) {
			if (!is_key(cut->text[from + i], walk[backwards ? start - i : start + i]))
				break;
			if (i + 1 >= MIN_WALK)
				reach(cut, from, i + 1, false);
		}
	}
}

/* The same byte again and again. */
static void try_run(struct cut *cut, size_t from)
{
	for (size_t len = 1; from + len <= cut->n && cut->text[from + len - 1] == cut->text[from]; len++) {
		if (len >= MIN_WALK)
			reach(cut, from, len, false);
	}
}

static void try_filler(struct cut *cut, size_t from, bool (*is_kind)(char), size_t max)
{
	for (size_t len = 1; len <= max && from + len <= cut->n && is_kind(cut->text[from + len - 1]); len++)
		reach(cut, from, len, false);
}

static void try_pieces(struct cut *cut, size_t from, const char *email)
{
	if (email != NULL) {
		try_word(cut, from, email, strlen(email));
		try_word(cut, from, email, strcspn(email, "@"));
	}
	const uint32_t letters = letters_of(cut->text[from]);
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
		if ((letters >> (words[i][0] - 'a') & 1) != 0)
			try_word(cut, from, words[i], strlen(words[i]));
	}
	for (size_t i = 0; i < sizeof walks / sizeof walks[0]; i++) {
		try_walk(cut, from, walks[i], false);
		try_walk(cut, from, walks[i], true);
	}
	try_run(cut, from);
	try_filler(cut, from, is_digit, MAX_DIGITS);
	try_filler(cut, from, is_sign, MAX_SIGNS);
	try_filler(cut, from, is_letter, 1);
}

/* Whether the n bytes can be cut into few enough pieces; the e-mail's parts (if any) are words too. */
static bool is_few_pieces(const char *text, size_t n, const char *email)
{
	struct cut cut = {.text = text, .n = n};
	memset(cut.fewest, UNREACHED, sizeof cut.fewest);
	cut.fewest[0][0] = 0;
	for (size_t from = 0; from < n; from++) {
		if (cut.fewest[0][from] < PIECES_ONE_WORD || cut.fewest[1][from] < PIECES_ONE_WORD)
			try_pieces(&cut, from, email);
	}
	return cut.fewest[0][n] <= PIECES_NO_WORD || cut.fewest[1][n] <= PIECES_ONE_WORD;
}

/* The length of the shortest unit whose repetition, the last perhaps unfinished, is the text; n if there is
 * none. */
static size_t unit_length(const char *text, size_t n)
{
	for (size_t unit = 1; unit <= n / 2; unit++) {
		if (memcmp(text, text + unit, n - unit) == 0)
			return unit;
	}
	return n;
}

static size_t count_distinct(const char *text, size_t n)
{
	bool seen[256] = {false};
	size_t count = 0;
	for (size_t i = 0; i < n; i++) {
		count += !seen[(unsigned char)text[i]];
		seen[(unsigned char)text[i]] = true;
	}
	return count;
}

static bool is_common(const char *text, size_t n, const char *email)
{
	const size_t unit = unit_length(text, n);
	if (unit <= MAX_UNIT_BYTES || count_distinct(text, n) <= MAX_DISTINCT)
		return true;
	return is_few_pieces(text, unit, email);
}

const char *password_weakness(const char *password, const char *email)
{
	const size_t n = strnlen(password, MAX_BYTES + 1);
	if (n > MAX_BYTES)
		return "must have at most 1024 bytes";
	const size_t code_points = utf8_length(password);
	if (code_points < MIN_CODE_POINTS)
		return "must have at least 8 characters";
	if (code_points > MAX_CODE_POINTS)
		return "must have at most 128 characters";
	if (is_common(password, n, NULL))
		return "is too common: a well-known word, pattern or sequence";
	if (email != NULL && is_common(password, n, email))
		return "must not be the e-mail address or made from it";
	return NULL;
}
