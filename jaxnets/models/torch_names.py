"""Torch's names of a network's layers, for `jaxnets.models.weights`."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn

from jaxnets.models.alexnet import AlexNet
from jaxnets.models.densenet import DenseNet
from jaxnets.models.faster_rcnn import FasterRCNN
from jaxnets.models.googlenet import GoogLeNet
from jaxnets.models.parts.residual import ResidualNetwork
from jaxnets.models.squeezenet import SqueezeNet
from jaxnets.models.vgg import VGG

# Torch's names: regular expressions over "block/layer", and what replaces each.
NameRules = list[tuple[str, str | Callable[[re.Match[str]], str]]]

_RESIDUAL: NameRules = [
    (r"^conv(\d+)_(\d+)/", lambda m: f"layer{int(m[1]) - 1}.{int(m[2]) - 1}."),
    (r"shortcut(/conv)?$", "downsample.0"),
    (r"shortcut/norm$", "downsample.1"),
    (r"conv(\d)/conv$", r"conv\1"),
    (r"conv(\d)/norm$", r"bn\1"),
    (r"norm(\d?)$", r"bn\1"),
    (r"^output$", "fc"),
]
_DENSE: NameRules = [
    (r"^denseblock(\d+)_layer(\d+)/", r"denseblock\1.denselayer\2."),
    (r"^(conv|norm|dense|trans)", r"features.\1"),
    (r"^output$", "classifier"),
]
_GOOGLENET: NameRules = [
    (r"^conv2/", "conv3."),
    (r"^conv2_reduce/", "conv2."),
    (r"/conv1x1/", ".branch1."),
    (r"/reduce3x3/", ".branch2.0."),
    (r"/conv3x3/", ".branch2.1."),
    (r"/reduce5x5/", ".branch3.0."),
    (r"/conv5x5/", ".branch3.1."),
    (r"/pool_proj/", ".branch4.1."),
    (r"norm$", "bn"),
    (r"^output$", "fc"),
]
_FASTER: NameRules = [
    (r"^pyramid/(inner|layer)(\d)$", r"backbone.fpn.\1_blocks.\2.0"),
    (r"^proposal_head/conv/conv$", "rpn.head.conv.0.0"),
    (r"^proposal_head/logits/conv$", "rpn.head.cls_logits"),
    (r"^proposal_head/offsets/conv$", "rpn.head.bbox_pred"),
    (r"^box_head/", "roi_heads.box_head."),
    (r"^predictor/logits$", "roi_heads.box_predictor.cls_score"),
    (r"^predictor/offsets$", "roi_heads.box_predictor.bbox_pred"),
    (r"^mask_head/conv(\d)/conv$", r"roi_heads.mask_head.\1.0"),
    (r"^mask_head/doubled$", "roi_heads.mask_predictor.conv5_mask"),
    (r"^mask_head/logits/conv$", "roi_heads.mask_predictor.mask_fcn_logits"),
]
# From other common names in files to torchvision's.
_ALIASES: dict[type[nn.Module], NameRules] = {
    FasterRCNN: [
        (r"(fpn\.\w+_blocks\.\d)\.(weight|bias)$", r"\1.0.\2"),
        (r"^(rpn\.head\.conv)\.(weight|bias)$", r"\1.0.0.\2"),
        (r"(mask_head\.)mask_fcn(\d)", lambda m: f"{m[1]}{int(m[2]) - 1}.0"),
    ],
    ResidualNetwork: [(r"^linear\.", "fc."), (r"\.shortcut\.", ".downsample.")],
    DenseNet: [(r"(denselayer\d+\.(?:norm|conv))\.", r"\1")],
}


def torch_names(model: nn.Module) -> Callable[[str], str]:
    """Returns a function from the address of a layer to its name in torch.

    An address is `block/layer`. Layers of networks that torchvision has get
    torchvision's names; those of others their own, joined by dots.
    """
    match model:
        case ResidualNetwork():
            rules = _RESIDUAL
        case DenseNet():
            rules = _DENSE
        case GoogLeNet():
            rules = _GOOGLENET
        case VGG():
            rules = _vgg(model)
        case AlexNet():
            rules = _numbered({1: 0, 2: 3, 3: 6, 4: 8, 5: 10}, {6: 1, 7: 4, 8: 6})
        case SqueezeNet():
            rules = _squeezenet(model)
        case FasterRCNN():
            return _faster(model)
        case _:
            rules = []

    return lambda layer: _renamed(layer, rules)


def _renamed(layer: str, rules: NameRules) -> str:
    for pattern, replacement in rules:
        layer = re.sub(pattern, replacement, layer)
    return layer.replace("/", ".")


def _faster(model: FasterRCNN) -> Callable[[str], str]:
    """The backbone's own names behind `backbone.body`, and those of the rest."""
    network, inside = getattr(model.backbone, "network", None), "backbone/network/"
    own = torch_names(network) if network is not None else None

    def name(layer: str) -> str:
        if own is not None and layer.startswith(inside):
            return f"backbone.body.{own(layer.removeprefix(inside))}"
        return _renamed(layer, _FASTER)

    return name


def torchvision_name(model: nn.Module, name: str) -> str:
    """Torchvision's name for what a file calls by another common one."""
    for pattern, replacement in _ALIASES.get(type(model), []):
        name = re.sub(pattern, replacement, name)
    return name


def _vgg(model: VGG) -> NameRules:
    convolutions: dict[str, int] = {}
    index = 0
    for block, depth in enumerate(model.depths, start=1):
        for layer in range(1, depth + 1):
            convolutions[f"{block}_{layer}"] = index
            index += 2 if model.norm is None else 3
        index += 1  # the pool
    return _numbered(convolutions, {6: 0, 7: 3, 8: 6})


def _squeezenet(model: SqueezeNet) -> NameRules:
    rules, index = _numbered({1: 0}, {}), 3
    for fire in range(2, 2 + len(model.squeezes)):
        rules.append((f"^fire{fire}/", f"features.{index}."))
        index += 2 if fire in model.pools else 1
    branches = (r"\.(squeeze|expand\dx\d).*/conv$", r".\1")
    return [
        *rules,
        (r"squeeze1x1", "squeeze"),
        branches,
        (r"^conv10/conv$", "classifier.1"),
    ]


def _numbered(convolutions: Mapping[Any, int], dense: Mapping[int, int]) -> NameRules:
    """Layers that torch counts, activations, pools and dropout included."""
    rules: NameRules = []
    for name, index in convolutions.items():
        rules.append((f"^conv{name}/conv$", f"features.{index}"))
        rules.append((f"^conv{name}/norm$", f"features.{index + 1}"))
    return rules + [(f"^fc{name}$", f"classifier.{at}") for name, at in dense.items()]
