"""One slave: it waits for a task, does it, and waits for the next."""

from hurricane import SlaveNode

if __name__ == "__main__":
    slave = SlaveNode(debug=True)
    slave.initialize()
    slave.wait_for_initialize()

    while True:
        data = slave.wait_for_task()
        print("doing", data["name"])
        slave.finish_task(generated_data={"square": data["number"] ** 2})
