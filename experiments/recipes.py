"""Recipes: the settings of a training, as defaults of `experiments/classify.py`.

A flag on the command line still wins. `paper` is how the network's paper trained it, on
the paper's data; `steady` is one set of numbers for every network on small data. `auto`
takes `paper` for our own networks and on the paper's data, and `steady` otherwise. The
recipes in `AIMS` choose the network too, to reach an accuracy in a given time.

Lengths of `paper` are days on a CPU: shorten them with `--epochs`, schedules keep their
proportions. Its learning rate follows the batch linearly: see `scaled`. Where a paper
watched the validation error and lowered the rate by hand, the schedule is `plateau`.
What a paper leaves open, and what it did that is left out, stands beside the numbers.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, NamedTuple


class TrainedOn(NamedTuple):
    """The data that a recipe is for.

    Attributes:
        description: Name, number and side of the images.
        names: Data sets of `--data` for which `auto` takes the recipe.
    """

    description: str
    names: tuple[str, ...] = ()


class Recipe(NamedTuple):
    """The settings of one training.

    Attributes:
        source: Where it is written.
        data: What it is for.
        config: Names of static settings to their values.
        hyper: Names of traced hyperparameters to their values; a rate of zero, an
            average of zero, a clip of zero is left out of the program.
    """

    source: str
    data: TrainedOn
    config: Mapping[str, str | float]
    hyper: Mapping[str, float]


_IMAGENET = TrainedOn("ImageNet, 1.28 million images of 224 pixels", ("imagenet2012",))
_CIFAR = TrainedOn("CIFAR, 50,000 images of 32 pixels", ("cifar10", "cifar100"))
_MNIST = TrainedOn("MNIST, 60,000 digits of 32 pixels", ("mnist",))
_SMALL = TrainedOn("small data")

# Momentum without anything that came later: no smoothing, averaging or clipping.
_PLAIN = {
    "momentum": 0.9,
    "label_smoothing": 0.0,
    "dropout": 0.0,
    "average_decay": 0.0,
    "clip_norm": 0.0,
}


def _momentum(
    source: str,
    data: TrainedOn,
    *,
    rate: float,
    decay: float,
    hyper: Mapping[str, float] | None = None,
) -> Recipe:
    """Momentum 0.9 on batches of 128 for 90 epochs, padded crops and mirrors.

    No warm-up where the paper has none: a rate that follows the batch needs none.
    The loss of ResNet-18 on CIFAR-10 in batches of 32 rises to 8.2 in five steps at
    0.1, and stays below 3 at 0.0125.
    """
    config = {
        "optimizer": "momentum",
        "schedule": "plateau",
        "warmup": 0.0,
        "skip_biases": False,  # of an L2 penalty the papers' code makes no exception
        "batch_size": 128,
        "epochs": 90,
        "augment": "flips",
    }
    rates = {**_PLAIN, "learning_rate": rate, "weight_decay": decay, **(hyper or {})}
    return Recipe(source, data, config, rates)


def _with(recipe: Recipe, **config: str | float) -> Recipe:
    return recipe._replace(config={**recipe.config, **config})


# Our own networks: what suits small data, measured in experiments/LOG.md.
OWN = Recipe(
    "experiments/LOG.md",
    _SMALL,
    {
        "optimizer": "adamw",
        "schedule": "cosine",
        "warmup": 20.0,
        "skip_biases": True,
        "batch_size": 64,
        "epochs": 60,
        "augment": "flips",
    },
    {
        "learning_rate": 4e-3,
        "weight_decay": 0.02,
        "label_smoothing": 0.05,
        "dropout": 0.1,
        "average_decay": 0.98,
        "clip_norm": 10.0,
    },
)

# LeCun, Bottou, Bengio & Haffner, 1998, section III.B: 20 passes, the rate falling in
# steps from 5e-4 to 1e-5. Departures: batches and momentum with a rate to suit, in
# place of single examples and a diagonal Hessian.
_LENET = _with(
    _momentum("LeCun et al. 1998, section III.B", _MNIST, rate=0.02, decay=0.0),
    schedule="exponential",
    batch_size=64,
    epochs=20,
    augment="affine",
)

# Krizhevsky, Sutskever & Hinton, 2012, sections 4 and 5: 90 passes, the rate divided by
# ten three times by hand. Left out: the colour changes along principal components.
_ALEXNET = _momentum(
    "Krizhevsky et al. 2012, section 5",
    _IMAGENET,
    rate=0.01,
    decay=5e-4,
    hyper={"dropout": 0.5},
)

# Simonyan & Zisserman, 2014, section 3.1: 74 passes.
_VGG = _with(
    _momentum(
        "Simonyan & Zisserman 2014, section 3.1",
        _IMAGENET,
        rate=0.01,
        decay=5e-4,
        hyper={"dropout": 0.5},
    ),
    batch_size=256,
    epochs=74,
)

# Lin, Chen & Yan, 2013, section 4.1: as Krizhevsky et al. 2012; the first rate is not
# given, nor is the number of passes.
_NIN = _momentum(
    "Lin et al. 2013, section 4.1", _CIFAR, rate=0.1, decay=1e-4, hyper={"dropout": 0.5}
)

# Szegedy et al., 2014, sections 5 and 6: the rate falls by 4 % every 8 epochs, crops
# from 8 % to all of the image. The first rate and the batch are not given. Left out:
# the auxiliary classifiers, which `googlenet(classes, auxiliary=True)` has.
_GOOGLENET = _with(
    _momentum(
        "Szegedy et al. 2014, section 6",
        _IMAGENET,
        rate=0.01,
        decay=2e-4,
        hyper={"dropout": 0.4, "auxiliary_dropout": 0.7, "average_decay": 0.999},
    ),
    schedule="fading",
    augment="imagenet",
    epochs=250,
)

# He et al., 2015, section 3.4: 600,000 steps of 256, divided by ten on plateaus.
_RESNET = _with(
    _momentum("He et al. 2015, section 3.4", _IMAGENET, rate=0.1, decay=1e-4),
    batch_size=256,
    epochs=120,
    augment="imagenet",
)

# He et al., 2015, section 4.2: 64,000 steps of 128 on 45,000 images, divided by ten
# at a half and at three quarters.
_CIFAR_RESNET = _with(
    _momentum("He et al. 2015, section 4.2", _CIFAR, rate=0.1, decay=1e-4),
    schedule="step",
    epochs=182,
)
# The same place: the 110 layers begin with a lower rate. There for about 400 steps at
# 0.01; here a rise over as many.
_DEEP_CIFAR_RESNET = _with(_CIFAR_RESNET, warmup=400.0)

# He et al., 2016, appendix: as before; every CIFAR network warms up for 400 steps.
_PREACT_CIFAR = _with(_CIFAR_RESNET, warmup=400.0)._replace(
    source="He et al. 2016, appendix"
)
_PREACT = _with(_RESNET, schedule="thirds", epochs=90)._replace(
    source="He et al. 2016, appendix"
)

# Zagoruyko & Komodakis, 2016, section 3: 200 epochs, a fifth at 60, 120 and 160.
_WIDE = _with(
    _momentum("Zagoruyko & Komodakis 2016, section 3", _CIFAR, rate=0.1, decay=5e-4),
    optimizer="nesterov",
    schedule="fifths",
    epochs=200,
)
# Section 3.4 there, after Gross & Wilber's code: 90 epochs as ResNet.
_WIDE_IMAGENET = _with(_RESNET, schedule="thirds", epochs=90)._replace(
    source="Zagoruyko & Komodakis 2016, section 3.4"
)

# Xie et al., 2016, section 4: as ResNet, divided by ten three times.
_RESNEXT = _with(_RESNET, schedule="thirds", epochs=90)._replace(
    source="Xie et al. 2016, section 4"
)

# Huang, Liu, van der Maaten & Weinberger, 2016, section 4.2.
_CIFAR_DENSENET = _with(
    _momentum("Huang et al. 2016, section 4.2", _CIFAR, rate=0.1, decay=1e-4),
    optimizer="nesterov",
    schedule="step",
    batch_size=64,
    epochs=300,
)
_DENSENET = _with(
    _CIFAR_DENSENET._replace(data=_IMAGENET),
    schedule="thirds",
    batch_size=256,
    epochs=90,
    augment="imagenet",
)

# Iandola et al., 2016, section 3.2 and the published solver: the rate falls in a line
# from 0.04 over 170,000 steps of 512.
_SQUEEZENET = _with(
    _momentum(
        "Iandola et al. 2016, section 3.2",
        _IMAGENET,
        rate=0.04,
        decay=2e-4,
        hyper={"dropout": 0.5},
    ),
    schedule="linear",
    batch_size=512,
    epochs=68,
    augment="imagenet",
)

# Larsson, Maire & Shakhnarovich, 2016, section 4: 400 epochs of batches of 100, divided
# by ten whenever the epochs that are left halve; half of the batches drop local paths.
_FRACTALNET = _with(
    _momentum(
        "Larsson et al. 2016, section 4",
        _CIFAR,
        rate=0.02,
        decay=0.0,
        hyper={"drop_path": 0.15, "global_path": 0.5, "dropout": 0.4},
    ),
    schedule="halving",
    batch_size=100,
    epochs=400,
)

RECIPES: dict[str, Recipe] = {
    "mlp": OWN,
    "convnet": OWN,
    "small_convnet": OWN,
    "whitened_convnet": OWN,
    "lenet5": _LENET,
    **dict.fromkeys(("alexnet", "alexnet_2012"), _ALEXNET),
    "nin": _NIN,
    **{f"vgg{d}{bn}": _VGG for d in (11, 13, 16, 19) for bn in ("", "_bn")},
    **dict.fromkeys(("googlenet", "googlenet_2014"), _GOOGLENET),
    **{f"resnet{depth}": _RESNET for depth in (18, 34, 50, 101, 152)},
    **{f"resnet{depth}": _CIFAR_RESNET for depth in (20, 32, 44, 56)},
    **{f"resnet{depth}": _DEEP_CIFAR_RESNET for depth in (110, 1202)},
    **{f"preact_resnet{depth}": _PREACT for depth in (18, 50, 101, 152, 200)},
    **{f"preact_resnet{depth}": _PREACT_CIFAR for depth in (20, 110, 164, 1001)},
    **dict.fromkeys(("squeezenet1_0", "squeezenet1_1"), _SQUEEZENET),
    **{f"wrn_{size}": _WIDE for size in ("16_4", "16_8", "28_10", "40_2", "40_4")},
    **{f"wide_resnet{depth}_2": _WIDE_IMAGENET for depth in (50, 101)},
    **dict.fromkeys(("fractalnet20", "fractalnet40"), _FRACTALNET),
    **{f"densenet{depth}": _DENSENET for depth in (121, 161, 169, 201)},
    **{f"densenet_{size}": _CIFAR_DENSENET for size in ("40_12", "100_12")},
    **{f"densenet_bc_{s}": _CIFAR_DENSENET for s in ("100_12", "190_40", "250_24")},
    **{f"resnext{size}": _RESNEXT for size in ("50_32x4d", "101_32x8d", "101_64x4d")},
}

# One set of numbers for every network, measured in experiments/README.md. Where a
# network has a dropout rate, it is 0: on small data the runs are short.
STEADY = Recipe(
    "experiments/README.md",
    _SMALL,
    {
        "optimizer": "adamw",
        "schedule": "cosine",
        "warmup": 0.1,  # of the run: 50 updates were most of what some runs had
        "skip_biases": True,
        "batch_size": 64,
        "epochs": 30,
        "augment": "flips",
    },
    {**_PLAIN, "learning_rate": 5e-4, "weight_decay": 0.05, "clip_norm": 1.0},
)

# What `--recipe` names. `auto` is `paper` for the networks that are our own and for a
# published one on its paper's data, else `steady`. `paper` is the one of the network
# that was asked for. An aim chooses the network as well.
AUTO, PAPER = "auto", "paper"
AIMS: dict[str, Recipe] = {
    # 75 % of CIFAR-10's test images within a minute of two CPU cores: two passes. The
    # momentum and the line down to 0 are those of Jordan, 2024, whom
    # `jaxnets.models.whitened` cites; the rate was chosen on seed 0.
    "cifar10-60s": Recipe(
        "experiments/LOG.md",
        TrainedOn("CIFAR-10, 50,000 images of 32 pixels", ("cifar10",)),
        {
            "model": "whitened_convnet",
            "optimizer": "nesterov",
            "schedule": "linear",
            "warmup": 70.0,
            "skip_biases": True,
            "batch_size": 256,
            "epochs": 2,
            "reports": 1,
            "augment": "mirrors",
        },
        {
            **_PLAIN,
            "learning_rate": 2.0,
            "momentum": 0.85,
            "weight_decay": 5e-4,
            "label_smoothing": 0.1,
        },
    ),
}
CHOICES = (AUTO, PAPER, "steady", *AIMS)

# Images in which a crop or a mirror would change or lose what they show.
AUGMENTATIONS: dict[str, str] = {
    "digits": "affine",
    "glyphs": "affine",
    "mnist": "affine",
    "kmnist": "affine",
    "emnist": "affine",
    "fashion_mnist": "mirrors",  # experiments/LOG.md: crops only cost capacity
    "svhn_cropped": "crops",
}


def resolved(config: Any) -> tuple[str, Recipe]:
    """Returns the recipe of a configuration, and its name: `auto` is never one.

    Args:
        config: With `recipe`, one of `CHOICES`, `model`, a name in the zoo, and `data`.
    """
    own = RECIPES[config.model]
    if config.recipe == AUTO:
        at_home = own is OWN or _data_set(config) in own.data.names
        return (PAPER, own) if at_home else ("steady", STEADY)
    return config.recipe, {PAPER: own, "steady": STEADY, **AIMS}[config.recipe]


def prepared(config: Any) -> Any:
    """A configuration with the settings that its recipe gives.

    Args:
        config: A frozen dataclass with `recipe`, one of `CHOICES`, `model`, a name in
            the zoo, `data`, which says what may be done to the images, and `hyper`, a
            `NamedTuple`.
    """
    _, recipe = resolved(config)
    hyper = config.hyper._replace(**recipe.hyper)
    return dataclasses.replace(
        config, **{**recipe.config, **_augmentation(config)}, hyper=hyper
    )


def scaled(defaults: Any, chosen: Any) -> Any:
    """Default settings whose learning rate follows the batch that was chosen.

    The rate of a paper is multiplied by examples in an update here over examples in
    the paper's (Goyal et al., "Accurate, large minibatch SGD", 2017,
    https://arxiv.org/abs/1706.02677, section 2.1). Other recipes keep theirs.

    Args:
        defaults: What `prepared` returned.
        chosen: The same with the flags of the command line, of which `batch_size`,
            `accumulate` and `scale_rate` are read.
    """
    hyper = defaults.hyper._replace(learning_rate=_rate(chosen))
    return dataclasses.replace(defaults, hyper=hyper)


def remarks(config: Any) -> list[str]:
    """Lines that say which recipe a run follows; none for our own networks' own.

    Args:
        config: A configuration, with the settings that are used.
    """
    name, recipe = resolved(config)
    if recipe is OWN:
        return []
    batch, paper = recipe.config["batch_size"], recipe.hyper["learning_rate"]
    line = f"recipe: {name} ({recipe.source}), for {recipe.data.description}"
    line += f", in batches of {batch}"
    if config.recipe == AUTO and name != PAPER:
        line += f"; --recipe paper is for {RECIPES[config.model].data.description}"
    rate, used = _rate(config), config.hyper.learning_rate
    if changed := _changed(config, recipe, rate):
        line += f"; changed: {', '.join(changed)}"
    lines = [line]
    unscaled = config.batch_size == 0 and config.scale_rate and used == paper
    if unscaled and _follows(name, recipe):
        lines.append(
            f"recipe: the rate of {config.model} is {paper:g} for batches of {batch}; "
            "it is not scaled for --batch-size 0, all examples"
        )
    if rate == used != paper:
        examples = config.batch_size * config.accumulate
        lines.append(
            f"recipe: the rate of {config.model} is {paper:g} for batches of {batch}; "
            f"for batches of {examples} it is {rate:g} (--no-scale-rate keeps "
            f"{paper:g})"
        )
    return lines


def _rate(config: Any) -> float:
    """The learning rate that a configuration has where no flag gives one."""
    name, recipe = resolved(config)
    rate, batch = recipe.hyper["learning_rate"], recipe.config["batch_size"]
    examples = config.batch_size * config.accumulate
    if not (config.scale_rate and examples and _follows(name, recipe)):
        return rate
    return rate * examples / int(batch)


def _follows(name: str, recipe: Recipe) -> bool:
    """Whether the rate follows the batch: of published recipes, for plain descent."""
    return name == PAPER and recipe is not OWN


def _changed(config: Any, recipe: Recipe, rate: float) -> list[str]:
    """Flags with their values, for all settings that are not the recipe's."""
    own = {**recipe.config, **_augmentation(config)}
    pairs = [(n, getattr(config, n), value) for n, value in own.items()]
    hyper = {**recipe.hyper, "learning_rate": rate}
    pairs += [(n, getattr(config.hyper, n), value) for n, value in hyper.items()]
    return [f"{n} {now}" for n, now, value in pairs if now != value]


def _data_set(config: Any) -> str:
    """The name in `--data` without fold, configuration or version: `digits/3`."""
    return re.split("[:/]", config.data)[0]


def _augmentation(config: Any) -> dict[str, str]:
    """The augmentation where the recipe's would spoil the images, or needs a size."""
    data = _data_set(config)
    if data in AUGMENTATIONS:
        return {"augment": AUGMENTATIONS[data]}
    own = resolved(config)[1].config["augment"]
    return {"augment": "resized"} if own == "imagenet" and not config.size else {}
