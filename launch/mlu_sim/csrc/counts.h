// What was called: operators (only while asked for) and collectives.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <unordered_map>

namespace mlu_sim {

class Counts {
 public:
  explicit Counts(bool on) : on_(on) {}
  void add(const std::string& name) {
    if (!on_) return;
    std::lock_guard<std::mutex> hold(lock_);
    counts_[name]++;
  }
  void start(bool on) {
    std::lock_guard<std::mutex> hold(lock_);
    on_ = on;
    if (on) counts_.clear();
  }
  std::unordered_map<std::string, int64_t> read() {
    std::lock_guard<std::mutex> hold(lock_);
    return counts_;
  }

 private:
  std::atomic<bool> on_;
  std::mutex lock_;
  std::unordered_map<std::string, int64_t> counts_;
};

inline Counts operator_counts{false};
inline Counts collective_counts{true};

}  // namespace mlu_sim
