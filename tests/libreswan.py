"""A site beyond the Internet whose router runs libreswan's pluto, for tests of the VPN daemon.

`make setup` unpacks the package: it conflicts with strongSwan. Its keys go to
the kernel; where that has no ESP, pluto is made to believe that it has, and no
packets pass by what was agreed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from appliance import run
from supervisor import await_condition
from vpn_lab import PREFIX, ROOT, SECRET, Peer

from vpn.namespace import kernel_has_esp

PACKAGE = ROOT / ".venv" / "libreswan"
_PROGRAMS = "/usr/libexec"


class Libreswan(Peer):
    """A router with pluto; `configure` makes it known to a gateway."""

    def start(self) -> None:
        """Start its pluto, which knows no connection. Raises CommandError, TimeoutError."""
        shutil.rmtree(self.directory, ignore_errors=True)
        for directory in ("policies", "nss"):
            (self.directory / directory).mkdir(parents=True, exist_ok=True)
        (self.directory / "secrets").write_text(f': PSK "{SECRET}"\n')
        self._run("certutil", "-N", "-d", f"sql:{self.directory}/nss", "--empty-password")
        command = ["pluto", "--nofork", "--stderrlog", "--no-dnssec", "--rundir", str(self.directory),
                   "--ipsecdir", str(self.directory / "policies"), "--nssdir", str(self.directory / "nss"),
                   "--secretsfile", str(self.directory / "secrets")]  # fmt: skip
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                self._inside(*command), env={**_environment(), **self._preloaded()}, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output,
            )  # fmt: skip
        await_condition(lambda: (self.directory / "pluto.ctl").exists(), "pluto answers", 15)
        self._whack("--listen")

    def configure(self, gateway: str, subnets: Sequence[str]) -> None:
        """Know a connection `site` with a gateway, for these subnets of its own (ipsec.conf(5))."""
        (self.directory / "ipsec.conf").write_text("\n    ".join((
            "conn site", f"left={self.address}", f"leftid={self.address}", f"right={gateway}", f"rightid={gateway}",
            f"leftsubnets={{{' '.join(subnets)}}}" if len(subnets) > 1 else f"leftsubnet={subnets[0]}",
            f"rightsubnet={PREFIX}", "authby=secret", "ikev2=insist", "encapsulation=yes", "auto=add", "",
        )))  # fmt: skip
        control = str(self.directory / "pluto.ctl")
        self._run("addconn", "--config", str(self.directory / "ipsec.conf"), "--ctlsocket", control, "site")

    def initiate(self) -> None:
        """Open the connection. Does not wait."""
        self._whack("--asynchronous", "--name", "site", "--initiate")

    def log(self) -> str:
        """What pluto wrote until now."""
        return self._log.read_text(errors="replace")

    @property
    def _log(self) -> Path:
        return self.directory / "log"

    def _preloaded(self) -> dict[str, str]:
        if kernel_has_esp():
            return {}
        library = self.directory / "kernel_without_esp.so"
        run(["gcc", "-shared", "-fPIC", "-o", str(library), str(ROOT / "tests" / "kernel_without_esp.c"), "-ldl"])
        return {"LD_PRELOAD": str(library)}

    def _whack(self, *words: str) -> None:
        # Its status is pluto's last message, whatever that is.
        self._run("whack", "--rundir", str(self.directory), *words, check=False)

    def _run(self, *command: str, check: bool = True) -> None:
        subprocess.run(self._inside(*command), env=_environment(), capture_output=True, check=check)

    def _inside(self, *command: str) -> list[str]:
        # It looks for its own programs where the package would have them.
        script = f'mount --bind {PACKAGE}{_PROGRAMS} {_PROGRAMS} && exec "$@"'
        return ["nsenter", f"--net=/run/netns/{self.name}", "unshare", "--mount", "sh", "-c", script, "sh", *command]


def _environment() -> dict[str, str]:
    programs = [f"{PACKAGE}{folder}" for folder in (f"{_PROGRAMS}/ipsec", "/usr/bin", "/usr/sbin")]
    libraries = [f"{PACKAGE}{folder}/x86_64-linux-gnu" for folder in ("/usr/lib", "/lib")]
    return {**os.environ, "PATH": ":".join((*programs, os.environ["PATH"])), "LD_LIBRARY_PATH": ":".join(libraries)}
