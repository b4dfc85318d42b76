"""The command line: ``textdiff VERB``, one verb a job. Training and evaluation are ``python -m monai.bundle run``."""

from __future__ import annotations

import ast
import difflib
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fire

from textdiff_monai.apps.options import UsageError, split, understood, unknown
from textdiff_monai.data.problems import cause

# Where the function of each verb lies; imported when it is used, and its docstring is the help.
VERBS = {
    "demo": "textdiff_monai.apps.demo:demo",
    "segment": "textdiff_monai.apps.segment:segment",
    "targets": "textdiff_monai.apps.targets:targets",
    "recipe": "textdiff_monai.apps.recipe:recipe",
    "check": "textdiff_monai.apps.check:check",
    "fit": "textdiff_monai.apps.fit:fit",
    "report": "textdiff_monai.apps.report.report:report",
    "compare": "textdiff_monai.apps.compare:compare",
    "reword": "textdiff_monai.apps.reword:reword",
    "label-server": "textdiff_monai.apps.label.server:serve",
    "bundle": "textdiff_monai.apps.bundle:write_bundle",
    "fetch": "textdiff_monai.apps.fetch:fetch",
    "import-adm": "textdiff_monai.apps.weights:import_adm",
    "import-head": "textdiff_monai.apps.import_head:import_head",
    "phantom": "textdiff_monai.phantoms.phantom:write_phantom",
    "pretrain-text": "textdiff_monai.apps.pretrain_text:pretrain_text",
    "samples": "textdiff_monai.apps.samples:samples",
}


def main() -> None:
    """Entry point: 0 when the job is done, 1 with a message on bad input, 2 on a command line that is not understood,
    130 when it is stopped by Ctrl-C.

    A path that a verb returns is printed. Who reads the output may stop, as head does; that is no error.
    """
    try:
        try:
            _main()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
        sys.exit(141)  # as other programs that SIGPIPE ends


def _main() -> None:
    os.environ.setdefault("PAGER", "cat")
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    verb, *words = sys.argv[1:] or ["--help"]
    if verb in ("--help", "-h"):
        print(_overview())
        return
    try:
        function = _function(verb)
        if "--help" in words or words[-1:] == ["-h"]:  # -h before a value is an option of that letter, such as --host
            function.__annotations__ |= inspect.get_annotations(function, eval_str=True)  # which the help shows
            with redirect_stderr(sys.stdout):
                fire.Fire({verb: function}, [verb, "--", "--help"], "textdiff")
        job = prepared(function, words)
    except UsageError as error:
        more = f"textdiff {verb} --help" if verb in VERBS else "textdiff --help"
        print(f"error: {error}\nFor help: {more}", file=sys.stderr)
        sys.exit(2)
    try:
        written = job()
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        first = cause(error)
        if isinstance(first, BrokenPipeError) or not isinstance(first, (OSError, ValueError, ModuleNotFoundError)):
            raise
        sys.exit(f"error: {first}")
    if isinstance(written, Path):
        print(f"ready: {written}")


def prepared(function: Callable[..., Any], words: Sequence[str]) -> Callable[[], Any]:
    """A call of a function with the arguments that words give it, each of the type that the signature says.

    Options that the signature collects (``**options``) stay texts.

    Raises:
        UsageError: for an option that does not exist, one too few or too many, or a value of another type.
    """
    texts, options = split(words)
    signature = inspect.signature(function, eval_str=True)
    named = {name: one for name, one in signature.parameters.items() if one.kind is not one.VAR_KEYWORD}
    for name in [name for name in options if name not in named]:
        letter = [one for one in named if one[0] == name]
        if len(letter) == 1:  # -t for --text, as the help has it
            options[letter[0]] = options.pop(name)
        elif len(named) == len(signature.parameters):
            raise unknown(name, named)
    try:
        call = signature.bind(*texts, **options)
    except TypeError as error:
        raise UsageError(str(error)) from error
    for name in named.keys() & call.arguments.keys():
        call.arguments[name] = understood(name, call.arguments[name], named[name].annotation)
    return partial(function, *call.args, **call.kwargs)


def _function(verb: str) -> Callable[..., Any]:
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        raise UsageError(f"there is no command {verb}" + (f"; did you mean {near[0]}?" if near else ""))
    module, name = VERBS[verb].split(":")
    return getattr(import_module(module), name)


def _overview() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb:{width}}  {_summary(home)}" for verb, home in VERBS.items()]
    return "\n".join(
        ["textdiff COMMAND ..., where COMMAND is one of", "", *lines, "", "For help: textdiff COMMAND --help"]
    )


def _summary(home: str) -> str:
    """The first line of a function's docstring, read without importing what it needs: PyTorch takes seconds."""
    module, name = home.split(":")
    path = str(getattr(find_spec(module), "origin", None))
    body = ast.parse(Path(path).read_text(encoding="utf-8")).body
    function = next(node for node in body if isinstance(node, ast.FunctionDef) and node.name == name)
    return (ast.get_docstring(function) or "").partition("\n")[0]


if __name__ == "__main__":
    main()
