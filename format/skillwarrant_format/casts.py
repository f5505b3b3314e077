"""Weights in another floating-point dtype, bit for bit as torch casts them on a CPU, without torch.

Torch goes through float32 and rounds to the nearest, ties to even, into subnormals and to infinity; so does this,
with numpy, which is imported when it is needed. What torch makes of a NaN depends on the machine: it is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Literal

from skillwarrant_format.errors import FormatError, Unavailable, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

__all__ = ["Caster"]

_CODES: Final = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
_FLOATS: Final = {"BF16": "<u2", "F16": "<f2", "F32": "<f4", "F64": "<f8"}  # numpy has no bfloat16: its bits
_UNTOUCHED: Final = frozenset({"BOOL", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64"})
_SHORTER: Final = frozenset({("BF16", "F32"), ("F16", "F32")})  # every value of the first is one of the second


class Caster:
    """Casts tensors to one dtype, and remembers whether any value was rounded. For any number of threads.

    Args:
        dtype: `bfloat16`, `float16` or `float32`.

    Raises:
        UsageError: another dtype.
        Unavailable: numpy is not installed.
    """

    def __init__(self, dtype: str) -> None:
        if dtype not in _CODES:
            raise UsageError("no cast to this dtype", expected=" or ".join(sorted(_CODES)), found=dtype)
        try:
            import numpy  # noqa: F401
        except ImportError as error:
            raise Unavailable("casting needs numpy", found=str(error), fix="pip install numpy") from error
        self._target = _CODES[dtype]
        self._rounded = False

    @property
    def kind(self) -> Literal["exact", "rounded"]:
        """`exact` as long as casting back gives every bit of what was cast."""
        return "rounded" if self._rounded else "exact"

    def dtype(self, code: str, name: str) -> str:
        """The dtype that a tensor has afterwards.

        Args:
            code: its dtype now, by safetensors' name.

        Raises:
            FormatError: one whose cast says nothing about the original, such as a quantised or complex one.
        """
        if code in _FLOATS:
            return self._target
        if code not in _UNTOUCHED:
            raise FormatError("a weight of this dtype is not cast", found=f"{name}: {code}")
        return code

    def chunks(self, code: str, name: str, chunks: Iterable[memoryview]) -> Iterator[memoryview]:
        """A tensor's elements, cast; each chunk must hold whole elements.

        Raises:
            FormatError: for a NaN.
        """
        if code in (_UNTOUCHED | {self._target}):
            yield from chunks
            return
        for chunk in chunks:
            yield self._cast(code, name, chunk)

    def _cast(self, code: str, name: str, chunk: memoryview) -> memoryview:
        import numpy as np

        before: Any = np.frombuffer(chunk, _FLOATS[code])
        values = _to_float32(before, code)
        if np.isnan(values).any():
            raise FormatError("a weight is no number, and casts of those differ between machines", found=name)
        after = _from_float32(values, self._target)
        if not self._rounded and (code, self._target) not in _SHORTER:
            back = _from_float32(_to_float32(after, self._target), code)
            self._rounded |= back.tobytes() != before.tobytes()
        return memoryview(after.tobytes())


def _to_float32(array: Any, code: str) -> Any:
    import numpy as np

    if code == "BF16":
        return (array.astype("<u4") << 16).view("<f4")
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return array.astype("<f4", copy=False)


def _from_float32(values: Any, code: str) -> Any:
    import numpy as np

    if code == "BF16":
        bits = values.view("<u4")
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return values.astype(_FLOATS[code], copy=False)
