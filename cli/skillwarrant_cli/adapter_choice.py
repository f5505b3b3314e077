"""What a command is asked about: an adapter on disk with its base and evidence, and where it is to be used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skillwarrant_cli import progress
from skillwarrant_cli.operator_choice import OperatorChoice, operator_options
from skillwarrant_cli.options import FILE, PATH
from skillwarrant_format.errors import FormatError, Unavailable, UsageError

if TYPE_CHECKING:
    from skillwarrant_cli.demand import Given
    from skillwarrant_format.fingerprint import Fingerprint
    from skillwarrant_verify.context import Context
    from skillwarrant_verify.trust import TrustRoot

__all__ = ["AdapterChoice", "PlaceChoice", "adapter_options", "place_options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceChoice:
    """Where the adapter is to be used, as the command line says."""

    environment: str | None
    region: str | None
    operator: OperatorChoice
    system_prompt: Path | None

    def context(self) -> Context | None:
        """None where nothing was said.

        Raises:
            UsageError: a place without an environment.
            OperatorInvalid, TrustError, Unavailable: as `OperatorChoice.load`; the prompt cannot be read.
        """
        from skillwarrant_verify.context import Context

        if self.environment is None:
            if self.region or self.operator or self.system_prompt:
                raise UsageError("a place without an environment is given", expected="--environment as well")
            return None
        prompt = None if self.system_prompt is None else _text_of(self.system_prompt)
        return Context(
            environment=self.environment, region=self.region, operator=self.operator.load(), system_prompt=prompt
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterChoice:
    """What belongs to the adapter, as the command line says."""

    bundle: Path | None
    base: Path | None
    base_fingerprint: str | None
    evidence: tuple[Path, ...]
    packages: tuple[str, ...]

    def check(self) -> None:
        """Everything that can be wrong with it before anything is read. Raises UsageError."""
        self._versions()
        self._known_base()

    def gather(self, directory: Path, trust: Callable[[], TrustRoot]) -> Given:
        """Read, verify and measure.

        Args:
            trust: whose signatures count; asked once the adapter is read.

        Raises:
            SkillwarrantError: as `fetch`, `verify` and `verify_evidence` do.
        """
        from skillwarrant_cli.demand import Given
        from skillwarrant_format.adapter_config import AdapterConfig
        from skillwarrant_verify.deciding.adapter_seen import AdapterSeen
        from skillwarrant_verify.proof.attestations import verify_evidence
        from skillwarrant_verify.proof.fetch import fetch, manifest_bytes
        from skillwarrant_verify.proof.signature import verify

        with progress.hashing("reading the adapter") as callback:
            snapshot = fetch(directory, progress=callback)
        manifest = manifest_bytes(snapshot, self.bundle)
        root = trust()
        now = datetime.now(UTC)
        verified = verify(snapshot, manifest, root, now=now)
        return Given(
            verified=verified,
            adapter=AdapterSeen.of(snapshot, AdapterConfig.parse(snapshot.config.data)),
            base=self._known_base() or (None if self.base is None else _measure(self.base)),
            now=now,
            packages=self._versions(),
            evidence=verify_evidence(self.evidence, verified, root, now=now),
        )

    def _versions(self) -> dict[str, str]:
        from packaging.utils import canonicalize_name

        found: dict[str, str] = {}
        for package in self.packages:
            name, _, version = package.partition("=")
            if not name or not version:
                raise UsageError("a package has no version", expected="--package NAME=VERSION", found=package)
            # One package, one spelling (PEP 503), as in a manifest: by another, what is installed here would count.
            found[canonicalize_name(name)] = version
        return found

    def _known_base(self) -> Fingerprint | None:
        from skillwarrant_format.fingerprint import Fingerprint

        if self.base_fingerprint is None:
            return None
        if self.base is not None:
            raise UsageError("a base model is given twice", expected="--base or --base-fingerprint")
        try:
            return Fingerprint.from_text(self.base_fingerprint)
        except FormatError as error:
            raise UsageError(
                f"--base-fingerprint: {error.message}",
                expected=error.expected,
                found=error.found,
                fix="`skillwarrant fingerprint DIR` prints it.",
            ) from None


def _measure(directory: Path) -> Fingerprint:
    from skillwarrant_format.base_directory import fingerprint_directory

    with progress.hashing("measuring the base model") as callback:
        return fingerprint_directory(directory, callback).fingerprint


def _text_of(path: Path) -> str:
    from skillwarrant_format.limits import MAX_JSON_BYTES

    try:
        with path.open("rb") as file:
            data = file.read(MAX_JSON_BYTES + 1)
        if len(data) > MAX_JSON_BYTES:  # never a part of it: its beginning is another prompt
            raise UsageError("the system prompt is too large", expected=f"at most {MAX_JSON_BYTES} bytes")
        return data.decode()
    except UnicodeDecodeError:
        raise UsageError("the system prompt is not UTF-8", found=str(path)) from None
    except OSError as error:
        raise Unavailable(f"cannot read the system prompt {path}", found=error.strerror) from None


_ADAPTER_OPTIONS = (
    click.option("--bundle", metavar="FILE", type=FILE, help="Default: skillwarrant.sigstore.json in DIR."),
    click.option("--base", metavar="DIR", type=PATH, help="The base model: measured, and compared."),
    click.option(
        "--base-fingerprint", metavar="TEXT", help="What the base model measures, if you know it already."
    ),
    click.option(
        "--evidence",
        metavar="FILE",
        type=FILE,
        multiple=True,
        help="A further attestation that the policy asks for: an approval, a certification.",
    ),
    click.option(
        "--package",
        "packages",
        metavar="NAME=VERSION",
        multiple=True,
        help="A version in your deployment, for the manifest's `requires`. Default: what is installed here.",
    ),
)


_PLACE_OPTIONS = (
    click.option("--environment", metavar="NAME", help="Where it is to be used: production, staging, …"),
    click.option("--region", metavar="NAME", help="In which region."),
    operator_options,
    click.option("--system-prompt", metavar="FILE", type=FILE, help="Under which system prompt."),
)


def adapter_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of an adapter, as one `about: AdapterChoice`."""

    @wraps(command)
    def with_adapter(**given: Any) -> None:
        chosen = {name: given.pop(name) for name in AdapterChoice.__dataclass_fields__}
        command(**given, about=AdapterChoice(**chosen))

    for option in reversed(_ADAPTER_OPTIONS):
        with_adapter = option(with_adapter)
    return with_adapter


def place_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a place, as one `place: PlaceChoice`."""

    @wraps(command)
    def with_place(**given: Any) -> None:
        chosen = {name: given.pop(name) for name in PlaceChoice.__dataclass_fields__}
        command(**given, place=PlaceChoice(**chosen))

    for option in reversed(_PLACE_OPTIONS):
        with_place = option(with_place)
    return with_place
