# One command each: `make demo` shows the loop, `make test` proves it. Both make their own environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
STAMP := $(VENV)/.installed
# what a hundred processes import is compiled once, also where the surroundings say that Python may keep nothing
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test lint types kernels unit flow drills quick-drills bench-detection bench-decide bench-loop bench-policies clean java real-parts bench-contamination

$(STAMP): pyproject.toml constraints.txt
	@deploy/environment $(PYTHON) $(VENV)
	@touch $@

demo: $(STAMP)  ## the loop on a real small site; ARGS="--break kill:catalog --approve auto --until resolved"
	@$(BIN)/opsloop demo $(ARGS)

test: $(STAMP) java lint types unit flow quick-drills  ## everything that is proved on every change

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(STAMP)
	$(BIN)/mypy

kernels: $(STAMP)  ## compiled once, before each process of the tests would do it at the same time
	@$(BIN)/python -c "from app.ingest.warm_up import warm_up; warm_up()"

unit: $(STAMP) kernels
	$(BIN)/pytest tests -m "not kafka and not flow and not drill and not bench and not slow" -q -n 2 --dist loadfile $(ARGS)

flow: $(STAMP) java
	@deploy/real-parts --cheap
	$(BIN)/pytest tests -m "(kafka or flow or drill) and not bench and not slow" -q -n 2 --dist loadfile --timeout 600 $(ARGS)

drills: $(STAMP) java  ## break real workers and brokers, see what holds; ARGS=--quick for minutes, ARGS="lane-kill --json" for one
	@$(BIN)/opsloop drill run --at-once 2 --out drills.jsonl $(ARGS)

quick-drills: $(STAMP) java
	@$(BIN)/opsloop drill run --quick --at-once 2

java:  ## Java and Maven for a real Kafka: installed on a Debian machine as root, else the line to type
	@deploy/java

real-parts:  ## real programs for the flows that use them: collectd, rsyslog, Prometheus, Telegraf, a collector, OPA
	@deploy/real-parts

bench-loop: $(STAMP)
	$(BIN)/opsloop bench loop $(ARGS)

bench-decide: $(STAMP)
	$(BIN)/opsloop bench decide $(ARGS)

bench-policies: $(STAMP)
	$(BIN)/opsloop bench policies $(ARGS)

bench-contamination: $(STAMP)
	$(BIN)/opsloop bench contamination $(ARGS)

bench-detection: $(STAMP)
	$(BIN)/opsloop bench detection $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
