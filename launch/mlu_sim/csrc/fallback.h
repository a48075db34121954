// Every operator without a kernel of its own below: run the CPU's kernel on aliases of the card's tensors.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/enum_tag.h>
#include <torch/library.h>

#include <mutex>
#include <string>
#include <unordered_set>

#include "alias.h"
#include "counts.h"
#include "random.h"
#include "width.h"

namespace mlu_sim {

// A real card takes CPU tensors beside its own here: indices, lengths, the scaler's flags.
inline bool takes_cpu_tensors(const std::string& op) {
  static const std::unordered_set<std::string> names{
      "aten::index", "aten::index_put_", "aten::_index_put_impl_", "aten::_pack_padded_sequence", "aten::set_",
      "aten::_amp_foreach_non_finite_check_and_unscale_"};
  return names.count(op) > 0;
}

inline std::vector<at::Tensor> tensors_of(const c10::IValue& value) {
  if (value.isTensor()) return {value.toTensor()};
  if (value.isTensorList()) return value.toTensorVector();
  return {};
}

inline c10::IValue alias_value(const c10::IValue& value, Aliases& aliases) {
  if (value.isTensor()) return aliases.to_cpu(value.toTensor());
  if (value.isTensorList()) {
    auto list = value.toTensorVector();
    for (auto& tensor : list) tensor = aliases.to_cpu(tensor);
    return c10::List<at::Tensor>(list);
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<at::Tensor>> list;
    for (std::optional<at::Tensor> tensor : value.toOptionalTensorList()) {
      list.push_back(tensor ? std::optional<at::Tensor>(aliases.to_cpu(*tensor)) : tensor);
    }
    return list;
  }
  if (value.isDevice() && value.toDevice().type() == kMLU) {
    if (!aliases.device) aliases.device = with_index(value.toDevice());
    return c10::Device(c10::DeviceType::CPU);
  }
  if (value.isGenerator() && value.toGenerator().device().type() == kMLU) return inner_generator(value.toGenerator());
  return value;
}

inline bool is_optional_generator(const c10::Argument& argument) {
  const auto& type = argument.type();
  return type->kind() == c10::TypeKind::OptionalType &&
      type->castRaw<c10::OptionalType>()->getElementType()->kind() == c10::TypeKind::GeneratorType;
}

// An operator that draws numbers and takes no generator (native_dropout) asks the CPU's default one: it goes on from the
// card's state, and the CPU's stays what it was.
class DrawsFromCard {
 public:
  explicit DrawsFromCard(at::Generator card) : card_(std::move(card)), hold_(lock()) {
    before_ = cpu_.get_state();
    cpu_.set_state(card_.get_state());
  }
  ~DrawsFromCard() {
    card_.set_state(cpu_.get_state());
    cpu_.set_state(before_);
  }
  DrawsFromCard(const DrawsFromCard&) = delete;

 private:
  static std::mutex& lock() {
    static std::mutex it;
    return it;
  }
  at::Generator cpu_ = at::detail::getDefaultCPUGenerator(), card_;
  std::lock_guard<std::mutex> hold_;
  at::Tensor before_;
};

inline bool takes_generator(const c10::FunctionSchema& schema) {
  for (const auto& argument : schema.arguments()) {
    if (is_optional_generator(argument) || argument.type()->kind() == c10::TypeKind::GeneratorType) return true;
  }
  return false;
}

inline void run_on_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  const auto& arguments = schema.arguments();
  const size_t first = stack->size() - arguments.size();
  operator_counts.add(schema.name());
  Aliases aliases(schema.name(), takes_cpu_tensors(schema.name()));
  std::vector<at::Tensor> written;
  std::optional<size_t> generator;
  for (size_t index = 0; index < arguments.size(); index++) {
    auto& value = (*stack)[first + index];
    value = alias_value(value, aliases);
    if (value.isNone() && is_optional_generator(arguments[index])) generator = first + index;
    const auto* alias = arguments[index].alias_info();
    if (alias && alias->isWrite()) {
      for (auto& tensor : tensors_of(value)) written.push_back(tensor);
    }
  }
  aliases.check_devices();
  if (!aliases.device) aliases.device = c10::Device(kMLU, current_card);
  if (generator) (*stack)[*generator] = inner_generator(default_generator(aliases.device->index()));
  std::optional<DrawsFromCard> draws;
  if (op.hasTag(at::Tag::nondeterministic_seeded) && !takes_generator(schema)) {
    draws.emplace(inner_generator(default_generator(aliases.device->index())));
  }
  op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  draws.reset();
  for (auto& tensor : written) narrow(tensor);
  aliases.follow_resizes();
  const auto& returns = schema.returns();
  const size_t out = stack->size() - returns.size();
  for (size_t index = 0; index < returns.size(); index++) {
    auto& value = (*stack)[out + index];
    if (!returns[index].alias_info()) {
      for (auto& tensor : tensors_of(value)) narrow(tensor);
    }
    if (value.isTensor()) value = aliases.to_card(value.toTensor());
    else if (value.isTensorList()) {
      auto list = value.toTensorVector();
      for (auto& tensor : list) tensor = aliases.to_card(tensor);
      value = c10::List<at::Tensor>(list);
    }
  }
}

}  // namespace mlu_sim
