"""Phantom cohorts: images that are drawn, of known patients, findings and masks; one module for each anatomy."""

PHANTOMS = ("chest", "iris", "mass", "vertebra")  # modules of this package, each with a function `draw`
