"""Reuse of a trained network: frozen, fine-tuned, adapted, and kept from forgetting.

A pretrained text encoder lives in `modelscale.transfer.encoder`, optional.
"""

from ..models import train_flops
from .lora import LoRA, add_lora, merge
from .prefix import features, join, split
from .protect import anchor, interpolate, mixed, release
from .stages import adapt, freeze, stages, trainable_params
from .worth import labels_worth

__all__ = [
    "LoRA",
    "adapt",
    "add_lora",
    "anchor",
    "features",
    "freeze",
    "interpolate",
    "join",
    "labels_worth",
    "merge",
    "mixed",
    "release",
    "split",
    "stages",
    "train_flops",
    "trainable_params",
]
