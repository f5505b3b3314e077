"""Training data, limits, versions, revocations, packages, regions, quantisation: each asked for, each attacked."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from builders import BASE, IDENTITY, ISSUER, NOW, adapter, config, facts, manifest, verified
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import PolicyError
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.manifest import Deployment, Evidence, Skill, SkillManifest, TrainingData
from skillwarrant_verify import Context
from skillwarrant_verify.deciding.adapter_seen import AdapterSeen
from skillwarrant_verify.deciding.decide import Facts, decide
from skillwarrant_verify.deciding.facts import History
from test_decide import denied, policy


def data(licence: str = "cc-by-4.0", rights: str = "commercial-use", name: str = "acme/tickets") -> TrainingData:
    return TrainingData(name=name, licence=licence, rights=rights)


def trained(*sets: TrainingData) -> Facts:
    return facts(manifest(training_data=sets))


LICENCES = '[training_data]\nlicences = ["cc-by-4.0", "mit"]'
RIGHTS = '[training_data]\nrights = ["commercial-use"]'


@pytest.mark.parametrize("text", [LICENCES, RIGHTS, "[training_data]\ndeclared = true"])
def test_training_data_that_is_accepted_is_allowed(text: str) -> None:
    assert decide(policy(publisher=text), trained(data(), data(name="b"))).outcome == "allow"


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        (LICENCES, ("data.declared", "data.licences")),
        (RIGHTS, ("data.declared", "data.rights")),
        ("[training_data]\ndeclared = true", ("data.declared",)),
    ],
)
def test_of_no_data_at_all_nothing_is_proved(text: str, codes: tuple[str, ...]) -> None:
    assert denied(decide(policy(publisher=text), trained())) == codes


@pytest.mark.parametrize(
    ("text", "bad", "code"),
    [
        (LICENCES, data(licence="cc-by-nc-4.0"), "data.licences"),
        (LICENCES, data(licence="CC-BY-4.0"), "data.licences"),
        (LICENCES, data(licence="cc-by-4.0 OR proprietary"), "data.licences"),
        (LICENCES, data(licence="cc-by-4.0 "), "data.licences"),
        (RIGHTS, data(rights="research-only"), "data.rights"),
        (RIGHTS, data(rights="no commercial-use"), "data.rights"),
    ],
)
def test_one_data_set_that_is_not_accepted_is_enough_to_deny(text: str, bad: TrainingData, code: str) -> None:
    decision = decide(policy(publisher=text), trained(data(), replace(bad, name="bad"), data(name="c")))
    assert denied(decision) == (code,)
    assert "bad: " in str(decision.reasons[0].found)
    assert f"training_data.{code.partition('.')[2]}" in str(decision.reasons[0].fix)


LIMITS = """
[limits]
methods = ["LORA"]
max_rank = 16
max_alpha_over_rank = 2
max_parameters = 4
max_adapter_bytes = 1000
"""


def sized(found: AdapterSeen) -> Facts:
    declared = replace(
        manifest().adapter, peft_type=found.peft_type, hazards=found.hazards, parameters=found.parameters
    )
    return facts(manifest(adapter=declared), adapter=found)


def test_an_adapter_within_every_limit_is_allowed() -> None:
    assert decide(policy(publisher=LIMITS), sized(adapter())).outcome == "allow"


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (adapter(peft_type="LOHA"), "adapter.method"),
        (adapter(peft_type="lora"), "adapter.method"),
        (adapter(rank=17), "adapter.rank"),
        (adapter(rank=None), "adapter.rank"),
        (adapter(scaling=2.1), "adapter.scaling"),
        (adapter(scaling=float("nan")), "adapter.scaling"),
        (adapter(scaling=None), "adapter.scaling"),
        (adapter(parameters=5), "adapter.parameters"),
        (adapter(size=1001), "adapter.bytes"),
        (adapter(config(rank_pattern={"q_proj": 64})), "adapter.rank"),
        (adapter(config(lora_alpha=17)), "adapter.scaling"),
        (adapter(config(lora_alpha=-17)), "adapter.scaling"),
        (adapter(config(alpha_pattern={"q_proj": 1000})), "adapter.scaling"),
        (adapter(config(rank_pattern={"q_proj": 1})), "adapter.scaling"),
        (adapter(config(use_rslora=True)), "adapter.scaling"),
        (adapter(config(alpha_pattern={"q_proj": "16"})), "adapter.scaling"),
    ],
)
def test_an_adapter_beyond_a_limit_is_denied_wherever_it_hides_the_number(found: AdapterSeen, code: str) -> None:
    assert denied(decide(policy(publisher=LIMITS), sized(found))) == (code,)


def test_a_limit_is_held_against_the_files_and_not_against_the_manifests_word() -> None:
    modest = replace(manifest().adapter, rank=1, parameters=1, alpha=1)
    lying = facts(manifest(adapter=modest), adapter=adapter(config(r=64, lora_alpha=64)))
    rules = policy(publisher="[limits]\nmax_rank = 16\nmax_parameters = 3\nmax_alpha_over_rank = 0.5")
    held = ("adapter.rank", "adapter.scaling", "adapter.parameters")
    assert denied(decide(rules, lying)) == ("adapter.as-declared", *held)


def release(version: str, name: str = "acme/support-lora") -> SkillManifest:
    return manifest(skill=Skill(name=name, version=version, description="x"))


def revoking(text: str) -> Any:
    return policy(publisher=f"[revocations]\n{text}")


@pytest.mark.parametrize(
    "text",
    [
        f'manifests = ["{verified().statement_digest}"]',
        '[[revocations.skills]]\nname = "acme/support-lora"',
        '[[revocations.skills]]\nname = "acme/*"\nversions = "<1.0.1"\nreason = "it leaks"',
        '[[revocations.skills]]\nname = "acme/*"\nversions = ">=1.0.0,<2.0.0"',
        f'[[revocations.signers]]\nissuer = "{ISSUER}"\nidentity = "{IDENTITY}"',
        f'[[revocations.signers]]\nissuer = "{ISSUER}"\nidentity = "https://github.com/acme/**"',
        f'[[revocations.signers]]\nissuer = "{ISSUER}"\nidentity = "{IDENTITY}"\nsince = 2026-11-12T12:00:00Z',
    ],
)
def test_what_is_revoked_is_denied(text: str) -> None:
    assert denied(decide(revoking(text), facts())) == ("manifest.not-revoked",)


@pytest.mark.parametrize(
    "text",
    [
        f'manifests = ["{Digest.of(b"another")}"]',
        f'manifests = ["{verified().bundle}"]',  # whoever passes it on can write that in another way
        '[[revocations.skills]]\nname = "acme/support"',
        '[[revocations.skills]]\nname = "acme/*"\nversions = "<1.0.0"',
        f'[[revocations.signers]]\nissuer = "https://gitlab.com"\nidentity = "{IDENTITY}"',
        f'[[revocations.signers]]\nissuer = "{ISSUER}"\nidentity = "{IDENTITY}"\nsince = 2026-11-12T12:00:01Z',
    ],
)
def test_what_is_not_revoked_is_allowed(text: str) -> None:
    assert decide(revoking(text), facts()).outcome == "allow"


@pytest.mark.parametrize("version", ["1.0.0-rc.1", "1.0.0+build.7", "0.9.0"])
def test_a_revoked_version_cannot_be_dressed_up(version: str) -> None:
    text = '[[revocations.skills]]\nname = "acme/*"\nversions = "<=1.0.0"'
    assert denied(decide(revoking(text), facts(release(version)))) == ("manifest.not-revoked",)


def test_a_stale_list_of_revocations_denies_everything() -> None:
    text = "valid_until = 2026-11-22T12:00:00Z"
    assert denied(decide(revoking(text), facts())) == ("revocations.fresh",)
    assert decide(revoking(text), facts(now=NOW - timedelta(seconds=1))).outcome == "allow"


FLOORS = """
[[versions.floors]]
skill = "acme/*"
least = "1.2.0"
[[versions.floors]]
skill = "acme/support-*"
least = "1.4.0"
"""


@pytest.mark.parametrize("version", ["1.3.9", "1.4.0-rc.1", "0.0.1", "1.3.9+1.9.9"])
def test_a_version_below_the_highest_floor_that_covers_it_is_denied(version: str) -> None:
    decision = decide(policy(publisher=FLOORS), facts(release(version)))
    assert denied(decision) == ("version.floor",)
    assert decision.reasons[0].expected == "1.4.0 or higher"


@pytest.mark.parametrize(
    ("version", "name"),
    [("1.4.0", "acme/support-lora"), ("2.0.0-rc.1", "acme/support-lora"), ("1.2.0", "acme/other")],
)
def test_a_version_at_or_above_its_floor_is_allowed(version: str, name: str) -> None:
    assert decide(policy(publisher=FLOORS), facts(release(version, name))).outcome == "allow"


NO_ROLLBACK = "[versions]\nno_rollback = true"


@pytest.mark.parametrize(
    ("version", "highest", "outcome"),
    [
        ("1.0.0", None, "allow"),
        ("1.0.0", "1.0.0", "allow"),
        ("1.0.0+b", "1.0.0+a", "allow"),
        ("1.10.0", "1.9.0", "allow"),
        ("1.0.0", "1.0.1", "deny"),
        ("1.9.0", "1.10.0", "deny"),
        ("1.0.0-rc.1", "1.0.0", "deny"),
    ],
)
def test_no_way_back_from_a_version_that_was_in_use(version: str, highest: str | None, outcome: str) -> None:
    found = facts(release(version), history=History(highest=highest))
    decision = decide(policy(publisher=NO_ROLLBACK), found)
    assert decision.outcome == outcome
    assert [finding.code for finding in decision.reasons] == ["version.no-rollback"] * (outcome == "deny")


def test_without_a_history_nobody_knows_whether_it_is_a_way_back() -> None:
    assert decide(policy(publisher=NO_ROLLBACK), facts()).outcome == "undecided"
    assert decide(policy(), facts()).outcome == "allow"


def test_a_history_that_cannot_be_read_is_no_way_back_either() -> None:
    found = facts(history=History(highest="newest"))
    assert denied(decide(policy(publisher=NO_ROLLBACK), found)) == ("version.no-rollback",)


DEPENDENCIES = '[dependencies]\npeft = ">=0.21,<0.22"\ntorch = ">=2.6"'


@pytest.mark.parametrize(
    ("versions", "outcome"),
    [
        ({"peft": "0.21.2", "torch": "2.13.0+cpu"}, "allow"),
        ({"peft": "0.22.0", "torch": "2.13.0"}, "deny"),
        ({"peft": "0.21.2"}, "deny"),
        ({"peft": "newest", "torch": "2.13.0"}, "deny"),
        ({}, "deny"),
        (None, "undecided"),
    ],
)
def test_the_consumers_own_packages_must_be_in_its_range(versions: dict[str, str] | None, outcome: str) -> None:
    decision = decide(policy(publisher=DEPENDENCIES), facts(versions=versions))
    assert decision.outcome == outcome
    assert {finding.code for finding in decision.reasons} <= {"dependencies.met"}


@pytest.mark.parametrize(("region", "outcome"), [("eu", "allow"), ("us", "deny"), (None, "deny"), ("EU", "deny")])
def test_a_policy_governs_in_its_regions(region: str | None, outcome: str) -> None:
    context = Context(environment="production", region=region)
    decision = decide(policy('regions = ["eu", "uk"]'), facts(context=context))
    assert decision.outcome == outcome
    assert [finding.code for finding in decision.reasons] == ["region.allowed"] * (outcome == "deny")


def test_a_region_needs_policy_and_publisher() -> None:
    bound = manifest(deployment=Deployment(environments=("production",), regions=("eu",)))
    uk = facts(bound, context=Context(environment="production", region="uk"))
    assert denied(decide(policy('regions = ["eu", "uk"]'), uk)) == ("region.allowed",)


@pytest.mark.parametrize(
    ("allowed", "quantization", "outcome"),
    [
        ('["none"]', None, "allow"),
        ('["none", "bitsandbytes nf4"]', "bitsandbytes nf4", "allow"),
        ('["none"]', "bitsandbytes nf4", "deny"),
        ('["bitsandbytes nf4"]', None, "deny"),
        ('["bitsandbytes nf4"]', "bitsandbytes nf4 ", "deny"),
    ],
)
def test_a_base_is_quantised_as_the_policy_allows(allowed: str, quantization: str | None, outcome: str) -> None:
    base = replace(manifest().base_models[0], quantization=quantization)
    decision = decide(policy(f"quantizations = {allowed}"), facts(manifest(base_models=(base,))))
    assert decision.outcome == outcome
    assert [finding.code for finding in decision.reasons] == ["base.quantization"] * (outcome == "deny")


def test_of_a_base_that_nobody_vouches_for_no_quantisation_is_known() -> None:
    wanted = policy('quantizations = ["none"]')
    other = facts(base=Fingerprint(digest=Digest.of(b"x")))
    assert denied(decide(wanted, other)) == ("base.matches", "base.quantization")
    assert decide(wanted, facts(base=None)).outcome == "undecided"
    assert decide(wanted, facts(base=BASE)).outcome == "allow"


def test_what_the_manifest_says_of_its_evidence_proves_nothing() -> None:
    claim = Evidence(name="certified by everybody", digest=Digest.of(b"x"))
    asking = policy(
        publisher=f"""
[[evidence]]
predicate_type = "certification"
signers = [{{ issuer = "{ISSUER}", identity = "{IDENTITY}" }}]
"""
    )
    assert denied(decide(asking, facts(manifest(evidence=(claim,))))) == ("behaviour.certified",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[training_data]", "says nothing"),
        ("[training_data]\ndeclared = false", "says nothing"),
        ("[training_data]\nlicences = []", "1 to"),
        ('[training_data]\nlicence = ["mit"]', "Did you mean 'licences'"),
        ('[training_data]\nlicences = ["mit", "mit"]', "twice"),
        ("[limits]", "says nothing"),
        ("[limits]\nmax_rank = 0", "at least 1"),
        ("[limits]\nmax_rank = 8.0", "whole number|too small"),
        ("[limits]\nmax_alpha_over_rank = 0", "allows no adapter"),
        ("[limits]\nmax_alpha_over_rank = nan", "acceptable"),
        ('[limits]\nmax_rank = "8"', "whole number"),
        ("[limits]\nmax_ranks = 8", "Did you mean 'max_rank'"),
        ("[limits]\nmethods = []", "1 to"),
        ("[versions]", "says nothing"),
        ("[versions]\nno_rollback = false", "says nothing"),
        ('[versions]\nno_rollback = "yes"', "a boolean"),
        ("[versions]\nfloors = []", "1 to"),
        ('[[versions.floors]]\nskill = "acme/*"', "least is missing"),
        ('[[versions.floors]]\nskill = "acme/*"\nleast = "1.4"', "no version"),
        ('[[versions.floors]]\nskill = "acme/*"\nleast = 1.4', "a string"),
        ('[[versions.floors]]\nskill = "ACME"\nleast = "1.4.0"', "malformed"),
        ("[revocations]", "says nothing"),
        ("[revocations]\nmanifests = []", "1 to"),
        (f'[revocations]\nmanifests = ["{"0" * 64}"]', "SHA-256"),
        ('[revocations]\nmanifests = ["sha256:0"]', "SHA-256"),
        ('[[revocations.skills]]\nname = "acme/*"\nversions = "1.x"', "no range"),
        ('[[revocations.skills]]\nversions = "<1.0.0"', "name is missing"),
        ('[[revocations.signers]]\nissuer = "https://a.example"\nidentity = "*"', "only a URI"),
        ("[revocations]\nvalid_until = 2027-01-01", "no UTC instant"),
        ("[dependencies]", "at least one package"),
        ('[dependencies]\npeft = "0.21"', "malformed"),
        ('[dependencies]\nPEFT = ">=0.21"', "names no package"),
        ("[dependencies]\npeft = 0.21", "a string"),
    ],
)
def test_a_section_that_is_empty_misspelt_or_can_never_be_met_is_refused(text: str, expected: str) -> None:
    with pytest.raises(PolicyError, match=expected):
        policy(publisher=text)


@pytest.mark.parametrize("text", ["regions = []", "quantizations = []", 'regions = ["a b"]', 'regions = "eu"'])
def test_an_empty_list_of_places_is_refused(text: str) -> None:
    with pytest.raises(PolicyError):
        policy(text)
