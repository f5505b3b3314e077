"""The Sigstore instance that signs: its trust configuration, read, and its services' clients, bounded in time.

With `sign` and `login`, the attest modules that may import sigstore. This one has all that is not public there: the
session of a client (a contract test holds it). It signs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from skillwarrant_attest.foreign import words
from skillwarrant_attest.timing import Deadline
from skillwarrant_format import limits
from skillwarrant_format.errors import FormatError, TrustError, Unavailable
from skillwarrant_format.strict_json import loads_object
from skillwarrant_format.waiting import within

if TYPE_CHECKING:
    from sigstore.models import ClientTrustConfig, SigningConfig, TrustedRoot
    from sigstore.sign import SigningContext

__all__ = ["Instance"]

PUBLIC_GOOD: Final = "the public Sigstore instance"
_LOGGED: Final = "The entry may be in the log all the same; signing again makes another one, which does no harm."


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A trust configuration that sigstore has accepted.

    Args:
        name: what messages call it: the file's path, or the public instance.
        deadline: of what is done with it.
    """

    name: str
    trusted_root: TrustedRoot
    signing_config: SigningConfig
    deadline: Deadline

    @classmethod
    def load(cls, path: Path | None, deadline: Deadline) -> Self:
        """From a client trust config file, or, for None, the public instance's through TUF.

        Raises:
            TrustError: the file or what TUF gave cannot be used.
            Unavailable: it cannot be read, or the public instance cannot be reached.
        """
        return cls._public_good(deadline) if path is None else cls._of_file(path, deadline)

    @classmethod
    def _of_file(cls, path: Path, deadline: Deadline) -> Self:
        from sigstore.models import ClientTrustConfig

        try:
            with path.open("rb") as file:
                data = file.read(limits.MAX_TRUST_BYTES + 1)
            loads_object(data, what=str(path), limit=limits.MAX_TRUST_BYTES)
            config = ClientTrustConfig.from_json(data.decode())
        except FileNotFoundError:
            raise TrustError(
                "there is no such trust config", expected="a client trust config", found=str(path)
            ) from None
        except OSError as error:
            raise Unavailable(f"cannot read the trust config {path}", found=error.strerror) from None
        except FormatError as error:
            raise TrustError(error.message, expected=error.expected, found=error.found, fix=error.fix) from None
        except (ValueError, TypeError, AttributeError) as error:  # pydantic's are ValueErrors
            raise _unusable(str(path), error) from error
        return cls._checked(str(path), config, deadline)

    @classmethod
    def _public_good(cls, deadline: Deadline) -> Self:
        from sigstore.errors import Error
        from sigstore.models import ClientTrustConfig
        from tuf.api.exceptions import RepositoryError

        seconds = deadline.left(deadline.timeouts.answer)
        try:
            config = within(seconds, ClientTrustConfig.production)
        except TimeoutError:
            raise _unreachable(f"no whole answer within {seconds:.3g} seconds") from None
        except (Error, OSError, ValueError) as error:
            if isinstance(error.__cause__, RepositoryError):
                raise _unusable(PUBLIC_GOOD, error.__cause__) from error
            raise _unreachable(words(error.__cause__ or error)) from error
        return cls._checked(PUBLIC_GOOD, config, deadline)

    @classmethod
    def _checked(cls, name: str, config: ClientTrustConfig, deadline: Deadline) -> Self:
        from sigstore.errors import Error

        try:
            root, signing = config.trusted_root, config.signing_config
        except (Error, ValueError, TypeError, AttributeError) as error:
            raise _unusable(name, error) from error
        return cls(name=name, trusted_root=root, signing_config=signing, deadline=deadline)

    def context(self) -> SigningContext:
        """A signing context whose every exchange is bounded, for the thread that calls this.

        Raises:
            TrustError: Rekor v2 without a timestamp authority, whose entries nobody could verify.
        """
        from sigstore.sign import SigningContext

        fulcio, rekor = self.signing_config.get_fulcio(), self.signing_config.get_tlogs()[0]
        authorities = self.timestamp_authorities()
        if _is_v2(rekor) and not authorities:
            raise TrustError(
                f"{self.name} names Rekor v2 and no timestamp authority",
                expected="a timestamp authority: Rekor v2 does not say when it took an entry",
                found="none that is valid now",
            )
        self._bound(fulcio, "Fulcio")
        self._bound(rekor, "Rekor", repeatable=False, unsure=_LOGGED)
        return SigningContext(fulcio=fulcio, rekor=rekor, trusted_root=self.trusted_root, tsa_clients=authorities)

    def timestamp_authorities(self) -> list[Any]:
        """Clients of the timestamp authorities that the signing config names, bounded likewise."""
        clients = self.signing_config.get_tsas()
        for client in clients:
            self._bound(client, "the timestamp authority")
        return clients

    def _bound(self, client: Any, name: str, *, repeatable: bool = True, unsure: str | None = None) -> None:
        """Mount our transport on a client's session: Fulcio's is public, Rekor's and the authority's are not."""
        from skillwarrant_attest.transport import Service

        service = Service(name, self.deadline, repeatable=repeatable, unsure=unsure)
        service.mount(client.session if hasattr(client, "session") else client._session)


def _is_v2(rekor: Any) -> bool:
    return str(rekor.url).endswith("/api/v2")


def _unusable(name: str, error: BaseException) -> TrustError:
    return TrustError(
        f"{name} cannot be used to sign",
        expected="a Sigstore client trust config",
        found=words(error),
    )


def _unreachable(what: str) -> Unavailable:
    return Unavailable(
        f"{PUBLIC_GOOD}'s trust root cannot be refreshed",
        found=what,
        fix="Check the network, or name another instance's client trust config.",
    )
