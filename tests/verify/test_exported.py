"""The package's names: light to import, and plain about what is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import skillwarrant_verify


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_every_exported_name_is_there() -> None:
    assert skillwarrant_verify.__all__ == sorted(skillwarrant_verify.__all__)
    for name in skillwarrant_verify.__all__:
        assert getattr(skillwarrant_verify, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'verify_and_laod'"):
        skillwarrant_verify.verify_and_laod  # noqa: B018


def test_reading_a_policy_imports_neither_torch_nor_sigstore() -> None:
    done = python(
        "import sys; from skillwarrant_verify import Context, Policy;"
        "sys.exit(bool({'torch', 'peft', 'sigstore', 'numpy'} & set(sys.modules)))"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("missing", ["torch", "peft"])
def test_loading_without_its_packages_says_what_to_install(missing: str) -> None:
    done = python(
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from skillwarrant_format.errors import Unavailable\n"
        "try:\n    from skillwarrant_verify import verify_and_load\n"
        "except Unavailable as error:\n    print(error)\n"
    )
    assert "pip install 'skillwarrant[load]'" in done.stdout, done.stderr
