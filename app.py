"""The app, for `streamlit run app.py [-- RESULTS]`: it picks a stored result and computes nothing.

`harness app` starts the same.
"""

from reports.app.main import main

main()
