"""Validators: Ultralytics' loop and plots, plus scores by named protocols in original pixels.

Ultralytics' own metrics keep their names (`metrics/mAP50(B)`, ...); ours are `coco/AP`, `coco/AP50`, ... While a model
trains the protocol is COCO's, and the fitness that decides which checkpoint is the best is `coco/AP`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
import yaml
from torch import Tensor, nn
from ultralytics.models.rtdetr.val import RTDETRValidator
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.utils import LOGGER, RANK, colorstr, ops

from uavdet.data.config import DataConfig
from uavdet.data.dataset import LetterboxDataset, StretchDataset
from uavdet.engine.calls import all_boxes
from uavdet.engine.logs import quiet
from uavdet.evaluation.coco import coco_results
from uavdet.evaluation.protocol import Protocol, Score, find_protocols
from uavdet.evaluation.truth import (
    GroundTruth,
    ImageDetections,
    check_boxes,
    check_sizes,
    read_coco_truth,
    restrict_truth,
    select_images,
    truth_from_labels,
)
from uavdet.runtime.postprocess import suppress_duplicates

if TYPE_CHECKING:
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.models.yolo.detect import DetectionValidator as _Validator
else:
    _Validator = object


class ProtocolScoring(_Validator):
    """Collects detections in original pixels and scores them; mixed in before a validator of Ultralytics.

    Attributes:
        protocols: The protocols to score by.
        scores: The scores of the last validation.
        scored: What they were scored against.
        found: The detections, by the image's name in it.
        files: Image files by that name.
    """

    dataset_class: type[YOLODataset] = StretchDataset
    protocols: list[Protocol]
    scores: list[Score]
    scored: GroundTruth
    found: dict[str, ImageDetections]
    files: dict[str, Path]
    truth: GroundTruth | None = None
    data_config: DataConfig
    skip_bad: bool = False
    ignore_fill: str | None = None
    data: dict[str, Any]
    args: Any
    training: bool
    dataloader: Any
    save_dir: Path

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.protocols, self.scores = find_protocols(["coco"]), []

    def __call__(self, trainer: Any = None, model: nn.Module | str | None = None) -> dict[str, Any] | None:
        """Validate the EMA of a trainer, or a model that is loaded already.

        Returns:
            The metrics by name; None on the ranks of a distributed run that do not report.
        """
        if trainer is not None:
            return super().__call__(trainer, model)
        self._write_resolved_yaml()
        with quiet(not self.args.verbose):
            return super().__call__(None, model)

    def _write_resolved_yaml(self) -> None:
        """Hand Ultralytics a dataset YAML that needs no resolving: it would look in its own folders, or download."""
        resolved = {**self.data_config.as_ultralytics(), "skip_bad": self.skip_bad}
        for split in ("train", "val"):
            resolved.setdefault(split, resolved[self.args.split])
        self.save_dir.mkdir(parents=True, exist_ok=True)
        self.args.data = str(self.save_dir / "data.yaml")
        Path(self.args.data).write_text(yaml.safe_dump(resolved, sort_keys=False), encoding="utf-8")

    def build_dataset(self, img_path: str | list[str], mode: str = "val", batch: int | None = None) -> Any:
        """Return the validation dataset."""
        return self.dataset_class(
            img_path=img_path,
            imgsz=self.args.imgsz,
            batch_size=batch,
            augment=False,
            hyp=self.args,
            rect=self.args.rect and self.dataset_class is LetterboxDataset,
            cache=self.args.cache or None,
            single_cls=self.args.single_cls or False,
            stride=int(self.stride or 32),
            prefix=colorstr(f"{mode}: "),
            classes=self.args.classes,
            data={**self.data, "split": self.args.split, "ignore_fill": self.ignore_fill},
            fraction=self.args.fraction if not self.training else 1.0,
        )

    def init_metrics(self, model: nn.Module) -> None:
        """Forget the detections of an earlier validation."""
        super().init_metrics(model)
        self.detections: dict[str, ImageDetections] = {}

    def update_metrics(self, preds: list[dict[str, Tensor]], batch: dict[str, Any]) -> None:
        """Take the detections of a batch."""
        super().update_metrics(preds, batch)
        self.detections.update(self.detections_of(preds, batch))

    def detections_of(self, preds: list[dict[str, Tensor]], batch: dict[str, Any]) -> dict[str, ImageDetections]:
        """Return the detections of a batch in original pixels, by image file."""
        found = {}
        for index, pred in enumerate(preds):
            classes = pred["cls"].long().cpu().numpy()
            boxes = self.original_boxes(pred["bboxes"], batch, index)
            # YOLO26 regresses sides without a bound, and a young one puts the right side left of the left one
            boxes = torch.cat([boxes[:, :2], boxes[:, 2:].maximum(boxes[:, :2])], dim=1)
            found[batch["im_file"][index]] = ImageDetections(
                boxes.double().cpu().numpy(),
                pred["conf"].double().cpu().numpy(),
                classes * 0 if self.args.single_cls else classes,
            )
        return found

    def pred_to_json(self, predn: dict[str, Tensor], pbatch: dict[str, Any]) -> None:
        """Leave predictions.json to `get_stats`, which knows the ids of the annotations."""

    def original_boxes(self, boxes: Tensor, batch: dict[str, Any], index: int) -> Tensor:
        """Return boxes (N, 4) xyxy in original pixels, clipped to the image, from those of a stretched image."""
        (height, width), (input_height, input_width) = batch["ori_shape"][index], batch["img"].shape[2:]
        scale = boxes.new_tensor([width / input_width, height / input_height] * 2)
        limit = boxes.new_tensor([width, height] * 2)
        return (boxes * scale).clamp(min=0).minimum(limit)

    def gather_stats(self) -> None:
        """Bring the detections of all ranks to rank 0."""
        super().gather_stats()
        if dist.is_available() and dist.is_initialized() and RANK != -1 and self.training:
            gathered: list[Any] = [None] * dist.get_world_size() if RANK == 0 else []
            dist.gather_object(self.detections, gathered or None, dst=0)
            for part in gathered:
                self.detections.update(part)

    def get_stats(self) -> dict[str, Any]:
        """Return Ultralytics' metrics, those of the protocols, and the fitness: the first protocol's headline."""
        # Ultralytics' AP by size is in pixels of the network input, and zero here
        stats = {key: value for key, value in super().get_stats().items() if not key.startswith("metrics/mAP_")}
        self.scored, names = self.ground_truth()
        self.found = {names[file]: found for file, found in self.detections.items()}
        self.files = {name: Path(file) for file, name in names.items()}
        self.scores = [protocol.score(self.scored, self.found) for protocol in self.protocols]
        self.scores = [as_printed(s, self.metrics) if s.protocol == "ultralytics" else s for s in self.scores]
        if self.args.save_json:
            text = json.dumps(coco_results(self.scored, self.found))
            (self.save_dir / "predictions.json").write_text(text, encoding="utf-8")
        for score in self.scores:
            stats.update(score.as_row())
        stats["fitness"] = max(self.scores[0].headline, 0.0)
        return stats

    def ground_truth(self) -> tuple[GroundTruth, dict[str, str]]:
        """Return the annotations of the validated images, and each image file's name in them.

        They are those of the COCO JSON where the dataset names one, else the labels.
        """
        labels, names = self.dataloader.dataset.labels, self.data["names"]
        files = [label["im_file"] for label in labels]
        annotations = (self.data.get("annotations") or {}).get(self.args.split)
        if annotations is None:
            return truth_from_labels(labels, names), dict(zip(files, files, strict=True))
        if self.truth is None:
            truth = read_coco_truth(annotations, self.data.get("label_names") or names)
            check_boxes(truth, annotations)
            self.truth = restrict_truth(truth, self.args.classes, bool(self.args.single_cls))
        selected, annotated = select_images(self.truth, files, annotations)
        check_sizes(selected, {annotated[label["im_file"]]: label["shape"] for label in labels}, annotations)
        return selected, annotated

    def print_results(self) -> None:
        """Print Ultralytics' table, and while a model trains one line of the protocols."""
        super().print_results()
        for score in self.scores if self.training else []:
            row = "  ".join(f"{name} {value:.3f}" for name, value in score.metrics.items())
            LOGGER.info(f"protocol {score.protocol}, original pixels: {row}")


def as_printed(score: Score, metrics: Any) -> Score:
    """Return a score by Ultralytics' protocol with the numbers that its own validator printed.

    Args:
        score: By our computation, from boxes that are clipped to the image.
        metrics: The validator's `DetMetrics`.
    """
    keys = ("P", "R", "AP50", "AP")
    rows = {metrics.names[int(c)]: metrics.class_result(row) for row, c in enumerate(metrics.ap_class_index)}
    per_class = {name: dict(zip(keys, map(float, values), strict=True)) for name, values in rows.items()}
    printed = dict(zip(keys, map(float, metrics.mean_results()), strict=True))
    return replace(score, metrics=printed, per_class=per_class)


class StretchValidator(ProtocolScoring, RTDETRValidator):
    """Validates DETRs, whose images are stretched.

    Attributes:
        nms: IoU from which the weaker of two boxes of a class goes; None: all stay.
    """

    nms: float | None = None

    def postprocess(self, preds: Any) -> list[dict[str, Tensor]]:
        """Return the best `max_det` boxes of each image that stay, in pixels of the network's input."""
        if self.nms is None:
            return super().postprocess(preds)
        with all_boxes(self.args) as limit:
            found = super().postprocess(preds)
        return [self._without_duplicates(each, self.nms, limit) for each in found]

    @staticmethod
    def _without_duplicates(found: dict[str, Tensor], nms: float, limit: int) -> dict[str, Tensor]:
        """Return what suppression leaves of one image."""
        boxes, scores, classes = (found[key].float().cpu().numpy() for key in ("bboxes", "conf", "cls"))
        kept = torch.from_numpy(suppress_duplicates(boxes, scores, classes, nms)[:limit]).to(found["conf"].device)
        return {key: values[kept] for key, values in found.items()}


class LetterboxValidator(ProtocolScoring, DetectionValidator):
    """Validates YOLOs, whose images are scaled to fit and padded."""

    dataset_class = LetterboxDataset

    def original_boxes(self, boxes: Tensor, batch: dict[str, Any], index: int) -> Tensor:
        """Return boxes (N, 4) xyxy in original pixels, clipped to the image, from those of a padded image."""
        shape = tuple(batch["img"].shape[2:])
        return ops.scale_boxes(shape, boxes.clone(), batch["ori_shape"][index], ratio_pad=batch["ratio_pad"][index])
