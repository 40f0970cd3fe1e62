"""``countermark policy``: list, show, check."""

# Typer reads these annotations at run time, so nothing here is imported for typing alone.
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from detector.policy_rules import Policy

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="Show the policies that verify and filter can follow, and check your own.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


@app.command("list")
def list_command(as_json: AsJson = False) -> None:
    """Show the shipped policies and this installation's own; the one in force has a star."""
    from detector.policy_file import SHIPPED, find_policies, load_policy
    from provenance.cli import print_json, print_line
    from provenance.config import load_settings

    settings = load_settings()
    folder, in_force = settings.policies_folder, settings.detector.policy
    rows = [
        _describe(load_policy(name, folder)) | {"called": name, "in_force": name == in_force}
        for name in (*SHIPPED, *find_policies(folder))
    ]
    if not any(row["in_force"] for row in rows):
        rows.append(_describe(load_policy(in_force, folder)) | {"called": in_force})
        rows[-1]["in_force"] = True
    if as_json:
        print_json(rows)
        return
    for row in rows:
        star = "*" if row["in_force"] else " "
        print_line(f"{star} {row['called']}  {row['policy_id']}  {row['description']}".rstrip())


@app.command("show")
def show_command(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A shipped policy, to copy.", show_default=False)
    ],
) -> None:
    """Print a shipped policy as its file, comments and all."""
    from detector.policy_file import SHIPPED, read_shipped

    if name not in SHIPPED:
        raise typer.BadParameter(
            f"{name!r} is no shipped policy; known: {', '.join(SHIPPED)}", param_hint="NAME"
        )
    typer.echo(read_shipped(name), nl=False)


@app.command("check")
def check_command(
    policy: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="A policy.", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Read a policy and say its id and where it differs from the default one."""
    from detector.policy_file import load_policy
    from detector.policy_rules import STANDARD, list_rules
    from provenance.cli import print_json, print_line
    from provenance.config import load_settings

    found = load_policy(policy, load_settings().policies_folder)
    usual = list_rules(STANDARD)
    changed = {name: rule for name, rule in list_rules(found).items() if rule != usual[name]}
    if as_json:
        print_json(_describe(found) | {"differs": changed})
        return
    print_line(f"{found.policy_id} is sound")
    for name, rule in changed.items():
        print_line(f"  {name} = {rule}  (default: {usual[name]})")
    if not changed:
        print_line("  it says what default says")


def _describe(policy: "Policy") -> dict[str, Any]:
    return {
        "name": policy.name,
        "policy_id": policy.policy_id,
        "description": policy.description,
    }
