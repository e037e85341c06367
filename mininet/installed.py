"""The appliance that is installed on this host from its Debian package, run by systemd.

For hosts that exist for tests: `start` replaces the configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from appliance import AGENT, BGP, CONTROLLER, METRICS, RESOLVER, VPN, RunningAppliance, run
from settings import BRIDGE, Paths, Settings
from supervisor import await_condition

TARGET = "sluice.target"
UNITS = ("sluice-ovsdb", "sluice-agent", "sluice-controller", "sluice-resolver", "sluice-vpn", "sluice-bgp")
START_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class InstalledPaths(Paths):
    """Files of the package and of Debian's Open vSwitch."""

    run: Path = Path("/run/sluice")
    state: Path = Path("/var/lib/sluice")
    switch: Path = Path("/var/run/openvswitch")

    @property
    def switch_socket(self) -> Path:
        """OVSDB of the switch."""
        return self.switch / "db.sock"

    @property
    def database_socket(self) -> Path:
        """OVSDB of desired state."""
        return self.run / "database.sock"

    @property
    def controller_socket(self) -> Path:
        """Where the bridge finds its controller."""
        return self.switch / "sluice.sock"

    @property
    def management_socket(self) -> Path:
        """OpenFlow for tools."""
        return self.switch / f"{BRIDGE}.mgmt"

    @property
    def configuration(self) -> Path:
        """The package's configuration file."""
        return Path("/etc/sluice/sluice.toml")


class InstalledAppliance(RunningAppliance):
    """The units of `sluice.target` and Open vSwitch with the kernel datapath."""

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(settings or Settings(), InstalledPaths(), "system")

    def start(self) -> None:
        """Configure, start the target, and wait until the bridge is as it should be. Raises TimeoutError."""
        text = self.settings.configuration(self.paths, self.datapath, METRICS[AGENT])
        self.paths.configuration.write_text(text)
        run(["systemctl", "restart", TARGET], START_SECONDS)
        run(["systemctl", "restart", "sluice-agent"], START_SECONDS)
        await_condition(self._answers, "every daemon answers", START_SECONDS)
        await_condition(self.controller_settled, "controller at one with the bridge", START_SECONDS)

    def stop(self, name: str | None = None) -> None:
        """Stop a unit by its daemon's name, or the target."""
        run(["systemctl", "stop", f"sluice-{name}" if name else TARGET])

    def deaths(self) -> dict[str, list[str]]:
        """Restarts that systemd made."""
        counts = {unit: run(["systemctl", "show", "-P", "NRestarts", unit]).strip() for unit in UNITS}
        return {unit: [f"{count} restarts"] for unit, count in counts.items() if count != "0"}

    def _answers(self) -> bool:
        return all(self.metrics(name) for name in (AGENT, CONTROLLER, RESOLVER, VPN, BGP))
