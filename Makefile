SHELL := bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
DEMO := results/demo
LOCAL := results/local
BASELINES := results/baseline
SITE := OMP_NUM_THREADS=1 $(BIN)/sphinx-build -W --keep-going -E -q -d build/doctrees docs build/docs
ASV := cd .asv/quick && HOME="$$PWD" OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 ../../$(BIN)/asv

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench baseline standard certificates peers mutants coverage trials verdicts timings history scale docs guide nightly clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) install -c constraints.txt -e '.[dev]'
	touch $@

demo: .venv/.installed ## run the quick suite (it continues where it stopped) and write its report
	$(BIN)/scorebench run quick --store $(DEMO)
	$(BIN)/scorebench report --store $(DEMO) --out $(DEMO)/report
	@echo "open $(DEMO)/report/report.html"

test: .venv/.installed ## run all tests, on two processes
	$(BIN)/python -m pytest -n 2 -q --benchmark-disable --durations=10

lint: .venv/.installed ## check style, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: .venv/.installed ## rewrite what `make lint` would complain about, where ruff can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Even a dry run of asv records the machine and its list of benchmarks: here under .asv, not in results/asv.
bench: .venv/.installed ## check the asv suites and call each benchmark once, recording nothing
	mkdir -p .asv/quick
	sed -e 's|"results/asv"|"results"|' -e 's|"bench/timings"|"../../bench/timings"|' \
		-e 's|"repo": "."|"repo": "../.."|' asv.conf.json > .asv/quick/asv.conf.json
	$(ASV) machine --yes > /dev/null
	$(ASV) check -E existing:$(CURDIR)/$(BIN)/python
	$(ASV) run -E existing:$(CURDIR)/$(BIN)/python --quick --dry-run --show-stderr \
		| grep -v -E 'For parameters:|asv: skipped:|^ *$$'

# A first baseline is compared with itself.
define keep_baseline
$(BIN)/scorebench compare $(firstword $(wildcard $(BASELINES)/$(1)) $(2)) $(2) --update-baseline $(BASELINES)/$(1) --reason "$(REASON)"
endef

baseline: demo ## commit the demo's tables, rows (with REASON="why they change") and the README's picture to results/baseline
	cp $(DEMO)/report/{best.csv,summary.csv,error-nfe-digits-vp.png} $(BASELINES)
	$(call keep_baseline,quick.csv,$(DEMO))

standard: .venv/.installed ## the same of the standard suite in results/local but for its times, which takes hours
	$(BIN)/scorebench run standard --untimed
	$(BIN)/scorebench report --out $(LOCAL)/report
	cp $(LOCAL)/report/best.csv $(BASELINES)/standard-best.csv
	cp $(LOCAL)/report/winners-{error-median,fid}.png $(BASELINES)
	$(call keep_baseline,standard.csv.gz,$(LOCAL))

certificates: .venv/.installed ## certify every registered solver, and commit the table
	$(BIN)/scorebench certify --all --table results/certificates.csv

# Of what k-diffusion asks for, its samplers need torchsde and torchdiffeq alone.
.venv/.peers: .venv/.installed
	$(PIP) install -c constraints.txt -e '.[peers]'
	$(PIP) install -c constraints.txt --no-deps k-diffusion
	touch $@

peers: .venv/.peers ## install other libraries' samplers and integrators, and table the conformance of released samplers
	$(BIN)/scorebench certify --peers --table results/conformance.csv

mutants: .venv/.installed ## plant the listed bugs one by one, and see that certificates catch them
	$(BIN)/python -m scorebench.bench.certificates.hunt

coverage: .venv/.installed ## see how often metrics' intervals hold the truth, and commit the table
	OMP_NUM_THREADS=1 $(BIN)/python -m scorebench.bench.coverage --table results/coverage.csv

.venv/.docs: .venv/.installed
	$(PIP) install -c constraints.txt -e '.[docs]'
	touch $@

docs: .venv/.docs ## build the site in build/docs; pages of the guide run when they have changed (GUIDE_CACHE keeps the rest)
	$(SITE)
	@echo "open build/docs/index.html"

guide: .venv/.docs ## the same, and run every page of the guide, and record in results/guide.csv that they ran
	$(SITE) -D nb_execution_mode=force

trials: .venv/.installed ## kill, interrupt and double runs, fill a disk, flip bits, and see that nothing is lost
	$(BIN)/python -m scorebench.bench.trials

verdicts: .venv/.installed ## see how often `compare` cries wolf and what it misses, and whether `choose` is right on unseen samples
	OMP_NUM_THREADS=1 $(BIN)/python -m scorebench.cli.compare_trials
	OMP_NUM_THREADS=1 $(BIN)/python -m scorebench.cli.choose_trials

timings: .venv/.peers ## time solvers, the update and adaptive integration beside other libraries, and commit the table
	OMP_NUM_THREADS=1 $(BIN)/python -m scorebench.bench.peer_timing

history: .venv/.installed ## run the asv suites on BASE=COMMIT and HEAD, in turn, from work trees, into results/asv and asv's pages
	$(BIN)/python -m scorebench.bench.history $(BASE)
	$(BIN)/asv publish --no-pull
	@echo "open .asv/html/index.html, or the history in a report"

scale: .venv/.installed ## write the report of 20,000 synthetic rows, and say how long it took and how much memory
	OMP_NUM_THREADS=1 $(BIN)/python -m scorebench.reports.scale

nightly: lint test certificates mutants guide ## all checks, then the standard suite in results/local, its report and what differs from its baseline
	$(BIN)/scorebench run standard
	$(BIN)/scorebench report --out $(LOCAL)/report
	$(BIN)/scorebench compare $(BASELINES)/standard.csv.gz $(LOCAL) --level cells --level counts --level golden

clean: ## remove the demo, asv's environments and all caches, but not .venv or results/local
	rm -rf $(DEMO) .asv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks dist build
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
