// Random numbers of a card: one stream per card, and not the CPU's stream of the same seed.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/core/GeneratorForPrivateuseone.h>

#include <vector>

#include "card.h"
#include "compat.h"

namespace mlu_sim {

struct CardGenerator final : c10::GeneratorImpl {
  at::Generator inner;  // does the work; seeded with another number than the user gave

  explicit CardGenerator(c10::DeviceIndex card)
      : c10::GeneratorImpl(c10::Device(kMLU, card), c10::DispatchKeySet(c10::DispatchKey::PrivateUse1)),
        inner(at::detail::createCPUGenerator(other_seed(c10::default_rng_seed_val))) {}

  void set_current_seed(uint64_t seed) override {
    seed_ = seed;
    inner.set_current_seed(other_seed(seed));
  }
  uint64_t current_seed() const override { return seed_; }
  uint64_t seed() override {
    set_current_seed(c10::detail::getNonDeterministicRandom());
    return seed_;
  }
  void set_offset(uint64_t) override { TORCH_CHECK(false, "a simulated MLU's generator has no offset"); }
  uint64_t get_offset() const override { TORCH_CHECK(false, "a simulated MLU's generator has no offset"); }

  // The state is the inner one's bytes with the user's seed behind them.
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override {
    const at::Tensor state = inner.get_state();
    const auto bytes = state.numel();
    at::Tensor all = at::detail::empty_cpu({bytes + int64_t(sizeof(seed_))}, at::TensorOptions().dtype(at::kByte));
    std::memcpy(all.mutable_data_ptr(), state.const_data_ptr(), bytes);
    std::memcpy(static_cast<char*>(all.mutable_data_ptr()) + bytes, &seed_, sizeof(seed_));
    return all.getIntrusivePtr();
  }
  void set_state(const c10::TensorImpl& state) override {
    const int64_t bytes = inner.get_state().numel(), wanted = bytes + int64_t(sizeof(seed_));
    TORCH_CHECK(
        state.device_type() == c10::DeviceType::CPU && state.dtype() == caffe2::TypeMeta::Make<uint8_t>() &&
            state.is_contiguous(),
        "RNG state must be a torch.ByteTensor on the CPU");
    TORCH_CHECK(state.numel() == wanted, "RNG state of a simulated MLU has ", wanted, " bytes, got ", state.numel());
    at::Tensor part = at::detail::empty_cpu({bytes}, at::TensorOptions().dtype(at::kByte));
    std::memcpy(part.mutable_data_ptr(), state.data(), bytes);
    inner.set_state(part);
    std::memcpy(&seed_, static_cast<const char*>(state.data()) + bytes, sizeof(seed_));
  }
  CardGenerator* clone_impl() const override {
    auto* copy = new CardGenerator(device_.index());
    copy->inner = inner.clone();
    copy->seed_ = seed_;
    return copy;
  }

 private:
  uint64_t seed_ = c10::default_rng_seed_val;

  static uint64_t other_seed(uint64_t seed) {  // Vigna's splitmix64 finaliser
    uint64_t mixed = seed + 0x9e3779b97f4a7c15ULL;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ULL;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebULL;
    return mixed ^ (mixed >> 31);
  }
};

inline at::Generator new_generator(c10::DeviceIndex card) {
  return at::make_generator<CardGenerator>(card < 0 ? current_card : card);
}

inline at::Generator& default_generator(c10::DeviceIndex card) {
  static auto* all = [] {
    auto* made = new std::vector<at::Generator>;
    for (int index = 0; index < kMaxCards; index++) made->push_back(new_generator(c10::DeviceIndex(index)));
    return made;
  }();
  return (*all)[card < 0 ? current_card : card];
}

inline at::Generator inner_generator(const at::Generator& generator) {
  return static_cast<CardGenerator*>(generator.unsafeGetGeneratorImpl())->inner;
}

#if !SIM_TORCH_SINCE(2, 6)  // later ones ask the hooks
REGISTER_GENERATOR_PRIVATEUSE1(new_generator)
#endif

}  // namespace mlu_sim
