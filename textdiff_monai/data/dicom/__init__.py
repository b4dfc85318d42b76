"""DICOM: images, series, and segmentations of them."""
