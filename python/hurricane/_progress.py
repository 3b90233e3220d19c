"""The progress bar of a `map`: tqdm's, which knows terminals and notebooks."""

from typing import Any


class Progress:
    """Counts items that have ended, in any thread, and shows them in that of the consumer.

    Parameters
    ----------
    name
        What stands before the bar.
    total
        How many items there will be, if that is known.

    Raises
    ------
    ImportError
        If tqdm is not installed.
    """

    def __init__(self, name: str, total: int | None) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            msg = "a progress bar needs tqdm: install `hurricane[progress]`"
            raise ImportError(msg) from error
        self._bar: Any = tqdm(total=total, desc=name)
        self._ended = 0

    def add(self, items: int) -> None:
        """Count items. Only the delivery thread does, and those that submit what fails at once."""
        self._ended += items

    def show(self) -> None:
        """Bring the bar to what was counted."""
        self._bar.update(self._ended - self._bar.n)

    def close(self) -> None:
        """Leave the bar as it is."""
        self.show()
        self._bar.close()
