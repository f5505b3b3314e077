"""The skill.toml that `skillwarrant init` writes: comments, what the adapter suggests, and placeholders.

Nothing in it can be signed by accident: what only a person can say is a placeholder, which `SkillToml` refuses, and
every optional section is a comment. It knows nothing of reading it back.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from string import Template
from typing import Final

from skillwarrant_attest.adapter import Adapter
from skillwarrant_attest.files import create
from skillwarrant_attest.skill_toml import PLACEHOLDER, default_path
from skillwarrant_format.names import SKILL_NAME

__all__ = ["template", "write_template"]

_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def write_template(adapter: Adapter, path: Path | None = None) -> Path:
    """Write a template beside the adapter's directory, or to `path`.

    Returns:
        Where it was written.

    Raises:
        UsageError: there is a file already; it is never overwritten.
        Unavailable: the disk is full or refuses.
    """
    path = path or default_path(adapter.directory)
    create(path, template(adapter).encode())
    return path


def template(adapter: Adapter) -> str:
    """The text of a skill.toml for this adapter, to be edited."""
    return _TEXT.substitute(
        facts=_facts(adapter),
        name=_quoted(_name(adapter.directory) or f"{PLACEHOLDER}: organisation/skill, lower case>"),
        version=_quoted(f"{PLACEHOLDER}: SemVer, like 1.0.0>"),
        description=_quoted(f"{PLACEHOLDER}: one or two sentences>"),
        publisher=_quoted(f"{PLACEHOLDER}: the name people know you by>"),
        policy_class=_quoted(f"{PLACEHOLDER}: general, or a class that your consumers' policies name>"),
        environment=_quoted(f"{PLACEHOLDER}: development, staging, production>"),
        base=_quoted(_base(adapter) or f"{PLACEHOLDER}: the base model, like organisation/model>"),
        revision=f"revision = {_quoted(adapter.config.revision)}"
        if adapter.config.revision
        else '# revision = "…"  # commit on the Hub; a label',
    )


def _facts(adapter: Adapter) -> str:
    facts = adapter.facts
    lines = [
        f"{facts.peft_type}, {facts.parameters:,} parameters, {facts.tensors} tensors",
        f"rank {facts.rank}, alpha {facts.alpha}" if facts.rank else "",
        f"targets: {', '.join(facts.target_modules[:8])}" if facts.target_modules else "",
        "loading it CHANGES THE BASE MODEL; most policies refuse that" if facts.changes_base else "",
        f"hazards that policies refuse unless they name them: {', '.join(facts.hazards)}" if facts.hazards else "",
    ]
    return "\n".join(f"#   {line}" for line in lines if line)


def _name(directory: Path) -> str | None:
    """The directory's name as a skill name, where it makes one."""
    guess = re.sub(r"[^a-z0-9._-]+", "-", directory.resolve().name.lower()).strip("-._")
    return guess if SKILL_NAME.fullmatch(guess) else None


def _base(adapter: Adapter) -> str | None:
    """The base's name in the configuration, unless it is a path: paths of your machine are nobody's business."""
    name = adapter.config.base_model_name_or_path
    return name if name and _HUB_ID.fullmatch(name) and not Path(name).exists() else None


def _quoted(text: str) -> str:
    """A TOML basic string."""
    return json.dumps(text, ensure_ascii=False)


_TEXT: Final = Template(
    """\
# What you vouch for. `skillwarrant sign` signs it, together with what it derives from the adapter itself:
$facts
# Replace every "<fill in …>". Lines that begin with # say nothing until you take the # away.

# The class of policy that this skill is meant to run under. A consumer's policy lists the classes it accepts.
policy_class = $policy_class

[skill]
name = $name  # a guess; usually organisation/skill
version = $version
description = $description

[publisher]  # who you say you are. What is proven is the identity that signs
name = $publisher
# contact = "security@example.com"

# The base model it was trained on and is vouched for; more than one [[base]] is fine. What consumers compare is a
# fingerprint of its weights: measured from `directory` (relative to this file) or with
# `skillwarrant sign --base DIR`, or stated here as `skillwarrant fingerprint DIR` prints it.
[[base]]
name = $base
$revision
# directory = "../base-model"
# casts = ["bfloat16", "float16"]  # other dtypes it may be loaded in; a quantised base is a [[base]] of its own

[deployment]  # where you sanction its use
environments = [$environment]
# not_before = 2026-01-01T00:00:00Z
# not_after = 2027-01-01T00:00:00Z
# regions = ["eu-west-1"]                  # not given: any
# operators = ["ops@example.com"]          # not given: any
# system_prompts = ["sha256:…"]            # not given: any

# [composition]  # not given: it must not share a model with other skills
# stackable = true
# max_skills = 2
# allow_with = ["acme/*"]
# deny_with = ["acme/debug-*"]

# [[training_data]]
# name = "support-tickets-2025"
# licence = "CC-BY-4.0"
# rights = "own customers' tickets, consent on file"
# uri = "https://example.com/data"
# digest = "sha256:…"

# [requires]  # versions it was tested with (PEP 440)
# peft = ">=0.21,<0.22"

# [[evidence]]  # other attestations about it: provenance, evaluations, certifications
# name = "evaluation"
# digest = "sha256:…"
# uri = "https://example.com/evaluation.json"
# media_type = "application/json"
"""
)
