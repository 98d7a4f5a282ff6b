"""Draws the pictures of the generated data sets that stand beside this file.

    uv run docs/contact_sheets.py

Nothing is chosen by hand: each sheet shows the first examples that fit its places.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxnets.data.dataset import Dataset, Split
from jaxnets.data.generated import dates, glyphs
from jaxnets.data.generated.draws import Draws
from jaxnets.data.shapes import dataset
from jaxnets.data.shapes.scenes import Scene, is_held_out

PAPER, INK, FAINT = (250, 248, 243), (38, 40, 46), (140, 138, 132)
NIGHT, WARM, COOL = (17, 19, 26), (255, 196, 122), (222, 232, 255)
RED = (206, 48, 40)


def main() -> None:
    """Writes the three sheets."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent)
    folder = parser.parse_args().folder
    for name, sheet in (
        ("glyphs", glyphs_sheet(glyphs.glyphs())),
        ("shapes", shapes_sheet(dataset.shapes())),
        ("dates", dates_sheet()),
    ):
        path = folder / f"{name}.png"
        sheet.save(path, optimize=True)
        print(f"{path}: {sheet.width}x{sheet.height}, {path.stat().st_size:,} bytes")


def font(size: float, name: str = "DejaVuSans") -> ImageFont.FreeTypeFont:
    """One of the fonts that matplotlib ships."""
    path = glyphs.font_folder() / f"{name}.ttf"
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def glyphs_sheet(data: Dataset) -> Image.Image:
    """A column a class; rows from the training fonts, then from the test fonts."""
    per_row, zoom, gap, left, top = 27, 2, 4, 96, 84
    cell = zoom * glyphs.SIDE + gap
    bands = -(-len(data.classes) // per_row)
    counts = {"train": 5, "test": 3}
    height = 34 + sum(counts.values()) * cell + 30
    sheet = Image.new("RGB", (left + per_row * cell + 32, top + bands * height), NIGHT)
    pen = ImageDraw.Draw(sheet)
    pen.text((32, 26), "glyphs", COOL, font(26, "DejaVuSans-Bold"))
    pen.text(
        (150, 34),
        f"{len(data.classes)} classes, 28 x 28: {len(data.train):,} + "
        f"{len(data.validation):,} images set in DejaVu and STIX, "
        f"{len(data.test):,} to test in Computer Modern",
        FAINT,
        font(16),
    )
    for band in range(bands):
        y = top + band * height
        for column, label in enumerate(
            range(band * per_row, min((band + 1) * per_row, len(data.classes)))
        ):
            x = left + column * cell
            middle = x + zoom * glyphs.SIDE // 2
            pen.text((middle, y + 16), data.classes[label], FAINT, font(15), "mm")
            row_y = y + 34
            for split, tint in (("train", COOL), ("test", WARM)):
                for image in _of_class(data.splits[split], label, counts[split]):
                    sheet.paste(_tinted(image, tint, zoom), (x, row_y))
                    row_y += cell
        y += 34
        for split, tint in (("train", COOL), ("test", WARM)):
            pen.text((32, y + zoom * glyphs.SIDE // 2), split, tint, font(16), "lm")
            y += counts[split] * cell
    return sheet.quantize(96, dither=Image.Dither.NONE)


def _of_class(split: Split, label: int, count: int) -> np.ndarray:
    rows = np.flatnonzero(np.asarray(split.columns["label"][:]) == label)[:count]
    return split.columns["image"][rows, :, :, 0]


def _tinted(image: np.ndarray, tint: tuple[int, ...], zoom: int) -> Image.Image:
    grey = image[..., None] / 255
    colours = grey * np.array(tint) + (1 - grey) * (np.array(NIGHT) + 9)
    small = Image.fromarray(np.round(colours).astype(np.uint8))
    return small.resize((zoom * image.shape[1], zoom * image.shape[0]), 0)


def shapes_sheet(data: Dataset) -> Image.Image:
    """Scenes with their boxes, segments and captions; a row of held-out pairs."""
    columns, side, gap, margin, top = 4, 256, 36, 40, 96
    chosen = _interesting(data.train, 2 * columns, held_out=False)
    chosen += _interesting(data.test, columns, held_out=True)
    height = side + 150
    width = 2 * margin + columns * side + (columns - 1) * gap
    sheet = Image.new("RGB", (width, top + 3 * height + 40), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((margin, 28), "shapes", INK, font(28, "DejaVuSerif-Bold"))
    pen.text(
        (margin + 140, 39),
        "64 x 64 colour images with boxes, segments, attributes, and five captions",
        FAINT,
        font(15),
    )
    for place, (split, index) in enumerate(chosen):
        row, column = divmod(place, columns)
        x, y = margin + column * (side + gap), top + row * height + 40 * (row == 2)
        _scene(sheet, split, index, (x, y), side)
    pairs = ", ".join(f"{colour} {form}" for colour, form in dataset.HELD_OUT)
    y = top + 2 * height
    pen.text((margin, y), "only in the test split:", RED, font(14, "DejaVuSans-Bold"))
    pen.text((margin + 182, y), pairs, FAINT, font(13))
    return sheet


def _interesting(
    split: Split, count: int, *, held_out: bool
) -> list[tuple[Split, int]]:
    """The first scenes, with every number of objects among them."""
    scenes = dataset.scenes_of(split)
    wanted = [2 + k % 3 for k in range(count)]
    chosen: list[int] = []
    for number in wanted:
        chosen.append(
            next(
                i
                for i, scene in enumerate(scenes)
                if i not in chosen
                and len(scene) == number
                and any(map(is_held_out, scene)) == held_out
            )
        )
    return [(split, i) for i in chosen]


def _scene(
    sheet: Image.Image, split: Split, index: int, corner: tuple[int, int], side: int
) -> None:
    one = split.take(np.array([index]))
    image = one.columns["image"][0]
    zoom = side // image.shape[0]
    large = Image.fromarray(image).resize((side, side), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(large)
    scene = dataset.scenes_of(one)[0]
    for thing, box in zip(scene, one.columns["boxes"][0], strict=False):
        y0, x0, y1, x1 = (int(v) * zoom for v in box)
        edge = RED if is_held_out(thing) else (255, 255, 255)
        pen.rectangle((x0 - 3, y0 - 3, x1 + 2, y1 + 2), outline=(0, 0, 0), width=3)
        wide = 3 if is_held_out(thing) else 1
        pen.rectangle((x0 - 2, y0 - 2, x1 + 1, y1 + 1), outline=edge, width=wide)
    sheet.paste(large, corner)
    small = _segments(one.columns["segments"][0], scene).resize((64, 64), 0)
    x, y = corner
    sheet.paste(small, (x + side - 64, y + side + 8))
    page = ImageDraw.Draw(sheet)
    y += side + 8
    top, shown = y, 0
    for caption in dataset.captions_of(one)[0]:
        beside = range(y - top, y - top + 9 * 16, 16)  # the small picture is 64 high
        lines = _wrapped(caption, [side - 76 if at < 66 else side for at in beside])
        if y + 16 * len(lines) > top + 126 or shown == 3:
            continue
        for line in lines:
            page.text((x, y), line, INK if shown % 2 == 0 else FAINT, font(12))
            y += 16
        y += 4
        shown += 1


def _wrapped(text: str, widths: list[int]) -> list[str]:
    """The text in lines that are not wider than these, in pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font(12).getlength(longer) > widths[len(lines) - 1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _segments(segments: np.ndarray, scene: Scene) -> Image.Image:
    tones = np.array(
        [(226, 223, 214), *[(70 + 40 * k,) * 3 for k in range(len(scene))]]
    )
    return Image.fromarray(tones[segments].astype(np.uint8))


def dates_sheet() -> Image.Image:
    """Written dates on cards, each stamped with what it means."""
    columns, rows, width, height = 4, 6, 300, 118
    faces = (
        "cmr10",
        "STIXGeneralItalic",
        "DejaVuSansMono",
        "cmti10",
        "DejaVuSerif",
        "cmtt10",
        "STIXGeneral",
        "DejaVuSans",
    )
    sheet = Image.new(
        "RGB", (columns * width + 60, rows * height + 100), (228, 222, 208)
    )
    pen = ImageDraw.Draw(sheet)
    pen.text((40, 26), "dates", INK, font(28, "DejaVuSerif-Bold"))
    pen.text(
        (142, 38),
        "as people write them, and in ISO 8601: each text has one meaning only",
        (120, 114, 100),
        font(15),
    )
    draws = Draws("dates sheet")
    for k, (text, day) in enumerate(dates.examples("train", columns * rows)):
        row, column = divmod(k, columns)
        card = Image.new("RGBA", (width - 24, height - 30), (255, 253, 247, 255))
        page = ImageDraw.Draw(card)
        face = faces[draws.below(len(faces))]
        size = 21.0
        while page.textlength(text, font(size, face)) > card.width - 28:
            size -= 0.5
        page.text((14, 26), text, INK, font(size, face), "lm")
        stamp = font(20, "DejaVuSansMono-Bold")
        page.text((card.width - 14, 64), day.isoformat(), RED, stamp, "rm")
        tilt = draws.uniform(-2.2, 2.2)
        turned = card.rotate(tilt, Image.Resampling.BICUBIC, expand=True)
        shadow = Image.new("RGBA", turned.size, (90, 80, 60, 0))
        shadow.putalpha(turned.getchannel("A").point([a // 4 for a in range(256)]))
        x = 30 + column * width + 12 + draws.below(9) - 4
        y = 84 + row * height + draws.below(9) - 4
        sheet.paste(shadow, (x + 3, y + 4), shadow)
        sheet.paste(turned, (x, y), turned)
    return sheet.quantize(64, dither=Image.Dither.NONE)


if __name__ == "__main__":
    main()
