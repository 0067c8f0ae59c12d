# One target for each thing that people and CI do. `make help` lists them.

CARGO ?= cargo
# What `make demo` runs: dev (builds fast) or release.
PROFILE ?= dev
TARGET_DIR = $(or $(CARGO_TARGET_DIR),target)
BUILT = $(TARGET_DIR)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))

CLIENTS = $(abspath $(TARGET_DIR))/clients
HARDWARE = $(abspath $(TARGET_DIR))/hardware
CONTROL_PLANE = $(abspath $(TARGET_DIR))/control-plane
CONTROL_PLANE_SOURCE = tests/cluster/control-plane
# By content: a fresh clone beside a kept target directory builds nothing.
CONTROL_PLANE_STAMP = .built-$(shell cat $(CONTROL_PLANE_SOURCE)/go.* | sha256sum | cut -c1-16)
# The same packages and features for every tier: nothing is built twice.
TEST = $(CARGO) test --locked --workspace --features serialfleet-api/crd
FUZZ = $(CARGO) +nightly fuzz run --fuzz-dir . --target-dir '$(abspath $(TARGET_DIR))/fuzz'
SECONDS = 30
AS_ROOT = $(if $(filter-out 0,$(shell id -u)),sudo)

# $(call install,TEST,PACKAGES,MORE TO SAY): has the packages installed unless TEST holds, or prints the line that does
# it. Kernel and network tools are not in everybody's PATH.
define install
@PATH="$$PATH:/usr/sbin:/sbin"; \
has() { $(1); }; \
if has >/dev/null 2>&1; then exit 0; fi; \
if command -v apt-get >/dev/null && { [ -z '$(AS_ROOT)' ] || command -v sudo >/dev/null; }; then \
  echo 'installing $(2)' >&2; \
  $(AS_ROOT) apt-get update -q >&2 && \
    $(AS_ROOT) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $(2) >&2 && \
    has >/dev/null 2>&1 && exit 0; \
fi; \
echo 'as root: apt-get install $(2)$(3)' >&2; exit 1
endef

.DEFAULT_GOAL = help
.PHONY: help demo test test-cluster test-clients test-hardware control-plane lint bench bench-hook soak fuzz crds deps cluster-deps client-deps hardware-deps

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 8

demo: deps ## Serve simulated sticks and what is plugged in; FLEET=my.yaml: your own; CHECK=1: unattended; PROFILE=release
	$(CARGO) build --locked --profile $(PROFILE) -p serialfleet-bridge -p serialfleet-hook -p serialfleet-tests --bins
	@$(BUILT)/serialfleet-demo $(if $(CHECK),--check) $(if $(FLEET),--fleet '$(FLEET)')

test: deps ## Everything that needs neither cluster nor hardware
	$(TEST)

# Built as whoever calls it, run as root: a scenario makes namespaces, networks and mounts of its own.
test-cluster: deps cluster-deps control-plane ## The product on a real control plane; ARGS=name: one scenario. Needs root and Go
	$(TEST) --no-run
	SERIALFLEET_CONTROL_PLANE='$(CONTROL_PLANE)' $(TEST) --test rendered --test cluster \
	  $(if $(AS_ROOT),--config 'target."cfg(unix)".runner = "$(AS_ROOT) -E"') -- $(ARGS)

cluster-deps:
	$(call install,command -v nft && command -v ip && command -v nsenter,nftables iproute2 util-linux mount)

test-clients: deps client-deps ## Other people's clients and their own test suites against the bridge; ARGS=name: one of them
	tests/clients/environment/build '$(CLIENTS)'
	$(TEST) --no-run
	SERIALFLEET_CLIENTS='$(CLIENTS)' $(TEST) --test clients -- $(ARGS)

# Python that can make environments, a Node.js that zwave-js runs on, and ser2net, which clients come from.
HAS_CLIENTS = command -v ser2net && python3 -c 'import ensurepip; import venv' && npm --version && \
  node -e 'process.exit(+(parseInt(process.versions.node) < 20))'
client-deps:
	$(call install,$(HAS_CLIENTS),python3-venv nodejs npm ser2net,; Node.js 20 or later is at https://nodejs.org)

test-hardware: deps client-deps hardware-deps ## The bridge in a real kernel in QEMU with emulated sticks; ARGS=name: one scenario. Needs Debian on x86-64
	tests/clients/environment/build '$(CLIENTS)' python
	tests/hardware/lab/build '$(HARDWARE)'
	$(TEST) --no-run
	SERIALFLEET_CLIENTS='$(CLIENTS)' SERIALFLEET_HARDWARE='$(HARDWARE)' $(TEST) --test hardware -- $(ARGS)

# A busybox that needs no library.
HAS_HARDWARE = for it in qemu-system-x86_64 busybox cpio depmod zstd strip; do command -v $$it || return 1; done; \
  ! ldd "$$(command -v busybox)"
hardware-deps:
	$(call install,$(HAS_HARDWARE),qemu-system-x86 busybox-static cpio kmod zstd binutils)

control-plane: $(CONTROL_PLANE)/$(CONTROL_PLANE_STAMP) ## Build etcd and Kubernetes for test-cluster: some minutes, once

# Each part calls itself by the version that go.mod asks for; kubectl does not talk to one that has none.
$(CONTROL_PLANE)/$(CONTROL_PLANE_STAMP):
	@command -v go >/dev/null || \
	  { echo 'the control plane is built from source: install Go 1.26 or later, https://go.dev/dl/' >&2; exit 1; }
	@mkdir -p '$(CONTROL_PLANE)' && rm -f '$(CONTROL_PLANE)'/.built-*
	@set -e; cd $(CONTROL_PLANE_SOURCE); \
	version=$$(go list -m -f '{{.Version}}' k8s.io/kubernetes); minor=$${version#v1.}; \
	at=k8s.io/component-base/version; \
	for tool in $$(go list tool); do \
	  case $$tool in go.etcd.io/etcd/*) name=etcd;; *) name=$${tool##*/};; esac; \
	  echo "building $$name" >&2; \
	  CGO_ENABLED=0 go build -trimpath -o '$(CONTROL_PLANE)'/$$name -ldflags \
	    "-s -w -X $$at.gitVersion=$$version -X $$at.gitMajor=1 -X $$at.gitMinor=$${minor%%.*}" $$tool; \
	done
	@touch '$@'

lint: deps ## Format and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --features serialfleet-api/crd -- -D warnings

# One package at a time: what is measured must not be linked with features that only others ask for.
bench: deps ## The bridge beside ser2net, socat and a plain copier: tests/bench/README.md; ARGS=--quick: a look
	$(CARGO) build --locked --release -p serialfleet-bridge
	$(CARGO) build --locked --release -p serialfleet-bench
	$(TARGET_DIR)/release/serialfleet-bench $(ARGS)

bench-hook: deps ## The hook server beside plain Go and Python hooks: tests/bench-hook/README.md; ARGS=--quick
	$(CARGO) build --locked --release -p serialfleet-hook
	$(CARGO) build --locked --release -p serialfleet-bench-hook
	tests/bench-hook/peers/build '$(abspath $(TARGET_DIR))/bench-hook'
	$(TARGET_DIR)/release/serialfleet-bench-hook $(ARGS)

soak: deps ## An hour of random clients, plugs and edits against one bridge; ARGS='--minutes 5'
	$(CARGO) build --locked --release -p serialfleet-bridge -p serialfleet-soak
	$(TARGET_DIR)/release/serialfleet-soak $(ARGS)

# Names what is missing instead of installing a compiler: the project's own is the stable one.
fuzz: deps ## Any bytes for the RFC 2217 codec and the importer, SECONDS=30 each; needs a nightly compiler
	@rustc +nightly --version >/dev/null 2>&1 || { echo 'fuzzing needs a nightly compiler: rustup toolchain install nightly' >&2; exit 1; }
	command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz
	cp Cargo.lock tests/fuzz/
	mkdir -p tests/fuzz/corpus/rfc2217 tests/fuzz/corpus/import
	cd tests/fuzz && $(FUZZ) rfc2217 corpus/rfc2217 -- -max_total_time=$(SECONDS) -max_len=512
	cd tests/fuzz && $(FUZZ) import corpus/import ../../bridge/tests/import/cases -- -max_total_time=$(SECONDS) -max_len=2048

crds: ## Write metacontroller/manifests/crds.yaml anew, from the types
	$(CARGO) run --locked -q -p serialfleet-api --features crd --bin crdgen > metacontroller/manifests/crds.yaml.new
	mv metacontroller/manifests/crds.yaml.new metacontroller/manifests/crds.yaml

# libudev is linked; ring compiles a little C.
deps: ## Install the system packages that the build needs, or print the line that does
	$(call install,pkg-config --exists libudev && command -v cc,libudev-dev pkg-config gcc libc6-dev,; elsewhere e.g. dnf install systemd-devel pkgconf gcc)
