// How many cards there are, how large they are, and which of them this thread stands on.
#pragma once

#include <c10/core/Device.h>
#include <c10/util/Exception.h>
#include <pthread.h>

#include <atomic>

namespace mlu_sim {

constexpr auto kMLU = c10::DeviceType::PrivateUse1;
constexpr int kMaxCards = 64;

struct Settings {
  int cards = 0;
  int64_t capacity = 0;  // bytes of one card; 0 is no limit
};

inline Settings& settings() {
  static Settings it;
  return it;
}

inline thread_local c10::DeviceIndex current_card = 0;

// A driver does not survive fork(): what was opened by the parent cannot be used by the child.
inline std::atomic<bool> is_open{false};
inline std::atomic<bool> is_bad_fork{false};

inline void open_driver() {
  TORCH_CHECK(
      !is_bad_fork,
      "Cannot re-initialize MLU in forked subprocess. To use MLU with multiprocessing, you must use the 'spawn' start "
      "method");
  if (is_open.exchange(true)) return;
  pthread_atfork(nullptr, nullptr, [] { is_bad_fork = true; });
}

inline c10::DeviceIndex check_card(int index) {
  TORCH_CHECK(
      index >= 0 && index < settings().cards,
      "MLU error: invalid device ordinal ", index, ", and ", settings().cards, " simulated cards are visible");
  return static_cast<c10::DeviceIndex>(index);
}

inline c10::Device with_index(c10::Device device) {
  return device.has_index() ? device : c10::Device(kMLU, current_card);
}

}  // namespace mlu_sim
