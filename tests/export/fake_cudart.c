/* A stand-in for CUDA's runtime library whose GPU memory is memory of the process. */
#include <stdlib.h>
#include <string.h>

int cudaGetDeviceCount(int *count) { *count = getenv("FAKE_NO_GPU") ? 0 : 1; return *count ? 0 : 35; }
int cudaRuntimeGetVersion(int *version) { const char *v = getenv("FAKE_CUDA"); *version = v ? atoi(v) : 12060; return 0; }
int cudaDeviceGetAttribute(int *value, int attribute, int device) {
  const char *sm = getenv("FAKE_SM");
  int number = sm ? atoi(sm) : 87;
  *value = attribute == 75 ? number / 10 : attribute == 76 ? number % 10 : -1;
  return device;
}
int cudaMalloc(void **address, size_t size) { *address = malloc(size); return *address ? 0 : 2; }
int cudaFree(void *address) { free(address); return 0; }
int cudaMemcpy(void *target, const void *source, size_t size, int kind) {
  if (kind != 1 && kind != 2) return 21;
  memcpy(target, source, size);
  return 0;
}
int cudaStreamCreate(void **stream) { *stream = malloc(1); return 0; }
int cudaStreamSynchronize(void *stream) { return stream ? 0 : 400; }
