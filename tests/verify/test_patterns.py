"""An adapter's regular expressions cannot hang the host: they are tried first where they can be stopped."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import peft
import pytest

from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_format.errors import FormatError, Unavailable
from skillwarrant_format.snapshot import Snapshot
from skillwarrant_verify.loader import patterns
from skillwarrant_verify.loader.load import load
from skillwarrant_verify.loader.patterns import check_patterns, trials
from skillwarrant_verify.loader.peft_options import matched_names
from tiny import attach, llama, write_lora

NAMES = [
    "",
    "model",
    "model.embed_tokens",
    *(f"model.layers.{n}{part}" for n in range(32) for part in ("", ".mlp.up_proj", ".self_attn.q_proj")),
    "lm_head",
]


def config(method: str = "LORA", **options: Any) -> AdapterConfig:
    return AdapterConfig.parse(json.dumps({"peft_type": method, **options}).encode())


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "_CPU_SECONDS", 0.3)  # enough for what is honest, as these tests show


def refusal(found: AdapterConfig, names: list[str] = NAMES) -> str:
    started = time.monotonic()
    with pytest.raises(FormatError) as caught:
        check_patterns(found, names)
    assert time.monotonic() - started < 30  # on a busy machine
    return str(caught.value)


BOMBS = {
    "stars in a star": r"(.*)*x",
    "many stars": r".*.*.*.*.*.*.*.*.*.*x",
    "counted repetitions": r"((.{0,9}){0,9}){0,9}x",
    "alternatives that overlap": r"(?:.|\w|[a-z.])*!",
    "an empty loop": r"(?:(?:.*){1,99}){1,99}z",
    "a backreference": "(.*)" * 12 + r"\1\2!",
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_an_expression_that_takes_for_ever_is_refused_and_named(bomb: str) -> None:
    said = refusal(config(target_modules=bomb))
    assert "target_modules: the regular expression takes too long, or too much memory" in said
    assert f"found {bomb}" in said


BOMB = BOMBS["stars in a star"]


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("LORA", {"exclude_modules": BOMB}),
        ("LORA", {"rank_pattern": {"q_proj": 2, BOMB: 4}}),
        ("LORA", {"alpha_pattern": {BOMB: 4}}),
        ("LORA", {"layers_pattern": BOMB, "layers_to_transform": [1]}),
        ("LORA", {"layers_pattern": ["layers", BOMB], "layers_to_transform": [1]}),
        ("LORA", {"modules_to_save": [BOMB]}),
        ("LORA", {"target_modules": ["q_proj", BOMB], "ensure_weight_tying": True}),
        ("ADALORA", {"rank_pattern": {BOMB: [True]}}),
        ("C3A", {"block_size_pattern": {BOMB: 4}}),
        ("DELORA", {"lambda_pattern": {BOMB: 4}}),
        ("FOURIERFT", {"n_frequency_pattern": {BOMB: 4}}),
        ("IA3", {"feedforward_modules": BOMB}),
        ("OSF", {"rank_pattern": {BOMB: 4}}),
        ("WAVEFT", {"n_frequency_pattern": {BOMB: 4}}),
    ],
    ids=str,
)
def test_wherever_it_stands(method: str, options: dict[str, Any]) -> None:
    assert "takes too long" in refusal(config(method, **options))


def test_one_that_sleeps_until_layers_are_replicated_is_refused() -> None:
    bomb = r"(?=.*layers\.111\.)(.*)*!|.*q_proj"
    check_patterns(config(target_modules=bomb), NAMES)
    assert "takes too long" in refusal(config(target_modules=bomb, layer_replication=[[0, 100], [0, 100]]))


@pytest.mark.parametrize("bad", ["(", "[a-", "*", r"(?P<n>a)(?P<n>b)", r"\1", "a{2,1}", "x" + "(" * 200], ids=str)
def test_one_that_does_not_compile_is_refused(bad: str) -> None:
    assert "target_modules: the regular expression is malformed" in refusal(config(target_modules=bad))


def test_one_that_peft_makes_malformed_by_what_it_puts_around_it_is_refused() -> None:
    check_patterns(config(target_modules=r"(?i).*Q_PROJ"), NAMES)
    assert "global flags not at the start" in refusal(config(rank_pattern={r"(?i).*Q_PROJ": 4}))


def test_repetitions_that_would_explode_are_tried_where_it_does_no_harm() -> None:
    """Python's compiler does not unroll them: here they are refused or harmless, and never the host's trouble."""
    for bomb in ("((a{1,1000}){1,1000}){1,1000}", "a{4294967294}", "((((.{1,999}){1,999}){1,999}){1,999}){1,999}"):
        check_patterns(config(target_modules=bomb), NAMES)
        assert not any(re.fullmatch(bomb, name) for name in NAMES if "a" * 1000 in name)


def test_thousands_of_keys_are_refused_since_peft_would_compile_them_for_each_module() -> None:
    assert "too many patterns" in refusal(config(rank_pattern={f"x{n}": 1 for n in range(451)}))
    check_patterns(config("ADALORA", rank_pattern={f"x{n}": [True] for n in range(451)}), NAMES)


def snapshot(directory: Path, **options: Any) -> Snapshot:
    path = directory / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | options))
    return Snapshot.read(directory)


def test_one_that_sleeps_beside_another_adapter_is_refused(tmp_path: Path) -> None:
    """PEFT matches names as they are inside the wrapper, and so must the trial."""
    bomb = r"(?!base_model)(?=.*q_proj)(.*)*!"
    with pytest.raises(FormatError, match="takes too long"):
        load(attach(llama()), snapshot(write_lora(tmp_path), target_modules=bomb), adapter_name="second")


def test_one_that_sleeps_until_experts_are_looked_for_is_refused() -> None:
    from transformers import MixtralConfig, MixtralForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1}
    model = MixtralForCausalLM(MixtralConfig(num_hidden_layers=1, num_local_experts=2, vocab_size=32, **sizes))
    names = matched_names(model)
    assert any(name.endswith("experts.gate_up_proj") for name in names)  # of a parameter
    bomb = config(target_modules=r"(?=.*experts\.w3$)(.*)*!|.*q_proj")
    check_patterns(bomb, [name for name, _ in model.named_modules()])
    assert "takes too long" in refusal(bomb, names)


HONEST: list[dict[str, Any]] = [
    {"target_modules": r".*decoder.*(SelfAttention|EncDecAttention).*(q|v)$"},  # from the help of PEFT's options
    {"target_modules": r".*\.(q|k|v|o|gate|up|down)_proj", "exclude_modules": r".*\.(0|1|2)\..*"},
    {
        "target_modules": r"(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense).*?"
        r"(?:k_proj|v_proj|q_proj|out_proj|fc1|fc2|o_proj|gate_proj|up_proj|down_proj).*?)|"
        r"(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|mlp)\.(?:(?:q_proj|up_proj)))"
    },
    {"rank_pattern": {"^model.decoder.layers.0.encoder_attn.k_proj": 16, r".*\.[0-9]+\.mlp\..*": 4}},
    {"layers_pattern": "h|layers", "layers_to_transform": [1], "modules_to_save": ["score$"]},
]


@pytest.mark.parametrize("options", HONEST, ids=lambda options: str(options)[:60])
def test_honest_expressions_pass(options: dict[str, Any]) -> None:
    assert list(trials(config(**options)))
    check_patterns(config(**options), NAMES)


def test_plain_names_cost_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "run", never)
    plain = {"target_modules": ["q_proj", "(not a regex in a list"], "exclude_modules": ["lm_head"]}
    check_patterns(config(**plain, rank_pattern={"model.layers.0.q-proj": 4}, layers_pattern="h"), NAMES)
    check_patterns(config(target_modules="all-linear"), NAMES)
    check_patterns(config("ADAPTION_PROMPT", target_modules="self_attn"), NAMES)


def test_a_trial_that_cannot_be_started_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    for executable in ("/nowhere/python", "/bin/false"):
        monkeypatch.setattr(sys, "executable", executable)
        with pytest.raises(Unavailable, match="could not be started"):
            check_patterns(config(target_modules="a|b"), NAMES)


def test_the_trial_reads_nothing_of_the_directory_it_runs_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "re.py").write_text("raise SystemExit(0)")
    (tmp_path / "json.py").write_text("raise SystemExit(0)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "takes too long" in refusal(config(target_modules=BOMB))


PLACES = {  # every line of PEFT that matches a string of a configuration as a regular expression
    "tuners/c3a/model.py": {r'lambda key: re.match(rf".*\.{key}$", current_key)'},
    "tuners/fourierft/model.py": {r'lambda key: re.match(rf".*\.{key}$", current_key)'},
    "tuners/ia3/model.py": {"re.fullmatch(ia3_config.feedforward_modules, key)"},
    "tuners/lora/model.py": {r're.match(rf"(^|.*\.){m}($|\..*)", key)'},
    "tuners/osf/model.py": {"re.search(pattern, current_key)"},
    "tuners/tuners_utils.py": {
        r're.match(rf"(.*\.)?({pattern_key})$", module_name)',
        "re.fullmatch(config.exclude_modules, key)",
        r're.match(rf"(^|.*\.){m}($|\..*)", key)',
        r're.match(rf"(?:^|.*?\.){pattern}\.(?P<idx>\d+)\.", key)',
    },
    "utils/other.py": {
        "re.fullmatch(target_pattern, key)",
        r're.match(rf"(.*\.)?({key})$", key_to_match)',
    },
}
FIXED = {  # and those whose expression is PEFT's own
    ("tuners/lora/model.py", r're.sub(r"\.\d+(\.|$)", lambda m: ".*" + m.group(1), name)'),
    ("tuners/lora/model.py", r're.sub(r"\d+", "*", current_key)'),
    ("tuners/tuners_utils.py", 're.sub(re.escape(f".{adapter_name}") + r"$", "", key)'),
    ("tuners/tuners_utils.py", r're.match(r".*?\.[^.]*\.(?P<idx>\d+)\.", key)'),
    ("utils/other.py", r're.compile(r"[^.]+\.base_layer\.")'),
    ("utils/save_and_load.py", r're.match(rf"(.*\.)?{e}$", k)'),
    (
        "utils/save_and_load.py",
        're.sub(re.escape(suffix_to_replace) + r"$", f"{adapter_name}.{suffix_to_replace}", key)',
    ),
    ("utils/save_and_load.py", "re.subn(pattern, replacement, key)"),  # of a keyword that no loader of ours gives
}


def test_every_place_where_peft_matches_an_expression_is_known() -> None:
    """A newer PEFT may match more: then look at the place, and at the forms in `patterns`."""
    root = Path(peft.__file__).parent
    call = re.compile(r"\bre\.(?:match|fullmatch|search|sub|subn|compile|split|findall|finditer)\(")
    for path in root.rglob("*.py"):
        name = path.relative_to(root).as_posix()
        known = PLACES.get(name, set()) | {line for where, line in FIXED if where == name}
        for line in path.read_text().splitlines():
            assert not call.search(line) or any(place in line for place in known), (name, line)
        for place in known:
            assert place in path.read_text(), (name, place)
