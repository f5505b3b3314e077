"""The first four steps, from the devstack to an adapted model: each function plays one and checks what it told.

Must not know: in which order they are played, and how the screen looks.
"""

from __future__ import annotations

import copy
import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skillwarrant_cli.demo import base, train
from skillwarrant_cli.demo.place import ENVIRONMENT, REPOSITORY, Place
from skillwarrant_cli.demo.release import RELEASE, Release, ci_job, sign
from skillwarrant_cli.demo.stage import Scene
from skillwarrant_cli.demo.told import expect
from skillwarrant_format.fields import format_time
from skillwarrant_format.snapshot import WEIGHTS_NAME
from skillwarrant_verify.context import Context
from skillwarrant_verify.trust import from_devstack

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from skillwarrant_cli.bundle_file import ReadBundle
    from skillwarrant_devstack import Devstack

__all__ = ["Trained", "activate", "sign_as_ci", "sign_release", "start", "train_adapter", "verify_then_load"]


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
    with _quiet_imports():
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
    adapter, found = sign_as_ci(scene, place, stack, trained, RELEASE)
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
    wanted = stack.ci_identity(repository=REPOSITORY, ref=RELEASE.ref)
    expect((signer.identity, signer.issuer) == (wanted, stack.issuer), wanted, signer.identity)
    scene.seen = f"by release.yml, entry {entry.index}"
    return adapter


def verify_then_load(scene: Scene, place: Place, trained: Trained, adapter: Path) -> None:
    """Another answer, with the adapter that the policy allows on the base that was measured."""
    scene.file(f"The consumer's {place.policy.name}:", place.policy.read_text("utf-8"))
    scene.working("verifying and loading")
    adapted = activate(place, copy.deepcopy(trained.model), adapter)
    scene.working("asking the adapted model")
    answer = train.answer(adapted, trained.tokenizer, train.QUESTION)
    before = ("before: the base model alone", trained.answer)
    scene.side_by_side(train.QUESTION, before, ("after: with the adapter", answer))
    expect(answer.startswith(train.VOICE) and answer != trained.answer, f"“{train.VOICE} …”", answer)
    scene.seen = "loaded, another answer"


def sign_as_ci(
    scene: Scene, place: Place, stack: Devstack, trained: Trained, what: Release
) -> tuple[Path, ReadBundle]:
    """Sign a copy of the adapter as the workflow that releases it; this process is that CI job meanwhile."""
    adapter = place.copy_adapter(trained.adapter, what.folder)
    skill = place.write_skill_toml(
        adapter, version=what.version, environment=what.environment, base=base.public_name()
    )
    with ci_job(stack.ci_environment(repository=REPOSITORY, ref=what.ref)):
        bundle = sign(adapter, skill, base=trained.base_dir, trust_config=stack.trust_config, working=scene.working)
    return adapter, bundle


def activate(place: Place, model: PreTrainedModel, adapter: Path) -> Any:
    """`verify_and_load`, as any consumer would call it in production."""
    from skillwarrant_verify import verify_and_load

    return verify_and_load(
        model,
        adapter,
        policy=place.policy,
        context=Context(environment=ENVIRONMENT),
        trust_root=from_devstack(place.devstack),
        log=place.log,
    )


@contextmanager
def _quiet_imports() -> Iterator[None]:
    """Without the garbage collector, which walks a growing heap again and again and finds nothing; and without the
    warnings of bitsandbytes, which PEFT imports where it is installed, about kernels that the demo does not use."""
    was_on, logger = gc.isenabled(), logging.getLogger("bitsandbytes")
    level = logger.level
    gc.disable()
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        if was_on:
            gc.enable()
