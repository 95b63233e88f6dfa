import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests import forked
from tests.training import killing

from foveal.config import make_settings
from foveal.config.renamed import RENAMED
from foveal.errors import TrainingError
from foveal.training.optimizer import make_optimizer, set_learning_rate
from foveal.training.state import (
    RunState,
    check_same_run,
    fingerprint_of,
    load_optimizer,
    optimizer_tensors,
    read_state,
    write_state,
)

TENSORS = {"model.a": torch.arange(6.0).reshape(2, 3), "model.count": torch.tensor(3)}


def print_of(dataset, *overrides, steps=3):
    settings = make_settings(overrides=overrides)
    return fingerprint_of(settings, classes=dataset.classes, records=dataset.records, steps=steps)


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    (done,) = forked.run(killing.main, tmp_path, folder=tmp_path)
    assert done.code == 0, done.complaint
    results = json.loads(done.said.splitlines()[-1])
    expected = {"killed": True, "resumed": True, "differences": []}
    assert results == dict.fromkeys(results, expected), done.complaint
    assert len(results) == 10


def test_state_comes_back(tmp_path, fake_data):
    path = tmp_path / "state" / "state.safetensors"
    position = RunState(
        epoch=2, step=5, best=0.1 + 0.2, sums={"box": 1 / 3}, history=[{"epoch": 1}]
    )
    fingerprint = print_of(fake_data)
    tensors = TENSORS | {"last": torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last)}
    write_state(path, tensors, position, fingerprint=fingerprint)
    back, where = read_state(path, fingerprint=fingerprint)
    assert where == position
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)
    assert [entry.name for entry in path.parent.iterdir()] == ["state.safetensors"]


def test_a_state_of_the_version_before_comes_back(tmp_path, fake_data):
    """Its fields had other names; none is lost."""
    path, fingerprint = tmp_path / "state.safetensors", print_of(fake_data)
    before = {"epoch": 1, "step": 2, "bad_steps": 3, "averaged": 40, "best": 0.5, "best_epoch": 1}
    before |= {"unimproved": 1, "sums": {}, "history": [], "journal_bytes": 5}
    header = {
        "format": "foveal training state 1",
        "position": json.dumps(before),
        "fingerprint": json.dumps(fingerprint),
    }
    save_file(TENSORS, path, header)
    _, state = read_state(path, fingerprint=fingerprint)
    assert state == RunState(
        epoch=1,
        step=2,
        nonfinite_steps=3,
        ema_updates=40,
        best=0.5,
        best_epoch=1,
        unimproved=1,
        metrics_bytes=5,
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no state"), (b"", "can't be read"), (b"{" * 100, "can't be read")],
)
def test_a_state_that_is_none_is_named(tmp_path, content, message):
    path = tmp_path / "state.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrainingError, match=message) as caught:
        read_state(path, fingerprint={})
    assert str(path) in str(caught.value)


def test_a_state_cut_short_or_foreign_is_named(tmp_path, fake_data):
    from safetensors.torch import save_file

    path = tmp_path / "state.safetensors"
    write_state(path, TENSORS, RunState(), fingerprint=print_of(fake_data))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(TrainingError, match="can't be read"):
        read_state(path, fingerprint=print_of(fake_data))
    save_file(TENSORS, path)
    with pytest.raises(TrainingError, match="no training state of this version"):
        read_state(path, fingerprint=print_of(fake_data))


def test_changed_settings_are_named(fake_data):
    before = print_of(fake_data)
    now = print_of(fake_data, "training.epochs=7", "loss.gamma=1.5", "training.workers=3")
    with pytest.raises(TrainingError) as caught:
        check_same_run(before, now, where=Path("run"))
    message = str(caught.value)
    assert "training.epochs was 20 and is now 7" in message
    assert "loss.gamma was 2.0 and is now 1.5" in message
    assert "workers" not in message


def test_what_does_not_matter_may_change(fake_data):
    now = print_of(
        fake_data, "training.workers=3", "training.trackers=['wandb']", "training.log_every=3"
    )
    check_same_run(print_of(fake_data), now, where=Path("run"))


@pytest.mark.parametrize("what", ["int8=false", "export=false", "keep_freed_memory=false"])
def test_what_comes_after_the_training_may_change(fake_data, what):
    before, now = print_of(fake_data), print_of(fake_data, f"training.{what}")
    check_same_run(before, now, where=Path("run"))
    name, value = what.split("=")
    assert getattr(make_settings().training, name) is (value == "false"), "nothing was changed"


def test_how_many_detections_there_may_be_does_not_matter(fake_data):
    """Neither in runs of before, which wrote it down, nor in those of today."""
    before, now = print_of(fake_data), print_of(fake_data, "decoding.max_detections=400")
    check_same_run(before, now, where=Path("run"))
    before["settings"]["decoding"] = {"most": 100, "nms_iou": 0.5}
    check_same_run(before, now, where=Path("run"))


def test_a_run_of_the_first_edition_goes_on(fake_data):
    box = "loss.box=smooth_l1"
    before = print_of(fake_data, box, "training.ema_decay=0.9")
    for (section, old), new in RENAMED.items():
        part = before["settings"].get(section, {})
        if new in part:
            part[old] = part.pop(new)
    assert before["settings"]["training"]["average"] == 0.9
    before["settings"]["loss"]["box"] = "smooth l1"
    check_same_run(before, print_of(fake_data, box, "training.ema_decay=0.9"), where=Path("run"))
    with pytest.raises(TrainingError, match=r"training\.ema_decay was 0\.9 and is now 0\.5"):
        check_same_run(
            before, print_of(fake_data, box, "training.ema_decay=0.5"), where=Path("run")
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:5], "12 training images and are now 5"),
        (lambda data: data.take([*range(1, 12), 0]), "order or boxes"),
        (lambda data: data.rename({"red": "blue"}), r"classes were \['red', 'green'\]"),
    ],
)
def test_changed_data_is_named(fake_data, change, message):
    with pytest.raises(TrainingError, match=message):
        check_same_run(print_of(fake_data), print_of(change(fake_data)), where=Path("run"))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_optimizer_comes_back_in_its_memory_format(name):
    def make():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 2, 3))
        model.to(memory_format=torch.channels_last)
        optimizer = make_optimizer(
            model,
            name=name,
            momentum=0.9,
            weight_decay=0.1,
            decay_norms=True,
            backbone_factor=1.0,
        )
        set_learning_rate(optimizer, 0.01)
        return model, optimizer

    def step(model, optimizer, number):
        generator = torch.Generator().manual_seed(number)
        images = torch.rand(2, 3, 8, 8, generator=generator)
        model(images.to(memory_format=torch.channels_last)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    model, optimizer = make()
    step(model, optimizer, 0)
    other, fresh = make()
    other.load_state_dict(model.state_dict())
    saved = {key: value.contiguous().clone() for key, value in optimizer_tensors(optimizer).items()}
    load_optimizer(fresh, saved)
    for one, two in ((model, optimizer), (other, fresh)):
        step(one, two, 1)
        step(one, two, 2)
    for first, second in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(first, second)


def test_a_full_disk_leaves_the_last_good_state(tmp_path, fake_data):
    resource = pytest.importorskip("resource")
    path = tmp_path / "state.safetensors"
    fingerprint = print_of(fake_data)
    write_state(path, TENSORS, RunState(step=1), fingerprint=fingerprint)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(TrainingError, match=r"can't be written.*--resume"):
            write_state(
                path, {"large": torch.zeros(10_000)}, RunState(step=2), fingerprint=fingerprint
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert read_state(path, fingerprint=fingerprint)[1].step == 1
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
