#pragma once
#include <chrono>

#include "models/context.h"

namespace sinter {

// Adds the seconds of its life to a total.
class Stopwatch {
 public:
  explicit Stopwatch(double& total) : total_(total) {}
  ~Stopwatch() { total_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double& total_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Hands on to another observer and adds up how long that takes.
class TimedObserver final : public Observer {
 public:
  TimedObserver(Observer& inner, double& seconds) : inner_(inner), seconds_(seconds) {}
  void on_linear(const Linear& which, const Tensor& x, const Tensor& y) override {
    const Stopwatch watch(seconds_);
    inner_.on_linear(which, x, y);
  }

 private:
  Observer& inner_;
  double& seconds_;
};

}  // namespace sinter
