"""skill.toml: nothing unread, mistyped or left unfilled is signed, and every complaint has its place."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillwarrant_attest import SkillToml, default_path
from skillwarrant_attest.toml_lines import line_of
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import Unavailable, UsageError

FULL = """\
policy_class = "medical"

[skill]
name = "acme/support"
version = "1.2.0-rc.1+build.7"
description = \"\"\"
Answers as the support desk.
name = "not a key"
\"\"\"

[publisher]
name = "Acme"
contact = "security@acme.example"

[[base]]
name = "acme/base"
revision = "0123abcd"
directory = "../base"

[[base]]
name = "acme/base-8b"
fingerprint = "skillwarrant-tensors-v1:1111111111111111111111111111111111111111111111111111111111111111"
architecture = "LlamaForCausalLM"
parameters = 8_000_000_000
dtype = "bfloat16"
quantization = "bitsandbytes"

[deployment]
environments = ["staging", "production"]
not_before = 2026-01-01T00:00:00Z
not_after = 2027-01-01T01:00:00+01:00
regions = ["eu-west-1"]
operators = ["ops@acme.example"]
system_prompts = ["sha256:2222222222222222222222222222222222222222222222222222222222222222"]

[composition]
stackable = true
max_skills = 2
allow_with = ["acme/*"]
deny_with = ["acme/debug-*"]

[[training_data]]
name = "tickets"
licence = "CC-BY-4.0"
rights = "consent on file"
uri = "https://acme.example/tickets"
digest = "sha256:3333333333333333333333333333333333333333333333333333333333333333"

[requires]
transformers = ">=5"
peft = ">=0.21,<0.22"

[[evidence]]
name = "evaluation"
digest = "sha256:4444444444444444444444444444444444444444444444444444444444444444"
uri = "https://acme.example/evaluation"
media_type = "application/json"
"""


def read(text: str) -> SkillToml:
    return SkillToml.parse(text.encode(), directory=Path("/skills"))


def test_everything_that_can_be_said_is_read() -> None:
    skill = read(FULL)
    assert (skill.skill.name, skill.skill.version) == ("acme/support", "1.2.0-rc.1+build.7")
    assert skill.publisher.contact == "security@acme.example"
    assert skill.policy_class == "medical"
    assert skill.bases[0].directory == Path("/skills/../base")
    assert skill.bases[0].stated is None
    assert skill.bases[1].directory is None
    assert skill.bases[1].stated is not None
    assert skill.bases[1].stated.fingerprint.digest == Digest("1" * 64)
    assert skill.bases[1].stated.parameters == 8_000_000_000
    assert skill.deployment.not_after == datetime(2027, 1, 1, tzinfo=UTC)
    assert skill.deployment.system_prompts == (Digest("2" * 64),)
    assert skill.composition.allow_with == ("acme/*",)
    assert skill.training_data[0].digest == Digest("3" * 64)
    assert skill.requires == (("peft", ">=0.21,<0.22"), ("transformers", ">=5"))
    assert skill.evidence[0].media_type == "application/json"


def test_little_is_required_and_nothing_is_shared_by_default(skill_text: str) -> None:
    skill = read(skill_text)
    assert skill.composition.stackable is False
    assert skill.training_data == skill.requires == skill.evidence == ()


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("policy_class =", "polcy_class =", "skill.toml:1: polcy_class is not a known key"),
        ("version =", "verison =", "skill.toml:5: skill.verison is not a known key"),
        ("environments =", "enviroments =", "Did you mean 'environments'?"),
        ("not_before =", "notBefore =", "Did you mean 'not_before'?"),
        ("stackable =", "stackabel =", "composition.stackabel"),
        ("licence =", "license =", "Did you mean 'licence'?"),
        ("media_type =", "mediatype =", "Did you mean 'media_type'?"),
        ("contact =", "contacts =", "Did you mean 'contact'?"),
        ("revision =", "revison =", "base[0].revison"),
        ("[requires]", "[require]", "Did you mean 'requires'?"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(old: str, new: str, complaint: str) -> None:
    with pytest.raises(UsageError) as refused:
        read(FULL.replace(old, new, 1))
    assert complaint in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"medical"', "7", "skill.toml:1: policy_class has the wrong type: expected a string, found a number"),
        ('policy_class = "medical"', "", "skill.toml: policy_class is missing"),
        ('"acme/support"', '"Acme Support"', "skill.toml:4: skill.name is malformed"),
        ('"1.2.0-rc.1+build.7"', '"1.2"', "skill.toml:5: skill.version is malformed"),
        ('version = "1.2.0-rc.1+build.7"', "", "skill.toml:3: skill.version is missing"),
        ('"Acme"', '""', "skill.toml:12: publisher.name has the wrong length"),
        ('directory = "../base"', "directory = 1", "skill.toml:18: base[0].directory"),
        ("parameters = 8_000_000_000", "parameters = 0", "skill.toml:24: base[1].parameters is too small"),
        ("parameters = 8_000_000_000", "parameters = true", "base[1].parameters has the wrong type"),
        ("tensors-v1:1", "tensors-v9:1", "skill.toml:22: base[1].fingerprint: unknown fingerprint scheme"),
        ('["staging", "production"]', "[]", "skill.toml:29: deployment.environments has the wrong length"),
        ('["staging", "production"]', '"production"', "expected a list, found a string"),
        ('["staging", "production"]', '["staging", "staging"]', "names something twice"),
        ('["staging", "production"]', '["pro duction"]', "deployment.environments[0] is malformed"),
        ("2026-01-01T00:00:00Z", "2026-01-01", "no UTC instant"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00", "no UTC instant"),
        ("2026-01-01T00:00:00Z", "2028-01-01T00:00:00Z", "skill.toml:31: deployment.not_after is not after"),
        ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", "skill.toml:31: deployment.not_after is not after"),
        ("sha256:2", "sha512:2", "skill.toml:34: deployment.system_prompts: not a SHA-256 digest"),
        ("stackable = true", 'stackable = "yes"', "skill.toml:37: composition.stackable has the wrong type"),
        ("stackable = true\n", "", "composition.stackable is missing"),
        ("sha256:3", "3", "skill.toml:47: training_data[0].digest: not a SHA-256 digest"),
        ('">=0.21,<0.22"', '"newest"', "skill.toml:51: requires.peft is no version range"),
        ("sha256:4", "sha256:x", "evidence[0].digest: not a SHA-256 digest"),
        ("[skill]", "[[skill]]", "skill has the wrong type: expected an object, found a list"),
        ("[[evidence]]", "[evidence]", "evidence has the wrong type: expected a list, found an object"),
        ("[publisher]", "[publisher", "is not TOML"),
        ("[requires]", "[skill]", "is not TOML"),
        ('"Acme"', '"Ac\\u0000me"', "NUL"),
        ('"Acme"', '"Ac\\u001bme"', "control characters"),
        ("8_000_000_000", "9_007_199_254_740_993", "2^53"),
        ("8_000_000_000", "nan", "which is not JSON"),
    ],
)
def test_a_mistake_is_named_with_its_line(old: str, new: str, complaint: str) -> None:
    assert old in FULL
    with pytest.raises(UsageError) as refused:
        read(FULL.replace(old, new, 1))
    assert complaint in str(refused.value)
    assert refused.value.exit_code == 2


def test_a_base_is_measured_or_stated_and_never_both() -> None:
    with pytest.raises(UsageError, match=r"base\[0\].directory and fingerprint are both given"):
        read(
            FULL.replace(
                'directory = "../base"', f'directory = "x"\nfingerprint = "skillwarrant-tensors-v1:{"1" * 64}"'
            )
        )


def test_facts_of_a_base_without_its_fingerprint_say_nothing() -> None:
    with pytest.raises(UsageError, match=r"base\[0\].parameters is given without a fingerprint"):
        read(FULL.replace('directory = "../base"', "parameters = 7"))


def test_a_skill_without_a_base_is_refused(skill_text: str) -> None:
    with pytest.raises(UsageError, match="base is missing"):
        read(skill_text.replace('[[base]]\nname = "acme/base"\ndirectory = "base"\n', ""))


@pytest.mark.parametrize("data", [b"\xff", b"a" * (1 << 20) + b"a", b"x = " + b"[" * 100_000, b"a = 1\r\rb = 2"])
def test_hostile_bytes_are_a_misuse(data: bytes) -> None:
    with pytest.raises(UsageError):
        SkillToml.parse(data)


@given(st.text(alphabet='[]="ab.\n#1', max_size=60))
def test_any_text_is_a_misuse_and_nothing_worse(text: str) -> None:
    with pytest.raises(UsageError):
        SkillToml.parse(text.encode())


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no .*x\.skill\.toml.*skillwarrant init"):
        SkillToml.load(tmp_path / "x.skill.toml")
    with pytest.raises(Unavailable, match="cannot read"):
        SkillToml.load(tmp_path)


def test_relative_directories_start_from_the_file(tmp_path: Path, skill_text: str) -> None:
    (tmp_path / "x.toml").write_text(skill_text)
    assert SkillToml.load(tmp_path / "x.toml").bases[0].directory == tmp_path / "base"


def test_the_usual_place_is_beside_the_adapter_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "out" / "support"
    directory.mkdir(parents=True)
    expected = tmp_path / "out" / "support.skill.toml"
    assert default_path(directory) == expected
    assert default_path(Path(f"{directory}/")) == expected
    monkeypatch.chdir(directory)
    assert default_path(Path()) == expected


@pytest.mark.parametrize(
    ("path", "line"),
    [("base[1].dtype", 25), ("base[1].nothing", 20), ("base[0].name", 16), ("nowhere", None), ("", None)],
)
def test_a_line_is_that_of_the_key_or_of_its_table(path: str, line: int | None) -> None:
    assert line_of(FULL.encode(), path) == line


def test_the_reference_is_true() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference" / "skill-toml.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", text, flags=re.S)
    assert read(example).skill.name == "acme/support"
    keys = set(re.findall(r"(?m)^\[*([a-z_]+)(?: =|\])", FULL)) - {"transformers", "peft"}
    assert len(keys) > 30
    assert {key for key in keys if key not in text} == set()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('casts = ["int8"]', r"casts names no dtype to cast to: expected bfloat16 or float16 or float32"),
        ('casts = ["float16", "float16"]', "casts names something twice"),
        ("casts = []", "casts has the wrong length"),
        ('casts = [{ dtype = "float16" }]', "wrong type"),
        ('cast = ["float16"]', "casts"),
    ],
)
def test_casts_that_say_nothing_or_nonsense_are_refused(skill_text: str, line: str, complaint: str) -> None:
    text = skill_text.replace('directory = "base"', f'directory = "base"\n{line}')
    with pytest.raises(UsageError, match=complaint):
        read(text)


@pytest.mark.parametrize(
    "cast",
    [
        '"float16"',
        '{ dtype = "float16", kind = "exact" }',
        '{ dtype = "float16", kind = "nearly", fingerprint = "skillwarrant-tensors-v1:%s" }' % ("1" * 64),
        '{ dtype = "int8", kind = "exact", fingerprint = "skillwarrant-tensors-v1:%s" }' % ("1" * 64),
        '{ dtype = "float16", kind = "exact", fingerprint = "%s" }' % ("1" * 64),
        '{ dtype = "float16", kind = "exact", fingerprint = "skillwarrant-tensors-v1:%s", scheme = 1 }'
        % ("1" * 64),
    ],
)
def test_a_stated_cast_says_all_and_only_what_it_measures(skill_text: str, cast: str) -> None:
    facts = 'architecture = "A"\nparameters = 1\ndtype = "float32"'
    stated = (
        f'fingerprint = "skillwarrant-tensors-v1:{"2" * 64}"\n{facts}\ncasts = [{cast.replace("HALF", "1" * 64)}]'
    )
    with pytest.raises(UsageError, match="casts"):
        read(skill_text.replace('directory = "base"', stated))
