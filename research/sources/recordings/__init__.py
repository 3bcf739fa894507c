"""Recordings of order books: what a venue sent, read into columns and written for others.

`read` takes files, `from_frames` single messages as they came; both give a `schema.Recording`.
Nothing is repaired, sorted by another clock or judged: what cannot be read is counted.
"""

from research.sources.recordings.decoder import Decoder, from_frames
from research.sources.recordings.export import to_hftbacktest, to_parquet
from research.sources.recordings.frames import Frames
from research.sources.recordings.reading import read

__all__ = ["Decoder", "Frames", "from_frames", "read", "to_hftbacktest", "to_parquet"]
