# Latchkey. Needs Go and git; everything else comes through the Go module cache.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO       ?= go
FUZZTIME ?= 60s
TIMEOUT  ?= 10m
# Packages that are tested at a time: tests wait more than they work.
AT_ONCE  ?= 4
PKG      ?= ./...
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X github.com/latchkey/latchkey/internal/cli.version=$(VERSION)
# The version is stamped above, so that building works without git as well.
BUILD    := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'
RELEASES := linux/amd64 linux/arm64

.PHONY: help
help: ## Show what there is to make
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: build hello ## Build and run the example app, keys enforced
	bin/latchkey start examples/hello-go $(if $(PORT),--port $(PORT))

.PHONY: build
build: ## Build bin/latchkey (static)
	$(BUILD) -o bin/latchkey ./cmd/latchkey

.PHONY: hello
hello: ## Build the example's handler
	cd examples/hello-go && CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -o bin/handler .

.PHONY: orders
orders: ## Build the handler of the example that reads secrets
	cd examples/orders-go && CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -o bin/handler .

.PHONY: timer
timer: ## Build the handler of the example that runs on a schedule
	cd examples/timer-go && CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -o bin/handler .

.PHONY: test
test: ## Run all tests, with the race detector where a C compiler is present
	@if echo '#include <stdlib.h>' | $$($(GO) env CC) -E -xc - >/dev/null 2>&1; then \
	  echo "$(GO) test -race -p $(AT_ONCE) -timeout $(TIMEOUT) $(PKG)"; \
	  CGO_ENABLED=1 $(GO) test -race -p $(AT_ONCE) -timeout $(TIMEOUT) $(PKG); \
	  allocs="$$(grep -rlE --include='*_test.go' '^func Test[A-Za-z0-9_]*Alloc' internal | xargs -n1 dirname | sort -u | sed 's|^|./|')"; \
	  echo "$(GO) test -run Alloc" $$allocs "  (the race detector allocates)"; \
	  CGO_ENABLED=0 $(GO) test -run Alloc $$allocs; \
	else \
	  echo "no working C compiler ($$($(GO) env CC)): testing without the race detector"; \
	  CGO_ENABLED=0 $(GO) test -timeout $(TIMEOUT) $(PKG); \
	fi

.PHONY: test-docker
test-docker: ## Test the container engine with Docker and podman (needs root and Debian's docker.io, podman, runc)
	LATCHKEY_TEST_DOCKER=1 $(GO) test -p 1 -count=1 -timeout 30m -v ./internal/engine/docker ./test/containerapps

.PHONY: test-containers-kills
test-containers-kills: ## Kill Latchkey, containers and Docker at random (DURATION=10m); identities must stay where they belong
	LATCHKEY_TEST_DOCKER=1 LATCHKEY_TEST_CONTAINERS_KILLS=$(or $(DURATION),10m) $(GO) test -count=1 -timeout 60m -run KillsLeave.*Docker -v ./test/containerapps

.PHONY: test-portal
test-portal: ## Test the portal in Debian's Chromium (package chromium); pictures of its pages go to build/portal
	LATCHKEY_TEST_PORTAL=1 $(GO) test -count=1 -timeout 30m -v ./test/portal

.PHONY: docs-portal
docs-portal: ## Take the pictures of docs/portal.md anew, in Debian's Chromium
	LATCHKEY_TEST_PORTAL=1 LATCHKEY_PORTAL_PICTURES=$(CURDIR)/docs/portal $(GO) test -count=1 -run PicturesOfTheDocumentation -v ./test/portal

.PHONY: test-queue
test-queue: ## Work through 100,000 queue messages with the storage emulator killed twice (about 15 minutes)
	LATCHKEY_TEST_QUEUE_MESSAGES=$(or $(MESSAGES),100000) $(GO) test -count=1 -timeout 60m -run NoMessageIsLost -v ./internal/trigger/queue

.PHONY: test-workers
test-workers: ## Kill a language worker's process every second under load (KILLS=30 times; the second half needs Node.js)
	LATCHKEY_TEST_WORKER_KILLS=$(or $(KILLS),30) $(GO) test -race -count=1 -timeout 20m -run KilledAgainAndAgain -v ./internal/worker/rpc ./test/nodeapp

.PHONY: test-terraform
test-terraform: ## Test with Terraform: LATCHKEY_TEST_AZURERM=<the azurerm provider's program>
	$(GO) test -count=1 -timeout 30m -v ./test/witness/terraform

KUBE_VERSION   := v1.36.3
KUBE_APISERVER := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/latchkey/kube-apiserver-$(KUBE_VERSION)

.PHONY: test-kubernetes
test-kubernetes: $(KUBE_APISERVER) ## Test the key store, the engine and the manifests with a real kube-apiserver (built once: minutes, 2 GB of memory)
	LATCHKEY_TEST_KUBE_APISERVER=$(KUBE_APISERVER) $(GO) test -count=1 -timeout 15m -run RealAPIServer -v ./internal/keystore/kubernetes ./internal/engine/kubernetes ./deploy/kubernetes

$(KUBE_APISERVER):
	mkdir -p $(@D)
	cd test/kubernetes && CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false \
	  -ldflags '-s -w -X k8s.io/component-base/version.gitVersion=$(KUBE_VERSION)' -o $@ ./apiserver

.PHONY: lint
lint: ## Check formatting, vet, staticcheck, go.mod and the shape of the sources
	@unformatted="$$(gofmt -l .)"; if [ -n "$$unformatted" ]; then \
	  echo "not formatted, run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff
	$(GO) test -count=1 ./internal

.PHONY: bench
bench: build ## Measure against nginx, the bare handler and the stores (needs wrk and nginx; installs Debian's as root)
	@command -v wrk >/dev/null && command -v nginx >/dev/null || { \
	  echo "installing wrk and nginx from Debian"; apt-get update -qq && apt-get install -y -qq wrk nginx-light >/dev/null; }
	$(GO) run ./bench

.PHONY: bench-containers
bench-containers: ## Measure container apps on a Docker engine of the test's own (APPS=50; needs root and Debian's docker.io)
	LATCHKEY_TEST_DOCKER=1 LATCHKEY_TEST_MEASURE_CONTAINERS=$(or $(APPS),50) $(GO) test -count=1 -timeout 60m -run MeasureContainerApps -v ./test/containerapps

BUF := github.com/bufbuild/buf/cmd/buf@v1.75.0

.PHONY: proto
proto: ## Generate the messages of language workers anew (compiles its tools the first time: minutes)
	$(GO) run $(BUF) generate --template internal/worker/rpc/wire/buf.gen.yaml --path internal/worker/rpc/wire .

.PHONY: node-worker
node-worker: ## Build the Node.js worker that the binary carries (needs npm; its result is kept with the sources)
	cd workers/node && npm ci --silent --no-audit --no-fund && npm run --silent build

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (60s)
	@grep -rE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*\(' . | \
	sed -E 's|^(.*)/[^/]*:func (Fuzz[A-Za-z0-9_]*)\(.*|\1 \2|' | sort | \
	while read -r dir target; do \
	  echo "== $$dir $$target"; \
	  $(GO) test "$$dir" -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) </dev/null; \
	done

.PHONY: release
release: ## Build static binaries for Linux into dist/, with checksums
	rm -rf dist && mkdir dist
	for platform in $(RELEASES); do \
	  GOOS=$${platform%/*} GOARCH=$${platform#*/} $(BUILD) -o "dist/latchkey-$(VERSION)-$${platform%/*}-$${platform#*/}" ./cmd/latchkey; \
	done
	cd dist && sha256sum latchkey-* > sha256sums

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin dist examples/*/bin
