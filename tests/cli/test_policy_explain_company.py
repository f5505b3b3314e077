"""`policy explain` with company: what a gate would find on the model is supposed, and judged as there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

CONSENT = "\n[composition]\nstackable = true\nmax_skills = 2\n"


@pytest.fixture
def other(world: Any) -> Path:
    """A second skill of the same publisher, `acme/tone`, which consents to company."""
    return signed(world, "tone", CONSENT)


def signed(world: Any, name: str, extra: str) -> Path:
    plain, own = world.skill.read_text(), world.bundle.read_bytes()
    world.skill.write_text(plain.replace("acme/support", f"acme/{name}"))
    world.sign(extra)
    copy = Path(shutil.copytree(world.adapter, world.directory / name))
    world.skill.write_text(plain)
    world.bundle.write_bytes(own)
    return copy


def denied(run: Any, world: Any, *arguments: Any) -> dict[str, Any]:
    """The requirements that are not proved, by code."""
    place = ("--environment", "production", "--base", world.base)
    result = run("policy", "explain", world.policy, world.adapter, *world.trust, *place, *arguments, "--json")
    answer = json.loads(result.stdout)
    assert result.exit_code in (0, 1), answer
    (decision,) = answer["decisions"]
    found = {one["code"]: one for one in decision["requirements"] if one["outcome"] != "proved"}
    assert bool(found) == bool(result.exit_code)
    return found


def test_alone_it_is_allowed(run: Any, world: Any) -> None:
    assert denied(run, world) == {}


def test_beside_another_skill_it_needs_every_publishers_consent(run: Any, world: Any, other: Path) -> None:
    found = denied(run, world, "--beside", other)
    assert set(found) == {"composition.allowed"}
    assert "acme/support" in found["composition.allowed"]["found"]
    world.sign(CONSENT)
    assert denied(run, world, "--beside", other) == {}


def test_the_consumers_own_rules_count_the_supposed_company(run: Any, world: Any, other: Path) -> None:
    world.sign(CONSENT)
    rules = '\n[composition]\nconflicts = [["acme/support", "acme/tone"]]\n'
    world.policy.write_text(world.policy.read_text() + rules)
    assert set(denied(run, world)) == set()
    assert set(denied(run, world, "--beside", other)) == {"composition.limits"}


def test_a_third_one_can_be_too_many(run: Any, world: Any, other: Path) -> None:
    third = signed(world, "search", CONSENT)
    world.sign(CONSENT)
    assert set(denied(run, world, "--beside", other, "--beside", third)) == {"composition.allowed"}


def test_an_adapter_of_nobody_has_nobody_to_consent(run: Any, world: Any) -> None:
    world.sign(CONSENT)
    assert set(denied(run, world, "--beside-unsigned", "default")) == {"composition.allowed"}


def test_a_hook_on_the_base_is_judged_and_its_line_told(run: Any, world: Any) -> None:
    hook = ("--alteration", "forward-hook: model.layers.0")
    found = denied(run, world, *hook)
    assert found["runtime.unaltered"]["found"] == "forward-hook: model.layers.0"
    assert 'allow_alterations = ["forward-hook"]' in found["runtime.unaltered"]["fix"]
    text = world.policy.read_text()
    world.policy.write_text(text.replace("revision = 3", 'revision = 3\nallow_alterations = ["forward-hook"]'))
    assert denied(run, world, *hook) == {}


def test_a_weight_is_held_against_the_policys(run: Any, world: Any) -> None:
    world.policy.write_text(world.policy.read_text() + "\n[composition]\nmax_weight = 0.5\n")
    assert denied(run, world, "--weight", "0.5") == {}
    assert set(denied(run, world)) == {"composition.weights"}, "as it is, it weighs 1"
    assert set(denied(run, world, "--weight", "-0.6")) == {"composition.weights"}
    assert set(denied(run, world, "--weight", "nan")) == {"composition.weights"}


def test_company_is_verified_as_the_adapter_is(run: Any, world: Any, other: Path) -> None:
    (other / "README.md").write_text("# Another\n")
    place = ("--environment", "production", "--base", world.base)
    result = run("policy", "explain", world.policy, world.adapter, *world.trust, *place, "--beside", other)
    assert result.exit_code == 1
    assert f"--beside {other}: 'README.md' is not the file that was signed" in result.stderr


def test_a_policy_from_inside_the_company_is_refused(run: Any, world: Any, other: Path) -> None:
    inside = Path(shutil.copy(world.policy, other / "policy.toml"))
    place = ("--environment", "production", "--base", world.base)
    result = run("policy", "explain", inside, world.adapter, *world.trust, *place, "--beside", other)
    assert result.exit_code == 1
    assert "the policy lies inside the adapter" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--alteration", "a hook"), "of no kind that a gate finds"),
        (("--alteration", "forward-hook: "), "of no kind that a gate finds"),
        (("--alteration", "forward_hook: model"), "of no kind that a gate finds"),
        (("--weight", "much"), "'much' is not a valid float"),
    ],
)
def test_what_cannot_be_supposed_is_a_misuse(run: Any, world: Any, arguments: Any, message: str) -> None:
    place = ("--environment", "production", "--base", world.base)
    result = run("policy", "explain", world.policy, world.adapter, *world.trust, *place, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize("arguments", [("--beside", "x"), ("--weight", "1"), ("--alteration", "forward-hook: x")])
def test_company_of_nothing_is_a_misuse(run: Any, world: Any, arguments: Any) -> None:
    result = run("policy", "explain", world.policy, *arguments)
    assert result.exit_code == 2
    assert "no adapter for it" in result.stderr
