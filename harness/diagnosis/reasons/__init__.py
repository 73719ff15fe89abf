"""Reasons: why queries fail, each with a detector that looks at misses and hits alike.

A reason counts only as a contrast: a detector never asks whether the query failed, and names the
queries in which the reason could show at all. `signs` what a detector and a counterfactual give ·
`trials` scoring a changed run · `words` `acronyms` `literals` `length` `neighbours` `judgements`
`pipeline` the reasons · `catalogue` all of them, as `CONTRIBUTING.md` says how to add one.
"""
