"""Manifests that were changed after signing, or that nobody honest would sign."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from attack import attack
from builders import IDENTITY
from insider import Insider, b64
from lab import Forged
from skillwarrant_format.adapter_files import CONFIG_NAME, WEIGHTS_NAME
from skillwarrant_format.digest import Digest
from skillwarrant_format.observation import PREDICATE_TYPE as OBSERVATION
from skillwarrant_format.strict_json import canonical

GROUP = "manifest"
WORDS = """\
Somebody who takes the constraints out of a manifest; and an attacker with every key of a Sigstore instance, who
signs manifests that no honest signer would make. The signature, the certificate and the log entry are all valid."""

Json = dict[str, Any]


def case(name: str, refused_by: str, says: str) -> Any:
    return attack(GROUP, name, setup=Forged, refused_by=refused_by, says=says)


# Changed after signing


def edited(
    name: str, change: Callable[[Json], Any], says: str = "does not verify", code: str = "signature.invalid"
) -> None:
    """The payload inside the envelope is another one than was signed."""

    @case(name, code, says)
    def _(attempt: Forged) -> None:
        def forge(bundle: Json) -> None:
            envelope = bundle["dsseEnvelope"]
            statement = json.loads(base64.b64decode(envelope["payload"]))
            change(statement)
            envelope["payload"] = b64(canonical(statement))

        attempt.forge = forge


edited(
    "an environment is added after signing",
    lambda found: found["predicate"]["deployment"]["environments"].append("x"),
)
edited(
    "the time window is taken away after signing",
    lambda found: found["predicate"]["deployment"].update(notAfter="2099-01-01T00:00:00Z"),
)
edited("a base model is added after signing", lambda found: found["predicate"]["baseModels"].append({"name": "x"}))
edited("the policy class is changed after signing", lambda found: found["predicate"].update(policyClass="medical"))
edited(
    "a file's digest is changed after signing", lambda found: found["subject"][0]["digest"].update(sha256="00" * 32)
)
edited("a file is taken out of the manifest after signing", lambda found: found["subject"].pop())
edited(
    "the predicate type is changed after signing",
    lambda found: found.update(predicateType="https://slsa.dev/provenance/v1"),
)


def enveloped(name: str, code: str, says: str, change: Callable[[Json, Insider], Any]) -> None:
    """The envelope itself is changed."""

    @case(name, code, says)
    def _(attempt: Forged) -> None:
        attempt.forge = lambda bundle: (change(bundle["dsseEnvelope"], attempt.insider), bundle)[1]


def resigned(envelope: Json, _: Insider) -> None:
    stranger = Insider()
    envelope.update(stranger.envelope(base64.b64decode(envelope["payload"])))


enveloped(
    "the payload type is changed after signing",
    "signature.invalid",
    "does not verify",
    lambda found, _: found.update(payloadType="application/json"),
)
enveloped("the envelope is signed again with a key of another's", "signature.invalid", "does not verify", resigned)
enveloped("the signature is taken away", "format", "signatures", lambda found, _: found.update(signatures=[]))
enveloped("the signature is empty", "format", "sig", lambda found, _: found["signatures"][0].update(sig=""))
enveloped(
    "the signature is of zeros",
    "signature.invalid",
    "does not verify",
    lambda found, _: found["signatures"][0].update(sig=b64(bytes(70))),
)
enveloped(
    "a second signature is added",
    "format",
    "signatures",
    lambda found, _: found["signatures"].append(found["signatures"][0]),
)
enveloped(
    "the payload is base64 with a line break",
    "format",
    "control characters",
    lambda found, _: found.update(payload=found["payload"][:76] + "\n" + found["payload"][76:]),
)
enveloped(
    "the payload is base64 in the alphabet of URLs",
    "format",
    "not base64",
    lambda found, _: found.update(payload=base64.urlsafe_b64encode(b"\xfb\xff").decode()),
)
enveloped(
    "the payload is base64 without padding",
    "format",
    "not base64",
    lambda found, _: found.update(payload=b64(base64.b64decode(found["payload"])[:-1]).rstrip("=")),
)
enveloped(
    "the payload is base64 with bits left over",
    "format",
    "not base64",
    lambda found, _: found.update(payload="QR=="),
)
enveloped(
    "the payload is under a second name too",
    "format",
    "unknown key",
    lambda found, _: found.update(payload_type="x"),
)
enveloped("the key hint is a list", "format", "keyid", lambda found, _: found["signatures"][0].update(keyid=["x"]))


# Another payload


def payload(name: str, code: str, says: str, change: Callable[[bytes], bytes]) -> None:
    """The signed bytes are others."""

    @case(name, code, says)
    def _(attempt: Forged) -> None:
        attempt.payload = change(attempt.payload)


def backwards(raw: bytes) -> bytes:
    return json.dumps(dict(reversed(json.loads(raw).items())), separators=(",", ":"), ensure_ascii=False).encode()


CANONICAL = "not in canonical form"
payload(
    "the statement is written with spaces", "format", CANONICAL, lambda raw: json.dumps(json.loads(raw)).encode()
)
payload("the statement is written in another order", "format", CANONICAL, backwards)
payload(
    "the statement is written with an escape",
    "format",
    CANONICAL,
    lambda raw: raw.replace(b"production", b"\\u0070roduction"),
)
payload("the statement ends in a line break", "format", CANONICAL, lambda raw: raw + b"\n")
payload("the statement begins with a byte-order mark", "format", "not JSON", lambda raw: b"\xef\xbb\xbf" + raw)
payload(
    "a number is written as a fraction", "format", CANONICAL, lambda raw: raw.replace(b'"count":8', b'"count":8.0')
)
payload(
    "a number is written with an exponent",
    "format",
    CANONICAL,
    lambda raw: raw.replace(b'"count":8', b'"count":8e0'),
)
payload(
    "the environments are there twice",
    "format",
    "twice",
    lambda raw: raw.replace(b'"deployment":{', b'"deployment":{"environments":["evil"],'),
)
payload("the predicate is there twice", "format", "twice", lambda raw: raw[:-1] + b',"predicate":{}}')
payload("the subjects are there twice", "format", "twice", lambda raw: raw[:-1] + b',"subject":[]}')
payload("the payload is empty", "format", "payload", lambda _: b"")
payload("the payload is no JSON", "format", "not JSON", lambda _: b"skill manifest")
payload("the payload is a list", "format", "wrong type", lambda raw: b"[" + raw + b"]")
payload("the payload is nested ten thousand deep", "format", "nested too deeply", lambda _: b"[" * 10_000)
payload("the payload holds NaN", "format", "NaN", lambda raw: raw.replace(b'"count":8', b'"count":NaN'))


@case("the statement is signed under another payload type", "predicate.wrong", "application/json")
def _(attempt: Forged) -> None:
    attempt.options["payload_type"] = "application/json"


@case("the statement is signed as plain text", "predicate.wrong", "text/plain")
def _(attempt: Forged) -> None:
    attempt.options["payload_type"] = "text/plain"


@case("the statement is signed under a type with a parameter", "predicate.wrong", "signs no statement")
def _(attempt: Forged) -> None:
    attempt.options["payload_type"] = "application/vnd.in-toto+json; v=1"


# Another statement


def stated(name: str, code: str, says: str, change: Callable[[Json], Any]) -> None:
    """A canonical statement that says something else."""

    @case(name, code, says)
    def _(attempt: Forged) -> None:
        attempt.statement(change)


def typed(name: str, kind: str, says: str) -> None:
    stated(name, "predicate.wrong", says, lambda found: found.update(predicateType=kind))


HOME = "https://skillwarrant.dev/skill-manifest"
typed("the predicate is of a version to come", f"{HOME}/v2", "version that this release does not know")
typed("the predicate is of no version", f"{HOME}/", "version that this release does not know")
typed("the predicate is of version 1.0", f"{HOME}/v1.0", "version that this release does not know")
typed("the predicate is of version 1 and a slash", f"{HOME}/v1/", "version that this release does not know")
typed(
    "the predicate is of version 1 on another host",
    "https://skillwarrant.dev.evil.example/skill-manifest/v1",
    "signs something else",
)
typed(
    "the predicate is of version 1 over plain http",
    "http://skillwarrant.dev/skill-manifest/v1",
    "signs something else",
)
typed(
    "the predicate is of version 1 in capitals",
    "https://skillwarrant.dev/Skill-Manifest/v1",
    "signs something else",
)
typed("the predicate is an observation", OBSERVATION, "signs something else")
typed("the predicate is SLSA provenance", "https://slsa.dev/provenance/v1", "signs something else")
stated(
    "the statement is of in-toto's first version",
    "format",
    "not an in-toto statement",
    lambda found: found.update(_type="https://in-toto.io/Statement/v0.1"),
)
stated("the statement has no type", "format", "_type is missing", lambda found: found.pop("_type"))
stated("the statement has no predicate", "format", "predicate is missing", lambda found: found.pop("predicate"))
stated("the statement has an empty predicate", "format", "says nothing", lambda found: found.update(predicate={}))
stated(
    "the statement has a second predicate under another spelling",
    "format",
    "misspelt",
    lambda found: found.update(Predicate={}),
)


# Subjects


def subject(name: str, code: str, says: str, change: Callable[[list[Json]], Any]) -> None:
    stated(name, code, says, lambda found: change(found["subject"]))


def named(text: str) -> Json:
    return {"name": text, "digest": {"sha256": Digest.of(b"x").hex}}


subject("no file is signed", "format", "subject has the wrong length", lambda found: found.clear())
subject(
    "the weights are not signed",
    "files.mismatch",
    "nobody signed",
    lambda found: found.remove(next(item for item in found if item["name"] == WEIGHTS_NAME)),
)
subject(
    "the configuration is not signed",
    "files.mismatch",
    "nobody signed",
    lambda found: found.remove(next(item for item in found if item["name"] == CONFIG_NAME)),
)
subject(
    "a file is signed that is not there",
    "files.mismatch",
    "signed files are missing",
    lambda found: found.append(named("b.txt")),
)
subject("a file is signed twice", "format", "not in order", lambda found: found.insert(0, found[0]))
subject(
    "a file is signed twice, with two digests",
    "format",
    "not in order",
    lambda found: found.insert(0, {**found[0], "digest": {"sha256": "00" * 32}}),
)
subject("the files are not in order", "format", "not in order", lambda found: found.reverse())
subject(
    "a file is signed by SHA-512 alone",
    "format",
    "sha512",
    lambda found: found[0].update(digest={"sha512": "00" * 64}),
)
subject(
    "a file is signed by SHA-1 alone", "format", "sha1", lambda found: found[0].update(digest={"sha1": "00" * 20})
)
subject(
    "a file is signed by two algorithms",
    "format",
    "sha512",
    lambda found: found[0]["digest"].update(sha512="00" * 64),
)
subject("a file is signed by no algorithm", "format", "sha256 is missing", lambda found: found[0].update(digest={}))
subject(
    "a digest is in capitals",
    "format",
    "malformed",
    lambda found: found[0]["digest"].update(sha256=found[0]["digest"]["sha256"].upper()),
)
subject(
    "a digest is cut off",
    "format",
    "malformed",
    lambda found: found[0]["digest"].update(sha256=found[0]["digest"]["sha256"][:-2]),
)
subject(
    "a digest is a list of digests",
    "format",
    "wrong type",
    lambda found: found[0]["digest"].update(sha256=[found[0]["digest"]["sha256"]]),
)
subject(
    "a digest has its algorithm in front",
    "format",
    "malformed",
    lambda found: found[0]["digest"].update(sha256="sha256:" + found[0]["digest"]["sha256"]),
)
subject(
    "a digest is under a name in capitals",
    "format",
    "SHA256",
    lambda found: found[0].update(digest={"SHA256": found[0]["digest"]["sha256"]}),
)
subject("a file has no name", "format", "name is missing", lambda found: found[0].pop("name"))
subject("a file has an empty name", "format", "wrong length", lambda found: found[0].update(name=""))
subject(
    "a file is called by an absolute path",
    "format",
    "plain relative path",
    lambda found: found.insert(0, named("/etc/passwd")),
)
subject(
    "a file lies above the adapter",
    "format",
    "plain relative path",
    lambda found: found.insert(0, named("../x.txt")),
)
subject(
    "a file is called by a path with a dot in it",
    "format",
    "plain relative path",
    lambda found: found.insert(0, named("./x.txt")),
)
subject(
    "a file is called by a path of Windows",
    "format",
    "backslash",
    lambda found: found.insert(0, named("C:\\x.txt")),
)
subject("a file is a pickle", "files.mismatch", "pickle", lambda found: found.append(named("b.pkl")))
subject(
    "a file is the bundle itself",
    "format",
    "bundle's own name",
    lambda found: found.append(named("skillwarrant.sigstore.json")),
)
subject(
    "two files differ in case only",
    "format",
    "differ only in case",
    lambda found: found.insert(1, named("adapter_Config.json")) or found.sort(key=lambda item: item["name"]),
)
subject(
    "a thousand and one files more are signed",
    "files.mismatch",
    "signed files are missing",
    lambda found: found.extend(named(f"b{number:05}.txt") for number in range(1001)),
)
subject(
    "ten thousand files more are signed",
    "format",
    "subject has the wrong length",
    lambda found: found.extend(named(f"b{number:05}.txt") for number in range(10_000)),
)


# The predicate


def field(name: str, says: str, change: Callable[[Json], Any], code: str = "format") -> None:
    stated(name, code, says, lambda found: change(found["predicate"]))


def place(name: str, says: str, code: str = "format", **fields: Any) -> None:
    """The deployment says something else."""
    field(name, says, lambda found: found["deployment"].update(fields), code)


MISSPELT = "misspelt field"
for key, folder in (
    ("notafter", "deployment"),
    ("not_after", "deployment"),
    ("NOTAFTER", "deployment"),
    ("not-after", "deployment"),
    ("Environments", "deployment"),
    ("environment\u017f", "deployment"),
    ("Stackable", "composition"),
    ("deny_with", "composition"),
    ("changesbase", "adapter"),
):
    field(
        f"a restriction is written as {ascii(key)[1:-1]}",
        MISSPELT,
        lambda found, key=key, folder=folder: found[folder].update({key: ["x"]}),
    )
field(
    "the policy class is there in a second spelling", MISSPELT, lambda found: found.update(policy_class="general")
)
field("the base models are there in a second spelling", MISSPELT, lambda found: found.update(basemodels=[]))
field("the deployment is missing", "deployment is missing", lambda found: found.pop("deployment"))
field("the policy class is missing", "policyClass is missing", lambda found: found.pop("policyClass"))
field("the composition is missing", "composition is missing", lambda found: found.pop("composition"))
field("no base model is named", "baseModels has the wrong length", lambda found: found.update(baseModels=[]))
field("the base models are null", "baseModels is missing", lambda found: found.update(baseModels=None))
field(
    "a base model is named twice",
    "one fingerprint twice",
    lambda found: found["baseModels"].append(found["baseModels"][0]),
)
field(
    "a base model is measured by an unknown scheme",
    "unknown fingerprint scheme",
    lambda found: found["baseModels"][0]["fingerprint"].update(scheme="md5-of-name"),
)
field(
    "a base model has a name and no fingerprint",
    "fingerprint is missing",
    lambda found: found["baseModels"][0].pop("fingerprint"),
)
field(
    "the fingerprint of a base model is a wildcard",
    "malformed",
    lambda found: found["baseModels"][0]["fingerprint"]["digest"].update(sha256="*"),
)
field(
    "the skill's name climbs out of its organisation",
    "malformed",
    lambda found: found["skill"].update(name="acme/../evil"),
)
field("the skill's name is in capitals", "malformed", lambda found: found["skill"].update(name="Acme/Support"))
field(
    "the skill's name is spelled with a Cyrillic letter",
    "malformed",
    lambda found: found["skill"].update(name="\u0430cme/support"),
)
field("the skill's name is two names", "malformed", lambda found: found["skill"].update(name="acme/support evil/x"))
field("the skill's version is the word latest", "malformed", lambda found: found["skill"].update(version="latest"))
field("the skill is a tool", "kind is unknown", lambda found: found["skill"].update(kind="tool"))
field(
    "the description moves the cursor",
    "control characters",
    lambda found: found["skill"].update(description="\x1b[2Jall is well"),
)
field("the publisher is nobody", "publisher is missing", lambda found: found.pop("publisher"))
field("that the base changes is a string", "wrong type", lambda found: found["adapter"].update(changesBase="false"))
field("the number of tensors is zero", "too small", lambda found: found["adapter"]["tensors"].update(count=0))
field("the number of parameters is negative", "too small", lambda found: found["adapter"].update(parameters=-1))
field("the number of parameters is true", "wrong type", lambda found: found["adapter"].update(parameters=True))
field("the hazards are an empty list", "wrong length", lambda found: found["adapter"].update(hazards=[]))
field("the stackable flag is a number", "wrong type", lambda found: found["composition"].update(stackable=1))
field(
    "the patterns of company hold a regular expression",
    "malformed",
    lambda found: found["composition"].update(allowWith=["(a|b)"]),
)
field(
    "the required versions are an exact string",
    "malformed",
    lambda found: found.update(requires={"peft": "===0.21"}),
)
field(
    "the required package is spelled in two ways",
    "names no package",
    lambda found: found.update(requires={"Peft": ">=0.21"}),
)
field("the evidence has no digest", "digest is missing", lambda found: found.update(evidence=[{"name": "x"}]))
place("the environments are empty", "wrong length", environments=[])
place("the environments are one string", "wrong type", environments="production")
place("the environment is a wildcard", "malformed", environments=["*"])
place("an environment is there twice", "names something twice", environments=["production", "production"])
place("the environments are null", "environments is missing", environments=None)
place("the regions are an empty list, which says any and none", "wrong length", regions=[])
place("the operators are null, which says any and none", "missing", operators=None)
place(
    "the window ends before it begins",
    "empty time window",
    notBefore="2027-01-01T00:00:00Z",
    notAfter="2026-01-01T00:00:00Z",
)
place("the window ends at a time without a zone", "not a time", notAfter="2027-01-01T00:00:00")
place("the window ends at a time of another zone", "not a time", notAfter="2027-01-01T00:00:00+01:00")
place("the window ends at a number", "wrong type", notAfter=1_900_000_000)
place("the window ends on the thirtieth of February", "not a time", notAfter="2027-02-30T00:00:00Z")
place(
    "the window ends in digits of another script", "not a time", notAfter="\u0662\u0660\u0662\u0667-01-01T00:00:00Z"
)
place("a prompt is there as its text", "wrong type", systemPrompts=["You are kind."])


# A sound manifest that does not cover this place

place("the window has ended", "does not cover now", "time.window", notAfter="2026-11-22T12:00:00Z")
place("the window has not begun", "does not cover now", "time.window", notBefore="2026-11-22T12:00:01Z")
place(
    "the skill is made for development",
    "does not sanction this environment",
    "environment.allowed",
    environments=["development"],
)
place(
    "the environment's name begins with the right one",
    "does not sanction",
    "environment.allowed",
    environments=["production2"],
)
place(
    "the environment's name is in capitals", "does not sanction", "environment.allowed", environments=["Production"]
)
place(
    "the skill is made for another region", "does not sanction this region", "region.allowed", regions=["eu-west-1"]
)
place(
    "the skill is made for another operator",
    "does not sanction this operator",
    "operator.allowed",
    operators=["bank"],
)
place(
    "the skill is made for another prompt",
    "does not sanction this system prompt",
    "prompt.allowed",
    systemPrompts=[{"sha256": "00" * 32}],
)
field(
    "the skill is made for another class of policy",
    "another class",
    lambda found: found.update(policyClass="medical"),
    "class.allowed",
)
field(
    "the skill is of another organisation",
    "may not vouch for this skill",
    lambda found: found["skill"].update(name="evil/support"),
    "publisher.trusted",
)
field(
    "the skill's organisation begins with the right one",
    "may not vouch",
    lambda found: found["skill"].update(name="acme-evil/support"),
    "publisher.trusted",
)
field(
    "the skill has no organisation",
    "may not vouch for this skill",
    lambda found: found["skill"].update(name="acme"),
    "publisher.trusted",
)
field(
    "another base is vouched for",
    "is not one the publisher vouches for",
    lambda found: found["baseModels"][0]["fingerprint"]["digest"].update(sha256="11" * 32),
    "base.matches",
)
field(
    "versions are required that are not installed",
    "outside the publisher's range",
    lambda found: found.update(requires={"peft": "<0.1"}),
    "requires.met",
)
field(
    "a package is required that is not installed",
    "outside the publisher's range",
    lambda found: found.update(requires={"evil-package": ">=1"}),
    "requires.met",
)


@case(
    "the base has a name that this publisher may not use", "publisher.trusted", "may not vouch for this base model"
)
def _(attempt: Forged) -> None:
    attempt.rule = 'base_models = ["acme/other-*"]'


@case("the policy allows another base only", "base.allowed", "does not allow this base model")
def _(attempt: Forged) -> None:
    fingerprint = f"skillwarrant-tensors-v1:{'22' * 32}"
    attempt.rule = f'[[bases]]\nname = "x"\nfingerprint = "{fingerprint}"'


@case("the policy itself is no longer in force", "policy.in-force", "not in force now")
def _(attempt: Forged) -> None:
    attempt.extra = "not_after = 2026-11-01T00:00:00Z"


@case(
    "the manifest is signed again by a stranger with a certificate of his own",
    "publisher.trusted",
    "no trusted publisher",
)
def _(attempt: Forged) -> None:
    stranger = IDENTITY.replace("acme", "mallory")
    attempt.certificate["names"] = [attempt.name(stranger)]
