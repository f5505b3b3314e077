"""A small real world for the gate: a tiny Llama, a LoRA for it, a Sigstore instance that signs it, a policy."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from skillwarrant_attest import Credential, SkillToml, build, measure_bases, read_adapter, sign, write_bundle
from skillwarrant_audit.recorder import Recorder
from skillwarrant_audit.verify import LogReport, verify_log
from skillwarrant_devstack import Devstack
from skillwarrant_format.errors import AuditError
from skillwarrant_format.observation import Observation
from skillwarrant_verify import Context, Gate, Policy
from skillwarrant_verify.base import measure
from skillwarrant_verify.trust import TrustRoot, from_devstack

PRODUCTION = Context(environment="production")
INPUT = torch.arange(12).reshape(1, 12)


def llama() -> LlamaForCausalLM:
    """The same tiny random model each time."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config).eval()


def save_lora(directory: Path, seed: int = 1, config: PeftConfig | None = None) -> None:
    """A LoRA, or an adapter of another method, that changes the output, as `save_pretrained` writes it."""
    config = config or LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(llama(), config)
    torch.manual_seed(seed)  # after the model, which has a seed of its own
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and "lora_A" not in name:
                parameter.normal_(std=0.3)
    model.save_pretrained(directory, save_embedding_layers=False)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return torch.Tensor(model(INPUT).logits)


@dataclass
class World:
    """Everything on disk under one directory; `adapter` is signed for production and the tiny Llama."""

    root: Path
    stack: Devstack

    @cached_property
    def base(self) -> Path:
        llama().save_pretrained(self.root / "base")
        return self.root / "base"

    @cached_property
    def adapter(self) -> Path:
        return self.signed("adapter")

    @property
    def trust(self) -> TrustRoot:
        return from_devstack(self.stack.trusted_root.parent)

    def signed(
        self,
        name: str,
        *,
        environments: str = '["production"]',
        seed: int = 1,
        alone: bool = False,
        composition: str = "",
        config: PeftConfig | None = None,
        skill: str | None = None,
        version: str = "1.0.0",
    ) -> Path:
        """A signed adapter.

        Args:
            alone: it may share its model with no other.
            composition: further lines of that section of `skill.toml`.
            config: a LoRA where none is given.
            skill: its name; `acme/` and the directory's where none is given.
        """
        directory = self.root / name
        save_lora(directory, seed, config)
        text = f"""
policy_class = "general"
[skill]
name = "{skill or f"acme/{name}"}"
version = "{version}"
description = "A test."
[publisher]
name = "Acme"
[[base]]
name = "acme/tiny"
directory = "{self.base.relative_to(self.root)}"
[deployment]
environments = {environments}
[composition]
stackable = {str(not alone).lower()}
{composition}
"""
        adapter, toml = read_adapter(directory), SkillToml.parse(text.encode(), directory=self.root)
        statement = build(adapter, toml, measure_bases(toml))
        credential = Credential.from_token(self.stack.ci_token())
        write_bundle(directory, sign(statement, credential=credential, trust_config=self.stack.trust_config))
        return directory

    def copy(self, to: Path) -> Path:
        """A copy of the signed adapter that a test may damage."""
        return Path(shutil.copytree(self.adapter, to))

    def policy(self, extra: str = "") -> Policy:
        return Policy.parse(self.policy_text(extra).encode())

    def policy_text(self, extra: str = "") -> str:
        return f"""
api_version = "skillwarrant.dev/policy/v1"
name = "test"
revision = 1
environments = ["production"]
policy_classes = ["general"]
{extra}
[[publishers]]
issuer = "{self.stack.issuer}"
identity = "{self.stack.ci_identity()}"
skills = ["acme/*"]
"""

    def gate(self, log: Path, extra: str = "", **changes: Any) -> Gate:
        given = {"policy": self.policy(extra), "trust_root": self.trust, "recorder": Recorder.open(log), **changes}
        return Gate(**given)


class Failing(Recorder):
    """The real recorder, until the phase at which the disk fails."""

    phase = ""

    @classmethod
    def at(cls, phase: str, log: Path) -> Failing:
        opened = cls.open(log)
        recorder = opened if isinstance(opened, cls) else cls(opened._log, opened._operator)
        recorder.phase = phase
        return recorder

    def record(self, observation: Any, *rest: Any) -> Any:
        if observation.phase == self.phase:
            raise AuditError("the log could not be written", found="No space left on device")
        return super().record(observation, *rest)


def untouched(model: torch.nn.Module) -> bool:
    """Whether a model is still the plain tiny Llama, in structure and in every weight."""
    plain = llama()
    return [*dict(model.named_modules())] == [*dict(plain.named_modules())] and (
        measure(model).fingerprint == measure(plain).fingerprint
    )


def report(log: Path) -> LogReport:
    """The log as an auditor sees it, with the operator's public key alone."""
    return verify_log(log / "observations.log", log / "operator.pub")


def observed(log: Path) -> list[Observation]:
    return [record.observation for record in report(log).observations]


def phases(log: Path) -> list[str]:
    return [observation.phase for observation in observed(log)]
