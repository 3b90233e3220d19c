"""Tasks that submit tasks. Many workers import this, each for itself: it imports little."""

import os
import threading

import hurricane


def fibonacci(number):
    if number < 2:
        return number
    left = hurricane.submit(fibonacci, number - 1)
    right = hurricane.submit(fibonacci, number - 2)
    return left.result() + right.result()


def square_all(numbers):
    with hurricane.Client() as client:
        return list(client.map(pow, numbers, [2] * len(numbers)))


def gather_all(numbers):
    import asyncio

    async def gather():
        return await asyncio.gather(*(hurricane.submit(abs, number) for number in numbers))

    return asyncio.run(gather())


def wait_for_all(numbers):
    futures = [hurricane.submit(abs, number) for number in numbers]
    done, pending = hurricane.wait(futures)
    assert not pending
    return sorted(future.result() for future in done)


def take_as_completed(numbers):
    futures = [hurricane.submit(abs, number) for number in numbers]
    return sorted(future.result() for future in hurricane.as_completed(futures))


def leave_running(path):
    hurricane.submit(threading.Event().wait)
    return os.getpid()


def descend(depth):
    return hurricane.submit(descend, depth - 1).result() + 1 if depth else 0
