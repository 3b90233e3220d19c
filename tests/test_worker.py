"""The process that a task runs in: like the program, as far as tasks can tell."""

import ctypes
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

import hurricane
from hurricane import _worker

if TYPE_CHECKING:
    from subprocess import CompletedProcess

RunProgram = Callable[..., "CompletedProcess[str]"]


def test_no_task_runs_in_a_program() -> None:
    assert _worker.current() is None


def test_a_running_task_has_a_link(narrow_client: hurricane.Client) -> None:
    assert narrow_client.submit(lambda: type(_worker.current()).__name__).result() == "WorkerLink"


def test_a_task_sees_the_programs_surroundings(narrow_client: hurricane.Client) -> None:
    def look() -> tuple[str, list[str], list[str]]:
        return os.getcwd(), sys.argv, sys.path

    directory, arguments, path = narrow_client.submit(look).result()
    assert directory == os.getcwd()
    assert arguments == sys.argv
    assert path == [os.path.join(directory, entry) if entry else directory for entry in sys.path]


def test_a_worker_has_a_session_of_its_own_and_no_input(narrow_client: hurricane.Client) -> None:
    def look() -> tuple[bool, str]:
        return os.getsid(0) == os.getpid(), sys.stdin.read()

    assert narrow_client.submit(look).result() == (True, "")


def test_an_interrupt_of_a_worker_is_ignored(narrow_client: hurricane.Client) -> None:
    def interrupt_oneself() -> str:
        os.kill(os.getpid(), signal.SIGINT)
        return "still here"

    assert narrow_client.submit(interrupt_oneself).result() == "still here"


def test_a_thread_left_behind_holds_nothing_up(narrow_client: hurricane.Client) -> None:
    def leave_a_thread() -> int:
        threading.Thread(target=threading.Event().wait).start()
        return os.getpid()

    assert narrow_client.submit(leave_a_thread).result() == narrow_client.submit(os.getpid).result()


def test_a_forked_child_that_returns_does_not_answer_for_its_parent(
    narrow_client: hurricane.Client,
) -> None:
    def fork() -> str:
        child = os.fork()
        if child == 0:
            return "child"
        os.waitpid(child, 0)
        return "parent"

    assert narrow_client.submit(fork).result() == "parent"
    assert narrow_client.submit(abs, -1).result() == 1


def test_crashes_are_written_down(narrow_client: hurricane.Client) -> None:
    assert narrow_client.submit(faulthandler.is_enabled).result()


@pytest.mark.parametrize("text", ["a line\\n", "no end of line"])
def test_what_c_code_prints_arrives_before_the_result(run_program: RunProgram, text: str) -> None:
    done = run_program(f"""
import ctypes, os, hurricane

def print_from_c():
    ctypes.CDLL(None).printf(b"{text}")

os.environ.pop("PYTHONUNBUFFERED", None)
with hurricane.Client(max_workers=1) as client:
    client.submit(print_from_c).result()
    print("result", flush=True)
""")
    written, result = done.stdout.splitlines()
    assert written.endswith(text.removesuffix("\\n"))
    assert result == "result"


def test_what_a_task_puts_in_place_of_stdout_swallows_no_other_tasks_lines(
    run_program: RunProgram,
) -> None:
    done = run_program("""
import io, sys, hurricane

def swallow():
    print("begun", end="")
    sys.stdout = io.StringIO()
    print("swallowed")

with hurricane.Client(max_workers=1) as client:
    client.submit(swallow).result()
    client.options(name="next").submit(print, "heard").result()
""")
    first, second = done.stdout.splitlines()
    assert first.endswith("begun")
    assert second.startswith("[next-2 ")
    assert second.endswith("heard")


def test_a_function_that_a_worker_cannot_have_is_its_tasks_exception(
    narrow_client: hurricane.Client,
) -> None:
    class Unloadable:
        def __call__(self) -> None: ...

        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return ctypes.CDLL, ("no such library",)

    with pytest.raises(OSError, match="no such library"):
        narrow_client.submit(Unloadable()).result()
    assert narrow_client.submit(abs, -1).result() == 1


def test_a_directory_that_a_worker_cannot_enter_is_a_sentence(run_program: RunProgram) -> None:
    done = run_program("""
import os, tempfile, hurricane

with tempfile.TemporaryDirectory() as directory:
    os.chdir(directory)
    client = hurricane.Client(max_workers=1)
    client.submit(abs, -1).result()
    os.chdir("/")
print(repr(client.submit(os._exit, 1).exception()))
client.shutdown()
""")
    assert done.stdout.startswith("SetupFailed")
    assert "A worker cannot enter the working directory" in done.stdout
    assert "No such file or directory" in done.stdout


def test_tasks_see_what_the_initializer_has_set(run_program: RunProgram) -> None:
    done = run_program("""
import hurricane

model = None

def load(name):
    global model
    model = [name]

def use(number):
    return model, number

with hurricane.Client(max_workers=2, initializer=load, initargs=("large",)) as client:
    print([client.submit(use, number).result() for number in range(2)])
    print(set(client.map(lambda _: model[0], range(100))))
""")
    assert done.stdout == "[(['large'], 0), (['large'], 1)]\n{'large'}\n"


def test_classes_of_the_program_go_from_worker_to_worker(run_program: RunProgram) -> None:
    done = run_program("""
import hurricane

class Boat:
    def __init__(self, name):
        self.name = name

def name_of(boat):
    assert isinstance(boat, Boat)
    return boat.name

def build_and_name(name):
    return hurricane.submit(name_of, Boat(name)).result()

with hurricane.Client(max_workers=2) as client:
    print(client.submit(build_and_name, "Argo").result())
""")
    assert done.stdout == "Argo\n"
