// Events for torch.profiler and torch.autograd.profiler: what an operator took, on the host's clock.
#pragma once

#include <torch/csrc/profiler/stubs/base.h>

#include <chrono>

#include "card.h"

namespace mlu_sim {

struct CardProfiler final : torch::profiler::impl::ProfilerStubs {
  using Event = torch::profiler::impl::ProfilerVoidEventStub;

  void record(c10::DeviceIndex* device, Event* event, int64_t* cpu_ns) const override {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    const int64_t ns = std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
    if (device) *device = current_card;
    if (cpu_ns) *cpu_ns = ns;
    *event = std::make_shared<int64_t>(ns);
  }
  float elapsed(const Event* from, const Event* to) const override {  // microseconds
    const auto ns = *static_cast<int64_t*>(to->get()) - *static_cast<int64_t*>(from->get());
    return static_cast<float>(ns) / 1000;
  }
  void mark(const char*) const override {}
  void rangePush(const char*) const override {}
  void rangePop() const override {}
  bool enabled() const override { return true; }
  void onEachDevice(std::function<void(int)> visit) const override {
    for (int card = 0; card < settings().cards; card++) visit(card);
  }
  void synchronize() const override {}
};

inline void register_profiler() {
  static auto* profiler = new CardProfiler;
  torch::profiler::impl::registerPrivateUse1Methods(profiler);
}

}  // namespace mlu_sim
