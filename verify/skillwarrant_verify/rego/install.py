"""Which Rego engine is installed: the pinned release, and its files as it brought them.

Several distributions install a module of the name `regorus`, and the last to be installed overwrites the others. So
the module is only started where the pinned distribution owns its files, to the byte. This imports none of them.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, PackagePath, distribution
from pathlib import Path
from typing import Final

from skillwarrant_format.errors import Unavailable

__all__ = ["ENGINE", "VERSION", "engine_directory"]

ENGINE: Final = "gordon-to-regorus"
VERSION: Final = "0.13.0"
_MODULE: Final = "regorus"
_REPAIR: Final = f"pip uninstall {_MODULE}, then pip install --force-reinstall --no-deps {ENGINE}=={VERSION}."


@cache
def engine_directory() -> Path:
    """The directory to import the engine from; looked at once in a process.

    Raises:
        Unavailable: it is not installed, is another release, or its files are not its own.
    """
    try:
        installed = distribution(ENGINE)
    except PackageNotFoundError:
        raise _unusable("none", fix="pip install 'skillwarrant[rego]'") from None
    if installed.version != VERSION:
        raise _unusable(f"{ENGINE} {installed.version}")
    files = [file for file in installed.files or () if file.parts[0] == _MODULE and file.suffix != ".pyc"]
    if not any(file.name == "__init__.py" for file in files):
        raise _unusable(f"{ENGINE} without a module {_MODULE}")
    directory = Path(str(installed.locate_file("")))
    extra = _present(directory / _MODULE) - {str(file) for file in files}
    changed = [str(file) for file in files if not _is_own(installed, file)]
    if extra or changed:
        raise _unusable(f"files of another distribution: {', '.join(sorted([*extra, *changed]))}")
    return directory


def _present(module: Path) -> set[str]:
    """What Python could import of it."""
    return {
        f"{_MODULE}/{path.relative_to(module).as_posix()}"
        for path in module.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def _is_own(installed: Distribution, file: PackagePath) -> bool:
    if file.hash is None or file.hash.mode != "sha256":
        return False
    try:
        found = hashlib.sha256(Path(str(installed.locate_file(file))).read_bytes()).digest()
    except OSError:
        return False
    return base64.urlsafe_b64encode(found).rstrip(b"=").decode() == file.hash.value


def _unusable(found: str, *, fix: str = _REPAIR) -> Unavailable:
    return Unavailable(
        "the Rego engine is not installed as it must be",
        expected=f"{ENGINE} {VERSION}, and no other distribution with a module {_MODULE}",
        found=found,
        fix=fix,
    )
