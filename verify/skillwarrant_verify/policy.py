"""The policy document: what a consumer demands, as TOML. Reading it only; deciding is in `decide`.

A policy comes from a path or bytes that the host names, never from inside an adapter. Everything that grants
trust is required and non-empty: a policy that demands nothing cannot be built. Format: docs/reference/policy.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError, PolicyError, Unavailable, shown
from skillwarrant_format.manifest_terms import parse_ranges
from skillwarrant_format.names import LABEL
from skillwarrant_format.observation import PolicyOrigin, PolicyUsed
from skillwarrant_format.policy_pack import PACK_TYPE
from skillwarrant_format.strict_json import JsonObject
from skillwarrant_format.toml import only
from skillwarrant_verify.arguments import check_kind, path_of
from skillwarrant_verify.deciding.decision import Severity
from skillwarrant_verify.deciding.requirement import Rule
from skillwarrant_verify.document.named_files import (
    Files,
    NamedFile,
    files_below,
    parse_files,
    read_all,
    read_rules,
)
from skillwarrant_verify.document.policy_document import PolicyDocument
from skillwarrant_verify.document.policy_evidence import EvidenceRule
from skillwarrant_verify.document.policy_modes import Modes
from skillwarrant_verify.document.policy_reach import ALL, Reach
from skillwarrant_verify.document.policy_reading import (
    KEYS,
    Measure,
    measure,
    rego_engine,
    rego_modules,
    section,
    tables,
    words,
)
from skillwarrant_verify.document.policy_sections import (
    ALLOWABLE_HAZARDS,
    ALTERATIONS,
    AllowedBase,
    CompositionRules,
    OperatorRules,
    PublisherRule,
    parse_publishers,
)
from skillwarrant_verify.document.policy_terms import AdapterLimits, DataRules, Revocations, VersionRules

if TYPE_CHECKING:
    from skillwarrant_verify.rego.modules import RegoModules
    from skillwarrant_verify.rego.opa_http import OpaServer

__all__ = ["API_VERSION", "Measure", "Policy"]

API_VERSION: Final = "skillwarrant.dev/policy/v1"
ENGINE: Final = "native/v1"
_MAX_EVIDENCE: Final = 100  # demands, each of up to 50 signers


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A parsed policy, with the digest of its exact bytes.

    Args:
        environments: where this policy governs; the context's environment must be one of them.
        policy_classes: the manifest's `policyClass` must be one of them.
        publishers: at least one.
        bases: when not empty, the measured base must be one of them, whatever the manifest says.
        max_age_days: oldest manifest accepted, counted from the time its signature was made.
        not_before, not_after: when the policy itself is in force.
        allow_hazards: codes of adapter configuration that this deployment accepts, and `non-finite` for weights.
        allow_alterations: kinds of hooks, patches and foreign adapters that it accepts on the base model.
        measure: how often the base is hashed in full, and what is compared instead.
        composition: what may share a model.
        operators: what must be known of who operates this deployment.
        regions: when not empty, the context's region must be one of them.
        quantizations: when not empty, how the base may be quantised; `none` for one that is not.
        dependencies: package and version range (PEP 440) that must be installed, sorted.
        training_data: what must be declared of the data.
        limits: how much an adapter may be.
        versions: which releases are too low.
        revocations: what is not accepted any more.
        evidence: which further attestations are needed.
        modes: which requirements only warn, and until when.
        asked: code of a requirement -> the line of the document that asks for it.
        rules: of its own, code -> rule; see `user_rules`.
        modules: Rego modules that are evaluated beside the native rules.
        opa: a server of the user's own that is asked too.
        files: what the document names beside it.
        document: all of it, as JSON: what Rego modules read as `data.config`.
        origin: who signed it, where that was verified.
        notice: why it is this one, where another was to take its place.
        place: the absolute path that it was read from, as it was named; None where it came as bytes.
    """

    name: str
    revision: int
    digest: Digest
    environments: tuple[str, ...]
    policy_classes: tuple[str, ...]
    publishers: tuple[PublisherRule, ...]
    bases: tuple[AllowedBase, ...] = ()
    max_age_days: int | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    allow_hazards: tuple[str, ...] = ()
    allow_alterations: tuple[str, ...] = ()
    measure: Measure = "every-load"
    composition: CompositionRules = field(default_factory=CompositionRules)
    operators: OperatorRules = field(default_factory=OperatorRules)
    regions: tuple[str, ...] = ()
    quantizations: tuple[str, ...] = ()
    dependencies: tuple[tuple[str, str], ...] = ()
    training_data: DataRules = field(default_factory=DataRules)
    limits: AdapterLimits = field(default_factory=AdapterLimits)
    versions: VersionRules = field(default_factory=VersionRules)
    revocations: Revocations = field(default_factory=Revocations)
    evidence: tuple[EvidenceRule, ...] = ()
    modes: Modes = field(default_factory=Modes)
    asked: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    rules: Mapping[str, Rule] = field(default_factory=dict, repr=False, compare=False)
    modules: RegoModules | None = field(default=None, repr=False, compare=False)
    opa: OpaServer | None = field(default=None, repr=False, compare=False)
    files: tuple[NamedFile, ...] = ()
    document: JsonObject = field(default_factory=dict, repr=False, compare=False)
    origin: PolicyOrigin | None = None
    notice: str | None = None
    place: Path | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        """One that demands nothing cannot be built, by hand either."""
        for key in ("environments", "policy_classes", "publishers"):
            if not isinstance(found := getattr(self, key), tuple) or not found:
                raise PolicyError(f"policy.{key} demands nothing", expected="a tuple with at least one item")

    @classmethod
    def load(cls, path: Path, *, reach: Reach = ALL) -> Self:
        """Read a policy file. The argument and further errors are those of `parse`.

        Raises:
            PolicyError: not a usable policy; nothing may be decided with it.
            UsageError: this is no path.
            Unavailable: the file cannot be read.
        """
        path = path_of("the policy", path)
        try:
            with path.open("rb") as file:
                data = file.read(limits.MAX_POLICY_BYTES + 1)
        except OSError as error:
            raise Unavailable(
                f"cannot read the policy {path}", found=error.strerror, fix="Name a readable policy file."
            ) from None
        policy = cls.parse(data, name=str(path), files=files_below(path.parent), reach=reach)
        return replace(policy, place=path.absolute())

    @classmethod
    def parse(cls, data: bytes, *, name: str = "policy", files: Files | None = None, reach: Reach = ALL) -> Self:
        """Read a policy document. Of one with `[[rules]]`, this runs their code, unless `reach` says otherwise.

        Args:
            data: TOML; JSON where `name` ends in .json.
            name: of its file, for messages.
            files: gives the files that it names, relative to it.
            reach: whether its own Python runs and its OPA server is asked.

        Raises:
            PolicyError: an unknown key or API version, anything missing, mistyped, empty or contradictory; or a
                file that it names is not the one, or cannot be used.
            UsageError: arguments of another type.
            Unavailable: a file cannot be read, or the Rego engine is not there.
        """
        check_kind("the policy document", data, bytes, "bytes")
        check_kind("name", name, str, "a string")
        try:
            return cls._read(PolicyDocument.parse(data, name=name), files, reach)
        except FormatError as error:
            raise PolicyError(
                f"{name}: {error.message}", expected=error.expected, found=error.found, fix=error.fix
            ) from None

    @classmethod
    def _read(cls, document: PolicyDocument, files: Files | None, reach: Reach) -> Self:
        fields = document.fields
        if document.plain.get("type") == PACK_TYPE:
            raise FormatError(
                "this is a signed policy in one file, and no policy document",
                fix="`skillwarrant policy verify` reads it, and a gate that is given a SignedPolicy.",
            )
        if (version := fields.text("api_version")) != API_VERSION:
            raise FormatError("policy.api_version is unknown", expected=API_VERSION, found=version)
        only(fields, *KEYS)
        python = parse_files(fields, "rules", "module", ".py")
        rego = parse_files(fields, "rego", "file", ".rego")
        rules = reach.rules(read_rules(python, files))
        evidence = tuple(map(EvidenceRule.parse, tables(fields, "evidence", most=_MAX_EVIDENCE)))
        fields.maybe("description", lambda key: fields.text(key, limit=limits.MAX_TEXT_CHARS, multiline=True))
        policy = cls(
            name=fields.text("name", limit=128),
            revision=fields.integer("revision", least=1),
            digest=document.digest,
            environments=fields.texts("environments", least=1, pattern=LABEL),
            policy_classes=fields.texts("policy_classes", least=1, pattern=LABEL),
            publishers=parse_publishers(fields),
            bases=tuple(map(AllowedBase.parse, tables(fields, "bases"))),
            max_age_days=fields.maybe(
                "max_age_days", lambda key: fields.integer(key, least=1, most=limits.MAX_AGE_DAYS)
            ),
            not_before=fields.maybe("not_before", fields.time),
            not_after=fields.maybe("not_after", fields.time),
            allow_hazards=words(fields, "allow_hazards", ALLOWABLE_HAZARDS),
            allow_alterations=words(fields, "allow_alterations", ALTERATIONS),
            measure=measure(fields),
            composition=section(fields, "composition", CompositionRules.parse) or CompositionRules(),
            operators=section(fields, "operators", OperatorRules.parse) or OperatorRules(),
            regions=fields.listed("regions", LABEL),
            quantizations=fields.listed("quantizations"),
            dependencies=fields.maybe("dependencies", lambda key: parse_ranges(fields.object(key))) or (),
            training_data=section(fields, "training_data", DataRules.parse) or DataRules(),
            limits=section(fields, "limits", AdapterLimits.parse) or AdapterLimits(),
            versions=section(fields, "versions", VersionRules.parse) or VersionRules(),
            revocations=section(fields, "revocations", Revocations.parse) or Revocations(),
            evidence=evidence,
            modes=Modes.parse(fields, rules),
            asked=document.asked(rules, [rule.code for rule in evidence]),
            rules=rules,
            modules=rego_modules(read_all(rego, files)),
            opa=section(fields, "opa", reach.opa),
            files=(*python, *rego),
            document=document.plain,
        )
        if policy.not_before and policy.not_after and policy.not_before >= policy.not_after:
            raise FormatError("policy.not_before is not before policy.not_after")
        return policy

    def severity(self, code: str, now: datetime) -> Severity:
        """Whether a requirement that is not proved denies at this time, or only warns."""
        return self.modes.severity(code, now)

    def asked_by(self, code: str) -> str | None:
        """The line that asks for a requirement, `policy.toml:12 environments`; None where every policy does."""
        return self.asked.get(code)

    @property
    def engine(self) -> str:
        """What decides: `native/v1`, and what is asked beside it."""
        rules = ("own rules",) if self.rules else ()
        rego = () if self.modules is None else (rego_engine(),)
        opa = () if self.opa is None else (f"OPA at {self.opa.url}",)
        return shown(" + ".join((ENGINE, *rules, *rego, *opa)), 500)

    def used(self) -> PolicyUsed:
        """What an observation says of this policy."""
        return PolicyUsed(
            name=self.name,
            revision=self.revision,
            digest=self.digest,
            engine=self.engine,
            origin=self.origin,
            notice=self.notice,
        )
