"""Mutants of an input document: what an attacker, a bug or a typing error makes of it. They know no policy.

Every mutant is strict JSON. One thing is left out, since no Rego can see it: a whole number that is written 5.0.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

__all__ = ["KINDS", "Path", "broken", "first", "get", "mutant", "paths"]

Path = tuple[str | int, ...]

_LOOKALIKE: Final = {
    "a": "\u0430",
    "c": "\u0441",
    "e": "\u0435",
    "i": "\u0456",
    "o": "\u043e",
    "p": "\u0440",
    "s": "\u0455",
    "x": "\u0445",
    "k": "\u212a",
}  # Cyrillic, and the Kelvin sign
_ADDED: Final = ("\u200b", " ", "\n", "\t", "\u0301", "\u202e", "/", ".", "-", "*", "0", "٣", "é", "\U0001f600")
_TIMES: Final = "%Y-%m-%dT%H:%M:%SZ"
_STEPS: Final = (1, 300, 301, 60, 86_400, 30 * 86_400, 31 * 86_400, 90 * 86_400, 91 * 86_400, 400 * 86_400)
_BAD_TIMES: Final = (
    *("2026-02-29T00:00:00Z", "2028-02-29T00:00:00Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
    *("9999-12-31T23:59:59Z", "2026-11-22T24:00:00Z", "2026-11-22T12:00:60Z", "2026-11-22t12:00:00z"),
    *("2026-11-22T12:00:00+00:00", "2026-11-22T12:00:00.0Z", "2100-02-29T00:00:00Z", "2000-02-29T00:00:00Z"),
)
_NUMBERS: Final = (0, 1, 2, 3, 4, 5, 63, 64, 65, -1, 0.5, 0.999, 1.001, 2.5, 2.501, 3.999, 4.001, -0.8, 1e-9)
_LARGE: Final = (49_999_999, 50_000_000, 50_000_001, 200_000_000, 200_000_001, 2**53 - 1, -(2**53 - 1), 1e16, 1e300)
_TEXTS: Final = (
    *("nan", "inf", "-inf", "1e+16", "none", "any", "*", "**", "null", "true", "x" * 64, "x" * 65, "x" * 512),
    *("x" * 513, "changes-base", "active-adapter: tone", "accelerate-hook: lm_head", "forward-hook: lm_head"),
    *("1.4.2", "1.4.0-rc.1", "1.4.0-rc.2", "1.4.0-beta", "1.5.0", "1.5.2", "1.5.3", "1.2.0", "1.10.0", "01.2.3"),
    *("0.20", "0.22.0", "0.23", "0.23.0rc1", "0.23.dev1", "0.22.0.post1", "0.21.2+local", "1!0.21", "v0.21"),
    *("2.6", "2.6.0rc1", "0.021.2", "00.21.2", ">=0.21", "<=0.21.2", "==0.21.2", "!=0.21.2", ">0.21.2", "<0.21.2"),
    *(">=1,<0", "development", "staging", "medical", "general", "us-east-1", "eu-central-1", "DORA", "LOHA"),
    *("MIT", "CC-BY-4.0", "licensed", "unknown", "failed", "rounded", "exact", "uri", "email", "other", "files"),
    *("statement", "bnb-nf4", "acme/billing-bot", "acme/payments-desk", "acme/shell-runner", "globex/style-x"),
    *("acme/support/x", "support", "release@acme.example", "bob@acme.example"),
    *("https://gitlab.example/globex/x/../y", "https://accounts.example.com"),
    *("https://gitlab.example/globex/a//b", "https://gitlab.example/globex/", "https://gitlab.example"),
    *("pickle", "safetensors", "adapter_model.safetensors", "adapter_model.bin", "tokenizer.model", "a/b.JSON"),
    *(".hidden.json", "../README.md", "a//README.md", "./README.md", "/README.md", "README.md/", "docs/LICENSE"),
    *("licence", "notice.", "merges.txt.gz", "model.TxT", "q_proj", "SEQ_CLS", "tokenizer.\u212a", "a.j\u0130nja"),
    *("acme/base-13b", "https://idp.acme.example/board/.", "https://idp.acme.example/board/8"),
    *("spiffe://acme.example/serving/..", "https://skillwarrant.dev/approval/v1"),
    *("https://slsa.dev/provenance/v1", "0" * 62 + "ff", "f" * 64, "F" * 64),
)


def paths(value: Any, at: Path = ()) -> Iterator[Path]:
    """Every field and every item of a document, from the outside in."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*at, key)
        yield from paths(item, (*at, key))


def get(document: Any, path: Path) -> Any:
    """What stands at a path."""
    for step in path:
        document = document[step]
    return document


def broken(document: Any, path: Path) -> Iterator[tuple[str, Any]]:
    """What is left when a fact is taken out, becomes another type, or is emptied: each by its name."""
    yield "deleted", _deleted(document, path)
    found = get(document, path)
    for value in (None, True, 7, 1.5, "text", ["text"], {"key": "text"}, [found], {"value": found}, str(found)):
        if _type(value) != _type(found):
            yield f"retyped to {value!r}"[:60], _put(document, path, value)
    if isinstance(found, str | list | dict):
        yield "emptied", _put(document, path, type(found)())


def mutant(document: Any, source: random.Random) -> tuple[str, Any]:
    """One to three changes, one after the other; and what they were."""
    names = []
    for _ in range(source.choice((1, 1, 1, 1, 1, 2, 2, 3))):
        name = source.choice(_WEIGHTED)
        there = list(paths(document))
        if not there:
            break
        changed = KINDS[name](document, source.choice(there), source)
        document = document if changed is None else changed
        names.append(name)
    return "+".join(names), document


def _type(value: Any) -> str:
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def _put(document: Any, path: Path, value: Any) -> Any:
    """A copy with another value at a path; what is not on the way there is shared."""
    if not path:
        return value
    step, *rest = path
    changed = copy.copy(document)
    changed[step] = _put(document[step], tuple(rest), value)
    return changed


def _deleted(document: Any, path: Path) -> Any:
    inside = copy.copy(get(document, path[:-1]))
    del inside[path[-1]]
    return _put(document, path[:-1], inside)


def _delete(document: Any, path: Path, _: random.Random) -> Any:
    return _deleted(document, path)


def _retype(document: Any, path: Path, source: random.Random) -> Any:
    return source.choice(list(broken(document, path)))[1]


def _empty(document: Any, path: Path, source: random.Random) -> Any:
    return _put(document, path, source.choice(("", [], {}, None, 0, False)))


def _swap(document: Any, path: Path, source: random.Random) -> Any:
    other = source.choice([one for one in paths(document) if one[: len(path)] != path[: len(one)]] or [path])
    mine, theirs = get(document, path), get(document, other)
    return _put(_put(document, path, theirs), other, mine)


def _copied(document: Any, path: Path, source: random.Random) -> Any:
    return _put(document, path, copy.deepcopy(get(document, source.choice(list(paths(document))))))


def _alike(document: Any, path: Path, source: random.Random) -> Any:
    """Another value of the document that stands under the same name, or is of the same type."""
    found = get(document, path)
    values = [get(document, one) for one in paths(document)]
    like = [value for value in values if _type(value) == _type(found) and value != found]
    return _put(document, path, copy.deepcopy(source.choice(like))) if like else None


def _list(document: Any, path: Path, source: random.Random) -> Any:
    """Of a list: an item twice, another order, one less, one of somewhere else."""
    lists = [one for one in paths(document) if isinstance(get(document, one), list) and get(document, one)]
    if not lists:
        return None
    where = source.choice(lists)
    items = list(get(document, where))
    one = source.choice(items)
    changed = source.choice(
        (
            [*items, copy.deepcopy(one)],
            [copy.deepcopy(one), *items],
            items[::-1],
            items[1:],
            items[:-1],
            [*items, get(document, path)],
            items * 2,
        )
    )
    return _put(document, where, changed)


def _case(document: Any, path: Path, source: random.Random) -> Any:
    found = get(document, path)
    if not isinstance(found, str):
        return None
    return _put(document, path, source.choice((found.upper(), found.lower(), found.title(), found.swapcase())))


def _key(document: Any, path: Path, source: random.Random) -> Any:
    """A field's name in another spelling, instead of it or beside it; or one that is not known."""
    *above, key = path
    inside = get(document, tuple(above))
    if not isinstance(inside, dict):
        return None
    name = str(key)
    spelt = source.choice(
        (name.upper(), name.lower(), f"{name}_", name.replace("s", "\u017f"), _altered(name, source), "x")
    )
    kept = {one: value for one, value in inside.items() if one != key} if source.random() < 0.5 else dict(inside)
    return _put(document, tuple(above), {**kept, spelt: inside[str(key)]})


def _lookalike(document: Any, path: Path, source: random.Random) -> Any:
    found = get(document, path)
    return _put(document, path, _altered(found, source)) if isinstance(found, str) and found else None


def _altered(text: str, source: random.Random) -> str:
    at = source.randrange(len(text))
    here = text[at]
    replaced = source.choice(
        (
            _LOOKALIKE.get(here, here.upper()),
            here + source.choice(_ADDED),
            "",
            here * 2,
            chr(min(ord(here) + 1, 0xD7FF)),
            chr(max(ord(here) - 1, 1)),
        )
    )
    return text[:at] + replaced + text[at + 1 :]


def _number(document: Any, path: Path, source: random.Random) -> Any:
    there = [one for one in paths(document) if _type(get(document, one)) == "number"]
    if not there:
        return None
    path = source.choice(there)
    found = get(document, path)
    near = (found + 1, found - 1, -found, found * 2, *_NUMBERS, *_LARGE)
    value = source.choice(near)
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return _put(document, path, int(value) if whole else value if abs(value) < 2**53 else float(value))


def _time(document: Any, path: Path, source: random.Random) -> Any:
    """A time shifted, by as much as the windows that there are, a second more or less."""
    there = [one for one in paths(document) if _read_time(get(document, one)) is not None]
    if not there:
        return None
    path = source.choice([*there, *[one for one in there if one == ("now",)] * 5])
    if source.random() < 0.2:
        return _put(document, path, source.choice(_BAD_TIMES))
    other = _read_time(get(document, source.choice(there)))
    start = source.choice((other, _read_time(get(document, path)), *map(_read_time, _WINDOWS)))
    shift = timedelta(seconds=source.choice((0, *_STEPS)) + source.choice((-1, 0, 1)))
    assert start is not None
    try:
        shifted = start + source.choice((-1, 1)) * shift
    except OverflowError:  # it was put to an end of the calendar before
        shifted = start
    return _put(document, path, shifted.strftime(_TIMES))


_WINDOWS: Final = (
    *("2026-01-01T00:00:00Z", "2027-06-01T00:00:00Z", "2026-12-31T00:00:00Z", "2026-10-01T00:00:00Z"),
    *("2026-11-30T00:00:00Z", "2026-11-01T00:00:00Z", "2026-12-15T00:00:00Z"),
)


def _read_time(text: Any) -> datetime | None:
    try:
        return datetime.strptime(text, _TIMES).replace(tzinfo=UTC) if isinstance(text, str) else None
    except ValueError:
        return None


def _text(document: Any, path: Path, source: random.Random) -> Any:
    """A value that somewhere in a document or a policy means something."""
    there = [one for one in paths(document) if isinstance(get(document, one), str)]
    return _put(document, source.choice(there), source.choice(_TEXTS)) if there else None


def _flip(document: Any, path: Path, source: random.Random) -> Any:
    there = [one for one in paths(document) if isinstance(get(document, one), bool)]
    if not there:
        return None
    path = source.choice(there)
    return _put(document, path, not get(document, path))


def _add(document: Any, path: Path, source: random.Random) -> Any:
    """An object gets a field that another has, or one that nobody knows."""
    objects = [(), *[one for one in paths(document) if isinstance(get(document, one), dict)]]
    where = source.choice(objects)
    from_where = source.choice([one for one in paths(document) if isinstance(one[-1], str)] or [path])
    name = str(source.choice((from_where[-1], "redacted", "x", "quantization", "notAfter", "weight", "history")))
    value = source.choice((get(document, from_where), True, "bnb-nf4", 0.5, {}, "1.4.3", "nan"))
    return _put(document, where, {**get(document, where), name: copy.deepcopy(value)})


KINDS: Final[dict[str, Callable[[Any, Path, random.Random], Any]]] = {
    "deleted": _delete,
    "retyped": _retype,
    "emptied": _empty,
    "swapped": _swap,
    "copied": _copied,
    "alike": _alike,
    "listed": _list,
    "case": _case,
    "key": _key,
    "lookalike": _lookalike,
    "number": _number,
    "time": _time,
    "text": _text,
    "flipped": _flip,
    "added": _add,
}
_OFTEN: Final = {"time": 6, "number": 4, "text": 5, "alike": 5, "listed": 4, "deleted": 3, "flipped": 2}
_WEIGHTED: Final = [name for name in KINDS for _ in range(_OFTEN.get(name, 1))]


def first(count: int, document: Any, seed: int) -> Iterator[tuple[str, Any]]:
    """That many mutants: the same for the same seed."""
    source = random.Random(seed)  # noqa: S311  # the same again for the same seed
    return islice(iter(lambda: mutant(document, source), None), count)
