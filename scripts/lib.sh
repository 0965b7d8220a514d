# What scripts/run and scripts/test share; sourced from the top folder of the tree.

die() {
	printf 'llmlab: %s\n' "$*" >&2
	exit 1
}

# Installs what of the named sections of packages.txt is missing; needs root or sudo only then.
install_packages() {
	local missing=() as_root=() section package
	while read -r section package; do
		case " $* " in
		*" $section "*) ;;
		*) continue ;;
		esac
		[ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
	done < <(grep -v '^#' scripts/packages.txt)
	[ ${#missing[@]} -gt 0 ] || return 0
	command -v apt-get >/dev/null || die "this needs Debian 12 with the packages: ${missing[*]}"
	local by_hand="apt-get install ${missing[*]}"
	if [ "$(id -u)" -ne 0 ]; then
		command -v sudo >/dev/null || die "packages are missing; install them as root: $by_hand"
		as_root=(sudo)
	fi
	echo "Installing: ${missing[*]}"
	local log=build/log/apt.log
	mkdir -p build/log
	if ! { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update &&
		"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } \
		>"$log" 2>&1 </dev/null; then
		tail -n 20 "$log" >&2
		die "could not install what is missing; by hand, as root: $by_hand"
	fi
}

# build_preset PRESET TESTS TARGET...: configures and builds; the output is shown only when it fails.
build_preset() {
	local preset=$1 tests=$2 log=build/log/$1.log
	shift 2
	mkdir -p build/log
	if ! { cmake --preset "$preset" -DLLMLAB_TESTS="$tests" && cmake --build "build/$preset" -j "$(nproc)" --target "$@"; } \
		>"$log" 2>&1; then
		grep -A 12 -E 'error:|^FAILED|CMake Error' "$log" | head -n 60 >&2 || tail -n 30 "$log" >&2
		echo "llmlab: the $preset build failed; all of its output is in $log" >&2
		return 1
	fi
}

# Puts the tools of the contract test (tests/contract/package-lock.json says which) and its programs into build/js.
js_tools() {
	command -v node >/dev/null && command -v npm >/dev/null || install_packages js
	mkdir -p build/js build/log
	if ! cmp -s tests/contract/package-lock.json build/js/package-lock.json || [ ! -d build/js/node_modules ]; then
		cp tests/contract/package.json tests/contract/package-lock.json build/js/
		if ! npm ci --prefix build/js --no-audit --no-fund >build/log/npm.log 2>&1 </dev/null; then
			tail -n 20 build/log/npm.log >&2
			rm -rf build/js/node_modules
			return 1
		fi
	fi
	cp tests/contract/*.mjs tests/contract/*.ts tests/contract/tsconfig.json build/js/
}
