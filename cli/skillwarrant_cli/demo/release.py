"""What a release workflow does with an adapter, step by step the same as `skillwarrant sign`.

Must not know: how the adapter was made, and what becomes of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from skillwarrant_attest import (
    SkillToml,
    ambient_credential,
    build,
    measure_bases,
    read_adapter,
    sign,
    write_bundle,
)
from skillwarrant_cli.bundle_file import ReadBundle

__all__ = ["ci_job", "release"]


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


def release(
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
    bundle = sign(statement, credential=credential, trust_config=trust_config)
    write_bundle(adapter, bundle)
    return ReadBundle.read(adapter)
