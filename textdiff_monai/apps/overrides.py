"""Options that reach a configuration: compared with its keys and with the types of what stands there."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from pydoc import locate
from traceback import walk_tb
from types import TracebackType
from typing import Any, Literal

import monai.bundle
import torch
from fire.parser import DefaultParseValue
from monai.bundle import ConfigComponent, ConfigParser, ConfigWorkflow, ReferenceResolver
from monai.bundle.utils import DEFAULT_EXP_MGMT_SETTINGS

from textdiff_monai.apps.options import UsageError, expected, fits, split, understood, unknown
from textdiff_monai.data.problems import cause

_GPU = getattr(torch.accelerator.current_accelerator(check_available=True), "type", "")
_GPUS = [f"{_GPU}:{number}" for number in range(torch.accelerator.device_count())] if _GPU else []
_FOLDERS = ("bundle_root", "dataset_dir", "output_dir", "ckpt_dir", "report_dir", "cache_dir", "backbone_dir")
# Where what stands in the configuration does not tell the type.
_KINDS: dict[str, Any] = {
    **dict.fromkeys([*_FOLDERS, "backbone", "text_encoder", "checkpoint", "text"], str),
    **dict.fromkeys(["resize", "tile", "num_labelled", "draws", "max_tokens", "noise_seed"], int | None),
    **dict.fromkeys(["amp", "read_text", "mask_padding"], bool),
    **dict.fromkeys(["blocks", "steps"], Sequence[int]),
    "device": Literal[*filter(None, ("cpu", _GPU)), *_GPUS],  # type: ignore[valid-type]
    "num_classes": int,
    "class_names": Sequence[str],
    "channels": str,
    "intensity_range": Sequence[float] | None,
    "head": dict,
    "augment": str | None,
    "cache_gib": float,
    "minutes": float | None,
    "columns": dict | None,
    "group_by": str | None,
    **dict.fromkeys(["mask_colours", "scales"], dict | None),
    **dict.fromkeys(["draw_evenly", "start", "output_type", "plane"], str | None),
    "neighbours": bool,
    "slices_per_volume": int | None,
    "images": str | Sequence[str],
    "norm": str | list,
    "symmetries": Sequence[str],
}
_EXPRESSIONS = ("$", "@", "%")


def overrides(
    options: Mapping[str, Any], files: Sequence[str], verb: Callable[..., Any], used: Sequence[str]
) -> dict[str, Any]:
    """A verb's options for the configurations that it runs, each of the type that it has there.

    Args:
        options: as they were typed, or as a caller in Python gives them; ``a#b`` is ``b`` in ``a``. What is expected to
            be a text stays one, even if it begins like an expression of MONAI's.
        files: the configurations, the later ones over the earlier.
        verb: whose own options may have been meant.
        used: nodes that the verb runs; an option that these don't need would change nothing.

    Raises:
        UsageError: for options that the configurations don't have, or of another type.
    """
    config = ConfigParser.load_config_files(list(files))
    needed = {key: config[key] for key in _needed(config, used)}
    others, values = list(inspect.signature(verb).parameters), {}
    for name, typed in options.items():
        kind = _kind(name, needed, others)
        if not isinstance(typed, str) or not typed.startswith(_EXPRESSIONS):
            values[name] = understood(name, typed, kind)
        else:
            values[name] = f"./{typed}" if kind is not Any and fits(typed, kind) else typed
    return values


def check_options() -> None:
    """Checks the options of ``python -m monai.bundle run``; every configuration begins with it.

    MONAI takes any option, and Fire reads what was typed as Python where it can. Ends the process with one line if the
    configurations don't have an option, or it is not of the type that it has there; and from then on if this package
    refuses what it gets, such as data that are not in order. In other processes nothing is done.
    """
    program, *words = sys.argv
    if Path(program).parts[-3:] != ("monai", "bundle", "__main__.py") or words[:1] != ["run"]:
        return
    sys.excepthook = _in_one_line
    try:
        _check(words[1:])
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _in_one_line(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Of an error that this package raised, or that is of files, what it says; others are shown whole."""
    first = cause(error)
    places = [str(frame.f_globals.get("__name__")) for frame, _ in walk_tb(first.__traceback__)]
    ours = isinstance(first, ValueError) and bool(places) and places[-1].startswith("textdiff_monai.")
    if ours or isinstance(first, OSError):
        print(f"error: {first}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


def _check(words: Sequence[str]) -> None:
    texts, options = split(words)
    given = inspect.signature(monai.bundle.run).bind(*texts, **options).arguments
    typed = given.pop("override", {})
    defaults = ConfigParser.load_config_file(given["args_file"]) if "args_file" in given else {}
    files = DefaultParseValue(given["config_file"]) if "config_file" in given else defaults["config_file"]
    config = ConfigParser.load_config_files(files)
    own = [*inspect.signature(monai.bundle.run).parameters, *inspect.signature(ConfigWorkflow).parameters]
    for settings in DEFAULT_EXP_MGMT_SETTINGS.values() if "tracking" in given else ():
        own += settings["configs"]  # type: ignore[arg-type]
    for name in defaults.keys() - set(own):
        _kind(name, config, own)
    for name, text in typed.items():
        if name not in own:
            _check_value(name, text, _kind(name, config, own))


def _check_value(name: str, text: Any, kind: Any) -> None:
    """Whether Fire makes of a text what is expected: of "opacity #2" it makes "opacity", of "3" a number."""
    value = DefaultParseValue(text) if isinstance(text, str) else text
    if isinstance(value, str) and value.startswith(_EXPRESSIONS):
        return
    if not fits(value, kind):
        quoted = f"; write text as --{name} \"'{text}'\"" if fits("", kind) else ""
        raise UsageError(f"--{name}: expected {expected(kind)}, got {text!r}{quoted}")
    if value is None:
        raise UsageError(f"--{name}: MONAI ignores None; write --{name} '$None'")
    if isinstance(value, str) and value != text and not text.startswith(("'", '"')):
        raise UsageError(f"--{name}: Python reads {text!r} as {value!r}; write text as --{name} \"'{text}'\"")


def _kind(name: str, config: Mapping[str, Any], others: Sequence[str] = ()) -> Any:
    """The type of an option, as an annotation; of a reference, that of what it refers to."""
    parser, (parent, key) = ConfigParser(dict(config)), ReferenceResolver.split_id(name, last=True)
    if name not in parser:
        more = _more_options(parser.get(parent)) if parent else set()
        if more is not None and key not in more:
            raise unknown(name, [*others, *(f"{parent.replace('::', '#')}#{one}" for one in more), *_ids(config)])
    value = parser.get(name)
    if key in _KINDS:
        return _KINDS[key]
    if isinstance(value, str) and value.startswith("@") and value[1:] in parser:
        return _kind(value[1:], config)
    is_component = isinstance(value, dict) and "_target_" in value
    is_expression = isinstance(value, str) and value.startswith(_EXPRESSIONS)
    return Any if value is None or is_component or is_expression else type(value)


def _more_options(node: Any) -> set[str] | None:
    """Those that may stand in a node though they don't yet: a component's parameters; None: any, in a table of options.

    A section, which holds components, has none.
    """
    if not isinstance(node, dict) or ("_target_" not in node and any(isinstance(one, dict) for one in node.values())):
        return set()
    target = locate(str(ConfigComponent(node).resolve_module_name())) if "_target_" in node else None
    parameters = inspect.signature(target).parameters if callable(target) else {}
    if not parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return None
    return {*parameters, *ConfigComponent.non_arg_keys}


def _ids(node: Any, prefix: str = "") -> Iterator[str]:
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield f"{prefix}{key}"
        yield from _ids(value, f"{prefix}{key}#")


def _needed(config: Mapping[str, Any], nodes: Sequence[str]) -> set[str]:
    """The top-level keys that nodes refer to, directly or through others."""
    found, left = set[str](), list(nodes)
    while left:
        key = ReferenceResolver.split_id(left.pop())[0]
        if key in config and key not in found:
            found.add(key)
            left += ReferenceResolver.find_refs_in_config(config[key], key)
    return found
