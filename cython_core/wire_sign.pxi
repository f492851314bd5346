# SPDX-License-Identifier: Apache-2.0
# HMAC-SHA256 and the digest of a signed request. OpenSSL's own is no faster, but every call of it through hashlib costs
# ten times what the hash costs; with an order's signature and digest that was a tenth of the whole order.
# Tests compare it with hashlib over all lengths, with and without the processor's SHA instructions.

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    static const uint32_t bidhall_sha_k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
    };

    static inline uint32_t bidhall_rotate(uint32_t x, int n) { return (x >> n) | (x << (32 - n)); }

    static inline uint32_t bidhall_load(const uint8_t *p) {
        return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
    }

    static void bidhall_sha_plain(uint32_t *state, const uint8_t *data, size_t blocks) {
        uint32_t w[64], a, b, c, d, e, f, g, h, t, u;
        int i;
        for (; blocks; blocks--, data += 64) {
            for (i = 0; i < 16; i++) w[i] = bidhall_load(data + 4 * i);
            for (i = 16; i < 64; i++) {
                t = bidhall_rotate(w[i - 15], 7) ^ bidhall_rotate(w[i - 15], 18) ^ (w[i - 15] >> 3);
                u = bidhall_rotate(w[i - 2], 17) ^ bidhall_rotate(w[i - 2], 19) ^ (w[i - 2] >> 10);
                w[i] = w[i - 16] + t + w[i - 7] + u;
            }
            a = state[0]; b = state[1]; c = state[2]; d = state[3];
            e = state[4]; f = state[5]; g = state[6]; h = state[7];
            for (i = 0; i < 64; i++) {
                t = h + (bidhall_rotate(e, 6) ^ bidhall_rotate(e, 11) ^ bidhall_rotate(e, 25)) + ((e & f) ^ (~e & g))
                    + bidhall_sha_k[i] + w[i];
                u = (bidhall_rotate(a, 2) ^ bidhall_rotate(a, 13) ^ bidhall_rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
                h = g; g = f; f = e; e = d + t; d = c; c = b; b = a; a = t + u;
            }
            state[0] += a; state[1] += b; state[2] += c; state[3] += d;
            state[4] += e; state[5] += f; state[6] += g; state[7] += h;
        }
    }

    #if defined(__x86_64__)
    #include <cpuid.h>
    #include <immintrin.h>

    __attribute__((target("sha,sse4.1,ssse3")))
    static void bidhall_sha_fast(uint32_t *state, const uint8_t *data, size_t blocks) {
        const __m128i order = _mm_set_epi64x(0x0c0d0e0f08090a0bULL, 0x0405060700010203ULL);
        __m128i low = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xB1);
        __m128i high = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1B);
        __m128i abef = _mm_alignr_epi8(low, high, 8), cdgh = _mm_blend_epi16(high, low, 0xF0);
        __m128i w[4], abef_before, cdgh_before, x;
        int i;
        for (; blocks; blocks--, data += 64) {
            abef_before = abef;
            cdgh_before = cdgh;
            for (i = 0; i < 16; i++) {
                if (i < 4) {
                    x = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data + 16 * i)), order);
                } else {
                    x = _mm_sha256msg1_epu32(w[i & 3], w[(i + 1) & 3]);
                    x = _mm_add_epi32(x, _mm_alignr_epi8(w[(i + 3) & 3], w[(i + 2) & 3], 4));
                    x = _mm_sha256msg2_epu32(x, w[(i + 3) & 3]);
                }
                w[i & 3] = x;
                x = _mm_add_epi32(x, _mm_loadu_si128((const __m128i *)(bidhall_sha_k + 4 * i)));
                cdgh = _mm_sha256rnds2_epu32(cdgh, abef, x);
                abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(x, 0x0E));
            }
            abef = _mm_add_epi32(abef, abef_before);
            cdgh = _mm_add_epi32(cdgh, cdgh_before);
        }
        low = _mm_shuffle_epi32(abef, 0x1B);
        high = _mm_shuffle_epi32(cdgh, 0xB1);
        _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(low, high, 0xF0));
        _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(high, low, 8));
    }

    static int bidhall_has_sha(void) {
        unsigned int a, b, c, d;
        if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSE4_1) || !(c & bit_SSSE3)) return 0;
        return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1);
    }
    #else
    #define bidhall_sha_fast bidhall_sha_plain
    static int bidhall_has_sha(void) { return 0; }
    #endif
    """
    void bidhall_sha_plain(uint32_t* state, const uint8_t* data, size_t blocks) noexcept nogil
    void bidhall_sha_fast(uint32_t* state, const uint8_t* data, size_t blocks) noexcept nogil
    int bidhall_has_sha() noexcept nogil

cdef bint HAS_SHA = bidhall_has_sha()
cdef uint32_t[8] SHA_START = [
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
]


cdef inline void sha_blocks(uint32_t* state, const uint8_t* data, size_t blocks) noexcept nogil:
    if HAS_SHA:
        bidhall_sha_fast(state, data, blocks)
    else:
        bidhall_sha_plain(state, data, blocks)


cdef void sha_end(uint32_t* state, const uint8_t* data, size_t size, size_t before, uint8_t* out) noexcept nogil:
    # The rest of a message of which `before` bytes (whole blocks) are in the state already.
    cdef uint8_t last[128]
    cdef size_t blocks = size // 64, rest = size - blocks * 64, length = 64 if rest < 56 else 128
    cdef uint64_t bits = <uint64_t>(before + size) * 8
    cdef size_t i
    sha_blocks(state, data, blocks)
    memset(last, 0, 128)
    memcpy(last, data + blocks * 64, rest)
    last[rest] = 0x80
    for i in range(8):
        last[length - 1 - i] = <uint8_t>(bits >> (8 * i))
    sha_blocks(state, last, length // 64)
    for i in range(32):
        out[i] = <uint8_t>(state[i // 4] >> (24 - 8 * (i % 4)))


cdef class Signer:
    """An HMAC-SHA256 secret with both of its pads hashed already."""
    cdef uint32_t inner[8]
    cdef uint32_t outer[8]

    def __init__(self, bytes secret):
        cdef uint8_t block[64]
        cdef uint8_t pad[64]
        cdef uint32_t state[8]
        cdef Py_ssize_t size = PyBytes_GET_SIZE(secret), i
        memset(block, 0, 64)
        if size <= 64:
            memcpy(block, PyBytes_AS_STRING(secret), size)
        else:
            memcpy(state, SHA_START, 32)
            sha_end(state, <const uint8_t*>PyBytes_AS_STRING(secret), size, 0, block)
        memcpy(self.inner, SHA_START, 32)
        memcpy(self.outer, SHA_START, 32)
        for i in range(64):
            pad[i] = block[i] ^ 0x36
        sha_blocks(self.inner, pad, 1)
        for i in range(64):
            pad[i] = block[i] ^ 0x5C
        sha_blocks(self.outer, pad, 1)

    cdef void mac(self, const uint8_t* data, size_t size, uint8_t* out) noexcept nogil:
        cdef uint32_t state[8]
        cdef uint8_t middle[32]
        memcpy(state, self.inner, 32)
        sha_end(state, data, size, 64, middle)
        memcpy(state, self.outer, 32)
        sha_end(state, middle, 32, 64, out)

    def sign(self, bytes payload):
        """The 32 bytes of the code."""
        cdef uint8_t out[32]
        self.mac(<const uint8_t*>PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), out)
        return PyBytes_FromStringAndSize(<const char*>out, 32)

    def verify(self, bytes payload, str signature):
        """Whether the signature (64 hex digits of either case) is this key's over these bytes; in constant time."""
        cdef uint8_t out[32]
        cdef bytes given
        if len(signature) != 64 or not signature.isascii():
            return False
        given = signature.encode("ascii")
        self.mac(<const uint8_t*>PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), out)
        return is_hex_of(<const uint8_t*>PyBytes_AS_STRING(given), out)


cdef inline int hex_value(uint8_t digit) noexcept nogil:
    if digit >= c'0' and digit <= c'9':
        return digit - c'0'
    digit |= 0x20
    if digit >= c'a' and digit <= c'f':
        return digit - c'a' + 10
    return 256


cdef bint is_hex_of(const uint8_t* digits, const uint8_t* code) noexcept nogil:
    # All 64 digits are looked at, whatever the first ones are.
    cdef int difference = 0, i
    for i in range(32):
        difference |= (hex_value(digits[2 * i]) << 4 | hex_value(digits[2 * i + 1])) ^ code[i]
    return difference == 0


cdef void make_digest(const uint8_t* code, const char* route, Py_ssize_t size, uint8_t* out) noexcept nogil:
    # 16 bytes of SHA-256 over the code and the route; a route longer than two blocks is cut (none is).
    cdef uint8_t data[128]
    cdef uint8_t whole[32]
    cdef uint32_t state[8]
    if size > 96:
        size = 96
    memcpy(data, code, 32)
    memcpy(data + 32, route, size)
    memcpy(state, SHA_START, 32)
    sha_end(state, data, 32 + size, 0, whole)
    memcpy(out, whole, 16)


def request_digest(bytes code, bytes route):
    """Names a request by its HMAC code (which only the key and the payload make) and its route, b"POST /path"."""
    cdef uint8_t out[16]
    if PyBytes_GET_SIZE(code) != 32:
        raise ValueError("a code has 32 bytes")
    make_digest(<const uint8_t*>PyBytes_AS_STRING(code), PyBytes_AS_STRING(route), PyBytes_GET_SIZE(route), out)
    return PyBytes_FromStringAndSize(<const char*>out, 16)


def sha256(bytes data, bint plain=False):
    """For the tests: the hash, by the processor's instructions if it has them or by the plain way."""
    global HAS_SHA
    cdef uint8_t out[32]
    cdef uint32_t state[8]
    cdef bint has = HAS_SHA
    memcpy(state, SHA_START, 32)
    HAS_SHA = has and not plain
    sha_end(state, <const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), 0, out)
    HAS_SHA = has
    return PyBytes_FromStringAndSize(<const char*>out, 32)
