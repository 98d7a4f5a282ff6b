"""Images with sentences about them, as batches: an image and one sentence an example.

Which of an image's sentences an example has follows from (seed, step) alone. Images may
be replaced by features that were computed once and lie on the disk.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, UInt8

from jaxnets.data.dataset import DataError, Dataset, Feature, Split
from jaxnets.data.feeds.base import Feed, filled_batches, ordered
from jaxnets.data.feeds.named_captions import Captions, CaptionTexts, Encode
from jaxnets.data.feeds.splits import fed
from jaxnets.data.files.images import decode
from jaxnets.data.files.problems import FileError, left_out, noted
from jaxnets.data.pictures import ImageSpec
from jaxnets.data.store.cache import cache_folder
from jaxnets.data.store.decoded import decoded
from jaxnets.data.store.entries import Notes, Store
from jaxnets.data.text import Vocabulary, vocabulary
from jaxnets.ops.augment import Transform, chain, normalize
from jaxnets.ops.decoding import END, PAD, UNKNOWN
from jaxnets.types import CaptionBatch, Key

SHAPES_LONGEST = 22  # tokens of a caption of `shapes` that are learned
_SHARE = 95  # percent of a file's captions that are learned whole by default


class CaptionFeeds(NamedTuple):
    """The feeds of captioned images."""

    captions: Captions
    vocabulary: Vocabulary
    train: Feed
    validation: Feed
    test: Feed
    fixed: Transform | None  # what is done to every image
    longest: int  # tokens of a caption that are learned

    @property
    def kept(self) -> dict[str, Any]:
        """What a network means nothing without: the metadata of a `Plan`.

        With it, `kept_feeds` describes images where the training data is gone.
        """
        data = self.captions.dataset
        return {
            "vocabulary": list(self.vocabulary.tokens),
            "longest": self.longest,
            "mean": list(data.mean),
            "std": list(data.std),
        }

    def written(self, tokens: Int[np.ndarray, "n t"]) -> list[str]:
        """The sentences that a network wrote."""
        return [self.vocabulary.decode(row) for row in tokens]

    def words(self, tokens: Int[np.ndarray, " t"]) -> list[str]:
        """The tokens of one written sentence, each of which has its own attention.

        Never split the sentence instead: `<unk>` is one token, and three marks of text.
        """
        written = takewhile(lambda token: token not in (PAD, END), map(int, tokens))
        return [self.vocabulary.tokens[token] for token in written]

    def pixels(self, content: bytes) -> UInt8[np.ndarray, "h w c"]:
        """A picture from somewhere else, brought to the size of the others.

        Raises:
            DataError: If it is no whole, sound image.
        """
        height, width = self.captions.pictures.train.columns["image"][:1].shape[1:3]
        try:
            return decode(content, ImageSpec(size=(height, width))).pixels
        except FileError as error:
            raise DataError(f"the picture {error}") from error

    def one(self, content: bytes) -> Feed:
        """The same as a batch, to be predicted.

        Raises:
            DataError: If it is no whole, sound image.
        """
        image = self.pixels(content)[None]
        if self.captions.encode is not None:
            image = np.asarray(self.captions.encode(image))
        caption = np.zeros((1, *self.train.prepared.caption.shape[1:]), np.int32)
        split = Split({"image": image, "caption": caption})
        return ordered(split, CaptionBatch, batch_size=1, transform=self.fixed)


def caption_feeds(
    captions: Captions,
    *,
    longest: int | None,
    batch_size: int,
    seed: int,
    minimum: int = 1,
    each: int = 1,
    wordy: bool = False,
) -> CaptionFeeds:
    """Checked, normalised images with their sentences.

    In training `each` of the image's sentences, drawn anew every time it comes round,
    or the longest of them; in evaluation the first. What these rules leave out of a
    file's captions is counted in a line; `shapes` is made for them.

    Args:
        captions: What there is.
        longest: Tokens of a sentence, `<start>` and `<end>` included. Of longer ones
            the first are learned, without an `<end>`. None: 22 for `shapes`, and for
            others the 95th percentile of the training captions.
        batch_size: Of training; evaluation takes 256 at a time, or fewer.
        seed: Of the order, and of which sentence.
        minimum: A word that is there less often is `<unk>`.
        each: Sentences of an image in a batch; where there are fewer, some come twice.
        wordy: Whether these are the longest ones, which say most.

    Raises:
        DataError: If anything is wrong with the data; see `checked`.
    """
    texts, generated = captions.texts, captions.pictures.name == "shapes"
    words = vocabulary((t for row in texts["train"] for t in row), minimum=minimum)
    if longest is None:
        longest = SHAPES_LONGEST if generated else _usual_length(captions, words)
    if not generated:
        _say_what_is_left_out(
            captions, words, longest, minimum, each if wordy else None
        )
    order = {"batch_size": batch_size, "seed": seed, "each": each, "wordy": wordy}
    return _fed(captions, words, longest, **order)


def kept_feeds(
    kept: Mapping[str, Any],
    side: int,
    batches: int,
    with_encoder: Callable[[Captions], Captions],
) -> CaptionFeeds | None:
    """Feeds that stand in for the training data: to describe other images.

    Args:
        kept: What a checkpoint holds of `CaptionFeeds.kept`.
        side: Pixels along each edge of the images.
        batches: In one pass over the training data.
        with_encoder: Puts features in the place of images, if the network takes them.

    Returns:
        Feeds of one black image a split; None if the checkpoint is of a version that
        did not keep enough.

    Raises:
        VocabularyError: If what was kept is no vocabulary.
    """
    if not {"vocabulary", "longest", "mean", "std"} <= kept.keys():
        return None
    black = np.zeros((1, side, side, 3), np.uint8)
    names = ("train", "validation", "test")
    data = Dataset(
        "kept",
        {"image": Feature(black.shape[1:], "uint8", 0, 255)},
        *(Split({"image": black}, [name]) for name in names),
        mean=tuple(kept["mean"]),
        std=tuple(kept["std"]),
    )
    texts: dict[str, CaptionTexts] = {name: [("",)] for name in names}
    words = Vocabulary(tuple(kept["vocabulary"]), "word")
    source = with_encoder(Captions(data, texts, data))
    made = _fed(source, words, kept["longest"], batch_size=1, seed=0)
    return made._replace(train=dataclasses.replace(made.train, length=batches))


def _fed(
    captions: Captions,
    words: Vocabulary,
    longest: int,
    *,
    batch_size: int,
    seed: int,
    each: int = 1,
    wordy: bool = False,
) -> CaptionFeeds:
    """The feeds of `caption_feeds`, once vocabulary and length are known."""
    data, texts = captions.dataset, captions.texts
    most = max(len(row) for rows in texts.values() for row in rows)
    shape = (most, longest)
    tokens = Feature(shape, "int32", 0, len(words) - 1, words.tokens)
    splits = {
        name: Split(
            {
                "image": split.columns["image"],
                "caption": _coded(texts[name], words, shape),
            },
            split.ids,
        )
        for name, split in data.splits.items()
    }
    features = {"image": data.features["image"], "caption": tokens}
    plain = dataclasses.replace(data, features=features, **splits)
    fixed = normalize(data.mean, data.std) if data.mean else None
    after = [fixed] if fixed else []
    train, validation, test = fed(
        plain,
        CaptionBatch,
        batch_size=batch_size,
        seed=seed,
        transform=chain(some_captions(each, wordy=wordy), *after),
        fixed=chain(first_caption, *after),
    )
    return CaptionFeeds(captions, words, train, validation, test, fixed, longest)


def _usual_length(captions: Captions, words: Vocabulary) -> int:
    """Tokens of a caption at the 95th percentile of the training captions."""
    lengths = [len(words.encode(t)) for row in captions.texts["train"] for t in row]
    usual = int(np.percentile(lengths, _SHARE, method="higher"))
    noted(
        captions.dataset.name,
        f"captions are learned up to {usual} tokens, the {_SHARE}th percentile; "
        "--longest changes it",
    )
    return usual


def _say_what_is_left_out(
    captions: Captions,
    words: Vocabulary,
    longest: int,
    minimum: int,
    each: int | None,
) -> None:
    """Counts what the rules leave out of the captions, a line for each rule.

    Args:
        captions: What there is.
        words: The vocabulary.
        longest: Tokens of a caption that are learned.
        minimum: A word that is there less often is `<unk>`.
        each: The longest captions of an image that are learned; None: any.
    """
    name = captions.dataset.name
    coded = {
        split: [[words.encode(text) for text in row] for row in rows]
        for split, rows in captions.texts.items()
    }
    rows = coded["train"]
    every = [caption for row in rows for caption in row]
    lengths = [len(caption) for caption in every]
    cut = sum(length > longest for length in lengths)
    left_out(
        name,
        cut,
        len(every),
        f"training captions have more than {longest} tokens: their ends are cut",
        f"--longest {max(lengths)} cuts none",
    )
    unknown, total = _unknown(every)
    left_out(
        name,
        unknown,
        total,
        f"words of the training captions are there less than {minimum} times: <unk>",
        "--minimum 1 learns all",
    )
    if each is not None:
        never = sum(_never_learned(row, longest, each) for row in rows)
        left_out(
            name,
            never,
            len(every),
            f"training captions are not among the longest {each} of their image",
            "--no-wordy learns all",
        )
    for split in ("validation", "test"):
        unknown, total = _unknown([text for row in coded[split] for text in row])
        left_out(
            name,
            unknown,
            total,
            f"words of the {split} captions are in no training caption: <unk>",
            "more training captions know more" if minimum == 1 else "--minimum 1",
        )


def _unknown(coded: Sequence[Sequence[int]]) -> tuple[int, int]:
    """How many words are `<unk>`, of how many."""
    unknown = sum(row.count(UNKNOWN) for row in coded)
    return unknown, sum(len(row) - 2 for row in coded)


def _never_learned(row: Sequence[Sequence[int]], longest: int, each: int) -> int:
    """How many captions of an image are shorter than the longest ones."""
    lengths = sorted((min(len(caption), longest) for caption in row), reverse=True)
    return sum(length < lengths[each - 1] for length in lengths[each:])


def some_captions(each: int, *, wordy: bool = False) -> Transform:
    """Draws `each` of the captions `[b, k, t]` of every image: any, or the longest.

    Args:
        each: How many; the batch's captions are `[b, each, t]` then. A caption comes
            again only where all of the image's have come.
        wordy: Take those of the most tokens, and draw among equally long ones only.
    """

    def transform(key: Key, batch: CaptionBatch) -> CaptionBatch:
        here = batch.caption[:, :, 0] != PAD
        turn = jax.random.uniform(key, here.shape)
        if wordy:
            turn = turn - jnp.sum(batch.caption != PAD, axis=-1)
        order = jnp.argsort(jnp.where(here, turn, 2.0))
        turns = jnp.arange(each)[None, :] % jnp.maximum(here.sum(1), 1)[:, None]
        chosen = jnp.take_along_axis(order, turns, axis=1, mode="clip")
        caption = jnp.take_along_axis(
            batch.caption, chosen[:, :, None], axis=1, mode="fill", fill_value=PAD
        )
        return batch._replace(caption=caption)

    return transform


def first_caption(key: Key, batch: CaptionBatch) -> CaptionBatch:
    """The first caption of each image."""
    del key
    return batch._replace(caption=batch.caption[:, 0])


def with_features(
    captions: Captions,
    encode: Encode,
    identity: Mapping[str, Any],
    *,
    batch_size: int = 64,
) -> Captions:
    """The same, with what a fixed network makes of each image in its place.

    Computed once and kept on the disk; where it is large it is read from there batch by
    batch.

    Args:
        captions: With images.
        encode: From bytes to features; compiled here.
        identity: What the features depend on besides the images: the network, its
            weights' digest, the layer.
        batch_size: Images at a time.
    """
    data = captions.dataset
    compiled = jax.jit(encode)
    source = {"features": dict(identity), "images": data.digest}

    def fill(store: Store) -> Notes:
        for name, split in data.splits.items():
            images = split.columns["image"]
            some = images[np.arange(min(batch_size, len(images)))]
            shape = jax.eval_shape(compiled, some).shape[1:]
            with store.column(name, (len(images), *shape), "<f4") as append:
                for index, count in filled_batches(len(images), batch_size):
                    made = np.asarray(compiled(images[index]), np.float32)
                    append(made[:count])
        return {}

    beside, name = cache_folder() / "features", f"features of {data.name}"
    found = decoded(beside, source, fill, name=name).columns
    shape = found["train"][np.arange(1)].shape[1:]
    splits = {
        name: Split({"image": found[name]}, split.ids)
        for name, split in data.splits.items()
    }
    features = {"image": Feature(shape, "float32")}
    changed = dataclasses.replace(data, features=features, mean=(), std=(), **splits)
    return captions._replace(dataset=changed, encode=compiled)


def _coded(
    texts: CaptionTexts, words: Vocabulary, shape: tuple[int, int]
) -> np.ndarray:
    made = np.full((len(texts), *shape), PAD, np.int32)
    encode = functools.lru_cache(maxsize=None)(words.encode)
    for i, row in enumerate(texts):
        for k, text in enumerate(row):
            numbers = encode(text)[: shape[1]]
            made[i, k, : len(numbers)] = numbers
    return made
