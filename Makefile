# Two commands on a fresh machine with Python 3.11+: `make run` and `make test`. `make help` lists all.
PYTHON ?= python3
# Another Python has an environment of its own: `make test PYTHON=python3.13` makes .venv-python3.13.
VENV := .venv$(addprefix -,$(notdir $(filter-out python3,$(PYTHON))))
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
# A first look: the CNN, a few minutes on two CPU cores, on whatever data can be had.
RECIPE := --arch cnn --recipe strong
FIRST_LOOK := $(RECIPE) --dataset auto --epochs 5 --train-examples 10000
ARGS ?= $(FIRST_LOOK)
# The options that were given, for commands that have nothing to do with a first look.
GIVEN := $(if $(filter file,$(origin ARGS)),,$(ARGS))

# How long `make soak` goes on, and where it begins.
SECONDS ?= 3600
SEED ?= 0

# How many planted faults or mutants are tried at a time.
JOBS ?= 2

# What every supported version of Python and JAX must pass: what computes, traces and saves.
CORE := $(addprefix tests/, training/test_optim.py runs/test_checkpoint.py runs/test_fit.py \
	training/test_platforms.py machine/test_environment.py machine/test_xla_flags.py \
	networks/test_models.py networks/test_networks.py networks/test_nnx_network.py diagram/test_summary.py \
	diagram/test_drawing_traced.py training/test_parallel_runs.py training/test_train.py)

# What computes, apart from whole runs: these must give the same on every processor.
NUMERIC := $(addprefix tests/, networks/test_adapt.py training/test_augment.py kernels/test_convolution.py \
	data/test_corruptions.py networks/test_fastnet.py training/test_loss.py \
	networks/test_models.py training/test_numerics.py training/test_optim.py)

.PHONY: run help docs test test-core test-avx2 test-oldest test-installed soak faults mutants clean

run: $(VENV)/installed  ## install and train; make run ARGS="--arch resnet18" passes options on
	@echo "==> jaxcifar run $(ARGS)"
	@$(BIN)/jaxcifar run $(ARGS)
	@echo "Next, the same on all images: make run ARGS=\"$(RECIPE)\""
	@echo "or the reference on a GPU:    make run ARGS=\"--arch resnet18\"   (all options: ARGS=--help)"

help:  ## list all targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

docs: $(VENV)/installed  ## write docs/settings.md from the declarations of settings
	@PYTHONPATH=tests $(BIN)/python -m settings_page

test: $(VENV)/installed-test  ## check style and types and run all tests; TESTS=tests/config runs some
	@echo "==> ruff"
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "==> mypy"
	@$(BIN)/mypy
	@echo "==> pytest"
	@$(BIN)/python -m pytest $(TESTS)

soak: $(VENV)/installed-test  ## give generated hostile input to every command; SECONDS=3600 SEED=0
	@PYTHONPATH=tests $(BIN)/python -m soak --seconds $(SECONDS) --seed $(SEED)

faults: $(VENV)/installed-test  ## plant faults that a test must notice; ARGS=--help
	@PYTHONPATH=tests $(BIN)/python -m planted_faults --jobs $(JOBS) $(GIVEN)

mutants: $(VENV)/installed-mutants  ## run mutmut over modules that need no compiling
	@nice $(BIN)/mutmut run --max-children $(JOBS) $(GIVEN)
	@$(BIN)/mutmut results

test-core: $(VENV)/installed-test  ## run the core tests; PYTHON=python3.13 uses another Python
	@echo "==> pytest on $$($(BIN)/python -c 'import jax, sys; print(sys.version.split()[0], "jax", jax.__version__)')"
	@$(BIN)/python -m pytest -q $(CORE)

test-oldest: $(VENV)-oldest/installed  ## run the core tests with the oldest supported versions
	@echo "==> pytest on $$($(VENV)-oldest/bin/python -c 'import jax; print("jax", jax.__version__)')"
	@$(VENV)-oldest/bin/python -m pytest -q $(CORE)

test-avx2: $(VENV)/installed-test  ## run the numeric tests as on a processor without AVX-512
	@case "$$(uname -m)" in \
	x86_64 | amd64) echo "==> pytest without AVX-512"; \
		XLA_FLAGS="--xla_cpu_max_isa=AVX2" $(BIN)/python -m pytest -q $(NUMERIC) ;; \
	*) echo "==> SKIPPED: only x86-64 processors have AVX2, this is $$(uname -m)" ;; \
	esac

test-installed:  ## try every command of the installed package in a new environment
	@$(PYTHON) tests/installed.py

$(VENV)/installed: pyproject.toml constraints.txt
	@echo "==> installing into $(VENV) (about 1 GB, a minute or two)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	@echo "==> installing what the tests need"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	@touch $@

$(VENV)/installed-mutants: $(VENV)/installed-test
	@echo "==> installing the mutation tester"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "mutmut>=3.8"
	@touch $@

$(VENV)-oldest/installed: pyproject.toml constraints-oldest.txt
	@echo "==> installing the oldest supported versions into $(VENV)-oldest"
	@test -x $(VENV)-oldest/bin/python || $(PYTHON) -m venv $(VENV)-oldest
	@$(VENV)-oldest/bin/python -m pip install --quiet --disable-pip-version-check \
		-c constraints-oldest.txt -e . "pytest>=8" "pytest-xdist>=3.7" "hypothesis>=6.100" \
		"jaxtyping>=0.3.11" "beartype>=0.22.1"
	@touch $@

clean:  ## remove environments and caches, never data or runs
	rm -rf .venv .venv-oldest .venv-python* *.egg-info .pytest_cache .ruff_cache .mypy_cache .faults mutants
