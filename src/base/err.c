/* The error catalogue as tables, expanded from errors.def. It knows nothing of how an error is shown. */
#include "llmlab/base/err.h"
#include "llmlab/base/check.h"

struct err_row {
	const char *code;
	int status;
	const char *title;
};

static const struct err_row err_rows[ERR_COUNT] = {
#define ERROR(name, code, status, title) [ERR_##name] = {code, status, title},
#include "llmlab/base/errors.def"
#undef ERROR
};

static const struct err_row *err_row_of(enum err e)
{
	CHECK((unsigned)e < ERR_COUNT);
	return &err_rows[e];
}

const char *err_code(enum err e)
{
	return err_row_of(e)->code;
}

int err_status(enum err e)
{
	const int status = err_row_of(e)->status;
	return status == 0 ? 500 : status;
}

const char *err_title(enum err e)
{
	return err_row_of(e)->title;
}
