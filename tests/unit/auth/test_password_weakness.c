/* Which passwords are refused and which are not. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/auth/password.h"
#include "llmlab/base/json_read.h"

#define EMAIL "maximiliana.q@example.org"

/* Shapes and classics of every published list of stolen passwords, of eight characters and more. */
static const char *const common[] = {
	"password",
	"Password",
	"PASSWORD",
	"password1",
	"password123",
	"Password123!",
	"P@ssw0rd",
	"P@$$w0rd1",
	"pa55word",
	"passw0rd",
	"passwordpassword",
	"12345678",
	"123456789",
	"1234567890",
	"0123456789",
	"87654321",
	"0987654321",
	"11111111",
	"00000000",
	"12341234",
	"123123123",
	"121212121",
	"11223344",
	"1122334455",
	"87878787",
	"147258369",
	"123456789a",
	"a123456789",
	"1234567a",
	"12345678910",
	"19841231",
	"01011990",
	"31121985",
	"qwertyui",
	"qwertyuiop",
	"qwerty123",
	"qwerty12345",
	"Qwerty1!",
	"1qaz2wsx",
	"!QAZ2wsx",
	"1q2w3e4r",
	"1q2w3e4r5t",
	"q1w2e3r4",
	"qazwsxedc",
	"zaq12wsx",
	"zaq1@WSX",
	"asdfghjkl",
	"asdf1234",
	"zxcvbnm1",
	"zxcvbnm123",
	"qweasdzxc",
	"qwer1234",
	"asdfasdf",
	"qwertzuiop",
	"azertyuiop",
	"poiuytrewq",
	"lkjhgfdsa",
	"abcdefgh",
	"abcd1234",
	"abc12345",
	"abc123456",
	"aaaaaaaa",
	"abababab",
	"abcabcabc",
	"aabbaabb",
	"a1b2c3d4",
	"1a2b3c4d",
	"iloveyou",
	"iloveyou1",
	"ILoveYou2",
	"princess1",
	"sunshine",
	"sunshine1",
	"football",
	"football1",
	"baseball",
	"basketball",
	"superman",
	"batman123",
	"spiderman1",
	"starwars",
	"pokemon1",
	"letmein1",
	"letmein123",
	"welcome1",
	"Welcome123",
	"Welcome2024!",
	"trustno1",
	"whatever",
	"computer",
	"internet",
	"changeme",
	"Changeme1!",
	"administrator",
	"admin123",
	"admin1234",
	"Admin@123",
	"administrator1",
	"root1234",
	"test1234",
	"Test1234!",
	"testtest",
	"guest123",
	"default1",
	"master123",
	"dragon123",
	"monkey123",
	"shadow12",
	"michelle",
	"jennifer",
	"jessica1",
	"jordan23",
	"charlie1",
	"michael1",
	"daniel123",
	"liverpool",
	"liverpool1",
	"chelsea1",
	"arsenal1",
	"barcelona",
	"mercedes",
	"ferrari1",
	"corvette",
	"mustang1",
	"Summer2024",
	"Summer2024!",
	"winter2023",
	"Spring#2025",
	"january1",
	"October2023",
	"monday123",
	"London2012",
	"london123",
	"america1",
	"!!password!!",
	"##dragon77",
	"2020password",
	"1password1",
	"zz11zz11",
	"ncc1701d",
	"blink182",
	"llmlab123",
	"LLMLab2025!",
	"llmlabllmlab",
	"$ecret123",
	"s3cr3t123",
	"contraseña1",
	"lösenord1",
	"motdepasse",
	"qwertypassword",
	"password!@#",
	"!@#$%^&*",
	"!@#$1234",
	"54321trewq",
	"3.14159265",
	"xk7!xk7!",
	"abbabaab",
	"1password1!",
	"kkkk1998wwww",
	"0000-0000",
};

START_TEST(password_weakness_common_password_is_refused)
{
	ck_assert_msg(password_weakness(common[_i], EMAIL) != NULL, "accepted: %s", common[_i]);
}
END_TEST

/* Random ones, passphrases, other scripts, two words in a row, and the example of the first document of this
 * project. */
static const char *const good[] = {
	"secure_password",
	"correct horse battery staple",
	"kx7#pQ2m",
	"x7kq2mwp",
	"Zu4-nw9!Lr",
	"tr0ub4dor&3",
	"blauer-Kaktus-17",
	"mein Fahrrad quietscht",
	"TestPassword123",
	"Vq8$eThx",
	"k7391#82",
	"k7391#82jq",
	"9f86d081884c7d65",
	"пароль-для-меня",
	"我的密码很长很好",
	"ñandú-veloz",
	"w-h-y-n-o-t-9",
	"gnarled yew 7",
	"hJ3kd8sLq0ZxPw2m",
	"4083 9127 5561 9",
	"{k7}|x~q2\x7fm",
};

START_TEST(password_weakness_good_password_is_accepted)
{
	const char *why = password_weakness(good[_i], EMAIL);
	ck_assert_msg(why == NULL, "refused: %s: %s", good[_i], why);
}
END_TEST

START_TEST(password_weakness_secret_of_our_own_api_keys_form_is_accepted)
{
	ck_assert_ptr_null(password_weakness("llk_5nJx0c2Wq8bVt7Yz1KpRm4Gs9DhLf3Aa6Ee", NULL));
}
END_TEST

/* The e-mail is maximiliana.q@example.org: nothing in the list of words. */
static const char *const from_email[] = {
	"maximiliana.q@example.org",
	"MAXIMILIANA.Q@EXAMPLE.ORG",
	"maximiliana.q",
	"Maximiliana.Q",
	"maximiliana.q1985",
	"!maximiliana.q!",
	"M@ximili@n@.q",
	"maximiliana.q@example.org1",
	"maximiliana.qmaximiliana.q",
};

START_TEST(password_weakness_made_from_email_is_refused_with_that_reason)
{
	ck_assert_str_eq(
		password_weakness(from_email[_i], EMAIL), "must not be the e-mail address or made from it");
}
END_TEST

START_TEST(password_weakness_without_email_does_not_refuse_its_words)
{
	ck_assert_ptr_null(password_weakness("maximiliana.q1985", NULL));
}
END_TEST

START_TEST(password_weakness_short_local_part_is_no_word)
{
	/* j w 12 ! 345: five pieces; if "jw" were a word, four with a word. */
	ck_assert_ptr_null(password_weakness("jw12!345", "jw@example.org"));
}
END_TEST

START_TEST(password_weakness_seven_code_points_is_too_short)
{
	ck_assert_str_eq(password_weakness("kx7#pQ2", EMAIL), "must have at least 8 characters");
	ck_assert_str_eq(password_weakness("", EMAIL), "must have at least 8 characters");
	/* 7 code points in 14 bytes */
	ck_assert_str_eq(password_weakness("жшщъэюя", EMAIL), "must have at least 8 characters");
}
END_TEST

START_TEST(password_weakness_eight_code_points_is_long_enough)
{
	ck_assert_ptr_null(password_weakness("жшщъэюяц", EMAIL));
}
END_TEST

/* n code points without a pattern, each of `width` bytes: 1 (ASCII) or 4. */
static void fill(char *out, int n, int width)
{
	unsigned state = 1;
	for (int i = 0; i < n; i++) {
		state = state * 1103515245u + 12345u;
		const unsigned r = state >> 16 & 31;
		if (width == 1) {
			*out++ = (char)("bcdfghjkmnpqrstvwxz2456789BCDFGHJK"[r]);
			continue;
		}
		memcpy(out, "\xf0\x9f\x98\x80", 4);
		out[3] = (char)(0x80 + r);
		out += 4;
	}
	*out = '\0';
}

START_TEST(password_weakness_length_limits_are_exact)
{
	char text[2048];
	fill(text, 128, 1);
	ck_assert_ptr_null(password_weakness(text, EMAIL));
	fill(text, 129, 1);
	ck_assert_str_eq(password_weakness(text, EMAIL), "must have at most 128 characters");
	fill(text, 128, 4); /* 512 bytes */
	ck_assert_ptr_null(password_weakness(text, EMAIL));
	fill(text, 1024, 1);
	ck_assert_str_eq(password_weakness(text, EMAIL), "must have at most 128 characters");
	fill(text, 1025, 1);
	ck_assert_str_eq(password_weakness(text, EMAIL), "must have at most 1024 bytes");
}
END_TEST

static const char *const words[] = {
#include "../../../src/auth/common_words.def"
};
#define N_WORDS ((int)(sizeof words / sizeof words[0]))

/* Counted and asserted once: an assertion per pair takes seconds. */
START_TEST(common_words_are_well_formed_and_unique)
{
	int bad = 0;
	for (int i = 0; i < N_WORDS; i++) {
		const char *word = words[i];
		bool fine = strlen(word) >= 3 && word[0] >= 'a' && word[0] <= 'z';
		fine = fine && strpbrk(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ ") == NULL;
		for (int j = 0; fine && j < i; j++)
			fine = strcmp(word, words[j]) != 0;
		if (!fine)
			fprintf(stderr, "bad word: %s\n", word);
		bad += !fine;
	}
	ck_assert_int_eq(bad, 0);
}
END_TEST

START_TEST(password_weakness_more_than_ten_thousand_decorated_words_are_refused)
{
	/* Every word in the shapes that people give to it, where that has the minimum of eight characters.
	 * The shapes differ in the decoration and the words are unique, so the passwords are distinct but for
	 * chance. */
	static const struct {
		const char *before, *after;
	} shapes[] = {
		{"", "1"}, {"", "123"}, {"", "!"}, {"", "1234"}, {"", "2024!"}, {"1", "1"}, {"", "@123"}};
	int refused = 0;
	for (int i = 0; i < N_WORDS; i++) {
		for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
			char text[128];
			const int n = snprintf(
				text, sizeof text, "%s%s%s", shapes[s].before, words[i], shapes[s].after);
			if (n < 8)
				continue;
			const char *why = password_weakness(text, NULL);
			const bool is_refused = why != NULL && strncmp(why, "is too common", 13) == 0;
			/* a few of them have letters of two bytes and are one character too short */
			if (!is_refused && utf8_length(text) >= 8)
				ck_abort_msg("accepted: %s", text);
			refused += is_refused;
		}
	}
	ck_assert_int_gt(refused, 10000);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("password_weakness");
	TCase *tcase = tcase_create("password_weakness");
	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(
		tcase, password_weakness_common_password_is_refused, 0, sizeof common / sizeof common[0]);
	tcase_add_loop_test(
		tcase, password_weakness_good_password_is_accepted, 0, sizeof good / sizeof good[0]);
	tcase_add_test(tcase, password_weakness_secret_of_our_own_api_keys_form_is_accepted);
	tcase_add_loop_test(tcase, password_weakness_made_from_email_is_refused_with_that_reason, 0,
		sizeof from_email / sizeof from_email[0]);
	tcase_add_test(tcase, password_weakness_without_email_does_not_refuse_its_words);
	tcase_add_test(tcase, password_weakness_short_local_part_is_no_word);
	tcase_add_test(tcase, password_weakness_seven_code_points_is_too_short);
	tcase_add_test(tcase, password_weakness_eight_code_points_is_long_enough);
	tcase_add_test(tcase, password_weakness_length_limits_are_exact);
	tcase_add_test(tcase, common_words_are_well_formed_and_unique);
	tcase_add_test(tcase, password_weakness_more_than_ten_thousand_decorated_words_are_refused);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
