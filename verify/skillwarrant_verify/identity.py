"""`IdentityPattern`: which signer a policy means, exactly or by an anchored glob. Never a regular expression.

A glob is matched segment by segment, where `/` separates segments:

* `*` stands for one or more characters of one segment, at most once in a segment;
* `**` stands for the whole rest, and can only be the last segment.

Both are allowed only after `scheme://host/organisation/`, and there only in the last segment or inside the ref (the
part after `@`). So nobody can write a pattern that leaves the host or the organisation open, or that matches the
end of somebody else's name. Matching is case-sensitive and does no decoding, normalising or folding. The issuer is
always exact. It knows nothing of certificates or policies.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import Final, Literal, NoReturn, Protocol, TypeAlias

from skillwarrant_format.errors import PolicyError

__all__ = ["IdentityPattern", "Kind", "Named", "kind_of_name"]

Kind: TypeAlias = Literal["uri", "email", "other"]
MAX_LENGTH: Final = 2048  # characters: what an observation can hold

_URI: Final = re.compile(r"[a-z][a-z0-9+.-]*://")
_EMAIL: Final = re.compile(r"[^/:@\s]+@[^/:@\s]+")
_REGEX_MARKS: Final = frozenset("^$\\[]?|")  # read as literals they would match nothing; `v1.*` is a fine glob


class Named(Protocol):
    """What is matched: a signer as its certificate names it."""

    @property
    def identity(self) -> str: ...
    @property
    def issuer(self) -> str: ...
    @property
    def kind(self) -> Kind: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityPattern:
    """One issuer and one identity, or the identities that a glob covers.

    Args:
        issuer: the OIDC issuer's URL, exact.
        identity: a URI or an e-mail address, exact; or a URI with wildcards as the module's docstring says.
        kind: of subject alternative name that can match.

    Raises:
        PolicyError: for anything that could be misread.
    """

    issuer: str
    identity: str
    kind: Kind = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_text(self.issuer, "issuer")
        if not _URI.match(self.issuer) or "*" in self.issuer:
            _refuse("the issuer is not a URL", "an exact URL such as https://accounts.example.com", self.issuer)
        _check_host(self.issuer, "issuer")
        _check_text(self.identity, "identity")
        object.__setattr__(self, "kind", kind_of_name(self.identity))
        if self.kind == "uri":
            _check_host(self.identity, "identity")
        if "*" in self.identity:
            _check_glob(self.identity, self.kind)

    def matches(self, signer: Named) -> bool:
        """Whether this is the signer that is meant: same issuer, same kind of name, and the name itself."""
        return signer.issuer == self.issuer and _covers(self.identity, signer.identity) and signer.kind == self.kind

    def __str__(self) -> str:
        return f"{self.identity} ({self.issuer})"


def kind_of_name(name: str) -> Kind:
    """What a name is by its spelling alone."""
    if _URI.match(name):
        return "uri"
    return "email" if _EMAIL.fullmatch(name) else "other"


def _covers(pattern: str, identity: str) -> bool:
    head, star, _ = pattern.partition("*")
    if not star:
        return identity == pattern
    if not identity.startswith(head):
        return False
    same = head.rfind("/") + 1  # whole segments before the first wildcard
    wanted, found = pattern[same:].split("/"), identity[same:].split("/")
    if wanted[-1] == "**":
        wanted, rest = wanted[:-1], found[len(wanted) - 1 :]
        found = found[: len(wanted)]
        if not any(rest) or {".", ".."} & set(rest):
            return False
    return len(wanted) == len(found) and all(map(_covers_segment, wanted, found))


def _covers_segment(pattern: str, segment: str) -> bool:
    head, star, tail = pattern.partition("*")
    if not star:
        return segment == pattern
    longer = len(segment) > len(head) + len(tail)  # one character at least is left for the wildcard
    return longer and segment.startswith(head) and segment.endswith(tail) and segment not in {".", ".."}


def _check_text(text: str, what: str) -> None:
    if not isinstance(text, str) or not 0 < len(text) <= MAX_LENGTH:
        _refuse(f"the {what} is empty or too long", f"1 to {MAX_LENGTH} characters", repr(text)[:80])
    if not text.isprintable() or text != text.strip():
        _refuse(f"the {what} holds control characters or stands in spaces", "printable text", text)
    if unicodedata.normalize("NFC", text) != text:
        _refuse(f"the {what} is not in Unicode NFC", "composed characters", text)
    if not _REGEX_MARKS.isdisjoint(text):
        expected = "the exact text, or an identity with * at its end or in its ref"
        _refuse(f"the {what} looks like a regular expression", expected, text)


def _check_host(uri: str, what: str) -> None:
    """A host in plain ASCII and nothing beside it: `https://github.com@evil.example/` names evil.example."""
    host = uri.partition("://")[2].partition("/")[0]
    if not host or not host.isascii() or set(host) & set("*@#% "):
        _refuse(f"the {what}'s host is not a plain host name", "a literal ASCII host name", host or "none")


def _check_glob(pattern: str, kind: Kind) -> None:
    if kind != "uri":
        _refuse("only a URI may hold wildcards", "an exact identity, or scheme://host/organisation/…", pattern)
    segments = pattern.split("/")
    if len(segments) < 5 or "*" in segments[3] or not segments[3]:
        _refuse("a wildcard leaves the organisation open", "scheme://host/organisation/ before any *", pattern)
    in_ref = False
    for number, segment in enumerate(segments[4:], start=5):
        last = number == len(segments)
        _check_segment(pattern, segment, last=last, in_ref=in_ref)
        in_ref = in_ref or "@" in segment


def _check_segment(pattern: str, segment: str, *, last: bool, in_ref: bool) -> None:
    stars = segment.count("*")
    if stars == 0 or (segment == "**" and last):
        return
    if stars > 1:
        _refuse("a segment holds more than one wildcard", "one * in a segment, or ** as the last segment", pattern)
    after_at = in_ref or "@" in segment.partition("*")[0]
    if not last and not after_at:
        _refuse("a wildcard stands in the middle of the path", "* in the last segment or after @", pattern)


def _refuse(message: str, expected: str, found: str) -> NoReturn:
    raise PolicyError(message, expected=expected, found=found)
