"""Reads a file or a folder of parquet or CSV, and prepares the columns a model may see."""

from ratchet.table.keeping import read_array, read_parquet, row_hashes, write_parquet
from ratchet.table.pieces import Piece, TableFile, one_schema
from ratchet.table.preparing import (
    Prepared,
    encode_target,
    matching,
    prepare_table,
    rows_kept,
    with_statistics,
)
from ratchet.table.reading import MAX_EXACT, Table, read_table, table_files

__all__ = [
    "MAX_EXACT",
    "Piece",
    "Prepared",
    "Table",
    "TableFile",
    "encode_target",
    "matching",
    "one_schema",
    "prepare_table",
    "read_array",
    "read_parquet",
    "read_table",
    "row_hashes",
    "rows_kept",
    "table_files",
    "with_statistics",
    "write_parquet",
]
