"""Run in a process of its own: what the verifier answers to each bundle of a directory, as one JSON object.

    python answers.py DIRECTORY light|plain

The directory holds `root.json` and the bundles; `light` imports sigstore without its clients first.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from skillwarrant_format.errors import SkillwarrantError
from skillwarrant_verify.proof.signature import verify_signature
from skillwarrant_verify.proof.verify_only import import_sigstore
from skillwarrant_verify.trust import TrustRoot

CLIENTS = ("id", "jwt", "platformdirs", "requests", "tuf.ngclient")


def answer(bundle: bytes, root: TrustRoot) -> str:
    try:
        found = verify_signature(bundle, root, now=datetime(2026, 11, 22, tzinfo=UTC))
    except SkillwarrantError as error:
        return f"{type(error).__name__}: {error}"
    return repr(found)


def main(directory: Path, way: str) -> None:
    light = import_sigstore() if way == "light" else None
    source = directory / "root.json"
    root = TrustRoot(source="the test", retrieved_at=datetime(2026, 11, 22, tzinfo=UTC), raw=source.read_bytes())
    bundles = sorted(directory.glob("*.sigstore.json"))
    answers = {path.name: answer(path.read_bytes(), root) for path in bundles}
    clients = [name for name in CLIENTS if name in sys.modules]
    print(json.dumps({"light": light, "clients": clients, "answers": answers}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
