"""Where a gate gets its policy from at the beginning of each operation: a fixed one, or one that is reloaded.

`ReloadingPolicy` looks at the policy's files now and then, and at what this host has seen. A new policy takes the
old one's place as a whole, between two operations, and only if it could be used by itself; otherwise the old one
stays in force and says so, in every observation for as long as it lasts. It knows nothing of gates and models.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final, Literal, Protocol, TypeAlias

from skillwarrant_format.directory_reader import file_state
from skillwarrant_format.errors import SkillwarrantError, Unavailable, UsageError, shown
from skillwarrant_verify import trust
from skillwarrant_verify.arguments import check_kind, path_of
from skillwarrant_verify.defaults import default_log_directory, telling_time, utc_now
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.signed_policy.policy_verify import SignedPolicy
from skillwarrant_verify.signed_policy.quiet_file import QUIET_SECONDS, QuietFile
from skillwarrant_verify.signed_policy.revisions import RevisionStore
from skillwarrant_verify.trust import TrustRoot

__all__ = ["FixedPolicy", "PolicyGiven", "PolicySource", "Reload", "ReloadingPolicy", "check_policy", "source_of"]

RETRY_SECONDS: Final = 30.0  # after which what was refused is looked at again, though no file changed
_MAX_NOTICE: Final = 1000  # characters
_MOST: Final = 2000  # files and directories that are looked at for changes
_logger = logging.getLogger("skillwarrant.policy")

Outcome: TypeAlias = Literal["taken", "unchanged", "kept"]


class PolicySource(Protocol):
    """Gives the policy that decides an operation which begins now."""

    def current(self) -> Policy:
        """A whole policy; never half of one and half of another."""


@dataclass(frozen=True, slots=True)
class FixedPolicy:
    """One policy for as long as the gate is there."""

    policy: Policy

    def current(self) -> Policy:
        return self.policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """What came of looking.

    Args:
        outcome: a new policy was `taken`; it is the very one, `unchanged`; or the old one was `kept`, because the
            new one cannot be used.
        policy: that is in force now.
        error: why the old one was kept.
    """

    outcome: Outcome
    policy: Policy
    error: SkillwarrantError | None = None


PolicyGiven: TypeAlias = "Policy | SignedPolicy | PolicySource"
"""What a gate can be built with."""


class ReloadingPolicy:
    """A policy whose files may change while gates use it. All its methods may be called from many threads.

    Args:
        demand: which signed policy; or the path of a policy document that nobody signs, of which nothing is
            demanded but that it can be read. A change of such a one is taken when it has been the same for 2 s, or
            is a minute old: see `QuietFile`.
        trust_root: whose signatures count; the public Sigstore instance's root, as shipped, by default.
        seen: the revisions that this host has seen; beside the default activation log, where none is given.
        clock: the host's time, UTC.
        every: seconds between two looks at the files; the operation that looks pays for it.

    Raises:
        SkillwarrantError: as `SignedPolicy.load`: the first policy has no old one to stand in for it.
    """

    def __init__(
        self,
        demand: SignedPolicy | str | os.PathLike[str],
        *,
        trust_root: TrustRoot | None = None,
        seen: RevisionStore | None = None,
        clock: Callable[[], datetime] = utc_now,
        every: float = 1.0,
    ) -> None:
        if isinstance(every, bool) or not isinstance(every, int | float) or not every >= 0:
            raise UsageError("no such interval", expected="seconds from 0", found=str(every))
        if trust_root is not None:
            check_kind("trust_root", trust_root, TrustRoot, "a TrustRoot")
        if seen is not None:
            check_kind("seen", seen, RevisionStore, "a RevisionStore")
        clock = telling_time(clock)
        self._every = every
        self._lock = threading.Lock()
        self._quiet: QuietFile | None = None
        if isinstance(demand, SignedPolicy):
            self._path = path_of("the policy", demand.path)
            store = seen or RevisionStore(default_log_directory())
            self._watched: tuple[Path, ...] = (self._path, store.path)  # another process may take a revision there
            self._load = _loader(demand, trust_root or trust.public_good(), store, clock)
        else:
            self._path = path_of("the policy", demand)
            self._watched = (self._path,)
            self._quiet = QuietFile(self._path)
            self._load = self._quiet.load
        self._stamp = self._stamped()
        self._good = self._policy = self._load()  # the last that could be used; the same with what is said of it
        self._failed: float | None = None  # when what was refused is to be read again
        self._told = False  # whether the log says so
        self._next = time.monotonic() + every

    def current(self) -> Policy:
        """The policy in force; looks at the files first, where it is time and no other thread does."""
        if time.monotonic() >= self._next and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()
        return self._policy

    def reload(self) -> Reload:
        """Read the policy again now, whether or not its files seem changed.

        One that nobody signs, and that changed a moment ago, is not taken now either: `kept`, with Unavailable.
        """
        with self._lock:
            return self._read(self._stamped())

    def _stamped(self) -> object:
        return tuple(map(_stamp, self._watched))

    def _look(self) -> None:
        now, stamp = time.monotonic(), self._stamped()
        self._next = now + self._every
        if stamp != self._stamp or (self._failed is not None and now >= self._failed):
            self._read(stamp)

    def _read(self, stamp: object) -> Reload:
        """The files are stamped before they are read, so that a change meanwhile is seen the next time."""
        self._stamp, before = stamp, self._good
        try:
            new = self._load()
        except KeyboardInterrupt:
            self._stamp = object()  # nobody has seen what is there: it is read again the next time
            raise
        except BaseException as error:  # noqa: BLE001  # whatever a new policy does, it does not take the old one away
            told = error if isinstance(error, SkillwarrantError) else _foreign(error)
            self._keep(told)
            return Reload(outcome="kept", policy=self._policy, error=told)
        self._good = self._policy = new
        self._failed, self._told = None, False
        if (new.digest, new.origin) == (before.digest, before.origin):
            return Reload(outcome="unchanged", policy=new)
        _logger.info("%s: revision %d of policy %s is in force", self._path, new.revision, new.name)
        return Reload(outcome="taken", policy=new)

    def _keep(self, error: SkillwarrantError) -> None:
        good = self._good
        notice = f"revision {good.revision} stays in force, and what was to take its place does not: {error}"
        self._policy = replace(good, notice=shown(notice, _MAX_NOTICE))
        if self._quiet is not None and self._quiet.waits:  # so does every change, for a moment
            self._failed = time.monotonic() + QUIET_SECONDS
            return
        if not self._told:
            _logger.warning("%s: policy %s: %s", self._path, good.name, shown(notice, _MAX_NOTICE))
        self._told = True
        self._failed = time.monotonic() + RETRY_SECONDS


def source_of(
    policy: PolicyGiven, *, trust_root: TrustRoot, directory: Path | None, clock: Callable[[], datetime]
) -> PolicySource:
    """Where a gate gets its policies from.

    Args:
        directory: of its activation log, beside which the revisions are kept that were seen.

    Raises:
        SkillwarrantError: as `SignedPolicy.load`.
        UsageError: it is nothing that a gate can be built with.
    """
    if isinstance(policy, Policy):
        return FixedPolicy(policy)
    if isinstance(policy, SignedPolicy):
        seen = RevisionStore(directory or default_log_directory())
        return FixedPolicy(policy.load(trust_root=trust_root, seen=seen, now=clock()))
    check_policy(policy)
    return policy


def check_policy(given: object) -> None:
    """Raises UsageError for what no gate can be built with."""
    if not isinstance(given, Policy | SignedPolicy) and not callable(getattr(given, "current", None)):
        raise UsageError(
            "this is no policy",
            expected="a Policy, a SignedPolicy or a ReloadingPolicy",
            found=type(given).__name__,
            fix="Policy.load(path) reads one.",
        )


def _loader(
    demand: SignedPolicy, root: TrustRoot, store: RevisionStore, clock: Callable[[], datetime]
) -> Callable[[], Policy]:
    return lambda: demand.load(trust_root=root, seen=store, now=clock())


def _foreign(error: BaseException) -> Unavailable:
    return Unavailable("the policy could not be read", found=f"{type(error).__name__}: {error}")


def _stamp(path: Path) -> object:
    """What changes when a file of the policy does: names, inodes, sizes, times. None where it cannot be told."""
    try:
        return file_state(path.stat()), *islice(_below(path), _MOST)
    except OSError:
        return None


def _below(path: Path) -> Iterator[tuple[object, ...]]:
    for directory, folders, files in os.walk(path):  # which follows no link
        folders.sort()
        for name in sorted((*folders, *files)):
            found = Path(directory, name)
            yield str(found), *file_state(found.lstat())
