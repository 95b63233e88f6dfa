"""The file that a bench is made of: data sets, and recipes that are trained on each.

    [recipes.light]
    preset = "light"

    [recipes.wide]
    preset = "light"
    settings.model.head_channels = 128

    [sets.cells]
    data = "cells:train"
    valid = "cells:val"
    test = "cells:test"
    settings.training.minutes = 24

    [sets.ships]
    data = "ships/train.json"
    test = "ships/test.json"
    ignore = ["cloud"]

A recipe is a preset, settings of a file (`config`) and `settings`, the later ones winning; without
recipes there is one, the preset "standard". A data set has the training images, the validation
images (`valid`; without them a part of `data` is held out) and those that are measured (`test`;
without them the validation images, on which the best epoch was chosen). It may have all options of
reading that commands have, under their names, and `valid_images` and `test_images`; its `settings`
stand above the recipe's. Addresses, folders of images and files of settings are relative to the
file; paths within settings are as for `foveal train`.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from foveal.config import PRESETS, Settings, gather_settings, parse_settings
from foveal.data.opening import DataOptions
from foveal.errors import SettingsError
from foveal.text import suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from foveal.data.opening import Source

STANDARD = "standard"
"""The recipe, and its preset, where none is named."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_OWN = ("training.seed", "training.export")
"""What the bench sets itself."""

Values = dict[str, dict[str, Any]]
"""Settings by section and name."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)


class _RecipeEntry(_Entry):
    preset: str = STANDARD
    config: str | None = None


class _SetEntry(_Entry):
    data: str
    valid: str | None = None
    test: str | None = None
    format: str | None = None
    images: str | None = None
    valid_images: str | None = None
    test_images: str | None = None
    bad_boxes: Literal["drop", "stop", "keep"] = "drop"
    page: Annotated[int, Field(ge=1)] | None = None
    boxes: str | None = None
    class_column: str | None = None
    layer: str | None = None
    sizes: Literal["stop", "scale", "stored"] = "stop"
    rename: dict[str, str] = Field(default_factory=dict)
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    recipes: dict[str, _RecipeEntry] = Field(default_factory=dict)
    sets: dict[str, _SetEntry] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a detector is trained, on whatever data.

    Attributes:
        name: its name.
        preset: where its settings begin.
        values: what is set on top, by section and name.
    """

    name: str
    preset: str
    values: Values


@dataclass(frozen=True, slots=True)
class BenchSet:
    """A data set that recipes are trained and measured on.

    Attributes:
        name: its name.
        sources: the addresses of the training images, and of those that are validated and measured
            where they are named, with their options.
        has_valid, has_test: which of them are named.
        values: settings that stand above the recipe's, by section and name.
        ignore: classes whose boxes mark regions to ignore.
        said: what the file says of it, by which a later run knows it again.
    """

    name: str
    sources: tuple[Source, ...]
    has_valid: bool
    has_test: bool
    values: Values
    ignore: tuple[str, ...]
    said: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """What is trained: every recipe on every data set.

    Attributes:
        recipes: the first one is what the others are compared with.
        sets: the data sets.
        overrides: settings that stand above all others, by section and name.
    """

    recipes: tuple[Recipe, ...]
    sets: tuple[BenchSet, ...]
    overrides: Values = field(default_factory=dict)

    def changes(self, recipe: Recipe, data: BenchSet, *, seed: int) -> Values:
        """What is set on top of the recipe's preset for one training, by section and name."""
        own: Values = {"training": {"seed": seed, "export": False}}
        merged: Values = {}
        for values in (recipe.values, data.values, self.overrides, own):
            for section, part in values.items():
                merged.setdefault(section, {}).update(part)
        return merged

    def settings(self, recipe: Recipe, data: BenchSet) -> Settings:
        """The complete settings of a recipe on a data set, for any seed.

        Raises:
            SettingsError: they are wrong or contradict one another.
        """
        changes = self.changes(recipe, data, seed=0)
        where = f"recipe {recipe.name} on {data.name}"
        return parse_settings(gather_settings(preset=recipe.preset, changes=changes), where=where)


def read_plan(
    file: Path, *, presets: Sequence[str] = (), overrides: Sequence[str] = ()
) -> BenchPlan:
    """Read a file of data sets and recipes, and see whether all settings are right.

    Args:
        file: TOML; see above.
        presets: recipes in place of the file's, which then must have none.
        overrides: single settings, `section.name=value`, above all others.

    Raises:
        SettingsError: the file can't be read, has names or values that are none, or no data set; or
            settings of a recipe on a data set are wrong or contradict one another.
    """
    content = _read(file)
    if presets and content.recipes:
        raise SettingsError(
            f"{file}: has recipes ({', '.join(content.recipes)}), and --preset names others. Give "
            "one of them."
        )
    entries = content.recipes or {
        name: _RecipeEntry(preset=name) for name in dict.fromkeys(presets or (STANDARD,))
    }
    if not content.sets:
        raise SettingsError(f"{file}: names no data set. Expected at least one: [sets.NAME].")
    plan = BenchPlan(
        tuple(_recipe(name, entry, file) for name, entry in entries.items()),
        tuple(_data_set(name, entry, file) for name, entry in content.sets.items()),
        _only_given(overrides=list(overrides)),
    )
    for where, values in (
        *((f"{file}: recipes.{each.name}", each.values) for each in plan.recipes),
        *((f"{file}: sets.{each.name}", each.values) for each in plan.sets),
        ("--set", plan.overrides),
    ):
        _expect_free(values, where)
    for recipe in plan.recipes:
        for data in plan.sets:
            try:
                plan.settings(recipe, data)
            except SettingsError as error:
                raise SettingsError(f"{file}: {error}") from None
    return plan


def _read(file: Path) -> _File:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"{file}: can't be read ({error.strerror}). Expected a TOML file with data sets: "
            "[sets.NAME]."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: is no valid TOML: {error}.") from None
    try:
        parsed = _File.model_validate(content)
    except ValidationError as error:
        raise SettingsError(f"{file}: {_explain(error)}") from None
    for kind, names in (("recipes", parsed.recipes), ("sets", parsed.sets)):
        for name in names:
            if not _NAME.fullmatch(name):
                raise SettingsError(
                    f"{file}: {kind}.{name!r} can't be the name of a folder. Expected letters, "
                    "digits, '.', '_' and '-'."
                )
        twins = {name.lower() for name in names}
        if len(twins) < len(names):
            raise SettingsError(
                f"{file}: two names of {kind} differ in capitals alone, and so would their "
                "folders. Expected names that differ otherwise."
            )
    return parsed


def _recipe(name: str, entry: _RecipeEntry, file: Path) -> Recipe:
    if entry.preset not in PRESETS:
        raise SettingsError(
            f"{file}: recipes.{name}: preset {entry.preset!r} is unknown."
            f"{suggestion(entry.preset, PRESETS)} Expected one of: {', '.join(PRESETS)}."
        )
    values = _only_given() if entry.config is None else _only_given(file=file.parent / entry.config)
    for section, part in entry.settings.items():
        values.setdefault(section, {}).update(part)
    return Recipe(name, entry.preset, values)


def _data_set(name: str, entry: _SetEntry, file: Path) -> BenchSet:
    if entry.valid is None and entry.test is None:
        raise SettingsError(
            f'{file}: sets.{name} has nothing to be measured on. Expected test = "ADDRESS", or '
            "valid, or both."
        )
    home = file.parent
    for option, address in (("valid_images", entry.valid), ("test_images", entry.test)):
        if getattr(entry, option) is not None and address is None:
            raise SettingsError(
                f"{file}: sets.{name} has {option}, but no {option.partition('_')[0]}. Expected "
                "both."
            )
    options = DataOptions(
        format=entry.format,
        images=None if entry.images is None else home / entry.images,
        bad_boxes=entry.bad_boxes,
        page=entry.page,
        boxes=entry.boxes,
        class_column=entry.class_column,
        layer=entry.layer,
        rename=entry.rename,
        ignore=entry.ignore,
        only=entry.only,
        sizes=entry.sizes,
    )
    sources: list[Source] = []
    for address, images in (
        (entry.data, None),
        (entry.valid, entry.valid_images),
        (entry.test, entry.test_images),
    ):
        if address is not None:
            own = options.with_images(None if images is None else home / images)
            sources.append((str(home / address), own))
    return BenchSet(
        name,
        tuple(sources),
        entry.valid is not None,
        entry.test is not None,
        entry.settings,
        entry.ignore,
        entry.model_dump(mode="json", exclude_defaults=True, exclude={"settings"}),
    )


def _only_given(*, file: Path | None = None, overrides: list[str] | None = None) -> Values:
    """What a file or --set say, without any preset."""
    return gather_settings(
        file=file, overrides=overrides or [], without=tuple(Settings.model_fields)
    )


def _expect_free(values: Values, where: str) -> None:
    for own in _OWN:
        section, _, name = own.partition(".")
        if name in values.get(section, {}):
            meant = "Give their number: --seeds N." if name == "seed" else "Leave it out."
            raise SettingsError(f"{where}: {own} is set by the bench itself. {meant}")


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        path = ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            lines.append(f"{path} is unknown. {_known(problem['loc'])}")
        elif problem["type"] == "missing":
            lines.append(f"{path} is missing.")
        else:
            lines.append(f"{path} = {problem['input']!r}: {problem['msg']}.")
    return "\n".join(lines)


def _known(location: tuple[int | str, ...]) -> str:
    kinds: dict[object, type[BaseModel]] = {"recipes": _RecipeEntry, "sets": _SetEntry}
    kind = _File if len(location) == 1 else kinds[location[0]]
    names = list(kind.model_fields)
    near = get_close_matches(str(location[-1]), names, 1)
    return f"Expected one of: {', '.join(names)}." + (f" Did you mean {near[0]}?" if near else "")
