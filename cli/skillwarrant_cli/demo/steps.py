"""What the demo does in each step: each function plays one, shows it, and checks what it told.

Must not know: in which order they are played, and how the screen looks.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from skillwarrant_audit.recorder import LOG_NAME, OPERATOR_PUBLIC_NAME
from skillwarrant_audit.verify import verify_log
from skillwarrant_cli.demo import base, train
from skillwarrant_cli.demo.place import ENVIRONMENT, REPOSITORY, Place
from skillwarrant_cli.demo.release import ci_job, release
from skillwarrant_cli.demo.stage import Scene
from skillwarrant_cli.demo.told import OtherThanTold, expect, refusal
from skillwarrant_format.errors import AuditError, DigestMismatch, PolicyDenied, SkillwarrantError
from skillwarrant_format.fields import format_time
from skillwarrant_format.snapshot import WEIGHTS_NAME
from skillwarrant_verify.context import Context
from skillwarrant_verify.trust import from_devstack

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from skillwarrant_audit.verify import LogReport, VerifiedObservation
    from skillwarrant_cli.bundle_file import ReadBundle
    from skillwarrant_devstack import Devstack
    from skillwarrant_format.observation import Observation

__all__ = [
    "Trained",
    "read_record",
    "refuse_another_base",
    "refuse_development",
    "refuse_substituted",
    "sign_release",
    "start",
    "train_adapter",
    "verify_then_load",
]

_RELEASE: Final = "refs/tags/v1.0.0"
_DEVELOPMENT: Final = "refs/tags/v1.1.0-dev"
_COLUMNS: Final = ("seq", "phase", "outcome", "reason", "skill")
_TOLD: Final = [
    ("intent", ()),
    ("activated", ()),
    ("refused", ("base.matches",)),
    ("refused", ("files.digest",)),
    ("refused", ("environment.allowed",)),
]
"""Phase and reasons of every observation that the steps before leave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A base model in memory, an adapter for it on disk, and what the base answers alone."""

    base_dir: Path
    adapter: Path
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    answer: str


def start(scene: Scene, stack: Devstack) -> None:
    """The instance serves, and what it publishes is a usable trust root."""
    root = from_devstack(stack.directory)
    scene.facts(
        ("serving", stack.url),
        ("that is", "OIDC provider, Fulcio with a CT key, Rekor v1 and v2, timestamp authority"),
        ("trusted root", f"{stack.trusted_root.name} ({root.digest.short}…)"),
    )
    expect(stack.url.startswith("http://127.0.0.1:"), "a server on loopback", stack.url)
    scene.seen = f"at {stack.url.removeprefix('http://')}"


def train_adapter(scene: Scene, cache: Path) -> Trained:
    """A base that answers in its own words, and an adapter that is only what PEFT writes."""
    base_dir = base.ensure_base(cache, scene.working)
    scene.working("importing torch, transformers and PEFT")
    with _quick_imports():
        import peft  # noqa: F401
        import torch  # noqa: F401
        import transformers  # noqa: F401
    adapter = train.ensure_adapter(base_dir, cache, scene.working)
    scene.working("loading the base model")
    model, tokenizer = base.load_base(base_dir)
    scene.working("asking the base model")
    answer = train.answer(model, tokenizer, train.QUESTION)
    weights = (adapter / WEIGHTS_NAME).stat().st_size
    scene.facts(
        ("base", f"{base.public_name()}, {sum(item.numel() for item in model.parameters()):,} parameters"),
        ("adapter", f"{adapter.name}, LoRA of rank {train.RECIPE.rank}, {weights:,} bytes"),
        ("learned from", f"{len(train.RECIPE.lessons)} sentences; the question below is none of them"),
        ("kept in", str(cache)),
    )
    expect(bool(answer) and train.VOICE not in answer, "an answer in the base's own words", answer)
    scene.seen = "the base in its own words"
    return Trained(base_dir=base_dir, adapter=adapter, model=model, tokenizer=tokenizer, answer=answer)


def sign_release(scene: Scene, place: Place, stack: Devstack, trained: Trained) -> Path:
    """The adapter beside its bundle, signed by the workflow that was meant, for the base of its training."""
    adapter = place.copy_adapter(trained.adapter, "release")
    found = _sign(scene, place, stack, trained, adapter, version="1.0.0", environment=ENVIRONMENT, ref=_RELEASE)
    signer, entry, certificate = found.signer, found.bundle.entry, found.certificate
    begin, end = (format_time(at) for at in (certificate.not_valid_before_utc, certificate.not_valid_after_utc))
    (vouched,) = found.manifest.base_models
    scene.facts(
        ("signed by", signer.identity),
        ("issuer", signer.issuer),
        ("certificate", f"from {begin} until {end}; its key was never stored"),
        ("log entry", f"{entry.index} of {entry.origin}"),
        ("for base", f"{vouched.name}, measured: {vouched.fingerprint.digest.short}…"),
        ("bundle", str(adapter.relative_to(place.directory) / "skillwarrant.sigstore.json")),
    )
    wanted = stack.ci_identity(repository=REPOSITORY, ref=_RELEASE)
    expect((signer.identity, signer.issuer) == (wanted, stack.issuer), wanted, signer.identity)
    scene.seen = f"by release.yml, entry {entry.index}"
    return adapter


def verify_then_load(scene: Scene, place: Place, trained: Trained, adapter: Path) -> None:
    """Another answer, with the adapter that the policy allows on the base that was measured."""
    scene.file(f"The consumer's {place.policy.name}:", place.policy.read_text("utf-8"))
    scene.working("verifying and loading")
    adapted = _verify_and_load(place, copy.deepcopy(trained.model), adapter)
    scene.working("asking the adapted model")
    answer = train.answer(adapted, trained.tokenizer, train.QUESTION)
    before = ("before: the base model alone", trained.answer)
    scene.side_by_side(train.QUESTION, before, ("after: with the adapter", answer))
    expect(answer.startswith(train.VOICE) and answer != trained.answer, f"“{train.VOICE} …”", answer)
    scene.seen = "loaded, another answer"


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
    _refused(scene, PolicyDenied, "base.matches", other, lambda: _verify_and_load(place, other, adapter))


def refuse_substituted(scene: Scene, place: Place, trained: Trained, adapter: Path) -> Path:
    """The release, after somebody changed one byte of its weights. Returns the substituted adapter."""
    substituted, offset = place.substitute(adapter)
    scene.facts(("changed", f"byte {offset:,} of {WEIGHTS_NAME}; bundle and other files are the publisher's"))
    model = trained.model
    _refused(scene, DigestMismatch, "files.digest", model, lambda: _verify_and_load(place, model, substituted))
    return substituted


def refuse_development(scene: Scene, place: Place, stack: Devstack, trained: Trained) -> None:
    """The same files, signed by the same workflow for another environment."""
    adapter = place.copy_adapter(trained.adapter, "development")
    found = _sign(
        scene,
        place,
        stack,
        trained,
        adapter,
        version="1.1.0-dev",
        environment="development",
        ref=_DEVELOPMENT,
    )
    scene.facts(
        ("signed by", found.signer.identity), ("sanctioned", ", ".join(found.manifest.deployment.environments))
    )
    model = trained.model
    _refused(scene, PolicyDenied, "environment.allowed", model, lambda: _verify_and_load(place, model, adapter))


def read_record(scene: Scene, place: Place) -> list[dict[str, str]]:
    """Every decision of this demo, signed, in its order and with its reason; a row for each."""
    report = _verified(place)
    rows = [_row(record) for record in report.observations]
    scene.table(_COLUMNS, ([row[name] for name in _COLUMNS] for row in rows))
    kinds = f"{len(report.delegations)} delegation, {len(rows)} observations"
    scene.facts(
        ("verified", f"{report.head.seq + 1} records in one chain: {kinds}"),
        (
            "signed by",
            f"this process's key, which the operator's delegated ({place.log.name}/{OPERATOR_PUBLIC_NAME})",
        ),
        ("log", f"{place.log.name}/{LOG_NAME}"),
    )
    found = [(record.observation.phase, _reasons(record.observation)) for record in report.observations]
    expect(found == _TOLD, _listed(_TOLD), _listed(found))
    expect(not report.findings, "nothing to look at", "; ".join(finding.message for finding in report.findings))
    scene.seen = f"{len(rows)} observations, all verify"
    return rows


def _verified(place: Place) -> LogReport:
    """Here a log that does not verify is no mishap: it is not what was told."""
    try:
        return verify_log(place.log / LOG_NAME, place.log / OPERATOR_PUBLIC_NAME)
    except AuditError as error:
        raise OtherThanTold("the log does not verify", expected="a log that verifies", found=str(error)) from error


def _row(record: VerifiedObservation) -> dict[str, str]:
    observation = record.observation
    proved = sum(check.outcome == "proved" for check in observation.checks)
    skills = ", ".join(f"{skill.name} {skill.version}" for skill in observation.skills)
    return {
        "seq": str(record.position.seq),
        "phase": observation.phase,
        "outcome": f"{proved}/{len(observation.checks)} proved",
        "reason": ", ".join(_reasons(observation)),
        "skill": skills or "none verified",
    }


def _reasons(observation: Observation) -> tuple[str, ...]:
    return tuple(check.code for check in observation.checks if check.outcome != "proved")


def _listed(entries: Iterable[tuple[str, tuple[str, ...]]]) -> str:
    return ", ".join(" ".join((phase, *reasons)) for phase, reasons in entries) or "nothing"


def _sign(
    scene: Scene,
    place: Place,
    stack: Devstack,
    trained: Trained,
    adapter: Path,
    *,
    version: str,
    environment: str,
    ref: str,
) -> ReadBundle:
    skill = place.write_skill_toml(adapter, version=version, environment=environment, base=base.public_name())
    with ci_job(stack.ci_environment(repository=REPOSITORY, ref=ref)):
        return release(
            adapter, skill, base=trained.base_dir, trust_config=stack.trust_config, working=scene.working
        )


def _verify_and_load(place: Place, model: PreTrainedModel, adapter: Path) -> Any:
    """As any consumer would call it."""
    from skillwarrant_verify import verify_and_load

    return verify_and_load(
        model,
        adapter,
        policy=place.policy,
        context=Context(environment=ENVIRONMENT),
        trust_root=from_devstack(place.devstack),
        log=place.log,
    )


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


@contextmanager
def _quick_imports() -> Iterator[None]:
    """Without the garbage collector, which walks a growing heap again and again and finds nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
