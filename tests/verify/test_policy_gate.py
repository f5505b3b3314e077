"""What a policy may ask more, on a real gate: evidence that was really signed, warnings on record, no way back."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from skillwarrant_attest import Credential, sign
from skillwarrant_audit.recorder import Recorder
from skillwarrant_format.bundle import BUNDLE_NAME, RawBundle
from skillwarrant_format.digest import Digest
from skillwarrant_format.endorsement import Approval, Certification
from skillwarrant_format.errors import (
    AuditError,
    PolicyDenied,
    SkillwarrantError,
    UsageError,
)
from skillwarrant_format.observation import Check
from skillwarrant_format.statement import Statement
from skillwarrant_verify import Gate, StackItem
from skillwarrant_verify.deciding.facts import History
from skillwarrant_verify.gate.version_history import history
from skillwarrant_verify.proof.attestations import verify_evidence
from skillwarrant_verify.proof.signature import verify
from world import PRODUCTION, World, llama, observed, phases, untouched

ALICE, BOB = "alice@acme.example", "bob@acme.example"


def signed(world: World, statement: Statement, who: str | None) -> bytes:
    """A bundle of a person's, or of the publisher's own workflow where no person is named."""
    token = world.stack.ci_token() if who is None else world.stack.user_token(who)
    return sign(statement, credential=Credential.from_token(token), trust_config=world.stack.trust_config)


def bundle_of(world: World) -> bytes:
    return (world.adapter / BUNDLE_NAME).read_bytes()


def approval(world: World, who: str | None, **changes: Any) -> bytes:
    said = {"skill": "acme/adapter", "version": "1.0.0", **changes}
    return signed(world, Approval(**said).to_statement(Digest.of(bundle_of(world))), who)


@pytest.fixture(scope="module")
def evidence(world: World) -> dict[str, bytes]:
    """Really signed, each once: signing takes a while."""
    about = Digest.of(bundle_of(world))
    files = Statement.parse(RawBundle.parse(bundle_of(world)).envelope.payload).subjects
    tested = {"skill": "acme/adapter", "version": "1.0.0", "suite": "acme safety 3"}
    slsa = {"predicate_type": "https://slsa.dev/provenance/v1", "predicate": {"buildDefinition": {}}}
    return {
        "alice": approval(world, ALICE),
        "bob": approval(world, BOB),
        "publisher": approval(world, None),
        "other version": approval(world, ALICE, version="0.9.0"),
        "other adapter": signed(
            world, Approval(skill="acme/adapter", version="1.0.0").to_statement(Digest.of(b"x")), ALICE
        ),
        "passed": signed(world, Certification(result="passed", **tested).to_statement(about), BOB),
        "failed": signed(world, Certification(result="failed", **tested).to_statement(about), BOB),
        "provenance": signed(world, Statement.build(subjects=files, **slsa), None),  # type: ignore[arg-type]
        "approval of the files": signed(world, _of_files(files), ALICE),
        "provenance of a part": signed(world, Statement.build(subjects=files[:1], **slsa), None),  # type: ignore[arg-type]
    }


def _of_files(files: Any) -> Statement:
    said = Approval(skill="acme/adapter", version="1.0.0")
    return Statement.build(subjects=files, predicate_type=said.TYPE, predicate=said.to_json())


def asks(world: World, predicate_type: str, who: Sequence[str], more: str = "") -> str:
    signers = ", ".join(f'{{ issuer = "{world.stack.issuer}", identity = "{one}" }}' for one in who)
    return f'[[evidence]]\npredicate_type = "{predicate_type}"\nsigners = [{signers}]\n{more}\n'


def load(world: World, log: Path, extra: str, given: Sequence[bytes | Path | str]) -> Any:
    return world.gate(log, extra).activate(llama(), world.adapter, context=PRODUCTION, evidence=given)


def test_an_approved_and_certified_adapter_with_provenance_is_loaded(
    world: World, log: Path, evidence: dict[str, bytes], tmp_path: Path
) -> None:
    extra = (
        asks(world, "approval", [ALICE])
        + asks(world, "certification", [BOB])
        + asks(world, "https://slsa.dev/provenance/v1", [world.stack.ci_identity()])
    )
    (tmp_path / "provenance.json").write_bytes(evidence["provenance"])
    given = (evidence["alice"], evidence["passed"], str(tmp_path / "provenance.json"))
    load(world, log, extra, given)
    proved = {check.code: check.message for check in observed(log)[-1].checks}
    assert ALICE in proved["release.approved"]
    assert BOB in proved["behaviour.certified"]
    assert world.stack.ci_identity() in proved["evidence.present"]


@pytest.mark.parametrize(
    ("kind", "signers", "given", "code", "found"),
    [
        ("approval", [ALICE], [], "release.approved", "found none"),
        ("approval", [ALICE], ["bob"], "release.approved", f"signed by {BOB}"),
        ("approval", [ALICE], ["passed"], "release.approved", "found none"),
        ("approval", [ALICE], ["other version"], "release.approved", "for acme/adapter 0.9.0"),
        ("approval", [ALICE], ["other adapter"], "release.approved", "found none"),
        ("certification", [BOB], ["failed"], "behaviour.certified", "that failed"),
        ("certification", [BOB], ["failed", "passed"], "behaviour.certified", "whose later certification failed"),
        ("approval", [ALICE], ["approval of the files"], "release.approved", "about the files, and not about"),
        ("certification", [ALICE], ["passed"], "behaviour.certified", f"signed by {BOB}"),
        ("https://slsa.dev/provenance/v1", [ALICE], ["provenance"], "evidence.present", "signed by https://"),
    ],
)
def test_evidence_that_is_not_what_the_policy_asks_for_is_a_denial_that_says_so(
    world: World,
    log: Path,
    evidence: dict[str, bytes],
    *,
    kind: str,
    signers: list[str],
    given: list[str],
    code: str,
    found: str,
) -> None:
    with pytest.raises(PolicyDenied) as caught:
        load(world, log, asks(world, kind, signers), [evidence[name] for name in given])
    (reason,) = caught.value.reasons
    assert reason.startswith(f"[{code}]")
    assert found in reason


def test_a_part_of_the_files_is_not_the_adapter(world: World, log: Path, evidence: dict[str, bytes]) -> None:
    extra = asks(world, "https://slsa.dev/provenance/v1", [world.stack.ci_identity()])
    with pytest.raises(PolicyDenied, match=r"evidence\.present"):
        load(world, log, extra, [evidence["provenance of a part"]])


def test_the_publisher_cannot_approve_its_own_release(world: World, log: Path, evidence: dict[str, bytes]) -> None:
    extra = asks(world, "approval", [world.stack.ci_identity()])
    with pytest.raises(PolicyDenied, match="could have signed the manifest too"):
        load(world, log, extra, [evidence["publisher"]])


def test_two_persons_are_two_persons(world: World, log: Path, evidence: dict[str, bytes]) -> None:
    extra = asks(world, "approval", [ALICE, BOB], "distinct = 2")
    load(world, log, extra, [evidence["alice"], evidence["bob"]])
    again = approval(world, ALICE, comment="once more")
    for alone in ([evidence["alice"]], [evidence["alice"], again], [evidence["bob"], evidence["bob"]]):
        with pytest.raises(PolicyDenied, match="1 of 2"):
            load(world, log, extra, alone)


def tampered(bundle: bytes) -> bytes:
    document = json.loads(bundle)
    signature = document["dsseEnvelope"]["signatures"][0]
    signature["sig"] = signature["sig"][:-8] + "AAAAAAA="
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (tampered, SkillwarrantError),
        (lambda _: b"", SkillwarrantError),
        (lambda _: b"{}", SkillwarrantError),
        (lambda bundle: bundle[:-1], SkillwarrantError),
    ],
)
def test_evidence_that_does_not_verify_stops_everything_and_is_named(
    world: World,
    log: Path,
    evidence: dict[str, bytes],
    damage: Callable[[bytes], bytes],
    error: type[Exception],
) -> None:
    model = llama()
    with pytest.raises(error, match="evidence 2 of 2"):
        world.gate(log).activate(
            model, world.adapter, context=PRODUCTION, evidence=[evidence["bob"], damage(evidence["alice"])]
        )
    assert phases(log) == ["refused"]
    assert "evidence 2 of 2" in observed(log)[0].message
    assert untouched(model)


@pytest.mark.parametrize("given", ["bundle.json", b"{}", {"a": b""}, [b"x"] * 65])
def test_evidence_of_another_type_is_misuse(world: World, log: Path, given: Any) -> None:
    with pytest.raises(UsageError, match="evidence"):
        load(world, log, "", given)


def test_a_manifest_is_evidence_of_nothing_about_itself(world: World, log: Path) -> None:
    """It is about these files; who asks for its type asks for it in vain, because its signer is its publisher."""
    extra = asks(
        world, "https://skillwarrant.dev/skill-manifest/v1", [world.stack.ci_identity()], "independent = true"
    )
    with pytest.raises(PolicyDenied, match=r"evidence\.present"):
        load(world, log, extra, [bundle_of(world)])


def test_another_instances_evidence_is_not_believed(world: World, evidence: dict[str, bytes]) -> None:
    from skillwarrant_format.snapshot import Snapshot
    from skillwarrant_verify import trust
    from skillwarrant_verify.defaults import utc_now

    snapshot = Snapshot.read(world.adapter)
    verified = verify(snapshot, bundle_of(world), world.trust, now=utc_now())
    assert len(verify_evidence([evidence["alice"]] * 2, verified, world.trust, now=utc_now())) == 1
    with pytest.raises(SkillwarrantError, match="evidence 1 of 1"):
        verify_evidence([evidence["alice"]], verified, trust.public_good(), now=utc_now())


def test_each_member_of_a_stack_needs_its_own_evidence(world: World, log: Path, evidence: dict[str, bytes]) -> None:
    other = world.signed("approved-too", seed=2)
    gate = world.gate(log, asks(world, "approval", [ALICE]))
    items = [
        StackItem(adapter=world.adapter, adapter_name="a", evidence=[evidence["alice"]]),
        StackItem(adapter=other, adapter_name="b", evidence=[evidence["alice"]]),
    ]
    with pytest.raises(PolicyDenied) as caught:
        gate.activate_stack(llama(), items, context=PRODUCTION)
    assert [reason.partition(" ")[0] for reason in caught.value.reasons] == ["b:"]


def test_a_warning_is_let_through_and_is_on_record_as_tolerated(
    world: World, log: Path, caplog: pytest.LogCaptureFixture
) -> None:
    extra = 'mode = "warn"\nregions = ["eu"]'
    world.gate(log, extra).activate(llama(), world.adapter, context=PRODUCTION)
    assert any("default: tolerated by policy: [region.allowed]" in record.getMessage() for record in caplog.records)
    assert phases(log) == ["intent", "activated"]
    for observation in observed(log):
        tolerated = [check for check in observation.checks if check.tolerated]
        assert [(check.code, check.outcome) for check in tolerated] == [("region.allowed", "not-proved")]
    strict = Check(code="x", outcome="proved", message="x")
    assert "tolerated" not in strict.to_json()


NO_ROLLBACK = "[versions]\nno_rollback = true"


def test_what_was_activated_here_is_known_after_a_restart_and_from_other_processes(world: World, log: Path) -> None:
    gate = world.gate(log, NO_ROLLBACK)
    assert history(Recorder.open(log), "acme/adapter") == History()
    gate.activate(llama(), world.adapter, context=PRODUCTION)
    recorder = Recorder.open(log)
    assert history(recorder, "acme/adapter") == History(highest="1.0.0")
    assert history(recorder, "acme/other") == History()
    from skillwarrant_verify.gate import version_history

    version_history._READERS.clear()  # as a new process begins
    assert history(recorder, "acme/adapter") == History(highest="1.0.0")


def test_a_refusal_counts_as_no_use(world: World, log: Path) -> None:
    with pytest.raises(PolicyDenied):
        world.gate(log, 'regions = ["eu"]').activate(llama(), world.adapter, context=PRODUCTION)
    assert history(Recorder.open(log), "acme/adapter") == History()


def test_a_lower_version_than_was_in_use_is_not_loaded_and_a_restart_does_not_help(world: World, log: Path) -> None:
    newer = world.signed("adapter-2", version="2.0.0", skill="acme/adapter")
    world.gate(log, NO_ROLLBACK).activate(llama(), newer, context=PRODUCTION)
    for _ in range(2):
        gate: Gate = world.gate(log, NO_ROLLBACK)
        with pytest.raises(PolicyDenied, match=r"version\.no-rollback.*2\.0\.0 or higher"):
            gate.activate(llama(), world.adapter, context=PRODUCTION)
    world.gate(log).activate(llama(), world.adapter, context=PRODUCTION)


def test_a_log_that_was_cut_is_no_way_back(world: World, log: Path) -> None:
    gate = world.gate(log, NO_ROLLBACK)
    gate.activate(llama(), world.adapter, context=PRODUCTION)
    path = log / "observations.log"
    history(Recorder.open(log), "acme/adapter")
    path.write_bytes(path.read_bytes()[:-10] + b"0123456789")
    with pytest.raises(AuditError):
        list(Recorder.open(log).records())
