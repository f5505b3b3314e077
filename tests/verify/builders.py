"""Facts for the pure rules. Only here is a `Verified` made without a signature: the seal is broken on purpose."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_format.digest import Digest
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.manifest import (
    AdapterFacts,
    BaseModel,
    Composition,
    Deployment,
    Publisher,
    Skill,
    SkillManifest,
)
from skillwarrant_format.observation import LogPlace, TrustUsed
from skillwarrant_format.snapshot import Snapshot
from skillwarrant_format.statement import Subject
from skillwarrant_format.strict_json import canonical
from skillwarrant_verify import Context
from skillwarrant_verify.deciding.adapter_seen import AdapterSeen
from skillwarrant_verify.deciding.context_seen import ContextSeen
from skillwarrant_verify.deciding.decide import Facts
from skillwarrant_verify.deciding.evidence_seen import EvidenceSeen
from skillwarrant_verify.proof import signature
from skillwarrant_verify.proof.certificate import Signer
from skillwarrant_verify.proof.signature import Verified
from skillwarrant_verify.proof.trusted_root import Window

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
ISSUER = "https://token.actions.githubusercontent.com"
IDENTITY = "https://github.com/acme/skills/.github/workflows/release.yml@refs/tags/v1.0.0"
REVIEWER = "https://github.com/acme/reviews/.github/workflows/review.yml@refs/heads/main"
FILES = ("adapter_config.json", "adapter_model.safetensors")
BASE = Fingerprint(digest=Digest.of(b"the base"))


def manifest(**changes: Any) -> SkillManifest:
    """A plain LoRA for production, vouched for BASE."""
    plain = SkillManifest(
        skill=Skill(name="acme/support-lora", version="1.0.0", description="Answers as the support desk does."),
        publisher=Publisher(name="Acme"),
        adapter=AdapterFacts(
            peft_type="LORA",
            parameters=4,
            tensors=1,
            tensors_digest=Fingerprint(digest=Digest.of(b"tensors")),
            changes_base=False,
        ),
        base_models=(
            BaseModel(
                name="acme/base-7b",
                architecture="LlamaForCausalLM",
                parameters=10,
                dtype="bfloat16",
                fingerprint=BASE,
            ),
        ),
        deployment=Deployment(environments=("production",)),
        policy_class="general",
        composition=Composition(),
    )
    return replace(plain, **changes)


def verified(
    found: SkillManifest | None = None,
    *,
    identity: str = IDENTITY,
    issuer: str = ISSUER,
    signed_at: datetime = NOW - timedelta(days=10),
) -> Verified:
    """As if `signature.verify` had returned it."""
    found = found or manifest()
    return Verified(
        statement=found.to_statement(tuple(Subject(name=name, digest=Digest.of(name.encode())) for name in FILES)),
        manifest=found,
        signer=Signer(
            identity=identity, issuer=issuer, kind="uri" if "://" in identity else "email", extensions={}
        ),
        log=LogPlace(origin="rekor.test", log_id="00" * 32, index=7),
        bundle=Digest.of(b"bundle"),
        signed_at=signed_at,
        certificate=Window(signed_at, signed_at + timedelta(minutes=10)),
        trust=TrustUsed(source="test", digest=Digest.of(b"root"), retrieved_at=NOW),
        seal=signature._SEAL,
    )


def config(**options: Any) -> AdapterConfig:
    """A LoRA's configuration with options."""
    document = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], **options}
    return AdapterConfig.parse(json.dumps(document).encode())


def adapter(found: AdapterConfig | None = None, **changes: Any) -> AdapterSeen:
    """An adapter with two small tensors and this configuration."""
    header, data = b'{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}', bytes(16)
    weights = len(header).to_bytes(8, "little") + header + data
    found = found or config()
    files = {"adapter_config.json": canonical(found.raw), "adapter_model.safetensors": weights}
    return replace(AdapterSeen.of(Snapshot.of(files), found), **changes)


def evidence(**changes: Any) -> EvidenceSeen:
    """An attestation about the adapter, as if its signature had been verified."""
    plain = EvidenceSeen(
        predicate_type="https://slsa.dev/provenance/v1",
        predicate={"buildDefinition": {"buildType": "https://acme.example/train/v1"}},
        about="files",
        signer=Signer(identity=REVIEWER, issuer=ISSUER, kind="uri", extensions={}),
        signed_at=NOW - timedelta(days=5),
        bundle=Digest.of(b"evidence"),
        statement=Digest.of(b"evidence's statement"),
    )
    return replace(plain, **changes)


def facts(found: SkillManifest | None = None, **changes: Any) -> Facts:
    """Facts that the plain policy allows. `verified`, `config` and `context` may be what a gate has."""
    plain = Facts.of(
        verified=verified(found),
        adapter=adapter(),
        base=BASE,
        companions=(),
        context=Context(environment="production"),
        now=NOW,
        versions={},
    )
    return changed(plain, **changes)


def changed(plain: Facts, **changes: Any) -> Facts:
    """Other facts."""
    if "verified" in changes:
        changes["warrant"] = changes.pop("verified")
    if "config" in changes:
        changes["adapter"] = adapter(changes.pop("config"))
    if isinstance(changes.get("context"), Context):
        changes["context"] = ContextSeen.of(changes["context"])
    return replace(plain, **changes)
