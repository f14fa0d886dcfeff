"""The command line: `migsched COMMAND`. Thin: parse, call, print.

Each command is a module of its name with a function of its name, or with an `app` of subcommands; `main` loads it when
it is called. `output` prints tables, JSON and YAML, `slot_map` draws GPUs, `api_client` asks a running scheduler.
"""
