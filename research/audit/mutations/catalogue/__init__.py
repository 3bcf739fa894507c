"""The catalogue of leaks, by the stage that they slip into; importing it fills the register."""

from research.audit.mutations.catalogue import data, desk, features, learning

__all__ = ["data", "desk", "features", "learning"]
