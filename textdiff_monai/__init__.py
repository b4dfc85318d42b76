"""TextDiff-MONAI: segmenting medical images from a handful of labels and the sentences clinicians write anyway."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Loaded when first used, so that `textdiff --help` need not wait for PyTorch.
_MODULES = {
    "backbone": ["DiffusionBackbone"],
    "bundle": ["bundle_root"],
    "captions": ["SYMMETRIES", "recaption", "rewrite"],
    "checks": ["check_datalist", "read_array"],
    "data": ["DataError", "draw_labelled", "load_datalist", "load_images"],
    "features": ["FeatureCache", "cache_folder"],
    "handlers": ["BestModel", "FeatureReport", "History", "MetricsReport", "Progress"],
    "head": ["SegmentationHead"],
    "inferer": ["TextInferer", "TextToMetad"],
    "network": ["TextDiff"],
    "pretraining": ["Denoiser", "NoisedBatch", "RandViewd", "SaveBackbone", "even_sampler", "unlabelled_images"],
    "text": ["TextEncoder"],
    "transforms": ["RandSymmetryd", "ToInputd", "ToLabeld", "ToSourceLayoutd", "loading", "preprocessing"],
    "weights": ["import_adm", "load_published_head"],
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
