from foveal import machine


def test_this_machine_is_described():
    here = machine.describe_machine(gpu="a GPU")
    assert here.cores >= 1
    assert here.processor
    assert here.versions["torch"]
    assert here.text.startswith(f"a GPU, beside {here.processor}")
    assert f"torch {here.versions['torch']}" in here.text


def test_a_system_without_cpuinfo(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_PROCESSOR", tmp_path / "none")
    monkeypatch.setattr(machine, "PACKAGES", ("foveal", "no-such-package"))
    here = machine.describe_machine()
    assert here.processor
    assert list(here.versions) == ["foveal"]


def test_a_processor_is_named_with_family_and_model(monkeypatch, tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("model name\t: A Thing\ncpu family\t: 25\nmodel\t\t: 1\nmodel\t\t: 2\n")
    monkeypatch.setattr(machine, "_PROCESSOR", file)
    assert machine.processor_name() == "A Thing, family 25 model 1"
    assert machine.cpuinfo("flags") == ""
