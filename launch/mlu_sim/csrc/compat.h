// What differs between torch 2.4 and today's, in one place.
#pragma once

#include <torch/version.h>

#define SIM_TORCH_SINCE(major, minor) \
  (TORCH_VERSION_MAJOR > (major) || (TORCH_VERSION_MAJOR == (major) && TORCH_VERSION_MINOR >= (minor)))

// torch.accelerator.memory_* ask a DeviceAllocator; before 2.9 an Allocator is all that there is.
#if SIM_TORCH_SINCE(2, 9)
#include <c10/core/CachingDeviceAllocator.h>
#define SIM_HAS_DEVICE_ALLOCATOR 1
#else
#include <c10/core/Allocator.h>
#define SIM_HAS_DEVICE_ALLOCATOR 0
#endif

// Several methods below have no `override`: whether torch's base class knows them, and which of them are pure, changed
// between 2.4 and 2.11. One that the base does not know is merely never called.
