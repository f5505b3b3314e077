"""The public Sigstore instance's trust material as the installed sigstore package ships it.

The one place that knows where sigstore keeps it (its public API reads it only through a cache directory that it
writes to, and gives no bytes). A contract test compares what is read here with what sigstore itself uses.
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import metadata, resources
from typing import Final
from urllib.parse import quote

from skillwarrant_format.errors import TrustError

__all__ = ["PUBLIC_GOOD", "STAGING", "embedded", "installed_at", "sigstore_version"]

PUBLIC_GOOD: Final = "https://tuf-repo-cdn.sigstore.dev"
STAGING: Final = "https://tuf-repo-cdn.sigstage.dev"


def embedded(name: str, url: str = PUBLIC_GOOD) -> bytes:
    """`trusted_root.json` or the TUF `root.json` of an instance.

    Raises:
        TrustError: this version of sigstore has no such file where it used to.
    """
    try:
        return _file(name, url).read_bytes()
    except (OSError, ModuleNotFoundError) as error:
        raise TrustError(
            f"the installed sigstore {sigstore_version()} holds no {name}",
            found=str(error),
            fix="Install a supported version of sigstore, or name a trusted root.",
        ) from None


def installed_at(name: str, url: str = PUBLIC_GOOD) -> datetime:
    """When the file was installed; what it says may be older, and nothing in the package tells by how much."""
    with resources.as_file(_file(name, url)) as path:
        return datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)


def sigstore_version() -> str:
    """The installed version, or `?`."""
    try:
        return metadata.version("sigstore")
    except metadata.PackageNotFoundError:
        return "?"


def _file(name: str, url: str) -> resources.abc.Traversable:
    return resources.files("sigstore._store") / quote(url, safe="") / name
