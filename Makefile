# SPDX-License-Identifier: GPL-2.0-only
#
# The commands of the project; `make help` lists them. Each calls scripts that can be run and read alone.
# Kbuild does not read this file: its rules for the module are in Kbuild.

# Knobs reach the scripts by the environment; an empty one counts as not given.
export TYPE KDIR KERNEL KERNEL_TARBALL KERNEL_SHA256 LLVM KVM V ROVL_NO_INSTALL FILTER LEAK_ROUNDS GUESTS FUZZ_SECONDS STRESS_SECONDS STRESS_SEED CRASH_POINTS CRASH_SEED FSX_OPERATIONS N SEED STEPS REPLAY INSTALL_MOD_PATH
# A command is the shell's affair: make leaves its dollars alone.
override CMD := $(value CMD)
export CMD

# A finished file appears under its name at once or not at all.
deliver = cp "$$ko" $@.new && mv $@.new $@

.PHONY: all
all: rovl.ko ## build rovl.ko (the default)

.PHONY: dropin
dropin: overlay.ko ## build overlay.ko, which takes the place of the kernel's own, from the same source

# Kbuild knows whether there is anything to do.
.PHONY: rovl.ko overlay.ko
rovl.ko:
	@kdir=$$(scripts/kdir.sh bench) && ko=$$(scripts/module.sh "$$kdir") && $(deliver)

overlay.ko:
	@kdir=$$(scripts/kdir.sh bench) && ko=$$(scripts/module.sh --dropin "$$kdir") && $(deliver)

.PHONY: run
run: ## mount a real Debian tree in three layers in the guest, and work in it [TYPE=rovl|dropin|overlay] [CMD='..']
	@scripts/run.sh

.PHONY: test
test: ## run all tests: on the host, in the guest, on the drop-in, for leaks [FILTER=text] [LEAK_ROUNDS=n] [GUESTS=n]
	@scripts/test.sh

# Without PARTS= also the full lengths of the other long tests; what fails does not keep the rest from being tried.
.PHONY: stress
stress: ## all long tests: load by many threads, failing allocations, failing disks, then make crash and make posix [TYPE=..] [PARTS=readers]
	@status=0; scripts/stress.sh $(PARTS) || status=1; \
	if [ -z "$(PARTS)" ]; then \
		scripts/crash.sh || status=1; \
		scripts/posix.sh || status=1; \
	fi; \
	exit $$status

.PHONY: crash
crash: ## power cuts under an overlay, by a log of its disk's writes [TYPE=..] [CRASH_POINTS=n]
	@scripts/crash.sh

.PHONY: posix
posix: ## filesystem tests of others: pjdfstest, fsx, the kernel's selftests, stress-ng [TYPE=..] [SUITES=fsx]
	@scripts/posix.sh $(SUITES)

.PHONY: fuzz
fuzz: ## fuzz the parsers of src/model [TARGET=name] [FUZZ_SECONDS=n]
	@scripts/fuzz.sh $(TARGET)

.PHONY: oracle
oracle: ## compare rovl with overlayfs by scripts made from seeds [N=n] [SEED=n] [STEPS=n] [REPLAY=file] [TYPE=overlay]
	@scripts/oracle.sh

.PHONY: check
check: ## check formatting, lints, warnings, the wall around unsafe code, imports; host tests of src/model
	@scripts/check.sh

.PHONY: shell
shell: ## open a shell in the guest, with rovl loaded and a sample overlay mounted
	@scripts/shell.sh

.PHONY: doc
doc: ## write the module's documentation to build/doc/rovl
	@scripts/doc.sh

.PHONY: fmt
fmt: ## format all Rust
	@scripts/format.sh

.PHONY: install
install: ## put both modules into updates/ of the running kernel [INSTALL_MOD_PATH=folder]
	@scripts/install.sh

.PHONY: uninstall
uninstall: ## take them away again [INSTALL_MOD_PATH=folder]
	@scripts/install.sh --remove

.PHONY: rust-analyzer
rust-analyzer: ## write rust-project.json, by which editors understand the module
	@scripts/rust-analyzer.sh

.PHONY: kernel
kernel: ## build only the kernel, bench or the one that KERNEL= names
	@scripts/kdir.sh bench

.PHONY: clean
clean: ## remove what was built here; the cache stays
	rm -rf build rovl.ko overlay.ko rovl.ko.new overlay.ko.new rust-project.json

.PHONY: distclean
distclean: clean ## remove the cache as well: kernels, images, tools
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/rovl"

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile
	@printf '\nKnobs, as in make test KDIR=/path:\n'
	@printf '  %-22s %s\n' \
		KDIR= 'a built kernel tree of the 7.3 line with CONFIG_RUST=y; nothing is fetched or built' \
		KERNEL=test\|bench 'our kernel to build against, with all checks or with none (default: what the target needs)' \
		KERNEL_TARBALL= 'the kernel source to take instead of fetching it; KERNEL_SHA256= to verify it by' \
		LLVM=-N 'the LLVM to build with (default: the newest of 19 and later; or the one that built KDIR)' \
		FILTER=text 'make test runs only guest tests whose names hold the text' \
		GUESTS=n 'how many guests make test runs at a time (default: as many as processors and memory allow)' \
		LEAK_ROUNDS=n 'how often make test mounts and loads in its hunt for leaks (default: 1000)' \
		TARGET=name 'the only target that make fuzz runs (default: all)' \
		FUZZ_SECONDS=n 'how long make fuzz runs each of its targets (default: 30)' \
		N=n 'how many scripts make oracle runs (default: 2000); SEED= is the seed of the first (1), STEPS= how long each is (50)' \
		REPLAY=file 'the only script that make oracle runs, as a failure prints it' \
		TYPE= "what make run, stress, crash and posix try: rovl (the default), dropin or the kernel's own overlay, to compare with" \
		TYPE=overlay 'make oracle compares overlayfs with itself' \
		CMD= 'the only command that make run runs, in a container whose root is the tree, writable' \
		INSTALL_MOD_PATH= 'the folder below which make install puts the modules (default: /)' \
		PARTS=.. 'the only parts that make stress runs, of readers, writers, faults, flakey and oracle-faults' \
		STRESS_SECONDS=n 'how long make stress runs each part on each upper layer (default: 300); STRESS_SEED= what it draws from' \
		CRASH_POINTS=n 'at how many points make crash cuts the power (default: 500); CRASH_SEED= what it draws from' \
		SUITES=.. 'the only suites that make posix runs, of pjdfstest, fsx, fsx-plain, direct, kselftests and stress-ng' \
		FSX_OPERATIONS=n 'how many operations fsx does on each file (default: 100000)' \
		KVM=auto\|on\|off 'whether the guest uses KVM (default: auto, when a trial guest boots with it)' \
		ROVL_NO_INSTALL=1 'install no packages; say what is missing' \
		XDG_CACHE_HOME= 'where the cache is (default: ~/.cache); it is called rovl' \
		V=1 'show each command of a build'
