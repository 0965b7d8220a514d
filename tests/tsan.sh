#!/usr/bin/env bash
# tests/tsan.sh [PYTEST ARGUMENT...]: builds with ThreadSanitizer, runs the unit tests that have threads, and the API tests that
# make requests meet, against that server. Any report fails. Reports and logs are in build/log/tsan/. Ends with "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
install_packages run test
units='^(http|ingest|auth)[.]|anomaly_memo|metrics|test_log|own_prices|webhook_(sender|resolver)|histogram|uuid'
files=(tests/api/test_concurrency.py tests/api/test_batch.py tests/api/test_reservations.py tests/api/test_alerts.py
	tests/api/test_accounts.py tests/api/test_keys.py tests/api/test_export.py tests/api/test_shared_answers.py)
logs=$PWD/build/log/tsan
rm -rf "$logs"
mkdir -p "$logs"
build_preset tsan ON llmlab unit_tests || exit 1
export CK_DEFAULT_TIMEOUT=300
export TSAN_OPTIONS="halt_on_error=0 exitcode=66 second_deadlock_stack=1 log_path=$logs/report"
ctest --test-dir build/tsan -R "$units" -j "$(nproc)" --timeout 900 --output-on-failure --test-output-size-passed 1000000 \
	--output-junit "$logs/unit.xml" >"$logs/unit.log" 2>&1
LLMLAB_BIN=$PWD/build/tsan/llmlab PYTHONDONTWRITEBYTECODE=1 timeout -k 10 3600 /usr/bin/python3 -m pytest -q -p no:cacheprovider \
	--junitxml="$logs/api.xml" "${@:-${files[@]}}" >"$logs/api.log" 2>&1 </dev/null
passed=0 failed=0
for log in unit api; do
	counts=$(/usr/bin/python3 scripts/count_tests.py "$logs/$log.xml") || counts="0 1"
	passed=$((passed + ${counts%% *}))
	failed=$((failed + ${counts##* }))
	[ "${counts##* }" = 0 ] || tail -n 40 "$logs/$log.log" >&2
done
for report in "$logs"/report*; do
	[ -e "$report" ] || continue
	failed=$((failed + 1))
	head -n 60 "$report" >&2
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
