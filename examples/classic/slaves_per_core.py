"""One slave for each core of this machine, each a process of its own."""

import multiprocessing

from hurricane import SlaveNode


def run_slave(index: int) -> None:
    """Do whatever tasks there are."""
    slave = SlaveNode()
    slave.initialize()
    slave.wait_for_initialize()

    while True:
        data = slave.wait_for_task()
        slave.finish_task(generated_data={"slave": index, "square": data["number"] ** 2})


if __name__ == "__main__":
    slaves = [
        multiprocessing.Process(target=run_slave, args=(index,))
        for index in range(multiprocessing.cpu_count())
    ]
    for slave in slaves:
        slave.start()
    for slave in slaves:
        slave.join()
