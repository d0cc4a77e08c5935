"""What the tests of explorers share: all values of a control, a place, what every move shows."""


def values_of(control):
    """The values that a control of an explorer can take."""
    options = getattr(control, "values", None) or control.options
    return [option[1] if isinstance(option, tuple) else option for option in options]


def put(explorer, place):
    """`explorer`, with its controls at the values of `place`."""
    for name, value in place.items():
        explorer.controls[name].value = value
    return explorer


def assert_every_value_counts(explorer, name):
    """Nothing: every value of a control has its own words and picture, the words stand as
    alternative text and in the line below, and no value gives an error.
    """
    texts, pictures = [], []
    for value in values_of(explorer.controls[name]):
        explorer.controls[name].value = value
        assert explorer.error.value == ""
        texts.append(explorer.text)
        pictures.append(explorer.picture.png)
        assert explorer.image.value.count(explorer.text) == 2
    assert len(set(texts)) == len(set(pictures)) == len(texts) > 1


def assert_no_move_redraws_axes(explorer):
    """Nothing: the first value of every control changes lines and marks, and no axes."""
    before = explorer.picture.full_draws
    for control in explorer.controls.values():
        control.value = values_of(control)[0]
    assert explorer.picture.full_draws == before
