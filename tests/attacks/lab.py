"""Where attacks happen: a Sigstore instance, a signed adapter, a base model, and honest activations to be attacked.

Everything is real: the devstack's services and keys, PEFT, the model, files, the gate and its log. What is shared
(`Lab`) is made once a process and copied before an attacker gets at it.
"""

from __future__ import annotations

import json
import shutil
import unittest.mock
from collections.abc import Callable
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final

import torch
from cryptography import x509
from peft import PeftModel
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

import insider
from builders import IDENTITY, ISSUER
from insider import Insider
from skillwarrant_attest import read_adapter
from skillwarrant_devstack import Devstack
from skillwarrant_format.adapter_files import CONFIG_NAME, WEIGHTS_NAME
from skillwarrant_format.bundle import BUNDLE_NAME, RawBundle
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FilesMismatch, FormatError, SkillwarrantError
from skillwarrant_format.fields import format_time
from skillwarrant_format.manifest import SkillManifest
from skillwarrant_format.snapshot import Snapshot
from skillwarrant_format.statement import Statement, Subject
from skillwarrant_format.strict_json import canonical
from skillwarrant_verify import Context, Gate, LoadOptions, Policy
from skillwarrant_verify.trust import TrustRoot
from world import PRODUCTION, World, llama, logits

__all__ = [
    "BOUND",
    "SETUPS",
    "Attempt",
    "Beside",
    "Bound",
    "Delivered",
    "Forged",
    "ForgedEmail",
    "ForgedGlob",
    "ForgedV2",
    "Lab",
    "Published",
    "Second",
    "flip",
]

Moment = Callable[[], None]


class Lab:
    """What all attempts share; nobody writes to it."""

    def __init__(self, root: Path, stack: Devstack) -> None:
        self.root = root
        self.stack = stack
        self.world = World(root, stack)
        self.insider = Insider()

    @cached_property
    def adapter(self) -> Path:
        return self.world.adapter

    @cached_property
    def files(self) -> dict[str, bytes]:
        """The honest adapter's files, without the bundle."""
        return {path: bytes(file.data) for path, file in Snapshot.read(self.adapter).files.items()}

    @cached_property
    def statement(self) -> Statement:
        """What its publisher signed."""
        return SkillManifest.read(self._payload)[0]

    @cached_property
    def manifest(self) -> SkillManifest:
        return SkillManifest.read(self._payload)[1]

    @cached_property
    def _payload(self) -> bytes:
        return RawBundle.parse((self.adapter / BUNDLE_NAME).read_bytes()).envelope.payload

    @cached_property
    def honest(self) -> torch.Tensor:
        """The answers of the base model with the honest adapter, as PEFT loads it."""
        return logits(PeftModel.from_pretrained(llama(), self.adapter))

    def policy(self, identity: str, *, extra: str = "", rule: str = "", environments: str = "") -> Policy:
        """A policy that trusts one publisher; `extra` goes to its top, `rule` to its end."""
        head = self.world.policy_text(extra).partition("[[publishers]]")[0]
        lines = f'issuer = "{ISSUER}"\nidentity = "{identity}"\nskills = ["acme/*"]\n'
        text = f"{head}[[publishers]]\n{lines}{rule}\n"
        return Policy.parse(text.replace('["production"]', environments or '["production"]').encode())

    def other(self, name: str, **options: Any) -> Path:
        """Another signed adapter, made once."""
        return self.root / name if (self.root / name).exists() else self.world.signed(name, **options)

    def copy(self, to: Path) -> Path:
        return Path(shutil.copytree(self.adapter, to))

    @cached_property
    def _model(self) -> Any:
        return llama()

    def model(self) -> Any:
        """The base model, new."""
        return deepcopy(self._model)


class Attempt:
    """An honest activation, ready to run. An attack changes its attributes, its files, or its model.

    Attributes:
        room: an empty directory of its own.
        adapter: what the gate is asked to load.
        manifest: the bundle, where it is not the one beside the adapter.
        model: the base model.
        keywords: PEFT's own, besides the adapter's name.
        extra: further lines of the policy.
        when: the host's clock.
        at_clock: runs each time the gate reads its clock, with the number of times it did: the first time every
            file has been read and nothing has been decided.
    """

    names: ClassVar[str]

    def __init__(self, lab: Lab, room: Path) -> None:
        self.lab = lab
        self.room = room
        self.log = room / "log"
        self.adapter: Any = None
        self.manifest: Any = None
        self.model: Any = lab.model()
        self.context = PRODUCTION
        self.adapter_name = "default"
        self.keywords: dict[str, bool] = {}
        self.extra = ""
        self.policy: Policy | None = None
        self.trust: TrustRoot = lab.world.trust
        self.when: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.at_clock: Callable[[int], None] = lambda _: None
        self.run: Callable[[], list[Any]] = self.once
        self._read = 0
        self._stack = ExitStack()

    def before(self, target: str, moment: Moment) -> None:
        """Run something each time before a function of the product runs; then the real one runs."""
        self._around(target, before=moment)

    def after(self, target: str, moment: Moment) -> None:
        self._around(target, after=moment)

    def _around(self, target: str, *, before: Moment = lambda: None, after: Moment = lambda: None) -> None:
        patcher = unittest.mock.patch(target)
        real = patcher.get_original()[0]

        def around(*given: Any, **named: Any) -> Any:
            before()
            try:
                return real(*given, **named)
            finally:
                after()

        patcher.new = around
        self._stack.enter_context(patcher)

    def close(self) -> None:
        self._stack.close()

    def clock(self) -> datetime:
        self._read += 1
        self.at_clock(self._read)
        return self.when()

    @cached_property
    def gate(self) -> Gate:
        """Made when it is first used, from the attributes as they are then."""
        return self.new_gate()

    def trusting(self) -> Policy:
        """The policy, where no other is set: one that trusts the publisher."""
        return self.lab.world.policy(self.extra)

    def new_gate(self, policy: Policy | None = None) -> Gate:
        policy = policy or self.policy or self.trusting()
        return self.lab.world.gate(self.log, policy=policy, trust_root=self.trust, clock=self.clock)

    def prepare(self) -> None:
        """What happens between the attack and the activation: writing, signing."""

    def activate(self, name: str | None = None, *, adapter: Any = None, gate: Gate | None = None) -> Any:
        """One activation."""
        return self.answer(
            lambda: (gate or self.gate).activate(
                self.model,
                adapter or self.adapter,
                context=self.context,
                manifest=self.manifest,
                options=LoadOptions(adapter_name=name or self.adapter_name, **self.keywords),
            )
        )

    @staticmethod
    def answer(ask: Callable[[], Any]) -> Any:
        """The model, or the error. What is no error of ours goes through."""
        try:
            return ask()
        except SkillwarrantError as error:
            return error

    def once(self) -> list[Any]:
        return [self.activate()]


class Delivered(Attempt):
    """The honest adapter, as its publisher signed it, in a directory that the attacker can write to."""

    def __init__(self, lab: Lab, room: Path) -> None:
        super().__init__(lab, room)
        self.adapter = lab.copy(room / "adapter")

    @property
    def config(self) -> Path:
        return Path(self.adapter / CONFIG_NAME)

    @property
    def weights(self) -> Path:
        return Path(self.adapter / WEIGHTS_NAME)

    @property
    def bundle(self) -> Path:
        return Path(self.adapter / BUNDLE_NAME)


class Second(Delivered):
    """The same, onto a model that has an honest adapter from the gate already, by the name of `first`."""

    def __init__(self, lab: Lab, room: Path) -> None:
        super().__init__(lab, room)
        self.model = _with_first(lab, room, self.model)
        self.adapter_name = "second"


class Published(Attempt):
    """A malicious publisher, trusted by the policy: the attack is in the files before he signs them.

    Signed with an instance's own keys and not through its services, which is the same to a verifier, and faster.

    Attributes:
        config: `adapter_config.json` as an object; `raw_config` in its place, where it is set.
        tensors: of the weights file; `raw_weights` in their place, where it is set.
        declare: what the manifest says of the adapter in place of what its files say.
        change: a last change of the whole manifest.
    """

    def __init__(self, lab: Lab, room: Path) -> None:
        super().__init__(lab, room)
        self.adapter = room / "adapter"
        self.files = {name: data for name, data in lab.files.items() if name not in (CONFIG_NAME, WEIGHTS_NAME)}
        self.config: dict[str, Any] = json.loads(lab.files[CONFIG_NAME])
        self.raw_config: bytes | None = None
        self.tensors: dict[str, torch.Tensor] = load_tensors(lab.files[WEIGHTS_NAME])
        self.raw_weights: bytes | None = None
        self.declare: dict[str, Any] = {}
        self.change: Callable[[SkillManifest], SkillManifest] = lambda manifest: manifest
        self.trust = lab.insider.trust()
        self.when = lambda: insider.NOW

    def trusting(self) -> Policy:
        return self.lab.policy(IDENTITY, extra=self.extra)

    def prepare(self) -> None:
        weights = save_tensors(self.tensors, {"format": "pt"}) if self.raw_weights is None else self.raw_weights
        config = json.dumps(self.config).encode() if self.raw_config is None else self.raw_config
        self.adapter.mkdir()
        for name, data in {**self.files, CONFIG_NAME: config, WEIGHTS_NAME: weights}.items():
            (self.adapter / name).write_bytes(data)
        bundle = self.lab.insider.bundle(self._statement().raw)
        (self.adapter / BUNDLE_NAME).write_bytes(insider.raw(bundle))

    def _statement(self) -> Statement:
        """As the signer makes it; where the signer would refuse the files, written by hand."""
        try:
            read = read_adapter(self.adapter)
            facts, subjects = read.facts, read.subjects
        except (FormatError, FilesMismatch):
            facts = self.lab.manifest.adapter
            files = sorted(path for path in self.adapter.iterdir() if path.name != BUNDLE_NAME)
            subjects = tuple(Subject(name=path.name, digest=Digest.of(path.read_bytes())) for path in files)
        manifest = replace(self.lab.manifest, adapter=replace(facts, **self.declare))
        return self.change(manifest).to_statement(subjects)


class Beside(Published):
    """The same, onto a model that has an honest adapter from the gate already, by the name of `first`."""

    def __init__(self, lab: Lab, room: Path) -> None:
        super().__init__(lab, room)
        self.model = _with_first(lab, room, self.model)
        self.adapter_name = "second"


class Forged(Attempt):
    """An attacker with every key of a Sigstore instance: bundles that no honest service would make.

    Attributes:
        files: of the adapter.
        payload: what is signed.
        options: of `Insider.bundle` (`version`, `stamped`, `at`, `payload_type`).
        rule: further lines of the policy's rule for this publisher, and after it.
        certificate: of `Insider.certificate`.
        forge: a last change of the bundle's JSON.
        root: the trusted root's JSON.
        max_age: how old the trust root may be.
    """

    version: ClassVar[int] = 1
    identity: ClassVar[str] = IDENTITY
    signer: ClassVar[str] = IDENTITY

    def __init__(self, lab: Lab, room: Path) -> None:
        super().__init__(lab, room)
        self.insider = lab.insider
        self.files = dict(lab.files)
        self.payload: bytes = lab.statement.raw
        self.options: dict[str, Any] = {"version": self.version}
        self.rule = ""
        self.certificate: dict[str, Any] = {"names": [self.name(self.signer)]}
        self.forge: Callable[[dict[str, Any]], Any] = lambda bundle: bundle
        self.root = lab.insider.root()
        self.max_age: timedelta | None = None
        self.when = lambda: insider.NOW

    def trusting(self) -> Policy:
        return self.lab.policy(self.identity, extra=self.extra, rule=self.rule)

    def name(self, identity: str) -> x509.GeneralName:
        """A subject alternative name of the kind that Fulcio makes for this identity."""
        uri = "://" in identity
        return x509.UniformResourceIdentifier(identity) if uri else x509.RFC822Name(identity)

    def predicate(self, **fields: Any) -> None:
        """Sign a predicate with other fields; None takes one away."""
        document = json.loads(self.payload)
        document["predicate"] = {**document["predicate"], **fields}
        document["predicate"] = {key: item for key, item in document["predicate"].items() if item is not None}
        self.payload = canonical(document)

    def statement(self, change: Callable[[dict[str, Any]], Any]) -> None:
        """Sign a statement that was changed, in canonical form."""
        document = json.loads(self.payload)
        change(document)
        self.payload = canonical(document)

    def prepare(self) -> None:
        options = {"certificate": self.insider.certificate(**self.certificate), **self.options}
        bundle = self.insider.bundle(self.payload, **options)
        forged = self.forge(bundle)
        document = bundle if forged is None else forged
        self.manifest = document if isinstance(document, bytes) else insider.raw(document)
        self.trust = self.insider.trust(self.root, max_age=self.max_age)
        self.adapter = Snapshot.of(self.files, "a mirror")


class ForgedV2(Forged):
    """The same with Rekor v2: no integrated time, a timestamp of the instance's authority in its place."""

    version = 2


class ForgedGlob(Forged):
    """The same with a policy that trusts every tag of one workflow."""

    identity = "https://github.com/acme/skills/.github/workflows/release.yml@refs/tags/v*"


class ForgedEmail(Forged):
    """The same with a person for a publisher."""

    identity = signer = "release@acme.example"


BOUND: Final = Context(
    environment="production", region="eu-west-1", operator="bank", system_prompt="You are a kind caf\u00e9 owner."
)


class Bound(Forged):
    """The same with a manifest that sets every constraint there is, in a context that meets them all."""

    def __init__(self, lab: Lab, room: Path) -> None:
        super().__init__(lab, room)
        self.context = BOUND
        begin, end = insider.NOW - timedelta(hours=1), insider.NOW + timedelta(days=10)
        deployment = {
            "environments": ["production"],
            "regions": ["eu-central-1", "eu-west-1"],
            "operators": ["bank"],
            "systemPrompts": [{"sha256": Digest.of(str(BOUND.system_prompt).encode()).hex}],
            "notBefore": format_time(begin),
            "notAfter": format_time(end),
        }
        self.predicate(deployment=deployment)

    def trusting(self) -> Policy:
        return self.lab.policy(self.identity, environments='["production", "staging"]')


SETUPS: Final[tuple[type[Attempt], ...]] = (
    Delivered,
    Second,
    Published,
    Beside,
    Bound,
    Forged,
    ForgedV2,
    ForgedGlob,
    ForgedEmail,
)


def _with_first(lab: Lab, room: Path, model: Any) -> PeftModel:
    options = LoadOptions(adapter_name="first")
    return lab.world.gate(room / "first").activate(model, lab.adapter, context=PRODUCTION, options=options)


def flip(path: Path) -> None:
    """One bit of the last byte."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
