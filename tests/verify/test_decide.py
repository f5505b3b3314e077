"""The rules: every requirement is proved or denied, and each has an attacker who tries to pass it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import idp
from builders import BASE, IDENTITY, ISSUER, NOW, changed, config, facts, manifest, verified
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import PolicyDenied, Unavailable, UsageError
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.manifest import Composition, Deployment
from skillwarrant_verify import Context, VerifiedOperator
from skillwarrant_verify.deciding import requirement
from skillwarrant_verify.deciding.composition import Companion
from skillwarrant_verify.deciding.decide import Facts, decide, requirements
from skillwarrant_verify.deciding.decision import Allowed, Decision, Finding
from skillwarrant_verify.deciding.decision_input import input_digest
from skillwarrant_verify.deciding.requirement import no, yes
from skillwarrant_verify.document.policy_sections import ALTERATIONS
from skillwarrant_verify.policy import Policy

OTHER = Fingerprint(digest=Digest.of(b"another base"))


def policy(extra: str = "", publisher: str = "") -> Policy:
    return Policy.parse(
        f"""
api_version = "skillwarrant.dev/policy/v1"
name = "test"
revision = 1
environments = ["production", "staging"]
policy_classes = ["general"]
{extra}
[[publishers]]
issuer = "{ISSUER}"
identity = "https://github.com/acme/skills/.github/workflows/release.yml@refs/tags/v*"
skills = ["acme/*"]
{publisher}
""".encode()
    )


def denied(decision: Decision) -> tuple[str, ...]:
    assert decision.outcome == "deny"
    with pytest.raises(PolicyDenied):
        decision.require()
    return tuple(finding.code for finding in decision.reasons)


def deployment(**changes: Any) -> Deployment:
    return replace(Deployment(environments=("production",)), **changes)


def test_a_warranted_adapter_is_allowed_and_every_requirement_is_proved() -> None:
    decision = decide(policy(), facts())
    assert decision.outcome == "allow"
    assert isinstance(decision.require(), Allowed)
    assert tuple(finding.code for finding in decision.checked) == requirements()
    assert len(requirements()) == len(set(requirements())) == 40


def test_a_finding_cannot_be_changed() -> None:
    finding = no("base.matches", "another", "base", expected="one", found="other")
    for change in (setattr, object.__setattr__):
        with pytest.raises(AttributeError):
            change(finding, "outcome", "proved")
    assert finding == Finding(
        code="base.matches",
        outcome="not-proved",
        message="another",
        path="base",
        expected="one",
        found="other",
    )


def test_a_proof_is_the_finding_that_it_would_be_if_it_was_written_out() -> None:
    assert yes("base.matches", "it is", "base") == Finding(
        code="base.matches", outcome="proved", message="it is", path="base"
    )


def test_the_policy_says_how_a_finding_counts_and_leaves_the_rest_of_it_alone() -> None:
    said = no("base.matches", "it is another", "base", expected="one", found="other", fix="Get one.")
    judged = said.judged("warn", "policy.toml:3 bases")
    assert judged == said._replace(severity="warn", asked_by="policy.toml:3 bases")
    assert type(judged) is Finding


def test_whoever_reads_a_refusal_is_told_where_in_the_input_to_look_and_which_line_asks() -> None:
    decision = decide(policy(), facts(context=Context(environment="elsewhere")))
    with pytest.raises(PolicyDenied, match=r"at input\.context\.environment \(asked by policy:\d+ environments\)"):
        decision.require()
    (check,) = [finding.check() for finding in decision.reasons]
    assert "at input.context.environment" in check.message


def test_a_decision_has_no_truth_value() -> None:
    with pytest.raises(TypeError):
        bool(decide(policy(), facts()))


def test_an_allowed_cannot_be_made_from_a_denial() -> None:
    decision = decide(policy(), facts(base=OTHER))
    with pytest.raises(ValueError, match="only an allowing"):
        Allowed(decision)


def test_an_allowed_cannot_be_made_from_a_relabelled_denial() -> None:
    decision = replace(decide(policy(), facts(base=OTHER)), outcome="allow")
    with pytest.raises(ValueError, match="only an allowing"):
        Allowed(decision)
    with pytest.raises(PolicyDenied):
        decision.require()


def test_a_decision_that_checked_nothing_allows_nothing() -> None:
    empty = replace(decide(policy(), facts()), checked=())
    with pytest.raises(PolicyDenied):
        empty.require()


def test_a_rule_that_returns_nothing_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(requirement._RULES, "base.matches", lambda _policy, _facts: None)
    assert denied(decide(policy(), facts())) == ("base.matches",)


def test_a_rule_that_answers_for_another_requirement_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(requirement._RULES, "base.matches", requirement._RULES["time.window"])
    assert denied(decide(policy(), facts(base=OTHER))) == ("base.matches",)


def test_two_rules_for_one_requirement_cannot_be_registered() -> None:
    with pytest.raises(ValueError, match="two rules"):
        requirement.proves("base.matches")(lambda _policy, _facts: None)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"verified": verified(identity=IDENTITY.replace("acme", "acme-inc"))}, "publisher.trusted"),
        ({"verified": verified(identity=IDENTITY.upper())}, "publisher.trusted"),
        ({"verified": verified(identity="x" + IDENTITY)}, "publisher.trusted"),
        ({"verified": verified(identity=IDENTITY + "/x")}, "publisher.trusted"),
        ({"verified": verified(identity=IDENTITY.replace("acme", "аcme"))}, "publisher.trusted"),  # noqa: RUF001
        ({"verified": verified(issuer="https://accounts.example.org")}, "publisher.trusted"),
        ({"base": OTHER}, "base.matches"),
        ({"context": Context(environment="development")}, "environment.allowed"),
        ({"context": Context(environment="staging")}, "environment.allowed"),
        ({"context": Context(environment="Production")}, "environment.allowed"),
        ({"verified": verified(manifest(policy_class="medical"))}, "class.allowed"),
        ({"verified": verified(manifest(deployment=deployment(not_after=NOW)))}, "time.window"),
        ({"verified": verified(manifest(deployment=deployment(not_before=NOW + timedelta(1))))}, "time.window"),
        ({"verified": verified(manifest(deployment=deployment(regions=("eu",))))}, "region.allowed"),
        ({"verified": verified(manifest(deployment=deployment(operators=("acme-ops",))))}, "operator.allowed"),
        (
            {"verified": verified(manifest(deployment=deployment(system_prompts=(Digest.of(b"p"),))))},
            "prompt.allowed",
        ),
        ({"verified": verified(signed_at=NOW + timedelta(hours=1))}, "manifest.age"),
        (
            {"verified": verified(manifest(requires=(("peft", ">=99"),))), "versions": {"peft": "0.21"}},
            "requires.met",
        ),
        (
            {"verified": verified(manifest(requires=(("peft", ">=1..x"),))), "versions": {"peft": "1"}},
            "requires.met",
        ),
        ({"verified": verified(manifest(requires=(("peft", ">=0"),))), "versions": {}}, "requires.met"),
    ],
)
def test_each_drift_is_denied_for_exactly_its_own_reason(change: dict[str, Any], code: str) -> None:
    assert denied(decide(policy(), facts(**change))) == (code,)


def test_hazards_are_read_from_the_adapter_and_not_from_the_manifests_word() -> None:
    hidden = facts(config=config(alora_invocation_tokens=[1, 2]))
    assert denied(decide(policy(), hidden)) == ("adapter.as-declared", "hazards.allowed")


def test_a_hazard_that_the_policy_accepts_must_still_be_declared() -> None:
    accepting = policy('allow_hazards = ["trigger-tokens"]')
    hidden = facts(config=config(alora_invocation_tokens=[1, 2]))
    assert denied(decide(accepting, hidden)) == ("adapter.as-declared",)
    declared = manifest(adapter=replace(manifest().adapter, hazards=("trigger-tokens",)))
    assert decide(accepting, changed(hidden, verified=verified(declared))).outcome == "allow"


def test_an_adapter_that_changes_the_base_is_denied_unless_the_policy_names_that() -> None:
    declared = manifest(adapter=replace(manifest().adapter, changes_base=True))
    changing = facts(declared, config=config(init_lora_weights="pissa"))
    assert denied(decide(policy(), changing)) == ("hazards.allowed",)
    assert decide(policy('allow_hazards = ["changes-base"]'), changing).outcome == "allow"


def test_an_adapter_of_another_method_than_declared_is_denied() -> None:
    assert denied(decide(policy(), facts(config=config(peft_type="LOHA")))) == ("adapter.as-declared",)


def test_a_constraint_of_the_publisher_is_met_by_the_listed_value() -> None:
    bound = manifest(
        deployment=deployment(regions=("eu",), operators=("acme-ops",), system_prompts=(Digest.of(b"be kind"),))
    )
    context = Context(environment="production", region="eu", operator="acme-ops", system_prompt="be kind")
    assert decide(policy(), facts(bound, context=context)).outcome == "allow"
    drifted = replace(context, system_prompt="be unkind")
    assert denied(decide(policy(), facts(bound, context=drifted))) == ("prompt.allowed",)


def test_an_operator_who_is_refused_is_named_in_no_finding() -> None:
    """Findings go on record, where nobody is named."""
    bound = manifest(deployment=deployment(operators=("bob@example.org",)))
    for operator, found in (("alice@example.org", "another"), (None, "nothing")):
        decision = decide(policy(), facts(bound, context=Context(environment="production", operator=operator)))
        (reason,) = decision.reasons
        assert (reason.code, reason.found) == ("operator.allowed", found)
        assert "@" not in str(reason)


def test_no_base_is_undecided_and_neither_yes_nor_no() -> None:
    decision = decide(policy(), facts(base=None))
    assert decision.outcome == "undecided"
    with pytest.raises(Unavailable, match=r"base\.matches"):
        decision.require()


def test_a_no_weighs_more_than_a_missing_input() -> None:
    decision = decide(policy(), facts(base=None, context=Context(environment="development")))
    assert decision.outcome == "deny"


def test_unknown_versions_are_undecided_where_the_publisher_requires_some() -> None:
    needs = manifest(requires=(("peft", ">=0.1"),))
    assert decide(policy(), facts(needs, versions=None)).outcome == "undecided"


def test_a_version_within_the_range_is_allowed_local_builds_included() -> None:
    needs = manifest(requires=(("torch", ">=2.6,<3"),))
    assert decide(policy(), facts(needs, versions={"torch": "2.13.0+cpu"})).outcome == "allow"


def test_a_base_outside_the_policys_own_list_is_denied_whatever_the_publisher_says() -> None:
    listing = policy(publisher=f'[[bases]]\nname = "ours"\nfingerprint = "{OTHER}"')
    assert denied(decide(listing, facts())) == ("base.allowed",)
    ours = policy(publisher=f'[[bases]]\nname = "ours"\nfingerprint = "{BASE}"')
    assert decide(ours, facts()).outcome == "allow"


def test_a_publisher_may_not_vouch_for_a_base_outside_its_names() -> None:
    assert denied(decide(policy(publisher='base_models = ["globex/*"]'), facts())) == ("publisher.trusted",)


def test_a_skill_pattern_does_not_reach_over_a_slash() -> None:
    wide = policy().publishers[0]
    narrow = replace(policy(), publishers=(replace(wide, skills=("ac*",)),))
    assert denied(decide(narrow, facts())) == ("publisher.trusted",)


def test_a_signer_of_one_rule_does_not_borrow_the_skills_of_another() -> None:
    two = policy(
        publisher=f"""
[[publishers]]
issuer = "{ISSUER}"
identity = "https://github.com/globex/skills/.github/workflows/release.yml@refs/tags/v1.0.0"
skills = ["globex/*"]
"""
    )
    globex = "https://github.com/globex/skills/.github/workflows/release.yml@refs/tags/v1.0.0"
    assert denied(decide(two, facts(verified=verified(identity=globex)))) == ("publisher.trusted",)


def test_an_old_manifest_is_denied_where_the_policy_bounds_the_age() -> None:
    assert decide(policy("max_age_days = 10"), facts()).outcome == "allow"
    assert denied(decide(policy("max_age_days = 9"), facts())) == ("manifest.age",)


def test_an_age_beyond_all_calendars_is_no_crash() -> None:
    assert decide(replace(policy(), max_age_days=9007199254740991), facts()).outcome == "allow"


@pytest.mark.parametrize("now", [NOW.replace(tzinfo=None), "2026-11-22T12:00:00Z", None])
def test_facts_of_a_time_that_is_no_moment_cannot_be_made(now: Any) -> None:
    with pytest.raises(UsageError, match="a time with its time zone"):
        changed(facts(), now=now)


def test_a_policy_out_of_force_denies() -> None:
    assert denied(decide(policy("not_after = 2026-11-22T12:00:00Z"), facts())) == ("policy.in-force",)
    assert denied(decide(policy("not_before = 2026-11-22T12:00:01Z"), facts())) == ("policy.in-force",)


def test_one_answer_names_every_reason() -> None:
    wrong = facts(manifest(policy_class="medical"), base=OTHER, context=Context(environment="development"))
    assert denied(decide(policy(), wrong)) == ("class.allowed", "base.matches", "environment.allowed")


def test_a_denial_says_what_was_expected_what_was_found_and_what_to_do() -> None:
    with pytest.raises(PolicyDenied) as caught:
        decide(policy(), facts(base=OTHER)).require()
    text = str(caught.value)
    assert "base.matches" in text
    assert "expected acme/base-7b" in text
    assert OTHER.digest.short in text
    assert "Load the base model" in text


def test_the_inputs_digest_changes_with_every_input_and_with_nothing_else() -> None:
    plain = facts()
    assert input_digest(plain) == input_digest(facts())
    others: list[Facts] = [
        changed(plain, base=OTHER),
        changed(plain, context=Context(environment="staging")),
        changed(plain, context=Context(environment="production", operator="x")),
        operated(idp.check(idp.mint(sub="x"))),
        operated(idp.check(idp.mint(sub="x", exp=idp.SECONDS + 9))),
        operated(idp.check(idp.mint(sub="x", groups=["ops"]))),
        changed(plain, context=Context(environment="production", policy_class="general")),
        changed(plain, context=Context(environment="production", session={"tenant": "x"})),
        changed(plain, context=Context(environment="production", session={"tenant": "y"})),
        changed(plain, alterations=(HOOK,)),
        changed(plain, weight=0.5),
        changed(plain, weight=float("nan")),
        changed(plain, now=NOW + timedelta(seconds=1)),
        changed(plain, versions={"peft": "1"}),
        changed(plain, verified=verified(manifest(composition=Composition(stackable=True)))),
        changed(plain, verified=verified(identity=IDENTITY + "0")),
    ]
    digests = {input_digest(one) for one in (plain, *others)}
    assert len(digests) == len(others) + 1


HOOK = "forward-hook: model.layers.0"


@pytest.mark.parametrize("kind", ALTERATIONS)
def test_what_is_hung_onto_the_base_is_denied_unless_the_policy_names_its_kind(kind: str) -> None:
    altered = facts(alterations=(f"{kind}: model.layers.0",))
    decision = decide(policy(), altered)
    assert denied(decision) == ("runtime.unaltered",)
    (reason,) = decision.reasons
    assert "model.layers.0" in str(reason.found)
    line = str(reason.fix).rpartition(": ")[2]
    assert line == f'allow_alterations = ["{kind}"]'
    assert decide(policy(line), altered).outcome == "allow"


def test_an_allowance_for_one_kind_is_none_for_another() -> None:
    other = facts(alterations=(HOOK, "patched-forward: model"))
    decision = decide(policy('allow_alterations = ["patched-forward"]'), other)
    assert denied(decision) == ("runtime.unaltered",)
    assert decision.reasons[0].found == HOOK
    assert '["forward-hook", "patched-forward"]' in str(decision.reasons[0].fix)


def test_a_kind_that_no_policy_can_name_is_denied_and_no_line_is_suggested_for_it() -> None:
    decision = decide(policy(), facts(alterations=("teleport: model",)))
    assert denied(decision) == ("runtime.unaltered",)
    assert "allow_alterations" not in str(decision.reasons[0].fix)


def test_a_thousand_hooks_are_counted_and_a_few_named() -> None:
    hooks = tuple(f"accelerate-hook: layer.{number}" for number in range(1000))
    assert "and 997 more" in str(decide(policy(), facts(alterations=hooks)).reasons[0].found)


def test_an_active_adapter_is_no_alteration_if_it_came_through_the_gate_and_only_then() -> None:
    stackable = manifest(composition=Composition(stackable=True))
    active = ("active-adapter: first",)
    ours = facts(stackable, alterations=active, companions=(Companion(adapter_name="first", manifest=stackable),))
    assert decide(policy(), ours).outcome == "allow"
    theirs = changed(ours, companions=(Companion(adapter_name="first", manifest=None),))
    assert denied(decide(policy(), theirs)) == ("runtime.unaltered", "composition.allowed")
    unknown = changed(ours, companions=(Companion(adapter_name="second", manifest=stackable),))
    assert denied(decide(policy(), unknown)) == ("runtime.unaltered",)
    tolerant = policy('allow_alterations = ["active-adapter"]')
    assert decide(tolerant, theirs).outcome == "allow"
    assert denied(decide(tolerant, changed(theirs, verified=verified()))) == ("composition.allowed",)


def test_a_merged_adapter_is_an_alteration_wherever_it_came_from() -> None:
    stackable = manifest(composition=Composition(stackable=True))
    merged = facts(
        stackable,
        alterations=("merged-adapter: first",),
        companions=(Companion(adapter_name="first", manifest=stackable),),
    )
    assert denied(decide(policy(), merged)) == ("runtime.unaltered",)


def test_a_context_under_another_policy_class_is_denied_even_where_the_policy_knows_both() -> None:
    both = replace(policy(), policy_classes=("general", "medical"))
    assert decide(both, facts(context=Context(environment="production", policy_class="general"))).outcome == "allow"
    medical = facts(context=Context(environment="production", policy_class="medical"))
    assert denied(decide(both, medical)) == ("class.allowed",)
    assert denied(decide(policy(), changed(medical, verified=verified(manifest(policy_class="medical"))))) == (
        "class.allowed",
    )


OPERATORS = f"""
[operators]
require = "verified"
[[operators.issuers]]
issuer = "{idp.ISSUER}"
audience = "{idp.AUDIENCE}"
subjects = ["{idp.CLAIMS["sub"]}", "spiffe://acme.example/gates/*"]
"""


def operated(operator: VerifiedOperator | str | None, **changes: Any) -> Facts:
    return facts(context=Context(environment="production", operator=operator), **changes)


def test_an_operator_whom_a_trusted_issuer_vouches_for_is_allowed() -> None:
    wanted = policy(publisher=OPERATORS)
    assert decide(wanted, operated(idp.check(idp.mint()))).outcome == "allow"
    assert decide(wanted, operated(idp.check(idp.mint(sub="spiffe://acme.example/gates/eu")))).outcome == "allow"


@pytest.mark.parametrize(
    ("operator", "found"),
    [
        (lambda: None, "nothing"),
        (lambda: idp.CLAIMS["sub"], "a claim"),
        (lambda: idp.check(idp.mint(sub="spiffe://acme.example/servin")), "a subject of"),
        (lambda: idp.check(idp.mint(sub="spiffe://acme.example/serving/x")), "a subject of"),
        (lambda: idp.check(idp.mint(sub="spiffe://acme.example/gates/eu/../root")), "a subject of"),
        (lambda: idp.check(idp.mint(sub="SPIFFE://acme.example/serving")), "a subject of"),
        (lambda: idp.check(idp.mint(aud="other"), audience="other"), "for other"),
        (lambda: idp.check(idp.mint(iss="https://other.example"), issuer="https://other.example"), "https://other"),
    ],
)
def test_an_operator_whom_the_policy_does_not_trust_is_denied_and_not_named(
    operator: Callable[[], VerifiedOperator | str | None], found: str
) -> None:
    decision = decide(policy(publisher=OPERATORS), operated(operator()))
    assert denied(decision) == ("operator.verified",)
    (reason,) = decision.reasons
    assert found in str(reason.found)
    assert "acme.example/" not in str(reason), "findings go on record, which names nobody"


def test_a_credential_that_expires_between_verifying_and_loading_proves_nothing() -> None:
    wanted = policy(publisher=OPERATORS)
    operator = idp.check(idp.mint())
    late = operated(operator, now=operator.expires_at)
    assert decide(wanted, changed(late, now=late.now - timedelta(seconds=1))).outcome == "allow"
    assert denied(decide(wanted, late)) == ("operator.verified",)
    assert denied(decide(policy(), late)) == ("operator.verified",), "nor where no policy asks for one"


def test_a_policy_may_be_content_with_a_name() -> None:
    named = policy(publisher='[operators]\nrequire = "claimed"')
    assert decide(named, operated("acme-ops")).outcome == "allow"
    assert decide(named, operated(idp.check(idp.mint()))).outcome == "allow"
    assert denied(decide(named, operated(None))) == ("operator.verified",)


def test_the_operators_that_a_manifest_lists_are_held_against_the_verified_subject() -> None:
    bound = manifest(deployment=deployment(operators=(str(idp.CLAIMS["sub"]),)))
    wanted = policy(publisher=OPERATORS)
    assert decide(wanted, operated(idp.check(idp.mint()), verified=verified(bound))).outcome == "allow"
    claimed = operated(str(idp.CLAIMS["sub"]), verified=verified(bound))
    assert denied(decide(wanted, claimed)) == ("operator.verified",)
    other = operated(idp.check(idp.mint(sub="spiffe://acme.example/gates/eu")), verified=verified(bound))
    assert denied(decide(wanted, other)) == ("operator.allowed",)
