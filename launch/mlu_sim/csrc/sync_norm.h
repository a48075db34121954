// The five operators of nn.SyncBatchNorm, which have no CPU kernel. Statistics are float32 whatever the input is.
#pragma once

#include <ATen/ATen.h>

#include <tuple>

namespace mlu_sim {

using at::Tensor;

inline std::vector<int64_t> all_but_channels(const Tensor& x) {
  std::vector<int64_t> dims;
  for (int64_t dim = 0; dim < x.dim(); dim++) {
    if (dim != 1) dims.push_back(dim);
  }
  return dims;
}
inline Tensor per_channel(const Tensor& value, const Tensor& x) {
  std::vector<int64_t> shape(x.dim(), 1);
  shape[1] = -1;
  return value.view(shape);
}

inline std::tuple<Tensor, Tensor> norm_stats(const Tensor& x, double eps) {
  auto [var, mean] = at::var_mean(x.to(at::kFloat), all_but_channels(x), /*unbiased=*/false);
  return {mean, (var + eps).rsqrt()};
}

inline std::tuple<Tensor, Tensor> norm_gather_stats(
    const Tensor&, const Tensor& mean, const Tensor& invstd, const std::optional<Tensor>& running_mean,
    const std::optional<Tensor>& running_var, double momentum, double eps, const Tensor& counts) {
  const Tensor share = counts.to(mean.scalar_type()).view({-1, 1});
  const Tensor total = share.sum();
  const Tensor joint = (mean * share).sum(0) / total;
  const Tensor var = ((invstd.pow(-2) - eps + (mean - joint).pow(2)) * share).sum(0) / total;
  if (running_mean && running_mean->defined()) running_mean->mul_(1 - momentum).add_(joint * momentum);
  if (running_var && running_var->defined()) {
    running_var->mul_(1 - momentum).add_(var * total / (total - 1) * momentum);
  }
  return {joint, (var + eps).rsqrt()};
}

inline Tensor norm_apply(
    const Tensor& x, const std::optional<Tensor>& weight, const std::optional<Tensor>& bias, const Tensor& mean,
    const Tensor& invstd, double) {
  Tensor y = (x.to(at::kFloat) - per_channel(mean, x)) * per_channel(invstd, x);
  if (weight && weight->defined()) y = y * per_channel(*weight, x);
  if (bias && bias->defined()) y = y + per_channel(*bias, x);
  return y.to(x.scalar_type());
}

inline std::tuple<Tensor, Tensor, Tensor, Tensor> norm_backward_sums(
    const Tensor& grad, const Tensor& x, const Tensor& mean, const Tensor& invstd, const std::optional<Tensor>&, bool,
    bool wants_weight, bool wants_bias) {
  const Tensor g = grad.to(at::kFloat);
  const auto dims = all_but_channels(x);
  const Tensor sum = g.sum(dims), product = (g * (x.to(at::kFloat) - per_channel(mean, x))).sum(dims);
  return {sum, product, wants_weight ? product * invstd : Tensor(), wants_bias ? sum.clone() : Tensor()};
}

inline Tensor norm_backward_apply(
    const Tensor& grad, const Tensor& x, const Tensor& mean, const Tensor& invstd, const std::optional<Tensor>& weight,
    const Tensor& sum, const Tensor& product, const Tensor& counts) {
  const Tensor total = counts.sum().to(at::kFloat);
  const Tensor scale = weight && weight->defined() ? invstd * *weight : invstd;
  const Tensor centred = x.to(at::kFloat) - per_channel(mean, x);
  const Tensor slope = per_channel(invstd.pow(2) * product / total, x);
  const Tensor dx = (grad.to(at::kFloat) - per_channel(sum / total, x) - centred * slope) * per_channel(scale, x);
  return dx.to(x.scalar_type());
}

}  // namespace mlu_sim
