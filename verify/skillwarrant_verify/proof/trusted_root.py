"""A trusted root document, and which part of it may vouch for one piece of evidence.

sigstore-python takes any key of the root for any time (it looks at the start of a validity only, against this
machine's clock, and tries every key when an id is unknown). So it is never given the whole document, but what
`narrowed` writes: the keys and authorities that the evidence names and that were in use when it was made. What
comes out depends on the document and the evidence alone, never on a clock.
Source: https://github.com/sigstore/protobuf-specs, sigstore_trustroot.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Self, cast

from skillwarrant_format import limits
from skillwarrant_format.dsse import decode_base64
from skillwarrant_format.errors import FormatError, TrustError
from skillwarrant_format.fields import Fields
from skillwarrant_format.strict_json import JsonObject, JsonValue, canonical, loads_object

__all__ = ["Authority", "LogKey", "TrustedRoot", "Window", "inner_root", "unusable"]

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
CONFIG_TYPE: Final = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
_ALWAYS: Final = {"start": "1970-01-01T00:00:00Z"}  # for windows that were checked here already
_MOST: Final = 1_000  # keys or authorities of one kind


@dataclass(frozen=True, slots=True)
class Window:
    """A closed time range (protobuf-specs TimeRange: both ends belong to it); None is open."""

    start: datetime | None
    end: datetime | None

    def covers(self, moments: Iterable[datetime]) -> bool:
        """Whether all of the moments lie in it."""
        return all(
            (self.start is None or self.start <= moment) and (self.end is None or moment <= self.end)
            for moment in moments
        )

    def __str__(self) -> str:
        start = "the beginning" if self.start is None else f"{self.start:%Y-%m-%d %H:%M:%SZ}"
        return f"{start} to {'open' if self.end is None else f'{self.end:%Y-%m-%d %H:%M:%SZ}'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogKey:
    """A Rekor or CT log: its key id in hexadecimal, its key (DER), and when that was in use."""

    log_id: str
    key: bytes
    window: Window
    document: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A Fulcio or timestamp authority: its chain from leaf to root as DER, and when it was in use."""

    chain: tuple[bytes, ...]
    window: Window
    document: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedRoot:
    """Every key and authority of the document; at least one log, one CT log and one certificate authority."""

    logs: tuple[LogKey, ...]
    ct_logs: tuple[LogKey, ...]
    authorities: tuple[Authority, ...]
    timestamp_authorities: tuple[Authority, ...]

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read a trusted root v0.1.

        Raises:
            TrustError: anything else, or a root without which nothing could be verified.
        """
        try:
            document = loads_object(raw, what="trusted root", limit=limits.MAX_TRUST_BYTES)
            return cls._read(Fields(document, "trusted root"))
        except FormatError as error:
            raise unusable(error) from None

    @classmethod
    def _read(cls, fields: Fields) -> Self:
        if (found := fields.text("mediaType")) != MEDIA_TYPE:
            raise FormatError("not a Sigstore trusted root", expected=MEDIA_TYPE, found=found)
        stamps = _each(fields, "timestampAuthorities") if "timestampAuthorities" in fields else ()
        return cls(
            logs=tuple(_log(*item) for item in _each(fields, "tlogs", least=1)),
            ct_logs=tuple(_log(*item) for item in _each(fields, "ctlogs", least=1)),
            authorities=tuple(_authority(*item) for item in _each(fields, "certificateAuthorities", least=1)),
            timestamp_authorities=tuple(_authority(*item) for item in stamps),
        )

    def narrowed(
        self, *, log: LogKey, ct_log: LogKey, authorities: Sequence[Authority], timestamps: Sequence[Authority]
    ) -> bytes:
        """The RFC 8785 bytes of a root that holds only these, without the windows that have been checked."""
        return canonical(
            {
                "mediaType": MEDIA_TYPE,
                "tlogs": [_without_window(log)],
                "ctlogs": [_without_window(ct_log)],
                "certificateAuthorities": [{**item.document, "validFor": _ALWAYS} for item in authorities],
                "timestampAuthorities": [{**item.document, "validFor": _ALWAYS} for item in timestamps],
            }
        )


def inner_root(raw: bytes) -> bytes:
    """The trusted root inside a client trust config, or the bytes themselves when they are none.

    Raises:
        TrustError: the bytes are no acceptable JSON object.
    """
    try:
        document = loads_object(raw, what="trust file", limit=limits.MAX_TRUST_BYTES)
        if document.get("mediaType") != CONFIG_TYPE:
            return raw
        root = Fields(document, "trust config").value("trustedRoot")
        return canonical(root)
    except FormatError as error:
        raise unusable(error) from None


def unusable(error: FormatError) -> TrustError:
    """Trust material that is malformed is our problem, not the adapter's."""
    return TrustError(
        f"the trust root cannot be used: {error.message}",
        expected=error.expected,
        found=error.found,
        fix="Name a trusted_root.json or a client trust config of the Sigstore instance that signed.",
    )


def _each(fields: Fields, key: str, *, least: int = 0) -> list[tuple[Fields, JsonObject]]:
    """Every object of a list, to be read and to be kept."""
    found = fields.objects(key, least=least, most=_MOST)
    return list(zip(found, cast("list[JsonObject]", fields.items(key, most=_MOST)), strict=True))


def _log(fields: Fields, document: JsonObject) -> LogKey:
    key_id = decode_base64(fields.object("logId").text("keyId"), f"{fields.at('logId')}.keyId")
    key = fields.object("publicKey")
    der = decode_base64(key.text("rawBytes", limit=64 * limits.KIB), key.at("rawBytes"))
    return LogKey(log_id=key_id.hex(), key=der, window=_window(key), document=document)


def _authority(fields: Fields, document: JsonObject) -> Authority:
    certificates = fields.object("certChain").objects("certificates", least=1)
    chain = tuple(
        decode_base64(item.text("rawBytes", limit=64 * limits.KIB), item.at("rawBytes")) for item in certificates
    )
    return Authority(chain=chain, window=_window(fields), document=document)


def _window(fields: Fields) -> Window:
    if "validFor" not in fields:
        return Window(None, None)
    window = fields.object("validFor")
    start, end = (window.maybe(key, lambda key: _moment(window, key)) for key in ("start", "end"))
    return Window(start, end)


def _moment(fields: Fields, key: str) -> datetime:
    """RFC 3339 as protobuf's JSON writes it: with or without a fraction of a second."""
    text = fields.text(key, limit=64)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise FormatError(f"{fields.at(key)} is not a time", expected="RFC 3339", found=text)
    return moment.astimezone(UTC)


def _without_window(log: LogKey) -> dict[str, JsonValue]:
    key = cast("JsonObject", log.document["publicKey"])
    return {**log.document, "publicKey": {**key, "validFor": _ALWAYS}}
