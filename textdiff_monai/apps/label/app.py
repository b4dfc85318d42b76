"""The MONAI Label app: the stock bundle tasks, with a text field in the viewers and sentences in the training."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import monai.bundle
import requests
import torch
from fastapi import HTTPException
from monailabel.datastore import dicom
from monailabel.datastore.utils.convert import dicom_to_nifti, nifti_to_dicom_seg
from monailabel.endpoints import infer as endpoint
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.exception import MONAILabelException
from monailabel.tasks.activelearning.first import First
from monailabel.tasks.activelearning.random import Random
from monailabel.tasks.infer.bundle import BundleInferTask
from monailabel.tasks.train.bundle import BundleTrainTask
from monailabel.utils.others.generic import device_list, name_to_device

from textdiff_monai import __version__
from textdiff_monai.apps.label.annotations import annotated_rows, submitted_masks
from textdiff_monai.apps.label.clients import JsonObject, of_plain_names
from textdiff_monai.apps.label.segments import SegmentReader, SegmentWriter
from textdiff_monai.data.files import exchange, write_rows
from textdiff_monai.networks.recipe import read_recipe

_logger = logging.getLogger(__name__)
_LOSSLESS = (".png", ".tif", ".tiff", ".bmp", ".nii", ".nii.gz")
# MONAI Label logs whole requests under these names, sentences included, and with annotations the patient's number.
_TALKATIVE = (
    *("datastore.dicom", "datastore.local", "endpoints.datastore", "endpoints.infer", "tasks.infer.basic_infer"),
    *("utils.async_tasks.task", "utils.async_tasks.utils"),
)
_TOLD = (
    *("Infer Request", "Batch_infer request", "COMMAND::"),
    *("Saving Label for Image", "Label Info", "Input - Label Info", "Save Label params"),
)


class TextInferTask(BundleInferTask):
    """The stock task, which shows ``text``, and the ``slices`` that it is about, in the viewers' options.

    Viewers make a text field of every option that is a string. What is typed comes back as an entry of the request, and
    the bundle's transforms read it there: it never gets near the configuration, where a ``$`` would evaluate it.
    """

    def __init__(self, path: str, conf: dict[str, str]) -> None:
        super().__init__(path, conf)
        self._config: dict[str, Any] = {"text": "", "slices": "", **self.config()}
        names = self.bundle_config.get_parsed_content("class_names")
        self.labels = {name.lower(): index for index, name in enumerate(names) if index}

    def writer(self, data: dict[str, Any], extension: str | None = None, dtype: Any = None) -> tuple[Any, Any]:
        """Masks of images that came in a lossy format are PNG; ``doubt`` of the answer says why a sentence has it."""
        lossless = str(data.get("image_path", "")).lower().endswith(_LOSSLESS)
        name, told = super().writer(data, extension if lossless or data.get("result_extension") else ".png", dtype)
        doubt = getattr(data["pred"], "meta", {}).get("doubt", "")
        return name, {**told, "doubt": doubt if isinstance(doubt, str) else "; ".join(doubt)}


class TextTrainTask(BundleTrainTask):
    """Trains the bundle's head on the images annotated so far, each with its sentence.

    A training is the bundle's own, under the recipe of the model in use, in a folder of its own: a data set as a table,
    ``model.pt``, ``history.csv`` and the rest. The model that inference uses is exchanged when it is through, and kept
    as ``model_until_TIME.pt``: a training that is stopped or fails changes nothing, and can be gone on with.
    """

    def __init__(self, path: str, conf: dict[str, str], runs: Path, sentences: Path) -> None:
        super().__init__(path, conf)
        self.runs, self.sentences = runs, sentences

    def config(self) -> dict[str, Any]:
        options = {"max_epochs": 50, "val_split": 0.2, "pretrained": True, "resume": False, "slices_per_volume": 0}
        return {"device": device_list()} | options

    def __call__(self, request: Mapping[str, Any], datastore: Any) -> dict[str, Any]:
        model, run = Path(self.bundle_path) / "models" / "model.pt", self._run_folder(bool(request.get("resume")))
        if not (run / "data.csv").exists():
            val_split = float(request.get("val_split", 0.2))
            write_rows(run / "data.csv", annotated_rows(submitted_masks(datastore), self.sentences, val_split))
        # Sentences travel in the table: as an override of the configuration they could be evaluated. So could what a
        # file holds: under the recipe of the model in use, as expressions.
        known = [name for name in read_recipe(model) if name in self.bundle_config.config]
        options: dict[str, Any] = {"trained": f"$textdiff_monai.read_recipe({str(model)!r})"}
        options |= {name: f"$@trained[{name!r}]" for name in known}
        options |= {
            "bundle_root": str(self.bundle_path),
            "dataset_dir": str(run / "data.csv"),
            "output_dir": str(run),
            "ckpt_dir": str(run),
            "max_epochs": int(request.get("max_epochs", 50)),
            "start": str(model) if request.get("pretrained", True) else None,
            "slices_per_volume": int(request.get("slices_per_volume") or 0) or None,
            "device": str(torch.device(name_to_device(request.get("device")))),
            "resume": bool(request.get("resume")),
            **_begun_with(run),
        }
        _logger.info(f"Training in {run}")
        monai.bundle.run(
            "training", meta_file=self.bundle_metadata_path, config_file=self.bundle_config_path, **options
        )
        kept = exchange(run / "model.pt", model)
        (run / "done").touch()
        _logger.info(f"Training is done: {model} is new, the previous one is {kept}")
        return {}

    def _run_folder(self, resume: bool) -> Path:
        started = sorted(self.runs.glob("*/last.pt"))
        if resume and started and not (started[-1].parent / "done").exists():
            return started[-1].parent
        if resume:
            raise ValueError(f"{self.runs}: no training was stopped there; train without 'resume'")
        return self.runs / time.strftime("%Y%m%d_%H%M%S")


def _begun_with(run: Path) -> dict[str, Any]:
    """The options of the request that started a training which is to be resumed."""
    path = run / "last.pt"
    if not path.exists():
        return {}
    options = torch.load(path, map_location="cpu", weights_only=True)["options"]
    return {name: options[name] for name in ("max_epochs", "start")}


class App(MONAILabelApp):
    """Serves every bundle in the ``model`` folder of the app."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        for name in _TALKATIVE:
            logging.getLogger(f"monailabel.{name}").addFilter(_discreet)
        endpoint.json = JsonObject
        self.bundles = sorted(path.parent for path in (Path(app_dir) / "model").glob("*/configs"))
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name=f"TextDiff ({__version__})",
            description="Segmentation with the help of a sentence",
            version=__version__,
        )
        names = {number: name for task in self._infers.values() for name, number in task.labels.items()}
        endpoint.nifti_to_dicom_seg = SegmentWriter(nifti_to_dicom_seg, names, "AUTOMATIC")
        dicom.nifti_to_dicom_seg = SegmentWriter(nifti_to_dicom_seg, names, "SEMIAUTOMATIC")
        dicom.dicom_to_nifti = SegmentReader(dicom_to_nifti)

    def init_datastore(self) -> Any:
        store = super().init_datastore()
        for name in ("add_image", "save_label"):
            setattr(store, name, of_plain_names(getattr(store, name)))
        return store

    def init_infers(self) -> dict[str, Any]:
        return {path.name: TextInferTask(str(path), self.conf) for path in self.bundles}

    def init_trainers(self) -> dict[str, Any]:
        app, studies = Path(self.app_dir), Path(self.studies)
        table = (studies if studies.is_dir() else app) / "text.csv"
        return {
            path.name: TextTrainTask(str(path), self.conf, app / "runs" / path.name, table) for path in self.bundles
        }

    def init_strategies(self) -> dict[str, Any]:
        return {"first": First(), "random": Random()}

    def infer(self, request: dict[str, Any], datastore: Any = None) -> Any:
        """As in the stock app, but what the client got wrong is a 4xx that says so."""
        expectations = {"text": "one sentence, as a string", "slices": 'a string such as "10-20"'}
        for name in ("text", "slices", "model", "image", "device", "label_tag"):
            if not isinstance(request.get(name, ""), str | None):
                expected = expectations.get(name, "a string")
                raise HTTPException(422, f"{name}: expected {expected}, got a {type(request[name]).__name__}")
        text, image, device = request.get("text"), request.get("image"), request.get("device")
        if request.get("model") not in self._infers:
            raise HTTPException(404, f"model: expected one of {', '.join(self._infers)}")
        if device and name_to_device(device) not in map(name_to_device, device_list()):
            raise HTTPException(
                422, f"device: expected one of {', '.join(device_list())}"
            )  # which goes into the configuration
        store = datastore or self._datastore
        if not image or not (self._is_given(image) or _is_there(image, store)):
            raise HTTPException(404, f"image: there is no {(image or '')[:100]!r} in the studies")
        if os.path.exists(image) and not self._is_given(image):  # something of that name where the server was started
            request = request | {"image": store.get_image_uri(image)}
        _logger.info(f"Infer: {request['model']} on {image} with {len(text or '')} characters of text")
        try:
            return super().infer(request, datastore)
        except (ValueError, MONAILabelException) as error:
            raise HTTPException(422, str(error)) from error

    def _is_given(self, image: str) -> bool:
        """Whether it is the path of what a client may see: of the studies, or of what was sent."""
        sent = [self._sessions.store_path] if self._sessions else []
        folders = map(os.path.realpath, [self.studies, tempfile.gettempdir(), *sent])
        path = Path(os.path.realpath(image))
        return os.path.isabs(image) and path.exists() and any(path.is_relative_to(folder) for folder in folders)

    def _download_dcmqi_tools(self) -> None:
        """Never: the server contacts nothing but its studies, and dcmqi is installed with it."""


def _is_there(image: str, datastore: Any) -> bool:
    try:
        return bool(datastore.get_image_uri(image))
    except IndexError:  # so a DICOMweb server's says that it has no such series
        return False
    except requests.HTTPError as error:
        fix = "ask whoever runs it; Orthanc needs its plugin orthanc-gdcm for compressed pixels"
        raise HTTPException(502, f"the archive did not give the series; {fix}") from error


def _discreet(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_TOLD)
