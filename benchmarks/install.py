"""Makes the environment of the benchmarks: hurricane as it was built, beside its peers.

A peer that cannot be installed is named and left out; the rest is measured all the same.
Usage: `python benchmarks/install.py DIRECTORY`, with the Python for which hurricane was built.
"""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")

_TIMEOUT_SECONDS = 900


def main(directory: Path) -> int:
    """Make it; 1 if something is missing."""
    python = directory / "bin" / "python"
    if not python.exists():
        venv.create(directory, with_pip=True)
    show_hurricane(directory)
    if install(python, "-r", str(REQUIREMENTS)):
        return 0
    lines = [line.partition("#")[0].strip() for line in REQUIREMENTS.read_text().splitlines()]
    missing = [line for line in lines if line and not install(python, line)]
    for line in missing:
        print(f"{line} could not be installed", file=sys.stderr)
    return int(bool(missing))


def show_hurricane(directory: Path) -> None:
    """Let it find hurricane's sources, and after its own packages those of this Python."""
    root = Path(__file__).parents[1]
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = directory / "lib" / version / "site-packages"
    own = sysconfig.get_path("purelib")
    (packages / "hurricane-bench.pth").write_text(f"{root / 'python'}\n{own}\n")


def install(python: Path, *what: str) -> bool:
    """Install, and say whether that went well."""
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        done = subprocess.run([*pip, *what], timeout=_TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
