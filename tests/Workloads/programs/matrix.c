// Matrix products in double precision: vector arithmetic.
#include "workload.h"
#include <string.h>

enum { N = 256 };
static double a[N][N], b[N][N], c[N][N];

uint64_t matrix(void)
{
    uint64_t random = 314159265, bits;
    double sum = 0;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = (double)(next_random(&random) % 1000) / 500 - 1;
            b[i][j] = (double)(next_random(&random) % 1000) / 500 - 1;
        }
    for (int round = 0; round < 10; round++) {
        memset(c, 0, sizeof c);
        for (int i = 0; i < N; i++)
            for (int k = 0; k < N; k++)
                for (int j = 0; j < N; j++)
                    c[i][j] += a[i][k] * b[k][j];
        for (int i = 0; i < N; i++)
            a[i][(i + round) % N] = c[i][i] / N;
    }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            sum += c[i][j] * (i - j);
    memcpy(&bits, &sum, sizeof bits);
    return bits;
}
