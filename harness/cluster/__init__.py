"""Cluster: the stages of a plan on the workers of a Ray cluster, with the results of one machine.

The store is the checkpoint: a worker writes what it made under its key, and only keys travel back.
So a task that is lost with its worker is done again by another one, and a killed driver resumes.
"""
