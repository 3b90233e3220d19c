"""`hurricane demo`, on fewer files than it has."""

import sys
from pathlib import Path

import pytest

from hurricane import _demo

LAST_LINE = "verified: distributed result equals the one-process result"


@pytest.fixture
def few_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Put some files of the standard library, and one that is no Python, in the place of all."""
    no_python = tmp_path / "no_python.py"
    no_python.write_text("def (:\n")
    files = [*_demo.standard_library()[-1000::20], str(no_python)]
    monkeypatch.setattr(_demo, "standard_library", lambda: files)
    return files


def test_standard_library_is_large_and_its_own() -> None:
    files = _demo.standard_library()
    assert len(files) > 1000
    assert not [file for file in files if "site-packages" in file]
    sizes = [Path(file).stat().st_size for file in files]
    assert sizes == sorted(sizes, reverse=True)


def test_tally_counts_names_but_no_keywords(tmp_path: Path) -> None:
    source = tmp_path / "source.py"
    source.write_text("def double(x):\n    return x + x  # x\n")
    tally = _demo.tally_of(str(source))
    assert tally.names == {"double": 1, "x": 3}
    assert (tally.files, tally.unreadable) == (1, 0)


def test_demo_verifies_its_answer(few_files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert _demo.run(2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"Counting the names in {len(few_files)} files")
    assert [line.split()[2] for line in lines if line.startswith("node ")] == [str(len(few_files))]
    assert len([line for line in lines if line.startswith("  worker ")]) in {1, 2}
    assert any(line.startswith("speed-up") for line in lines)
    assert "Not counted, for they are no source this Python can read: 1 files" in lines
    assert lines[-1] == LAST_LINE


def test_demo_fails_if_the_answers_differ(
    few_files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_demo, "tally_of", lambda _: _demo.Tally(files=1))
    assert _demo.run(2) == 1
    captured = capsys.readouterr()
    assert LAST_LINE not in captured.out
    assert "differs" in captured.err


def test_demo_shows_progress_without_tqdm(
    few_files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert _demo.run(1) == 0
    assert f"all slots: {len(few_files)}/{len(few_files)} files" in capsys.readouterr().err
