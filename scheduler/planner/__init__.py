"""The planner: questions that take seconds of one processor, answered outside the extender's process (docs/adr/0011).

The API asks through the port; a bounded pool of worker processes of low priority answers. Nothing here imports the
solver: only a worker does, and there is none until somebody asks. Reading order:

    port     what is asked, what a task gets, what can go wrong
    tasks    plan, capacity and repack, as tasks
    messages  the messages between service and worker, and their framing
    worker   the program that a worker process runs
    process  one worker process, seen from the service
    pool     the port on worker processes
"""
