"""Hypothesis strategies for facts: everything that a decision can be made from, and what is not known to be."""

from __future__ import annotations

import strategies as common
from hypothesis import strategies as st

from builders import verified
from skillwarrant_format.limits import MAX_JSON_INTEGER
from skillwarrant_format.observation import LogPlace
from skillwarrant_verify.deciding.adapter_seen import AdapterSeen
from skillwarrant_verify.deciding.composition import Companion
from skillwarrant_verify.deciding.context_seen import ContextSeen, OperatorSeen
from skillwarrant_verify.deciding.evidence_seen import EvidenceSeen
from skillwarrant_verify.deciding.facts import Facts, History
from skillwarrant_verify.deciding.file_seen import FileSeen
from skillwarrant_verify.deciding.warrant import SupposedWarrant
from skillwarrant_verify.proof.certificate import Signer

optional, tuples_of, texts, labels = common.optional, common.tuples_of, common.texts, common.labels
sizes = st.integers(0, MAX_JSON_INTEGER)
objects = st.dictionaries(texts, common.json_values, max_size=3)

signers = st.builds(
    Signer,
    identity=texts,
    issuer=texts,
    kind=st.sampled_from(["uri", "email", "other"]),
    extensions=st.dictionaries(texts, texts, max_size=2),
)
places = st.builds(
    LogPlace,
    origin=texts,
    log_id=common.digests.map(lambda digest: digest.hex),
    index=sizes,
    integrated_time=optional(common.times),
)
warrants = st.builds(
    SupposedWarrant,
    manifest=common.manifests,
    signer=signers,
    signed_at=common.times,
    log=places,
    bundle=common.digests,
    statement_digest=common.digests,
    subjects=common.adapter_subjects,
)
adapters = st.builds(
    AdapterSeen,
    peft_type=labels,
    changes_base=st.booleans(),
    parameters=sizes,
    tensors=sizes,
    size=sizes,
    task_type=optional(texts),
    target_modules=tuples_of(texts, unique=True),
    hazards=tuples_of(labels, unique=True),
    dtypes=tuples_of(labels, unique=True),
    rank=optional(st.integers(1, MAX_JSON_INTEGER)),
    scaling=optional(st.floats(0, 1e6)),
    files=st.lists(
        st.builds(FileSeen, name=texts, content=st.sampled_from(("safetensors", "pickle", "other"))),
        min_size=1,
        max_size=4,
        unique_by=lambda file: file.name,
    ).map(lambda found: tuple(sorted(found, key=lambda file: file.name))),
    default_rank=optional(st.integers(1, MAX_JSON_INTEGER)),
    default_alpha=optional(st.floats(-1e6, 1e6) | st.integers(-1000, 1000)),
)
verified_operators = st.builds(
    OperatorSeen,
    name=texts,
    verified=st.just(True),
    issuer=texts,
    audience=texts,
    issued_at=common.times,
    expires_at=common.times,
    key_id=texts,
    claims=objects,
)
contexts = st.builds(
    ContextSeen,
    environment=labels,
    region=optional(labels),
    policy_class=optional(labels),
    operator=optional(st.one_of(st.builds(OperatorSeen, name=texts), verified_operators)),
    system_prompt=optional(common.digests),
    session=st.dictionaries(labels, texts, max_size=2),
)
weights = optional(st.one_of(st.floats(), st.integers(-3, 3)))
evidence = st.builds(
    EvidenceSeen,
    predicate_type=texts,
    predicate=objects.filter(bool),
    about=st.sampled_from(["manifest", "statement", "files"]),
    signer=signers,
    signed_at=common.times,
    bundle=common.digests,
    statement=common.digests,
)
facts = st.builds(
    Facts,
    warrant=st.one_of(warrants, common.manifests.map(verified)),
    adapter=adapters,
    base=optional(common.fingerprints),
    companions=tuples_of(
        st.builds(Companion, adapter_name=texts, manifest=optional(common.manifests), weight=weights)
    ),
    context=contexts,
    now=common.times,
    versions=optional(st.dictionaries(st.from_regex(common.PACKAGE, fullmatch=True), texts, max_size=2)),
    alterations=tuples_of(texts),
    weight=weights,
    evidence=tuples_of(evidence),
    history=optional(st.builds(History, highest=optional(common.versions))),
)
