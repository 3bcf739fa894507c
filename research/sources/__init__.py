"""Doors to where bars come from: one file per venue, each `history(...) -> table`."""
