// A card computes in 32 bits. torch_mlu casts 64-bit tensors to 32 bits when they are copied to a card, and most of its
// kernels compute such tensors in 32 bits, while the dtype that Python sees stays the 64-bit one. Here values of 64-bit
// tensors are rounded (float64, complex128) or cut to their low 32 bits (int64) on every copy to a card and after every
// operator. Not simulated: sums inside one operator still run in 64 bits, and the few real kernels that know 64 bits.
#pragma once

#include <ATen/ATen.h>

namespace mlu_sim {

inline bool is_wide(at::ScalarType type) {
  return type == at::kDouble || type == at::kLong || type == at::kComplexDouble;
}

// `tensor` is on the CPU: a card's tensor seen as one.
inline void narrow(const at::Tensor& tensor) {
  if (!tensor.defined() || !is_wide(tensor.scalar_type()) || tensor.numel() == 0) return;
  const auto type = tensor.scalar_type();
  const auto half = type == at::kDouble ? at::kFloat : type == at::kLong ? at::kInt : at::kComplexFloat;
  tensor.copy_(tensor.to(half));
}

}  // namespace mlu_sim
