#ifndef LLMLAB_API_HANDLERS_H
#define LLMLAB_API_HANDLERS_H

#include "llmlab/http/request.h"

/* One handler for each route of the table: api_<id>(). */
#define ROUTE(id, method, path, auth, run, body) http_handler api_##id;
#include "llmlab/api/routes.def"
#undef ROUTE

#endif
