"""The demo: a clip of known truth, and a clip of the user's."""

import json

import pytest

from uavdet import demo
from uavdet.cli import main
from uavdet.data.scenes import Scene, SceneConfig
from uavdet.errors import DataError
from uavdet.video.writer import VideoWriter


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(demo, "_FRAMES", 4)


def read_lines(folder):
    return [json.loads(line) for line in (folder / "detections.jsonl").read_text().splitlines()]


def test_the_default_clip_is_scored_against_its_truth(short, tmp_path, capsys):
    assert main(["demo", f"project={tmp_path}", "name=one", "json=True"]) == 0
    report = json.loads(capsys.readouterr().out)
    folder = tmp_path / "one"
    assert {path.name for path in folder.iterdir()} == {
        "annotated.mp4",
        "clip.mp4",
        "detections.jsonl",
        "report.json",
    }
    assert report["frames"] == 4
    assert report["frames_per_second"] > 0
    assert report["coco/AP50"] > 0.2
    lines = read_lines(folder)
    assert [line["frame"] for line in lines] == [0, 1, 2, 3]
    found = [row for line in lines for row in line["detections"]]
    assert {row["class"] for row in found} <= {"Person", "Car", "Bicycle", "OtherVehicle"}
    assert len({row["track_id"] for row in found} - {None}) == report["tracks"] > 0


def test_a_clip_of_the_user_has_no_truth(tmp_path, capsys):
    import av

    clip = tmp_path / "clip.mp4"
    scene = Scene(SceneConfig(seed=5, size=(320, 256), modality="thermal"))
    with VideoWriter(clip, 12.0) as writer:
        for index in range(3):
            writer.write(scene.render(index).image)
    assert main(["demo", f"source={clip}", f"project={tmp_path}", "name=two", "imgsz=320"]) == 0
    output = capsys.readouterr().out
    assert "frames/s" in output
    assert "AP50" not in output
    with av.open(str(tmp_path / "two" / "annotated.mp4")) as video:
        stream = video.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (640, 512, 12)
        assert sum(1 for _ in video.decode(stream)) == 3
    assert not (tmp_path / "two" / "clip.mp4").exists()


@pytest.mark.parametrize("source", ["missing.mp4", "text.mp4"])
def test_a_source_that_is_no_video_is_refused(tmp_path, source):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(DataError):
        demo.run({"source": str(tmp_path / source), "project": str(tmp_path), "name": "three"})


def test_pictures_of_two_sizes_make_one_video(tmp_path):
    import av
    import cv2

    (tmp_path / "pictures").mkdir()
    scene = Scene(SceneConfig(seed=5, size=(320, 256), modality="thermal"))
    image = scene.render(0).image
    cv2.imwrite(str(tmp_path / "pictures" / "0.png"), image)
    cv2.imwrite(str(tmp_path / "pictures" / "1.png"), image[:200])
    report = demo.run({"source": str(tmp_path / "pictures"), "project": str(tmp_path), "name": "x", "imgsz": 320})
    assert report.frames == 2
    with av.open(str(tmp_path / "x" / "annotated.mp4")) as video:
        assert sum(1 for _ in video.decode(video.streams.video[0])) == 2
