"""What `fit` can do and `fit_many` cannot: refused rather than ignored."""

from .. import check
from .loop import prepare


def ready(models, data, recipe):
    """Nothing: prepares the network that serves all members, where one can serve them all.

    Raises: ValueError for what `fit_many` would leave out, and for members whose adapters differ.
    """
    for name, plain in (("precision", "float32"), ("compile", False)):
        check.one_of(name, getattr(recipe, name), (plain,), "train each network with fit")
    n_expert = getattr(models[0].shape, "n_expert", 1)
    check.integer("n_expert", n_expert, high=1, remedy="train each mixture with fit")
    if not hasattr(data, "y_train"):
        raise ValueError(f"data={data!r}: it must be a data.Dataset. Train on a text with fit.")
    scales = [_scales(model) for model in models]
    if any(own != scales[0] for own in scales):
        raise ValueError(
            "models scale their adapters differently: alpha / rank must be the same in all. Call"
            " fit_many once for each alpha."
        )
    prepare(models[0], recipe)


def _scales(model):
    """The numbers beside its parameters that a network computes with: of LoRA, of attention."""
    return [part.scale for part in model.modules() if hasattr(part, "scale")]
