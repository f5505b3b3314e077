"""What a library's exception says, as one line for one of ours. It decides nothing."""

from __future__ import annotations

__all__ = ["words"]


def words(error: BaseException) -> str:
    """The message, or for a pydantic ValidationError its first complaint and where; never empty."""
    errors = getattr(error, "errors", None)
    if callable(errors):  # pydantic, which is not imported for this
        first = errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'the document'}: {first['msg']}"
    return " ".join(str(error).split()) or type(error).__name__
