"""One static choice of an experiment: what is loaded and built once for all settings.

The batches come from the experiment's `load`, the learner from `build`, the number of
steps and the reports from `plan`. The test split is taken out before anything else sees
the data.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.data.feeds.base import Feed
from jaxnets.learners.base import Learner
from jaxnets.learners.population import population
from jaxnets.run import loop
from jaxnets.run.experiment import Experiment, checked
from jaxnets.sweeps.members import guarded
from jaxnets.sweeps.space import Range

MODES = ("vmap", "unrolled", "loop", "separate")


class TestSplitError(RuntimeError):
    """A sweep reached for the test split, which is scored once, for the winner."""

    __test__ = False  # no test case, whatever its name


class _Sealed(dict[str, Any]):
    """Columns that nobody may look at."""

    def _refuse(self, *arguments: Any) -> Any:
        raise TestSplitError("a sweep never sees the test split")

    __getitem__ = __iter__ = items = values = keys = get = _refuse


def sealed(data: Any) -> Any:
    """What `load` returned, with a test split that raises when it is touched."""

    def refuse(*arguments: Any) -> Any:
        raise TestSplitError("a sweep never sees the test split")

    if dataclasses.is_dataclass(data) and not isinstance(data, type):
        replace: Callable[..., Any] = dataclasses.replace
    elif hasattr(data, "_replace"):
        replace = lambda whole, **parts: whole._replace(**parts)
    else:
        return data
    parts = {}
    test = getattr(data, "test", None)
    if isinstance(test, Feed):
        parts["test"] = dataclasses.replace(
            test, columns=_Sealed(), fetch=refuse, prepare=refuse
        )
    elif test is not None and hasattr(test, "columns"):
        parts["test"] = dataclasses.replace(test, columns=_Sealed())
    inner = getattr(data, "dataset", None)
    if hasattr(inner, "test"):
        parts["dataset"] = sealed(inner)
    return replace(data, **parts)


class Group:
    """A configuration whose hyperparameters are open.

    Attributes:
        label: Its name in the sweep.
        config: Its configuration; of the hyperparameters, what is not searched.
        plan: Steps and reports of a run of it.
        validation: What settings are compared on.
    """

    def __init__(
        self,
        label: str,
        experiment: Experiment,
        config: Any,
        space: Mapping[str, Range],
    ) -> None:
        """Loads the data, and reads the experiment's plan.

        Args:
            label: A name.
            experiment: The module.
            config: Of it.
            space: What is searched.
        """
        self.label, self.experiment, self.config = label, experiment, config
        self.space = space
        self._loaded: dict[int, Any] = {}
        self._data = self._load(self.data_seed)
        self.plan = checked(experiment.plan(config, self._data))
        self.validation = on_device(self._data.validation)
        self._feeds: dict[int, Feed] = {}
        self._batches: dict[int, Any] = {}
        self._learners: dict[Any, Learner] = {}

    def _load(self, data_seed: int) -> Any:
        """What `load` returns for a data seed, without the test split; loaded once."""
        if data_seed not in self._loaded:
            config = self.config
            if data_seed != self.data_seed:
                config = dataclasses.replace(config, data_seed=data_seed)
            self._loaded[data_seed] = sealed(self.experiment.load(config))
        return self._loaded[data_seed]

    def hyper(self, values: Mapping[str, float]) -> Any:
        """The hyperparameters of a setting."""
        return self.config.hyper._replace(**values)

    def settings(self, values: Mapping[str, float], seed: int, data_seed: int) -> Any:
        """The configuration that a lone run of a setting has."""
        changes: dict[str, Any] = {"hyper": self.hyper(values), "seed": seed}
        if data_seed != self.data_seed:
            changes["data_seed"] = data_seed
        return dataclasses.replace(self.config, **changes)

    @property
    def data_seed(self) -> int:
        """The seed of order and augmentation; 0 where the experiment has none."""
        return getattr(self.config, "data_seed", 0)

    def shape(self, zeros: tuple[str, ...], count: int) -> Any:
        """Shapes and types of the state of so many members."""
        learner, feed = self.learner(zeros), self.feed(self.data_seed)
        key = jax.random.key(self.config.seed)
        one = jax.eval_shape(learner.init, key, self.config.hyper, feed.prepared)
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape), leaf.dtype), one
        )

    def feed(self, data_seed: int) -> Feed:
        """The training batches of a data seed; the data itself is there once."""
        if data_seed not in self._feeds:
            feed = on_device(self._load(data_seed).train)
            for known in self._feeds.values():
                feed = _sharing(feed, known)
            self._feeds[data_seed] = feed
        return self._feeds[data_seed]

    def first_batch(self, data_seed: int) -> Any:
        """What the first step of a data seed sees."""
        if data_seed not in self._batches:
            self._batches[data_seed] = self.feed(data_seed)(0)
        return self._batches[data_seed]

    def joined(self, data_seeds: Sequence[int]) -> Feed:
        """A batch of its own for each member, stacked: one data seed each."""
        kinds = sorted(set(data_seeds))
        feeds = [self.feed(seed) for seed in kinds]
        place = np.array([kinds.index(seed) for seed in data_seeds], np.int32)

        def fetch(step: int) -> Any:
            return tuple(feed.fetch(step) for feed in feeds)

        def prepare(columns: Any, fetched: Any) -> Any:
            batches = [
                feed.prepare(columns[str(i)], rows)
                for i, (feed, rows) in enumerate(zip(feeds, fetched, strict=True))
            ]
            stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches)
            return jax.tree.map(lambda leaf: leaf[place], stacked)

        columns = {str(i): dict(feed.columns) for i, feed in enumerate(feeds)}
        return dataclasses.replace(
            feeds[0], columns=columns, fetch=fetch, prepare=prepare
        )

    def learner(self, zeros: tuple[str, ...] = (), mode: str = "separate") -> Learner:
        """What a member runs, or a population of them; made once and reused.

        Args:
            zeros: Searched hyperparameters that are 0.
            mode: One of `MODES`; behind a `+`, for members with batches of their own.
        """
        key = zeros, mode
        if key not in self._learners:
            how, own = mode.removesuffix("+"), mode.endswith("+")
            if how == "separate":
                values = {
                    name: 0.0 if name in zeros else own_range.nonzero()
                    for name, own_range in self.space.items()
                }
                typical = dataclasses.replace(self.config, hyper=self.hyper(values))
                made = guarded(self.experiment.build(typical, self._data))
            else:
                one = self.learner(zeros)
                kinds = {"unrolled": how == "unrolled", "looped": how == "loop"}
                made = population(one, **kinds)
                if own:  # validation batches are the same for all
                    step = population(one, own_batches=True, **kinds).step
                    made = made._replace(step=step)
            self._learners[key] = made
        return self._learners[key]


def on_device(feed: Feed) -> Feed:
    """The same feed, with its columns where the programs run."""
    return dataclasses.replace(feed, columns=loop.placed(feed, None))


def _sharing(feed: Feed, known: Feed) -> Feed:
    """The feed with the other's columns, where they are the same."""
    same = feed.columns.keys() == known.columns.keys() and all(
        mine.shape == other.shape
        and mine.dtype == other.dtype
        and bool(jnp.array_equal(mine, other))
        for mine, other in (
            (feed.columns[name], known.columns[name]) for name in feed.columns
        )
    )
    return dataclasses.replace(feed, columns=known.columns) if same else feed
