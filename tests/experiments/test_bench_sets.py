import pytest

from foveal.errors import SettingsError
from foveal.experiments.bench_sets import read_plan


def test_recipes_and_sets_are_read(sets, smears):
    plan = read_plan(sets, overrides=["training.workers=0"])
    assert [each.name for each in plan.recipes] == ["plain", "light"]
    a, b = plan.sets
    assert [address for address, _ in a.sources] == [
        str(smears / f"{name}.json") for name in ("train", "valid", "test")
    ]
    assert (a.has_valid, a.has_test, b.has_valid, b.has_test) == (True, True, True, False)
    changes = plan.changes(plan.recipes[1], a, seed=3)
    assert changes["training"] == {
        "epochs": 7, "batch": 2, "workers": 0, "seed": 3, "export": False
    }  # fmt: skip


def test_later_settings_stand_above_earlier_ones(sets, tmp_path):
    (sets.parent / "own.toml").write_text("[training]\nepochs = 1\nbatch = 1\n")
    sets.write_text(
        '[recipes.r]\nconfig = "own.toml"\nsettings.training.batch = 2\n'
        '[sets.a]\ndata = "t"\ntest = "t"\nsettings.training.optimizer = "sgd"\n'
    )
    plan = read_plan(sets, overrides=["training.optimizer=adamw"])
    changes = plan.changes(plan.recipes[0], plan.sets[0], seed=0)["training"]
    assert (changes["epochs"], changes["batch"], changes["optimizer"]) == (1, 2, "adamw")


def test_presets_are_recipes_where_the_file_has_none(sets):
    with pytest.raises(SettingsError, match=r"has recipes \(plain, light\), and --preset"):
        read_plan(sets, presets=["light"])
    sets.write_text('[sets.a]\ndata = "t"\ntest = "t"\n')
    assert [each.preset for each in read_plan(sets).recipes] == ["standard"]
    plan = read_plan(sets, presets=["light", "atss", "light"])
    assert [(each.name, each.preset) for each in plan.recipes] == [
        ("light", "light"), ("atss", "atss")
    ]  # fmt: skip


def test_options_of_reading_are_those_of_commands(sets):
    sets.write_text(
        '[sets.a]\ndata = "t:train"\ntest = "u"\nformat = "voc"\nimages = "i"\ntest_images = "j"\n'
        'ignore = ["x"]\nrename = {a = "b"}\nbad_boxes = "stop"\n'
    )
    (data,) = read_plan(sets).sets
    (address, options), (_, of_test) = data.sources
    assert address == str(sets.parent / "t:train")
    assert (options.format, options.bad_boxes, options.ignore) == ("voc", "stop", ("x",))
    assert (options.images, of_test.images) == (sets.parent / "i", sets.parent / "j")
    assert options.rename == {"a": "b"}


SET = '[sets.a]\ndata = "t"\ntest = "t"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"names no data set. Expected at least one: \[sets.NAME\]"),
        ("[sets.a", "is no valid TOML"),
        ('[sets.a]\ndata = "t"\n', "sets.a has nothing to be measured on"),
        ('[sets.a]\ntest = "t"\n', "sets.a.data is missing"),
        ('[sets.a]\ndata = "t"\nvaild = "t"\n', "sets.a.vaild is unknown. .* Did you mean valid"),
        ('[set.a]\ndata = "t"\n', "set is unknown. .* Did you mean sets"),
        (f"{SET}page = 0\n", "sets.a.page = 0: "),
        (f'{SET}valid_images = "i"\n', "sets.a has valid_images, but no valid"),
        (f'{SET}[sets."a/b"]\ndata = "t"\ntest = "t"\n', "sets.'a/b' can't be the name of a fold"),
        (f"{SET}{SET.replace('a]', 'A]')}", "two names of sets differ in capitals alone"),
        (f"{SET}settings.training.epochs = 0\n", "recipe standard on a: training.epochs = 0"),
        (f"{SET}settings.training.epoch = 3\n", "training.epoch is unknown. .*training.epochs"),
        (f"{SET}settings.training.seed = 3\n", "sets.a: training.seed .* --seeds N"),
        (f'{SET}[recipes.r]\npreset = "lihgt"\n', "'lihgt' is unknown. Did you mean 'light'"),
        (f'{SET}[recipes.r]\nconfig = "none.toml"\n', "none.toml: can't be read"),
    ],
)
def test_mistakes_are_named(sets, text, said):
    sets.write_text(text)
    with pytest.raises(SettingsError, match=f"(?s){said}"):
        read_plan(sets)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"none.toml: can't be read .*\[sets.NAME\]"):
        read_plan(tmp_path / "none.toml")
