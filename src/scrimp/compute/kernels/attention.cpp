// Attention of tokens in a forest, forward and backward; compiled and described by native.py.
//
// Scores are computed transposed, keys by queries: then keys and values are left operands as they lie in memory, the
// maximum and the sum of a query run along vectors, and nothing but a block's queries has to be laid out anew.
// Probabilities are not kept: the backward pass makes them again from the logarithm of their sum.
#include <type_traits>
#include <vector>
#if defined(_OPENMP)
#include <omp.h>
#endif

#include "numbers.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace {

constexpr Int kLanes = 16;
#if defined(__AVX512F__)
constexpr int kTileRows = 8;
#else
constexpr int kTileRows = 2;
#endif
typedef float Lanes __attribute__((vector_size(64)));

// How an operand of a product is held: `kDepth` numbers, which are multiplied and summed in one go, lie together.
template <class T>
struct Held {
  using Cell = float;
  static constexpr Int kDepth = 1;
};
inline Lanes load(const float* from) {
  Lanes found;
  std::memcpy(&found, from, sizeof found);
  return found;
}
inline void add_product(Lanes& sum, const float* left, Lanes right) { sum += *left * right; }

#if defined(__AVX512BF16__)
template <>
struct Held<Half> {
  using Cell = Half;
  static constexpr Int kDepth = 2;
};
inline __m512bh load(const Half* from) { return (__m512bh)_mm512_loadu_si512(from); }
inline void add_product(Lanes& sum, const Half* left, __m512bh right) {
  int pair;
  std::memcpy(&pair, left, sizeof pair);
  sum = (Lanes)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(pair), right);
}
#endif

// The right operand of a product: its columns in panels of 16, a step of `kDepth` rows of a panel after another.
template <class Cell>
struct Right {
  const Cell* from;
  Int panel, step, steps;
};

template <int M, int N, class Cell>
inline void tile(const Cell* left, Int stride, Right<Cell> right, float* out, Int width, bool add) {
  constexpr Int depth = std::is_same_v<Cell, float> ? 1 : 2;
  Lanes sum[M][N];
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) sum[m][n] = add ? load(out + m * width + n * kLanes) : Lanes{};
  for (Int s = 0; s < right.steps; ++s) {
    decltype(load(right.from)) of[N];
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) of[n] = load(right.from + n * right.panel + s * right.step);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) add_product(sum[m][n], left + m * stride + s * depth, of[n]);
  }
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) std::memcpy(out + m * width + n * kLanes, &sum[m][n], sizeof(Lanes));
}

template <int N, class Cell>
void strip(const Cell* left, Int stride, Int rows, Right<Cell> right, float* out, Int width, bool add) {
  Int m = 0;
  for (; m + kTileRows <= rows; m += kTileRows)
    tile<kTileRows, N>(left + m * stride, stride, right, out + m * width, width, add);
  for (; m < rows; ++m) tile<1, N>(left + m * stride, stride, right, out + m * width, width, add);
}

// out [rows, 16 panels] = left [rows, .] times right, added to what is there if `add`.
template <class Cell>
void product(const Cell* left, Int stride, Int rows, Right<Cell> right, Int panels, float* out, Int width, bool add) {
  Int n = 0;
  for (; n + 2 <= panels; n += 2) {
    strip<2>(left, stride, rows, right, out + n * kLanes, width, add);
    right.from += 2 * right.panel;
  }
  if (n < panels) strip<1>(left, stride, rows, right, out + n * kLanes, width, add);
}

// The forest as the queries see it: blocks of queries [start, end), each with ranges of keys that its last query sees;
// the last of them ends with the block's own tokens.
struct Forest {
  const Int *blocks, *first_range, *ranges;
  Int count, most_queries, most_keys;
};

struct Shape {
  Int tokens, heads, group, width;
};

inline Int up_to(Int multiple, Int n) { return (n + multiple - 1) / multiple * multiple; }

// Memory for one block of one head; nothing more is taken while it is computed.
template <class T>
struct Room {
  using Cell = typename Held<T>::Cell;
  static constexpr Int kDepth = Held<T>::kDepth;
  Int lines, keys;
  std::vector<Cell> queries, told, query_lines, told_lines, likely, score, pairs;
  std::vector<float> scores, towards, most, sum, turned;
  std::vector<Cell> held_keys, held_values;  // of one head, where they are held otherwise than they lie in memory
  std::vector<T> nothing;

  void make(const Forest& forest, const Shape& shape, bool backward) {
    lines = up_to(kLanes, forest.most_queries * shape.group);
    keys = forest.most_keys;
    const Int square = lines * keys, narrow = lines * shape.width;
    queries.resize(narrow), scores.resize(square), likely.resize(square), pairs.resize(square), turned.resize(narrow);
    most.resize(lines), sum.resize(lines);
    if (!std::is_same_v<Cell, T>) held_keys.resize(shape.tokens * shape.width);
    if (backward) {
      if (!std::is_same_v<Cell, T>) held_values.resize(shape.tokens * shape.width);
      nothing.resize(shape.width);
      told.resize(narrow), query_lines.resize(narrow), told_lines.resize(narrow);
      score.resize(square), towards.resize(square);
    }
  }
};

template <class Cell, class T>
inline Cell cell(T x) {
  if constexpr (std::is_same_v<Cell, T>) return x;
  else return wide(x);
}

// Queries as the right operand that is multiplied along a head's width: [panel][width / depth][16][depth].
template <class T, class Cell = typename Held<T>::Cell>
void lay_across(const T* from, Int stride, Int group, Int group_stride, Int lines, Int padded, Int width, Cell* into) {
  constexpr Int depth = Held<T>::kDepth;
  for (Int r = 0; r < padded; ++r) {
    const T* line = from + r / group * stride + r % group * group_stride;
    Cell* to = into + r / kLanes * kLanes * width + r % kLanes * depth;
    for (Int d = 0; d < width; d += depth)
      for (Int z = 0; z < depth; ++z) to[d * kLanes + z] = r < lines ? cell<Cell>(line[d + z]) : Cell{};
  }
}

// Queries as the right operand that is multiplied along the queries: [lines / depth][width][depth].
template <class T, class Cell = typename Held<T>::Cell>
void lay_along(const T* from, Int stride, Int group, Int group_stride, Int lines, Int padded, Int width,
               const std::vector<T>& nothing, Cell* into) {
  constexpr Int depth = Held<T>::kDepth;
  const auto line = [&](Int r) {
    return r < lines ? from + r / group * stride + r % group * group_stride : nothing.data();
  };
  for (Int r = 0; r < padded; r += depth) {
    const T *first = line(r), *last = line(r + depth - 1);
    Cell* to = into + r * width;
#pragma omp simd
    for (Int d = 0; d < width; ++d) {
      to[d * depth] = cell<Cell>(first[d]);
      to[d * depth + depth - 1] = cell<Cell>(last[d]);
    }
  }
}

// One head's rows [tokens, width] as cells, and those turned, [width, tokens + 1].
template <class T, class Cell = typename Held<T>::Cell>
const Cell* as_cells(const T* from, Int count, std::vector<Cell>& into) {
  if constexpr (std::is_same_v<Cell, T>) return from;
  else {
    for (Int i = 0; i < count; ++i) into[i] = wide(from[i]);
    return into.data();
  }
}
template <class T, class Cell>
void turn(const T* from, Int tokens, Int width, Cell* into) {
  for (Int first = 0; first < tokens; first += 64)
    for (Int d = 0; d < width; ++d)
      for (Int t = first; t < std::min(first + 64, tokens); ++t)
        into[d * (tokens + 1) + t] = cell<Cell>(from[t * width + d]);
}

// Scores [keys, lines] of a block, keys that are not seen at minus infinity; returns the keys, padded to the depth.
template <class T, class Cell>
Int score(const Forest& forest, const Shape& shape, Int block, const Cell* keys, Int padded, Room<T>& room) {
  constexpr Int depth = Held<T>::kDepth;
  const Int length = forest.blocks[2 * block + 1] - forest.blocks[2 * block];
  const Right<Cell> right{room.queries.data(), kLanes * shape.width, kLanes * depth, shape.width / depth};
  Int at = 0;
  for (Int i = forest.first_range[block]; i < forest.first_range[block + 1]; ++i) {
    const Int start = forest.ranges[2 * i], count = forest.ranges[2 * i + 1] - start;
    float* scores = room.scores.data() + at * padded;
    product(keys + start * shape.width, shape.width, count, right, padded / kLanes, scores, padded, false);
    if (i + 1 == forest.first_range[block + 1])
      for (Int j = 1; j < length; ++j)
        std::fill_n(scores + (count - length + j) * padded, j * shape.group, -INFINITY);
    std::fill(scores + count * padded, scores + up_to(depth, count) * padded, -INFINITY);
    at += up_to(depth, count);
  }
  return at;
}

// Rows [keys, lines] as the right operand that is multiplied along the keys: [keys / depth][lines][depth].
inline const float* lay_pairs(const float* from, Int, Int, std::vector<float>&) { return from; }
inline const Half* lay_pairs(const Half* from, Int keys, Int lines, std::vector<Half>& into) {
  for (Int key = 0; key < keys; key += 2) {
    const Half* row = from + key * lines;
    Half* to = &into[key * lines];
#pragma omp simd
    for (Int r = 0; r < lines; ++r) {
      const uint32_t pair = row[r].bits | static_cast<uint32_t>(row[lines + r].bits) << 16;
      std::memcpy(to + 2 * r, &pair, sizeof pair);
    }
  }
  return into.data();
}

// turned [width, lines] = what was turned of one head [width, tokens + 1], its keys in sight, times rows [keys, lines].
template <class T, class Cell>
void gather(const Forest& forest, const Shape& shape, Int block, const Cell* across, const std::vector<Cell>& rows,
            Int keys, Int padded, Room<T>& room) {
  constexpr Int depth = Held<T>::kDepth;
  const Cell* pairs = lay_pairs(rows.data(), keys, padded, room.pairs);
  Int at = 0;
  for (Int i = forest.first_range[block]; i < forest.first_range[block + 1]; ++i) {
    const Int start = forest.ranges[2 * i], count = up_to(depth, forest.ranges[2 * i + 1] - start);
    const Right<Cell> right{pairs + at * padded, kLanes * depth, padded * depth, count / depth};
    product(across + start, shape.tokens + 1, shape.width, right, padded / kLanes, room.turned.data(), padded, at > 0);
    at += count;
  }
}

template <class T>
int attention(const T* q, const T* k, const T* v, T* out, float* normaliser, Forest forest, Shape shape, int threads) {
  using Cell = typename Held<T>::Cell;
  const auto [tokens, heads, group, width] = shape;
  std::vector<Cell> across;
  Memory memory;
  memory.take([&] { across.resize(shape.heads * shape.width * (shape.tokens + 1)); });
#pragma omp parallel num_threads(threads)
  {
    Room<T> room;
    memory.take([&] { room.make(forest, shape, false); });
#pragma omp barrier
    const Int heads_now = memory.is_short() ? 0 : heads;  // the same for all threads
#pragma omp for
    for (Int h = 0; h < heads_now; ++h) turn(v + h * tokens * width, tokens, width, &across[h * width * (tokens + 1)]);
#pragma omp for schedule(static)
    for (Int unit = 0; unit < heads_now * forest.count; ++unit) {
      const Int h = unit / forest.count, block = unit % forest.count, start = forest.blocks[2 * block];
      const Int lines = (forest.blocks[2 * block + 1] - start) * group, padded = up_to(kLanes, lines);
      const Int first = (h * tokens + start) * group;
      lay_across(q + first * width, width, 1, 0, lines, padded, width, room.queries.data());
      const Cell* keys_of = as_cells(k + h * tokens * width, tokens * width, room.held_keys);
      const Int keys = score(forest, shape, block, keys_of, padded, room);
      float *most = room.most.data(), *sum = room.sum.data(), *scores = room.scores.data();
      Cell* likely_of = room.likely.data();
      std::fill_n(most, padded, -INFINITY), std::fill_n(sum, padded, 0.0f);
      for (Int key = 0; key < keys; ++key)
        for (Int r = 0; r < padded; ++r) most[r] = std::max(most[r], scores[key * padded + r]);
      for (Int key = 0; key < keys; ++key)
#pragma omp simd
        for (Int r = 0; r < padded; ++r) {
          const float likely = exponential(scores[key * padded + r] - most[r]);
          sum[r] += likely;
          put(likely_of[key * padded + r], likely);
        }
      gather(forest, shape, block, &across[h * width * (tokens + 1)], room.likely, keys, padded, room);
      for (Int r = 0; r < lines; ++r) {
        const float inverse = 1.0f / sum[r];
        T* to = out + ((start + r / group) * heads + h) * group * width + r % group * width;
        for (Int d = 0; d < width; ++d) put(to[d], room.turned[d * padded + r] * inverse);
        normaliser[first + r] = most[r] + std::log(sum[r]);
      }
    }
  }
  return memory.told();
}

template <class T>
int attention_backward(const T* told, const T* q, const T* k, const T* v, const T* read, const float* normaliser,
                       T* dq, T* dk, T* dv, Forest forest, Shape shape, int threads) {
  using Cell = typename Held<T>::Cell;
  constexpr Int depth = Held<T>::kDepth;
  const auto [tokens, heads, group, width] = shape;
  const Int every = heads * tokens * width, turned = width * (tokens + 1);
  std::vector<Cell> across;
  std::vector<float> sums;  // each thread's own, towards keys and towards values
  Memory memory;
  memory.take([&] { across.resize(shape.heads * turned), sums.resize(2 * every * threads); });
#pragma omp parallel num_threads(threads)
  {
    Room<T> room;
    memory.take([&] { room.make(forest, shape, true); });
#pragma omp barrier
    const Int heads_now = memory.is_short() ? 0 : heads;  // the same for all threads
#if defined(_OPENMP)
    float* mine = sums.data() + 2 * every * omp_get_thread_num();
#else
    float* mine = sums.data();
#endif
#pragma omp for
    for (Int h = 0; h < heads_now; ++h) turn(k + h * tokens * width, tokens, width, &across[h * turned]);
#pragma omp for schedule(static)
    for (Int unit = 0; unit < heads_now * forest.count; ++unit) {
      const Int h = unit / forest.count, block = unit % forest.count, start = forest.blocks[2 * block];
      const Int lines = (forest.blocks[2 * block + 1] - start) * group, padded = up_to(kLanes, lines);
      const Int first = (h * tokens + start) * group, row = heads * group * width;
      const T *asked = q + first * width, *given = told + start * row + h * group * width;
      const T* had = read + start * row + h * group * width;
      lay_across(asked, width, 1, 0, lines, padded, width, room.queries.data());
      lay_across(given, row, group, width, lines, padded, width, room.told.data());
      lay_along(asked, width, 1, 0, lines, padded, width, room.nothing, room.query_lines.data());
      lay_along(given, row, group, width, lines, padded, width, room.nothing, room.told_lines.data());
      const Cell* keys_of = as_cells(k + h * tokens * width, tokens * width, room.held_keys);
      const Cell* values = as_cells(v + h * tokens * width, tokens * width, room.held_values);
      const Int keys = score(forest, shape, block, keys_of, padded, room);
      float *sum = room.sum.data(), *along = room.most.data(), *scores = room.scores.data();
      float* towards = room.towards.data();
      Cell *likely_of = room.likely.data(), *score_of = room.score.data();
      for (Int r = 0; r < padded; ++r) {
        const Int at = r / group * row + r % group * width;
        float total = 0.0f;
        for (Int d = 0; d < (r < lines ? width : 0); ++d) total += wide(given[at + d]) * wide(had[at + d]);
        along[r] = total;
        sum[r] = r < lines ? normaliser[first + r] : INFINITY;
      }
      const Right<Cell> told_across{room.told.data(), kLanes * width, kLanes * depth, width / depth};
      const Right<Cell> told_along{room.told_lines.data(), kLanes * depth, width * depth, padded / depth};
      const Right<Cell> asked_along{room.query_lines.data(), kLanes * depth, width * depth, padded / depth};
      const Int from = forest.first_range[block], to = forest.first_range[block + 1];
      for (Int i = from, at = 0; i < to; at += up_to(depth, forest.ranges[2 * i + 1] - forest.ranges[2 * i]), ++i) {
        const Int begin = forest.ranges[2 * i], count = forest.ranges[2 * i + 1] - begin;
        float* into = towards + at * padded;
        product(values + begin * width, width, count, told_across, padded / kLanes, into, padded, false);
        std::fill(towards + (at + count) * padded, towards + (at + up_to(depth, count)) * padded, 0.0f);
      }
      for (Int key = 0; key < keys; ++key)
#pragma omp simd
        for (Int r = 0; r < padded; ++r) {
          const Int i = key * padded + r;
          const float likely = exponential(scores[i] - sum[r]);
          put(likely_of[i], likely);
          put(score_of[i], likely * (towards[i] - along[r]));
        }
      for (Int i = from, at = 0; i < to; at += up_to(depth, forest.ranges[2 * i + 1] - forest.ranges[2 * i]), ++i) {
        const Int begin = forest.ranges[2 * i], count = forest.ranges[2 * i + 1] - begin;
        float* into = mine + (h * tokens + begin) * width;
        product(room.score.data() + at * padded, padded, count, asked_along, width / kLanes, into, width, true);
        product(room.likely.data() + at * padded, padded, count, told_along, width / kLanes, into + every, width, true);
      }
      gather(forest, shape, block, &across[h * turned], room.score, keys, padded, room);
      for (Int r = 0; r < lines; ++r)
        for (Int d = 0; d < width; ++d) put(dq[(first + r) * width + d], room.turned[d * padded + r]);
    }
#pragma omp for
    for (Int h = 0; h < 2 * heads_now; ++h) {
      const Int count = tokens * width;
      float* whole = &sums[h * count];
      T* into = h < heads ? dk + h * count : dv + (h - heads) * count;
      for (int thread = 1; thread < threads; ++thread)
#pragma omp simd
        for (Int i = 0; i < count; ++i) whole[i] += whole[2 * every * thread + i];
#pragma omp simd
      for (Int i = 0; i < count; ++i) put(into[i], whole[i]);
    }
  }
  return memory.told();
}

}  // namespace

#define FOR(T, NAME)                                                                                                   \
  extern "C" int attention_##NAME(const T* q, const T* k, const T* v, T* out, float* normaliser, const Int* blocks,    \
                                  const Int* first_range, const Int* ranges, Int count, Int most_queries,              \
                                  Int most_keys, Int tokens, Int heads, Int group, Int width, int threads) {           \
    return attention(q, k, v, out, normaliser, {blocks, first_range, ranges, count, most_queries, most_keys},          \
                     {tokens, heads, group, width}, threads);                                                          \
  }                                                                                                                    \
  extern "C" int attention_backward_##NAME(const T* told, const T* q, const T* k, const T* v, const T* read,           \
                                           const float* normaliser, T* dq, T* dk, T* dv, const Int* blocks,            \
                                           const Int* first_range, const Int* ranges, Int count, Int most_queries,     \
                                           Int most_keys, Int tokens, Int heads, Int group, Int width,                 \
                                           int threads) {                                                              \
    return attention_backward(told, q, k, v, read, normaliser, dq, dk, dv,                                             \
                              {blocks, first_range, ranges, count, most_queries, most_keys},                           \
                              {tokens, heads, group, width}, threads);                                                 \
  }

FOR(float, f32)
FOR(Half, bf16)
