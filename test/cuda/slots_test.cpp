#include <cctype>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "core/basic_kernels.h"
#include "cuda/install.h"
#include "ops/rms_norm.h"
#include "ops/softmax.h"
#include "test/check.h"
#include "test/cuda/device.h"

using namespace sinter;
using namespace sinter::test;

namespace {

// A program carried to a machine with a GPU runs in a copy of the repository.
const std::filesystem::path kRoot = std::filesystem::exists(SINTER_SOURCE_DIR) ? SINTER_SOURCE_DIR : ".";

std::string text_of(const std::filesystem::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

// The names in "extern KernelSlot<...> a, b;" in the headers of a folder.
std::vector<std::string> declared_slots(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kRoot / folder)) {
    if (entry.path().extension() != ".h") continue;
    const std::string text = text_of(entry.path()), mark = "extern KernelSlot<";
    for (std::size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1)) {
      const std::string declaration = text.substr(at, text.find(';', at) - at);
      std::string name;
      for (const char c : declaration.substr(declaration.rfind('>') + 1) + ',') {
        if (std::isalnum(static_cast<unsigned char>(c)) || c == '_') name += c;
        else if (!name.empty()) names.push_back(std::exchange(name, ""));
      }
    }
  }
  return names;
}

// The part of docs/cuda.md under a heading.
std::string section(const std::string& heading) {
  const std::string text = text_of(kRoot / "docs/cuda.md"), mark = "\n## " + heading + "\n";
  const std::size_t begin = text.find(mark);
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find("\n## ", begin + mark.size()) - begin);
}

bool names(const std::string& text, const std::string& slot) {
  return text.find('`' + slot + '`') != std::string::npos;
}

}  // namespace

TEST_CASE("docs/cuda.md lists every slot, under what is compiled or under what has no CUDA kernel") {
  const std::string installer = text_of(kRoot / "cuda/install.cpp");
  const std::string compiled = section("Kernels"), missing = section("Without a CUDA kernel");
  std::vector<std::string> slots = declared_slots("core");
  const std::vector<std::string> of_ops = declared_slots("ops");
  slots.insert(slots.end(), of_ops.begin(), of_ops.end());
  CHECK(slots.size() >= 36);  // as many as there were when this was written
  for (const std::string& slot : slots) {
    CAPTURE(slot);
    const bool installed = installer.find(slot + ".install(") != std::string::npos;
    CHECK(names(compiled, slot) == installed);
    CHECK(names(missing, slot) == !installed);
  }
}

TEST_CASE("Installing fills the slots that have a kernel and no other") {
  cuda::install_kernels();
  CHECK(copy_bytes.has(DeviceKind::cuda));
  CHECK(rms_norm_backward_kernel.has(DeviceKind::cuda));
  CHECK_FALSE(softmax_kernel.has(DeviceKind::cuda));
}

TEST_CASE("Without a device the back end says so in one line" * doctest::skip(has_device())) {
  MESSAGE("skipped: no CUDA device, so that no kernel is compared with the CPU");
  CHECK_THROWS_TEXT(device, "cuda: this machine has no ", require_backend(DeviceKind::cuda));
  CHECK_THROWS_CODE(device, Tensor::empty({1}, DType::f32, kCuda));
}
