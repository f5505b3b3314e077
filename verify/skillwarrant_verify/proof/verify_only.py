"""Importing sigstore for a process that only verifies, without the clients that sigstore imports for signing.

sigstore's public verifier cannot be imported without its HTTP, OIDC and TUF clients and the models of every kind of
log entry, which is most of what a short command spends its time on. `import_sigstore` imports it under three
measures, which all end with the import:

* the clients (`requests`, `jwt`, `id`, `platformdirs`, `tuf.ngclient`) are absent: an empty module stands for each
  that nobody has imported yet. Whoever imports them later gets the real ones; sigstore itself keeps the empty ones,
  so that signing in such a process fails with a RuntimeError;
* pydantic builds models when they are first used (its own `defer_build`), and most of them never are;
* the garbage collector pauses; what is there afterwards it leaves alone (`gc.freeze`), which is felt when the
  process ends.

For a process of our own, before it has other threads that import: the command line, never a library call. Where
anything is not as it was tested, sigstore is imported as always. A contract test holds that both ways give the same
answers, to the word.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

__all__ = ["import_sigstore"]

_TESTED: Final = ("4.5.",)
_CLIENTS: Final = frozenset({"id", "jwt", "platformdirs", "requests", "tuf.ngclient"})
_OURS_TO_UNDO: Final = ("rekor_types", "sigstore", "sigstore_models")


def import_sigstore() -> bool:
    """Import `sigstore.models` and `sigstore.verify`, without clients where that is safe.

    Returns:
        Whether it was the short way. If not, the first use imports sigstore as always.
    """
    if "sigstore.models" in sys.modules:
        return False
    try:
        if not import_module("sigstore").__version__.startswith(_TESTED):
            return False
        with ExitStack() as measures:
            measures.enter_context(_paused_collector())
            measures.enter_context(_deferred_models())
            measures.enter_context(_absent(_CLIENTS - sys.modules.keys()))
            import_module("sigstore.models")
            import_module("sigstore.verify")
    except Exception:  # noqa: BLE001  # whatever it was, the plain import decides
        _forget()
        return False
    gc.freeze()
    return True


def _forget() -> None:
    """Nothing half-imported stays."""
    for name in list(sys.modules):
        if name.partition(".")[0] in _OURS_TO_UNDO:
            del sys.modules[name]


@contextmanager
def _paused_collector() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _deferred_models() -> Iterator[None]:
    """Classes inherit their configuration when they are made, so this reaches exactly those made meanwhile."""
    from pydantic import BaseModel

    before = BaseModel.model_config.get("defer_build", False)
    BaseModel.model_config["defer_build"] = True
    try:
        yield
    finally:
        BaseModel.model_config["defer_build"] = before


@contextmanager
def _absent(names: frozenset[str]) -> Iterator[None]:
    finder = _Absent(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in names:
            if isinstance(module := sys.modules.get(name), _Nothing):
                del sys.modules[name]
                parent, _, child = name.rpartition(".")
                if parent and getattr(sys.modules.get(parent), child, None) is module:
                    delattr(sys.modules[parent], child)


class _Absent(MetaPathFinder, Loader):
    """Finds an empty module under each of the names."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:  # noqa: ARG002
        return ModuleSpec(fullname, self) if fullname in self._names else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Nothing(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


class _Nothing(ModuleType):
    """A module in which every name is a class that cannot be used: enough for annotations and `from … import`."""

    __version__ = "0"

    def __getattr__(self, name: str) -> type[_UnusableError]:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (_UnusableError,), {"__module__": self.__name__})


class _UnusableError(Exception):
    def __init__(self, *_: object, **__: object) -> None:
        name = f"{type(self).__module__}.{type(self).__name__}"
        raise RuntimeError(f"{name} is not there: this process imported sigstore to verify, and for nothing else")
