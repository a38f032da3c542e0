PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
RUN := $(VENV)/bin/python
PORT ?= 8000
SECONDS_EACH ?= 60
MINUTES ?= 30

# For hosts without a package index: Amazon Linux 2023 has glibc 2.34.
PYTHON_VERSION ?= 3.11
ARCH ?= x86_64
# One with Ansible, whose collections go along.
ANSIBLE_PYTHON ?= $(PYTHON)
PLATFORMS := $(foreach tag,manylinux2014 manylinux_2_17 manylinux_2_28 manylinux_2_34,--platform $(tag)_$(ARCH))

# What `GET /docs` serves, from the npm registry.
SWAGGER_UI := 5.35.0
DOCS := proxy/assets/docs

.PHONY: demo demo-llm test test-fleet fuzz soak lint bench bench-quick wheelhouse release docs-assets clean

demo: $(VENV)/installed ## the embedded SageMaker and the proxy; MODEL_URL=… for a model of your own
	@$(RUN) -m tests.demo --port $(PORT) $(if $(MODEL_URL),--model-url $(MODEL_URL))

demo-llm: $(VENV)/installed ## the same with a real language model, compiled on first use
	@$(RUN) -m tests.demo --port $(PORT) --llm

# What measures, and so runs by itself.
ALONE := tests/integration/test_overload.py
FLEET := tests/fleet tests/provisioning/test_fleet.py tests/cloudformation/test_fleet.py

# Three for two processors: a test waits for a third of its time.
test: $(VENV)/installed ## everything that this machine can run
	$(RUN) -m pytest --numprocesses 3 --no-loadscope-reorder $(addprefix --ignore ,$(ALONE) $(FLEET))
	$(RUN) -m pytest $(ALONE)

test-fleet: $(VENV)/installed ## three hosts behind a load balancer: rolled, cut off, killed
	$(RUN) -m pytest $(FLEET)

fuzz: .venv-fuzz/installed ## any bytes into whatever reads them; SECONDS_EACH=60 for each reader
	@.venv-fuzz/bin/python -m tests.fuzz $(SECONDS_EACH)

soak: $(VENV)/installed ## overload for a minute of each kind, then half an hour of mixed traffic, faults and reloads
	@OVERLOAD_SECONDS=60 $(RUN) -m pytest -q -s tests/integration/test_overload.py
	@$(RUN) -m tests.soak --minutes $(MINUTES)

lint: $(VENV)/installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/ansible-lint --nocolor -q
	$(VENV)/bin/cfn-lint

bench: $(VENV)/installed ## the proxy beside other gateways, which it installs into .bench; takes long
	@$(RUN) -m tests.benchmark

bench-quick: $(VENV)/installed ## a short round of the same, written to .bench/results
	@$(RUN) -m tests.benchmark --quick --results .bench/results

# Downloads what a lock file names into .wheelhouse.
DOWNLOAD = $(PYTHON) -m pip download -qq --disable-pip-version-check --dest .wheelhouse --require-hashes \
  --only-binary=:all: --python-version $(PYTHON_VERSION) $(PLATFORMS) -r

wheelhouse: ## every package that a host needs, in .wheelhouse; ARCH=aarch64 for Graviton
	@echo "Downloading wheels for Python $(PYTHON_VERSION) on $(ARCH) into .wheelhouse…"
	@for lock in requirements.txt roles/certificates/files/certbot-requirements.txt; do \
	  $(DOWNLOAD) $$lock || exit 1; done
	@echo "Done: ansible-playbook playbooks/site.yml -e python_wheelhouse=$(CURDIR)/.wheelhouse"

release: ## what instances of a fleet install themselves from, in .release; ARCH=aarch64 for Graviton
	@for lock in requirements.txt roles/fleet/files/ansible-requirements.txt; do \
	  $(DOWNLOAD) $$lock --no-index --find-links .wheelhouse 2>/dev/null || $(DOWNLOAD) $$lock || exit 1; done
	@$(ANSIBLE_PYTHON) roles/fleet/files/pack.py --arch $(ARCH)

docs-assets: ## Swagger UI, fetched again and compared with SHA256SUMS; needs npm
	@cd $(DOCS) && npm pack --silent swagger-ui-dist@$(SWAGGER_UI) && \
	  tar --extract --gzip --file swagger-ui-dist-$(SWAGGER_UI).tgz --strip-components 1 \
	    $$(sed 's|.*  |package/|' SHA256SUMS) && rm swagger-ui-dist-$(SWAGGER_UI).tgz && \
	  sha256sum --check SHA256SUMS

clean:
	rm -rf $(VENV) .venv-llm .venv-fuzz .fuzz .bench .wheelhouse .release .demo .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info

$(VENV)/installed: requirements.txt requirements-dev.txt pyproject.toml
	@echo "Installing the locked dependencies into $(VENV), about a minute on the first run…"
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install -qq --disable-pip-version-check --no-compile --require-hashes -r requirements-dev.txt
	@$(RUN) -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.venv-fuzz/installed: requirements.txt requirements-fuzz.txt
	@test -x .venv-fuzz/bin/python || $(PYTHON) -m venv .venv-fuzz
	@.venv-fuzz/bin/python -m pip install -qq --disable-pip-version-check --no-compile --require-hashes \
	  -r requirements.txt -r requirements-fuzz.txt
	@touch $@
