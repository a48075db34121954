// Device guard, streams and events. Every operator has finished when it returns, so streams never race: a missing
// synchronisation, which a real card may punish, is not seen here.
#pragma once

#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <atomic>
#include <chrono>

#include "card.h"

namespace mlu_sim {

struct Moment {
  std::chrono::steady_clock::time_point at;
};

inline std::atomic<int64_t> next_stream{1};
inline thread_local int64_t current_stream[kMaxCards] = {};

struct CardGuard final : c10::impl::DeviceGuardImplInterface {
  using Device = c10::Device;
  using Stream = c10::Stream;

  c10::DeviceType type() const override { return kMLU; }
  Device exchangeDevice(Device device) const override {
    Device before(kMLU, current_card);
    setDevice(device);
    return before;
  }
  Device getDevice() const override { return Device(kMLU, current_card); }
  void setDevice(Device device) const override {
    if (device.has_index()) current_card = check_card(device.index());
  }
  void uncheckedSetDevice(Device device) const noexcept override {
    if (device.has_index() && device.index() >= 0) current_card = device.index();
  }
  c10::DeviceIndex deviceCount() const noexcept override { return c10::DeviceIndex(settings().cards); }

  Stream getStream(Device device) const noexcept override {
    device = with_index(device);
    return Stream(Stream::UNSAFE, device, current_stream[device.index()]);
  }
  Stream getDefaultStream(Device device) const override { return Stream(Stream::DEFAULT, with_index(device)); }
  Stream getStreamFromGlobalPool(Device device, bool) const override { return getNewStream(device, 0); }
  Stream getNewStream(Device device, int) const override {
    return Stream(Stream::UNSAFE, with_index(device), next_stream++);
  }
  Stream exchangeStream(Stream stream) const noexcept override {
    Stream before = getStream(stream.device());
    current_stream[stream.device().index()] = stream.id();
    return before;
  }
  bool queryStream(const Stream&) const override { return true; }
  void synchronizeStream(const Stream&) const override {}
  void synchronizeDevice(const c10::DeviceIndex) const {}
  void recordDataPtrOnStream(const c10::DataPtr&, const Stream&) const override {}

  void record(void** event, const Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {
    if (!*event) *event = new Moment;
    static_cast<Moment*>(*event)->at = std::chrono::steady_clock::now();
  }
  void block(void*, const Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void synchronizeEvent(void*) const override {}
  void destroyEvent(void* event, const c10::DeviceIndex) const noexcept override { delete static_cast<Moment*>(event); }
  double elapsedTime(void* from, void* to, const c10::DeviceIndex) const override {
    const auto span = static_cast<Moment*>(to)->at - static_cast<Moment*>(from)->at;
    return std::chrono::duration<double, std::milli>(span).count();
  }
};

}  // namespace mlu_sim
