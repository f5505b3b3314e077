"""The same adapter and facts give the same bytes; what a verifier would refuse is never built."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from skillwarrant_attest import (
    SkillToml,
    base_from_directory,
    base_from_facts,
    build,
    default_path,
    measure_bases,
    read_adapter,
)
from skillwarrant_format.base_directory import cast_directory
from skillwarrant_format.errors import FormatError, UsageError
from skillwarrant_format.manifest import SkillManifest
from skillwarrant_format.statement import Statement


def built(directory: Path) -> Statement:
    skill = SkillToml.load(default_path(directory))
    return build(read_adapter(directory), skill, measure_bases(skill))


def test_the_manifest_says_what_the_files_and_the_publisher_say(adapter_dir: Path) -> None:
    manifest = SkillManifest.parse(Statement.parse(built(adapter_dir).raw))
    assert manifest.skill.name == "acme/support"
    assert manifest.publisher.name == "Acme"
    assert manifest.adapter == read_adapter(adapter_dir).facts
    assert [base.name for base in manifest.base_models] == ["acme/base"]
    assert manifest.base_models[0].architecture == "LlamaForCausalLM"
    assert manifest.deployment.environments == ("production",)


def test_twice_the_same_is_the_same_bytes(adapter_dir: Path) -> None:
    assert built(adapter_dir).raw == built(adapter_dir).raw


def test_a_copy_made_in_another_order_at_another_time_elsewhere_is_the_same_bytes(
    adapter_dir: Path, tmp_path: Path
) -> None:
    (adapter_dir / "README.md").write_text("x")
    (adapter_dir / "LICENSE").write_text("y")
    copy = tmp_path / "a" / "longer" / "way" / "support"
    copy.mkdir(parents=True)
    for path in sorted(adapter_dir.iterdir(), reverse=True):
        shutil.copyfile(path, copy / path.name)
        os.utime(copy / path.name, (1, 1))
        (copy / path.name).chmod(0o600)
    shutil.copytree(adapter_dir.parent / "base", copy.parent / "base")
    shutil.copyfile(default_path(adapter_dir), default_path(copy))
    assert built(copy).raw == built(adapter_dir).raw


def test_another_process_with_another_hash_seed_builds_the_same_bytes(adapter_dir: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from skillwarrant_attest import *\n"
        "directory = Path(sys.argv[1]); skill = SkillToml.load(default_path(directory))\n"
        "sys.stdout.buffer.write(build(read_adapter(directory), skill, measure_bases(skill)).raw)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    command = [sys.executable, "-c", code, str(adapter_dir)]
    assert (
        subprocess.run(command, env=environment, capture_output=True, check=True).stdout == built(adapter_dir).raw
    )


def test_peft_writing_its_set_of_targets_in_another_order_changes_no_fact(
    tmp_path: Path, make_adapter: Callable[..., Path]
) -> None:
    one = read_adapter(make_adapter(tmp_path / "1", target_modules=["a", "b", "c"]))
    two = read_adapter(make_adapter(tmp_path / "2", target_modules=["c", "a", "b"]))
    assert one.facts == two.facts


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("acme/support", "acme/support2"),
        ("1.2.0", "1.2.1"),
        ('"production"', '"production", "staging"'),
        ('"general"', '"medical"'),
        ('"Acme"', '"Acme Inc."'),
        ('name = "acme/base"', 'name = "acme/base"\nrevision = "abc"'),
    ],
)
def test_everything_that_is_said_is_signed(adapter_dir: Path, old: str, new: str) -> None:
    before = built(adapter_dir).raw
    path = default_path(adapter_dir)
    path.write_text(path.read_text().replace(old, new, 1))
    assert built(adapter_dir).raw != before


def test_no_path_of_the_machine_is_signed(adapter_dir: Path) -> None:
    assert str(adapter_dir.parent).encode() not in built(adapter_dir).raw


# --- bases


def test_a_base_is_measured_from_its_directory_or_taken_as_measured(adapter_dir: Path) -> None:
    from skillwarrant_format.base_directory import fingerprint_directory

    directory = adapter_dir.parent / "base"
    measured = base_from_directory(directory, name="acme/base", revision="r1")
    facts = fingerprint_directory(directory)
    assert measured == base_from_facts(facts.fingerprint, facts.facts, name="acme/base", revision="r1")
    assert (measured.parameters, measured.dtype) == (4, "float32")


def stated(adapter_dir: Path, text: str) -> SkillToml:
    path = default_path(adapter_dir)
    path.write_text(path.read_text().replace('directory = "base"\n', text))
    return SkillToml.load(path)


FACTS = 'architecture = "LlamaForCausalLM"\nparameters = 4\ndtype = "float32"\n'


def test_a_stated_fingerprint_builds_what_measuring_builds(adapter_dir: Path) -> None:
    before = built(adapter_dir).raw
    base = base_from_directory(adapter_dir.parent / "base", name="acme/base")
    skill = stated(adapter_dir, f'fingerprint = "{base.fingerprint}"\n{FACTS}')
    assert build(read_adapter(adapter_dir), skill, measure_bases(skill)).raw == before


def test_a_directory_that_is_not_the_stated_base_is_refused(adapter_dir: Path) -> None:
    skill = stated(adapter_dir, f'fingerprint = "skillwarrant-tensors-v1:{"1" * 64}"\n{FACTS}')
    with pytest.raises(UsageError, match=r"is not the base model that skill\.toml states"):
        measure_bases(skill, directory=adapter_dir.parent / "base")


def test_casts_that_skill_toml_asks_for_are_measured_from_the_directory(adapter_dir: Path) -> None:
    skill = stated(adapter_dir, 'directory = "base"\ncasts = ["float16", "bfloat16"]\n')
    (base,) = measure_bases(skill)
    directory = adapter_dir.parent / "base"
    assert base.casts == tuple(cast_directory(directory, dtype) for dtype in ("float16", "bfloat16"))
    assert base.fingerprint == base_from_directory(directory, name="acme/base").fingerprint
    statement = build(read_adapter(adapter_dir), skill, (base,))
    assert SkillManifest.parse(statement).base_models == (base,)


@pytest.mark.parametrize(("old", "new"), [("exact", "exact"), ("exact", "rounded"), ("HALF", "1" * 64)])
def test_stated_casts_must_be_what_a_directory_measures(adapter_dir: Path, old: str, new: str) -> None:
    base = base_from_directory(adapter_dir.parent / "base", name="acme/base", casts=["float16"])
    half = base.casts[0].fingerprint.digest.hex
    line = 'casts = [{ dtype = "float16", kind = "exact", fingerprint = "skillwarrant-tensors-v1:HALF" }]\n'
    line = line.replace(old, new).replace("HALF", half)
    skill = stated(adapter_dir, f'fingerprint = "{base.fingerprint}"\n{line}{FACTS}')
    if old == new:
        assert measure_bases(skill) == measure_bases(skill, directory=adapter_dir.parent / "base") == (base,)
    else:
        with pytest.raises(UsageError, match="is not the base model that"):
            measure_bases(skill, directory=adapter_dir.parent / "base")


def test_a_cast_that_changes_nothing_is_refused(adapter_dir: Path) -> None:
    with pytest.raises(UsageError, match="changes nothing"):
        measure_bases(stated(adapter_dir, 'directory = "base"\ncasts = ["float32"]\n'))


def test_a_base_that_nobody_measured_is_refused_with_the_ways_out(adapter_dir: Path) -> None:
    skill = stated(adapter_dir, "")
    with pytest.raises(UsageError, match=r"acme/base is not measured.*--base DIR"):
        measure_bases(skill)
    assert measure_bases(skill, directory=adapter_dir.parent / "base")


def test_one_directory_for_two_bases_is_refused(adapter_dir: Path, make_base: Callable[..., Path]) -> None:
    make_base(adapter_dir.parent / "two", seed=2)
    skill = stated(adapter_dir, 'directory = "base"\n[[base]]\nname = "acme/two"\ndirectory = "two"\n')
    assert [base.name for base in measure_bases(skill)] == ["acme/base", "acme/two"]
    with pytest.raises(UsageError, match=r"one base directory .* several bases"):
        measure_bases(skill, directory=adapter_dir.parent / "base")


def test_one_base_under_two_names_is_refused(adapter_dir: Path) -> None:
    skill = stated(adapter_dir, 'directory = "base"\n[[base]]\nname = "acme/alias"\ndirectory = "base"\n')
    with pytest.raises(UsageError, match=r"this manifest would be refused: .*one fingerprint twice"):
        build(read_adapter(adapter_dir), skill, measure_bases(skill))


def test_no_base_at_all_is_refused(adapter_dir: Path) -> None:
    skill = SkillToml.load(default_path(adapter_dir))
    with pytest.raises(UsageError, match="this manifest would be refused"):
        build(read_adapter(adapter_dir), skill, ())


def test_facts_beyond_the_format_are_refused_before_they_are_signed(adapter_dir: Path) -> None:
    adapter = read_adapter(adapter_dir)
    skill = SkillToml.load(default_path(adapter_dir))
    facts = dataclasses.replace(adapter.facts, target_modules=tuple(f"m{i}" for i in range(2000)))
    with pytest.raises(UsageError, match=r"targetModules has the wrong length"):
        build(dataclasses.replace(adapter, facts=facts), skill, measure_bases(skill))


def test_a_base_directory_that_is_no_model_is_named(adapter_dir: Path) -> None:
    skill = stated(adapter_dir, 'directory = "nowhere"\n')
    with pytest.raises(UsageError, match="there is no such directory"):
        measure_bases(skill)
    (adapter_dir.parent / "nowhere").mkdir()
    with pytest.raises(FormatError):
        measure_bases(skill)


def test_the_statement_is_canonical_json(adapter_dir: Path) -> None:
    raw = built(adapter_dir).raw
    assert json.dumps(json.loads(raw), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() == raw
