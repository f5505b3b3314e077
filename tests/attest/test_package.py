"""The package's surface, and what importing it costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import skillwarrant_attest


def test_all_is_literal_sorted_and_true() -> None:
    source = ast.parse(Path(skillwarrant_attest.__file__).read_text())
    (literal,) = [
        ast.literal_eval(node.value)
        for node in source.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
    ]
    assert literal == sorted(literal)
    assert all(hasattr(skillwarrant_attest, name) for name in literal)


def test_importing_it_imports_no_client_and_no_tensor_library() -> None:
    heavy = "('sigstore', 'requests', 'urllib3', 'tuf', 'id', 'pydantic', 'cryptography', 'torch', 'peft', 'numpy')"
    code = f"import sys, skillwarrant_attest; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_only_three_modules_speak_with_sigstore() -> None:
    folder = Path(skillwarrant_attest.__file__).parent
    users = {path.stem for path in folder.glob("*.py") if "sigstore" in _imports(path)}
    assert users == {"instance", "login", "sign"}


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found
