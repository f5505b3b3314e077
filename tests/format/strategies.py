"""Hypothesis strategies for whole statements, manifests and observations, and for what an attacker makes of them.

Everything drawn here is acceptable; `mutants` is what is not known to be.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from hypothesis import strategies as st

from skillwarrant_format.digest import Digest
from skillwarrant_format.dsse import Envelope, Signature
from skillwarrant_format.fingerprint import SCHEME, Fingerprint
from skillwarrant_format.limits import MAX_JSON_INTEGER
from skillwarrant_format.manifest import (
    AdapterFacts,
    BaseModel,
    Cast,
    Composition,
    Deployment,
    Evidence,
    Publisher,
    Skill,
    SkillManifest,
    TrainingData,
)
from skillwarrant_format.manifest_facts import CAST_DTYPES, CAST_KINDS
from skillwarrant_format.names import LABEL, PACKAGE, SEMVER, SKILL_NAME, SKILL_PATTERN, VERSION_RANGE
from skillwarrant_format.observation import (
    BaseSeen,
    Change,
    Check,
    Ended,
    LogPlace,
    Observation,
    Phase,
    PolicyOrigin,
    PolicyUsed,
    SkillSeen,
    Source,
    TrustUsed,
)
from skillwarrant_format.observation_change import ChangeKind
from skillwarrant_format.policy_bundle import PolicyBundle
from skillwarrant_format.statement import Statement, Subject

PRINTABLE = st.one_of(st.just(" "), st.characters(exclude_categories=("C", "Z")))
texts = st.text(PRINTABLE, min_size=1, max_size=20)
paragraphs = st.text(st.one_of(st.sampled_from("\n\t"), PRINTABLE), min_size=1, max_size=40)
labels = st.from_regex(LABEL, fullmatch=True)
counts = st.integers(1, MAX_JSON_INTEGER)
digests = st.binary(min_size=32, max_size=32).map(lambda raw: Digest(raw.hex()))
fingerprints = digests.map(lambda digest: Fingerprint(scheme=SCHEME, digest=digest))
times = st.integers(0, 2**31).map(lambda seconds: datetime(1, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds * 100))
skill_names = st.from_regex(SKILL_NAME, fullmatch=True).filter(lambda name: len(name) <= 128)
versions = st.from_regex(SEMVER, fullmatch=True).filter(lambda version: len(version) <= 64)
ranges = st.from_regex(VERSION_RANGE, fullmatch=True).filter(lambda text: len(text) <= 128)


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), strategy)


def tuples_of(strategy: st.SearchStrategy[Any], *, least: int = 0, **options: Any) -> st.SearchStrategy[Any]:
    return st.lists(strategy, min_size=least, max_size=3, **options).map(tuple)


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-MAX_JSON_INTEGER, MAX_JSON_INTEGER),
        # A whole float beyond 2^53 canonicalises to an integer that may not be read back, so it is not acceptable.
        st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: not MAX_JSON_INTEGER < abs(x) < 1e21),
        st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=8),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=6), inner
        ),
    ),
    max_leaves=12,
)
json_objects = st.dictionaries(texts, json_values, max_size=4)

subjects = st.builds(Subject, name=texts, digest=digests)
statements = st.builds(
    Statement.build,
    subjects=st.lists(subjects, min_size=1, max_size=5, unique_by=lambda subject: subject.name),
    predicate_type=texts,
    predicate=json_objects.filter(bool),
)
envelopes = st.builds(
    Envelope,
    payload_type=texts,
    payload=st.binary(min_size=1, max_size=40),
    signature=st.builds(Signature, sig=st.binary(min_size=1, max_size=80), keyid=st.one_of(st.just(""), texts)),
)

_FILES = (
    "LICENSE",
    "README.md",
    "adapter_config.json",
    "adapter_model.safetensors",
    "docs/überblick.md",
    "tokenizer/vocab.txt",
)
adapter_subjects = st.sets(st.sampled_from(_FILES), min_size=1).flatmap(
    lambda names: st.tuples(*(st.builds(Subject, name=st.just(name), digest=digests) for name in sorted(names)))
)


@st.composite
def deployments(draw: st.DrawFn) -> Deployment:
    window = sorted(draw(st.lists(times, max_size=2, unique=True)))
    start, end = (None, None) if not window else (window[0], window[1] if len(window) == 2 else None)
    return Deployment(
        environments=draw(tuples_of(labels, least=1, unique=True)),
        not_before=start,
        not_after=end,
        regions=draw(tuples_of(labels, unique=True)),
        operators=draw(tuples_of(texts, unique=True)),
        system_prompts=draw(tuples_of(digests, unique=True)),
    )


casts = st.builds(
    Cast, dtype=st.sampled_from(CAST_DTYPES), kind=st.sampled_from(CAST_KINDS), fingerprint=fingerprints
)


def is_distinct(found: list[Any]) -> bool:
    return len(set(found)) == len(found)


manifests = st.builds(
    SkillManifest,
    skill=st.builds(Skill, name=skill_names, version=versions, description=paragraphs),
    publisher=st.builds(Publisher, name=texts, contact=optional(texts)),
    adapter=st.builds(
        AdapterFacts,
        peft_type=labels,
        parameters=counts,
        tensors=counts,
        tensors_digest=fingerprints,
        changes_base=st.booleans(),
        task_type=optional(texts),
        peft_version=optional(texts),
        rank=optional(counts),
        alpha=optional(st.one_of(counts, st.floats(-1e6, 1e6).filter(math.isfinite))),
        target_modules=tuples_of(texts, unique=True),
        hazards=tuples_of(labels, unique=True),
    ),
    base_models=tuples_of(
        st.builds(
            BaseModel,
            name=texts,
            architecture=texts,
            parameters=counts,
            dtype=labels,
            fingerprint=fingerprints,
            revision=optional(texts),
            quantization=optional(texts),
            casts=tuples_of(casts, unique_by=lambda cast: cast.dtype),
        ),
        least=1,
        unique_by=lambda base: base.fingerprint,
    ).filter(lambda bases: is_distinct([one for base in bases for one in base.fingerprints])),
    deployment=deployments(),
    policy_class=labels,
    composition=st.builds(
        Composition,
        stackable=st.booleans(),
        max_skills=optional(counts),
        allow_with=tuples_of(st.from_regex(SKILL_PATTERN, fullmatch=True), unique=True),
        deny_with=tuples_of(st.from_regex(SKILL_PATTERN, fullmatch=True), unique=True),
    ),
    training_data=tuples_of(
        st.builds(
            TrainingData, name=texts, licence=texts, rights=texts, uri=optional(texts), digest=optional(digests)
        )
    ),
    requires=st.dictionaries(st.from_regex(PACKAGE, fullmatch=True), ranges, max_size=3).map(
        lambda found: tuple(sorted(found.items()))
    ),
    evidence=tuples_of(
        st.builds(Evidence, name=texts, digest=digests, uri=optional(texts), media_type=optional(texts))
    ),
)

activations = st.binary(min_size=16, max_size=16).map(bytes.hex)

log_places = st.builds(
    LogPlace,
    origin=texts,
    log_id=digests.map(lambda digest: digest.hex),
    index=st.integers(0, MAX_JSON_INTEGER),
    integrated_time=optional(times),
)

observations = st.builds(
    Observation,
    phase=st.sampled_from(get_args(Phase)),
    activation=activations,
    time=times,
    message=texts,
    adapters=tuples_of(texts, unique=True),
    checks=tuples_of(
        st.builds(
            Check,
            code=texts,
            outcome=st.sampled_from(["proved", "not-proved", "not-checked"]),
            message=texts,
            adapter=optional(texts),
            tolerated=st.booleans(),
        ).map(lambda check: replace(check, tolerated=check.tolerated and check.outcome != "proved"))
    ),
    skills=tuples_of(
        st.builds(
            SkillSeen,
            adapter=texts,
            name=skill_names,
            version=versions,
            manifest=digests,
            statement=digests,
            identity=texts,
            issuer=texts,
            log=log_places,
            base=optional(st.builds(BaseSeen, name=texts, form=optional(texts))),
        )
    ),
    policy=st.builds(
        PolicyUsed,
        name=texts,
        revision=st.integers(0, MAX_JSON_INTEGER),
        digest=digests,
        engine=texts,
        origin=optional(
            st.builds(PolicyOrigin, bundle=digests, identity=texts, issuer=texts, log=log_places, not_after=times)
        ),
        notice=optional(texts),
    ),
    inputs=optional(digests),
    base=optional(fingerprints),
    trust=optional(st.builds(TrustUsed, source=texts, digest=digests, retrieved_at=times)),
    context=json_objects,
    runtime=json_objects,
    base_after=optional(fingerprints),
    change=optional(
        st.builds(
            Change,
            kind=st.sampled_from(get_args(ChangeKind)),
            sources=tuples_of(
                st.builds(Source, adapter=texts, weight=optional(st.floats(-1e6, 1e6).filter(math.isfinite))),
                least=1,
            ),
            options=json_objects,
            adapter=optional(texts),
            ends=tuples_of(
                st.builds(Ended, activation=activations, adapters=tuples_of(texts, least=1, unique=True))
            ),
        )
    ),
)

policy_windows = st.lists(times, min_size=1, max_size=2, unique=True).map(sorted)
policy_bundles = policy_windows.flatmap(
    lambda window: st.builds(
        PolicyBundle,
        name=texts,
        revision=counts,
        api_version=texts,
        document=st.just("policy.toml"),
        not_after=st.just(window[-1]),
        not_before=st.just(window[0] if len(window) == 2 else None),
    )
)

_JUNK: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    MAX_JSON_INTEGER,
    "",
    "x",
    "two\nlines",
    "\u202e",
    "0" * 64,
    "A" * 64,
    "2026-02-30T00:00:00Z",
    "2026-11-22T10:00:00Z",
    "x" * 513,
    [],
    ["x"],
    ["x", "x"],
    [None],
    {},
    {"sha256": "0" * 64},
    {"sha256": "0" * 64, "sha512": "0" * 128},
    {"x": 1},
)


@st.composite
def mutants(draw: st.DrawFn, documents: st.SearchStrategy[Any]) -> Any:
    """A document with one, two or three values, at any depth, dropped, replaced, renamed, doubled or added."""
    document = copy.deepcopy(draw(documents))
    for _ in range(draw(st.sampled_from([1, 1, 1, 1, 2, 3]))):
        places = [place for place in _places(document) if place[0]]
        holder, key = draw(st.sampled_from(places)) if places else (document, None)
        _mutate(draw, holder, key)
    return document


def _places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of every value below."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in [(value, key), *_places(value[key])]]


def _mutate(draw: st.DrawFn, holder: Any, key: Any) -> None:
    how = draw(st.sampled_from(["drop", "replace", "same type", "same type", "rename", "double", "add"]))
    same = [value for value in _JUNK if key is not None and type(value) is type(holder[key])]
    junk = copy.deepcopy(draw(st.sampled_from(same if how == "same type" and same else _JUNK)))
    if how == "drop" and key is not None:
        del holder[key]
    elif how == "rename" and isinstance(holder, dict) and key is not None:
        value = holder.pop(key)
        holder[draw(st.sampled_from([key.upper(), key.title(), f"{key}_", f"x-{key}"]))] = value
    elif how == "double" and isinstance(holder, list) and key is not None:
        holder.append(copy.deepcopy(holder[key]))
    elif how == "add" and isinstance(holder, dict):
        holder[draw(texts)] = junk
    elif key is not None:
        holder[key] = junk
