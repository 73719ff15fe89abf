"""The app: five pages over a results folder, run by Streamlit, which alone imports these modules.

`serve` starts the server and `boot` is its process; `main` opens a folder and lets the reader
choose; `decide`, `compare`, `failures`, `query` and `gates` are the pages; `shown` puts text and
figures on a page. It reads what the verbs have stored and writes only what the reader adds
(`reports.beside`).
"""
