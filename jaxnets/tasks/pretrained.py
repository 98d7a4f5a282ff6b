"""Begin with weights that were learned before, from a file."""

from typing import Any

import flax.linen as nn
import jax

from jaxnets.models import weights
from jaxnets.tasks.base import Task
from jaxnets.types import Key, Variables


def pretrained(
    task: Task, model: nn.Module, feed: Any, path: Any, *, new_head: bool = False
) -> Task:
    """The same task, whose first variables are those of a file.

    Args:
        task: What `model` is asked to do.
        model: The network.
        feed: Its `prepared` is shaped as the batches will be.
        path: Name of a `.safetensors` or `.npz` file, as `weights.load` takes it.
        new_head: Whether the layers with a row for each class are drawn as before,
            whatever the file has for them.

    Raises:
        WeightsError: If the file does not hold this network's weights.
    """
    shapes = jax.eval_shape(task.init, jax.random.key(0), feed.prepared)
    given = weights.load(model, shapes, path, new_head=new_head)

    def init(key: Key, batch: Any) -> Variables:
        return jax.tree.map(_chosen, given, task.init(key, batch))

    return task._replace(init=init)


def _chosen(given: Any, drawn: Any) -> Any:
    return drawn if isinstance(given, jax.ShapeDtypeStruct) else given
