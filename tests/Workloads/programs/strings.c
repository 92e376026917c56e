// Plain C loops over strings, and the C library's own: lengths, copies, comparisons, searches, numbers in text.
#include "workload.h"
#include <stdio.h>
#include <string.h>

static size_t length(const char *text)
{
    const char *end = text;
    while (*end)
        end++;
    return (size_t)(end - text);
}

static void copy(char *to, const char *from)
{
    while ((*to++ = *from++))
        ;
}

uint64_t strings(void)
{
    static char words[4096][64], buffer[256], text[16 * 1024];
    uint64_t random = 123456789, sum = 0;
    size_t used = 0;
    for (int i = 0; i < 4096; i++) {
        int n = 3 + (int)(next_random(&random) % 50);
        for (int j = 0; j < n; j++)
            words[i][j] = (char)('a' + next_random(&random) % 26);
    }
    for (int round = 0; round < 180; round++) {
        for (int i = 0; i < 4096; i++) {
            copy(buffer, words[i]);
            sum += length(buffer);
            if (strcmp(buffer, words[(i + 1) & 4095]) < 0)
                sum += 3;
            if (strchr(buffer, 'q'))
                sum += 5;
            if (used + 64 >= sizeof text)
                used = 0;
            strcpy(text + used, buffer);
            used += strlen(buffer);
        }
        for (int i = 0; i < 2000; i++) {
            unsigned back = 0;
            snprintf(buffer, sizeof buffer, "%d:%s:%x", i, "number", i * 7919);
            sscanf(buffer, "%u", &back);
            sum += back + strlen(buffer);
        }
        sum += strstr(text, "zzz") ? 7 : 11;
    }
    return sum;
}
