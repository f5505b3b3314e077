"""The contract of the short import: the same answers, to the word, and nothing left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from insider import Insider, raw
from mutate import mutated

ANSWERS = Path(__file__).with_name("answers.py")


def python(*arguments: str | Path) -> str:
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Honest ones of each kind and 120 mutations of them, with the root that verifies them."""
    directory, insider = tmp_path_factory.mktemp("bundles"), Insider()
    random = Random(20261122)  # noqa: S311  # the same mutations every time
    (directory / "root.json").write_bytes(insider.trust().raw)
    honest = [
        insider.bundle(version=version, stamped=stamped) for version, stamped in ((1, False), (1, True), (2, True))
    ]
    for number, bundle in enumerate(honest):
        (directory / f"honest-{number}.sigstore.json").write_bytes(raw(bundle))
    for number in range(120):
        data = mutated(random.choice(honest), random.choice(honest), random)
        (directory / f"mutated-{number:03}.sigstore.json").write_bytes(data)
    return directory


@pytest.fixture(scope="module")
def plain(bundles: Path) -> Any:
    return json.loads(python(ANSWERS, bundles, "plain"))


@pytest.fixture(scope="module")
def light(bundles: Path) -> Any:
    return json.loads(python(ANSWERS, bundles, "light"))


def test_both_ways_give_the_same_answers_to_the_word(light: Any, plain: Any) -> None:
    assert light["light"] is True
    assert light["answers"] == plain["answers"]
    kinds = {text.partition(":")[0].partition("(")[0] for text in plain["answers"].values()}
    assert {"Signature", "SignatureInvalid", "NotLogged", "FormatError"} <= kinds


def test_the_short_way_imports_no_client_and_the_plain_way_does(light: Any, plain: Any) -> None:
    assert light["clients"] == []
    assert plain["clients"] == ["id", "jwt", "platformdirs", "requests", "tuf.ngclient"]


def test_whoever_imports_a_client_later_gets_the_real_one() -> None:
    python(
        "-c",
        "from skillwarrant_verify.proof.verify_only import import_sigstore\n"
        "assert import_sigstore()\n"
        "import requests, jwt, id, platformdirs, tuf, sys\n"
        "assert not hasattr(tuf, 'ngclient')\n"
        "from tuf.ngclient import Updater\n"
        "assert requests.Session().headers and jwt.PyJWT() and id.IdentityError and platformdirs.user_cache_dir()\n"
        "assert Updater.refresh and not any(type(item).__name__ == '_Absent' for item in sys.meta_path)\n"
        "import gc, pydantic\n"
        "assert gc.isenabled() and not pydantic.BaseModel.model_config.get('defer_build')\n",
    )


def test_what_is_imported_already_is_used_as_it_is() -> None:
    python(
        "-c",
        "import requests\n"
        "from skillwarrant_verify.proof.verify_only import import_sigstore\n"
        "assert import_sigstore()\n"
        "from sigstore._internal.rekor import client\n"
        "assert client.requests is requests\n"
        "assert not import_sigstore()\n",  # there is nothing left to do
    )


def test_signing_in_such_a_process_fails_loudly() -> None:
    python(
        "-c",
        "from skillwarrant_verify.proof.verify_only import import_sigstore\n"
        "assert import_sigstore()\n"
        "from sigstore.oidc import Issuer\n"
        "try:\n"
        "    Issuer('http://127.0.0.1:9')\n"
        "except RuntimeError as error:\n"
        "    assert 'requests.Session is not there' in str(error), error\n"
        "else:\n"
        "    raise SystemExit('an issuer without a client')\n",
    )


@pytest.mark.parametrize(
    "sabotage",
    [
        "import sigstore; sigstore.__version__ = '5.0.0'",  # a version nobody has tested
        "import sys; sys.modules['sigstore.dsse'] = None",  # an import that fails in the middle
    ],
)
def test_where_anything_is_unexpected_sigstore_is_imported_as_always(
    bundles: Path, sabotage: str, plain: Any
) -> None:
    program = (
        f"{sabotage}\n"
        "import json, sys\n"
        f"sys.path.insert(0, {str(ANSWERS.parent)!r})\n"
        "from skillwarrant_verify.proof.verify_only import import_sigstore\n"
        "assert not import_sigstore()\n"
        "import answers; from pathlib import Path\n"
        f"answers.main(Path({str(bundles)!r}), 'plain')\n"
    )
    assert json.loads(python("-c", program))["answers"] == plain["answers"]
