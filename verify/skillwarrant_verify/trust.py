"""`TrustRoot`: whose signatures count, where that knowledge came from and how old it is.

Four sources: the public Sigstore instance (as shipped, or refreshed through TUF), a private TUF repository, a file,
or a devstack. None falls back to another. What a root is used for is in `signature`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import TrustError, Unavailable
from skillwarrant_format.fields import format_time
from skillwarrant_format.observation_parts import TrustUsed
from skillwarrant_verify.arguments import check_flag, check_kind, check_span, path_of
from skillwarrant_verify.proof.embedded import PUBLIC_GOOD, embedded, installed_at, sigstore_version
from skillwarrant_verify.proof.trusted_root import TrustedRoot, inner_root

__all__ = ["TrustRoot", "from_devstack", "from_file", "from_tuf", "public_good"]

DEVSTACK_ROOT: Final = "trusted_root.json"
_SKEW: Final = timedelta(minutes=5)  # how far apart two clocks may be


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRoot:
    """A trusted root with its provenance.

    Args:
        source: where it came from, for people and records.
        retrieved_at: when this machine got it, UTC.
        raw: the bytes of its JSON.
        max_age: how old it may be when it is used; None is no limit.
        digest: SHA-256 of `raw`.
        root: what `raw` says.

    Raises:
        TrustError: `raw` is no usable trusted root.
    """

    source: str
    retrieved_at: datetime
    raw: bytes = field(repr=False)
    max_age: timedelta | None = None
    digest: Digest = field(init=False)
    root: TrustedRoot = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", Digest.of(self.raw))
        object.__setattr__(self, "root", TrustedRoot.parse(self.raw))

    def used(self) -> TrustUsed:
        """What an observation says of it."""
        return TrustUsed(source=self.source, digest=self.digest, retrieved_at=self.retrieved_at)

    def age(self, now: datetime) -> timedelta:
        """How long ago it was retrieved."""
        return now - self.retrieved_at

    def require_fresh(self, now: datetime) -> None:
        """Raises TrustError when it is older than `max_age`, or newer than `now` so that nobody can tell."""
        if self.max_age is None or -_SKEW <= (age := self.age(now)) <= self.max_age:
            return
        expected = f"retrieved within {_days(self.max_age)}"
        found = f"{_days(abs(age))} {'old' if age > timedelta() else 'in the future'} ({self.source})"
        fix = "Refresh the trust root." if age > timedelta() else "Check this machine's clock."
        raise TrustError("the trust root is stale", expected=expected, found=found, fix=fix)

    def __str__(self) -> str:
        return f"{self.source}, retrieved {format_time(self.retrieved_at)}"


def public_good(*, offline: bool = True, max_age: timedelta | None = None) -> TrustRoot:
    """The public Sigstore instance's root.

    Args:
        offline: True takes the one inside the installed sigstore package, whose age counts from its installation;
            False refreshes it through TUF, trusting the TUF root inside that package.
        max_age: how old it may be when it is used.

    Raises:
        TrustError: the package lacks it, or the repository's metadata does not verify or has expired.
        UsageError: an argument of another type.
        Unavailable: the repository did not answer in time.
    """
    check_flag("offline", offline)
    _check_age(max_age)
    if not offline:
        return _refreshed(PUBLIC_GOOD, embedded("root.json"), offline=False, max_age=max_age, cache=None)
    return TrustRoot(
        source=f"public-good Sigstore, as shipped in sigstore {sigstore_version()}",
        retrieved_at=installed_at(DEVSTACK_ROOT),
        raw=embedded(DEVSTACK_ROOT),
        max_age=max_age,
    )


def from_tuf(
    url: str, *, root: Path, offline: bool = False, max_age: timedelta | None = None, cache: Path | None = None
) -> TrustRoot:
    """The root in a private TUF repository, as its target `trusted_root.json`.

    Args:
        url: base of the repository: metadata there, targets under `targets/`.
        root: file of the TUF root metadata to trust at first; got out of band.
        offline: True asks nobody and takes what the last refresh left in the cache.
        max_age: how old it may be when it is used.
        cache: directory; the user's cache directory by default.

    Raises:
        TrustError: metadata that does not verify, has expired, or goes back to an older version.
        UsageError: an argument of another type.
        Unavailable: the repository did not answer in time, or offline and nothing is cached.
    """
    check_kind("the URL of the TUF repository", url, str, "a string")
    check_flag("offline", offline)
    _check_age(max_age)
    root = path_of("the TUF root", root)
    cache = None if cache is None else path_of("the cache", cache)
    return _refreshed(url, _read(root), offline=offline, max_age=max_age, cache=cache)


def from_file(path: str | os.PathLike[str], *, max_age: timedelta | None = None) -> TrustRoot:
    """A trusted_root.json, or a client trust config; its age counts from the file's modification time.

    The digest of a client trust config's root is that of its RFC 8785 form.

    Raises:
        TrustError: it is neither.
        UsageError: an argument of another type.
        Unavailable: it cannot be read.
    """
    path = path_of("the trust root", path)
    _check_age(max_age)
    return TrustRoot(
        source=f"file {path}", retrieved_at=_modified(path), raw=inner_root(_read(path)), max_age=max_age
    )


def from_devstack(directory: str | os.PathLike[str]) -> TrustRoot:
    """The root of a devstack's directory. Its keys lie beside it: for trials only.

    Raises:
        TrustError, UsageError, Unavailable: as `from_file`.
    """
    path = path_of("the devstack's directory", directory) / DEVSTACK_ROOT
    return TrustRoot(
        source=f"devstack {path.parent}, not for production", retrieved_at=_modified(path), raw=_read(path)
    )


def _check_age(max_age: object) -> None:
    if max_age is not None:
        check_span("max_age", max_age)


def _refreshed(url: str, root: bytes, *, offline: bool, max_age: timedelta | None, cache: Path | None) -> TrustRoot:
    from skillwarrant_verify.proof import tuf_repository  # late: a TUF client is needed by few

    target = tuf_repository.fetch(url, root=root, offline=offline, cache=cache)
    source = f"TUF {url}{', as last refreshed' if offline else ''}"
    return TrustRoot(source=source, retrieved_at=target.retrieved_at, raw=target.data, max_age=max_age)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limits.MAX_TRUST_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error) from None
    if len(data) > limits.MAX_TRUST_BYTES:
        raise TrustError(f"{path} is too large", expected=f"at most {limits.MAX_TRUST_BYTES} bytes")
    return data


def _modified(path: Path) -> datetime:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, tz=UTC).replace(microsecond=0)
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> Unavailable:
    return Unavailable(
        f"cannot read the trust root {path}", found=error.strerror, fix="Name a readable trusted_root.json."
    )


def _days(span: timedelta) -> str:
    """`3 days`, or hours and minutes where it is less than one."""
    if span >= timedelta(days=1):
        return f"{span.days} days"
    return f"{span.seconds // 3600} h {span.seconds // 60 % 60} min"
