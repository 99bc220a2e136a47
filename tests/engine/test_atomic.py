"""Files are whole or not there, whoever writes them and however that ends."""

import os
import subprocess
import sys

import pytest

from uavdet.engine.atomic import write_atomically, write_folder_atomically


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_gets_its_name_when_it_is_whole(tmp_path):
    def write(temporary):
        temporary.write_text("half")
        assert not (tmp_path / "a" / "x.onnx").exists()
        assert temporary.suffixes[-2:] == [".onnx", ".tmp"]
        temporary.write_text("whole")

    write_atomically(tmp_path / "a" / "x.onnx", write)
    assert (tmp_path / "a" / "x.onnx").read_text() == "whole"
    assert names(tmp_path / "a") == ["x.onnx"]


def test_an_error_leaves_the_earlier_file_alone(tmp_path):
    def fail(temporary):
        temporary.write_text("half")
        raise OSError("no space")

    (tmp_path / "x").write_text("old")
    with pytest.raises(OSError, match="no space"):
        write_atomically(tmp_path / "x", fail)
    assert names(tmp_path) == ["x"]
    assert (tmp_path / "x").read_text() == "old"


@pytest.mark.skipif(os.name != "posix", reason="only POSIX tells which processes there are")
def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead, alive = int(done.stdout), os.getppid()
    others = [f".{alive}.x.tmp", f".{dead}.xx.tmp", f"{dead}.x.tmp", ".x.tmp", f".{dead}.x.tmp.txt", ".a.x.tmp"]
    for name in (*others, f".{dead}.x.tmp", f".{10**30}.x.tmp"):
        (tmp_path / name).touch()
    write_atomically(tmp_path / "x", lambda temporary: temporary.write_text("new"))
    assert names(tmp_path) == sorted([*others, "x"])


def test_two_processes_that_write_one_path_do_not_mix(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from uavdet.engine.atomic import write_atomically\n"
        "def write(file):\n"
        "    file.write_text(sys.argv[2]); print(flush=True); sys.stdin.readline()\n"
        "    assert file.read_text() == sys.argv[2]\n"
        "write_atomically(Path(sys.argv[1]), write)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "x")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([*command, text], **pipes) for text in ("first", "second")]
    for writer in writers:
        assert writer.stdout.readline() == "\n"
    for writer, text in zip(writers, ("first", "second"), strict=True):
        writer.communicate("\n")
        assert writer.returncode == 0
        assert (tmp_path / "x").read_text() == text
    assert names(tmp_path) == ["x"]


def write_folder(folder):
    folder.mkdir()
    (folder / "new").write_text("new")


@pytest.mark.parametrize("earlier", ["nothing", "a folder", "a file"])
def test_a_folder_gets_its_name_when_it_is_whole(earlier, tmp_path):
    out = tmp_path / "a" / "x"
    if earlier != "nothing":
        out.parent.mkdir()
    if earlier == "a folder":
        (out / "deep").mkdir(parents=True)
    elif earlier == "a file":
        out.write_text("old")

    def write(folder):
        write_folder(folder)
        assert out.exists() == (earlier != "nothing")
        assert not (out / "new").exists()

    write_folder_atomically(out, write)
    assert names(out) == ["new"]
    assert names(out.parent) == ["x"]


@pytest.mark.parametrize("made", [True, False])
def test_an_error_leaves_the_earlier_folder_alone(made, tmp_path):
    def fail(folder):
        if made:
            write_folder(folder)
            raise OSError("no space")

    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "old").touch()
    with pytest.raises(OSError):  # its own, or that there is nothing to rename
        write_folder_atomically(tmp_path / "x", fail)
    assert names(tmp_path) == ["x"]
    assert names(tmp_path / "x") == ["old"]


@pytest.mark.skipif(os.name != "posix", reason="only POSIX tells which processes there are")
def test_folders_that_killed_processes_left_are_removed(tmp_path):
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    (tmp_path / f".{int(done.stdout)}.x.tmp" / "deep").mkdir(parents=True)
    write_folder_atomically(tmp_path / "x", write_folder)
    assert names(tmp_path) == ["x"]
