#pragma once

namespace sinter {

// std::visit(Match{[](A&) {...}, [](B&) {...}}, variant)
template <class... F>
struct Match : F... {
  using F::operator()...;
};
template <class... F>
Match(F...) -> Match<F...>;  // clang 14 needs the guide

}  // namespace sinter
