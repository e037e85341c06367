#!/usr/bin/env python3
"""The tour of `make run` on the appliance that is installed here; exit status 0 when all is as expected.

With `--stay` it stays until SIGTERM, for whoever wants to try something on its
machines: their process ids are in /run/sluice/machines.json.
"""

from __future__ import annotations

import signal
import sys

from datacenter import Progress, build, check, interrupt_on
from installed import InstalledAppliance
from sandbox import Sandbox


def main() -> int:
    """Run it; its exit status."""
    interrupt_on(signal.SIGTERM, signal.SIGHUP)
    sandbox = Sandbox(appliance=InstalledAppliance())
    progress = Progress()
    build(sandbox, progress)
    agrees = check(sandbox, progress)
    print("tour:", "as expected" if agrees else "not as expected", flush=True)
    try:
        while agrees and "--stay" in sys.argv:
            signal.pause()
    except KeyboardInterrupt:
        pass
    sandbox.stop()
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(main())
