"""Batches fetched ahead by threads, for columns that are read from the disk.

A feed's `fetch` is a function of the step, so a thread can call it early and nobody can
tell: the values are the same for any number of workers, in any order of access.
"""

import dataclasses
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from jaxnets.data.dataset import DataError
from jaxnets.data.feeds.base import Feed, Fetched


def prefetched(feed: Feed, *, ahead: int = 4, workers: int = 2) -> Feed:
    """The same batches, with the next ones fetched by threads while the device works.

    Worth it where a column is not in memory; a set that lives on the device is fetched
    in microseconds. The threads end when the feed is no longer used, or at once with
    `closed(feed)`.

    Args:
        feed: Whose `fetch` may be called from several threads.
        ahead: Steps kept ready or in work after the one that was asked for; each takes
            the memory of a batch.
        workers: Threads.

    Raises:
        DataError: From the new feed's `fetch`: naming the step, if the data of it is
            bad. Only the step that was asked for can raise, not one fetched ahead.
        RuntimeError: Likewise, if fetching it failed in another way.
        ValueError: If `ahead` or `workers` is less than 1.
    """
    if ahead < 1 or workers < 1:
        raise ValueError(f"ahead is {ahead}, workers {workers}: at least 1 of each")
    # A pass of evaluation ends, a training feed does not: nothing is read past the end.
    finite = feed.identity.get("kind") == "ordered"
    steps = feed.length if finite else None
    return dataclasses.replace(feed, fetch=_Ahead(feed.fetch, ahead, workers, steps))


def closed(feed: Feed) -> Feed:
    """The feed as it was before `prefetched`, once the threads of it have ended."""
    if not isinstance(feed.fetch, _Ahead):
        return feed
    feed.fetch.close()
    return dataclasses.replace(feed, fetch=feed.fetch.fetch)


class _Ahead:
    """Calls `fetch` for the steps that follow the one that was asked for."""

    def __init__(
        self,
        fetch: Callable[[int], Fetched],
        ahead: int,
        workers: int,
        steps: int | None,
    ) -> None:
        self.fetch = fetch
        self._ahead, self._steps = ahead, steps
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[Fetched]] = {}
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="prefetch")
        # The pool knows `fetch`, never this object: once dropped, it ends the threads.
        self._end = weakref.finalize(
            self, self._pool.shutdown, wait=False, cancel_futures=True
        )

    def __call__(self, step: int) -> Fetched:
        with self._lock:
            future = self._scheduled(step)
        try:
            return self.fetch(step) if future is None else future.result()
        except DataError as error:
            raise DataError(f"step {step}: {error}") from error
        except Exception as error:
            raise RuntimeError(
                f"step {step} could not be fetched: {type(error).__name__}: {error}"
            ) from error

    def close(self) -> None:
        """Ends the threads; later steps are fetched by the caller's own."""
        with self._lock:
            self._end.detach()
            self._waiting.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _scheduled(self, step: int) -> Future[Fetched] | None:
        """The future of this step; those of the following ones are started too."""
        if not self._end.alive:
            return None
        last = step + self._ahead
        if self._steps is not None:
            last = min(last, self._steps - 1)
        wanted = range(step, max(last, step) + 1)
        for other in [s for s in self._waiting if s not in wanted]:
            self._waiting.pop(other).cancel()  # a jump, after a resume say
        for new in wanted:
            if new not in self._waiting:
                self._waiting[new] = self._pool.submit(self.fetch, new)
        return self._waiting.pop(step)
