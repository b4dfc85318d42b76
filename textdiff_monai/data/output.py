"""The formats that results are written in."""

from __future__ import annotations

from textdiff_monai.data.dicom.segmentation import DicomSegWriter
from textdiff_monai.data.names import NIFTI
from textdiff_monai.data.outlines import GeoJsonWriter
from textdiff_monai.data.writers import NiftiWriter, Origin, PngWriter, Writer

WRITERS = {writer.name: writer for writer in (PngWriter(), NiftiWriter(), DicomSegWriter(), GeoJsonWriter())}


def writer_for(of: Origin, name: str | None = None) -> Writer:
    """The writer of a name, or by default that of the image's kind: NIfTI for what lies in space, PNG for pictures.

    Raises:
        ValueError: for a name that is none.
    """
    if name is None:
        in_space = of.space is not None and (of.space.known or of.space.index is None)
        return WRITERS["nifti" if in_space or of.image.name.lower().endswith(NIFTI) else "png"]
    if name not in WRITERS:
        raise ValueError(f"output_type {name!r}: expected one of {', '.join(WRITERS)}, or None for the image's type")
    return WRITERS[name]
