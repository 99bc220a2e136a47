#!/bin/sh
# Builds TensorRT engines from the ONNX files of this folder with trtexec, on the computer that they run on:
#
#     ./build_engine.sh [fp16|fp32]
#
# From TensorRT 10 on half precision is built from the *_fp16.onnx files, strongly typed: what is float32 there stays
# float32. TensorRT 8.6 builds it from the files in float32, with constraints on the layers of float32_layers*.txt.
# TRTEXEC, TENSORRT_VERSION (10.3.0) and WORKSPACE (in MiB) are read from the environment where they are set.
set -eu
cd "$(dirname "$0")"

precision=${1:-fp16}
case $precision in
    fp16 | fp32) ;;
    *) echo "'$precision' is unknown. Give fp16 or fp32." >&2; exit 2 ;;
esac

trtexec=${TRTEXEC:-$(command -v trtexec || echo /usr/src/tensorrt/bin/trtexec)}
if ! command -v "$trtexec" >/dev/null; then
    echo "trtexec is not here. Install it: sudo apt-get install libnvinfer-bin; or set TRTEXEC to its place." >&2
    exit 6
fi

version=${TENSORRT_VERSION:-$(dpkg-query -W -f '${Version}\n' 'libnvinfer[0-9]*' 2>/dev/null | grep -m 1 '[0-9]' || true)}
case $version in
    "") echo "The version of TensorRT is not known. Set it: TENSORRT_VERSION=10.3.0 ./build_engine.sh" >&2; exit 2 ;;
    8.6.* | 1[0-9].*) ;;
    *) echo "TensorRT $version is not supported. Take 8.6, 10 or 11." >&2; exit 2 ;;
esac
case $version in
    10.2.0*) echo "TensorRT 10.2.0 is broken: its packages lack libraries. Take 10.3 or later." >&2; exit 2 ;;
    10.[0-9].*cuda13* | 10.1[0-4].*cuda13*)
        if [ "$(uname -m)" = aarch64 ]; then
            echo "TensorRT $version gives wrong boxes for RT-DETR on ARM with CUDA 13. Take 10.15 or later." >&2
            exit 2
        fi ;;
esac

build() { # layout
    set -- "$1" --saveEngine="$1.engine" --timingCacheFile=timing-trtexec.cache --noTF32 \
        --memPoolSize=workspace:"${WORKSPACE:-2048}" --skipInference@shapes@
    layout=$1
    shift
    graph=$layout.onnx
    case $precision:$version in
        fp16:8.*)
            layers=$(cat "float32_layers_$layout.txt")
            set -- "$@" --fp16 --precisionConstraints=obey --layerPrecisions="$layers" --layerOutputTypes="$layers" ;;
        fp16:10.*) graph=${layout}_fp16.onnx; set -- "$@" --stronglyTyped ;;
        fp16:*) graph=${layout}_fp16.onnx ;;
    esac
    "$trtexec" --onnx="$graph" "$@"
}

build detections
build deepstream

# The smoke test reads from a JSON beside an engine which TensorRT and GPU it was built for.
if python3 -c 'import tensorrt, numpy' 2>/dev/null; then
    python3 build_engine.py --describe --precision "$precision"
else
    echo "TensorRT's Python package is not here (python3-libnvinfer): smoke_test.py cannot run these engines." >&2
fi
