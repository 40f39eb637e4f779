# A thin door to Meson: each target has a build folder of its own. `make help` lists them.

PREFIX ?= /usr/local
DESTDIR ?=
JOBS ?= $(shell nproc)
BENCH ?=
FUZZ_SECONDS ?= 60

# -O2 with debugging symbols; link-time optimisation, because a request crosses many small files.
RELEASE = -Doptimization=2 -Ddebug=true -Db_lto=true --prefix=$(PREFIX)
SANITIZER = -Dbuildtype=debug -Db_lundef=false

.PHONY: all run test test-long bench bench-peers lint format fuzz asan tsan valgrind install clean \
	help packages

all: packages build/build.ninja ## build the release binary, build/penstock
	@grep -q '^build penstock:' build/build.ninja || meson setup --reconfigure build >/dev/null
	@ninja -C build -j $(JOBS) $(if $(wildcard src/main.c),penstock)

# Installs what the build needs where it is missing; silent otherwise.
packages:
	@tools/install_packages.sh build

build/build.ninja: | packages
	meson setup build $(RELEASE)

run: all ## build, then serve the built-in demo on 127.0.0.1:8080
	build/penstock serve

test: packages ## every check and test: at most 30 minutes on two cores
	@tools/install_packages.sh test fuzz lint
	@tools/run_tests.py --jobs $(JOBS)

test-long: packages ## as test, with 10 minutes a fuzz target and the long soak tests
	@tools/install_packages.sh test fuzz lint
	@tools/run_tests.py --jobs $(JOBS) --long

# The load generator is not part of `all`.
bench: all ## measure against nginx and HAProxy (and what bench-peers installed); BENCH=--quick
	@tools/install_packages.sh bench
	@ninja -C build -j $(JOBS) bench/load
	python3 bench/run.py $(BENCH)

bench-peers: ## install the peers that come from npm, for bench
	@tools/install_packages.sh bench-peers

lint: packages ## format, clang-tidy, shellcheck, floors and style
	@tools/install_packages.sh lint
	@tools/lint.sh

format: ## rewrite every C file as .clang-format says
	git ls-files '*.c' '*.h' | xargs clang-format -i

fuzz: packages ## run every fuzz target for FUZZ_SECONDS (60)
	@tools/install_packages.sh fuzz
	@tools/run_tests.py --jobs $(JOBS) --fuzz-seconds $(FUZZ_SECONDS) fuzz

asan: packages ## unit tests under the address and undefined-behaviour sanitizers
	@tools/run_tests.py --jobs $(JOBS) asan

tsan: packages ## unit tests under the thread sanitizer
	@tools/run_tests.py --jobs $(JOBS) tsan

valgrind: packages ## unit tests under valgrind
	@tools/install_packages.sh test
	@tools/run_tests.py --jobs $(JOBS) valgrind

install: all ## copy the binary and the systemd unit below DESTDIR/PREFIX
	install -D -m 755 build/penstock $(DESTDIR)$(PREFIX)/bin/penstock
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|@PREFIX@|$(PREFIX)|' packaging/penstock.service \
		> $(DESTDIR)$(PREFIX)/lib/systemd/system/penstock.service

clean: ## remove the build folders; what was installed in .deps stays
	rm -rf build build-*

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
