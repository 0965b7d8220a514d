/* llmlab healthcheck: one request to the server on this machine, for containers and supervisors that have no
 * curl. */
#include <curl/curl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "llmlab/app/app.h"
#include "llmlab/app/config.h"
#include "llmlab/app/start.h"

#define TIMEOUT_MS 2000L

/* Where a server that listens on `host` is reached from this machine. */
static const char *reachable(const char *host)
{
	if (strcmp(host, "0.0.0.0") == 0)
		return "127.0.0.1";
	return strcmp(host, "::") == 0 ? "::1" : host;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): the type is libcurl's */
static size_t drop(char *data, size_t size, size_t n, void *arg)
{
	(void)data;
	(void)arg;
	return size * n;
}

/* The status answered, or 0 and why not in `why`. */
static long ask(const char *url, char why[CURL_ERROR_SIZE])
{
	CURL *const curl = curl_easy_init();
	long status = 0;
	if (curl == NULL) {
		(void)snprintf(why, CURL_ERROR_SIZE, "out of memory");
		return 0;
	}
	(void)curl_easy_setopt(curl, CURLOPT_URL, url);
	(void)curl_easy_setopt(curl, CURLOPT_PROXY, "");
	(void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
	(void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, drop);
	(void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
	if (curl_easy_perform(curl) == CURLE_OK)
		(void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_cleanup(curl);
	return status;
}

int command_healthcheck(int argc, char **argv)
{
	const bool live = argc == 2 && strcmp(argv[1], "--live") == 0;
	if (argc > 1 && !live) {
		fputs("llmlab: usage: llmlab healthcheck [--live]\n", stderr);
		return 2;
	}
	struct config config = {0};
	if (!start_config(&config))
		return 1;
	const char *const host = reachable(config.host);
	const bool v6 = strchr(host, ':') != NULL;
	char url[512];
	(void)snprintf(url, sizeof url, "http://%s%s%s:%d/api/health/%s", v6 ? "[" : "", host, v6 ? "]" : "",
		(int)config.port, live ? "live" : "ready");
	char why[CURL_ERROR_SIZE] = "no answer";
	const long status = ask(url, why);
	config_release(&config);
	if (status == 200)
		return 0;
	if (status == 0)
		fprintf(stderr, "llmlab: %s: %s\n", url, why);
	else
		fprintf(stderr, "llmlab: %s: status %ld\n", url, status);
	return 1;
}
