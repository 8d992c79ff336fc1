"""How many rows are held at once where a table is worked on in pieces: fewer of a wide one."""

ROWS_AT_ONCE = 2**16
"""Most rows of a piece."""
SAMPLE = 100_000
"""Most rows that are drawn to tell what all of them are like."""

# What is read of each column at a time from a file, and of all columns together, in bytes.
_BUFFER, _BUFFERS = 2**20, 2**25
_LEAST_BUFFER = 2**16
# Values of a piece, of which there are a few copies while it is worked on, and its fewest rows.
_VALUES = 2**20
_VALUES_OF_GROUP = 2**22
_LEAST_ROWS = 2**10
# Values of the rows that tell what all of them are like, and the fewest such rows of a wide table.
_SAMPLE_VALUES, _LEAST_SAMPLE = 4_000_000, 10_000


def shared(total: int, n_columns: int, least: int, most: int) -> int:
    """Give each column's share of what all have together, within bounds.

    Examples
    --------
    >>> shared(1000, 20, least=10, most=40), shared(1000, 200, least=10, most=40)
    (40, 10)
    """
    return min(most, max(least, total // max(1, n_columns)))


def rows_at_once(n_columns: int) -> int:
    """Give the rows of a piece of a table.

    Examples
    --------
    >>> rows_at_once(20), rows_at_once(200)
    (52428, 5242)
    """
    return shared(_VALUES, n_columns, _LEAST_ROWS, ROWS_AT_ONCE)


def rows_of_group(n_columns: int) -> int:
    """Give the rows of a group in a file: larger than a piece, as each costs memory to know of.

    Examples
    --------
    >>> rows_of_group(20), rows_of_group(200)
    (65536, 20971)
    """
    return shared(_VALUES_OF_GROUP, n_columns, _LEAST_ROWS, ROWS_AT_ONCE)


def rows_of_sample(n_columns: int) -> int:
    """Give the rows that are drawn to tell what all rows of a table are like.

    Examples
    --------
    >>> rows_of_sample(20), rows_of_sample(200)
    (100000, 20000)
    """
    return shared(_SAMPLE_VALUES, n_columns, _LEAST_SAMPLE, SAMPLE)


def buffer_size(n_columns: int) -> int:
    """Give the bytes of a column that are read from a file at a time.

    Examples
    --------
    >>> buffer_size(20), buffer_size(200)
    (1048576, 167772)
    """
    return shared(_BUFFERS, n_columns, _LEAST_BUFFER, _BUFFER)
