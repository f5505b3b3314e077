"""A policy's own rules: from verified bytes, for this policy alone, and without proof nothing is allowed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builders import BASE, facts, manifest
from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import PolicyDenied, PolicyError, Unavailable
from skillwarrant_verify import Context
from skillwarrant_verify.deciding.catalogue import CATALOGUE
from skillwarrant_verify.deciding.decide import decide, decide_document, requirements
from skillwarrant_verify.deciding.decision_input import for_record, to_document
from skillwarrant_verify.deciding.requirement import RULES
from skillwarrant_verify.document.policy_reach import ALL, NONE, Reach
from skillwarrant_verify.policy import Policy
from test_policy import GOOD

START = """from __future__ import annotations
from skillwarrant_verify.rules import Facts, Finding, Policy, no, proves, unknown, yes
"""
TICKET = f"""{START}
@proves("acme.ticket")
def ticket(policy: Policy, facts: Facts) -> Finding:
    found = facts.context.session.get("ticket")
    if found is None:
        return no("acme.ticket", "there is no ticket", "context.session", expected="a ticket", found="nothing")
    return yes("acme.ticket", f"ticket {{found}}", "context.session.ticket")
"""


def rule(body: str, code: str = "acme.x") -> str:
    return f"{START}\n@proves({code!r})\ndef rule(policy: Policy, facts: Facts) -> Finding:\n    {body}\n"


def text(*modules: str, extra: str = "") -> str:
    tables = "".join(
        f'[[rules]]\nmodule = "own{number}.py"\nsha256 = "{Digest.of(module.encode()).hex}"\n'
        for number, module in enumerate(modules)
    )
    document = GOOD.replace("revision = 3", f"revision = 3\n{extra}")
    return document + tables


def policy(*modules: str, extra: str = "", after: str = "") -> Policy:
    files = {f"own{number}.py": module.encode() for number, module in enumerate(modules)}
    return Policy.parse((text(*modules, extra=extra) + after).encode(), files=files.__getitem__)


WITH_TICKET = facts(context=Context(environment="production", session={"ticket": "T-1"}))


def test_a_policys_own_rule_must_be_proved_like_any_other() -> None:
    own = policy(TICKET)
    assert decide(own, WITH_TICKET).outcome == "allow"
    decision = decide(own, facts())
    assert [reason.code for reason in decision.reasons] == ["acme.ticket"]
    assert "asked by policy:13 rules" in str(decision.reasons[0])
    assert tuple(finding.code for finding in decision.checked) == (*requirements(), "acme.ticket")
    with pytest.raises(PolicyDenied):
        decision.require()


def test_it_is_a_rule_of_this_policy_and_of_no_other() -> None:
    policy(TICKET)
    assert "acme.ticket" not in RULES
    assert "acme.ticket" not in CATALOGUE
    assert decide(Policy.parse(GOOD.encode()), facts()).outcome == "allow"
    other = policy(rule('return yes("acme.ticket", "x", "now")', "acme.ticket"))
    assert decide(other, facts()).outcome == "allow"


def test_it_may_only_warn_where_the_policy_says_so() -> None:
    own = policy(TICKET, after='[requirements."acme.ticket"]\nmode = "warn"\n')
    decision = decide(own, facts())
    assert decision.outcome == "allow"
    assert [warning.code for warning in decision.warnings] == ["acme.ticket"]


LIES = """class Lie(str):
        def __eq__(self, other): raise SystemError
        __ne__ = __eq__
        def __hash__(self): return hash(str(self))
    """
FAILING = [
    'raise ValueError("no such ticket")',
    "return 1 / 0",
    "return None",
    "return True",
    'return yes("acme.other", "x", "now")',
    'return yes("base.matches", "x", "now")',
    'return Finding(code="acme.x", outcome="allowed", message="x", path="now")',
    'return Finding(code="acme.x", outcome="proved", message="", path="now")',
    'return Finding(code="acme.x", outcome="proved", message=b"x", path="now")',
    'class Lie(Finding): outcome = "proved"\n    return Lie(code="acme.x", outcome="x", message="x", path="now")',
    "return rule(policy, facts)",
    'raise PermissionError("\\x1b[2Jproved")',
    "return tuple.__new__(Finding, ())",
    'return tuple.__new__(Finding, ("acme.x", "proved", "x"))',
    'return tuple.__new__(Finding, (*yes("acme.x", "x", "now"), "more", "more"))',
    f"{LIES}return Finding(code='acme.x', outcome=Lie('proved'), message='x', path='now')",
    f"{LIES}return Finding(code=Lie('acme.x'), outcome='proved', message='x', path='now')",
    f"{LIES}return Finding(code='acme.x', outcome='proved', message='x', path='now', fix=Lie('x'))",
    'return Finding(code="acme.x", outcome=[], message="x", path="now")',
    "class Mute(Exception):\n        def __str__(self): raise ValueError\n    raise Mute",
    "class Kind(type):\n        __name__ = property(lambda kind: 1 / 0)\n    return Kind('Odd', (), {})()",
]


@pytest.mark.parametrize("body", FAILING)
def test_a_rule_that_raises_or_gives_no_answer_proves_nothing(body: str) -> None:
    decision = decide(policy(rule(body)), facts())
    assert decision.outcome == "deny"
    (reason,) = decision.reasons
    assert (reason.code, reason.path) == ("rule.failed", "acme.x")
    assert "\x1b" not in reason.check().message


def test_a_rule_cannot_make_itself_a_warning() -> None:
    body = 'return Finding(code="acme.x", outcome="not-proved", message="x", path="now", severity="warn")'
    decision = decide(policy(rule(body)), facts())
    assert [reason.code for reason in decision.reasons] == ["acme.x"]


def test_an_exit_in_a_rule_allows_nothing() -> None:
    with pytest.raises(SystemExit):
        decide(policy(rule("raise SystemExit(0)")), facts())


def test_what_is_unknown_to_a_rule_is_undecided() -> None:
    body = 'return unknown("acme.x", "nobody told", "context.session")'
    assert decide(policy(rule(body)), facts()).outcome == "undecided"


def test_a_rule_can_add_no_proof_for_what_is_denied() -> None:
    own = policy(rule('return yes("acme.x", "all is well", "now")'))
    assert decide(own, facts(manifest(policy_class="medical"))).outcome == "deny"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", "registers no rule"),
        ("x = 1", "registers no rule"),
        (START, "registers no rule"),
        ("def rule(policy, facts): return None", "registers no rule"),
        ("def broken(:", "SyntaxError"),
        (
            TICKET + "raise RuntimeError('at import')",
            rf"RuntimeError: at import \(line {TICKET.count(chr(10)) + 1}\)",
        ),
        (TICKET + "import no_such_module_at_all", "ModuleNotFoundError"),
        (rule("pass", "base.matches"), "skillwarrant's own"),
        (rule("pass", "base.other"), "skillwarrant's own"),
        (rule("pass", "rego.deny"), "skillwarrant's own"),
        (rule("pass", "rule.failed"), "skillwarrant's own"),
        (rule("pass", "input.malformed"), "skillwarrant's own"),
        (rule("pass", "acme"), "with a dot"),
        (rule("pass", "acme.x y"), "with a dot"),
        (rule("pass", ""), "with a dot"),
        (rule("pass", "acme.\u202ex"), "with a dot"),
        (rule("pass") + rule("pass").partition("\n\n")[2], "two rules"),
        ("\x00", "Error"),
        ("(" * 60_000, "Error"),
    ],
)
def test_a_module_that_is_no_set_of_rules_is_refused(source: str, expected: str) -> None:
    with pytest.raises(PolicyError, match=expected):
        policy(source)


COMPUTED = [
    "for code in ('acme.y', 'acme.z'):\n    proves(code)(lambda p, f: None)\n",
    "proves('acme.' + 'y')(lambda p, f: None)\n",
    "proves(code='acme.y')(lambda p, f: None)\n",
    "proves(*['acme.y'])(lambda p, f: None)\n",
    "from skillwarrant_verify.rules import proves as asks\nasks('acme.y')(lambda p, f: None)\n",
    "asks = proves\nasks('acme.y')(lambda p, f: None)\n",
    "import skillwarrant_verify.rules as ours\nasks = ours.proves\nasks('acme.y')(lambda p, f: None)\n",
]


@pytest.mark.parametrize("more", COMPUTED)
@pytest.mark.parametrize("reach", [ALL, NONE], ids=["run", "read"])
def test_a_rule_whose_code_cannot_be_read_is_refused_run_or_not(more: str, reach: Reach) -> None:
    source = (TICKET + more).encode()
    with pytest.raises(PolicyError, match="cannot be told without running it"):
        Policy.parse(text(source.decode()).encode(), files={"own0.py": source}.__getitem__, reach=reach)


@pytest.mark.parametrize(
    "source",
    [
        TICKET + "if not sys:\n    proves('acme.sometimes')(ticket)\n",
        TICKET + "def never():\n    proves('acme.never')(ticket)\n",
        TICKET + "getattr(sys.modules['skillwarrant_verify.rules'], 'pro' + 'ves')('acme.hidden')(ticket)\n",
    ],
    ids=["a requirement that is sometimes none", "one that is never registered", "one that nobody can read"],
)
def test_what_a_module_registers_is_what_can_be_read_in_it(source: str) -> None:
    with pytest.raises(PolicyError, match="registers other rules than those that can be read in it"):
        policy(source.replace("import annotations\n", "import annotations\nimport sys\n", 1))


DEEP = (
    "(" * 9_999,
    "-" * 99_999 + "1",
    "a" + ".a" * 99_999,
    "1+" * 99_999 + "1",
    "if 1:pass\n" + "elif 1:pass\n" * 9_999,
)


@pytest.mark.parametrize("bad", ["", "x = 1", "def broken(:", *DEEP, "\x00", rule("pass", "base.matches")])
def test_reading_refuses_what_running_refuses(bad: str) -> None:
    document = text(bad).encode()
    with pytest.raises(PolicyError):
        Policy.parse(document, files={"own0.py": bad.encode()}.__getitem__, reach=NONE)


def test_a_policy_that_was_only_read_allows_nothing() -> None:
    source = rule('return yes("acme.x", "all is well", "now")').encode()
    arguments = {"data": text(source.decode()).encode(), "files": {"own0.py": source}.__getitem__}
    assert decide(Policy.parse(**arguments), facts()).outcome == "allow"
    read = Policy.parse(**arguments, reach=NONE)
    assert [*read.rules] == ["acme.x"]
    decision = decide(read, facts())
    assert decision.outcome == "undecided"
    assert [reason.code for reason in decision.reasons] == ["acme.x"]
    with pytest.raises(Unavailable):
        decision.require()


def test_two_modules_cannot_register_the_same_code() -> None:
    with pytest.raises(PolicyError, match="two rules"):
        policy(rule("pass"), rule("return None"))


def test_a_module_with_another_digest_is_not_run() -> None:
    ran: list[str] = []
    sys.modules["told"] = type(sys)("told")
    sys.modules["told"].ran = ran  # type: ignore[attr-defined]
    swapped = f"import told\ntold.ran.append('x')\n{TICKET}"
    with pytest.raises(PolicyError, match="is not the file that the policy names"):
        Policy.parse(text(TICKET).encode(), files={"own0.py": swapped.encode()}.__getitem__)
    assert ran == []
    del sys.modules["told"]


def test_a_document_that_came_alone_is_refused() -> None:
    with pytest.raises(PolicyError, match="came without them"):
        Policy.parse(text(TICKET).encode())


@pytest.mark.parametrize(
    "name",
    ["../own.py", "/etc/own.py", "a/../own.py", ".own.py", "own.txt", "a//own.py", "", "a\\own.py", "own.py\n"],
)
def test_a_name_that_leaves_the_directory_is_refused(name: str) -> None:
    document = text(TICKET).replace('"own0.py"', repr(name))
    with pytest.raises(PolicyError):
        Policy.parse(document.encode(), files=lambda _: TICKET.encode())


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("sha256 =", "sha512 =", "Did you mean 'sha256'"),
        ("module =", "modul =", "Did you mean 'module'"),
        ("[[rules]]", "[[rule]]", "Did you mean 'rules'"),
        ("[[rules]]", "[rules]", "a list"),
    ],
)
def test_a_misspelt_table_of_rules_is_refused(old: str, new: str, expected: str) -> None:
    with pytest.raises(PolicyError, match=expected):
        Policy.parse(text(TICKET).replace(old, new).encode(), files=lambda _: TICKET.encode())


def padded(module: str, size: int) -> str:
    return module + "#" * (size - len(module))


@pytest.mark.parametrize("reach", [ALL, NONE])
def test_modules_that_are_too_large_to_be_read_quickly_are_refused(reach: Reach) -> None:
    """CPython reads an f-string of many fields in the square of its length: half a minute for a MiB."""
    slow = rule("pass") + "x = f'" + "{a}" * 300_000 + "'"
    large = [padded(rule("pass", f"acme.r{number}"), limits.MAX_RULE_MODULE_BYTES) for number in range(5)]
    for modules, expected in (
        ([slow], r"own0\.py is too large: expected at most 65536 bytes"),
        ([large[0] + "#"], r"own0\.py is too large"),
        (large, r"\[\[rules\]\] are too large: expected at most 262144 bytes, found 327680"),
    ):
        files = {f"own{number}.py": module.encode() for number, module in enumerate(modules)}
        with pytest.raises(PolicyError, match=expected):
            Policy.parse(text(*modules).encode(), files=files.__getitem__, reach=reach)
    assert len(policy(*large[:4]).rules) == 4


def test_a_module_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(text(TICKET))
    os.mkfifo(tmp_path / "own0.py")
    with pytest.raises(Unavailable, match=r"own0\.py"):
        Policy.load(tmp_path / "policy.toml")


def test_a_policy_is_read_with_its_files_from_its_directory(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(text(TICKET))
    with pytest.raises(PolicyError, match="not beside it"):
        Policy.load(tmp_path / "policy.toml")
    (tmp_path / "own0.py").mkdir()
    with pytest.raises(Unavailable):
        Policy.load(tmp_path / "policy.toml")
    (tmp_path / "own0.py").rmdir()
    (tmp_path / "own0.py").write_text(TICKET)
    loaded = Policy.load(tmp_path / "policy.toml")
    assert [file.name for file in loaded.files] == ["own0.py"]
    (tmp_path / "own0.py").write_text("raise RuntimeError")
    assert decide(loaded, WITH_TICKET).outcome == "allow", "what runs are the bytes that were verified"
    assert loaded.used().engine == "native/v1 + own rules"


def test_a_document_whose_names_were_taken_out_is_not_judged_by_own_rules() -> None:
    kept = for_record(to_document(WITH_TICKET))
    decision = decide_document(policy(TICKET), kept)
    assert decision.outcome == "undecided"
    assert [reason.code for reason in decision.reasons] == ["acme.ticket"]
    assert decide_document(policy(TICKET), to_document(WITH_TICKET)).outcome == "allow"


def test_a_module_may_have_dataclasses_and_read_what_a_policy_says() -> None:
    source = f"""{START}
from dataclasses import dataclass

@dataclass(frozen=True)
class Wanted:
    name: str

@proves("acme.base")
def base(policy: Policy, facts: Facts) -> Finding:
    wanted = Wanted(name=policy.name)
    assert str(facts.base) == "{BASE}"
    return yes("acme.base", wanted.name, "base.fingerprint")
"""
    decision = decide(policy(source), facts())
    assert decision.checked[-1].message == "acme-production"


def test_rules_of_ours_cannot_be_registered_from_outside() -> None:
    from skillwarrant_verify.rules import proves

    for code in ("acme.x", "base.matches"):
        with pytest.raises(ValueError, match=r"no requirement|two rules"):
            proves(code)(lambda _policy, _facts: None)


def test_a_misspelt_code_of_ours_is_told_with_the_nearest() -> None:
    from skillwarrant_verify.rules import proves

    with pytest.raises(ValueError, match=r"Did you mean 'base\.matches'"):
        proves("base.match")(lambda _policy, _facts: None)


@pytest.mark.parametrize("code", list(CATALOGUE))
def test_every_requirement_has_a_rule(code: str) -> None:
    found: Callable[..., Any] = RULES[code]
    assert found.__module__.startswith("skillwarrant_verify.deciding.rules_")
