"""Refreshing `trusted_root.json` from a TUF repository with python-tuf's client, within bounded time.

Expiry, rollback and signatures are python-tuf's to check (by this machine's clock: its client takes no other). Here
are the time limit, the cache, and the errors. A refresh that fails never falls back to the cache.
Source: The Update Framework specification 1.0, section 5.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from tuf.api import exceptions
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater
from tuf.ngclient.urllib3_fetcher import Urllib3Fetcher
from urllib3 import PoolManager, Timeout

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError, TrustError, Unavailable, UsageError
from skillwarrant_format.fields import Fields, format_time
from skillwarrant_format.strict_json import loads_object
from skillwarrant_format.waiting import within
from skillwarrant_verify.proof.loopback import is_loopback

__all__ = ["Target", "fetch"]

TARGET: Final = "trusted_root.json"
_TOTAL: Final = 30.0  # seconds for one refresh, whatever the server does
_QUIET: Final = 5  # seconds without a byte
_STATE: Final = "retrieved.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The file, and when the repository last vouched for it."""

    data: bytes
    retrieved_at: datetime


def fetch(url: str, *, root: bytes, offline: bool = False, cache: Path | None = None) -> Target:
    """The repository's `trusted_root.json`.

    Args:
        url: base of the repository; targets lie under `targets/`.
        root: TUF root metadata that is trusted at first.
        offline: ask nobody, and take what the last refresh left.
        cache: directory; the user's cache directory by default. What it holds is what makes a rollback visible.

    Raises:
        UsageError: `url` is not http or https.
        TrustError: the metadata does not verify, has expired, or is older than what was seen before.
        Unavailable: no answer within 30 s, an unreadable cache, or offline with nothing cached.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError("not the URL of a TUF repository", expected="http:// or https://", found=url)
    directory = (cache or _user_cache()) / quote(url.rstrip("/"), safe="")
    if offline:
        return _cached(directory, url)
    try:
        return within(_TOTAL, lambda: _refresh(url.rstrip("/"), root, directory))
    except TimeoutError:
        raise _unreachable(url, f"no answer within {_TOTAL:.0f} s") from None


def _refresh(url: str, root: bytes, directory: Path) -> Target:
    with _errors(url), _locked(directory):
        updater = Updater(
            metadata_dir=str(directory / "metadata"),
            metadata_base_url=f"{url}/",
            target_dir=str(directory / "targets"),
            target_base_url=f"{url}/targets/",
            fetcher=_fetcher(url),
            bootstrap=root,
        )
        updater.refresh()
        info = updater.get_targetinfo(TARGET)
        if info is None:
            raise TrustError(f"the TUF repository {url} has no {TARGET}", fix="Ask who runs it to publish one.")
        if info.length > limits.MAX_TRUST_BYTES:
            raise TrustError(f"the {TARGET} of {url} is too large", expected=f"{limits.MAX_TRUST_BYTES} bytes")
        data = Path(updater.find_cached_target(info) or updater.download_target(info)).read_bytes()
        info.verify_length_and_hashes(data)
        target = Target(data=data, retrieved_at=datetime.now(UTC).replace(microsecond=0))
        _remember(directory, target)
        return target


@contextmanager
def _errors(url: str) -> Iterator[None]:
    """python-tuf's exceptions, by whose fault they are."""
    try:
        yield
    except exceptions.ExpiredMetadataError as error:
        raise _untrusted(url, "has expired", error, "Ask who runs it to publish again; check this clock.") from None
    except exceptions.BadVersionNumberError as error:
        raise _untrusted(url, "goes back to an older version", error, "Somebody may be replaying it.") from None
    except exceptions.RepositoryError as error:
        raise _untrusted(url, "does not verify", error, "Check the URL and the TUF root you trust.") from None
    except exceptions.DownloadError as error:
        raise _unreachable(url, str(error.__cause__ or error) or type(error).__name__) from None
    except (ValueError, KeyError, TypeError) as error:
        raise _untrusted(url, "is malformed", error, "Check the URL and the TUF root you trust.") from None
    except OSError as error:
        raise Unavailable(f"the cache of the TUF repository {url} cannot be used", found=str(error)) from None


def _untrusted(url: str, what: str, error: Exception, fix: str) -> TrustError:
    return TrustError(f"the metadata of the TUF repository {url} {what}", found=str(error), fix=fix)


def _unreachable(url: str, reason: str) -> Unavailable:
    return Unavailable(
        f"the TUF repository {url} could not be asked",
        found=reason,
        fix="Check the network, or use the root of the last refresh (offline).",
    )


class _Loopback(FetcherInterface):
    """A client that no proxy can capture on its way to this very machine, whatever the environment says."""

    def __init__(self) -> None:
        self._pool = PoolManager(retries=False, timeout=Timeout(_QUIET))

    def _fetch(self, url: str) -> Iterator[bytes]:
        response = self._pool.request("GET", url, preload_content=False)
        if response.status != 200:
            response.close()
            raise exceptions.DownloadHTTPError(f"HTTP status {response.status}", response.status)
        return response.stream(64 * limits.KIB)


def _fetcher(url: str) -> FetcherInterface:
    return _Loopback() if is_loopback(urlsplit(url).hostname) else Urllib3Fetcher(socket_timeout=_QUIET)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """python-tuf's client must be alone in its cache."""
    for name in ("metadata", "targets"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remember(directory: Path, target: Target) -> None:
    state = {"retrievedAt": format_time(target.retrieved_at), "digest": {"sha256": Digest.of(target.data).hex}}
    (directory / _STATE).write_text(json.dumps(state))


def _cached(directory: Path, url: str) -> Target:
    """What the last refresh left: file and time are checked to belong together, nothing is verified again."""
    try:
        state = Fields(loads_object((directory / _STATE).read_bytes(), what="cache"), "cache")
        data = (directory / "targets" / TARGET).read_bytes()
        digest, retrieved_at = state.digest("digest"), state.time("retrievedAt")
    except (OSError, FormatError) as error:
        raise _no_cache(url, str(error)) from None
    if Digest.of(data) != digest:
        raise _no_cache(url, "another file than was retrieved")
    return Target(data=data, retrieved_at=retrieved_at)


def _no_cache(url: str, reason: str) -> Unavailable:
    return Unavailable(
        f"there is no usable cached root of the TUF repository {url}",
        found=reason,
        fix="Refresh it once with the network.",
    )


def _user_cache() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("skillwarrant") / "tuf"
