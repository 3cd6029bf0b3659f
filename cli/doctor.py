"""The command doctor: what this installation can do, what is amiss, and what mends it."""

from rich.table import Table

from .shared import app, console

SAID = {"ok": "", "note": "note", "fails": "FAILS"}


@app.command()
def doctor() -> int:
    """Say what was found, what it affects and the command that mends it. Exit code 1 when something fails."""
    from scorebench.bench.checkup import examine

    found = list(examine())
    table = Table(show_header=False, box=None)
    for row in found:
        table.add_row(row.what, SAID[row.state], row.found)
        for line in (row.affects and f"affects {row.affects}", row.mend and f"mend: {row.mend}"):
            if line:
                table.add_row("", "", line)
    console.print(table)
    return int(any(row.state == "fails" for row in found))
