// SHA-256 as FIPS 180-4 writes it: rotations, additions, a table of constants.
#include "workload.h"
#include <string.h>

static uint32_t constants[64], initial[8];

static uint32_t rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }

// The constants are fraction bits of roots of the first primes, found here by integer bisection.
static uint32_t root_fraction(uint64_t prime, int degree)
{
    unsigned __int128 target = (unsigned __int128)prime << (degree == 2 ? 64 : 96);
    uint64_t low = 0, high = (uint64_t)1 << 36;
    while (high - low > 1) {
        uint64_t middle = (low + high) / 2;
        unsigned __int128 power = (unsigned __int128)middle * middle;
        if (degree == 3)
            power *= middle;
        if (power <= target)
            low = middle;
        else
            high = middle;
    }
    return (uint32_t)low;
}

static void prepare(void)
{
    int count = 0;
    for (uint32_t n = 2; count < 64; n++) {
        int prime = 1;
        for (uint32_t d = 2; d * d <= n; d++)
            prime &= n % d != 0;
        if (!prime)
            continue;
        if (count < 8)
            initial[count] = root_fraction(n, 2);
        constants[count++] = root_fraction(n, 3);
    }
}

static void block(uint32_t hash[8], const uint8_t *data)
{
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)data[4 * i] << 24 | (uint32_t)data[4 * i + 1] << 16 | (uint32_t)data[4 * i + 2] << 8 | data[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + w[i - 7] + (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
    }
    memcpy(s, hash, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t a = s[0], e = s[4];
        uint32_t t1 = s[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & s[5]) ^ (~e & s[6])) + constants[i] + w[i];
        uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += t1;
        s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++)
        hash[i] += s[i];
}

uint64_t sha256(void)
{
    static uint8_t data[64 * 1024];
    uint64_t random = 88172645463325252u;
    uint32_t hash[8];
    prepare();
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)next_random(&random);
    memcpy(hash, initial, sizeof hash);
    for (int round = 0; round < 150; round++)
        for (size_t at = 0; at < sizeof data; at += 64)
            block(hash, data + at);
    return (uint64_t)hash[0] << 32 | hash[7];
}
