"""`expunge verify`, `expunge promote` and `expunge certificate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from expunge.commands.common import JsonOption, answer
from expunge.lineage.account import Comparison
from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.project.terminal import plain
from expunge.settings import load_params

SHORT = 12


def verify(
    release: Annotated[
        str | None, typer.Argument(help="Name of the release, `base` included; without it, the whole project.")
    ] = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="Also run unlearning and evaluation again, from the parent, and compare.")
    ] = False,
    key: Annotated[
        Path | None,
        typer.Option(help="Public key to trust, in PEM; `certificate.public_key` of params.yaml by default."),
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Record in the ledger that this person verified the release; after a purge only.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Check a release's certificate, or everything that a decision rests on; status 1 where one byte differs."""
    if release is None:
        if replay or by is not None:
            raise typer.BadParameter("--replay and --by are about one release; name it")
        _verify_project(key, as_json)
        return
    from expunge.proof.verify import record_verified
    from expunge.proof.verify import verify as check

    paths = Paths()
    params = load_params(paths.params)
    outcome = check(paths, params, release, key)
    checks = list(outcome.checks)
    if replay and outcome.statement and not outcome.problems:
        from expunge.proof.replay import replay as run_again
        from expunge.steps.embed import embed
        from expunge.steps.evaluate import evaluate

        checks += run_again(paths, params, outcome.statement, (embed, evaluate))
    problems = [check for check in checks if check.state == "mismatch"]
    if as_json:
        typer.echo(json.dumps(_summary(release, outcome.key, outcome.statement, checks), indent=2, ensure_ascii=False))
    else:
        _print(release, outcome.statement, checks)
    if problems:
        raise typer.Exit(1)
    if by is not None:
        recorded = record_verified(paths, params, release, by)
        typer.echo(f"Recorded for {', '.join(recorded)}.", err=True)


def _verify_project(key: Path | None, as_json: bool) -> None:
    from expunge.proof.coverage import NOT_COVERED
    from expunge.proof.project import verify_project

    paths = Paths()
    found = verify_project(paths, load_params(paths.params), key)
    if as_json:
        content = {
            "verified": not found.problems,
            "checks": [one.model_dump() for one in found.every],
            "not_covered": NOT_COVERED,
        }
        typer.echo(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        _print_checks(found.every)
        for place in NOT_COVERED:
            typer.echo(f"  not covered: {place}")
        for release in found.releases:
            if release.statement and (looser := _looser(release.statement)):
                typer.echo(f"! {release.release}: its gate was looser than shipped: {looser}")
        outcome = "NOT as it was left" if found.problems else "as it was left"
        typer.echo(
            f"The project is {outcome}: {len(found.every)} checks, {len(found.problems)} failed, "
            f"{len(found.changes)} things changed since the newest certificate."
        )
    if found.problems:
        raise typer.Exit(1)


def promote(
    release: Annotated[str, typer.Argument(help="Name of the release.")],
    by: Annotated[str, typer.Option(help="The person who decides.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a release champion: the model that is to be used."""
    from expunge.proof.promotion import promote as appoint

    if not yes and _on_a_terminal():
        typer.confirm(f"Make {release} champion in the name of {by}?", abort=True)
    paths = Paths()
    params = load_params(paths.params)
    version = appoint(paths, params, release, by)
    model = f"{params.mlflow.registered_model}/{version}"
    answer(as_json, f"{model} ({release}) is champion, by {by}.", release=release, model=model, champion_by=by)


def show(
    release: Annotated[str, typer.Argument(help="Name of the release.")],
    request: Annotated[str | None, typer.Option(help="Only the part of this request.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the certificate of a release or of one of its requests; `expunge verify` says whether it is true."""
    where = Paths().release(release)
    page = where.request_certificates / f"{request}.md" if request else where.certificate_page
    known = [where.certificate_page, *where.request_certificates.glob("*.md")]
    if page not in known or not page.is_file():
        raise ExpungeError(f"There is no certificate of {request or release}; `dvc repro` writes them with a release.")
    typer.echo((page.with_suffix(".json") if as_json else page).read_text(encoding="utf-8"), nl=False)


def issue(release: Annotated[str, typer.Argument(help="Name of the release.")], as_json: JsonOption = False) -> None:
    """Sign the certificates of a release again: after a purge, or with another key."""
    from expunge.proof.certificate import issue_again
    from expunge.releases.chain import chain

    paths = Paths()
    if release not in chain(paths):
        raise ExpungeError(f"There is no release {release}; known releases: {', '.join(chain(paths))}.")
    issue_again(paths, load_params(paths.params), release)
    signed = paths.release(release).certificate
    answer(as_json, f"Signed {signed}.", release=release, certificate=str(signed))


def new_key(as_json: JsonOption = False) -> None:
    """Make the signing key that the block `certificate` of params.yaml names; an existing one is never replaced."""
    from expunge.proof.signing import create_keys

    paths = Paths()
    params = load_params(paths.params).certificate
    key = create_keys(paths.root / params.private_key, paths.root / params.public_key)
    said = f"Key {key}: keep {params.private_key} secret, and give {params.public_key} to all who verify."
    answer(as_json, said, key=key, private_key=params.private_key, public_key=params.public_key)


def _on_a_terminal() -> bool:
    return sys.stdin.isatty()


def _summary(release: str, key: str, statement: dict[str, Any] | None, checks: Sequence[Comparison]) -> dict[str, Any]:
    predicate = statement["predicate"] if statement else {}
    return {
        "release": release,
        "verified": all(check.state != "mismatch" for check in checks),
        "key": key,
        "mode": predicate.get("issuer", {}).get("mode"),
        "verdict": predicate.get("verdict"),
        "purge": predicate.get("purge", {}).get("state"),
        "checks": [check.model_dump(mode="json") for check in checks],
    }


def _print(release: str, statement: dict[str, Any] | None, checks: Sequence[Comparison]) -> None:
    """A line for each check that does not hold, then the outcome."""
    _print_checks(checks)
    held, failed = (sum(check.state == state for check in checks) for state in ("ok", "mismatch"))
    if failed or statement is None:
        typer.echo(f"{release} is NOT as certified: {failed} of {len(checks)} checks failed.")
        return
    predicate = statement["predicate"]
    demo = ", signed in demo mode" if predicate["issuer"]["mode"] == "demo" else ""
    typer.echo(
        f"{release} is as certified ({held} checks{demo}). Gate: {predicate['verdict']}"
        f"{', with limits looser than shipped: ' + loose if (loose := _looser(statement)) else ''}; "
        f"{predicate['purge']['state']}."
    )


def _looser(statement: dict[str, Any]) -> str:
    """Limits of the gate that judged looser than the library ships them."""
    limits = statement["predicate"].get("limits_of_the_gate") or {"looser": []}
    return ", ".join(f"{name} {limits['used'][name]} for {limits['shipped'][name]}" for name in limits["looser"])


def _print_checks(checks: Sequence[Comparison]) -> None:
    for check in checks:
        if check.state == "mismatch":
            typer.echo(plain(f"✗ {check.where}: {check.what}: {_difference(check)}"))
        elif check.state == "changed":
            typer.echo(plain(f"! {check.where}: {check.what}: changed, {_difference(check)}"))
        elif check.state == "missing":
            typer.echo(plain(f"? {check.where}: {check.what}: not here, so not checked"))


def _difference(check: Comparison) -> str:
    if check.recorded is None:
        return str(check.found)
    return f"recorded {_short(check.recorded)}, found {_short(check.found)}"


def _short(value: str | None) -> str:
    value = str(value)
    return value[:SHORT] if len(value) >= 32 and " " not in value else value
