"""One long text as batches: streams that are read side by side, chunk after chunk."""

import hashlib
import unicodedata
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, Integer

from jaxnets.data.dataset import DataError, Dataset, Split
from jaxnets.data.feeds.base import Feed, Fetched, ordered
from jaxnets.data.feeds.characters import CodedText, coded, is_long, stored
from jaxnets.data.files.problems import (
    DataWarning,
    FileError,
    left_out,
    noted,
    refuse_skipping,
    say_built_in,
)
from jaxnets.data.files.reading import given_path, is_path, line_feeds, read_text
from jaxnets.data.files.sentences import in_three, text_files
from jaxnets.data.generated.corpus import Corpus, corpus_text
from jaxnets.data.text import Vocabulary, characters, texts_of
from jaxnets.data.tfds.catalogue import FolderPath, refuse_ambiguity
from jaxnets.ops.decoding import PAD, SPECIAL, UNKNOWN
from jaxnets.types import StreamBatch

_BEGINNING = 64  # characters of the training text that are remembered


class TextFeeds(NamedTuple):
    """The feeds of a text's three parts, and what its integers mean."""

    vocabulary: Vocabulary
    train: Feed
    validation: Feed
    test: Feed
    beginning: str  # the first characters of the training text


def named_text(
    name: str, *, data_dir: FolderPath = None, skip_bad: bool = False
) -> Corpus | CodedText:
    """The text that goes by this name; never another in its place.

    Files of up to 1 MiB are strings; longer ones are integers in the store.

    Args:
        name: `corpus`; or the path of a text file, of which the first nine tenths are
            to train on, half of the rest to validate on, and the other half to test on;
            or that of a folder for `text_files`; or what TFDS calls a text
            (`tiny_shakespeare`).
        data_dir: Where prepared TFDS sets are.
        skip_bad: Leave bad files of a folder out, with a warning that counts them.

    Raises:
        DataError: If there is no such text, or nothing in a part of it, or there are no
            files to leave out.
    """
    in_folder = is_path(name) and given_path(name).is_dir()
    if name == "corpus" or not in_folder:
        refuse_skipping(name, skip_bad=skip_bad)
    if name == "corpus":
        say_built_in(name)
        return corpus_text()
    in_file = not in_folder and (name.endswith(".txt") or is_path(name))
    if in_file and _is_long_file(given_path(name)):
        return stored(given_path(name))
    if in_folder:
        refuse_ambiguity(name, data_dir)
        if is_long(given_path(name)):
            return stored(given_path(name), skip_bad=skip_bad)
    if in_file:
        parts = _in_three(given_path(name))
    else:
        splits = _paragraphs(name, data_dir, skip_bad=skip_bad).splits.values()
        parts = Corpus(*("\n\n".join(texts_of(split, "text")) for split in splits))
    if not all(parts):
        raise DataError(f"{name}: is too short: a part of the text is empty")
    return Corpus(*(unicodedata.normalize("NFC", part) for part in parts))


def _is_long_file(path: Path) -> bool:
    return path.is_file() and is_long(path)


def _in_three(path: Path) -> Corpus:
    """The text of a file: nine tenths, and two halves of the rest.

    Raises:
        DataError: If it cannot be read, or its lines end at a single carriage return.
    """
    try:
        text = line_feeds(read_text(path))
    except (FileError, OSError) as error:
        raise DataError(f"{path}: {error}") from None
    return Corpus(*in_three(text))


def _paragraphs(name: str, data_dir: FolderPath, *, skip_bad: bool) -> Dataset:
    if is_path(name):
        refuse_ambiguity(name, data_dir)
        return text_files(given_path(name), skip_bad=skip_bad)
    from jaxnets.data.tfds.sets import tfds_text

    return tfds_text(name, data_dir=data_dir)


def character_feeds(
    text: Corpus | CodedText,
    *,
    batch_size: int,
    steps: int,
    seed: int,
    context: int = 128,
) -> TextFeeds:
    """Feeds of characters; the vocabulary is that of the training part alone.

    Args:
        text: To train, validate and test on.
        batch_size: Streams that are read side by side.
        steps: Characters of a chunk.
        seed: Decides where the streams of each epoch begin.
        context: Characters that an evaluation warms up on before those it counts.

    Raises:
        DataError: If the text is too short for one chunk a stream.
    """
    whole = text if isinstance(text, CodedText) else coded(text)
    held_out = {"validation": whole.validation, "test": whole.test}
    for name, part in held_out.items():
        rule = "characters that the training text does not have become <unk>"
        flag = "more training text has more of them"
        left_out(f"the {name} text", part.unknown, len(part.ids), rule, flag)
    train = streams(
        whole.train.ids,
        batch_size=batch_size,
        steps=steps,
        seed=seed,
        digest=whole.train.digest,
    )
    validation, test = (
        windows(part.ids, context=context, digest=part.digest)
        for part in held_out.values()
    )
    known = whole.vocabulary
    beginning = known.decode(whole.train.ids[:_BEGINNING])
    return TextFeeds(known, train, validation, test, beginning)


def streams(
    tokens: Integer[np.ndarray, " n"],
    *,
    batch_size: int,
    steps: int,
    seed: int,
    digest: str | None = None,
) -> Feed:
    """Chunks for ever: row i of batch k + 1 goes on where row i of batch k ended.

    An epoch cuts the text into `batch_size` streams of equal length, from an offset
    drawn for (seed, epoch), so that cuts fall elsewhere every time; the first batch of
    an epoch is `fresh`. Less than two chunks a stream are left out of an epoch. A batch
    depends on (seed, step) alone.

    Args:
        tokens: The text. A memory map is read on the host, batch by batch; any other
            array lives on the device.
        batch_size: How many streams.
        steps: Tokens of a chunk.
        seed: Of the offsets.
        digest: SHA-256 of the tokens as int32; None: it is computed.

    Raises:
        DataError: If the text is too short for one chunk a stream.
    """
    span = batch_size * steps
    length = (len(tokens) - 1 - steps) // span if span > 0 else 0
    if length < 1:
        raise DataError(
            f"{batch_size} streams of chunks of {steps} do not fit into a text of "
            f"{len(tokens):,} tokens: use a smaller --batch-size or --steps"
        )
    slack = len(tokens) - 1 - length * span
    mapped = isinstance(tokens, np.memmap)

    def fetch(step: int) -> Fetched:
        epoch, chunk = divmod(step, length)
        words = np.array([seed % 2**64, epoch], np.uint64)
        offset = int(np.random.Philox(key=words).random_raw() % (slack + 1))
        first = offset + chunk * steps + length * steps * np.arange(batch_size)
        if mapped:  # positions of a long text may not fit into an int32
            rows = _read(tokens, first, steps + 1)
            index = np.arange(batch_size, dtype=np.int32)
            return Fetched(index, np.int32(step), {"text": rows})
        return Fetched(first.astype(np.int32), np.int32(step), {})

    def prepare(columns: Mapping[str, Any], fetched: Fetched) -> StreamBatch:
        if mapped:
            rows = jnp.asarray(fetched.rows["text"])
        else:
            places = fetched.positions[:, None] + jnp.arange(steps + 1)[None, :]
            text = jnp.asarray(columns["text"])
            rows = text.at[places].get(mode="fill", fill_value=PAD)
        begins = jnp.broadcast_to(fetched.step % length == 0, rows.shape[:1])
        return StreamBatch(rows[:, :-1], rows[:, 1:], begins, jnp.ones_like(begins))

    identity = {
        "kind": "streams",
        "digest": digest or _digest(tokens),
        "batch_size": batch_size,
        "steps": steps,
        "seed": seed,
    }
    examples = length * batch_size
    columns = {} if mapped else {"text": tokens.astype(np.int32)}
    return Feed(batch_size, length, examples, columns, fetch, prepare, identity)


def windows(
    tokens: Integer[np.ndarray, " n"],
    *,
    context: int,
    span: int = 512,
    batch_size: int = 32,
    digest: str | None = None,
) -> Feed:
    """One pass that predicts every token but the first exactly once.

    Each row predicts `span` tokens, after it has read `context` more in front of them,
    whose own targets are `<pad>`. So rows stand alone, at the price that a network sees
    no further back than `context` at its first prediction, `context + span` at its
    last.

    Args:
        tokens: The text. A memory map is read on the host, batch by batch; any other
            array lives on the device.
        context: Tokens to warm up on; fewer at the beginning of the text.
        span: Predictions in a row.
        batch_size: Rows of a batch.
        digest: SHA-256 of the tokens as int32; None: it is computed.

    Raises:
        DataError: If the text has no second token.
    """
    count = -(-(len(tokens) - 1) // span)
    if count < 1:
        raise DataError(f"a text of {len(tokens)} tokens has nothing to predict")
    width, end = context + span, len(tokens)
    mapped = isinstance(tokens, np.memmap)

    def fetch(step: int) -> Fetched:
        row = np.arange(step * batch_size, (step + 1) * batch_size)
        first = np.where(row < count, row * span, end)
        if mapped:  # positions of a long text may not fit into an int32
            rows = _read(tokens, first - context, width + 1)
            token, target = rows[:, :-1].copy(), rows[:, 1:]
            target[:, :context] = PAD
            # A last token without a target has no step either.
            token[first[:, None] + np.arange(1 - context, span + 1) >= end] = PAD
            index = np.where(row < count, row, -1).astype(np.int32)
            return Fetched(index, np.int32(step), {"token": token, "target": target})
        return Fetched(first.astype(np.int32), np.int32(step), {})

    def prepare(columns: Mapping[str, Any], fetched: Fetched) -> StreamBatch:
        if mapped:
            token, target = (jnp.asarray(fetched.rows[n]) for n in ("token", "target"))
            mask = fetched.positions >= 0
            return StreamBatch(token, target, jnp.ones_like(mask), mask)
        text = jnp.asarray(columns["text"])
        places = fetched.positions[:, None] + jnp.arange(-context, span + 1)[None, :]
        places = jnp.where(places < 0, end, places)  # -1 would be the last token
        rows = text.at[places].get(mode="fill", fill_value=PAD)
        token, target = rows[:, :-1], rows[:, 1:]
        target = jnp.where(jnp.arange(width)[None, :] < context, PAD, target)
        # A last token without a target has no step either.
        token = jnp.where(places[:, 1:] < end, token, PAD)
        mask = fetched.positions < end
        return StreamBatch(token, target, jnp.ones_like(mask), mask)

    identity = {
        "kind": "windows",
        "digest": digest or _digest(tokens),
        "context": context,
        "span": span,
    }
    columns = {} if mapped else {"text": tokens.astype(np.int32)}
    length = -(-count // batch_size)
    return Feed(batch_size, length, count, columns, fetch, prepare, identity)


def chosen_prompt(data: TextFeeds, asked: str | None, usual: str = "The ") -> str:
    """Returns what samples continue: what was asked for, or what suits the text.

    Args:
        data: The feeds of the text.
        asked: The value of `--prompt`; None takes `usual`, or the first characters of
            the training text if that does not have all of `usual`. This is said.
        usual: Beginning of an English text.
    """
    if asked is not None:
        return asked
    if set(usual) <= set(data.vocabulary.tokens):
        return usual
    first = data.beginning[: len(usual)]
    noted(
        "--prompt",
        f"{first!r}, the beginning of the training text, which does not have all "
        f"characters of {usual!r}",
    )
    return first


def prompts(known: Vocabulary, text: str, *, rows: int) -> Feed:
    """The same beginning `rows` times, for samples to continue.

    Warns of characters that the training text did not have: the network reads `<unk>`
    in their place.

    Raises:
        DataError: If there is no text, or none of its characters is known.
    """
    if not text or rows < 1:
        raise DataError(
            f"--prompt is {text!r} and --samples {rows}: give one character or more, "
            "and one sample or more"
        )
    code = np.array(known.encode(text, ends=False), np.int32)
    strange = sorted(set(characters(text)).difference(known.tokens))
    if (code == UNKNOWN).all():
        raise DataError(
            f"the prompt {text!r} has unknown characters only: the training text never "
            f"has them; use some of {''.join(known.tokens[len(SPECIAL) :][:60])!r}"
        )
    if strange:
        warnings.warn(
            f"the prompt {text!r}: the training text does not have "
            f"{', '.join(map(repr, strange))}, so the network reads <unk> there",
            DataWarning,
            stacklevel=2,
        )
    token = np.tile(code, (rows, 1))
    columns = {
        "token": token,
        "target": np.full_like(token, PAD),
        "fresh": np.ones(rows, bool),
    }
    return ordered(Split(columns), StreamBatch, batch_size=rows)


def _read(
    tokens: Integer[np.ndarray, " n"], first: Int[np.ndarray, " b"], width: int
) -> Int[np.ndarray, "b width"]:
    """Tokens from these positions on, int32; `<pad>` outside of the text."""
    places = first[:, None] + np.arange(width)
    inside = (places >= 0) & (places < len(tokens))
    rows = np.asarray(tokens[np.where(inside, places, 0)], np.int32)
    rows[~inside] = PAD
    return rows


def _digest(tokens: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(tokens, np.int32).data).hexdigest()
