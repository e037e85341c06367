"""Hand-made packets on a machine's interface: send any frame, see every frame that arrives."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from types import TracebackType

from namespaces import within
from scapy.layers.l2 import Ether
from scapy.packet import Packet

ETH_P_ALL = 3
PACKET_OUTGOING = 4

Matcher = Callable[[Packet], bool]


# <asm-generic/socket.h>: more than net.core.rmem_max, which loses frames of a download.
SO_RCVBUFFORCE = 33
_BUFFER = 4 << 20


class Wire:
    """A packet socket on one interface of a network namespace; frames queue from the moment it is opened.

    VLAN tags of received frames are not shown: the kernel strips them.
    """

    def __init__(self, pid: int, interface: str = "eth0") -> None:
        def open_wire() -> socket.socket:
            wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            wire.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _BUFFER)
            wire.bind((interface, ETH_P_ALL))
            return wire

        self._socket = within(pid, open_wire)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def send(self, frame: Packet | bytes) -> None:
        """Send one Ethernet frame as it is."""
        self._socket.send(bytes(frame))

    def receive(self, matches: Matcher, seconds: float = 1.0) -> Packet | None:
        """The next frame from the other side that `matches`, or None when `seconds` pass without."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            data = self.receive_bytes(left)
            if data is not None and matches(frame := Ether(data)):
                return frame
        return None

    def receive_bytes(self, seconds: float) -> bytes | None:
        """The next frame from the other side as it is, for tests that see thousands, or None after `seconds`."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                data, address = self._socket.recvfrom(65536)
            except TimeoutError:
                return None
            if address[2] != PACKET_OUTGOING:
                return data
        return None

    def exchange(self, frame: Packet | bytes, matches: Matcher, seconds: float = 1.0) -> Packet | None:
        """Send a frame and return the first answer that `matches`, or None."""
        self.send(frame)
        return self.receive(matches, seconds)
