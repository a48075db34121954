// Pinned host memory of older torch, which asks operators for it. Newer ones ask the hooks.
#pragma once

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

#include "compat.h"
#include "memory.h"

namespace mlu_sim {

inline bool is_pinned(const at::Tensor& self, std::optional<c10::Device>) {
  return self.has_storage() && PinnedAllocator::owns(self.storage().data());
}
inline at::Tensor pin_memory(const at::Tensor& self, std::optional<c10::Device>) {
  auto bytes = at::detail::computeStorageNbytes(self.sizes(), self.strides(), self.dtype().itemsize());
  c10::Storage pinned(
      c10::Storage::use_byte_size_t(), bytes, pinned_allocator().allocate(bytes), &pinned_allocator(), false);
  return at::empty({0}, self.options()).set_(pinned, 0, self.sizes(), self.strides()).copy_(self);
}

// torch 2.4 and 2.5 ask CUDA's kernels where no device is named; DDP with find_unused_parameters does.
inline void answer_for_cuda() {
#if !SIM_TORCH_SINCE(2, 6)
  struct Silent final : c10::WarningHandler {  // that a kernel is replaced is what is meant
    void process(const c10::Warning&) override {}
  } silent;
  c10::WarningUtils::WarningHandlerGuard quiet(&silent);
  static auto* library = new torch::Library(torch::Library::IMPL, "aten", c10::DispatchKey::CUDA, __FILE__, __LINE__);
  library->impl("is_pinned", &is_pinned);
  library->impl("_pin_memory", &pin_memory);
#endif
}

}  // namespace mlu_sim
