#ifndef LLMLAB_DB_LOGIN_THROTTLE_H
#define LLMLAB_DB_LOGIN_THROTTLE_H

#include "llmlab/db/conn.h"

/* Waits before logins and signups, shared by all servers (sql/migrations/0005_accounts.sql says how they are counted). `network` and
 * `address` are texts that name them; whose e-mail it is, and whether anybody's, makes no difference. Errors are those of db/conn.h. */

/* Failed logins that are free of waits beyond an account's own: of one network, and of everybody, an hour. Between 1 and 1,000,000. */
struct login_rates {
	int network_per_hour, everybody_per_hour;
};
/* *ret_wait_ms 0: the password may be tried, and has been counted as wrong already. Else nothing may be tried for so long. */
enum err login_throttle_attempt(struct db_conn *c, const struct login_rates *rates, const char *email, const char *network,
	int64_t *ret_wait_ms);
/* The password was right: the attempt was no failure, and those before are forgiven. */
enum err login_throttle_succeeded(struct db_conn *c, const struct login_rates *rates, const char *email, const char *network);

struct signup_rates {
	int per_minute, per_day;  /* of one address */
	int everybody_per_minute;
};
/* The same for signups, which count whether they succeed or not. */
enum err signup_throttle_attempt(
	struct db_conn *c, const struct signup_rates *rates, const char *address, int64_t *ret_wait_ms);

/* Forgets what makes nobody wait any more, at most 10,000 a call; true in *ret_more if there may be more. */
enum err login_throttle_purge(struct db_conn *c, bool *ret_more);

#endif
