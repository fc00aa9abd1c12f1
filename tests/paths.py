"""Where the checkout, the oracles and the shared public data lie."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ORACLES = ROOT / "tests" / "oracles"
SHARED = ROOT.parent / "shared" / "data"
