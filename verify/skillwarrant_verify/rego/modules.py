"""`RegoModules`: Rego policies beside the native one. They can add denials and warnings, and nothing else.

The rules `deny`, `violation`, `warn` (and `deny_x` …) of package `skillwarrant` and below are sets of messages,
each evaluated by itself; where there is an `allow`, it must be true. The input is the facts of the decision;
`data.config` is the native policy's own document. What is undefined, fails or takes too long denies, and says so.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Final, Self

from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError, PolicyError, UsageError
from skillwarrant_format.strict_json import JsonObject, JsonValue, canonical, loads
from skillwarrant_verify.arguments import check_kind
from skillwarrant_verify.rego.answer import RegoAnswer, RegoFinding, answer, refusal
from skillwarrant_verify.rego.document import encode, missing
from skillwarrant_verify.rego.frames import UNDEFINED
from skillwarrant_verify.rego.lint import Linted, RegoRule, RequiredPath, lint
from skillwarrant_verify.rego.outline import Outline
from skillwarrant_verify.rego.process import WorkerRefused, WorkerStopped
from skillwarrant_verify.rego.source import read_sources
from skillwarrant_verify.rego.tests import RegoTestRun, run_tests
from skillwarrant_verify.rego.workers import Workers

__all__ = ["EVALUATION_SECONDS", "INPUT_FIELDS", "RegoAnswer", "RegoFinding", "RegoModules", "RegoRule"]

INPUT_FIELDS: Final = frozenset(
    {
        *("adapter", "apiVersion", "base", "companions", "context", "evidence", "history", "manifest", "now"),
        *("versions", "warrant", "weight"),
    }
)
"""The fields of the input document; a module that reads another is refused."""
EVALUATION_SECONDS: Final = 2.0  # of CPU, for all rules together
_LOAD_SECONDS: Final = 5.0  # of CPU, to parse and compile


class RegoModules:
    """A checked set of Rego modules with an engine of its own. Close it, or let it go; threads may share it."""

    def __init__(self, workers: Workers, linted: Linted, digest: Digest) -> None:
        self._workers = workers
        self._linted = linted
        self.digest = digest

    @classmethod
    def load(
        cls,
        files: Mapping[str, bytes],
        *,
        input_fields: Collection[str] = INPUT_FIELDS,
        processes: int = 1,
    ) -> Self:
        """Parse, compile and check modules; takes about 0.1 s, most of it for a worker process to start.

        Args:
            files: relative path that ends in .rego -> bytes. Tests are in files that end in _test.rego.
            input_fields: the fields that the input document has.
            processes: how many evaluations may run at once.

        Raises:
            PolicyError: a file is not acceptable, does not compile, or says what can deny nothing; with its line.
            UsageError: `processes` is less than 1, or an argument of another type.
            Unavailable: the engine is not installed, is not the pinned one, or does not answer as it must.
        """
        check_kind("processes", processes, int, "a whole number")
        if processes < 1:
            raise UsageError("modules need a process", expected="at least 1", found=str(processes))
        sources = read_sources(files)
        workers = Workers(sources, size=processes, load_seconds=_LOAD_SECONDS)
        try:
            (outlines,) = workers.ask("outline", seconds=_LOAD_SECONDS)
            modules = [Outline.parse(item) for item in json.loads(outlines)]
            linted = lint(modules, functions=workers.functions(), fields=input_fields)
        except (WorkerRefused, WorkerStopped) as error:
            workers.close()
            raise PolicyError("the Rego modules do not compile", found=str(error)) from None
        except BaseException:
            workers.close()
            raise
        return cls(workers, linted, _digest(files))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes."""
        self._workers.close()

    @property
    def packages(self) -> tuple[str, ...]:
        """`skillwarrant.region`, sorted."""
        return self._linted.packages

    @property
    def rules(self) -> tuple[RegoRule, ...]:
        """The rules that `evaluate` evaluates; at least one of them can deny."""
        return self._linted.rules

    @property
    def tests(self) -> tuple[RegoRule, ...]:
        """The rules that `run_tests` evaluates."""
        return self._linted.tests

    @property
    def required(self) -> tuple[RequiredPath, ...]:
        """The parts of input and data.config without which `evaluate` denies."""
        return self._linted.required

    def evaluate(self, document: JsonObject, config: JsonObject) -> RegoAnswer:
        """Evaluate every rule on one input.

        Args:
            document: what policies read as `input`.
            config: what they read as `data.config`.

        Returns:
            Whatever the rules gave, and a denial for every rule that gave nothing that can be read.

        Raises:
            FormatError: `document` or `config` is not what `strict_json` accepts.
            Unavailable: no worker can be started.
        """
        values = (encode(config, "data.config"), encode(document, "input"))
        absent = missing(self._linted.required, {"input": document, "data": {"config": config}})
        results, refusals = self._evaluated(values)
        return answer(self.rules, results, [*absent, *refusals])

    def _evaluated(self, values: tuple[bytes, bytes]) -> tuple[list[tuple[RegoRule, JsonValue]], list[RegoFinding]]:
        try:
            paths = [rule.path.encode() for rule in self.rules]
            found = self._workers.ask("evaluate", *values, *paths, seconds=EVALUATION_SECONDS)
        except (WorkerRefused, WorkerStopped) as error:
            timeout = isinstance(error, WorkerStopped) and error.timeout
            code = "rego.timeout" if timeout else "rego.error"
            return [], [refusal(rule, code, f"{rule.path} has no result: {error}") for rule in self.rules]
        results: list[tuple[RegoRule, JsonValue]] = []
        refusals: list[RegoFinding] = []
        for rule, frame in zip(self.rules, found, strict=True):
            value = _value(rule, frame)
            if isinstance(value, RegoFinding):
                refusals.append(value)
            else:
                results.append((rule, value))
        return results, refusals

    def run_tests(self, config: JsonObject | None = None) -> RegoTestRun:
        """Evaluate every test rule, with an empty input and this `data.config`.

        Raises:
            FormatError, Unavailable: as `evaluate`.
        """
        return run_tests(self._workers, self.tests, encode(config or {}, "data.config"))


def _value(rule: RegoRule, frame: bytes) -> JsonValue | RegoFinding:
    if frame[:1] != b"=":
        return refusal(rule, "rego.error", f"{rule.path} has no result: {frame[1:].decode(errors='replace')}")
    if frame[1:].decode() == UNDEFINED:
        return refusal(rule, "rego.undefined", f"{rule.path} is undefined")
    try:
        return loads(frame[1:], what=rule.path)
    except FormatError as error:
        return refusal(rule, "rego.malformed", str(error))


def _digest(files: Mapping[str, bytes]) -> Digest:
    """Of the canonical JSON of name -> SHA-256 of the bytes."""
    return Digest.of(canonical({name: Digest.of(data).hex for name, data in files.items()}))
