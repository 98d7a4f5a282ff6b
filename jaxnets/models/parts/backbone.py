"""What a detector looks with: some layers of another network."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float


class _Done(Exception):
    """All layers that were asked for have been called."""


class Backbone(nn.Module):
    """What some layers of a network return; nothing after the last of them is there.

    Attributes:
        network: Any network of the zoo.
        layers: As `functional.features` names them, in the order of their calls.
    """

    network: nn.Module
    layers: Sequence[str]

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Returns the maps of each layer.

        Raises:
            ValueError: If there is no such layer.
        """
        found: dict[str, Any] = {}
        network = self.network
        start = len(network.path) if network.scope is not None else 0

        def keep(next_fun: Any, args: Any, kwargs: Any, context: Any) -> Any:
            output = next_fun(*args, **kwargs)
            if context.method_name == "__call__":
                name = "/".join(context.module.path[start:])
                if name in self.layers:
                    found[name] = output
                if len(found) == len(self.layers):
                    raise _Done
            return output

        try:
            with nn.intercept_methods(keep):
                network(image, train=train)
        except _Done:
            return tuple(found[name] for name in self.layers)
        missing = [name for name in self.layers if name not in found]
        raise ValueError(
            f"{type(network).__name__} has no layer {missing[0]!r}: `functional."
            "features` names those that it has"
        )
