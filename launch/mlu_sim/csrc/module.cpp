// The extension `torch_mlu._MLUC` of the simulated card. One translation unit: reading torch's headers is what a build
// takes its time for, and it is done once.
#include <pybind11/chrono.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/utils/pybind.h>

#include "cncl.h"
#include "hooks.h"
#include "profiler.h"
#include "reducer_clock.h"
#include "registration.h"

namespace mlu_sim {
namespace {

py::dict memory_of(int card) {
  auto& used = usage(check_card(card));
  py::dict found;
  found["current"] = used.current.load();
  found["peak"] = used.peak.load();
  found["allocations"] = used.allocations.load();
  found["frees"] = used.frees.load();
  found["refusals"] = used.refusals.load();
  return found;
}

void initialise(int cards, int64_t capacity) {
  TORCH_CHECK(0 <= cards && cards <= kMaxCards, "a machine has 0 to ", kMaxCards, " simulated cards, asked: ", cards);
  settings() = {cards, capacity};
  register_hooks();
  register_profiler();
  answer_for_cuda();
}

int exchange_card(int card) {
  const int before = current_card;
  if (card >= 0) current_card = check_card(card);
  return before;
}

}  // namespace
}  // namespace mlu_sim

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  using namespace mlu_sim;
  module.def("initialise", &initialise, py::arg("cards"), py::arg("capacity"));
  module.def("open_driver", [] { open_driver(); });
  module.def("is_open", [] { return is_open.load(); });
  module.def("is_bad_fork", [] { return is_bad_fork.load(); });
  module.def("device_count", [] { return settings().cards; });
  module.def("capacity", [] { return settings().capacity; });
  module.def("current_device", [] { return int(current_card); });
  module.def("exchange_device", &exchange_card);
  module.def("default_generator", [](int card) { return default_generator(check_card(card)); });
  module.def("memory", &memory_of);
  module.def("reset_peak", [](int card) { card_allocator().resetPeakStats(check_card(card)); });
  module.def("reset_accumulated", [](int card) { card_allocator().resetAccumulatedStats(check_card(card)); });
  module.def("current_stream_id", [](int card) { return current_stream[check_card(card)]; });
  module.def("set_stream_id", [](int card, int64_t id) { current_stream[check_card(card)] = id; });
  module.def("count_operators", [](bool on) { operator_counts.start(on); });
  module.def("operator_counts", [] { return operator_counts.read(); });
  module.def("count_collectives", [] { collective_counts.start(true); });
  module.def("collective_counts", [] { return collective_counts.read(); });
  py::object backend = py::module_::import("torch._C._distributed_c10d").attr("Backend");
  py::class_<ProcessGroupCNCL, c10::intrusive_ptr<ProcessGroupCNCL>>(module, "ProcessGroupCNCL", backend)
      .def(
          py::init([](const c10::intrusive_ptr<c10d::Backend>& inner, int rank, int size) {
            return c10::make_intrusive<ProcessGroupCNCL>(inner, rank, size);
          }),
          py::arg("gloo"), py::arg("rank"), py::arg("size"));
}
