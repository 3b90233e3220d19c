"""Tasks that submit tasks. Many workers import this, each for itself: it imports little."""

import os
import threading

import hurricane


def never_end():
    threading.Event().wait()


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


def gather_from_executor(numbers):
    import asyncio

    async def gather():
        loop = asyncio.get_running_loop()
        with hurricane.Client() as client:
            return await asyncio.gather(
                *(loop.run_in_executor(client, abs, number) for number in numbers)
            )

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
    hurricane.submit(never_end)
    return os.getpid()


def descend(depth):
    return hurricane.submit(descend, depth - 1).result() + 1 if depth else 0


def give_up_waiting(how):
    """Wait in vain for a child that never ends, twice; then cancel it, and have another."""
    import asyncio

    async def await_briefly(future):
        await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), 0.05)

    child = hurricane.submit(never_end)
    for _ in range(2):
        try:
            match how:
                case "result":
                    child.result(timeout=0.05)
                case "wait":
                    assert hurricane.wait([child], timeout=0.05).not_done
                case "as_completed":
                    next(hurricane.as_completed([child], timeout=0.05))
                case "await":
                    asyncio.run(await_briefly(child))
        except TimeoutError:
            continue
    return child.cancel(), hurricane.submit(abs, -1).result()
