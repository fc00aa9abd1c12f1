"""Text as ASCII LaTeX source: every other character becomes a command of plain LaTeX.

pdflatex drops a minus sign (U+2212) and stops at an ε, whatever inputenc is told. The commands need no package.
"""

import re
import unicodedata

_MATHS = {
    "−": "-", "±": r"\pm", "×": r"\times", "·": r"\cdot", "÷": r"\div", "°": r"^\circ", "²": "^2", "³": "^3", "⁻": "^-",
    "≤": r"\le", "≥": r"\ge", "≈": r"\approx", "≠": r"\ne", "∞": r"\infty", "√": r"\surd", "∝": r"\propto", "∈": r"\in",
    "→": r"\rightarrow", "←": r"\leftarrow", "↔": r"\leftrightarrow", "⇒": r"\Rightarrow", "↑": r"\uparrow",
    "↓": r"\downarrow", "↗": r"\nearrow", "‖": r"\|", "∥": r"\|", "∑": r"\sum", "∫": r"\int", "∂": r"\partial",
    "α": r"\alpha", "β": r"\beta", "γ": r"\gamma", "δ": r"\delta", "ε": r"\varepsilon", "ζ": r"\zeta", "η": r"\eta",
    "θ": r"\theta", "ι": r"\iota", "κ": r"\kappa", "λ": r"\lambda", "μ": r"\mu", "µ": r"\mu", "ν": r"\nu", "ξ": r"\xi",
    "π": r"\pi", "ρ": r"\rho", "σ": r"\sigma", "ς": r"\varsigma", "τ": r"\tau", "υ": r"\upsilon", "φ": r"\varphi",
    "ϕ": r"\phi", "χ": r"\chi", "ψ": r"\psi", "ω": r"\omega", "ϵ": r"\epsilon", "Γ": r"\Gamma", "Δ": r"\Delta",
    "Θ": r"\Theta", "Λ": r"\Lambda", "Ξ": r"\Xi", "Π": r"\Pi", "Σ": r"\Sigma", "Φ": r"\Phi", "Ψ": r"\Psi",
    "Ω": r"\Omega",
}  # fmt: skip
_TEXT = {
    "–": "--", "—": "---", "…": r"\ldots{}", "‘": "`", "’": "'", "“": "``", "”": "''", "§": r"\S{}", "¶": r"\P{}",
    "†": r"\dag{}", "‡": r"\ddag{}", "©": r"\copyright{}", "£": r"\pounds{}", "ß": r"\ss{}", "æ": r"\ae{}",
    "œ": r"\oe{}", "ø": r"\o{}", "ł": r"\l{}", "Æ": r"\AE{}", "Œ": r"\OE{}", "Ø": r"\O{}", "Ł": r"\L{}", "ı": r"\i{}",
    "\u00a0": "~", "\u2009": r"\,", "\u202f": r"\,",
}  # fmt: skip
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".",
    "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c", "\u0328": "k",
}  # fmt: skip


def in_ascii(text: str) -> str:
    r"""LaTeX source without a character beyond ASCII: − as $-$, ε as $\varepsilon$, é as \'{e}.

    Raises ValueError, naming the character, for one that has no command here.
    """
    return re.sub(r"[^\x00-\x7f]", lambda found: _command(found[0]), unicodedata.normalize("NFC", text))


def _command(character: str) -> str:
    if character in _MATHS:
        return f"${_MATHS[character]}$"
    if character in _TEXT:
        return _TEXT[character]
    letter, *accents = list(unicodedata.normalize("NFD", character))
    if letter.isascii() and len(accents) == 1 and accents[0] in _ACCENTS:
        return rf"\{_ACCENTS[accents[0]]}{{{letter}}}"
    name = unicodedata.name(character, f"U+{ord(character):04X}")
    raise ValueError(f"{character!r} ({name}) is not known to LaTeX: write another, or add its command to {__name__}")
