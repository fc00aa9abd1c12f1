"""The groups of the compared methods, and the names of the controls among them.

Names alone: a notebook that reads what was measured does not rest on what made the images.
"""

GROUPS = ("generator", "walk", "average", "anonymised", "control")
POSITIVE_CONTROL = "memorising generator (positive control)"
CONTAMINATION = "contamination (leak)"
NEGATIVE_CONTROL = "negative control (disjoint patients)"
