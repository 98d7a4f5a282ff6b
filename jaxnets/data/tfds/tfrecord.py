"""TFRecord files by position, without TensorFlow: what TFDS writes by default."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxnets.data.dataset import DataError


class TfRecords:
    """Examples in TFRecord files, found by position: what TFDS writes by default.

    The file is a sequence of records: 8 bytes of length, 4 of checksum, the content, 4
    of checksum (https://www.tensorflow.org/tutorials/load_data/tfrecord). The lengths
    must tile every file exactly; the checksums of the content are not computed.

    Args:
        paths: The files of a split.
        lengths: How many records each of them must have.
        parse: From a record's bytes to the example.

    Raises:
        DataError: If a file does not hold what it should.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        lengths: Sequence[int],
        parse: Callable[[bytes], Any],
    ) -> None:
        self._parse = parse
        self._records: list[tuple[np.ndarray, int, int]] = []
        for path, length in zip(paths, lengths, strict=True):
            data = np.memmap(path, np.uint8, "r")
            at, found = 0, 0
            while at + 16 <= len(data):
                size = int.from_bytes(data[at : at + 8].tobytes(), "little")
                if at + 16 + size > len(data):
                    break
                self._records.append((data, at + 12, at + 12 + size))
                at, found = at + 16 + size, found + 1
            if at != len(data) or found != length:
                raise DataError(
                    f"{path} is damaged: {found} whole records instead of {length}, "
                    f"{at} of {len(data)} bytes. Prepare the data set again"
                )

    def __len__(self) -> int:
        """How many examples there are."""
        return len(self._records)

    def __getitems__(self, keys: Sequence[int], /) -> Sequence[Any]:
        """The examples at these positions."""
        records = (self._records[key] for key in keys)
        return [self._parse(data[low:high].tobytes()) for data, low, high in records]
