"""The template: pleasant to fill in, and nothing in it is signed by accident."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skillwarrant_attest import SkillToml, default_path, read_adapter, template, write_template
from skillwarrant_format.errors import Unavailable, UsageError


def test_the_template_is_toml_whose_placeholders_are_refused_by_name(adapter_dir: Path) -> None:
    path = write_template(read_adapter(adapter_dir), adapter_dir.parent / "new.toml")
    with pytest.raises(UsageError, match="is not filled in") as refused:
        SkillToml.load(path)
    for key in (
        "policy_class",
        "skill.version",
        "skill.description",
        "publisher.name",
        "deployment.environments[0]",
    ):
        assert key in str(refused.value)


def fill(text: str, leave: int | None = None) -> str:
    """Fill in every placeholder but one."""
    words = iter(["general", "1.0.0", "Helps.", "Acme", "production"])
    parts = re.split(r'"<fill in:[^"]*"', text)
    filled = [f'"{next(words)}"' if number != leave else '"<fill in>"' for number in range(len(parts) - 1)]
    return "".join(part + word for part, word in zip(parts, [*filled, ""], strict=True))


def test_a_filled_template_says_what_was_filled_in_and_nothing_else(adapter_dir: Path) -> None:
    skill = SkillToml.parse(fill(template(read_adapter(adapter_dir))).encode())
    assert skill.skill.name == "support"
    assert [base.name for base in skill.bases] == ["acme/base"]
    assert skill.deployment.environments == ("production",)
    assert skill.deployment.not_before is skill.deployment.not_after is None
    assert skill.deployment.regions == skill.deployment.operators == ()
    assert skill.composition.stackable is False
    assert skill.training_data == skill.requires == skill.evidence == ()


@pytest.mark.parametrize("leave", range(5))
def test_one_placeholder_left_is_enough_to_refuse(adapter_dir: Path, leave: int) -> None:
    with pytest.raises(UsageError, match="is not filled in"):
        SkillToml.parse(fill(template(read_adapter(adapter_dir)), leave).encode())


def test_every_commented_section_can_be_uncommented(adapter_dir: Path) -> None:
    """The comments are the documentation that people copy: each line of them must be accepted."""
    text = fill(template(read_adapter(adapter_dir)))
    plain = re.sub(r"(?m)^# (?=\[|\w+ = )", "", text)
    plain = plain.replace("sha256:…", f"sha256:{'0' * 64}").replace('"…"', '"0123abcd"')
    skill = SkillToml.parse(plain.encode())
    assert skill.composition.max_skills == 2
    assert skill.training_data[0].licence == "CC-BY-4.0"
    assert skill.evidence[0].name == "evaluation"
    assert skill.requires == (("peft", ">=0.21,<0.22"),)
    assert skill.deployment.regions == ("eu-west-1",)
    assert skill.bases[0].revision == "0123abcd"


@pytest.mark.parametrize("name", ["/home/ada/models/secret", "./models/x", "..", "a/b/c", "x\\y", 'a"b/c', None])
def test_a_path_of_the_machine_does_not_get_into_the_template(
    tmp_path: Path, make_adapter: Callable[..., Path], name: str | None
) -> None:
    text = template(read_adapter(make_adapter(tmp_path / "a", base_model_name_or_path=name)))
    assert "<fill in: the base model" in text
    assert name is None or f'"{name}"' not in text


def test_a_hub_name_that_is_also_a_directory_here_is_a_path(
    tmp_path: Path, make_adapter: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "acme" / "base").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert "<fill in: the base model" in template(read_adapter(make_adapter(tmp_path / "a")))


@pytest.mark.parametrize(("name", "guess"), [("My LoRA!", '"my-lora"'), ("___", "<fill in"), ("ünï", '"n"')])
def test_the_directory_suggests_a_name_where_it_makes_one(
    tmp_path: Path, make_adapter: Callable[..., Path], name: str, guess: str
) -> None:
    text = template(read_adapter(make_adapter(tmp_path / name)))
    assert guess in text.split("[skill]")[1].split("\n")[1]


def test_hazards_are_told_before_anybody_signs(tmp_path: Path, make_adapter: Callable[..., Path]) -> None:
    text = template(
        read_adapter(make_adapter(tmp_path / "a", init_lora_weights="pissa", modules_to_save=["lm_head"]))
    )
    assert "CHANGES THE BASE MODEL" in text
    assert "modules-to-save" in text


def test_a_template_never_overwrites(adapter_dir: Path) -> None:
    adapter = read_adapter(adapter_dir)
    before = default_path(adapter_dir).read_bytes()
    with pytest.raises(UsageError, match="is already there"):
        write_template(adapter)
    assert default_path(adapter_dir).read_bytes() == before


def test_a_template_for_nowhere_is_unavailable(adapter_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot write"):
        write_template(read_adapter(adapter_dir), tmp_path / "none" / "x.toml")


@given(name=st.text(min_size=1, max_size=30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_base_name_gives_a_template_that_parses(adapter_dir: Path, name: str) -> None:
    adapter = read_adapter(adapter_dir)
    config = dataclasses.replace(adapter.config, base_model_name_or_path=name, revision=name)
    text = template(dataclasses.replace(adapter, config=config))
    if name.isprintable():
        assert SkillToml.parse(fill(re.sub(r'name = "<fill in: the base[^"]*"', 'name = "b"', text)).encode())
