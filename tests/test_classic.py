"""The 2016 API where no cluster is needed. The rest is in `lan/test_classic.py`."""

import logging
import socket
import sys
import time
import warnings

import pytest

import hurricane
from hurricane import classic


@pytest.mark.parametrize("kind", [hurricane.MasterNode, hurricane.SlaveNode])
def test_options_that_are_not_known_are_ignored_with_a_warning(kind):
    with pytest.warns(UserWarning, match=f"^{kind.__name__} ignores `hosts`, `task_port`$") as seen:
        kind(task_port=12224, initialize_port=13000, hosts="")
    assert [warning.filename for warning in seen] == [__file__]


@pytest.mark.parametrize("kind", [hurricane.MasterNode, hurricane.SlaveNode])
def test_options_that_are_known_are_taken(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kind(initialize_port=13000, debug=False, master_node="", max_disconnect_errors=3)


def test_a_master_before_it_is_initialized():
    master = hurricane.MasterNode()
    first, second = master.send_task({"name": "first"}), master.send_task(None)
    assert type(first) is int
    assert first != second
    assert master.has_connection() is False
    assert master.is_task_completed(first) == (False, None)
    begun = time.monotonic()
    assert master.wait_for_task_completion(first) is None
    assert master.wait_for_task_completion(first, 1000) is None
    assert master.wait_for_any_task_completion(0.05) is None
    assert master.wait_for_connection(0.05) is None
    assert 0.1 <= time.monotonic() - begun < 100
    master.stop()
    master.stop()
    assert master.wait_for_any_task_completion() is None
    assert master.wait_for_connection() is None


def test_data_that_cannot_be_pickled_are_refused_at_once():
    with pytest.raises(hurricane.NotSerializable):
        hurricane.MasterNode().send_task({"file": sys.stderr})


def test_a_slave_has_nothing_to_finish(caplog):
    hurricane.SlaveNode().finish_task(generated_data=1)
    assert "There is no task to finish" in caplog.text


@pytest.mark.parametrize(
    ("timeout", "is_endless"), [(-1, True), (0, True), (None, True), (5, False)]
)
def test_a_timeout_that_is_not_positive_is_none(timeout, is_endless):
    deadline = classic._Deadline(timeout)
    assert not deadline.is_past()
    assert (deadline.rest() is None) is is_endless
    assert deadline.rest(2.0) == 2.0


def test_names_of_this_machine_are_known():
    for address in ("localhost", "127.0.0.1", "127.1.2.3", socket.gethostname()):
        assert classic._is_here(address)
    assert not classic._is_here("192.0.2.1")


def test_what_is_pickled_is_opened_late_and_once():
    task = classic.Task(7, classic.dumps_result({"a": 1}), 12222)
    task._end(classic.dumps_result([2]), None)
    assert task.get_data() is task.get_data()
    assert task.get_generated_data() is task.get_generated_data()
    assert (task.get_task_id(), task.get_return_port()) == (7, 12222)
    assert repr(task) == "<Task 7>"


def test_a_slave_takes_nothing_else():
    with pytest.raises(TypeError, match="only what a master node sends"):
        classic._open_work(b"another function", b"", [])


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ("", False),
        ("debug=True", True),
        ("debug=True, level=logging.ERROR", False),
        ("level='INFO'", True),
    ],
)
def test_logging_is_shown_when_it_is_asked_for(run_program, options, shown):
    done = run_program(
        f"import logging, hurricane\n"
        f"hurricane.SlaveNode({options})\n"
        f"logging.getLogger('hurricane').info('what happens')\n"
        f"assert logging.getLogger().level == logging.WARNING\n"
    )
    assert ("hurricane [INFO] what happens" in done.stderr) is shown


def test_a_program_that_logs_itself_is_not_shown_all_twice(run_program):
    done = run_program(
        "import logging, hurricane\n"
        "logging.basicConfig(level=logging.INFO)\n"
        "hurricane.MasterNode(debug=True)\n"
        "logging.getLogger('hurricane').info('what happens')\n"
    )
    assert done.stderr.count("what happens") == 1


def test_logging_is_left_alone():
    assert logging.getLogger("hurricane").handlers == []
