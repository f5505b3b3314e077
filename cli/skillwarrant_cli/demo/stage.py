"""The demo's screen: numbered steps with what was done, and a table at the end.

On a terminal a spinner says what is going on; in a pipe or a CI log the same becomes one line each. Texts from
outside are never read as markup. With `quiet` nothing is shown but the spinner, on stderr.
Must not know: what the steps do.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from rich import box
from rich.columns import Columns
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from skillwarrant_cli.demo.told import OtherThanTold, Row, Told
from skillwarrant_format.errors import SkillwarrantError

__all__ = ["Scene", "Stage"]

_WIDTH: Final = 110  # columns, at most on a terminal; longer lines are hard to read
_INDENT: Final = (0, 0, 0, 3)
_GOOD, _BAD, _LOUD, _QUIET, _HEAD = "bold green", "bold red", "yellow", "dim", "bold cyan"


class Scene:
    """One step while it is played. A step ends by setting `seen`.

    Args:
        stage: where it is shown.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._said = ""
        self.seen: str | None = None

    def working(self, text: str, fraction: float | None = None) -> None:
        """What is being done and how much of it is done (0 to 1), for as long as nothing else is said."""
        if self._stage.animate(text, fraction):
            return
        activity = text.partition(" (")[0]
        if activity != self._said:
            self._stage.show(Text(f"… {activity}", _QUIET))
            self._said = activity

    def facts(self, *rows: tuple[str, str]) -> None:
        """Names and values in two columns."""
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style=_QUIET, no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in rows:
            grid.add_row(name, Text(value))
        self._stage.show(grid)

    def file(self, title: str, text: str) -> None:
        """A file's text, its lines as they are."""
        self._stage.show(Text(title, _QUIET))
        self._stage.verbatim(f"      {line}".rstrip() for line in text.splitlines())

    def message(self, text: str, *details: tuple[str, str]) -> None:
        """What somebody was told."""
        self._stage.show(Text(text, _LOUD))
        self.facts(*details)

    def side_by_side(self, question: str, *answers: tuple[str, str]) -> None:
        """A question, and under it one box for each (who answers, the answer)."""
        width = (self._stage.width - 3) // len(answers) - 1
        boxes = [Panel(Text(answer), title=Text(who), title_align="left", width=width) for who, answer in answers]
        self._stage.show(Text(f"“{question}”", "italic"), Columns(boxes, padding=(0, 1)))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table of texts."""
        self._stage.show(_table(columns, ([Text(cell) for cell in row] for row in rows)))


class Stage:
    """Where the demo is shown. Used as a context manager, so that the terminal is left as it was.

    Args:
        quiet: show no story; with --json the answer is one object.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._console = _console(stderr=quiet)
        self._progress: Progress | None = None
        self._task: Any = None
        self.rows: list[Row] = []

    @property
    def width(self) -> int:
        """Columns."""
        return self._console.width

    def opening(self, title: str, *lines: str) -> None:
        """What this is."""
        self._print(Text(title, "bold"), *(Text(line) for line in lines))

    @contextmanager
    def step(self, told: Told) -> Iterator[Scene]:
        """One step: its heading, whatever it shows, and how it ended, with its time.

        Raises:
            OtherThanTold: it went otherwise, or something was refused that should not have been.
        """
        self._print(Text(), Text.assemble((f"{told.number:<3}", _HEAD), (told.title, "bold")))
        self.show(Text(told.why, _QUIET))
        begun = time.monotonic()
        scene = Scene(self)
        try:
            with self._animated(told.title):
                yield scene
            if scene.seen is None:
                raise AssertionError(f"step {told.number} says nothing of what was seen")
        except SkillwarrantError as error:
            if error.exit_code != 1:
                raise
            expected, found = _difference(told, error)
            self._ended(told, found, begun, as_told=False)
            message = f"step {told.number} ({told.title}) went otherwise than told"
            raise OtherThanTold(message, expected=expected, found=found) from error
        self._ended(told, scene.seen, begun, as_told=True)

    def curtain(self, seconds: float) -> None:
        """The table of all steps that were played."""
        rows = (
            [
                Text(row.told.number, _HEAD),
                Text(row.told.title),
                Text(row.told.expected),
                Text(row.seen, _GOOD if row.as_told else _BAD),
                Text(f"{row.seconds:.1f}", justify="right"),
            ]
            for row in self.rows
        )
        table = _table(("", "step", "expected", "seen", "seconds"), rows)
        table.columns[-1].justify = "right"
        if all(row.as_told for row in self.rows):
            summary = Text(f"All {len(self.rows)} steps went as told, in {seconds:.1f} seconds", _GOOD)
        else:
            summary = Text(f"Step {self.rows[-1].told.number} went otherwise than told", _BAD)
        self._print(Text(), table, summary)

    def encore(self, title: str, commands: Iterable[tuple[str, str]], last: str) -> None:
        """What to try next: (what for, command), each command in lines that can be copied; and a last word."""
        self._print(Text(), Text(title, "bold"))
        for purpose, command in commands:
            self._print(Text(f"  # {purpose}", _QUIET))
            self.verbatim(f"  {line}" for line in command.splitlines())
        self._print(Text(f"  # {last}", _QUIET))

    def verbatim(self, lines: Iterable[str]) -> None:
        """Lines that are never folded, so that they can be copied."""
        self._print(*(Text(line) for line in lines), folded=False)

    def show(self, *renderables: RenderableType) -> None:
        """Under the heading of a step."""
        self._print(*(Padding(item, _INDENT, expand=False) for item in renderables))

    def animate(self, text: str, fraction: float | None) -> bool:
        """Move the spinner; False where there is none."""
        if self._progress is None:
            return self._quiet
        self._progress.update(
            self._task, description=text, completed=fraction or 0, total=None if fraction is None else 1
        )
        return True

    @contextmanager
    def _animated(self, text: str) -> Iterator[None]:
        if not self._console.is_terminal or self._console.is_dumb_terminal:
            yield
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(20),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            self._task = progress.add_task(text, total=None)
            self._progress = progress
            try:
                yield
            finally:
                self._progress = None

    def _ended(self, told: Told, seen: str, begun: float, *, as_told: bool) -> None:
        row = Row(told=told, seen=seen, seconds=time.monotonic() - begun, as_told=as_told)
        self.rows.append(row)
        word = ("ok", _GOOD) if as_told else ("NOT AS TOLD", _BAD)
        self.show(Text.assemble(word, f"  {seen}  ", (f"({row.seconds:.1f} s)", _QUIET)))

    def _print(self, *renderables: RenderableType, folded: bool = True) -> None:
        if self._quiet:
            return
        for item in renderables:
            if self._console.is_terminal:
                self._console.print(item, soft_wrap=not folded)
                continue
            with self._console.capture() as captured:  # rich fills lines up with spaces, which a file need not keep
                self._console.print(item, soft_wrap=not folded)
            lines = captured.get().splitlines()
            self._console.file.write("".join(f"{line.rstrip()}\n" for line in lines))
            self._console.file.flush()


def _difference(told: Told, error: SkillwarrantError) -> tuple[str, str]:
    """What was expected and what was found instead: a step's own words, or a refusal that nobody told of."""
    if isinstance(error, OtherThanTold) and error.expected and error.found:
        return error.expected, error.found
    return told.expected, str(error)


def _table(columns: Sequence[str], rows: Iterable[Sequence[Text]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=not name)
    for row in rows:
        table.add_row(*row)
    return table


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    on_terminal = stream.isatty()
    console = Console(
        file=stream,
        force_terminal=on_terminal,  # FORCE_COLOR in a CI must not animate its log
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        highlight=False,
        markup=False,
        emoji=False,
    )
    console.width = min(console.width, _WIDTH) if on_terminal else _WIDTH
    return console
