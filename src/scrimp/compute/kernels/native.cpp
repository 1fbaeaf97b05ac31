// What is computed between products of matrices, for float and bfloat16; sums are float. Compiled once, where it runs,
// by native.py, which says what the arguments are. Rows are independent of each other and are shared out to threads.
#include "numbers.h"

namespace {

inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

template <class T>
void rotated(const T* x, const float* cosines, const float* sines, T* out, Int tokens, Int groups, Int group, Int width,
             float scale, int threads) {
  const Int half = width / 2, heads = groups * group;
#pragma omp parallel for num_threads(threads)
  for (Int t = 0; t < tokens; ++t) {
    const float *c = cosines + t * width, *s = sines + t * width;
    for (Int h = 0; h < heads; ++h) {
      const T* from = x + (t * heads + h) * width;
      T* to = out + (((h / group) * tokens + t) * group + h % group) * width;
      for (Int i = 0; i < half; ++i) {
        const float a = wide(from[i]), b = wide(from[i + half]);
        put(to[i], (a * c[i] - b * s[i]) * scale);
        put(to[i + half], (b * c[i + half] + a * s[i + half]) * scale);
      }
    }
  }
}

template <class T>
void rotated_back(const T* gradient, const float* cosines, const float* sines, T* out, Int tokens, Int groups,
                  Int group, Int width, float scale, int threads) {
  const Int half = width / 2, heads = groups * group;
#pragma omp parallel for num_threads(threads)
  for (Int t = 0; t < tokens; ++t) {
    const float *c = cosines + t * width, *s = sines + t * width;
    for (Int h = 0; h < heads; ++h) {
      const T* from = gradient + (((h / group) * tokens + t) * group + h % group) * width;
      T* to = out + (t * heads + h) * width;
      for (Int i = 0; i < half; ++i) {
        const float a = wide(from[i]) * scale, b = wide(from[i + half]) * scale;
        put(to[i], a * c[i] + b * s[i + half]);
        put(to[i + half], b * c[i + half] - a * s[i]);
      }
    }
  }
}

template <class T>
float inverse_rms(const T* x, Int width, float eps) {
  float squares = 0.0f;
  for (Int j = 0; j < width; ++j) squares += wide(x[j]) * wide(x[j]);
  return 1.0f / std::sqrt(squares / static_cast<float>(width) + eps);
}

template <class T>
void rms_norm(const T* x, const float* weight, T* out, Int rows, Int width, float eps, int threads) {
#pragma omp parallel for num_threads(threads)
  for (Int i = 0; i < rows; ++i) {
    const T* from = x + i * width;
    const float inverse = inverse_rms(from, width, eps);
    for (Int j = 0; j < width; ++j) put(out[i * width + j], wide(from[j]) * inverse * weight[j]);
  }
}

template <class T>
void rms_norm_backward(const T* gradient, const T* x, const float* weight, T* out, Int rows, Int width, float eps,
                       int threads) {
#pragma omp parallel for num_threads(threads)
  for (Int i = 0; i < rows; ++i) {
    const T *g = gradient + i * width, *from = x + i * width;
    const float inverse = inverse_rms(from, width, eps);
    float along = 0.0f;
    for (Int j = 0; j < width; ++j) along += wide(g[j]) * weight[j] * wide(from[j]);
    along *= inverse * inverse / static_cast<float>(width);
    for (Int j = 0; j < width; ++j)
      put(out[i * width + j], inverse * (wide(g[j]) * weight[j] - wide(from[j]) * along));
  }
}

template <class T>
void gated(const T* gate, const T* up, T* out, Int rows, Int width, int threads) {
#pragma omp parallel for num_threads(threads)
  for (Int i = 0; i < rows; ++i)
    for (Int j = i * width; j < (i + 1) * width; ++j) put(out[j], wide(gate[j]) * sigmoid(wide(gate[j])) * wide(up[j]));
}

template <class T>
void gated_backward(const T* gradient, const T* gate, const T* up, T* for_gate, T* for_up, Int rows, Int width,
                    int threads) {
#pragma omp parallel for num_threads(threads)
  for (Int i = 0; i < rows; ++i)
    for (Int j = i * width; j < (i + 1) * width; ++j) {
      const float g = wide(gate[j]), towards = wide(gradient[j]), share = sigmoid(g);
      put(for_gate[j], towards * wide(up[j]) * share * (1.0f + g * (1.0f - share)));
      put(for_up[j], towards * g * share);
    }
}

template <class T>
void cross_entropy(T* logits, const Int* targets, float* losses, Int rows, Int vocabulary, int threads) {
#pragma omp parallel for num_threads(threads)
  for (Int i = 0; i < rows; ++i) {
    T* row = logits + i * vocabulary;
    float most = -INFINITY, sum = 0.0f;
    for (Int j = 0; j < vocabulary; ++j) most = std::max(most, wide(row[j]));
    for (Int j = 0; j < vocabulary; ++j) sum += exponential(wide(row[j]) - most);
    const float normaliser = most + std::log(sum), target = wide(row[targets[i]]);
    losses[i] = normaliser - target;
    for (Int j = 0; j < vocabulary; ++j) put(row[j], exponential(wide(row[j]) - normaliser));
    put(row[targets[i]], exponential(target - normaliser) - 1.0f);
  }
}

}  // namespace

#define FOR(T, NAME)                                                                                                   \
  extern "C" int rotated_##NAME(const T* x, const float* c, const float* s, T* out, Int tokens, Int groups,            \
                                Int group, Int width, float scale, int threads) {                                      \
    rotated(x, c, s, out, tokens, groups, group, width, scale, threads);                                               \
    return kDone;                                                                                                      \
  }                                                                                                                    \
  extern "C" int rotated_back_##NAME(const T* g, const float* c, const float* s, T* out, Int tokens, Int groups,       \
                                     Int group, Int width, float scale, int threads) {                                 \
    rotated_back(g, c, s, out, tokens, groups, group, width, scale, threads);                                          \
    return kDone;                                                                                                      \
  }                                                                                                                    \
  extern "C" int rms_norm_##NAME(const T* x, const float* weight, T* out, Int rows, Int width, float eps,              \
                                 int threads) {                                                                        \
    rms_norm(x, weight, out, rows, width, eps, threads);                                                               \
    return kDone;                                                                                                      \
  }                                                                                                                    \
  extern "C" int rms_norm_backward_##NAME(const T* gradient, const T* x, const float* weight, T* out, Int rows,        \
                                          Int width, float eps, int threads) {                                         \
    rms_norm_backward(gradient, x, weight, out, rows, width, eps, threads);                                            \
    return kDone;                                                                                                      \
  }                                                                                                                    \
  extern "C" int gated_##NAME(const T* gate, const T* up, T* out, Int rows, Int width, int threads) {                  \
    gated(gate, up, out, rows, width, threads);                                                                        \
    return kDone;                                                                                                      \
  }                                                                                                                    \
  extern "C" int gated_backward_##NAME(const T* gradient, const T* gate, const T* up, T* for_gate, T* for_up,          \
                                       Int rows, Int width, int threads) {                                             \
    gated_backward(gradient, gate, up, for_gate, for_up, rows, width, threads);                                        \
    return kDone;                                                                                                      \
  }                                                                                                                    \
  extern "C" int cross_entropy_##NAME(T* logits, const Int* targets, float* losses, Int rows, Int vocabulary,          \
                                      int threads) {                                                                   \
    cross_entropy(logits, targets, losses, rows, vocabulary, threads);                                                 \
    return kDone;                                                                                                      \
  }

FOR(float, f32)
FOR(Half, bf16)
