"""Write the pages of the reference that say what the program itself says.

    python docs/reference/make.py

command-line.md is made of the commands and their help, settings.md of foveal.config, python.md of
the docstrings of all public names, and json.md of the published schemas. A test compares them.
"""

from __future__ import annotations

import inspect
import json
import logging
import re
import sys
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import griffe
import typer
from pydantic.fields import FieldInfo

import foveal
from foveal import cli, errors
from foveal.cli.outcomes import Outcome, outcome_of
from foveal.cli.schema_files import FOLDER as SCHEMAS
from foveal.cli.schema_files import find_verbs, schema_path
from foveal.config import PRESETS, Settings, parse_settings

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"
MADE = "<!-- Made by docs/reference/make.py: change the source, not this page. -->"
EXAMPLE = "<!-- not run: an example of the help, which the tests parse -->"
SHARED_PANEL = "How DATA is read"
"""Options that many commands have in common, which are listed once."""

logging.getLogger("griffe").setLevel(logging.ERROR)


def make_pages() -> dict[str, str]:
    """The pages by their names."""
    return {
        "command-line.md": "\n".join(command_page()),
        "settings.md": "\n".join(settings_page()),
        "python.md": "\n".join(python_page()),
        "json.md": "\n".join(json_page()),
    }


# Commands


def command_page() -> Iterator[str]:
    """Every command with its arguments, options, defaults and examples."""
    yield "# Every command"
    yield ""
    yield MADE
    yield ""
    yield "What all commands have in common, such as exit codes, `--json` and `--dry-run`, stands"
    yield "in [What commands have in common](commands.md); what `--json` writes in [JSON](json.md)."
    yield ""
    root: Any = typer.main.get_command(cli.app)
    leaves = list(_leaves(root, "foveal"))
    yield "| command | |"
    yield "|---|---|"
    for name, command in leaves:
        first = _prose(_paragraphs(command.help)[0])
        yield f"| [`{name}`](#{name.replace(' ', '-')}) | {_cell(first)} |"
    yield ""
    shared: dict[str, Any] = {}
    for name, command in leaves:
        yield from _command(name, command, shared)
    yield "## How DATA is read"
    yield ""
    yield "Commands that take DATA take these options too. DATA is `PATH`, `PATH:SPLIT` or"
    yield "`PATH:SPLIT+SPLIT`; [Data formats](formats.md) says what a path may be."
    yield ""
    yield from _options(shared.values())


def _leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """All commands that do something, with what people type for them."""
    if not hasattr(command, "commands"):
        yield name, command
        return
    for part, below in command.commands.items():
        yield from _leaves(below, f"{name} {part}")


def _command(name: str, command: Any, shared: dict[str, Any]) -> Iterator[str]:
    yield f"## {name}"
    yield ""
    for paragraph in _paragraphs(command.help):
        yield _prose(paragraph)
        yield ""
    arguments = [each for each in command.params if not each.opts[0].startswith("-")]
    options = [each for each in command.params if each.opts[0].startswith("-")]
    words = " ".join(_argument_name(each) for each in arguments)
    yield "```text"
    yield f"{name} {words} [OPTIONS]".replace("  ", " ")
    yield "```"
    yield ""
    own = [each for each in options if each.rich_help_panel != SHARED_PANEL]
    common = [each for each in options if each.rich_help_panel == SHARED_PANEL]
    yield from _options([*arguments, *own])
    if common:
        shared.update({each.name: each for each in common})
        yield "It takes the options of [How DATA is read](#how-data-is-read), too."
        yield ""
    examples = [line for line in _paragraphs(command.epilog or "") if line.startswith("foveal ")]
    if examples:
        yield EXAMPLE
        yield "```bash"
        yield from examples
        yield "```"
        yield ""


def _options(parameters: Iterable[Any]) -> Iterator[str]:
    rows = [each for each in parameters if not each.hidden and each.name != "help"]
    if not rows:
        return
    yield "| argument or option | default | meaning |"
    yield "|---|---|---|"
    for each in rows:
        name = _argument_name(each) if not each.opts[0].startswith("-") else _option_name(each)
        yield f"| `{_cell(name)}` | {_default(each)} | {_cell(_prose(each.help or ''))} |"
    yield ""


def _argument_name(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _option_name(option: Any) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    if getattr(option, "is_flag", False):
        return names
    return f"{names} {option.metavar or _metavar(option.type_descriptor.annotation)}"


def _metavar(annotation: Any) -> str:
    if typing.get_origin(annotation) is typing.Literal:
        return "|".join(map(str, typing.get_args(annotation)))
    kinds = {int: "INTEGER", float: "NUMBER", str: "TEXT", Path: "PATH"}
    return kinds.get(annotation, "VALUE")


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    value = parameter.default
    if value is True:
        return f"`{parameter.opts[0]}`"
    if value is None or value is False or value == () or value == []:
        return ""
    return f"`{value}`"


# Settings


def settings_page() -> Iterator[str]:
    """Every setting: type, default, presets, unit, text and when to change it."""
    yield "# Every setting"
    yield ""
    yield MADE
    yield ""
    yield "A setting is named `section.name`. On the command line it is set by `--set"
    yield "training.epochs=20`, in a file for `--config` by `epochs = 20` under `[training]`, and"
    yield 'in Python by `settings={"training": {"epochs": 20}}`. `none` stands for no value.'
    yield ""
    yield "A preset is a set of settings by name. Under each setting stands what presets make of it"
    yield "where that is not the default; `foveal train DATA --preset NAME --show` prints all"
    yield "settings of one, with those that follow from the data."
    yield ""
    yield f"The presets are {_enumerated(f'`{name}`' for name in PRESETS)}."
    yield ""
    # As they are written, whatever package with weights is installed here.
    presets = {name: parse_settings(dict(values), where=name) for name, values in PRESETS.items()}
    module = _read_module("foveal.config.settings")
    for section, field in Settings.model_fields.items():
        kind: Any = field.annotation
        described: Any = module[kind.__name__]
        yield f"## {section}"
        yield ""
        yield described.docstring.value
        yield ""
        for name, own in kind.model_fields.items():
            text, unit, change = parse_setting(described[name].docstring.value)
            yield f"### {section}.{name}"
            yield ""
            yield _prose(text)
            yield ""
            yield f"- Value: {value_kind(own)}. Default: `{_value(own.default)}`."
            yield from _in_presets(section, name, own.default, presets)
            if unit:
                yield f"- Unit: {unit}."
            yield f"- {_prose(change)}"
            yield ""


_SETTING = re.compile(
    r"(?P<text>.+)\n\n(?:Unit: (?P<unit>.+?)\. )?(?P<change>(?:Change|Leave) it\b.+)", re.DOTALL
)


def parse_setting(text: str) -> tuple[str, str, str]:
    """What a setting's docstring says: what it is, its unit or "", and when to change it.

    Raises:
        ValueError: it does not say when to change it.
    """
    found = _SETTING.fullmatch(inspect.cleandoc(text))
    if found is None:
        raise ValueError(f"no 'Change it ...' or 'Leave it ...' at the end of: {text}")
    told = (" ".join((found[name] or "").split()) for name in ("text", "unit", "change"))
    first, unit, change = told
    return first, unit, change


def _in_presets(
    section: str, name: str, default: Any, presets: dict[str, Settings]
) -> Iterator[str]:
    by_value: dict[str, list[str]] = {}
    for preset, settings in presets.items():
        value = getattr(getattr(settings, section), name)
        if value != default:
            by_value.setdefault(_value(value), []).append(preset)
    for value, names in by_value.items():
        yield f"- In {_enumerated(f'`{each}`' for each in names)}: `{value}`."


def value_kind(field: FieldInfo) -> str:
    """What a setting may be, in words."""
    return _kind(field.annotation, field.metadata)


def _kind(annotation: Any, limits: Iterable[Any] = ()) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _kind(arguments[0], arguments[1].metadata)
    if origin is typing.Literal:
        return _enumerated((f"`{each}`" for each in arguments), word="or")
    if origin in (typing.Union, types.UnionType):
        kinds = ["`none`" if each is types.NoneType else _kind(each, limits) for each in arguments]
        return ", or ".join(kinds)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return f"a list; each is {_kind(arguments[0])}"
        return f"a list of {len(arguments)}: {'; '.join(_kind(each) for each in arguments)}"
    if origin is dict:
        return f"a table of names; each is {_kind(arguments[1])}"
    names = {int: "a whole number", float: "a number", bool: "`true` or `false`", str: "text"}
    return names[annotation] + _limits(limits)


def _limits(limits: Iterable[Any]) -> str:
    words = {"ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}"}
    told = [
        text.format(f"{getattr(limit, name):g}")
        for limit in limits
        for name, text in words.items()
        if getattr(limit, name, None) is not None
    ]
    return f", {' and '.join(told)}" if told else ""


def _value(value: Any) -> str:
    """A value as TOML and --set have it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(_value(each) for each in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name} = {_value(each)}' for name, each in value.items())}}}"
    return str(value)


# Python


def python_page() -> Iterator[str]:
    """Every public name: signature, text, arguments, errors and an example."""
    yield "# Python"
    yield ""
    yield MADE
    yield ""
    yield "These are the public names of `foveal`. Importing it loads nothing heavy; each name"
    yield "comes with its module at its first use. Boxes are float32 `[N, 4]` as x1, y1, x2, y2 in"
    yield "pixels of the image as it came, labels count from 0, and there is no background class."
    yield ""
    yield "The examples begin with `import foveal`, in a folder that holds a data set `cells`, a"
    yield "run `run` that was trained on it, and an image `smear.jpg`. In signatures `DataLike` is"
    yield "a `Dataset` or the path that `foveal.read` takes. `ImageLike` is the path of an image, a"
    yield "PIL image, an array `[H, W]` or `[H, W, C]`, a tensor `[H, W]` or `[C, H, W]`, or a"
    yield "record of a data set."
    yield ""
    names = [name for name in foveal.__all__ if not name.startswith("__")]
    objects = {name: _home(name) for name in names}
    yield "| name | |"
    yield "|---|---|"
    for name, found in objects.items():
        yield f"| [`{name}`](#{name.lower()}) | {_cell(_prose(_first_line(found)))} |"
    yield ""
    for name in sorted(objects, key=lambda each: (objects[each].is_class, each.lower())):
        yield from _public(name, objects[name])
    yield from _errors()


def _home(name: str) -> Any:
    value = getattr(foveal, name)
    return _read_module(value.__module__)[value.__qualname__]


@cache
def _read_module(name: str) -> Any:
    """A module of the package, read and not imported."""
    path = SOURCE.joinpath(*name.split(".")).with_suffix(".py")
    path = path if path.is_file() else path.with_suffix("") / "__init__.py"
    return griffe.visit(name, filepath=path, code=path.read_text(encoding="utf-8"))


def _first_line(found: Any) -> str:
    return str(found.docstring.value).partition("\n\n")[0].replace("\n", " ")


def _public(name: str, found: Any) -> Iterator[str]:
    yield f"## {name}"
    yield ""
    if not found.is_class:
        yield from _call(f"foveal.{name}", found)
        yield from _sections(found)
        return
    members = [each for each in found.members.values() if _is_public(each)]
    if "__init__" in found.members:
        yield from _call(f"foveal.{name}", found.members["__init__"])
    yield from _sections(found, without=("examples",))
    if "__init__" in found.members:
        yield from _sections(found.members["__init__"], without=("text",))
    yield from _sections(found, without=("text", "attributes", "raises"))
    for each in members:
        if each.is_attribute and "property" in each.labels:
            yield f"### {name}.{each.name}"
            yield ""
            yield from _sections(each)
        elif each.is_function:
            yield f"### {name}.{each.name}"
            yield ""
            yield from _call(each.name, each)
            yield from _sections(each)


def _is_public(member: Any) -> bool:
    return not member.name.startswith("_") and member.docstring is not None


def _call(name: str, function: Any) -> Iterator[str]:
    """The signature, one parameter a line where it is long."""
    parts: list[str] = []
    star = False
    for each in function.parameters:
        if each.name in ("self", "cls"):
            continue
        kind = each.kind.value
        mark = {"variadic positional": "*", "variadic keyword": "**"}.get(kind, "")
        if kind == "keyword-only" and not star:
            parts.append("*")
        star = star or bool(mark) or kind == "keyword-only"
        default = "" if each.default is None or mark else f" = {each.default}"
        annotation = f": {each.annotation}" if each.annotation is not None else ""
        parts.append(f"{mark}{each.name}{annotation}{default}")
    returns = function.returns
    end = f" -> {returns}" if returns is not None and str(returns) != "None" else ""
    line = f"{name}({', '.join(parts)}){end}"
    yield "```text"
    if len(line) <= 100:
        yield line
    else:
        yield f"{name}("
        yield from (f"    {part}," for part in parts)
        yield f"){end}"
    yield "```"
    yield ""


def _sections(found: Any, *, without: Sequence[str] = ()) -> Iterator[str]:
    if found.docstring is None:
        return
    titles = {
        "parameters": "Arguments",
        "attributes": "Attributes",
        "raises": "Errors",
        "returns": "Gives",
        "yields": "Gives",
    }
    for section in found.docstring.parse("google"):
        kind = section.kind.value
        if kind in without:
            continue
        if kind == "text":
            yield _prose(section.value)
            yield ""
        elif kind in ("parameters", "attributes", "raises"):
            yield f"| {titles[kind].lower()} | |"
            yield "|---|---|"
            for each in section.value:
                name = str(each.annotation if kind == "raises" else each.name)
                if name.endswith(","):  # several names with one text, which griffe cuts
                    together = re.search(rf"^ *({name}[^:]+):", found.docstring.value, re.MULTILINE)
                    name = together[1] if together else name
                yield f"| `{name}` | {_cell(_prose(each.description))} |"
            yield ""
        elif kind in ("returns", "yields"):
            for each in section.value:
                text = " ".join(part for part in (each.name, each.description) if part)
                yield f"{titles[kind]}: {_prose(text)}"
                yield ""
        elif kind == "examples":
            for what, text in section.value:
                if what.value == "text":
                    yield _prose(text)
                else:
                    yield "```pycon"
                    yield re.sub(r"  # doctest: .*", "", text)
                    yield "```"
                yield ""
        elif kind == "admonition":
            raise ValueError(f"{found.path}: the section {section.title} is not understood.")


def _errors() -> Iterator[str]:
    yield "## Errors"
    yield ""
    yield "All are subclasses of `FovealError`, in `foveal.errors`. The code is that with which the"
    yield "command line ends."
    yield ""
    yield "| error | code | |"
    yield "|---|---|---|"
    kinds = [
        kind
        for kind in vars(errors).values()
        if inspect.isclass(kind) and issubclass(kind, errors.FovealError)
    ]
    for kind in kinds:
        code = outcome_of(kind("")).code
        first = (inspect.getdoc(kind) or "").partition("\n\n")[0]
        yield f"| `{kind.__name__}` | {code} | {_cell(_prose(first))} |"
    yield ""


# JSON


def json_page() -> Iterator[str]:
    """Every field of what --json writes, and of the files of results."""
    yield "# JSON"
    yield ""
    yield MADE
    yield ""
    yield "Every command writes one document with `--json`, and some write files of results. Their"
    yield "schemas are in `foveal/cli/schemas` of the package. `schema_version` rises where a field"
    yield "goes or means something else; new fields leave it. `name[]` stands for each entry of a"
    yield "list, and `name.*` for each entry of a table."
    yield ""
    yield "Every document has `verb`, `schema_version` and `outcome`, one of"
    yield f"{_enumerated((f'`{each.word}`' for each in Outcome), word='or')}."
    yield "Where it did not end well it has `error` with `kind` and `message` besides, and no other"
    yield "field."
    yield ""
    for command in find_verbs(cli.app):
        verb: Any = command
        schema = json.loads(schema_path(verb.verb).read_text(encoding="utf-8"))
        yield f"## foveal {verb.verb}"
        yield ""
        for document in verb.documents:
            own = schema["$defs"][document.__name__]
            yield f"{own['description']}"
            yield ""
            yield from _fields(own, schema, without=("verb", "schema_version", "outcome"))
    for path in sorted((SCHEMAS / "files").glob("*.json")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        yield f"## {schema['title']}"
        yield ""
        yield f"{schema['description']}"
        yield ""
        yield from _fields(schema, schema)


def _fields(schema: Any, root: Any, without: Iterable[str] = ()) -> Iterator[str]:
    rows = [
        row
        for name, part in schema["properties"].items()
        if name not in without
        for row in _rows(name, part, root)
    ]
    yield "| field | type | |"
    yield "|---|---|---|"
    for name, kind, text in rows:
        yield f"| `{name}` | {_cell(kind)} | {_cell(_prose(text))} |"
    yield ""


def _rows(
    name: str, part: Any, root: Any, seen: tuple[str, ...] = ()
) -> Iterator[tuple[str, str, str]]:
    """A field and those inside of it: names, types and texts."""
    text = part.get("description", "")
    reference = part.get("$ref")
    if reference in seen:
        return
    if reference:
        seen = (*seen, reference)
        target = root["$defs"][reference.removeprefix("#/$defs/")]
        part = {**target, **{key: value for key, value in part.items() if key != "$ref"}}
        text = text or target.get("description", "")
    choices = part.get("anyOf") or part.get("oneOf") or []
    whole = [each for each in choices if each.get("type") != "null"]
    null = " or null" if len(whole) < len(choices) else ""
    if len(whole) == 1:
        inner = {**whole[0], **({"description": text} if text else {})}
        for index, (own, kind, told) in enumerate(_rows(name, inner, root, seen)):
            yield own, kind + null if index == 0 and "null" not in kind else kind, told
        return
    if "properties" in part:
        file = re.match(r"#/\$defs/(\w+)$", reference or "")
        yield name, f"object{null}", text
        title = part.get("title", "")
        if title.endswith(".json") and file is None:
            return
        for below, inner in part["properties"].items():
            yield from _rows(f"{name}.{below}", inner, root, seen)
        return
    below = part.get("additionalProperties")
    if part.get("type") == "array" and "items" in part and part["items"] is not False:
        kind, inner_rows = "list", list(_rows(f"{name}[]", part["items"], root, seen))
    elif part.get("type") == "object" and isinstance(below, dict):
        kind, inner_rows = "table", list(_rows(f"{name}.*", below, root, seen))
    else:
        yield name, _json_kind(part) + null, text
        return
    if len(inner_rows) == 1:
        yield name, f"{kind} of {inner_rows[0][1]}{null}", text or inner_rows[0][2]
    else:
        yield name, f"{kind}{null}", text
        yield from inner_rows[1:]


def _json_kind(part: Any) -> str:
    if "const" in part:
        return f"`{json.dumps(part['const'])}`"
    if "enum" in part:
        return _enumerated((f"`{json.dumps(each)}`" for each in part["enum"]), word="or")
    kind = part.get("type", "any")
    kinds = [kind] if isinstance(kind, str) else kind
    words = {"string": "text", "integer": "whole number", "boolean": "true or false"}
    if part.get("format") == "path":
        words["string"] = "path"
    choices = part.get("anyOf") or part.get("oneOf")
    if choices:
        return " or ".join(dict.fromkeys(_json_kind(each) for each in choices))
    return " or ".join(words.get(each, each) for each in kinds)


# Words


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n")]


def _prose(text: str) -> str:
    """Text of the source as Markdown: paragraphs of one line, signs that would mean something."""
    parts = re.split(r"(`+[^`]*`+)", text.replace("\\[", "["))
    safe = [
        part if index % 2 else re.sub(r"([*<])", r"\\\1", part) for index, part in enumerate(parts)
    ]
    lines = "".join(safe).split("\n\n")
    return "\n\n".join(
        each if each.startswith("    ") else " ".join(each.split()) for each in lines
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _enumerated(words: Iterable[str], *, word: str = "and") -> str:
    *most, last = words
    return f"{', '.join(most)} {word} {last}" if most else last


if __name__ == "__main__":
    for _name, _text in make_pages().items():
        (HERE / _name).write_text(_text.rstrip() + "\n", encoding="utf-8")
        sys.stdout.write(f"{HERE / _name}\n")
