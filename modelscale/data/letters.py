"""Images of characters: letters drawn from matplotlib's fonts, and real handwritten digits.

A letter is a glyph, turned, sheared, sized, moved, bent and covered with noise: any number of
images of any characters, bright on dark as the digits are. Legend: n images, K classes, F fonts.
"""

from pathlib import Path

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_digits
from torch import Tensor

from .. import check
from .base import Dataset, chunks, stream

# 26 capitals, and the 11 small letters that do not look like their capital. No digit among them,
# though an O looks like a 0 and an I like a 1.
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"
FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic"),
    *("cmr10", "cmb10", "cmss10", "cmtt10", "cmti10"),
)
CANVAS, FONT_SIZE = 64, 64  # pixels of the drawing a sample is taken from, and of the type in it
TURN, SHEAR, SHIFT = 0.35, 0.35, 0.16  # at most: radians, slope, half-widths of the image
SIZES = (0.8, 1.4)  # at least and at most, across and down
BEND = 0.1  # half-widths of the image: typical size of the elastic shift
GRAIN = 0.08  # noise of single pixels, whose range is 0..1
STRETCH, PUSH = (0.8, 1.25), 0.2  # of moved digits: as SIZES and SHIFT are of letters


def letters(
    n_train: int = 24_000,
    n_test: int = 4000,
    seed: int = 0,
    size: int = 16,
    chars: str = LETTERS,
) -> Dataset:
    """A Dataset of drawn characters, a class for each of `chars`, in that order.

    The test set depends on the seed alone, and a larger training set begins with the smaller one.
    Nothing is read but the fonts that matplotlib brings along; those that lack one of `chars` are
    left out.

    Shapes: x (n, 1, size, size), y (n,)
    Units: x has about mean 0 and standard deviation 1, by constants that no data set enters.
    Raises: ValueError for an argument out of its bounds, or for characters that cannot be drawn.
    Taught in: 05_transfer_learning
    """
    n_train, n_test = check.integer("n_train", n_train), check.integer("n_test", n_test)
    check.integer("seed", seed, 0)
    size = check.integer("size", size, 8, CANVAS)
    glyphs = _glyphs(_checked(chars), size)
    sample, _ = _draw(glyphs, 1000, 0, "calibrate")
    parts = []
    for n, name in ((n_train, "train"), (n_test, "test")):
        x, y = _draw(glyphs, n, seed, name)
        parts += [x.sub_(sample.mean()).div_(sample.std()), y]
    return Dataset(*parts, n_classes=len(chars), name="letters")


def digits(n_test: int = 597, seed: int = 0, size: int = 8, moved: bool = False) -> Dataset:
    """A Dataset of 1,797 real handwritten digits, shuffled and split by `seed`.

    At another `size` than 8 the images are resized bilinearly: 16 is that of the letters. With
    `moved`, the middle of the frame tells nothing any more: each image is turned, leaned, stretched
    and shifted by chance, as the letters are, on a page as dark as before.

    Shapes: x (n, 1, size, size), y (n,)
    Units: x has mean 0 and standard deviation 1 over the training set.
    Raises: ValueError for an argument out of its bounds.
    Source: Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI 1998, as it comes
    with scikit-learn.
    Taught in: 05_transfer_learning
    """
    images, labels = load_digits(return_X_y=True)
    n_test = check.integer("n_test", n_test, 1, len(labels) - 10, "keep some to train on")
    check.integer("seed", seed, 0)
    check.one_of("moved", moved, (True, False))
    size = check.integer("size", size, 8, CANVAS)
    order = stream(seed, "train").permutation(len(labels))
    x = torch.from_numpy(images[order]).float().view(-1, 1, 8, 8)
    x = F.interpolate(x, (size, size), mode="bilinear", align_corners=False)
    y = torch.from_numpy(labels[order]).long()
    x = (x - x[n_test:].mean()) / x[n_test:].std()
    parts = [x[n_test:], x[:n_test]]
    if moved:
        parts = [_moved(part, 2 * seed + i) for i, part in enumerate(parts)]
    name = "moved digits" if moved else "digits"
    return Dataset(parts[0], y[n_test:], parts[1], y[:n_test], n_classes=10, name=name)


def _draw(glyphs: Tensor, n: int, seed: int, name: str) -> tuple[Tensor, Tensor]:
    """n images and their labels, (n, 1, H, H) with values about 0..1 and (n,)."""
    size = glyphs.shape[-1] // 2
    x = torch.empty(n, 1, size, size)
    y = torch.empty(n, dtype=torch.int64)
    for rows, labels, rng in chunks(n, len(glyphs), seed, name):
        count = rows.stop - rows.start
        y[rows] = torch.from_numpy(labels[:count])
        x[rows] = _jittered(glyphs, labels, size, rng)[:count]
    return x, y


def _jittered(glyphs: Tensor, labels: np.ndarray, size: int, rng: np.random.Generator) -> Tensor:
    """An image for each label: a glyph of a random font on a bent grid, with noise."""
    n = len(labels)
    font = rng.integers(glyphs.shape[1], size=n)
    grid = F.affine_grid(_affine(n, rng), [n, 1, size, size], align_corners=False)
    bend = torch.from_numpy(rng.standard_normal((n, 2, 4, 4), dtype=np.float32)) * BEND
    bend = F.interpolate(bend, (size, size), mode="bicubic", align_corners=True)
    images = glyphs[labels, font][:, None]
    images = F.grid_sample(images, grid + bend.permute(0, 2, 3, 1), align_corners=False)
    noise = torch.from_numpy(rng.standard_normal(images.shape, dtype=np.float32))
    return (images + GRAIN * noise).clamp_(0, 1)


def _affine(n: int, rng: np.random.Generator) -> Tensor:
    """Random maps from a sample's coordinates to a glyph's, (n, 2, 3)."""
    turn, shear = rng.uniform(-TURN, TURN, n), rng.uniform(-SHEAR, SHEAR, n)
    across, down = 1 / rng.uniform(*SIZES, (2, n))
    right, up = rng.uniform(-SHIFT, SHIFT, (2, n))
    cos, sin = np.cos(turn), np.sin(turn)
    rows = [[across * cos, across * (shear - sin), right], [down * sin, down * cos, up]]
    return torch.from_numpy(np.array(rows).transpose(2, 0, 1).astype(np.float32))


def _moved(images: Tensor, seed: int) -> Tensor:
    """Each image somewhere else on its page, turned, leaned and stretched: (n, 1, H, H)."""
    rng = torch.Generator().manual_seed(seed)

    def between(low, high):
        return low + (high - low) * torch.rand(len(images), generator=rng)

    turn, lean = between(-TURN, TURN), between(-SHEAR, SHEAR)
    across, down = between(*STRETCH), between(*STRETCH)
    right, below = between(-PUSH, PUSH), between(-PUSH, PUSH)
    cos, sin = turn.cos(), turn.sin()
    rows = [across * cos, across * (lean - sin), right, down * sin, down * cos, below]
    maps = torch.stack(rows, 1).view(-1, 2, 3)  # from the new image to the old
    dark = images.min()
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(images - dark, grid, align_corners=False) + dark


def _glyphs(chars: str, size: int) -> Tensor:
    """Every character in every font that has them all, (K, F, 2 size, 2 size) in 0..1.

    Twice the size of a sample: enough detail to be turned, not so much that pixels are skipped.
    Half of the F are sharp, half as soft as the handwritten digits of scikit-learn are.
    """
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    paths = [folder / f"{font}.ttf" for font in FONTS]
    paths = [path for path in paths if _has_all(path, chars)]
    if not paths:
        raise ValueError(f"chars={chars!r}: no font of matplotlib has them all. Leave some out.")
    fonts = [ImageFont.truetype(str(path), FONT_SIZE) for path in paths]
    bank = np.stack([[_bitmap(char, font) for font in fonts] for char in chars])
    if blank := [char for char, drawn in zip(chars, bank, strict=True) if not drawn.any()]:
        raise ValueError(f"chars={chars!r}: {blank} leave the page blank. Leave them out.")
    bank = torch.from_numpy(bank).float() / 255
    sharp = F.interpolate(bank, (2 * size, 2 * size), mode="bilinear", antialias=True)
    soft = F.interpolate(bank, (size // 2 + 2,) * 2, mode="bilinear", antialias=True)
    soft = F.interpolate(soft, sharp.shape[2:], mode="bilinear")
    return torch.cat([sharp, soft / soft.amax((2, 3), keepdim=True)], dim=1)


def _bitmap(char: str, font: ImageFont.FreeTypeFont) -> np.ndarray:
    """A character in the middle of the canvas, (64, 64)."""
    image = Image.new("L", (CANVAS, CANVAS))
    pen = ImageDraw.Draw(image)
    left, top, right, bottom = pen.textbbox((0, 0), char, font=font)
    pen.text(((CANVAS - left - right) / 2, (CANVAS - top - bottom) / 2), char, 255, font=font)
    return np.asarray(image)


def _has_all(path: Path, chars: str) -> bool:
    font = FT2Font(str(path))
    return all(font.get_char_index(ord(char)) for char in chars)


def _checked(chars: str) -> str:
    seen = isinstance(chars, str) and chars.isprintable() and " " not in chars
    if not seen or len(chars) < 2 or len(set(chars)) < len(chars):
        raise ValueError(
            f"chars={chars!r}: it must be a string of at least 2 different visible characters, "
            "as '0123456789'."
        )
    return chars
