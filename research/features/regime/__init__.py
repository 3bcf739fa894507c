"""Regime: is a price trending, returning, or walking at random, as far as its roughness tells.

``dimension`` and ``stream`` measure the fractal dimension of the last values by one of seven
formulas, ``null`` knows what each says of a random walk, ``regime`` calls a regime beyond that.
"""

from research.features.regime.formulas import FORMULAS
from research.features.regime.measure import dimension, fdi, fdi_z, regime, stream
from research.features.regime.null import Null, null

__all__ = ["FORMULAS", "Null", "dimension", "fdi", "fdi_z", "null", "regime", "stream"]
