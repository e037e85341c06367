"""Kernel modules that the configured datapath, tunnels and VPN gateways use."""

from __future__ import annotations

from dataclasses import dataclass

from agent.host import kernel
from cli.doctor.finding import Finding, error, ok, warning
from state.datapath import SYSTEM

CHECK = "kernel modules"
DATAPATH = ("openvswitch", "nf_conntrack")
TUNNELS = ("vport_vxlan", "vxlan")
ESP = ("esp4", "xfrm_interface")
_KERNEL = "install Debian's own kernel (linux-image-amd64) and boot it"


@dataclass(frozen=True, slots=True)
class ModuleFacts:
    """Modules that are loaded, and those the running kernel has; the loaded ones are among them."""

    loaded: frozenset[str]
    loadable: frozenset[str]


def gather() -> ModuleFacts:
    """Look for each module."""
    names = (*DATAPATH, *TUNNELS, *ESP)
    return ModuleFacts(frozenset(filter(kernel.is_loaded, names)), frozenset(filter(kernel.is_loadable, names)))


def judge(facts: ModuleFacts, datapath_type: str) -> list[Finding]:
    """The userspace datapath needs none of `DATAPATH` and `TUNNELS`."""
    found = []
    if datapath_type == SYSTEM:
        for module in DATAPATH:
            if module not in facts.loadable:
                found.append(error(CHECK, f"no {module}: no kernel datapath", _KERNEL))
            elif module not in facts.loaded:
                advice = "systemctl restart sluice-host-setup"
                found.append(warning(CHECK, f"{module} is not loaded yet", advice))
            else:
                found.append(ok(CHECK, f"{module} is loaded"))
        absent = [module for module in TUNNELS if module not in facts.loadable]
        if absent:
            found.append(warning(CHECK, f"no {', '.join(absent)}: no machines on other hosts (VNIs)", _KERNEL))
    absent = [module for module in ESP if module not in facts.loadable]
    if absent:
        what = f"no {', '.join(absent)}: charon encrypts for VPN gateways itself, at 100 to 200 Mbit/s"
        found.append(warning(CHECK, what, f"{_KERNEL}, where there are VPN gateways"))
    else:
        found.append(ok(CHECK, "kernel ESP is available"))
    return found
