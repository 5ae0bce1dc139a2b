# The front door. Every target sets itself up from a bare checkout: Python 3.10 or later, gcc, make and git are all it needs.
PYTHON ?= python3
VENV ?= .venv
SEED ?=
PYTEST ?=
MINUTES ?= 10

BIN := $(VENV)/bin
READY := $(VENV)/.ready
COMPILED := $(wildcard sampler_c/src/*.[ch] sampler_c/include/*.h align/src/*.[ch] sampler_c/neuralpower_sampler/_build.py align/neuralpower_align/model/_build.py)
# Lines of C that the C tests run, per cent: just under what they do. Python's floor is in pyproject.toml.
C_FLOOR := 94
# Files of tests that are mostly arithmetic: tracing each line of it takes long and says little that is new.
ARITHMETIC := $(addsuffix *.py,$(addprefix tests/unit/test_,accuracy align attribution demo models rank virtual withheld))
QUICK_TESTS := -m 'not slow and not packaging and not hardware' $(addprefix --ignore-glob=,$(ARITHMETIC))
WARNINGS := -std=c11 -O2 -Wall -Wextra -Wconversion -Werror

define KEEP_A_FINDING
A case that was found is printed above with its arguments, as "test_name(argument=value, ...)". To keep it:
  1. write it above the test, below @given:    @example(argument=value, ...)  # what went wrong
  2. make test PYTEST='-k test_name'           fails now, on every machine
  3. mend the code, not the case.
endef
export KEEP_A_FINDING

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-random coverage coverage-quick check format-check lint types arrows warnings sanitize test-bindings test-builder test-gpu test-memory-model test-systemd test-prometheus test-vm bench bench-instructions accuracy accuracy-quick accuracy-run dist format clean fuzz fuzz-quick fuzz-guided fuzz-guided-quick siege siege-quick delivery delivery-quick soak

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with everything in it, if it is not there yet

demo: $(READY) ## measure, attribute, fit and predict on this machine; SEED=n repeats a run
	@$(BIN)/neuralpower demo $(if $(SEED),--seed $(SEED))

test: $(READY) ## C tests, then Python tests; PYTEST='-k ring' passes options on
	@$(MAKE) -s -C tests/c run
	@$(BIN)/python -m pytest -n auto --dist loadgroup --durations=10 $(PYTEST)

test-random: $(READY) ## property tests on cases drawn anew, to find what the fixed ones miss; SEED=n repeats a run
	@$(BIN)/python -m pytest -m 'hypothesis and not hardware' --hypothesis-profile=random $(if $(SEED),--hypothesis-seed=$(SEED)) $(PYTEST) \
		|| { status=$$?; [ $$status -ne 1 ] || echo "$$KEEP_A_FINDING"; exit $$status; }

coverage: $(READY) ## how much of C and Python the tests run, with floors; PYTEST='-k ring' passes options on
	@rm -rf build/coverage build/c/gcov && mkdir -p build/coverage
	@$(MAKE) -s -C tests/c gcov
	@cd tests/c && $(abspath $(BIN))/gcovr --root ../.. --filter ../../sampler_c --filter ../../align --object-directory . --fail-under-line $(C_FLOOR) ../../build/c/gcov
	@$(BIN)/coverage run -m pytest -n auto --dist loadgroup $(PYTEST) && $(BIN)/coverage combine --quiet && $(BIN)/coverage report

coverage-quick: ## the same without tests that are mostly arithmetic, fit for CI
	@$(MAKE) -s coverage PYTEST="$(QUICK_TESTS)"

fuzz: $(READY) ## every reader of files on damaged ones; MINUTES=n for each of the twelve (10), SEED=n repeats a run
	@$(BIN)/python -m tests.fuzz.run --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

fuzz-quick: ## the same for a minute altogether, always the same cases, fit for CI
	@$(MAKE) -s fuzz MINUTES=0.1 SEED=$(or $(SEED),1)

fuzz-guided: $(READY) ## guided by coverage: C that reads others' bytes, and the wire's codec; MINUTES=n for each of the six (10), SEED=n; needs clang, llvm, libclang-rt-dev
	@$(BIN)/python -m tests.fuzz.guided.run --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

fuzz-guided-quick: ## the same for half a minute altogether, fit for CI
	@$(MAKE) -s fuzz-guided MINUTES=0.1 SEED=$(or $(SEED),1)

siege: $(READY) ## a million mutated messages at each socket of a daemon; MESSAGES=n, SEED=n repeats a run
	@$(BIN)/python -m tests.fuzz.sockets --messages $(or $(MESSAGES),1000000) $(if $(SEED),--seed $(SEED))

siege-quick: ## the same with 20,000 at each, fit for CI
	@$(MAKE) -s siege MESSAGES=20000 SEED=$(or $(SEED),1)

delivery: $(READY) ## clients and daemon killed, the network cut: every entry delivered or told lost; MINUTES=n (10), ADDRESS=a of a running daemon, SEED=n
	@$(BIN)/python -m tests.beds.delivery.run --minutes $(MINUTES) $(if $(ADDRESS),--address $(ADDRESS)) $(if $(SEED),--seed $(SEED))

delivery-quick: ## the same for half a minute, fit for CI
	@$(MAKE) -s delivery MINUTES=0.5 SEED=$(or $(SEED),1)

soak: $(READY) ## the same for an hour with a daemon that nobody kills: memory and descriptors at start and end; MINUTES=n (60), SEED=n
	@$(BIN)/python -m tests.beds.delivery.run --daemon-kills 0 --minutes $(if $(filter file,$(origin MINUTES)),60,$(MINUTES)) $(if $(SEED),--seed $(SEED))

check: format-check lint types arrows warnings ## format, lint, types, import arrows, C warnings (-k: go on after a failure)

format-check: $(READY)
	@echo "check: format" && $(BIN)/ruff format --check --quiet .

lint: $(READY)
	@echo "check: lint" && $(BIN)/ruff check --quiet --output-format concise .

types: $(READY)
	@echo "check: types" && $(BIN)/mypy

arrows: $(READY)
	@echo "check: import arrows" && $(BIN)/lint-imports --no-logo

warnings:
	@echo "check: C warnings" && for source in sampler_c/src/*.c align/src/*.c benchmarks/*/*.c examples/*/*.c; do \
		$(CC) $(WARNINGS) -Isampler_c/include -Isampler_c/src -c $$source -o /dev/null || exit 1; done

sanitize: ## C tests under ASan + UBSan, then under TSan
	@echo "sanitize: address, undefined" && $(MAKE) -s -C tests/c asan
	@echo "sanitize: thread" && $(MAKE) -s -C tests/c tsan

test-bindings: $(READY) ## the profiler under TensorRT's own Python bindings 8.6 to 11.4, without a GPU; fetches them from PyPI
	@$(BIN)/python tests/beds/tensorrt_bindings/run.py

test-builder: $(READY) ## real TensorRT builds engines without a GPU: TensorRT for RTX, fetched from PyPI (95 MB)
	@$(BIN)/python tests/beds/tensorrt_builder/run.py

test-gpu: ## what can be known of one GPU in six minutes (docs/measured.md); without a GPU a rehearsal over stand-ins, simulated
	@if $(PYTHON) -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then \
		$(PYTHON) tests/beds/gpu/run.py; else $(MAKE) -s setup && $(BIN)/python tests/beds/gpu/rehearse.py; fi

test-memory-model: ## the ring's protocol in a weak memory model, as it is and weakened; needs relacy-dev
	@$(PYTHON) tests/beds/memory_model/run.py

test-systemd: $(READY) ## the unit under a real systemd in a container; as root; needs systemd-container and mmdebstrap
	@$(BIN)/python tests/beds/systemd/run.py

test-prometheus: $(READY) ## a real Prometheus scrapes a real daemon through a kill; needs Debian's prometheus
	@$(BIN)/python tests/beds/prometheus/run.py

test-vm: $(READY) ## the real ina3221 driver in a virtual machine judges chip, sources and loop (docs/testbed.md)
	@tests/beds/vm/run.sh $(abspath $(BIN))/python

bench: $(READY) ## what it costs beside references; PART=a one part, QUICK=1 a short form, ROUNDS=n
	@$(BIN)/python -m benchmarks $(PART) $(if $(QUICK),--quick) $(if $(ROUNDS),--rounds $(ROUNDS))

bench-instructions: $(READY) ## instructions per tick against the budget, fit for CI
	@$(BIN)/python -m benchmarks g

accuracy: $(READY) ## what attribution (simulated) and models are worth; hours on two cores; SEED=n draws everything anew
	@$(BIN)/python -m benchmarks.accuracy attribution $(if $(SEED),--seed $(SEED),--quoted)
	@$(BIN)/python -m benchmarks.accuracy run $(if $(SEED),--seed $(SEED),--quoted)
	@$(BIN)/python -m benchmarks.accuracy models $(if $(SEED),--seed $(SEED),--quoted)

accuracy-quick: $(READY) ## a network of some of the cases, fit for CI
	@$(BIN)/python -m benchmarks.accuracy attribution --quick $(if $(SEED),--seed $(SEED))

accuracy-run: $(READY) ## six short runs as users make them, in virtual time; fails where too few units hold the truth, fit for CI
	@$(BIN)/python -m benchmarks.accuracy run --quick $(if $(SEED),--seed $(SEED))

dist: $(READY) ## source distribution and wheel, in dist/
	@rm -rf dist && mkdir -p build && echo "building dist/ (log: build/dist.log)"
	@NEURALPOWER_SAMPLER=required $(BIN)/python -m build >build/dist.log 2>&1 || { tail -n 20 build/dist.log; exit 1; }
	@ls dist

format: $(READY) ## rewrite the Python files as the formatter and the import sorter want them
	@$(BIN)/ruff format . && $(BIN)/ruff check --quiet --fix .

clean: ## remove everything that was built, .venv too
	@rm -rf build dist $(VENV) *.egg-info .hypothesis .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	@rm -f sampler_c/neuralpower_sampler/*.so align/neuralpower_align/model/*.so
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): setup.py pyproject.toml $(COMPILED)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and f"neuralpower needs Python 3.10 or later, but {sys.executable} is {sys.version.split()[0]}: make PYTHON=...")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make a virtual environment: apt install python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' || { echo "$(PYTHON) has no C headers: apt install python3-dev" >&2; exit 1; }
	@mkdir -p build && echo "setting up $(VENV): one to two minutes the first time (log: build/setup.log)"
	@{ [ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV); } >build/setup.log 2>&1 \
		&& NEURALPOWER_SAMPLER=required $(BIN)/python -m pip install --disable-pip-version-check -e '.[dev]' >>build/setup.log 2>&1 \
		|| { tail -n 20 build/setup.log >&2; echo "setting up $(VENV) failed: the end of build/setup.log is above" >&2; exit 1; }
	@touch $@
