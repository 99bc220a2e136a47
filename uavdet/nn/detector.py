"""The detector: a network built from one of our YAMLs, with its criterion.

`Detector` is a `BaseModel` of Ultralytics, so that its predictor, validator, EMA and fusion work on it. It keeps no
reference to a training method: methods hang their losses on `auxiliary_losses`, which copies of the model leave
behind.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel
from ultralytics.utils.torch_utils import initialize_weights

from uavdet.errors import ConfigError
from uavdet.losses.detection import DetectionCriterion
from uavdet.losses.ignore import regions_of_batch
from uavdet.losses.stock import RegionRTDETRLoss, yolo_criterion
from uavdet.nn.build import build_network
from uavdet.nn.decoder import RTDETRDecoder, check_count
from uavdet.nn.rows import ModelConfig
from uavdet.nn.thumbnail import input_stride

Batch = dict[str, Any]
AuxiliaryLoss = Callable[[nn.Module, Batch, Any], dict[str, Tensor]]


class AuxiliaryLosses:
    """The losses that training methods add to a step; a copy is empty.

    EMA, checkpoints and exports copy the model: whatever a method holds (a teacher, projectors, buffers) stays out
    of them because copying this object yields a fresh one.

    Attributes:
        functions: The losses.
        detection: Whether the model's own loss trains as well. A method that trains something else first (ThumbDet's
            first stage) switches it off; the network then does not run, and the losses get no outputs.
    """

    def __init__(self) -> None:
        self.functions: list[AuxiliaryLoss] = []
        self.detection = True

    def __deepcopy__(self, memo: dict[int, Any]) -> AuxiliaryLosses:
        return AuxiliaryLosses()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return AuxiliaryLosses, ()


def targets_from_batch(batch: Batch) -> dict[str, Any]:
    """Return the targets of a batch as the head and the criterion read them.

    Args:
        batch: `img` (B, C, H, W), `cls` (N, 1) or (N,), `bboxes` (N, 4) normalised cxcywh, `batch_idx` (N,), sorted
            by image; ignored regions as `uavdet.losses.ignore.regions_of_batch` reads them.

    Returns:
        `cls` (N,) int64, `bboxes` (N, 4), `batch_idx` (N,) int64, `gt_groups` (objects an image), `image_size`
        (width, height) in pixels, and `ignore_regions` (B, R, 4) or None.
    """
    image = batch["img"]
    index = batch["batch_idx"].to(image.device, dtype=torch.long).view(-1)
    return {
        "cls": batch["cls"].to(image.device, dtype=torch.long).view(-1),
        "bboxes": batch["bboxes"].to(image.device).float(),
        "batch_idx": index,
        "gt_groups": torch.bincount(index, minlength=image.shape[0]).tolist(),
        "image_size": (image.shape[3], image.shape[2]),
        "ignore_regions": regions_of_batch(batch),
    }


class HookedLoss:
    """Adds the auxiliary losses of training methods to a model's own loss; mixed in before a model class.

    Attributes:
        auxiliary_losses: The losses to add.
        autocast_dtype: Precision of a training step, or None for float32.
        item_names: The items that the model's own loss reports.
    """

    auxiliary_losses: AuxiliaryLosses
    autocast_dtype: torch.dtype | None = None
    criterion: Any
    item_names: tuple[str, ...] = ("giou_loss", "cls_loss", "l1_loss")
    training: bool

    def loss(self, batch: Batch, preds: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the total loss and its items by name.

        Args:
            batch: As `targets_from_batch` reads it.
            preds: The outputs of this batch, where they are known already.
        """
        mixed = self.training and self.autocast_dtype is not None
        auxiliary = self.auxiliary_losses
        with torch.autocast(batch["img"].device.type, self.autocast_dtype, enabled=mixed):
            if self.training and not auxiliary.detection:
                self.criterion = getattr(self, "criterion", None) or self.init_criterion()  # type: ignore[attr-defined]
                preds, total = None, batch["img"].new_zeros(())
                items = dict.fromkeys(self.item_names, total)
            else:
                preds = self.training_outputs(batch) if preds is None else preds
                total, items = self.plain_loss(batch, preds)
            if self.training and auxiliary.functions:
                extra = self._auxiliary(batch, preds)
                total = total.sum() + sum(extra.values()) * self.auxiliary_scale(batch)
                items = {**items, **{name: value.detach() for name, value in extra.items()}}
        self.criterion.terms = {}  # the graph goes with the step
        return total, items

    @property
    def loss_terms(self) -> dict[str, Tensor]:
        """The weighted terms of the last `plain_loss` of the running step, by the criterion's names; differentiable.

        Times `auxiliary_scale` their sum is that loss. They are gone when `loss` returns.
        """
        return self.criterion.terms

    def _auxiliary(self, batch: Batch, preds: Any) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        for function in self.auxiliary_losses.functions:
            losses.update(function(self, batch, preds))  # type: ignore[arg-type]
        return losses

    def auxiliary_scale(self, batch: Batch) -> float:
        """Return what auxiliary losses are multiplied by to stand beside the model's own; see `gradient_scale`."""
        return 1 / gradient_scale()

    def plain_loss(self, batch: Batch, preds: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the model's own loss and its items, without those of training methods."""
        return super().loss(batch, preds)  # type: ignore[misc]

    def training_outputs(self, batch: Batch) -> Any:
        """Return the head's outputs for a training batch."""
        return self.predict(batch["img"])  # type: ignore[attr-defined]


def gradient_scale() -> int:
    """Return the factor by which the trainer multiplies the loss before DDP averages the gradients.

    Ultralytics multiplies by the number of ranks, as its YOLO losses are sums over the local batch. A loss that is
    normalised over all ranks has to be divided by the same number.
    """
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class StockYOLO(HookedLoss, DetectionModel):
    """Ultralytics' YOLO detector with room for training methods."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.auxiliary_losses = AuxiliaryLosses()

    @property
    def item_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """The items that YOLO's loss reports."""
        return "box_loss", "cls_loss", "dfl_loss" if self.model[-1].reg_max > 1 else "l1_loss"

    def auxiliary_scale(self, batch: Batch) -> float:
        """Return the batch size: YOLO's loss is a sum over the images of all ranks."""
        return float(batch["img"].shape[0])

    def init_criterion(self) -> Any:
        """Return Ultralytics' criterion, with ignored regions."""
        return yolo_criterion(self)


class StockRTDETR(HookedLoss, RTDETRDetectionModel):
    """Ultralytics' RT-DETR with room for training methods."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.nc = self.yaml["nc"]
        self.auxiliary_losses = AuxiliaryLosses()

    def training_outputs(self, batch: Batch) -> Any:
        """Return the head's outputs, denoising queries included."""
        return self.predict(batch["img"], batch=targets_from_batch(batch))

    def auxiliary_scale(self, batch: Batch) -> float:
        """Return 1: Ultralytics normalises each rank's loss by its own objects, and the trainer adds up the ranks."""
        return 1.0

    def init_criterion(self) -> RegionRTDETRLoss:
        """Return Ultralytics' criterion, with ignored regions."""
        return RegionRTDETRLoss(nc=self.nc, use_vfl=True)

    def plain_loss(self, batch: Batch, preds: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Return Ultralytics' loss and its items."""
        if getattr(self, "criterion", None) is None:
            self.criterion = self.init_criterion()
        self.criterion.regions = regions_of_batch(batch)
        return super().plain_loss(batch, preds)


class Detector(HookedLoss, RTDETRDetectionModel):
    """A detector built by our own parser.

    Args:
        config: A model YAML as a dict.
        channels: Channels of the input image.
        nc: Number of classes, in the place of the YAML's.
        queries: Number of queries, in the place of the head row's.
    """

    def __init__(
        self, config: ModelConfig, channels: int = 3, nc: int | None = None, queries: int | None = None
    ) -> None:
        nn.Module.__init__(self)
        self.yaml = {**copy.deepcopy(config), "channels": channels, "nc": nc or config.get("nc")}
        self.model, self.save = build_network(self.yaml, channels)
        self.nc = self.yaml["nc"]
        self.names = {index: str(index) for index in range(self.nc)}
        self.inplace, self.task, self.stride = True, "detect", torch.tensor([float(input_stride(self.yaml))])
        self.auxiliary_losses = AuxiliaryLosses()
        if queries is not None:
            self.set_queries(queries)
        initialize_weights(self)

    @property
    def head(self) -> RTDETRDecoder:
        """The decoder, the last row."""
        return self.model[-1]  # type: ignore[return-value]

    def set_queries(self, queries: int) -> None:
        """Set how many queries the decoder selects; learned initial queries, if any, are cut or repeated to fit.

        Raises:
            ConfigError: `queries` is no positive integer.
        """
        try:
            self.yaml["queries"] = self.head.num_queries = check_count("queries", queries)
        except ValueError as error:
            raise ConfigError(f"{self.yaml.get('yaml_file', 'model YAML')}: {error}.") from error
        if self.head.learnt_init_query:
            weight = self.head.tgt_embed.weight.data
            self.head.tgt_embed = nn.Embedding.from_pretrained(resize_rows(weight, queries), freeze=False)

    def init_criterion(self) -> DetectionCriterion:
        """Return the criterion that the head row asks for."""
        return DetectionCriterion(self.nc, self.head.expansion, self.head.box_loss)

    def training_outputs(self, batch: Batch) -> Any:
        """Return the head's outputs, denoising queries included."""
        return self.predict(batch["img"], batch=targets_from_batch(batch))

    def plain_loss(self, batch: Batch, preds: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum of the criterion's terms, and the last decoder layer's terms as items to report."""
        losses = self.detection_loss(batch, preds)
        items = {"giou_loss": "loss_giou", "cls_loss": "loss_class", "l1_loss": "loss_bbox"}
        return sum(losses.values()) / gradient_scale(), {k: losses[v].detach() for k, v in items.items()}  # type: ignore[return-value]

    def detection_loss(self, batch: Batch, preds: Any) -> dict[str, Tensor]:
        """Return the weighted terms of the criterion by name; see `DetectionCriterion`."""
        if getattr(self, "criterion", None) is None:
            self.criterion = self.init_criterion()
        boxes, logits, encoder_boxes, encoder_logits, meta = preds if self.training else preds[1]
        denoising = None
        if meta is not None:
            dn_boxes, boxes = boxes.split(meta["dn_num_split"], 2)
            dn_logits, logits = logits.split(meta["dn_num_split"], 2)
            denoising = (dn_boxes, dn_logits, meta)
        boxes = torch.cat([encoder_boxes[None], boxes])
        logits = torch.cat([encoder_logits[None], logits])
        self.criterion.terms = self.criterion(boxes, logits, targets_from_batch(batch), denoising)
        return self.criterion.terms


def resize_rows(weight: Tensor, rows: int) -> Tensor:
    """Return `weight` (N, D) with `rows` rows: the first ones, repeated in order where there are too few."""
    return weight[torch.arange(rows, device=weight.device) % len(weight)].clone()
