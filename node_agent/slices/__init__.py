"""A slice's life: its states, the journal, who owns it, and the steps from what is to what should be.

Pure but for the journal's file and the executor.
"""
