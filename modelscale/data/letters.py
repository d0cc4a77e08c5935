"""Images of characters: letters drawn from matplotlib's fonts, and real handwritten digits.

A letter is a glyph, turned, sheared, sized, moved, bent and covered with noise: any number of
images, bright on dark as the digits are. Legend: n images, K classes, F fonts.
"""

from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_digits
from torch import Tensor

from .. import check
from .base import Dataset, drawn, stream

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
SIZE = 16  # pixels of a letter's side
CANVAS = 64  # pixels of the drawing a sample is taken from, and of the type in it
TURN, SHEAR, SHIFT = 0.35, 0.35, 0.16  # at most: radians, slope, half-widths of the image
SIZES = (0.8, 1.4)  # at least and at most, across and down
BEND = 0.1  # half-widths of the image: typical size of the elastic shift
GRAIN = 0.08  # noise of single pixels, whose range is 0..1
N_TEST = 597  # digits
STRETCH, PUSH = (0.8, 1.25), 0.2  # of moved digits: as SIZES and SHIFT are of letters


def letters(n_train: int = 24_000, n_test: int = 4000, seed: int = 0) -> Dataset:
    """A Dataset of drawn characters, a class for each of `LETTERS`, in that order.

    The test set depends on the seed alone, and a larger training set begins with the smaller one.
    Nothing is read but the fonts that matplotlib brings along.

    Shapes: x (n, 1, 16, 16), y (n,)
    Units: x has about mean 0 and standard deviation 1, by constants that no data set enters.
    """
    n_train, n_test = check.integer("n_train", n_train), check.integer("n_test", n_test)
    glyphs = _glyphs()

    def draw(n, seed, name):
        parts = drawn(n, len(glyphs), seed, name, partial(_jittered, glyphs))
        return map(torch.from_numpy, parts)

    scale, _ = draw(1000, 0, "calibrate")
    parts = []
    for n, name in ((n_train, "train"), (n_test, "test")):
        x, y = draw(n, seed, name)
        parts += [x.sub_(scale.mean()).div_(scale.std()), y]
    return Dataset(*parts, n_classes=len(LETTERS), name="letters")


def digits(seed: int = 0, size: int = 8, moved: bool = False) -> Dataset:
    """A Dataset of 1,797 real handwritten digits, shuffled and split by `seed`, 597 for the test.

    At another `size` than 8 the images are resized bilinearly: 16 is that of the letters. With
    `moved`, the middle of the frame tells nothing any more: each image is turned, leaned, stretched
    and shifted by chance, as the letters are, on a page as dark as before.

    Shapes: x (n, 1, size, size), y (n,)
    Units: x has mean 0 and standard deviation 1 over the training set.
    Source: Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI 1998, as it comes
    with scikit-learn.
    """
    images, labels = load_digits(return_X_y=True)
    size = check.integer("size", size, 8, CANVAS)
    order = stream(seed, "train").permutation(len(labels))
    x = torch.from_numpy(images[order]).float().view(-1, 1, 8, 8)
    x = F.interpolate(x, (size, size), mode="bilinear", align_corners=False)
    x = (x - x[N_TEST:].mean()) / x[N_TEST:].std()
    test, train = x[:N_TEST], x[N_TEST:]
    if moved:
        train, test = _moved(train, 2 * seed), _moved(test, 2 * seed + 1)
    y = torch.from_numpy(labels[order]).long()
    name = "moved digits" if moved else "digits"
    return Dataset(train, y[N_TEST:], test, y[:N_TEST], n_classes=10, name=name)


def _jittered(glyphs: Tensor, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An image for each label: a glyph of a random font on a bent grid, with noise."""
    n = len(labels)
    font = rng.integers(glyphs.shape[1], size=n)
    turn, shear = rng.uniform(-TURN, TURN, n), rng.uniform(-SHEAR, SHEAR, n)
    across, down = 1 / rng.uniform(*SIZES, (2, n))
    right, below = rng.uniform(-SHIFT, SHIFT, (2, n))
    maps = _maps(*map(torch.from_numpy, (turn, shear, across, down, right, below)))
    grid = F.affine_grid(maps, [n, 1, SIZE, SIZE], align_corners=False)
    bend = torch.from_numpy(rng.standard_normal((n, 2, 4, 4), dtype=np.float32)) * BEND
    bend = F.interpolate(bend, (SIZE, SIZE), mode="bicubic", align_corners=True)
    images = glyphs[labels, font][:, None]
    images = F.grid_sample(images, grid + bend.permute(0, 2, 3, 1), align_corners=False)
    noise = torch.from_numpy(rng.standard_normal(images.shape, dtype=np.float32))
    return (images + GRAIN * noise).clamp_(0, 1).numpy()


def _moved(images: Tensor, seed: int) -> Tensor:
    """Each image somewhere else on its page, turned, leaned and stretched: (n, 1, H, H)."""
    rng = torch.Generator().manual_seed(seed)

    def between(low, high):
        return low + (high - low) * torch.rand(len(images), generator=rng)

    turn, lean = between(-TURN, TURN), between(-SHEAR, SHEAR)
    across, down = between(*STRETCH), between(*STRETCH)
    maps = _maps(turn, lean, across, down, between(-PUSH, PUSH), between(-PUSH, PUSH))
    dark = images.min()
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(images - dark, grid, align_corners=False) + dark


def _maps(turn, lean, across, down, right, below) -> Tensor:
    """Maps from the coordinates of a new image to those of the old one, (n, 2, 3)."""
    cos, sin = turn.cos(), turn.sin()
    rows = [across * cos, across * (lean - sin), right, down * sin, down * cos, below]
    return torch.stack(rows, 1).view(-1, 2, 3).float()


def _glyphs() -> Tensor:
    """Every character in every font, (K, F, 32, 32) in 0..1.

    Twice the size of a sample: enough detail to be turned, not so much that pixels are skipped.
    Half of the F are sharp, half as soft as the handwritten digits of scikit-learn are.
    """
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    fonts = [ImageFont.truetype(str(folder / f"{font}.ttf"), CANVAS) for font in FONTS]
    bank = np.stack([[_bitmap(char, font) for font in fonts] for char in LETTERS])
    bank = torch.from_numpy(bank).float() / 255
    sharp = F.interpolate(bank, (2 * SIZE, 2 * SIZE), mode="bilinear", antialias=True)
    soft = F.interpolate(bank, (SIZE // 2 + 2,) * 2, mode="bilinear", antialias=True)
    soft = F.interpolate(soft, sharp.shape[2:], mode="bilinear")
    return torch.cat([sharp, soft / soft.amax((2, 3), keepdim=True)], dim=1)


def _bitmap(char: str, font: ImageFont.FreeTypeFont) -> np.ndarray:
    """A character in the middle of the canvas."""
    image = Image.new("L", (CANVAS, CANVAS))
    pen = ImageDraw.Draw(image)
    left, top, right, bottom = pen.textbbox((0, 0), char, font=font)
    pen.text(((CANVAS - left - right) / 2, (CANVAS - top - bottom) / 2), char, 255, font=font)
    return np.asarray(image)
