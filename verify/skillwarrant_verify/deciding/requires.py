"""The manifest's `requires`: are the installed packages within the publisher's version ranges (PEP 440)?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import metadata
from typing import Final

__all__ = ["RUNTIME", "installed_versions", "unmet_ranges"]

RUNTIME: Final = ("peft", "torch", "transformers")


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    """Installed version of each package that is there; read from metadata, nothing is imported."""
    found: dict[str, str] = {}
    for name in sorted(set(names)):
        try:
            found[name] = metadata.version(name)
        except (metadata.PackageNotFoundError, ValueError):
            continue
    return found


def unmet_ranges(
    ranges: Iterable[tuple[str, str]], versions: Mapping[str, str]
) -> tuple[tuple[str, str, str], ...]:
    """The ranges that are not met.

    Args:
        ranges: package name and PEP 440 specifier, `("peft", ">=0.20,<0.22")`.
        versions: package name -> installed version.

    Returns:
        (name, specifier, found) for each package that is missing, outside its range, or whose range or version
        cannot be read: what cannot be understood is not met.
    """
    unmet = []
    for name, wanted in ranges:
        found = versions.get(name)
        if found is None or not _is_met(wanted, found):
            unmet.append((name, wanted, found or "not installed"))
    return tuple(unmet)


@lru_cache(maxsize=1024)
def _is_met(wanted: str, found: str) -> bool:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        return SpecifierSet(wanted).contains(Version(found), prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return False
