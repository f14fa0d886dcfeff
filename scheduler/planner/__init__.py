"""The planner: jobs that take seconds of one processor, done outside the extender's process (docs/adr/0011).

The API submits jobs through the port; a bounded pool of worker processes of low priority does them. Nothing here
imports the solver: only a worker does, and no worker runs before the first job. Reading order:

    port        what a job is, what a task gets, what can go wrong
    tasks       plan, capacity, repack and remedy, as tasks
    messages    the messages between service and worker, and their framing
    worker      the program that a worker process runs
    process     one worker process, seen from the service
    pool        the port on worker processes
"""
