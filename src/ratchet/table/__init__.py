"""Reads a file or a folder of parquet or CSV, and prepares the columns a model may see."""

from ratchet.table.extract import Extract
from ratchet.table.keeping import (
    PartWriter,
    read_array,
    read_parquet,
    row_hashes,
    write_parquet,
)
from ratchet.table.long import LongTable, bytes_of_source
from ratchet.table.pieces import Piece, TableFile, one_schema
from ratchet.table.preparing import (
    Counting,
    Prepared,
    encode_target,
    like_prepared,
    matching,
    prepare_table,
    rows_kept,
    target_and_rows,
    with_statistics,
)
from ratchet.table.reading import MAX_EXACT, Table, read_table, table_files
from ratchet.table.stored import Picked, Stored
from ratchet.table.width import rows_at_once, rows_of_sample, shared

__all__ = [
    "MAX_EXACT",
    "Counting",
    "Extract",
    "LongTable",
    "PartWriter",
    "Picked",
    "Piece",
    "Prepared",
    "Stored",
    "Table",
    "TableFile",
    "bytes_of_source",
    "encode_target",
    "like_prepared",
    "matching",
    "one_schema",
    "prepare_table",
    "read_array",
    "read_parquet",
    "read_table",
    "row_hashes",
    "rows_at_once",
    "rows_kept",
    "rows_of_sample",
    "shared",
    "table_files",
    "target_and_rows",
    "with_statistics",
    "write_parquet",
]
