"""Sagittal T1 slices of vertebral units, rendered from the anatomy that `lib.cohorts.phantoms.vertebra` draws.

For speed, a product of a profile along x and a profile along y is one term of a matrix product for each slice, and only
outlines that bend are computed pixel by pixel. x runs from front to back, from 0 to 1; y runs downwards, from -0.25 to
0.25; z runs from the right of the patient to the left. All are in widths of a frame with a field of view of 1.
"""

import functools

import numpy as np

from lib.cohorts.phantoms import vertebra_anatomy as spine

SLICES = 9
# The control points (y, x) of the random fields of a slice, and the number of slices over which they reach.
_GRIDS = {"strands": (8, 60, 1.0), "marrow": (18, 44, 0.7), "noise": (56, 84, 0)}


def render(truth: dict[str, np.ndarray], size: tuple[int, int], chunk: int | None = None) -> np.ndarray:
    """Images (N, 9, H, W) uint8. `chunk`, how many units are drawn at a time, changes the speed and no byte."""
    n = len(truth["key"])
    chunk = chunk or max(1, 2**15 // (size[0] * size[1]))
    images = np.empty((n, SLICES, *size), np.uint8)
    # Known quantities of a unit broadcast over (n, slices, pixels); a table of m columns is (m, n, 1, 1).
    known = {k: np.moveaxis(v, 0, -1)[..., None, None].astype(np.float32) for k, v in truth.items() if k != "key"}
    for start in range(0, n, chunk):
        part = slice(start, start + chunk)
        images[part] = _scan({k: v[..., part, :, :] for k, v in known.items()}, truth["key"][part], *size)
    return images


def _scan(t: dict[str, np.ndarray], keys: np.ndarray, high: int, wide: int) -> np.ndarray:
    """Images of a few units."""
    view = t["view"]
    x = 0.5 + ((np.arange(wide, dtype=np.float32) + 0.5) / wide - 0.5) * view  # (n, 1, W)
    y = ((np.arange(high, dtype=np.float32) + 0.5) / (2 * high) - 0.25) * view
    z = (np.arange(SLICES, dtype=np.float32)[:, None] - SLICES // 2 + t["offset"]) * t["spacing"]
    t["x"], t["y"], t["z"], t["side"], t["v"] = x, y, z, abs(z), y - t["height"]
    t["sharp_x"] = (t["blur"] ** 2 + (view / wide) ** 2) ** -0.5
    t["sharp_y"] = (t["blur"] ** 2 + (view * 0.5 / high) ** 2) ** -0.5
    spine.place(t)
    fields = _fields(keys)
    image = _bent(_surroundings(t, fields["strands"], high, wide), t["bend"] / view, wide)
    inside = _unit(t, fields["marrow"])
    # The body, with the cortex and the longitudinal ligaments on its walls.
    front, back = spine.walls(t)
    bare = np.maximum(t["open"], np.clip(40 * (t["height"] - y), 0, 1))  # of pedicles
    image += _cover(t, front - 0.016, back + 0.013 * bare) * (spine.DARK - image)
    inside -= spine.DARK
    inside *= _cover(t, front, back)
    image += inside
    # The scanner.
    gain = 255 * t["gain"] * t["site_gain"]
    image *= (gain * (1 + t["coil"] * (x - 0.5)))[..., None, :]
    rows, across = _GRIDS["noise"][:2]
    noise = fields["noise"] @ _smear(across, wide).T
    noise *= 255 * t["noise"][..., None]
    image += _smear(rows, high) @ noise
    image += 255 * t["site_offset"][..., None] + 0.5
    return np.clip(image, 0, 255, out=image).astype(np.uint8)


def _cover(t, low, high):
    """The share (n, slices, H, W) of each pixel that lies in the body between two walls (n, slices, H)."""
    at = (t["x"] * t["sharp_x"])[..., None, :]
    cover, beyond = (np.clip(at + (0.5 - wall * t["sharp_x"])[..., None], 0, 1) for wall in (low, high))
    cover -= beyond
    cover *= t["share"][..., None]
    return cover


def _bent(flat, bend, wide):
    """Rows of a wider image (n, slices, H, wide + margins), moved by bends (n, 1, H) in widths of the frame."""
    n, slices, high, cells = flat.shape
    move = (cells - wide) / 2 - np.broadcast_to(bend, (n, slices, high)).reshape(-1) * wide
    whole = move.astype(np.intp)
    row = np.arange(n * slices * high)
    rows = np.lib.stride_tricks.sliding_window_view(flat.reshape(-1, cells), wide, axis=1)
    here, there = rows[row, whole], rows[row, whole + 1]
    there -= here
    there *= (move - whole)[:, None].astype(np.float32)
    here += there
    return here.reshape(n, slices, high, wide)


def _surroundings(t, strands, high, wide):
    """Everything except the body and the disc, before rows bend: (n, slices, H, wide + margins)."""
    n, _, points, across = strands.shape
    margin = int(np.ceil(spine.MARGIN * wide)) + 1
    t["u"] = u = 0.5 + ((np.arange(-margin, wide + margin, dtype=np.float32) + 0.5) / wide - 0.5) * t["view"]
    base, rough = spine.tissues(t)
    a, b, wide_a, wide_b, change = _stack(spine.spots(t), n)
    seen_a, seen_b = (np.hypot(w, 0.55 / t[k][..., None]) for w, k in ((wide_a, "sharp_x"), (wide_b, "sharp_y")))
    along = spine.bell(u[..., None, :], a, seen_a) * (change * wide_a * wide_b / (seen_a * seen_b))
    down = spine.bell(t["v"][..., None, :], b, seen_b)
    smear = np.broadcast_to(_smear(points, high), (n, SLICES, high, points))
    down = np.concatenate([smear, np.ones((n, SLICES, high, 1), np.float32), down.swapaxes(2, 3)], -1)
    strands = strands @ _smear(across, u.shape[-1], margin).T
    strands *= rough[..., None, :]
    image = down @ np.concatenate([strands, base[..., None, :], along], -2)
    # Bones at the back: values far from zero are marrow, nearer ones are cortex, and a joint lies between + and -.
    behind = margin + int((0.5 - (0.5 - spine.BEHIND) / spine.NARROWEST) * wide)
    a, b, wide_a, wide_b, amount = _stack(spine.arches(t), n)
    own = np.where(t["z"] > 0, t["arch"][1], t["arch"][0]).transpose(1, 2, 3, 0, 4)  # left, right
    a += own[0]
    b += own[1]
    wide_a *= own[2]
    wide_b *= own[3]
    crisp = 0.06 * t["sharp_x"][..., None]
    along = spine.bell(u[..., None, behind:], a, wide_a) * (amount * crisp)
    down = spine.bell(t["v"][..., None, :], b, wide_b).swapaxes(2, 3)
    bone = down @ along
    np.abs(bone, out=bone)
    bone += 0.5 - 0.46 * crisp
    cortex = np.clip(bone, 0, 1)
    bone -= 0.20 * crisp
    np.clip(bone, 0, 1, out=bone)
    share = np.maximum(t["open"], t["closed"])[..., None]
    part = image[..., behind:]
    cortex *= share
    cortex *= spine.DARK + 0.03 - part
    part += cortex
    bone *= share * (t["marrow"][..., None] - spine.DARK - 0.03)
    part += bone
    return image


def _stack(rows, n):
    """Stack rows of five numbers or arrays (n, slices or 1, 1) into five columns (n, slices, rows, 1)."""
    stacked = np.empty((5, n, SLICES, len(rows), 1), np.float32)
    for i, row in enumerate(rows):
        for column, values in zip(stacked, row, strict=True):
            column[:, :, i] = values
    return stacked


def _unit(t, marrow):
    """Marrow, endplates and disc, as if they filled the frame: (n, slices, H, W)."""
    n, _, points, across = marrow.shape
    x, v = t["x"], t["v"]
    off = x - (t["front"] + t["back"]) / 2
    at = off * (2 / (t["back"] - t["front"]))
    tall = t["disc"] / 2 * (1 - 0.15 * (t["side"] / t["half"]) ** 2)
    tall = tall * (1 - t["concave"] * np.minimum(abs(at), 1.15) ** 3) - t["wedge"] / 2 * off
    tall = np.maximum(tall, 0.010)
    level = t["height"] + t["tilt"] * off
    # Schmorl's nodes.
    dent = spine.bell(t["z"], t["node_z"], 0.06) * t["node"]
    dent = dent * np.exp(-(((x - t["centre"] - t["node_x"]) / t["node_wide"]) ** 4))
    edge = t["sharp_y"][..., None]
    down = t["y"][..., None] * edge
    upper = down - ((level - tall - dent[0]) * t["sharp_y"] - 0.5)[..., None, :]
    lower = ((level + tall + dent[1]) * t["sharp_y"] + 0.5)[..., None, :] - down
    disc = np.minimum(upper, lower)
    np.clip(disc, 0, 1, out=disc)
    upper += t["plate"][..., None] * (1 - t["shift"][..., None]) * edge
    lower += t["plate"][..., None] * (1 + t["shift"][..., None]) * edge
    plate = np.minimum(upper, lower, out=upper)
    np.clip(plate, 0, 1, out=plate)
    # Marrow: trabeculae, corners, bands along worn endplates, and the vein at mid-height.
    rim = t["disc"] / 2 * (1 - t["concave"] / 2) + 0.02
    top, back = np.array([[-1, -1, 1, 1], [-1, 1, -1, 1]], np.float32)[..., None, None, None]
    sign = np.array([-1, 1], np.float32)[:, None, None, None]
    one = np.ones_like(at)
    along = [one, *(spine.bell(at, 0.95 * back, 0.3) * t["corner"]), *(t["band"] * one)]
    along.append(spine.bell(at, 1, 0.45) * (-0.16 * t["open"]))
    down = [t["marrow"] + 0 * v, *spine.bell(v, top * rim, 0.05), *spine.bell(v, sign * rim, 0.035)]
    down.append(spine.bell(abs(v), t["middle"], 0.016))
    marrow = marrow @ _smear(across, x.shape[-1]).T
    marrow *= t["mottle"][..., None]
    smear = np.broadcast_to(_smear(points, v.shape[-1]), (n, SLICES, v.shape[-1], points))
    down = np.broadcast_to(np.stack(down, -1), (n, SLICES, v.shape[-1], len(down)))
    bone = np.concatenate([down, smear], -1) @ np.concatenate([np.stack(along, -2), marrow], -2)
    bone -= spine.DARK
    bone *= np.subtract(1, plate, out=plate)
    disc *= (t["fibre"] * (1 - 0.55 * np.minimum(abs(at), 1) ** 5) - spine.DARK)[..., None, :]
    bone += disc
    bone += spine.DARK
    return bone


def _fields(keys):
    """White noise of each unit, mixed over slices, by name: (n, slices, rows, columns)."""
    counts = [SLICES * rows * columns for rows, columns, _ in _GRIDS.values()]
    # One stream for each unit. Random bytes cost a fifth of normal deviates, and smearing makes them normal.
    raw = np.stack([np.random.SFC64(key).random_raw(-(-sum(counts) // 8)) for key in keys])
    white = raw.astype("<u8").view(np.uint8).astype(np.float32)
    white -= 127.5
    white *= 1 / 73.9
    white[:, : counts[0]] *= 0.75 * np.exp(0.6 * white[:, : counts[0]])  # strands are few and bright
    fields = {}
    parts = np.split(white[:, : sum(counts)], np.cumsum(counts)[:-1], axis=1)
    for part, (name, (rows, columns, reach)) in zip(parts, _GRIDS.items(), strict=True):
        part = part.reshape(len(keys), SLICES, -1)
        if reach:
            part = _through(reach) @ part
        fields[name] = part.reshape(len(keys), SLICES, rows, columns)
    return fields


@functools.cache
def _through(reach: float) -> np.ndarray:
    """The matrix (slices, slices) that makes neighbouring slices alike and preserves the variance."""
    gap = np.subtract.outer(np.arange(SLICES), np.arange(SLICES))
    weight = np.exp(-((gap / reach) ** 2))
    return (weight / np.linalg.norm(weight, axis=1, keepdims=True)).astype(np.float32)


@functools.cache
def _smear(points: int, pixels: int, margin: int = 0) -> np.ndarray:
    """The matrix (pixels, points) that mixes white noise to unit variance and averages it over each pixel.

    The points span the frame and the margins of a row. The pixels are those of the frame and `margin` more on each
    side; the last of them may lie beyond the points, but no row bends so far.
    """
    at = ((np.arange(8 * pixels) + 0.5) / 8 - margin) / (pixels - 2 * margin)
    grid = np.linspace(-spine.MARGIN - 0.03, 1 + spine.MARGIN + 0.03, points)
    at = np.clip(at, grid[0], grid[-1])
    weight = np.exp(-0.5 * ((at[:, None] - grid) / (0.7 * (grid[1] - grid[0]))) ** 2)
    weight[weight < 1e-4] = 0  # denormal numbers would make the products a hundred times slower
    weight /= np.linalg.norm(weight, axis=1, keepdims=True)
    return weight.reshape(pixels, 8, points).mean(1).astype(np.float32)
