r"""Formulas as HTML without scripts: $X_{s,t}$ with its index below, signs in place of their names in LaTeX."""

from __future__ import annotations

import html
import re

_SIGNS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "varepsilon": "ε", "eta": "η", "theta": "θ",
    "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ",
    "varphi": "φ", "psi": "ψ", "omega": "ω", "Delta": "Δ", "Sigma": "Σ", "Phi": "Φ", "Omega": "Ω", "Gamma": "Γ",
    "partial": "∂", "nabla": "∇", "int": "∫", "sum": "∑", "infty": "∞", "to": "→", "le": "≤", "ge": "≥", "ne": "≠",
    "in": "∈", "cdot": "·", "times": "×", "circ": "∘", "dots": "…", "ldots": "…", "log": "log", "det": "det",
    "exp": "exp", "tr": "tr", "top": "ᵀ", "pm": "±", "approx": "≈", "sim": "∼", "subset": "⊂", "varnothing": "∅",
    "quad": " ", "bar": "", "dot": "", "hat": "", "tilde": "", "left": "", "right": "", "mathbb": "", "mathrm": "",
    "big": "", "Big": "", "tfrac": "", "sqrt": "√",
}  # fmt: skip
_TYPED = {"grad ": "∇", "d/dt": "∂/∂t", "d/ds": "∂/∂s", "->": "→", "<=": "≤", ">=": "≥"}
_WORDS = re.compile(r"(?<![\w.])(alpha|beta|gamma|eta|kappa|rho|sigma|tau|int)(?![A-Za-z.=])")
_SYMBOL = r"(?:d?[A-Za-z\u0370-\u03ff]'?|[∂∇∫|)\]}])"
_INDEX = re.compile(rf"(?<!\w)({_SYMBOL})([_^])(?:{{([^{{}}]*)}}|([A-Za-z0-9]{{1,3}})(?!\w))")
_CLOSE = re.compile(r"(?<=[∂∇])_(\w)(?=[A-Z])")  # an index and the next symbol
_RAISED = re.compile(r"\^(?:\{([^{}]*)\}|(-?\w))")


def typeset(text: str) -> str:
    """A sentence with formulas as HTML, escaped for the content of an element.

    It knows indices, powers, Greek letters and common signs, in LaTeX or as they are typed, and leaves the rest as it
    is; what stands between backticks is code.
    """
    parts = html.escape(text, quote=False).split("`")
    if len(parts) % 2 == 0:  # a backtick that stands alone is none
        return _formulas("`".join(parts))
    return "".join(f"<code>{part}</code>" if k % 2 else _formulas(part) for k, part in enumerate(parts))


def _formulas(text: str) -> str:
    """Escaped text with its formulas set."""
    text = re.sub(r"\\([A-Za-z]+) ?|\\(.)", _sign, text.replace("$", ""))
    for word, sign in _TYPED.items():
        text = text.replace(html.escape(word, quote=False), sign)
    text = _WORDS.sub(lambda found: _SIGNS[found[1]], text)
    text = _INDEX.sub(_indexed, _CLOSE.sub(r"_{\1}", text))
    return _RAISED.sub(lambda found: f"<sup>{found[1] if found[1] is not None else found[2]}</sup>", text)


def _indexed(found: re.Match[str]) -> str:
    tag = "sub" if found[2] == "_" else "sup"
    return f"{found[1]}<{tag}>{found[4] if found[3] is None else found[3]}</{tag}>"


def _sign(found: re.Match[str]) -> str:
    """What stands for a command of LaTeX: its sign, or its name where it has none."""
    name, mark = found.groups()
    return _SIGNS.get(name, name) if name else {",": " ", ";": " ", " ": " ", "!": "", "|": "‖"}.get(mark, mark)
