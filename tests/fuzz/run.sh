#!/usr/bin/env bash
# tests/fuzz/run.sh [SECONDS] [TARGET...]: builds the fuzz targets with libFuzzer and runs each for so long (600 s), as many
# at once as there are processors; FUZZ_SEED=1 takes the same course each time. What is found is written to build/fuzz/found/; new inputs stay in build/fuzz/corpus/. Ends with "N passed, N failed".
# tests/fuzz/run.sh --merge puts the inputs that cover something new into tests/fuzz/corpus/, smallest first.
set -uo pipefail
cd "$(dirname "$0")/../.."
. scripts/lib.sh
seconds=600 merge=
if [ "${1:-}" = --merge ]; then
	merge=yes
	shift
elif [ $# -gt 0 ]; then
	seconds=$1
	shift
fi
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(address batch event http import price text token usage)
mkdir -p build/fuzz/found build/log

dictionary() {
	case $1 in
	http) echo tests/fuzz/dict/http.dict ;;
	event | usage | import | batch | token) echo tests/fuzz/dict/json.dict ;;
	*) echo tests/fuzz/dict/text.dict ;;
	esac
}

# Small ones only: the corpus is part of the tree.
merge() {
	local small=build/fuzz/small/$1 f
	rm -rf "$small" "build/fuzz/merged/$1"
	mkdir -p "$small" "build/fuzz/merged/$1" "build/fuzz/corpus/$1"
	find "build/fuzz/corpus/$1" "tests/fuzz/corpus/$1" -type f -size -3 -exec cp -t "$small" {} + 2>/dev/null
	"build/fuzz/tests/fuzz/fuzz_$1" -merge=1 "build/fuzz/merged/$1" "tests/fuzz/corpus/$1" "$small" >"build/log/fuzz-$1.log" 2>&1
}

run() {
	mkdir -p "build/fuzz/corpus/$1"
	"build/fuzz/tests/fuzz/fuzz_$1" -max_total_time="$seconds" -seed="${FUZZ_SEED:-0}" -timeout=30 -rss_limit_mb=2048 \
		-dict="$(dictionary "$1")" -artifact_prefix="build/fuzz/found/$1-" -print_final_stats=1 \
		"build/fuzz/corpus/$1" "tests/fuzz/corpus/$1" >"build/log/fuzz-$1.log" 2>&1
}

# tell TARGET: fails if it has found something.
tell() {
	if run "$1"; then
		echo "ok $1: $(sed -n 's/^stat::number_of_executed_units: *//p' "build/log/fuzz-$1.log") executions"
	else
		echo "FAIL $1: build/log/fuzz-$1.log"
		return 1
	fi
}

# Waits for the next that ends.
count() {
	if wait -n; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
	running=$((running - 1))
}

build_preset fuzz ON fuzz_targets || exit 1
passed=0 failed=0 running=0
for target in "${targets[@]}"; do
	if [ -n "$merge" ]; then
		merge "$target"
		continue
	fi
	if [ "$running" -eq "$(nproc)" ]; then
		count
	fi
	tell "$target" &
	running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
	count
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
