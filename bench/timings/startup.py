"""What a user waits for before anything happens, as CPU seconds of a fresh process."""

import os
import subprocess
import sys

COMMANDS = {
    "help": "import sys; from scorebench.cli import main; sys.argv = ['scorebench', '--help']; main()",
    "list of solvers": "import sys; from scorebench.cli import main; sys.argv = ['scorebench', 'solvers']; main()",
    "import of the solvers": "import scorebench.solvers.registry",
}


class Startup:
    """One command a process; the list of solvers is kept by the first call."""

    params = (list(COMMANDS),)
    param_names = ("command",)
    unit = "seconds"
    number = 1

    def setup(self, command: str) -> None:
        self.run(command)

    def track_seconds(self, command: str) -> float:
        before = os.times()
        self.run(command)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    def run(self, command: str) -> None:
        subprocess.run([sys.executable, "-c", COMMANDS[command]], check=True, stdout=subprocess.DEVNULL)
