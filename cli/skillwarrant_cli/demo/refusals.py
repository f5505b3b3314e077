"""The three refusals that the product exists for, each by the call that loaded the release, each for one reason.

Must not know: in which order they are played.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skillwarrant_cli.demo import base
from skillwarrant_cli.demo.place import Place
from skillwarrant_cli.demo.release import DEVELOPMENT
from skillwarrant_cli.demo.stage import Scene
from skillwarrant_cli.demo.steps import Trained, activate, sign_as_ci
from skillwarrant_cli.demo.told import expect, refusal
from skillwarrant_format.errors import DigestMismatch, PolicyDenied, SkillwarrantError
from skillwarrant_format.snapshot import WEIGHTS_NAME

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from skillwarrant_devstack import Devstack

__all__ = ["refuse_another_base", "refuse_development", "refuse_substituted"]


def refuse_another_base(scene: Scene, place: Place, trained: Trained, adapter: Path) -> None:
    """The release on a model of the same name and shape, one training step away."""
    scene.working("training the base model for one step")
    other = base.finetuned_one_step(trained.model)
    changed = sum(
        not bool((ours == theirs).all())
        for ours, theirs in zip(trained.model.parameters(), other.parameters(), strict=True)
    )
    expect(changed > 0, "another base model", "a training step that changed nothing")
    scene.facts(("changed", f"{changed} of {len(list(other.parameters()))} tensors; name and shapes are the same"))
    _refused(scene, PolicyDenied, "base.matches", other, lambda: activate(place, other, adapter))


def refuse_substituted(scene: Scene, place: Place, trained: Trained, adapter: Path) -> Path:
    """The release, after somebody changed one byte of its weights. Returns the substituted adapter."""
    substituted, offset = place.substitute(adapter)
    scene.facts(("changed", f"byte {offset:,} of {WEIGHTS_NAME}; bundle and other files are the publisher's"))
    model = trained.model
    _refused(scene, DigestMismatch, "files.digest", model, lambda: activate(place, model, substituted))
    return substituted


def refuse_development(scene: Scene, place: Place, stack: Devstack, trained: Trained) -> None:
    """The same files, signed by the same workflow for another environment."""
    adapter, found = sign_as_ci(scene, place, stack, trained, DEVELOPMENT)
    scene.facts(
        ("signed by", found.signer.identity), ("sanctioned", ", ".join(found.manifest.deployment.environments))
    )
    model = trained.model
    _refused(scene, PolicyDenied, "environment.allowed", model, lambda: activate(place, model, adapter))


def _refused(
    scene: Scene, kind: type[SkillwarrantError], code: str, model: PreTrainedModel, attempt: Callable[[], Any]
) -> None:
    """The refusal that was told, with its reason, and the model as it was."""
    scene.working("verifying")
    before = [name for name, _ in model.named_modules()]
    error = refusal(kind, code, attempt)
    scene.message(f"{kind.__name__}: {error.message}", *_details(error))
    after = [name for name, _ in model.named_modules()]
    expect(after == before, "a model without the adapter", f"{len(after) - len(before)} modules more")
    scene.seen = f"refused: {code}"


def _details(error: SkillwarrantError) -> Iterator[tuple[str, str]]:
    if isinstance(error, PolicyDenied):
        yield from (("because", reason) for reason in error.reasons)
        return
    details = (("expected", error.expected), ("found", error.found), ("fix", error.fix))
    yield from ((name, value) for name, value in details if value)
