# The front door. Meson is the build system; each target here is one line of it, or one script in tools/.

BUILD  ?= build
PREFIX ?= /usr/local

.DEFAULT_GOAL := help

help: ## list these targets
	@echo 'make TARGET'
	@awk -F ':.*## ' '/^[a-z]+.*:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

deps: ## install what the build needs (Debian and Ubuntu package names)
	@tools/deps.sh

build: deps ## the program and the library, into build/
	@test -f $(BUILD)/build.ninja || meson setup $(BUILD)
	@ninja -C $(BUILD)

demo: ## chat with a small trained model, then show a picture and a sound to one of made-up weights
	@BUILD=$(BUILD) tools/demo.sh

check: ## every test there is; ends in one line: N passed, N failed
	@BUILD=$(BUILD) tools/check.sh

asan ubsan: ## unit and kernel tests under address and undefined-behaviour sanitizers (one build has both)
	@BUILD=$(BUILD) tools/check.sh sanitize

tsan: ## tests that start threads, under the thread sanitizer
	@BUILD=$(BUILD) tools/check.sh tsan

neon: ## kernel tests for AArch64, under qemu
	@BUILD=$(BUILD) tools/check.sh neon

fuzz: ## every fuzzer for FUZZ_SECONDS each (600)
	@BUILD=$(BUILD) FUZZ_SECONDS=$${FUZZ_SECONDS:-600} tools/check.sh fuzz

bench: build ## time the kernels and the model's parts on this machine
	@BUILD=$(BUILD) tools/bench.sh

lint: ## clang-format, clang-tidy, cppcheck, shellcheck
	@BUILD=$(BUILD) tools/lint.sh

install: build ## into PREFIX (/usr/local), honouring DESTDIR
	@meson configure $(BUILD) --prefix=$(PREFIX)
	@meson install -C $(BUILD)

clean: ## remove build/
	rm -rf $(BUILD)

.PHONY: help deps build demo check asan ubsan tsan neon fuzz bench lint install clean
