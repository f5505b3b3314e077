"""The Python in docs/how-to/devstack.md runs as it stands there, and its file table is true."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "devstack.md").read_text()


def test_the_python_of_the_how_to_runs_and_leaves_the_files_it_names(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    rows = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    named = {name.rstrip("/") for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert named | {"README.txt"} == {path.name for path in (tmp_path / "trial").iterdir()}
