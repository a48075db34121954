// The clock that DistributedDataParallel's log asks for; without one it warns on every run.
#pragma once

#include <torch/csrc/distributed/c10d/reducer_timer.hpp>

#include "card.h"

namespace c10d {

class CardTimer final : public Timer {
 public:
  explicit CardTimer(c10::Device) {}
  std::optional<int64_t> measureDifference(Event start, Event end) override {
    const auto from = getTimeRef(start), to = getTimeRef(end);
    if (from == kUnsetTime || to == kUnsetTime || to < from) return std::nullopt;
    return to - from;
  }
};

C10_REGISTER_TYPED_CLASS(TimerRegistry, mlu_sim::kMLU, CardTimer);

}  // namespace c10d
