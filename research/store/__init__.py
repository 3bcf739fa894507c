"""The lake: Parquet under ``data/`` with a card beside every table, and DuckDB over it.

``load`` gives bars at once, ``scan`` lazily, ``sql`` asks DuckDB; each takes ``as_pandas=True``.
"""

from research.store.lake import load, quality, scan, sql

__all__ = ["load", "quality", "scan", "sql"]
