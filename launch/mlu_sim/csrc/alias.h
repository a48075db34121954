// A card's tensors seen as CPU tensors of the same memory, for the time of one operator.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "memory.h"

namespace mlu_sim {

class Aliases {
 public:
  // allows_cpu: the operator takes CPU tensors beside a card's, as indices of `index` are.
  explicit Aliases(std::string op, bool allows_cpu = false) : op_(std::move(op)), allows_cpu_(allows_cpu) {}

  std::optional<c10::Device> device;

  // The CPU tensor over the memory of `tensor`; a CPU tensor is given back as it is.
  at::Tensor to_cpu(const at::Tensor& tensor) {
    if (!tensor.defined()) return tensor;
    if (tensor.device().type() != kMLU) {
      saw_cpu_ = saw_cpu_ || (tensor.device().is_cpu() && tensor.dim() > 0);  // a CPU scalar is welcome everywhere
      return tensor;
    }
    TORCH_CHECK(
        !device || device->index() == tensor.device().index(),
        "Expected all tensors to be on the same device, but found at least two devices, ", *device, " and ",
        tensor.device(), "! (", op_, ")");
    device = tensor.device();
    auto* held = tensor.storage().unsafeGetStorageImpl();
    auto found = seen_.find(held);
    if (found == seen_.end()) {
      c10::Storage view(
          c10::Storage::use_byte_size_t(), held->nbytes(),
          c10::DataPtr(held->mutable_data(), c10::Device(c10::DeviceType::CPU)), c10::GetCPUAllocator(), true);
      found = seen_.emplace(held, view).first;
      owners_.emplace(view.unsafeGetStorageImpl(), tensor.storage());
    }
    c10::DispatchKeySet keys(c10::DispatchKey::CPU);
    if (tensor.is_conj()) keys = keys.add(c10::DispatchKey::Conjugate);
    if (tensor.is_neg()) keys = keys.add(c10::DispatchKey::Negative);
    auto alias = at::detail::make_tensor<c10::TensorImpl>(c10::Storage(found->second), keys, tensor.dtype());
    copy_shape(tensor, alias);
    pairs_.push_back({tensor, alias, found->second.mutable_data()});
    originals_.emplace(alias.unsafeGetTensorImpl(), tensor);
    return alias;
  }

  void check_devices() const {
    TORCH_CHECK(
        allows_cpu_ || !saw_cpu_ || pairs_.empty(),
        "Expected all tensors to be on the same device, but found at least two devices, ", *device, " and cpu! (", op_,
        ")");
  }

  // The card's tensor of a kernel's result: the argument itself, a view of its memory, or new memory of the card.
  at::Tensor to_card(const at::Tensor& result) {
    if (!result.defined() || !result.device().is_cpu()) return result;
    if (auto found = originals_.find(result.unsafeGetTensorImpl()); found != originals_.end()) return found->second;
    auto* held = result.storage().unsafeGetStorageImpl();
    auto found = owners_.find(held);
    if (found == owners_.end()) {
      c10::Storage adopted(
          c10::Storage::use_byte_size_t(), held->nbytes(), adopt(result.storage(), device->index()), &card_allocator(),
          true);
      found = owners_.emplace(held, std::move(adopted)).first;
    }
    auto tensor = at::detail::make_tensor<c10::TensorImpl>(
        c10::Storage(found->second), c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), result.dtype());
    copy_shape(result, tensor);
    return tensor;
  }

  // Arguments that the kernel resized: the card's tensors follow.
  void follow_resizes() {
    for (auto& [card, cpu, pointer] : pairs_) {
      const auto& storage = cpu.storage();
      auto* held = card.storage().unsafeGetStorageImpl();
      if (storage.data() != pointer && held->data() != storage.data()) {
        held->set_data_ptr_noswap(adopt(storage, card.device().index()));
        held->set_nbytes(storage.nbytes());
      }
      if (cpu.sizes() != card.sizes() || cpu.strides() != card.strides() ||
          cpu.storage_offset() != card.storage_offset()) {
        card.unsafeGetTensorImpl()->set_sizes_and_strides(cpu.sizes(), cpu.strides(), cpu.storage_offset());
      }
    }
  }

  bool has_card_tensors() const { return !pairs_.empty(); }

 private:
  struct Pair {
    at::Tensor card, cpu;
    const void* pointer;
  };
  static void copy_shape(const at::Tensor& from, const at::Tensor& to) {
    auto* impl = to.unsafeGetTensorImpl();
    impl->set_sizes_and_strides(from.sizes(), from.strides(), from.storage_offset());
    if (from.unsafeGetTensorImpl()->is_wrapped_number()) impl->set_wrapped_number(true);
  }

  std::string op_;
  bool allows_cpu_, saw_cpu_ = false;
  std::vector<Pair> pairs_;
  std::unordered_map<c10::StorageImpl*, c10::Storage> seen_;    // the card's storage -> its CPU view
  std::unordered_map<c10::StorageImpl*, c10::Storage> owners_;  // CPU storage -> the card's
  std::unordered_map<c10::TensorImpl*, at::Tensor> originals_;  // CPU alias -> the card's tensor
};

}  // namespace mlu_sim
