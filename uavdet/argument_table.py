"""The one table of arguments: of the command line, of the Python API and of recipe files.

Names, meanings and defaults are Ultralytics' wherever it has the argument.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uavdet import argument_kinds as kinds
from uavdet.export.registry import FORMATS

MODES = {
    "train": "train a detector on a dataset",
    "val": "score a detector on a dataset",
    "predict": "detect objects in images, folders, videos or streams",
    "track": "detect and track objects in a video or a stream",
    "convert": "turn a dataset of another format into one that train and val take",
    "doctor": "check a dataset before a day of training is spent on it",
    "compare": "compare validated runs, with bootstrap intervals for every difference",
    "analyze": "look at what a model does to images: bands, spectrum, pca, saliency, smoothing, ddf, thumbnail",
    "export": "write the network as a file for other programs, proven to agree with the weights",
    "benchmark": "time models beside one another: weights and exported files",
    "import": "turn a pickled Ultralytics checkpoint into one of ours",
    "info": "count parameters and GFLOPs of a model",
    "demo": "detect and track in a drone clip with the bundled weights",
    "checks": "report versions, devices and conflicting packages",
    "help": "show this help, or that of a mode: uavdet help train",
}

DETR, YOLO = "detr", "yolo"
"""Families of models: DETRs (ours and RT-DETR) and YOLOs, some arguments of which mean nothing to the other."""


@dataclass(frozen=True)
class Argument:
    """One argument.

    Attributes:
        name: Its name.
        default: Its value where neither the user nor a recipe gives one; None often means "decided by the model".
        parse: Turns text or a Python value into the value; raises ValueError saying what is allowed.
        modes: The modes that take it.
        help: What it does.
        family: The only model family it means something to, or None.
    """

    name: str
    default: Any
    parse: Callable[[Any], Any]
    modes: tuple[str, ...]
    help: str
    family: str | None = None

    @property
    def is_flag(self) -> bool:
        """Whether the value is True or False."""
        return self.parse is kinds.boolean


_row = Argument
_ANY_MODEL = ("train", "val", "predict", "track", "export", "info", "doctor")
_RUN = ("train", "val", "predict", "track", "demo", "doctor", "compare", "analyze")
_EVERYWHERE = tuple(mode for mode in MODES if mode != "help")
_INFER = ("predict", "track")
_OPTIMIZERS = ("auto", "SGD", "MuSGD", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSProp")

# fmt: off
_TABLE = [
    # What to work on
    _row("model", None, kinds.text, _ANY_MODEL,
         "weights (.pt, .safetensors, .onnx) or a model YAML; default: the bundled so-detr-n-demo, in training none"),
    _row("model", None, kinds.text, ("analyze",),
         "weights (.pt, .safetensors) or a model YAML; default: the bundled so-detr-n-demo"),
    _row("model", [], kinds.name_list, ("benchmark",),
         "weights, model YAMLs and exported files, separated by commas, each compared with the first; default: the "
         "bundled so-detr-n-demo"),
    _row("kind", None, kinds.text, ("analyze",),
         "what to look at; a plain word means the same: uavdet analyze pca is kind=pca"),
    _row("data", None, kinds.text, ("train", "val", "doctor", "analyze"), "dataset YAML"),
    _row("data", None, kinds.text, ("export",),
         "dataset YAML, on whose validation images the file is compared with the weights; default: synthetic scenes"),
    _row("runs", [], kinds.name_list, ("compare",),
         "run folders of `uavdet val`: uavdet compare runs/val/a runs/val/b; runs of one name= are seeds of one arm"),
    _row("source", None, kinds.text, ("convert",), "folder of the dataset"),
    _row("source", None, kinds.anything, (*_INFER, "demo"),
         "image, folder, glob, video, list of files (.txt), address of a stream, camera number, pipeline of GStreamer; "
         "several addresses with commas between them"),
    _row("source", None, kinds.text, ("analyze",), "thumbnail: image, folder of images, or glob"),
    _row("images", 16, kinds.count, ("analyze",), "most images to look at; for pca the default is 4"),
    _row("channel", "strongest", kinds.choice("strongest", "mean"), ("analyze",),
         "spectrum: of each object's channel with the most energy, as in the paper, or the mean of all channels"),
    _row("gradient", "features", kinds.choice("features", "image"), ("analyze",),
         "saliency: gradient by the levels that enter the head, as in the paper, or by the image"),
    _row("source", None, kinds.text, ("benchmark",), "picture to detect in; default: a synthetic scene of 1920x1080"),
    _row("runs", 100, kinds.count, ("benchmark",), "rounds, each one run of every model"),
    _row("weights", None, kinds.text, ("import",), "pickled Ultralytics checkpoint to turn into ours"),
    _row("trust", False, kinds.boolean, ("import",),
         "run the program that a pickled checkpoint is; say so only for files you trust"),
    _row("out", None, kinds.text, ("convert",), "folder to write; it must be new or empty"),
    _row("out", None, kinds.text, ("import", "export"), "file to write"),
    _row("recipe", None, kinds.text, ("train",), "training recipe: a YAML of these arguments, or one of cfg/recipes"),
    _row("methods", [], kinds.name_list, ("train",),
         "training methods, separated by commas; their settings are method.key=value"),
    _row("nc", None, kinds.count, ("info",), "number of classes, in the place of the YAML's"),
    _row("queries", None, kinds.count, (*_ANY_MODEL, "benchmark"),
         "number of object queries of a DETR, in the place of the model's", DETR),
    _row("thumbnail", None, kinds.one_of(2, 4), ("train", "info", "analyze"),
         "put a stem before the model that shrinks its images by this factor", DETR),
    _row("thumbnail_kind", None, kinds.choice("learned", "area", "bicubic"), ("train", "info", "analyze"),
         "with thumbnail: learned (default), or a resize that learns nothing: area, bicubic", DETR),
    _row("thumbnail_layers", None, kinds.one_of(1, 2, 5), ("train", "info", "analyze"),
         "with thumbnail: convolutions of the learned one: 1, 2 (default) or 5", DETR),
    _row("levels", [], kinds.name_list, ("analyze",),
         "bands: feature levels to filter: strides in pixels, or places from 0; default: all"),
    _row("each_level", False, kinds.boolean, ("analyze",), "bands: filter each level alone, too"),
    _row("bands", "thirds", kinds.frequency_bands, ("analyze",),
         "bands, smoothing: thirds of 0 to 0.5 cycles a cell; energy, as in SET's Fig. 1; or edges: 0.1,0.25"),
    _row("band_filter", "remove", kinds.choice("remove", "keep"), ("analyze",),
         "bands: remove one at a time, as in SET's Fig. 1, or keep it alone"),
    _row("region", "both", kinds.choice("both", "map", "background"), ("analyze",),
         "bands: filter the whole map, the background alone, or one after the other"),
    _row("smoothing", None, kinds.text, ("analyze",),
         "smoothing: trained blocks, the background_smoothing.pt of a run; default: that beside the weights, if any"),
    _row("steps", 200, kinds.count, ("analyze",),
         "smoothing: batches of two images that blocks are trained on where there are no trained ones"),
    # Where results go
    _row("project", None, kinds.text, _RUN, "folder of runs; default runs/<mode>"),
    _row("name", None, kinds.text, _RUN, "name of the run in its project; numbered where it exists"),
    _row("exist_ok", False, kinds.boolean, _RUN, "write into an existing run"),
    _row("json", False, kinds.boolean, _EVERYWHERE,
         "print the result as JSON on standard output, everything else on standard error"),
    _row("verbose", True, kinds.boolean, ("train", "val", *_INFER), "print progress"),
    _row("plots", True, kinds.boolean, ("train", "val"), "save plots and sample pictures"),
    _row("loggers", [], kinds.name_list, ("train",),
         "loggers to switch on: tensorboard, wandb, mlflow, comet, clearml, dvc"),
    # Datasets
    _row("format", None, kinds.text, ("convert",),
         "format of the dataset, needed as are source and out: visdrone, visdrone-vid, uavdt, aitod, aitod-v2, "
         "dota-v1, dota-v1.5, dota-v2, dior, voc, tinyperson, seaperson, uavvaste, hit-uav, coco, yolo"),
    _row("link", True, kinds.boolean, ("convert",), "link the images in the place of copying them"),
    _row("strict", False, kinds.boolean, ("convert",), "fail where anything would be left out"),
    _row("tile", None, kinds.image_size, ("convert",), "cut images into tiles of this side, or height,width"),
    _row("overlap", None, kinds.whole, ("convert",),
         "with tile: pixels that neighbouring tiles share; default 200, at most a quarter of the tile"),
    _row("area", "box", kinds.choice("box", "polygon"), ("convert",),
         "area by which objects are sorted into sizes: of the box, or of the polygon where there is one"),
    # Streams
    _row("latency", None, kinds.choice("live", "complete"), _INFER,
         "live: only the newest frame, what it overtakes is dropped and counted; complete: every frame; default: live "
         "for streams and cameras, complete for files"),
    _row("max_retries", None, kinds.whole, _INFER,
         "attempts to reach a stream that was lost, one after another; default: for ever"),
    _row("stall_timeout", 10.0, kinds.positive, _INFER, "seconds without a frame after which a stream counts as lost"),
    _row("sinks", None, kinds.anything, _INFER,
         "what else to write into the folder of the run, separated by commas: video, jsonl, csv, mot, coco, webhook"),
    _row("webhook", None, kinds.text, _INFER, "address that detections are sent to, a JSON a frame by HTTP POST"),
    # Tiles
    _row("tile", None, kinds.anything, _INFER,
         "look at large images tile by tile: auto, or the size of a tile in pixels: WIDTHxHEIGHT"),
    _row("overlap", 0.2, kinds.number, _INFER, "with tile: share of a tile's side that neighbours have in common"),
    _row("full_frame", None, kinds.boolean, _INFER,
         "with tile: look at the whole image as well; default: where objects can be larger than the overlap"),
    _row("merge", "greedynmm", kinds.choice("greedynmm", "nmm", "nms"), _INFER,
         "with tile: what becomes of boxes of one object in several tiles: nmm and greedynmm join them, nms keeps one"),
    _row("merge_metric", "ios", kinds.choice("ios", "iou"), _INFER,
         "with tile: how boxes are compared: intersection over the smaller area, or over the union"),
    _row("merge_threshold", 0.5, kinds.fraction, _INFER, "with tile: from which value on boxes are of one object"),
    # Machine
    _row("device", None, kinds.literal, ("train", "val", *_INFER, "demo", "analyze"),
         "0, 0,1, cpu, mps; default: the first GPU, else the CPU; predict with an .onnx takes cpu, cuda, tensorrt or "
         "openvino, by default the fastest that works"),
    _row("workers", 8, kinds.whole, ("train", "val"),
         "data loading processes on a GPU; the CPU loads in its own process"),
    _row("batch", None, kinds.batch_size, ("train", "val", "predict", "track", "export", "analyze"),
         "images a step; in training -1 finds the largest that fits a GPU"),
    _row("imgsz", None, kinds.image_size, (*_ANY_MODEL, "demo"),
         "side of the network input in pixels, a multiple of 32; all modes but train take height,width too"),
    _row("device", None, kinds.literal, ("benchmark",),
         "0, cpu, mps; for .onnx cpu, cuda, tensorrt or openvino; default: the fastest that works for each model"),
    _row("threads", None, kinds.count, ("benchmark",), "CPU threads of each model; default: one for each processor"),
    _row("batch", None, kinds.count, ("benchmark",), "images a run; default: what an exported file fixes, else 1"),
    _row("imgsz", None, kinds.image_size, ("benchmark",),
         "side of the input in pixels, or height,width; default: each model's own"),
    _row("half", False, kinds.boolean, ("benchmark",), "half precision, where the device computes in it"),
    _row("imgsz", None, kinds.image_size, ("analyze",),
         "side of the network input in pixels, or height,width; a multiple of 32 times the thumbnail's factor"),
    _row("half", False, kinds.boolean, ("val", "predict", "track", "export"),
         "half precision: on a GPU, or in the exported file where it holds"),
    _row("channels_last", None, kinds.boolean, ("train",), "channels-last memory; default: where it is faster"),
    # Training
    _row("epochs", 100, kinds.count, ("train",), "passes over the training images"),
    _row("time", None, kinds.positive, ("train",), "hours to train, in the place of epochs"),
    _row("patience", 100, kinds.whole, ("train",),
         "epochs without a better validation before stopping; 0 never stops"),
    _row("save", True, kinds.boolean, ("train", *_INFER), "save checkpoints, or pictures and videos of results"),
    _row("save_period", -1, kinds.period, ("train",), "also keep a checkpoint every so many epochs"),
    _row("cache", False, kinds.caching, ("train", "val"),
         "keep decoded images in memory (True, ram) or on disk (disk)"),
    _row("pretrained", True, kinds.start, ("train",),
         "True: start from the weights of model=; a file, or a timm model name for the backbone, fetched only "
         "when named here; False: from scratch"),
    _row("partial", False, kinds.boolean, ("train",), "accept pretrained weights that fill only a part of the model"),
    _row("optimizer", "auto", kinds.choice(*_OPTIMIZERS), ("train",),
         "optimizer"),
    _row("seed", 0, kinds.whole, ("train", "compare"), "random seed"),
    _row("deterministic", True, kinds.boolean, ("train",), "deterministic operations where they exist"),
    _row("single_cls", False, kinds.boolean, ("train", "val"), "treat all classes as one"),
    _row("rect", False, kinds.boolean, ("train", "val"), "rectangular batches", YOLO),
    _row("cos_lr", False, kinds.boolean, ("train",), "cosine learning rate schedule"),
    _row("close_mosaic", 10, kinds.whole, ("train",), "epochs without mosaic at the end"),
    _row("resume", False, kinds.literal, ("train",), "True: continue the newest run, or that of model=; or a last.pt"),
    _row("amp", True, kinds.precision, ("train",),
         "precision: auto (bf16 where the device has it), bf16, fp16 or True (fp32 on a CPU), fp32 or False"),
    _row("fraction", 1.0, kinds.share, ("train", "val", "analyze"),
         "share, or number of at least 2, of the images to use"),
    _row("freeze", None, kinds.rows, ("train",), "rows to freeze: the first N, or row numbers or names"),
    _row("multi_scale", 0.0, kinds.fraction, ("train",), "random input size within this fraction of imgsz"),
    _row("val", True, kinds.boolean, ("train",), "validate after every epoch"),
    _row("skip_bad", False, kinds.boolean, ("train", "val", "analyze"),
         "go on without images whose file or labels are damaged, in the place of an error"),
    _row("ignore_fill", None, kinds.choice("mean"), ("train", "val"),
         "mean: paint ignored regions with their mean colour; default: leave them, and ignore what is found there"),
    # Optimisation
    _row("lr0", 0.01, kinds.non_negative, ("train",), "initial learning rate"),
    _row("lrf", 0.01, kinds.non_negative, ("train",), "final learning rate as a fraction of lr0"),
    _row("backbone_lr", None, kinds.non_negative, ("train",), "learning rate of the backbone; default: lr0"),
    _row("momentum", 0.937, kinds.fraction, ("train",), "momentum, or Adam's beta1"),
    _row("weight_decay", 0.0005, kinds.non_negative, ("train",), "weight decay"),
    _row("clip", 10.0, kinds.non_negative, ("train",), "largest gradient norm; 0 clips nothing"),
    _row("warmup_epochs", None, kinds.non_negative, ("train",),
         "epochs of warm-up; default: 3 for stock models, for ours see warmup_iterations"),
    _row("warmup_iterations", None, kinds.whole, ("train",),
         "iterations of warm-up, in the place of warmup_epochs; our default: 2,000, at most a tenth of the run"),
    _row("warmup_momentum", 0.8, kinds.fraction, ("train",), "momentum at the start of warm-up"),
    _row("warmup_bias_lr", 0.1, kinds.non_negative, ("train",), "learning rate of biases at the start of warm-up"),
    _row("nbs", 64, kinds.whole, ("train",), "nominal batch: gradients accumulate up to it; 0: no accumulation"),
    _row("box", 7.5, kinds.non_negative, ("train",), "gain of the box loss", YOLO),
    _row("cls", 0.5, kinds.non_negative, ("train",), "gain of the classification loss", YOLO),
    _row("dfl", 1.5, kinds.non_negative, ("train",), "gain of the distribution focal loss", YOLO),
    # Augmentation
    _row("hsv_h", 0.015, kinds.fraction, ("train",), "hue jitter"),
    _row("hsv_s", 0.7, kinds.fraction, ("train",), "saturation jitter"),
    _row("hsv_v", 0.4, kinds.fraction, ("train",), "brightness jitter"),
    _row("degrees", 0.0, kinds.non_negative, ("train",), "rotation, degrees"),
    _row("translate", 0.1, kinds.fraction, ("train",), "shift, fraction of the image"),
    _row("scale", 0.5, kinds.zoom, ("train",), "zoom: +/- fraction, or smallest,largest"),
    _row("shear", 0.0, kinds.non_negative, ("train",), "shear, degrees"),
    _row("perspective", 0.0, kinds.fraction, ("train",), "perspective"),
    _row("flipud", 0.0, kinds.fraction, ("train",), "probability of an up-down flip"),
    _row("fliplr", 0.5, kinds.fraction, ("train",), "probability of a left-right flip"),
    _row("bgr", 0.0, kinds.fraction, ("train",), "probability of swapping red and blue"),
    _row("mosaic", 1.0, kinds.fraction, ("train",), "probability of mosaic"),
    _row("mixup", 0.0, kinds.fraction, ("train",), "probability of mixup"),
    _row("cutmix", 0.0, kinds.fraction, ("train",), "probability of cutmix"),
    # Inference
    _row("conf", None, kinds.fraction, ("val", *_INFER, "analyze"),
         "lowest score; default: 0.001 in val, 0.25 in predict, 0.1 in track; in analyze 0.001, for saliency 0.05"),
    _row("iou", None, kinds.fraction, ("val", *_INFER),
         "IoU from which the weaker of two boxes of a class goes (NMS); 1 keeps all but equal ones; default: 0.7, none "
         "in val of DETRs"),
    _row("max_det", 300, kinds.count, ("train", "val", *_INFER, "export"),
         "most detections an image; follows queries= where that is larger"),
    _row("classes", None, kinds.class_ids, ("train", "val", *_INFER), "class ids to keep"),
    _row("split", "val", kinds.choice("train", "val", "test"), ("val", "analyze"), "split to score, or to look at"),
    _row("tracker", "botsort", kinds.text, ("track", "demo"),
         "sort, bytetrack, ocsort, botsort, or a YAML with tracker: and its settings"),
    _row("persist", False, kinds.boolean, ("track",), "keep the tracks of the last call: videos given frame by frame"),
    _row("vid_stride", 1, kinds.count, _INFER, "use every Nth frame"),
    _row("stream_buffer", False, kinds.boolean, _INFER, "as latency=complete"),
    _row("save_txt", False, kinds.boolean, ("val", *_INFER), "save detections as YOLO text files"),
    _row("save_conf", False, kinds.boolean, ("val", *_INFER), "with save_txt: the score as well"),
    _row("save_json", False, kinds.boolean, ("val",), "save detections as COCO results, in original pixels"),
    _row("save_crop", False, kinds.boolean, _INFER, "save a picture of every detection"),
    _row("save_frames", False, kinds.boolean, _INFER, "save the frames of a video as pictures"),
    _row("show", False, kinds.boolean, _INFER, "show results in a window"),
    _row("show_labels", True, kinds.boolean, _INFER, "draw class names"),
    _row("show_conf", True, kinds.boolean, _INFER, "draw scores"),
    _row("show_boxes", True, kinds.boolean, _INFER, "draw boxes"),
    _row("line_width", None, kinds.count, _INFER, "line width of boxes in pixels"),
    # Evaluation
    _row("protocol", ["coco"], kinds.name_list, ("val", "compare"),
         "protocols to score by: coco, coco500, aitod, visdrone, tinyperson, ultralytics"),
    _row("protocol", ["aitod"], kinds.name_list, ("analyze",),
         "bands, ddf: protocols to score by: aitod, coco, coco500, tinyperson"),
    _row("predictions", None, kinds.text, ("val",),
         "score these detections in the place of a model's: COCO results, or a folder of VisDrone or YOLO text files"),
    _row("samples", 1000, kinds.count, ("compare", "analyze"), "bootstrap samples"),
    # Export
    _row("format", "onnx", kinds.choice(*FORMATS), ("export",),
         "; ".join(f"{entry.name}: {entry.help}" for entry in FORMATS.values())),
    _row("dynamic", False, kinds.boolean, ("export",), "leave the batch size open; height and width are always fixed"),
    _row("output", "detections", kinds.choice("detections", "raw", "deepstream"), ("export",),
         "what the file gives: detections as Ultralytics lays them out; raw boxes and scores of all queries; or the "
         "rows that DeepStream-Yolo's parser reads"),
    _row("input", "float", kinds.choice("float", "uint8"), ("export",),
         "what the file takes: float, (B, C, H, W) RGB in [0, 1]; or uint8 pictures, (B, H, W, C) BGR as of OpenCV"),
    _row("int8", False, kinds.boolean, ("export",),
         "compute the convolutions of backbone and neck in int8; data= gives images to calibrate on"),
    _row("target", None, kinds.choice("tensorrt", "cpu"), ("export",),
         "with int8: what the file is for, as TensorRT and CPUs (ONNX Runtime, OpenVINO) want different ones; default: "
         "tensorrt, or cpu for format=openvino"),
    _row("int8_exclude", [], kinds.name_list, ("export",),
         "with int8: rows of the network to keep in float; default: none, and more while the comparison fails"),
    _row("opset", 17, kinds.integer, ("export",), "ONNX operator set, 17 or 18"),
    _row("simplify", True, kinds.boolean, ("export",), "slim the ONNX graph"),
    _row("workspace", None, kinds.positive, ("export",),
         "memory in GiB that TensorRT may use while it builds; default: all of the GPU's"),
    _row("parity", True, kinds.boolean, ("export",),
         "compare the file with the weights before it gets its name; a file that differs is named *.rejected"),
]
# fmt: on

TABLE: tuple[Argument, ...] = tuple(_TABLE)
"""Every row; a name that means different things in different modes has several."""

ARGUMENTS: dict[str, Argument] = {argument.name: argument for argument in TABLE}
