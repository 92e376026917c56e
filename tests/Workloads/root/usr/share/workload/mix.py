# What scripts do: dictionaries, lists, strings, classes, sorting, regular expressions, JSON.
import json
import re


class Account:
    def __init__(self, name, balance):
        self.name = name
        self.balance = balance

    def move(self, amount):
        self.balance += amount
        return self.balance


def sieve(limit):
    flags = [True] * limit
    for i in range(2, int(limit**0.5) + 1):
        if flags[i]:
            flags[i * i :: i] = [False] * len(range(i * i, limit, i))
    return sum(i for i in range(2, limit) if flags[i])


def words():
    text = " ".join(f"word{i * 7919 % 1000} is {i}" for i in range(8000))
    counts = {}
    for word in re.findall(r"[a-z]+[0-9]*", text):
        counts[word] = counts.get(word, 0) + 1
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:10]


def accounts():
    everyone = [Account(f"a{i}", i) for i in range(500)]
    for round in range(60):
        for i, account in enumerate(everyone):
            account.move((i * round) % 17 - 8)
    return sum(account.balance for account in everyone)


def encode():
    data = {f"k{i}": [i, i / 3, str(i), {"nested": i % 2 == 0}] for i in range(2000)}
    return len(json.dumps(json.loads(json.dumps(data)), sort_keys=True))


print(sieve(100000), words(), accounts(), encode())
