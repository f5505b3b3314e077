"""Every method of PEFT, loaded from verified bytes, is what `PeftModel.from_pretrained` makes of the same files.

docs/reference/peft-methods.md is what is found here. After changing a case, or with another PEFT:
SKILLWARRANT_WRITE_REFERENCE=1 python -m pytest tests/verify/test_load_methods.py
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import PeftModel
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from catalogue import CASES, IDENTICAL, LOW, SECOND, Case, answers, base, write
from sameness import assert_identical, everything, picture
from skillwarrant_format.errors import SkillwarrantError
from skillwarrant_format.fingerprint import Fingerprint, of_safetensors, root
from skillwarrant_format.safetensors import Header
from skillwarrant_format.snapshot import Snapshot
from skillwarrant_verify.base import measure
from skillwarrant_verify.loader.load import Loaded, load

pytestmark = pytest.mark.filterwarnings("ignore")

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "peft-methods.md"
ROWS: dict[str, str] = {}


@dataclass(frozen=True)
class Files:
    """Two adapters of a case."""

    first: Path
    second: Path

    @property
    def signed(self) -> Fingerprint:
        data = Snapshot.read(self.first).weights.data
        return root(of_safetensors(Header.parse(data), data))


@dataclass
class Outcome:
    """What became of one way of loading: the model, or why not; the other side is PEFT's own."""

    case: Case
    column: str
    refused: Exception | None
    theirs: Exception | None

    def cell(self) -> str:
        """Yes, or the reason, which must be in the case, and there only where it is needed."""
        why = self.case.why.get(self.column)
        if self.refused is None:
            assert why is None, f"{self.case.name}: {self.column} is possible now"
            return "yes"
        assert isinstance(self.refused, SkillwarrantError), self.refused
        assert why is not None, f"{self.case.name}: {self.column}: {self.refused}"
        assert self.theirs is not None or not why.startswith("PEFT cannot"), self.refused
        return why


def from_pretrained(case: Case, files: Files, **keywords: Any) -> PeftModel | Exception:
    try:
        model = base(case)
        torch.manual_seed(5)
        return PeftModel.from_pretrained(model, str(files.first), **keywords)
    except Exception as error:  # noqa: BLE001  # whatever PEFT says is the answer
        return error


def ours(case: Case, files: Files, **keywords: Any) -> tuple[Any, dict[str, Any], Loaded | SkillwarrantError]:
    """Load it: the base, what it was before, and what came of it. The random numbers go on as if nothing had been
    loaded, and after a refusal the base is as it was."""
    model = base(case)
    was = picture(model)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    found: Loaded | SkillwarrantError
    try:
        found = load(model, Snapshot.read(files.first), signed=files.signed, **keywords)
    except SkillwarrantError as error:
        found = error
        assert picture(model) == was
    assert torch.equal(torch.get_rng_state(), before)
    return model, was, found


def second(case: Case, files: Files, model: PeftModel, theirs: PeftModel) -> Outcome:
    """A further adapter of the same method, beside the first one, and undone again."""
    said = answers(model, case)
    assert not torch.equal(said, answers(base(case), case))
    assert torch.equal(answers(theirs, case), said)  # asked of both: OFT's coft writes its weights when it answers
    before = everything(model)
    failed = refused = None
    try:
        torch.manual_seed(6)
        theirs.load_adapter(str(files.second), "other")
    except Exception as error:  # noqa: BLE001  # whatever PEFT says is the answer
        failed = error
    try:
        torch.manual_seed(6)
        further = load(model, Snapshot.read(files.second), adapter_name="other")
    except SkillwarrantError as error:
        refused = error
    else:
        assert failed is None, failed
        assert further.model is model
        assert_identical(model, theirs, case)
        for one in (model, theirs):
            one.set_adapter("other")
        assert_identical(model, theirs, case)
        assert not torch.equal(answers(model, case), said)
        model.set_adapter("default")
        further.undo()
    after = everything(model)
    assert after.keys() == before.keys()
    assert all(after[key] is before[key] for key in before)
    assert list(model.peft_config) == ["default"]
    assert torch.equal(answers(model, case), said)
    return Outcome(case, SECOND, refused, failed)


def low(case: Case, files: Files) -> tuple[Outcome, Loaded | None]:
    """With `low_cpu_mem_usage`."""
    theirs = from_pretrained(case, files, low_cpu_mem_usage=True)
    _, _, found = ours(case, files, low_cpu_mem_usage=True)
    if isinstance(found, SkillwarrantError):
        return Outcome(case, LOW, found, theirs if isinstance(theirs, Exception) else None), None
    assert isinstance(theirs, PeftModel), theirs
    assert_identical(found.model, theirs, case)
    return Outcome(case, LOW, None, None), found


def unloaded(case: Case, loaded: Loaded, plain: Any) -> str:
    """What PEFT's own `unload` leaves."""
    model = loaded.model
    if model.peft_config["default"].is_prompt_learning or not hasattr(model.base_model, "unload"):
        return "PEFT has none"
    if case.base == "Llama, int8" and case.method == "IA3":
        with pytest.raises(ValueError, match="8-bit"):
            model.unload()
        return "PEFT cannot in 8 bits"
    left, before = picture(model.unload(), identities=False), picture(plain, identities=False)
    if all(left[what] == before[what] for what in ("tensors", "modules", "hooks")):
        return "yes"
    if loaded.changed_base:
        return "what it changed"
    assert getattr(model.peft_config["default"], "modules_to_save", None), "what is left is not explained"
    return "the saved modules"


def row(case: Case, tmp_path: Path) -> str:
    files = Files(write(case, tmp_path / "one", 7), write(case, tmp_path / "two", 70))
    theirs = from_pretrained(case, files)
    model, was, found = ours(case, files)
    if isinstance(found, SkillwarrantError):
        alone = Outcome(case, IDENTICAL, found, theirs if isinstance(theirs, Exception) else None)
        return f"| {case.name} | {case.base} | {alone.cell()} |  |  |  |  |  |"
    assert isinstance(theirs, PeftModel), theirs
    assert found.seal.check(found.model) is None
    assert_identical(found.model, theirs, case)
    plain = base(case)
    measured, said, after = measure(plain), answers(plain, case), measure(found.model)
    assert found.changed_base or (after.fingerprint, after.buffers) == (measured.fingerprint, measured.buffers)
    assert found.changed_base <= found.config.changes_base
    beside = second(case, files, found.model, theirs)
    found.undo()
    assert picture(model) == was
    assert torch.equal(answers(model, case), said)
    sparing, spared = low(case, files)
    if spared is None:
        _, _, again = ours(case, files)
        assert isinstance(again, Loaded)
        spared = again
    cells = [beside.cell(), sparing.cell(), "yes", unloaded(case, spared, base(case))]
    hazards = [*found.config.hazards, *(["changes-base"] if found.config.changes_base else [])]
    hazards += ["and forward-hook in `allow_alterations`"] if case.method == "SHADOW" else []
    return f"| {case.name} | {case.base} | yes | {' | '.join(cells)} | {', '.join(hazards)} |"


@pytest.fixture(scope="module", autouse=True)
def _written() -> Iterator[None]:
    yield
    if os.environ.get("SKILLWARRANT_WRITE_REFERENCE") and len(ROWS) == len(CASES):
        PAGE.write_text(page([ROWS[case.name] for case in CASES]), encoding="utf-8")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_method_is_loaded_as_from_pretrained_loads_it(tmp_path: Path, case: Case) -> None:
    ROWS[case.name] = row(case, tmp_path)
    if not os.environ.get("SKILLWARRANT_WRITE_REFERENCE"):
        assert ROWS[case.name] in PAGE.read_text(encoding="utf-8").splitlines()


def test_the_page_tells_of_every_case_and_nothing_else() -> None:
    if os.environ.get("SKILLWARRANT_WRITE_REFERENCE"):
        return  # it is written when all cases are through
    found = PAGE.read_text(encoding="utf-8")
    rows = found.removeprefix(page([]).rstrip("\n")).strip("\n").splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in rows] == [case.name for case in CASES]
    assert found == page(rows)


def test_every_method_of_this_peft_has_a_case() -> None:
    """A method that PEFT adds must be looked at before it is loaded."""
    methods = {case.edits.get("peft_type", case.method) for case in CASES}
    assert methods == {kind.value for kind in PEFT_TYPE_TO_CONFIG_MAPPING}


def page(rows: list[str]) -> str:
    version = ".".join(peft.__version__.split(".")[:2])
    return INTRODUCTION.format(version=version, methods=len(PEFT_TYPE_TO_CONFIG_MAPPING)) + "\n".join(rows) + "\n"


INTRODUCTION = """\
# PEFT's methods

<!-- Written by tests/verify/test_load_methods.py from what it finds. -->

Each of the {methods} methods of PEFT {version}, with the main options of LoRA, loaded from verified bytes in memory
and compared with what `PeftModel.from_pretrained` makes of the same files: every tensor of the model bit by bit, in
its state or not, what is trainable, the configuration, and the answers. The models are tiny and random, the weights
float32 on a CPU. Another test compares the same on a bfloat16 base, to be trained further.

| column | says |
|---|---|
| method | PEFT's `peft_type`, and what is set |
| base | the model it was tried on |
| identical | the same as `from_pretrained`; the weights on the model are the signed ones; the base is as it was, \
unless the last column says `changes-base` |
| second adapter | the same as PEFT's `load_adapter`, beside an adapter of that method, which is as it was |
| `low_cpu_mem_usage` | identical with that keyword, too |
| undo | after `Loaded.undo()`, the model is what it was, to the bit; as it is after every refusal |
| `unload()` | whether PEFT's own `unload()` leaves the base as it was, or what it leaves behind |
| policy must allow | hazards that its configuration has, which a policy has to name in `allow_hazards` |

Where it says *refused*, PEFT would load something else than what was signed; where it says *PEFT cannot*,
`from_pretrained` fails, too.

What is different from `from_pretrained` on purpose:

- No random number is drawn from the caller's generator.
- Weights of the base that a file repeats (targeted embeddings) are compared with the base's, and never written.
- A frozen adapter is frozen: on a base in half precision, PEFT's cast makes some of its parameters trainable.

What to know besides:

- `modules_to_save` are whole modules in place of those of the base.
- Prompts cannot be trained further once they are saved: `is_trainable` is refused for them.
- A method that `changes-base` is loaded where the policy allows it. To be able to take it back, all of the base is
  copied while loading, and what was overwritten is kept as long as the adapter can be undone.
- Some methods compute tensors that are in no file, from the base or a seed: VeRA's projections where they are not
  saved, OSF's and PSOFT's decompositions. They are the adapter's, and its seal covers them.
- OFT with `coft` writes to its weights whenever it answers. Its seal is broken by its first answer.
- SHADOW puts hooks on its base: through the gate, a policy has to say `allow_alterations = ["forward-hook"]`
  ([policy.md](policy.md)). That allows every forward hook, also one that somebody else hangs there; without it, the
  activation fails and names the hooks.
- An adapter whose task needs a head (`SEQ_CLS`, `TOKEN_CLS`, `QUESTION_ANS`) is refused on a model of transformers
  that has none: neither does its class's name say so, nor has it a module that PEFT takes for one (`classifier`,
  `score`, `qa_outputs`), nor one that `modules_to_save` names. PEFT would attach the layers, leave the head out,
  and answer another task. A head that is on the model must be in the file, and a head in the file on the model.
- A configuration may not ask for more than its file shows: a rank, a number of virtual tokens or of vectors that is
  beyond the shapes of the tensors is refused before PEFT allocates it (a rank of up to 64 need not show).
- What was made with an older transformers, for layers that have other names now, is refused: PEFT would rename and
  fuse its weights, and they would not be the signed ones any more. Load it once and save it again.

| method | base | identical | second adapter | `low_cpu_mem_usage` | undo | `unload()` | policy must allow |
|---|---|---|---|---|---|---|---|
"""
