"""Phantom cohorts: drawn images whose patients, findings and masks are known; one module for each anatomy."""

PHANTOMS = ("chest", "iris", "mass", "vertebra")  # modules of this package, each with a function `draw`
