# One command does everything, set-up included: make demo, make test, make check, make bench, make bench-long.
#
#   make setup                  .venv with pinned versions, and ngspice from the system's packages
#   make setup PYTHON=python3.12    another Python than python3, at least 3.11
#   make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu     torch's smaller CPU build
#
# `make clean` leaves .venv and your own runs alone; remove .venv to choose again.

PYTHON ?=
TORCH_INDEX ?=
# Where CIFAR-10 is, for the tests and benchmarks that need its images: archive, extracted folder or .npz.
TELLEGEN_CIFAR10 ?= $(wildcard $(CURDIR)/../shared/data/cifar10_subset.npz)
export PYTHON TORCH_INDEX TELLEGEN_CIFAR10

VENV := .venv
READY := $(VENV)/.ready

.PHONY: setup demo test check bench bench-long clean system
.NOTPARALLEL:

setup: $(READY)
	@echo "setup: ready"

# Checked on every call (0.2 s); installs only what is missing.
system:
	@bash .ci/setup.sh system

$(READY): setup.cfg constraints.txt | system
	@bash .ci/setup.sh venv

demo: $(READY)
	$(VENV)/bin/tellegen demo --out runs/demo --force

test: $(READY)
	$(VENV)/bin/python -m pytest --ngspice=required

check: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy --strict circuits netlists cosim digital examples
	$(VENV)/bin/lint-imports
	bash .ci/wheel_check.sh

bench: $(READY)
	failed=0; for script in $(sort $(wildcard benchmarks/*.py)); do $(VENV)/bin/python $$script || failed=1; done; exit $$failed

# Hours rather than minutes; each goes on where it was interrupted.
bench-long: $(READY)
	failed=0; for script in $(sort $(wildcard benchmarks/long/*.py)); do $(VENV)/bin/python $$script || failed=1; done; exit $$failed

clean:
	rm -rf build dist *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache runs/demo
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
