"""Try an adapter's regular expressions before PEFT does, where they can be stopped.

To PEFT, many strings of a configuration are regular expressions, which it matches against the name of every module.
One that takes for ever stops the process it runs in, since Python's engine has no time limit. So each one that is
more than a plain name is tried first as PEFT would, on the same names, in a process of its own with little time and
memory. It knows no PEFT; a test holds the tables against the places in PEFT where they are matched.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from skillwarrant_format.adapter_config import ALL_LINEAR, AdapterConfig
from skillwarrant_format.adapter_files import CONFIG_NAME
from skillwarrant_format.errors import FormatError, Unavailable
from skillwarrant_format.strict_json import JsonValue
from skillwarrant_verify.loader.option_bounds import MAX_LAYERS, copies

__all__ = ["Trial", "check_patterns", "has_patterns", "trials"]

_MAX_PATTERNS: Final = 450  # that PEFT compiles for every module again; Python's cache holds 512
_CPU_SECONDS: Final = 2  # of the trial, all patterns together
_WALL_SECONDS: Final = 60  # only where nothing else stops it: a busy machine is no reason to refuse
_MEMORY: Final = 512 * 1024 * 1024  # bytes
_MALFORMED: Final = 3  # exit codes of the trial
_KILLED: Final = -9
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.\-]*")  # nothing to backtrack into
_INDEX: Final = re.compile(r"(^|\.)\d+(\.|$)")
_PER_MODULE: Final = frozenset(  # whose items PEFT compiles and tries one after the other, for each module
    (
        *("alpha_pattern", "block_size_pattern", "lambda_pattern", "layers_pattern", "modules_to_save"),
        *("n_frequency_pattern", "rank_pattern"),
    )
)
_EMBEDDINGS: Final = ("embed_tokens", "lm_head")  # names that PEFT matches whether the model has them or not

# As PEFT builds them. {} is the string of the configuration.
_WHOLE: Final = ("fullmatch", "{}")
_KEY: Final = ("match", r"(.*\.)?({})$")
_SUFFIX: Final = ("match", r".*\.{}$")
_PART: Final = ("match", r"(^|.*\.){}($|\..*)")
_LAYER: Final = ("match", r"(?:^|.*?\.){}\.(?P<idx>\d+)\.")
_ANYWHERE: Final = ("search", "{}")
_TIED: Final = ("fullmatch", "(?:{}|^embed_tokens$)")

Form = tuple[str, str]

SINGLE: Final[Mapping[str, tuple[Form, ...]]] = {
    "exclude_modules": (_WHOLE,),
    "feedforward_modules": (_WHOLE,),
    "layers_pattern": (_LAYER,),
    "target_modules": (_WHOLE,),
    "tied target_modules": (_WHOLE, _TIED),
}
"""Options that are a regular expression where they are a single string: the function of `re`, and what PEFT puts
around the string. With `ensure_weight_tying` more is done than without."""
SEVERAL: Final[Mapping[str, tuple[Form, ...]]] = {
    "FOURIERFT n_frequency_pattern": (_SUFFIX,),
    "OSF rank_pattern": (_KEY, _ANYWHERE),
    "alpha_pattern": (_KEY,),
    "block_size_pattern": (_SUFFIX,),
    "lambda_pattern": (_KEY,),
    "layers_pattern": (_LAYER,),
    "modules_to_save": (_PART,),
    "n_frequency_pattern": (_KEY,),
    "rank_pattern": (_KEY,),
    "tied target_modules": (_PART,),
}
"""Options whose items or keys are regular expressions. Some methods treat them in their own way."""

_CHILD: Final = """
import json, re, sys
work = json.load(sys.stdin)
try:
    import resource, signal
    resource.setrlimit(resource.RLIMIT_AS, (work["bytes"], work["bytes"]))
    signal.setitimer(signal.ITIMER_PROF, work["seconds"])  # of this process's own time; it ends the process
except (AttributeError, ImportError, OSError, ValueError):
    pass
for number, (how, pattern) in enumerate(work["patterns"]):
    print(number, flush=True)
    try:
        match = getattr(re.compile(pattern), how)
    except (re.error, OverflowError, RecursionError) as error:
        print(error)
        sys.exit(3)
    for name in work["names"]:
        match(name)
"""


@dataclass(frozen=True, slots=True)
class Trial:
    """A regular expression as PEFT would build it.

    Args:
        option: where it comes from.
        text: what stands there.
        how: the function of `re`.
        pattern: with what PEFT puts around it.
    """

    option: str
    text: str
    how: str
    pattern: str


def trials(config: AdapterConfig) -> Iterator[Trial]:
    """Every regular expression of a configuration that is more than a plain name."""
    kinds = (f"{config.peft_type} ", "tied " if config.raw.get("ensure_weight_tying") is True else "", "")
    for option, value in config.raw.items():
        table = SINGLE if isinstance(value, str) else SEVERAL
        forms = next((table[kind + option] for kind in kinds if kind + option in table), ())
        for text in _texts(value):
            if not _PLAIN.fullmatch(text) and text.lower() != ALL_LINEAR:
                yield from (Trial(option, text, how, around.replace("{}", text)) for how, around in forms)


def has_patterns(config: AdapterConfig) -> bool:
    """Whether there is any: without, `check_patterns` does not look at the names."""
    return next(trials(config), None) is not None


def _texts(value: JsonValue) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [text for text in value if isinstance(text, str)] if isinstance(value, list | Mapping) else []


def check_patterns(config: AdapterConfig, module_names: Sequence[str]) -> None:
    """Prove that every regular expression of a configuration compiles, and finishes on the names of a model.

    Args:
        module_names: every name that PEFT may try them on.

    Raises:
        FormatError: naming the pattern.
        Unavailable: the trial could not be started.
    """
    looked_up = {"rank_pattern"} if config.peft_type == "ADALORA" else set()
    tried = {text for option in _PER_MODULE - looked_up for text in _texts(config.raw.get(option))}
    if len(tried) > _MAX_PATTERNS:
        raise FormatError(f"{CONFIG_NAME} has too many patterns", expected=f"at most {_MAX_PATTERNS} in all")
    if patterns := list(trials(config)):
        _try(patterns, [*module_names, *_replicated(config, module_names), *_EMBEDDINGS])


def _replicated(config: AdapterConfig, module_names: Sequence[str]) -> Iterator[str]:
    """The names of the layers that `layer_replication` makes, which the model does not have yet."""
    ranges = config.raw.get("layer_replication")
    if isinstance(ranges, list) and ranges:
        shapes = {_INDEX.sub(r"\1{}\2", name, count=1) for name in module_names if _INDEX.search(name)}
        for number in range(min(copies(ranges), MAX_LAYERS)):
            yield from (shape.replace("{}", str(number), 1) for shape in shapes)


def _try(patterns: Sequence[Trial], names: Sequence[str]) -> None:
    forms = [(trial.how, trial.pattern) for trial in patterns]
    work = json.dumps({"bytes": _MEMORY, "seconds": _CPU_SECONDS, "patterns": forms, "names": names})
    try:
        child = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _CHILD],
            input=work.encode(),
            capture_output=True,
            timeout=_WALL_SECONDS,
            check=False,
        )
        code, said = child.returncode, child.stdout
    except subprocess.TimeoutExpired as error:
        code, said = _KILLED, error.stdout or b""
    except OSError as error:
        raise Unavailable("the trial of regular expressions could not be started", found=str(error)) from error
    if code != 0:
        raise _refusal(patterns, code, said.decode(errors="replace").splitlines())


def _refusal(patterns: Sequence[Trial], code: int, said: Sequence[str]) -> FormatError | Unavailable:
    reached = [int(line) for line in said if line.isdecimal()]
    if not reached:
        return Unavailable("the trial of regular expressions could not be started", found=f"exit code {code}")
    trial = patterns[reached[-1]]
    what = f"is malformed ({said[-1]})" if code == _MALFORMED else "takes too long, or too much memory"
    return FormatError(
        f"{CONFIG_NAME}.{trial.option}: the regular expression {what}",
        expected=f"one that is tried on every module's name within {_CPU_SECONDS} s",
        found=trial.text[:200],
        fix="Have the adapter saved with a list of plain module names.",
    )
