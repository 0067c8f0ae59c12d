# One target for each thing that people and CI do. `make help` lists them.

CARGO ?= cargo
# What `make demo` runs: dev (builds fast) or release.
PROFILE ?= dev
TARGET_DIR = $(or $(CARGO_TARGET_DIR),target)
BUILT = $(TARGET_DIR)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))

.DEFAULT_GOAL = help
.PHONY: help demo test lint bench crds deps

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 8

demo: deps ## Serve simulated sticks and what is plugged in; FLEET=my.yaml: your own; CHECK=1: unattended; PROFILE=release
	$(CARGO) build --locked --profile $(PROFILE) -p serialfleet-bridge -p serialfleet-hook -p serialfleet-tests --bins
	@$(BUILT)/serialfleet-demo $(if $(CHECK),--check) $(if $(FLEET),--fleet '$(FLEET)')

test: deps ## Everything that needs neither cluster nor hardware
	$(CARGO) test --locked --workspace --features serialfleet-api/crd

lint: deps ## Format and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --features serialfleet-api/crd -- -D warnings

# One package at a time: what is measured must not be linked with features that only others ask for.
bench: deps ## The bridge beside ser2net, socat and a plain copier: tests/bench/README.md
	$(CARGO) build --locked --release -p serialfleet-bridge
	$(CARGO) build --locked --release -p serialfleet-bench
	$(TARGET_DIR)/release/serialfleet-bench

crds: ## Write metacontroller/manifests/crds.yaml anew, from the types
	$(CARGO) run --locked -q -p serialfleet-api --features crd --bin crdgen > metacontroller/manifests/crds.yaml.new
	mv metacontroller/manifests/crds.yaml.new metacontroller/manifests/crds.yaml

# libudev is linked; ring compiles a little C.
deps: ## Install the system packages that the build needs, or print the line that does
	@if pkg-config --exists libudev 2>/dev/null && command -v cc >/dev/null; then exit 0; fi; \
	packages='libudev-dev pkg-config gcc libc6-dev'; \
	if ! command -v apt-get >/dev/null; then \
	  echo "install the headers of libudev, pkg-config and a C compiler, e.g. dnf install systemd-devel pkgconf gcc" >&2; exit 1; \
	fi; \
	if [ "$$(id -u)" = 0 ]; then as_root=; else as_root=sudo; fi; \
	if [ -z "$$as_root" ] || command -v sudo >/dev/null; then \
	  echo "installing $$packages" >&2; \
	  $$as_root apt-get update -q >&2 && \
	    $$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$packages >&2 && exit 0; \
	fi; \
	echo "as root: apt-get install $$packages" >&2; exit 1
