"""Real certificates of somebody else's that look like the publisher's, and such as no honest Fulcio issues."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from attack import attack
from builders import IDENTITY, ISSUER
from insider import SIGNED, Insider, b64, utf8
from lab import Forged, ForgedEmail, ForgedGlob, ForgedV2
from skillwarrant_devstack.ct import sign_with_timestamp
from skillwarrant_devstack.keys import key_usage

GROUP = "identity"
WORDS = """\
A typosquatter with a real identity, certificate and log entry of his own, which look like the publisher's; and
certificates that an honest authority would not issue, made with the authority's own keys."""

REPO = "https://github.com/acme/skills"
FLOW = f"{REPO}/.github/workflows/release.yml"


def case(name: str, refused_by: str, says: str, *, setup: Any = Forged) -> Any:
    return attack(GROUP, name, setup=setup, refused_by=refused_by, says=says)


# A name that looks like the publisher's

STRANGER = "no trusted publisher"


def squat(name: str, identity: str, *, setup: Any = Forged) -> None:
    if identity == setup.signer:
        raise ValueError(f"{name}: this is the publisher")

    @case(name, "publisher.trusted", STRANGER, setup=setup)
    def _(attempt: Forged) -> None:
        attempt.certificate["names"] = [attempt.name(identity)]


squat("the identity has a suffix", f"{IDENTITY}-rc1")
squat("the identity has a prefix", f"https://mirror.example/{IDENTITY}")
squat("the identity is cut off", IDENTITY[:-1])
squat("the identity ends in a slash", f"{IDENTITY}/")
squat("the identity has a query", f"{IDENTITY}?x=1")
squat("the identity has a fragment", f"{IDENTITY}#x")
squat("the organisation is in capitals", IDENTITY.replace("acme", "Acme"))
squat("the host is in capitals", IDENTITY.replace("github.com", "GitHub.com"))
squat("the ref is in capitals", IDENTITY.replace("refs/tags/v1", "refs/tags/V1"))
squat("the organisation has a suffix", IDENTITY.replace("/acme/", "/acme-inc/"))
squat("the organisation has a prefix", IDENTITY.replace("/acme/", "/the-acme/"))
squat("the organisation has a digit for a letter", IDENTITY.replace("acme", "acm3"))
squat("the organisation has a capital I for a small L's look", IDENTITY.replace("skills", "skiIls"))
squat("the organisation is another", IDENTITY.replace("/acme/", "/mallory/"))
squat("the repository is another of the same organisation", IDENTITY.replace("/skills/", "/website/"))
squat("the repository has a suffix", IDENTITY.replace("/skills/", "/skills-fork/"))
squat("the workflow is another of the same repository", IDENTITY.replace("release.yml", "test.yml"))
squat("the workflow has another suffix", IDENTITY.replace("release.yml", "release.yaml"))
squat("the ref is a branch of the tag's name", IDENTITY.replace("refs/tags/", "refs/heads/"))
squat("the ref is a pull request", f"{FLOW}@refs/pull/7/merge")
squat("the ref is another tag", IDENTITY.replace("v1.0.0", "v1.0.1"))
squat("the ref is a commit", f"{FLOW}@{'0' * 40}")
squat("the ref is missing", FLOW)
squat("the scheme is http", IDENTITY.replace("https", "http"))
squat("the scheme is in capitals", IDENTITY.replace("https", "HTTPS"))
squat(
    "the host is another, and the publisher's its subdomain",
    IDENTITY.replace("github.com", "github.com.evil.example"),
)
squat(
    "the host is another, and the publisher's its user", IDENTITY.replace("github.com", "github.com@evil.example")
)
squat("the host has a port", IDENTITY.replace("github.com", "github.com:443"))
squat("the host ends in a dot", IDENTITY.replace("github.com", "github.com."))
squat(
    "the host is in Punycode that is shown as the publisher's", IDENTITY.replace("github.com", "xn--gthub-cta.com")
)
squat("the path has two slashes", IDENTITY.replace("/acme/", "//acme/"))
squat("the path goes up and comes back", IDENTITY.replace("/acme/", "/mallory/../acme/"))
squat("the path has a percent-encoded letter", IDENTITY.replace("acme", "%61cme"))
squat("the publisher is a person, and signs by mail", "release@acme.example")

TAG = ForgedGlob
squat("of all tags that begin with v: one that begins otherwise", f"{FLOW}@refs/tags/nightly", setup=TAG)
squat("of all tags that begin with v: the bare v", f"{FLOW}@refs/tags/v", setup=TAG)
squat("of all tags that begin with v: one in capitals", f"{FLOW}@refs/tags/V1", setup=TAG)
squat("of all tags that begin with v: one with a slash", f"{FLOW}@refs/tags/v1/evil", setup=TAG)
squat("of all tags that begin with v: a branch", f"{FLOW}@refs/heads/v1.0.0", setup=TAG)
squat("of all tags that begin with v: one that climbs out", f"{FLOW}@refs/tags/v1/../../heads/main", setup=TAG)
squat("of all tags that begin with v: one of a fork", f"{FLOW.replace('acme', 'mallory')}@refs/tags/v1", setup=TAG)
squat(
    "of all tags that begin with v: one of another workflow",
    f"{REPO}/.github/workflows/x.yml@refs/tags/v1",
    setup=TAG,
)
squat(
    "of all tags that begin with v: the pattern is a suffix", f"https://evil.example/{FLOW}@refs/tags/v1", setup=TAG
)

MAIL = ForgedEmail
squat("by mail: a name with a suffix", "release+x@acme.example", setup=MAIL)
squat("by mail: a host with a suffix", "release@acme.example.evil.example", setup=MAIL)
squat("by mail: a host with a prefix", "release@mail-acme.example", setup=MAIL)
squat("by mail: a subdomain", "release@mail.acme.example", setup=MAIL)
squat("by mail: a name in capitals", "Release@acme.example", setup=MAIL)
squat("by mail: a host in capitals", "release@ACME.example", setup=MAIL)
squat("by mail: a host in Punycode that is shown as the publisher's", "release@xn--cme-5cd.example", setup=MAIL)
squat("by mail: a dot in the name", "rel.ease@acme.example", setup=MAIL)
squat(
    "by mail: the publisher's address as the name of another host's",
    "release-at-acme.example@evil.example",
    setup=MAIL,
)
squat("by mail: a workflow whose path is the address", "https://evil.example/release@acme.example", setup=MAIL)


def other_name(name: str, text: str) -> None:
    """A name of the kind that Fulcio gives to user names: UTF-8, so that it can look like anything."""

    @case(name, "publisher.trusted", STRANGER)
    def _(attempt: Forged) -> None:
        kind = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7")
        attempt.certificate["names"] = [x509.OtherName(kind, utf8(text))]


other_name("a user name that is the publisher's whole identity", IDENTITY)
other_name("a user name with a Cyrillic letter in it", IDENTITY.replace("a", "\u0430"))
other_name("a user name with a full-width solidus", IDENTITY.replace("/", "\uff0f"))


# An issuer that looks like the policy's


def issued(name: str, issuer: str) -> None:
    @case(name, "publisher.trusted", STRANGER)
    def _(attempt: Forged) -> None:
        attempt.certificate["extensions"] = {1: issuer.encode(), 8: utf8(issuer)}


issued("the issuer ends in a slash", f"{ISSUER}/")
issued("the issuer is in capitals", ISSUER.upper())
issued("the issuer is of plain http", ISSUER.replace("https", "http"))
issued("the issuer has a suffix", f"{ISSUER}.evil.example")
issued("the issuer has a path", f"{ISSUER}/mallory")
issued("the issuer has a port", f"{ISSUER}:443")
issued("the issuer is another provider", "https://accounts.example.com")
issued("the issuer is spelled with a Cyrillic letter", ISSUER.replace("a", "\u0430"))
issued("the issuer is the identity", IDENTITY)


def certified(name: str, says: str, code: str = "signature.invalid", **options: Any) -> None:
    @case(name, code, says)
    def _(attempt: Forged) -> None:
        attempt.certificate.update(options)


ONE = "does not name one issuer"
NOT_FULCIO = "not one that Fulcio issues"
certified("the two places for an issuer name two", ONE, extensions={1: b"https://evil.example", 8: utf8(ISSUER)})
certified("there is no issuer", ONE, extensions={20: utf8("push")})
certified("the issuer is empty", ONE, extensions={1: b"", 8: utf8("")})
certified("the issuer has a line break", ONE, extensions={8: utf8(f"{ISSUER}\n")})
certified("the issuer is not UTF-8", NOT_FULCIO, extensions={1: b"\xff\xfe"})
certified(
    "the issuer is longer than its own length says", NOT_FULCIO, extensions={8: b"\x0c\x05" + ISSUER.encode()}
)
certified("the issuer is of another DER type", NOT_FULCIO, extensions={8: b"\x04\x05evil!"})

URI = x509.UniformResourceIdentifier
certified(
    "two names, the publisher's first",
    "2 subject alternative names",
    names=[URI(IDENTITY), URI("https://evil.example/")],
)
certified(
    "two names, the publisher's last",
    "2 subject alternative names",
    names=[URI("https://evil.example/"), URI(IDENTITY)],
)
certified("the same name twice", "2 subject alternative names", names=[URI(IDENTITY), URI(IDENTITY)])
certified(
    "a name and an address", "2 subject alternative names", names=[URI(IDENTITY), x509.RFC822Name("a@acme.example")]
)
certified("no name at all", "does not verify", names=[])
certified("a host's name", "DNSName", names=[x509.DNSName("github.com")])
certified(
    "a directory's name",
    "DirectoryName",
    names=[x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "acme")]))],
)
certified(
    "a name of an unknown kind", "OtherName", names=[x509.OtherName(x509.ObjectIdentifier("1.2.3"), utf8(IDENTITY))]
)
certified("the publisher's name and NUL", "not printable", names=[URI(f"{IDENTITY}\0")])
certified("the publisher's name and a line break", "not printable", names=[URI(f"{IDENTITY}\n")])
certified("the publisher's name and what no record holds", "too long", names=[URI(IDENTITY + "x" * 2048)])
certified("an empty name", "empty", names=[URI("")])


# Certificates that prove nothing


def authority(
    name: str, says: str, make: Callable[[Forged], x509.Certificate], code: str = "signature.invalid"
) -> None:
    @case(name, code, says)
    def _(attempt: Forged) -> None:
        attempt.options["certificate"] = make(attempt)


def stranger(attempt: Forged) -> Insider:
    """Another instance with services of the same names, and the same key in the signer's hand."""
    return Insider(key=attempt.insider.key)


def with_our_ct_log(attempt: Forged) -> x509.Certificate:
    other = stranger(attempt)
    other.instance = replace(other.instance, ct_key=attempt.insider.instance.ct_key)
    return other.certificate()


authority(
    "of another instance, whose services have the same names",
    "CT log is not one",
    lambda attempt: stranger(attempt).certificate(),
)
authority("of another instance, promised by the right CT log", "does not verify", with_our_ct_log)
authority("promised by no CT log", NOT_FULCIO, lambda attempt: attempt.insider.certificate(promises=False))
authority(
    "for another key than the one that signed",
    "does not verify",
    lambda attempt: attempt.insider.certificate(key=ec.generate_private_key(ec.SECP256R1())),
)
authority(
    "for an RSA key",
    "malformed",
    lambda attempt: attempt.insider.certificate(key=rsa.generate_private_key(65537, 2048)),
    "format",
)
authority(
    "for an Ed25519 key",
    "malformed",
    lambda attempt: attempt.insider.certificate(key=ed25519.Ed25519PrivateKey.generate()),
    "format",
)


def self_signed(attempt: Forged) -> x509.Certificate:
    """As Fulcio's, under Fulcio's name, by the signer's own key."""
    insider = attempt.insider
    return made(insider, key=insider.key)


def made(
    insider: Insider, *, key: Any = None, usage: Any = ExtendedKeyUsageOID.CODE_SIGNING, authority: bool = False
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(insider.instance.fulcio_ca.subject)
        .public_key(insider.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(SIGNED)
        .not_valid_after(SIGNED + timedelta(minutes=10))
        .add_extension(x509.SubjectAlternativeName([URI(IDENTITY)]), critical=True)
        .add_extension(
            x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8"), utf8(ISSUER)), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key((key or insider.instance.fulcio_key).public_key()),
            critical=False,
        )
        .add_extension(key_usage(sign=True), critical=True)
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if authority:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    if key is not None:
        return builder.sign(key, hashes.SHA256())
    return sign_with_timestamp(builder, insider.instance.fulcio_key, insider.instance.ct_key, SIGNED)


authority("signed by its own key, under the authority's name", NOT_FULCIO, self_signed)
authority(
    "for web servers",
    "does not verify",
    lambda attempt: made(attempt.insider, usage=ExtendedKeyUsageOID.SERVER_AUTH),
)
authority("for no use at all", "does not verify", lambda attempt: made(attempt.insider, usage=None))


# Certificates outside their window


def at(name: str, says: str, *, setup: Any = Forged, code: str = "signature.invalid", **times: timedelta) -> None:
    @case(name, code, says, setup=setup)
    def _(attempt: Forged) -> None:
        attempt.options["at"] = SIGNED + times["signed"]


for kind, setup in (("", Forged), (", by a timestamp", ForgedV2)):
    at(
        f"signed a second before the certificate began{kind}",
        "does not verify",
        setup=setup,
        signed=timedelta(seconds=-1),
    )
    at(
        f"signed a second after the certificate ended{kind}",
        "does not verify",
        setup=setup,
        signed=timedelta(seconds=601),
    )
    at(f"signed a day after the certificate ended{kind}", "does not verify", setup=setup, signed=timedelta(days=1))


def rooted(
    name: str,
    says: str,
    change: Callable[[dict[str, Any], Forged], Any],
    *,
    setup: Any = Forged,
    code: str = "signature.invalid",
) -> None:
    """The trusted root is another."""

    @case(name, code, says, setup=setup)
    def _(attempt: Forged) -> None:
        change(attempt.root, attempt)


def unknown(root: dict[str, Any], attempt: Forged) -> None:
    der = attempt.insider.instance.tsa_root.public_bytes(Encoding.DER)
    root["certificateAuthorities"][0]["certChain"]["certificates"] = [{"rawBytes": b64(der)}]


EARLIER = "2026-11-20T12:00:04Z"
rooted("the authority is none of the trust root", "authority is not one", unknown)
rooted(
    "the authority had ended when it was signed",
    "authority was not in use",
    lambda root, _: root["certificateAuthorities"][0]["validFor"].update(end=EARLIER),
)
rooted(
    "the authority had not begun when it was signed",
    "authority was not in use",
    lambda root, _: root["certificateAuthorities"][0]["validFor"].update(start="2026-11-21T00:00:00Z"),
)
rooted(
    "the CT log had ended when it promised",
    "CT log was not in use",
    lambda root, _: root["ctlogs"][0]["publicKey"]["validFor"].update(end="2026-11-19T00:00:00Z"),
)
