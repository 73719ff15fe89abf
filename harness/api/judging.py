"""Judging of a suite: a model grades, and people are asked for the next pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.api.steps import (
    Session,
    prepare,
    refuse_folder,
    render_again,
    run_partly,
    say,
    stored_runs,
    warn,
    with_unjudged,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.judging.graders import Grader
    from harness.judging.judged import JudgedSuite
    from harness.judging.rounds import Round
    from harness.plan.plan import Plan


def judge(session: Session, *, batch: int, dry_run: bool) -> JudgedSuite:
    """Have the model of a suite grade, ask for the next pairs, and say what the grades show.

    Args:
        session: the suite.
        batch: pairs to ask for of each collection.
        dry_run: ask nobody and write nothing, but say what would be asked for.
    """
    refuse_folder(session)
    made = prepare(with_unjudged(session, begins=True))
    from harness.diagnosis.files import with_answers
    from harness.judging.graders import find_grader
    from harness.judging.judged import JudgedSuite, judge_rounds, open_rounds
    from harness.output.files import add_output, add_verdict, grade_files
    from reports import plan_view

    # What is wrong with the model is said before all else.
    grader = find_grader(made, offline=session.offline)
    if dry_run and grader is None:
        say(session, "The suite has no [judging]: no model is asked, people grade alone.")
    if dry_run and (left := made.left()):
        say(session, plan_view.in_a_sentence(made, left))
        say(session, _most_pairs(made))
        return JudgedSuite(differences=[], models={}, agreements={})
    made, failed, _ = run_partly(session, made)
    warn(session, failed)
    files, before = grade_files(made, session.folder), stored_runs(made)
    if grader is not None:
        rounds = open_rounds(made, files, before=before)
        _grade(session, made, grader, rounds, dry_run=dry_run)
    rounds = open_rounds(made, files, before=before)
    found = judge_rounds(made, rounds, files)
    if dry_run:
        return found
    for name, file in files.items():
        new = rounds[name].next_as_csv(batch)
        add_output(file, with_answers(file, new) if file.is_file() else new)
        say(session, f"Grade the next pairs in {file}, from the top; the same command reads them.")
    say(session, f"Or grade in the browser, page Judge: harness app {session.folder}")
    add_verdict(made, session.folder, "judge", {"judging.json": found.model_dump_json(indent=1)})
    render_again(session)
    return found


def _grade(
    session: Session, made: Plan, grader: Grader, rounds: Mapping[str, Round], *, dry_run: bool
) -> None:
    """Say what a model is to grade and what that takes, then have it do so."""
    from harness.progress import watch
    from harness.stage import Context
    from reports import plan_view

    warn(session, grader.kin())
    pairs = {name: each.open_pairs() for name, each in rounds.items()}
    work = grader.work(made.store, pairs)
    say(session, plan_view.grading_in_words(work, sum(map(len, pairs.values())), grader.name))
    if grader.budget:
        say(session, grader.budget)
    if not dry_run:
        context = Context(made.store, device=made.device, progress=watch(session.console))
        warn(session, grader.grade(context, pairs))


def _most_pairs(made: Plan) -> str:
    """Return how many pairs there are to grade at most, before it is known what is returned."""
    suite = made.suite
    depth = len(suite.candidates) * suite.deciding_metric.cutoff
    queries = sum(len(made.collections[name].queries) for name in suite.collections_of("target"))
    return (
        f"Then at most {depth * queries:,} pairs are to be graded. To count them: harness judge "
        "--offline runs the candidates and asks no language model."
    )
