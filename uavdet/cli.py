"""The command line: `uavdet MODE key=value ...`, or `--key value`.

Results and messages for people go to standard output; with `json=True` standard output holds the result as JSON and
nothing else. Exit codes: 0 done, 1 failed, 2 wrong command or configuration, 3 data, 4 weights, 5 training, 6 a missing
package, 7 an export that does not agree with its weights, 130 interrupted.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from uavdet.argument_table import ARGUMENTS, MODES, Argument
from uavdet.arguments import arguments_of, parse_options, read_recipe
from uavdet.assets import DEFAULT_RECIPE, find_yaml, list_assets
from uavdet.errors import UAVDetError, UsageError, suggest_name
from uavdet.other_formats import is_other_format

_RUNNERS = {mode: f"uavdet.commands:run_{mode}" for mode in MODES if mode not in {"help", "checks"}}
_EXPORTED_RUNNERS = {mode: f"uavdet.runtime.predict:run_{mode}" for mode in ("predict", "track")}
"""What runs a mode with an exported file, where PyTorch need not be installed."""
_PLAIN_WORDS = {"compare": "runs", "analyze": "kind"}
"""Modes that take words without a key, and the key that these stand for."""
_FLAG_VALUES = {"true", "false", "yes", "no", "0", "1"}
_RUNNERS |= {
    "benchmark": "uavdet.benchmark.command:run_benchmark",
    "checks": "uavdet.checks:run_checks",
    "convert": "uavdet.data.convert:run_convert",
    "doctor": "uavdet.data.doctor.command:run_doctor",
    "compare": "uavdet.evaluation.compare:run_compare",
    "analyze": "uavdet.analysis.command:run_analyze",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    _escape_odd_names()
    try:
        return _run(words)
    except UAVDetError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0


def _escape_odd_names() -> None:
    """Have file names that are no UTF-8 printed with escapes; Python's default is to end with an error."""
    if getattr(sys.stdout, "errors", "") == "strict" and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")


def _run(words: list[str]) -> int:
    if not words or words[0] in {"help", "-h", "--help"}:
        if len(words) > 2:
            raise UsageError(f"'{words[2]}' is one word too many. Write: uavdet help MODE, METHOD or RECIPE.")
        print(help_text(words[1] if len(words) > 1 else None))
        return 0
    if words[0] in {"version", "--version", "-V"}:
        from uavdet import __version__

        print(__version__)
        return 0
    mode, rest = words[0], words[1:]
    if mode not in MODES:
        raise UsageError(f"Unknown mode '{mode}'.{suggest_name(mode, MODES)} Modes: {', '.join(MODES)}.")
    if any(word in {"-h", "--help", "help"} for word in rest):
        print(help_text(mode))
        return 0
    if mode in _PLAIN_WORDS:
        rest = _name_plain_words(rest, _PLAIN_WORDS[mode])
    options = parse_options(split_words(rest), mode)
    return _runner(mode, options)(options)


def _name_plain_words(words: list[str], name: str) -> list[str]:
    """Put the plain words of `uavdet compare A B` into `runs=A,B`, and that of `uavdet analyze A` into `kind=A`."""
    plain: list[str] = []
    rest: list[str] = []
    for word in words:
        is_value = bool(rest) and _awaits_value(rest[-1], word)
        (rest if "=" in word or word.startswith("--") or is_value else plain).append(word)
    return [*rest, *([f"{name}={','.join(plain)}"] if plain else [])]


def _awaits_value(word: str, following: str) -> bool:
    """Return whether the word after `--key` is its value; a flag takes one only where it is a value of flags."""
    if not word.startswith("--") or "=" in word:
        return False
    name = word.removeprefix("--").replace("-", "_")
    is_flag = name in ARGUMENTS and ARGUMENTS[name].is_flag
    return not is_flag or following.lower() in _FLAG_VALUES


def _runner(mode: str, options: Mapping[str, Any]) -> Callable[[dict[str, Any]], int]:
    """Return what runs a mode."""
    given = str(options.get("model") or "").rstrip("/")
    is_exported = given.endswith((".onnx", "_openvino_model")) or is_other_format(given)
    runners = {**_RUNNERS, **_EXPORTED_RUNNERS} if is_exported else _RUNNERS
    module, _, function = runners[mode].partition(":")
    return getattr(importlib.import_module(module), function)


def split_words(words: Sequence[str]) -> dict[str, str]:
    """Split command-line words into names and values.

    Args:
        words: `key=value`, `--key=value` or `--key value`; `--key` alone means True for a key that is True or False.

    Raises:
        UsageError: A word is none of these, or a key stands twice.
    """
    options: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if not equals and not word.startswith("--"):
            raise UsageError(f"'{word}' is no key=value. Write key=value, or --key value.")
        name = name.replace("-", "_") if "." not in name else name
        if not equals:
            value = _value_after(name, rest)
        if name in options:
            raise UsageError(f"'{name}' is given twice. Give it once.")
        options[name] = value
    return options


def _value_after(name: str, rest: list[str]) -> str:
    """Take the value of `--name` from the words after it; a flag may stand alone."""
    if name in ARGUMENTS and ARGUMENTS[name].is_flag and (not rest or rest[0].lower() not in _FLAG_VALUES):
        return "True"
    if not rest:
        raise UsageError(f"'--{name}' has no value. Write --{name} VALUE, or {name}=VALUE.")
    return rest.pop(0)


def help_text(mode: str | None = None) -> str:
    """Return the help of a mode, a training method or a recipe, or the list of modes.

    Raises:
        UsageError: There is no such mode, and no method or recipe of that name.
    """
    if mode is None:
        lines = ["usage: uavdet MODE key=value ...   (or --key value)", "", "modes:"]
        lines += [f"  {name:9} {text}" for name, text in MODES.items()]
        lines += [
            "",
            "uavdet help MODE lists the keys of a mode, uavdet help METHOD those of a training method,",
            "uavdet help RECIPE what a recipe sets.",
        ]
        return "\n".join(lines)
    if mode not in MODES:
        return _help_on_name(mode)
    arguments = arguments_of(mode)
    recipe = read_recipe(find_yaml(DEFAULT_RECIPE, "cfg/recipes")) if mode == "train" else {}
    lines = [f"uavdet {mode}: {MODES[mode]}", ""]
    if mode == "analyze":
        from uavdet.analysis.command import describe_kinds

        lines += [*describe_kinds(), "", "keys:"]
    lines += [_help_line(argument, recipe) for argument in arguments.values()]
    if mode == "train":
        lines += ["", "  Defaults are those of stock models, then those of our models where they differ."]
        lines += ["  Settings of training methods are METHOD.KEY=VALUE; uavdet help METHOD lists them."]
        lines += [f"  Recipes: {', '.join(Path(name).stem for name in list_assets('cfg/recipes'))}."]
        lines += ["  uavdet help RECIPE shows what one sets."]
    return "\n".join(lines if arguments else lines[:1])


def _help_on_name(name: str) -> str:
    """Return the settings of a training method, the text of a recipe, or both where they share a name.

    The module of a method is imported for it, and PyTorch with it.

    Raises:
        UsageError: There is no such mode, method or recipe; methods are not known where PyTorch is missing.
    """
    try:
        from uavdet.methods.base import available_methods

        methods = available_methods()
    except ImportError:
        methods = {}
    recipes = {file.stem: file for file in list_assets("cfg/recipes").values()}
    stem = name.removesuffix(".yaml")
    if name not in methods and stem not in recipes:
        known = [*MODES, *methods, *recipes]
        raise UsageError(
            f"There is no mode, method or recipe '{name}'.{suggest_name(name, known)} Modes: {', '.join(MODES)}."
        )
    lines = []
    if name in methods:
        lines = [f"uavdet train methods={name}: {(methods[name].__doc__ or '').strip().splitlines()[0]}", ""]
        for key, field in methods[name].Args.model_fields.items():
            default = "" if field.default is None else f" [{field.default}]"
            lines.append(f"  {name}.{key:18} {field.description}{default}")
    if stem in recipes:
        text = recipes[stem].read_text(encoding="utf-8")
        lines += [*([""] if lines else []), f"uavdet train recipe={stem} reads {recipes[stem]}:", "", text.rstrip()]
    return "\n".join(lines)


def _help_line(argument: Argument, recipe: Mapping[str, Any]) -> str:
    default = "" if argument.default in (None, []) else f" [{argument.default}]"
    ours = recipe.get(argument.name, argument.default)
    if ours != argument.default:
        default = f" [{argument.default}; ours {ours}]" if default else f" [ours {ours}]"
    family = f" ({argument.family.upper()} only)" if argument.family else ""
    return f"  {argument.name:18} {argument.help}{default}{family}"
