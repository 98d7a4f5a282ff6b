"""Batches as a function of the step: shuffled for training, in order for evaluation.

Which examples a batch holds depends on (seed, epoch, step, batch size) and on nothing
else: no worker, thread, shard or generator state is involved, so that a resumed run
sees what the undisturbed one would have seen.

A feed splits the work in two. `fetch` runs on the host and says what step t needs: for
a data set that lives on the device that is a row of positions, a few hundred bytes.
`prepare` is traced into the compiled step: it gathers the rows, turns bytes into
numbers, and augments.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree, UInt8

from jaxnets.data.dataset import DataError, Split
from jaxnets.ops.augment import Transform


class Fetched(NamedTuple):
    """What the host sends for one step."""

    positions: Any  # int32 [b]: where each row stands in the split; -1 is padding
    step: Any  # int32 scalar
    rows: Mapping[str, np.ndarray]  # columns that do not live on the device


@dataclasses.dataclass(frozen=True)
class Feed:
    """Batches as a function of the step.

    Attributes:
        batch_size: Rows of every batch.
        length: Batches in one pass; a training feed goes on for ever.
        examples: Examples in one pass.
        columns: What lives on the device; given to `prepare` in every step, so that it
            is an argument of the compiled program and not a constant inside it.
        fetch: Host: what step t needs.
        prepare: Traced: from the columns and what was fetched to the batch.
        identity: What decides the batches; stored with a run and compared on resume.
    """

    batch_size: int
    length: int
    examples: int
    columns: Mapping[str, Any]
    fetch: Callable[[int], Fetched]
    prepare: Callable[[PyTree, PyTree], Any]
    identity: Mapping[str, Any]

    def __call__(self, step: int) -> Any:
        """Batch `step`, on the device: for notebooks, tests and a look at the data."""
        return jax.jit(self.prepare)(self.columns, self.fetch(step))

    @property
    def prepared(self) -> Any:
        """The shapes and types of a batch; nothing is computed."""
        return jax.eval_shape(self.prepare, dict(self.columns), self.fetch(0))

    def __iter__(self) -> Iterator[Any]:
        """One pass."""
        return (self(step) for step in range(self.length))


def shuffled(
    split: Split,
    batch_type: Callable[..., Any],
    *,
    batch_size: int,
    seed: int,
    transform: Transform | None = None,
) -> Feed:
    """Full batches for ever: every example once an epoch, in an order drawn for it.

    Epochs follow each other without a gap, so a batch may hold the end of one and the
    beginning of the next; none is ever partly filled.

    Args:
        split: Columns named as the fields of `batch_type`.
        batch_type: The `NamedTuple` to fill, `ImageBatch` say.
        batch_size: Rows of a batch.
        seed: Decides order and augmentation; not the network's initialisation.
        transform: `(key, batch) -> batch`, traced; the key follows from (seed, step).

    Raises:
        DataError: If the batch is larger than the split.
    """
    examples = len(split)
    if not 0 < batch_size <= examples:
        raise DataError(
            f"a batch of {batch_size} does not fit into {examples} training examples: "
            "use a smaller --batch-size"
        )

    def positions(step: int) -> np.ndarray:
        flat = np.arange(step * batch_size, (step + 1) * batch_size)
        epochs, places = np.divmod(flat, examples)
        chosen = [
            order(seed, int(e), examples)[places[epochs == e]]
            for e in np.unique(epochs)
        ]
        return np.concatenate(chosen)

    return _feed(split, batch_type, batch_size, positions, transform, seed, "shuffled")


def ordered(
    split: Split,
    batch_type: Callable[..., Any],
    *,
    batch_size: int,
    transform: Transform | None = None,
) -> Feed:
    """One pass in the split's own order; the last batch is padded and masked.

    Args:
        split: Columns named as the fields of `batch_type`.
        batch_type: The `NamedTuple` to fill.
        batch_size: Rows of a batch.
        transform: `(key, batch) -> batch`, traced: normalisation, say.

    Raises:
        DataError: If the split is empty, or the batch is.
    """
    examples = len(split)
    if batch_size < 1 or examples < 1:
        raise DataError(f"cannot make batches of {batch_size} from {examples} examples")

    def positions(step: int) -> np.ndarray:
        flat = np.arange(step * batch_size, (step + 1) * batch_size)
        return np.where(flat < examples, flat, -1)

    return _feed(split, batch_type, batch_size, positions, transform, 0, "ordered")


@functools.lru_cache(maxsize=4)
def order(seed: int, epoch: int, examples: int) -> np.ndarray:
    """The order of one epoch, a permutation of `range(examples)`.

    The ranks are the raw output of NumPy's Philox counter generator under the key
    (seed, epoch): unlike the methods of `Generator`, that output never changes between
    versions of NumPy.
    """
    words = np.array([seed % 2**64, epoch], np.uint64)
    ranks = np.random.Philox(key=words).random_raw(examples)
    return np.argsort(ranks, kind="stable")


def filled_batches(
    examples: int, batch_size: int
) -> Iterator[tuple[Int[np.ndarray, " b"], int]]:
    """Rows of each batch in order, and how many of them are new.

    The last batch is filled up with the last row, so that one program does for all.

    Args:
        examples: How many rows there are.
        batch_size: Of every batch.
    """
    for start in range(0, examples, batch_size):
        index = np.minimum(np.arange(start, start + batch_size), examples - 1)
        yield index, min(batch_size, examples - start)


def _feed(
    split: Split,
    batch_type: Callable[..., Any],
    batch_size: int,
    positions: Callable[[int], np.ndarray],
    transform: Transform | None,
    seed: int,
    kind: str,
) -> Feed:
    for name, column in split.columns.items():
        if getattr(column, "dtype", np.dtype(np.uint8)).kind in "OUS":
            raise DataError(f"column {name} holds text: turn it into numbers first")
    resident = {n: c for n, c in split.columns.items() if isinstance(c, np.ndarray)}
    streamed = {n: c for n, c in split.columns.items() if n not in resident}

    def fetch(step: int) -> Fetched:
        index = positions(step)
        real = np.maximum(index, 0)
        rows = {name: column[real] for name, column in streamed.items()}
        for column in rows.values():
            column[index < 0] = 0
        return Fetched(index.astype(np.int32), np.int32(step), rows)

    def prepare(columns: Mapping[str, Any], fetched: Fetched) -> Any:
        mask = fetched.positions >= 0
        # A negative index would count from the end: padding points past it instead.
        index = jnp.where(mask, fetched.positions, len(split))
        rows = {
            name: jnp.asarray(column).at[index].get(mode="fill", fill_value=0)
            for name, column in columns.items()
        }
        rows = {n: _numbers(value) for n, value in {**rows, **fetched.rows}.items()}
        batch = batch_type(**rows, mask=mask)
        if transform is None:
            return batch
        key = jax.random.fold_in(jax.random.key(seed), fetched.step)
        return transform(key, batch)

    identity = {
        "kind": kind,
        "digest": split.digest,
        "examples": len(split),
        "batch_size": batch_size,
        "seed": seed,
    }
    length = -(-len(split) // batch_size)
    return Feed(batch_size, length, len(split), resident, fetch, prepare, identity)


def _numbers(rows: Array | UInt8[Array, "..."]) -> Array:
    """Bytes become float32 in [0, 1]; integers become int32."""
    if rows.dtype == jnp.uint8:
        return rows.astype(jnp.float32) / 255
    return rows.astype(jnp.int32) if jnp.issubdtype(rows.dtype, jnp.integer) else rows
