"""The result page of a run, the scorecard, and the table of the README."""
