"""`QuietFile`: a policy document that nobody signs, taken anew only when nobody is writing it.

Whoever writes a file in place (an editor, `cp`, `scp`) has it half written for a moment, and the first half of a
policy is a policy: one without what stands last, its revocations say. A rename puts a whole file in place; since
not everybody renames, what has changed must have stayed as it is for a while. It knows nothing of who asks.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import Unavailable
from skillwarrant_verify.policy import Policy

__all__ = ["QUIET_SECONDS", "SETTLED_SECONDS", "QuietFile"]

QUIET_SECONDS: Final = 2.0  # from one look to another, between which nothing changes
SETTLED_SECONDS: Final = 60.0  # of age, after which one look is enough; far more than clocks of two hosts differ

_Seen = tuple[tuple[int, ...], Digest]
"""What the file system says of a file, and its bytes."""


class QuietFile:
    """One file; `load` is for one thread at a time. `waits`: what it raised last is over in a moment."""

    def __init__(self, path: Path) -> None:
        self.waits = False
        self._path = path
        self._taken: Digest | None = None
        self._seen: _Seen | None = None  # the last that was another one
        self._since = 0.0  # when it was seen first

    def load(self) -> Policy:
        """The policy: the first at once, another when it has been quiet.

        Time is measured by this process, so that a file whose time is in the future waits no longer than others.

        Raises:
            Unavailable: it has changed a moment ago, or cannot be read.
            PolicyError: as `Policy.load`.
        """
        self.waits = False
        seen, age = self._look()
        if self._taken not in {None, seen[1]} and not self._is_quiet(seen, age):
            raise self._unquiet()
        policy = Policy.load(self._path)
        if policy.digest != seen[1]:
            raise self._unquiet()
        self._taken = policy.digest
        self._seen = None  # what was another one is gone: if it comes back, it has not been there all the time
        return policy

    def _is_quiet(self, seen: _Seen, age: float) -> bool:
        now = time.monotonic()
        if self._seen != seen:
            self._seen, self._since = seen, now
        return age >= SETTLED_SECONDS or now - self._since >= QUIET_SECONDS

    def _look(self) -> tuple[_Seen, float]:
        """What is there, and how many seconds ago it was last touched, by this host's clock."""
        try:
            with self._path.open("rb") as file:
                digest = Digest.of(file.read(limits.MAX_POLICY_BYTES + 1))
                status = os.fstat(file.fileno())
        except OSError as error:
            raise Unavailable(
                f"cannot read the policy {self._path}", found=error.strerror, fix="Name a readable policy file."
            ) from None
        state = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
        return (state, digest), time.time() - max(status.st_mtime, status.st_ctime)

    def _unquiet(self) -> Unavailable:
        self.waits = True
        return Unavailable(
            f"{self._path} has changed a moment ago, so it may be half written",
            expected=f"the same file, {QUIET_SECONDS:g} s later",
            fix="Ask again then. Put a policy in place by a rename, or sign it: then no half of it is ever taken.",
        )
