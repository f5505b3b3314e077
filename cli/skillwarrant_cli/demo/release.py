"""What a release workflow does with an adapter, step by step the same as `skillwarrant sign`.

Must not know: how the adapter was made, and what becomes of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from skillwarrant_attest import (
    SkillToml,
    ambient_credential,
    build,
    measure_bases,
    read_adapter,
    write_bundle,
)
from skillwarrant_attest import sign as sign_statement
from skillwarrant_cli.bundle_file import ReadBundle
from skillwarrant_cli.demo.place import ENVIRONMENT

__all__ = ["DEVELOPMENT", "RELEASE", "Release", "ci_job", "sign"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What is released where: the tag that the workflow runs for, and the only environment that is sanctioned."""

    folder: str
    version: str
    ref: str
    environment: str


RELEASE: Final = Release(folder="release", version="1.0.0", ref="refs/tags/v1.0.0", environment=ENVIRONMENT)
DEVELOPMENT: Final = Release(
    folder="development", version="1.1.0-dev", ref="refs/tags/v1.1.0-dev", environment="development"
)


@contextmanager
def ci_job(variables: Mapping[str, str]) -> Iterator[None]:
    """This process is the CI job of these environment variables while the block runs, and not afterwards."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def sign(
    adapter: Path, skill_toml: Path, *, base: Path, trust_config: Path, working: Callable[[str], None]
) -> ReadBundle:
    """Sign an adapter as the CI job that this process is, and leave the bundle beside it.

    Returns:
        The bundle, read back from the adapter's directory.

    Raises:
        SkillwarrantError: as `skillwarrant sign`.
    """
    working("reading the adapter")
    read = read_adapter(adapter)
    skill = SkillToml.load(skill_toml)
    working("measuring the base model")
    statement = build(read, skill, measure_bases(skill, directory=base))
    working("asking for the CI job's identity")
    credential = ambient_credential()
    working("signing")
    bundle = sign_statement(statement, credential=credential, trust_config=trust_config)
    write_bundle(adapter, bundle)
    return ReadBundle.read(adapter)
