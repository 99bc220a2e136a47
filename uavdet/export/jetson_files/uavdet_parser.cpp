// SPDX-License-Identifier: AGPL-3.0-or-later
//
// Reads the detections of an engine that was built from deepstream.onnx, for DeepStream's nvinfer element.
//
// The network gives one tensor of rows (K, 6): x1, y1, x2, y2 in pixels of the network's input, score, label; the best
// score comes first, and no two rows need to be merged. nvinfer scales boxes to the frame.

#include <algorithm>
#include <cmath>
#include <iostream>
#include <vector>

#include "nvdsinfer_custom_impl.h"

namespace {

constexpr unsigned int kColumns = 6;

// Number of rows of a tensor, or 0 where it does not hold such rows. nvinfer leaves the batch out of the dimensions; one
// that is there all the same is 1.
unsigned int countRows(const NvDsInferLayerInfo& layer) {
  const NvDsInferDims& dims = layer.inferDims;
  const unsigned int last = dims.numDims;
  if (layer.buffer == nullptr || layer.dataType != FLOAT || last < 2 || dims.d[last - 1] != kColumns) {
    return 0;
  }
  for (unsigned int index = 0; index + 2 < last; ++index) {
    if (dims.d[index] != 1) {
      return 0;
    }
  }
  return dims.d[last - 2];
}

bool isUsable(const float* row, const NvDsInferParseDetectionParams& params) {
  for (unsigned int column = 0; column < kColumns; ++column) {
    if (!std::isfinite(row[column])) {
      return false;
    }
  }
  const float label = row[5];
  if (label < 0.0F || label >= static_cast<float>(params.numClassesConfigured)) {
    return false;
  }
  const auto& thresholds = params.perClassPreclusterThreshold;
  const auto index = static_cast<std::size_t>(label);
  return index < thresholds.size() && row[4] >= thresholds[index];
}

}  // namespace

extern "C" bool NvDsInferParseUavdet(std::vector<NvDsInferLayerInfo> const& outputLayersInfo,
                                     NvDsInferNetworkInfo const& networkInfo,
                                     NvDsInferParseDetectionParams const& detectionParams,
                                     std::vector<NvDsInferObjectDetectionInfo>& objectList) {
  const unsigned int rows = outputLayersInfo.size() == 1 ? countRows(outputLayersInfo[0]) : 0;
  if (rows == 0) {
    std::cerr << "uavdet: the engine does not give one float tensor of rows (K, 6). Build it from deepstream.onnx."
              << std::endl;
    return false;
  }
  const auto width = static_cast<float>(networkInfo.width);
  const auto height = static_cast<float>(networkInfo.height);
  const auto* values = static_cast<const float*>(outputLayersInfo[0].buffer);
  for (unsigned int index = 0; index < rows; ++index) {
    const float* row = values + static_cast<std::size_t>(index) * kColumns;
    if (!isUsable(row, detectionParams)) {
      continue;
    }
    const float left = std::clamp(row[0], 0.0F, width);
    const float top = std::clamp(row[1], 0.0F, height);
    const float right = std::clamp(row[2], 0.0F, width);
    const float bottom = std::clamp(row[3], 0.0F, height);
    if (right <= left || bottom <= top) {
      continue;
    }
    NvDsInferObjectDetectionInfo object{};
    object.classId = static_cast<unsigned int>(row[5]);
    object.detectionConfidence = row[4];
    object.left = left;
    object.top = top;
    object.width = right - left;
    object.height = bottom - top;
    objectList.push_back(object);
  }
  return true;
}

CHECK_CUSTOM_PARSE_FUNC_PROTOTYPE(NvDsInferParseUavdet);
