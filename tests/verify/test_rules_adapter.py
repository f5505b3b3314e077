"""What an adapter is, is proved from what was read of its files; what the manifest says of it is held to that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from builders import adapter, config, facts, manifest, verified
from skillwarrant_format.adapter_files import CONFIG_NAME, WEIGHTS_NAME
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FilesMismatch, FormatError
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.manifest import SkillManifest
from skillwarrant_format.snapshot import Snapshot
from skillwarrant_format.statement import Subject
from skillwarrant_verify.deciding.adapter_seen import AdapterSeen
from skillwarrant_verify.deciding.decide import decide, decide_document
from skillwarrant_verify.deciding.decision import Finding
from skillwarrant_verify.deciding.decision_input import from_document, to_document
from skillwarrant_verify.deciding.facts import Facts
from skillwarrant_verify.deciding.file_seen import Content, FileSeen
from skillwarrant_verify.deciding.warrant import SupposedWarrant
from test_decide import policy

HONEST = (FileSeen(name=CONFIG_NAME, content="other"), FileSeen(name=WEIGHTS_NAME, content="safetensors"))


def with_files(*files: FileSeen, signed: tuple[str, ...] | None = None) -> Facts:
    """As if the reader had let these pass: signed with them, where nothing else is said."""
    subjects = tuple(
        Subject(name=name, digest=Digest.of(b"x")) for name in signed or [file.name for file in files] or ["x.md"]
    )
    found = verified()
    warrant = SupposedWarrant(
        manifest=found.manifest,
        signer=found.signer,
        signed_at=found.signed_at,
        log=found.log,
        bundle=found.bundle,
        statement_digest=found.statement_digest,
        subjects=subjects,
    )
    return replace(facts(), warrant=warrant, adapter=adapter(files=files))


def denials(given: Facts) -> dict[str, Finding]:
    return {finding.code: finding for finding in decide(policy(), given).reasons}


def test_the_plain_files_of_an_adapter_are_safe() -> None:
    more = [FileSeen(name=name, content="other") for name in ("LICENSE", "README.md", "a/b.TXT", "tokenizer.model")]
    assert denials(with_files(*HONEST, *more)) == {}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        *[(name, "other", "pickle") for name in ("adapter_model.bin", "a/optimizer.pt", "x.PKL", "scaler.joblib")],
        *[
            (name, "other", "does not have")
            for name in ("modeling.py", "run.sh", "x", "x.md.exe", "license", "x.so")
        ],
        *[(name, "other", "hidden") for name in (".env", "a/.git/config.json", ".md")],
        *[(name, "other", "path") for name in ("../x.md", "/x.md", "a//x.md", "./x.md", "x.md/", "a/../x.md")],
        ("other.safetensors", "safetensors", "weights that are not"),
        ("a/adapter_model.safetensors", "safetensors", "weights that are not"),
        ("README.md", "pickle", "its bytes are pickle"),
        ("README.md", "safetensors", "its bytes are safetensors"),
    ],
)
def test_a_file_of_another_kind_is_denied_whoever_let_it_pass(name: str, content: Content, says: str) -> None:
    found = denials(with_files(*HONEST, FileSeen(name=name, content=content)))
    assert found.keys() == {"files.safe"}
    assert name in str(found["files.safe"].found)
    assert says in str(found["files.safe"].found)
    assert found["files.safe"].fix


@pytest.mark.parametrize("content", ["other", "pickle"])
def test_weights_that_are_not_safetensors_are_denied(content: Content) -> None:
    found = denials(with_files(HONEST[0], FileSeen(name=WEIGHTS_NAME, content=content)))
    assert found.keys() == {"files.safe"}


@pytest.mark.parametrize("files", [(), HONEST[:1], HONEST[1:]])
def test_without_configuration_and_weights_nothing_is_proved(files: tuple[FileSeen, ...]) -> None:
    assert "files.safe" in denials(with_files(*files))


def test_what_was_read_is_what_was_signed() -> None:
    extra = FileSeen(name="README.md", content="other")
    signed = (CONFIG_NAME, WEIGHTS_NAME)
    assert denials(with_files(*HONEST, extra, signed=signed)).keys() == {"files.exact"}
    assert denials(with_files(*HONEST, signed=(*signed, "README.md"))).keys() == {"files.exact"}


@pytest.mark.parametrize(
    "files",
    [
        None,
        [],
        {},
        "adapter_config.json",
        ["adapter_config.json"],
        [{"name": CONFIG_NAME}],
        [{"content": "other"}],
        [{"name": CONFIG_NAME, "content": "other", "more": 1}],
        [{"name": CONFIG_NAME, "content": "text"}],
        [{"name": "", "content": "other"}],
        [{"name": 1, "content": "other"}],
        [{"name": "b", "content": "other"}, {"name": "a", "content": "other"}],
        [{"name": "a", "content": "other"}, {"name": "a", "content": "other"}],
    ],
)
def test_a_document_that_does_not_say_which_files_were_seen_is_denied(files: Any) -> None:
    document: Any = to_document(facts())
    kept = {key: value for key, value in document["adapter"].items() if key != "files"}
    given = {**document, "adapter": {**kept, "files": files} if files is not None else kept}
    (finding,) = decide_document(policy(), given).reasons
    assert finding.code == "input.malformed"
    assert finding.path.startswith("adapter")


def test_the_reader_refuses_before_any_decision_too() -> None:
    for name, data in (("adapter_model.bin", b""), ("README.md", b"\x80\x04")):
        with pytest.raises(FilesMismatch, match="pickle"):
            Snapshot.of({CONFIG_NAME: b"{}", WEIGHTS_NAME: b"", name: data})


# What the manifest says of the adapter

SAYS = {"rank": 8, "alpha": 16, "task_type": "CAUSAL_LM", "target_modules": ("q_proj", "v_proj")}


def honest() -> AdapterSeen:
    return adapter(config(r=8, lora_alpha=16, task_type="CAUSAL_LM", target_modules=["v_proj", "q_proj"]))


def stated(**changes: Any) -> SkillManifest:
    return manifest(adapter=replace(manifest().adapter, **{**SAYS, **changes}))


def test_a_manifest_that_says_what_the_files_say_is_proved() -> None:
    assert denials(facts(stated(), adapter=honest())) == {}
    assert denials(facts(stated(alpha=16.0), adapter=honest())) == {}
    assert denials(facts(stated(target_modules=("v_proj", "q_proj")), adapter=honest())) == {}


@pytest.mark.parametrize("key", SAYS)
def test_what_a_manifest_leaves_out_it_does_not_claim(key: str) -> None:
    assert denials(facts(stated(**{key: () if key == "target_modules" else None}), adapter=honest())) == {}


@pytest.mark.parametrize(
    ("changes", "expected", "found"),
    [
        ({"rank": 64}, "rank 8", "rank 64"),
        ({"alpha": 16.5}, "alpha 16", "alpha 16.5"),
        ({"alpha": -16}, "alpha 16", "alpha -16"),
        ({"task_type": "causal_lm"}, "task type CAUSAL_LM", "task type causal_lm"),
        ({"target_modules": ("q_proj",)}, "target modules q_proj, v_proj", "target modules q_proj"),
        ({"parameters": 5}, "parameters 4", "parameters 5"),
        ({"tensors": 2}, "tensors 1", "tensors 2"),
        ({"peft_type": "DORA"}, "method LORA", "method DORA"),
        ({"hazards": ("random-init",)}, "hazards none", "hazards random-init"),
        ({"changes_base": True}, "hazards none", "hazards changes-base"),
        ({"rank": 4, "alpha": 1}, "rank 8, alpha 16", "rank 4, alpha 1"),
    ],
)
def test_a_manifest_that_says_otherwise_is_denied(changes: dict[str, Any], expected: str, found: str) -> None:
    denied = denials(facts(stated(**changes), adapter=honest()))
    assert denied.keys() == {"adapter.as-declared"}
    finding = denied["adapter.as-declared"]
    assert (finding.expected, finding.found, bool(finding.fix)) == (expected, found, True)


@pytest.mark.parametrize(
    ("key", "option"), [("rank", "r"), ("alpha", "lora_alpha"), ("task_type", "task_type"), ("target_modules", "x")]
)
def test_a_manifest_that_states_what_the_files_do_not_is_denied(key: str, option: str) -> None:
    """A configuration without the option: the claim is about nothing."""
    options = {"r": 8, "lora_alpha": 16, "task_type": "CAUSAL_LM", "target_modules": ["q_proj", "v_proj"]}
    seen = adapter(config(**{**options, option: None, **({"target_modules": None} if option == "x" else {})}))
    assert denials(facts(stated(), adapter=seen)).keys() == {"adapter.as-declared"}


def test_the_stated_rank_is_the_configurations_and_the_limits_is_the_largest() -> None:
    seen = adapter(config(r=8, rank_pattern={"q_proj": 64}))
    assert (seen.default_rank, seen.rank) == (8, 64)
    assert denials(facts(manifest(adapter=replace(manifest().adapter, rank=8)), adapter=seen)) == {}


def test_a_factor_that_no_document_holds_is_not_one_that_a_manifest_can_state() -> None:
    """A whole number from 2^53 on: JSON writes it in digits, which are then refused."""
    seen = adapter(config(lora_alpha=1e16))
    assert seen.default_alpha is None
    assert from_document(to_document(facts(adapter=seen))).adapter == seen
    with pytest.raises(FormatError):
        SkillManifest.read(stated(alpha=1e16).to_statement((Subject(name="x", digest=Digest.of(b"")),)).raw)


def test_the_fingerprint_is_not_the_rules_business() -> None:
    """Contents are compared when they are loaded: here nobody has hashed them."""
    other = replace(manifest().adapter, tensors_digest=Fingerprint(digest=Digest.of(b"other")))
    assert denials(facts(manifest(adapter=other))) == {}
