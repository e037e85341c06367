"""What a sandbox's appliance is told, and where its files are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

BRIDGE = "br-sluice"
# The resolver for names outside, on the world's own loopback.
UPSTREAM = "127.0.0.53"


@dataclass(frozen=True, slots=True)
class Settings:
    """Addresses and limits of a sandbox's appliance: the agent's configuration, section by section."""

    gateway_port: str = "gateway"
    gateway_address: str = "203.0.113.2/24"
    next_hop: str = "203.0.113.1"
    mtu: int = 1500
    nat: Sequence[str] = ("203.0.113.64/28",)
    public: Sequence[str] = ("203.0.113.96/28",)
    isolated: Sequence[str] = ("172.16.0.0/12",)
    private: Sequence[str] = ("10.0.0.0/8",)
    transit: Sequence[str] = ("224.0.0.0/3",)
    block_size: int = 4096
    reuse_after_seconds: int = 60
    storage_port: str = "storage"
    storage_address: str = "10.250.0.2/24"
    storage_mtu: int = 1500
    clients: str = "100.64.0.0/10"
    dns_servers: Sequence[str] = ()
    resolver_port: str = "names"
    dns_upstream: Sequence[str] = (UPSTREAM,)
    domain: str = "internal"
    lease_seconds: int = 3600
    protected: Sequence[str] = ("192.0.2.0/24",)
    usage_seconds: float = 60
    extra: dict[str, dict[str, object]] = field(default_factory=dict)

    def configuration(self, paths: Paths, datapath: str, metrics: str) -> str:
        """The agent's configuration as TOML."""
        sections: dict[str, dict[str, object]] = {
            "database": {"path": str(paths.database_socket)},
            "api": {"listen": paths.api, "metrics": metrics},
            "bridge": {
                "name": BRIDGE,
                "ovsdb": str(paths.switch_socket),
                "controller": str(paths.controller_socket),
                "datapath_type": datapath,
            },
            "gateway": {
                "port": self.gateway_port,
                "address": self.gateway_address,
                "next_hop": self.next_hop,
                "mtu": self.mtu,
            },
            "pools": {
                "nat": list(self.nat),
                "public": list(self.public),
                "isolated": list(self.isolated),
                "private": list(self.private),
                "transit": list(self.transit),
                "block_size": self.block_size,
                "reuse_after_seconds": self.reuse_after_seconds,
            },
            "storage": {
                "port": self.storage_port,
                "address": self.storage_address,
                "mtu": self.storage_mtu,
                "clients": self.clients,
            },
            "dhcp": {
                "dns_servers": list(self.dns_servers),
                "domain": self.domain,
                "lease_seconds": self.lease_seconds,
            },
            "dns": {"port": self.resolver_port, "upstream": list(self.dns_upstream)},
            "vpn": {"key": str(paths.vpn_key)},
            "protected": {"prefixes": list(self.protected)},
        }
        for name, values in self.extra.items():
            sections.setdefault(name, {}).update(values)
        return "\n".join(
            f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
            for name, values in sections.items()
        )


@dataclass(frozen=True, slots=True)
class Paths:
    """Files of an appliance below its run directory."""

    run: Path
    state: Path

    @property
    def switch_socket(self) -> Path:
        """OVSDB of the switch."""
        return self.run / "db.sock"

    @property
    def database_socket(self) -> Path:
        """OVSDB of desired state."""
        return self.run / "sluice.sock"

    @property
    def database_file(self) -> Path:
        """Where desired state is kept."""
        return self.state / "sluice.db"

    @property
    def controller_socket(self) -> Path:
        """Where the bridge finds its controller."""
        return self.run / "controller.sock"

    @property
    def api_socket(self) -> Path:
        """Where the agent serves gRPC."""
        return self.run / "api.sock"

    @property
    def api(self) -> str:
        """Target for `grpc.insecure_channel`, from inside the world."""
        return f"unix:{self.api_socket}"

    @property
    def management_socket(self) -> Path:
        """OpenFlow for tools: `ovs-ofctl ... unix:PATH`."""
        return self.run / f"{BRIDGE}.mgmt"

    @property
    def vpn_key(self) -> Path:
        """The key that secrets of VPN connections and interconnects are sealed with."""
        return self.state / "vpn.key"

    @property
    def vpn_directory(self) -> Path:
        """Files of VPN gateways, outside of what is shared with the host."""
        return Path("/run/sluice-vpn")

    @property
    def bgp_directory(self) -> Path:
        """Files of interconnects, outside of what is shared with the host."""
        return Path("/run/sluice-bgp")

    @property
    def configuration(self) -> Path:
        """The agent's configuration file."""
        return self.run / "sluice.toml"

    def log(self, name: str) -> Path:
        """Log of one of the daemons."""
        return self.run / f"{name}.log"
