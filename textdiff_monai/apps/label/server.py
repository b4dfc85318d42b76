"""One command from a folder of images to a MONAI Label server that reads sentences."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from textdiff_monai.apps.bundle import bundle_root
from textdiff_monai.data.files import written_whole

MODEL = "textdiff"
# MONAI Label looks for its app in this file of the app folder.
_MAIN = """from textdiff_monai.apps.label.server import app_class

App = app_class()
"""
_EXTENSIONS = ["*.nii.gz", "*.nii", "*.png", "*.jpg", "*.jpeg", "*.tif", "*.tiff", "*.bmp"]
_USAGE = """
MONAI Label will listen at {url} (stop it with Ctrl-C)
  studies  {studies}
  app      {app} (its own copy of the model; training writes there)
  3D Slicer: module MONAILabel, server {url}; the sentence is the option "text" of the model {model}
  OHIF:      {url}/ohif/ if the studies are a DICOMweb server; the same option
  without a viewer:
    curl -X POST "{url}/infer/{model}?image=IMAGE_ID&output=image" \\
         -F 'params={{"text": "Segment the left lung."}}' -o mask.png
Sentences to train with: a table text.csv with the columns image,text next to the images.
"""


def serve(
    studies: str, app_dir: str | None = None, bundle: str | None = None, host: str = "127.0.0.1", port: int = 8000
) -> None:
    """Start a MONAI Label server for 3D Slicer, OHIF or curl that reads sentences and trains on annotations.

    The app folder is set up at the first start; the server runs until it is stopped.

    Args:
        studies: a folder of images, or the URL of a DICOMweb server.
        app_dir: the server's own folder, kept between runs; default STUDIES-label; a DICOMweb server needs it.
        bundle: the bundle to copy into a new app folder; default the one in this package.
        host: address to listen on; any other than 127.0.0.1 gives others access, without a password.
        port: port to listen on.

    Raises:
        FileNotFoundError: for studies or a bundle that do not exist.
        ModuleNotFoundError: without MONAI Label.
    """
    remote = studies.startswith(("http://", "https://"))
    if not remote and not Path(studies).is_dir():
        raise FileNotFoundError(f"{studies}: expected a folder of images, or the URL of a DICOMweb server")
    if importlib.util.find_spec("monailabel") is None:
        raise ModuleNotFoundError("MONAI Label is not installed; see bundle/docs/label.md")
    if app_dir is None and remote:
        raise ValueError("a DICOMweb server needs a folder for the app: --app_dir FOLDER")
    studies = studies if remote else str(Path(studies).resolve())
    app = Path(app_dir or f"{studies}-label").resolve()
    if not app.exists():
        set_up(app, bundle or bundle_root())
    elif not (app / "main.py").is_file():
        raise FileExistsError(f"{app} exists and is not an app of this server; give another --app_dir")
    url = f"http://{host}:{port}"
    _settle(app)
    app_class()  # whatever is missing shows before the server starts
    print(_USAGE.format(url=url, studies=studies, app=app, model=MODEL), flush=True)

    from monailabel.config import settings
    from monailabel.main import Main

    # By default every web page may call the server. The setting cannot stay: upstream fails to print it.
    settings.MONAI_LABEL_CORS_ORIGINS = [url]
    importlib.import_module("monailabel.app")
    settings.MONAI_LABEL_CORS_ORIGINS = []
    main = Main()
    options = {"app": app, "studies": studies, "host": host, "port": port}
    command = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    main.action_start_server(main.args_parser().parse_args(["start_server", *command]))


def set_up(app: str | Path, bundle: str | Path) -> Path:
    """A new app folder with its own copy of a bundle: configurations and head copied, frozen encoders linked.

    Raises:
        FileNotFoundError: for a folder that is no bundle with a trained model.
        FileExistsError: for an app folder that exists.
    """
    source = Path(bundle).resolve()
    for needed in ("configs/inference.json", "configs/train.json", "models/model.pt"):
        if not (source / needed).is_file():
            raise FileNotFoundError(f"{source / needed} does not exist; give the folder of a bundle with --bundle")
    with written_whole(app) as folder:
        (folder / "main.py").write_text(_MAIN)
        copy = folder / "model" / MODEL
        shutil.copytree(source / "configs", copy / "configs")
        (copy / "models").mkdir()
        shutil.copy2(source / "models" / "model.pt", copy / "models")
        for encoder in filter(Path.is_dir, (source / "models").iterdir()):
            (copy / "models" / encoder.name).symlink_to(encoder.resolve(), target_is_directory=True)
    return Path(app)


def app_class() -> type:
    """Our app's class, for the ``main.py`` of an app folder."""
    stand_in_for_torchvision()
    from textdiff_monai.apps.label.app import App

    return App


def stand_in_for_torchvision() -> None:
    """Where torchvision is not installed, give MONAI Label the two names it imports and we never reach."""
    import textdiff_monai.networks.textdiff  # noqa: F401  first: its libraries would take the stand-in for the real one

    if importlib.util.find_spec("torchvision") is None:
        package, utils = (_module(name) for name in ("torchvision", "torchvision.utils"))
        package.utils = utils  # type: ignore[attr-defined]
        utils.make_grid = utils.save_image = _missing  # type: ignore[attr-defined]


def _module(name: str) -> ModuleType:
    sys.modules[name] = module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    return module


def _missing(*_: Any, **__: Any) -> None:
    raise ModuleNotFoundError("torchvision is not installed")


def _settle(app: Path) -> None:
    """What MONAI Label reads from the environment when it is imported, unless the user has decided.

    What comes from a DICOMweb server is kept in the app's folder.
    """
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # dcmqi
    settings = {
        "HF_HUB_OFFLINE": "1",
        "MONAI_LABEL_DATASTORE_FILE_EXT": json.dumps(_EXTENSIONS),
        "MONAI_LABEL_DICOMWEB_CACHE_PATH": str(app / "studies"),
        "MONAI_LABEL_TRACKING_ENABLED": "false",
        "MONAI_LABEL_AUTO_UPDATE_SCORING": "false",
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
