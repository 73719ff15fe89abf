"""The app for `streamlit run app.py [-- RESULTS]`: picks a stored result, computes nothing."""

from reports.app.main import main

main()
