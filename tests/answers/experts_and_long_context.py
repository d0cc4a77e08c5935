"""Right answers to the exercise of notebook 15, and the wrong ones that learners give."""

from modelscale.course import experts_and_long_context


def dropped(chosen, capacity):
    return [i for i, e in enumerate(chosen) if chosen[:i].count(e) >= capacity]


RIGHT = {
    experts_and_long_context.check_dropped_tokens: [dropped, lambda *a: tuple(dropped(*a))],
}
WRONG = {
    experts_and_long_context.check_dropped_tokens: {
        "kept": lambda c, cap: [i for i in range(len(c)) if c[:i].count(c[i]) < cap],
        "one more fits": lambda c, cap: dropped(c, cap + 1),
        "the later ones first": lambda c, cap: sorted(
            len(c) - 1 - i for i in dropped(c[::-1], cap)
        ),
        "a count": lambda c, cap: len(dropped(c, cap)),
        "experts": lambda c, cap: [c[i] for i in dropped(c, cap)],
        "one capacity for all": lambda c, cap: list(range(cap * len(set(c)), len(c))),
    },
}
