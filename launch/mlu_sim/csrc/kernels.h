// Kernels that torch expects of a device itself: new memory, views, copies, storages, convolution, cells of RNNs.
#pragma once

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/native/TensorFactories.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/view_native.h>
#include <torch/library.h>

#include <array>

#include "alias.h"
#include "counts.h"
#include "hooks.h"
#include "width.h"

namespace mlu_sim {

using at::IntArrayRef;
using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

struct OnCard {  // stands on a card for the length of a scope
  explicit OnCard(std::optional<c10::Device> device) : before(current_card) {
    current_card = check_card(with_index(device.value_or(c10::Device(kMLU))).index());
  }
  ~OnCard() { current_card = before; }
  c10::DeviceIndex before;
};

inline Tensor empty(
    IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
    std::optional<c10::Device> device, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  OnCard on(device);
  return at::detail::empty_generic(
      size, &card_allocator(), c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), c10::dtype_or_default(dtype), format);
}

inline Tensor empty_strided(
    IntArrayRef size, IntArrayRef stride, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
    std::optional<c10::Device> device, std::optional<bool>) {
  OnCard on(device);
  return at::detail::empty_strided_generic(
      size, stride, &card_allocator(), c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
      c10::dtype_or_default(dtype));
}

inline Tensor as_strided(const Tensor& self, IntArrayRef size, IntArrayRef stride, std::optional<int64_t> offset) {
  return at::native::as_strided_tensorimpl(self, size, stride, offset);
}
inline Tensor view(const Tensor& self, IntArrayRef size) { return at::native::view(self, size); }
inline Tensor reshape_alias(const Tensor& self, IntArrayRef size, IntArrayRef stride) {
  return at::native::_reshape_alias(self, size, stride);
}

// Host to card, card to host, card to card: the two sides have aliases of their own, for they may be two cards.
inline Tensor copy_from(const Tensor& self, const Tensor& target, bool) {
  operator_counts.add("aten::_copy_from");
  Aliases one("aten::copy_", true), other("aten::copy_", true);
  const Tensor source = one.to_cpu(self);
  const Tensor sink = (self.is_alias_of(target) ? one : other).to_cpu(target);
  sink.copy_(source);
  if (target.device().type() == kMLU) narrow(sink);
  return target;
}
inline Tensor copy_from_and_resize(const Tensor& self, const Tensor& target) {
  target.resize_(self.sizes());
  return copy_from(self, target, false);
}

inline Tensor& set_part(Tensor& self, at::Storage source, int64_t offset, IntArrayRef size, IntArrayRef stride) {
  auto* impl = self.unsafeGetTensorImpl();
  impl->set_storage_keep_dtype(std::move(source));
  if (stride.size() == size.size()) {
    impl->set_sizes_and_strides(size, stride, offset);
  } else {
    impl->set_storage_offset(offset);
    impl->set_sizes_contiguous(size);
  }
  const auto needed = at::detail::computeStorageNbytes(
      self.sizes(), self.strides(), self.dtype().itemsize(), static_cast<size_t>(offset));
  if (self.numel() && needed > self.storage().nbytes()) resize_storage(self.storage(), needed);
  return self;
}
inline Tensor& set_storage(Tensor& self, at::Storage source) {
  const auto count = static_cast<int64_t>(source.nbytes() / self.dtype().itemsize());
  return set_part(self, std::move(source), 0, {count}, {1});
}
inline Tensor& set_tensor(Tensor& self, const Tensor& source) {
  return set_part(self, source.storage(), source.storage_offset(), source.sizes(), source.strides());
}

inline Tensor convolution(
    const Tensor& input, const Tensor& weight, const OptionalTensor& bias, IntArrayRef stride, IntArrayRef padding,
    IntArrayRef dilation, bool transposed, IntArrayRef output_padding, int64_t groups) {
  operator_counts.add("aten::convolution_overrideable");
  Aliases aliases("aten::convolution");
  const Tensor x = aliases.to_cpu(input), w = aliases.to_cpu(weight);
  const Tensor b = bias ? aliases.to_cpu(*bias) : Tensor();
  aliases.check_devices();
  return aliases.to_card(at::convolution(x, w, b, stride, padding, dilation, transposed, output_padding, groups));
}
inline std::tuple<Tensor, Tensor, Tensor> convolution_backward(
    const Tensor& grad, const Tensor& input, const Tensor& weight, IntArrayRef stride, IntArrayRef padding,
    IntArrayRef dilation, bool transposed, IntArrayRef output_padding, int64_t groups, std::array<bool, 3> wanted) {
  operator_counts.add("aten::convolution_backward_overrideable");
  Aliases aliases("aten::convolution_backward");
  const Tensor g = aliases.to_cpu(grad), x = aliases.to_cpu(input), w = aliases.to_cpu(weight);
  aliases.check_devices();
  const std::vector<int64_t> bias_size{transposed ? weight.size(1) * groups : weight.size(0)};
  auto [dx, dw, db] = at::convolution_backward(
      g, x, w, IntArrayRef(bias_size), stride, padding, dilation, transposed, output_padding, groups, wanted);
  return {aliases.to_card(dx), aliases.to_card(dw), aliases.to_card(db)};
}

// Boxed, for its arguments changed between torch 2.4 and 2.11. 0 is plain mathematics.
inline void choose_attention(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  torch::jit::drop(*stack, op.schema().arguments().size());
  stack->emplace_back(int64_t(0));
}

inline std::tuple<Tensor, Tensor, Tensor> lstm_cell(
    const Tensor& input_gates, const Tensor& hidden_gates, const Tensor& cell, const OptionalTensor& input_bias,
    const OptionalTensor& hidden_bias) {
  Tensor gates = input_gates + hidden_gates;
  if (input_bias && input_bias->defined()) gates = gates + *input_bias;
  if (hidden_bias && hidden_bias->defined()) gates = gates + *hidden_bias;
  const auto parts = gates.chunk(4, 1);
  const Tensor next = parts[1].sigmoid() * cell + parts[0].sigmoid() * parts[2].tanh();
  return {parts[3].sigmoid() * next.tanh(), next, gates.detach()};
}
inline std::tuple<Tensor, Tensor> gru_cell(
    const Tensor& input_gates, const Tensor& hidden_gates, const Tensor& hidden, const OptionalTensor& input_bias,
    const OptionalTensor& hidden_bias) {
  const Tensor from_input = input_bias && input_bias->defined() ? input_gates + *input_bias : input_gates;
  const Tensor from_hidden = hidden_bias && hidden_bias->defined() ? hidden_gates + *hidden_bias : hidden_gates;
  const auto x = from_input.chunk(3, 1), h = from_hidden.chunk(3, 1);
  const Tensor fresh = (x[2] + (x[0] + h[0]).sigmoid() * h[2]).tanh();
  return {fresh + (x[1] + h[1]).sigmoid() * (hidden - fresh), from_input.detach()};
}

}  // namespace mlu_sim
