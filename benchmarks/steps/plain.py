"""The workloads as Flax's examples write them: Linen modules, Optax, one jitted step.

No module of this project is used. Norms, padding and initialisers are Flax's defaults
where they cost nothing; the parameters are as many as ours.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from serve import SIZES, Built, serve

Loss = Callable[[Any, Any, Any], tuple[Any, Any]]


class MLP(nn.Module):
    widths: Any

    @nn.compact
    def __call__(self, x: Any, train: bool = True) -> Any:
        x = x.reshape(len(x), -1)
        for width in self.widths:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(10)(x)


class LeNet5(nn.Module):
    @nn.compact
    def __call__(self, x: Any, train: bool = True) -> Any:
        x = nn.relu(nn.Conv(6, (5, 5), padding=2)(x))
        x = nn.avg_pool(x, (2, 2), (2, 2))
        x = nn.relu(nn.Conv(16, (5, 5), padding="VALID")(x))
        x = nn.avg_pool(x, (2, 2), (2, 2)).reshape(len(x), -1)
        x = nn.relu(nn.Dense(84)(nn.relu(nn.Dense(120)(x))))
        return nn.Dense(10)(x)


class ConvNet(nn.Module):
    filters: Any

    @nn.compact
    def __call__(self, x: Any, train: bool = True) -> Any:
        for width in self.filters:
            x = nn.max_pool(nn.relu(nn.Conv(width, (3, 3))(x)), (2, 2), (2, 2))
        return nn.Dense(10)(x.mean((1, 2)))


class Block(nn.Module):
    width: int
    stride: int
    projected: bool

    @nn.compact
    def __call__(self, x: Any, train: bool) -> Any:
        conv = partial(nn.Conv, use_bias=False)
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
        y = conv(self.width, (3, 3), self.stride, padding=1)(x)
        y = conv(self.width, (3, 3), padding=1)(nn.relu(norm()(y)))
        y = norm()(y)
        if y.shape != x.shape and self.projected:
            x = norm()(conv(self.width, (1, 1), self.stride)(x))
        elif y.shape != x.shape:
            x = x[:, :: self.stride, :: self.stride]
            more = self.width - x.shape[-1]
            x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (more // 2, more - more // 2)))
        return nn.relu(x + y)


class ResNet(nn.Module):
    widths: Any
    blocks: int
    projected: bool

    @nn.compact
    def __call__(self, x: Any, train: bool = True) -> Any:
        x = nn.Conv(self.widths[0], (3, 3), use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        for stage, width in enumerate(self.widths):
            for block in range(self.blocks):
                stride = 2 if stage and not block else 1
                x = Block(width, stride, self.projected)(x, train)
        return nn.Dense(10)(x.mean((1, 2)))


class VGG(nn.Module):
    hidden: int

    @nn.compact
    def __call__(self, x: Any, train: bool = True) -> Any:
        for width, depth in ((64, 1), (128, 1), (256, 2), (512, 2), (512, 2)):
            for _ in range(depth):
                x = nn.relu(nn.Conv(width, (3, 3))(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = x.reshape(len(x), -1)
        for _ in range(2):
            x = nn.relu(nn.Dense(self.hidden)(x))
        return nn.Dense(10)(x)


class LSTM(nn.Module):
    units: int
    vocabulary: int

    @nn.compact
    def __call__(self, token: Any, train: bool = True) -> Any:
        x = jax.nn.one_hot(token, self.vocabulary)
        return nn.Dense(self.vocabulary)(nn.RNN(nn.OptimizedLSTMCell(self.units))(x))


class VAE(nn.Module):
    units: int
    latent: int

    @nn.compact
    def __call__(self, x: Any, key: Any) -> Any:
        flat = x.reshape(len(x), -1)
        hidden = jnp.tanh(nn.Dense(self.units)(flat))
        mean, scale = nn.Dense(self.latent)(hidden), nn.Dense(self.latent)(hidden)
        code = mean + jnp.exp(scale) * jax.random.normal(key, mean.shape)
        hidden = jnp.tanh(nn.Dense(self.units)(code))
        return nn.Dense(flat.shape[1])(hidden), mean, scale


class Step(nn.Module):
    """One word of a captioner with soft attention."""

    size: Any

    @nn.compact
    def __call__(self, carry: Any, inputs: Any) -> Any:
        word, (grid, keys) = inputs
        size, h = self.size, carry[1]
        query = nn.Dense(size["attention"])(h)
        score = nn.Dense(1, use_bias=False)(jnp.tanh(query[:, None] + keys))[..., 0]
        seen = jnp.einsum("bl,bld->bd", jax.nn.softmax(score), grid)
        seen = nn.sigmoid(nn.Dense(1)(h)) * seen
        both = jnp.concatenate([word, seen], -1)
        carry, h = nn.OptimizedLSTMCell(size["units"])(carry, both)
        deep = word + nn.Dense(size["embedding"])(h)
        deep = deep + nn.Dense(size["embedding"], use_bias=False)(seen)
        return carry, nn.Dense(size["vocabulary"])(deep)


class Captioner(nn.Module):
    size: Any

    @nn.compact
    def __call__(self, grid: Any, token: Any) -> Any:
        size = self.size
        words = nn.Embed(size["vocabulary"], size["embedding"])(token)
        keys = nn.Dense(size["attention"], use_bias=False)(grid)
        mean, carry = grid.mean(1), []
        for _ in range(2):
            hidden = jnp.tanh(nn.Dense(size["units"])(mean))
            carry.append(nn.Dense(size["units"])(hidden))
        scan = nn.scan(
            Step,
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=((1, nn.broadcast),),
            out_axes=1,
        )
        first = (carry[0], jnp.tanh(carry[1]))
        return scan(size)(first, (words, (grid, keys)))[1]


class Generator(nn.Module):
    features: int

    @nn.compact
    def __call__(self, noise: Any, train: bool = True) -> Any:
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
        width = 2 * self.features
        x = nn.Dense(49 * width, use_bias=False)(noise).reshape(-1, 7, 7, width)
        up = partial(nn.ConvTranspose, kernel_size=(4, 4), strides=(2, 2))
        x = up(self.features, use_bias=False)(nn.relu(norm()(x)))
        return jnp.tanh(up(1)(nn.relu(norm()(x))))


class Discriminator(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x: Any, train: bool = True) -> Any:
        down = partial(nn.Conv, kernel_size=(4, 4), strides=2, padding=1)
        x = nn.leaky_relu(down(self.features)(x), 0.2)
        x = down(2 * self.features, use_bias=False)(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        return nn.Dense(1)(nn.leaky_relu(x, 0.2).reshape(len(x), -1))[:, 0]


def networks(size: dict[str, Any]) -> dict[str, nn.Module]:
    """The classifiers."""
    return {
        "mlp": MLP(size.get("widths")),
        "lenet5": LeNet5(),
        "convnet": ConvNet(size.get("filters")),
        "resnet20": ResNet((16, 32, 64), size.get("blocks", 0), projected=False),
        "resnet18": ResNet((64, 128, 256, 512), 2, projected=True),
        "vgg11": VGG(size.get("hidden", 0)),
    }


def applied(model: nn.Module, variables: Any, *inputs: Any) -> tuple[Any, Any]:
    """Outputs in training, and the new statistics."""
    if "batch_stats" not in variables:
        return model.apply(variables, *inputs), {}
    out, new = model.apply(variables, *inputs, mutable=["batch_stats"])
    return out, new["batch_stats"]


def build(name: str, options: dict[str, Any]) -> Built:
    """One workload."""
    size = SIZES[name] | options
    rng, key, rows = np.random.default_rng(0), jax.random.key(0), size["rows"]
    if name == "dcgan":
        return players(size, rng)
    if name == "lstm":
        text = jnp.asarray(rng.integers(1, 64, (rows, size["times"] + 1)))
        model: nn.Module = LSTM(size["units"], size["vocabulary"])
        inputs: tuple[Any, ...] = (text[:, :-1],)
        target = text[:, 1:]
    elif name == "captioner":
        grid = rng.normal(size=(rows, size["places"], size["features"]))
        text = jnp.asarray(rng.integers(1, 100, (rows, size["times"] + 1)))
        model, target = Captioner(size), text[:, 1:]
        inputs = (jnp.asarray(grid, jnp.float32), text[:, :-1])
    else:
        shape = (rows, size["side"], size["side"], size["channels"])
        image = jnp.asarray(rng.normal(size=shape), jnp.float32)
        target = jnp.asarray(rng.integers(0, 10, rows))
        if name == "vae":
            model = VAE(size["units"], size["latent"])
            inputs, target = (1.0 * (image > 0), key), 1.0 * (image > 0)
        else:
            model, inputs = networks(size)[name], (image,)
    first = dict(model.init(key, *inputs))
    params = first.pop("params")
    optimizer = optax.adam(1e-3)

    def loss(params: Any, rest: Any, step: Any) -> tuple[Any, Any]:
        given = inputs
        if name == "vae":
            given = (inputs[0], jax.random.fold_in(key, step))
        out, stats = applied(model, {"params": params, **rest}, *given)
        if name == "vae":
            logits, mean, scale = out
            flat = target.reshape(rows, -1)
            missed = optax.sigmoid_binary_cross_entropy(logits, flat).sum(1)
            kl = 0.5 * jnp.sum(jnp.exp(2 * scale) + mean**2 - 1 - 2 * scale, 1)
            return jnp.mean(missed + kl), stats
        each = optax.softmax_cross_entropy_with_integer_labels(out, target)
        return each.mean(), stats

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(params: Any, rest: Any, state: Any, number: Any) -> Any:
        graded = jax.value_and_grad(loss, has_aux=True)
        (value, stats), grads = graded(params, rest, number)
        updates, state = optimizer.update(grads, state, params)
        rest = {"batch_stats": stats} if stats else {}
        return optax.apply_updates(params, updates), rest, state, value

    held = [params, first, optimizer.init(params)]

    def run(steps: int) -> None:
        for number in range(steps):
            *held[:], value = step(*held, number)
        jax.block_until_ready((held, value))

    return Built(run, sum(x.size for x in jax.tree.leaves(params)))


def players(size: dict[str, Any], rng: Any) -> Built:
    """DCGAN: a step of the discriminator, then one of the generator."""
    key, rows = jax.random.key(0), size["rows"]
    shape = (rows, size["side"], size["side"], size["channels"])
    real = jnp.asarray(rng.normal(size=shape), jnp.float32)
    makes, judges = Generator(size["features"]), Discriminator(size["features"])
    noise = jnp.zeros((rows, size["noise"]))
    both = {"g": dict(makes.init(key, noise)), "d": dict(judges.init(key, real))}
    optimizer = optax.adam(1e-3, 0.5)
    params = {name: one.pop("params") for name, one in both.items()}
    rest = {name: one["batch_stats"] for name, one in both.items()}
    states = {name: optimizer.init(one) for name, one in params.items()}
    xent = optax.sigmoid_binary_cross_entropy

    def whole(params: Any, rest: Any, name: str) -> Any:
        return {"params": params, "batch_stats": rest[name]}

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(params: Any, rest: Any, states: Any, number: Any) -> Any:
        keys = jax.random.split(jax.random.fold_in(key, number))
        draws = [jax.random.normal(k, (rows, size["noise"])) for k in keys]

        def first(own: Any) -> Any:
            fake, _ = applied(makes, whole(params["g"], rest, "g"), draws[0])
            on_real, stats = applied(judges, whole(own, rest, "d"), real)
            now = {**rest, "d": stats}
            on_fake, stats = applied(judges, whole(own, now, "d"), fake)
            value = xent(on_real, jnp.ones(rows)) + xent(on_fake, jnp.zeros(rows))
            return value.mean(), {**rest, "d": stats}

        def second(own: Any) -> Any:
            fake, stats = applied(makes, whole(own, rest, "g"), draws[1])
            on_fake, _ = applied(judges, whole(params["d"], rest, "d"), fake)
            return xent(on_fake, jnp.ones(rows)).mean(), {**rest, "g": stats}

        for name, objective in (("d", first), ("g", second)):
            grads, rest = jax.grad(objective, has_aux=True)(params[name])
            updates, state = optimizer.update(grads, states[name])
            states = {**states, name: state}
            moved = optax.apply_updates(params[name], updates)
            params = {**params, name: moved}
        return params, rest, states

    held = [params, rest, states]

    def run(steps: int) -> None:
        for number in range(steps):
            held[:] = step(*held, number)
        jax.block_until_ready(held)

    return Built(run, sum(x.size for x in jax.tree.leaves(params)))


if __name__ == "__main__":
    serve(build)
