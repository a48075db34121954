// Which kernel answers which operator, on a card and under autocast.
#pragma once

#include <ATen/autocast_mode.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/csrc/autograd/autograd_not_implemented_fallback.h>
#include <torch/library.h>

#include "fallback.h"
#include "kernels.h"
#include "pinning.h"
#include "streams.h"
#include "sync_norm.h"

namespace mlu_sim {

REGISTER_ALLOCATOR(c10::DeviceType::PrivateUse1, &card_allocator());
C10_REGISTER_GUARD_IMPL(PrivateUse1, CardGuard);

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_cpu>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", &empty);
  library.impl("empty_strided", &empty_strided);
  library.impl("as_strided", &as_strided);
  library.impl("view", &view);
  library.impl("_reshape_alias", &reshape_alias);
  library.impl("_copy_from", &copy_from);
  library.impl("_copy_from_and_resize", &copy_from_and_resize);
  library.impl("set_.source_Storage_storage_offset", &set_part);
  library.impl("set_.source_Storage", &set_storage);
  library.impl("set_.source_Tensor", &set_tensor);
  library.impl("convolution_overrideable", &convolution);
  library.impl("convolution_backward_overrideable", &convolution_backward);
  library.impl("record_stream", [](Tensor&, at::Stream) {});
  library.impl("_fused_sdp_choice", torch::CppFunction::makeFromBoxedFunction<&choose_attention>());
  library.impl("_thnn_fused_lstm_cell", &lstm_cell);
  library.impl("_thnn_fused_gru_cell", &gru_cell);
  library.impl("is_pinned", &is_pinned);
  library.impl("_pin_memory", &pin_memory);
  library.impl("batch_norm_stats", &norm_stats);
  library.impl("batch_norm_gather_stats_with_counts", &norm_gather_stats);
  library.impl("batch_norm_elemt", &norm_apply);
  library.impl("batch_norm_backward_reduce", &norm_backward_sums);
  library.impl("batch_norm_backward_elemt", &norm_backward_apply);
  // torch would call their out= variants with an output of the wrong shape, and warn.
  library.impl("mse_loss", torch::CppFunction::makeFromBoxedFunction<&run_on_cpu>());
  library.impl("smooth_l1_loss", torch::CppFunction::makeFromBoxedFunction<&run_on_cpu>());
}

// A copy resolves lazy conjugates and negatives itself; torch would copy to resolve them, for ever.
TORCH_LIBRARY_IMPL(aten, Conjugate, library) { library.impl("_copy_from", torch::CppFunction::makeFallthrough()); }
TORCH_LIBRARY_IMPL(aten, Negative, library) { library.impl("_copy_from", torch::CppFunction::makeFallthrough()); }

TORCH_LIBRARY_IMPL(aten, AutogradPrivateUse1, library) {  // made of operators that know their own gradients
  library.impl("_thnn_fused_lstm_cell", &lstm_cell);
  library.impl("_thnn_fused_gru_cell", &gru_cell);
}

// Older torch has no such fallback for PrivateUse1, and collectives are operators without a gradient.
TORCH_LIBRARY_IMPL(_, AutogradPrivateUse1, library) {
  if (!c10::Dispatcher::singleton().hasBackendFallbackForDispatchKey(c10::DispatchKey::AutogradPrivateUse1)) {
    library.fallback(torch::autograd::basicAutogradNotImplementedFallback());
  }
}

TORCH_LIBRARY_IMPL(_, AutocastPrivateUse1, library) { library.fallback(torch::CppFunction::makeFallthrough()); }

inline Tensor refuse_binary_cross_entropy(const Tensor&, const Tensor&, const OptionalTensor&, int64_t) {
  TORCH_CHECK(
      false,
      "torch.nn.functional.binary_cross_entropy and torch.nn.BCELoss are unsafe to autocast. Compute them outside of "
      "autocast in float32, or use binary_cross_entropy_with_logits.");
}

using namespace at;            // the macros below name operators and policies without their namespace
using namespace at::autocast;  // torch's own lists, which torch_mlu registers too
TORCH_LIBRARY_IMPL(aten, AutocastPrivateUse1, m) {
#define SIM_LOWER(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, lower_precision_fp)
#define SIM_FLOAT32(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, fp32)
#define SIM_FLOAT32_OUT(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, fp32_set_opt_dtype)
#define SIM_WIDEST(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, promote)
  AT_FORALL_LOWER_PRECISION_FP(SIM_LOWER)
  AT_FORALL_FP32(SIM_FLOAT32)
  AT_FORALL_FP32_SET_OPT_DTYPE(SIM_FLOAT32_OUT)
  AT_FORALL_PROMOTE(SIM_WIDEST)
  AT_FORALL_DIFFERENT_REDISPATCH_SIGNATURE(KERNEL_DIFFERENT_REDISPATCH_SIGNATURE_PRIVATEUSEONE)
  m.impl("binary_cross_entropy", &refuse_binary_cross_entropy);
}

}  // namespace mlu_sim
