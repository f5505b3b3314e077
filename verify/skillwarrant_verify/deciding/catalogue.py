"""Every requirement's code, in the order they are checked, and what of a policy document asks for it.

The list is fixed: each is checked under every policy, and a section that is absent proves that the policy does not
ask. Codes never change meaning. What a rule does is in the modules `rules_…`; this module knows neither them nor
policies.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = ["CATALOGUE", "Known", "nearest"]


@dataclass(frozen=True, slots=True)
class Known:
    """One requirement.

    Args:
        code: stable, `base.matches`.
        asks: keys of the policy document that ask for it; none where every policy does.
        always: it can never be only a warning, see docs/reference/policy.md.
    """

    code: str
    asks: tuple[str, ...] = ()
    always: bool = False


_ALL: Final = (
    Known("signature.valid", always=True),
    Known("log.included", always=True),
    Known("files.exact", always=True),
    Known("files.safe", always=True),
    Known("publisher.trusted", ("publishers",), always=True),
    Known(
        "manifest.not-revoked",
        ("revocations.manifests", "revocations.skills", "revocations.signers"),
        always=True,
    ),
    Known("revocations.fresh", ("revocations.valid_until",)),
    Known("class.allowed", ("policy_classes",)),
    Known("manifest.age", ("max_age_days",)),
    Known("version.floor", ("versions.floors",)),
    Known("version.no-rollback", ("versions.no_rollback",)),
    Known("adapter.as-declared", always=True),
    Known("hazards.allowed", ("allow_hazards",), always=True),
    Known("adapter.method", ("limits.methods",)),
    Known("adapter.rank", ("limits.max_rank",)),
    Known("adapter.scaling", ("limits.max_alpha_over_rank",)),
    Known("adapter.parameters", ("limits.max_parameters",)),
    Known("adapter.bytes", ("limits.max_adapter_bytes",)),
    Known("data.declared", ("training_data",)),
    Known("data.licences", ("training_data.licences",)),
    Known("data.rights", ("training_data.rights",)),
    Known("evidence.present", ("evidence",)),
    Known("behaviour.certified", ("evidence",)),
    Known("release.approved", ("evidence",)),
    Known("base.matches", always=True),
    Known("base.allowed", ("bases",)),
    Known("base.quantization", ("quantizations",)),
    Known("runtime.unaltered", ("allow_alterations",)),
    Known("composition.allowed"),
    Known(
        "composition.limits",
        ("composition.max_active", "composition.allowed_pairs", "composition.conflicts"),
    ),
    Known("composition.weights", ("composition.max_weight", "composition.max_total_weight")),
    Known("operator.verified", ("operators",)),
    Known("operator.allowed"),
    Known("environment.allowed", ("environments",)),
    Known("region.allowed", ("regions",)),
    Known("prompt.allowed"),
    Known("time.window"),
    Known("policy.in-force", ("not_after", "not_before"), always=True),
    Known("requires.met"),
    Known("dependencies.met", ("dependencies",)),
)
CATALOGUE: Final[Mapping[str, Known]] = MappingProxyType({known.code: known for known in _ALL})


def nearest(name: str, known: Iterable[str]) -> str | None:
    """What to tell who misspelt a name; None where nothing is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {near[0]!r}?" if near else None
