"""How far a long computation is: one line rewritten in JupyterLab, one plain line every 10 % elsewhere."""

import os
import time


class Progress:
    """`report = Progress("MCGAN", total)`, then `report(done, loss=x)` as often as you like.

    Values may be tensors on a device: they are read only when a line is shown, at most twice a second.
    Work resumed at `start` is not counted in the time left.
    """

    def __init__(self, name: str, total: int, *, start: int = 0):
        self.name, self.total, self.start, self.began = name, total, start, time.monotonic()
        self._shown = 0.0  # the last half second, or tenth of the work, that a line was shown for
        self._handle = None
        if "JPY_SESSION_NAME" in os.environ:  # Jupyter's server sets it for a notebook that somebody looks at
            from IPython.display import display

            self._handle = display({"text/plain": name}, raw=True, display_id=True)

    def __call__(self, done: int, **values) -> None:
        spent = time.monotonic() - self.began
        tick = spent // 0.5 if self._handle else 10 * done // max(self.total, 1)
        if tick != self._shown or done == self.total:
            self._shown = tick
            left = spent / max(done - self.start, 1) * (self.total - done)
            line = f"{self.name}  {done}/{self.total}  {spent:.0f} s, {left:.0f} s left"
            line += "".join(f"  {name} {float(value):.3g}" for name, value in values.items())
            self._handle.update({"text/plain": line}, raw=True) if self._handle else print(line, flush=True)
