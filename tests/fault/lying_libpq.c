/* Negative controls: loaded before libpq it breaks one promise of the server, and the harness must say so.
 *
 * - LLMLAB_LIE=async: commits do not wait for the disk (synchronous_commit=off in every session).
 *
 * - LLMLAB_LIE=rollback: events are acknowledged although their transaction is rolled back. */

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <libpq-fe.h>

static int lies(const char *what)
{
	const char *lie = getenv("LLMLAB_LIE");
	return lie != NULL && strcmp(lie, what) == 0;
}

/* A copy in which synchronous_commit is set to off; NULL if it is not set there. The caller frees it. */
static char *asynchronous(const char *sql)
{
	static const char on[] = "set_config('synchronous_commit', 'on'";
	static const char off[] = "set_config('synchronous_commit','off'"; /* as long */
	const char *at = strstr(sql, on);
	char *changed = at == NULL ? NULL : strdup(sql);
	if (changed != NULL)
		memcpy(changed + (at - sql), off, sizeof off - 1);
	return changed;
}

int PQsendQueryParams(PGconn *c, const char *sql, int n, const Oid *types, const char *const *values,
	const int *lengths, const int *formats, int result_format)
{
	int (*real)(PGconn *, const char *, int, const Oid *, const char *const *, const int *, const int *,
		int) = dlsym(RTLD_NEXT, "PQsendQueryParams");
	char *changed = lies("async") ? asynchronous(sql) : NULL;
	const int sent =
		real(c, changed != NULL ? changed : sql, n, types, values, lengths, formats, result_format);
	free(changed);
	return sent;
}

int PQsendPrepare(PGconn *c, const char *name, const char *sql, int n, const Oid *types)
{
	int (*real)(PGconn *, const char *, const char *, int, const Oid *) =
		dlsym(RTLD_NEXT, "PQsendPrepare");
	/* PQcmdStatus() below hides it */
	if (lies("rollback") && strcmp(name, "ingest_commit") == 0)
		sql = "ROLLBACK";
	return real(c, name, sql, n, types);
}

char *PQcmdStatus(PGresult *r)
{
	static char commit[] = "COMMIT";
	char *(*real)(PGresult *) = dlsym(RTLD_NEXT, "PQcmdStatus");
	char *tag = real(r);
	return lies("rollback") && strcmp(tag, "ROLLBACK") == 0 ? commit : tag;
}
