"""Pixels of DICOM files: decoded, rescaled, white being high."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from textdiff_monai.data.extras import needed
from textdiff_monai.data.scan import Window

_RESCALE = {"RescaleSlope": 1.0, "RescaleIntercept": 0.0}


def values_of(file: Path, header: Any, frame: int = 0) -> np.ndarray:
    """Pixels of a file as they are seen.

    Args:
        file: to read.
        header: of it.
        frame: of several.

    Returns:
        Gray (rows, columns), high being white, in the units of the modality (float32 where they are rescaled); or
        colours (rows, columns, 3), uint8.

    Raises:
        ValueError: for pixels that are not there or cannot be decoded.
    """
    pixels = needed("pydicom.pixels", "dicom", "DICOM")
    stored = _decoded(file, frame)
    if int(header.SamplesPerPixel) > 1:
        return stored if stored.dtype == np.uint8 else (stored >> (int(header.BitsStored) - 8)).astype(np.uint8)
    if header.PhotometricInterpretation == "PALETTE COLOR":
        colours = pixels.apply_color_lut(stored, header)
        return (colours >> 8).astype(np.uint8) if colours.dtype == np.uint16 else colours
    unused = int(header.BitsAllocated) - int(header.BitsStored)
    if unused > 0 and stored.dtype.kind in "iu":  # old files keep overlays there
        stored = (stored << unused) >> unused
    if header.PhotometricInterpretation == "MONOCHROME1":
        stored = _top(header) - stored.astype(np.int32)
    rescaled = pixels.apply_modality_lut(stored, header)
    return rescaled.astype(np.float32) if rescaled.dtype.itemsize > 2 else rescaled


def _decoded(file: Path, frame: int) -> np.ndarray:
    pydicom = needed("pydicom", "dicom", "DICOM")
    meta = pydicom.filereader.read_file_meta_info(file)
    syntax = pydicom.uid.UID(meta.get("TransferSyntaxUID", ""))
    if not syntax or syntax.is_private or not syntax.is_transfer_syntax:
        raise ValueError(
            f"{file.name}: its transfer syntax {syntax or '(none)'} is unknown; export it again, uncompressed"
        )
    try:
        return pydicom.pixels.pixel_array(file, index=frame)
    except AttributeError:
        raise ValueError(f"{file.name} has no pixel data, or no description of it; export it again") from None
    except RuntimeError as error:
        if "missing dependencies" not in str(error):
            raise ValueError(f"{file.name}: its pixels cannot be decoded ({syntax.name}); export it again") from None
        fix = "pip install 'textdiff-monai[dicom]', or export it uncompressed"
        raise ValueError(f"{file.name}: no decoder for {syntax.name} is installed; {fix}") from None
    except Exception as error:  # decoders raise many kinds, which may quote what they read
        what = f"its pixels cannot be read ({type(error).__name__}, {syntax.name})"
        raise ValueError(f"{file.name}: {what}; export it again") from None


def _top(header: Any) -> int:
    """What the darkest value of an inverted image becomes: v is -> top - v."""
    return -1 if int(header.PixelRepresentation) else 2 ** int(header.BitsStored) - 1


def window_of(header: Any) -> Window | None:
    """The first window that a header has (PS3.3 C.11.2), of the values as :func:`values_of` returns them."""
    if "WindowCenter" not in header or "WindowWidth" not in header or int(header.SamplesPerPixel) > 1:
        return None
    centre, width = (float(np.ravel(value)[0]) for value in (header.WindowCenter, header.WindowWidth))
    low, high = centre - width / 2, centre + width / 2
    if header.PhotometricInterpretation == "MONOCHROME1":
        slope, intercept = (float(getattr(header, name, default)) for name, default in _RESCALE.items())
        total = slope * _top(header) + 2 * intercept
        low, high = total - high, total - low
    return (low, high) if high > low else None
