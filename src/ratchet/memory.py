"""How much memory this process may still take, and whether a table fits into it."""

import psutil

from ratchet import container

# What is left is not all for rows: the libraries themselves take some while they work.
SHARE_OF_AVAILABLE = 0.7
# A table that is read, prepared, dealt and fitted is there so many times at once.
COPIES = 6


def limit(megabytes: int | None) -> int:
    """Give the bytes that the rows of a table may take, with all copies of them.

    Parameters
    ----------
    megabytes : int, optional
        What the user has set; None goes by what is available now.
    """
    if megabytes is not None:
        return megabytes * 2**20
    return int(SHARE_OF_AVAILABLE * available())


def fits(n_bytes: int, megabytes: int | None) -> bool:
    """Tell whether a table of so many bytes can be worked on in memory as a whole.

    Parameters
    ----------
    n_bytes : int
        What its rows take once.
    megabytes : int, optional
        The limit that the user has set; None goes by what is available now.

    Examples
    --------
    >>> fits(10 * 2**20, megabytes=100), fits(20 * 2**20, megabytes=100)
    (True, False)
    """
    return COPIES * n_bytes <= limit(megabytes)


def total() -> int:
    """Count the bytes that this process could ever have, container included."""
    whole = int(psutil.virtual_memory().total)
    return min(whole, container.memory_limit() or whole)


def available() -> int:
    """Count the bytes that this process may still take without paging, container included."""
    free = int(psutil.virtual_memory().available)
    left = container.memory_left()
    return free if left is None else min(free, left)
