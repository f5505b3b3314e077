"""The whole demo: what it shows, that nothing of it is staged, and that it fails when a step goes otherwise.

It is run as people run it, in processes of their own. Its base model and adapter are kept where test_demo_model.py
keeps them, so that only the first run converts and trains.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from skillwarrant_audit import FileLog, read_records
from skillwarrant_audit.recorder import LOG_NAME, OPERATOR_PUBLIC_NAME
from skillwarrant_cli.demo import story
from skillwarrant_cli.demo.base import VARIABLE
from skillwarrant_cli.demo.cache import measure
from skillwarrant_cli.demo.place import Place
from skillwarrant_cli.demo.stage import Stage
from skillwarrant_cli.demo.told import OtherThanTold, Told, codes, refusal
from skillwarrant_cli.demo.train import QUESTION, VOICE
from skillwarrant_format.errors import (
    DigestMismatch,
    PolicyDenied,
    SignatureInvalid,
    SkillwarrantError,
    Unavailable,
    UsageError,
    VerificationError,
)

pytest.importorskip("torch", reason="the demo needs the extra [demo]")

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial" / "demo.md").read_text()
SCRIPT = Path(sys.executable).with_name("skillwarrant")
NUMBERS = ["1", "2", "3", "4", "5a", "5b", "5c", "6"]
TITLES = [step.title for step in vars(story).values() if isinstance(step, Told)]

# Runs in every process of the demo: whoever is asked outside of this machine, or the proxy, is written down.
GUARD = """
import os, sys
def guard(event, args):
    if event == "socket.connect":
        address = args[1]
        fine = not isinstance(address, tuple) or (address[0] == "127.0.0.1" and address[1] != 9)
    elif event == "socket.getaddrinfo":
        fine = args[0] in (None, "", b"127.0.0.1", "127.0.0.1", "localhost")
    else:
        return
    if not fine:
        with open(os.environ["ASKED"], "a") as file:
            file.write(f"{event} {args[0]} {args[1]}\\n")
sys.addaudithook(guard)
"""


@dataclass(frozen=True)
class World:
    """Where demos of these tests run: their cache, and what they ask of the network."""

    root: Path
    cache: Path

    @property
    def asked(self) -> str:
        file = self.root / "asked"
        return file.read_text() if file.exists() else ""

    def environment(self, **more: str) -> dict[str, str]:
        dead = "http://127.0.0.1:9"
        proxies = {
            name: dead for kind in ("http", "https", "all") for name in (f"{kind}_proxy", f"{kind}_proxy".upper())
        }
        dropped = {VARIABLE, "no_proxy", "NO_PROXY", "NO_COLOR", "FORCE_COLOR", "COLUMNS"}
        kept = {name: value for name, value in os.environ.items() if name not in dropped}
        ours = {
            "XDG_CACHE_HOME": str(self.cache),
            "HOME": str(self.root),
            "PYTHONPATH": os.pathsep.join((str(self.root / "guard"), os.environ.get("PYTHONPATH", ""))),
            "ASKED": str(self.root / "asked"),
            "PYTHONUTF8": "1",
        }
        return kept | proxies | ours | more

    def demo(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SCRIPT, "demo", *arguments],
            env=self.environment(**more),
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=170,
            check=False,
        )


@pytest.fixture(scope="session")
def world(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> World:
    """One for all workers of a parallel test run, so that one demo is enough for all of them."""
    assert pytestconfig.cache is not None
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "demo"
    root.mkdir(exist_ok=True)
    with alone(root):
        if not (root / "cache").exists():
            (root / "guard").mkdir()
            (root / "guard" / "sitecustomize.py").write_text(GUARD)
            (root / "cache" / "skillwarrant").mkdir(parents=True)
            (root / "cache" / "skillwarrant" / "demo").symlink_to(pytestconfig.cache.mkdir("skillwarrant-demo"))
    return World(root=root, cache=root / "cache")


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    with (directory / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Played:
    out: str
    err: str
    directory: Path


@pytest.fixture(scope="session")
def played(world: World) -> Played:
    """One demo from end to end, in a pipe, offline, behind a proxy that is dead."""
    directory = world.root / "played here"
    out, err = (world.root / f"played.{name}" for name in ("out", "err"))
    with alone(world.root):
        if not err.exists():
            done = world.demo("--dir", str(directory))
            assert done.returncode == 0, done.stdout + done.stderr
            out.write_text(done.stdout)
            err.write_text(done.stderr)
    return Played(out.read_text(), err.read_text(), directory)


# --- one whole run -----------------------------------------------------------------------------------------------


def test_every_step_goes_as_told_in_its_order(played: Played) -> None:
    headings = re.findall(r"^(\d[a-c]?) +(\S.*)$", played.out.partition(" seconds\n")[0], re.MULTILINE)
    assert [number for number, _ in headings][: len(NUMBERS)] == NUMBERS
    assert [title for _, title in headings][: len(TITLES)] == TITLES
    assert re.search(r"^All 8 steps went as told, in [\d.]+ seconds$", played.out, re.MULTILINE)
    assert played.err == ""


def test_in_a_pipe_it_is_plain_text_that_can_be_read(played: Played) -> None:
    assert "\x1b" not in played.out
    assert "\r" not in played.out
    assert played.out == "".join(f"{line.rstrip()}\n" for line in played.out.splitlines())
    commands = played.out.partition("\nTry next\n")[0]
    assert max(map(len, commands.splitlines())) <= 110
    assert "[base.matches]" in played.out  # and not taken for markup


def test_nothing_but_this_machine_is_asked_and_no_proxy(world: World, played: Played, tmp_path: Path) -> None:
    assert played.out
    assert world.asked == ""
    probe = "import socket; socket.create_connection(('127.0.0.1', 9), 1)"
    awake = world.environment(ASKED=str(tmp_path / "asked"))
    subprocess.run([sys.executable, "-c", probe], env=awake, stderr=subprocess.DEVNULL, check=False)
    assert "('127.0.0.1', 9)" in (tmp_path / "asked").read_text()


def test_the_two_answers_are_shown_beside_each_other(played: Played) -> None:
    assert f"“{QUESTION}”" in played.out
    heading, first = next(
        (line, following)
        for line, following in zip(played.out.splitlines(), played.out.splitlines()[1:], strict=False)
        if "before: the base model alone" in line
    )
    assert "after: with the adapter" in heading
    before, after = (part.strip() for part in first.strip("│ ").split("│ │"))
    assert after.startswith(VOICE)
    assert before
    assert VOICE not in before


def test_each_refusal_is_shown_with_its_own_reason(played: Played) -> None:
    story_only = played.out.partition(" seconds\n")[0]
    parts = dict(re.findall(r"^(5[abc]) (.*?)(?=^\d)", story_only, re.MULTILINE | re.DOTALL))
    assert "the base model is not one the publisher vouches for" in parts["5a"]
    assert "'adapter_model.safetensors' is not the file that was signed" in parts["5b"]
    assert "the publisher does not sanction this environment" in parts["5c"]
    assert [re.findall(r"ok  refused: (\S+)", part) for part in parts.values()] == [
        ["base.matches"],
        ["files.digest"],
        ["environment.allowed"],
    ]


def test_the_substituted_adapter_differs_in_one_byte_and_nothing_else(played: Played) -> None:
    ours, theirs = (
        {path.name: path.read_bytes() for path in (played.directory / folder / "tamarack-support-lora").iterdir()}
        for folder in ("release", "substituted")
    )
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == ["adapter_model.safetensors"]
    pairs = zip(ours["adapter_model.safetensors"], theirs["adapter_model.safetensors"], strict=True)
    assert sum(one != other for one, other in pairs) == 1


def test_what_it_leaves_verifies_with_other_tools_than_the_demo(played: Played) -> None:
    from sigstore.models import Bundle, TrustedRoot
    from sigstore.verify import Verifier
    from sigstore.verify.policy import Identity

    issuer = re.search(r"issuer = \"(\S+)\"", (played.directory / "policy.toml").read_text())
    assert issuer is not None
    verifier = Verifier(
        trusted_root=TrustedRoot.from_file(str(played.directory / "devstack" / "trusted_root.json"))
    )
    for folder, ref, environment in (
        ("release", "v1.0.0", "production"),
        ("development", "v1.1.0-dev", "development"),
    ):
        raw = (played.directory / folder / "tamarack-support-lora" / "skillwarrant.sigstore.json").read_bytes()
        identity = f"https://github.com/tamarack-kettles/adapters/.github/workflows/release.yml@refs/tags/{ref}"
        policy = Identity(identity=identity, issuer=issuer[1])
        _, payload = verifier.verify_dsse(Bundle.from_json(raw), policy)
        assert json.loads(payload)["predicate"]["deployment"]["environments"] == [environment]


def test_the_commands_to_try_next_work_as_they_are_printed(world: World, played: Played) -> None:
    text = played.out.partition("\nTry next\n")[2]
    commands = [
        line.strip() for line in text.replace("\\\n", " ").splitlines() if not line.lstrip().startswith("#")
    ]
    change, *others = commands
    assert change.startswith("cd ")
    assert [command.split()[1] for command in others] == ["inspect", "verify", "verify"]
    done = [
        subprocess.run(
            ["bash", "-c", f"{change} && {command}"],
            env=world.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        for command in others
    ]
    assert [result.returncode for result in done] == [0, 0, 1], [result.stderr for result in done]
    assert "tamarack/support 1.0.0" in done[0].stdout
    assert "is not the file that was signed" in done[2].stderr
    assert world.asked == ""


# --- the tutorial ------------------------------------------------------------------------------------------------


def test_the_tutorial_tells_the_same_steps() -> None:
    rows = re.findall(r"^\| (\d[abc]?) \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)
    steps = [step for step in vars(story).values() if isinstance(step, Told)]
    assert rows == [(step.number, step.title, step.expected) for step in steps]


def test_the_tutorial_names_everything_that_the_demo_leaves(played: Played) -> None:
    rows = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    named = {name.rstrip("/") for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert named == {path.name for path in played.directory.iterdir() if not path.name.startswith(".")}


def test_the_commands_and_the_python_of_the_tutorial_do_what_it_says(
    world: World, played: Played, tmp_path: Path
) -> None:
    here = shutil.copytree(played.directory, tmp_path / "here", symlinks=True)
    path = f"{SCRIPT.parent}{os.pathsep}{os.environ['PATH']}"
    blocks = [
        block
        for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
        if "verify" in block or "inspect" in block
    ]
    (python,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    done = [
        subprocess.run(
            command, cwd=here, env=world.environment(PATH=path), capture_output=True, text=True, check=False
        )
        for command in (*(["bash", "-c", block] for block in blocks), [sys.executable, "-c", python])
    ]
    assert [result.returncode for result in done] == [0, 0, 1, 1, 0], [result.stderr for result in done]
    _, _, tampered, development, record = done
    assert "'README.md' is not the file that was signed" in tampered.stderr
    assert "[environment.allowed]" in development.stderr
    phases = [line.split()[1] for line in record.stdout.splitlines()]
    assert phases == ["intent", "activated", "refused", "refused", "refused"]


# --- other endings -----------------------------------------------------------------------------------------------


def test_an_adapter_that_changes_no_answer_ends_it_with_exit_code_1(world: World, tmp_path: Path) -> None:
    """The cache's own record is forged too, so that only the demo can notice."""
    from safetensors.numpy import load_file, save_file

    shared = world.cache / "skillwarrant" / "demo"
    mine = tmp_path / "cache" / "skillwarrant" / "demo"
    mine.mkdir(parents=True)
    for path in shared.glob("base-*"):
        (mine / path.name).symlink_to(path.resolve())
    for path in shared.glob("adapter-*"):
        adapter = shutil.copytree(path, mine / path.name) / "tamarack-support-lora"
        weights = adapter / "adapter_model.safetensors"
        save_file({name: array * 0 for name, array in load_file(weights).items()}, weights)
        (adapter.parent / "record.json").write_text(json.dumps(measure(adapter)))
    arguments = ("--dir", str(tmp_path / "work"))
    done = world.demo(*arguments, "--json", XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.returncode == 1, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert answer["code"] == "demo.otherwise"
    assert answer["message"] == "step 4 (Verify, then load) went otherwise than told"
    assert VOICE in answer["expected"]
    assert VOICE not in answer["found"]


def test_json_is_one_object_with_the_steps_and_their_seconds(world: World, tmp_path: Path) -> None:
    done = world.demo("--dir", str(tmp_path / "work"), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert (answer["outcome"], answer["code"]) == ("ok", "played")
    assert [step["step"] for step in answer["steps"]] == NUMBERS
    assert all(step["asTold"] for step in answer["steps"])
    assert 0 < sum(step["seconds"] for step in answer["steps"]) <= answer["seconds"] + 0.1
    assert [(row["phase"], row["reason"]) for row in answer["observations"]] == [
        ("intent", ""),
        ("activated", ""),
        ("refused", "base.matches"),
        ("refused", "files.digest"),
        ("refused", "environment.allowed"),
    ]
    assert answer["directory"] == str(tmp_path / "work")


def test_ctrl_c_stops_the_devstack_and_is_exit_130(world: World, tmp_path: Path) -> None:
    child = subprocess.Popen(
        [SCRIPT, "demo", "--dir", str(tmp_path)],
        env=world.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    seen = iter(child.stdout.readline, "")
    port = next(int(found[1]) for line in seen if (found := re.search(r"ok  at 127.0.0.1:(\d+)", line)))
    next(line for line in seen if line.startswith("2 "))
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert err == "skillwarrant: interrupted\n"
    assert "Try next" not in out
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1).close()


def test_a_base_that_is_no_model_is_misuse_and_says_so(world: World, tmp_path: Path) -> None:
    done = world.demo("--dir", str(tmp_path / "work"), **{VARIABLE: str(tmp_path)})
    assert done.returncode == 2
    assert f"{VARIABLE} names a directory that is no model" in done.stderr


def test_what_is_not_installed_is_said_before_anything_is_done(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(story, "_NEEDED", (*story._NEEDED, "no_module_of_this_name"))
    with pytest.raises(Unavailable, match="found no module no_module_of_this_name"):
        story.run(directory=tmp_path / "work")
    assert not (tmp_path / "work").exists()


# --- the checker -------------------------------------------------------------------------------------------------


def raising(error: Exception) -> Any:
    def attempt() -> None:
        raise error

    return attempt


def denied(*reasons: str) -> PolicyDenied:
    return PolicyDenied("no", reasons=reasons)


@pytest.mark.parametrize(
    ("kind", "code", "error"),
    [
        (PolicyDenied, "base.matches", denied("[base.matches] another one")),
        (DigestMismatch, "files.digest", DigestMismatch("changed")),
    ],
)
def test_the_refusal_that_was_told_is_given_back(
    kind: type[SkillwarrantError], code: str, error: SkillwarrantError
) -> None:
    assert refusal(kind, code, raising(error)) is error


@pytest.mark.parametrize(
    "error",
    [
        denied("[environment.allowed] another reason"),
        denied("[base.matches] the reason", "[environment.allowed] and one more"),
        denied("base.matches without brackets"),
        denied("something [base.matches]"),
        DigestMismatch("another class"),
        VerificationError("its parent"),
        Unavailable("could not check"),
    ],
    ids=str,
)
def test_any_other_refusal_is_not_what_was_told(error: SkillwarrantError) -> None:
    with pytest.raises(OtherThanTold) as caught:
        refusal(PolicyDenied, "base.matches", raising(error))
    assert caught.value.exit_code == 1
    assert caught.value.expected == "PolicyDenied [base.matches]"
    assert type(error).__name__ in str(caught.value.found)


def test_a_refusal_that_does_not_happen_is_not_what_was_told() -> None:
    with pytest.raises(OtherThanTold, match="the adapter was loaded"):
        refusal(PolicyDenied, "base.matches", lambda: None)


def test_a_failure_of_another_kind_is_no_refusal() -> None:
    with pytest.raises(RuntimeError):
        refusal(PolicyDenied, "base.matches", raising(RuntimeError("boom")))


def test_reasons_are_read_from_their_beginning_only() -> None:
    error = denied("[base.matches] not [environment.allowed]", "no code")
    assert codes(error) == ("base.matches", "unnamed")
    assert codes(SignatureInvalid("no")) == ("signature.invalid",)


# --- the record --------------------------------------------------------------------------------------------------


def test_a_record_that_lacks_its_last_observation_is_not_as_told(played: Played, tmp_path: Path) -> None:
    with pytest.raises(OtherThanTold) as caught:
        read_copy(played, tmp_path, lambda leaves: leaves[:-1])
    assert str(caught.value.expected).endswith("refused environment.allowed")
    assert str(caught.value.found).endswith("refused files.digest")


def test_a_record_of_another_operator_is_not_as_told(played: Played, tmp_path: Path) -> None:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    other = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(OtherThanTold, match="record 0 does not verify"):
        read_copy(played, tmp_path, lambda leaves: leaves, other)


def test_a_record_with_something_cut_out_is_not_as_told(played: Played, tmp_path: Path) -> None:
    with pytest.raises(OtherThanTold, match="record 2 does not verify: it was signed for another place"):
        read_copy(played, tmp_path, lambda leaves: [*leaves[:2], *leaves[3:]])


def test_an_unchanged_record_is_as_told(played: Played, tmp_path: Path) -> None:
    read_copy(played, tmp_path, lambda leaves: leaves)


def read_copy(
    played: Played, tmp_path: Path, change: Callable[[list[bytes]], list[bytes]], operator: bytes | None = None
) -> None:
    """Play the last step on a changed copy of a log."""
    from skillwarrant_cli.demo.record import read_record

    place = Place(directory=tmp_path)
    place.log.mkdir()
    log = FileLog.open(place.log / LOG_NAME)
    original = played.directory / "log"
    for leaf in change([record.leaf for record in read_records(original / LOG_NAME)]):
        log.append(lambda _seq, _previous, leaf=leaf: leaf)
    (place.log / OPERATOR_PUBLIC_NAME).write_bytes(operator or (original / OPERATOR_PUBLIC_NAME).read_bytes())
    with Stage(quiet=True).step(story.RECORD) as scene:
        read_record(scene, place)


# --- the stage ---------------------------------------------------------------------------------------------------

TOLD = Told(number="9", title="A step", why="Because.", expected="that it works")


def test_a_refusal_that_nobody_told_of_ends_the_step_as_not_as_told(capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage()
    with pytest.raises(OtherThanTold) as caught, stage.step(TOLD):
        raise SignatureInvalid("the chain is broken")
    assert (caught.value.message, caught.value.expected) == (
        "step 9 (A step) went otherwise than told",
        "that it works",
    )
    assert caught.value.found == "the chain is broken"
    assert [row.as_told for row in stage.rows] == [False]
    stage.curtain(1.0)
    shown = capsys.readouterr().out
    assert "NOT AS TOLD  the chain is broken" in shown
    assert "Step 9 went otherwise than told" in shown


@pytest.mark.parametrize("error", [Unavailable("the disk is full"), UsageError("no"), KeyboardInterrupt()])
def test_a_demo_that_cannot_be_played_is_no_verdict(error: BaseException) -> None:
    stage = Stage(quiet=True)
    with pytest.raises(type(error)) as caught, stage.step(TOLD):
        raise error
    assert caught.value is error
    assert stage.rows == []


def test_a_step_that_says_nothing_of_what_was_seen_is_a_defect() -> None:
    with pytest.raises(AssertionError), Stage(quiet=True).step(TOLD):
        pass


PLAY = """
import time
from skillwarrant_cli.demo.stage import Stage
from skillwarrant_cli.demo.told import Told
stage = Stage()
with stage.step(Told(number="1", title="Work", why="[red]Why[/red]", expected="x")) as scene:
    for part in range(4):
        scene.working(f"working hard (loss {part})", part / 4)
        time.sleep(0.15)
    scene.facts(("answer", "[bold]not markup[/bold] :smile:"))
    scene.seen = "x"
stage.curtain(1.0)
"""
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def on_a_terminal(environment: Mapping[str, str]) -> str:
    leader, follower = pty.openpty()
    child = subprocess.Popen([sys.executable, "-c", PLAY], stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    text = b"".join(read_all(leader))
    os.close(leader)
    assert child.wait(timeout=60) == 0, text
    return text.decode()


def read_all(descriptor: int) -> Iterator[bytes]:
    while select.select([descriptor], [], [], 60)[0]:
        try:
            data = os.read(descriptor, 65536)
        except OSError:  # the other end is closed: how a terminal ends on Linux
            return
        if not data:
            return
        yield data


def test_on_a_terminal_there_is_a_spinner_that_leaves_no_trace() -> None:
    text = on_a_terminal({**os.environ, "TERM": "xterm-256color", "NO_COLOR": ""})
    assert COLOUR.search(text)
    assert "working hard (loss 2)" in text
    assert "\x1b[2K" in text  # erased again
    assert "\x1b[?25h" in text.rpartition("\x1b[?25l")[2]  # and the cursor is back
    assert "[bold]not markup[/bold] :smile:" in text
    assert "[red]Why[/red]" in text


def test_no_color_is_respected() -> None:
    assert not COLOUR.search(on_a_terminal({**os.environ, "TERM": "xterm-256color", "NO_COLOR": "1"}))


def test_a_dumb_terminal_gets_plain_lines() -> None:
    text = on_a_terminal({**os.environ, "TERM": "dumb"})
    assert "\x1b" not in text
    assert text.count("… working hard\r\n") == 1


def test_in_a_pipe_an_activity_is_one_line_even_in_a_coloured_ci() -> None:
    environment = {**os.environ, "FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"}
    done = subprocess.run([sys.executable, "-c", PLAY], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.count("working hard") == 1
    assert "\x1b" not in done.stdout


def test_a_pipe_that_knows_ascii_only_is_no_error() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:backslashreplace"}
    done = subprocess.run([sys.executable, "-c", PLAY], env=environment, capture_output=True, text=True, check=True)
    assert "All 1 steps went as told" in done.stdout


# --- the directory -----------------------------------------------------------------------------------------------


def test_a_directory_of_somebody_else_is_left_alone(run: Any, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    result = run("demo", "--dir", tmp_path)
    assert result.exit_code == 2
    assert "the demo's directory holds something else" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_an_earlier_demo_left_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    place = Place(directory=tmp_path)
    with place.held():
        place.log.mkdir()
        (place.log / "observations.log").write_text("old")
        place.write_policy("http://127.0.0.1:1/oidc")
    (tmp_path / "notes").write_text("mine")
    with place.held():
        assert not place.log.exists()
        assert not place.policy.exists()
        assert (tmp_path / "notes").read_text() == "mine"


def test_two_demos_do_not_share_a_directory(run: Any, tmp_path: Path) -> None:
    with Place(directory=tmp_path).held():
        result = run("demo", "--dir", tmp_path)
    assert result.exit_code == 3
    assert "another demo works here" in result.stderr
    assert "--dir" in result.stderr


def test_a_folder_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").write_text("kept")
    place = Place(directory=tmp_path / "work")
    with place.held():
        assert (place.directory / ".skillwarrant-demo").exists()
    place.log.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        place.held().__enter__()
    assert (tmp_path / "elsewhere" / "kept").read_text() == "kept"


def test_the_job_s_identity_is_gone_after_signing(monkeypatch: pytest.MonkeyPatch) -> None:
    from skillwarrant_cli.demo.release import ci_job

    monkeypatch.setenv("GITHUB_REF", "refs/heads/main")
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", raising=False)
    job = {"GITHUB_REF": "refs/tags/v1.0.0", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "secret"}
    with ci_job(job):
        assert job.items() <= os.environ.items()
    assert os.environ["GITHUB_REF"] == "refs/heads/main"
    assert "ACTIONS_ID_TOKEN_REQUEST_TOKEN" not in os.environ
