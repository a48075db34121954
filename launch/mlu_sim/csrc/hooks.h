// What torch asks of a PrivateUse1 device.
#pragma once

#include <ATen/detail/PrivateUse1HooksInterface.h>

#include "memory.h"
#include "random.h"

namespace mlu_sim {

inline void resize_storage(const c10::Storage& storage, size_t bytes) {
  auto* held = storage.unsafeGetStorageImpl();
  auto larger = allocate_on(held->device().index(), bytes);
  if (larger.get() && held->data()) std::memcpy(larger.get(), held->data(), std::min(bytes, held->nbytes()));
  held->set_data_ptr_noswap(std::move(larger));
  held->set_nbytes(bytes);
}

struct CardHooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const { return true; }
  bool isAvailable() const { return settings().cards > 0; }
  void init() const { open_driver(); }
  void initPrivateUse1() const { open_driver(); }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex card) const { return default_generator(card); }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex card) { return default_generator(card); }
  at::Generator getNewGenerator(c10::DeviceIndex card) const { return new_generator(card); }
  bool isPinnedPtr(const void* pointer) const { return PinnedAllocator::owns(pointer); }
  c10::Allocator* getPinnedMemoryAllocator() const override { return &pinned_allocator(); }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return c10::DeviceIndex(settings().cards); }
  void setCurrentDevice(c10::DeviceIndex card) const override { current_card = check_card(card); }
  c10::DeviceIndex getCurrentDevice() const override { return current_card; }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex card) const override {
    const auto before = current_card;
    if (card >= 0) setCurrentDevice(card);
    return before;
  }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex card) const override { return exchangeDevice(card); }
  void resizePrivateUse1Bytes(const c10::Storage& storage, size_t bytes) const override {
    resize_storage(storage, bytes);
  }
};

inline void register_hooks() {
  static auto* hooks = new CardHooks;
  if (!at::isPrivateUse1HooksRegistered()) at::RegisterPrivateUse1HooksInterface(hooks);
}

}  // namespace mlu_sim
