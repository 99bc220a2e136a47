"""Random annotated images, and what pycocotools says of detections in them."""

import contextlib
import io

import numpy as np

from uavdet.evaluation.truth import GroundTruth, ImageDetections, ImageTruth


def make_image(name, boxes=(), classes=None, crowd=None, regions=(), size=(640, 512), areas=None, dense=False):
    """Return an image from xyxy boxes; classes default to 0, areas to the boxes'."""
    boxes = np.array(boxes, dtype=float).reshape(-1, 4)
    return ImageTruth(
        name,
        size,
        boxes,
        np.zeros(len(boxes), int) if classes is None else np.array(classes, int),
        (boxes[:, 2:] - boxes[:, :2]).prod(1) if areas is None else np.array(areas, float),
        np.zeros(len(boxes), bool) if crowd is None else np.array(crowd, bool),
        np.array(regions, dtype=float).reshape(-1, 4),
        dense=dense,
    )


def make_detections(boxes=(), scores=None, classes=None):
    """Return detections from xyxy boxes; scores fall from 1, classes default to 0."""
    boxes = np.array(boxes, dtype=float).reshape(-1, 4)
    return ImageDetections(
        boxes,
        np.linspace(1, 0.5, len(boxes)) if scores is None else np.array(scores, float),
        np.zeros(len(boxes), int) if classes is None else np.array(classes, int),
    )


def random_truth(images=12, most=30, seed=0, crowds=True, sides=(2, 150), whole=False):
    """Return random images with 0 to `most` objects of classes a, b, c; d has none; some have ignore regions."""
    rng = np.random.default_rng(seed)
    truths = []
    for index in range(images):
        count = 0 if index % 5 == 4 else rng.integers(0, most)
        corner, side = rng.uniform(0, 400, (count, 2)), rng.uniform(*sides, (count, 2))
        if whole:
            corner, side = corner.round() // 4 * 4, np.maximum(side.round() // 4 * 4, 4)
        region = rng.uniform(0, 300, (rng.integers(0, 3), 2))
        truths.append(
            make_image(
                f"{index}.jpg",
                np.concatenate([corner, corner + side], 1),
                rng.integers(0, 3, count),
                rng.random(count) < (0.1 if crowds else 0),
                np.concatenate([region, region + 90], 1),
            )
        )
    return GroundTruth(truths, {0: "a", 1: "b", 2: "c", 3: "d"})


def noisy_detections(truth, seed=0, extra=20, noise=3.0, whole=False, missing=()):
    """Return objects moved by `noise` pixels and `extra` others; `whole` makes equal scores and equal IoU frequent."""
    rng = np.random.default_rng(seed)
    found = {}
    for image in truth.images:
        if image.name in missing:
            continue
        jitter = image.boxes + rng.normal(0, noise, image.boxes.shape)
        if whole:
            jitter = image.boxes + rng.choice([-4, 0, 0, 4], image.boxes.shape)
        jitter[:, 2:] = np.maximum(jitter[:, 2:], jitter[:, :2] + 1)
        corner, side = rng.uniform(0, 400, (extra, 2)), rng.uniform(2, 100, (extra, 2))
        boxes = np.concatenate([jitter, np.concatenate([corner, corner + side], 1)])
        scores = rng.random(len(boxes))
        classes = np.concatenate([image.classes, rng.integers(0, 4, extra)])
        found[image.name] = ImageDetections(boxes, scores.round(1) if whole else scores, classes)
    return found


def run_pycocotools(truth, found, areas, limits, regions_as_crowd=False):
    """Return pycocotools' precision (T, 101, K, A, M) and recall (T, K, A, M).

    Args:
        truth: The images.
        found: The detections.
        areas: (lowest, highest) area of each range.
        limits: Detections an image and class.
        regions_as_crowd: Hand over ignore regions as crowds of every class.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations, results = [], []
    for image_id, image in enumerate(truth.images, start=1):
        for box, category, area, crowd in zip(image.boxes, image.classes, image.areas, image.crowd, strict=True):
            annotations.append(_annotation(image_id, category, box, area, crowd))
        for region in image.ignore_regions if regions_as_crowd else ():
            size = (region[2:] - region[:2]).prod()
            annotations += [_annotation(image_id, category, region, size, True) for category in truth.names]
        if image.name in found:
            part = found[image.name]
            for box, score, category in zip(part.boxes, part.scores, part.classes, strict=True):
                results.append({**_annotation(image_id, category, box, 0, False), "score": float(score)})
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    with contextlib.redirect_stdout(io.StringIO()):
        api = COCO()
        api.dataset = {
            "images": [{"id": i} for i in range(1, len(truth.images) + 1)],
            "annotations": annotations,
            "categories": [{"id": i + 1, "name": n} for i, n in truth.names.items()],
            "info": {},
        }
        api.createIndex()
        evaluation = COCOeval(api, api.loadRes(results), "bbox")
        evaluation.params.areaRng = [list(area) for area in areas]
        evaluation.params.areaRngLbl = [str(area) for area in areas]
        evaluation.params.maxDets = list(limits)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"], evaluation.eval["recall"]


def _annotation(image_id, category, box, area, crowd):
    sides = {"bbox": [*box[:2], *(box[2:] - box[:2])], "area": float(area), "iscrowd": int(crowd)}
    return {"image_id": image_id, "category_id": int(category) + 1, **sides}


def mean_of_valid(values):
    """Return the mean of the entries above -1, as pycocotools' summary takes it; NaN where there is none."""
    return values[values > -1].mean() if (values > -1).any() else float("nan")


def expect_scores(truth, found, sizes, limits, regions_as_crowd=False):
    """Return what a protocol of COCO's kind should say by pycocotools' arrays, over all classes and by class name."""
    areas = [(0, 1e10), *sizes.values()]
    precision, recall = run_pycocotools(truth, found, areas, limits, regions_as_crowd)

    def summarise(kept):
        at = precision[..., -1][:, :, kept], recall[..., -1][:, kept]
        values = {"AP": at[0][..., 0], "AP50": at[0][0, ..., 0], "AP75": at[0][5, ..., 0], "AR": at[1][..., 0]}
        for index, size in enumerate(sizes, start=1):
            values |= {f"AP_{size}": at[0][..., index], f"AR_{size}": at[1][..., index]}
        return {name: mean_of_valid(value) for name, value in values.items()}

    totals = summarise(slice(None))
    totals |= {f"AR{limit}": mean_of_valid(recall[..., 0, index]) for index, limit in enumerate(limits)}
    occurring = [index for index in truth.names if (recall[:, index, 0] > -1).any()]
    return totals, {truth.names[index]: summarise([index]) for index in occurring}


def assert_same_scores(score, expected, tolerance=1e-9):
    """Compare a score with `expect_scores`, far within the 1e-6 that is asked for."""
    totals, by_class = expected
    assert score.metrics.keys() == totals.keys()
    assert score.per_class.keys() == by_class.keys()
    for got, wanted in [(score.metrics, totals), *((score.per_class[name], by_class[name]) for name in by_class)]:
        for name, value in wanted.items():
            np.testing.assert_allclose(got[name], value, rtol=0, atol=tolerance, err_msg=name)
