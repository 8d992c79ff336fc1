"""Reads a file or a folder of parquet or CSV, and prepares the columns a model may see."""

from ratchet.table.keeping import read_parquet, row_hashes, write_parquet
from ratchet.table.preparing import (
    Prepared,
    encode_target,
    prepare_table,
    rows_kept,
    with_statistics,
)
from ratchet.table.reading import MAX_EXACT, Table, read_table

__all__ = [
    "MAX_EXACT",
    "Prepared",
    "Table",
    "encode_target",
    "prepare_table",
    "read_parquet",
    "read_table",
    "row_hashes",
    "rows_kept",
    "with_statistics",
    "write_parquet",
]
