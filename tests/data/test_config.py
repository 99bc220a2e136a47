"""Dataset YAMLs: paths, names, and what is said of bad ones."""

import pytest

from uavdet.data.config import load_data_config
from uavdet.errors import ConfigError


def write(folder, text):
    file = folder / "data.yaml"
    file.write_text(text)
    return file


def test_paths_are_relative_to_the_yaml(tmp_path):
    (tmp_path / "root" / "images" / "val").mkdir(parents=True)
    file = write(tmp_path, "path: root\nval: images/val\nannotations: {val: ann.json}\nnames: [a, b]\n")
    data = load_data_config(file)
    assert data.require("val") == [tmp_path / "root" / "images" / "val"]
    assert data.annotations["val"] == tmp_path / "root" / "ann.json"
    assert data.names == {0: "a", 1: "b"}
    assert data.nc == 2


def test_names_in_quotes_and_numbers_are_text(tmp_path):
    data = load_data_config(write(tmp_path, 'path: 2024\nval: x\nnames: {0: "no", "1": 7, 2: ":"}\n'))
    assert data.names == {0: "no", 1: "7", 2: ":"}
    assert data.path == tmp_path / "2024"


def test_the_form_of_ultralytics_is_absolute(tmp_path):
    file = write(tmp_path, "train: [a, b]\nval: c\nnames: {0: x}\n")
    form = load_data_config(file).as_ultralytics()
    assert form["train"] == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert form["val"] == str(tmp_path / "c")
    assert form["nc"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("val: [", "not readable YAML"),
        ("- 1", "holds no mapping"),
        ("names: [a]", "names no images"),
        ("val: x", "no class names"),
        ("val: x\nnames: {0: a, 2: b}", r"must run from 0 to 1"),
        ("val: x\nnames: {a: b}", "no integer"),
        ("val: x\nnames: [a]\nnc: 3", "nc: 3"),
        ("val: x\nnames: [a]\nannotations: y.json", "maps splits"),
        ("val: x\nnames: [a]\nannotations: {val: }", "'annotations: val:' is None. It is a path"),
        ("val: x\nnames: [a]\npath: [y]", r"'path:' is \['y'\]. It is a path"),
        ("val: {x: y}\nnames: [a]", "'val:' is {'x': 'y'}. It is a path"),
        ("val: x\nnames: [car, no]", "class name False in names: is no text.*in quotes"),
        ("val: x\nnames: {0: null}", "class name None in names: is no text"),
        ("val: x\nnames: {0.5: a}", "no integer"),
        ('val: x\nnames: {0: a, "0": b}', "class id stands twice"),
    ],
)
def test_bad_yamls_are_refused(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_data_config(write(tmp_path, text))


@pytest.mark.parametrize(("given", "message"), [(None, "No dataset"), ("nowhere.yaml", "'nowhere.yaml' was not found")])
def test_missing_yamls_are_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        load_data_config(given)


def test_missing_splits_and_folders_are_named(tmp_path):
    data = load_data_config(write(tmp_path, "val: gone\nnames: [a]\ndownload: https://example.org/x.zip\n"))
    with pytest.raises(ConfigError, match="no 'train:' entry"):
        data.require("train")
    with pytest.raises(ConfigError, match=r"gone, which does not exist\. The YAML names this origin: https://example"):
        data.require("val")


def test_the_path_of_a_yaml_that_ships_is_relative_to_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = load_data_config("visdrone")
    assert data.path == tmp_path / "visdrone"
    assert data.images["val"] == [tmp_path / "visdrone" / "images" / "val"]
    assert data.annotations["test"] == tmp_path / "visdrone" / "annotations" / "instances_test.json"


def test_missing_images_of_a_known_format_name_origin_and_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_data_config("uavdt").require("val")
    message = str(caught.value)
    assert "The YAML names this origin: https://sites.google.com/view/grli-uavdt." in message
    assert message.endswith(f"or convert the dataset: uavdet convert format=uavdt source=DIR out={tmp_path / 'uavdt'}.")
