"""Diagnosis: where a candidate fails, why, and which lever would fix it.

In the order of the page: `diagnose` the stages, `explain` one candidate, `health` the data ·
`subject` a candidate, `view` a collection, `standing` ranks, `space` vectors · `reasons` and
`findings` why · `neutral` `topics` `regions` `scan` `clusters` `failures` failing together ·
`unjudged` `bounds` `duplicates` `coverage` the data · `words` `lexicon` `contrast` what all use.
"""
