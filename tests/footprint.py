"""How many objects something keeps alive: what grows with every change and not with what there is, is a leak.

Objects are counted, not bytes of the process: an allocator keeps what it likes.
"""

from __future__ import annotations

import gc
import io
import logging
import threading
import types
from collections import Counter

from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import CollectorRegistry

_OTHERS = (
    type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.FrameType, threading.Thread,
    logging.Logger, io.IOBase, MetricWrapperBase, CollectorRegistry,
)  # fmt: skip


def kept(*roots: object) -> Counter[str]:
    """What the roots reach, by type; without what modules, classes and threads have of their own."""
    gc.collect()
    seen: set[int] = set()
    found: Counter[str] = Counter()
    waiting = list(roots)
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, _OTHERS):
            continue
        seen.add(id(one))
        found[type(one).__name__] += 1
        # A method leads to its object; a closure to what it sees.
        waiting += gc.get_referents(one)
    return found
