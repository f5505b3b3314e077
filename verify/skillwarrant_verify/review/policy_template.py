"""A first policy and its cases, written from a few answers. They pass `policy check` and `policy test`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from skillwarrant_format.fields import format_time
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.names import matches
from skillwarrant_verify.identity import IdentityPattern

__all__ = ["GITHUB", "Answers", "github_identity"]

GITHUB: Final = "https://token.actions.githubusercontent.com"
_YEAR: Final = timedelta(days=365)
_ANY_BASE: Final = "skillwarrant-tensors-v1:" + "11" * 32  # of no model: a case needs one, and any will do
_OTHER_BASE: Final = "skillwarrant-tensors-v1:" + "22" * 32


def github_identity(repository: str, workflow: str) -> str:
    """Who signs in a GitHub workflow that runs for a version tag.

    Args:
        repository: `acme/skills`.
        workflow: the file's name, `release.yml`.
    """
    return f"https://github.com/{repository}/.github/workflows/{workflow}@refs/tags/v*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What must be known to write a policy.

    Args:
        name: of the policy.
        signer: whose signatures count.
        skills: patterns of the skills that they may vouch for.
        environments, policy_classes: at least one.
        bases: name and fingerprint of the base models that may be used; none: any that the publisher vouches for.
        max_age_days: oldest signature; None: any.
        now: the policy begins then, and ends a year later.
    """

    name: str
    signer: IdentityPattern
    skills: tuple[str, ...]
    environments: tuple[str, ...]
    policy_classes: tuple[str, ...]
    bases: tuple[tuple[str, Fingerprint], ...]
    max_age_days: int | None
    now: datetime

    def policy(self) -> str:
        """The policy document, with comments."""
        ends = format_time((self.now + _YEAR).replace(microsecond=0))
        age = (
            "# max_age_days = 180 # refuse what was signed longer ago"
            if self.max_age_days is None
            else f"max_age_days = {self.max_age_days} # refuse what was signed longer ago"
        )
        return f"""\
# Who may vouch for which skills, and where they may run. Everything that is not granted here is refused.
# `skillwarrant policy check`, `test` and `explain` read this file; docs/reference/policy.md has all keys.
api_version = "skillwarrant.dev/policy/v1"
name = {_toml(self.name)}
revision = 1 # count it up with every change
not_after = {ends} # a policy that nobody has looked at since then denies

environments = {_toml(self.environments)} # elsewhere, this policy denies
policy_classes = {_toml(self.policy_classes)} # which kind of policy a skill must be made for
{age}

[[publishers]]
# The issuer is exact. In the identity, * stands for a part of one segment: tags v1.2.3, and no branch and no fork.
issuer = {_toml(self.signer.issuer)}
identity = {_toml(self.signer.identity)}
skills = {_toml(self.skills)} # * stands for any characters but /
{self._bases()}"""

    def _bases(self) -> str:
        if not self.bases:
            return """
# Only base models that you have measured yourself. `skillwarrant fingerprint DIR` prints the line.
# [[bases]]
# name = "acme/base-7b"
# fingerprint = "skillwarrant-tensors-v1:…"
"""
        lines = ["", "# Only base models that were measured here: `skillwarrant fingerprint DIR` prints the line."]
        for name, fingerprint in self.bases:
            lines += ["[[bases]]", f"name = {_toml(name)}", f"fingerprint = {_toml(str(fingerprint))}"]
        return "\n".join(lines) + "\n"

    def cases(self) -> str:
        """Cases that say what it lets through, and what not."""
        stranger = self.signer.identity.replace(self._organisation(), "mallory", 1)
        elsewhere = _other(self.environments, "elsewhere", "nowhere")
        return f"""\
# What this policy lets through, and what it must not. Each case changes the good input, and names the requirements
# that then fail, exactly. `skillwarrant policy test` runs them; docs/reference/policy-test.md has all words.

[input]
now = {format_time(self.now.replace(microsecond=0))}
issuer = {_toml(self.signer.issuer)}
identity = {_toml(_example(self.signer.identity))}
skill = {_toml(_example(self.skills[0]))}
policy_class = {_toml(self.policy_classes[0])}
sanctioned = {_toml((*self.environments, elsewhere))} # by the publisher
environment = {_toml(self.environments[0])}
base = {_toml(self.bases[0][0] if self.bases else "somebody/base")}
measured = {_toml(str(self.bases[0][1]) if self.bases else _ANY_BASE)}
age_days = 1

[[case]]
name = "a release is allowed"
deny = []

[[case]]
name = "somebody else's release is refused"
change.identity = {_toml(_example(stranger))}
deny = ["publisher.trusted"]
{self._other_skill()}
[[case]]
name = "another environment is refused"
change.environment = {_toml(elsewhere)}
deny = ["environment.allowed"]

[[case]]
name = "a skill for another class of policy is refused"
change.policy_class = {_toml(_other(self.policy_classes, "another", "one-more"))}
deny = ["class.allowed"]

[[case]]
name = "a base model that nobody vouches for is refused"
change.measured = {_toml(_OTHER_BASE)}
deny = {_toml(("base.matches", *(["base.allowed"] if self.bases else [])))}

[[case]]
name = "configuration that does more than add weights is refused"
change.hazards = ["regex-targets"]
deny = ["hazards.allowed"]

[[case]]
name = "an adapter beside another one is refused, where a publisher does not consent"
change.company = [{{ skill = {_toml(_example(self.skills[0]))} }}]
deny = ["composition.allowed"]

[[case]]
name = "after its end the policy denies everything"
change.now = {format_time((self.now + _YEAR).replace(microsecond=0))}
deny = ["policy.in-force"]
{self._old()}"""

    def _other_skill(self) -> str:
        if (name := _unlike(self.skills)) is None:
            return ""
        return f"""
[[case]]
name = "a skill of another name is refused"
change.skill = {_toml(name)}
deny = ["publisher.trusted"]
"""

    def _old(self) -> str:
        if self.max_age_days is None:
            return ""
        return f"""
[[case]]
name = "what was signed too long ago is refused"
change.age_days = {self.max_age_days + 1}
deny = ["manifest.age"]
"""

    def _organisation(self) -> str:
        """The part of an identity that no pattern leaves open."""
        whole = self.signer.identity
        return whole.split("/")[3] if "://" in whole and whole.count("/") > 3 else whole.partition("@")[0]


def _other(known: tuple[str, ...], *names: str) -> str:
    """A name that is none of those that are known."""
    return next(name for name in (*names, *(f"other{number}" for number in range(len(known)))) if name not in known)


def _unlike(patterns: tuple[str, ...]) -> str | None:
    """A skill's name that no pattern covers; None where they seem to cover all."""
    names = ("mallory/helpful", "helpful", *(f"mallory{number}/helpful" for number in range(len(patterns))))
    return next((name for name in names if not any(matches(one, name) for one in patterns)), None)


def _example(pattern: str) -> str:
    """Something that a pattern covers."""
    return pattern.replace("**", "some/where").replace("*", "1")


def _toml(value: str | tuple[str, ...]) -> str:
    """As TOML writes it: of strings and lists of strings, as JSON does."""
    return json.dumps(value, ensure_ascii=False)
