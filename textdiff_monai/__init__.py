"""TextDiff-MONAI: segmenting medical images from a handful of labels and the sentences clinicians write anyway."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Loaded when first used, so that `textdiff --help` need not wait for PyTorch.
_MODULES = {
    "apps.bundle": ["bundle_root", "work_folder"],
    "apps.check": ["check"],
    "apps.fit": ["fit"],
    "apps.overrides": ["check_options"],
    "apps.segment": ["segment"],
    "apps.trained": ["load_trained"],
    "apps.weights": ["import_adm", "load_published_head"],
    "data.captions": ["SYMMETRIES", "recaption", "rewrite"],
    "data.checks": ["check_column", "check_datalist"],
    "data.items": ["draw_labelled"],
    "data.layouts": ["load_datalist", "load_images"],
    "data.masks": ["class_indices"],
    "data.problems": ["DataError"],
    "data.readers": ["open_scan", "read_picture"],
    "data.runs": ["file_hash"],
    "data.sampling": ["even_sampler"],
    "data.slices": ["has_volumes", "slices_of"],
    "engines.calibration": ["Calibrate", "CalibrationReport", "ExpectedDice"],
    "engines.disagreement": ["DisagreementMaps"],
    "engines.facts": ["training_facts"],
    "engines.familiarity": ["Familiarity"],
    "engines.features": ["FeatureCache", "cache_folder"],
    "engines.inferer": ["TextInferer"],
    "engines.metrics": ["MeanDisagreement", "NonemptyDice", "SliceDice", "SurfaceDistance"],
    "engines.pictures": ["CasePictures"],
    "engines.presence": ["PresenceAUC"],
    "engines.progress": ["BestModel", "LastModel", "Progress"],
    "engines.reports": ["FeatureReport", "History", "MetricsReport"],
    "engines.results": ["SaveResults"],
    "engines.seeding": ["EpochSeed"],
    "engines.sentences": ["check_sentences"],
    "engines.time_limit": ["TimeLimit"],
    "engines.words": ["WordCases", "WordEffects", "word_maps"],
    "networks.backbone": ["DiffusionBackbone"],
    "networks.ensemble": ["EachHead", "HeadEnsemble"],
    "networks.fusion": ["EarlyFusion"],
    "networks.head": ["SegmentationHead"],
    "networks.recipe": ["Recipe", "read_recipe", "with_recipe"],
    "networks.start": ["start_from"],
    "networks.text_encoder": ["TextEncoder"],
    "networks.textdiff": ["TextDiff"],
    "pretraining.diffusion": ["Denoiser", "NoisedBatch", "SaveBackbone", "annealing"],
    "pretraining.held_out": ["HeldOutLoss"],
    "pretraining.images": ["unlabelled_images"],
    "pretraining.views": ["RandViewd", "ToBytesd"],
    "transforms.loading": ["LoadPictured", "MaskReader", "PictureReader"],
    "transforms.picture": ["ToInputd", "ToSourceLayoutd"],
    "transforms.preprocessing": ["loading", "preprocessing"],
    "transforms.scales": ["SqueezeToSquared"],
    "transforms.symmetry": ["RandSymmetryd"],
    "transforms.text": ["TextToMetad"],
    "transforms.wording": ["RandTextd", "RandWordingd"],
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
