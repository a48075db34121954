// A card's memory: host memory that is counted per card and refused beyond the card's capacity. And pinned memory.
#pragma once

#include <c10/core/CPUAllocator.h>
#include <c10/core/Storage.h>
#include <c10/core/Stream.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <iomanip>
#include <map>
#include <mutex>
#include <sstream>

#include "card.h"
#include "compat.h"

namespace mlu_sim {

struct Usage {
  std::atomic<int64_t> current{0}, peak{0}, allocations{0}, frees{0}, refusals{0};
};

inline Usage& usage(c10::DeviceIndex card) {
  static Usage all[kMaxCards];
  return all[card];
}

inline std::string format_bytes(int64_t bytes) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(2);
  if (bytes < (1 << 20)) out << bytes / 1024.0 << " KiB";
  else if (bytes < (1 << 30)) out << bytes / 1048576.0 << " MiB";
  else out << bytes / 1073741824.0 << " GiB";
  return out.str();
}

inline void take(c10::DeviceIndex card, int64_t bytes) {
  auto& used = usage(card);
  const int64_t capacity = settings().capacity;
  if (capacity > 0 && used.current.load() + bytes > capacity) {
    used.refusals++;
    TORCH_CHECK_WITH(
        OutOfMemoryError, false, "MLU out of memory. Tried to allocate ", format_bytes(bytes), ". MLU ", int(card),
        " has a total capacity of ", format_bytes(capacity), " of which ",
        format_bytes(capacity - used.current.load()), " is free. Of the allocated memory ",
        format_bytes(used.current.load()), " is allocated by PyTorch, and 0.00 KiB is reserved by PyTorch but "
        "unallocated.");
  }
  used.allocations++;
  const int64_t now = used.current.fetch_add(bytes) + bytes;
  int64_t peak = used.peak.load();
  while (now > peak && !used.peak.compare_exchange_weak(peak, now)) {
  }
}

inline void give_back(c10::DeviceIndex card, int64_t bytes) {
  usage(card).frees++;
  usage(card).current.fetch_sub(bytes);
}

// What a piece of card memory is made of: memory of its own, or a CPU storage that a kernel has filled.
struct Piece {
  void* own = nullptr;
  c10::Storage filled;
  int64_t bytes = 0;
  c10::DeviceIndex card = 0;
};

inline void free_piece(void* context) {
  auto* piece = static_cast<Piece*>(context);
  give_back(piece->card, piece->bytes);
  std::free(piece->own);
  delete piece;
}

inline void* allocate_aligned(size_t bytes) {
  if (bytes == 0) return nullptr;
  void* found = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
  TORCH_CHECK(found != nullptr, "the host has no ", format_bytes(bytes), " left for a simulated card");
  return found;
}

inline c10::DataPtr allocate_on(c10::DeviceIndex card, size_t bytes) {
  open_driver();
  take(card, bytes);
  auto* piece = new Piece{nullptr, {}, static_cast<int64_t>(bytes), card};
  c10::DataPtr pointer(nullptr, piece, &free_piece, c10::Device(kMLU, card));
  piece->own = allocate_aligned(bytes);
  return {piece->own, pointer.release_context(), &free_piece, c10::Device(kMLU, card)};
}

// The result of a CPU kernel becomes the card's without a copy.
inline c10::DataPtr adopt(const c10::Storage& filled, c10::DeviceIndex card) {
  open_driver();
  const auto bytes = static_cast<int64_t>(filled.nbytes());
  take(card, bytes);
  return {filled.mutable_data(), new Piece{nullptr, filled, bytes, card}, &free_piece, c10::Device(kMLU, card)};
}

#if SIM_HAS_DEVICE_ALLOCATOR
using AllocatorBase = c10::DeviceAllocator;
#else
using AllocatorBase = c10::Allocator;
#endif

struct CardAllocator final : AllocatorBase {
  c10::DataPtr allocate(size_t bytes) override { return allocate_on(current_card, bytes); }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { std::memcpy(to, from, bytes); }
  bool initialized() { return is_open; }
  void emptyCache() {}
  void emptyCache(std::pair<unsigned long long, unsigned long long>) {}
  void recordStream(const c10::DataPtr&, c10::Stream) {}
  void resetAccumulatedStats(c10::DeviceIndex card) {
    usage(card).allocations = 0;
    usage(card).frees = 0;
  }
  void resetPeakStats(c10::DeviceIndex card) { usage(card).peak = usage(card).current.load(); }
  std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex card) {
    return {settings().capacity - usage(card).current.load(), settings().capacity};
  }
#if SIM_HAS_DEVICE_ALLOCATOR
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex card) {
    c10::CachingDeviceAllocator::DeviceStats stats;
    for (auto* one : {&stats.allocated_bytes, &stats.reserved_bytes, &stats.active_bytes, &stats.requested_bytes}) {
      (*one)[0].current = usage(card).current;
      (*one)[0].peak = usage(card).peak;
    }
    return stats;
  }
#endif
};

inline CardAllocator& card_allocator() {
  static auto* it = new CardAllocator;  // never destroyed: tensors outlive statics
  return *it;
}

struct PinnedAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* found = allocate_aligned(bytes);
    if (found) {
      std::lock_guard<std::mutex> hold(lock());
      blocks()[reinterpret_cast<uintptr_t>(found)] = bytes;
    }
    return {found, found, &release, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { std::memcpy(to, from, bytes); }

  static bool owns(const void* pointer) {
    const auto address = reinterpret_cast<uintptr_t>(pointer);
    std::lock_guard<std::mutex> hold(lock());
    auto after = blocks().upper_bound(address);
    if (after == blocks().begin()) return false;
    const auto& [start, bytes] = *--after;
    return address < start + bytes;
  }

 private:
  static std::mutex& lock() {
    static std::mutex it;
    return it;
  }
  static std::map<uintptr_t, size_t>& blocks() {
    static auto* it = new std::map<uintptr_t, size_t>;
    return *it;
  }
  static void release(void* pointer) {
    if (!pointer) return;
    {
      std::lock_guard<std::mutex> hold(lock());
      blocks().erase(reinterpret_cast<uintptr_t>(pointer));
    }
    std::free(pointer);
  }
};

inline PinnedAllocator& pinned_allocator() {
  static auto* it = new PinnedAllocator;
  return *it;
}

}  // namespace mlu_sim
