"""Do something with a module as soon as it has been imported, without importing it: a finder on `sys.meta_path`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from importlib.abc import Loader

__all__ = ["AfterImport"]


class AfterImport:
    """Calls a function with each module of some names, right after its code has run; `importlib.reload` included.

    What the function raises is raised by the import, and the module is not there.

    Args:
        wanted: whether a module of this name is to be seen. Asked for every import: must be quick.
        action: what to do with the module.
    """

    def __init__(self, wanted: Callable[[str], bool], action: Callable[[ModuleType], None]) -> None:
        self._wanted = wanted
        self._action = action

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that the other finders give, with a loader that calls back."""
        if not self._wanted(fullname):
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = cast("Loader", _Calling(spec.loader, self._action))
                return spec
        return None


class _Calling:
    """Another loader, and a call when it is done. Afterwards the module has that other loader for its own."""

    def __init__(self, loader: Loader, action: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._action = action

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._action(module)
