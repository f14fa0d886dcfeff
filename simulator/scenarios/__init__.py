"""Scenarios: short stories that the demo plays on its cluster: the real service, queue, executor and agents.

scenario        what a story is made of: steps of one sentence and a few actions
shelf           the stories that are shipped, from `stories/*.yaml`
replica_sets    controllers: pods that are gone are made anew
stage           what an action does to the cluster, and the clean cluster before the first one
storyteller     one story at a time, with pauses; restarted, paused and sped up by the page
routes          GET and POST /api/v1/demo
"""
