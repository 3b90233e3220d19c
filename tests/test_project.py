"""Which modules are the user's own, and travel by value to other machines."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from hurricane._project import own_modules


@pytest.mark.parametrize(
    ("place", "is_own"),
    [
        ("project", True),
        ("environment/lib/python3.11/site-packages", False),
        ("usr/lib/python3/dist-packages", False),
    ],
)
def test_what_is_installed_in_any_environment_is_not_the_users_own(
    place: str, is_own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("some_module")
    module.__file__ = str(tmp_path / place / "some_module.py")
    monkeypatch.setitem(sys.modules, "some_module", module)
    # As if another module had been imported since.
    monkeypatch.setattr("hurricane._project._known", (0, ()))
    assert ("some_module" in own_modules()) == is_own
