"""From what a caller names to the bytes that will be verified and loaded: every file is read once.

A directory, or a `Snapshot` that is already in memory. Nothing after this module opens a path of the adapter.
"""

from __future__ import annotations

import os
from pathlib import Path

from skillwarrant_format import limits
from skillwarrant_format.bundle import BUNDLE_NAME
from skillwarrant_format.errors import FormatError, ManifestMissing, Unavailable, UsageError
from skillwarrant_format.hashing import Progress
from skillwarrant_format.snapshot import Snapshot
from skillwarrant_verify.arguments import check_kind, check_sequence, path_of

__all__ = ["AdapterSource", "BundleSource", "check_sources", "fetch", "manifest_bytes", "read_bundle"]

AdapterSource = str | os.PathLike[str] | Snapshot
BundleSource = str | os.PathLike[str] | bytes


def check_sources(adapter: object, manifest: object, evidence: object) -> None:
    """Whether these are of types that name an adapter and its bundles. What they name is looked at later.

    Raises:
        UsageError: one is not.
    """
    if not isinstance(adapter, Snapshot):
        check_kind("the adapter", adapter, (str, os.PathLike), "a path, or a Snapshot")
    if manifest is not None:
        check_kind("the manifest", manifest, (str, os.PathLike, bytes), "a bundle, as a path or bytes")
    check_sequence("evidence", evidence, "a list of bundles, as paths or bytes")
    for item in evidence:  # type: ignore[attr-defined]  # it is a sequence
        check_kind("a bundle of the evidence", item, (str, os.PathLike, bytes), "a path or bytes")


def fetch(adapter: AdapterSource, *, progress: Progress | None = None) -> Snapshot:
    """Read an adapter. A snapshot is copied and hashed again: nobody else holds what will be verified and loaded,
    and what was written to it since (a model that it was loaded onto lives in its memory) is seen.

    Args:
        progress: told (bytes read, bytes in total) while a directory is read.

    Raises:
        UsageError: not a directory on this machine.
        FormatError, FilesMismatch: what is in the directory is not an adapter that can be vouched for.
        Unavailable: a file cannot be read.
    """
    if isinstance(adapter, Snapshot):
        files = {path: file.data for path, file in adapter.files.items()}
        return Snapshot.of(files, adapter.source, bundle=adapter.bundle)
    path = path_of("the adapter", adapter)
    if not path.is_dir():
        raise UsageError(
            "the adapter is no directory",
            expected="a directory with adapter_config.json and adapter_model.safetensors",
            found=str(path),
            fix="Download a Hub repository first: "
            "huggingface_hub.snapshot_download(REPO, revision=COMMIT, local_dir=DIR).",
        )
    return Snapshot.read(path, progress=progress)


def manifest_bytes(snapshot: Snapshot, manifest: BundleSource | None) -> bytes:
    """The bundle: the one that is given, else the one beside the adapter.

    Raises:
        ManifestMissing: neither is there.
        FormatError: it is larger than `limits.MAX_BUNDLE_BYTES`.
        Unavailable: the named file cannot be read.
    """
    if isinstance(manifest, bytes):
        return manifest
    if manifest is None:
        if snapshot.bundle is None:
            raise ManifestMissing(
                "the adapter has no signed manifest",
                expected=f"{BUNDLE_NAME} in {snapshot.source}",
                found="none",
                fix="Ask its publisher to run `skillwarrant sign`; without a warrant it is not loaded.",
            )
        return snapshot.bundle
    return read_bundle(path_of("the manifest", manifest))


def read_bundle(path: Path) -> bytes:
    """A bundle file's bytes.

    Raises:
        ManifestMissing: there is no such file.
        FormatError: it is larger than `limits.MAX_BUNDLE_BYTES`.
        Unavailable: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limits.MAX_BUNDLE_BYTES + 1)
    except FileNotFoundError:
        raise ManifestMissing("there is no such bundle", expected="a bundle file", found=str(path)) from None
    except OSError as error:
        raise Unavailable(f"cannot read the bundle {path}", found=error.strerror) from None
    if len(data) > limits.MAX_BUNDLE_BYTES:
        raise FormatError("the bundle is too large", expected=f"at most {limits.MAX_BUNDLE_BYTES} bytes")
    return data
