#include "models/interchange/pickle.h"

#include <algorithm>
#include <cstring>
#include <iomanip>

#include "core/error.h"

namespace sinter {

namespace {

constexpr std::size_t kMostValues = std::size_t{1} << 18, kMostOnStack = std::size_t{1} << 16, kMostMarks = 64;

}  // namespace

const PickleValue* PickleValue::find(std::string_view key) const {
  if (kind != Kind::dict) return nullptr;
  for (std::size_t i = 0; i < items.size(); i += 2)
    if (items[i]->kind == Kind::text && items[i]->text == key) return items[i + 1];
  return nullptr;
}

// A stack of values, the marks on it, and the memo: values that opcodes come back to by number.
class PickleMachine {
 public:
  PickleMachine(Pickle& p, std::span<const std::byte> code, std::span<const std::string_view> globals,
                std::string_view where)
      : values_(p.values_),
        code_(reinterpret_cast<const char*>(code.data()), code.size()),
        globals_(globals),
        where_(where) {
    other_ = &create(Kind::other);
  }
  const PickleValue* run() {
    while (step())
      ;
    if (stack_.size() != 1 || !marks_.empty()) refuse("ends with ", stack_.size(), " values, expected one");
    return stack_[0];
  }

 private:
  using Kind = PickleValue::Kind;
  using Items = std::vector<const PickleValue*>;

  template <class... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    fail(ErrorCode::input, where_, "pickle at ", op_at_, ": ", parts...);
  }

  std::string_view bytes(std::uint64_t n) {
    if (n > code_.size() - at_) refuse("needs ", n, " bytes more, ", code_.size() - at_, " are left");
    at_ += n;
    return code_.substr(at_ - n, n);
  }
  template <class T>
  T number() {
    T value;
    std::memcpy(&value, bytes(sizeof value).data(), sizeof value);
    return value;
  }
  std::string_view line() {
    const std::size_t end = code_.find('\n', at_);
    if (end == code_.npos) refuse("a line without end");
    const std::string_view text = bytes(end - at_);
    ++at_;
    return text;
  }

  PickleValue& create(Kind kind) {
    if (values_.size() == kMostValues) refuse("more than ", kMostValues, " values");
    PickleValue& v = values_.emplace_back();
    v.kind = kind;
    return v;
  }
  void push(PickleValue* v) {
    if (stack_.size() == kMostOnStack) refuse("more than ", kMostOnStack, " values on the stack");
    stack_.push_back(v);
  }
  void push_integer(std::int64_t i) {
    PickleValue& v = create(Kind::integer);
    v.integer = i;
    push(&v);
  }
  void push_text(std::string_view text) {
    PickleValue& v = create(Kind::text);
    v.text = text;
    push(&v);
  }
  void push_items(Kind kind, Items items) {
    PickleValue& v = create(kind);
    v.items = std::move(items);
    push(&v);
  }

  // What lies below a mark belongs to somebody else.
  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  PickleValue& top() {
    if (stack_.size() <= floor()) refuse("a value is missing on the stack");
    return *stack_.back();
  }
  PickleValue* pop() {
    PickleValue* v = &top();
    stack_.pop_back();
    return v;
  }
  Items pop_items(std::size_t n) {
    if (stack_.size() - floor() < n) refuse("needs ", n, " values on the stack");
    Items items(stack_.end() - std::ptrdiff_t(n), stack_.end());
    stack_.resize(stack_.size() - n);
    return items;
  }
  Items pop_to_mark() {
    if (marks_.empty()) refuse("a mark is missing");
    Items items = pop_items(stack_.size() - marks_.back());
    marks_.pop_back();
    return items;
  }
  void mark() {
    if (marks_.size() == kMostMarks) refuse("more than ", kMostMarks, " marks inside each other");
    marks_.push_back(stack_.size());
  }

  void remember(std::uint64_t index) {  // picklers count up
    if (index > memo_.size() || index == kMostValues) refuse("value ", index, " is remembered after ", memo_.size());
    if (index == memo_.size()) memo_.push_back(nullptr);
    memo_[index] = &top();
  }
  void recall(std::uint64_t index) {
    if (index >= memo_.size()) refuse("value ", index, " was never remembered");
    push(memo_[index]);
  }

  void add(Kind kind, const Items& items) {
    PickleValue& to = top();
    if (to.kind != kind) refuse("items for what is no ", kind == Kind::dict ? "dict" : "list");
    if (kind == Kind::dict && items.size() % 2) refuse("a key without value");
    to.items.insert(to.items.end(), items.begin(), items.end());
  }
  void push_dict(Items items) {
    if (items.size() % 2) refuse("a key without value");
    push_items(Kind::dict, std::move(items));
  }

  void push_global(std::string_view module, std::string_view name) {
    for (const std::string_view g : globals_)
      if (g.size() == module.size() + 1 + name.size() && g.starts_with(module) && g.ends_with(name) &&
          g[module.size()] == '.') {
        PickleValue& v = create(Kind::global);
        v.text = g;
        return push(&v);
      }
    refuse("names ", printable(module), ".", printable(name),
           ", which is no part of a tensor; nothing of the file was run");
  }
  static std::string printable(std::string_view text) {
    std::string out(text.substr(0, 100));
    for (char& c : out)
      if (c < ' ' || c > '~') c = '?';
    return out;
  }
  void call() {
    const PickleValue* arguments = pop();
    const PickleValue* callable = pop();
    if (callable->kind != Kind::global || arguments->kind != Kind::tuple) refuse("a call of what cannot be called");
    if (callable->text == "collections.OrderedDict" && arguments->items.empty()) push_items(Kind::dict, {});
    else push_items(Kind::call, {callable, arguments});
  }
  void build() {  // attributes; those of a dict hold no tensors
    const PickleValue* state = pop();
    PickleValue& object = top();
    if (object.kind == Kind::call && object.items.size() == 2) object.items.push_back(state);
    else if (object.kind != Kind::dict) refuse("attributes for what is no object");
  }
  void push_long() {
    const std::string_view digits = bytes(number<std::uint8_t>());
    if (digits.size() > 8) return push(other_);
    std::uint64_t value = digits.empty() || digits.back() >= 0 ? 0 : ~std::uint64_t{0};  // two's complement
    std::memcpy(&value, digits.data(), digits.size());
    push_integer(std::int64_t(value));
  }

  bool step();

  std::deque<PickleValue>& values_;
  std::string_view code_;
  std::span<const std::string_view> globals_;
  std::string_view where_;
  PickleValue* other_ = nullptr;
  std::size_t at_ = 0, op_at_ = 0;
  std::vector<PickleValue*> stack_, memo_;
  std::vector<std::size_t> marks_;
};

// One opcode; false after STOP.
bool PickleMachine::step() {
  op_at_ = at_;
  const auto op = number<std::uint8_t>();
  switch (op) {
    case 0x80: bytes(1); return true;  // PROTO: the opcodes say all
    case '.': return false;  // STOP
    case '(': mark(); return true;
    case ')': push_items(Kind::tuple, {}); return true;
    case 't': push_items(Kind::tuple, pop_to_mark()); return true;
    case 0x85: push_items(Kind::tuple, pop_items(1)); return true;
    case 0x86: push_items(Kind::tuple, pop_items(2)); return true;
    case 0x87: push_items(Kind::tuple, pop_items(3)); return true;
    case '}': push_dict({}); return true;
    case 'd': push_dict(pop_to_mark()); return true;
    case ']': push_items(Kind::list, {}); return true;
    case 'a': add(Kind::list, pop_items(1)); return true;  // APPEND
    case 'e': add(Kind::list, pop_to_mark()); return true;  // APPENDS
    case 's': add(Kind::dict, pop_items(2)); return true;  // SETITEM
    case 'u': add(Kind::dict, pop_to_mark()); return true;  // SETITEMS
    case 'N':
    case 0x88:  // NEWTRUE
    case 0x89: push(other_); return true;  // NEWFALSE
    case 'J': push_integer(number<std::int32_t>()); return true;  // BININT
    case 'K': push_integer(number<std::uint8_t>()); return true;  // BININT1
    case 'M': push_integer(number<std::uint16_t>()); return true;  // BININT2
    case 0x8a: push_long(); return true;  // LONG1
    case 'G': bytes(8), push(other_); return true;  // BINFLOAT
    case 'X': push_text(bytes(number<std::uint32_t>())); return true;  // BINUNICODE
    case 0x8c: push_text(bytes(number<std::uint8_t>())); return true;  // SHORT_BINUNICODE
    case 'c': {
      const std::string_view module = line();
      push_global(module, line());
      return true;
    }
    case 0x93: {  // STACK_GLOBAL
      const PickleValue* name = pop();
      const PickleValue* module = pop();
      if (name->kind != Kind::text || module->kind != Kind::text) refuse("a global whose name is no text");
      push_global(module->text, name->text);
      return true;
    }
    case 'q': remember(number<std::uint8_t>()); return true;  // BINPUT
    case 'r': remember(number<std::uint32_t>()); return true;  // LONG_BINPUT
    case 0x94: remember(memo_.size()); return true;  // MEMOIZE
    case 'h': recall(number<std::uint8_t>()); return true;  // BINGET
    case 'j': recall(number<std::uint32_t>()); return true;  // LONG_BINGET
    case 'Q': push_items(Kind::reference, pop_items(1)); return true;  // BINPERSID
    case 'R':  // REDUCE
    case 0x81: call(); return true;  // NEWOBJ
    case 'b': build(); return true;
  }
  std::ostringstream code;
  code << "0x" << std::hex << std::setfill('0') << std::setw(2) << int(op);
  fail(ErrorCode::input, where_, "unsupported pickle opcode ", code.str(), " at ", op_at_);
}

Pickle::Pickle(std::span<const std::byte> pickle, std::span<const std::string_view> globals, std::string_view where) {
  root_ = PickleMachine(*this, pickle, globals, where).run();
}

}  // namespace sinter
