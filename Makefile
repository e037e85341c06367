# Every command sets up what it needs and is quick when nothing is missing.
# Needs `make`, and `sudo` when not run as root.

# Debian's own Python: its package of Mininet is made for that one.
PYTHON := /usr/bin/python3
VENV := .venv
PY := $(VENV)/bin/python
# What root runs for somebody else leaves no files of root's in the work tree.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo env PYTHONDONTWRITEBYTECODE=1 PYTEST_ADDOPTS='-p no:cacheprovider')
# A private set of namespaces with its own Open vSwitch; nothing in it outlives the command.
WORLD := $(SUDO) $(PY) mininet/world.py
PYTEST := $(PY) -m pytest
# Worlds side by side, for tests that mostly wait; whole modules go to each. `make WORLDS=1 …` for one.
WORLDS := 3
# Those that bound a time or a rate: each world has a core.
ALONE_WORLDS := $(if $(filter 1,$(WORLDS)),1,2)
in_worlds = --dist loadfile --tx '$(1)*popen//python=$(PY) mininet/world.py -- $(PY)'

PACKAGES := openvswitch-switch openvswitch-common mininet iproute2 ethtool iputils-ping traceroute \
            bind9-dnsutils udhcpc iperf3 tcpdump python3-venv gcc libc6-dev \
            samba smbclient nfs-ganesha nfs-ganesha-vfs libnfs-utils \
            strongswan-charon strongswan-swanctl libcharon-extra-plugins libstrongswan-standard-plugins nftables frr \
            bird2 gobgpd openbgpd exabgp

PROTOS := $(wildcard proto/sluice/v1/*.proto)
STAMPS := $(VENV)/stamps

.DEFAULT_GOAL := help
.PHONY: help setup packages run deb test lint test-unit test-golden test-trace test-vpn test-bgp test-mininet test-fault test-fuzz test-appliance test-appliance-core golden bench clean

help: ## show this
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 22

setup: packages $(STAMPS)/package $(STAMPS)/stubs $(STAMPS)/libreswan ## install packages, the venv and generated stubs

packages:
	@.ci/packages $(PACKAGES)

$(STAMPS)/requirements: requirements.txt | packages
	@echo "setup: Python packages"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install -q --disable-pip-version-check -r requirements.txt
	@ln -sfn /usr/lib/python3/dist-packages/mininet $$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/mininet
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/package: setup.cfg pyproject.toml $(STAMPS)/requirements
	@echo "setup: Sluice itself"
	@$(PY) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(STAMPS)/stubs: $(PROTOS) $(STAMPS)/requirements
	@echo "setup: stubs from proto/"
	@PATH=$(VENV)/bin:$$PATH $(PY) -m grpc_tools.protoc -Iproto \
	    -I$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
	    --python_out=proto --grpc_python_out=proto --mypy_out=quiet:proto --mypy_grpc_out=quiet:proto $(PROTOS)
	@touch $@

# It conflicts with strongSwan, whose peer it is in tests.
$(STAMPS)/libreswan: .ci/unpacked $(STAMPS)/requirements
	@echo "setup: libreswan, unpacked in $(VENV)"
	@.ci/unpacked libreswan $(VENV)/libreswan
	@touch $@

run: setup ## a sandbox of machines, networks and the Internet; Ctrl-C ends it
	@$(WORLD) --share /run/sluice-lab -- $(PY) mininet/datacenter.py

# Those that wait for the network more than they work, or need no time of their own, side by side.
test: setup ## style, types and every test
	@$(MAKE) --no-print-directory -O -j2 lint test-unit
	@$(MAKE) --no-print-directory -O -j2 test-golden test-trace test-fuzz
	@$(MAKE) --no-print-directory -O -j2 test-fault test-vpn test-bgp
	@$(MAKE) --no-print-directory test-mininet

lint: setup ## style and types only
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy --config-file mininet/mypy.ini mininet/*.py

test-unit test-golden test-trace test-fuzz: test-%: setup
	$(PYTEST) tests/$*

test-vpn test-bgp test-fault: test-%: setup
	$(WORLD) -- $(PYTEST) tests/$*

test-mininet: setup
	$(SUDO) $(PYTEST) -m 'not alone' $(call in_worlds,$(WORLDS)) tests/mininet
	$(SUDO) $(PYTEST) -m alone $(call in_worlds,$(ALONE_WORLDS)) tests/mininet

# Disks of virtual machines are kept in /var/cache/sluice-appliance-tests (SLUICE_APPLIANCE_CACHE).
VIRTUAL_MACHINES := debootstrap qemu-system-x86 qemu-utils openssh-client e2fsprogs dpkg
APPLIANCE := $(SUDO) $(PYTEST) tests/appliance
# Emulation can leave a processor of the machine stuck (exit status 75), whatever runs in it: once more, and no more.
again_if_hung = $(1) || { test $$? -eq 75 && echo "once more: an emulated machine hung" && $(1); }

test-appliance: setup ## the package in virtual machines of Debian 12 and 13, and all packet tests there: hours
	@.ci/packages $(VIRTUAL_MACHINES)
	$(call again_if_hung,$(APPLIANCE) --release bookworm --release trixie --table docs/appliance.md)

test-appliance-core: setup ## of these what fits in a quarter of an hour, on Debian 12
	@.ci/packages $(VIRTUAL_MACHINES)
	$(call again_if_hung,$(APPLIANCE) --core)

golden: setup ## write golden files and generated pages anew; the diff is then for review
	-SLUICE_UPDATE_GOLDEN=1 $(PYTEST) -q tests/golden
	$(PY) docs/generate_pipeline.py
	$(PY) docs/generate_api.py

# What is built is the program as git lists it, at setup.cfg's version unless another is given.
VERSION := $(shell sed -n 's/^version = //p' setup.cfg)

deb: setup ## the Debian package, in build/
	@mkdir -p build
	@umask 022 && $(PY) deploy/build_package.py $(VERSION) build

bench: setup ## first ping beside OVN, with thousands of networks: some minutes
	@.ci/packages ovn-central ovn-host
	$(SUDO) $(PY) bench/compare.py

clean: ## remove the venv, stubs and caches
	rm -rf $(VENV) *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
	rm -f proto/sluice/v1/*_pb2*
