"""Rego is evaluated where it can be stopped: time, memory, crashes, threads, forks, and the end of a program."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modules import codes, files, judged
from skillwarrant_format.errors import PolicyError, Unavailable, UsageError
from skillwarrant_format.strict_json import JsonObject
from skillwarrant_verify.rego import modules as rego
from skillwarrant_verify.rego import process as rego_process
from skillwarrant_verify.rego.frames import MAX_FRAMES, receive, send
from skillwarrant_verify.rego.modules import RegoModules
from skillwarrant_verify.rego.process import Worker, WorkerRefused, WorkerStopped
from skillwarrant_verify.rego.source import MAX_DEPTH, MAX_TOTAL_BYTES

SIMPLE = files('deny contains "large" if input.now > 5')
SLOW = """deny contains "x" if {
    some a in numbers.range(1, input.now)
    some b in numbers.range(1, input.now)
    a * b < 0
}"""
MUCH = """deny contains "x" if {
    texts := [text | some n in numbers.range(1, 2000); text := sprintf("%s %d", [input.now, n])]
    count(texts) < 0
}"""


def children() -> set[int]:
    """Workers of this process that run."""
    command = ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(os.getpid())]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return {int(line.split()[0]) for line in found.stdout.splitlines() if "skillwarrant_verify.rego.worker" in line}


def only_worker(modules: RegoModules) -> int:
    """The process of modules that are used by one thread."""
    (worker,) = modules._workers._idle
    return worker._process.pid


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less patience, so that what takes too long is sooner known to."""
    monkeypatch.setattr(rego, "EVALUATION_SECONDS", 0.5)
    monkeypatch.setattr(rego, "_LOAD_SECONDS", 0.5)


@pytest.mark.usefixtures("hasty")
def test_an_evaluation_without_end_is_stopped_and_denies() -> None:
    with RegoModules.load(files(SLOW)) as modules:
        found = modules.evaluate({"now": 1_000_000}, {})
        assert codes(found) == ["rego.timeout"]
        assert "more than 0.5 s of CPU time" in found.denials[0].message
        assert codes(modules.evaluate({"now": 10}, {})) == []


def test_too_much_memory_is_stopped_and_denies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rego, "EVALUATION_SECONDS", 20.0)  # so that it is not the time that ends it
    found = judged(MUCH, {"now": "x" * 1_000_000})
    assert codes(found) == ["rego.error"]
    assert "memory" in found.denials[0].message


def test_a_crash_in_one_evaluation_denies_it_alone_and_says_why() -> None:
    with RegoModules.load(SIMPLE) as modules:
        os.kill(only_worker(modules), signal.SIGSTOP)
        worker = only_worker(modules)
        threading.Timer(0.2, os.kill, (worker, signal.SIGSEGV)).start()
        threading.Timer(0.3, os.kill, (worker, signal.SIGCONT)).start()
        found = modules.evaluate({"now": 6}, {})
        assert codes(found) == ["rego.error"]
        assert "the engine crashed" in found.denials[0].message
        assert codes(modules.evaluate({"now": 6}, {})) == ["rego.deny"]


def test_a_worker_that_died_meanwhile_is_replaced() -> None:
    with RegoModules.load(SIMPLE) as modules:
        before = only_worker(modules)
        os.kill(before, signal.SIGKILL)
        os.waitid(os.P_PID, before, os.WEXITED | os.WNOWAIT)
        assert codes(modules.evaluate({"now": 6}, {})) == ["rego.deny"]
        assert only_worker(modules) != before


def test_a_worker_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with RegoModules.load(SIMPLE) as modules:
        worker = only_worker(modules)
        monkeypatch.setattr(rego_process, "WALL_SECONDS", 0.3)
        os.kill(worker, signal.SIGSTOP)
        assert codes(modules.evaluate({"now": 6}, {})) == ["rego.timeout"]
        assert worker not in children()


@pytest.mark.usefixtures("hasty")
def test_a_parser_that_takes_too_long_is_stopped() -> None:
    deep = "deny contains " + '{"a":' * MAX_DEPTH + "1" + "}" * MAX_DEPTH + "\n"
    with pytest.raises(PolicyError, match=r"do not compile: found it took more than 0\.5 s of CPU time"):
        RegoModules.load(files(deep * 1400))


def test_the_largest_policy_fits() -> None:
    rule = 'deny contains "xx" if {{ not input.context.k{0} == "value {0}"; count(input.adapter.files) > {0} }}\n'
    half = "package skillwarrant\n" + "".join(rule.format(n) for n in range(1230))
    assert 0.9 * MAX_TOTAL_BYTES < 2 * len(half) < MAX_TOTAL_BYTES
    document: JsonObject = {"context": {f"k{n}": f"value {n}" for n in range(1230)}, "adapter": {"files": []}}
    with RegoModules.load({"a.rego": half.encode(), "b.rego": half.encode()}) as modules:
        assert codes(modules.evaluate(document, {})) == []


def test_a_large_input_passes() -> None:
    document: JsonObject = {"adapter": {"files": [{"name": "x" * 1000, "size": n} for n in range(2000)]}}
    found = judged('deny contains "big" if { some f in input.adapter.files; f.size == 1999 }', document)
    assert codes(found) == ["rego.deny"]


def test_a_result_without_measure_is_an_error() -> None:
    found = judged('deny contains x if { x := concat("", [y | some n in numbers.range(1, 300000); y := "aaaa"]) }')
    assert codes(found) == ["rego.error"]
    assert "more than 1048576 bytes" in found.denials[0].message


@pytest.mark.parametrize("processes", [1, 2])
def test_threads_share_modules_and_mix_no_answers(processes: int) -> None:
    with RegoModules.load(files('deny contains sprintf("%d", [input.now])'), processes=processes) as modules:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda n: modules.evaluate({"now": n}, {}).denials[0].message, range(300)))
        assert len(children()) <= processes + 1
    assert found == [str(n) for n in range(300)]


def test_modules_can_be_used_by_another_thread_than_loaded_them() -> None:
    modules: list[RegoModules] = []
    thread = threading.Thread(target=lambda: modules.append(RegoModules.load(SIMPLE)))
    thread.start()
    thread.join()
    with modules[0]:
        assert codes(modules[0].evaluate({"now": 6}, {})) == ["rego.deny"]


@pytest.mark.usefixtures("hasty")
def test_a_slow_evaluation_stops_no_other() -> None:
    with RegoModules.load(files(SLOW), processes=2) as modules, ThreadPoolExecutor(2) as pool:
        slow = pool.submit(modules.evaluate, {"now": 1_000_000}, {})
        time.sleep(0.1)
        assert codes(modules.evaluate({"now": 1}, {})) == []
        assert not slow.done()
        assert codes(slow.result()) == ["rego.timeout"]


def test_a_forked_child_has_a_worker_of_its_own_and_leaves_the_parents_alone() -> None:
    with RegoModules.load(SIMPLE) as modules:
        worker = only_worker(modules)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                right = codes(modules.evaluate({"now": 6}, {})) == ["rego.deny"]
                code = 0 if right and only_worker(modules) != worker else 2
                modules.close()
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert only_worker(modules) == worker
        assert codes(modules.evaluate({"now": 6}, {})) == ["rego.deny"]


def test_a_fork_while_a_worker_is_lent_leaves_it_to_the_parent() -> None:
    code = """
import os, sys, threading, time
from modules import codes, files
from skillwarrant_verify.rego.modules import RegoModules
modules = RegoModules.load(files(sys.argv[1] + '\\ndeny_b contains "x"'))
found = []
thread = threading.Thread(target=lambda: found.append(codes(modules.evaluate({"now": 700}, {}))))
thread.start()
time.sleep(0.1)
if os.fork() == 0:
    print(codes(modules.evaluate({"now": 1}, {})), flush=True)
    sys.exit(0)  # with everything that is done at exit
os.wait()
thread.join()
print(found[0])
"""
    done = python(code, SLOW)
    assert done.stdout.splitlines() == ["['rego.deny_b']", "['rego.deny_b']"], done.stderr
    assert done.stderr == ""


def python(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *args]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=120)


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
LOADED = """
import os, sys
from modules import files
from skillwarrant_verify.rego.modules import RegoModules
modules = RegoModules.load(files(sys.argv[1]))
print(modules._workers._idle[0]._process.pid, flush=True)
"""


@pytest.mark.parametrize("end", ["pass", "sys.exit(3)", "os.kill(os.getpid(), 9)", "raise ValueError"])
def test_no_worker_outlives_the_program(end: str) -> None:
    assert is_gone(int(python(LOADED + end, SLOW).stdout))


def test_no_worker_outlives_a_program_that_is_killed_while_it_evaluates() -> None:
    command = [sys.executable, "-c", LOADED + "modules.evaluate({'now': 1000000}, {})", SLOW]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        worker = int(program.stdout.readline())
        program.kill()
    assert is_gone(worker)


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":  # nobody's child: whoever adopts it will collect it
            return True
        time.sleep(0.05)
    return False


def test_modules_that_are_let_go_end_their_worker() -> None:
    before = children()
    modules = RegoModules.load(SIMPLE)
    (worker,) = children() - before
    del modules
    assert worker not in children()


def test_closed_modules_answer_nothing() -> None:
    modules = RegoModules.load(SIMPLE)
    modules.close()
    with pytest.raises(Unavailable, match="were closed"):
        modules.evaluate({"now": 1}, {})


def test_what_is_refused_when_loaded_leaves_no_worker() -> None:
    before = children()
    for source in ('denny contains "x"', "deny contains {"):
        with pytest.raises(PolicyError):
            RegoModules.load(files(source))
    assert children() == before


def test_a_worker_sees_none_of_our_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKILLWARRANT_ENFORCE", "1")
    monkeypatch.setenv("RUST_BACKTRACE", "full")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    with RegoModules.load(SIMPLE) as modules:
        seen = Path(f"/proc/{only_worker(modules)}/environ").read_bytes().split(b"\0")
        assert not [item for item in seen if item.startswith((b"SKILLWARRANT_", b"RUST_"))]
        assert codes(modules.evaluate({"now": 6}, {})) == ["rego.deny"]


def test_a_programs_own_signals_and_limits_change_no_bound() -> None:
    code = """
import resource, signal, sys
from modules import codes, files
from skillwarrant_verify.rego import modules as rego
signal.signal(signal.SIGPROF, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPROF})
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
rego.EVALUATION_SECONDS = 0.3
print(codes(rego.RegoModules.load(files(sys.argv[1])).evaluate({"now": 1000000}, {})))
"""
    done = python(code, SLOW)
    assert done.stdout == "['rego.timeout']\n", done.stderr


def test_no_process_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        RegoModules.load(SIMPLE, processes=0)


def test_where_no_worker_can_start_it_is_unavailable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(Unavailable, match="no Rego worker can be started"):
        RegoModules.load(SIMPLE)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(Unavailable, match="ended with code 1"):
        RegoModules.load(SIMPLE)


def test_the_workers_own_words_are_in_the_reason() -> None:
    worker = Worker()
    with pytest.raises(WorkerStopped, match="KeyError: b'nothing'"):
        worker.ask("nothing", seconds=1)
    assert not worker.is_alive()


def test_an_error_of_the_engine_ends_no_worker() -> None:
    worker = Worker()
    for _ in range(3):
        with pytest.raises(WorkerRefused, match=r"a\.rego:1"):
            worker.ask("load", b"a.rego", b"nonsense", seconds=1)
    assert worker.is_alive()
    worker.close()


# frames


def test_frames_arrive_as_they_were_sent() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for frames in ([], [b""], [b"a", b"", b"c" * 100_000]):
            send(ours, frames)
            assert receive(theirs, seconds=1) == frames


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff\xff", b"\0\0\0\1\xff\xff\xff\xff", (MAX_FRAMES + 1).to_bytes(4, "big")]
)
def test_frames_beyond_measure_are_refused(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(data)
        with pytest.raises(ValueError, match="a message of"):
            receive(theirs, seconds=1)


def test_half_a_message_is_no_message() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall(b"\0\0\0\1\0\0\0\5abc")
        with pytest.raises(TimeoutError):
            receive(theirs, seconds=0.05)
        ours.close()
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall(b"\0\0\0\1\0\0\0\5abc")
        ours.close()
        with pytest.raises(EOFError):
            receive(theirs, seconds=1)
