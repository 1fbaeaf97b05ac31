// Numbers as the kernels hold them.
#pragma once
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <stdexcept>

namespace {

using Int = int64_t;

constexpr int kDone = 0, kNoMemory = 1;  // what a kernel returns

// Takes memory, and remembers a no: whatever is thrown out of a parallel region, or into Python, ends the process.
class Memory {
 public:
  template <class Take>
  void take(Take take) {
    try {
      take();
    } catch (const std::bad_alloc&) {
      short_ = true;
    } catch (const std::length_error&) {
      short_ = true;
    }
  }
  bool is_short() const { return short_; }
  int told() const { return short_ ? kNoMemory : kDone; }

 private:
  std::atomic<bool> short_{false};
};

struct Half {  // bfloat16: the upper half of a float
  uint16_t bits;
};

inline float wide(float x) { return x; }
inline float wide(Half x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float found;
  std::memcpy(&found, &bits, sizeof found);
  return found;
}

inline void put(float& into, float x) { into = x; }
inline void put(Half& into, float x) {  // to the nearest, ties to even; what is no number stays none
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  into.bits = static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}

inline float exponential(float x) {  // e^x to a ten-millionth of itself; in a form that compilers make vectors of
  const float given = x;
  x = std::min(std::max(x, -87.0f), 88.0f);
  const float n = std::floor(x * 1.44269504f + 0.5f);
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const int32_t power = (static_cast<int32_t>(n) + 127) << 23;
  float scale;
  std::memcpy(&scale, &power, sizeof scale);
  return given < -87.0f ? 0.0f : p * scale;  // below are no normal numbers, which are slow to compute with
}

}  // namespace
