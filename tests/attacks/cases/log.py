"""Log entries that are not this signature's, not this log's, or not proved."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attack import attack
from insider import SIGNED, Insider, b64, body_v1, body_v2, proof
from lab import Forged, ForgedV2
from skillwarrant_devstack.merkle import Tree, leaf_hash
from skillwarrant_devstack.note import checkpoint_body, sign_note

GROUP = "log"
WORDS = """\
An attacker who holds the publisher's key and would not have it known: no log entry, another log's, another
signature's, a proof that is none, a time that nobody vouches for."""

Json = dict[str, Any]
AT = SIGNED + timedelta(seconds=5)
ABSENT = "does not vouch"
EARLIER = "2026-11-20T12:00:04Z"


def case(name: str, refused_by: str, says: str, *, setup: Any = Forged) -> Any:
    return attack(GROUP, name, setup=setup, refused_by=refused_by, says=says)


BOTH = (("", Forged), (", in Rekor v2", ForgedV2))


def entry(
    name: str, says: str, change: Callable[[Json], Any], *, setups: Any = BOTH, code: str = "log.missing"
) -> None:
    """The log entry in the bundle is changed, with each of the two kinds of log."""
    for kind, setup in setups:

        @case(f"{name}{kind}", code, says, setup=setup)
        def _(attempt: Forged) -> None:
            def forge(bundle: Json) -> None:
                change(bundle["verificationMaterial"]["tlogEntries"][0])

            attempt.forge = forge


def exchanged(
    name: str,
    says: str,
    make: Callable[[Forged, Json, x509.Certificate], Json],
    *,
    setups: Any = BOTH,
    code: str = "log.missing",
) -> None:
    """The log entry in the bundle is another one."""
    for kind, setup in setups:

        @case(f"{name}{kind}", code, says, setup=setup)
        def _(attempt: Forged) -> None:
            def forge(bundle: Json) -> None:
                material = bundle["verificationMaterial"]
                certificate = x509.load_der_x509_certificate(base64.b64decode(material["certificate"]["rawBytes"]))
                material["tlogEntries"] = [make(attempt, bundle, certificate)]

            attempt.forge = forge


V1, V2 = BOTH[:1], BOTH[1:]


# No entry, or too many


def entries(name: str, says: str, change: Callable[[list[Json]], Any]) -> None:
    @case(name, "format", says)
    def _(attempt: Forged) -> None:
        attempt.forge = lambda bundle: (change(bundle["verificationMaterial"]["tlogEntries"]), bundle)[1]


entries("there is no entry", "tlogEntries has the wrong length", lambda found: found.clear())
entries("there is the entry twice", "tlogEntries has the wrong length", lambda found: found.append(found[0]))
entries("the entry is null", "wrong type", lambda found: found.__setitem__(0, None))
entry(
    "the entry has no proof", "inclusionProof is missing", lambda found: found.pop("inclusionProof"), code="format"
)
entry(
    "the entry has no checkpoint",
    "checkpoint is missing",
    lambda found: found["inclusionProof"].pop("checkpoint"),
    code="format",
)
entry(
    "the entry has no body",
    "canonicalizedBody is missing",
    lambda found: found.pop("canonicalizedBody"),
    code="format",
)
entry(
    "the entry has a number under a second name",
    "unknown key",
    lambda found: found.update(log_index="7"),
    code="format",
)
entry(
    "the index is a number and not a string", "wrong type", lambda found: found.update(logIndex=1001), code="format"
)
entry("the index is negative", "malformed", lambda found: found.update(logIndex="-1"), code="format")
entry(
    "the index is beyond 2^63",
    "too large",
    lambda found: found.update(logIndex="9223372036854775808"),
    code="format",
)
entry(
    "the index is in digits of another script",
    "malformed",
    lambda found: found.update(logIndex="\u0661"),
    code="format",
)


# Another log's, or another signature's


def of_another_instance(attempt: Forged, bundle: Json, certificate: x509.Certificate) -> Json:
    return stranger(attempt).entry(bundle["dsseEnvelope"], certificate, version=attempt.version, at=AT)


def stranger(attempt: Forged) -> Insider:
    return Insider(key=attempt.insider.key)


def under_our_name(attempt: Forged, bundle: Json, certificate: x509.Certificate) -> Json:
    found = of_another_instance(attempt, bundle, certificate)
    found["logId"] = bundle["verificationMaterial"]["tlogEntries"][0]["logId"]
    return found


def of_another_signature(attempt: Forged, _: Json, certificate: x509.Certificate) -> Json:
    other = attempt.insider.envelope(b"another payload")
    return attempt.insider.entry(other, certificate, version=attempt.version, at=AT)


def of_another_certificate(attempt: Forged, bundle: Json, _: x509.Certificate) -> Json:
    return attempt.insider.entry(
        bundle["dsseEnvelope"], attempt.insider.certificate(), version=attempt.version, at=AT
    )


exchanged("the entry is of another instance's log", "not one that the trust root knows", of_another_instance)
exchanged("the entry is of another instance's log, under the name of ours", ABSENT, under_our_name)
exchanged("the entry is of another signature by the same key", ABSENT, of_another_signature)
exchanged("the entry is of the same signature by another certificate", ABSENT, of_another_certificate)
exchanged(
    "a body of Rekor v2 in a log of Rekor v1",
    ABSENT,
    lambda attempt, bundle, certificate: attempt.insider.entry_v1(body_v2(bundle["dsseEnvelope"], certificate), AT),
    setups=V1,
)
exchanged(
    "a body of Rekor v1 in a log of Rekor v2",
    "malformed",
    lambda attempt, bundle, certificate: attempt.insider.entry_v2(body_v1(bundle["dsseEnvelope"], certificate)),
    setups=V2,
    code="format",
)
exchanged(
    "an entry of Rekor v1 in a bundle with the time of Rekor v2",
    ABSENT,
    lambda attempt, bundle, certificate: {
        **attempt.insider.entry_v1(body_v1(bundle["dsseEnvelope"], certificate), AT),
        "logId": bundle["verificationMaterial"]["tlogEntries"][0]["logId"],
    },
    setups=V2,
)
for kind in ("intoto/0.0.2", "dsse/0.0.2", "hashedrekord/0.0.1", "rekord/0.0.1", "DSSE/0.0.1", "dsse/0.0.1 "):
    entry(
        f"the entry says to be of the kind {kind!r}",
        "kind that proves no DSSE signature",
        lambda found, kind=kind: found.update(
            kindVersion=dict(zip(("kind", "version"), kind.split("/"), strict=True))
        ),
        setups=V1,
    )


# Proofs that are none


def proved(name: str, says: str, change: Callable[[Json], Any], **options: Any) -> None:
    entry(name, says, lambda found: change(found["inclusionProof"]), **options)


proved("the proof's hashes are in another order", ABSENT, lambda found: found["hashes"].reverse())
proved("the proof lacks a hash", ABSENT, lambda found: found["hashes"].pop())
proved("the proof has no hash", ABSENT, lambda found: found["hashes"].clear())
proved("the proof has a hash too many", ABSENT, lambda found: found["hashes"].append(b64(bytes(32))))
proved(
    "the proof has a hash of another length", ABSENT, lambda found: found["hashes"].__setitem__(0, b64(bytes(20)))
)
proved("the proof is for another root", ABSENT, lambda found: found.update(rootHash=b64(bytes(32))))
proved(
    "the proof is for a tree of one leaf",
    "not for the signed tree",
    lambda found: found.update(treeSize="1", logIndex="0", hashes=[]),
    setups=V1,
)
proved(
    "the proof is for a tree of another size", "not for the signed tree", lambda found: found.update(treeSize="6")
)
proved("the proof is for another leaf", ABSENT, lambda found: found.update(logIndex="3"), setups=V1)
proved(
    "the proof's index is outside of the tree",
    "outside of the tree",
    lambda found: found.update(logIndex="9"),
    setups=V1,
)
entry(
    "the entry's index is not the proof's",
    "index is not the proof's",
    lambda found: found.update(logIndex="0"),
    setups=V2,
)
entry(
    "entry and proof name another index than the log gave",
    ABSENT,
    lambda found: (found.update(logIndex="3"), found["inclusionProof"].update(logIndex="3")),
    setups=V2,
)
entry(
    "entry and proof name an index outside of the tree",
    "outside of the tree",
    lambda found: (found.update(logIndex="9"), found["inclusionProof"].update(logIndex="9")),
    setups=V2,
)


def line(number: int, text: Callable[[str], str]) -> Callable[[Json], None]:
    """One line of the checkpoint is another."""

    def change(found: Json) -> None:
        lines = found["checkpoint"]["envelope"].split("\n")
        lines[number] = text(lines[number])
        found["checkpoint"]["envelope"] = "\n".join(lines)

    return change


proved("the checkpoint is of another origin", ABSENT, line(0, lambda _: "rekor.evil.example"))
proved("the checkpoint has no origin", "checkpoint is malformed", line(0, lambda _: ""))
proved("the checkpoint is of another size", "not for the signed tree", line(1, lambda _: "6"))
proved("the checkpoint is of a size with a plus sign", "checkpoint is malformed", line(1, lambda _: "+5"))
proved("the checkpoint is of another root", ABSENT, line(2, lambda _: b64(bytes(32))))
proved("the checkpoint's signature is damaged", ABSENT, line(4, lambda text: text[:-8] + "AAAAAAA="))
proved("the checkpoint has no signature", ABSENT, line(4, lambda _: ""))
proved(
    "the checkpoint is one word",
    "checkpoint is malformed",
    lambda found: found["checkpoint"].update(envelope="checkpoint"),
)


def forked(attempt: Forged, bundle: Json, certificate: x509.Certificate) -> Json:
    """Two trees of one log: the entry stands in one of them, and the checkpoint is of the other."""
    found: Json = bundle["verificationMaterial"]["tlogEntries"][0]
    other = Tree()
    for leaf in (b"first", b"another entry", b"third", b"fourth", b"fifth"):
        other.append(leaf_hash(leaf))
    insider, old = attempt.insider, found["inclusionProof"]["checkpoint"]["envelope"]
    key_id = base64.b64decode(found["logId"]["keyId"])
    origin = old.partition("\n")[0]
    text = checkpoint_body(origin, 5, other.root(5))
    if attempt.version == 1:
        signature = insider.instance.rekor_v1_key.sign(text.encode(), ec.ECDSA(hashes.SHA256()))
    else:
        signature = insider.instance.rekor_v2_key.sign(text.encode())
    note = sign_note(text, name=origin.partition(" ")[0], key_id=key_id, signature=signature)
    found["inclusionProof"]["checkpoint"]["envelope"] = note
    return found


def forked_root(attempt: Forged, bundle: Json, certificate: x509.Certificate) -> Json:
    """The same, with the other tree's root in the proof too."""
    found = forked(attempt, bundle, certificate)
    found["inclusionProof"]["rootHash"] = found["inclusionProof"]["checkpoint"]["envelope"].split("\n")[2]
    return found


exchanged("the log signed another tree, in which another entry has this index", ABSENT, forked)
exchanged("the log signed another tree, whose root the proof names", ABSENT, forked_root)


# Keys of the log


def retired(attempt: Forged, bundle: Json, _: x509.Certificate) -> Json:
    """A key of the log from before, in the hands of somebody else, signs in the name of the one in use."""
    old = ed25519.Ed25519PrivateKey.generate()
    live = attempt.root["tlogs"][1]
    public = old.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    window = {"start": "2020-01-01T00:00:00Z", "end": "2021-01-01T00:00:00Z"}
    key = {**live["publicKey"], "rawBytes": b64(public), "validFor": window}
    attempt.root["tlogs"].append({**live, "publicKey": key, "logId": {"keyId": b64(bytes(32))}})
    found: Json = bundle["verificationMaterial"]["tlogEntries"][0]
    body, key_id = base64.b64decode(found["canonicalizedBody"]), base64.b64decode(found["logId"]["keyId"])
    found["inclusionProof"] = proof(body, "127.0.0.1", key_id, old.sign, name="127.0.0.1")
    return found


exchanged("a retired key of the log signs in the name of the one in use", ABSENT, retired, setups=V2)


def rooted(name: str, says: str, change: Callable[[Json], Any], setup: Any, code: str = "log.missing") -> None:
    @case(name, code, says, setup=setup)
    def _(attempt: Forged) -> None:
        change(attempt.root)


NOT_IN_USE = "transparency log was not in use"
rooted(
    "the log's key had ended when it took the entry in",
    NOT_IN_USE,
    lambda root: root["tlogs"][0]["publicKey"]["validFor"].update(end=EARLIER),
    Forged,
)
rooted(
    "the log's key had ended when it was signed, in Rekor v2",
    NOT_IN_USE,
    lambda root: root["tlogs"][1]["publicKey"]["validFor"].update(end=EARLIER),
    ForgedV2,
)
rooted(
    "the log's key had not begun",
    NOT_IN_USE,
    lambda root: root["tlogs"][0]["publicKey"]["validFor"].update(start="2026-11-20T12:00:06Z"),
    Forged,
)
rooted(
    "the trust root knows no log of this name",
    "not one that the trust root knows",
    lambda root: root["tlogs"].pop(0),
    Forged,
)


# Times


entry("the log's promise is missing", "promise is missing", lambda found: found.pop("inclusionPromise"), setups=V1)
entry(
    "the log's promise is of zeros",
    ABSENT,
    lambda found: found["inclusionPromise"].update(signedEntryTimestamp=b64(bytes(70))),
    setups=V1,
)
entry(
    "the integrated time is a second later than promised",
    ABSENT,
    lambda found: found.update(integratedTime=str(int(found["integratedTime"]) + 1)),
    setups=V1,
)
entry("the index is another than promised", ABSENT, lambda found: found.update(logIndex="1002"), setups=V1)
entry("the integrated time is missing", "promise is missing", lambda found: found.pop("integratedTime"), setups=V1)
entry(
    "the integrated time is zero", "promise is missing", lambda found: found.update(integratedTime="0"), setups=V1
)
entry(
    "the integrated time is beyond any calendar",
    "is no time",
    lambda found: found.update(integratedTime="9000000000000000000"),
    setups=V1,
    code="format",
)
entry(
    "an entry of Rekor v2 claims a time", "claims a time", lambda found: found.update(integratedTime="1"), setups=V2
)
entry(
    "an entry of Rekor v2 claims a promise",
    "claims a time",
    lambda found: found.update(inclusionPromise={"signedEntryTimestamp": b64(b"x")}),
    setups=V2,
)


def stamps(
    name: str,
    says: str,
    change: Callable[[Forged, Json], Any],
    *,
    setup: Any = ForgedV2,
    code: str = "signature.invalid",
) -> None:
    """The timestamps beside the entry are others."""

    @case(name, code, says, setup=setup)
    def _(attempt: Forged) -> None:
        if setup is Forged:
            attempt.options["stamped"] = True

        def forge(bundle: Json) -> None:
            change(attempt, bundle)

        attempt.forge = forge


def stamped(bundle: Json) -> list[Json]:
    found: list[Json] = bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    return found


def by(insider: Insider, bundle: Json) -> Json:
    return {"signedTimestamp": b64(insider.stamp(bundle["dsseEnvelope"], AT))}


def over_another(attempt: Forged, bundle: Json) -> None:
    other = attempt.insider.envelope(b"another payload")
    stamped(bundle)[0]["signedTimestamp"] = b64(attempt.insider.stamp(other, AT))


def damaged(_: Forged, bundle: Json) -> None:
    der = bytearray(base64.b64decode(stamped(bundle)[0]["signedTimestamp"]))
    der[-1] ^= 1
    stamped(bundle)[0]["signedTimestamp"] = b64(bytes(der))


BAD = "timestamp in the bundle does not verify"
stamps(
    "an entry of Rekor v2 has no timestamp",
    "nothing proves when",
    lambda _, bundle: bundle["verificationMaterial"].pop("timestampVerificationData"),
)
stamps("the timestamps are an empty list", "nothing proves when", lambda _, bundle: stamped(bundle).clear())
stamps(
    "the timestamp is of an unrelated authority",
    BAD,
    lambda attempt, bundle: stamped(bundle).__setitem__(0, by(stranger(attempt), bundle)),
)
stamps(
    "a second timestamp is of an unrelated authority",
    BAD,
    lambda attempt, bundle: stamped(bundle).append(by(stranger(attempt), bundle)),
)
stamps(
    "a timestamp of an unrelated authority beside Rekor v1",
    BAD,
    lambda attempt, bundle: stamped(bundle).append(by(stranger(attempt), bundle)),
    setup=Forged,
)
stamps("the timestamp is over another signature", BAD, over_another)
stamps("the timestamp's signature is damaged", BAD, damaged)
stamps("the timestamp is no DER", BAD, lambda _, bundle: stamped(bundle)[0].update(signedTimestamp=b64(b"no DER")))
stamps(
    "the timestamp is an answer of no",
    BAD,
    lambda _, bundle: stamped(bundle)[0].update(signedTimestamp=b64(b"\x30\x05\x30\x03\x02\x01\x02")),
)
stamps(
    "thirty-three timestamps are there",
    "wrong length",
    lambda _, bundle: stamped(bundle).extend(stamped(bundle) * 32),
    code="format",
)


def without_authorities(attempt: Forged, bundle: Json) -> None:
    attempt.root["timestampAuthorities"] = []


def ended_authority(attempt: Forged, bundle: Json) -> None:
    attempt.root["timestampAuthorities"][0]["validFor"]["end"] = EARLIER


stamps("the trust root knows no timestamp authority", "no timestamp authority", without_authorities)
stamps("the timestamp authority had ended", "is outside", ended_authority)


@case("the trust root itself is older than the host allows", "trust", "stale")
def _(attempt: Forged) -> None:
    attempt.max_age = timedelta(days=1)
    attempt.when = lambda: SIGNED + timedelta(days=9)
