"""What clients of the server send, refused where it is not what is expected."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fastapi import HTTPException

from textdiff_monai.language.reader import name_of


class JsonObject:
    """Stands in for ``json`` where the server reads ``params``: what is no JSON object is a 422 there, not a 500.

    A DICOM SEG is named by the sentence's target, unless ``label_info`` says how.
    """

    dumps = staticmethod(json.dumps)

    @staticmethod
    def loads(params: str) -> dict[str, Any]:
        try:
            read = json.loads(params)
        except (ValueError, RecursionError) as error:
            raise HTTPException(422, f"params: expected a JSON object; {error}") from error
        if not isinstance(read, dict):
            raise HTTPException(422, f"params: expected a JSON object, got {params[:20]!r}")
        told = read.get("label_info")
        if told is not None and not (isinstance(told, list) and all(isinstance(one, dict) for one in told)):
            raise HTTPException(422, "label_info: expected a list of JSON objects")
        if told is None:
            read["label_info"] = [{"target": name_of(read["text"])}] if isinstance(read.get("text"), str) else []
        return read


def of_plain_names(save: Callable[..., str]) -> Callable[..., str]:
    """A datastore's method that saves, for names alone: MONAI Label makes paths of clients' images and tags."""

    def checked(image: str | None, file: str, *others: Any) -> str:
        for name in (image, *others):
            if isinstance(name, str) and (set(name) & {"/", "\\", "\0"} or name in (".", "..")):
                raise HTTPException(422, f"{name[:100]!r}: expected the name of an image or a tag, got a path")
        return save(image, file, *others)

    return checked
