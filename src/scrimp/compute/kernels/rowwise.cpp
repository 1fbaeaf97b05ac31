// Gradients row by row, for float and bfloat16: sums over each row's tokens of outer products, and shadows of long
// vectors. Sums are float. Compiled once, where it runs, by native.py, which says what the arguments are.
#include <vector>

#include "numbers.h"

namespace {

constexpr Int kLanes = 16, kColumns = 2 * kLanes;
#if defined(__AVX512F__)
constexpr int kLines = 8;  // so many lines of two vectors are summed in registers
#else
constexpr int kLines = 2;
#endif
typedef float Lanes __attribute__((vector_size(64)));
typedef uint32_t Bits __attribute__((vector_size(64)));
typedef uint16_t Halves __attribute__((vector_size(32)));

inline Lanes load(const float* from) {
  Lanes found;
  std::memcpy(&found, from, sizeof found);
  return found;
}
inline Lanes load(const Half* from) {
  Halves halves;
  std::memcpy(&halves, from, sizeof halves);
  return (Lanes)(__builtin_convertvector(halves, Bits) << 16);
}

// found [kLines][kColumns]: the sum over tokens of what `kLines` numbers and `kColumns` numbers of each token make.
template <class T>
inline void sums(const float* lines, Int lines_stride, const T* columns, Int columns_stride, Int tokens, float* found) {
  Lanes sum[kLines][2] = {};
  for (Int t = 0; t < tokens; ++t) {
    __builtin_prefetch(columns + t * columns_stride + kColumns);  // of the next columns: a page further at each token
    const Lanes first = load(columns + t * columns_stride), second = load(columns + t * columns_stride + kLanes);
#pragma GCC unroll 8
    for (int m = 0; m < kLines; ++m) {
      const float by = lines[t * lines_stride + m];
      sum[m][0] += by * first;
      sum[m][1] += by * second;
    }
  }
  std::memcpy(found, sum, sizeof sum);
}

// The product [lines, columns] of one row's tokens, written with a stride from line to line and column to column.
template <class T>
void row_sums(const T* lines, Int line_count, const T* columns, Int column_count, Int tokens, float* out, Int by_line,
              Int by_column) {
  const Int padded = (line_count + kLines - 1) / kLines * kLines;
  std::vector<float> wide_lines(tokens * padded);
  for (Int t = 0; t < tokens; ++t)
    for (Int m = 0; m < line_count; ++m) wide_lines[t * padded + m] = wide(lines[t * line_count + m]);
  std::vector<T> rest;
  float found[kLines * kColumns];
  for (Int from = 0; from < column_count; from += kColumns) {
    const Int here = std::min(kColumns, column_count - from);
    const T* panel = columns + from;
    Int stride = column_count;
    if (here < kColumns) {  // the last columns, filled up with zeros
      rest.assign(tokens * kColumns, T{});
      for (Int t = 0; t < tokens; ++t) std::copy_n(panel + t * stride, here, &rest[t * kColumns]);
      panel = rest.data(), stride = kColumns;
    }
    for (Int line = 0; line < line_count; line += kLines) {
      sums(&wide_lines[line], padded, panel, stride, tokens, found);
      for (Int m = 0; m < std::min<Int>(kLines, line_count - line); ++m)
        for (Int n = 0; n < here; ++n) out[(line + m) * by_line + (from + n) * by_column] = found[m * kColumns + n];
    }
  }
}

template <class T>
int outer_sums(const T* left, const T* right, const Int* starts, float* out, Int rows, Int lefts, Int rights,
               int threads) {
  Memory memory;
#pragma omp parallel for num_threads(threads)
  for (Int i = 0; i < rows; ++i) {
    const T *a = left + starts[i] * lefts, *b = right + starts[i] * rights;
    const Int tokens = starts[i + 1] - starts[i];
    float* to = out + i * lefts * rights;
    memory.take([&] {
      if (lefts <= rights) row_sums(a, lefts, b, rights, tokens, to, rights, Int{1});
      else row_sums(b, rights, a, lefts, tokens, to, Int{1}, rights);
    });
  }
  return memory.told();
}

}  // namespace

extern "C" int outer_sums_f32(const float* left, const float* right, const Int* starts, float* out, Int rows,
                              Int lefts, Int rights, int threads) {
  return outer_sums(left, right, starts, out, rows, lefts, rights, threads);
}

extern "C" int outer_sums_bf16(const Half* left, const Half* right, const Int* starts, float* out, Int rows,
                               Int lefts, Int rights, int threads) {
  return outer_sums(left, right, starts, out, rows, lefts, rights, threads);
}

extern "C" int folded_f32(const float* parts, const float* signs, const Int* places, float* into, float* squares,
                          Int rows, Int count, Int width, int threads) {
#pragma omp parallel for num_threads(threads)
  for (Int i = 0; i < rows; ++i) {
    const float* part = parts + i * count;
    float* shadow = into + i * width;
    float sum = 0.0f;
    for (Int start = 0; start < count; start += width) {
      const Int end = std::min(start + width, count), place = places[start / width];
      const Int turn = std::min(end, start + width - place);  // from here on the shadow is filled from its beginning
      for (Int j = start; j < turn; ++j) shadow[place + j - start] += signs[j] * part[j];
      for (Int j = turn; j < end; ++j) shadow[j - turn] += signs[j] * part[j];
    }
    for (Int j = 0; j < count; ++j) sum += part[j] * part[j];
    squares[i] = sum;
  }
  return kDone;
}
