"""Settings from a preset, a TOML file and overrides; and back to TOML."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from foveal.config.presets import PRESETS, package_model, suit_anchors
from foveal.config.renamed import ANCHOR_SWITCHES, RENAMED, RENAMED_PRESETS, RENAMED_VALUES
from foveal.config.settings import Settings
from foveal.errors import SettingsError
from foveal.text import as_name, suggestion

_SPELLED_OUT = re.compile(r"(?<!\\)((?:\\\\)*)(\\udc[89a-f][0-9a-f])")


def make_settings(
    *,
    preset: str = "standard",
    file: Path | None = None,
    overrides: tuple[str, ...] | list[str] = (),
) -> Settings:
    """Combine a preset, a TOML file and `section.name=value` overrides, the later ones winning.

    Raises:
        SettingsError: an unknown preset, name or section, an unreadable file or a wrong value.
    """
    values = gather_settings(preset=preset, file=file, overrides=overrides)
    return parse_settings(values, where=str(file) if file else "settings")


def gather_settings(
    *,
    preset: str = "standard",
    file: Path | None = None,
    overrides: tuple[str, ...] | list[str] = (),
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    without: Collection[str] = (),
) -> dict[str, dict[str, Any]]:
    """What `make_settings` checks: the values by section and name.

    Args:
        preset: where the settings begin.
        file: settings as TOML.
        overrides: single settings, `section.name=value`.
        changes: by section and name what is set on top of all that.
        without: sections of the preset that are not taken, since something else gives them.

    Raises:
        SettingsError: an unknown preset, an unreadable file, or an override that is none.
    """
    if preset not in PRESETS:
        now = f" It is now {RENAMED_PRESETS[preset]!r}." if preset in RENAMED_PRESETS else ""
        raise SettingsError(
            f"preset {preset!r} is unknown.{now} Expected one of: {', '.join(PRESETS)}."
            + suggestion(preset, PRESETS)
        )
    values: dict[str, dict[str, Any]] = {
        name: dict(part) for name, part in PRESETS[preset].items() if name not in without
    }
    given: dict[str, dict[str, Any]] = {}
    if file is not None:
        _merge(given, _read_toml(file), where=str(file))
    for override in overrides:
        section, name, value = _parse_override(override)
        given.setdefault(section, {})[name] = value
    for section, part in (changes or {}).items():
        if part:
            given.setdefault(section, {}).update(part)
    suit_anchors(values, given)
    if "model" in values:
        values["model"] |= package_model(preset, given.get("model", {}))
    for section, part in given.items():
        values.setdefault(section, {}).update(part)
    return values


def parse_settings(values: dict[str, Any], *, where: str) -> Settings:
    """Check a nested dictionary of settings.

    Raises:
        SettingsError: with every wrong setting, its value and what was expected.
    """
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_explain(error, where)) from None


def change_settings(settings: Settings, changes: dict[str, dict[str, Any]]) -> Settings:
    """Settings with some changed; which ones were ever set explicitly stays known.

    Raises:
        SettingsError: a change has an unknown name or a wrong value.
    """
    values = settings.model_dump(exclude_unset=True)
    for section, part in changes.items():
        if part:
            values.setdefault(section, {}).update(part)
    return parse_settings(values, where="settings")


def to_toml(settings: Settings) -> str:
    """All settings as TOML; None is written as "none", since TOML has no null."""
    sections = settings.model_dump(mode="json")
    return tomli_w.dumps(
        {
            section: {name: "none" if value is None else value for name, value in part.items()}
            for section, part in sections.items()
        }
    )


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_with_names(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(f"{file}: can't be read ({error.strerror}).") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: is no valid TOML: {error}.") from None


def _with_names(text: str) -> str:
    r"""TOML with the names of files that are not UTF-8, which writing spells out, as \udcf6.

    TOML knows no such letters. Behind a backslash the spelling is plain text.
    """
    return _SPELLED_OUT.sub(lambda match: match[1] + as_name(match[2]), text)


def _merge(values: dict[str, dict[str, Any]], more: dict[str, Any], *, where: str) -> None:
    for section, part in more.items():
        if not isinstance(part, dict):
            raise SettingsError(
                f"{where}: {section!r} stands outside any section. "
                f"Expected it under one of: {', '.join(f'[{n}]' for n in Settings.model_fields)}."
            )
        values.setdefault(section, {}).update(part)


def _parse_override(text: str) -> tuple[str, str, Any]:
    path, equals, value = text.partition("=")
    section, dot, name = path.strip().partition(".")
    if not (equals and dot and section and name):
        raise SettingsError(
            f"--set {text}: expected section.name=value, for example training.epochs=20."
        )
    return section, name, _parse_value(value.strip())


def _parse_value(text: str) -> Any:
    """A TOML or JSON value where it reads as one, else the text itself."""
    if text in ("None", "null"):
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        pass
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _explain(error: ValidationError, where: str) -> str:
    lines = []
    for problem in error.errors():
        path = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"{path} is unknown. {_known_names(problem['loc'])}")
        elif not path:  # sections that contradict one another
            lines.append(f"{problem['msg'].removeprefix('Value error, ')}.")
        elif (
            "ctx" in problem
            and isinstance(problem["input"], dict)
            and problem["type"] == "value_error"
        ):
            # Settings that contradict each other, in a section or across sections.
            lines.append(f"{path}: {problem['ctx']['error']}.".removeprefix(": "))
        else:
            given = problem["input"]
            now = RENAMED_VALUES.get((*problem["loc"], given)) if isinstance(given, str) else None
            meant = f" It is now {now!r}." if now else ""
            lines.append(f"{path} = {given!r}: {problem['msg']}.{meant}")
    return f"{where}: " + "\n".join(lines)


def _known_names(location: tuple[int | str, ...]) -> str:
    if len(location) == 1:
        names = list(Settings.model_fields)
        return f"Expected a section: {', '.join(names)}." + suggestion(str(location[0]), names)
    section, name = str(location[0]), str(location[1])
    if new := RENAMED.get((section, name)):
        return f"It is now {section}.{new}."
    if section == "anchors" and name in ANCHOR_SWITCHES:
        return (
            f"anchors.compat='torchvision' took the place of {', '.join(ANCHOR_SWITCHES)}; "
            "leave them out for this project's own anchors."
        )
    kind = Settings.model_fields[section].annotation
    names = list(kind.model_fields) if isinstance(kind, type) else []
    return f"Expected one of: {', '.join(names)}." + suggestion(
        f"{section}.{name}", [f"{section}.{each}" for each in names]
    )
