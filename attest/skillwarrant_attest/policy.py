"""A policy's files -> the statement that is signed, and the bundle beside them.

    files = PolicyFiles.read(directory)
    bundle = sign(build_policy(files, not_after=end), credential=ambient_credential())
    write_policy_bundle(directory, bundle)

The same files and end give the same bytes. Whether the policy is a good one is not known here: a verifier reads it.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from skillwarrant_attest.files import replace
from skillwarrant_attest.write import check_unchanged
from skillwarrant_format.bundle import RawBundle
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError, UsageError
from skillwarrant_format.fields import Fields
from skillwarrant_format.limits import MAX_POLICY_BYTES
from skillwarrant_format.policy_bundle import PolicyBundle
from skillwarrant_format.policy_files import POLICY_BUNDLE_NAME, PolicyFiles
from skillwarrant_format.policy_pack import pack
from skillwarrant_format.signed_files import check_files
from skillwarrant_format.statement import Statement
from skillwarrant_format.strict_json import JsonObject, loads_object
from skillwarrant_format.toml import parse_toml

__all__ = ["build_policy", "write_pack", "write_policy_bundle"]


def build_policy(files: PolicyFiles, *, not_after: datetime) -> Statement:
    """The statement for a policy: name, revision, version and times as its document has them.

    Args:
        not_after: until when it may be used, unless the document ends earlier.

    Raises:
        UsageError: a verifier would refuse this: no name or revision, or an end before its beginning.
    """
    name = files.document
    try:
        fields = Fields(_document(files), name)
        ends = fields.maybe("not_after", fields.time)
        bundle = PolicyBundle(
            name=fields.text("name"),
            revision=fields.integer("revision", least=1),
            api_version=fields.text("api_version"),
            document=name,
            not_before=fields.maybe("not_before", fields.time),
            not_after=not_after if ends is None else min(ends, not_after),
        )
        return bundle.to_statement(files.subjects)
    except FormatError as error:
        raise UsageError(
            f"this policy would be refused: {error.message}",
            expected=error.expected,
            found=error.found,
            fix=error.fix,
        ) from None


def write_policy_bundle(directory: Path, bundle: bytes) -> Path:
    """Write `policy.sigstore.json` into a policy's directory, whole or not at all; an older one is replaced.

    The directory is read again: signing takes seconds, in which somebody may have edited a file.

    Args:
        bundle: what `sign` returned.

    Returns:
        The file's path.

    Raises:
        FilesMismatch, DigestMismatch: the directory is not what was signed; nothing is written.
        FormatError: these bytes are no bundle of a statement, or a file changed while it was read.
        Unavailable: the disk is full or refuses; what was there before is untouched.
    """
    statement = Statement.parse(RawBundle.parse(bundle).envelope.payload)
    found = {subject.name: subject.digest for subject in PolicyFiles.read(directory).subjects}
    check_unchanged(statement, found, what="policy")
    path = directory / POLICY_BUNDLE_NAME
    replace(path, bundle)
    return path


def write_pack(directory: Path, file: Path) -> tuple[PolicyBundle, Digest]:
    """Write a signed policy's directory as one file, whole or not at all; an older one is replaced in one step.

    Returns:
        What its bundle claims, unverified, and the digest of the file.

    Raises:
        UsageError: it is not signed.
        FilesMismatch, DigestMismatch: the files are not those that the bundle is for.
        WrongPredicate, FormatError: it is no policy, or its bundle is none.
        Unavailable: the directory cannot be read, or the file cannot be written.
    """
    files = PolicyFiles.read(directory)
    data = pack(files)
    statement, bundle = PolicyBundle.read(RawBundle.parse(files.bundle or b"").envelope.payload)
    check_files(statement.subjects, {subject.name: subject.digest for subject in files.subjects}, what="policy")
    replace(file, data)
    return bundle, Digest.of(data)


def _document(files: PolicyFiles) -> JsonObject:
    data = files.files[files.document]
    if files.document.endswith(".json"):
        return loads_object(data, what=files.document, limit=MAX_POLICY_BYTES)
    return parse_toml(data, what=files.document)
