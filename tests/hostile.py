"""A hundred inputs as users meet them: names, encodings, kinds of image, lists, flags.

Each is built below an empty folder and says what is right: `used`, with the number of
good examples that `check` must find, or `refused`, with a word of the reason. Inputs of
the same sort in other tests are not repeated here.
"""

import dataclasses
import io
import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

SMALL = ["--epochs", "1", "--reports", "1", "--batch-size", "8"]
COMMANDS = {
    "classify": ["--model", "mlp", *SMALL],
    "vae": ["--widths", "8", "--judged", "4", "--bound-samples", "2", *SMALL],
    "language": ["--features", "8", "--length", "4", "--samples", "1", *SMALL],
    "translate": ["--features", "8", "--embedding", "8", *SMALL],
    "sentiment": ["--model", "bag", *SMALL],
    "caption": ["--side", "16", "--features", "16", *SMALL],
}


@dataclasses.dataclass(frozen=True)
class Hostile:
    """One input.

    Attributes:
        name: What it is, in words.
        experiment: Which experiment meets it.
        build: Writes it below an empty folder; returns what `--data` takes.
        used: How many good examples there are; None where it is refused.
        refused: A word that the reason must hold.
        flags: More arguments of the experiment.
        check: The same for `check`; None where only the flags are hostile.
    """

    name: str
    experiment: str
    build: Callable[[Path], str]
    used: int | None
    refused: str
    flags: tuple[str, ...]
    check: tuple[str, ...] | None


ALL: list[Hostile] = []


def hostile(experiment, *, used=None, refused="", flags=(), check=()):
    """Registers the function as an input; its docstring is not needed, its name is."""

    def register(build):
        name = build.__name__.replace("_", " ").strip()
        ALL.append(Hostile(name, experiment, build, used, refused, flags, check))
        return build

    return register


# --------------------------------------------------------------------------- images


def pixels(seed, height=8, width=8):
    """Noise in colour."""
    shape = (height, width, 3)
    return np.random.default_rng(seed).integers(0, 255, shape, np.uint8)


def file_of(seed, kind="PNG", height=8, width=8, **options):
    """The bytes of a picture."""
    buffer = io.BytesIO()
    image = options.pop("image", None) or Image.fromarray(pixels(seed, height, width))
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tree(root, classes=("a", "b"), each=20, suffix=".png", **options):
    """Folders of classes, below `photos`; returns its name for `--data`."""
    for k, name in enumerate(classes):
        folder = root / "photos" / name
        folder.mkdir(parents=True)
        for i in range(each):
            content = file_of(100 * k + i, **options)
            (folder / f"{i}{suffix}").write_bytes(content)
    return "./photos"


def chunk(kind, body):
    """One chunk of a PNG."""
    code = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", code)


def with_chunk(png, kind, body):
    """A PNG with one more chunk behind its header."""
    return png[:33] + chunk(kind, body) + png[33:]


def with_segment(jpeg, marker, body):
    """A JPEG with one more segment at its beginning."""
    return jpeg[:2] + marker + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


@hostile("classify", used=40)
def names_in_upper_case(root):
    return tree(root, suffix=".JPG", kind="JPEG")


@hostile("classify", used=40)
def classes_called_train_and_bus(root):
    return tree(root, ("train", "bus"))


@hostile("classify", refused="split")
def splits_without_classes(root):
    return tree(root, ("train", "test", "val"))


@hostile("classify", used=40)
def hidden_files_of_a_mac(root):
    data = tree(root)
    for name in ("._0.png", ".DS_Store"):
        (root / "photos" / "a" / name).write_bytes(b"\0\5\x16\7Mac OS X\xb0")
    mac = root / "photos" / "__MACOSX" / "a"
    mac.mkdir(parents=True)
    (mac / "._1.png").write_bytes(b"\0\5\x16\7")
    return data


@hostile("classify", used=40)
def folders_that_a_notebook_leaves(root):
    data = tree(root)
    copies = root / "photos" / ".ipynb_checkpoints"
    copies.mkdir()
    (copies / "0-checkpoint.png").write_bytes(file_of(0))
    return data


@hostile("classify", used=40)
def files_that_windows_leaves(root):
    data = tree(root)
    for name in ("Thumbs.db", "desktop.ini"):
        (root / "photos" / "b" / name).write_bytes(b"\xd0\xcf\x11\xe0")
    return data


@hostile("classify", used=40)
def names_with_colons_and_backslashes(root):
    data = tree(root)
    folder = root / "photos" / "a"
    (folder / "0.png").rename(folder / "2024-01-02 10:11:12.png")
    (folder / "1.png").rename(folder / "C\\photos\\1.png")
    return data


@hostile("classify", used=40)
def names_that_are_not_utf8(root):
    data = tree(root)
    folder = os.fsencode(root / "photos" / "a")
    os.rename(folder + b"/0.png", folder + b"/caf\xe9.png")
    return data


@hostile("classify", used=40)
def a_class_that_is_not_utf8(root):
    data = tree(root)
    folder = os.fsencode(root / "photos")
    os.rename(folder + b"/a", folder + b"/caf\xe9")
    return data


@hostile("classify", used=40)
def classes_in_scripts_and_signs(root):
    return tree(root, ("\u732b \U0001f408", "$x^2_$ <b>&\"'"))


@hostile("classify", used=40)
def classes_that_command_a_terminal(root):
    return tree(root, ("\x1b[31mred\x1b[0m", "two\nlines"))


@hostile("classify", used=40)
def a_class_name_of_255_bytes(root):
    return tree(root, ("n" * 255, "b"))


@hostile("classify", used=40)
def a_folder_in_a_path_with_signs(root):
    inner = root / "a b [c] {d} %20 #e *?"
    inner.mkdir()
    tree(inner)
    return f"./{inner.name}/photos"


@hostile("classify", used=40)
def jpegs_with_broken_exif(root):
    data = tree(root, suffix=".jpg", kind="JPEG")
    for i, body in enumerate((b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif")):
        path = root / "photos" / "a" / f"{i}.jpg"
        path.write_bytes(with_segment(path.read_bytes(), b"\xff\xe1", body))
    return data


@hostile("classify", used=40)
def jpegs_with_a_long_comment(root):
    data = tree(root, suffix=".jpg", kind="JPEG")
    path = root / "photos" / "a" / "0.jpg"
    path.write_bytes(with_segment(path.read_bytes(), b"\xff\xfe", b"<b>" * 20_000))
    return data


@hostile("classify", used=40)
def jpegs_with_an_adobe_segment_and_four_inks(root):
    data = tree(root, suffix=".jpg", kind="JPEG")
    image = Image.fromarray(pixels(0)).convert("CMYK")
    (root / "photos" / "a" / "0.jpg").write_bytes(file_of(0, "JPEG", image=image))
    return data


@hostile("classify", used=40)
def pngs_with_text_and_a_broken_profile(root):
    data = tree(root)
    for i, (kind, body) in enumerate(
        ((b"iCCP", b"x\0\0junk"), (b"tEXt", b"\xff\0\xff"), (b"eXIf", b"II*\0"))
    ):
        path = root / "photos" / "a" / f"{i}.png"
        path.write_bytes(with_chunk(path.read_bytes(), kind, body))
    return data


@hostile("classify", used=40)
def a_palette_with_transparency(root):
    data = tree(root)
    image = Image.fromarray(pixels(0)).quantize(16)
    content = file_of(0, image=image, transparency=bytes(range(16)))
    (root / "photos" / "a" / "0.png").write_bytes(content)
    return data


@hostile("classify", used=40)
def grey_two_colours_and_alpha_among_colour(root):
    data = tree(root)
    for i, mode in enumerate(("L", "1", "RGBA", "LA", "P")):
        image = Image.fromarray(pixels(i)).convert("RGBA" if mode == "LA" else mode)
        image = image.convert(mode)
        (root / "photos" / "a" / f"{i}.png").write_bytes(file_of(0, image=image))
    return data


@hostile("classify", used=40)
def sixteen_bits_a_channel(root):
    data = tree(root)
    deep = (pixels(0)[..., 0].astype(np.uint16) * 257).astype(np.uint16)
    (root / "photos" / "a" / "0.png").write_bytes(
        file_of(0, image=Image.fromarray(deep))
    )
    return data


@hostile("classify", used=40)
def a_png_that_is_called_jpg(root):
    data = tree(root)
    folder = root / "photos" / "a"
    (folder / "0.png").rename(folder / "0.jpg")
    return data


@hostile("classify", refused="3 images")
def an_animation(root):
    data = tree(root)
    frames = [Image.fromarray(pixels(i)) for i in range(3)]
    content = file_of(
        0, "GIF", image=frames[0], save_all=True, append_images=frames[1:]
    )
    (root / "photos" / "a" / "x.gif").write_bytes(content)
    return data


@hostile("classify", refused="empty")
def a_file_of_no_bytes(root):
    data = tree(root)
    (root / "photos" / "a" / "0.png").write_bytes(b"")
    return data


@hostile("classify", refused="0.png")
def a_page_saved_as_a_picture(root):
    data = tree(root)
    (root / "photos" / "a" / "0.png").write_text("<!doctype html><p>404")
    return data


@hostile("classify", refused="0.jpg")
def a_photograph_cut_off_in_the_middle(root):
    data = tree(root, suffix=".jpg", kind="JPEG", height=64, width=64)
    path = root / "photos" / "a" / "0.jpg"
    path.write_bytes(path.read_bytes()[:900])
    return data


@hostile("classify", used=39, flags=("--skip-bad",), check=None)
def a_photograph_cut_off_that_may_be_skipped(root):
    data = tree(root, suffix=".jpg", kind="JPEG", height=64, width=64)
    path = root / "photos" / "a" / "0.jpg"
    path.write_bytes(path.read_bytes()[:900])
    return data


@hostile("classify", refused="0.png")
def a_picture_of_a_billion_pixels(root):
    data = tree(root)
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = (
        chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )
    (root / "photos" / "a" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return data


@hostile("classify", refused="--size")
def photographs_of_several_sizes(root):
    data = tree(root, each=10)
    for i in range(10):
        (root / "photos" / "a" / f"x{i}.png").write_bytes(file_of(i, height=9 + i))
    return data


@hostile("classify", used=40, flags=("--size", "12"), check=("--size", "12"))
def photographs_of_several_sizes_with_a_size(root):
    data = tree(root, each=10)
    for name in "ab":
        for i in range(10):
            path = root / "photos" / name / f"x{i}.png"
            path.write_bytes(file_of(i, height=9 + i, width=30))
    return data


@hostile("classify", used=40, flags=("--size", "6"), check=("--size", "6"))
def strips_of_one_pixel(root):
    data = tree(root)
    (root / "photos" / "a" / "0.png").write_bytes(file_of(0, height=1, width=50))
    (root / "photos" / "a" / "1.png").write_bytes(file_of(0, height=50, width=1))
    return data


@hostile("classify", used=40)
def pictures_of_one_colour(root):
    data = tree(root)
    for path in (root / "photos").glob("*/*.png"):
        path.write_bytes(file_of(0, image=Image.new("RGB", (8, 8), (7, 7, 7))))
    return data


@hostile("classify", used=40)
def pictures_without_blue(root):
    data = tree(root)
    for i, path in enumerate((root / "photos").glob("*/*.png")):
        flat = pixels(i)
        flat[..., 2] = 0
        path.write_bytes(file_of(0, image=Image.fromarray(flat)))
    return data


@hostile("vae", used=40)
def pictures_without_blue_for_a_vae(root):
    return pictures_without_blue(root)


@hostile("classify", refused="class")
def one_class_only(root):
    return tree(root, ("a",))


@hostile("classify", refused="another split")
def a_class_that_only_the_test_split_has(root):
    for split, classes in (("train", "ab"), ("test", "abc")):
        inner = root / "photos" / split
        inner.mkdir(parents=True)
        tree(inner, tuple(classes))
        for path in (inner / "photos").iterdir():
            path.rename(inner / path.name)
        (inner / "photos").rmdir()
    return "./photos"


@hostile("classify", refused="empty|no ")
def an_empty_folder(root):
    (root / "photos").mkdir()
    return "./photos"


@hostile("classify", refused="folder|exist")
def a_folder_that_is_not_there(root):
    return "./photos"


@hostile("classify", refused="class/name.png|folder")
def pictures_without_classes(root):
    (root / "photos").mkdir()
    for i in range(20):
        (root / "photos" / f"{i}.png").write_bytes(file_of(i))
    return "./photos"


@hostile("classify", refused="unpack|zip|folder")
def an_archive_in_place_of_a_folder(root):
    (root / "photos.zip").write_bytes(b"PK\3\4")
    return "./photos.zip"


@hostile("classify", refused="heic|HEIC")
def photographs_of_a_telephone(root):
    data = tree(root)
    (root / "photos" / "a" / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    return data


@hostile("classify", refused="link")
def a_link_that_leads_out(root):
    data = tree(root)
    (root / "secret.png").write_bytes(file_of(0))
    (root / "photos" / "a" / "x.png").symlink_to("../../secret.png")
    return data


@hostile("classify", refused="link|nowhere|read")
def links_in_a_circle(root):
    data = tree(root)
    (root / "photos" / "a" / "x.png").symlink_to("y.png")
    (root / "photos" / "a" / "y.png").symlink_to("x.png")
    return data


@hostile("classify", refused="regular")
def a_pipe_called_png(root):
    data = tree(root)
    os.mkfifo(root / "photos" / "a" / "x.png")
    return data


@hostile("classify", used=40)
def a_folder_given_without_a_slash(root):
    tree(root)
    return "photos"


@hostile("classify", used=40)
def a_folder_given_with_a_slash_at_the_end(root):
    return tree(root) + "/"


# --------------------------------------------------------------------- one long text


def text(root, content, name="text.txt"):
    """A file of bytes or UTF-8."""
    data = content.encode() if isinstance(content, str) else content
    (root / name).write_bytes(data)
    return f"./{name}"


SENTENCE = "the quick brown fox jumps over the lazy dog.\n"


@hostile("language", used=3)
def windows_line_ends_and_a_mark(root):
    return text(root, "\ufeff" + SENTENCE.replace("\n", "\r\n") * 100)


@hostile("language", used=3)
def separators_inside_lines(root):
    return text(root, (SENTENCE[:9] + "\u2028\x85\x0c\x1c" + SENTENCE[9:]) * 100)


@hostile("language", used=3)
def letters_with_marks_of_their_own(root):
    french, thai = "e\u0301te\u0301", "\u0e01\u0e33\u0e25\u0e31\u0e07"
    hindi = "\u0939\u093f\u0928\u094d\u0926\u0940"
    return text(root, f"{french} {thai} {hindi}\n" * 100)


@hostile("language", used=3)
def pictures_made_of_several_characters(root):
    return text(
        root,
        "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1eb\U0001f1f7 \u2764\ufe0f\n"
        * 100,
    )


@hostile("language", refused="UTF-8")
def latin_letters_of_one_byte(root):
    return text(root, "caf\xe9 au lait\n".encode("latin-1") * 100)


@hostile("language", refused="UTF-8|UTF-16")
def text_in_utf_16(root):
    return text(root, (SENTENCE * 100).encode("utf-16"))


@hostile("language", refused="NUL")
def zeros_in_a_text(root):
    return text(root, SENTENCE * 50 + "\0" + SENTENCE * 50)


@hostile("language", refused="empty")
def a_text_of_nothing(root):
    return text(root, "")


@hostile("language", refused="empty|short|blank|fit")
def a_text_of_spaces(root):
    return text(root, " \n" * 3)


@hostile("language", refused="short|fit|streams", check=None)
def a_text_shorter_than_a_chunk(root):
    return text(root, "abcdefgh")


@hostile("language", used=3)
def a_text_of_one_letter(root):
    return text(root, "a" * 4000)


@hostile("language", used=3)
def a_name_with_spaces_and_brackets(root):
    return text(root, SENTENCE * 100, "my book [1] (copy).txt")


@hostile(
    "language",
    refused="alphabet|unknown|never",
    flags=("--prompt", "\u043c\u0430"),
    check=None,
)
def a_prompt_in_another_alphabet(root):
    return text(root, SENTENCE * 100)


# ---------------------------------------------------------------------------- pairs


def pairs(root, rows, name="pairs.tsv", end="\n"):
    """Lines of fields."""
    return text(root, "".join("\t".join(row) + end for row in rows), name)


def numbered(count=120, source="go there {}", target="va la {}"):
    """Pairs that differ."""
    return [(source.format(i), target.format(i)) for i in range(count)]


@hostile("translate", used=120)
def pairs_with_windows_line_ends(root):
    return pairs(root, numbered(), end="\r\n")


@hostile("translate", used=120)
def pairs_with_a_note_as_third_field(root):
    return pairs(root, [(*row, "CC-BY 2.0") for row in numbered()])


@hostile("translate", used=121)
def a_line_separator_inside_a_sentence(root):
    return pairs(root, [*numbered(), ("wait.\u2028stop", "attends\x85arrete")])


@hostile("translate", used=120)
def pairs_in_chinese(root):
    digits = "\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03\u516b\u4e5d\u5341"
    signs = [
        (digits[i % 10], digits[i // 10 % 10], digits[i // 100]) for i in range(120)
    ]
    rows = [(f"{a}{b}\u4eba{c}\u5728\u8fd9\u91cc", f"people {a}") for a, b, c in signs]
    return pairs(root, rows)


@hostile("translate", used=120)
def pairs_in_arabic_and_hebrew(root):
    return pairs(
        root,
        numbered(
            source="\u0645\u064e\u0631\u062d\u0628\u0627 {}",
            target="\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd {}",
        ),
    )


@hostile("translate", refused="line 61")
def a_line_without_a_tab(root):
    rows = numbered()
    return pairs(root, [*rows[:60], ("no tab here",), *rows[60:]])


@hostile("translate", refused="line 61")
def a_pair_with_an_empty_side(root):
    rows = numbered()
    return pairs(root, [*rows[:60], ("something", " "), *rows[60:]])


@hostile("translate", refused="no |empty|example|pair")
def pairs_that_are_too_few(root):
    return pairs(root, numbered(2))


@hostile("translate", refused="UTF-8")
def pairs_of_one_byte(root):
    (root / "pairs.tsv").write_bytes("caf\xe9\tcoffee\n".encode("latin-1") * 50)
    return "./pairs.tsv"


@hostile("translate", refused="fold|file|exist")
def a_file_of_pairs_that_is_not_there(root):
    return "./nothing.tsv"


@hostile("translate", used=120)
def quotes_that_stay_open(root):
    return pairs(root, numbered(source='he said "go {}', target="il dit «va {}"))


@hostile("translate", used=120)
def words_that_mean_something_to_a_vocabulary(root):
    return pairs(root, numbered(source="<pad> <unk> {}", target="<start> <end> {}"))


# --------------------------------------------------------------------------- labels


def labelled(count=60):
    """Sentences with one of two labels."""
    return [
        (f"a {w} film {i}", k)
        for i in range(count)
        for w, k in (("good", "1"), ("bad", "0"))
    ]


LABELS = ("--kind", "labels")


@hostile("sentiment", used=120, check=LABELS)
def labels_with_windows_line_ends(root):
    return pairs(root, labelled(), end="\r\n")


@hostile("sentiment", used=120, check=LABELS)
def labels_below_a_header(root):
    return pairs(root, [("sentence", "label"), *labelled()])


@hostile("sentiment", used=240, check=LABELS)
def a_test_file_without_labels(root):
    (root / "glue").mkdir()
    for name in ("train.tsv", "dev.tsv"):
        pairs(root / "glue", [("sentence", "label"), *labelled()], name)
    rows = [("index", "sentence"), *((str(i), f"a film {i}") for i in range(40))]
    pairs(root / "glue", rows, "test.tsv")
    return "./glue"


@hostile("sentiment", refused="class|label", check=LABELS)
def columns_the_other_way_round(root):
    return pairs(root, [row[::-1] for row in labelled()])


@hostile("sentiment", refused="class|label", check=LABELS)
def a_label_that_is_misspelled_in_the_test_split(root):
    (root / "films").mkdir()
    pairs(root / "films", labelled(), "train.tsv")
    pairs(root / "films", [*labelled(10), ("fine", "postive")], "test.tsv")
    return "./films"


@hostile("sentiment", used=120, check=LABELS)
def reviews_with_marks_and_separators(root):
    rows = [(f"e\u0301te\u0301\u2028{a}", k) for a, k in labelled()]
    return pairs(root, rows)


@hostile("sentiment", refused="line 4", check=LABELS)
def a_review_without_a_label(root):
    rows = labelled()
    return pairs(root, [*rows[:3], ("a film",), *rows[3:]])


@hostile("sentiment", refused="class|label", check=LABELS)
def one_label_only(root):
    return pairs(root, [(a, "1") for a, _ in labelled()])


# ------------------------------------------------------------------------- captions


def captioned(root, folder="caps", images="images", count=30, kind="PNG"):
    """Pictures below a folder."""
    (root / folder / images).mkdir(parents=True)
    for i in range(count):
        path = root / folder / images / f"{i}.{kind.lower()}"
        path.write_bytes(file_of(i, kind, 16, 16))
    return root / folder


def listed(root, content, name="captions.csv", **options):
    """The same, with a list of captions as a file."""
    folder = captioned(root, **options)
    (folder / name).write_bytes(
        content.encode() if isinstance(content, str) else content
    )
    return "./caps"


def rows_of(count=30, form="{}.png,a red square {}\n"):
    return "".join(form.format(i, i % 5) for i in range(count))


@hostile("caption", used=30)
def captions_of_excel(root):
    return listed(
        root, "\ufeffImage,Caption\r\n" + rows_of(form="{}.png,a red square {}\r\n")
    )


@hostile("caption", used=30)
def captions_with_semicolons(root):
    return listed(root, "image;caption\n" + rows_of(form="{}.png;a red square {}\n"))


@hostile("caption", used=30)
def captions_as_kaggle_has_them(root):
    return listed(root, "image,caption\n" + rows_of(), "captions.txt", images="Images")


@hostile("caption", used=30)
def captions_as_flickr_has_them(root):
    return listed(
        root, rows_of(form="{}.png#0\ta red square {}\n"), "Flickr8k.token.txt"
    )


@hostile("caption", used=30)
def captions_in_lines_of_json(root):
    rows = [
        {"file_name": f"images/{i}.png", "text": f"a red square {i % 5}"}
        for i in range(30)
    ]
    return listed(
        root, "".join(json.dumps(row) + "\n" for row in rows), "metadata.jsonl"
    )


@hostile("caption", used=30)
def captions_with_dollars_and_braces(root):
    return listed(
        root,
        "image,caption\n" + rows_of(form="{}.png,it costs $5_{} and ${{6}}$ \\frac\n"),
    )


@hostile("caption", used=30)
def captions_with_line_breaks(root):
    return listed(root, "image,caption\n" + rows_of(form='{}.png,"a red\nsquare {}"\n'))


@hostile("caption", used=30)
def captions_beside_a_hidden_copy(root):
    data = listed(root, "image,caption\n" + rows_of())
    (root / "caps" / "._captions.csv").write_bytes(b"\0\5\x16\7\xb0")
    return data


@hostile("caption", refused="31.png")
def a_caption_of_a_missing_picture(root):
    return listed(root, "image,caption\n" + rows_of() + "31.png,a red square\n")


@hostile("caption", refused="--captions")
def two_lists_of_captions(root):
    data = listed(root, "image,caption\n" + rows_of())
    (root / "caps" / "more.csv").write_text("image,caption\n" + rows_of())
    return data


@hostile("caption", refused="header|caption")
def captions_without_a_header(root):
    return listed(root, rows_of())


@hostile("caption", refused="line 2|row|empty|text")
def an_empty_caption(root):
    return listed(root, "image,caption\n0.png, \n" + rows_of())


@hostile("caption", refused="JSON")
def captions_in_json_that_ends_early(root):
    return listed(root, '[{"image": "0.png", "caption": "a"', "captions.json")


# ---------------------------------------------------------------------------- flags


def flag(experiment, *words, refused=None):
    """Registers flags that are refused before any work."""
    name = f"{experiment} {' '.join(words)}"
    refused = words[0] if refused is None else refused
    ALL.append(Hostile(name, experiment, lambda root: "", None, refused, words, None))


flag("classify", "--average-decay", "1.0")
flag("classify", "--label-smoothing", "1.5")
flag("classify", "--dropout", "1.0")
flag("classify", "--learning-rate=-1", refused="--learning-rate")
flag("classify", "--learning-rate", "nan")
flag("classify", "--learning-rate", "inf")
flag("classify", "--seed=-1", refused="--seed")
flag("classify", "--seed", "4294967296")
flag("classify", "--data-seed", "99999999999999999999")
flag("classify", "--accumulate", "1000")
flag("classify", "--epochs", "0")
flag("classify", "--reports", "0")
flag("classify", "--keep", "0")
flag("classify", "--checkpoint-seconds", "nan")
flag("classify", "--momentum", "1", "--optimizer", "momentum")
flag("classify", "--optimizer", "newton", refused="newton|Hessian")
flag("classify", "--size", "0", "--data", "./photos")
flag("vae", "--widths", "0")
flag("vae", "--latent", "0")
flag("vae", "--beta=-1", refused="--beta")
flag("language", "--features", "0")
flag("language", "--temperature", "0", refused="temperature")
flag("translate", "--longest", "0")
flag("translate", "--sampling", "2")
flag("translate", "--beams", "0", refused="beams")
flag("sentiment", "--words", "0")
flag("sentiment", "--shown=-1", refused="--shown")
flag("caption", "--side", "0")
flag("caption", "--minimum", "0")
