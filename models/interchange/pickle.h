#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string_view>
#include <vector>

namespace sinter {

// What a pickle describes, as plain data. Nothing is ever imported or called: a global is only its name, a call only
// the callable and its arguments.
struct PickleValue {
  enum class Kind : std::uint8_t {
    other,  // None, True, False, a float, a number beyond 64 bits: no tensor depends on their value
    integer,
    text,
    tuple,
    list,
    dict,  // items: key, value, key, value ..; also collections.OrderedDict()
    global,  // text: "module.name"
    call,  // REDUCE, NEWOBJ: items are the callable, the tuple of arguments, and the state if BUILD gave one
    reference,  // BINPERSID: items[0] names what lies outside of the pickle
  };
  Kind kind = Kind::other;
  std::int64_t integer = 0;
  std::string_view text;
  std::vector<const PickleValue*> items;

  // The value of a text key of a dict, or null.
  const PickleValue* find(std::string_view key) const;
};

// The values of one pickle, as PyTorch writes them (protocol 2; source: Python's pickletools). Values may be shared.
// Texts are views into `pickle` and `globals`, which must outlive it. Error(input) naming `where` for any other opcode,
// for a global that is not among `globals` ("module.name"), and for what breaks a limit: 2^18 values, as many notes to
// come back to them, 2^16 values on the stack, 64 marks.
class Pickle {
 public:
  Pickle(std::span<const std::byte> pickle, std::span<const std::string_view> globals, std::string_view where);
  Pickle(const Pickle&) = delete;  // values point at each other
  Pickle& operator=(const Pickle&) = delete;
  const PickleValue& root() const { return *root_; }

 private:
  friend class PickleMachine;
  std::deque<PickleValue> values_;
  const PickleValue* root_ = nullptr;
};

}  // namespace sinter
