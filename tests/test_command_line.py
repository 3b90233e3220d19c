"""The command `hurricane` where no cluster is: what it costs, and what it says of mistakes.

What runs a cluster is tried on hosts of its own: `tests/lan/test_command_line.py`.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conditions import DEADLINE_SECONDS

Hurricane = Callable[..., "subprocess.CompletedProcess[str]"]

# The right form, and a checksum that holds; of no cluster that is anywhere.
TICKET = "h1040g2081040g2081040g208106ntqaxbnentqaxbnentqaxbneng2bxy0k3p6hr"


@pytest.fixture
def hurricane(tmp_path: Path) -> Hurricane:
    """The command, for a user who has never used it."""
    directories = {
        "HURRICANE_STATE_DIR": str(tmp_path / "state"),
        "HURRICANE_RUNTIME_DIR": str(tmp_path / "run"),
    }
    kept = {name: value for name, value in os.environ.items() if "HURRICANE" not in name}

    def run(*arguments: str, text: str = "", **environment: str):
        return subprocess.run(
            [sys.executable, "-m", "hurricane", *arguments],
            cwd=tmp_path,
            env={**kept, **directories, **environment},
            input=text,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    return run


def said(done: "subprocess.CompletedProcess[str]") -> list[str]:
    """The lines about what went wrong; nothing was done."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    return done.stderr.splitlines()


@pytest.mark.parametrize("verb", [["invite"], ["down"], ["revoke", "rack"], ["deploy", "rack"]])
def test_what_is_for_a_cluster_here_says_that_there_is_none(
    hurricane: Hurricane, verb: list[str]
) -> None:
    assert said(hurricane(*verb)) == [
        "error: no cluster of yours runs on this machine",
        "hint: `hurricane up` starts one",
    ]
    assert said(hurricane(*verb, "--port", "13000")) == [
        "error: no cluster of yours runs on port 13000 of this machine",
        "hint: `hurricane up` starts one",
    ]
    assert said(hurricane(*verb, HURRICANE_CLUSTER="lab")) == [
        "error: no cluster of yours called `lab` runs on this machine",
        "hint: `hurricane up` starts one",
    ]


@pytest.mark.parametrize("verb", ["status", "nodes"])
def test_who_knows_no_cluster_is_told_how_to_know_one(hurricane: Hurricane, verb: str) -> None:
    assert said(hurricane(verb)) == [
        "error: no cluster runs here, and this machine may submit to none",
        "hint: `hurricane up` starts one; `hurricane join` with a ticket joins another's",
    ]


def test_who_is_no_member_cannot_leave(hurricane: Hurricane) -> None:
    assert said(hurricane("leave")) == ["error: this machine is a member of no cluster"]


@pytest.mark.parametrize(
    ("ticket", "sentence"),
    [
        ("let-me-in", "this is not a ticket: a ticket is one line of 65 characters"),
        ("", "this is not a ticket: a ticket is one line of 65 characters"),
        (TICKET[:-2], "the ticket is mistyped or incomplete"),
        (TICKET[:9] + "l" + TICKET[10:], "the ticket is mistyped: it cannot have what it has at"),
        (TICKET[:9] + "0" + TICKET[10:], "the ticket is mistyped or incomplete"),
    ],
)
@pytest.mark.parametrize("by", ["argument", "input"])
def test_a_wrong_ticket_is_named_and_not_repeated(
    hurricane: Hurricane, ticket: str, sentence: str, by: str
) -> None:
    if by == "argument":
        done = hurricane("join", ticket)
    else:
        done = hurricane("join", "-", text=f"hurricane join {ticket}\n")
    error, hint = said(done)
    assert error.startswith(f"error: {sentence}")
    assert hint.startswith("hint: ")
    assert TICKET[10:20] not in done.stderr


def test_what_the_environment_says_is_checked(hurricane: Hurricane) -> None:
    assert said(hurricane("status", HURRICANE_PORT="everest")) == [
        "error: HURRICANE_PORT is `everest`: a port is a number from 1 to 65535"
    ]


def test_a_directory_that_others_can_enter_is_refused(hurricane: Hurricane, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    assert said(hurricane("up")) == [
        f"error: the state directory `{tmp_path}/state` is open to other users (mode 755)",
        f"hint: chmod 700 {tmp_path}/state",
    ]


def test_a_mistake_of_the_command_line_names_the_option(hurricane: Hurricane) -> None:
    first, *_ = said(hurricane("node", "--memory", "much"))
    assert first == (
        "error: invalid value 'much' for '--memory <BYTES>': "
        "memory is a number of bytes, or like `8GB` or `512MiB`"
    )
    first, *_ = said(hurricane("invite", "--role", "king"))
    assert first == (
        "error: invalid value 'king' for '--role <ROLE>': "
        "`king` is not a role: the roles are `node` and `submit`"
    )


def test_a_resource_is_given_once(hurricane: Hurricane) -> None:
    [line] = said(hurricane("deploy", "rack", "--resource", "a=1", "--resource", "a=2"))
    assert line == "error: the resource `a` was given twice"


def test_a_host_is_no_option_of_ssh(hurricane: Hurricane) -> None:
    first, *_ = said(hurricane("deploy", "--", "-oProxyCommand=touch evil"))
    assert "this is not a host" in first


def test_nobody_listens_to_what_is_printed() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "hurricane", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert errors == ""


def test_a_question_imports_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    program = """if True:
        import sys
        before = {*sys.modules}
        from hurricane.__main__ import main
        sys.argv = ["hurricane", "leave"]
        assert main() == 2
        print(*sorted({*sys.modules} - before))
    """
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path = {sys.path}\n{program}"],
        env={**os.environ, "HURRICANE_STATE_DIR": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=True,
    )
    assert done.stdout.split() == ["hurricane", "hurricane.__main__", "hurricane._native"]
