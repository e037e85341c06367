"""Fair queue of packet-ins: each network has a share of the places, and networks take turns.

Meters bound what a machine sends up, but a network may have thousands of machines.
"""

from __future__ import annotations

import threading
from collections import deque

from controller.packet_in.handler import PacketIn


class PacketQueue:
    """With `places` for packets; of n networks that wait each has an n+1th of them. For any thread."""

    def __init__(self, places: int) -> None:
        self._places = places
        # In the order in which they have their turns; none is empty.
        self._waiting: dict[int, deque[PacketIn]] = {}
        self._changed = threading.Condition()

    def put(self, packet: PacketIn) -> bool:
        """Have a packet wait; False when its network has no place left."""
        with self._changed:
            own = self._waiting.get(packet.key)
            networks = len(self._waiting) + (own is None)
            if own is not None and len(own) >= self._places // (networks + 1):
                return False
            if own is None:
                own = self._waiting[packet.key] = deque()
            own.append(packet)
            self._changed.notify()
            return True

    def get(self, timeout: float) -> PacketIn | None:
        """The oldest packet of the network whose turn it is; None when there is none for `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting, timeout):
                return None
            key = next(iter(self._waiting))
            own = self._waiting.pop(key)
            packet = own.popleft()
            if own:
                self._waiting[key] = own
            return packet
