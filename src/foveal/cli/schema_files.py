"""The published JSON schemas: of what each verb writes with --json, and of files of results.

Schemas of verbs are made of the dataclasses of their documents: `python -m foveal.cli.schema_files`
writes them. Those in `schemas/files` are written by hand: a document shows such a file where a
field's metadata name it, as in `field(metadata={SCHEMA: "metrics"})`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer

from foveal.cli.answers import SCHEMA
from foveal.cli.outcomes import Outcome
from foveal.files import write_file

FOLDER = Path(__file__).parent / "schemas"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ATTRIBUTES = re.compile(r"^Attributes:\n((?:[ ]{4,}.*\n?|\n)+)", re.MULTILINE)
_ATTRIBUTE = re.compile(r"^ {4}(\w[\w, ]*): (.+(?:\n {8}.*)*)", re.MULTILINE)
_TEXTS = {"type": "array", "items": {"type": "string"}}


def find_verbs(app: typer.Typer) -> Iterator[Callable[..., None]]:
    """All verbs of an app and of its groups."""
    for each in app.registered_commands:
        if hasattr(each.callback, "verb"):
            yield each.callback  # pyrefly: ignore[invalid-yield]
    for group in app.registered_groups:
        if group.typer_instance is not None:
            yield from find_verbs(group.typer_instance)


def schema_path(verb: str) -> Path:
    """Where the schema of a verb's JSON is."""
    return FOLDER / f"{verb.replace(' ', '-')}.json"


def file_schema(name: str) -> dict[str, Any]:
    """The schema of a file of results, such as 'metrics'."""
    schema: dict[str, Any] = json.loads((FOLDER / "files" / f"{name}.json").read_text("utf-8"))
    return schema


def make_schema(command: Callable[..., None]) -> dict[str, Any]:
    """The schema of all that a verb writes with --json: its result, a plan, an error."""
    verb: Any = command
    definitions: dict[str, Any] = {}
    head = {"verb": {"const": verb.verb}, "schema_version": {"const": verb.version}}
    ends = [each.word for each in Outcome if each.code < Outcome.BAD_INPUT.code]
    errors = [each.word for each in Outcome if each not in (Outcome.DONE, Outcome.PARTLY_DONE)]
    choices = {}
    for document in verb.documents:
        schema = _schema_of(document, definitions)
        properties = {**head, "outcome": {"enum": ends}, **schema["properties"]}
        choices[document.__name__] = {"description": schema["description"], **_closed(properties)}
    said = _closed({"kind": {"type": "string"}, "message": {"type": "string"}})
    choices["error"] = _closed({**head, "outcome": {"enum": errors}, "error": said})
    if "dry_run" in get_type_hints(command):
        texts = dict.fromkeys(("reads", "writes", "replaces", "removes", "steps"), _TEXTS)
        plan = {**head, "outcome": {"const": "done"}, "dry_run": {"const": True}, **texts}
        choices["plan"] = _closed(plan)
    return {
        "$schema": _DIALECT,
        "title": f"foveal {verb.verb} --json",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in choices],
        "$defs": {**choices, **definitions},
    }


def write_schemas(app: typer.Typer) -> None:
    """Write the schemas of all verbs anew."""
    for command in find_verbs(app):
        text = json.dumps(make_schema(command), indent=2, ensure_ascii=False)
        write_file(schema_path(getattr(command, "verb")), text + "\n")  # noqa: B009


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    """An object of these properties, of all of them and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _schema_of(document: type[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a dataclass; those that it is made of are added to the definitions."""
    from pydantic import TypeAdapter

    schema = TypeAdapter(document).json_schema(mode="serialization")
    definitions.update(schema.pop("$defs", {}))
    for kind in _dataclasses(document):
        own = schema if kind is document else definitions[kind.__name__]
        _describe(kind, own, definitions)
    return schema


def _dataclasses(kind: Any) -> dict[Any, None]:
    """A dataclass, and those that its fields are made of."""
    if not is_dataclass(kind):
        return dict.fromkeys(one for part in get_args(kind) for one in _dataclasses(part))
    hints = get_type_hints(kind)
    return {kind: None} | {one: None for each in hints.values() for one in _dataclasses(each)}


def _describe(kind: Any, schema: dict[str, Any], definitions: dict[str, Any]) -> None:
    """Add what the docstring says of the fields, and the schemas of files that they show."""
    import inspect

    text = inspect.getdoc(kind) or ""
    schema.pop("title", None)
    schema["description"] = text.partition("\n")[0]
    schema["additionalProperties"] = False
    schema["required"] = list(schema["properties"])
    section = _ATTRIBUTES.search(text + "\n")
    told = {
        name.strip(): " ".join(meaning.split())
        for names, meaning in _ATTRIBUTE.findall(section[1] if section else "")
        for name in names.split(",")
    }
    for field in fields(kind):
        own = schema["properties"][field.name]
        own.pop("title", None)
        if SCHEMA in field.metadata:
            shown = _shown_file(field.metadata[SCHEMA], definitions)
            own = {"anyOf": [shown, {"type": "null"}]} if "anyOf" in own else shown
        if field.name in told:
            own = {"description": told[field.name], **own}
        schema["properties"][field.name] = own


def _shown_file(name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a file inside another one: its own definitions go to those of the other."""
    text = json.dumps(file_schema(name)).replace('"#/$defs/', f'"#/$defs/{name}.')
    shown: dict[str, Any] = json.loads(text)
    del shown["$schema"]
    definitions.update({f"{name}.{key}": part for key, part in shown.pop("$defs", {}).items()})
    return shown


if __name__ == "__main__":
    from foveal.cli import app as _app

    write_schemas(_app)
    sys.stdout.write(f"{FOLDER}\n")
