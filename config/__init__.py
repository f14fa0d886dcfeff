"""What a process is told: its settings, how it logs, and the documents that people write for it."""
