"""Comment: one comment of a pull request on GitHub, updated in place; started by action.yml."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import httpx2

COMMENT_BYTES = 65_536 - 256  # GitHub takes 65,536 characters
_PAGE = 100  # comments, the most that GitHub lists at a time


def update_comment(
    client: httpx2.Client, repository: str, *, number: int, suite: str, markdown: str
) -> str:
    """Write the comment about a suite, replacing the previous one, and return its URL.

    It is found by a hidden first line that names the suite. Only a bot's comment is taken for it,
    since anybody may write that line: the token of a workflow and those of apps write as bots.

    Args:
        client: of GitHub's API, with a token that may write pull requests.
        repository: OWNER/NAME.
        number: of the pull request.
        suite: path of the suite file.
        markdown: cut where it is longer than a comment may be.

    Raises:
        httpx2.HTTPError: GitHub could not be reached, or refuses.
    """
    from harness.gates.ci import cut_to_bytes

    marker = f"<!-- harness:gate:{re.sub(r'[^A-Za-z0-9_.]+', '-', suite)} -->"
    body = {"body": cut_to_bytes(f"{marker}\n{markdown}", COMMENT_BYTES)}
    listed, page = f"/repos/{repository}/issues/{number}/comments", 1
    while True:
        found = client.get(listed, params={"per_page": _PAGE, "page": page})
        comments = found.raise_for_status().json()
        for each in comments:
            if each["user"]["type"] == "Bot" and (each["body"] or "").startswith(marker):
                place = f"/repos/{repository}/issues/comments/{each['id']}"
                answer = client.patch(place, json=body).raise_for_status()
                return str(answer.json()["html_url"])
        if len(comments) < _PAGE:
            break
        page += 1
    return str(client.post(listed, json=body).raise_for_status().json()["html_url"])


def main(
    markdown: Annotated[Path, typer.Argument(metavar="MARKDOWN", help="gate.md")],
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="Path of the suite file.")],
) -> None:
    """Write the comment on the pull request of the running GitHub workflow.

    A comment that cannot be written, as from a fork, whose token only reads, is a warning.
    """
    import httpx2

    event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text("utf-8"))
    client = httpx2.Client(
        base_url=os.environ.get("GITHUB_API_URL", "https://api.github.com"),
        headers={
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {os.environ['GITHUB_TOKEN']}",
        },
        timeout=30,
    )
    try:
        with client:
            address = update_comment(
                client,
                os.environ["GITHUB_REPOSITORY"],
                number=int(event["pull_request"]["number"]),
                suite=suite,
                markdown=markdown.read_text("utf-8"),
            )
    except httpx2.HTTPError as error:
        typer.echo(f"::warning title=No comment::{' '.join(str(error).split())}")
    else:
        typer.echo(f"Comment: {address}")


if __name__ == "__main__":
    typer.run(main)
