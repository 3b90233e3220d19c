"""Amounts of memory as people write them: GB is 10⁹ bytes, GiB 2³⁰."""

import re
from operator import index

_UNITS: dict[str, int] = {"b": 1} | {
    f"{prefix}{unit}": base**power
    for unit, base in (("b", 1000), ("ib", 1024))
    for power, prefix in enumerate("kmgtp", start=1)
}

# Compiled when it is first needed: every program would wait for that.
_WRITTEN = rf"(?P<number>\d+(\.\d+)?|\.\d+)\s*(?P<unit>{'|'.join(_UNITS)})?"


def parse_bytes(amount: int | str) -> int:
    """An amount of memory in bytes.

    Parameters
    ----------
    amount
        Bytes, or a number and its unit: kB, MB, GB, TB, PB by the thousand, KiB, MiB, GiB, TiB,
        PiB by 1024.

    Raises
    ------
    ValueError
        If it is negative, or not written like that.
    TypeError
        If it is neither an integer nor a string.

    Examples
    --------
    >>> parse_bytes("8GB"), parse_bytes("1.5 GiB"), parse_bytes(64)
    (8000000000, 1610612736, 64)
    """
    if isinstance(amount, str):
        return _parse_text(amount)
    if isinstance(amount, bool) or not hasattr(amount, "__index__"):
        msg = f"memory must be an integer or a string, not {type(amount).__name__}"
        raise TypeError(msg)
    if amount < 0:
        msg = "memory must be greater than or equal to 0"
        raise ValueError(msg)
    return index(amount)


def format_bytes(amount: int) -> str:
    """An amount of memory for people.

    Examples
    --------
    >>> format_bytes(999), format_bytes(8_000_000_000), format_bytes(1_530_000)
    ('999 bytes', '8 GB', '1.53 MB')
    """
    if amount < 1000:
        return f"{amount} bytes"
    value = float(amount)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.5:
            return f"{value:.3g} {unit}"
    return f"{value / 1000:.3g} PB"


def _parse_text(text: str) -> int:
    written = re.fullmatch(_WRITTEN, text.strip().lower(), re.ASCII)
    if written is None:
        msg = f"memory must be a number of bytes or like '8GB' or '512MiB', not {text!r}"
        raise ValueError(msg)
    return round(float(written["number"]) * _UNITS[written["unit"] or "b"])
