# Everything a person or CI does with this repository. `make help` lists the targets.
# On a fresh machine only Python >= 3.11, make and git are needed; each target installs what it uses.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
AUDIT_VERSION := 2.10.1
ARGS ?=
MINUTES ?= 10
SEED ?= 1
FACTOR ?= 20
FUZZERS := tests/property/test_hostile_bodies.py tests/unit/kubeclient/test_garbage_answers.py tests/property/test_agent_machine.py \
  tests/property/test_both_services.py tests/property/test_inventory_machine.py
# Tests on as many processes as there are cores, but four: more would not shorten the longest group (tests/conftest.py).
PARALLEL := -n auto --maxprocesses=4 --dist loadgroup --no-loadscope-reorder
# What tests run and do not contain, built once into the cache.
PROGRAMS := control-plane real-node promtool helm olm-validators browser
STAMP := $(VENV)/.installed
# Tests and demo start hundreds of processes. Without kept bytecode each of them compiles a thousand modules first,
# which is two thirds of the start of `migsched demo`; so an environment that forbids it is not heeded here.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install lock lock-images image audit demo demo-picture stack cluster test test-fast coverage e2e test-kubernetes test-kueue kueue soak fuzz fail-points matrix check format lint types imports bench recorded drawings monitoring docs clean control-plane real-node promtool manifests manifests-check protos chart helm web browser page-pictures bundle olm-validators checkov

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

install: $(STAMP) ## environment in .venv, from the hashed requirements

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "migsched needs Python >= 3.11; $(PYTHON) is $$($(PYTHON) --version 2>&1). Set PYTHON=/path/to/python3.11"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

lock: ## resolve pyproject.toml into requirements/*.txt, with hashes
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 pyproject.toml -o requirements/runtime.txt
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --extra dev --extra report --extra dask pyproject.toml -o requirements/dev.txt
	for image in scheduler agent cli; do UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --python-platform linux --generate-hashes --python-version 3.11 --constraints requirements/runtime.txt deploy/images/$$image.in -o requirements/image-$$image.txt || exit; done
	cd requirements && for tool in node checkov; do UV_CUSTOM_COMPILE_COMMAND="make lock" ../$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 $$tool.in -o $$tool.txt || exit; done
	cd requirements/consumers && UV_CUSTOM_COMPILE_COMMAND="make lock" ../../$(BIN)/uv pip compile --quiet --universal --no-deps --generate-hashes --python-version 3.11 programs.in -o programs.txt
	cd requirements/consumers && UV_CUSTOM_COMPILE_COMMAND="make lock" ../../$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 libraries.in -o libraries.txt

lock-images: install ## lock the images' Debian packages in the versions that apt offers now
	$(BIN)/python -m testbed.image --lock

manifests: install ## regenerate what deploy/ derives from the GPU catalogues
	$(BIN)/python -m scheduler.kube_scheduler_config deploy/kube-scheduler/config.yaml

chart: install ## copy deploy/ into the chart, and its values into the docs
	$(BIN)/python -m benchmarks.report.chart

protos: install ## regenerate the kubelet's messages from their .proto files
	cd node_agent/kubelet && ../../$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. *.proto

demo: install ## the scheduler on a simulated cluster, in one process (ARGS="--once -o json")
	@$(BIN)/migsched demo $(ARGS)

demo-picture: install ## draw the demo's picture and animation for the README again
	@$(BIN)/migsched demo --svg docs/images/demo.svg
	@$(BIN)/migsched demo --scenario fix --nodes 2 --gpus 2 --animation docs/images/demo-fix.svg

stack: control-plane real-node ## an app, an ingress, real Dynamo and Triton on slices, without a GPU (ARGS="--once")
	@$(BIN)/python -m tests.stack $(ARGS)

control-plane: install ## build etcd, kube-apiserver, kube-scheduler, … into the cache (minutes, once)
	@$(BIN)/python -m testbed.control_plane.build

real-node: install ## build containerd and fetch runc and busybox into the cache, where this machine can run a node
	@$(BIN)/python -m testbed.node

promtool: install ## build promtool, which judges rules and metrics, into the cache (minutes, once)
	@$(BIN)/python -m testbed.promtool

olm-validators: install ## build Operator Framework's validators into the cache (a minute, once)
	@$(BIN)/python -m testbed.olm.validators

bundle: control-plane ## write OperatorHub's bundle, catalogue and mirror list again (ARGS="--agent HOST/NAME@sha256:…")
	@$(BIN)/python -m testbed.olm $(ARGS)

helm: install ## build Helm into the cache (minutes, once)
	@$(BIN)/python -m testbed.helm.build

web: install ## check the web page's sources and write the built files into scheduler/api/pages/app
	@$(BIN)/python -m testbed.web

browser: install ## unpack Debian's headless Chromium into the cache, where apt-get can be had
	@$(BIN)/python -m testbed.browser

page-pictures: browser ## draw the web page's pictures for the docs again
	$(BIN)/python -m tests.e2e.page.pictures

image: install ## the images of scheduler, agent and command line, as OCI archives in build/images (docs/images.md)
	@$(BIN)/python -m testbed.image $(ARGS)

audit: install ## known vulnerabilities of the locked Python packages; asks the package index's advisories
	@test -x $(VENV)/audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)/audit && $(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==$(AUDIT_VERSION); }
	$(VENV)/audit/bin/pip-audit --strict --require-hashes --disable-pip --requirement requirements/runtime.txt

checkov: helm ## checkov over the chart in its modes and over OperatorHub's objects (200 MB, once)
	$(BIN)/pytest tests/e2e/test_scanned.py

cluster: control-plane ## a real control plane with simulated GPU nodes (ARGS="--nodes 4 --gpus 8")
	@$(BIN)/migsched cluster $(ARGS)

test: $(PROGRAMS) ## every test, end-to-end included
	$(BIN)/pytest $(PARALLEL) $(ARGS)

test-fast: install ## unit, property, contract and integration tests only
	$(BIN)/pytest $(PARALLEL) -m "not e2e" $(ARGS)

coverage: export HYPOTHESIS_PROFILE = dev
coverage: control-plane ## all tests outside tests/e2e, under branch coverage; fails below the floor in pyproject.toml
	$(BIN)/pytest $(PARALLEL) --ignore=tests/e2e --cov --cov-report=term:skip-covered $(ARGS)

e2e: $(PROGRAMS) ## tests/e2e: genuine Kubernetes, and a real node where this machine can run one
	$(BIN)/pytest tests/e2e $(ARGS)

test-kubernetes: install ## scheduling and manifests on another Kubernetes (VERSION=1.36.4)
	@test -n "$(VERSION)" || { echo "say which: make test-kubernetes VERSION=1.36.4"; exit 2; }
	MIGSCHED_KUBERNETES=$(VERSION) $(BIN)/pytest tests/e2e/scheduling tests/e2e/test_*.py $(ARGS)

kueue: install ## build Kueue into the cache (4 to 6 minutes on two cores, once)
	@$(BIN)/python -m testbed.kueue

test-kueue: control-plane kueue ## our queue beside the genuine Kueue, which `make check` leaves out for its build
	$(BIN)/pytest --kueue tests/e2e/scheduling/test_queue_beside_kueue.py $(ARGS)

soak: control-plane real-node ## churn, faults, a bad network and hostile tenants together (MINUTES=10, SEED=1)
	@$(BIN)/python -m tests.soak $(MINUTES) $(SEED)

fuzz: install ## the fuzzers and state machines for hours, with other draws each time (FACTOR=20, SEED=…)
	MIGSCHED_FUZZ_FACTOR=$(FACTOR) MIGSCHED_FUZZ_SEED=$(SEED) HYPOTHESIS_PROFILE=hunt $(BIN)/pytest --timeout=0 $(FUZZERS) $(ARGS)

fail-points: control-plane real-node ## fail both services in every way at every fail point, on genuine Kubernetes
	MIGSCHED_FAILURES=all $(BIN)/pytest tests/e2e/scheduling/test_fail_points.py tests/e2e/real_node/test_agent_fail_points.py tests/e2e/real_node/test_moves_agent_killed.py $(ARGS)

matrix: install ## unit and property tests of the built wheel, under each Python that it claims and this machine has
	@$(BIN)/python -m tests.matrix $(ARGS)

format: install ## rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: install
	$(BIN)/mypy

imports: install
	$(BIN)/lint-imports

docs: install ## the docs as a site in build/site; a dead link or an unlinked page fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

manifests-check: control-plane helm olm-validators ## every manifest: fits the agent's and the scheduler's settings, builds, and a real API server takes it
	$(BIN)/pytest tests/unit/deploy tests/e2e/test_chart*.py tests/e2e/test_deploy_*.py tests/e2e/test_olm.py tests/e2e/test_agent_kube.py $(ARGS)

check: export HYPOTHESIS_PROFILE ?= ci
check: lint types imports docs matrix coverage e2e ## what CI runs: all of these, so each test once

bench: control-plane ## every benchmark, checked against benchmarks/ranges.toml
	$(BIN)/migsched bench all $(ARGS)

recorded: install ## put the recorded benchmark run into the docs that quote it
	-$(BIN)/migsched bench judge benchmarks/results/full.json --save
	$(BIN)/python -m benchmarks.report.quoted

drawings: install ## write again what the docs show of the code: drawings of the imports, tables of the settings
	$(BIN)/python -m benchmarks.report.imports
	$(BIN)/python -m benchmarks.report.settings_pages
	$(BIN)/python -m cli.diagnosis.page

monitoring: install ## write again what monitoring shows of the code: docs/metrics.md, the dashboards
	$(BIN)/python -m benchmarks.monitoring

clean: ## remove the environment and caches
	rm -rf $(VENV) .venv-3.* .cache build/site .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov
