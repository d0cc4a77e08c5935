"""Explorers, choices and live curves do their work without a browser.

The picture and its words follow the controls, errors of callbacks are shown and go away, stored
outputs hold a PNG and the same text each time, and training ends in every way it can end.
"""

import base64
import io
import signal
import threading

import ipywidgets
import numpy as np
import pytest
from PIL import Image

from modelscale.course import Explorer, Live, choice

X = np.linspace(0, 1, 5)


def setup(figure):
    ax = figure.subplots()
    return {"line": ax.plot(X, X)[0], "title": ax.set_title("slope")}


def update(art, slope):
    if slope == 13:
        raise ArithmeticError("<no such slope>")
    art["line"].set_ydata(slope * X)
    art["title"].set_text(f"slope {slope}")


def describe(slope):
    return f"The line ends at {slope}."


@pytest.fixture
def explorer():
    """A line whose slope is a slider."""
    slider = ipywidgets.IntSlider(1, min=1, max=20, description="slope")
    return Explorer(setup, update, describe, slope=slider)


def saved_picture(widget):
    """The PNG and the text that a saved notebook would hold."""
    bundle = widget._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    image = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    return image.convert("RGB"), bundle["text/plain"]


def test_the_picture_and_its_words_follow_the_slider(explorer):
    before = explorer.image.value
    explorer.controls["slope"].value = 5
    assert explorer.picture.art["title"].get_text() == "slope 5"
    assert explorer.picture.art["line"].get_ydata()[-1] == 5
    assert explorer.text == "The line ends at 5."
    assert explorer.image.value.count("The line ends at 5.") == 2  # alt text, and the line below
    assert explorer.image.value.split("src=")[1] != before.split("src=")[1]


def test_what_moves_needs_no_full_drawing_and_what_changes_gets_one(explorer):
    assert explorer.picture.full_draws == 1
    explorer.controls["slope"].value = 5
    assert explorer.picture.full_draws == 1
    explorer.picture.figure.axes[0].set_ylim(0, 20)
    explorer.controls["slope"].value = 6
    assert explorer.picture.full_draws == 2


def test_a_move_draws_what_a_full_drawing_would(explorer):
    """Nothing of the picture before shines through, and nothing that moves is missing."""
    explorer.controls["slope"].value = 5
    explorer.controls["slope"].value = 2
    moved = explorer.picture.png
    explorer.picture.figure.stale = True
    explorer.picture.draw()
    assert explorer.picture.png == moved


def test_an_error_in_a_callback_is_shown_and_clears(explorer, capfd):
    explorer.controls["slope"].value = 13
    assert "ArithmeticError: &lt;no such slope&gt;" in explorer.error.value
    assert 'role="alert"' in explorer.error.value
    assert explorer.text == "The line ends at 1."
    explorer.controls["slope"].value = 4
    assert explorer.error.value == ""
    assert explorer.text == "The line ends at 4."
    assert capfd.readouterr() == ("", "")


def test_an_error_in_the_first_drawing_is_raised():
    with pytest.raises(ArithmeticError):
        Explorer(setup, update, describe, slope=ipywidgets.IntSlider(13))


def test_a_saved_explorer_holds_its_picture_and_constant_words(explorer):
    image, text = saved_picture(explorer)
    assert image.size == (720, 450)
    assert image.getpixel((0, 0)) == (255, 255, 255)
    explorer.controls["slope"].value = 5
    assert saved_picture(explorer)[1] == text


def test_moves_that_arrive_while_drawing_collapse_to_the_latest():
    """Two more while the first is drawn, from another thread: one more drawing, of the last."""
    drawn, entered, go_on = [], threading.Event(), threading.Event()

    def slow(art, slope):
        drawn.append(slope)
        if slope == 2:
            entered.set()
            assert go_on.wait(10)

    slider = ipywidgets.IntSlider(1, min=1, max=20)
    explorer = Explorer(setup, slow, describe, slope=slider)
    first = threading.Thread(target=setattr, args=(slider, "value", 2))
    first.start()
    assert entered.wait(10)
    slider.value = 3
    slider.value = 4
    go_on.set()
    first.join(10)
    assert drawn == [1, 2, 4]
    assert explorer.text == "The line ends at 4."


def test_a_choice_is_one_control_of_an_explorer():
    """Slider, list and value move together; the list carries the name."""
    width = choice("width", [4, 16, 512], 16, unit="units", format="{:04d}".format)
    explorer = Explorer(setup, update, describe, slope=width)
    assert explorer.text == "The line ends at 16."
    width.slider.index = 2  # as a user does
    assert (width.value, explorer.text) == (512, "The line ends at 512.")
    width.value = 4
    assert (width.slider.value, width.menu.value, explorer.text) == (4, 4, "The line ends at 4.")
    assert width.menu.description == "width (units)"
    assert width.menu._options_labels == width.slider._options_labels == ("0004", "0016", "0512")


def test_a_choice_names_the_values_it_allows():
    width = choice("width", [4, 16], 16)
    with pytest.raises(ValueError, match="width=5: it must be one of 4, 16"):
        width.value = 5
    assert width.value == width.slider.value == 16
    with pytest.raises(ValueError, match="width=5: it must be one of 4, 16"):
        choice("width", [4, 16], 5)


def test_a_run_finishes_with_its_curve(capfd):
    live = Live(20, loss="log", accuracy="linear")
    for step in live.steps():
        live.log(loss=1 / (step + 1), test_loss=2 / (step + 1), accuracy=step / 20, seconds=1.0)
    assert live.status == "finished"
    assert set(live.history) == {"loss", "test_loss", "accuracy"}  # no panel, no line
    assert live.history["loss"][0] == list(range(1, 21))
    assert live.history["test_loss"][1][-1] == pytest.approx(0.1)
    assert "finished at step 20 of 20" in live.image.value.split("src=")[0]  # the alt text
    assert "loss 0.05, test_loss 0.1, accuracy 0.95" in live.message.value
    assert live.bar.value == 20
    assert live.button.disabled
    assert capfd.readouterr() == ("", "")


def test_a_saved_run_holds_its_picture_and_constant_words():
    live = Live(3, title="Pretraining")
    first, before = saved_picture(live)
    for step in live.steps():
        live.log(loss=3.0 - step)
    last, after = saved_picture(live)
    assert before == after == "Pretraining: loss against the step."
    assert first.size == last.size == (720, 450)
    assert first.tobytes() != last.tobytes()


def test_labels_stay_in_the_picture_as_the_numbers_beside_them_grow():
    """A label that is cut off would not be whole within the figure."""
    live = Live(3, loss="log", accuracy="linear")
    for loss, _ in zip([1.0, 0.3, 0.0001], live.steps(), strict=False):
        live.log(loss=loss, accuracy=1 - loss)
    figure = live._curves.picture.figure
    assert [ax.get_ylabel() for ax in figure.axes] == ["loss", "accuracy"]
    assert all(ax.yaxis.label.get_window_extent().x0 >= 0 for ax in figure.axes)


def test_stop_ends_a_run_at_the_next_step():
    live = Live(100)
    for step in live.steps():
        live.log(loss=1.0)
        if step == 2:
            live.button.click()
    assert (step, live.status) == (2, "stopped")
    assert "stopped at step 3 of 100" in live.message.value


def test_an_interrupt_is_like_stop_and_a_second_one_is_not():
    """No traceback; afterwards the interrupt works as before."""
    before = signal.getsignal(signal.SIGINT)
    live = Live(100)
    for step in live.steps():
        signal.raise_signal(signal.SIGINT)
        assert step == 0
        assert signal.getsignal(signal.SIGINT) is before
    assert live.status == "stopped"
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("way", ["steps", "with"])
def test_a_failure_in_the_loop_is_raised_and_shown(way):
    """The curve so far stays, and the interrupt button is given back."""
    before, live = signal.getsignal(signal.SIGINT), Live(100)
    with pytest.raises(ZeroDivisionError):
        if way == "steps":
            for _ in live.steps():
                live.log(loss=1.0)
                live.log(loss=1 / 0)
        else:
            with live:
                live(1, {"loss": 1.0})
                live(2, {"loss": 1 / 0})
    assert live.status == "ended early"
    assert live.history["loss"][1] == [1.0]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_as_the_callback_of_another_loop():
    """It is asked after each record, and says when to stop."""
    live = Live(100)
    with live:
        assert live(10, {"step": 10, "loss": 2.0}) is False
        live.button.click()
        assert live(20, {"step": 20, "loss": 1.0}) is True
    assert live.status == "stopped"
    assert live.history == {"loss": ([10, 20], [2.0, 1.0])}


def test_a_run_can_be_run_again():
    """As when its cell is: the curve starts anew, and Stop is pressed no longer."""
    live = Live(5)
    for _ in range(2):
        for _ in live.steps():
            live.log(loss=1.0)
        assert (live.status, len(live.history["loss"][0])) == ("finished", 5)
        live.button.click()
        assert not [step for step in live.steps() if live.button.click()][1:]


def test_a_run_that_diverges_still_has_a_picture():
    live = Live(4)
    for loss in zip(live.steps(), [1.0, float("inf"), float("nan"), -1.0], strict=True):
        live.log(loss=loss[1])
    assert live.status == "finished"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"total": 0}, "total=0: it must be a whole number of at least 1"),
        ({"total": 5, "loss": "cubic"}, "loss='cubic': it must be one of 'log', 'linear'"),
        ({"total": 5, "a": "log", "b": "log", "c": "log"}, "panels=3: .* at most 2"),
    ],
)
def test_a_run_wants_steps_and_one_or_two_panels(wrong, words):
    with pytest.raises(ValueError, match=words):
        Live(**wrong)


def test_metrics_of_no_panel_are_a_mistake():
    live = Live(5)
    with pytest.raises(ValueError, match=r"metrics=\['perplexity'\]: it must be 'loss' or end"):
        live.log(perplexity=3.0)


def test_a_loss_beyond_all_bounds_still_has_a_picture():
    live = Live(306)
    for step in live.steps():
        live.log(loss=10.0**step)
    assert live.status == "finished"


def test_a_run_begun_twice_gives_the_interrupt_back():
    before, live = signal.getsignal(signal.SIGINT), Live(3)
    try:
        with live, live:
            pass
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_finished_picture_begins_at_the_first_record():
    live = Live(600, loss="log", accuracy="linear")
    for step in live.steps():
        if step % 10 == 9:
            live.log(loss=1 / (step + 1), accuracy=step / 600)
    left, right = live._curves.picture.figure.axes
    assert left.get_xlim() == pytest.approx((10, 600)) and right.get_xlim() == (0, 600)
