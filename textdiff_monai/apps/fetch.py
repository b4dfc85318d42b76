"""The paper's encoders from where their makers publish them, checked before they are used."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from textdiff_monai.apps.weights import import_adm
from textdiff_monai.engines.features import cache_folder

ADM_URL = "https://openaipublic.blob.core.windows.net/diffusion/jul-2021/256x256_diffusion_uncond.pt"
ADM_SHA256 = "a37c32fffd316cd494cf3f35b339936debdc1576dad13fe57c42399a5dbc78b1"
BERT = "emilyalsentzer/Bio_ClinicalBERT"
BERT_REVISION = "41943bf7f983007123c758373c5246305cc536ec"
BERT_FILES = ("config.json", "vocab.txt", "pytorch_model.bin")
_CHUNK = 2**20


def fetch_adm(folder: str | Path | None = None, url: str = ADM_URL, sha256: str = ADM_SHA256) -> Path:
    """OpenAI's unconditional 256 x 256 ImageNet model as a diffusers folder; default in :func:`cache_folder`.

    The downloaded checkpoint (2.2 GB) is removed once it is converted.
    """
    target = Path(folder or f"{cache_folder()}/adm-256")
    if _is_there(target):
        return target
    checkpoint = target.with_name(url.rpartition("/")[2])
    try:
        download(url, checkpoint, sha256)
    except ConnectionError as error:
        raise ConnectionError(
            f"{error}\nWithout a connection: copy {url} (sha256 {sha256}) to this machine and run\n"
            f"  textdiff import-adm FILE {target}"
        ) from error
    import_adm(checkpoint, target)
    checkpoint.unlink()
    return target


def fetch_bert(folder: str | Path | None = None) -> Path:
    """Bio_ClinicalBERT as a Hugging Face folder; default in :func:`cache_folder`.

    One revision, every file checked against the hash that the hub gives for it: SHA-256, or git's for small files.
    """
    target = Path(folder or f"{cache_folder()}/bio-clinicalbert")
    if _is_there(target):
        return target
    partial = target.with_name(f".{target.name}.part")
    try:
        for name in BERT_FILES:
            hf_hub_download(BERT, name, revision=BERT_REVISION, local_dir=partial)
        hashes = {
            name: get_hf_file_metadata(hf_hub_url(BERT, name, revision=BERT_REVISION)).etag for name in BERT_FILES
        }
    except Exception as error:  # of the hub's client, which changes its network library between versions
        raise ConnectionError(
            f"{BERT}: {error}\nPartial downloads are kept; run again to resume. Without a connection: copy "
            f"{', '.join(BERT_FILES)} of https://huggingface.co/{BERT}/tree/{BERT_REVISION} to {target}"
        ) from error
    for name, expected in hashes.items():
        found = _hash(partial / name, git=len(expected or "") == 40)
        if found != expected:
            shutil.rmtree(partial)
            raise ValueError(f"{BERT}: {name} has the hash {found}, expected {expected}; the download was deleted")
    shutil.rmtree(partial / ".cache", ignore_errors=True)
    partial.rename(target)
    return target


def _is_there(folder: Path) -> bool:
    if folder.exists() and not (folder / "config.json").is_file():
        raise FileExistsError(f"{folder} exists and contains no encoder; remove it or choose another folder")
    return folder.exists()


FETCHERS = {"adm-256": fetch_adm, "bio-clinicalbert": fetch_bert}


def fetch(name: str, folder: str | Path | None = None) -> Path:
    """Download one of the paper's encoders, check and convert it; an interrupted download resumes.

    Args:
        name: adm-256 (2.2 GB) or bio-clinicalbert (0.4 GB).
        folder: the target folder; default the user's cache folder, where the configurations look for it.

    Raises:
        ValueError: for another name, or contents that differ from the published ones.
        ConnectionError: if the connection fails.
        FileExistsError: for a folder that exists and contains no encoder.
    """
    if name not in FETCHERS:
        raise ValueError(f"{name!r} is unknown; fetch one of {', '.join(FETCHERS)}")
    return FETCHERS[name](folder)


def download(url: str, path: str | Path, sha256: str) -> Path:
    """A file from the web, with a progress bar; whole and checked, or not there.

    What a download that broke off has left (``PATH.part``) is gone on with.

    Raises:
        ConnectionError: where the address cannot be reached or breaks off; run again to go on.
        ValueError: for other contents than ``sha256`` says; they are deleted.
    """
    target, partial = Path(path), Path(f"{path}.part")
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            missing = _receive(url, partial)
        except urllib.error.HTTPError as error:
            raise ConnectionError(f"{url}: {error}") from error
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionError(f"{url}: {error}; the partial download is kept; run again to resume") from error
        if missing:
            raise ConnectionError(f"{url}: interrupted {missing} bytes before the end; run again to resume")
        partial.replace(target)
    found = _hash(target)
    if found != sha256:
        target.unlink()
        raise ValueError(f"{url}: the file has the sha256 {found}, expected {sha256}; it was deleted; run again")
    return target


def _receive(url: str, partial: Path) -> int:
    """Appends what is not there yet; returns the bytes that are missing all the same."""
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left
            return 0
        raise
    with response:
        have = have if response.status == 206 else 0
        total = have + int(response.headers.get("Content-Length") or 0)
        bar = tqdm(total=total or None, initial=have, unit="B", unit_scale=True, desc=partial.stem)
        with bar, partial.open("ab" if have else "wb") as file:
            while block := response.read(_CHUNK):
                file.write(block)
                bar.update(len(block))
    return max(0, total - partial.stat().st_size)


def _hash(path: Path, git: bool = False) -> str:
    """SHA-256, or the name that git gives to the contents."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode()) if git else hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()
