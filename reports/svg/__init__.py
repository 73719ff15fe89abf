"""SVG: the figures without a script, for mail, paper and viewers that run none.

Draws what plotly's figures say, so that each figure is built once: points, lines, bars and flows.
The width of a text is estimated, since no browser is asked.
"""
