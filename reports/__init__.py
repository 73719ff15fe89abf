"""Reports: renderers of stored results, pure functions that compute no new evidence.

`reading` looks up, `wording`, `tables` and `figures` turn it into sentences, cells and plots once,
and `terminal`, `markdown` and `html` lay these out.
"""
