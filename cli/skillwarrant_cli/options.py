"""Options that several commands share, spelt once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skillwarrant_cli import progress
from skillwarrant_format.errors import UsageError

if TYPE_CHECKING:
    from skillwarrant_verify.trust import TrustRoot

__all__ = ["FILE", "PATH", "TrustChoice", "json_option", "trust_options"]

PATH = click.Path(path_type=Path)
FILE = click.Path(path_type=Path, dir_okay=False)

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustChoice:
    """Whose signatures count, as the command line says: at most one source; none is the public instance."""

    trust_file: Path | None
    devstack: Path | None
    tuf_url: str | None
    tuf_root: Path | None
    refresh: bool
    offline: bool
    max_age: int | None

    def __post_init__(self) -> None:
        given = (self.trust_file, self.devstack, self.tuf_url, self.refresh or None)
        if sum(source is not None for source in given) > 1:
            raise UsageError(
                "several trust roots are given",
                expected="one of --trust-root, --trust-config, --devstack, --tuf-url, --refresh",
            )
        if (self.tuf_url is None) != (self.tuf_root is None):
            raise UsageError(
                "half a TUF repository is given",
                expected="--tuf-url and --tuf-root",
                fix="Get the repository's root.json out of band: it is what the first contact is trusted by.",
            )
        if self.offline and self.tuf_url is None:
            raise UsageError("--offline is for a TUF repository", expected="--tuf-url")

    def load(self) -> TrustRoot:
        """Get it; what comes after it is verifying, and in a process of our own that is all there is.

        Raises:
            TrustError: it cannot be used.
            Unavailable: it cannot be read or reached.
        """
        with progress.waiting("getting the trust root"):
            found = self._load()
        _import_sigstore()
        return found if self.max_age is None else replace(found, max_age=timedelta(days=self.max_age))

    def _load(self) -> TrustRoot:
        from skillwarrant_verify import trust

        if self.trust_file is not None:
            return trust.from_file(self.trust_file)
        if self.devstack is not None:
            return trust.from_devstack(self.devstack)
        if self.tuf_url is not None and self.tuf_root is not None:
            return trust.from_tuf(self.tuf_url, root=self.tuf_root, offline=self.offline)
        return trust.public_good(offline=not self.refresh)


def _import_sigstore() -> None:
    """The short way, where nobody else lives in this process."""
    from skillwarrant_cli.group import OWN_PROCESS
    from skillwarrant_verify.proof.verify_only import import_sigstore

    if click.get_current_context().obj == OWN_PROCESS:
        import_sigstore()


_TRUST_OPTIONS = (
    click.option(
        "--trust-root",
        "--trust-config",
        "trust_file",
        metavar="FILE",
        type=FILE,
        help="A trusted_root.json or a client trust config. Default: the public Sigstore instance's, as shipped.",
    ),
    click.option("--devstack", metavar="DIR", type=PATH, help="Trust a devstack's directory. For trials only."),
    click.option("--tuf-url", metavar="URL", help="Trust a private TUF repository; with --tuf-root."),
    click.option("--tuf-root", metavar="FILE", type=FILE, help="The root.json to trust that repository by."),
    click.option("--offline", is_flag=True, help="Take what the last refresh of --tuf-url left here."),
    click.option("--refresh", is_flag=True, help="Refresh the public instance's root through TUF first."),
    click.option(
        "--trust-max-age",
        "max_age",
        metavar="DAYS",
        type=click.IntRange(min=1, max=36_500),
        help="Refuse to use a trust root that was retrieved longer ago.",
    ),
)


def trust_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the trust root's options, as one `trust: TrustChoice`."""

    @wraps(command)
    def with_trust(**given: Any) -> None:
        chosen = {name: given.pop(name) for name in TrustChoice.__dataclass_fields__}
        command(**given, trust=TrustChoice(**chosen))

    for option in reversed(_TRUST_OPTIONS):
        with_trust = option(with_trust)
    return with_trust
