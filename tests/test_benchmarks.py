"""The harness of the benchmarks: what it makes of figures, and of what people ask it for."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import page, report
from benchmarks.__main__ import UnknownName, choose, in_turn
from benchmarks.others import decisions
from benchmarks.report import Measurement
from benchmarks.run import CouldNotRun, descendants, run
from benchmarks.systems import SYSTEMS
from benchmarks.works import WORKS, Row, Shall

from conditions import until

RATE = Row.of("W2", "no-ops", "tasks/s", "hurricane >= 15 x best", "hurricane-tls >= 6 x best")
TIME = Row.of("W1", "no-op", "µs", "hurricane <= 0.25 x multiprocessing", less=True)
LIMIT = Row.of("W8", "growth", "MB", "hurricane <= 400", less=True)


def measured(row: str, system: str, *figures: float) -> list[Measurement]:
    """A repetition for each figure."""
    return [
        Measurement(
            work=row,
            row=row,
            system=system,
            version="1",
            repetition=repetition,
            figure=figure,
            unit="",
            date="2026-01-01T00:00:00+00:00",
            commit="abc",
            python="3.11.0",
            cores=2,
            load=0.5,
        )
        for repetition, figure in enumerate(figures)
    ]


def test_every_work_names_systems_and_rows_that_there_are():
    rows = [row.name for work in WORKS.values() for row in work.rows]
    assert len(rows) == len(set(rows))
    for work in WORKS.values():
        for row in work.rows:
            assert {shall.system for shall in row.shalls} <= {*SYSTEMS}
            assert {shall.of for shall in row.shalls} <= {*SYSTEMS, "best", None}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hurricane <= 0.25 x multiprocessing", Shall("hurricane", True, 0.25, "multiprocessing")),
        ("hurricane-tls >= 6 x best", Shall("hurricane-tls", False, 6, "best")),
        ("hurricane >= 2000000", Shall("hurricane", False, 2_000_000, None)),
    ],
)
def test_what_shall_be_is_read(text: str, expected: Shall):
    assert Shall.parse(text) == expected
    assert str(expected) == text.replace("2000000", "2,000,000")


@pytest.mark.parametrize("text", ["", "hurricane", "hurricane = 4", "hurricane <= many"])
def test_what_says_nothing_is_refused(text: str):
    with pytest.raises(ValueError, match="is not like"):
        Shall.parse(text)


def test_a_line_is_read_back_as_it_was_written(tmp_path):
    written = measured("W1", "ray", 3.0, 1.0)
    file = tmp_path / "run.jsonl"
    file.write_text("".join(each.line() + "\n" for each in written))
    assert report.read(file) == written


def test_medians_are_of_each_row_and_system():
    found = report.medians([*measured("W1", "ray", 3, 1, 100), *measured("W1", "dask", 8, 9)])
    assert found == {("W1", "ray"): 3, ("W1", "dask"): 8.5}


@pytest.mark.parametrize(("row", "best"), [(RATE, ("ray", 9.0)), (TIME, ("dask", 2.0))])
def test_the_best_peer_is_no_hurricane(row: Row, best: tuple[str, float]):
    figures = {"hurricane": 1.0, "hurricane-tls": 1.0, "ray": 9.0, "dask": 2.0}
    found = {(row.name, system): figure for system, figure in figures.items()}
    assert report.best_peer(row, found) == best
    assert report.best_peer(row, {}) is None


@pytest.mark.parametrize(
    ("row", "figures", "reached", "said"),
    [
        (RATE, {"hurricane": 300, "loky": 20, "ray": 10}, 15, "holds"),
        (RATE, {"hurricane": 150, "loky": 20, "ray": 10}, 7.5, "falls short: 50% of it"),
        (TIME, {"hurricane": 40, "multiprocessing": 200, "loky": 50}, 0.2, "holds"),
        (
            TIME,
            {"hurricane": 100, "multiprocessing": 200},
            0.5,
            "falls short: 2 times what it may be",
        ),
        (LIMIT, {"hurricane": 400}, 400, "holds"),
        (LIMIT, {"hurricane": 600}, 600, "falls short: 1.5 times what it may be"),
        (LIMIT, {"hurricane": 0}, 0, "holds"),
    ],
)
def test_a_figure_is_judged(row: Row, figures: dict[str, float], reached: float, said: str):
    found = {(row.name, system): figure for system, figure in figures.items()}
    judged = report.verdict(row, row.shalls[0], found)
    assert judged is not None
    assert judged.reached == reached
    assert str(judged) == said


@pytest.mark.parametrize(
    "figures", [{}, {"hurricane": 1}, {"ray": 1}, {"hurricane": 1, "hurricane-tls": 2}]
)
def test_what_was_not_measured_is_not_judged(figures: dict[str, float]):
    found = {("W2", system): figure for system, figure in figures.items()}
    assert report.verdict(RATE, RATE.shalls[0], found) is None


def test_the_tables():
    found = report.medians(
        [
            *measured("W2", "hurricane", 400_000.0, 500_000.0),
            *measured("W2", "multiprocessing", 25_123.0),
            *measured("W2", "ray", 1701.0),
        ]
    )
    assert [cells(line) for line in report.figures_table([RATE, TIME], found).splitlines()] == [
        ["row", "work", "unit", "hurricane", "multiprocessing", "ray", "hurricane ÷ best peer"],
        ["---", "------", "-------", "--------:", "--------------:", "----:", "-" * 22],
        ["W2", "no-ops", "tasks/s", "450,000", "25,100", "1,700", "17.9 x multiprocessing"],
    ]
    lines = report.shalls_table([RATE, TIME], found, ["hurricane"]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [cells(line) for line in lines[2:]] == [
        ["W2", "hurricane >= 15 x best", "17.9 x multiprocessing", "holds"],
        ["W1", "hurricane <= 0.25 x multiprocessing", "-", "not measured"],
    ]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_process_that_is_left_behind_is_found():
    program = "import subprocess, sys; subprocess.Popen(['sleep', '60']); sys.stdin.read()"
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)
    with parent:
        until(lambda: len(descendants(parent.pid)) == 1, "a child")
        [child] = descendants(parent.pid)
        os.kill(child, signal.SIGKILL)
        until(lambda: descendants(parent.pid) == [], "its end")
    assert parent.wait() == 0


def test_a_repetition_that_takes_too_long_could_not_run():
    with pytest.raises(CouldNotRun, match=r"more than 0\.01 s"):
        run("W1", "multiprocessing", timeout_seconds=0.01)


def test_a_repetition_that_fails_says_how():
    with pytest.raises(CouldNotRun, match="KeyError: 'W22'"):
        run("W22", "multiprocessing", timeout_seconds=60)


def written(directory: Path, name: str, measurements: list[Measurement]) -> Path:
    file = directory / name
    file.write_text("".join(each.line() + "\n" for each in measurements))
    return file


def test_the_page_has_the_last_of_the_runs_with_most_systems(tmp_path):
    both = [*measured("W2", "hurricane", 2.0), *measured("W2", "ray", 1.0)]
    newer = [*measured("W2", "hurricane", 4.0), *measured("W2", "ray", 2.0)]
    files = [
        written(tmp_path, "1", [*both, *measured("W1", "ray", 7.0)]),
        written(tmp_path, "2", newer),
        written(tmp_path, "3", measured("W2", "hurricane", 8.0)),
    ]
    last = page.last_runs(files)
    assert last == {"W1": measured("W1", "ray", 7.0), "W2": newer}
    text = page.tables(last)
    assert "- 2026-01-01, commit abc, 2 cores, 3.11.0\n- hurricane 1, ray 1\n" in text
    assert "2 x ray" in text


def test_the_figures_replace_those_that_were_there():
    marks = "<!-- figures -->", "<!-- end of figures -->"
    before, after = f"# A\n{marks[0]}\nold\n{marks[1]}\nB", f"{marks[0]}\n\nnew\n\n{marks[1]}"
    assert page.replaced(before, "new") == f"# A\n{after}\nB"
    assert page.replaced(page.replaced(before, "new"), "new") == f"# A\n{after}\nB"


CORE = """
       3            4             5
   nodes    streaming   queued first
      10      2400000        1500000
     100      2300000        1400000
   1_000      2000000        1000000
  10,000      1800000         600000
"""


def test_the_table_of_the_core_is_read():
    found = decisions(CORE)
    assert found["W9 10 streaming"] == 2_400_000
    assert found["W9 10,000 queued"] == 600_000
    assert (found["W9 streaming"], found["W9 queued"]) == (0.75, 0.4)
    assert found.keys() == {row.name for row in WORKS["W9"].rows}


def test_a_table_of_the_core_that_lacks_something_is_refused():
    with pytest.raises(ValueError, match="printed no decisions"):
        decisions(CORE.replace("10,000", "5,000"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0123456, "0.0123"),
        (0.00001234, "0.000012"),
        (1.5, "1.5"),
        (42.123, "42.1"),
        (999.4, "999"),
        (1234.5, "1,230"),
        (4_321_000.0, "4,320,000"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str):
    assert report.number(value) == text


def test_works_and_peers_are_chosen_by_name():
    assert choose("work", "", WORKS) == list(WORKS)
    assert choose("work", " w2, W1 ", WORKS) == ["W1", "W2"]
    assert choose("peer", "ray,hurricane", SYSTEMS) == ["hurricane", "ray"]


def test_no_system_always_follows_the_same():
    systems = list(SYSTEMS)
    orders = [in_turn(systems, repetition) for repetition in range(11)]
    assert all(sorted(order) == sorted(systems) for order in orders)
    assert orders == [in_turn(systems, repetition) for repetition in range(11)]
    assert (
        len({order[order.index("hurricane") - 1] for order in orders if order[0] != "hurricane"})
        > 2
    )


@pytest.mark.parametrize(
    ("kind", "wish", "known", "hint"),
    [
        ("peer", "huricane", SYSTEMS, "did you mean `hurricane`? there are hurricane, "),
        ("work", "everest", WORKS, "there are W1, "),
    ],
)
def test_who_asks_for_what_there_is_not_is_told_what_there_is(kind, wish, known, hint):
    with pytest.raises(UnknownName) as raised:
        choose(kind, f"{wish}", known)
    first, second = str(raised.value).splitlines()
    assert first == f"error: there is no {kind} `{wish}`"
    assert second.startswith(f"hint: {hint}")


def test_the_command_says_so_too():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--work", "W22"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: there is no work `w22`\nhint: did you mean `W2`")
