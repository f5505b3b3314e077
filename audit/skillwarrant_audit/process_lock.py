"""One lock for the process, that a fork cannot break.

Forking takes it, so that no child begins life with a half-written record, a file lock it shares with its parent, or
a lock that nobody will release.
"""

from __future__ import annotations

import os
import threading
from typing import Final

__all__ = ["PROCESS_LOCK"]

# Re-entrant: a signal handler that records something while its own thread is recording must fail, not hang.
PROCESS_LOCK: Final = threading.RLock()
os.register_at_fork(
    before=PROCESS_LOCK.acquire, after_in_parent=PROCESS_LOCK.release, after_in_child=PROCESS_LOCK.release
)
