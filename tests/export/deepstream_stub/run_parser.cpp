// Reads "numDims d... classes type", then rows of six numbers, and prints what the parser makes of them.
#include <iostream>
#include <string>

#include "nvdsinfer_custom_impl.h"

extern "C" bool NvDsInferParseUavdet(std::vector<NvDsInferLayerInfo> const&, NvDsInferNetworkInfo const&,
                                     NvDsInferParseDetectionParams const&,
                                     std::vector<NvDsInferObjectDetectionInfo>&);

int main() {
  NvDsInferLayerInfo layer{};
  std::cin >> layer.inferDims.numDims;
  for (unsigned int index = 0; index < layer.inferDims.numDims; ++index) {
    std::cin >> layer.inferDims.d[index];
  }
  unsigned int classes = 0;
  int type = 0;
  std::cin >> classes >> type;
  layer.dataType = static_cast<NvDsInferDataType>(type);
  std::vector<float> values;
  for (std::string text; std::cin >> text;) {
    values.push_back(std::stof(text));
  }
  layer.buffer = values.data();
  NvDsInferParseDetectionParams params{classes, std::vector<float>(classes, 0.25F)};
  std::vector<NvDsInferObjectDetectionInfo> objects;
  if (!NvDsInferParseUavdet({layer}, {640, 384, 3}, params, objects)) {
    std::cout << "refused" << std::endl;
    return 0;
  }
  for (const auto& object : objects) {
    std::cout << object.classId << " " << object.left << " " << object.top << " " << object.width << " " << object.height
              << " " << object.detectionConfidence << std::endl;
  }
  return 0;
}
