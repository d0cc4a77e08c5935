"""What all checkers of exercises have in common: a verdict with a hint, never a traceback."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real

LATER = "A first try brings a hint."


@dataclass(frozen=True)
class Verdict:
    """What a checker says of an answer; a notebook shows it as one line of text."""

    passed: bool
    text: str

    def __repr__(self) -> str:
        return self.text


class NothingYet(str):
    """What is wrong with an exercise that nobody has tried: its hint would only give it away."""


def exercise(hint: str, name: str = "", cases=(), reference=None, tolerance: float = 1e-6):
    """A checker of an answer: of a function by `cases`, or a decorator of a `judge(answer)`.

    With `cases`, the answer is a function called `name`; for the arguments of each case it must
    return what `reference` does: a whole number, any other within the relative `tolerance`, a
    word, or a sequence of these. Without, this decorates `judge`, which returns None for a right
    answer, else what is wrong with it.

    The checker returns a `Verdict`; an answer that raises gets one as well, and one that is `...`
    or None is "not yet". The hint comes with the first wrong try: running all does not show it.
    """

    def decorate(judge):
        return functools.wraps(judge)(lambda answer: _verdict(judge, answer, hint))

    def judge(answer):
        for case in cases:
            call = f"{name}({', '.join(map(_shown, case))})"
            if wrong := _wrong(call, answer(*case), reference(*case), tolerance):
                return wrong
        return None

    return decorate(judge) if reference else decorate


def letter(hint: str, right: str, wrong: dict[str, str]) -> Callable:
    """A checker of an answer by a letter: `right`, or what speaks against each of `wrong`."""

    def judge(answer):
        chosen, letters = str(answer).strip().lower(), ", ".join(sorted([right, *wrong]))
        unknown = f"{answer!r} is not one of {letters}."
        return None if chosen == right else wrong.get(chosen, unknown)

    return exercise(hint)(judge)


def _verdict(judge, answer, hint):
    if answer is None or answer is ...:
        return Verdict(False, f"Not yet: replace the dots. {LATER}")
    try:
        wrong = judge(answer)
    except Exception as error:  # the learner's own code: whatever it raises is an answer
        wrong = f"it raised {type(error).__name__}: {error}."
    if wrong is None:
        return Verdict(True, "Correct.")
    then = LATER if isinstance(wrong, NothingYet) else f"Hint: {hint}"
    return Verdict(False, f"Not yet: {wrong} {then}")


def _wrong(call, got, wanted, tolerance):
    """What is wrong with `got`, or None; `wanted` is a number, a word or a sequence of them."""
    if got is None or got is ...:
        return NothingYet(f"{call} gives nothing back yet.")
    if isinstance(wanted, tuple | list):
        if isinstance(got, str) or not hasattr(got, "__len__") or len(got) != len(wanted):
            return f"{call} gives {got!r}, which is not {len(wanted)} values."
        parts = enumerate(zip(got, wanted, strict=True))
        found = (_wrong(f"{call}[{i}]", a, b, tolerance) for i, (a, b) in parts)
        return next(filter(None, found), None)
    if isinstance(wanted, str):
        return None if got == wanted else f"{call} gives {got!r}, which is wrong."
    if getattr(got, "ndim", None) == 0:  # an array or a tensor of one number
        got = got.item()
    if isinstance(got, bool) or not isinstance(got, Real) or math.isnan(got):
        return f"{call} gives {got!r}, which is not a number."
    off = 0 if isinstance(wanted, Integral) else tolerance * abs(wanted)
    if abs(got - wanted) > off:
        return f"{call} gives {got:,.6g}, which is {_direction(got, wanted)}."
    return None


def _shown(argument):
    return f"{argument:g}" if isinstance(argument, float) else repr(argument)


def _direction(got, wanted):
    if got <= 0 or wanted <= 0:
        return "too small" if got < wanted else "too large"
    factor = max(got / wanted, wanted / got)
    return f"{factor:.3g} times too {'large' if got > wanted else 'small'}"
