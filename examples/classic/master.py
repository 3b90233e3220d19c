"""A master that sends tasks for ever and prints what the slaves make of them.

Start it, and `slave.py` or `slaves_per_core.py` on this machine or on others that have joined with
a ticket of `hurricane invite`, in any order.
"""

from time import sleep

from hurricane import MasterNode

if __name__ == "__main__":
    master = MasterNode(debug=True)
    master.initialize()

    master.wait_for_connection()
    number = 0
    while True:
        if not master.has_connection():
            sleep(0.1)
            continue
        number += 1
        task_id = master.send_task({"name": f"task {number}", "number": number})
        task = master.wait_for_task_completion(task_id)
        if task is not None:
            print(task.get_data()["name"], "gave", task.get_generated_data())
        sleep(1)
