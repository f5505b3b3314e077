"""The native policy rules: each requirement is a code that must be proved.

Deny is the absence of proof: a rule that returns nothing, or meets a missing input, proves nothing. The list of
requirements is fixed here and a policy cannot shorten it; a policy can only say what each is compared with.
Pure: no clock, no file, no network. Time is an input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_format.digest import Digest
from skillwarrant_format.fields import format_time
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.manifest import BaseModel
from skillwarrant_format.names import matches
from skillwarrant_format.strict_json import JsonObject, JsonValue, canonical
from skillwarrant_verify.composition import Companion, objection
from skillwarrant_verify.context import Context
from skillwarrant_verify.decision import Decision, Finding
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.requires import unmet_ranges
from skillwarrant_verify.signature import Verified

__all__ = ["Facts", "decide", "requirements"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything a decision is made from.

    Args:
        verified: the manifest and signer; that it exists means signature, log and files were checked.
        config: what the adapter's own configuration says, read from the verified bytes: never the manifest's word.
        base: what the base model measures; None where there is no base to measure.
        companions: the adapters that are on the model already.
        context: where it is to be used.
        now: the host's time, UTC.
        versions: installed package -> version, for the manifest's `requires`; None where unknown.
    """

    verified: Verified
    config: AdapterConfig
    base: Fingerprint | None
    companions: tuple[Companion, ...]
    context: Context
    now: datetime
    versions: Mapping[str, str] | None

    def digest(self) -> Digest:
        """SHA-256 of the canonical JSON of the inputs, so that a decision can be replayed."""
        versions: JsonValue = None if self.versions is None else dict(self.versions)
        inputs: JsonObject = {
            "manifest": self.verified.bundle.hex,
            "statement": Digest.of(self.verified.statement.raw).hex,
            "signer": {"identity": self.verified.signer.identity, "issuer": self.verified.signer.issuer},
            "signedAt": format_time(self.verified.signed_at),
            "log": self.verified.log.to_json(),
            "base": None if self.base is None else str(self.base),
            "companions": [self._companion(companion) for companion in self.companions],
            "context": self.context.record(""),
            "now": format_time(self.now),
            "versions": versions,
        }
        return Digest.of(canonical(inputs))

    @staticmethod
    def _companion(companion: Companion) -> JsonObject:
        manifest = companion.manifest
        return {
            "adapterName": companion.adapter_name,
            "manifest": None if manifest is None else Digest.of(canonical(manifest.to_json())).hex,
        }

    def authorised_base(self) -> BaseModel | None:
        """The manifest's entry for the measured base, if there is one."""
        for base in self.verified.manifest.base_models:
            if base.fingerprint == self.base:
                return base
        return None


Rule = Callable[[Policy, Facts], "Finding | None"]
_RULES: Final[dict[str, Rule]] = {}


def proves(code: str) -> Callable[[Rule], Rule]:
    """Register the rule that proves `code`."""

    def register(rule: Rule) -> Rule:
        if code in _RULES:
            raise ValueError(f"two rules for {code}")
        _RULES[code] = rule
        return rule

    return register


def requirements() -> tuple[str, ...]:
    """Every code that must be proved, in the order they are checked."""
    return tuple(_RULES)


def decide(policy: Policy, facts: Facts) -> Decision:
    """Check every requirement; nothing stops at the first failure, so that one answer names all reasons.

    Returns:
        A decision; call `require()` on it.
    """
    checked = tuple(_run(code, rule, policy, facts) for code, rule in _RULES.items())
    outcomes = {finding.outcome for finding in checked}
    unsure: Literal["undecided", "allow"] = "undecided" if "not-checked" in outcomes else "allow"
    return Decision(
        outcome="deny" if "not-proved" in outcomes else unsure,
        checked=checked,
        policy=policy.used(),
        inputs=facts.digest(),
        facts=facts,
    )


def _run(code: str, rule: Rule, policy: Policy, facts: Facts) -> Finding:
    finding = rule(policy, facts)
    if finding is None or finding.code != code:
        return Finding(code=code, outcome="not-proved", message="the rule proved nothing", path=code)
    return finding


def _yes(code: str, message: str, path: str) -> Finding:
    return Finding(code=code, outcome="proved", message=message, path=path)


def _no(code: str, message: str, path: str, *, expected: str, found: str, fix: str | None = None) -> Finding:
    return Finding(
        code=code, outcome="not-proved", message=message, path=path, expected=expected, found=found, fix=fix
    )


def _any(names: tuple[str, ...]) -> str:
    return " or ".join(names)


@proves("signature.valid")
def _signature(_: Policy, facts: Facts) -> Finding:
    signed = format_time(facts.verified.signed_at)
    return _yes("signature.valid", f"signed by {facts.verified.signer.identity} at {signed}", "manifest.signature")


@proves("log.included")
def _logged(_: Policy, facts: Facts) -> Finding:
    log = facts.verified.log
    return _yes("log.included", f"entry {log.index} of {log.origin}", "manifest.log")


@proves("files.exact")
def _files(_: Policy, facts: Facts) -> Finding:
    count = len(facts.verified.statement.subjects)
    return _yes(
        "files.exact", f"all {count} files are the signed bytes, and no other file is there", "adapter.files"
    )


@proves("publisher.trusted")
def _publisher(policy: Policy, facts: Facts) -> Finding:
    code, path = "publisher.trusted", "manifest.signer"
    signer, skill = facts.verified.signer, facts.verified.manifest.skill.name
    known = [rule for rule in policy.publishers if rule.signer.matches(signer)]
    if not known:
        return _no(
            code,
            "the signer is no trusted publisher",
            path,
            expected=_any(tuple(str(rule.signer) for rule in policy.publishers)),
            found=f"{signer.identity} ({signer.issuer})",
            fix="If you trust this signer, add it to the policy's publishers.",
        )
    covering = [rule for rule in known if any(matches(pattern, skill) for pattern in rule.skills)]
    if not covering:
        return _no(
            code,
            "the publisher may not vouch for this skill",
            "manifest.skill.name",
            expected=_any(tuple(pattern for rule in known for pattern in rule.skills)),
            found=skill,
        )
    base = facts.authorised_base()
    if base is not None and not any(_may_name(rule.base_models, base.name) for rule in covering):
        return _no(
            code,
            "the publisher may not vouch for this base model",
            "manifest.baseModels",
            expected=_any(tuple(pattern for rule in covering for pattern in rule.base_models)),
            found=base.name,
        )
    return _yes(code, f"{signer.identity} may vouch for {skill}", path)


def _may_name(patterns: tuple[str, ...], name: str) -> bool:
    return not patterns or any(matches(pattern, name) for pattern in patterns)


@proves("base.matches")
def _base_matches(_: Policy, facts: Facts) -> Finding:
    code, path = "base.matches", "base.fingerprint"
    bases = facts.verified.manifest.base_models
    if facts.base is None:
        return Finding(
            code=code,
            outcome="not-checked",
            message="no base model was measured",
            path=path,
            fix="Give the base model, its directory or its fingerprint.",
        )
    base = facts.authorised_base()
    if base is None:
        return _no(
            code,
            "the base model is not one the publisher vouches for",
            path,
            expected=_any(tuple(f"{base.name} ({base.fingerprint.digest.short}…)" for base in bases)),
            found=f"a model that measures {facts.base.digest.short}…",
            fix="Load the base model that the manifest names, or ask the publisher to vouch for yours.",
        )
    return _yes(code, f"the base model measures as {base.name}", path)


@proves("base.allowed")
def _base_allowed(policy: Policy, facts: Facts) -> Finding:
    code, path = "base.allowed", "base.fingerprint"
    if not policy.bases:
        return _yes(code, "the policy leaves the base model to the publisher", path)
    if facts.base is None:
        return Finding(code=code, outcome="not-checked", message="no base model was measured", path=path)
    for allowed in policy.bases:
        if allowed.fingerprint == facts.base:
            return _yes(code, f"the policy allows {allowed.name}", path)
    return _no(
        code,
        "the policy does not allow this base model",
        path,
        expected=_any(tuple(f"{item.name} ({item.fingerprint.digest.short}…)" for item in policy.bases)),
        found=f"{facts.base.digest.short}…",
    )


@proves("environment.allowed")
def _environment(policy: Policy, facts: Facts) -> Finding:
    code, path, found = "environment.allowed", "context.environment", facts.context.environment
    sanctioned = facts.verified.manifest.deployment.environments
    if found not in policy.environments:
        return _no(code, "this policy does not govern here", path, expected=_any(policy.environments), found=found)
    if found not in sanctioned:
        return _no(
            code,
            "the publisher does not sanction this environment",
            path,
            expected=_any(sanctioned),
            found=found,
            fix="Use an adapter that was released for this environment.",
        )
    return _yes(code, f"{found} is allowed by policy and publisher", path)


def _listed(code: str, path: str, what: str, allowed: tuple[str, ...], found: str | None) -> Finding:
    """A constraint that the publisher may set: where it is set, the context has to meet it."""
    if not allowed:
        return _yes(code, f"the publisher sets no {what}", path)
    if found in allowed:
        return _yes(code, f"the publisher sanctions this {what}", path)
    message = f"the publisher does not sanction this {what}"
    return _no(code, message, path, expected=_any(allowed), found=found or "nothing")


@proves("region.allowed")
def _region(_: Policy, facts: Facts) -> Finding:
    regions = facts.verified.manifest.deployment.regions
    return _listed("region.allowed", "context.region", "region", regions, facts.context.region)


@proves("operator.allowed")
def _operator(_: Policy, facts: Facts) -> Finding:
    operators = facts.verified.manifest.deployment.operators
    return _listed("operator.allowed", "context.operator", "operator", operators, facts.context.operator)


@proves("prompt.allowed")
def _prompt(_: Policy, facts: Facts) -> Finding:
    prompts = tuple(str(digest) for digest in facts.verified.manifest.deployment.system_prompts)
    digest = facts.context.prompt_digest
    found = None if digest is None else str(digest)
    return _listed("prompt.allowed", "context.system_prompt", "system prompt", prompts, found)


@proves("class.allowed")
def _policy_class(policy: Policy, facts: Facts) -> Finding:
    code, path, found = "class.allowed", "manifest.policyClass", facts.verified.manifest.policy_class
    if found not in policy.policy_classes:
        expected = _any(policy.policy_classes)
        return _no(code, "the skill is made for another class of policy", path, expected=expected, found=found)
    return _yes(code, f"policy class {found} is allowed", path)


@proves("time.window")
def _window(_: Policy, facts: Facts) -> Finding:
    deployment = facts.verified.manifest.deployment
    message = "the manifest's time window does not cover now"
    window = (deployment.not_before, deployment.not_after)
    return _within("time.window", "manifest.deployment", message, window, facts.now)


@proves("policy.in-force")
def _in_force(policy: Policy, facts: Facts) -> Finding:
    message = "the policy itself is not in force now"
    return _within("policy.in-force", "policy", message, (policy.not_before, policy.not_after), facts.now)


def _within(
    code: str, path: str, message: str, window: tuple[datetime | None, datetime | None], now: datetime
) -> Finding:
    before, after = window
    start = format_time(before) if before else "any time"
    end = format_time(after) if after else "any time"
    if (before and now < before) or (after and now >= after):
        return _no(code, message, path, expected=f"from {start} until {end}", found=format_time(now))
    return _yes(code, f"in force from {start} until {end}", path)


@proves("manifest.age")
def _age(policy: Policy, facts: Facts) -> Finding:
    code, path = "manifest.age", "manifest.signedAt"
    age = facts.now - facts.verified.signed_at
    if age < -_CLOCK_SKEW:
        return _no(
            code,
            "the manifest is signed in the future",
            path,
            expected=f"at most {format_time(facts.now)}",
            found=format_time(facts.verified.signed_at),
            fix="Check this machine's clock.",
        )
    if policy.max_age_days is not None and age > timedelta(days=policy.max_age_days):
        return _no(
            code,
            "the manifest is too old for this policy",
            path,
            expected=f"signed within {policy.max_age_days} days",
            found=f"{age.days} days",
            fix="Ask the publisher for a fresh release.",
        )
    return _yes(code, f"signed {max(age.days, 0)} days ago", path)


_CLOCK_SKEW: Final = timedelta(minutes=5)


@proves("adapter.as-declared")
def _as_declared(_: Policy, facts: Facts) -> Finding:
    code, path = "adapter.as-declared", "manifest.adapter"
    adapter, config = facts.verified.manifest.adapter, facts.config
    declared = (adapter.peft_type, adapter.changes_base, frozenset(adapter.hazards))
    found = (config.peft_type, config.changes_base, frozenset(config.hazards))
    if declared != found:
        return _no(
            code,
            "the manifest does not say what the adapter's configuration does",
            path,
            expected=_described(*found),
            found=_described(*declared),
            fix="Ask the publisher for a manifest made by `skillwarrant sign`.",
        )
    return _yes(code, f"declared and found: {_described(*found)}", path)


def _described(peft_type: str, changes_base: bool, hazards: frozenset[str]) -> str:
    named = sorted(hazards | ({"changes-base"} if changes_base else set()))
    return f"{peft_type} with {', '.join(named) or 'no hazard'}"


@proves("hazards.allowed")
def _hazards(policy: Policy, facts: Facts) -> Finding:
    code, path = "hazards.allowed", "adapter_config.json"
    named = (*facts.config.hazards, *(("changes-base",) if facts.config.changes_base else ()))
    refused = tuple(hazard for hazard in named if hazard not in policy.allow_hazards)
    if refused:
        return _no(
            code,
            "the adapter's configuration does more than add weights",
            path,
            expected=_any(policy.allow_hazards) or "no hazard",
            found=", ".join(refused),
            fix="If this is meant, name the hazard in the policy's allow_hazards.",
        )
    return _yes(code, "the adapter only adds weights" if not named else f"allowed: {', '.join(named)}", path)


@proves("composition.allowed")
def _composition(_: Policy, facts: Facts) -> Finding:
    code, path = "composition.allowed", "manifest.composition"
    found = objection(facts.verified.manifest, facts.companions)
    if found is not None:
        return _no(
            code,
            "these skills may not share a model",
            path,
            expected="the consent of every publisher",
            found=found,
            fix="Load it onto a model of its own.",
        )
    count = len(facts.companions)
    return _yes(code, f"it shares its model with {count} others" if count else "it is alone on its model", path)


@proves("requires.met")
def _requires(_: Policy, facts: Facts) -> Finding:
    code, path = "requires.met", "manifest.requires"
    ranges = facts.verified.manifest.requires
    if not ranges:
        return _yes(code, "the publisher requires no versions", path)
    if facts.versions is None:
        return Finding(code=code, outcome="not-checked", message="no package versions were given", path=path)
    unmet = unmet_ranges(ranges, facts.versions)
    if unmet:
        expected = ", ".join(f"{name} {wanted}" for name, wanted, _ in unmet)
        found = ", ".join(f"{name} {version}" for name, _, version in unmet)
        message = "an installed version is outside the publisher's range"
        return _no(code, message, path, expected=expected, found=found, fix="Install a version within the range.")
    return _yes(code, "every installed version is within the publisher's range", path)
