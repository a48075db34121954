// The process group `cncl`: gloo on aliases of the cards' tensors.
//
// Transfers move bytes, so every dtype travels. Sums of float16 and bfloat16 are formed in float32. As CNCL does: AVG is
// a division of the shares before the sum (of the sum for whole numbers, rounded down), bool has no AVG, and the bitwise
// reductions are refused.
#pragma once

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Types.hpp>
#include <torch/csrc/distributed/c10d/Work.hpp>

#include <vector>

#include "alias.h"
#include "counts.h"

namespace mlu_sim {

using Tensors = std::vector<at::Tensor>;
using TensorLists = std::vector<Tensors>;
using WorkPointer = c10::intrusive_ptr<c10d::Work>;

// The inner group's work, with the cards' tensors as its result; without one it is done already.
class CardWork final : public c10d::Work {
 public:
  CardWork(WorkPointer inner, c10d::OpType type, c10::IValue result, c10::TypePtr result_type, Tensors kept)
      : Work(-1, type), inner_(std::move(inner)), result_(std::move(result)), type_(std::move(result_type)),
        kept_(std::move(kept)) {}

  bool isCompleted() override { return !inner_ || inner_->isCompleted(); }
  bool isSuccess() const override { return !inner_ || inner_->isSuccess(); }
  std::exception_ptr exception() const override { return inner_ ? inner_->exception() : nullptr; }
  int sourceRank() const override { return inner_->sourceRank(); }
  Tensors result() override {
    if (result_.isTensorList()) return result_.toTensorVector();
    return {};
  }
  void synchronize() override { wait(); }
  bool wait(std::chrono::milliseconds timeout = kNoTimeout) override {
    return !inner_ || inner_->wait(timeout);
  }
  void blockCurrentStream() { wait(); }
  void abort() override {
    if (inner_) inner_->abort();
  }
  c10::intrusive_ptr<c10::ivalue::Future> getFuture() override {
    if (!inner_) {
      auto done = c10::make_intrusive<c10::ivalue::Future>(type_);
      done->markCompleted(result_);
      return done;
    }
    return inner_->getFuture()->then(
        [result = result_, kept = kept_](c10::ivalue::Future& future) {
          if (future.hasError()) std::rethrow_exception(future.exception_ptr());
          return result;
        },
        type_);
  }

 private:
  WorkPointer inner_;
  c10::IValue result_;
  c10::TypePtr type_;
  Tensors kept_;  // alive until the work is
};

class ProcessGroupCNCL final : public c10d::Backend {
 public:
  ProcessGroupCNCL(c10::intrusive_ptr<c10d::Backend> inner, int rank, int size)
      : Backend(rank, size), inner_(std::move(inner)) {}

  const std::string getBackendName() const override { return "cncl"; }
  void startCoalescing() override {}
  WorkPointer endCoalescing() override { return done(c10d::OpType::COALESCED, Tensors{}); }

  WorkPointer broadcast(Tensors& tensors, const c10d::BroadcastOptions& options) override {
    Tensors sent = bytes_of(tensors, "broadcast");
    return going(inner_->broadcast(sent, options), c10d::OpType::BROADCAST, tensors, sent);
  }

  WorkPointer allreduce(Tensors& tensors, const c10d::AllreduceOptions& options) override {
    collective_counts.add("allreduce");
    return reduce_each(tensors, options.reduceOp, c10d::OpType::ALLREDUCE, [&](Tensors& sent, c10d::ReduceOp op) {
      auto inner = options;
      inner.reduceOp = op;
      return inner_->allreduce(sent, inner);
    });
  }
  WorkPointer allreduce_coalesced(Tensors& tensors, const c10d::AllreduceCoalescedOptions& options) override {
    for (auto& tensor : tensors) {
      Tensors one{tensor};
      allreduce(one, options)->wait();
    }
    return done(c10d::OpType::ALLREDUCE_COALESCED, tensors);
  }
  WorkPointer reduce(Tensors& tensors, const c10d::ReduceOptions& options) override {
    collective_counts.add("reduce");
    return reduce_each(tensors, options.reduceOp, c10d::OpType::REDUCE, [&](Tensors& sent, c10d::ReduceOp op) {
      auto inner = options;
      inner.reduceOp = op;
      return inner_->reduce(sent, inner);
    });
  }

  WorkPointer allgather(TensorLists& outputs, Tensors& inputs, const c10d::AllgatherOptions& options) override {
    Tensors sent = bytes_of(inputs, "allgather");
    TensorLists received = bytes_of(outputs);
    return going(inner_->allgather(received, sent, options), c10d::OpType::ALLGATHER, outputs, sent, received);
  }
  WorkPointer _allgather_base(
      at::Tensor& output, at::Tensor& input, const c10d::AllgatherOptions& options) override {
    Tensors sent = bytes_of({input}, "allgather_base");
    TensorLists received{bytes(output).chunk(size_)};
    return going(inner_->allgather(received, sent, options), c10d::OpType::_ALLGATHER_BASE, Tensors{output}, sent);
  }
  WorkPointer allgather_into_tensor_coalesced(
      Tensors& outputs, Tensors& inputs, const c10d::AllgatherOptions& options) override {
    for (size_t index = 0; index < outputs.size(); index++) {
      _allgather_base(outputs[index], inputs[index], options)->wait();
    }
    return done(c10d::OpType::COALESCED, outputs);
  }
  WorkPointer gather(TensorLists& outputs, Tensors& inputs, const c10d::GatherOptions& options) override {
    Tensors sent = bytes_of(inputs, "gather");
    TensorLists received = bytes_of(outputs);
    return going(inner_->gather(received, sent, options), c10d::OpType::GATHER, outputs, sent, received);
  }
  WorkPointer scatter(Tensors& outputs, TensorLists& inputs, const c10d::ScatterOptions& options) override {
    Tensors received = bytes_of(outputs, "scatter");
    TensorLists sent = bytes_of(inputs);
    return going(inner_->scatter(received, sent, options), c10d::OpType::SCATTER, outputs, received, sent);
  }

  // All-reduce of a copy, then this rank's share of it: older gloo groups have no reduce-scatter.
  WorkPointer _reduce_scatter_base(
      at::Tensor& output, at::Tensor& input, const c10d::ReduceScatterOptions& options) override {
    collective_counts.add("reduce_scatter_base");
    at::Tensor whole = input.reshape({-1}).clone();
    Tensors sent{whole};
    c10d::AllreduceOptions all;
    all.timeout = options.timeout;
    reduce_each(sent, options.reduceOp, c10d::OpType::ALLREDUCE, [&](Tensors& shares, c10d::ReduceOp op) {
      all.reduceOp = op;
      return inner_->allreduce(shares, all);
    })->wait();
    output.view({-1}).copy_(whole.chunk(size_)[rank_]);
    return done(c10d::OpType::_REDUCE_SCATTER_BASE, Tensors{output});
  }
  WorkPointer reduce_scatter_tensor_coalesced(
      Tensors& outputs, Tensors& inputs, const c10d::ReduceScatterOptions& options) override {
    for (size_t index = 0; index < outputs.size(); index++) {
      _reduce_scatter_base(outputs[index], inputs[index], options);
    }
    return done(c10d::OpType::COALESCED, outputs);
  }
  WorkPointer reduce_scatter(
      Tensors& outputs, TensorLists& inputs, const c10d::ReduceScatterOptions& options) override {
    Tensors flat;
    for (auto& tensor : inputs[0]) flat.push_back(tensor.reshape({-1}));
    at::Tensor whole = at::cat(flat);
    return _reduce_scatter_base(outputs[0], whole, options);
  }

  WorkPointer alltoall_base(
      at::Tensor& output, at::Tensor& input, std::vector<int64_t>& output_sizes, std::vector<int64_t>& input_sizes,
      const c10d::AllToAllOptions& options) override {
    collective_counts.add("alltoall_base");
    at::Tensor received = alias(output), sent = alias(input);
    auto work = inner_->alltoall_base(received, sent, output_sizes, input_sizes, options);
    return going(work, c10d::OpType::ALLTOALL_BASE, Tensors{output}, {input, received, sent});
  }
  WorkPointer alltoall(Tensors& outputs, Tensors& inputs, const c10d::AllToAllOptions& options) override {
    std::vector<int64_t> output_sizes, input_sizes;
    Tensors flat;
    for (auto& tensor : outputs) output_sizes.push_back(tensor.numel());
    for (auto& tensor : inputs) {
      input_sizes.push_back(tensor.numel());
      flat.push_back(tensor.reshape({-1}));
    }
    at::Tensor sent = at::cat(flat), received = at::empty({total(output_sizes)}, outputs[0].options());
    alltoall_base(received, sent, output_sizes, input_sizes, options)->wait();
    const auto parts = received.split_with_sizes(output_sizes);
    for (size_t index = 0; index < outputs.size(); index++) outputs[index].view({-1}).copy_(parts[index]);
    return done(c10d::OpType::ALLTOALL, outputs);
  }

  WorkPointer send(Tensors& tensors, int target, int tag) override {
    Tensors sent = bytes_of(tensors, "send");
    return going(inner_->send(sent, target, tag), c10d::OpType::SEND, tensors, sent);
  }
  WorkPointer recv(Tensors& tensors, int source, int tag) override {
    Tensors received = bytes_of(tensors, "recv");
    return going(inner_->recv(received, source, tag), c10d::OpType::RECV, tensors, received);
  }
  WorkPointer barrier(const c10d::BarrierOptions& options) override {
    collective_counts.add("barrier");
    c10d::BarrierOptions inner;
    inner.timeout = options.timeout;
    return inner_->barrier(inner);
  }
  void setSequenceNumberForGroup() override { inner_->setSequenceNumberForGroup(); }
  uint64_t getSequenceNumberForGroup() override { return inner_->getSequenceNumberForGroup(); }

 private:
  c10::intrusive_ptr<c10d::Backend> inner_;

  static at::Tensor alias(const at::Tensor& tensor) {
    TORCH_CHECK(
        tensor.device().type() == kMLU, "ProcessGroupCNCL: tensors must be MLU tensors, got one on ", tensor.device());
    TORCH_CHECK(tensor.is_contiguous() || tensor.is_non_overlapping_and_dense(), "Tensors must be contiguous");
    return Aliases("cncl").to_cpu(tensor);
  }
  static at::Tensor bytes(const at::Tensor& tensor) {
    const at::Tensor flat = alias(tensor);
    return flat.as_strided({flat.numel()}, {1}).view(at::kByte);
  }
  static Tensors bytes_of(const Tensors& tensors, const char* name) {
    collective_counts.add(name);
    Tensors all;
    for (const auto& tensor : tensors) all.push_back(bytes(tensor));
    return all;
  }
  static TensorLists bytes_of(const TensorLists& lists) {
    TensorLists all;
    for (const auto& list : lists) {
      all.emplace_back();
      for (const auto& tensor : list) all.back().push_back(bytes(tensor));
    }
    return all;
  }
  static int64_t total(const std::vector<int64_t>& sizes) {
    int64_t sum = 0;
    for (auto size : sizes) sum += size;
    return sum;
  }

  static WorkPointer going(WorkPointer inner, c10d::OpType type, Tensors result, Tensors kept) {
    return c10::make_intrusive<CardWork>(
        std::move(inner), type, c10::IValue(std::move(result)), c10::ListType::ofTensors(), std::move(kept));
  }
  static WorkPointer going(
      WorkPointer inner, c10d::OpType type, const TensorLists& result, Tensors kept, const TensorLists& more) {
    for (const auto& list : more) kept.insert(kept.end(), list.begin(), list.end());
    for (const auto& list : result) kept.insert(kept.end(), list.begin(), list.end());
    return c10::make_intrusive<CardWork>(
        std::move(inner), type, c10::IValue(result), c10::ListType::create(c10::ListType::ofTensors()),
        std::move(kept));
  }
  static WorkPointer going(
      WorkPointer inner, c10d::OpType type, const Tensors& result, Tensors kept, const TensorLists& more) {
    for (const auto& list : more) kept.insert(kept.end(), list.begin(), list.end());
    return going(std::move(inner), type, result, std::move(kept));
  }
  static WorkPointer done(c10d::OpType type, Tensors result) { return going(nullptr, type, std::move(result), {}); }

  static at::ScalarType sum_type(at::ScalarType type) {
    if (type == at::kHalf || type == at::kBFloat16) return at::kFloat;
    if (type == at::kBool || type == at::kShort) return at::kInt;
    return type;
  }

  template <class Reduce>
  WorkPointer reduce_each(Tensors& tensors, const c10d::ReduceOp& wanted, c10d::OpType type, Reduce reduce) {
    using Op = c10d::ReduceOp::RedOpType;
    const Op op = wanted;
    TORCH_CHECK(
        op != Op::BAND && op != Op::BOR && op != Op::BXOR, "Cannot use ReduceOp.BAND, BOR or BXOR with CNCL");
    Tensors aliases, sent, kept;
    bool is_plain = op != Op::AVG;
    for (auto& tensor : tensors) {
      aliases.push_back(alias(tensor));
      const auto& share = aliases.back();
      TORCH_CHECK_TYPE(
          op != Op::AVG || share.scalar_type() != at::kBool, "Cannot use ReduceOp.AVG with boolean inputs");
      sent.push_back(share.as_strided({share.numel()}, {1}));
      if (op == Op::AVG && share.is_floating_point()) sent.back() = sent.back().to(sum_type(share.scalar_type())) / size_;
      if (sum_type(share.scalar_type()) != share.scalar_type()) {
        is_plain = false;
        sent.back() = sent.back().to(sum_type(share.scalar_type()));
      }
    }
    const c10d::ReduceOp inner_op = op == Op::AVG ? c10d::ReduceOp(Op::SUM) : wanted;
    auto work = reduce(sent, inner_op);
    if (is_plain) {
      kept = sent;
      kept.insert(kept.end(), tensors.begin(), tensors.end());
      return going(work, type, tensors, kept);
    }
    work->wait();
    for (size_t index = 0; index < tensors.size(); index++) {
      const auto& share = aliases[index];
      if (op == Op::AVG && !share.is_floating_point()) sent[index] = sent[index].floor_divide(size_);
      auto flat = share.as_strided({share.numel()}, {1});
      flat.copy_(share.scalar_type() == at::kBool ? sent[index].ne(0) : sent[index]);
    }
    return done(type, tensors);
  }
};

}  // namespace mlu_sim
