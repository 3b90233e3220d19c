"""What tasks print appears where the program prints."""

import io
import os
import sys

import pytest

from conditions import until
from hurricane._output import write_notice, write_output


def redirect(monkeypatch):
    """Take the place of the program's streams. No fixture: pytest takes it back before the test."""
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    return out, err


def test_lines_are_marked(monkeypatch):
    out, err = redirect(monkeypatch)
    write_output("f-1", "box", b"one\ntwo\n", 0, is_stderr=False)
    write_output("f-1", "box", "drei€\n".encode(), 2, is_stderr=True)
    assert out.getvalue() == "[f-1 box] one\n[f-1 box] two\n"
    assert err.getvalue() == "[f-1 box] 2 lines dropped\n[f-1 box] drei€\n"


def test_only_dropped_lines(monkeypatch):
    out, _ = redirect(monkeypatch)
    write_output("f-1", "box", b"", 1, is_stderr=False)
    assert out.getvalue() == "[f-1 box] 1 line dropped\n"


def test_empty_lines_are_lines(monkeypatch):
    out, _ = redirect(monkeypatch)
    write_output("f-1", "box", b"\n\n", 0, is_stderr=False)
    assert out.getvalue() == "[f-1 box] \n[f-1 box] \n"


@pytest.mark.parametrize("stream", [None, object(), io.StringIO()])
def test_what_cannot_be_written_harms_nobody(monkeypatch, stream):
    if isinstance(stream, io.StringIO):
        stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    write_output("f-1", "box", b"text\n", 0, is_stderr=False)
    write_notice("nothing")


def test_what_the_encoding_lacks_is_escaped(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    write_output("f-1", "box", "€\n".encode(), 0, is_stderr=False)
    assert raw.getvalue() == b"[f-1 box] \\u20ac\n"


def test_tasks_print_live(client, monkeypatch, tmp_path):
    def talk():
        print("to stdout")
        print("to stderr", file=sys.stderr)
        os.write(1, b"past Python\n")
        until((tmp_path / "go").exists)

    out, err = redirect(monkeypatch)
    future = client.options(name="talk").submit(talk)
    until(lambda: "past Python" in out.getvalue() and "to stderr" in err.getvalue())
    (tmp_path / "go").touch()
    future.result()
    mark = f"[talk-{future.number} "
    lines = out.getvalue().splitlines()
    assert [line.split("] ")[1] for line in lines] == ["to stdout", "past Python"]
    assert all(line.startswith(mark) for line in lines)
    assert err.getvalue().startswith(mark)


def test_results_come_in_after_stdout_was_closed(run_program):
    done = run_program("""
import os, sys
import hurricane
with hurricane.Client(max_workers=1) as client:
    sys.stdout.close()
    assert client.submit(print, "lost").result() is None
    assert client.submit(abs, -1).result() == 1
sys.stderr.write("well")
""")
    assert done.stderr == "well"
