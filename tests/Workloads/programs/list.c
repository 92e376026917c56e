// Linked lists in scattered nodes: each load waits for the one before. Merge sort by pointers only.
#include "workload.h"
#include <stdlib.h>

enum { COUNT = 200000 };
struct node { struct node *next; uint64_t value; };

static struct node *merge(struct node *a, struct node *b)
{
    struct node head, *tail = &head;
    while (a && b) {
        struct node **least = a->value <= b->value ? &a : &b;
        tail->next = *least;
        tail = *least;
        *least = tail->next;
    }
    tail->next = a ? a : b;
    return head.next;
}

static struct node *sort(struct node *first, size_t count)
{
    struct node *second = first, *last = NULL;
    if (count < 2)
        return first;
    for (size_t i = 0; i < count / 2; i++) {
        last = second;
        second = second->next;
    }
    last->next = NULL;
    return merge(sort(first, count / 2), sort(second, count - count / 2));
}

uint64_t list(void)
{
    static struct node nodes[COUNT];
    static uint32_t order[COUNT];
    uint64_t random = 521288629, sum = 0;
    for (uint32_t i = 0; i < COUNT; i++)
        order[i] = i;
    for (uint32_t i = COUNT - 1; i > 0; i--) {
        uint32_t j = (uint32_t)(next_random(&random) % (i + 1)), keep = order[i];
        order[i] = order[j];
        order[j] = keep;
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        nodes[order[i]].next = i + 1 < COUNT ? &nodes[order[i + 1]] : NULL;
        nodes[order[i]].value = next_random(&random) >> 20;
    }
    struct node *first = &nodes[order[0]];
    for (int round = 0; round < 6; round++)
        for (struct node *node = first; node; node = node->next)
            sum += node->value ^ (uint64_t)round;
    for (struct node *node = sort(first, COUNT); node; node = node->next)
        sum = sum * 3 + node->value;
    return sum;
}
