"""Rules about where an adapter is to be used: deployment, now. Pure: time is an input."""

from __future__ import annotations

from typing import Final

from skillwarrant_verify.deciding.decision import Finding
from skillwarrant_verify.deciding.facts import Facts
from skillwarrant_verify.deciding.requirement import any_of, listed, no, proves, unknown, within, yes
from skillwarrant_verify.deciding.requires import unmet_ranges
from skillwarrant_verify.policy import Policy

__all__: list[str] = []  # importing this module registers its rules

_VERSIONS: Final = "Give the versions that are installed here; a gate looks them up."
_INSTALL: Final = "Install a version within the range."


@proves("environment.allowed")
def _environment(policy: Policy, facts: Facts) -> Finding:
    code, path, found = "environment.allowed", "context.environment", facts.context.environment
    sanctioned = facts.manifest.deployment.environments
    if found not in policy.environments:
        return no(
            code,
            "this policy does not govern here",
            path,
            expected=any_of(policy.environments),
            found=found,
            fix="Use the policy that governs here, or name this place in the policy's environments.",
        )
    if found not in sanctioned:
        return no(
            code,
            "the publisher does not sanction this environment",
            path,
            expected=any_of(sanctioned),
            found=found,
            fix="Use an adapter that was released for this environment.",
        )
    return yes(code, f"{found} is allowed by policy and publisher", path)


@proves("region.allowed")
def _region(policy: Policy, facts: Facts) -> Finding:
    code, path, found = "region.allowed", "context.region", facts.context.region
    if policy.regions and found not in policy.regions:
        return no(
            code,
            "this policy does not govern here",
            path,
            expected=any_of(policy.regions),
            found=found or "nothing",
            fix="Give the region of this deployment as Context.region. If it is right, use the policy that governs"
            " here, or name the region in the policy's regions.",
        )
    return listed(code, path, "region", facts.manifest.deployment.regions, found)


@proves("prompt.allowed")
def _prompt(_: Policy, facts: Facts) -> Finding:
    prompts = tuple(str(digest) for digest in facts.manifest.deployment.system_prompts)
    digest = facts.context.system_prompt
    found = None if digest is None else str(digest)
    return listed("prompt.allowed", "context.systemPrompt", "system prompt", prompts, found)


@proves("time.window")
def _window(_: Policy, facts: Facts) -> Finding:
    deployment = facts.manifest.deployment
    message = "the manifest's time window does not cover now"
    window = (deployment.not_before, deployment.not_after)
    fix = "Get a release whose window covers now from its publisher, or check this machine's clock."
    return within("time.window", "now", message, window, facts.now, fix=fix)


@proves("policy.in-force")
def _in_force(policy: Policy, facts: Facts) -> Finding:
    message = "the policy itself is not in force now"
    fix = "Use the policy that is in force now, or check this machine's clock."
    return within("policy.in-force", "now", message, (policy.not_before, policy.not_after), facts.now, fix=fix)


@proves("requires.met")
def _requires(_: Policy, facts: Facts) -> Finding:
    code, path = "requires.met", "versions"
    ranges = facts.manifest.requires
    if not ranges:
        return yes(code, "the publisher requires no versions", path)
    if facts.versions is None:
        return unknown(code, "no package versions were given", path, _VERSIONS)
    unmet = unmet_ranges(ranges, facts.versions)
    if unmet:
        expected = ", ".join(f"{name} {wanted}" for name, wanted, _ in unmet)
        found = ", ".join(f"{name} {version}" for name, _, version in unmet)
        message = "an installed version is outside the publisher's range"
        return no(code, message, path, expected=expected, found=found, fix=_INSTALL)
    return yes(code, "every installed version is within the publisher's range", path)


@proves("dependencies.met")
def _dependencies(policy: Policy, facts: Facts) -> Finding:
    code, path = "dependencies.met", "versions"
    if not policy.dependencies:
        return yes(code, "the policy requires no versions", path)
    if facts.versions is None:
        return unknown(code, "no package versions were given", path, _VERSIONS)
    unmet = unmet_ranges(policy.dependencies, facts.versions)
    if unmet:
        expected = ", ".join(f"{name} {wanted}" for name, wanted, _ in unmet)
        found = ", ".join(f"{name} {version}" for name, _, version in unmet)
        message = "an installed version is outside the policy's range"
        return no(code, message, path, expected=expected, found=found, fix=_INSTALL)
    return yes(code, "every installed version is within the policy's range", path)
